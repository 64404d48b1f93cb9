//! How often servers are asked in which state, counted by the servers themselves, beside the oracle;
//! and what a check that is not finished leaves on the wire and at the server.

use lab::{Folder, LogSink, PATIENCE, Program, Proxy, Server, each};
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

const TIMES: &str = "defaults\n    timeout client 9s\n    timeout server 9s\n    timeout connect 9s\n    timeout check 9s\n";

/// A server that is well or not as it is told, and remembers what it answered to each check.
struct Patient {
    server: Server,
    well: Arc<AtomicBool>,
    answered: Arc<Mutex<Vec<bool>>>,
}

impl Patient {
    fn new(well: bool) -> Patient {
        let well = Arc::new(AtomicBool::new(well));
        let answered = Arc::new(Mutex::new(Vec::new()));
        let (state, kept) = (Arc::clone(&well), Arc::clone(&answered));
        let server = Server::start(move |_, stream| {
            let mut answered = kept.lock().expect("unpoisoned");
            let well = state.load(SeqCst);
            answered.push(well);
            let status = if well { 200 } else { 500 };
            let _ = write!(stream, "HTTP/1.0 {status} X\r\nContent-Length: 0\r\n\r\n");
            false
        });
        Patient {
            server,
            well,
            answered,
        }
    }

    /// From now on it answers otherwise. Between two answers, so that none is in between.
    fn turn(&self, well: bool) {
        let _between = self.answered.lock().expect("unpoisoned");
        self.well.store(well, SeqCst);
    }

    /// How often it answered so.
    fn said(&self, well: bool) -> usize {
        let answered = self.answered.lock().expect("unpoisoned");
        answered.iter().filter(|a| **a == well).count()
    }
}

fn wait(what: &str, holds: impl Fn() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// An interval of an hour is one that does not end within the test: who has it in a state is asked
/// once in it and never again, however long another server's checks go on meanwhile.
#[test]
fn each_state_has_the_interval_that_is_its_own() {
    each(|program| {
        // What the server is at first; its words.
        let all = [
            ("down", false, "inter 200ms fastinter 200ms downinter 1h"),
            (
                "rising",
                false,
                "inter 200ms fastinter 1h downinter 200ms rise 3",
            ),
            (
                "risen",
                false,
                "inter 1h fastinter 50ms downinter 50ms rise 3",
            ),
            (
                "falling",
                true,
                "inter 200ms fastinter 1h downinter 200ms fall 3",
            ),
            (
                "fallen",
                true,
                "inter 200ms fastinter 200ms downinter 1h fall 3",
            ),
            ("plain", false, "inter 100ms rise 2"),
        ]
        .map(|(name, well, words)| (name, Patient::new(well), words));
        let mut config = format!("    max-spread-checks 1\n{TIMES}");
        for (name, patient, words) in &all {
            config += &format!(
                "backend {name}\n    option httpchk\n    server s {} check {words}\n",
                patient.server.addr
            );
        }
        let proxy = Proxy::start(program, &config);
        let status = |name: &str| proxy.stat(name, "s", "status");
        let [down, rising, risen, falling, fallen, plain] = all.each_ref().map(|(_, p, _)| p);
        // One failure at the start is enough.
        for name in ["down", "rising", "risen", "plain"] {
            proxy.wait_for(name, "s", "status", "DOWN");
        }
        wait("in health the short interval holds", || {
            falling.said(true) > 2 && fallen.said(true) > 2
        });
        for (patient, well) in [
            (rising, true),
            (risen, true),
            (falling, false),
            (fallen, false),
            (plain, true),
        ] {
            patient.turn(well);
        }
        proxy.wait_for("rising", "s", "status", "DOWN 1/3");
        proxy.wait_for("risen", "s", "status", "UP");
        proxy.wait_for("falling", "s", "status", "UP 2/3");
        proxy.wait_for("fallen", "s", "status", "DOWN");
        proxy.wait_for("plain", "s", "status", "UP");
        let before = plain.said(true);
        wait("the others' intervals go on", || {
            plain.said(true) > before + 10
        });
        let counts = [
            ("down", down.said(false), 1),
            ("rising", rising.said(true), 1),
            ("risen", risen.said(true), 3),
            ("falling", falling.said(false), 1),
            ("fallen", fallen.said(false), 3),
        ];
        for (name, asked, due) in counts {
            assert_eq!(asked, due, "{}: {name}", program.name);
        }
        let now = ["down", "rising", "risen", "falling", "fallen"].map(status);
        let due = ["DOWN", "DOWN 1/3", "UP", "UP 2/3", "DOWN"];
        assert_eq!(now, due, "{}", program.name);
    });
}

/// What a server is asked again after an error of its traffic: at once, though its next check were in
/// an hour.
#[test]
fn an_error_of_traffic_brings_the_next_check_forward() {
    each(|program| {
        let patient = Patient::new(true);
        let port = lab::port();
        let proxy = Proxy::start(
            program,
            &format!(
                "    max-spread-checks 1\n{TIMES}    mode http\nlisten l\n    bind 127.0.0.1:{port}\n    option httpchk\n    \
                 server s {} check inter 1h fastinter 50ms fall 3 rise 2 observe layer7 error-limit 1 on-error fastinter\n",
                patient.server.addr
            ),
        );
        proxy.wait_for("l", "s", "check_status", "L7OK");
        assert_eq!(patient.said(true), 1, "{}", program.name);
        patient.turn(false);
        assert_eq!(lab::get(port, "/").status, 500, "{}", program.name);
        // One answer was for the client, the others are checks.
        proxy.wait_for("l", "s", "status", "DOWN");
        assert_eq!(patient.said(false), 4, "{}", program.name);
    });
}

/// Each finding that changes something has its line, in order.
#[test]
fn checks_are_told_in_the_log_one_by_one() {
    let lines = Mutex::new(Vec::new());
    each(|program| {
        let (patient, log) = (Patient::new(false), LogSink::new());
        let proxy = Proxy::start(
            program,
            &format!(
                "    max-spread-checks 1\n    log 127.0.0.1:{} local0\n{TIMES}    log global\nbackend b\n    option httpchk\n    option log-health-checks\n    \
                 server s {} check inter 1h fastinter 100ms downinter 100ms rise 3 fall 2\n",
                log.port, patient.server.addr
            ),
        );
        let mut told = Vec::new();
        let mut until = |wanted: &str| loop {
            let line = log.line("erver b/s ").replace('\0', "");
            let text = line.split_once("]: ").map_or(&*line, |(_, text)| text);
            let (what, status) = text.rsplit_once("status: ").unwrap_or((text, ""));
            let what = what.split(", check duration").next().unwrap_or_default();
            told.push(format!("{what} {status}"));
            if text.contains(wanted) {
                return;
            }
        };
        until("is DOWN");
        patient.turn(true);
        until("is UP");
        drop(proxy);
        lines.lock().expect("unpoisoned").push(told);
    });
    let lines = lines.into_inner().expect("unpoisoned");
    if let [oracle, ours] = &lines[..] {
        assert_eq!(oracle, ours);
        assert!(ours.len() > 4, "{ours:?}");
    }
}

/// Ten servers that keep their checks waiting, two workers: four checks are under way, and not one more
/// until one of them is over.
#[test]
fn no_more_checks_are_under_way_than_a_worker_may_have() {
    const SERVERS: usize = 10;
    let gate = Arc::new((Mutex::new(false), Condvar::new()));
    let asked = Arc::new(Mutex::new((0usize, 0usize)));
    let servers: Vec<Server> = (0..SERVERS)
        .map(|_| {
            let (gate, asked) = (Arc::clone(&gate), Arc::clone(&asked));
            Server::start(move |_, stream| {
                let count = |change: fn(usize) -> usize| {
                    let mut asked = asked.lock().expect("unpoisoned");
                    asked.0 = change(asked.0);
                    asked.1 = asked.1.max(asked.0);
                };
                count(|n| n + 1);
                let (open, opened) = &*gate;
                let shut = open.lock().expect("unpoisoned");
                drop(opened.wait_timeout_while(shut, PATIENCE, |open| !*open));
                // What the checker does next it does once it has the answer.
                count(|n| n - 1);
                let _ = stream.write_all(b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n");
                false
            })
        })
        .collect();
    let mut config = format!(
        "    max-spread-checks 1\n    tune.max-checks-per-thread 2\n{TIMES}backend b\n    option httpchk\n    default-server check inter 1h\n"
    );
    for (n, server) in servers.iter().enumerate() {
        config += &format!("    server s{n} {}\n", server.addr);
    }
    let proxy = Proxy::start(&Program::mulgil(), &config);
    wait("as many as may be", || {
        asked.lock().expect("unpoisoned").0 == 4
    });
    *gate.0.lock().expect("unpoisoned") = true;
    gate.1.notify_all();
    for n in 0..SERVERS {
        proxy.wait_for("b", &format!("s{n}"), "check_status", "L7OK");
    }
    assert_eq!(asked.lock().expect("unpoisoned").1, 4);
}

/// A check that may take as long as the interval would still be under way when the next one is due.
#[test]
fn a_response_time_that_is_not_below_the_interval_is_warned_of() {
    let folder = Folder::new();
    let said = |patience: &str, inter: &str| {
        let text = format!(
            "defaults\n    timeout client 9s\n    timeout server 9s\n    timeout connect 9s\n    timeout check {patience}\n\
             listen l\n    bind 127.0.0.1:{}\n    server s 127.0.0.1:1 check {inter}\n",
            lab::port()
        );
        let file = folder.file("t.cfg", text.as_bytes());
        let (status, said) = Program::mulgil().run(&["-c", "-f", &file]);
        assert_eq!(status, 0, "{said}");
        said.contains("warning") && said.contains("is not below the interval")
    };
    assert!(said("2s", "inter 2s"));
    assert!(said("3s", ""));
    assert!(!said("1999ms", "inter 2s"));
    assert!(!said("1s", ""));
}
