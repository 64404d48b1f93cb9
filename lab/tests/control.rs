//! The control socket, command by command, beside the oracle.

use lab::said::converse;
use lab::{Client, Folder, LogSink, PATIENCE, Proxy, Server, each, get, port};
use std::time::{Duration, Instant};

const TIMES: &str = "defaults\n    mode http\n    timeout client 5s\n    timeout server 5s\n    timeout connect 1s\n";

/// Two servers in `be`, one in `l`; nobody listens where they are.
fn quiet(port: u16) -> String {
    format!(
        "{TIMES}frontend fe\n    bind 127.0.0.1:{port}\n    maxconn 100\n    default_backend be\n\
         backend be\n    server a 127.0.0.1:21001 weight 10 check inter 1h\n    server b 127.0.0.1:21002 disabled\n    server c 127.0.0.1:21003 backup maxconn 5\n\
         backend l\n    server a 127.0.0.1:21001\n"
    )
}

#[test]
fn commands_and_their_faults_are_answered_word_by_word_like_the_oracle() {
    each(|program| {
        let proxy = Proxy::start(program, &quiet(port()));
        proxy.wait_for("be", "a", "status", "DOWN");
        for (command, answer) in [
            ("show backend", "# name\nbe\nl\n\n"),
            ("show servers state zz", "Can't find backend.\n\n"),
            ("show servers conn zz", "Can't find backend.\n\n"),
            ("show env NOT_THERE", "Variable not found\n\n"),
            ("show errors zz", "No such proxy.\n\n"),
            ("show sess 0x1", "Session not found.\n\n"),
            (
                "shutdown session",
                "Session pointer expected (use 'show sess').\n\n",
            ),
            (
                "shutdown session 0x1",
                "No such session (use 'show sess').\n\n",
            ),
            (
                "shutdown sessions server be",
                "Require 'backend/server'.\n\n",
            ),
            ("shutdown sessions server be/a", "\n"),
            ("set weight be/a", "Require <weight> or <weight%>.\n\n"),
            (
                "set weight be/a x",
                "Empty weight string empty or preceded by garbage\n",
            ),
            ("set weight be/a 5x", "Trailing garbage in weight string\n"),
            (
                "set weight be/a -1",
                "Absolute weight can only be between 0 and 256 inclusive.\n\n",
            ),
            ("set weight be/a 200%", "\n"),
            ("get weight be/a", "20 (initial 10)\n\n"),
            ("set maxconn frontend", "A frontend name is expected.\n\n"),
            ("set maxconn frontend fe", "Integer value expected.\n\n"),
            ("set maxconn frontend fe -1", "Value out of range.\n\n"),
            ("set maxconn frontend fe 50", "\n"),
            ("set maxconn global", "Expects an integer value.\n\n"),
            ("set maxconn server be/a", "Require <maxconn>.\n\n"),
            (
                "set rate-limit connections global",
                "Expects an integer value.\n\n",
            ),
            (
                "set rate-limit connections global -1",
                "Value out of range.\n\n",
            ),
            ("set rate-limit sessions global 0", "\n"),
            ("set timeout cli", "Expects an integer value.\n\n"),
            ("set timeout cli 0", "Invalid timeout value.\n\n"),
            ("set timeout cli 20s", "\n"),
            ("set timeout x", "'set timeout' only supports 'cli'.\n\n"),
            (
                "set severity-output x",
                "one of 'none', 'number', 'string' is a required argument\n\n",
            ),
            (
                "set server be/a",
                "usage: set server <backend>/<server> addr | agent | agent-addr | agent-port | agent-send | check-addr | check-port | fqdn | health | ssl | state | weight\n\n",
            ),
            (
                "set server be/a addr",
                "set server <b>/<s> addr requires an address and optionally a port.\n\n",
            ),
            (
                "set server be/a addr zz",
                "Invalid addr 'zz' by 'stats socket command'\n\n",
            ),
            (
                "set server be/a addr 127.0.0.1",
                "no need to change the addr by 'stats socket command'\n\n",
            ),
            (
                "set server be/a addr 127.0.0.9 port 21001",
                "IP changed from '127.0.0.1' to '127.0.0.9', no need to change the port by 'stats socket command'\n\n",
            ),
            (
                "set server be/a addr 127.0.0.9 port x",
                "no need to change the addr, problem converting port 'x' to an int by 'stats socket command'\n\n",
            ),
            (
                "set server be/a check-port x",
                "provided port is not an integer\n",
            ),
            (
                "set server be/a check-port 99999",
                "provided port is invalid\n",
            ),
            ("set server be/a check-port 25", "\n"),
            (
                "set server be/a addr 127.0.0.9 port +1",
                "no need to change the addr, port changed from '21001' to '+1' by 'stats socket command'\n\n",
            ),
            (
                "set server be/c check-port 25",
                "health checks are not enabled on this server\n",
            ),
            ("set server be/a check-addr zz", "invalid addr 'zz'\n"),
            (
                "set server be/a agent up",
                "agent checks are not enabled on this server.\n\n",
            ),
            (
                "set server be/a fqdn x.example",
                "set server <b>/<s> fqdn failed because no resolution is configured.\n\n",
            ),
            ("set server be/c health down", "\n"),
            (
                "enable health be/c",
                "Health check was not configured on this server, cannot enable.\n\n",
            ),
            (
                "enable agent be/a",
                "Agent was not configured on this server, cannot enable.\n\n",
            ),
            ("disable frontend fe", "\n"),
            (
                "disable frontend fe",
                "All sockets are already disabled.\n\n",
            ),
            ("enable frontend fe", "\n"),
            ("enable frontend fe", "All sockets are already enabled.\n\n"),
            (
                "set var proc.x int(3)",
                "This command is restricted to experimental mode only.\n\n",
            ),
            ("experimental-mode", "experimental-mode is OFF\n\n"),
            (
                "experimental-mode on; set var proc.x int(3); get var proc.x",
                "\n\nproc.x: type=sint value=<3>\n",
            ),
            ("get var proc.none", "Variable not found.\n\n"),
            ("get var", "Missing process-wide variable identifier.\n\n"),
            ("user; show env HOME", "\nPermission denied\n\n"),
            (
                "operator; clear counters; clear counters all",
                "\n\nPermission denied\n\n",
            ),
            (
                "operator; set weight be/a 1; show cli level",
                "\nPermission denied\n\noperator\n\n",
            ),
            (
                "set severity-output number; show env NOT_THERE; get weight be/a",
                "\n[3]: Variable not found\n\n20 (initial 10)\n\n",
            ),
            (
                "set severity-output string; set weight be/a x",
                "\n[err]: Empty weight string empty or preceded by garbage\n",
            ),
            ("quit", ""),
        ] {
            assert_eq!(
                proxy.control(command),
                answer,
                "{}: {command}",
                program.name
            );
        }
        assert_eq!(proxy.stat("be", "c", "status"), "DOWN", "{}", program.name);
        let state = proxy.control("show servers state be");
        let line = |name: &str| {
            let wanted = format!(" {name} 127.0.0.");
            let found = state.lines().find(|l| l.contains(&wanted)).unwrap_or("");
            let mut words: Vec<String> = found.split(' ').map(str::to_string).collect();
            // Times, and how the oracle numbers proxies, are not what this is about.
            for at in [0, 9] {
                words[at] = "-".into();
            }
            words.join(" ")
        };
        assert_eq!(
            line("a"),
            "- be 1 a 127.0.0.9 0 0 20 10 - 8 2 0 6 0 0 0 - 1 - 0 25 - - 0",
            "{}",
            program.name
        );
        assert_eq!(
            line("b"),
            "- be 2 b 127.0.0.1 0 5 1 1 - 1 0 0 8 0 0 0 - 21002 - 0 0 - - 0",
            "{}",
            program.name
        );
    });
}

#[test]
fn a_conversation_has_a_prompt_payloads_and_lines_sent_at_once() {
    each(|program| {
        let proxy = Proxy::start(program, &quiet(port()));
        let socket = proxy.folder().path("control");
        for (parts, answer) in [
            (
                &["prompt\n", "get weight be/a\n", "quit\n"] as &[&str],
                "\n> 10 (initial 10)\n\n> <end>",
            ),
            (&["prompt;show cli level\n"], "\n> admin\n\n> "),
            (
                &["show cli level\nget weight be/a\n"],
                "admin\n\n10 (initial 10)\n\n<end>",
            ),
            (&["show cli le", "vel\n"], "admin\n\n<end>"),
            (
                &["prompt\n", "show cli level <<\n", "some\n", "\n"],
                "\n> + + admin\n\n> ",
            ),
            (&["show cli level <<\n", "\n"], "admin\n\n<end>"),
            (
                &["show env NOT\\ THERE;show cli level # no comment\n"],
                "Variable not found\n\nadmin\n\n<end>",
            ),
        ] {
            assert_eq!(
                converse(&socket, parts),
                answer,
                "{}: {parts:?}",
                program.name
            );
        }
    });
}

#[test]
fn statistics_have_their_fields_types_and_tags() {
    each(|program| {
        let proxy = Proxy::start(program, &quiet(port()));
        let typed = proxy.control("show stat be 6 1 typed");
        for line in [
            "S.3.1.0.pxname.1:KNS:str:be",
            "S.3.1.18.weight.1:MaP:u32:10",
            "S.3.1.32.type.1:CGS:u32:2",
            "S.3.1.55.lastsess.1:MAP:s32:-1",
            "B.3.0.19.act.1:MGP:u32:",
        ] {
            assert!(typed.contains(line), "{}: {line}\n{typed}", program.name);
        }
        let json = proxy.control("show stat be 4 1 json");
        assert!(
            json.starts_with(r#"[[{"objType":"Server","proxyId":3,"id":1,"field":{"pos":0,"name":"pxname"},"processNum":1,"tags":{"origin":"Key","nature":"Name","scope":"Service"},"value":{"type":"str","value":"be"}},"#),
            "{}: {json}",
            program.name
        );
        let info = proxy.control("show info typed");
        assert!(
            info.contains("\n6.Pid.1:SGP:u32:"),
            "{}: {info}",
            program.name
        );
        assert!(
            info.contains("\n17.CurrConns.1:MGP:u32:0\n"),
            "{}",
            program.name
        );
        let json = proxy.control("show info json");
        assert!(json.contains(r#"{"field":{"pos":3,"name":"Nbthread"},"processNum":1,"tags":{"origin":"Config","nature":"Gauge","scope":"Service"},"value":{"type":"u32","value":2}}"#), "{}", program.name);
        assert!(
            proxy
                .control("show info float")
                .contains("\nStart_time_sec: "),
            "{}",
            program.name
        );
        let names = |text: &str| {
            let rows = text.lines().skip(1).filter(|l| !l.is_empty());
            rows.map(|l| l.split(',').take(2).collect::<Vec<_>>().join("/"))
                .collect::<Vec<_>>()
        };
        assert_eq!(
            names(&proxy.control("show stat -1 2 -1")),
            ["be/BACKEND", "l/BACKEND"],
            "{}",
            program.name
        );
        assert_eq!(
            names(&proxy.control("show stat be 7 3")),
            ["be/c", "be/BACKEND"],
            "{}",
            program.name
        );
        assert_eq!(
            names(&proxy.control("show stat be 4 -1 no-maint")),
            ["be/a", "be/c"],
            "{}",
            program.name
        );
    });
}

#[test]
fn sessions_are_listed_and_ended_and_logged_as_killed() {
    let log = LogSink::new();
    let silent = Server::start(|_, _| {
        std::thread::sleep(Duration::from_secs(3));
        false
    });
    each(|program| {
        let port = port();
        let proxy = Proxy::start(
            program,
            &format!(
                "{TIMES}    log 127.0.0.1:{} local0\n    option httplog\nlisten l\n    bind 127.0.0.1:{port}\n    server s {}\n",
                log.port, silent.addr
            ),
        );
        let mut client = Client::connect(port);
        client.send("GET /held HTTP/1.1\r\nHost: x\r\n\r\n");
        proxy.wait_for("l", "s", "scur", "1");
        let list = proxy.control("show sess");
        let own = list.lines().find(|l| l.contains("fe=l be=l srv=s"));
        let own = own.unwrap_or_else(|| panic!("{}: {list}", program.name));
        assert!(
            own.contains("proto=tcpv4 src=127.0.0.1:"),
            "{}: {own}",
            program.name
        );
        let id = own.split(':').next().expect("an id");
        let whole = proxy.control(&format!("show sess {id}"));
        assert!(
            whole.contains("backend=l (id=2 mode=http)") && whole.contains("server=s (id=1)"),
            "{}: {whole}",
            program.name
        );
        assert_eq!(
            proxy.control(&format!("shutdown session {id}")),
            "\n",
            "{}",
            program.name
        );
        let line = log.line("/held");
        assert!(line.contains(" K"), "{}: {line}", program.name);
        proxy.wait_for("l", "s", "scur", "0");
        let mut client = Client::connect(port);
        client.send("GET /two HTTP/1.1\r\nHost: x\r\n\r\n");
        proxy.wait_for("l", "s", "scur", "1");
        proxy.control("shutdown sessions server l/s");
        proxy.wait_for("l", "s", "scur", "0");
    });
}

#[test]
fn the_last_malformed_request_and_response_of_a_proxy_are_kept() {
    let broken = Server::fixed(b"HTTP/1.1 200 OK\r\nA b: c\r\n\r\n", false);
    each(|program| {
        let port = port();
        let proxy = Proxy::start(
            program,
            &format!(
                "{TIMES}listen l\n    bind 127.0.0.1:{port}\n    server s {}\n",
                broken.addr
            ),
        );
        assert!(
            proxy
                .control("show errors")
                .contains("Total events captured on [")
        );
        let mut client = Client::connect(port);
        let answer = client.ask("GET /x HTTP/1.1\r\nHo st: a\r\nabc: d\r\n\r\n");
        assert_eq!(answer.status, 400, "{}", program.name);
        assert_eq!(get(port, "/").status, 502, "{}", program.name);
        let request = proxy.control("show errors l request");
        for part in [
            "frontend l (#2): invalid request\n  backend <NONE> (#-1), server <NONE> (#-1), event #0, src 127.0.0.1:",
            "error at position 19",
            "  00000  GET /x HTTP/1.1\\r\\n\n  00017  Ho st: a\\r\\n\n  00027  abc: d\\r\\n\n  00035  \\r\\n\n",
        ] {
            assert!(
                request.contains(part),
                "{}: {part}\n{request}",
                program.name
            );
        }
        assert!(!request.contains("invalid response"), "{}", program.name);
        let response = proxy.control("show errors l response");
        for part in [
            "backend l (#2): invalid response\n  frontend l (#2), server s (#1), event #1, src 127.0.0.1:",
            "  00000  HTTP/1.1 200 OK\\r\\n\n  00017  A b: c\\r\\n\n",
        ] {
            assert!(
                response.contains(part),
                "{}: {part}\n{response}",
                program.name
            );
        }
        assert_eq!(proxy.control("show errors zz"), "No such proxy.\n\n");
    });
}

#[test]
fn a_server_comes_and_goes_at_run_time() {
    let late = Server::named("late");
    each(|program| {
        let port = port();
        let proxy = Proxy::start(
            program,
            &format!(
                "{TIMES}frontend fe\n    bind 127.0.0.1:{port}\n    default_backend be\nbackend be\n    balance roundrobin\n    server a 127.0.0.1:1 disabled\n"
            ),
        );
        assert_eq!(get(port, "/").status, 503);
        for (command, answer) in [
            ("add server be", "Require 'backend/server'.\n".to_string()),
            ("add server zz/d 127.0.0.1:1", "No such backend.\n".into()),
            (
                "add server be/d",
                "'server' expects <name> and <addr>[:<port>] as arguments.\n\n".into(),
            ),
            (
                "add server be/a 127.0.0.1:1",
                "Already exists a server with the same name in backend.\n\n".into(),
            ),
        ] {
            assert_eq!(
                proxy.control(command),
                answer,
                "{}: {command}",
                program.name
            );
        }
        assert_eq!(
            proxy.control(&format!("add server be/d {}", late.addr)),
            "New server registered.\n\n",
            "{}",
            program.name
        );
        assert_eq!(proxy.stat("be", "d", "status"), "MAINT", "{}", program.name);
        assert_eq!(get(port, "/").status, 503, "{}", program.name);
        assert_eq!(proxy.control("enable server be/d"), "\n");
        assert_eq!(
            get(port, "/").header("x-server").as_deref(),
            Some("late"),
            "{}",
            program.name
        );
        assert_eq!(
            proxy.control("del server be/d"),
            "Only servers in maintenance mode can be deleted.\n"
        );
        proxy.control("disable server be/d");
        let end = Instant::now() + PATIENCE;
        // Connections that are kept for the server have to go first.
        loop {
            let answer = proxy.control("del server be/d");
            if answer == "Server deleted.\n" {
                break;
            }
            assert!(Instant::now() < end, "{}: {answer}", program.name);
            std::thread::sleep(Duration::from_millis(50));
        }
        assert_eq!(
            proxy.control("get weight be/d"),
            "No such server.\n\n",
            "{}",
            program.name
        );
    });
}

#[test]
fn variables_of_the_process_are_set_by_the_file_and_read_by_rules() {
    each(|program| {
        let port = port();
        // `global` stands before what the lab writes of it goes on.
        let proxy = Proxy::start(
            program,
            &format!(
                "    set-var proc.n int(5)\n    set-var-fmt proc.t \"x-%[int(3)]\"\n{TIMES}frontend fe\n    bind 127.0.0.1:{port}\n    http-request return status 200 content-type text/plain lf-string \"%[var(proc.n)] %[var(proc.t)]\"\n"
            ),
        );
        assert_eq!(get(port, "/").body, "5 x-3", "{}", program.name);
        assert_eq!(
            proxy.control("get var proc.t"),
            "proc.t: type=str value=<x-3>\n",
            "{}",
            program.name
        );
        proxy.control("experimental-mode on; set var proc.n int(6)");
        assert_eq!(get(port, "/").body, "6 x-3", "{}", program.name);
    });
}

#[test]
fn servers_begin_in_the_state_that_a_file_says() {
    each(|program| {
        let folder = Folder::new();
        let port = port();
        let config = format!(
            "    server-state-base {}\n    server-state-file all\n{TIMES}    load-server-state-from-file global\nfrontend fe\n    bind 127.0.0.1:{port}\n    default_backend be\nbackend be\n    server a 127.0.0.1:21001 weight 10\n    server b 127.0.0.1:21002\n    server c 127.0.0.1:21003\n",
            folder.path("")
        );
        let proxy = Proxy::start(program, &config);
        assert_eq!(
            proxy.control("get weight be/a"),
            "10 (initial 10)\n\n",
            "{}",
            program.name
        );
        proxy
            .control("set weight be/a 7; set server be/b state maint; set server be/c state drain");
        let state = proxy.control("show servers state");
        drop(proxy);
        folder.file("all", state.as_bytes());
        let proxy = Proxy::start(program, &config);
        assert_eq!(
            proxy.control("get weight be/a"),
            "7 (initial 10)\n\n",
            "{}",
            program.name
        );
        assert_eq!(proxy.stat("be", "b", "status"), "MAINT", "{}", program.name);
        assert_eq!(proxy.stat("be", "c", "status"), "DRAIN", "{}", program.name);
    });
}

#[test]
fn a_frontend_that_is_disabled_or_shut_down_refuses_connections() {
    each(|program| {
        let port = port();
        let proxy = Proxy::start(
            program,
            &format!(
                "{TIMES}frontend fe\n    bind 127.0.0.1:{port}\n    http-request return status 200\n"
            ),
        );
        let open = || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok();
        for _ in 0..3 {
            assert_eq!(proxy.control("disable frontend fe"), "\n");
            assert!(!open(), "{}", program.name);
            assert_eq!(
                proxy.stat("fe", "FRONTEND", "status"),
                "PAUSED",
                "{}",
                program.name
            );
            assert_eq!(proxy.control("enable frontend fe"), "\n");
            assert_eq!(get(port, "/").status, 200, "{}", program.name);
        }
        assert_eq!(proxy.control("shutdown frontend fe"), "\n");
        // The last worker closes its share of the socket in its own time.
        let end = Instant::now() + PATIENCE;
        while open() {
            assert!(Instant::now() < end, "{}", program.name);
            std::thread::sleep(Duration::from_millis(10));
        }
        assert_eq!(
            proxy.stat("fe", "FRONTEND", "status"),
            "STOP",
            "{}",
            program.name
        );
        for (command, answer) in [
            (
                "shutdown frontend fe",
                "Frontend was already shut down.\n\n",
            ),
            (
                "enable frontend fe",
                "Frontend was previously shut down, cannot enable.\n\n",
            ),
            (
                "disable frontend fe",
                "Frontend was previously shut down, cannot disable.\n\n",
            ),
            ("shutdown frontend", "A frontend name is expected.\n\n"),
        ] {
            assert_eq!(
                proxy.control(command),
                answer,
                "{}: {command}",
                program.name
            );
        }
    });
}
