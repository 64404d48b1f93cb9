//! The process: flags, exit codes, signals, the control socket, the statistics page, reload.

use lab::{Client, Folder, Program, Proxy, Server, each, get, port};

const TIMES: &str = "defaults\n    mode http\n    timeout client 2s\n    timeout server 2s\n    timeout connect 1s\n";

#[test]
fn checking_a_file_says_what_is_wrong_by_exit_code_and_message() {
    let folder = Folder::new();
    let good = folder.file(
        "good.cfg",
        format!("{TIMES}listen l\n    bind 127.0.0.1:{}\n", port()).as_bytes(),
    );
    let bad = folder.file(
        "bad.cfg",
        b"listen l\n    mode http\n    balence roundrobin\n",
    );
    let warns = folder.file(
        "warns.cfg",
        b"listen l\n    mode http\n    bind 127.0.0.1:65000\n",
    );
    each(|program| {
        assert_eq!(program.run(&["-c", "-f", &good]).0, 0, "{}", program.name);
        assert_eq!(program.run(&["-c", "-f", &bad]).0, 1, "{}", program.name);
        assert_eq!(program.run(&["-c", "-f", &warns]).0, 0, "{}", program.name);
        assert_eq!(
            program.run(&["-dW", "-c", "-f", &warns]).0,
            1,
            "{}",
            program.name
        );
        assert_eq!(
            program.run(&["-c", "-f", &folder.path("absent")]).0,
            1,
            "{}",
            program.name
        );
        assert_eq!(program.run(&["-v"]).0, 0, "{}", program.name);
        assert_eq!(
            program.run(&["-cc", "version_atleast(2.4)"]).0,
            0,
            "{}",
            program.name
        );
        assert_eq!(program.run(&["-cc", "streq(a,b)"]).0, 1, "{}", program.name);
    });
    let (_, text) = Program::mulgil().run(&["-c", "-f", &bad]);
    assert!(
        text.contains("bad.cfg:3:5: error: unknown keyword 'balence': did you mean 'balance'?"),
        "{text}"
    );
}

#[test]
fn debians_own_file_with_a_frontend_and_a_backend_serves() {
    let Ok(stock) = std::fs::read_to_string("/etc/haproxy/haproxy.cfg") else {
        println!("haproxy is not installed: its own file is not tried");
        return;
    };
    // The parts that need root or another machine's folders are for the system, not for a test.
    let kept: String = stock
        .lines()
        .filter(|l| {
            !["chroot", "user", "group", "daemon", "stats socket"]
                .iter()
                .any(|w| l.trim().starts_with(w))
        })
        .map(|l| format!("{l}\n"))
        .collect();
    let server = Server::named("s");
    let port = port();
    each(|program| {
        let config = format!(
            "{kept}\nfrontend web\n    bind 127.0.0.1:{port}\n    default_backend app\nbackend app\n    server s {}\n",
            server.addr
        );
        let _proxy = Proxy::start(program, config.strip_prefix("global\n").unwrap_or(&config));
        assert_eq!(get(port, "/").status, 200, "{}", program.name);
    });
}

#[test]
fn the_control_socket_answers_like_the_oracle() {
    each(|program| {
        let server = Server::named("s");
        let port = port();
        let proxy = Proxy::start(
            program,
            &format!(
                "{TIMES}listen l\n    bind 127.0.0.1:{port}\n    server a {} weight 10\n    server b {}\n",
                server.addr, server.addr
            ),
        );
        for (command, answer) in [
            ("get weight l/a", "10 (initial 10)\n\n"),
            ("set weight l/a 50%", "\n"),
            ("get weight l/a", "5 (initial 10)\n\n"),
            (
                "set weight l/a 300",
                "Absolute weight can only be between 0 and 256 inclusive.\n\n",
            ),
            ("set weight l/zz 1", "No such server.\n\n"),
            ("disable server l/b", "\n"),
            (
                "set server l/a state nonsense",
                "'set server <srv> state' expects 'ready', 'drain' and 'maint'.\n\n",
            ),
            ("show cli level", "admin\n\n"),
            ("show backend", "# name\nl\n\n"),
        ] {
            assert_eq!(
                proxy.control(command),
                answer,
                "{}: {command}",
                program.name
            );
        }
        assert_eq!(proxy.stat("l", "b", "status"), "MAINT", "{}", program.name);
        assert_eq!(proxy.stat("l", "b", "type"), "2");
        assert!(
            proxy
                .control("show stat")
                .starts_with("# pxname,svname,qcur,qmax,scur,smax,slim,stot,bin,bout,")
        );
        assert!(
            proxy.control("nonsense").starts_with("Unknown command"),
            "{}",
            program.name
        );
        assert!(
            proxy
                .control("show servers state")
                .starts_with("1\n# be_id be_name srv_id")
        );
        let both = proxy.control("enable server l/b; show cli level");
        assert!(both.contains("admin"), "{}: {both:?}", program.name);
        assert_eq!(proxy.stat("l", "b", "status"), "no check");
    });
}

#[test]
fn a_server_in_maintenance_gets_nothing_and_one_that_drains_nothing_new() {
    each(|program| {
        let (a, b) = (Server::named("a"), Server::named("b"));
        let port = port();
        let proxy = Proxy::start(
            program,
            &format!(
                "{TIMES}listen l\n    bind 127.0.0.1:{port}\n    server a {}\n    server b {}\n",
                a.addr, b.addr
            ),
        );
        for state in ["maint", "drain"] {
            proxy.control(&format!("set server l/a state {state}"));
            for _ in 0..4 {
                assert_eq!(
                    get(port, "/").header("x-server").as_deref(),
                    Some("b"),
                    "{} {state}",
                    program.name
                );
            }
            proxy.control("set server l/a state ready");
        }
        let both: Vec<_> = (0..4)
            .filter_map(|_| get(port, "/").header("x-server"))
            .collect();
        assert!(
            both.contains(&"a".to_string()),
            "{}: {both:?}",
            program.name
        );
    });
}

#[test]
fn the_statistics_page_and_its_csv() {
    each(|program| {
        let port = port();
        let _proxy = Proxy::start(
            program,
            &format!(
                "{TIMES}listen stats_page\n    bind 127.0.0.1:{port}\n    stats enable\n    stats uri /st\n    stats auth joe:secret\n"
            ),
        );
        assert_eq!(get(port, "/st").status, 401, "{}", program.name);
        let mut client = Client::connect(port);
        let ask = |path: &str| {
            format!(
                "GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Basic am9lOnNlY3JldA==\r\n\r\n"
            )
        };
        let page = client.ask(&ask("/st"));
        assert!(
            page.status == 200 && page.body.contains("stats_page"),
            "{}",
            program.name
        );
        let mut client = Client::connect(port);
        let csv = client.ask(&ask("/st;csv"));
        assert!(
            csv.body.contains("# pxname,svname,"),
            "{}: {}",
            program.name,
            csv.body
        );
    });
}

#[test]
fn signals_end_softly_or_at_once() {
    let server = Server::start(|_, stream| {
        use std::io::Write;
        std::thread::sleep(std::time::Duration::from_millis(1500));
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            .is_ok()
    });
    each(|program| {
        let port = port();
        let config = format!(
            "{TIMES}    timeout server 9s\nlisten l\n    bind 127.0.0.1:{port}\n    server s {}\n",
            server.addr
        );
        let mut proxy = Proxy::start(program, &config);
        let mut client = Client::connect(port);
        client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
        proxy.wait_for("l", "s", "scur", "1");
        proxy.signal("-USR1");
        assert_eq!(
            client.response().body,
            "ok",
            "{}: a soft stop finishes what it has",
            program.name
        );
        drop(client);
        assert_eq!(proxy.ended(), 0, "{}", program.name);
        let mut proxy = Proxy::start(program, &config);
        proxy.signal("-TERM");
        assert_eq!(proxy.ended(), 128 + 15, "{}", program.name);
    });
}

#[test]
fn an_inherited_listening_socket_is_served() {
    each(|program| {
        let server = Server::named("s");
        let (proxy, port) = Proxy::start_inherited(program, |fd| {
            format!(
                "{TIMES}listen l\n    bind \"fd@${{{fd}}}\"\n    server s {}\n",
                server.addr
            )
        });
        assert_eq!(
            get(port, "/").header("x-server").as_deref(),
            Some("s"),
            "{}",
            program.name
        );
        drop(proxy);
    });
}

#[test]
fn a_reload_keeps_connections_and_a_bad_file_changes_nothing() {
    let (a, b) = (Server::named("a"), Server::named("b"));
    let port = port();
    let program = Program::mulgil();
    let config = |to: &Server| {
        format!(
            "{TIMES}listen l\n    bind 127.0.0.1:{port}\n    server s {}\n",
            to.addr
        )
    };
    let proxy = Proxy::start(&program, &config(&a));
    let head = std::fs::read_to_string(&proxy.file).expect("the file");
    let global = head
        .split("defaults")
        .next()
        .expect("a global section")
        .to_string();
    let mut client = Client::connect(port);
    let mut named = || {
        client
            .ask("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            .header("x-server")
            .unwrap_or_default()
    };
    assert_eq!(named(), "a");
    std::fs::write(&proxy.file, "nonsense").expect("written");
    proxy.signal("-HUP");
    proxy.wait_for_output("stays as it was");
    assert_eq!(named(), "a", "a bad file changes nothing");
    std::fs::write(&proxy.file, global + &config(&b)).expect("written");
    proxy.signal("-HUP");
    proxy.wait_for_output("is in force");
    assert_eq!(named(), "b", "the same connection, the new server");
}

#[test]
fn a_frontend_that_is_turned_off_and_on_again_and_again_keeps_no_worker_busy() {
    let (one, other, log) = (port(), port(), lab::LogSink::new());
    let text = format!(
        "    nbthread 2\n    log 127.0.0.1:{} local0\ndefaults\n    mode http\n    log global\n    timeout client 9s\n\
         frontend f\n    bind 127.0.0.1:{one}\n    http-request return status 200\n\
         frontend g\n    bind 127.0.0.1:{other}\n    http-request return status 200\n",
        log.port
    );
    let mut proxy = Proxy::start(&Program::mulgil(), &text);
    for _ in 0..500 {
        for name in ["f", "g"] {
            for command in ["disable", "enable"] {
                proxy.control(&format!("{command} frontend {name}"));
                log.line(&format!("frontend {name}."));
            }
        }
    }
    for port in [one, other] {
        assert_eq!(get(port, "/").status, 200);
    }
    // Each worker hears that it is to end.
    proxy.signal("-TERM");
    assert_eq!(proxy.ended(), 128 + 15);
}
