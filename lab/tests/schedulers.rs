//! Ways to balance that are mulgil's own, and ranks in queues, which are the oracle's, too.

use lab::{Client, PATIENCE, Program, Proxy, Server, each, port};
use std::fmt::Write as _;
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

const NAMES: [&str; 3] = ["a", "b", "c"];

/// Three servers behind these lines; the first answers after a while, with so many bytes.
struct Farm {
    port: u16,
    proxy: Proxy,
}

impl Farm {
    fn start(lines: &str, words: [&str; 3], delay: u64, bytes: usize) -> Farm {
        let answer = move |first: bool, name: &str| {
            let body = "x".repeat(if first { bytes } else { 100 });
            let length = body.len();
            format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nX-Server: {name}\r\n\r\n{body}")
        };
        let port = port();
        let mut config = format!(
            "defaults\n    mode http\n    timeout client 5s\n    timeout server 5s\n    timeout connect 1s\n\
             frontend f\n    bind 127.0.0.1:{port}\n    default_backend b\nbackend b\n{lines}"
        );
        for (name, words) in NAMES.into_iter().zip(words) {
            let first = name == "a";
            let server = Server::start(move |_, stream| {
                std::thread::sleep(Duration::from_millis(if first { delay } else { 0 }));
                stream.write_all(answer(first, name).as_bytes()).is_ok()
            });
            let _ = writeln!(config, "    server {name} {} {words}", server.addr);
        }
        let proxy = Proxy::start(&Program::mulgil(), &config);
        Farm { port, proxy }
    }

    /// How many of so many requests, one after the other, each server got.
    fn shares(&self, requests: usize) -> [usize; 3] {
        let mut client = Client::connect(self.port);
        let mut had = [0; 3];
        for n in 0..requests {
            let name = self.ask(&mut client, n);
            had[NAMES
                .iter()
                .position(|wanted| *wanted == name)
                .expect("a server")] += 1;
        }
        had
    }

    fn ask(&self, client: &mut Client, n: usize) -> String {
        let request = format!("GET /?k={n} HTTP/1.1\r\nHost: x\r\n\r\n");
        client.ask(&request).header("x-server").expect("an answer")
    }
}

/// On a busy machine an answer of `b` or `c` may take long, too: whom it happened to has a while less.
/// The shares themselves are simulated, without a clock, in `docs/schedulers.md`.
#[test]
fn a_slow_server_gets_little_and_no_quick_one_is_forgotten() {
    for balance in ["response-time", "fastest"] {
        let lines = format!("    balance {balance}\n");
        let farm = Farm::start(&lines, [""; 3], 100, 100);
        let [slow, b, c] = farm.shares(300);
        assert!((1..=60).contains(&slow), "{balance}: {slow} {b} {c}");
        // How these two share depends on the machine.
        assert!(b + c >= 240, "{balance}: {slow} {b} {c}");
    }
}

#[test]
fn a_server_of_large_answers_gets_fewer_requests() {
    let farm = Farm::start("    balance bandwidth\n", [""; 3], 0, 100_000);
    let [large, b, c] = farm.shares(120);
    assert!(large <= 20, "{large} {b} {c}");
    assert!(b >= 35 && c >= 35, "{large} {b} {c}");
}

#[test]
fn weights_follow_the_times_of_checks() {
    let lines = "    balance weighted-response-time\n    option httpchk\n    timeout check 5s\n    default-server check inter 50ms\n";
    let farm = Farm::start(lines, [""; 3], 30, 100);
    let end = Instant::now() + PATIENCE;
    loop {
        let [slow, b, c] = farm.shares(30);
        if slow <= 6 && slow > 0 {
            break;
        }
        assert!(Instant::now() < end, "{slow} {b} {c}");
    }
}

#[test]
fn the_next_level_serves_when_too_few_are_left() {
    let words = ["priority 1", "priority 1", "priority 2"];
    let farm = Farm::start(
        "    balance priority min-active 2 leastconn\n",
        words,
        0,
        100,
    );
    assert_eq!(farm.shares(20), [10, 10, 0]);
    farm.proxy.control("disable server b/b");
    assert_eq!(farm.shares(20), [10, 0, 10]);
    farm.proxy.control("enable server b/b");
    assert_eq!(farm.shares(20)[2], 0);
}

#[test]
fn maglev_moves_only_what_was_on_a_server_that_goes() {
    let farm = Farm::start("    balance maglev url_param(k)\n", [""; 3], 0, 100);
    let mut client = Client::connect(farm.port);
    let mut all = || -> Vec<String> { (0..90).map(|n| farm.ask(&mut client, n)).collect() };
    let before = all();
    assert_eq!(before, all());
    farm.proxy.control("disable server b/b");
    let after = all();
    let others = before.iter().zip(&after).filter(|(then, _)| *then != "b");
    let moved = others.clone().filter(|(then, now)| then != now).count();
    assert!(moved <= 3, "{moved} of {} moved", others.count());
    farm.proxy.control("enable server b/b");
    assert_eq!(before, all(), "and back");
}

#[test]
fn a_request_of_a_lower_class_leaves_the_queue_first() {
    each(|program| {
        let gate = Arc::new((Mutex::new(false), Condvar::new()));
        let held = Arc::clone(&gate);
        let first = AtomicBool::new(true);
        let server = Server::start(move |_, stream| {
            if first.swap(false, SeqCst) {
                let (open, opened) = &*held;
                let guard = open.lock().expect("unpoisoned");
                let wait = opened.wait_timeout_while(guard, PATIENCE, |open| !*open);
                drop(wait);
            }
            stream
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                .is_ok()
        });
        let port = port();
        let proxy = Proxy::start(
            program,
            &format!(
                "defaults\n    mode http\n    timeout client 5s\n    timeout server 5s\n    timeout connect 1s\n    timeout queue 5s\n\
                 listen l\n    bind 127.0.0.1:{port}\n    http-request set-priority-class req.hdr(x-class)\n    http-request set-priority-offset req.hdr(x-offset)\n    server s {} maxconn 1\n",
                server.addr
            ),
        );
        let mut clients: Vec<Client> = Vec::new();
        let waiting = [
            ("/first", "0", "0"),
            ("/late", "5", "0"),
            ("/ordinary", "0", "0"),
            ("/urgent", "-5", "0"),
            ("/early", "0", "-60000"),
        ];
        for (n, (path, class, offset)) in waiting.into_iter().enumerate() {
            let mut client = Client::connect(port);
            client.send(format!(
                "GET {path} HTTP/1.1\r\nHost: x\r\nX-Class: {class}\r\nX-Offset: {offset}\r\nConnection: close\r\n\r\n"
            ));
            clients.push(client);
            match n {
                0 => proxy.wait_for("l", "s", "scur", "1"),
                n => proxy.wait_for("l", "BACKEND", "qcur", &n.to_string()),
            }
        }
        *gate.0.lock().expect("unpoisoned") = true;
        gate.1.notify_all();
        for client in &mut clients {
            assert_eq!(client.response().status, 200, "{}", program.name);
        }
        let order: Vec<String> = server
            .requests()
            .iter()
            .filter_map(|r| r.split(' ').nth(1).map(str::to_owned))
            .collect();
        let wanted = ["/first", "/urgent", "/early", "/ordinary", "/late"];
        assert_eq!(order, wanted, "{}", program.name);
    });
}

#[test]
fn a_rule_chooses_the_server_of_a_connection() {
    each(|program| {
        let addrs: Vec<_> = NAMES
            .iter()
            .map(|name| {
                let listener = lab::listener();
                let addr = listener.local_addr().expect("an address");
                std::thread::spawn(move || {
                    for mut stream in listener.incoming().flatten() {
                        let _ = stream.write_all(name.as_bytes());
                    }
                });
                addr
            })
            .collect();
        let port = port();
        let mut config = format!(
            "defaults\n    mode tcp\n    timeout client 2s\n    timeout server 2s\n    timeout connect 1s\n\
             listen l\n    bind 127.0.0.1:{port}\n    use-server c if {{ src 127.0.0.3 }}\n    balance first\n"
        );
        for (name, addr) in NAMES.iter().zip(&addrs) {
            let _ = writeln!(config, "    server {name} {addr}");
        }
        let _proxy = Proxy::start(program, &config);
        for (from, wanted) in [(3, "c"), (2, "a")] {
            use std::io::Read;
            let mut client = Client::connect_from([127, 0, 0, from], port);
            let mut name = String::new();
            let _ = client.stream.read_to_string(&mut name);
            assert_eq!(name, wanted, "{}", program.name);
        }
    });
}

#[test]
fn weights_of_a_map_can_only_be_taken_out_and_put_back() {
    each(|program| {
        let proxy = Proxy::start(
            program,
            &format!(
                "defaults\n    mode http\n    timeout client 1s\n    timeout server 1s\n    timeout connect 1s\n\
                 listen l\n    bind 127.0.0.1:{}\n    balance static-rr\n    server a 127.0.0.1:1 weight 10\n\
                 listen m\n    bind 127.0.0.1:{}\n    balance uri\n    hash-type consistent\n    server a 127.0.0.1:1 weight 10\n",
                port(),
                port()
            ),
        );
        for command in [
            "set weight l/a 5",
            "set weight l/a 50%",
            "set server l/a weight 7",
        ] {
            let said = proxy.control(command);
            assert!(
                said.contains("static LB algorithm"),
                "{}: {said}",
                program.name
            );
        }
        for command in [
            "set weight l/a 0",
            "set weight l/a 100%",
            "set weight m/a 5",
        ] {
            assert_eq!(proxy.control(command).trim(), "", "{}", program.name);
        }
    });
}
