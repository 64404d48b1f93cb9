//! OpenSSL's names for what rustls has.

use crate::provider;
use crate::settings::Preferences;
use rustls::crypto::{CryptoProvider, SupportedKxGroup};
use rustls::{CipherSuite, NamedGroup, SignatureScheme, SupportedCipherSuite};
use std::sync::Arc;

/// Cipher suites: OpenSSL's name, the suite, bits of its key.
const SUITES: &[(&str, CipherSuite, u16)] = {
    use CipherSuite::*;
    &[
        ("TLS_AES_128_GCM_SHA256", TLS13_AES_128_GCM_SHA256, 128),
        ("TLS_AES_256_GCM_SHA384", TLS13_AES_256_GCM_SHA384, 256),
        (
            "TLS_CHACHA20_POLY1305_SHA256",
            TLS13_CHACHA20_POLY1305_SHA256,
            256,
        ),
        (
            "ECDHE-ECDSA-AES128-GCM-SHA256",
            TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
            128,
        ),
        (
            "ECDHE-ECDSA-AES256-GCM-SHA384",
            TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
            256,
        ),
        (
            "ECDHE-ECDSA-CHACHA20-POLY1305",
            TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
            256,
        ),
        (
            "ECDHE-RSA-AES128-GCM-SHA256",
            TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
            128,
        ),
        (
            "ECDHE-RSA-AES256-GCM-SHA384",
            TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
            256,
        ),
        (
            "ECDHE-RSA-CHACHA20-POLY1305",
            TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
            256,
        ),
    ]
};

/// Curves: OpenSSL's names and the group.
const CURVES: &[(&[&str], NamedGroup)] = &[
    (&["X25519", "x25519"], NamedGroup::X25519),
    (&["P-256", "prime256v1", "secp256r1"], NamedGroup::secp256r1),
    (&["P-384", "secp384r1"], NamedGroup::secp384r1),
    (&["X25519MLKEM768"], NamedGroup::X25519MLKEM768),
];

/// Algorithms of signatures: OpenSSL's two names and the scheme (RFC 8446 section 4.2.3).
const SCHEMES: &[(&str, &str, SignatureScheme)] = {
    use SignatureScheme::*;
    &[
        (
            "ECDSA+SHA256",
            "ecdsa_secp256r1_sha256",
            ECDSA_NISTP256_SHA256,
        ),
        (
            "ECDSA+SHA384",
            "ecdsa_secp384r1_sha384",
            ECDSA_NISTP384_SHA384,
        ),
        (
            "ECDSA+SHA512",
            "ecdsa_secp521r1_sha512",
            ECDSA_NISTP521_SHA512,
        ),
        ("ed25519", "ED25519", ED25519),
        ("RSA-PSS+SHA256", "rsa_pss_rsae_sha256", RSA_PSS_SHA256),
        ("RSA-PSS+SHA384", "rsa_pss_rsae_sha384", RSA_PSS_SHA384),
        ("RSA-PSS+SHA512", "rsa_pss_rsae_sha512", RSA_PSS_SHA512),
        ("RSA+SHA256", "rsa_pkcs1_sha256", RSA_PKCS1_SHA256),
        ("RSA+SHA384", "rsa_pkcs1_sha384", RSA_PKCS1_SHA384),
        ("RSA+SHA512", "rsa_pkcs1_sha512", RSA_PKCS1_SHA512),
    ]
};

/// The schemes of `sigalgs`, in its order, and the names that nothing here has. `None`: all.
pub(crate) fn schemes(list: Option<&str>) -> (crate::verify::Schemes, Vec<String>) {
    let mut unknown = Vec::new();
    let names = |list: &str| -> Arc<[SignatureScheme]> {
        let words = list.split(':').filter(|w| !w.is_empty());
        let found = words.filter_map(|word| {
            let known = |(one, other, _): &&(&str, &str, _)| {
                word.eq_ignore_ascii_case(one) || word.eq_ignore_ascii_case(other)
            };
            let scheme = SCHEMES.iter().find(known).map(|s| s.2);
            if scheme.is_none() {
                unknown.push(word.to_string());
            }
            scheme
        });
        found.collect()
    };
    (list.map(names), unknown)
}

/// OpenSSL's name of a suite, and the bits of its key.
pub fn cipher_name(suite: CipherSuite) -> Option<(&'static str, u16)> {
    let found = SUITES.iter().find(|(_, s, _)| *s == suite)?;
    Some((found.0, found.2))
}

/// A provider that has only what the preferences allow, in their order, and the names that
/// nothing here has.
pub fn named(preferences: &Preferences) -> (CryptoProvider, Vec<String>) {
    let mut unknown = Vec::new();
    let all = provider();
    let of = |tls13: bool| {
        let suites = all.cipher_suites.iter().copied();
        suites
            .filter(move |s| matches!(s, SupportedCipherSuite::Tls13(_)) == tls13)
            .collect()
    };
    let mut suites = suites(preferences.ciphersuites.as_deref(), of(true), &mut unknown);
    suites.extend(crate::names::suites(
        preferences.ciphers.as_deref(),
        of(false),
        &mut unknown,
    ));
    let mut groups = Vec::new();
    for name in preferences
        .curves
        .iter()
        .flat_map(|c| c.split(':'))
        .filter(|n| !n.is_empty())
    {
        match group(name) {
            Some(group) => groups.push(group),
            None => unknown.push(name.to_string()),
        }
    }
    if groups.is_empty() {
        groups.clone_from(&all.kx_groups);
    }
    for list in [&preferences.sigalgs, &preferences.client_sigalgs] {
        unknown.extend(schemes(list.as_deref()).1);
    }
    let provider = CryptoProvider {
        cipher_suites: suites,
        kx_groups: groups,
        ..CryptoProvider::clone(all)
    };
    (provider, unknown)
}

/// OpenSSL's name of a group.
pub(crate) fn group_name(group: NamedGroup) -> Option<&'static str> {
    let names = match group {
        NamedGroup::X25519 => "X25519",
        NamedGroup::secp256r1 => "prime256v1",
        NamedGroup::secp384r1 => "secp384r1",
        NamedGroup::X25519MLKEM768 => "X25519MLKEM768",
        _ => return None,
    };
    Some(names)
}

fn group(name: &str) -> Option<&'static dyn SupportedKxGroup> {
    let wanted = CURVES.iter().find(|(names, _)| names.contains(&name))?.1;
    rustls::crypto::aws_lc_rs::ALL_KX_GROUPS
        .iter()
        .copied()
        .find(|g| g.name() == wanted)
}

/// Words of OpenSSL's cipher lists that stand for many suites: all of ours are among them.
const CLASSES: &[&str] = &[
    "ALL",
    "DEFAULT",
    "HIGH",
    "ECDH",
    "ECDHE",
    "EECDH",
    "kEECDH",
    "kECDHE",
    "AESGCM",
    "AES",
    "TLSv1.2",
    "COMPLEMENTOFDEFAULT",
];

fn suites(
    list: Option<&str>,
    all: Vec<SupportedCipherSuite>,
    unknown: &mut Vec<String>,
) -> Vec<SupportedCipherSuite> {
    let Some(list) = list else { return all };
    let name = |suite: &SupportedCipherSuite| cipher_name(suite.suite()).map_or("", |n| n.0);
    let mut chosen: Vec<SupportedCipherSuite> = Vec::new();
    let mut banned: Vec<&str> = Vec::new();
    for word in list.split([':', ',', ' ']).filter(|w| !w.is_empty()) {
        if word.starts_with('@') || word.starts_with('+') {
            continue; // security level, order
        }
        if let Some(out) = word.strip_prefix(['!', '-']) {
            // What is banned by class (MD5, RC4, aNULL …) is not here in the first place.
            banned.push(out);
            continue;
        }
        let class = word.split('+').all(|part| {
            CLASSES.contains(&part)
                || matches!(
                    part,
                    "ECDSA" | "aECDSA" | "RSA" | "aRSA" | "AES128" | "AES256" | "CHACHA20"
                )
        });
        let matches = |s: &SupportedCipherSuite| {
            if class {
                let parts = word.split('+').filter(|p| !CLASSES.contains(p));
                parts
                    .map(|p| p.trim_start_matches('a'))
                    .all(|p| name(s).contains(p))
            } else {
                name(s) == word
            }
        };
        let before = chosen.len();
        let mut any = false;
        for suite in all.iter().filter(|s| matches(s)) {
            any = true;
            if !chosen[..before].contains(suite) {
                chosen.push(*suite);
            }
        }
        if !any {
            unknown.push(word.to_string());
        }
    }
    chosen.retain(|s| !banned.contains(&name(s)));
    chosen
}
