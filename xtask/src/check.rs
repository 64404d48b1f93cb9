//! The house's rules: which crate may know which, licences, doubled dependencies, file sizes.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

/// Each crate and those it may know. Arrows only point down.
const ARROWS: &[(&str, &[&str])] = &[
    ("http", &[]),
    ("tls", &[]),
    ("wire", &[]),
    ("rules", &["http", "tls", "wire"]),
    ("model", &["http", "rules", "tls"]),
    ("state", &["rules", "model"]),
    ("config", &["http", "rules", "model", "tls"]),
    ("proxy", &["http", "rules", "model", "state", "tls", "wire"]),
    ("admin", &["http", "rules", "model", "state", "tls"]),
    ("failover", &["model", "state", "wire"]),
    ("packet", &["model", "rules", "state"]),
    (
        "mulgil",
        &[
            "http", "rules", "model", "state", "config", "proxy", "admin", "tls", "failover",
            "packet",
        ],
    ),
    ("lab", &[]),
    ("bench", &[]),
    ("xtask", &["rules", "model", "state", "config", "admin"]),
];

/// Licences that may be linked.
const LICENCES: &[&str] = &[
    "MIT",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
    "Apache-2.0 WITH LLVM-exception",
    "BSL-1.0",
    "CC0-1.0",
    "0BSD",
];

/// Crates that may be there in two versions, and why.
const DOUBLES: &[(&str, &str)] = &[
    (
        "syn",
        "procedural macros of two generations, at build time only",
    ),
    (
        "synstructure",
        "procedural macros of two generations, at build time only",
    ),
];

/// Files that may have more than [`LONGEST`] lines, and why.
const LONG_FILES: &[(&str, &str)] = &[
    ("crates/config/src/global.rs", "one table"),
    ("crates/config/src/keyword/options.rs", "one table"),
    ("crates/config/src/server.rs", "one table"),
    ("crates/rules/src/action/table.rs", "one table"),
];

const LONGEST: usize = 600;

pub fn run() -> Result<(), Vec<String>> {
    let metadata = metadata().map_err(|e| vec![e])?;
    let mut faults = Vec::new();
    arrows(&metadata, &mut faults);
    licences(&metadata, &mut faults);
    doubles(&metadata, &mut faults);
    files(&mut faults);
    if faults.is_empty() {
        Ok(())
    } else {
        Err(faults)
    }
}

fn metadata() -> Result<Value, String> {
    let output = Command::new("cargo")
        .args(["metadata", "--format-version", "1", "--locked"])
        .output()
        .map_err(|e| format!("cargo metadata does not run: {e}"))?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    serde_json::from_slice(&output.stdout).map_err(|e| format!("cargo metadata: {e}"))
}

fn packages(metadata: &Value) -> impl Iterator<Item = &Value> {
    metadata["packages"].as_array().into_iter().flatten()
}

fn own_name(package: &Value) -> Option<String> {
    let name = package["name"].as_str()?;
    let own = package["source"].is_null();
    own.then(|| name.strip_prefix("mulgil-").unwrap_or(name).to_string())
}

fn arrows(metadata: &Value, faults: &mut Vec<String>) {
    let allowed: BTreeMap<&str, &[&str]> = ARROWS.iter().copied().collect();
    for package in packages(metadata) {
        let Some(name) = own_name(package) else {
            continue;
        };
        let Some(may) = allowed.get(name.as_str()) else {
            faults.push(format!(
                "crate '{name}' is not in the list of arrows: add it there and to ARCHITECTURE.md"
            ));
            continue;
        };
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            let other = dependency["name"].as_str().unwrap_or_default();
            let path = !dependency["path"].is_null();
            let other = other.strip_prefix("mulgil-").unwrap_or(other);
            if path && !may.contains(&other) {
                faults.push(format!(
                    "crate '{name}' may not know '{other}': arrows point down only"
                ));
            }
        }
    }
}

fn licences(metadata: &Value, faults: &mut Vec<String>) {
    for package in packages(metadata) {
        let name = package["name"].as_str().unwrap_or_default();
        let text = package["license"].as_str().unwrap_or_default();
        // One alternative is enough; every part of it must be allowed.
        let fine = |part: &str| {
            let parts = part.split(" AND ").map(|p| p.trim_matches(['(', ')', ' ']));
            parts.into_iter().all(|p| {
                p.split(" OR ")
                    .any(|o| LICENCES.contains(&o.trim_matches(['(', ')', ' '])))
            })
        };
        let text = text.replace('/', " OR ");
        if text.is_empty() || !(text.split(" OR ").any(fine) || fine(&text)) {
            faults.push(format!(
                "dependency '{name}' has licence '{text}', which is not on the list"
            ));
        }
    }
}

fn doubles(metadata: &Value, faults: &mut Vec<String>) {
    // Only what a build for this system uses counts, not all that the lock file mentions.
    let mut versions: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let used = Command::new("cargo")
        .args([
            "tree",
            "--workspace",
            "--edges",
            "normal",
            "--prefix",
            "none",
            "--format",
            "{p}",
            "--locked",
        ])
        .output();
    let text = used
        .map(|o| String::from_utf8_lossy(&o.stdout).into_owned())
        .unwrap_or_default();
    for line in text.lines() {
        let mut words = line.split(' ');
        if let (Some(name), Some(version)) = (words.next(), words.next()) {
            versions.entry(name).or_default().insert(version);
        }
    }
    for (name, versions) in versions {
        if versions.len() > 1 && !DOUBLES.iter().any(|(n, _)| *n == name) {
            faults.push(format!(
                "dependency '{name}' is there in versions {versions:?}: use one, or say why not"
            ));
        }
    }
    let _ = metadata;
}

fn files(faults: &mut Vec<String>) {
    let listed = Command::new("git").args(["ls-files", "*.rs"]).output();
    let text = listed
        .map(|o| String::from_utf8_lossy(&o.stdout).into_owned())
        .unwrap_or_default();
    for path in text.lines() {
        let tests =
            path.contains("/tests/") || path.ends_with("tests.rs") || path.starts_with("lab/");
        let Ok(source) = std::fs::read_to_string(path) else {
            continue;
        };
        let lines = source.lines().count();
        if lines > LONGEST && !tests && !LONG_FILES.iter().any(|(p, _)| *p == path) {
            faults.push(format!(
                "{path} has {lines} lines: two subjects? split it, or say why not"
            ));
        }
    }
}
