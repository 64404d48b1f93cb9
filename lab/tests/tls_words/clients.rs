//! Clients that misbehave, clients that come back, and how many there may be.

use crate::{GET, TIMES, answer, at, client, made};
use lab::{Client, LogSink, PATIENCE, Program, Proxy, each, openssl, port, tls_client};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::{Command, Stdio};
use std::time::Instant;

const BODY: &str = "    http-request return status 200 content-type text/plain lf-string";

/// Whether the other side closes after these bytes, whatever it says before.
fn is_left(port: u16, bytes: &[u8], end: bool) -> bool {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
    // Who has left may not read what comes after the first bytes.
    let _ = stream.write_all(bytes);
    if end {
        let _ = stream.shutdown(Shutdown::Write);
    }
    let mut chunk = [0; 4096];
    loop {
        match stream.read(&mut chunk) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(e) => return e.kind() == std::io::ErrorKind::ConnectionReset,
        }
    }
}

/// A handshake record of this content.
fn record(kind: u8, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).expect("a record");
    [&[kind, 3, 1][..], &length.to_be_bytes(), content].concat()
}

/// A ClientHello of TLS 1.2 with these extensions.
fn hello(extensions: &[u8]) -> Vec<u8> {
    let mut body = vec![3, 3];
    body.extend([7; 32]);
    body.push(0);
    body.extend([0, 2, 0xc0, 0x2b, 1, 0]);
    body.extend(
        u16::try_from(extensions.len())
            .expect("short")
            .to_be_bytes(),
    );
    body.extend(extensions);
    let length = u32::try_from(body.len()).expect("short").to_be_bytes();
    [&[1][..], &length[1..], &body].concat()
}

#[test]
fn a_hostile_client_costs_its_own_connection_and_no_other() {
    each(|program| {
        let port = port();
        let one = at("@one.pem");
        // Those who stall leave after this; HAProxy 2.6 has no 'timeout client-hs'.
        let text = TIMES.replace("timeout client 5s", "timeout client 1s");
        let proxy = Proxy::start(
            program,
            &format!("{text}frontend f\n    bind 127.0.0.1:{port} ssl crt {one}\n{BODY} fine\n"),
        );
        let mut truncated = record(22, &hello(&[]));
        truncated.truncate(truncated.len() - 10);
        // An extension that says it is longer than its message (server_name, RFC 6066).
        let lying = record(22, &hello(&[0, 0, 0xff, 0xff, 0, 1]));
        let twice = [0, 23, 0, 0, 0, 23, 0, 0];
        let sslv2 = [
            0x80, 0x2e, 1, 0, 2, 0, 0x15, 0, 0, 0, 0x10, 1, 0, 0x80, 2, 0, 0x80, 3, 0, 0x80,
        ];
        let dripped: Vec<u8> = hello(&[])
            .iter()
            .take(20)
            .flat_map(|b| record(22, &[*b]))
            .collect();
        let cases: Vec<(&str, Vec<u8>, bool)> = vec![
            ("plain HTTP", GET.into(), false),
            ("garbage", vec![0x55; 5000], false),
            ("a hello of SSL 2", sslv2.to_vec(), true),
            ("half a hello, then the end", truncated.clone(), true),
            ("half a hello, then nothing", truncated, false),
            ("nothing at all", vec![], false),
            ("one byte", vec![22], false),
            ("a record of no bytes", record(22, &[]), false),
            (
                "a record longer than any",
                vec![22, 3, 1, 0xff, 0xff, 1, 0],
                false,
            ),
            (
                "a hello longer than any",
                record(22, &[1, 0xff, 0xff, 0xff, 3, 3]),
                false,
            ),
            ("a hello in twenty records and no end", dripped, false),
            ("an extension longer than its message", lying, false),
            ("an extension twice", record(22, &hello(&twice)), false),
            ("a hello of SSL 3", record(22, &[1, 0, 0, 38, 3, 0]), true),
            ("no cipher in common", record(22, &hello(&[])), false),
            ("an alert first", record(21, &[2, 40]), false),
            ("data first", record(23, &[9; 64]), false),
            ("a change of ciphers first", record(20, &[1]), true),
            ("a heartbeat", vec![24, 3, 2, 0, 3, 1, 0x40, 0], false),
            ("a server's hello", record(22, &[2, 0, 0, 2, 3, 3]), false),
        ];
        for (case, bytes, end) in &cases {
            assert!(is_left(port, bytes, *end), "{}: {case}", program.name);
            assert_eq!(answer(port, ""), "fine", "{}: after {case}", program.name);
        }
        // All of them are gone: what is left is the connection that asks.
        proxy.wait_for("f", "FRONTEND", "scur", "0");
        assert_eq!(
            proxy.stat("f", "FRONTEND", "hrsp_2xx"),
            cases.len().to_string()
        );
    });
}

#[test]
fn a_client_that_renegotiates_or_leaves_without_a_word_costs_itself() {
    each(|program| {
        let port = port();
        let sink = LogSink::new();
        let one = at("@one.pem");
        let proxy = Proxy::start(
            program,
            &format!(
                "{TIMES}    log 127.0.0.1:{} local0\n    option httplog\nfrontend f\n    bind 127.0.0.1:{port} ssl crt {one}\n{BODY} fine\n",
                sink.port
            ),
        );
        // `R` on a line of its own has openssl's client renegotiate.
        let mut child = Command::new("openssl")
            .args([
                "s_client",
                "-connect",
                &format!("127.0.0.1:{port}"),
                "-tls1_2",
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("openssl is installed");
        let mut input = child.stdin.take().expect("piped");
        input.write_all(b"R\n").expect("it reads");
        let output = child.wait_with_output().expect("it ends");
        drop(input);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            text.contains("no renegotiation"),
            "{}: {text}",
            program.name
        );
        assert_eq!(answer(port, ""), "fine", "{}", program.name);
        // In the middle of a request, with no notice that this is the end.
        let mut child = tls_client(port);
        let mut input = child.stdin.take().expect("piped");
        input
            .write_all(b"GET /half HTTP/1.1\r\nHost")
            .expect("it reads");
        proxy.wait_for("f", "FRONTEND", "scur", "1");
        // The handshake is between its connection and the half request, and nothing tells of its end.
        std::thread::sleep(std::time::Duration::from_secs(1));
        child.kill().expect("it runs");
        child.wait().expect("it ends");
        let line = sink.line(" CR-- ");
        assert!(line.contains("<BADREQ>"), "{}: {line}", program.name);
        proxy.wait_for("f", "FRONTEND", "scur", "0");
        assert_eq!(answer(port, ""), "fine", "{}", program.name);
    });
}

#[test]
fn a_handshake_may_have_less_time_than_a_client() {
    let port = port();
    let one = at("@one.pem");
    let sink = LogSink::new();
    let times = TIMES.replace(
        "timeout client 5s",
        "timeout client 1h\n    timeout client-hs 300ms",
    );
    let _proxy = Proxy::start(
        &Program::mulgil(),
        &format!(
            "{times}    option httplog\n    log 127.0.0.1:{} local0\nfrontend f\n    bind 127.0.0.1:{port} ssl crt {one}\n{BODY} fine\n",
            sink.port
        ),
    );
    let _stalled = Client::connect(port);
    sink.line("Timeout during SSL handshake");
    assert_eq!(answer(port, ""), "fine");
}

/// Whether a client that comes back with the session of this file is known.
fn resumed(port: u16, version: &str, how: &str, session: &str) -> String {
    answer(port, &format!("{version} {how} {session}"))
}

#[test]
fn a_session_is_known_to_every_worker_and_for_its_lifetime() {
    each(|program| {
        let (tickets, kept, short, none) = (port(), port(), port(), port());
        let one = at("@one.pem");
        let bind =
            |port: u16, words: &str| format!("    bind 127.0.0.1:{port} ssl crt {one} {words}\n");
        let start = |global: &str, binds: &str| {
            Proxy::start(
                program,
                &format!("{global}{TIMES}frontend f\n{binds}{BODY} \"%[ssl_fc_is_resumed]\"\n"),
            )
        };
        let binds = bind(tickets, "") + &bind(kept, "no-tls-tickets");
        let _proxy = start("", &binds);
        let _short = start("    tune.ssl.lifetime 1\n", &bind(short, ""));
        let none_text = "    tune.ssl.cachesize 0\n";
        let _none = start(none_text, &bind(none, "no-tls-tickets ssl-max-ver TLSv1.2"));
        for version in ["-tls1_2", "-tls1_3"] {
            for (port, words) in [(tickets, "tickets"), (kept, "kept")] {
                let session = made().path(&format!("{}{words}{version}", program.name));
                assert_eq!(resumed(port, version, "-sess_out", &session), "0");
                // Two workers take them in turn; a session of TLS 1.3 that is kept is given once.
                let again = if words == "kept" && version == "-tls1_3" {
                    1
                } else {
                    6
                };
                for n in 0..again {
                    let known = resumed(port, version, "-sess_in", &session);
                    assert_eq!(known, "1", "{}: {version} {words} {n}", program.name);
                }
            }
        }
        let session = made().path(&format!("{}short", program.name));
        assert_eq!(resumed(short, "-tls1_2", "-sess_out", &session), "0");
        let end = Instant::now() + PATIENCE;
        while resumed(short, "-tls1_2", "-sess_in", &session) != "0" {
            assert!(Instant::now() < end, "{}: known for ever", program.name);
        }
        // HAProxy 2.6 keeps a few whatever it is told.
        if program.name == "mulgil" {
            assert_eq!(resumed(none, "-tls1_2", "-sess_out", &session), "0");
            assert_eq!(resumed(none, "-tls1_2", "-sess_in", &session), "0");
        }
    });
}

#[test]
fn a_session_has_an_id_by_which_rules_know_it_again() {
    each(|program| {
        let port = port();
        let one = at("@one.pem");
        let _proxy = Proxy::start(
            program,
            &format!(
                "{TIMES}frontend f\n    bind 127.0.0.1:{port} ssl crt {one} no-tls-tickets\n{BODY} \"%[ssl_fc_session_id,hex]\"\n"
            ),
        );
        let session = made().path(&format!("{}-id", program.name));
        let first = resumed(port, "-tls1_2", "-sess_out", &session);
        assert_eq!(first.len(), 64, "{}: {first}", program.name);
        assert_eq!(resumed(port, "-tls1_2", "-sess_in", &session), first);
        assert_ne!(answer(port, "-tls1_2"), first, "{}", program.name);
    });
}

#[test]
fn records_are_no_longer_than_told() {
    let body = "x".repeat(20_000);
    let file = made().file("body", body.as_bytes());
    each(|program| {
        for (global, most) in [
            ("", (1 << 14) + 256),
            ("    tune.ssl.hard-maxrecord 1400\n", 1400 + 64),
        ] {
            let port = port();
            let one = at("@one.pem");
            let _proxy = Proxy::start(
                program,
                &format!(
                    "    tune.bufsize 65536\n{global}{TIMES}frontend f\n    bind 127.0.0.1:{port} ssl crt {one}\n    http-request return status 200 content-type text/plain file {file}\n"
                ),
            );
            let output = client(port, "-tls1_3 -msg", GET);
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            // After a line that ends with what follows, the header of each record in hexadecimal.
            let mut lines = text.lines();
            let mut lengths = Vec::new();
            while let Some(line) = lines.next() {
                if line.contains("<<< ") && line.contains("RecordHeader") {
                    let header = lines.next().unwrap_or("").replace(' ', "");
                    if let Some(length) = header.strip_prefix("170303") {
                        lengths.push(usize::from_str_radix(&length[..4], 16).expect("hex"));
                    }
                }
            }
            let longest = lengths.iter().max().copied().unwrap_or(0);
            assert!(
                (1000..=most).contains(&longest),
                "{}: {lengths:?}",
                program.name
            );
            let all: usize = lengths.iter().sum();
            assert!(all > 20_000, "{}: {lengths:?}", program.name);
        }
    });
}

#[test]
fn only_so_many_connections_of_tls_are_open_at_a_time() {
    each(|program| {
        let (tls, plain) = (port(), port());
        let one = at("@one.pem");
        let proxy = Proxy::start(
            program,
            &format!(
                "    maxsslconn 1\n{TIMES}frontend f\n    bind 127.0.0.1:{tls} ssl crt {one}\n    bind 127.0.0.1:{plain}\n{BODY} fine\n"
            ),
        );
        let mut first = tls_client(tls);
        let open = || {
            let info = proxy.control("show info");
            let line = info.lines().find_map(|l| l.strip_prefix("CurrSslConns: "));
            line.unwrap_or_default().to_string()
        };
        let end = Instant::now() + PATIENCE;
        while open() != "1" {
            assert!(Instant::now() < end, "{}: no connection", program.name);
        }
        // Others are not held up, and this one never gets in while the first stays.
        assert_eq!(lab::get(plain, "/").status, 200, "{}", program.name);
        let mut second = tls_client(tls);
        for _ in 0..20 {
            assert_eq!(open(), "1", "{}", program.name);
        }
        first.kill().expect("it runs");
        first.wait().expect("it ends");
        second.kill().expect("it runs");
        second.wait().expect("it ends");
        let end = Instant::now() + PATIENCE;
        while answer(tls, "") != "fine" {
            assert!(Instant::now() < end, "{}: nobody gets in", program.name);
        }
        assert!(proxy.control("show info").contains("MaxSslConns: 1\n"));
    });
}

#[test]
fn sessions_of_tls_have_a_rate_of_their_own() {
    each(|program| {
        let (tls, plain) = (port(), port());
        let one = at("@one.pem");
        let proxy = Proxy::start(
            program,
            &format!(
                "    maxsslrate 2\n{TIMES}frontend f\n    bind 127.0.0.1:{tls} ssl crt {one}\n    bind 127.0.0.1:{plain}\n{BODY} fine\n"
            ),
        );
        let began = Instant::now();
        for _ in 0..6 {
            assert_eq!(answer(tls, ""), "fine", "{}", program.name);
            assert_eq!(lab::get(plain, "/").status, 200, "{}", program.name);
        }
        // Two a second: six take more than one, however fast the machine is.
        assert!(began.elapsed().as_millis() > 1000, "{}", program.name);
        let info = proxy.control("show info");
        assert!(
            info.contains("\nSslRateLimit: 2\n"),
            "{}: {info}",
            program.name
        );
    });
}

#[test]
fn the_order_of_ciphers_is_ours_or_the_clients() {
    each(|program| {
        let (ours, theirs) = (port(), port());
        let ciphers = "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-ECDSA-AES128-GCM-SHA256";
        let bind = |port: u16, words: &str| {
            let one = at("@one.pem");
            format!(
                "    bind 127.0.0.1:{port} ssl crt {one} force-tlsv12 ciphers {ciphers} {words}\n"
            )
        };
        let _proxy = Proxy::start(
            program,
            &format!(
                "{TIMES}frontend f\n{}{}{BODY} \"%[ssl_fc_protocol] %[ssl_fc_cipher]\"\n",
                bind(ours, ""),
                bind(theirs, "prefer-client-ciphers"),
            ),
        );
        let offer = "-cipher ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384";
        let wanted = "TLSv1.2 ECDHE-ECDSA-AES256-GCM-SHA384";
        assert_eq!(answer(ours, offer), wanted, "{}", program.name);
        let wanted = "TLSv1.2 ECDHE-ECDSA-AES128-GCM-SHA256";
        assert_eq!(answer(theirs, offer), wanted, "{}", program.name);
    });
}

#[test]
fn a_certificate_is_told_by_whom_it_was_signed() {
    // The client that is sure of what it talks to: the chain is whole.
    each(|program| {
        let port = port();
        let chain = crate::join(
            made(),
            &format!("chain-{}.pem", program.name),
            &[&at("@leaf.c"), &at("@inter.c"), &at("@leaf.k")],
        );
        let _proxy = Proxy::start(
            program,
            &format!("{TIMES}frontend f\n    bind 127.0.0.1:{port} ssl crt {chain}\n{BODY} fine\n"),
        );
        let words = "-CAfile @root.c -verify_return_error";
        assert_eq!(answer(port, words), "fine", "{}", program.name);
        let stranger = "-CAfile @two.c -verify_return_error";
        assert_eq!(answer(port, stranger), "", "{}", program.name);
    });
    openssl(&[
        "verify",
        "-CAfile",
        &at("@root.c"),
        "-untrusted",
        &at("@inter.c"),
        &at("@leaf.c"),
    ]);
}
