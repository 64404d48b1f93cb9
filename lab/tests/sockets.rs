//! What `bind`, `server` and options of proxies do to sockets, seen from outside: the sockets of the
//! running program are borrowed (`pidfd_getfd`) and asked. And every line of a proxy in every mode:
//! it works there, or is told.

use lab::{Folder, Program, Proxy, each, port};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::process::{Command, Stdio};

/// Copies of a program's descriptors; `None` where that is not allowed to us.
fn descriptors(pid: i32) -> Option<Vec<OwnedFd>> {
    // SAFETY: a plain call; the new descriptor is ours alone.
    let process = unsafe {
        match libc::syscall(libc::SYS_pidfd_open, pid, 0) {
            -1 => return None,
            fd => OwnedFd::from_raw_fd(fd as i32),
        }
    };
    let names = std::fs::read_dir(format!("/proc/{pid}/fd")).ok()?;
    let names = names
        .flatten()
        .filter_map(|n| n.file_name().into_string().ok());
    let mut found = Vec::new();
    for number in names.filter_map(|n| n.parse::<i32>().ok()) {
        // SAFETY: as above.
        let fd = unsafe { libc::syscall(libc::SYS_pidfd_getfd, process.as_raw_fd(), number, 0) };
        match fd {
            -1 if std::io::Error::last_os_error().raw_os_error() == Some(libc::EPERM) => {
                return None;
            }
            -1 => {}
            // SAFETY: as above.
            fd => found.push(unsafe { OwnedFd::from_raw_fd(fd as i32) }),
        }
    }
    Some(found)
}

/// A number that a socket has as an option.
fn number(fd: &OwnedFd, level: i32, name: i32) -> Option<i32> {
    let mut value: libc::c_int = 0;
    let mut len = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: value and length describe `value`.
    let rc = unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            level,
            name,
            (&raw mut value).cast(),
            &raw mut len,
        )
    };
    (rc == 0).then_some(value)
}

/// A text that a socket has as an option.
fn text(fd: &OwnedFd, level: i32, name: i32) -> String {
    let mut value = [0u8; 64];
    let mut len = value.len() as libc::socklen_t;
    // SAFETY: value and length describe `value`.
    let rc = unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            level,
            name,
            value.as_mut_ptr().cast(),
            &raw mut len,
        )
    };
    let text = value.get(..len as usize).filter(|_| rc == 0);
    let text = text.unwrap_or_default().split(|b| *b == 0).next();
    String::from_utf8_lossy(text.unwrap_or_default()).into_owned()
}

/// How many connections a listening socket lets wait (`tcpi_sacked`, see tcp(7)).
fn backlog(fd: &OwnedFd) -> i32 {
    // SAFETY: all zeros are valid, and the length is that of the structure.
    unsafe {
        let mut info: libc::tcp_info = std::mem::zeroed();
        let mut len = size_of::<libc::tcp_info>() as libc::socklen_t;
        libc::getsockopt(
            fd.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            (&raw mut info).cast(),
            &raw mut len,
        );
        info.tcpi_sacked as i32
    }
}

/// Of a program's TCP sockets: whether it listens, its own port, its peer's.
struct Found {
    fd: OwnedFd,
    listens: bool,
    port: u16,
    peer: u16,
}

fn sockets(pid: i32) -> Option<Vec<Found>> {
    let all = descriptors(pid)?.into_iter();
    let found = all.filter(|fd| number(fd, libc::SOL_SOCKET, libc::SO_TYPE) == Some(1));
    let found = found.filter_map(|fd| {
        let socket = socket2::SockRef::from(&fd);
        let of = |a: socket2::SockAddr| a.as_socket().map(|a| a.port());
        let port = of(socket.local_addr().ok()?)?;
        let peer = socket.peer_addr().ok().and_then(of).unwrap_or_default();
        let listens = socket.is_listener().ok()?;
        Some(Found {
            listens,
            port,
            peer,
            fd,
        })
    });
    Some(found.collect())
}

fn pid(proxy: &Proxy) -> i32 {
    let info = proxy.control("show info");
    let pid = info.lines().find_map(|l| l.strip_prefix("Pid: "));
    pid.and_then(|p| p.parse().ok()).expect("a pid")
}

#[test]
fn sockets_have_the_options_that_their_lines_give_them() {
    each(|program| {
        let origin = lab::listener();
        let addr = origin.local_addr().expect("an address");
        let (door, six, both, plain) = (port(), port(), port(), port());
        // The congestion control is younger than the oracle.
        let cc = if program.name == "mulgil" {
            " cc reno"
        } else {
            ""
        };
        let config = format!(
            "defaults\n  mode tcp\n  timeout client 5s\n  timeout server 5s\n  timeout connect 2s\n\
             frontend f\n  option tcp-smart-accept\n  option clitcpka\n  clitcpka-idle 100s\n  clitcpka-intvl 7s\n  clitcpka-cnt 3\n  \
             bind 127.0.0.1:{door} mss 1300 tfo tcp-ut 5s backlog 77 interface lo nice 5 id 9 name one{cc}\n  \
             bind [::]:{six} v6only defer-accept\n  bind :::{both} v4v6\n  default_backend b\n\
             listen p\n  no option tcp-smart-accept\n  no option tcp-smart-connect\n  bind 127.0.0.1:{plain}\n  server s {addr}\n\
             backend b\n  option tcp-smart-connect\n  option srvtcpka\n  srvtcpka-idle 200s\n  srvtcpka-intvl 9s\n  srvtcpka-cnt 4\n  \
             server s {addr} tcp-ut 7s tfo source 127.0.0.1 interface lo{cc}\n"
        );
        let proxy = Proxy::start(program, &config);
        let mut connections = Vec::new();
        for to in [door, plain] {
            let mut client = TcpStream::connect(("127.0.0.1", to)).expect("it listens");
            client.write_all(b"x").expect("sent");
            let (mut server, _) = origin.accept().expect("a connection");
            server.read_exact(&mut [0]).expect("a byte");
            connections.push((client, server));
        }
        // By which nothing comes: what comes has the kernel acknowledge as it likes.
        let quiet = TcpStream::connect(("127.0.0.1", door)).expect("it listens");
        let _quiet_server = origin.accept().expect("a connection");
        let Some(all) = sockets(pid(&proxy)) else {
            println!("other programs' sockets cannot be borrowed here");
            return;
        };
        let find = |listens: bool, port: u16, peer: Option<u16>| {
            let mut found = all.iter().filter(|s| {
                s.listens == listens && s.port == port && peer.is_none_or(|p| s.peer == p)
            });
            &found
                .next()
                .unwrap_or_else(|| panic!("{}: no socket at {port}", program.name))
                .fd
        };
        let ends = |at: usize| {
            let (client, server) = &connections[at];
            let client = client.local_addr().expect("an address").port();
            let from = server.peer_addr().expect("an address").port();
            (client, find(false, from, Some(addr.port())))
        };
        let (of_door, to_server) = ends(0);
        let (of_plain, plain_server) = ends(1);
        let listener = find(true, door, None);
        let plain_listener = find(true, plain, None);
        let client = find(false, door, Some(of_door));
        let plain_client = find(false, plain, Some(of_plain));
        let of_quiet = quiet.local_addr().expect("an address").port();
        let quiet_client = find(false, door, Some(of_quiet));
        let tcp = libc::IPPROTO_TCP;
        let (device, keepalive) = (libc::SO_BINDTODEVICE, libc::SO_KEEPALIVE);
        let numbers = [
            ("mss", listener, tcp, libc::TCP_MAXSEG, 1300),
            (
                "tcp-ut of bind",
                listener,
                tcp,
                libc::TCP_USER_TIMEOUT,
                5000,
            ),
            ("tcp-ut", client, tcp, libc::TCP_USER_TIMEOUT, 5000),
            ("no tcp-ut", plain_client, tcp, libc::TCP_USER_TIMEOUT, 0),
            (
                "tcp-ut of server",
                to_server,
                tcp,
                libc::TCP_USER_TIMEOUT,
                7000,
            ),
            ("clitcpka", client, libc::SOL_SOCKET, keepalive, 1),
            ("clitcpka-idle", client, tcp, libc::TCP_KEEPIDLE, 100),
            ("clitcpka-intvl", client, tcp, libc::TCP_KEEPINTVL, 7),
            ("clitcpka-cnt", client, tcp, libc::TCP_KEEPCNT, 3),
            ("no clitcpka", plain_client, libc::SOL_SOCKET, keepalive, 0),
            ("srvtcpka", to_server, libc::SOL_SOCKET, keepalive, 1),
            ("srvtcpka-idle", to_server, tcp, libc::TCP_KEEPIDLE, 200),
            ("srvtcpka-intvl", to_server, tcp, libc::TCP_KEEPINTVL, 9),
            ("srvtcpka-cnt", to_server, tcp, libc::TCP_KEEPCNT, 4),
            ("no srvtcpka", plain_server, libc::SOL_SOCKET, keepalive, 0),
            (
                "v6only",
                find(true, six, None),
                libc::IPPROTO_IPV6,
                libc::IPV6_V6ONLY,
                1,
            ),
            (
                "v4v6",
                find(true, both, None),
                libc::IPPROTO_IPV6,
                libc::IPV6_V6ONLY,
                0,
            ),
            ("tcp-smart-accept", quiet_client, tcp, libc::TCP_QUICKACK, 0),
            (
                "no tcp-smart-accept",
                plain_client,
                tcp,
                libc::TCP_QUICKACK,
                1,
            ),
            (
                "no defer-accept",
                plain_listener,
                tcp,
                libc::TCP_DEFER_ACCEPT,
                0,
            ),
            ("no tfo", plain_listener, tcp, libc::TCP_FASTOPEN, 0),
        ];
        let mut wrong = Vec::new();
        for (what, fd, level, name, wanted) in numbers {
            let got = number(fd, level, name);
            if got != Some(wanted) {
                wrong.push(format!("{what}: {got:?}, not {wanted}"));
            }
        }
        let some = |fd, name| number(fd, tcp, name).is_some_and(|n| n > 0);
        if !some(find(true, six, None), libc::TCP_DEFER_ACCEPT) {
            wrong.push("defer-accept".into());
        }
        if !some(listener, libc::TCP_FASTOPEN) {
            wrong.push("tfo".into());
        }
        if program.name == "mulgil" {
            // What `tcp-smart-connect` does is counted in segments.rs: the option can be asked for only as
            // long as the system has not had to acknowledge late.
            for (what, fd) in [("bind", client), ("server", to_server)] {
                let got = text(fd, tcp, libc::TCP_CONGESTION);
                if got != "reno" {
                    wrong.push(format!("cc of {what}: {got}"));
                }
            }
        }
        if backlog(listener) != 77 || backlog(plain_listener) < 100 {
            wrong.push(format!("backlog {}", backlog(listener)));
        }
        for (what, fd, wanted) in [
            ("interface of bind", listener, "lo"),
            ("no interface", plain_listener, ""),
            ("interface of server", to_server, "lo"),
        ] {
            let got = text(fd, libc::SOL_SOCKET, device);
            if got != wanted {
                wrong.push(format!("{what}: '{got}', not '{wanted}'"));
            }
        }
        assert!(wrong.is_empty(), "{}: {wrong:#?}", program.name);
        // Who waits without a word is not accepted.
        let silent = TcpStream::connect(("::1", six)).expect("it listens");
        let mut four = TcpStream::connect(("127.0.0.1", both)).expect("it takes both families");
        four.write_all(b"x").expect("sent");
        let (mut server, _) = origin.accept().expect("a connection");
        server.read_exact(&mut [0]).expect("a byte");
        assert!(
            TcpStream::connect(("127.0.0.1", six)).is_err(),
            "{}",
            program.name
        );
        proxy.wait_for("f", "FRONTEND", "conn_tot", "3");
        drop(silent);
    });
}

/// How many bytes wait in pipes of a program.
fn in_pipes(pid: i32) -> Option<i32> {
    let all = descriptors(pid)?.into_iter();
    let waiting = all.filter_map(|fd| {
        let name = std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd())).ok()?;
        name.to_str()?.strip_prefix("pipe:")?;
        let mut bytes: libc::c_int = 0;
        // SAFETY: a plain call that writes one number.
        let rc = unsafe { libc::ioctl(fd.as_raw_fd(), libc::FIONREAD, &raw mut bytes) };
        (rc == 0).then_some(bytes)
    });
    // Either end of a pipe tells.
    waiting.max()
}

#[test]
fn a_stream_that_stalls_waits_in_a_full_pipe_and_comes_whole() {
    each(|program| {
        let origin = TcpListener::bind("127.0.0.1:0").expect("a port");
        let addr = origin.local_addr().expect("an address");
        let door = port();
        let config = format!(
            "defaults\n  mode tcp\n  timeout client 20s\n  timeout server 20s\n  timeout connect 2s\n  \
             option splice-response\nlisten l\n  bind 127.0.0.1:{door}\n  server s {addr}\n"
        );
        let proxy = Proxy::start(program, &config);
        let mut client = TcpStream::connect(("127.0.0.1", door)).expect("it listens");
        let (mut server, _) = origin.accept().expect("a connection");
        server.set_nonblocking(true).expect("set");
        let chunk: Vec<u8> = (0..1_000_003_u32).map(|n| (n % 251) as u8).collect();
        let mut sent = 0;
        let end = std::time::Instant::now() + lab::PATIENCE;
        // Until sockets and the pipe hold all they can.
        let mut waiting = Some(0);
        while waiting == Some(0) && std::time::Instant::now() < end {
            let at = sent % chunk.len();
            match server.write(&chunk[at..]) {
                Ok(n) => sent += n,
                Err(_) => {
                    std::thread::sleep(std::time::Duration::from_millis(10));
                    waiting = in_pipes(pid(&proxy));
                }
            }
        }
        let Some(waiting) = waiting else {
            println!("other programs' descriptors cannot be borrowed here");
            return;
        };
        assert!(waiting > 0, "{}: nothing waits in a pipe", program.name);
        let reader = std::thread::spawn(move || {
            let mut got = Vec::new();
            client.read_to_end(&mut got).map(|_| got)
        });
        server.set_nonblocking(false).expect("set");
        // The end comes behind what waits.
        drop(server);
        let got = reader.join().expect("no panic").expect("an end");
        assert_eq!(got.len(), sent, "{}", program.name);
        let whole = got
            .chunks(chunk.len())
            .all(|part| *part == chunk[..part.len()]);
        assert!(whole, "{}: bytes differ", program.name);
    });
}

/// A network namespace of this test.
struct Namespace(String);

impl Namespace {
    /// `None` for who may not make one.
    fn new() -> Option<Namespace> {
        let name = format!("lab-sockets-{}", std::process::id());
        let ip = |args: &[&str]| {
            let done = Command::new("ip").args(args).stderr(Stdio::null()).status();
            done.is_ok_and(|s| s.success())
        };
        let made = ip(&["netns", "add", &name]).then(|| Namespace(name.clone()))?;
        ip(&["-n", &name, "link", "set", "lo", "up"]).then_some(made)
    }

    /// Does this in there, on a thread of its own.
    fn within<T: Send>(&self, f: impl FnOnce() -> T + Send) -> T {
        let file = std::fs::File::open(format!("/run/netns/{}", self.0)).expect("a namespace");
        std::thread::scope(|scope| {
            let inside = scope.spawn(|| {
                // SAFETY: a plain call; only this thread, which ends here, changes its namespace.
                let rc = unsafe { libc::setns(file.as_raw_fd(), libc::CLONE_NEWNET) };
                assert_eq!(rc, 0, "setns");
                f()
            });
            inside.join().expect("it ends")
        })
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.0]).status();
    }
}

#[test]
fn sockets_belong_to_the_namespaces_that_their_lines_name() {
    let Some(namespace) = Namespace::new() else {
        println!("no namespace can be made here: not tried");
        return;
    };
    let name = &namespace.0;
    each(|program| {
        let listen = || lab::listener();
        let (there, here) = (namespace.within(listen), listen());
        let [at, of] = [&there, &here].map(|l| l.local_addr().expect("an address"));
        let (into, out) = (port(), port());
        let text = format!(
            "defaults\n  mode tcp\n  timeout client 5s\n  timeout server 5s\n  timeout connect 2s\n\
             listen into\n  bind 127.0.0.1:{into}\n  server s {at} namespace {name}\n\
             listen out\n  bind 127.0.0.1:{out} namespace {name}\n  server s {of}\n"
        );
        let _proxy = Proxy::start(program, &text);
        let connect = |port| TcpStream::connect(("127.0.0.1", port));
        let pass = |mut client: TcpStream, origin: &TcpListener| {
            client.write_all(b"x").expect("sent");
            let (mut server, _) = origin.accept().expect("a connection");
            server.read_exact(&mut [0]).expect("a byte");
        };
        pass(connect(into).expect("it listens"), &there);
        pass(
            namespace.within(|| connect(out)).expect("it listens"),
            &here,
        );
        assert!(connect(out).is_err(), "{}: not here", program.name);
        assert!(
            namespace.within(|| connect(into)).is_err(),
            "{}",
            program.name
        );
    });
}

/// A file of lines: in `modes.txt` what is said of each in the modes http, tcp, udp, smtp and ftp stands
/// before it, nothing (`.`), a warning (`w`) or a refusal (`x`). Of those in `modes_told.txt` the
/// oracle says something else: mostly nothing, though it takes no notice of them either.
fn list(name: &str) -> String {
    let path = format!("{}/tests/verdicts/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(path).expect("the list")
}

/// What is said of each of these lines in one mode, some at a time: a program says so much at once, and
/// warns of nothing where it refuses something.
fn said(program: &Program, folder: &Folder, mode: &str, lines: &[&str]) -> String {
    let all = |lines: &[&str]| -> Vec<char> {
        let some = lines.chunks(25);
        some.flat_map(|some| said_of_some(program, folder, mode, some))
            .collect()
    };
    let mut verdicts = all(lines);
    let taken = |at: &usize| verdicts[*at] != 'x';
    let rest: Vec<usize> = (0..lines.len()).filter(taken).collect();
    let again: Vec<&str> = rest.iter().map(|at| lines[*at]).collect();
    for (at, verdict) in rest.into_iter().zip(all(&again)) {
        verdicts[at] = verdict;
    }
    verdicts.into_iter().collect()
}

/// Every line has a proxy of its own; the first one has a table besides.
fn said_of_some(program: &Program, folder: &Folder, mode: &str, lines: &[&str]) -> Vec<char> {
    let mut text = String::from(
        "global\n log 127.0.0.1 local0\n\
         defaults\n timeout client 1s\n timeout server 1s\n timeout connect 1s\n",
    );
    let mut places = BTreeMap::new();
    for (at, line) in lines.iter().enumerate() {
        text += &format!(
            "listen l{at}\n mode {mode}\n log global\n bind 127.0.0.1:{}\n server s 127.0.0.1:2\n",
            at + 2000
        );
        text += &format!(" {line}\n");
        places.insert(text.lines().count(), at);
        if at == 0 {
            text += " stick-table type ip size 1k expire 1m\n";
        }
    }
    let file = folder.file("modes.cfg", text.as_bytes());
    let (_, output) = program.run(&["-c", "-f", &file]);
    let mut verdicts = vec!['.'; lines.len()];
    for message in output.lines() {
        let refused = message.contains("[ALERT]") || message.contains("error:");
        let warned = message.contains("[WARNING]") || message.contains("warning:");
        if !refused && !warned {
            continue;
        }
        let place = message.split("modes.cfg:").nth(1);
        let place = place.and_then(|p| p.split(|c: char| !c.is_ascii_digit()).next());
        // By its line, or by the name of its proxy.
        let by_line = place.and_then(|l| l.parse().ok());
        let by_line: Option<&usize> = by_line.and_then(|l: usize| places.get(&l));
        let names = message.split(['\'', '"', ' ', ':', ',', '/']);
        let by_name = names
            .filter_map(|word| word.strip_prefix('l')?.parse().ok())
            .find(|at| *at < lines.len());
        if let Some(at) = by_line.copied().or(by_name) {
            let worse = if refused { 'x' } else { 'w' };
            if verdicts[at] != 'x' {
                verdicts[at] = worse;
            }
        }
    }
    verdicts
}

#[test]
fn every_line_works_in_a_mode_or_is_told() {
    let folder = Folder::new();
    let (list, told) = (list("modes.txt"), list("modes_told.txt"));
    let rows: Vec<(&str, &str)> = list
        .lines()
        .filter_map(|row| row.split_once(' '))
        .map(|(verdicts, line)| (line, verdicts))
        .collect();
    let lines: Vec<&str> = rows.iter().map(|(line, _)| *line).collect();
    let ours = Program::mulgil();
    let modes = ["http", "tcp", "udp", "smtp", "ftp"];
    let got: Vec<String> = modes.map(|m| said(&ours, &folder, m, &lines)).to_vec();
    let mut wrong = Vec::new();
    for (at, (line, wanted)) in rows.iter().enumerate() {
        let these: String = got.iter().filter_map(|g| g.chars().nth(at)).collect();
        if these != *wanted {
            wrong.push(format!("{these} {line}"));
        }
    }
    assert!(
        wrong.is_empty(),
        "not as in modes.txt:\n{}",
        wrong.join("\n")
    );
    let Some(oracle) = Program::haproxy() else {
        println!("haproxy is not installed: there is nothing to compare with");
        return;
    };
    let theirs = ["http", "tcp"].map(|m| said(&oracle, &folder, m, &lines));
    for (at, (line, ours)) in rows.iter().enumerate() {
        let theirs: String = theirs.iter().filter_map(|t| t.chars().nth(at)).collect();
        let known = told.lines().any(|l| l == *line);
        let same = ours.starts_with(&theirs);
        if same == known {
            wrong.push(format!("{theirs} by the oracle, {ours} by us: {line}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_reload_says_anew_how_clients_are_acknowledged() {
    let door = port();
    let config = |late: &str| {
        format!(
            "defaults\n  mode http\n  timeout client 5s\nfrontend f\n  {late}option tcp-smart-accept\n  bind 127.0.0.1:{door}\n  http-request return status 204\n"
        )
    };
    let proxy = Proxy::start(&Program::mulgil(), &config("no "));
    let text = std::fs::read_to_string(&proxy.file).expect("the file");
    let global = text.split("defaults").next().expect("a global section");
    let quick = || {
        let all = sockets(pid(&proxy))?;
        let mut listening = all.iter().filter(|s| s.listens && s.port == door);
        let listener = listening.next().expect("it listens");
        number(&listener.fd, libc::IPPROTO_TCP, libc::TCP_QUICKACK)
    };
    if quick().is_none() {
        println!("other programs' sockets cannot be borrowed here");
        return;
    }
    assert_eq!(quick(), Some(1));
    std::fs::write(&proxy.file, format!("{global}{}", config(""))).expect("written");
    proxy.signal("-HUP");
    proxy.wait_for_output("is in force");
    assert_eq!(quick(), Some(0));
}
