//! Answers of OCSP (RFC 6960): reading them, and by what they know certificates.

use x509_parser::prelude::{FromDer, X509Certificate};

/// By what OCSP knows a certificate: `CertID` (RFC 6960 section 4.1.1) with SHA-1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateId {
    /// The hash of the issuer's name.
    pub name_hash: Vec<u8>,
    /// The hash of the issuer's key.
    pub key_hash: Vec<u8>,
    /// The certificate's serial number, as its bytes stand there.
    pub serial: Vec<u8>,
}

/// `AlgorithmIdentifier` of SHA-1.
const SHA1: &[u8] = &[0x30, 9, 6, 5, 0x2b, 0x0e, 3, 2, 0x1a, 5, 0];

impl CertificateId {
    /// In DER, as HAProxy names answers.
    pub fn der(&self) -> Vec<u8> {
        let mut inside = SHA1.to_vec();
        for (tag, bytes) in [
            (OCTETS, &self.name_hash),
            (OCTETS, &self.key_hash),
            (INTEGER, &self.serial),
        ] {
            inside.push(tag);
            // Hashes have 20 bytes, serial numbers at most 20 (RFC 5280 section 4.1.2.2); those of
            // strangers may be longer.
            inside.push(u8::try_from(bytes.len()).unwrap_or(u8::MAX).min(127));
            inside.extend(bytes.iter().take(127));
        }
        let mut der = vec![SEQUENCE];
        match u8::try_from(inside.len()) {
            Ok(short) if short < 128 => der.push(short),
            Ok(long) => der.extend([0x81, long]),
            Err(_) => {
                der.push(0x82);
                der.extend(
                    u16::try_from(inside.len())
                        .unwrap_or(u16::MAX)
                        .to_be_bytes(),
                );
            }
        }
        der.extend(inside);
        der
    }
}

/// The id of a certificate (DER) of this issuer (DER).
pub fn id_of(certificate: &[u8], issuer: &[u8]) -> Option<CertificateId> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let (_, issuer) = X509Certificate::from_der(issuer).ok()?;
    Some(CertificateId {
        name_hash: crate::sha1(issuer.subject().as_raw()),
        key_hash: crate::sha1(&issuer.public_key().subject_public_key.data),
        serial: certificate.raw_serial().to_vec(),
    })
}

/// What an answer says of one certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Single {
    /// Of which one.
    pub id: CertificateId,
    /// `good`, `revoked` or `unknown`.
    pub status: &'static str,
    /// When it was revoked, Unix seconds.
    pub revoked: Option<i64>,
    /// From when this counts, Unix seconds.
    pub from: i64,
    /// Until when.
    pub until: Option<i64>,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Who says so: a name's attributes, or the hash of a key.
    pub responder: Responder,
    /// When it was said, Unix seconds.
    pub produced: i64,
    /// What it says.
    pub singles: Vec<Single>,
    /// The signature's algorithm, OpenSSL's name.
    pub algorithm: String,
    /// The signature.
    pub signature: Vec<u8>,
}

/// Who answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Responder {
    /// By name: short names of attributes and their values.
    Name(Vec<(String, String)>),
    /// By the hash of the key.
    Key(Vec<u8>),
}

/// Why an answer is none to show.
pub const UNREADABLE: &str = "Unable to parse OCSP response";

/// Reads an answer (`OCSPResponse`, RFC 6960 section 4.2.1); `Err` says why there is none.
pub fn read(der: &[u8]) -> Result<Answer, &'static str> {
    let mut response = Der(Der(der).take(SEQUENCE).ok_or(UNREADABLE)?);
    let status = response.take(ENUMERATED).ok_or(UNREADABLE)?;
    if status != [0] {
        return Err("OCSP response status not successful");
    }
    read_basic(&mut response).ok_or(UNREADABLE)
}

fn read_basic(response: &mut Der<'_>) -> Option<Answer> {
    let mut kind = Der(Der(response.take(EXPLICIT[0])?).take(SEQUENCE)?);
    // id-pkix-ocsp-basic
    if kind.take(OBJECT)? != [0x2b, 6, 1, 5, 5, 7, 0x30, 1, 1] {
        return None;
    }
    let mut basic = Der(Der(kind.take(OCTETS)?).take(SEQUENCE)?);
    let mut data = Der(basic.take(SEQUENCE)?);
    let _version = data.take(EXPLICIT[0]);
    let responder = match data.take(EXPLICIT[1]) {
        Some(name) => {
            let (_, name) = x509_parser::x509::X509Name::from_der(name).ok()?;
            Responder::Name(crate::x509::attributes(&name))
        }
        None => Responder::Key(Der(data.take(EXPLICIT[2])?).take(OCTETS)?.to_vec()),
    };
    let produced = time(data.take(GENERALIZED_TIME)?)?;
    let mut list = Der(data.take(SEQUENCE)?);
    let mut singles = Vec::new();
    while !list.0.is_empty() {
        singles.push(single(&mut Der(list.take(SEQUENCE)?))?);
    }
    let mut algorithm = Der(basic.take(SEQUENCE)?);
    let oid = x509_parser::asn1_rs::Oid::new(algorithm.take(OBJECT)?.into());
    let signature = basic.take(BITS)?.split_first()?.1;
    Some(Answer {
        responder,
        produced,
        singles,
        algorithm: crate::x509::long_algorithm(&oid.to_id_string()),
        signature: signature.to_vec(),
    })
}

fn single(one: &mut Der<'_>) -> Option<Single> {
    let mut id = Der(one.take(SEQUENCE)?);
    let _algorithm = id.take(SEQUENCE)?;
    let id = CertificateId {
        name_hash: id.take(OCTETS)?.to_vec(),
        key_hash: id.take(OCTETS)?.to_vec(),
        serial: id.take(INTEGER)?.to_vec(),
    };
    let (mut status, mut revoked) = ("unknown", None);
    if one.take(IMPLICIT_GOOD).is_some() {
        status = "good";
    } else if let Some(when) = one.take(EXPLICIT[1]) {
        status = "revoked";
        revoked = Some(time(Der(when).take(GENERALIZED_TIME)?)?);
    } else {
        one.take(IMPLICIT_UNKNOWN)?;
    }
    let from = time(one.take(GENERALIZED_TIME)?)?;
    let until = match one.take(EXPLICIT[0]) {
        Some(inside) => Some(time(Der(inside).take(GENERALIZED_TIME)?)?),
        None => None,
    };
    Some(Single {
        id,
        status,
        revoked,
        from,
        until,
    })
}

/// Whether an answer may be shown with the certificate of this id; why not.
pub fn check(der: &[u8], id: &CertificateId, now: i64) -> Result<(), String> {
    let answer = read(der)?;
    let Some(single) = answer.singles.iter().find(|s| s.id == *id) else {
        return Err(
            "OCSP single response: Certificate ID does not match certificate and issuer".into(),
        );
    };
    if single.status != "good" {
        return Err(format!(
            "OCSP single response: certificate status is {}",
            single.status
        ));
    }
    if single.until.is_some_and(|until| until < now) {
        return Err("OCSP single response: no longer valid".into());
    }
    Ok(())
}

/// Until when an answer counts for the certificate of this id, Unix seconds; nothing where it does
/// not say.
pub fn ends(der: &[u8], id: &CertificateId) -> Option<i64> {
    let answer = read(der).ok()?;
    answer.singles.iter().find(|s| s.id == *id)?.until
}

/// `YYYYMMDDhhmmssZ` in Unix seconds.
fn time(text: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?;
    let digits = text.strip_suffix('Z')?;
    if digits.len() != 14 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let part = |from: usize, to: usize| digits.get(from..to)?.parse::<i64>().ok();
    let (year, month, day) = (part(0, 4)?, part(4, 6)?, part(6, 8)?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // Days since 1970 in years that begin in March, so that a leap day is the last.
    let shifted = if month <= 2 { year - 1 } else { year };
    let days_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = 365 * shifted + shifted.div_euclid(4) - shifted.div_euclid(100)
        + shifted.div_euclid(400)
        + days_of_year
        - 719_468;
    Some(((days * 24 + part(8, 10)?) * 60 + part(10, 12)?) * 60 + part(12, 14)?)
}

const INTEGER: u8 = 2;
const BITS: u8 = 3;
const OCTETS: u8 = 4;
const OBJECT: u8 = 6;
const ENUMERATED: u8 = 10;
const GENERALIZED_TIME: u8 = 24;
const SEQUENCE: u8 = 0x30;
const EXPLICIT: [u8; 3] = [0xa0, 0xa1, 0xa2];
const IMPLICIT_GOOD: u8 = 0x80;
const IMPLICIT_UNKNOWN: u8 = 0x82;

/// Values in DER (X.690), one after another.
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    /// The content of the next value, if it has this tag.
    fn take(&mut self, tag: u8) -> Option<&'a [u8]> {
        let whole = self.whole(tag)?;
        let header = match whole.get(1)? {
            short if *short < 128 => 2,
            long => 2 + usize::from(long & 0x7f),
        };
        whole.get(header..)
    }

    /// The next value, if it has this tag, with its tag and length.
    fn whole(&mut self, tag: u8) -> Option<&'a [u8]> {
        if *self.0.first()? != tag {
            return None;
        }
        let first = usize::from(*self.0.get(1)?);
        let (header, length) = if first < 128 {
            (2, first)
        } else {
            let bytes = self.0.get(2..2 + (first & 0x7f))?;
            if bytes.is_empty() || bytes.len() > 4 {
                return None;
            }
            let fold = |n: usize, b: &u8| n << 8 | usize::from(*b);
            (2 + bytes.len(), bytes.iter().fold(0, fold))
        };
        let (value, rest) = self.0.split_at_checked(header.checked_add(length)?)?;
        self.0 = rest;
        Some(value)
    }
}

#[cfg(test)]
mod tests;
