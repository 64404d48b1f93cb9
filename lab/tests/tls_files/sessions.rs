//! Sessions that are taken up again elsewhere, by the keys that a farm shares.

use crate::{files::Files, start};
use lab::{Program, Proxy, each, port};
use std::io::Write;
use std::process::{Command, Stdio};

/// A request in a session that is kept in a file (`-sess_out`) or taken from there (`-sess_in`):
/// the last line of the answer, nothing where there is none.
fn over_session(port: u16, version: &str, how: &str, session: &str) -> String {
    let address = format!("127.0.0.1:{port}");
    let mut child = Command::new("openssl")
        .args([
            "s_client", "-connect", &address, version, how, session, "-quiet",
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("openssl is installed");
    let request = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    // A client that is refused may be gone before it has read this.
    let _ = child.stdin.as_mut().expect("piped").write_all(request);
    let output = child.wait_with_output().expect("it ends");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().last().unwrap_or("").to_string()
}

#[test]
fn a_session_of_one_machine_is_resumed_on_another_with_the_same_keys() {
    let files = Files::new();
    each(|program| {
        let (first, second) = ([port(), port(), port()], [port(), port(), port()]);
        let (_one, other) = (
            start(program, &files, first),
            start(program, &files, second),
        );
        let session = files.path(&format!("session-{}", program.name));
        let resumed = |port: u16, how: &str| over_session(port, "-tls1_2", how, &session);
        assert_eq!(
            resumed(first[2], "-sess_out"),
            "0 0 one.example",
            "{}",
            program.name
        );
        assert_eq!(
            resumed(second[2], "-sess_in"),
            "0 1 one.example",
            "{}",
            program.name
        );
        // One key on, that of the ticket is the oldest; one more, and nobody knows it.
        for (key, wanted) in [("A", "0 1 one.example"), ("B", "0 0 one.example")] {
            let answer = other.control(&format!("set ssl tls-key #0 {}", key.repeat(64)));
            assert!(answer.contains("TLS ticket key updated!"), "{answer}");
            assert_eq!(
                resumed(second[2], "-sess_in"),
                wanted,
                "{}: {key}",
                program.name
            );
        }
    });
}

/// HAProxy 2.6 lets a client in by a session of a listener that asked for no certificate.
#[test]
fn a_session_of_another_listener_replaces_no_certificate() {
    let files = Files::new();
    let (open, strict, lenient) = (port(), port(), port());
    let (one, root, keys) = (
        files.path("one.pem"),
        files.path("root.c"),
        files.path("tickets"),
    );
    let bind = |port: u16, judging: &str| {
        format!("    bind 127.0.0.1:{port} ssl crt {one} tls-ticket-keys {keys}{judging}\n")
    };
    let binds = [
        bind(open, ""),
        bind(strict, &format!(" ca-file {root} verify required")),
        bind(lenient, &format!(" ca-file {root} verify optional")),
    ];
    let proxy = Proxy::start(
        &Program::mulgil(),
        &format!(
            "defaults\n    mode http\n    timeout client 5s\n    timeout server 5s\n    timeout connect 2s\nfrontend f\n{}    http-request return status 200 content-type text/plain lf-string \"%[ssl_c_used] %[ssl_fc_is_resumed]\"\n",
            binds.concat()
        ),
    );
    for (version, refused) in [("-tls1_2", "1"), ("-tls1_3", "2")] {
        let session = files.path(&format!("session{version}"));
        let ask = |port: u16, how: &str| over_session(port, version, how, &session);
        assert_eq!(ask(open, "-sess_out"), "0 0", "{version}");
        assert_eq!(ask(open, "-sess_in"), "0 1", "{version}");
        assert_eq!(ask(lenient, "-sess_in"), "0 1", "{version}");
        assert_eq!(ask(strict, "-sess_in"), "", "{version}");
        proxy.wait_for("f", "FRONTEND", "ssl_failed_handshake", refused);
    }
}
