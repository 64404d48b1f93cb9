//! `tcp-response content`: what a server says is looked at before its client hears it; the same
//! through mulgil and through the oracle.

use lab::{Client, LogSink, Proxy, each, port};
use std::io::{Read, Write};
use std::net::Shutdown;
use std::time::Duration;

const TIMES: &str = "defaults\n    mode tcp\n    timeout client 3s\n    timeout server 3s\n    timeout connect 1s\n    option tcplog\n";

/// A server that reads a line and says its words, parted by commas, with pauses; then the channel
/// tells whether the connection was reset.
fn server() -> (std::net::SocketAddr, std::sync::mpsc::Receiver<bool>) {
    let listener = lab::listener();
    let addr = listener.local_addr().expect("an address");
    let (ended, ends) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let ended = ended.clone();
            std::thread::spawn(move || {
                let mut buffer = [0; 256];
                let n = stream.read(&mut buffer).unwrap_or(0);
                let line = String::from_utf8_lossy(&buffer[..n]).trim().to_string();
                for word in line.split(',') {
                    let _ = stream.write_all(word.as_bytes());
                    std::thread::sleep(Duration::from_millis(60));
                }
                // True: reset, and not ended in the usual way.
                let _ = ended.send(stream.read(&mut buffer).is_err());
            });
        }
    });
    (addr, ends)
}

/// Says a line and hears so many bytes as it has, or all until the end.
fn talk(port: u16, line: &str) -> String {
    let mut client = Client::connect(port);
    client.send(format!("{line}\n"));
    let _ = client
        .stream
        .set_read_timeout(Some(Duration::from_millis(2500)));
    let wanted = line.replace(',', "").len();
    let (mut heard, mut buffer) = (Vec::new(), [0; 256]);
    while heard.len() < wanted {
        match client.stream.read(&mut buffer) {
            Ok(n) if n > 0 => heard.extend_from_slice(&buffer[..n]),
            _ => break,
        }
    }
    let _ = client.stream.shutdown(Shutdown::Both);
    String::from_utf8_lossy(&heard).into_owned()
}

#[test]
fn what_a_server_says_is_held_until_the_rules_have_decided() {
    each(|program| {
        let ((addr, _ends), log) = (server(), LogSink::new());
        let (plain, bad, good) = (port(), port(), port());
        let _proxy = Proxy::start(
            program,
            &format!(
                "{TIMES}    log 127.0.0.1:{} local0\n\
                 listen plain\n    bind 127.0.0.1:{plain}\n    tcp-response content reject if {{ res.payload(0,0) -m sub bad }}\n    server s {addr}\n\
                 listen bad\n    bind 127.0.0.1:{bad}\n    tcp-response inspect-delay 500ms\n    tcp-response content reject if {{ res.payload(0,3) -m str bad }}\n    server s {addr}\n\
                 listen good\n    bind 127.0.0.1:{good}\n    tcp-response inspect-delay 500ms\n    tcp-response content accept if {{ res.payload_lv(0,1,+1) -m str ok }} or {{ res.payload(0,3) -m str goo }}\n    tcp-response content reject\n    server s {addr}\n",
                log.port
            ),
        );
        let name = &program.name;
        // Without a delay rules see what is there at once: nothing.
        assert_eq!(talk(plain, "bad"), "bad", "{name}");
        assert_eq!(talk(bad, "bad"), "", "{name}");
        assert!(log.line(" bad bad/s ").contains(" PD "), "{name}");
        assert_eq!(talk(bad, "ba,d"), "", "{name}");
        assert_eq!(talk(bad, "go,od"), "good", "{name}");
        // Too short to be judged: it passes when the time is over.
        assert_eq!(talk(bad, "x"), "x", "{name}");
        assert_eq!(talk(good, "go,o,d"), "good", "{name}");
        assert_eq!(talk(good, "x"), "", "{name}");
        assert_eq!(talk(good, "\u{2}-ok"), "\u{2}-ok", "{name}");
        assert_eq!(talk(good, "\u{2}-no"), "", "{name}");
    });
}

#[test]
fn a_rule_may_end_the_connection_to_the_server_and_let_its_words_pass() {
    each(|program| {
        let (addr, ends) = server();
        let port = port();
        let _proxy = Proxy::start(
            program,
            &format!(
                "{TIMES}listen l\n    bind 127.0.0.1:{port}\n    tcp-response inspect-delay 1s\n    tcp-response content close if {{ res.len ge 4 }}\n    server s {addr}\n"
            ),
        );
        let mut client = Client::connect(port);
        client.send("bye!\n");
        let mut heard = String::new();
        let all = client.stream.read_to_string(&mut heard);
        assert!(all.is_ok() && heard == "bye!", "{}: {heard}", program.name);
        let reset = ends.recv_timeout(Duration::from_secs(3));
        assert_eq!(reset, Ok(true), "{}", program.name);
    });
}

#[test]
fn clients_of_rdp_go_by_their_cookie() {
    each(|program| {
        let ((addr, _ends), log) = (server(), LogSink::new());
        let port = port();
        let _proxy = Proxy::start(
            program,
            &format!(
                "{TIMES}listen rdp\n    bind 127.0.0.1:{port}\n    log 127.0.0.1:{} local0\n    log-format \"rdp %[var(txn.name)] %[var(txn.count)]\"\n    tcp-request inspect-delay 1s\n    tcp-request content reject unless {{ req.rdp_cookie_cnt(mstshash) gt 0 }}\n    tcp-request content set-var(txn.name) req.rdp_cookie(mstshash)\n    tcp-request content set-var(txn.count) req.rdp_cookie_cnt\n    server s {addr}\n",
                log.port
            ),
        );
        let text = b"Cookie: mstshash=alice\r\n";
        let x224 = [(6 + text.len()) as u8, 0xe0, 0, 0, 0, 0, 0];
        let size = (4 + x224.len() + text.len()) as u8;
        let mut client = Client::connect(port);
        client.send([&[3, 0, 0, size][..], &x224, text].concat());
        // The server heard the packet: the rules let it pass.
        assert_eq!(
            client.stream.read(&mut [0]).ok(),
            Some(1),
            "{}",
            program.name
        );
        drop(client);
        assert!(
            log.line("rdp ").ends_with("rdp alice 1"),
            "{}",
            program.name
        );
        let mut other = Client::connect(port);
        other.send("GET / HTTP/1.1\r\n\r\n");
        assert!(other.closed(), "{}", program.name);
    });
}
