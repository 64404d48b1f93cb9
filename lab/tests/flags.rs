//! Flags of the command line and what `global` says of the process, each with its effect.

use lab::{Client, Folder, LogSink, PATIENCE, Program, Proxy, Server, each, get, port};
use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const TIMES: &str = "defaults\n    mode http\n    timeout client 5s\n    timeout server 5s\n    timeout connect 2s\n";

/// A field of `show info`.
fn info(proxy: &Proxy, name: &str) -> String {
    let text = proxy.control("show info");
    let line = text
        .lines()
        .find_map(|l| l.strip_prefix(name)?.strip_prefix(": "));
    line.unwrap_or_default().to_string()
}

fn number(text: &str) -> u64 {
    text.parse()
        .unwrap_or_else(|_| panic!("'{text}' is no number"))
}

/// A file of the process's in `/proc`.
fn of_process(proxy: &Proxy, file: &str) -> String {
    let path = format!("/proc/{}/{file}", info(proxy, "Pid"));
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"))
}

#[test]
fn limits_of_the_command_line_overrule_those_of_the_file() {
    each(|program| {
        let ports = [port(), port()];
        let text = format!(
            "    maxconn 100\n{TIMES}frontend f\n    bind 127.0.0.1:{}\n    default_backend b\n\
             frontend g\n    bind 127.0.0.1:{}\n    maxconn 9\n    default_backend b\n\
             backend b\n    server s 127.0.0.1:1\n",
            ports[0], ports[1]
        );
        let limits = |more: &[&str]| {
            let proxy = Proxy::start_with(program, &text, more);
            let of = |name| proxy.stat(name, "FRONTEND", "slim");
            (info(&proxy, "Maxconn"), of("f"), of("g"))
        };
        let are = |all: (String, String, String), maxconn: &str, f: &str| {
            assert_eq!(
                all,
                (maxconn.into(), f.into(), "9".into()),
                "{}",
                program.name
            );
        };
        are(limits(&[]), "100", "100");
        are(limits(&["-n", "50"]), "50", "50");
        are(limits(&["-N", "7"]), "100", "7");
        are(limits(&["-n", "50", "-N", "7"]), "50", "7");
    });
}

#[test]
fn a_limit_of_memory_is_one_of_connections() {
    each(|program| {
        let text = format!("{TIMES}listen l\n    bind 127.0.0.1:{}\n", port());
        let proxy = Proxy::start_with(program, &text, &["-m", "300"]);
        assert_eq!(info(&proxy, "Memmax_MB"), "300", "{}", program.name);
        let most = number(&info(&proxy, "Maxconn"));
        assert!((5000..9900).contains(&most), "{}: {most}", program.name);
    });
}

#[test]
fn a_reload_keeps_what_the_command_line_said() {
    let text = format!(
        "    maxconn 100\n{TIMES}listen l\n    bind 127.0.0.1:{}\n",
        port()
    );
    let proxy = Proxy::start_with(&Program::mulgil(), &text, &["-n", "50", "-N", "7"]);
    let text = std::fs::read_to_string(&proxy.file).expect("its file");
    std::fs::write(&proxy.file, text.replace("maxconn 100", "maxconn 200")).expect("written");
    assert!(proxy.control("reload").contains("Success=1"));
    assert_eq!(info(&proxy, "Maxconn"), "50");
    assert_eq!(proxy.stat("l", "FRONTEND", "slim"), "7");
}

#[test]
fn servers_whose_names_nobody_knows_are_let_pass_where_that_is_asked_for() {
    each(|program| {
        let folder = Folder::new();
        let file = |init: &str| {
            let text = format!(
                "{TIMES}listen l\n    bind 127.0.0.1:{}\n    server s nobody.invalid:80{init}\n",
                port()
            );
            folder.file("names.cfg", text.as_bytes())
        };
        let check = |more: &[&str], file: &str| {
            let mut args = more.to_vec();
            args.extend(["-c", "-f", file]);
            program.run(&args)
        };
        let plain = file("");
        assert_eq!(check(&[], &plain).0, 1, "{}", program.name);
        let (status, said) = check(&["-dr"], &plain);
        assert_eq!(status, 0, "{}: {said}", program.name);
        let (status, said) = check(&["-dr"], &file(" init-addr libc"));
        assert_eq!(status, 0, "{}: {said}", program.name);
    });
}

/// A certificate that nobody vouches for, with its key.
fn certificate(folder: &Folder) -> String {
    let (key, cert) = lab::certificate(folder, "lab");
    let both = [cert, key].map(|p| std::fs::read_to_string(p).expect("a file"));
    folder.file("site.pem", both.concat().as_bytes())
}

#[test]
fn servers_are_believed_where_that_is_asked_for() {
    let folder = Folder::new();
    let site = certificate(&folder);
    each(|program| {
        let (web, inner, server) = (port(), port(), Server::named("s"));
        let text = format!(
            "{TIMES}listen web\n    bind 127.0.0.1:{web}\n    server s 127.0.0.1:{inner} ssl\n\
             listen inner\n    bind 127.0.0.1:{inner} ssl crt {site}\n    server s {}\n",
            server.addr
        );
        let file = folder.file("v.cfg", text.as_bytes());
        assert_eq!(program.run(&["-c", "-f", &file]).0, 1, "{}", program.name);
        let _proxy = Proxy::start_with(program, &text, &["-dV"]);
        assert_eq!(get(web, "/").status, 200, "{}", program.name);
    });
}

#[test]
fn ports_are_not_shared_where_that_is_asked_for() {
    use socket2::{Domain, Socket, Type};
    each(|program| {
        let shares = |more: &[&str]| {
            let web = port();
            let text = format!("{TIMES}listen l\n    bind 127.0.0.1:{web}\n");
            let _proxy = Proxy::start_with(program, &text, more);
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
            socket.set_reuse_port(true).expect("an option");
            let at = std::net::SocketAddr::from(([127, 0, 0, 1], web));
            socket.bind(&at.into()).is_ok() && socket.listen(1).is_ok()
        };
        assert!(shares(&[]), "{}", program.name);
        assert!(!shares(&["-dR"]), "{}", program.name);
    });
}

/// How many pipes a process has while a client does not read what it asked for.
fn pipes(more: &[&str]) -> usize {
    let server = Server::start(|_, stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 30000000\r\n\r\n");
        stream.write_all(&vec![b'x'; 30_000_000]).is_ok()
    });
    let web = port();
    let text = format!(
        "{TIMES}listen l\n    bind 127.0.0.1:{web}\n    server s {}\n",
        server.addr
    );
    let proxy = Proxy::start_with(&Program::mulgil(), &text, more);
    let folder = format!("/proc/{}/fd", info(&proxy, "Pid"));
    let count = || {
        let all = std::fs::read_dir(&folder).expect("its descriptors");
        let links = all
            .flatten()
            .filter_map(|f| std::fs::read_link(f.path()).ok());
        links
            .filter(|l| l.to_string_lossy().starts_with("pipe:"))
            .count()
    };
    let before = count();
    let mut client = Client::connect(web);
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut some = [0; 1 << 16];
    client.stream.read_exact(&mut some).expect("a beginning");
    // Both buffers of the kernel fill up, and what is between them waits in the pipe.
    let found = count();
    let mut rest = 30_000_000 - some.len();
    let mut chunk = vec![0; 1 << 20];
    while rest > 0 {
        let n = client.stream.read(&mut chunk).expect("the rest");
        assert!(n > 0, "{rest} bytes are missing");
        rest = rest.saturating_sub(n);
    }
    found.max(count()) - before
}

#[test]
fn bodies_pass_without_pipes_where_that_is_asked_for() {
    assert!(pipes(&[]) > 0);
    assert_eq!(pipes(&["-dS"]), 0);
}

#[test]
fn what_is_only_suspicious_is_said_where_that_is_asked_for() {
    each(|program| {
        let folder = Folder::new();
        let text = format!(
            "{TIMES}listen l\n    bind 127.0.0.1:{}\n    .diag \"look here\"\n    \
             server s 127.0.0.1:1 weight 0\nglobal\n    maxconn 10\n",
            port()
        );
        let file = folder.file("d.cfg", text.as_bytes());
        let (status, said) = program.run(&["-c", "-f", &file]);
        assert_eq!(status, 0, "{}: {said}", program.name);
        assert!(!said.contains("look here"), "{}: {said}", program.name);
        // Warnings that are fatal are not of this kind.
        let (status, said) = program.run(&["-dD", "-dW", "-c", "-f", &file]);
        assert_eq!(status, 0, "{}: {said}", program.name);
        for what in ["look here", "weight of 0", "global"] {
            assert!(said.contains(what), "{}: no {what} in {said}", program.name);
        }
    });
}

#[test]
fn the_files_with_code_in_memory_are_listed() {
    each(|program| {
        let folder = Folder::new();
        let text = format!("{TIMES}listen l\n    bind 127.0.0.1:{}\n", port());
        let file = folder.file("l.cfg", text.as_bytes());
        let (status, said) = program.run(&["-dL", "-q", "-c", "-f", &file]);
        assert_eq!(status, 0, "{}", program.name);
        let itself = std::fs::canonicalize(program.path()).expect("a path");
        assert!(
            said.lines().any(|l| l == itself.to_string_lossy()),
            "{said}"
        );
        assert!(said.lines().all(|l| l.starts_with('/')), "{said}");
    });
}

#[test]
fn what_a_flag_cannot_do_here_is_said() {
    let folder = Folder::new();
    let text = format!("{TIMES}listen l\n    bind 127.0.0.1:{}\n", port());
    let file = folder.file("m.cfg", text.as_bytes());
    for flag in ["-dM", "-dMhelp", "-dG", "-de", "-dp", "-dZ", "-dF", "-dt"] {
        let (status, said) = Program::mulgil().run(&[flag, "-c", "-f", &file]);
        assert_eq!(status, 0, "{flag}: {said}");
        let wanted = format!("warning: '{flag}' has no effect");
        assert!(said.contains(&wanted), "{flag}: {said}");
    }
    let (status, said) = Program::mulgil().run(&["-dQ", "-c", "-f", &file]);
    assert_eq!(status, 1);
    assert!(said.contains("unknown argument '-dQ'"), "{said}");
}

#[test]
fn programs_check_servers_where_a_flag_allows_it() {
    let text = format!(
        "    external-check\n{TIMES}listen l\n    bind 127.0.0.1:{}\n    option external-check\n    \
         external-check command /bin/true\n    server s 127.0.0.1:1 check inter 100ms\n",
        port()
    );
    let proxy = Proxy::start_with(&Program::mulgil(), &text, &["-dI"]);
    proxy.wait_for("l", "s", "check_status", "PROCOK");
}

/// Conditions, and what `-cc` makes of them: 0 holds, 1 does not, 2 cannot be read.
#[test]
fn conditions_come_to_the_same() {
    each(|program| {
        for (condition, status) in [
            ("", 1),
            ("0", 1),
            ("1", 0),
            ("-3", 0),
            ("+0", 1),
            ("!0", 0),
            ("!!1", 0),
            ("!(1 && 0)", 0),
            ("1 || nosuch(1)", 2),
            ("0 && 1 || 1", 0),
            ("1 || 0 && 0", 0),
            ("(1 || 0) && 0", 1),
            ("( 1 )", 0),
            ("1||0&&0", 0),
            ("defined(PATH)", 0),
            ("defined(NO_SUCH_VARIABLE)", 1),
            ("streq(a,a)", 0),
            ("streq(a,b)", 1),
            ("streq(a, a)", 1),
            ("streq(\"a b\",'a b')", 0),
            ("strneq(a,b)", 0),
            ("strneq(a,a)", 1),
            ("version_atleast(2.6)", 0),
            ("version_atleast(2.6-dev1)", 0),
            ("version_atleast(2.6.1)", 0),
            ("version_atleast(9.9)", 1),
            ("version_before(9.9)", 0),
            ("version_before(1.0)", 1),
            ("feature(OPENSSL)", 0),
            ("feature(THREAD)", 0),
            ("feature(EPOLL)", 0),
            ("feature(QUIC)", 1),
            ("feature(NO_SUCH)", 1),
            ("openssl_version_atleast(1.0.0)", 0),
            ("openssl_version_before(1.0.0)", 1),
            ("nosuch(1)", 2),
            ("defined(", 2),
            ("(1", 2),
            ("1)", 2),
            ("1 1", 2),
            ("&& 1", 2),
            ("1 &&", 2),
            ("1 | 0", 2),
            ("1.5", 2),
            ("streq(a)", 2),
            ("streq(a,a,a)", 2),
        ] {
            let (found, said) = program.run(&["-cc", condition]);
            assert_eq!(found, status, "{}: {condition}: {said}", program.name);
        }
    });
    // These came later than the oracle.
    for (condition, status) in [
        ("true", 0),
        ("!false", 0),
        ("strstr(haystack,stack)", 0),
        ("strstr(haystack,needle)", 1),
        ("enabled(EPOLL)", 0),
        ("version_atleast(3.0)", 0),
    ] {
        let (found, said) = Program::mulgil().run(&["-cc", condition]);
        assert_eq!(found, status, "{condition}: {said}");
    }
}

/// A program that is ended when the test is over.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn lines_have_the_name_by_which_the_program_was_started() {
    each(|program| {
        let (folder, log, web) = (Folder::new(), LogSink::new(), port());
        let link = folder.path("balancer");
        std::os::unix::fs::symlink(program.path(), &link).expect("a link");
        let text = format!(
            "{TIMES}listen web\n    bind 127.0.0.1:{web}\n    log 127.0.0.1:{} local0\n    \
             option httplog\n    http-request return status 204\n",
            log.port
        );
        let file = folder.file("tag.cfg", text.as_bytes());
        let child = Command::new(&link)
            .args(["-db", "-f", &file])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let running = Running(child.expect("it starts"));
        let end = Instant::now() + PATIENCE;
        while std::net::TcpStream::connect(("127.0.0.1", web)).is_err() {
            assert!(Instant::now() < end, "{} does not listen", program.name);
            std::thread::sleep(Duration::from_millis(10));
        }
        assert_eq!(get(web, "/").status, 204);
        let line = log.line("web/<NOSRV>");
        let tag = format!(" balancer[{}]: ", running.0.id());
        assert!(line.contains(&tag), "{}: {line}", program.name);
    });
}

/// Whether a list such as `0-3,8` has the number.
fn is_in(list: &str, number: usize) -> bool {
    list.trim().split(',').any(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let ends = (first.parse::<usize>(), last.parse::<usize>());
        matches!(ends, (Ok(first), Ok(last)) if (first..=last).contains(&number))
    })
}

#[test]
fn workers_run_where_cpu_map_puts_them() {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let allowed = status
        .lines()
        .find_map(|l| l.strip_prefix("Cpus_allowed_list:"));
    if !allowed.is_some_and(|list| [0, 1].iter().all(|core| is_in(list, *core))) {
        println!("cores 0 and 1 are not both ours: nothing to choose");
        return;
    }
    each(|program| {
        let text = format!(
            "    cpu-map auto:1/1-2 0-1\n{TIMES}listen l\n    bind 127.0.0.1:{}\n",
            port()
        );
        let proxy = Proxy::start(program, &text);
        let tasks = format!("/proc/{}/task", info(&proxy, "Pid"));
        let places = || {
            let mut places: Vec<String> = Vec::new();
            for task in std::fs::read_dir(&tasks).expect("its threads").flatten() {
                let status = std::fs::read_to_string(task.path().join("status"));
                let status = status.unwrap_or_default();
                let line = status
                    .lines()
                    .find_map(|l| l.strip_prefix("Cpus_allowed_list:"));
                places.extend(line.map(|l| l.trim().to_string()));
            }
            places
        };
        // A thread goes to its place once it has its first turn.
        lab::net::until(&format!("{} has them there", program.name), || {
            let places = places();
            ["0", "1"]
                .iter()
                .all(|cpu| places.iter().filter(|p| p == cpu).count() == 1)
        });
    });
}

#[test]
fn descriptors_and_connections_follow_from_each_other() {
    each(|program| {
        let start = |lines: &str| {
            let text = format!("{lines}{TIMES}listen l\n    bind 127.0.0.1:{}\n", port());
            Proxy::start(program, &text)
        };
        let limit = |proxy: &Proxy| {
            let limits = of_process(proxy, "limits");
            let line = limits.lines().find(|l| l.starts_with("Max open files"));
            number(line.and_then(|l| l.split_whitespace().nth(3)).unwrap_or(""))
        };
        let proxy = start("    ulimit-n 3000\n");
        let most = number(&info(&proxy, "Maxconn"));
        assert!(limit(&proxy) >= 3000, "{}", program.name);
        assert!(most * 2 <= limit(&proxy), "{}: {most}", program.name);
        let proxy = start("    maxconn 1700\n");
        assert!(limit(&proxy) >= 3400, "{}", program.name);
        assert_eq!(info(&proxy, "Maxconn"), "1700", "{}", program.name);
        // What there may not be is not promised.
        let text = format!("{TIMES}listen l\n    bind 127.0.0.1:{}\n", port());
        let proxy = Proxy::start_with(program, &format!("    fd-hard-limit 2000\n{text}"), &[]);
        let most = number(&info(&proxy, "Maxconn"));
        assert!((500..1000).contains(&most), "{}: {most}", program.name);
    });
}

#[test]
fn there_are_as_many_workers_as_said() {
    each(|program| {
        let text = format!(
            "    nbthread 3\n    thread-groups 1\n{TIMES}listen l\n    bind 127.0.0.1:{}\n",
            port()
        );
        let proxy = Proxy::start(program, &text);
        assert_eq!(info(&proxy, "Nbthread"), "3", "{}", program.name);
    });
}

#[test]
fn a_soft_stop_ends_when_it_has_lasted_long_enough() {
    each(|program| {
        let server = Server::start(|_, _| {
            std::thread::sleep(PATIENCE * 2);
            false
        });
        let web = port();
        let text = format!(
            "    hard-stop-after 300ms\ndefaults\n    mode http\n    timeout client 1m\n    \
             timeout server 1m\n    timeout connect 1s\nlisten l\n    bind 127.0.0.1:{web}\n    server s {}\n",
            server.addr
        );
        let mut proxy = Proxy::start(program, &text);
        let mut client = Client::connect(web);
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        proxy.wait_for("l", "s", "scur", "1");
        proxy.signal("-USR1");
        assert_eq!(proxy.ended(), 0, "{}", program.name);
    });
}
