//! Answers of OCSP that come while a change of their certificate is under way.

use crate::client;
use crate::files::{Files, answer};
use lab::{Program, Proxy, openssl, port};

/// HAProxy 2.6 shows no answer at all after the commit of a whole certificate.
#[test]
fn a_commit_brings_no_older_answer_back() {
    let files = Files::new();
    answer(&files.folder, "later.ocsp", 20);
    openssl(&[
        "base64",
        "-A",
        "-in",
        &files.path("later.ocsp"),
        "-out",
        &files.path("later"),
    ]);
    let (port, leaf) = (port(), files.path("leaf.pem"));
    let proxy = Proxy::start(
        &Program::mulgil(),
        &format!(
            "defaults\n    mode http\n    timeout client 5s\n    timeout server 5s\n    timeout connect 2s\nfrontend f\n    bind 127.0.0.1:{port} ssl crt {leaf}\n"
        ),
    );
    let until = || {
        let text = client(port, "leaf.example", &[]);
        let mut lines = text.lines().map(str::trim);
        let line = lines.find_map(|l| l.strip_prefix("Next Update: "));
        line.unwrap_or_default().to_string()
    };
    let first = until();
    assert_ne!(first, "");
    proxy.control(&files.with(&format!("set ssl cert {leaf}"), "leaf.pem"));
    let answer = files.text("later");
    let said = proxy.control(&format!("set ssl ocsp-response {}", answer.trim()));
    assert!(said.contains("updated!"), "{said}");
    let second = until();
    assert_ne!(first, second);
    let done = proxy.control(&format!("commit ssl cert {leaf}"));
    assert!(done.contains("Success!"), "{done}");
    assert_eq!(until(), second);
}
