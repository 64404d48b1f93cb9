//! Files in memory, and short ways to load them.

use config::{LoadRequest, Loaded, Severity, Source, load};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// A world that consists of a few files.
#[derive(Default)]
pub struct Files(pub BTreeMap<String, String>);

impl Source for Files {
    fn read(&self, path: &str) -> Result<Vec<u8>, String> {
        let found = self.0.get(path).map(|t| t.as_bytes().to_vec());
        found.ok_or_else(|| "no such file".into())
    }

    fn list(&self, path: &str) -> Option<Vec<String>> {
        let folder = format!("{}/", path.trim_end_matches('/'));
        let found = self.0.keys().filter(|k| k.starts_with(&folder));
        let found: Vec<String> = found.cloned().collect();
        (!found.is_empty()).then_some(found)
    }

    fn resolve(&self, name: &str) -> Vec<IpAddr> {
        match name {
            "localhost" => vec![[127, 0, 0, 1].into()],
            _ => Vec::new(),
        }
    }

    fn user(&self, name: &str) -> Option<u32> {
        (name == "nobody").then_some(65534)
    }

    fn group(&self, name: &str) -> Option<u32> {
        (name == "nogroup").then_some(65534)
    }
}

/// A certificate with its key, and a list of revoked ones.
const SITE: &str = include_str!("../../../tls/tests/site.pem");
const REVOKED: &str = include_str!("../../../tls/tests/revoked.pem");

impl Files {
    /// The file `a.cfg`, and others that lines may name.
    pub fn with(text: &str) -> Files {
        let sorry = "HTTP/1.1 503 Service Unavailable\ncontent-type: text/plain\n\nsorry\n";
        Files(BTreeMap::from([
            ("a.cfg".to_string(), text.to_string()),
            ("sorry.http".to_string(), sorry.to_string()),
            ("site.pem".to_string(), SITE.to_string()),
            ("blocked.lst".to_string(), "192.0.2.0/24\n".to_string()),
            ("revoked.pem".to_string(), REVOKED.to_string()),
            ("/run/netns/blue".to_string(), String::new()),
            (
                "/proc/sys/net/ipv4/tcp_available_congestion_control".to_string(),
                "reno cubic\n".to_string(),
            ),
            ("/etc/ssl/chains/one.pem".to_string(), SITE.to_string()),
            (
                "tickets.keys".to_string(),
                format!("{}\n", "A".repeat(64)).repeat(3),
            ),
            ("list.txt".to_string(), "site.pem www.example\n".to_string()),
            ("case.txt".to_string(), "# names\nx-foo X-FOO\n".to_string()),
        ]))
    }

    /// Loads these paths.
    pub fn load(&self, paths: &[&str]) -> Loaded {
        let request = LoadRequest {
            paths: paths.iter().map(|p| p.to_string()).collect(),
            env: BTreeMap::from([("HOME".to_string(), "/root".to_string())]),
            lists: None,
            flags: config::Flags::default(),
        };
        load(&request, self)
    }
}

/// Loads one file.
#[allow(dead_code)] // not every test file wants it
pub fn load_text(text: &str) -> Loaded {
    Files::with(text).load(&["a.cfg"])
}

/// The messages, each as `line: severity: message`.
#[allow(dead_code)] // not every test file wants it
pub fn said(loaded: &Loaded) -> Vec<String> {
    let word = |severity| match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        _ => "note",
    };
    let all = loaded.report.diagnostics.iter();
    all.map(|d| format!("{}: {}: {}", d.line, word(d.severity), d.message))
        .collect()
}
