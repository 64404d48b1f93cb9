//! The words of TLS one by one, as a user would find out what they do: forms of files, lists of
//! certificates, clients that misbehave, servers, and what is kept for both. The same through mulgil
//! and the oracle.

mod clients;
mod files;
mod lists;
mod servers;
mod trust;

use lab::{Folder, openssl};
use std::io::Write;
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

/// What every file of these scenarios begins with.
const TIMES: &str = "defaults\n    mode http\n    timeout client 5s\n    timeout server 5s\n    timeout connect 2s\n    timeout check 5s\n";

/// Certificates, made once: `one`, `two` and `rsa` vouch for themselves (as `….pem` with their keys,
/// `….c` and `….k` apart), `root` for `client` and for `inter`, and `inter` for `leaf`.
fn made() -> &'static Folder {
    static MADE: OnceLock<Folder> = OnceLock::new();
    MADE.get_or_init(|| {
        let folder = Folder::new();
        for (name, key) in [
            ("one", &EC[..]),
            ("two", &EC),
            ("root", &EC),
            ("rsa", &["-newkey", "rsa:2048"]),
        ] {
            let (key_file, cert) = parts(&folder, name);
            let subject = format!("/O=Lab/CN={name}.example");
            let names = format!("subjectAltName=DNS:{name}.example,DNS:*.{name}.example");
            let mut args = vec!["req", "-x509", "-nodes", "-days", "30"];
            args.extend(key);
            args.extend(["-keyout", &key_file, "-out", &cert, "-subj", &subject]);
            args.extend(["-addext", &names]);
            openssl(&args);
            join(&folder, &format!("{name}.pem"), &[&cert, &key_file]);
        }
        let extensions = [
            folder.file("ee", b"basicConstraints=CA:FALSE\n"),
            folder.file("ca", b"basicConstraints=critical,CA:TRUE\n"),
        ];
        for (name, by, kind) in [
            ("client", "root", 0),
            ("inter", "root", 1),
            ("leaf", "inter", 0),
        ] {
            let (key, cert) = parts(&folder, name);
            let (signer_key, signer) = parts(&folder, by);
            let (request, subject) = (folder.path("request"), format!("/O=Lab/CN={name}"));
            let mut args = vec!["req", "-new", "-nodes"];
            args.extend(EC);
            args.extend(["-keyout", &key, "-out", &request, "-subj", &subject]);
            openssl(&args);
            openssl(&[
                "x509",
                "-req",
                "-days",
                "30",
                "-in",
                &request,
                "-CA",
                &signer,
                "-CAkey",
                &signer_key,
                "-CAcreateserial",
                "-extfile",
                &extensions[kind],
                "-out",
                &cert,
            ]);
            join(&folder, &format!("{name}.pem"), &[&cert, &key]);
        }
        folder
    })
}

const EC: [&str; 4] = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"];

/// Where key and certificate of that name are.
fn parts(folder: &Folder, name: &str) -> (String, String) {
    (
        folder.path(&format!("{name}.k")),
        folder.path(&format!("{name}.c")),
    )
}

/// A file of the contents of others.
fn join(folder: &Folder, name: &str, files: &[&str]) -> String {
    let text = files.iter().map(|f| std::fs::read(f).expect("a file"));
    folder.file(name, &text.collect::<Vec<_>>().concat())
}

/// Words with `@` for the folder of certificates.
fn at(words: &str) -> String {
    words.replace('@', &made().path(""))
}

/// `openssl s_client` to a port: it sends this and reads until the other side closes, or says nothing
/// and leaves after the handshake.
fn client(port: u16, words: &str, send: &str) -> Output {
    let mut child = Command::new("openssl")
        .args(["s_client", "-connect", &format!("127.0.0.1:{port}")])
        .args(at(words).split_whitespace())
        .args((!send.is_empty()).then_some("-ign_eof"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("openssl is installed");
    // One that is refused may be gone before it has read this.
    let _ = child
        .stdin
        .take()
        .expect("piped")
        .write_all(send.as_bytes());
    child.wait_with_output().expect("it ends")
}

/// A request whose connection ends with its answer.
const GET: &str = "GET / HTTP/1.1\r\nHost: one.example\r\nConnection: close\r\n\r\n";

/// The last line of the answer to a request over TLS; empty where there was none.
fn answer(port: u16, words: &str) -> String {
    let output = client(port, &format!("{words} -quiet"), GET);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().last().unwrap_or("").to_string()
}

/// The name in the certificate that a client is shown; empty where the handshake failed.
fn shown(port: u16, words: &str) -> String {
    let output = client(port, words, "");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = text.lines().find_map(|l| l.trim().strip_prefix("subject="));
    let line = line.unwrap_or("").replace(' ', "");
    line.rsplit_once("CN=")
        .map_or(String::new(), |c| c.1.to_string())
}
