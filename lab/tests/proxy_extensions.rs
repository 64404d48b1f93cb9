//! What the PROXY protocol says besides addresses: extensions that are read and written, and rules
//! that ask for a header.

use lab::{Client, Program, Proxy, each, openssl, port};
use std::io::{Read, Write};
use std::process::{Command, Stdio};

const TIMES: &str =
    "defaults\n    timeout client 2s\n    timeout server 2s\n    timeout connect 1s\n";

/// A header of version 2 from 192.0.2.7:1234 to 198.51.100.8:443 with extensions.
fn header(extensions: &[(u8, &[u8])]) -> Vec<u8> {
    let mut content = vec![192, 0, 2, 7, 198, 51, 100, 8, 0x04, 0xd2, 0x01, 0xbb];
    for (kind, value) in extensions {
        content.push(*kind);
        content.extend_from_slice(&(value.len() as u16).to_be_bytes());
        content.extend_from_slice(value);
    }
    let mut bytes = b"\r\n\r\n\0\r\nQUIT\n\x21\x11".to_vec();
    bytes.extend_from_slice(&(content.len() as u16).to_be_bytes());
    bytes.extend_from_slice(&content);
    bytes
}

/// Reads one header: the command and family, and the extensions.
fn read(stream: &mut impl Read) -> (Vec<u8>, Vec<(u8, Vec<u8>)>) {
    let mut fixed = [0; 16];
    stream.read_exact(&mut fixed).expect("a header");
    assert_eq!(&fixed[..12], b"\r\n\r\n\0\r\nQUIT\n");
    let mut rest = vec![0; usize::from(u16::from_be_bytes([fixed[14], fixed[15]]))];
    stream.read_exact(&mut rest).expect("a header");
    let mut at = 12;
    let mut all = Vec::new();
    while at < rest.len() {
        let length = usize::from(u16::from_be_bytes([rest[at + 1], rest[at + 2]]));
        all.push((rest[at], rest[at + 3..at + 3 + length].to_vec()));
        at += 3 + length;
    }
    (fixed[12..14].to_vec(), all)
}

#[test]
fn extensions_of_a_header_can_be_asked_for() {
    each(|program| {
        let port = port();
        // fc_pp_tlv is younger than the oracle.
        let own = match program.name {
            "mulgil" => " tlv=%[fc_pp_tlv(0xE1)]/%[fc_pp_tlv(AUTHORITY)]/%[fc_pp_tlv(7)]",
            _ => "",
        };
        let _proxy = Proxy::start(
            program,
            &format!(
                "{TIMES}    mode http\nfrontend f\n    bind 127.0.0.1:{port} accept-proxy\n    http-request return status 200 content-type text/plain lf-string \"%[fc_rcvd_proxy] %[fc_pp_authority] %[fc_pp_unique_id]{own}\"\n"
            ),
        );
        let mut client = Client::connect(port);
        client.send(header(&[
            (0x02, b"www.example"),
            (0x05, b"id-7"),
            (0xe1, b"mine"),
        ]));
        let said = client.ask("GET / HTTP/1.1\r\nHost: x\r\n\r\n").body;
        let wanted = match program.name {
            "mulgil" => "1 www.example id-7 tlv=mine/www.example/",
            _ => "1 www.example id-7",
        };
        assert_eq!(said, wanted, "{}", program.name);
    });
}

#[test]
fn a_rule_asks_some_clients_for_a_header() {
    each(|program| {
        let port = port();
        let _proxy = Proxy::start(
            program,
            &format!(
                "{TIMES}    mode http\nfrontend f\n    bind 127.0.0.1:{port}\n    tcp-request connection expect-proxy layer4 if {{ src 127.0.0.9 }}\n    http-request return status 200 content-type text/plain lf-string \"%[src] %[fc_rcvd_proxy]\"\n"
            ),
        );
        let ask = |from: [u8; 4], first: &[u8]| {
            let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)
                .expect("a socket");
            socket
                .bind(&std::net::SocketAddr::from((from, 0)).into())
                .expect("an address of ours");
            let to = std::net::SocketAddr::from(([127, 0, 0, 1], port));
            socket.connect(&to.into()).expect("it listens");
            let mut client = Client::of(socket.into());
            client.send(first);
            client.ask("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        };
        let with = ask([127, 0, 0, 9], &header(&[]));
        assert_eq!(with.body, "192.0.2.7 1", "{}", program.name);
        assert_eq!(ask([127, 0, 0, 9], b"").status, 0, "{}", program.name);
        let without = ask([127, 0, 0, 1], b"");
        assert_eq!(without.body, "127.0.0.1 0", "{}", program.name);
        let uninvited = ask([127, 0, 0, 1], &header(&[]));
        assert_eq!(uninvited.status, 400, "{}", program.name);
    });
}

#[test]
fn a_server_is_told_what_its_line_says() {
    each(|program| {
        let origin = lab::listener();
        let port = port();
        let _proxy = Proxy::start(
            program,
            &format!(
                "{TIMES}    mode tcp\nfrontend f\n    bind 127.0.0.1:{port}\n    unique-id-format id-%[src]-%[var(txn.said)]\n    tcp-request content set-var(txn.said) str(this)\n    default_backend b\nbackend b\n    server s {} send-proxy-v2 proxy-v2-options ssl,cert-cn,ssl-cipher,authority,unique-id\n",
                origin.local_addr().expect("an address")
            ),
        );
        let _client = Client::connect(port);
        let (mut server, _) = origin.accept().expect("a connection");
        let (kind, mut all) = read(&mut server);
        assert_eq!(kind, [0x21, 0x11], "{}", program.name);
        all.sort();
        let id = (0x05, b"id-127.0.0.1-this".to_vec());
        println!("{}: {all:?}", program.name);
        assert!(all.contains(&id), "{}: {all:?}", program.name);
        let ssl = all.iter().find(|(kind, _)| *kind == 0x20);
        // Nothing is known of TLS where there is none: no flag is set.
        assert!(
            ssl.is_none_or(|(_, v)| v[0] == 0),
            "{}: {all:?}",
            program.name
        );
    });
}

/// The parts of an extension about TLS, behind its flags and the result of the check.
fn parts(mut bytes: &[u8]) -> Vec<(u8, String)> {
    let mut all = Vec::new();
    while let [kind, high, low, rest @ ..] = bytes {
        let (value, after) = rest.split_at(usize::from(u16::from_be_bytes([*high, *low])));
        all.push((*kind, String::from_utf8_lossy(value).into_owned()));
        bytes = after;
    }
    all.sort();
    all
}

#[test]
fn a_server_is_told_of_the_clients_tls() {
    let folder = lab::Folder::new();
    let path = |name: &str| folder.path(name);
    // An authority, and a client whom it knows.
    let new = ["req", "-nodes", "-newkey", "rsa:2048"];
    let ours = ["-x509", "-days", "2", "-subj", "/CN=authority"];
    openssl(
        &[
            &new[..],
            &ours,
            &["-keyout", &path("a.key"), "-out", &path("a.pem")],
        ]
        .concat(),
    );
    let asked = ["-subj", "/O=Lab/CN=client.example"];
    openssl(
        &[
            &new[..],
            &asked,
            &["-keyout", &path("c.key"), "-out", &path("c.req")],
        ]
        .concat(),
    );
    let extensions = folder.file("extensions", b"subjectAltName=DNS:client.example\n");
    let by = [
        "-CA",
        &path("a.pem"),
        "-CAkey",
        &path("a.key"),
        "-CAcreateserial",
    ];
    let signed = [
        "x509",
        "-req",
        "-days",
        "2",
        "-in",
        &path("c.req"),
        "-extfile",
        &extensions,
    ];
    openssl(&[&signed[..], &by, &["-out", &path("c.pem")]].concat());
    let both = [path("a.pem"), path("a.key")].map(|p| std::fs::read(p).expect("a file"));
    let site = folder.file("site.pem", &both.concat());
    let told = std::cell::RefCell::new(Vec::new());
    each(|program| {
        let origin = lab::listener();
        let port = port();
        let _proxy = Proxy::start(
            program,
            &format!(
                "{TIMES}    mode tcp\nlisten f\n    bind 127.0.0.1:{port} ssl crt {site} ca-file {} verify optional ssl-min-ver TLSv1.3\n    \
                 server s {} send-proxy-v2 proxy-v2-options ssl,cert-cn,ssl-cipher,cert-sig,cert-key,authority,crc32c\n",
                path("a.pem"),
                origin.local_addr().expect("an address")
            ),
        );
        for with in [true, false] {
            let mut client = Command::new("openssl");
            client.args([
                "s_client",
                "-quiet",
                "-servername",
                "www.example",
                "-connect",
            ]);
            client.arg(format!("127.0.0.1:{port}"));
            client.args(["-ciphersuites", "TLS_AES_128_GCM_SHA256"]);
            if with {
                client.args(["-cert", &path("c.pem"), "-key", &path("c.key")]);
            }
            client.stdin(Stdio::piped()).stdout(Stdio::null());
            let mut client = client.stderr(Stdio::null()).spawn().expect("it starts");
            let (mut server, _) = origin.accept().expect("a connection");
            let (_, all) = read(&mut server);
            let _ = client.kill();
            let _ = client.wait();
            let value = |kind| all.iter().find(|(k, _)| *k == kind).map(|(_, v)| v.clone());
            assert_eq!(value(0x02).as_deref(), Some(&b"www.example"[..]));
            assert_eq!(value(0x03).map(|v| v.len()), Some(4), "a checksum");
            let ssl = value(0x20).expect("what is known of TLS");
            assert_eq!(ssl[0], if with { 7 } else { 1 }, "{}", program.name);
            assert_eq!(ssl[1..5], [0; 4], "{}", program.name);
            let parts = parts(&ssl[5..]);
            assert!(parts.contains(&(0x21, "TLSv1.3".into())), "{parts:?}");
            let name = parts.contains(&(0x22, "client.example".into()));
            assert_eq!(name, with, "{}: {parts:?}", program.name);
            told.borrow_mut().push((with, parts));
        }
    });
    // Both programs tell the same.
    if let [a, b, c, d] = told.borrow().as_slice() {
        assert_eq!([a, b], [c, d]);
    }
}

#[test]
fn checks_begin_with_a_header_where_that_is_asked_for() {
    each(|program| {
        let origin = lab::listener();
        let addr = origin.local_addr().expect("an address");
        // Says `ok` to who begins as it must: `f` by a line, `g` by a binary header.
        std::thread::spawn(move || {
            for mut stream in origin.incoming().flatten() {
                std::thread::spawn(move || {
                    let mut bytes = [0; 16];
                    if stream.read_exact(&mut bytes).is_ok() {
                        let line = bytes.starts_with(b"PROXY TCP4 127.0");
                        let binary = bytes.starts_with(b"\r\n\r\n\0\r\nQUIT\n");
                        let said = match (line, binary) {
                            (true, _) => "line",
                            (_, true) => "binary",
                            _ => "neither",
                        };
                        let _ = stream.write_all(said.as_bytes());
                        let _ = stream.read(&mut bytes);
                    }
                });
            }
        });
        let back = |name: &str, expect: &str, words: &str| {
            format!(
                "backend {name}\n    option tcp-check\n    tcp-check expect string {expect}\n    \
                 server s {addr} check inter 100ms fall 1 rise 1 {words}\n"
            )
        };
        let text = format!(
            "{TIMES}    mode tcp\n{}{}{}",
            back("one", "line", "check-send-proxy"),
            back("two", "binary", "send-proxy-v2 check-send-proxy"),
            back("none", "line", ""),
        );
        let proxy = Proxy::start(program, &text);
        proxy.wait_for("none", "s", "status", "DOWN");
        for name in ["one", "two"] {
            proxy.wait_for(name, "s", "status", "UP");
            proxy.wait_for(name, "s", "check_status", "L7OK");
        }
    });
}

#[test]
fn a_server_of_http_reads_its_clients_address_in_fields() {
    let server = lab::Server::named("s");
    let ask = |program: &Program, option: &str| {
        let port = port();
        let text = format!(
            "{TIMES}    mode http\nlisten l\n    bind 127.0.0.1:{port}\n    {option}\n    server s {}\n",
            server.addr
        );
        let _proxy = Proxy::start(program, &text);
        let mut client = Client::connect_from([127, 0, 0, 5], port);
        client.ask("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
        server.requests().last().cloned().unwrap_or_default()
    };
    each(|program| {
        let seen = ask(program, "option forwardfor").to_lowercase();
        assert!(seen.contains("x-forwarded-for: 127.0.0.5\r\n"), "{seen}");
    });
    // RFC 7239; the oracle's version does not have it.
    let seen = ask(&Program::mulgil(), "option forwarded").to_lowercase();
    assert!(
        seen.contains("forwarded: proto=http;for=127.0.0.5\r\n"),
        "{seen}"
    );
}

#[test]
fn extensions_are_made_by_formats() {
    let origin = lab::listener();
    let port = port();
    let _proxy = Proxy::start(
        &Program::mulgil(),
        &format!(
            "{TIMES}    mode http\nlisten l\n    bind 127.0.0.1:{port}\n    server s {} send-proxy-v2 set-proxy-v2-tlv-fmt(0xE0) %[req.hdr(host)] set-proxy-v2-tlv-fmt(225) %[src]\n",
            origin.local_addr().expect("an address")
        ),
    );
    let mut client = Client::connect(port);
    client.send("GET / HTTP/1.1\r\nHost: www.example\r\n\r\n");
    let (mut server, _) = origin.accept().expect("a connection");
    let (_, all) = read(&mut server);
    assert_eq!(
        all,
        [
            (0xe0, b"www.example".to_vec()),
            (0xe1, b"127.0.0.1".to_vec())
        ]
    );
}

#[test]
fn what_is_wrong_with_a_line_is_said() {
    let folder = lab::Folder::new();
    for (words, wanted) in [
        (
            "send-proxy-v2 proxy-v2-options crc",
            "use crc32c, authority",
        ),
        ("set-proxy-v2-tlv-fmt(300) x", "a type from 0 to 255"),
        ("source 0.0.0.0 usesrc", "'usesrc' wants client"),
        ("source 0.0.0.0 usesrc hdr_ip(x,one)", "is no hdr_ip"),
    ] {
        let text = format!("{TIMES}    mode http\nbackend b\n    server s 127.0.0.1:1 {words}\n");
        let file = folder.file("a.cfg", text.as_bytes());
        let (status, said) = Program::mulgil().run(&["-c", "-f", &file]);
        assert!(status != 0 && said.contains(wanted), "{words}: {said}");
    }
}
