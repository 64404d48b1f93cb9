//! `mode tcp` and `mode udp` between real servers of Debian and their own clients.

#[path = "real/checks.rs"]
mod checks;

use lab::real::{Group, address, command, listening, mariadb, missing, postgres, redis, run, user};
use lab::{Folder, PATIENCE, Program, Proxy, port};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Stdio;
use std::time::Instant;

/// A proxy on a port before one server, with a check of its own kind.
fn proxy(door: u16, server: SocketAddr, check: &str) -> Proxy {
    let config = format!(
        "defaults\n    mode tcp\n    timeout client 20s\n    timeout server 20s\n    timeout connect 2s\n    timeout check 5s\n\
         listen l\n    bind 127.0.0.1:{door}\n{check}    server s {server} check inter 100ms\n"
    );
    let proxy = Proxy::start(&Program::mulgil(), &config);
    proxy.wait_for("l", "s", "status", "UP");
    proxy
}

/// Bytes of text that differ from place to place.
fn letters(n: usize) -> Vec<u8> {
    (0..n as u32)
        .map(|i| b'a' + (i.wrapping_mul(2_654_435_761) >> 24) as u8 % 26)
        .collect()
}

#[test]
fn mariadb_and_its_client() {
    let Some(server) = mariadb() else { return };
    let (addr, door) = (server.addr, port());
    let proxy = proxy(door, addr, "    option mysql-check user root\n");
    let place = door.to_string();
    let ask = |sql: &str| {
        let words = [
            "--no-defaults",
            "--protocol=tcp",
            "-h",
            "127.0.0.1",
            "-P",
            &place,
            "-u",
            "root",
            "-N",
            "-e",
            sql,
        ];
        let (code, said) = run("mariadb", &words);
        assert_eq!(code, 0, "{said}");
        said
    };
    ask(
        "create database d; use d; create table d.t (n int, x longtext); insert into d.t select seq, repeat(char(97 + seq % 26), 1000) from seq_1_to_2000",
    );
    assert_eq!(
        ask("select count(*), sum(length(x)) from d.t").trim(),
        "2000\t2000000"
    );
    assert_eq!(ask("select x from d.t order by n").len(), 2000 * 1001);
    assert_eq!(proxy.stat("l", "s", "check_status"), "L7OK");
}

#[test]
fn postgresql_and_its_client() {
    let Some(server) = postgres() else { return };
    let (addr, door) = (server.addr, port());
    let proxy = proxy(door, addr, "    option pgsql-check user postgres\n");
    let place = door.to_string();
    let ask = |sql: &str| {
        let words = [
            "-X",
            "-h",
            "127.0.0.1",
            "-p",
            &place,
            "-U",
            "postgres",
            "-Atc",
            sql,
        ];
        let (code, said) = run("psql", &words);
        assert_eq!(code, 0, "{said}");
        said
    };
    ask(
        "create table t as select n, repeat(chr(97 + n % 26), 1000) x from generate_series(1, 2000) n",
    );
    assert_eq!(
        ask("select count(*), sum(length(x)) from t").trim(),
        "2000|2000000"
    );
    assert_eq!(
        ask("copy (select x from t order by n) to stdout").len(),
        2000 * 1001
    );
    assert_eq!(proxy.stat("l", "s", "check_status"), "L7OK");
}

#[test]
fn redis_and_its_client() {
    let Some(server) = redis() else { return };
    let (addr, door) = (server.addr, port());
    let proxy = proxy(door, addr, "    option redis-check\n");
    let place = door.to_string();
    let client = |words: &[&str], input: &[u8]| {
        let mut child = command("redis-cli")
            .args(["-p", &place])
            .args(words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        child
            .stdin
            .take()
            .expect("piped")
            .write_all(input)
            .expect("sent");
        let out = child.wait_with_output().expect("it ends");
        assert!(out.status.success());
        String::from_utf8_lossy(&out.stdout).into_owned()
    };
    let value = letters(3_000_000);
    assert_eq!(client(&["-x", "set", "long"], &value).trim(), "OK");
    assert!(client(&["get", "long"], b"").trim_end().as_bytes() == value);
    // Ten thousand commands in a row, sent ahead of their answers.
    let many: String = (0..10_000).map(|n| format!("SET k{n} {n}\r\n")).collect();
    assert!(client(&["--pipe"], many.as_bytes()).contains("errors: 0, replies: 10000"));
    assert_eq!(client(&["get", "k9999"], b"").trim(), "9999");
    assert_eq!(proxy.stat("l", "s", "check_status"), "L7OK");
}

#[test]
fn ssh_and_its_client() {
    if missing(&["sshd", "ssh", "ssh-keygen"]) {
        return;
    }
    let (folder, addr, door) = (Folder::new(), address(), port());
    for name in ["host", "user"] {
        let made = run(
            "ssh-keygen",
            &["-q", "-t", "ed25519", "-N", "", "-f", &folder.path(name)],
        );
        assert_eq!(made.0, 0, "{}", made.1);
    }
    let config = format!(
        "ListenAddress {addr}\nHostKey {}\nAuthorizedKeysFile {}\nStrictModes no\nUsePAM no\n\
         PidFile none\nPermitRootLogin yes\nPasswordAuthentication no\n",
        folder.path("host"),
        folder.path("user.pub")
    );
    let file = folder.file("sshd.conf", config.as_bytes());
    // As root it wants an empty folder there, which the service would have made.
    let separate = "/run/sshd";
    let ours = user("root").is_some() && std::fs::create_dir(separate).is_ok();
    let mut server = command("sshd");
    server.args(["-D", "-e", "-f", &file]);
    let output = folder.path("output");
    let group = Group::start(server, &output);
    listening(addr, &output);
    let proxy = proxy(
        door,
        addr,
        "    option tcp-check\n    tcp-check expect rstring ^SSH-2.0-\n",
    );
    let (place, key, own) = (door.to_string(), folder.path("user"), run("id", &["-un"]).1);
    let mut client = command("ssh")
        .args(["-F", "none", "-i", &key, "-p", &place, "-l", own.trim()])
        .args([
            "-o",
            "StrictHostKeyChecking=no",
            "-o",
            "UserKnownHostsFile=/dev/null",
        ])
        .args([
            "-o",
            "BatchMode=yes",
            "-o",
            "ConnectTimeout=10",
            "127.0.0.1",
            "cat",
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let sent = letters(4_000_000);
    let mut input = client.stdin.take().expect("piped");
    let copy = sent.clone();
    let writer = std::thread::spawn(move || input.write_all(&copy).is_ok());
    let out = client.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    let status = proxy.stat("l", "s", "check_status");
    drop(group);
    if ours {
        let _ = std::fs::remove_dir(separate);
    }
    assert!(writer.join().expect("no panic"), "{said}");
    assert!(
        out.stdout == sent,
        "{} bytes came back: {said}",
        out.stdout.len()
    );
    assert_eq!(status, "L7OK");
}

/// A server of names with one zone, where a name says who answers.
fn names(who: &str) -> (Group, Folder, SocketAddr) {
    let folder = Folder::new();
    let addr = address();
    let zone = format!(
        "$TTL 60\n@ SOA ns.test. me.test. 1 60 60 60 60\n@ NS ns.test.\nns A 127.0.0.1\nwho TXT {who}\nlong TXT {}\n",
        "0123456789 ".repeat(60)
    );
    let zone = folder.file("zone", zone.as_bytes());
    let config = format!(
        "server:\n ip-address: 127.0.0.1\n port: {}\n username: \"\"\n chroot: \"\"\n zonesdir: \"{}\"\n database: \"\"\n\
         pidfile: \"\"\n zonelistfile: \"{}\"\n xfrdfile: \"{}\"\n xfrdir: \"{}\"\n server-count: 1\n\
         remote-control:\n control-enable: no\nzone:\n name: test\n zonefile: \"{zone}\"\n",
        addr.port(),
        folder.path(""),
        folder.path("zonelist"),
        folder.path("xfrd"),
        folder.path("")
    );
    let file = folder.file("nsd.conf", config.as_bytes());
    let mut server = command("nsd");
    server.args(["-d", "-c", &file]);
    let output = folder.path("output");
    let group = Group::start(server, &output);
    listening(addr, &output);
    (group, folder, addr)
}

#[test]
fn nsd_and_a_client_of_names() {
    if missing(&["nsd", "kdig"]) {
        return;
    }
    let (mut one, _first, first) = names("one");
    let (_two, _second, second) = names("two");
    let door = port();
    // A question for who.test of type TXT; an answer of who knows, without an error.
    let check = "    option udp-check\n    \
                 udp-check send-binary 0001010000010000000000000377686f04746573740000100001\n    udp-check expect binary 00018500\n";
    let config = format!(
        "defaults\n    mode udp\n    timeout client 2s\n    timeout server 1s\n    timeout check 5s\n\
         listen b\n    bind 127.0.0.1:{door}\n    balance roundrobin\n    udp-responses 1\n{check}    \
         server one {first} check inter 1s fastinter 100ms\n    server two {second} check inter 1s fastinter 100ms\n"
    );
    let proxy = Proxy::start(&Program::mulgil(), &config);
    for server in ["one", "two"] {
        proxy.wait_for("b", server, "status", "UP");
    }
    let place = door.to_string();
    let ask = |name: &str| {
        let words = [
            "@127.0.0.1",
            "-p",
            &place,
            "+short",
            "+time=1",
            "+retry=5",
            "+ignore",
            "+bufsize=1400",
            name,
            "TXT",
        ];
        run("kdig", &words).1
    };
    let answers: Vec<String> = (0..6).map(|_| ask("who.test")).collect();
    for who in ["\"one\"\n", "\"two\"\n"] {
        assert_eq!(
            answers.iter().filter(|a| *a == who).count(),
            3,
            "{answers:?}"
        );
    }
    assert!(ask("long.test").len() > 600);
    one.kill();
    proxy.wait_for("b", "one", "status", "DOWN");
    assert_eq!(ask("who.test"), "\"two\"\n");
}

#[test]
fn twenty_thousand_short_connections_leave_no_descriptor() {
    const CONNECTIONS: usize = 20_000;
    const CLIENTS: usize = 4;
    let listener = lab::listener();
    let addr = listener.local_addr().expect("an address");
    // Answers a byte by a byte and closes; ends with the test.
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut byte = [0];
            let _ = stream
                .read_exact(&mut byte)
                .and_then(|()| stream.write_all(&byte));
        }
    });
    let door = port();
    let config = format!(
        "defaults\n    mode tcp\n    timeout client 5s\n    timeout server 5s\n    timeout connect 5s\n\
         listen l\n    bind 127.0.0.1:{door}\n    server s {addr}\n"
    );
    let proxy = Proxy::start(&Program::mulgil(), &config);
    let info = proxy.control("show info");
    let pid = info
        .lines()
        .find_map(|l| l.strip_prefix("Pid: "))
        .expect("a number");
    let descriptors = || {
        std::fs::read_dir(format!("/proc/{pid}/fd"))
            .expect("it runs")
            .count()
    };
    let burst = |count: usize| {
        let client = move || {
            (0..count / CLIENTS).filter(move |n| {
                let talk = || {
                    let mut stream = TcpStream::connect(("127.0.0.1", door))?;
                    stream.set_read_timeout(Some(PATIENCE))?;
                    // Both ends take turns at closing first, by an end or by a reset: no port waits.
                    socket2::SockRef::from(&stream).set_linger(Some(std::time::Duration::ZERO))?;
                    if n % 8 == 0 {
                        return Ok(1);
                    }
                    stream.write_all(b"x")?;
                    stream.read(&mut [0])
                };
                matches!(talk(), std::io::Result::Ok(1))
            })
        };
        let threads: Vec<_> = (0..CLIENTS)
            .map(|_| std::thread::spawn(move || client().count()))
            .collect();
        threads
            .into_iter()
            .map(|t| t.join().expect("no panic"))
            .sum::<usize>()
    };
    // What is made once and kept is there after the first few.
    assert_eq!(burst(CLIENTS * 50), CLIENTS * 50);
    proxy.wait_for("l", "FRONTEND", "scur", "0");
    let before = descriptors();
    assert_eq!(burst(CONNECTIONS), CONNECTIONS);
    proxy.wait_for("l", "FRONTEND", "scur", "0");
    let end = Instant::now() + PATIENCE;
    while descriptors() != before {
        assert!(
            Instant::now() < end,
            "{} descriptors, not {before}",
            descriptors()
        );
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}
