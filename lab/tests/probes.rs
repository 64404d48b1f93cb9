//! Checks that speak a server's own protocol, and programs that check: the same through mulgil and
//! through the oracle.

use lab::{Folder, PATIENCE, Proxy, each};
use std::io::{Read, Write};
use std::net::TcpStream;

const TIMES: &str =
    "defaults\n    timeout client 3s\n    timeout server 3s\n    timeout connect 1s\n";

/// A peer that says `first`, then answers what it is sent with one reply after another, and ends.
fn peer(first: &'static [u8], replies: &'static [&'static [u8]]) -> u16 {
    let listener = lab::listener();
    let port = listener.local_addr().expect("an address").port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || converse(stream, first, replies));
        }
    });
    port
}

fn converse(mut stream: TcpStream, first: &[u8], replies: &[&[u8]]) {
    let _ = stream.set_read_timeout(Some(PATIENCE));
    let mut buffer = [0; 4096];
    let _ = stream.write_all(first);
    for reply in replies {
        if !stream.read(&mut buffer).is_ok_and(|n| n > 0) {
            return;
        }
        let _ = stream.write_all(reply);
    }
    let _ = stream.shutdown(std::net::Shutdown::Write);
    while stream.read(&mut buffer).is_ok_and(|n| n > 0) {}
}

/// A greeting of MySQL 5.7.
const MYSQL: &[u8] = b"\x49\0\0\0\x0a5.7.1\0\x07\0\0\0abcdefgh\0\xff\xf7\x21\x02\0\x00\x80\x15\0\0\0\0\0\0\0\0\0\0ijklmnopqrst\0mysql_native_password\0";
const MYSQL_OK: &[u8] = b"\x07\0\0\x02\0\0\0\x02\0\0\0";
const MYSQL_DENIED: &[u8] = b"\x1f\0\0\x02\xff\x15\x04#28000Access denied for user";

/// Option, what the peer says, and the fields status, check_status, check_code and last_chk.
type Case = (
    &'static str,
    &'static [u8],
    &'static [&'static [u8]],
    [&'static str; 4],
);

const CASES: &[Case] = &[
    (
        "redis-check",
        b"",
        &[b"+PONG\r\n"],
        ["UP", "L7OK", "0", "Redis server is ok"],
    ),
    (
        "redis-check",
        b"",
        &[b"-LOADING dataset\r\n"],
        ["DOWN", "L7STS", "0", "-LOADING dataset"],
    ),
    (
        "redis-check",
        b"",
        &[b""],
        [
            "DOWN",
            "L7STS",
            "0",
            "TCPCHK got an empty response at step 2",
        ],
    ),
    (
        "smtpchk",
        b"220 mail\r\n",
        &[b"250 hi\r\n", b"221 bye\r\n"],
        ["UP", "L7OK", "221", "bye"],
    ),
    (
        "smtpchk EHLO a.example",
        b"220 mail\r\n",
        &[b"250-hi\r\n250 SIZE\r\n", b"221 bye\r\n"],
        ["UP", "L7OK", "221", "bye"],
    ),
    (
        "smtpchk",
        b"554 no\r\n",
        &[],
        ["DOWN", "L7STS", "554", "no"],
    ),
    (
        "smtpchk",
        b"220 mail\r\n",
        &[b"421 busy\r\n"],
        ["DOWN", "L7STS", "421", "busy"],
    ),
    (
        "smtpchk",
        b"hello there\r\n",
        &[],
        ["DOWN", "L7RSP", "", "hello there"],
    ),
    ("mysql-check", MYSQL, &[], ["UP", "L7OK", "0", ""]),
    (
        "mysql-check user joe",
        MYSQL,
        &[MYSQL_OK],
        ["UP", "L7OK", "0", ""],
    ),
    (
        "mysql-check user joe pre-41",
        MYSQL,
        &[MYSQL_OK],
        ["UP", "L7OK", "0", ""],
    ),
    (
        "mysql-check user joe post-41",
        MYSQL,
        &[MYSQL_DENIED],
        ["DOWN", "L7STS", "1045", "#28000Access denied for user"],
    ),
    (
        "mysql-check",
        b"nonsense, not a greeting",
        &[],
        ["DOWN", "L7RSP", "", ""],
    ),
    (
        "pgsql-check user joe",
        b"",
        &[b"R\0\0\0\x0c\0\0\0\x05abcd"],
        ["UP", "L7OK", "0", "PostgreSQL server is ok"],
    ),
    (
        "pgsql-check user joe",
        b"",
        &[b"E\0\0\0\x20SFATAL\0C28000\0Mno\0\0"],
        ["DOWN", "L7RSP", "", "FATAL"],
    ),
    (
        "pgsql-check user joe",
        b"",
        &[b"nonsense"],
        ["DOWN", "L7STS", "0", "PostgreSQL unknown error"],
    ),
    (
        "ldap-check",
        b"",
        &[b"\x30\x0c\x02\x01\x01\x61\x07\x0a\x01\0\x04\0\x04\0"],
        ["UP", "L7OK", "0", ""],
    ),
    (
        "ldap-check",
        b"",
        &[b"\x30\x0c\x02\x01\x01\x61\x07\x0a\x01\x31\x04\0\x04\0"],
        [
            "DOWN",
            "L7STS",
            "49",
            "See RFC: http://tools.ietf.org/html/rfc4511#section-4.1.9",
        ],
    ),
    (
        "ldap-check",
        b"",
        &[b"nonsense, and more of it"],
        ["DOWN", "L7RSP", "", "Not LDAPv3 protocol"],
    ),
    (
        "ssl-hello-chk",
        b"",
        &[b"\x16\x03\x03\0\x04\x02\0\0\0"],
        ["UP", "L6OK", "", ""],
    ),
    (
        "ssl-hello-chk",
        b"",
        &[b"\x15\x03\0\0\x02\x02\x28"],
        ["UP", "L6OK", "", ""],
    ),
    (
        "ssl-hello-chk",
        b"",
        &[b"nonsense"],
        ["DOWN", "L6RSP", "", ""],
    ),
];

fn wait(proxy: &Proxy, backend: &str, wanted: &[&str], what: &str) {
    let names = ["status", "check_status", "check_code", "last_chk"];
    proxy.wait_for_stats((backend, "s"), &names, wanted, what);
}

#[test]
fn servers_are_asked_in_their_own_protocol() {
    each(|program| {
        let mut config = TIMES.to_string();
        for (at, (option, first, replies, _)) in CASES.iter().enumerate() {
            let port = peer(first, replies);
            config += &format!(
                "backend b{at}\n    option {option}\n    server s 127.0.0.1:{port} check inter 300 rise 1 fall 1\n"
            );
        }
        let proxy = Proxy::start(program, &config);
        for (at, (option, _, _, wanted)) in CASES.iter().enumerate() {
            let what = format!("{}: {option} ({at})", program.name);
            wait(&proxy, &format!("b{at}"), wanted, &what);
        }
    });
}

#[test]
fn programs_check_servers_and_are_told_of_them() {
    use std::os::unix::fs::PermissionsExt;
    each(|program| {
        let folder = Folder::new();
        let script = |name: &str, text: &str| {
            let path = folder.file(name, format!("#!/bin/sh\n{text}\n").as_bytes());
            let mode = std::fs::Permissions::from_mode(0o755);
            std::fs::set_permissions(&path, mode).expect("a script");
            path
        };
        let out = folder.path("told");
        let facts = "$HAPROXY_PROXY_NAME $HAPROXY_SERVER_NAME $HAPROXY_SERVER_ID $HAPROXY_SERVER_MAXCONN $HAPROXY_SERVER_SSL $HAPROXY_SERVER_ADDR $HAPROXY_SERVER_PORT $PATH";
        let good = script(
            "good",
            &format!("echo \"$@\" {facts} > {out}.new; mv {out}.new {out}"),
        );
        let bad = script("bad", "exit 7");
        let slow = script("slow", "exec sleep 30");
        let all = folder.path("all");
        let bare = script("bare", &format!("set > {all}.new; /bin/mv {all}.new {all}"));
        let mut config = format!(
            "    setenv SECRET sesame\n    external-check\n    insecure-fork-wanted\n{TIMES}backend bare\n    option external-check\n    external-check command {bare}\n    server s 127.0.0.1:81 check inter 400 rise 1 fall 1\n"
        );
        for (name, command) in [("good", &good), ("bad", &bad), ("slow", &slow)] {
            config += &format!(
                "backend {name}\n    option external-check\n    external-check command {command}\n    external-check path /usr/bin:/bin\n    server s 127.0.0.1:81 check inter 400 rise 1 fall 1 maxconn 5\n"
            );
        }
        let proxy = Proxy::start(program, &config);
        let what = program.name;
        wait(&proxy, "good", &["UP", "PROCOK", "0", ""], what);
        wait(&proxy, "bad", &["DOWN", "PROCERR", "7", ""], what);
        wait(&proxy, "slow", &["DOWN", "PROCTOUT", "0", ""], what);
        wait(&proxy, "bare", &["UP", "PROCOK", "0", ""], what);
        let all = std::fs::read_to_string(&all).expect("the program has written");
        assert!(all.contains("PATH=''\n"), "{what}: {all}");
        assert!(
            !all.contains("SECRET") && !all.contains("HOME="),
            "{what}: {all}"
        );
        let told = std::fs::read_to_string(&out).expect("the program has written");
        assert_eq!(
            told.trim(),
            "NOT_USED NOT_USED 127.0.0.1 81 good s 1 5 0 127.0.0.1 81 /usr/bin:/bin",
            "{what}"
        );
    });
}

#[test]
fn what_these_options_lack_is_named() {
    use lab::Program;
    let folder = Folder::new();
    for (lines, part) in [
        ("option pgsql-check", "wants 'user'"),
        ("option mysql-check user", "wants 'user' and a name"),
        ("option mysql-check user joe 4.1", "unknown version '4.1'"),
        ("option external-check", "names no program"),
        (
            "option external-check\n external-check command /bin/true",
            "add 'external-check' to 'global'",
        ),
    ] {
        let text =
            format!("{TIMES}listen b\n bind 127.0.0.1:1\n {lines}\n server s 127.0.0.1:1 check\n");
        let file = folder.file("wrong.cfg", text.as_bytes());
        let (status, said) = Program::mulgil().run(&["-c", "-f", &file]);
        assert!(status != 0 && said.contains(part), "{lines}: {said}");
    }
}
