//! Connections whose segments are signed (`tcp-md5sig`, RFC 2385), and servers that get the first bytes
//! with the packet that opens the connection (`tfo`, RFC 7413): what the kernel counts of both.

use lab::net::{Net, possible};
use lab::{Program, Proxy, Server, port};
use std::sync::{Mutex, MutexGuard, PoisonError};

const TIMES: &str = "defaults\n    mode http\n    retries 0\n    timeout client 5s\n    timeout server 5s\n    timeout connect 5s\n";

/// One of these at a time: what the kernel counts is the whole network's.
fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How often something happened to TCP, by the kernel's name for it, as `/proc/net/netstat` tells.
fn count(text: &str, name: &str) -> u64 {
    let mut lines = text.lines().filter(|l| l.starts_with("TcpExt:"));
    let (names, values) = (lines.next().expect("names"), lines.next().expect("values"));
    let mut both = names.split(' ').zip(values.split(' '));
    let value = both.find(|(n, _)| *n == name).map(|(_, v)| v);
    value.and_then(|v| v.parse().ok()).expect("a counter")
}

/// The same in this network.
fn counted(name: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/net/netstat").expect("Linux");
    count(&text, name)
}

/// Whether this kernel can sign; one that cannot is told of, and nothing is served.
fn signs(text: &str) -> bool {
    let folder = lab::Folder::new();
    let file = folder.file("signed.cfg", text.as_bytes());
    let (status, said) = Program::mulgil().run(&["-c", "-f", &file]);
    let lacks = said.contains("this kernel cannot sign segments");
    assert_eq!(status == 0, !lacks, "{said}");
    if lacks {
        println!("{said}");
    }
    !lacks
}

#[test]
fn who_does_not_sign_with_the_word_is_not_heard() {
    let _alone = alone();
    let server = Server::named("app");
    let [four, both, good, good_six, wrong, unsigned] = [(); 6].map(|()| port());
    let towards = |door: u16, address: String, words: &str| {
        format!("listen d{door}\n    bind 127.0.0.1:{door}\n    server s {address} {words}\n")
    };
    // Nobody answers these.
    let soon = "    timeout connect 300ms\n";
    let text = [
        TIMES.to_string(),
        format!(
            "listen signed\n    bind 127.0.0.1:{four} tcp-md5sig open\n    bind :::{both} v4v6 tcp-md5sig open\n    server app {}\n",
            server.addr
        ),
        towards(good, format!("127.0.0.1:{four}"), "tcp-md5sig open check inter 1s"),
        towards(good_six, format!("[::1]:{both}"), "tcp-md5sig open"),
        towards(wrong, format!("127.0.0.1:{both}"), "tcp-md5sig shut"),
        soon.to_string(),
        towards(unsigned, format!("127.0.0.1:{both}"), ""),
        soon.to_string(),
    ]
    .concat();
    if !signs(&text) {
        return;
    }
    let proxy = Proxy::start(&Program::mulgil(), &text);
    let before = [counted("TCPMD5NotFound"), counted("TCPMD5Failure")];
    assert_eq!(lab::get(good, "/").status, 200);
    assert_eq!(lab::get(good_six, "/").status, 200);
    // A check is signed, too: the server stays up, and one that could not connect would be down.
    proxy.wait_for(&format!("d{good}"), "s", "check_status", "L4OK");
    let heard = server.requests().len();
    for door in [wrong, unsigned] {
        assert_eq!(lab::get(door, "/").status, 503);
    }
    assert!(counted("TCPMD5NotFound") > before[0], "none came unsigned");
    assert!(counted("TCPMD5Failure") > before[1], "none was wrong");
    assert_eq!(server.requests().len(), heard);
}

/// A socket that is kept, at a reload and by the process that comes after, is signed as its line says.
#[test]
fn a_kept_socket_is_signed_with_the_word_that_is_in_force() {
    let _alone = alone();
    let server = Server::named("app");
    let [front, signed, unsigned] = [(); 3].map(|()| port());
    let soon = TIMES.replace("timeout connect 5s", "timeout connect 300ms");
    let text = |words: &str| {
        format!(
            "{soon}listen front\n    bind 127.0.0.1:{front} {words}\n    server app {}\n\
             listen s\n    bind 127.0.0.1:{signed}\n    server s 127.0.0.1:{front} tcp-md5sig open\n\
             listen u\n    bind 127.0.0.1:{unsigned}\n    server s 127.0.0.1:{front}\n",
            server.addr
        )
    };
    if !signs(&text("tcp-md5sig open")) {
        return;
    }
    let proxy = Proxy::start(&Program::mulgil(), &text(""));
    let head = std::fs::read_to_string(&proxy.file).expect("a file");
    let head = head
        .split(&soon)
        .next()
        .expect("the lines of lab")
        .to_string();
    // A client has patience where it must be heard: the kernel keeps asking until then.
    let heard = |door: u16| {
        let end = std::time::Instant::now() + lab::PATIENCE;
        while lab::get(door, "/").status != 200 {
            assert!(std::time::Instant::now() < end, "door {door}");
        }
    };
    let answers = |heard_door: u16, shut: u16| {
        heard(heard_door);
        assert_eq!(lab::get(shut, "/").status, 503);
    };
    answers(unsigned, signed);
    for (words, heard_door, shut) in [
        ("tcp-md5sig open", signed, unsigned),
        ("", unsigned, signed),
    ] {
        std::fs::write(&proxy.file, format!("{head}{}", text(words))).expect("a file");
        assert!(
            proxy.control("reload").contains("in force"),
            "{}",
            proxy.output()
        );
        answers(heard_door, shut);
    }
    std::fs::write(&proxy.file, format!("{head}{}", text("tcp-md5sig shut"))).expect("a file");
    assert!(
        proxy.control("reload").contains("in force"),
        "{}",
        proxy.output()
    );
    for door in [signed, unsigned] {
        assert_eq!(lab::get(door, "/").status, 503);
    }
}

/// A socket that passes from one process to the next is signed as the line of the next one says.
#[test]
fn a_socket_that_is_handed_over_is_signed_with_the_word_of_who_takes_it() {
    let _alone = alone();
    let (server, folder) = (Server::named("app"), lab::Folder::new());
    let [front, signed, unsigned] = [(); 3].map(|()| port());
    let soon = TIMES.replace("timeout connect 5s", "timeout connect 300ms");
    let control = folder.path("handed");
    // Without 'noreuseport' another socket could be bound beside the first.
    let text = |words: &str| {
        format!(
            "    noreuseport\n    stats socket {control} level admin expose-fd listeners\n\
             {soon}listen front\n    bind 127.0.0.1:{front} {words}\n    server app {}\n\
             listen s\n    bind 127.0.0.1:{signed}\n    server s 127.0.0.1:{front} tcp-md5sig open\n\
             listen u\n    bind 127.0.0.1:{unsigned}\n    server s 127.0.0.1:{front}\n",
            server.addr
        )
    };
    if !signs(&format!("global\n{}", text("tcp-md5sig open"))) {
        return;
    }
    let answers = |heard: u16, shut: u16| {
        let end = std::time::Instant::now() + lab::PATIENCE;
        while lab::get(heard, "/").status != 200 {
            assert!(std::time::Instant::now() < end, "door {heard}");
        }
        assert_eq!(lab::get(shut, "/").status, 503);
    };
    let open = "tcp-md5sig open";
    let mut old = Proxy::start(&Program::mulgil(), &text(open));
    answers(signed, unsigned);
    for (words, heard, shut) in [(open, signed, unsigned), ("", unsigned, signed)] {
        let info = old.control("show info");
        let pid = info.lines().find_map(|l| l.strip_prefix("Pid: "));
        let more = ["-x", &control, "-sf", pid.expect("a number").trim()];
        let new = Proxy::start_with(&Program::mulgil(), &text(words), &more);
        assert_eq!(old.ended(), 0, "{}", old.output());
        answers(heard, shut);
        old = new;
    }
}

#[test]
fn peers_sign_what_they_tell_each_other() {
    let _alone = alone();
    let server = Server::named("app");
    let peers = [port(), port()];
    let clients = [port(), port()];
    let text = |here: usize, word: &str| {
        let names = ["one", "two"];
        let there = 1 - here;
        format!(
            "    localpeer {}\n{TIMES}peers us\n    bind 127.0.0.1:{} tcp-md5sig {word}\n    server {}\n    \
             server {} 127.0.0.1:{} tcp-md5sig {word}\n    table t type string size 1k expire 1h store gpc0\n\
             listen web\n    bind 127.0.0.1:{}\n    http-request track-sc0 path table us/t\n    \
             http-request sc-inc-gpc0(0)\n    server s {}\n",
            names[here],
            peers[here],
            names[here],
            names[there],
            peers[there],
            clients[here],
            server.addr
        )
    };
    if !signs(&format!("global\n{}", text(0, "open"))) {
        return;
    }
    let one = Proxy::start(&Program::mulgil(), &text(0, "open"));
    let knows = |proxy: &Proxy| proxy.control("show table us/t").contains("key=/a ");
    {
        // Who signs with another word hears nothing.
        let before = counted("TCPMD5Failure");
        let two = Proxy::start(&Program::mulgil(), &text(1, "shut"));
        assert_eq!(lab::get(clients[0], "/a").status, 200);
        let end = std::time::Instant::now() + lab::PATIENCE;
        while counted("TCPMD5Failure") == before {
            assert!(std::time::Instant::now() < end, "they do not try");
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        assert!(knows(&one) && !knows(&two));
    }
    let two = Proxy::start(&Program::mulgil(), &text(1, "open"));
    let end = std::time::Instant::now() + lab::PATIENCE;
    while !knows(&two) {
        assert!(
            std::time::Instant::now() < end,
            "{}",
            two.control("show peers")
        );
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

#[test]
fn a_word_that_cannot_be_signed_with_is_refused() {
    let long = "x".repeat(81);
    for (line, wanted) in [
        (format!("bind :1 tcp-md5sig {long}"), "81 bytes"),
        ("bind /tmp/s tcp-md5sig x".into(), "remove 'tcp-md5sig'"),
        ("bind :1 tcp-md5sig".into(), "wants the word"),
        (
            "bind :1 tcp-md5sig topsecret chek".into(),
            "tcp-md5sig ********* chek",
        ),
        (
            "bind :1\n    server s /tmp/s tcp-md5sig x".into(),
            "not reached by TCP",
        ),
        (
            "mode udp\n    bind :1 tcp-md5sig x\n    server s 127.0.0.1:1".into(),
            "is for streams",
        ),
    ] {
        let folder = lab::Folder::new();
        let text = format!("{TIMES}listen l\n    {line}\n");
        let file = folder.file("test.cfg", text.as_bytes());
        let (status, said) = Program::mulgil().run(&["-c", "-f", &file]);
        assert_eq!(status, 1, "{line}: {said}");
        assert!(said.contains(wanted), "{line}: {said}");
        assert!(
            !said.contains("topsecret") && !said.contains("xxx"),
            "{said}"
        );
    }
}

/// The oracle opens its connections as usual here, and so has no part in this.
#[test]
fn a_server_gets_the_request_with_the_packet_that_opens_its_connection() {
    if !possible() {
        return;
    }
    let net = Net::new(0);
    let inside = net.client();
    let allow = ["-qw", "net.ipv4.tcp_fastopen=3"];
    assert!(net.exec(&inside, "sysctl", &allow).0);
    let (front, plain) = (port(), port());
    let proxy = Proxy::start(
        &Program::mulgil(),
        &format!(
            "{TIMES}    http-reuse never\n\
                 listen f\n    bind 127.0.0.1:{front}\n    server s 127.0.0.1:80 tfo namespace {inside}\n\
                 listen p\n    bind 127.0.0.1:{plain}\n    server s 127.0.0.1:80 namespace {inside}\n\
                 frontend t\n    bind 127.0.0.1:80 tfo namespace {inside}\n    http-request return status 200\n"
        ),
    );
    let early = || {
        let text = net.exec(&inside, "cat", &["/proc/net/netstat"]).1;
        ["TCPFastOpenActive", "TCPFastOpenPassive"].map(|name| count(&text, name))
    };
    // The first connection brings a cookie home, and those after it need no round for it.
    for _ in 0..4 {
        assert_eq!(lab::get(front, "/").status, 200);
    }
    let with = early();
    assert!(with.iter().all(|n| *n >= 3), "{with:?}");
    for _ in 0..4 {
        assert_eq!(lab::get(plain, "/").status, 200);
    }
    assert_eq!(early(), with);
    drop(proxy);
}
