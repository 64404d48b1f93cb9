//! Debian's openssl, which makes certificates and is the other side of TLS.

use std::process::{Child, Command, Stdio};

/// Runs it to its end, which must be a good one; what it wrote.
pub fn openssl(args: &[&str]) -> String {
    let output = Command::new("openssl")
        .args(args)
        .stdin(Stdio::null())
        .output()
        .expect("openssl is installed");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "openssl {args:?}: {text}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A client that stays after its handshake with a port of the loopback, and sends what it is given.
pub fn tls_client(port: u16) -> Child {
    Command::new("openssl")
        .args(["s_client", "-quiet", "-connect"])
        .arg(format!("127.0.0.1:{port}"))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("openssl is installed")
}
