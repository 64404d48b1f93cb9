//! Servers while the process runs: what logs tell of them, and what operators are answered, word by word like
//! the oracle.

use lab::{LogSink, Program, Proxy, Server, each};

const TIMES: &str = "defaults\n    mode http\n    timeout client 9s\n    timeout server 9s\n    timeout connect 9s\n    timeout check 9s\n";

/// The fields `srv_op_state` and `srv_admin_state` of a server.
fn state(proxy: &Proxy, backend: &str, server: &str) -> (String, String) {
    let text = proxy.control(&format!("show servers state {backend}"));
    let line = text.lines().find(|l| l.split(' ').nth(3) == Some(server));
    let field = |at: usize| line.and_then(|l| l.split(' ').nth(at)).unwrap_or("none");
    (field(5).into(), field(6).into())
}

#[test]
fn backup_servers_and_those_without_weight_are_named_so_and_followers_follow_at_once() {
    each(|program| {
        let server = Server::named("s");
        let log = LogSink::new();
        let proxy = Proxy::start(
            program,
            &format!(
                "    log 127.0.0.1:{log} local0\n{TIMES}    log global\nbackend be\n    option httpchk\n    option log-health-checks\n    server spare {at} check inter 100 rise 1 fall 2 backup\n    server idle {at} check inter 100 weight 0\nbackend tr\n    server first {at} track be/spare backup\n    server second {at} track first\n",
                log = log.port,
                at = server.addr
            ),
        );
        // In whatever order they come.
        let first = [(); 2].map(|()| log.line(" succeeded, reason: "));
        let of = |with: &str| first.iter().find(|l| l.contains(with)).expect(with);
        of(
            "Health check for backup server be/spare succeeded, reason: Layer7 check passed, code: 200, check duration: ",
        );
        assert!(of("server be/idle succeeded").ends_with("ms, status: 3/3 DRAIN."));
        let changes: [(&str, (&str, &str), &[&str]); 5] = [
            (
                "maint",
                ("0", "2"),
                &[
                    "Backup Server be/spare is going DOWN for maintenance. ",
                    "Backup Server tr/first is going DOWN for maintenance via be/spare. ",
                    ": Server tr/second is going DOWN for maintenance via tr/first. ",
                ],
            ),
            (
                "drain",
                ("2", "16"),
                &[
                    "Backup Server be/spare is UP/DRAIN (leaving forced maintenance).",
                    "Backup Server be/spare remains in forced drain mode.",
                    "Backup Server tr/first is UP/DRAIN (leaving maintenance).",
                    ": Server tr/second is leaving forced drain but remains in drain mode via tr/first.",
                ],
            ),
            (
                "ready",
                ("2", "0"),
                &[
                    "Backup Server be/spare is UP (leaving forced drain).",
                    ": Server tr/second is UP (leaving forced drain).",
                ],
            ),
            ("maint", ("0", "2"), &[]),
            ("ready", ("2", "0"), &[]),
        ];
        for (to, (up, admin), lines) in changes {
            proxy.control(&format!("set server be/spare state {to}"));
            // No waiting: who is asked after the change sees it.
            for follower in ["first", "second"] {
                let found = state(&proxy, "tr", follower);
                let wanted = (up.to_string(), admin.to_string());
                assert_eq!(found, wanted, "{}: {to}: {follower}", program.name);
            }
            for line in lines {
                log.line(line);
            }
        }
    });
}

#[test]
fn servers_that_do_not_fit_are_not_added_and_those_that_are_needed_not_deleted() {
    each(|program| {
        let server = Server::named("s");
        let at = server.addr;
        let proxy = Proxy::start(
            program,
            &format!(
                "{TIMES}backend be\n    server checked {at} check inter 10s\n    server plain {at}\n    server named {at}\n    use-server named if FALSE\nbackend tr\n    server follower {at} track be/checked\nbackend steps\n    option tcp-check\n    tcp-check connect port 81\n    tcp-check connect\nbackend dyn\n    balance roundrobin\n"
            ),
        );
        let needed = "This server cannot be removed at runtime due to other configuration elements pointing to it.";
        let moved = "can't change <port> to port map because it is incompatible with current health check port configuration (use 'port' statement from the 'server' directive.";
        for (command, answer) in [
            ("add server dyn/", "Require 'backend/server'."),
            ("set server be/ weight 1", "Require 'backend/server'."),
            (
                "add server dyn/a 127.0.0.1:80 id 77",
                "New server registered.",
            ),
            (
                "add server dyn/b 127.0.0.1:80 id 77",
                "custom id 77 already used",
            ),
            (
                "add server dyn/b 127.0.0.1:80 track be/nobody",
                "unable to find required server 'nobody' for tracking.",
            ),
            (
                "add server dyn/b 127.0.0.1:80 track be/plain",
                "unable to use be/plain for tracking as it does not have any check nor agent enabled.",
            ),
            (
                "add server dyn/b 127.0.0.1 check",
                "backend 'dyn': server 'b' has neither service port nor check port nor tcp_check rule 'connect' with port information.",
            ),
            ("add server steps/b 127.0.0.1 check", "neither service port"),
            (
                "add server dyn/b 127.0.0.1 check port 81",
                "New server registered.",
            ),
            (
                "add server dyn/c 127.0.0.1:80 track be/plain",
                "unable to use be/plain",
            ),
            (
                "add server dyn/c 127.0.0.1:80 track be/checked",
                "New server registered.",
            ),
            ("del server be/checked", needed),
            ("disable server be/checked", ""),
            ("del server be/checked", needed),
            ("enable server be/checked", ""),
            ("disable server be/named", ""),
            ("del server be/named", needed),
            (
                "set server tr/follower health down",
                "cannot change health on a tracking server.",
            ),
            (
                "set server be/plain agent",
                "agent checks are not enabled on this server.",
            ),
            (
                "set server be/checked check-addr 127.0.0.8 port",
                "provided port is not an integer",
            ),
            ("set server be/plain addr 127.0.0.9 port +1", moved),
            (
                "set server be/plain addr 127.0.0.9",
                "no need to change the addr",
            ),
        ] {
            let found = proxy.control(command);
            let fits = match answer {
                "" => found.trim().is_empty(),
                part => found.contains(part),
            };
            assert!(fits, "{}: {command}: {found}", program.name);
        }
        let both = |up: &str, admin: &str| (up.to_string(), admin.to_string());
        let of = |name: &str| state(&proxy, "dyn", name);
        assert_eq!(of("a"), both("0", "1"), "{}", program.name);
        assert_eq!(of("b"), both("0", "1"), "{}", program.name);
        proxy.control("enable server dyn/a");
        assert_eq!(of("a"), both("2", "0"), "{}", program.name);
        // The one that follows stays where it was put, and takes on what the other has.
        proxy.control("disable server be/checked");
        assert_eq!(of("c"), both("0", "3"), "{}", program.name);
        proxy.control("enable server dyn/c");
        assert_eq!(of("c"), both("0", "2"), "{}", program.name);
    });
}

#[test]
fn a_server_that_comes_into_the_file_is_no_longer_one_that_was_added() {
    let text = format!("{TIMES}backend be\n    balance roundrobin\n");
    let proxy = Proxy::start(&Program::mulgil(), &text);
    let at = "server a 127.0.0.1:80";
    let said = proxy.control(&at.replace("server a", "add server be/a"));
    assert!(said.contains("New server registered."), "{said}");
    let both = |up: &str, admin: &str| (up.to_string(), admin.to_string());
    assert_eq!(state(&proxy, "be", "a"), both("0", "1"));
    let text = std::fs::read_to_string(&proxy.file).expect("its file");
    std::fs::write(&proxy.file, format!("{text}    {at} disabled\n")).expect("written");
    assert!(proxy.control("reload").contains("Success=1"));
    assert_eq!(state(&proxy, "be", "a"), both("0", "5"));
}

#[test]
fn who_tracks_a_server_that_is_down_is_down_after_its_own_maintenance() {
    each(|program| {
        let at = format!("127.0.0.1:{}", lab::refusing());
        let proxy = Proxy::start(
            program,
            &format!(
                "{TIMES}backend be\n    server a {at} check inter 100 rise 1 fall 1\nbackend tr\n    server b {at} track be/a\n"
            ),
        );
        proxy.wait_for("tr", "b", "status", "DOWN");
        proxy.control("set server tr/b state maint");
        assert_eq!(state(&proxy, "tr", "b").1, "1", "{}", program.name);
        proxy.control("set server tr/b state ready");
        let down = ("0".to_string(), "0".to_string());
        assert_eq!(state(&proxy, "tr", "b"), down, "{}", program.name);
    });
}
