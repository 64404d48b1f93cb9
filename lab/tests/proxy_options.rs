//! What a PROXY header of version 2 holds beside the addresses.

use lab::{Folder, Program, Proxy, Server, each, port};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::{Command, Stdio};

fn openssl(folder: &Folder, args: &[&str]) {
    let status = Command::new("openssl")
        .args(args)
        .current_dir(folder.path(""))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .expect("openssl is installed");
    assert!(status.success(), "{args:?}");
}

/// A certificate signed by itself, with its key.
fn certificate(folder: &Folder, name: &str) -> String {
    let (key, file) = (
        folder.path(&format!("{name}.key")),
        folder.path(&format!("{name}.crt")),
    );
    let subject = format!("/O=Lab/CN={name}");
    openssl(
        folder,
        &[
            "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj", &subject,
            "-keyout", &key, "-out", &file,
        ],
    );
    let read = |path: &str| std::fs::read(path).expect("a file");
    folder.file(&format!("{name}.pem"), &[read(&file), read(&key)].concat())
}

/// Answers with the extensions of the header that came first, in hexadecimal.
fn telling() -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let addr = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut all = Vec::new();
                let mut chunk = [0; 4096];
                while let Ok(n @ 1..) = stream.read(&mut chunk) {
                    all.extend_from_slice(&chunk[..n]);
                    let Some(request) = all.windows(4).rposition(|w| w == b"GET ") else {
                        continue;
                    };
                    // The signature, the fixed part and two addresses of IPv4 with their ports.
                    let told = all.get(28..request).unwrap_or_default();
                    let told: String = told.iter().map(|b| format!("{b:02x}")).collect();
                    let text = format!(
                        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{told}",
                        told.len()
                    );
                    let _ = stream.write_all(text.as_bytes());
                    return;
                }
            });
        }
    });
    Server::at(addr)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// An extension, by its type.
fn extension(kind: u8, value: &[u8]) -> Vec<u8> {
    [&[kind][..], &(value.len() as u16).to_be_bytes(), value].concat()
}

/// The body that a client gets over TLS 1.2, with a certificate of its own or without.
fn over_tls(program: &Program, port: u16, certificate: Option<&str>) -> String {
    let address = format!("127.0.0.1:{port}");
    let mut command = Command::new("openssl");
    command.args([
        "s_client",
        "-quiet",
        "-connect",
        &address,
        "-servername",
        "site.test",
        "-tls1_2",
    ]);
    command.args(["-cipher", "ECDHE-RSA-AES128-GCM-SHA256"]);
    if let Some(file) = certificate {
        command.args(["-cert", file, "-key", file]);
    }
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("openssl is installed");
    let mut input = child.stdin.take().expect("a pipe");
    input
        .write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .expect("it is sent");
    let mut answer = String::new();
    let mut output = child.stdout.take().expect("a pipe");
    let _ = output.read_to_string(&mut answer);
    drop(input);
    let _ = child.wait();
    let body = answer.split_once("\r\n\r\n");
    body.unwrap_or_else(|| panic!("{}: {answer}", program.name))
        .1
        .to_string()
}

fn start(
    program: &Program,
    mode: &str,
    tls: &str,
    web: u16,
    server: &Server,
    words: &str,
) -> Proxy {
    let text = format!(
        "defaults\n    mode {mode}\n    timeout client 5s\n    timeout server 5s\n    timeout connect 2s\n\
         frontend f\n    bind 127.0.0.1:{web} {tls}\n    unique-id-format id-%fp\n    default_backend b\n\
         backend b\n    server s {} {words}\n",
        server.addr
    );
    Proxy::start(program, &text)
}

#[test]
fn servers_are_told_of_the_clients_tls() {
    let folder = Folder::new();
    let (site, client) = (certificate(&folder, "site"), certificate(&folder, "client"));
    let tls = format!("ssl crt {site} ca-file {client} verify optional");
    each(|program| {
        let server = telling();
        for (words, shows, wanted) in [
            (
                "send-proxy-v2-ssl",
                false,
                extension(
                    0x20,
                    &[&[1, 0, 0, 0, 0][..], &extension(0x21, b"TLSv1.2")].concat(),
                ),
            ),
            (
                "send-proxy-v2 proxy-v2-options ssl",
                true,
                extension(
                    0x20,
                    &[&[7, 0, 0, 0, 0][..], &extension(0x21, b"TLSv1.2")].concat(),
                ),
            ),
            (
                "send-proxy-v2 proxy-v2-options ssl-cipher,cert-cn,authority",
                true,
                [
                    extension(2, b"site.test"),
                    extension(
                        0x20,
                        &[
                            &[7, 0, 0, 0, 0][..],
                            &extension(0x21, b"TLSv1.2"),
                            &extension(0x22, b"client"),
                            &extension(0x23, b"ECDHE-RSA-AES128-GCM-SHA256"),
                        ]
                        .concat(),
                    ),
                ]
                .concat(),
            ),
            (
                "send-proxy-v2-ssl-cn",
                true,
                extension(
                    0x20,
                    &[
                        &[7, 0, 0, 0, 0][..],
                        &extension(0x21, b"TLSv1.2"),
                        &extension(0x22, b"client"),
                    ]
                    .concat(),
                ),
            ),
        ] {
            let web = port();
            let _proxy = start(program, "http", &tls, web, &server, words);
            let told = over_tls(program, web, shows.then_some(&*client));
            assert_eq!(told, hex(&wanted), "{}: {words}", program.name);
        }
    });
}

#[test]
fn servers_are_told_the_unique_id_of_a_request_or_connection() {
    each(|program| {
        let server = telling();
        for mode in ["http", "tcp"] {
            let web = port();
            let words = "send-proxy-v2 proxy-v2-options unique-id,ssl";
            let _proxy = start(program, mode, "", web, &server, words);
            let id = format!("id-{web}");
            let told = lab::get(web, "/").body;
            assert_eq!(
                told,
                hex(&[extension(5, id.as_bytes()), extension(0x20, &[0; 5])].concat()),
                "{}: {mode}",
                program.name
            );
        }
    });
}
