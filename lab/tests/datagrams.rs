//! `mode udp`, which the oracle does not have: a small server of names, its clients, and what goes
//! wrong between them.

use lab::net::{self, Net, Router};
use lab::{LogSink, PATIENCE, Program, Proxy, port};
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Whom it came from, and its bytes.
type Datagram = (SocketAddr, Vec<u8>);

fn socket() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    socket
        .set_read_timeout(Some(Duration::from_secs(2)))
        .expect("a timeout");
    socket
}

/// One that waits longer, where an answer must come.
fn patient() -> UdpSocket {
    let socket = socket();
    let patience = Some(lab::PATIENCE);
    socket.set_read_timeout(patience).expect("a timeout");
    socket
}

/// A server of names: answers a question with the same bytes, the response bit set (RFC 1035,
/// section 4.1.1), and its own name at the end. It notes who asked what.
struct Names {
    addr: SocketAddr,
    seen: Arc<Mutex<Vec<Datagram>>>,
    silent: Arc<AtomicBool>,
    over: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Names {
    fn start(name: &'static str) -> Names {
        Names::at(name, socket(), 1)
    }

    /// On a socket, with so many answers to each question.
    fn at(name: &'static str, socket: UdpSocket, answers: u32) -> Names {
        let addr = socket.local_addr().expect("an address");
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (silent, over) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicBool::new(false)),
        );
        let (kept, quiet, end) = (Arc::clone(&seen), Arc::clone(&silent), Arc::clone(&over));
        socket
            .set_read_timeout(Some(Duration::from_millis(20)))
            .expect("a timeout");
        let thread = std::thread::spawn(move || {
            let mut buffer = [0; 65536];
            while !end.load(Ordering::Relaxed) {
                let Ok((n, from)) = socket.recv_from(&mut buffer) else {
                    continue;
                };
                kept.lock()
                    .expect("unpoisoned")
                    .push((from, buffer[..n].to_vec()));
                if quiet.load(Ordering::Relaxed) {
                    continue;
                }
                let mut answer = buffer[..n].to_vec();
                if let Some(flags) = answer.get_mut(2) {
                    *flags |= 0x80;
                }
                answer.extend_from_slice(name.as_bytes());
                for _ in 0..answers {
                    let _ = socket.send_to(&answer, from);
                }
            }
        });
        Names {
            addr,
            seen,
            silent,
            over,
            thread: Some(thread),
        }
    }

    fn questions(&self) -> Vec<(SocketAddr, Vec<u8>)> {
        self.seen.lock().expect("unpoisoned").clone()
    }

    /// Closes its socket: who asks now is told that nobody listens.
    fn stop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("it ends");
        }
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A question for the address of a name (RFC 1035, section 4.1).
fn question(id: u16, name: &str) -> Vec<u8> {
    let mut bytes = id.to_be_bytes().to_vec();
    bytes.extend_from_slice(&[1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.split('.') {
        bytes.push(label.len() as u8);
        bytes.extend_from_slice(label.as_bytes());
    }
    bytes.extend_from_slice(&[0, 0, 1, 0, 1]);
    bytes
}

/// Asks and returns who answered; `None` when nobody does.
fn ask(client: &UdpSocket, port: u16, question: &[u8]) -> Option<String> {
    client.send_to(question, ("127.0.0.1", port)).expect("sent");
    answer(client, port, question)
}

fn answer(client: &UdpSocket, port: u16, question: &[u8]) -> Option<String> {
    let mut buffer = [0; 65536];
    let (n, from) = client.recv_from(&mut buffer).ok()?;
    assert_eq!(from.port(), port, "the answer comes from where was asked");
    assert_eq!(
        &buffer[..2],
        &question[..2],
        "it is the answer to this question"
    );
    assert_eq!(buffer[2] & 0x80, 0x80);
    Some(String::from_utf8_lossy(&buffer[question.len()..n]).into_owned())
}

fn wait(what: &str, holds: impl Fn() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

const TIMES: &str =
    "defaults\n    mode udp\n    timeout client 5s\n    timeout server 5s\n    option tcplog\n";

#[test]
fn questions_go_to_the_servers_in_turn_and_a_client_stays_with_its_own() {
    let (a, b, port) = (Names::start("a"), Names::start("b"), port());
    let text = format!(
        "{TIMES}listen dns\n    bind 127.0.0.1:{port}\n    server a {}\n    server b udp@{}\n",
        a.addr, b.addr
    );
    let proxy = Proxy::start(&Program::mulgil(), &text);
    let clients: Vec<UdpSocket> = (0..4).map(|_| socket()).collect();
    let mut first = Vec::new();
    for client in &clients {
        first.push(ask(client, port, &question(7, "www.example")).expect("an answer"));
    }
    assert_eq!(first, ["a", "b", "a", "b"]);
    for (client, server) in clients.iter().zip(&first) {
        let again = ask(client, port, &question(8, "mail.example"));
        assert_eq!(again.as_ref(), Some(server));
    }
    let ports: Vec<SocketAddr> = a.questions().iter().map(|q| q.0).collect();
    assert_eq!(
        (ports[0], ports[1]),
        (ports[2], ports[3]),
        "one socket for each client"
    );
    assert_eq!(proxy.stat("dns", "FRONTEND", "stot"), "4");
    assert_eq!(proxy.stat("dns", "FRONTEND", "scur"), "4");
    assert_eq!(proxy.stat("dns", "FRONTEND", "mode"), "udp");
    assert_eq!(proxy.stat("dns", "a", "stot"), "2");
    let asked = 4 * (question(0, "www.example").len() + question(0, "mail.example").len());
    assert_eq!(proxy.stat("dns", "BACKEND", "bin"), asked.to_string());
    assert_eq!(
        proxy.stat("dns", "BACKEND", "bout"),
        (asked + 8).to_string()
    );
    // Sessions can be seen and ended.
    assert_eq!(proxy.control("show sess").matches("fe=dns").count(), 4);
    proxy.control("shutdown sessions server dns/a");
    proxy.wait_for("dns", "FRONTEND", "scur", "2");
}

#[test]
fn a_session_ends_after_its_answers_or_when_it_is_idle_and_is_logged() {
    let names = Names::at("s", socket(), 2);
    let (counted, idle, unanswered, sink) = (port(), port(), port(), LogSink::new());
    let text = format!(
        "{TIMES}    log 127.0.0.1:{} local0\n\
         listen counted\n    bind 127.0.0.1:{counted}\n    udp-responses 2\n    server s {addr}\n\
         listen idle\n    bind 127.0.0.1:{idle}\n    timeout client 200ms\n    server s {addr}\n\
         listen unanswered\n    bind 127.0.0.1:{unanswered}\n    timeout server 200ms\n    server s {addr}\n",
        sink.port,
        addr = names.addr
    );
    let proxy = Proxy::start(&Program::mulgil(), &text);
    let asked = question(1, "x.example");
    for (frontend, port) in [("counted", counted), ("idle", idle)] {
        let client = socket();
        assert_eq!(ask(&client, port, &asked).as_deref(), Some("s"));
        assert_eq!(answer(&client, port, &asked).as_deref(), Some("s"));
        let line = sink.line(frontend);
        let wanted = format!("{frontend} {frontend}/s ");
        assert!(line.contains(&wanted) && line.contains(" -- "), "{line}");
        let sent = 2 * (asked.len() + 1);
        assert!(line.contains(&format!(" {sent} -- ")), "{line}");
        proxy.wait_for(frontend, "FRONTEND", "scur", "0");
    }
    names.silent.store(true, Ordering::Relaxed);
    assert_eq!(ask(&socket(), unanswered, &asked), None);
    let line = sink.line("unanswered");
    assert!(line.contains(" sD "), "{line}");
}

#[test]
fn a_session_that_fails_says_why_in_its_line() {
    let (names, sink) = (Names::start("s"), LogSink::new());
    let (nobody, gone, ended) = (port(), port(), port());
    let dead = port();
    let text = format!(
        "{TIMES}    log 127.0.0.1:{} local0\n\
         listen nobody\n    bind 127.0.0.1:{nobody}\n    server s {addr} disabled\n\
         listen gone\n    bind 127.0.0.1:{gone}\n    server s 127.0.0.1:{dead}\n\
         listen ended\n    bind 127.0.0.1:{ended}\n    server s {addr}\n",
        sink.port,
        addr = names.addr
    );
    let proxy = Proxy::start(&Program::mulgil(), &text);
    let asked = question(1, "x.example");
    assert_eq!(ask(&socket(), nobody, &asked), None);
    let line = sink.line("nobody");
    assert!(
        line.contains(" nobody/<NOSRV> ") && line.contains(" SC "),
        "{line}"
    );
    // The refusal comes back by the socket; there is nobody else to ask.
    assert_eq!(ask(&socket(), gone, &asked), None);
    let line = sink.line("gone");
    assert!(line.contains(" SC "), "{line}");
    assert_ne!(proxy.stat("gone", "s", "econ"), "0");
    assert_eq!(ask(&socket(), ended, &asked).as_deref(), Some("s"));
    proxy.control("shutdown sessions server ended/s");
    let line = sink.line("ended");
    assert!(
        line.contains(" ended/s ") && line.contains(" KD "),
        "{line}"
    );
}

#[test]
fn a_server_that_is_gone_is_left_at_once_and_its_question_asked_elsewhere() {
    let (mut a, b, port, sink) = (Names::start("a"), Names::start("b"), port(), LogSink::new());
    let text = format!(
        "{TIMES}    log 127.0.0.1:{} local0\nlisten dns\n    bind 127.0.0.1:{port}\n    balance first\n    server a {}\n    server b {}\n",
        sink.port, a.addr, b.addr
    );
    let proxy = Proxy::start(&Program::mulgil(), &text);
    let client = socket();
    assert_eq!(
        ask(&client, port, &question(1, "x.example")).as_deref(),
        Some("a")
    );
    a.stop();
    // The refusal comes back after the question, which then is asked again.
    assert_eq!(
        ask(&client, port, &question(2, "x.example")).as_deref(),
        Some("b")
    );
    assert_eq!(
        ask(&client, port, &question(3, "x.example")).as_deref(),
        Some("b")
    );
    assert_eq!(proxy.stat("dns", "a", "econ"), "1");
    assert_eq!(b.questions().len(), 2);
    // An operator's word counts for sessions that are there, too.
    let other = Names::at("a", UdpSocket::bind(a.addr).expect("free again"), 1);
    proxy.control("disable server dns/b");
    assert_eq!(
        ask(&client, port, &question(4, "x.example")).as_deref(),
        Some("a")
    );
    assert_eq!(other.questions().len(), 1);
}

#[test]
fn checks_by_datagrams_take_servers_out_and_in() {
    let (a, b, port) = (Names::start("a"), Names::start("b"), port());
    let text = format!(
        "{TIMES}listen dns\n    bind 127.0.0.1:{port}\n    option udp-check\n    timeout check 500ms\n    udp-check send-binary 0001010000010000000000000000020001\n    udp-check expect binary 000181\n    default-server check inter 50ms fall 2 rise 1\n    server a {}\n    server b {}\n",
        a.addr, b.addr
    );
    let proxy = Proxy::start(&Program::mulgil(), &text);
    proxy.wait_for("dns", "a", "check_status", "L7OK");
    let client = socket();
    a.silent.store(true, Ordering::Relaxed);
    proxy.wait_for("dns", "a", "status", "DOWN");
    let answers = (0..4).map(|i| ask(&socket(), port, &question(i, "x.example")));
    assert!(answers.flatten().all(|name| name == "b"));
    a.silent.store(false, Ordering::Relaxed);
    proxy.wait_for("dns", "a", "status", "UP");
    assert!(ask(&client, port, &question(9, "x.example")).is_some());
}

/// Who is asked by each of so many clients, one after another.
fn shares(port: u16, clients: u16) -> Vec<String> {
    let ask = |n| ask(&patient(), port, &question(n, "x.example")).expect("an answer");
    (0..clients).map(ask).collect()
}

/// Three servers behind these lines, the first with these words; each session has one answer, unless the lines say more.
fn farm(lines: &str, words: &str) -> ([Names; 3], u16, Proxy) {
    let names = ["a", "b", "c"].map(Names::start);
    let port = port();
    let mut text = format!("{TIMES}listen dns\n    bind 127.0.0.1:{port}\n{lines}");
    for (name, server) in ["a", "b", "c"].iter().zip(&names) {
        let words = if *name == "a" { words } else { "" };
        text += &format!("    server {name} {} {words}\n", server.addr);
    }
    let proxy = Proxy::start(&Program::mulgil(), &text);
    (names, port, proxy)
}

/// How many of these went to each server.
fn counted(answers: &[String]) -> [usize; 3] {
    ["a", "b", "c"].map(|name| answers.iter().filter(|a| *a == name).count())
}

#[test]
fn every_scheduler_shares_sessions_in_its_way() {
    let once = "    udp-responses 1\n";
    for balance in ["roundrobin", "static-rr"] {
        let lines = format!("    balance {balance}\n{once}");
        let (_names, port, _proxy) = farm(&lines, "weight 2");
        assert_eq!(counted(&shares(port, 8)), [4, 2, 2], "{balance}");
    }
    // Sessions stay open: the least of them count, by weight.
    let (_names, port, proxy) = farm("    balance leastconn\n", "weight 2");
    let clients: Vec<UdpSocket> = (0..8).map(|_| patient()).collect();
    for client in &clients {
        assert!(ask(client, port, &question(1, "x.example")).is_some());
    }
    let current = |name| proxy.stat("dns", name, "scur");
    assert_eq!(["a", "b", "c"].map(current), ["4", "2", "2"], "leastconn");
    proxy.control("shutdown sessions server dns/c");
    proxy.wait_for("dns", "c", "scur", "0");
    assert_eq!(shares(port, 1), ["c"], "leastconn");
    // The first one that has a place.
    let (_names, port, _proxy) = farm("    balance first\n", "maxconn 2");
    assert_eq!(shares(port, 4), ["a", "a", "b", "b"], "first");
    let (_names, port, _proxy) = farm(&format!("    balance sticky\n{once}"), "");
    let answers = shares(port, 4);
    assert!(answers.iter().all(|a| *a == answers[0]), "{answers:?}");
    // Each one has its turn, by chance and by hash; who is the same goes to the same.
    let (_names, port, _proxy) = farm(&format!("    balance random\n{once}"), "");
    assert!(counted(&shares(port, 120)).iter().all(|n| *n > 0), "random");
    for balance in [
        "source",
        "hash src",
        "maglev src",
        "source\n    hash-type consistent",
    ] {
        let (_names, port, _proxy) = farm(&format!("    balance {balance}\n{once}"), "");
        let mut all = Vec::new();
        for n in 1..=40 {
            let socket = UdpSocket::bind(("127.0.0.1".replace(".1", &format!(".{n}")), 0));
            let socket = socket.expect("an address of ours");
            socket.set_read_timeout(Some(PATIENCE)).expect("set");
            let answers = [1, 2].map(|id| ask(&socket, port, &question(id, "x.example")));
            assert!(
                answers[0].is_some() && answers[0] == answers[1],
                "{balance}"
            );
            all.extend(answers.into_iter().flatten());
        }
        assert!(
            counted(&all).iter().all(|n| *n > 0),
            "{balance}: {:?}",
            counted(&all)
        );
    }
    let hashed = "    balance hash req.payload(0,0),bytes(12,5)\n    udp-responses 1\n";
    let (_names, port, _proxy) = farm(hashed, "");
    let of = |name: &str| {
        let ask = || ask(&patient(), port, &question(1, name)).expect("an answer");
        let answers = [(); 3].map(|()| ask());
        assert!(answers.iter().all(|a| *a == answers[0]), "{name}");
        answers[0].clone()
    };
    let all: Vec<String> = (0..40).map(|n| of(&format!("n{n:03}.example"))).collect();
    assert!(counted(&all).iter().all(|n| *n > 0), "hash of the question");
    // A level of its own for the second and third one, which serve when the first one is out.
    let (_names, port, proxy) = farm(
        &format!(
            "    balance priority min-active 1 roundrobin\n    default-server priority 2\n{once}"
        ),
        "priority 1",
    );
    assert_eq!(counted(&shares(port, 3)), [3, 0, 0], "priority");
    proxy.control("disable server dns/a");
    let [a, b, c] = counted(&shares(port, 4));
    assert!(a == 0 && b == 2 && c == 2, "priority: {a} {b} {c}");
    // What is measured: nobody is forgotten, and all are answered.
    for balance in ["response-time", "fastest", "bandwidth"] {
        let (names, port, _proxy) = farm(&format!("    balance {balance}\n{once}"), "");
        assert_eq!(shares(port, 60).len(), 60, "{balance}");
        assert!(names.iter().all(|n| !n.questions().is_empty()), "{balance}");
    }
    let check = "    option udp-check\n    udp-check send-binary 0001010000010000000000000000020001\n    \
                 udp-check expect binary 000181\n    default-server check inter 100ms\n";
    let lines = format!("    balance weighted-response-time\n{once}{check}");
    let (_names, port, proxy) = farm(&lines, "");
    for name in ["a", "b", "c"] {
        proxy.wait_for("dns", name, "check_status", "L7OK");
    }
    assert_eq!(shares(port, 60).len(), 60, "weighted-response-time");
    // Weights as agents say.
    let [quarter, whole] = ["25%\n", "100%\n"].map(|said| {
        let listener = lab::listener();
        let port = listener.local_addr().expect("an address").port();
        std::thread::spawn(move || {
            use std::io::Write;
            for mut stream in listener.incoming().flatten() {
                let _ = stream.write_all(said.as_bytes());
            }
        });
        port
    });
    let lines = format!(
        "    balance agent\n{once}    default-server weight 4 agent-check agent-inter 50ms agent-port {whole}\n"
    );
    let (_names, port, proxy) = farm(&lines, &format!("agent-port {quarter}"));
    proxy.wait_for("dns", "a", "weight", "1");
    for name in ["b", "c"] {
        proxy.wait_for("dns", name, "weight", "4");
    }
    assert_eq!(counted(&shares(port, 18)), [2, 8, 8], "agent");
}

#[test]
fn health_comes_from_any_check_on_another_port_and_sessions_move_at_once() {
    let healthy = Arc::new(AtomicBool::new(true));
    let asked = Arc::clone(&healthy);
    let web = lab::Server::start(move |_, stream| {
        use std::io::Write;
        let well = asked.load(Ordering::Relaxed);
        let status = if well { "200 OK" } else { "503 No" };
        let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n");
        // A check of bytes waits for more of them until the end comes.
        stream.write_all(answer.as_bytes()).is_ok() && well
    });
    let checks = [
        ("web", "option httpchk GET /health"),
        (
            "bytes",
            "option tcp-check\n    tcp-check send \"GET / HTTP/1.0\\r\\n\\r\\n\"\n    tcp-check expect string \" 200 \"",
        ),
    ];
    for (name, check) in checks {
        healthy.store(true, Ordering::Relaxed);
        let (a, b, port) = (Names::start("a"), Names::start("b"), port());
        let text = format!(
            "{TIMES}    timeout check 9s\nlisten {name}\n    bind 127.0.0.1:{port}\n    balance first\n    {check}\n    \
             server a {} check port {} inter 50ms fall 1 rise 1 on-marked-down shutdown-sessions\n    server b {}\n",
            a.addr,
            web.addr.port(),
            b.addr
        );
        let proxy = Proxy::start(&Program::mulgil(), &text);
        proxy.wait_for(name, "a", "check_status", "L7OK");
        let client = patient();
        let first = ask(&client, port, &question(1, "x.example"));
        assert_eq!(first.as_deref(), Some("a"), "{name}");
        // It answers no more, which its clients need not find out by themselves.
        a.silent.store(true, Ordering::Relaxed);
        client
            .send_to(&question(2, "y.example"), ("127.0.0.1", port))
            .expect("sent");
        wait("it has the question", || a.questions().len() == 2);
        healthy.store(false, Ordering::Relaxed);
        proxy.wait_for(name, "a", "status", "DOWN");
        // The question that waits is asked elsewhere.
        let moved = answer(&client, port, &question(2, "y.example"));
        assert_eq!(moved.as_deref(), Some("b"), "{name}");
        let third = ask(&client, port, &question(3, "x.example"));
        assert_eq!(third.as_deref(), Some("b"), "{name}");
    }
    // A connection that can be made, and a server beside it that cannot be reached.
    let (a, b, port) = (Names::start("a"), Names::start("b"), port());
    let text = format!(
        "{TIMES}    timeout check 9s\nlisten plain\n    bind 127.0.0.1:{port}\n    default-server check inter 50ms fall 1\n    \
         server a {} port {}\n    server b {} port {}\n",
        a.addr,
        lab::refusing(),
        b.addr,
        web.addr.port()
    );
    let proxy = Proxy::start(&Program::mulgil(), &text);
    proxy.wait_for("plain", "a", "check_status", "L4CON");
    proxy.wait_for("plain", "b", "check_status", "L4OK");
    assert_eq!(shares(port, 2), ["b", "b"]);
}

#[test]
fn rules_see_the_first_datagram_and_choose_by_it() {
    let (a, b, port) = (Names::start("a"), Names::start("b"), port());
    let text = format!(
        "{TIMES}frontend dns\n    bind 127.0.0.1:{port}\n    tcp-request content reject if {{ req.payload(0,0) -m sub forbidden }}\n    tcp-request connection reject if {{ src 192.0.2.1 }}\n    use_backend inside if {{ req.payload(0,0) -m sub corp }}\n    default_backend outside\n\
         backend inside\n    server a {}\nbackend outside\n    balance hash src\n    server b {}\n",
        a.addr, b.addr
    );
    let proxy = Proxy::start(&Program::mulgil(), &text);
    let inside = ask(&socket(), port, &question(1, "www.corp"));
    let outside = ask(&socket(), port, &question(1, "www.example"));
    assert_eq!(
        (inside.as_deref(), outside.as_deref()),
        (Some("a"), Some("b"))
    );
    assert_eq!(
        ask(&socket(), port, &question(1, "forbidden.example")),
        None
    );
    assert_eq!(proxy.stat("dns", "FRONTEND", "dreq"), "1");
    assert_eq!(proxy.stat("dns", "FRONTEND", "scur"), "2");
}

#[test]
fn each_datagram_begins_with_a_header_where_servers_want_it() {
    let (names, port) = (Names::start(""), port());
    let text = format!(
        "{TIMES}listen dns\n    bind 127.0.0.1:{port}\n    server s {} send-proxy-v2\n",
        names.addr
    );
    let _proxy = Proxy::start(&Program::mulgil(), &text);
    let client = socket();
    for text in [&b"one"[..], b"two"] {
        client.send_to(text, ("127.0.0.1", port)).expect("sent");
    }
    wait("both arrive", || names.questions().len() == 2);
    let mut wanted = b"\r\n\r\n\0\r\nQUIT\n\x21\x12\x00\x0c\x7f\0\0\x01\x7f\0\0\x01".to_vec();
    let own = client.local_addr().expect("an address").port();
    wanted.extend_from_slice(&own.to_be_bytes());
    wanted.extend_from_slice(&port.to_be_bytes());
    for ((_, seen), text) in names.questions().iter().zip([&b"one"[..], b"two"]) {
        assert_eq!(seen, &[&wanted, text].concat());
    }
}

#[test]
fn a_header_before_each_datagram_names_its_client() {
    let (names, inner, outer, log) = (Names::start(""), port(), port(), lab::LogSink::new());
    let text = format!(
        "{TIMES}listen inner\n    bind 127.0.0.1:{inner} accept-proxy\n    log 127.0.0.1:{} local0\n    \
         log-format \"%ci:%cp %fi:%fp %[fc_pp_unique_id]\"\n    udp-responses 1\n    \
         tcp-request session reject if {{ src 192.0.2.9 }}\n    server s {}\n\
         listen outer\n    bind 127.0.0.1:{outer}\n    udp-responses 1\n    unique-id-format %[src_port]\n    \
         server inner 127.0.0.1:{inner} send-proxy-v2 proxy-v2-options unique-id,crc32c\n",
        log.port, names.addr
    );
    let proxy = Proxy::start(&Program::mulgil(), &text);
    // From one to the other of us, with two clients behind one address.
    for _ in 0..2 {
        let client = patient();
        let own = client.local_addr().expect("an address").port();
        assert!(ask(&client, outer, &question(1, "x.example")).is_some());
        let line = log.line("127.0.0.1");
        let wanted = format!("127.0.0.1:{own} 127.0.0.1:{outer} {own}");
        assert!(line.ends_with(&wanted), "{line}");
    }
    // By hand: other clients of one socket, and what is no header.
    let header = |source: u8, kind: u8| {
        let mut bytes = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
        bytes.extend_from_slice(&[kind, 0x12, 0, 12, 192, 0, 2, source, 192, 0, 2, 1]);
        bytes.extend_from_slice(&[0, 7, 0, 53]);
        bytes
    };
    let by_hand = patient();
    for wrong in [
        &b""[..],
        b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\nx",
        &header(1, 0x31),
        &header(1, 0x21)[..20],
        &[&header(9, 0x21)[..], &question(2, "x.example")].concat(),
    ] {
        by_hand.send_to(wrong, ("127.0.0.1", inner)).expect("sent");
    }
    wait("four are no headers", || {
        proxy.stat("inner", "FRONTEND", "ereq") == "4"
    });
    wait("one client is refused", || {
        proxy.stat("inner", "FRONTEND", "dreq") == "1"
    });
    for (source, kind, wanted) in [
        (7, 0x21, "192.0.2.7:7 192.0.2.1:53"),
        (8, 0x21, "192.0.2.8:7 192.0.2.1:53"),
        (8, 0x20, "127.0.0.1:"),
    ] {
        let asked = question(3, "x.example");
        let bytes = [header(source, kind), asked.clone()].concat();
        by_hand.send_to(&bytes, ("127.0.0.1", inner)).expect("sent");
        assert!(answer(&by_hand, inner, &asked).is_some(), "{wanted}");
        let line = log.line(": ");
        assert!(line.contains(wanted), "{line}");
    }
    assert_eq!(names.questions().len(), 5);
}

#[test]
fn a_socket_towards_a_server_serves_another_client_when_it_has_rested() {
    let (server, port) = (socket(), port());
    let again = server.try_clone().expect("a descriptor");
    let names = Names::at("", server, 1);
    let text = format!(
        "{TIMES}listen dns\n    bind 127.0.0.1:{port}\n    udp-responses 1\n    server s {}\n",
        names.addr
    );
    let proxy = Proxy::start(&Program::mulgil(), &text);
    // Until one of them is used again, which is not for us to say when.
    let end = std::time::Instant::now() + lab::PATIENCE;
    loop {
        assert!(ask(&patient(), port, &question(1, "x.example")).is_some());
        let mut ports: Vec<_> = names.questions().iter().map(|(from, _)| *from).collect();
        let asked = ports.len();
        ports.sort();
        ports.dedup();
        if ports.len() < asked {
            break;
        }
        assert!(
            std::time::Instant::now() < end,
            "{asked} sockets for as many"
        );
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    proxy.wait_for("dns", "FRONTEND", "scur", "0");
    // What a server says unasked is for nobody.
    let from = names.questions()[0].0;
    again.send_to(b"late", from).expect("sent");
    assert!(ask(&patient(), port, &question(2, "x.example")).is_some());
}

/// The reactor takes 256 events at a time: a process that stood still may have a question before it and
/// not know yet of what has come by the sockets that rest.
#[test]
fn what_comes_late_while_the_process_stands_still_is_for_nobody() {
    let (server, port) = (patient(), port());
    let addr = server.local_addr().expect("an address");
    let text = format!(
        "    nbthread 1\n{TIMES}listen any\n    bind 127.0.0.1:{port}\n    udp-responses 1\n    server s {addr}\n"
    );
    let proxy = Proxy::start(&Program::mulgil(), &text);
    let hear = |at: &UdpSocket| {
        let mut buffer = [0; 64];
        let (n, from) = at.recv_from(&mut buffer).expect("a datagram");
        (buffer[..n].to_vec(), from)
    };
    // All at the same time, so that each has a socket of its own; and not more than a buffer holds.
    let clients: Vec<UdpSocket> = (0..400).map(|_| patient()).collect();
    let mut links = Vec::new();
    for some in clients.chunks(20) {
        for client in some {
            client.send_to(b"ask", ("127.0.0.1", port)).expect("sent");
        }
        links.extend(some.iter().map(|_| hear(&server).1));
    }
    for link in &links {
        server.send_to(b"answer", link).expect("sent");
    }
    assert!(clients.iter().all(|client| hear(client).0 == b"answer"));
    proxy.wait_for("any", "FRONTEND", "scur", "0");
    // By now they have rested, those first that were answered first: it is they who are taken first, and
    // what comes by them is told last.
    std::thread::sleep(std::time::Duration::from_millis(50));
    let info = proxy.control("show info");
    let pid = info.lines().find_map(|l| l.strip_prefix("Pid: "));
    let threads = format!("/proc/{}/task", pid.expect("a number").trim());
    proxy.signal("-STOP");
    // The signal is only on its way when it has been sent.
    wait("every thread stands still", || {
        let threads = std::fs::read_dir(&threads).expect("its threads").flatten();
        let mut states = threads.map(|t| std::fs::read_to_string(t.path().join("stat")));
        // What follows the name in brackets.
        states.all(|s| s.is_ok_and(|s| s.rsplit_once(')').is_some_and(|s| s.1.starts_with(" T"))))
    });
    let other = patient();
    other.send_to(b"other", ("127.0.0.1", port)).expect("sent");
    for link in links.iter().rev() {
        server.send_to(b"late", link).expect("sent");
    }
    proxy.signal("-CONT");
    let (asked, from) = hear(&server);
    assert_eq!(asked, b"other");
    server.send_to(b"answer", from).expect("sent");
    assert_eq!(hear(&other).0, b"answer");
}

#[test]
fn every_size_passes_and_answers_come_from_the_address_that_was_asked() {
    let names = Names::start("");
    let port = port();
    let text = format!(
        "{TIMES}listen any\n    bind *:{port}\n    server s {}\n",
        names.addr
    );
    let _proxy = Proxy::start(&Program::mulgil(), &text);
    let client = socket();
    // Two addresses of this machine behind one socket.
    for to in ["127.0.0.1", "127.0.0.2"] {
        for size in [0, 1, 3, 512, 1472, 9000, 60_000] {
            let sent: Vec<u8> = (0..size).map(|i| (i % 100) as u8).collect();
            client.send_to(&sent, (to, port)).expect("sent");
            let mut buffer = vec![0; 65536];
            let (n, from) = client.recv_from(&mut buffer).expect("an answer");
            assert_eq!((n, from.to_string()), (size, format!("{to}:{port}")));
            if size > 3 {
                assert_eq!(&buffer[3..n], &sent[3..]);
            }
        }
    }
}

#[test]
fn a_datagram_that_is_too_long_with_its_header_is_lost_and_no_servers_fault() {
    let (names, port) = (Names::start(""), port());
    let text = format!(
        "{TIMES}listen any\n    bind 127.0.0.1:{port}\n    server s {} send-proxy-v2\n",
        names.addr
    );
    let proxy = Proxy::start(&Program::mulgil(), &text);
    let client = socket();
    // Of 65,507 bytes that a datagram may have, 28 are the header's.
    for size in [9, 65_480, 65_479] {
        client
            .send_to(&vec![1; size], ("127.0.0.1", port))
            .expect("sent");
    }
    wait("what fits arrives", || names.questions().len() == 2);
    let sizes: Vec<usize> = names.questions().iter().map(|(_, q)| q.len()).collect();
    assert_eq!(sizes, [37, 65_507]);
    for (row, fields, wanted) in [
        ("s", ["stot", "econ", "wredis"], ["1", "0", "0"]),
        ("FRONTEND", ["stot", "dreq", "ereq"], ["1", "0", "0"]),
    ] {
        assert_eq!(proxy.stats("any", row, &fields), wanted, "{row}");
    }
}

#[test]
fn a_way_that_takes_shorter_datagrams_only_is_no_reason_to_leave_a_server() {
    if !net::possible() {
        return;
    }
    let net = Net::new(2);
    let (middle, one, two) = (net.client(), net.router(1), net.router(2));
    net.ip(&two, "addr add 198.51.100.2/32 dev lo");
    net.ip(&one, "route add 198.51.100.2/32 via 203.0.113.100");
    net.ip(
        &middle,
        "route add 198.51.100.2/32 via 203.0.113.2 dev br0 mtu 1280",
    );
    for setting in [
        "net.ipv4.ip_forward=1",
        // Nobody is told of the shorter way round.
        "net.ipv4.conf.all.send_redirects=0",
        "net.ipv4.conf.br0.send_redirects=0",
    ] {
        net.exec(&middle, "sysctl", &["-qw", setting]);
    }
    let bound = |at: &'static str| move || UdpSocket::bind(at).expect("a port");
    let far = Names::at("far", net::within(&two, bound("198.51.100.2:0")), 1);
    let near = Names::at("near", net::within(&one, bound("127.0.0.1:0")), 1);
    let config = format!(
        "{TIMES}listen dns\n    bind 127.0.0.1:5300\n    server far {}\n    server near {}\n",
        far.addr, near.addr
    );
    let router = Router::start(&net, 1, &config);
    let client = net::within(&one, bound("127.0.0.1:0"));
    client
        .set_read_timeout(Some(Duration::from_millis(200)))
        .expect("a timeout");
    let mut long = question(1, "x.example");
    long.resize(1400, 0);
    let end = Instant::now() + PATIENCE;
    let answer = loop {
        assert!(Instant::now() < end, "no answer");
        if let Some(answer) = ask(&client, 5300, &long) {
            break answer;
        }
    };
    assert_eq!(answer, "far");
    assert_eq!(near.questions().len(), 0);
    router.stop();
}

#[test]
fn a_burst_of_many_clients_is_answered() {
    let (a, b, port) = (Names::start("a"), Names::start("b"), port());
    let text = format!(
        "{TIMES}listen dns\n    bind 127.0.0.1:{port}\n    udp-responses 1\n    server a {}\n    server b {}\n",
        a.addr, b.addr
    );
    let proxy = Proxy::start(&Program::mulgil(), &text);
    let answered = Arc::new(AtomicU32::new(0));
    let threads: Vec<_> = (0..4)
        .map(|t| {
            let answered = Arc::clone(&answered);
            std::thread::spawn(move || {
                for i in 0..250 {
                    // Each question from a port of its own, as resolvers do.
                    if ask(&socket(), port, &question(t * 1000 + i, "x.example")).is_some() {
                        answered.fetch_add(1, Ordering::Relaxed);
                    }
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().expect("it ends");
    }
    assert_eq!(answered.load(Ordering::Relaxed), 1000);
    proxy.wait_for("dns", "FRONTEND", "scur", "0");
    proxy.wait_for("dns", "BACKEND", "stot", "1000");
}

#[test]
fn a_server_that_says_several_things_at_once_is_heard_to_the_end() {
    const SAID: u8 = 20;
    let (server, port) = (patient(), port());
    let text = format!(
        "{TIMES}listen said\n    bind 127.0.0.1:{port}\n    server s {}\n",
        server.local_addr().expect("an address")
    );
    let _proxy = Proxy::start(&Program::mulgil(), &text);
    let client = patient();
    let mut buffer = [0; 100];
    for asked in 0..5 {
        client.send_to(&[asked], ("127.0.0.1", port)).expect("sent");
        let (n, from) = server.recv_from(&mut buffer).expect("asked");
        assert_eq!(buffer[..n], [asked]);
        for said in 0..SAID {
            server.send_to(&[asked, said], from).expect("sent");
        }
        for said in 0..SAID {
            let n = client.recv(&mut buffer).expect("heard");
            assert_eq!(buffer[..n], [asked, said]);
        }
    }
}

#[test]
fn a_reload_keeps_sessions() {
    let (names, port) = (Names::start("s"), port());
    let text = |more: &str| {
        format!(
            "{TIMES}listen dns\n    bind 127.0.0.1:{port}\n{more}    server s {}\n",
            names.addr
        )
    };
    let proxy = Proxy::start(&Program::mulgil(), &text(""));
    let client = socket();
    assert!(ask(&client, port, &question(1, "x.example")).is_some());
    let file = std::fs::read_to_string(&proxy.file).expect("readable");
    let file = file.replace("    server s", "    maxconn 100\n    server s");
    std::fs::write(&proxy.file, file).expect("written");
    proxy.signal("-HUP");
    proxy.wait_for("dns", "FRONTEND", "slim", "100");
    assert!(ask(&client, port, &question(2, "x.example")).is_some());
    let asked = names.questions();
    assert_eq!(asked[0].0, asked[1].0, "the same socket asks");
}

#[test]
fn what_does_not_fit_is_refused_with_its_reason() {
    let cases = [
        ("bind 127.0.0.1:1 ssl crt /x", "mode udp", "ssl"),
        ("bind /tmp/x", "mode udp", "cannot take datagrams"),
        (
            "bind udp@127.0.0.1:1",
            "mode tcp",
            "is for datagrams, but 'l' is in 'mode tcp'",
        ),
        (
            "bind 127.0.0.1:1\n    server s udp@127.0.0.1:2",
            "mode tcp",
            "server 's' is for datagrams",
        ),
        (
            "bind 127.0.0.1:1\n    server s 127.0.0.1:2 send-proxy",
            "mode udp",
            "'server … send-proxy' is for streams",
        ),
        (
            "bind 127.0.0.1:1\n    option udp-check\n    server s 127.0.0.1:2",
            "mode udp",
            "silence proves nothing",
        ),
        (
            "bind 127.0.0.1:1\n    udp-responses 1\n    server s 127.0.0.1:2",
            "mode tcp",
            "'udp-responses' is for datagrams",
        ),
        (
            "bind 127.0.0.1:1\n    use_backend b if { src 192.0.2.1 }",
            "mode udp",
            "backend 'b' at",
        ),
    ];
    let folder = lab::Folder::new();
    for (lines, mode, wanted) in cases {
        let text = format!(
            "listen l\n    {mode}\n    timeout client 1s\n    timeout server 1s\n    timeout connect 1s\n    {lines}\nbackend b\n    mode tcp\n"
        );
        let file = folder.file("a.cfg", text.as_bytes());
        let (status, said) = Program::mulgil().run(&["-c", "-f", &file]);
        assert!(status != 0 && said.contains(wanted), "{lines}: {said}");
    }
}

#[test]
fn the_example_of_names_is_good() {
    let file = format!("{}/../examples/own/names.cfg", env!("CARGO_MANIFEST_DIR"));
    let (status, said) = Program::mulgil().run(&["-c", "-f", &file]);
    assert!(status == 0 && !said.contains("arning"), "{said}");
}
