//! Reading a line of a `crt-list`: `FILE [\[options\]] [[!]name …]`.

use crate::settings::{ListEntry, Verify, Version};
use std::sync::Arc;

/// Where files with relative names are looked for.
#[derive(Clone, Debug, Default)]
pub struct Folders {
    /// `crt-base`.
    pub certificates: Option<String>,
    /// `ca-base`.
    pub authorities: Option<String>,
    /// `key-base`: keys that are not beside their certificates.
    pub keys: Option<String>,
}

/// The name of a file, within a folder where it is relative. `@` begins what is no file.
pub fn based(folder: Option<&str>, path: &str) -> Arc<str> {
    match folder {
        Some(folder) if !path.starts_with(['/', '@']) => format!("{folder}/{path}").into(),
        _ => path.into(),
    }
}

/// Reads the words of a line; nothing where there are none.
pub(crate) fn read(words: &[&str], folders: &Folders) -> Result<Option<ListEntry>, String> {
    let Some((path, rest)) = words.split_first() else {
        return Ok(None);
    };
    let mut entry = ListEntry {
        path: based(folders.certificates.as_deref(), path),
        ..ListEntry::default()
    };
    let mut names = rest;
    if rest.first().is_some_and(|w| w.starts_with('[')) {
        let end = rest
            .iter()
            .position(|w| w.ends_with(']'))
            .ok_or("the bracket is not closed: end the options with ']'")?;
        let inside = rest.get(..=end).unwrap_or_default().join(" ");
        names = rest.get(end + 1..).unwrap_or_default();
        options(folders, inside.trim_matches(['[', ']']), &mut entry)?;
    }
    entry.filters = names.iter().map(|n| (*n).into()).collect();
    Ok(Some(entry))
}

/// Options in the order in which HAProxy shows them.
const ORDER: &[&str] = &[
    "alpn",
    "verify",
    "no-ca-names",
    "allow-0rtt",
    "ca-file",
    "ca-verify-file",
    "crl-file",
    "ciphers",
    "ciphersuites",
    "curves",
    "ecdhe",
    "sigalgs",
    "client-sigalgs",
    "ssl-min-ver",
    "ssl-max-ver",
];

fn options(folders: &Folders, inside: &str, entry: &mut ListEntry) -> Result<(), String> {
    let mut shown: Vec<(usize, String)> = Vec::new();
    let mut words = inside.split_whitespace();
    while let Some(option) = words.next() {
        let mut given = None;
        let mut value = || {
            let value = words.next();
            given = value;
            value.ok_or_else(|| format!("'{option}' wants a value after it"))
        };
        let mut path = None;
        let mut versions = entry.versions.unwrap_or_default();
        match option {
            "alpn" => {
                let all = value()?.split(',').filter(|p| !p.is_empty());
                let all: Vec<&str> = all.collect();
                let spoken = all.iter().filter(|p| **p != "h2");
                let spoken: Vec<Arc<str>> = spoken.map(|p| Arc::from(*p)).collect();
                if spoken.is_empty() && !all.is_empty() {
                    return Err("protocol 'h2' is one of HAProxy's that mulgil does not have yet: offer http/1.1".into());
                }
                entry.without_h2 = spoken.len() < all.len();
                entry.alpn = Some(spoken);
            }
            "no-alpn" => entry.alpn = Some(Vec::new()),
            "ciphers" => entry.ciphers = Some(value()?.into()),
            "ciphersuites" => entry.ciphersuites = Some(value()?.into()),
            "curves" | "ecdhe" => entry.curves = Some(value()?.into()),
            "sigalgs" => entry.sigalgs = Some(value()?.into()),
            "client-sigalgs" => entry.client_sigalgs = Some(value()?.into()),
            "ca-file" => {
                path = Some(based(folders.authorities.as_deref(), value()?));
                entry.ca_file.clone_from(&path);
            }
            "ca-verify-file" => {
                path = Some(based(folders.authorities.as_deref(), value()?));
                entry.verify_file.clone_from(&path);
            }
            "crl-file" => {
                path = Some(based(folders.authorities.as_deref(), value()?));
                entry.crl_file.clone_from(&path);
            }
            "no-ca-names" => entry.no_ca_names = true,
            // Nothing is taken early, so that nothing is lost: clients send it after the handshake.
            "allow-0rtt" => {}
            "ocsp-update" => match value()? {
                "off" => {}
                _ => return Err("answers of OCSP are not fetched: put them beside certificates with the ending .ocsp, or give them to the running process by 'set ssl ocsp-response'".into()),
            },
            "verify" => {
                entry.verify = match value()? {
                    "none" => Verify::None,
                    "optional" => Verify::Optional,
                    "required" => Verify::Required,
                    other => {
                        return Err(format!(
                            "'{other}' is no kind of verification: use none, optional or required"
                        ));
                    }
                };
            }
            "ssl-min-ver" | "ssl-max-ver" => {
                let name = value()?;
                let version = Version::of(name)
                    .ok_or_else(|| format!("unknown version '{name}': use TLSv1.2 or TLSv1.3"))?;
                if option == "ssl-min-ver" {
                    versions.at_least(version);
                } else {
                    versions.at_most(version);
                }
                entry.versions = Some(versions);
            }
            other if versions.word(other) => entry.versions = Some(versions),
            other => {
                return Err(format!(
                    "unknown ssl keyword {other}: what is not for one certificate stands on the 'bind' line"
                ));
            }
        }
        let place = ORDER.iter().position(|o| *o == option);
        let value = path.as_deref().or(given).map(|v| format!(" {v}"));
        let text = format!("{option}{}", value.unwrap_or_default());
        shown.push((place.unwrap_or(ORDER.len()), text));
    }
    shown.sort_by_key(|(place, _)| *place);
    let shown: Vec<String> = shown.into_iter().map(|(_, text)| text).collect();
    entry.shown = shown.join(" ").into();
    Ok(())
}
