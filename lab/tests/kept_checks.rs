//! Checks over connections that requests use (`check-reuse-pool`), names of kept connections, and how many
//! there may be. No version of the oracle that is at hand has these words: the servers say what they saw.

use lab::{Client, Folder, Program, Proxy, Server, port};
use std::collections::BTreeMap;
use std::io::Write;
use std::net::TcpStream;
use std::sync::{Arc, Mutex};

/// One worker: each has its own connections.
const TIMES: &str = "    nbthread 1\ndefaults\n    mode http\n    timeout client 9s\n    timeout server 9s\n    timeout connect 9s\n    timeout check 9s\n    retries 0\n    http-reuse always\n";

/// Paths by connection, which is known by its port.
type Seen = Arc<Mutex<BTreeMap<u16, Vec<String>>>>;

/// A server that notes what comes on which connection.
fn server(seen: &Seen) -> Server {
    let seen = Arc::clone(seen);
    Server::start(move |request, stream| {
        let path = request.split(' ').nth(1).unwrap_or_default().to_string();
        let closes = request.to_lowercase().contains("connection: close");
        let port = stream.peer_addr().expect("connected").port();
        let note = |path: String| {
            let mut all = seen.lock().expect("unpoisoned");
            all.entry(port).or_default().push(path);
        };
        let (first, is_check) = (path.ends_with('1'), path == "/check");
        note(path);
        // Two at a time, so that as many connections are worth keeping.
        let firsts = || {
            let all = seen.lock().expect("unpoisoned");
            all.values().flatten().filter(|p| p.ends_with('1')).count()
        };
        wait("both are there", || !first || firsts() > 1);
        let head = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n";
        // What a check looks at comes before the rest.
        stream.set_nodelay(true).expect("a socket");
        let parts = [head, "ok"];
        let sent = parts.iter().all(|part| {
            let sent = stream.write_all(part.as_bytes()).is_ok();
            if is_check {
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
            sent
        });
        sent && !closes
    })
}

fn wait(what: &str, mut done: impl FnMut() -> bool) {
    let end = std::time::Instant::now() + lab::PATIENCE;
    while !done() {
        assert!(std::time::Instant::now() < end, "{what}");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

/// Asks for paths, each on a connection of its own.
fn ask(port: u16, host: &str, path: &str) {
    let mut client = Client::connect(port);
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    assert_eq!(client.ask(&request).status, 200, "{path}");
}

#[test]
fn checks_go_over_a_kept_connection_and_leave_it_to_the_next_request() {
    for (options, request) in [
        ("", "option httpchk GET /check"),
        ("", "option httpchk GET /check HTTP/1.1\\r\\nHost:\\ a"),
        ("pool-max-conn 0", "option httpchk GET /check"),
        ("port PORT", "option httpchk GET /check"),
    ] {
        let seen = Seen::default();
        let server = server(&seen);
        let (front, own) = (port(), server.addr.port().to_string());
        let config = format!(
            "{TIMES}listen l\n    bind 127.0.0.1:{front}\n    {request}\n    server s {} check inter 50ms check-reuse-pool {}\n",
            server.addr,
            options.replace("PORT", &own)
        );
        let proxy = Proxy::start(&Program::mulgil(), &config);
        let of = |path: &str| {
            let all = seen.lock().expect("unpoisoned");
            let with = all.values().filter(|on| on.iter().any(|p| p == path));
            with.cloned().collect::<Vec<_>>()
        };
        wait("the first check has nothing to go over", || {
            !of("/check").is_empty()
        });
        ask(front, "a", "/one");
        let shared = options.is_empty();
        if shared {
            wait("checks go over the connection of the request", || {
                of("/one")[0].iter().filter(|p| *p == "/check").count() > 2
            });
            // The one that comes while a check has the connection gets another.
            let mut paths = (0..).map(|n| format!("/{n}-two"));
            wait("a request goes where a check went", || {
                let path = paths.next().expect("endless");
                ask(front, "a", &path);
                let on = &of(&path)[0];
                let before = on.split(|p| *p == path).next();
                before.is_some_and(|before| before.contains(&"/check".to_string()))
            });
            assert_eq!(proxy.stat("l", "s", "status"), "UP");
            assert_eq!(proxy.stat("l", "s", "chkfail"), "0");
        } else {
            let before = of("/check").len();
            wait("checks go on", || of("/check").len() > before + 2);
            assert!(of("/check").iter().all(|on| on.len() == 1), "{options}");
        }
    }
}

/// What a server ends while it is kept says nothing of the server's health.
#[test]
fn a_kept_connection_that_ends_under_a_check_is_no_failed_check() {
    let seen = Seen::default();
    let noted = Arc::clone(&seen);
    // Takes one request on each connection, reads another and hangs up.
    let server = Server::start(move |request, stream| {
        let path = request.split(' ').nth(1).unwrap_or_default().to_string();
        let port = stream.peer_addr().expect("connected").port();
        let mut all = noted.lock().expect("unpoisoned");
        let on = all.entry(port).or_default();
        on.push(path);
        let answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
        on.len() == 1 && stream.write_all(answer.as_bytes()).is_ok()
    });
    let front = port();
    let config = format!(
        "{TIMES}listen l\n    bind 127.0.0.1:{front}\n    option httpchk GET /check\n    server s {} check inter 50ms fall 1 check-reuse-pool\n",
        server.addr
    );
    let proxy = Proxy::start(&Program::mulgil(), &config);
    for path in ["/one", "/two", "/three"] {
        ask(front, "a", path);
        wait(
            "a check takes the connection, and then one of its own",
            || {
                let all = seen.lock().expect("unpoisoned");
                let both = vec![path.to_string(), "/check".to_string()];
                all.values().any(|on| *on == both)
            },
        );
    }
    assert_eq!(proxy.stat("l", "s", "chkfail"), "0");
    assert_eq!(proxy.stat("l", "s", "status"), "UP");
}

#[test]
fn names_of_kept_connections_say_what_they_are_for() {
    let seen = Seen::default();
    let server = server(&seen);
    let front = port();
    let config = format!(
        "{TIMES}listen l\n    bind 127.0.0.1:{front}\n    option httpchk GET /check\n    server s {} check inter 50ms check-reuse-pool check-pool-conn-name b pool-conn-name req.hdr(host)\n",
        server.addr
    );
    let _proxy = Proxy::start(&Program::mulgil(), &config);
    let on = |path: &str| {
        let all = seen.lock().expect("unpoisoned");
        let (port, on) = all.iter().find(|(_, on)| on.iter().any(|p| p == path))?;
        Some((*port, on.clone()))
    };
    let both = [("a", "/a1"), ("b", "/b1")];
    let both = both.map(|(host, path)| std::thread::spawn(move || ask(front, host, path)));
    for asked in both {
        asked.join().expect("answered");
    }
    ask(front, "a", "/a2");
    assert_eq!(on("/a1"), on("/a2"));
    // The one that comes while a check has the connection gets another.
    let mut paths = (0..).map(|n| format!("/b-{n}-"));
    wait(
        "a request goes where one of its name and a check went",
        || {
            let path = paths.next().expect("endless");
            ask(front, "b", &path);
            let all = on(&path).map_or_else(Vec::new, |(_, all)| all);
            all[0].starts_with("/b") && all[0] != path && all.contains(&"/check".to_string())
        },
    );
    for on in seen.lock().expect("unpoisoned").values() {
        let alone = |host: &str| on.iter().all(|p| p.starts_with(host));
        assert!(
            alone("/a") || !on.iter().any(|p| p.starts_with("/a")),
            "{on:?}"
        );
    }
}

/// Whether the peer has not ended it.
fn is_open(stream: &TcpStream) -> bool {
    let mut byte = [std::mem::MaybeUninit::uninit()];
    let flags = libc::MSG_PEEK | libc::MSG_DONTWAIT;
    match socket2::SockRef::from(stream).recv_with_flags(&mut byte, flags) {
        Ok(n) => n > 0,
        Err(e) => e.kind() == std::io::ErrorKind::WouldBlock,
    }
}

/// Both workers have clients that come and go, none of which may use what another left. Where that counts
/// there is never more than one connection to the server, and all are served.
#[test]
fn kept_connections_count_where_the_limit_is_strict() {
    for (word, good) in [("strict-maxconn", 1..=1), ("", 2..=99)] {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let addr = listener.local_addr().expect("an address");
        let most = Arc::new(Mutex::new(0));
        let noted = Arc::clone(&most);
        std::thread::spawn(move || {
            let mut all: Vec<TcpStream> = Vec::new();
            for stream in listener.incoming().flatten() {
                all.retain(is_open);
                all.push(stream.try_clone().expect("a copy"));
                let mut most = noted.lock().expect("unpoisoned");
                *most = all.len().max(*most);
                std::thread::spawn(move || {
                    let mut client = Client::of(stream.try_clone().expect("a copy"));
                    while client.request().is_some() {
                        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
                        let _ = (&stream).write_all(answer);
                    }
                });
            }
        });
        let front = port();
        let times = TIMES
            .replace("nbthread 1", "nbthread 2")
            .replace("always", "safe");
        let config = format!(
            "{times}listen l\n    bind 127.0.0.1:{front}\n    server s {addr} maxconn 1 {word}\n"
        );
        let _proxy = Proxy::start(&Program::mulgil(), &config);
        for _ in 0..20 {
            ask(front, "a", "/");
        }
        let most = *most.lock().expect("unpoisoned");
        assert!(good.contains(&most), "{word}: {most}");
    }
}

/// A client that stays has nothing of which others are in need.
#[test]
fn who_stays_holds_no_place_where_the_limit_is_strict() {
    let server = Server::named("s");
    let front = port();
    let times = TIMES.replace("    timeout connect 9s\n", "");
    let config = format!(
        "{}listen l\n    bind 127.0.0.1:{front}\n    server s {} maxconn 1 strict-maxconn\n",
        times.replace("always", "never"),
        server.addr
    );
    let _proxy = Proxy::start(&Program::mulgil(), &config);
    let mut stays = Client::connect(front);
    for path in ["/1", "/2"] {
        let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(stays.ask(&request).status, 200, "{path}");
        ask(front, "b", "/");
    }
}

#[test]
fn words_that_can_do_nothing_are_warned_of() {
    let folder = Folder::new();
    for (lines, said) in [
        (
            "    server s 127.0.0.1:1 check check-reuse-pool\n",
            "'check-reuse-pool' of server 's' has no effect without HTTP checks in mode http",
        ),
        (
            "    mode tcp\n    server s 127.0.0.1:1 pool-conn-name src\n",
            "'pool-conn-name' of server 's' has no effect outside mode http: remove it",
        ),
        (
            "    option httpchk\n    server s 127.0.0.1:1 check check-pool-conn-name x\n",
            "'check-pool-conn-name' has no effect without 'check-reuse-pool'",
        ),
        (
            "    option httpchk\n    default-server check-reuse-pool check-pool-conn-name x non-stick\n    server s 127.0.0.1:1 check stick\n    server t 127.0.0.1:1 check no-check-reuse-pool check-pool-conn-name y\n",
            "'check-pool-conn-name' has no effect",
        ),
    ] {
        let text = format!("global\n{TIMES}listen l\n    bind 127.0.0.1:1\n{lines}");
        let file = folder.file("x.cfg", text.as_bytes());
        let (status, out) = Program::mulgil().run(&["-c", "-f", &file]);
        assert_eq!(status, 0, "{out}");
        assert!(out.contains(said), "{lines}: {out}");
        assert_eq!(out.matches("warning").count(), 1, "{out}");
    }
}
