//! What rules may know of a certificate.

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, SubjectPublicKeyInfoDer};
use x509_parser::prelude::*;

/// The parts of a certificate that fetches show.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// The subject's attributes in order: short name (`CN`, `O`, …) and value.
    pub subject: Vec<(String, String)>,
    /// The issuer's.
    pub issuer: Vec<(String, String)>,
    /// The serial number's bytes.
    pub serial: Vec<u8>,
    /// Start of validity, `YYMMDDhhmmssZ` or `YYYYMMDDhhmmssZ` as in the certificate.
    pub not_before: String,
    /// End of validity.
    pub not_after: String,
    /// The same, Unix seconds.
    pub not_after_unix: i64,
    /// Unix seconds of the start.
    pub not_before_unix: i64,
    /// X.509 version, from 1.
    pub version: u32,
    /// The key's algorithm, OpenSSL's name.
    pub key_algorithm: String,
    /// The signature's algorithm, OpenSSL's name.
    pub signature_algorithm: String,
    /// Its alternative names as OpenSSL shows them: `DNS:example.com`, `IP Address:192.0.2.1`.
    pub alternatives: Vec<String>,
    /// Names the certificate is for: the alternative names and the common name.
    pub names: Vec<String>,
    /// Kind and size of the key: `RSA2048`, `EC256`.
    pub key: String,
}

/// Whether a certificate names itself as its issuer.
pub(crate) fn is_self_issued(der: &[u8]) -> bool {
    X509Certificate::from_der(der).is_ok_and(|(_, c)| c.subject().as_raw() == c.issuer().as_raw())
}

/// The public key (SubjectPublicKeyInfo, DER) of a PEM file: of the first certificate in it, or the
/// key that stands there itself.
pub fn public_key(pem: &[u8]) -> Option<Vec<u8>> {
    if let Ok(key) = SubjectPublicKeyInfoDer::from_pem_slice(pem) {
        return Some(key.to_vec());
    }
    let der = CertificateDer::from_pem_slice(pem).ok()?;
    let (_, certificate) = X509Certificate::from_der(&der).ok()?;
    Some(certificate.public_key().raw.to_vec())
}

/// Reads a certificate's facts; `None` if it is none.
pub fn facts(der: &[u8]) -> Option<Facts> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let mut names: Vec<String> = Vec::new();
    let mut shown = Vec::new();
    if let Ok(Some(alternatives)) = certificate.subject_alternative_name() {
        for name in &alternatives.value.general_names {
            if let GeneralName::DNSName(name) = name {
                names.push(name.to_ascii_lowercase());
            }
            shown.push(alternative(name));
        }
    }
    // HAProxy takes the common name as well as the alternative names.
    for name in certificate
        .subject()
        .iter_common_name()
        .filter_map(|a| a.as_str().ok())
    {
        let name = name.to_ascii_lowercase();
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let validity = certificate.validity();
    Some(Facts {
        subject: attributes(certificate.subject()),
        issuer: attributes(certificate.issuer()),
        serial: certificate.raw_serial().to_vec(),
        not_before: stamp(&validity.not_before),
        not_after: stamp(&validity.not_after),
        not_after_unix: validity.not_after.timestamp(),
        not_before_unix: validity.not_before.timestamp(),
        version: certificate.version().0 + 1,
        key_algorithm: key_algorithm(&certificate),
        signature_algorithm: signature_algorithm(
            &certificate.signature_algorithm.algorithm.to_id_string(),
        ),
        alternatives: shown,
        names,
        key: key_size(&certificate),
    })
}

/// What a revocation list says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListFacts {
    /// Its version, from 1.
    pub version: u32,
    /// The signature's algorithm, OpenSSL's name.
    pub signature_algorithm: String,
    /// The issuer's attributes: short name and value.
    pub issuer: Vec<(String, String)>,
    /// When it was made, Unix seconds.
    pub last_update: i64,
    /// When the next one is made.
    pub next_update: Option<i64>,
    /// The serial numbers of certificates that are revoked, and when that was, Unix seconds.
    pub revoked: Vec<(Vec<u8>, i64)>,
}

/// Reads a revocation list (DER); `None` if it is none.
pub fn list_facts(der: &[u8]) -> Option<ListFacts> {
    let (_, list) = CertificateRevocationList::from_der(der).ok()?;
    let revoked = list.iter_revoked_certificates();
    Some(ListFacts {
        version: list.version().map_or(0, |v| v.0) + 1,
        signature_algorithm: long_algorithm(&list.signature_algorithm.algorithm.to_id_string()),
        issuer: attributes(list.issuer()),
        last_update: list.last_update().timestamp(),
        next_update: list.next_update().map(|t| t.timestamp()),
        revoked: revoked
            .map(|r| (r.raw_serial().to_vec(), r.revocation_date.timestamp()))
            .collect(),
    })
}

/// OpenSSL's long name of a signature's algorithm.
pub(crate) fn long_algorithm(oid: &str) -> String {
    let name = match oid {
        "1.2.840.113549.1.1.5" => "sha1WithRSAEncryption",
        "1.2.840.113549.1.1.11" => "sha256WithRSAEncryption",
        "1.2.840.113549.1.1.12" => "sha384WithRSAEncryption",
        "1.2.840.113549.1.1.13" => "sha512WithRSAEncryption",
        "1.2.840.113549.1.1.10" => "rsassaPss",
        other => return signature_algorithm(other),
    };
    name.into()
}

/// An alternative name as OpenSSL shows it.
fn alternative(name: &GeneralName<'_>) -> String {
    match name {
        GeneralName::DNSName(name) => format!("DNS:{name}"),
        GeneralName::RFC822Name(name) => format!("email:{name}"),
        GeneralName::URI(uri) => format!("URI:{uri}"),
        GeneralName::IPAddress(bytes) => {
            match (<[u8; 4]>::try_from(*bytes), <[u8; 16]>::try_from(*bytes)) {
                (Ok(v4), _) => format!("IP Address:{}", std::net::Ipv4Addr::from(v4)),
                (_, Ok(v6)) => {
                    let parts = v6.chunks(2).map(|p| {
                        let part = p.iter().fold(0u16, |n, b| n << 8 | u16::from(*b));
                        format!("{part:X}")
                    });
                    format!("IP Address:{}", parts.collect::<Vec<_>>().join(":"))
                }
                _ => "IP Address:<invalid>".into(),
            }
        }
        GeneralName::DirectoryName(name) => {
            let parts = attributes(name);
            let parts: Vec<String> = parts.iter().map(|(k, v)| format!("{k} = {v}")).collect();
            format!("DirName:{}", parts.join(", "))
        }
        GeneralName::RegisteredID(oid) => format!("Registered ID:{oid}"),
        _ => "othername:<unsupported>".into(),
    }
}

pub(crate) fn attributes(name: &X509Name<'_>) -> Vec<(String, String)> {
    let short = |oid: String| {
        let name = match oid.as_str() {
            "2.5.4.3" => "CN",
            "2.5.4.4" => "SN",
            "2.5.4.5" => "serialNumber",
            "2.5.4.6" => "C",
            "2.5.4.7" => "L",
            "2.5.4.8" => "ST",
            "2.5.4.9" => "street",
            "2.5.4.10" => "O",
            "2.5.4.11" => "OU",
            "2.5.4.12" => "title",
            "2.5.4.42" => "GN",
            "2.5.4.46" => "dnQualifier",
            "1.2.840.113549.1.9.1" => "emailAddress",
            "0.9.2342.19200300.100.1.25" => "DC",
            "0.9.2342.19200300.100.1.1" => "UID",
            _ => return oid,
        };
        name.to_string()
    };
    let attributes = name.iter_attributes();
    attributes
        .map(|a| {
            (
                short(a.attr_type().to_id_string()),
                String::from_utf8_lossy(a.attr_value().data).into_owned(),
            )
        })
        .collect()
}

/// A time as certificates write it: two digits of the year until 2049 (RFC 5280 section 4.1.2.5).
fn stamp(time: &ASN1Time) -> String {
    let t = time.to_datetime();
    let (month, day) = (u8::from(t.month()), t.day());
    let (hour, minute, second) = t.to_hms();
    let year = t.year();
    let year = if (1950..2050).contains(&year) {
        format!("{:02}", year.rem_euclid(100))
    } else {
        format!("{year:04}")
    };
    format!("{year}{month:02}{day:02}{hour:02}{minute:02}{second:02}Z")
}

/// The SHA-1 fingerprint by which OpenSSL's users know certificates.
pub fn sha1(der: &[u8]) -> Vec<u8> {
    use aws_lc_rs::digest;
    digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, der)
        .as_ref()
        .to_vec()
}

fn key_size(certificate: &X509Certificate<'_>) -> String {
    use x509_parser::public_key::PublicKey;
    match certificate.public_key().parsed() {
        Ok(PublicKey::RSA(key)) => format!("RSA{}", key.key_size()),
        Ok(PublicKey::EC(point)) => format!("EC{}", point.key_size()),
        _ => key_algorithm(certificate),
    }
}

fn key_algorithm(certificate: &X509Certificate<'_>) -> String {
    let algorithm = &certificate.public_key().algorithm;
    match algorithm.algorithm.to_id_string().as_str() {
        "1.2.840.113549.1.1.1" => "rsaEncryption".into(),
        "1.2.840.10045.2.1" => "id-ecPublicKey".into(),
        "1.3.101.112" => "ED25519".into(),
        other => other.into(),
    }
}

fn signature_algorithm(oid: &str) -> String {
    let name = match oid {
        "1.2.840.113549.1.1.5" => "RSA-SHA1",
        "1.2.840.113549.1.1.11" => "RSA-SHA256",
        "1.2.840.113549.1.1.12" => "RSA-SHA384",
        "1.2.840.113549.1.1.13" => "RSA-SHA512",
        "1.2.840.113549.1.1.10" => "rsassaPss",
        "1.2.840.10045.4.3.2" => "ecdsa-with-SHA256",
        "1.2.840.10045.4.3.3" => "ecdsa-with-SHA384",
        "1.2.840.10045.4.3.4" => "ecdsa-with-SHA512",
        "1.3.101.112" => "ED25519",
        other => other,
    };
    name.into()
}
