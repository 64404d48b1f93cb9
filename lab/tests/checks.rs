//! `http-check` and `tcp-check`, rule by rule: what is sent, found and told, the same through
//! mulgil and through the oracle.

#[path = "checks/table.rs"]
mod table;

use lab::{LogSink, PATIENCE, Proxy, each, refusing};
use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// What a peer does with its answer.
#[derive(Clone, Copy)]
pub enum Peer {
    /// Says it and ends.
    AtOnce(&'static str),
    /// Says it once it was asked, and ends.
    Asked(&'static str),
    /// Says it once it was asked, and waits.
    Holding(&'static str),
    /// Resets the connection once it was asked.
    Resetting,
    /// Says it once it was asked, and resets the connection.
    Broken(&'static str),
    /// Is not there.
    Refusing(&'static str),
}

/// Rules, a peer, and what the check finds.
pub struct Case {
    name: &'static str,
    lines: &'static [&'static str],
    peer: Peer,
    /// Fields status, check_status, check_code and last_chk.
    wanted: [&'static str; 4],
    /// The first request, its field names in lower case; empty where it does not matter.
    request: &'static str,
}

/// A case in which it does not matter what the peer hears.
const fn case(
    name: &'static str,
    lines: &'static [&'static str],
    peer: Peer,
    wanted: [&'static str; 4],
) -> Case {
    Case {
        name,
        lines,
        peer,
        wanted,
        request: "",
    }
}

impl Case {
    /// With a request that the peer has to hear.
    const fn asked(self, request: &'static str) -> Case {
        Case { request, ..self }
    }
}

struct Listening {
    port: u16,
    heard: Arc<Mutex<Vec<Vec<u8>>>>,
}

fn serve(peer: Peer) -> Listening {
    if let Peer::Refusing(_) = peer {
        return Listening {
            port: refusing(),
            heard: Arc::default(),
        };
    }
    let listener = lab::listener();
    let port = listener.local_addr().expect("an address").port();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&heard);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let kept = Arc::clone(&kept);
            std::thread::spawn(move || answer(stream, peer, &kept));
        }
    });
    Listening { port, heard }
}

fn answer(mut stream: TcpStream, peer: Peer, heard: &Mutex<Vec<Vec<u8>>>) {
    let _ = stream.set_read_timeout(Some(PATIENCE));
    let mut buffer = [0; 4096];
    if let Peer::Asked(_) | Peer::Holding(_) = peer {
        let n = stream.read(&mut buffer).unwrap_or(0);
        heard.lock().expect("unpoisoned").push(buffer[..n].to_vec());
    }
    let text = match peer {
        Peer::AtOnce(text) | Peer::Asked(text) | Peer::Holding(text) | Peer::Refusing(text) => text,
        Peer::Broken(text) => {
            let _ = stream.peek(&mut buffer);
            text
        }
        Peer::Resetting => {
            // What comes is left unread, which makes the end a reset.
            let _ = stream.peek(&mut buffer);
            return;
        }
    };
    let _ = stream.write_all(text.as_bytes());
    if let Peer::Broken(_) = peer {
        return;
    }
    if !matches!(peer, Peer::Holding(_)) {
        let _ = stream.shutdown(std::net::Shutdown::Write);
    }
    while stream.read(&mut buffer).is_ok_and(|n| n > 0) {}
}

const TIMES: &str =
    "defaults\n    timeout client 3s\n    timeout server 3s\n    timeout connect 1s\n";

/// The fields of all servers, by backend. A check that is just under way says nothing.
fn found(proxy: &Proxy) -> HashMap<String, [String; 4]> {
    let text = proxy.control("show stat");
    let mut lines = text.lines();
    let header = lines.next().unwrap_or("").trim_start_matches("# ");
    let header: Vec<&str> = header.split(',').collect();
    let place = |name: &str| header.iter().position(|f| *f == name).expect("a field");
    let places = ["status", "check_status", "check_code", "last_chk"].map(place);
    let servers = lines.filter(|l| l.contains(",srv,"));
    let rows = servers.map(|line| {
        let fields: Vec<&str> = line.split(',').collect();
        let of = |at: usize| fields.get(at).copied().unwrap_or_default().to_string();
        (of(0), places.map(of))
    });
    rows.filter(|(_, f)| !f[1].starts_with('*')).collect()
}

#[test]
fn every_rule_sends_finds_and_tells_what_the_oracle_does() {
    each(|program| {
        let peers: Vec<Listening> = table::CASES.iter().map(|c| serve(c.peer)).collect();
        let mut config = TIMES.to_string();
        for (case, peer) in table::CASES.iter().zip(&peers) {
            let _ = writeln!(config, "backend {}", case.name);
            for line in case.lines {
                let line = line.replace("PORT", &peer.port.to_string());
                let _ = writeln!(config, "    {line}");
            }
            let _ = writeln!(
                config,
                "    server srv 127.0.0.1:{} check inter 400 rise 1 fall 1",
                peer.port
            );
        }
        let proxy = Proxy::start(program, &config);
        let end = Instant::now() + PATIENCE;
        let mut seen = HashMap::new();
        let wrong = loop {
            seen.extend(found(&proxy));
            let wrong = table::CASES.iter().find(|case| {
                seen.get(case.name)
                    .is_none_or(|f| f.iter().zip(case.wanted).any(|(a, b)| *a != b))
            });
            match wrong {
                Some(_) if Instant::now() < end => {
                    std::thread::sleep(Duration::from_millis(50));
                }
                wrong => break wrong,
            }
        };
        if let Some(case) = wrong {
            let what = (program.name, case.name, case.lines);
            panic!("{what:?}: {:?}, not {:?}", seen.get(case.name), case.wanted);
        }
        for (case, peer) in table::CASES.iter().zip(&peers) {
            let all = peer.heard.lock().expect("unpoisoned").clone();
            let heard = |one: &Vec<u8>| String::from_utf8_lossy(one).to_lowercase();
            // A check that was given up may have said less.
            assert!(
                case.request.is_empty() || all.iter().any(|one| heard(one) == case.request),
                "{}: {}: {all:?}",
                program.name,
                case.name
            );
        }
    });
}

/// The oracle flaps there: it depends on whether the reset comes with the last bytes or after them.
#[test]
fn a_reset_behind_an_answer_of_http_is_its_end() {
    let peer = serve(Peer::Broken("HTTP/1.0 200 OK\r\n\r\nfine"));
    let config = format!(
        "{TIMES}backend b\n    option httpchk\n    http-check expect ! string down\n    server s 127.0.0.1:{} check inter 100 rise 1 fall 1\n",
        peer.port
    );
    let proxy = Proxy::start(&lab::Program::mulgil(), &config);
    let names = ["status", "check_status", "check_code"];
    proxy.wait_for_stats(("b", "s"), &names, &["UP", "L7OK", "200"], "a reset");
}

#[test]
fn a_server_is_told_its_state_and_a_404_ends_its_work() {
    each(|program| {
        let ok = "HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n";
        let gone = "HTTP/1.0 404 Gone\r\nContent-Length: 0\r\n\r\n";
        let (up, stopping) = (serve(Peer::Asked(ok)), serve(Peer::Asked(gone)));
        let log = LogSink::new();
        let proxy = Proxy::start(
            program,
            &format!(
                "    node here\n    log 127.0.0.1:{} local0\n{TIMES}    log global\nbackend b\n    option httpchk GET /\n    http-check send-state\n    http-check disable-on-404\n    server up 127.0.0.1:{} check inter 100 weight 5\n    server stopping 127.0.0.1:{} check inter 100\n",
                log.port, up.port, stopping.port
            ),
        );
        proxy.wait_for("b", "stopping", "status", "NOLB");
        proxy.wait_for("b", "stopping", "check_status", "L7OKC");
        let line = log.line("stopping");
        let wanted = "Server b/stopping is stopping, reason: Layer7 check conditionally passed, code: 404, check duration: ";
        assert!(line.contains(wanted), "{}: {line}", program.name);
        let end = Instant::now() + PATIENCE;
        let wanted = format!(
            "x-haproxy-server-state: up; address=127.0.0.1; port={}; name=b/up; node=here; weight=5/5; scur=0/0; qcur=0\r\n",
            up.port
        );
        loop {
            let last = up.heard.lock().expect("unpoisoned").last().cloned();
            let last = String::from_utf8_lossy(&last.unwrap_or_default()).to_lowercase();
            if last.contains(&wanted) {
                break;
            }
            assert!(Instant::now() < end, "{}: {last:?}", program.name);
            std::thread::sleep(Duration::from_millis(20));
        }
    });
}

#[test]
fn mistakes_in_rules_are_named() {
    use lab::{Folder, Program};
    let folder = Folder::new();
    for (lines, part) in [
        (
            "option httpchk\n http-check send uri",
            "'uri' wants a value",
        ),
        (
            "option httpchk\n http-check send way /",
            "unknown http-check send word 'way'",
        ),
        (
            "option httpchk\n http-check send hdr a\\ b c",
            "no header name",
        ),
        (
            "option httpchk\n http-check send uri /1\n http-check send uri /2",
            "one request",
        ),
        (
            "option httpchk\n http-check expect status 200\n http-check connect",
            "the first rule must connect",
        ),
        (
            "option httpchk\n http-check connect\n http-check send\n http-check connect",
            "not judged",
        ),
        ("option httpchk\n http-check connect port 0", "no port"),
        ("option httpchk\n http-check connect alpn h2 ssl", "HTTP/2"),
        (
            "option httpchk\n http-check connect sni a.example",
            "add ssl",
        ),
        ("option httpchk\n http-check connect ssl", "whom to trust"),
        (
            "option httpchk\n http-check expect status 300-200",
            "no list of statuses",
        ),
        (
            "option httpchk\n http-check expect binary 00",
            "unknown expectation 'binary'",
        ),
        (
            "option httpchk\n http-check expect string",
            "wants a kind and a pattern",
        ),
        (
            "option httpchk\n http-check expect string a b",
            "one word too many",
        ),
        (
            "option httpchk\n http-check expect ok-status L7RSP string a",
            "unknown ok-status 'L7RSP'",
        ),
        (
            "option httpchk\n http-check expect min-recv -5 string a",
            "no number of bytes",
        ),
        (
            "option httpchk\n http-check expect hdr value x",
            "wants name or name-lf",
        ),
        (
            "option httpchk\n http-check expect hdr name -m dom x",
            "matching method",
        ),
        (
            "option httpchk\n http-check expect hdr name-lf -m reg x",
            "cannot be a regular expression",
        ),
        (
            "option httpchk\n http-check expect rstring [",
            "regular expression",
        ),
        (
            "option httpchk\n http-check set-var(check.x)",
            "wants an expression",
        ),
        ("option httpchk\n http-check set-var(x) int(1)", "no scope"),
        (
            "option httpchk\n http-check set-var(check.x,often) int(1)",
            "unknown condition 'often'",
        ),
        (
            "option tcp-check\n tcp-check send-binary 123",
            "not hexadecimal",
        ),
        (
            "option tcp-check\n tcp-check expect status 200",
            "unknown expectation 'status'",
        ),
        ("option tcp-check\n tcp-check send a b", "unknown word 'b'"),
        (
            "option tcp-check\n tcp-check connect proto h1",
            "no protocol for this",
        ),
        ("option tcp-check\n tcp-check comment", "wants a text"),
    ] {
        let text =
            format!("{TIMES}listen b\n bind 127.0.0.1:1\n {lines}\n server s 127.0.0.1:1 check\n");
        let file = folder.file("wrong.cfg", text.as_bytes());
        let (status, said) = Program::mulgil().run(&["-c", "-f", &file]);
        assert!(status != 0 && said.contains(part), "{lines}: {said}");
    }
}
