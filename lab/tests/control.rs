//! The control socket, and the process as its users drive it: masters, reloads, sockets that are
//! handed over.

use lab::{Client, Folder, LogSink, PATIENCE, Program, Proxy, Server, each, get, port};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
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

/// Sends parts to a control socket and returns what comes within a moment after each.
fn converse(path: &str, parts: &[&str]) -> String {
    let mut stream = UnixStream::connect(path).expect("the control socket");
    let wait = Some(Duration::from_millis(150));
    stream.set_read_timeout(wait).expect("a timeout");
    let mut out = String::new();
    for part in parts {
        if stream.write_all(part.as_bytes()).is_err() {
            break;
        }
        let mut chunk = [0; 65536];
        while let Ok(n) = stream.read(&mut chunk) {
            if n == 0 {
                return out + "<end>";
            }
            out += &String::from_utf8_lossy(&chunk[..n]);
        }
    }
    out
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

/// A process started by its command line; ended at the latest when it is dropped.
struct Started {
    child: std::process::Child,
    output: String,
}

impl Started {
    fn new(
        program: &Program,
        folder: &Folder,
        name: &str,
        args: &[&str],
        env: &[(&str, &str)],
    ) -> Started {
        let output = folder.path(name);
        let file = std::fs::File::create(&output).expect("a file");
        let child = program
            .command()
            .args(args)
            .envs(env.iter().copied())
            .stdin(std::process::Stdio::null())
            .stdout(file.try_clone().expect("a descriptor"))
            .stderr(file)
            .spawn()
            .expect("it starts");
        Started { child, output }
    }

    fn signal(&self, signal: i32) {
        let status = std::process::Command::new("kill")
            .args([format!("-{signal}"), self.child.id().to_string()])
            .status();
        assert!(status.expect("kill runs").success());
    }

    fn said(&self) -> String {
        std::fs::read_to_string(&self.output).unwrap_or_default()
    }

    fn ended(&mut self) -> i32 {
        use std::os::unix::process::ExitStatusExt;
        let status = eventually("it ends", || self.child.try_wait().expect("a child"));
        status
            .code()
            .unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Tries until there is something, and for long enough.
fn eventually<T>(what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = attempt() {
            return found;
        }
        assert!(Instant::now() < end, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// One command, and all that comes until the end, or for a moment.
fn ask(path: &str, command: &str) -> Option<String> {
    let mut stream = UnixStream::connect(path).ok()?;
    stream
        .set_read_timeout(Some(Duration::from_millis(500)))
        .ok()?;
    writeln!(stream, "{command}").ok()?;
    // The end of our direction tells a master that no more commands come.
    stream.shutdown(std::net::Shutdown::Write).ok()?;
    let mut out = Vec::new();
    let mut chunk = [0; 65536];
    while let Ok(n) = stream.read(&mut chunk) {
        if n == 0 {
            break;
        }
        out.extend_from_slice(&chunk[..n]);
    }
    Some(String::from_utf8_lossy(&out).into_owned())
}

/// What a master says of its processes, once it answers.
fn show_proc(socket: &str) -> String {
    eventually("the master answers", || {
        ask(socket, "show proc").filter(|text| text.contains("# programs"))
    })
}

fn serves(port: u16, name: &str) {
    eventually(name, || {
        std::net::TcpStream::connect(("127.0.0.1", port)).ok()?;
        (get(port, "/").header("x-server").as_deref() == Some(name)).then_some(())
    });
}

#[test]
fn a_master_answers_on_its_own_socket_and_passes_commands_on() {
    let server = Server::named("s");
    each(|program| {
        let folder = Folder::new();
        let port = port();
        let file = folder.file(
            "m.cfg",
            format!(
                "{TIMES}listen l\n    bind 127.0.0.1:{port}\n    server s {} weight 7\n",
                server.addr
            )
            .as_bytes(),
        );
        let socket = folder.path("master");
        let mut master = Started::new(
            program,
            &folder,
            "out",
            &["-W", "-S", &socket, "-f", &file],
            &[],
        );
        serves(port, "s");
        let procs = show_proc(&socket);
        let lines: Vec<&str> = procs.lines().collect();
        let pid = master.child.id().to_string();
        assert_eq!(
            lines[0],
            "#<PID>          <type>          <reloads>       <uptime>        <version>      ",
            "{}",
            program.name
        );
        assert!(
            lines[1].starts_with(&format!(
                "{pid:<15} master          0 [failed: 0]   0d00h00m0"
            )),
            "{}: {procs}",
            program.name
        );
        assert_eq!(lines[2], "# workers", "{}", program.name);
        let worker = lines[3].split(' ').next().expect("a number").to_string();
        assert!(
            lines[3].starts_with(&format!("{worker:<15} worker          0 ")),
            "{}: {procs}",
            program.name
        );
        assert_eq!(lines[4], "# programs", "{}", program.name);
        for (command, answer) in [
            ("show cli level".to_string(), "admin\n\n".to_string()),
            ("@1 get weight l/s".into(), "7 (initial 7)\n\n".into()),
            (
                format!("@!{worker} get weight l/s"),
                "7 (initial 7)\n\n".into(),
            ),
            (
                "@2 show version".into(),
                "Can't find the target PID matching the prefix '@2'\n".into(),
            ),
            (
                "@1 get weight l/s; show cli level".into(),
                "7 (initial 7)\n\nadmin\n\n".into(),
            ),
            (
                "@1; get weight l/s; @master; show cli level".into(),
                "7 (initial 7)\n\nadmin\n\n".into(),
            ),
            ("operator; show cli level".into(), "operator\n\n".into()),
        ] {
            assert_eq!(
                ask(&socket, &command).as_deref(),
                Some(answer.as_str()),
                "{}: {command}",
                program.name
            );
        }
        let talk = converse(
            &socket,
            &[
                "prompt\n",
                "@1\n",
                "get weight l/s\n",
                "@master\n",
                "quit\n",
            ],
        );
        let wanted = format!("master> {worker}> 7 (initial 7)\n\n{worker}> master> ");
        assert!(
            talk.starts_with(&wanted) && talk.ends_with("<end>"),
            "{}: {talk:?}",
            program.name
        );
        assert!(
            ask(&socket, "nonsense")
                .expect("an answer")
                .starts_with("Unknown command"),
            "{}",
            program.name
        );
        master.signal(libc_signal("TERM"));
        assert_eq!(master.ended(), 0, "{}: {}", program.name, master.said());
    });
}

/// The number of a signal on Linux.
fn libc_signal(name: &str) -> i32 {
    match name {
        "HUP" => 1,
        "INT" => 2,
        "KILL" => 9,
        "USR1" => 10,
        "USR2" => 12,
        _ => 15,
    }
}

#[test]
fn a_master_ends_as_it_was_told_or_as_its_worker_ends() {
    each(|program| {
        let folder = Folder::new();
        let socket = folder.path("master");
        for (signal, status) in [("TERM", 0), ("INT", 130), ("USR1", 0)] {
            let port = port();
            let file = folder.file(
                "e.cfg",
                format!("{TIMES}listen l\n    bind 127.0.0.1:{port}\n").as_bytes(),
            );
            let mut master = Started::new(
                program,
                &folder,
                "out",
                &["-W", "-S", &socket, "-f", &file],
                &[],
            );
            show_proc(&socket);
            master.signal(libc_signal(signal));
            assert_eq!(master.ended(), status, "{} {signal}", program.name);
        }
        let port = port();
        let file = folder.file(
            "k.cfg",
            format!("{TIMES}listen l\n    bind 127.0.0.1:{port}\n").as_bytes(),
        );
        let mut master = Started::new(
            program,
            &folder,
            "out",
            &["-W", "-S", &socket, "-f", &file],
            &[],
        );
        let procs = show_proc(&socket);
        let worker = procs
            .lines()
            .nth(3)
            .and_then(|l| l.split(' ').next())
            .expect("a worker")
            .to_string();
        let status = std::process::Command::new("kill")
            .args(["-9", &worker])
            .status();
        assert!(status.expect("kill runs").success());
        assert_eq!(master.ended(), 137, "{}: {}", program.name, master.said());
    });
}

#[test]
fn either_signal_to_the_master_reloads_and_its_service_manager_is_told() {
    let (a, b) = (Server::named("a"), Server::named("b"));
    each(|program| {
        let folder = Folder::new();
        let port = port();
        let config = |to: &Server| {
            format!(
                "{TIMES}listen l\n    bind 127.0.0.1:{port}\n    server s {}\n",
                to.addr
            )
        };
        let file = folder.file("r.cfg", config(&a).as_bytes());
        let (path, socket) = (folder.path("notify"), folder.path("master"));
        let manager = std::os::unix::net::UnixDatagram::bind(&path).expect("a socket");
        manager.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let told = |wanted: &str| {
            let mut buffer = [0; 4096];
            loop {
                let n = manager
                    .recv(&mut buffer)
                    .unwrap_or_else(|_| panic!("{}: not told '{wanted}'", program.name));
                let text = String::from_utf8_lossy(&buffer[..n]).into_owned();
                if text.contains(wanted) {
                    return text;
                }
            }
        };
        let mut master = Started::new(
            program,
            &folder,
            "out",
            &["-Ws", "-S", &socket, "-f", &file],
            &[("NOTIFY_SOCKET", &path)],
        );
        let ready = told("READY=1");
        assert!(
            ready.contains(&format!("MAINPID={}", master.child.id())),
            "{}: {ready}",
            program.name
        );
        serves(port, "a");
        for (signal, to, name) in [("USR2", &b, "b"), ("HUP", &a, "a")] {
            std::fs::write(&file, config(to)).expect("written");
            master.signal(libc_signal(signal));
            let reloading = told("RELOADING=1");
            assert!(
                program.name == "haproxy" || reloading.contains("MONOTONIC_USEC="),
                "{reloading}"
            );
            told("READY=1");
            serves(port, name);
            show_proc(&socket);
        }
        master.signal(libc_signal("TERM"));
        told("STOPPING=1");
        assert_eq!(master.ended(), 0, "{}", program.name);
    });
}

#[test]
fn a_reload_by_the_masters_socket_says_whether_it_succeeded() {
    // HAProxy 2.6 closes the connection without a word; the words are those of 2.7 and later.
    let (a, b) = (Server::named("a"), Server::named("b"));
    let program = Program::mulgil();
    let folder = Folder::new();
    let port = port();
    let config = |to: &Server| {
        format!(
            "{TIMES}listen l\n    bind 127.0.0.1:{port}\n    server s {}\n",
            to.addr
        )
    };
    let file = folder.file("r.cfg", config(&a).as_bytes());
    let socket = folder.path("master");
    let master = Started::new(
        &program,
        &folder,
        "out",
        &["-W", "-S", &socket, "-f", &file],
        &[],
    );
    serves(port, "a");
    std::fs::write(&file, config(&b)).expect("written");
    assert_eq!(
        ask(&socket, "reload").as_deref(),
        Some("Success=1\n"),
        "{}",
        master.said()
    );
    assert_eq!(get(port, "/").header("x-server").as_deref(), Some("b"));
    std::fs::write(&file, "nonsense").expect("written");
    assert_eq!(ask(&socket, "reload").as_deref(), Some("Success=0\n"));
    assert_eq!(get(port, "/").header("x-server").as_deref(), Some("b"));
    let procs = show_proc(&socket);
    assert!(procs.contains("1 [failed: 1]"), "{procs}");
}

#[test]
fn listeners_pass_from_the_old_process_to_the_new_one() {
    let (a, b) = (Server::named("a"), Server::named("b"));
    each(|program| {
        let folder = Folder::new();
        let port = port();
        // Without 'noreuseport' another socket could be bound beside the first.
        let config = |to: &Server| {
            format!(
                "global\n    noreuseport\n    stats socket {} level admin expose-fd listeners\n{TIMES}listen l\n    bind 127.0.0.1:{port}\n    server s {}\n",
                folder.path("control"),
                to.addr
            )
        };
        let first = folder.file("a.cfg", config(&a).as_bytes());
        let second = folder.file("b.cfg", config(&b).as_bytes());
        let mut old = Started::new(program, &folder, "old", &["-db", "-f", &first], &[]);
        serves(port, "a");
        let pid = old.child.id().to_string();
        let control = folder.path("control");
        let new = Started::new(
            program,
            &folder,
            "new",
            &["-db", "-f", &second, "-x", &control, "-sf", &pid],
            &[],
        );
        assert_eq!(
            old.ended(),
            0,
            "{}: {} {}",
            program.name,
            old.said(),
            new.said()
        );
        serves(port, "b");
    });
    let folder = Folder::new();
    let file = folder.file(
        "x.cfg",
        format!("{TIMES}listen l\n    bind 127.0.0.1:{}\n", port()).as_bytes(),
    );
    let (status, said) = Program::mulgil().run(&["-db", "-f", &file, "-x", &folder.path("nobody")]);
    assert_eq!(status, 1);
    assert!(said.contains("'-x "), "{said}");
}

#[test]
fn after_giving_up_its_privileges_a_process_still_reloads_what_only_root_may_read() {
    let (a, b) = (Server::named("a"), Server::named("b"));
    let program = Program::mulgil();
    let root = std::process::Command::new("id")
        .arg("-u")
        .output()
        .expect("id runs");
    if root.stdout != b"0\n" {
        println!("not root: nothing to give up");
        return;
    }
    for with_master in [false, true] {
        let folder = Folder::new();
        let (one, two) = (port(), port());
        // A port below 1024 that nobody here has.
        let low = (600..1000)
            .rev()
            .find(|p| std::net::TcpListener::bind(("127.0.0.1", *p)).is_ok())
            .expect("a low port");
        let config = |ports: &[u16], to: &Server| {
            let binds: String = ports
                .iter()
                .map(|p| format!("    bind 127.0.0.1:{p}\n"))
                .collect();
            format!(
                "global\n    chroot {}\n    user nobody\n    group nogroup\n{TIMES}listen l\n{binds}    server s {}\n",
                folder.path(""),
                to.addr
            )
        };
        let file = folder.file("p.cfg", config(&[one], &a).as_bytes());
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).expect("set");
        let flags: &[&str] = if with_master {
            &["-W", "-f", &file]
        } else {
            &["-db", "-f", &file]
        };
        let mut process = Started::new(&program, &folder, "out", flags, &[]);
        serves(one, "a");
        std::fs::write(&file, config(&[one, two, low], &b)).expect("written");
        process.signal(libc_signal("HUP"));
        serves(one, "b");
        serves(two, "b");
        serves(low, "b");
        process.signal(libc_signal("TERM"));
        assert_eq!(
            process.ended(),
            if with_master { 0 } else { 143 },
            "{}",
            process.said()
        );
        eventually("the sockets are closed", || {
            std::net::TcpListener::bind(("127.0.0.1", low)).ok()
        });
    }
}
