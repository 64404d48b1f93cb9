//! Who gets how much: every way to balance in every mode, weights from agents, hashes that give way
//! to load, and hashes that go by what servers are instead of where they stand.

use lab::{Client, PATIENCE, Program, Proxy, Server, each, port};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

const TIMES: &str = "defaults\n    timeout client 30s\n    timeout server 30s\n    timeout connect 30s\n    timeout queue 30s\n";
const MODES: [&str; 3] = ["http", "tcp", "udp"];

/// A server of a mode that gives its name in so many bytes, after a while.
fn server(mode: &str, name: &'static str, bytes: usize, delay: u64) -> u16 {
    let delay = Duration::from_millis(delay);
    let body = name.repeat(bytes);
    match mode {
        "http" => {
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {bytes}\r\n\r\n");
            let http = Server::start(move |_, stream| {
                std::thread::sleep(delay);
                stream.write_all((head.clone() + &body).as_bytes()).is_ok()
            });
            http.addr.port()
        }
        "tcp" => {
            let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
            let port = listener.local_addr().expect("an address").port();
            std::thread::spawn(move || {
                for mut stream in listener.incoming().flatten() {
                    let _ = stream.write_all(body.as_bytes());
                    let _ = stream.shutdown(std::net::Shutdown::Write);
                    let _ = stream.read(&mut [0]);
                }
            });
            port
        }
        _ => {
            let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
            let port = socket.local_addr().expect("an address").port();
            std::thread::spawn(move || {
                while let Ok((_, from)) = socket.recv_from(&mut [0; 100]) {
                    std::thread::sleep(delay);
                    let _ = socket.send_to(body.as_bytes(), from);
                }
            });
            port
        }
    }
}

/// A client asks: the name of who answers.
fn ask(mode: &str, port: u16) -> String {
    let answer = match mode {
        "http" => lab::get(port, "/").body.into_bytes(),
        "tcp" => {
            let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("open");
            stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
            let mut bytes = Vec::new();
            stream.read_to_end(&mut bytes).expect("an answer");
            bytes
        }
        _ => {
            let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
            socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
            socket.send_to(b"?", ("127.0.0.1", port)).expect("sent");
            let mut bytes = vec![0; 65536];
            let n = socket.recv(&mut bytes).expect("an answer");
            bytes.truncate(n);
            bytes
        }
    };
    let first = answer.first().copied().unwrap_or(b'-');
    char::from(first).to_string()
}

/// Backends that all have the same three servers, each with a port of its own, which are returned in
/// their order. `words` are those of the three servers.
fn farm(mode: &str, ways: &[&str], ports: [u16; 3], words: [&str; 3]) -> (Proxy, Vec<u16>) {
    let responses = match mode {
        "udp" => "    udp-responses 1\n",
        _ => "",
    };
    let mut config = TIMES.to_string();
    let doors: Vec<u16> = ways.iter().map(|_| port()).collect();
    for (n, (way, door)) in ways.iter().zip(&doors).enumerate() {
        let way = way.replace('\n', "\n    ");
        let _ = writeln!(
            config,
            "listen l{n}\n    mode {mode}\n    bind 127.0.0.1:{door}\n    {way}\n{responses}"
        );
        for ((name, port), words) in ["a", "b", "c"].iter().zip(ports).zip(words) {
            let _ = writeln!(config, "    server {name} 127.0.0.1:{port} {words}");
        }
    }
    (Proxy::start(&Program::mulgil(), &config), doors)
}

/// How often each was who answered.
fn shares(mode: &str, port: u16, asked: usize) -> BTreeMap<String, usize> {
    let mut had = BTreeMap::new();
    for _ in 0..asked {
        *had.entry(ask(mode, port)).or_default() += 1;
    }
    had
}

fn of(had: &BTreeMap<String, usize>, name: &str) -> usize {
    had.get(name).copied().unwrap_or(0)
}

#[test]
fn every_way_to_balance_serves_requests_streams_and_datagrams() {
    const EVEN: &str = "even";
    const ALL: &str = "all take part";
    const ONE: &str = "one does all";
    const LEVEL: &str = "the first level";
    // How quick each is on a busy machine nobody knows, and shares are simulated; but none starves.
    const MEASURED: &str = "whoever is quickest, and all in time";
    let ways = [
        ("balance roundrobin", EVEN),
        ("balance static-rr", EVEN),
        ("balance leastconn", ALL),
        ("balance random", ALL),
        ("balance random(3)", ALL),
        ("balance first", ONE),
        ("balance sticky", ONE),
        ("balance source", ONE),
        ("balance source\nhash-type consistent", ONE),
        ("balance hash src dst dst_port", ONE),
        ("balance hash src_port", ALL),
        ("balance maglev", ONE),
        ("balance maglev src src_port", ALL),
        ("balance response-time", MEASURED),
        ("balance fastest", MEASURED),
        ("balance weighted-response-time", MEASURED),
        ("balance bandwidth", MEASURED),
        ("balance priority min-active 1 roundrobin", LEVEL),
    ];
    for mode in MODES {
        let ports = ["a", "b", "c"].map(|name| server(mode, name, 10, 0));
        let lines = ways.map(|(way, _)| way);
        let words = ["priority 1", "priority 1", "priority 2"];
        let (_proxy, doors) = farm(mode, &lines, ports, words);
        for ((way, share), door) in ways.iter().zip(doors) {
            // With forty choices by chance one of three is left out once in ten million times.
            let mut had = shares(mode, door, 42);
            assert_eq!(had.values().sum::<usize>(), 42, "{mode}: {way}: {had:?}");
            let end = std::time::Instant::now() + PATIENCE * 2;
            while share == &MEASURED && had.len() < 3 && std::time::Instant::now() < end {
                *had.entry(ask(mode, door)).or_default() += 1;
            }
            let numbers = ["a", "b", "c"].map(|name| of(&had, name));
            let good = match *share {
                EVEN => numbers == [14; 3],
                ALL => numbers.iter().all(|n| *n > 0),
                LEVEL => numbers == [21, 21, 0],
                MEASURED => numbers.iter().all(|n| *n > 0),
                _ => numbers.contains(&42),
            };
            assert!(good, "{mode}: {way}: {had:?}, not {share}");
        }
    }
}

/// The first server's answers are a hundred times as long; both directions count.
#[test]
fn who_sends_most_is_asked_least_in_every_mode() {
    for mode in MODES {
        let ports = [
            server(mode, "a", 20_000, 0),
            server(mode, "b", 200, 0),
            server(mode, "c", 200, 0),
        ];
        let (_proxy, doors) = farm(mode, &["balance bandwidth"], ports, [""; 3]);
        let had = shares(mode, doors[0], 60);
        assert!(of(&had, "a") > 0, "{mode}: {had:?}");
        assert!(of(&had, "a") * 2 < of(&had, "b"), "{mode}: {had:?}");
        assert!(of(&had, "a") * 2 < of(&had, "c"), "{mode}: {had:?}");
    }
}

/// What takes three tenths of a second is asked little; and it is asked again.
#[test]
fn who_takes_longest_is_asked_least() {
    for mode in ["http", "udp"] {
        let ports = [
            server(mode, "a", 9, 300),
            server(mode, "b", 9, 0),
            server(mode, "c", 9, 0),
        ];
        let ways = ["balance response-time", "balance fastest"];
        let (_proxy, doors) = farm(mode, &ways, ports, [""; 3]);
        for (way, door) in ways.iter().zip(doors) {
            let had = shares(mode, door, 90);
            assert!((1..=20).contains(&of(&had, "a")), "{mode} {way}: {had:?}");
            // How these two share depends on the machine.
            let quick = of(&had, "b") + of(&had, "c");
            assert!(quick >= 70, "{mode} {way}: {had:?}");
        }
    }
}

/// Agents say 25 and 50 per cent: of seven requests one, two and four.
#[test]
fn agents_set_the_shares_in_every_mode() {
    fn agent(says: &'static str) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let _ = stream.write_all(says.as_bytes());
            }
        });
        port
    }
    let agents = ["25%\n", "50%\n", "100%\n"].map(agent);
    let words = agents.map(|p| format!("weight 100 agent-check agent-port {p} agent-inter 50"));
    for mode in MODES {
        let ports = ["a", "b", "c"].map(|name| server(mode, name, 9, 0));
        let words = words.each_ref().map(String::as_str);
        let (proxy, doors) = farm(mode, &["balance agent"], ports, words);
        for (name, weight) in [("a", "25"), ("b", "50"), ("c", "100")] {
            proxy.wait_for("l0", name, "weight", weight);
        }
        let had = shares(mode, doors[0], 70);
        let numbers = ["a", "b", "c"].map(|name| of(&had, name));
        assert_eq!(numbers, [10, 20, 40], "{mode}");
    }
}

/// A server that answers when the gate is opened.
struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    fn new() -> Gate {
        Gate(Arc::default())
    }

    fn server(&self, name: &'static str) -> Server {
        let gate = Arc::clone(&self.0);
        Server::start(move |request, stream| {
            if request.contains("/held") {
                let (open, opened) = &*gate;
                let shut = open.lock().expect("unpoisoned");
                drop(opened.wait_timeout_while(shut, PATIENCE, |open| !*open));
            }
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-Server: {name}\r\n\r\n");
            stream.write_all(head.as_bytes()).is_ok()
        })
    }

    fn open(&self) {
        *self.0.0.lock().expect("unpoisoned") = true;
        self.0.1.notify_all();
    }
}

/// Holds so many requests of one key, and says how many each server has.
fn held(program: &Program, lines: &str, words: &str, count: usize) -> [u64; 3] {
    let gate = Gate::new();
    let servers = ["a", "b", "c"].map(|name| (name, gate.server(name)));
    let door = port();
    let mut config = format!(
        "{TIMES}    mode http\nlisten l\n    bind 127.0.0.1:{door}\n    balance url_param k\n{lines}"
    );
    for (name, server) in &servers {
        let _ = writeln!(config, "    server {name} {} {words}", server.addr);
    }
    let proxy = Proxy::start(program, &config);
    let mut clients = Vec::new();
    for n in 1..=count {
        let mut client = Client::connect(door);
        client.send("GET /held?k=same HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        clients.push(client);
        let in_all = |names: &[&str], field: &str| -> u64 {
            let values = names.iter().map(|name| proxy.stat("l", name, field));
            values.map(|v| v.parse().unwrap_or(0)).sum()
        };
        let end = std::time::Instant::now() + PATIENCE;
        // Those that wait for a server are in its queue, and not among its sessions.
        while in_all(&["a", "b", "c"], "scur") + in_all(&["BACKEND"], "qcur") < n as u64 {
            assert!(std::time::Instant::now() < end, "{}", program.name);
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    let now = ["a", "b", "c"].map(|name| proxy.stat("l", name, "scur").parse().unwrap_or(0));
    gate.open();
    for client in &mut clients {
        assert_eq!(client.response().status, 200, "{}", program.name);
    }
    now
}

#[test]
fn one_key_keeps_no_server_busier_than_the_factor_allows() {
    let all = Mutex::new(Vec::new());
    each(|program| {
        let mut loads = Vec::new();
        for (factor, most) in [(0, 12), (110, 5), (150, 6), (200, 8)] {
            let lines = format!("    hash-type consistent\n    hash-balance-factor {factor}\n");
            let mut now = held(program, &lines, "", 12);
            now.sort_unstable();
            assert_eq!(now.iter().sum::<u64>(), 12, "{}", program.name);
            assert!(now[2] <= most, "{}: {factor}: {now:?}", program.name);
            assert!(factor > 0 || now[2] == 12, "{}: {now:?}", program.name);
            loads.push((factor, now));
        }
        all.lock().expect("unpoisoned").push(loads);
    });
    if let [oracle, ours] = &all.into_inner().expect("unpoisoned")[..] {
        assert_eq!(oracle, ours, "the oracle's are the first");
    }
}

/// HAProxy has this since 3.1.
#[test]
fn a_full_server_keeps_its_keys_or_gives_them_away_as_it_is_told() {
    for (lines, words, sorted) in [
        ("", "maxconn 1", [0, 0, 1]),
        (
            "    hash-preserve-affinity always\n",
            "maxconn 1",
            [0, 0, 1],
        ),
        (
            "    hash-preserve-affinity maxconn\n",
            "maxconn 1",
            [1, 1, 1],
        ),
        (
            "    hash-preserve-affinity maxqueue\n",
            "maxconn 1 maxqueue 1",
            [0, 1, 1],
        ),
    ] {
        for kind in ["map-based", "consistent"] {
            let lines = format!("    hash-type {kind}\n{lines}");
            let mut now = held(&Program::mulgil(), &lines, words, 3);
            now.sort_unstable();
            assert_eq!(now, sorted, "{lines}{words}");
        }
    }
}

/// The same servers under other names, in another order: what a key is led by is their address.
#[test]
fn a_key_stays_with_an_address_whatever_the_place_of_its_server() {
    let servers = ["a", "b", "c"].map(Server::named);
    let answers = |order: [usize; 3], key: &str| -> Vec<String> {
        let door = port();
        let mut config = format!(
            "{TIMES}    mode http\nlisten l\n    bind 127.0.0.1:{door}\n    balance url_param k\n    hash-type consistent\n    default-server hash-key {key}\n"
        );
        for (place, at) in order.into_iter().enumerate() {
            let _ = writeln!(config, "    server s{place} {}", servers[at].addr);
        }
        let _proxy = Proxy::start(&Program::mulgil(), &config);
        let mut client = Client::connect(door);
        let names = (0..60).map(|n| {
            let request = format!("GET /?k={n} HTTP/1.1\r\nHost: x\r\n\r\n");
            client.ask(&request).header("x-server").unwrap_or_default()
        });
        names.collect()
    };
    let (one, other) = ([0, 1, 2], [2, 0, 1]);
    assert_eq!(answers(one, "addr-port"), answers(other, "addr-port"));
    assert_ne!(answers(one, "id"), answers(other, "id"));
}
