//! Statistics and the control socket field by field beside the oracle's, and words that say what is
//! kept, cut, closed or compressed.

use lab::{Client, LogSink, PATIENCE, Program, Proxy, Server, each, get, port, refusing};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::time::{Duration, Instant};

const TIMES: &str = "defaults\n    mode http\n    timeout client 10s\n    timeout server 3s\n    timeout connect 1s\n";

/// Asks again until something holds.
fn until(what: &str, holds: impl Fn() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < end, "never: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Names and values of `show stat typed`, by row.
fn typed(proxy: &Proxy) -> BTreeMap<String, BTreeMap<String, String>> {
    let mut rows: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    for line in proxy.control("show stat typed").lines() {
        let parts: Vec<&str> = line.splitn(4, ':').collect();
        let [place, _, _, value] = parts[..] else {
            continue;
        };
        let place: Vec<&str> = place.split('.').collect();
        let row = rows.entry(place[..3].join(".")).or_default();
        row.insert(place[4].to_string(), value.to_string());
    }
    rows
}

#[test]
fn the_statistics_have_the_oracles_columns_and_say_the_same_in_them() {
    let mut seen = Vec::new();
    let kept = std::cell::RefCell::new(&mut seen);
    each(|program| {
        let server = Server::named("a");
        let (web, bytes, dead) = (port(), port(), refusing());
        let proxy = Proxy::start(
            program,
            &format!(
                "{TIMES}frontend f\n    bind 127.0.0.1:{web}\n    default_backend b\n\
                 backend b\n    cookie S insert\n    server s {} cookie one pool-max-conn 7\n    server dead 127.0.0.1:{dead} check inter 100ms\n    server spare {} backup\n\
                 listen raw\n    mode tcp\n    bind 127.0.0.1:{bytes}\n    server z {}\n",
                server.addr, server.addr, server.addr
            ),
        );
        proxy.wait_for("b", "dead", "status", "DOWN");
        let mut client = Client::connect(web);
        for _ in 0..3 {
            let answer = client.ask("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
            assert_eq!(answer.status, 200, "{}", program.name);
        }
        // A connection that waits for its next request is idle, and counted where it is kept.
        proxy.wait_for("b", "s", "srv_icur", "1");
        proxy.wait_for("b", "s", "used_conn_cur", "0");
        for (field, value) in [
            ("src_ilim", "7"),
            ("cookie", "one"),
            ("ssl_sess", "0"),
            ("reuse", "2"),
        ] {
            proxy.wait_for("b", "s", field, value);
        }
        for (field, value) in [
            ("h1_total_streams", "3"),
            ("h1_total_connections", "1"),
            ("h2_total_connections", "0"),
        ] {
            proxy.wait_for("f", "FRONTEND", field, value);
        }
        proxy.wait_for("b", "BACKEND", "chkdown", "0");
        // Without a server the backend is down, and was so for as long as it is.
        proxy.control("disable server b/s");
        proxy.control("disable server b/spare");
        proxy.wait_for("b", "BACKEND", "status", "DOWN");
        proxy.wait_for("b", "BACKEND", "chkdown", "1");
        proxy.wait_for("b", "BACKEND", "downtime", "1");
        proxy.control("enable server b/s");
        proxy.wait_for("b", "BACKEND", "status", "UP");
        proxy.wait_for("b", "BACKEND", "chkdown", "1");
        let header = proxy
            .control("show stat")
            .lines()
            .next()
            .unwrap_or("")
            .to_string();
        let info: BTreeSet<String> = proxy
            .control("show info")
            .lines()
            .filter_map(|l| l.split_once(':').map(|(name, _)| name.to_string()))
            .collect();
        kept.borrow_mut().push((header, typed(&proxy), info));
    });
    let [oracle, ours] = &seen[..] else { return };
    // Requests under way are known for each backend, and spliced bytes for the whole process.
    let not_ours = [
        "h1_open_streams",
        "h1_spliced_bytes_in",
        "h1_spliced_bytes_out",
    ];
    let columns: BTreeSet<&str> = ours.0.trim_start_matches("# ").split(',').collect();
    for column in oracle.0.trim_start_matches("# ").split(',') {
        assert!(
            columns.contains(column) || not_ours.contains(&column),
            "no column '{column}'"
        );
    }
    for (row, fields) in &oracle.1 {
        let mine = &ours.1[row];
        for name in fields.keys() {
            assert!(
                mine.contains_key(name) || not_ours.contains(&name.as_str()),
                "{row}: no {name}"
            );
        }
        for name in [
            "pxname",
            "svname",
            "status",
            "type",
            "mode",
            "act",
            "bck",
            "weight",
            "algo",
            "cookie",
            "h1_total_streams",
            "agg_server_status",
        ] {
            assert_eq!(fields.get(name), mine.get(name), "{row}: {name}");
        }
    }
    // The oracle's spelling of one of its names is left to it.
    for name in oracle.2.iter().filter(|n| !n.contains("Splicded")) {
        assert!(ours.2.contains(name), "'show info' has no {name}");
    }
}

#[test]
fn what_the_process_is_doing_is_measured() {
    let program = Program::mulgil();
    let port = port();
    let proxy = Proxy::start(
        &program,
        &format!(
            "{TIMES}listen l\n    bind 127.0.0.1:{port}\n    http-request return status 200 content-type text/plain string ok\n"
        ),
    );
    let info = |name: &str| -> u64 {
        let text = proxy.control("show info");
        let line = text
            .lines()
            .find_map(|l| l.strip_prefix(&format!("{name}: ")));
        line.and_then(|v| v.parse().ok()).expect("a number")
    };
    until("the tasks are counted", || info("Tasks") > 0);
    assert!(info("Idle_pct") <= 100);
    until("bytes are counted as they go", || {
        get(port, "/").status == 200 && info("BytesOutRate") > 0
    });
    let tasks = proxy.control("show tasks");
    assert!(
        tasks.contains("worker-0") && tasks.contains("worker-1"),
        "{tasks}"
    );
    let libs = proxy.control("show libs");
    assert!(
        libs.lines()
            .next()
            .is_some_and(|l| l.starts_with("0x") && l.ends_with("mulgil")),
        "{libs}"
    );
    assert!(libs.contains("libc.so"), "{libs}");
}

#[test]
fn every_command_of_the_oracles_help_is_known() {
    let Some(oracle) = Program::haproxy() else {
        return;
    };
    let config =
        |port: u16| format!("{TIMES}listen l\n    bind 127.0.0.1:{port}\n    http-request deny\n");
    let theirs = Proxy::start(&oracle, &config(port())).control("help");
    let ours = Proxy::start(&Program::mulgil(), &config(port()));
    let mut unknown = Vec::new();
    for line in theirs.lines().skip(1) {
        let Some((usage, _)) = line.split_once(" : ").or(line.split_once(": ")) else {
            continue;
        };
        let words = usage
            .split_whitespace()
            .take_while(|w| w.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'));
        let command = words.collect::<Vec<_>>().join(" ");
        // What is about files of TLS is another test's.
        if ["", "prompt", "quit"].contains(&&*command)
            || command.contains("ssl")
            || command.contains("tls")
        {
            continue;
        }
        if ours.control(&command).starts_with("Unknown command") {
            unknown.push(command);
        }
    }
    assert!(unknown.is_empty(), "{unknown:?}");
}

#[test]
fn computed_cookies_are_turned_on_and_off_and_get_another_secret() {
    each(|program| {
        let server = Server::named("a");
        let port = port();
        let proxy = Proxy::start(
            program,
            &format!(
                "{TIMES}listen l\n    bind 127.0.0.1:{port}\n    cookie S insert dynamic\n    dynamic-cookie-key one\n    server s {}\n",
                server.addr
            ),
        );
        let cookie = || {
            let set = get(port, "/").header("set-cookie").unwrap_or_default();
            set.split(';').next().unwrap_or_default().to_string()
        };
        let first = cookie();
        assert_eq!(first.len(), "S=".len() + 16, "{}: {first}", program.name);
        assert_eq!(
            proxy.control("set dynamic-cookie-key backend l two").trim(),
            "",
            "{}",
            program.name
        );
        let second = cookie();
        assert!(
            second.len() == first.len() && second != first,
            "{}: {second}",
            program.name
        );
        assert_eq!(
            proxy.control("disable dynamic-cookie backend l").trim(),
            "",
            "{}",
            program.name
        );
        assert!(["", "S="].contains(&cookie().as_str()), "{}", program.name);
        assert_eq!(
            proxy.control("enable dynamic-cookie backend l").trim(),
            "",
            "{}",
            program.name
        );
        assert_eq!(cookie(), second, "{}", program.name);
        for (command, said) in [
            (
                "enable dynamic-cookie backend",
                "A backend name is expected.",
            ),
            ("enable dynamic-cookie backend x", "No such backend."),
            ("set dynamic-cookie-key backend l", "String value expected."),
        ] {
            assert_eq!(proxy.control(command).trim(), said, "{}", program.name);
        }
    });
}

#[test]
fn at_a_soft_stop_connections_that_wait_are_closed_or_left_to_their_next_response() {
    each(|program| {
        for keeps in [false, true] {
            let port = port();
            let option = if keeps {
                "    option idle-close-on-response\n"
            } else {
                ""
            };
            let proxy = Proxy::start(
                program,
                &format!(
                    "{TIMES}listen l\n    bind 127.0.0.1:{port}\n{option}    http-request return status 200 content-type text/plain string ok\n"
                ),
            );
            let mut client = Client::connect(port);
            let request = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
            assert_eq!(client.ask(request).status, 200, "{}", program.name);
            proxy.signal("-USR1");
            if keeps {
                // It is stopping once nobody listens any more.
                until("the port is free", || {
                    std::net::TcpStream::connect(("127.0.0.1", port)).is_err()
                });
                let last = client.ask(request);
                assert_eq!(last.status, 200, "{}", program.name);
                assert_eq!(
                    last.header("connection").as_deref(),
                    Some("close"),
                    "{}",
                    program.name
                );
            }
            assert!(client.closed(), "{}: {keeps}", program.name);
        }
    });
}

#[test]
fn in_its_grace_a_process_that_stops_still_takes_connections() {
    each(|program| {
        let port = port();
        let text = format!(
            "    grace 30s\n{TIMES}listen l\n    bind 127.0.0.1:{port}\n    http-request return status 200 content-type text/plain hdr X-Stopping \"%[stopping]\" string ok\n"
        );
        let proxy = Proxy::start(program, &text);
        assert_eq!(
            get(port, "/").header("x-stopping").as_deref(),
            Some("0"),
            "{}",
            program.name
        );
        proxy.signal("-USR1");
        until("it says that it stops", || {
            get(port, "/").header("x-stopping").as_deref() == Some("1")
        });
    });
}

#[test]
fn the_first_line_and_a_cookie_are_cut_in_the_log_as_far_as_they_may_be_long() {
    each(|program| {
        let (log, port) = (LogSink::new(), port());
        let server = Server::named("a");
        let _proxy = Proxy::start(
            program,
            &format!(
                "    tune.http.logurilen 32\n    tune.http.cookielen 9\n{TIMES}    log 127.0.0.1:{} local0\n    option httplog\n\
                 listen l\n    bind 127.0.0.1:{port}\n    capture cookie SID= len 20\n    server s {}\n",
                log.port, server.addr
            ),
        );
        let mut client = Client::connect(port);
        client.ask("GET /0123456789/0123456789/0123456789 HTTP/1.1\r\nHost: x\r\nCookie: SID=abcdefghij\r\n\r\n");
        let line = log.line("GET");
        assert!(
            line.ends_with("\"GET /0123456789/0123456789/01234\""),
            "{}: {line}",
            program.name
        );
        assert!(line.contains(" SID=abcde - "), "{}: {line}", program.name);
    });
}

#[test]
fn what_is_compressed_is_limited_and_said_in_the_log() {
    each(|program| {
        let (log, port) = (LogSink::new(), port());
        let server = Server::start(|_, stream| {
            let body = "abcdefgh".repeat(20_000);
            write!(
                stream,
                "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            )
            .is_ok()
        });
        let proxy = Proxy::start(
            program,
            &format!(
                "    maxcomprate 1\n{TIMES}    log 127.0.0.1:{} local0\n    log-format \"comp=%[res.comp] algo=%[res.comp_algo]\"\n    compression algo gzip\n    compression type text/plain\n\
                 listen l\n    bind 127.0.0.1:{port}\n    server s {}\n",
                log.port, server.addr
            ),
        );
        let ask = || {
            let mut client = Client::connect(port);
            let answer = client.ask(
                "GET / HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip\r\nConnection: close\r\n\r\n",
            );
            answer.header("content-encoding").is_some()
        };
        assert!(ask(), "{}", program.name);
        assert!(
            log.line("comp=").ends_with("comp=1 algo=gzip"),
            "{}",
            program.name
        );
        until("the limit is reached", || !ask());
        log.line("comp=0 algo=-");
        until("what passes is counted", || {
            proxy.stat("l", "FRONTEND", "comp_byp") != "0"
        });
    });
}

#[test]
fn what_became_of_the_servers_connection_is_in_the_log() {
    each(|program| {
        let (log, port, dead) = (LogSink::new(), port(), refusing());
        let server = Server::named("a");
        let _proxy = Proxy::start(
            program,
            &format!(
                "{TIMES}    retries 0\n    log 127.0.0.1:{} local0\n    log-format \"err=%[bc_err] str=%[bc_err_str] major=%[bc_http_major] conn=%[dst_conn] end\"\n\
                 frontend f\n    bind 127.0.0.1:{port}\n    use_backend dead if {{ path /dead }}\n    use_backend tls if {{ path /tls }}\n    default_backend b\n\
                 backend b\n    server s {}\nbackend dead\n    server s 127.0.0.1:{dead}\nbackend tls\n    server s {} ssl verify none\n",
                log.port, server.addr, server.addr
            ),
        );
        for (path, status, said) in [
            ("/", 200, "err=0 str=Success major=1 conn=1 end"),
            // The connection before may be counted until its end was seen.
            ("/dead", 503, "err=- str=- major=1 conn="),
        ] {
            assert_eq!(get(port, path).status, status, "{}", program.name);
            let line = log.line("err=");
            assert!(line.contains(said), "{}: {line}", program.name);
        }
    });
}

#[test]
fn a_client_has_no_connection_kept_for_it_alone_where_none_may_be() {
    each(|program| {
        for (most, connections) in [("", 1), ("    max-session-srv-conns 0\n", 3)] {
            let port = port();
            let listener = lab::listener();
            let addr = listener.local_addr().expect("an address");
            let (sender, accepted) = std::sync::mpsc::channel();
            std::thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    let _ = sender.send(());
                    std::thread::spawn(move || {
                        let mut peer = Client::of(stream);
                        while peer.request().is_some() {
                            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
                        }
                    });
                }
            });
            let _proxy = Proxy::start(
                program,
                &format!(
                    "{TIMES}frontend f\n    bind 127.0.0.1:{port}\n{most}    default_backend b\nbackend b\n    http-reuse never\n    server s {addr}\n"
                ),
            );
            let mut client = Client::connect(port);
            for _ in 0..3 {
                assert_eq!(
                    client.ask("GET / HTTP/1.1\r\nHost: x\r\n\r\n").status,
                    200,
                    "{}",
                    program.name
                );
            }
            assert_eq!(
                accepted.try_iter().count(),
                connections,
                "{}: {most}",
                program.name
            );
        }
    });
}

#[test]
fn the_packet_that_began_a_connection_is_looked_into() {
    let port = port();
    let proxy = Proxy::start(
        &Program::mulgil(),
        &format!(
            "{TIMES}frontend f\n    bind 127.0.0.1:{port} tcp-ss 1\n    http-request set-var(txn.syn) fc_saved_syn\n\
             http-request return status 200 content-type text/plain lf-string \"%[var(txn.syn),ip.ver] %[var(txn.syn),ip.proto] %[var(txn.syn),ip.src] %[var(txn.syn),ip.data,tcp.dst] %[var(txn.syn),ip.data,tcp.flags,and(63)] %[var(txn.syn),ip.data,tcp.options.sack]\"\n"
        ),
    );
    let answer = get(port, "/");
    assert_eq!(
        answer.body,
        format!("4 6 127.0.0.1 {port} 2 1"),
        "{}",
        proxy.output()
    );
}

#[test]
fn connections_from_privileged_ports_are_refused_where_that_is_wanted() {
    let port = port();
    let _proxy = Proxy::start(
        &Program::mulgil(),
        &format!(
            "    harden.reject-privileged-ports.tcp on\n{TIMES}listen l\n    bind 127.0.0.1:{port}\n    http-request return status 200 content-type text/plain string ok\n"
        ),
    );
    assert_eq!(get(port, "/").status, 200);
    let socket =
        socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    let low = (600..1024).find(|low| {
        let address = std::net::SocketAddr::from(([127, 0, 0, 1], *low));
        socket.bind(&address.into()).is_ok()
    });
    if low.is_none() {
        println!("no port below 1024 may be used: the refusal is not tried");
        return;
    }
    let to = std::net::SocketAddr::from(([127, 0, 0, 1], port));
    socket.connect(&to.into()).expect("it listens");
    let mut client = Client::of(socket.into());
    assert_eq!(client.ask("GET / HTTP/1.1\r\nHost: x\r\n\r\n").status, 0);
}

#[test]
fn trailers_are_left_out_in_the_direction_that_is_named() {
    let message = "2\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n";
    for (option, up, down) in [
        ("", true, true),
        ("    option http-drop-request-trailers\n", false, true),
        ("    option http-drop-response-trailers\n", true, false),
    ] {
        let server = Server::start(move |_, stream| {
            let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
            stream
                .write_all([head, message].concat().as_bytes())
                .is_ok()
        });
        let port = port();
        let _proxy = Proxy::start(
            &Program::mulgil(),
            &format!(
                "{TIMES}listen l\n    bind 127.0.0.1:{port}\n{option}    server s {}\n",
                server.addr
            ),
        );
        let mut client = Client::connect(port);
        let head = "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
        let answer = client.ask(&[head, message].concat());
        assert_eq!(
            answer.body.contains("X-Sum"),
            down,
            "{option}: {}",
            answer.body
        );
        let sent = server.requests().remove(0);
        assert_eq!(sent.contains("X-Sum"), up, "{option}: {sent}");
        assert!(
            sent.ends_with("\r\n\r\n") && answer.body.ends_with("\r\n\r\n"),
            "{option}"
        );
    }
}

#[test]
fn counters_go_on_in_another_process_where_they_have_a_name() {
    let program = Program::mulgil();
    let (folder, port) = (lab::Folder::new(), port());
    let server = Server::named("a");
    let config = |more: &str| {
        format!(
            "{more}{TIMES}frontend f\n    guid front\n    bind 127.0.0.1:{port}\n    default_backend b\n\
             backend b\n    guid back\n    server s {} guid back:one\n    server unnamed {} weight 0\n",
            server.addr, server.addr
        )
    };
    let dump = {
        let proxy = Proxy::start(&program, &config(""));
        for _ in 0..3 {
            assert_eq!(get(port, "/").status, 200);
        }
        proxy.wait_for("b", "s", "hrsp_2xx", "3");
        proxy.control("dump stats-file")
    };
    assert!(
        dump.contains("#fe guid,") && dump.contains("\nback:one,"),
        "{dump}"
    );
    let file = folder.file("statistics", dump.as_bytes());
    let proxy = Proxy::start(&program, &config(&format!("    stats-file {file}\n")));
    assert_eq!(get(port, "/").status, 200);
    for (name, field) in [("s", "hrsp_2xx"), ("s", "stot"), ("BACKEND", "req_tot")] {
        proxy.wait_for("b", name, field, "4");
    }
    proxy.wait_for("f", "FRONTEND", "req_tot", "4");
    proxy.control("clear counters all");
    assert_eq!(proxy.stat("f", "FRONTEND", "req_tot"), "0");
    drop(proxy);
    // What is damaged is told, and what is left counts.
    let damaged = dump.replacen("front,", "front,x,", 1);
    let file = folder.file("statistics", damaged.as_bytes());
    let proxy = Proxy::start(&program, &config(&format!("    stats-file {file}\n")));
    assert!(
        proxy.output().contains("does not fit its section"),
        "{}",
        proxy.output()
    );
    assert_eq!(proxy.stat("f", "FRONTEND", "req_tot"), "0");
    assert_eq!(proxy.stat("b", "s", "stot"), "3");
    let (status, said) = program.run(&["-c", "-f", &folder.file("twice.cfg", format!("{TIMES}listen a\n    guid x\n    bind 127.0.0.1:1\nlisten b\n    guid x\n    bind 127.0.0.1:2\n").as_bytes())]);
    assert!(status == 1 && said.contains("guid 'x'"), "{said}");
}

#[test]
fn what_an_expression_comes_to_is_told_on_its_way() {
    each(|program| {
        let port = port();
        let proxy = Proxy::start(
            program,
            &format!(
                "{TIMES}frontend f\n    bind 127.0.0.1:{port}\n    http-request set-var(txn.a) src,debug(addr)\n    http-request set-var(txn.b) path,debug\n\
                 http-request set-var(txn.c) int(5),debug(n,stderr)\n    http-request set-var(txn.d) method,debug(m,buf0)\n    http-request deny\n"
            ),
        );
        assert_eq!(get(port, "/x").status, 403, "{}", program.name);
        proxy.wait_for_output("[debug] n: type=sint <5>");
        let told = proxy.control("show events buf0");
        let lines: Vec<&str> = told
            .lines()
            .filter_map(|l| l.split_once(" [debug] "))
            .map(|(_, l)| l)
            .collect();
        let wanted = [
            "addr: type=ipv4 <127.0.0.1>",
            ": type=str </x>",
            "m: type=meth <GET>",
        ];
        assert_eq!(lines, wanted, "{}: {told}", program.name);
        assert!(told.starts_with("<0>20"), "{}: {told}", program.name);
        assert!(
            proxy
                .control("show events")
                .contains("buf0       : type=buffer"),
            "{}",
            program.name
        );
    });
}
