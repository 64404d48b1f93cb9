//! Debian's openssl, which makes certificates and is the other side of TLS.

use crate::Folder;
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

/// A certificate that nobody vouches for, for `NAME.example` in Lab, with its key: the paths of `NAME.k` and
/// `NAME.c` in a folder.
pub fn certificate(folder: &Folder, name: &str) -> (String, String) {
    let (key, cert) = (
        folder.path(&format!("{name}.k")),
        folder.path(&format!("{name}.c")),
    );
    let subject = format!("/O=Lab/CN={name}.example");
    let names = format!("subjectAltName=DNS:{name}.example");
    let new = ["req", "-x509", "-nodes", "-days", "30", "-subj", &subject];
    let curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"];
    let made = ["-addext", &names, "-keyout", &key, "-out", &cert];
    openssl(&[&new[..], &curve, &made].concat());
    (key, cert)
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
