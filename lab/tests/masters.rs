//! The process as its users drive it: masters, reloads, sockets that are handed over, privileges.

use lab::said::converse;
use lab::{Folder, PATIENCE, Program, Server, each, get, port};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

const TIMES: &str = "defaults\n    mode http\n    timeout client 5s\n    timeout server 5s\n    timeout connect 1s\n";

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
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
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

#[test]
fn a_daemon_leaves_its_terminal_and_writes_its_number() {
    let server = Server::named("s");
    each(|program| {
        for flags in [&["-D"] as &[&str], &["-D", "-W"]] {
            let folder = Folder::new();
            let port = port();
            let config = format!(
                "{TIMES}listen l\n    bind 127.0.0.1:{port}\n    server s {}\n",
                server.addr
            );
            let file = folder.file("d.cfg", config.as_bytes());
            let pidfile = folder.path("pid");
            // `run` waits until nobody holds its pipes any more: the daemon must not.
            let (status, said) = program.run(&[flags, &["-f", &file, "-p", &pidfile]].concat());
            assert_eq!(status, 0, "{}: {said}", program.name);
            serves(port, "s");
            let pid = std::fs::read_to_string(&pidfile).expect("a pid file");
            let kill = std::process::Command::new("kill").arg(pid.trim()).status();
            assert!(
                kill.expect("kill runs").success(),
                "{} {flags:?}: {pid}",
                program.name
            );
            eventually("it ends", || {
                std::net::TcpListener::bind(("127.0.0.1", port)).ok()
            });
        }
        let folder = Folder::new();
        let file = folder.file(
            "c.cfg",
            format!("{TIMES}listen l\n    bind 127.0.0.1:{}\n", port()).as_bytes(),
        );
        assert_eq!(
            program.run(&["-c", "-f", &file]).1,
            "Configuration file is valid\n",
            "{}",
            program.name
        );
        assert_eq!(
            program.run(&["-c", "-q", "-f", &file]).1,
            "",
            "{}",
            program.name
        );
        let (status, said) = program.run(&["-vv"]);
        for part in [
            "Available polling systems",
            "Available multiplexer protocols",
            "Available filters",
            "Feature list",
        ] {
            assert!(
                status == 0 && said.contains(part),
                "{}: {part}",
                program.name
            );
        }
    });
}

#[test]
fn a_reload_changes_limits_and_names_what_it_cannot_change() {
    let program = Program::mulgil();
    let folder = Folder::new();
    let port = port();
    let socket = folder.path("control");
    let config = |global: &str| {
        format!(
            "global\n    stats socket {socket} level admin\n{global}{TIMES}listen l\n    bind 127.0.0.1:{port}\n    http-request return status 200\n"
        )
    };
    let file = folder.file(
        "l.cfg",
        config("    nbthread 1\n    maxconn 100\n").as_bytes(),
    );
    let process = Started::new(&program, &folder, "out", &["-db", "-f", &file], &[]);
    eventually("it answers", || ask(&socket, "show info"));
    std::fs::write(
        &file,
        config("    nbthread 2\n    maxconn 50\n    maxsessrate 7\n"),
    )
    .expect("written");
    let said = ask(&socket, "reload").expect("an answer");
    assert!(
        said.contains("Success=1") && said.contains("'nbthread' was changed"),
        "{said}"
    );
    let info = ask(&socket, "show info").expect("an answer");
    for line in ["\nNbthread: 1\n", "\nMaxconn: 50\n", "\nSessRateLimit: 7\n"] {
        assert!(info.contains(line), "{line}\n{info}");
    }
    drop(process);
}

#[test]
fn no_more_conversations_than_allowed_are_held_and_the_next_ones_wait() {
    each(|program| {
        let folder = Folder::new();
        let socket = folder.path("control");
        let file = folder.file(
            "c.cfg",
            format!("global\n    stats socket {socket} level admin\n    stats maxconn 2\n{TIMES}listen l\n    bind 127.0.0.1:{}\n", port()).as_bytes(),
        );
        let _process = Started::new(program, &folder, "out", &["-db", "-f", &file], &[]);
        eventually("it answers", || ask(&socket, "show info"));
        let open = |patience| {
            let mut stream = UnixStream::connect(&socket).expect("connected");
            stream.set_read_timeout(Some(patience)).expect("a timeout");
            stream.write_all(b"prompt\n").expect("written");
            stream
        };
        let answers = |stream: &mut UnixStream| stream.read(&mut [0; 64]).is_ok_and(|n| n > 0);
        let (mut one, mut two) = (open(PATIENCE), open(PATIENCE));
        assert!(answers(&mut one) && answers(&mut two), "{}", program.name);
        let mut three = open(Duration::from_millis(300));
        assert!(!answers(&mut three), "{}: a third is held", program.name);
        drop(one);
        eventually("the third has its turn", || {
            answers(&mut three).then_some(())
        });
    });
}

#[test]
fn connections_a_second_are_limited() {
    each(|program| {
        let port = port();
        let config = format!(
            "    nbthread 1\n    maxconnrate 5\n{TIMES}listen l\n    bind 127.0.0.1:{port}\n    http-request return status 200\n"
        );
        let proxy = lab::Proxy::start(program, &config);
        // All are there at once: who is not taken yet waits in the socket's queue.
        let mut clients: Vec<lab::Client> = (0..15).map(|_| lab::Client::connect(port)).collect();
        for client in &mut clients {
            client.send("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        }
        for client in &mut clients {
            assert_eq!(client.response().status, 200, "{}", program.name);
        }
        let said = proxy.control("show info");
        let most = said.lines().find_map(|l| l.strip_prefix("MaxConnRate: "));
        let most: u32 = most
            .expect("a line of it")
            .trim()
            .parse()
            .expect("a number");
        // Rates are of a second that slides: twice the limit may be seen, but not all of them.
        assert!((1..15).contains(&most), "{}: {most}", program.name);
    });
}

#[test]
fn a_new_process_takes_the_ports_of_the_old_one_which_ends_what_it_has() {
    let (a, b) = (
        Server::start(|request, stream| {
            if request.contains("/slow") {
                std::thread::sleep(Duration::from_millis(1800));
            }
            stream
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Server: a\r\n\r\nok")
                .is_ok()
        }),
        Server::named("b"),
    );
    each(|program| {
        for kept_alone in ["    noreuseport\n", ""] {
            let folder = Folder::new();
            let port = port();
            let config = |to: &Server| {
                format!(
                    "global\n{kept_alone}    maxconn 100\n{TIMES}listen l\n    bind 127.0.0.1:{port}\n    server s {}\n",
                    to.addr
                )
            };
            let first = folder.file("a.cfg", config(&a).as_bytes());
            let second = folder.file("b.cfg", config(&b).as_bytes());
            let mut old = Started::new(program, &folder, "old", &["-db", "-f", &first], &[]);
            serves(port, "a");
            let mut slow = lab::Client::connect(port);
            slow.send("GET /slow HTTP/1.1\r\nHost: x\r\n\r\n");
            std::thread::sleep(Duration::from_millis(400));
            let pid = old.child.id().to_string();
            let _new = Started::new(
                program,
                &folder,
                "new",
                &["-db", "-f", &second, "-sf", &pid],
                &[],
            );
            // What had come to the old one before it was told to go is its own to answer.
            let by_new = || {
                let request = "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
                let asked = std::net::TcpStream::connect(("127.0.0.1", port));
                let answer = asked
                    .ok()
                    .map(|stream| lab::Client::of(stream).ask(request));
                answer.and_then(|a| a.header("x-server")).as_deref() == Some("b")
            };
            eventually(
                &format!("{}: ten in a row by the new one", program.name),
                || (0..10).all(|_| by_new()).then_some(()),
            );
            assert_eq!(
                slow.response().header("x-server").as_deref(),
                Some("a"),
                "{}",
                program.name
            );
            drop(slow);
            assert_eq!(old.ended(), 0, "{}", program.name);
        }
    });
}
