//! Stick tables that are shared: with ourselves and with the oracle, which speaks HAProxy's protocol
//! on the other side of each conversation.

use lab::{Folder, Program, Proxy, Server, each, get, port};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

const TIMES: &str = "defaults\n    mode http\n    timeout client 2s\n    timeout server 2s\n    timeout connect 1s\n    retries 0\n";

/// Two machines' places: of each its name, port for peers, and port for clients.
struct Ports {
    peers: [u16; 2],
    clients: [u16; 2],
    server: u16,
}

impl Ports {
    fn new(server: &Server) -> Ports {
        Ports {
            peers: [port(), port()],
            clients: [port(), port()],
            server: server.addr.port(),
        }
    }

    /// Lines of 'peers' by which the two find each other.
    fn plain(&self) -> String {
        let [one, two] = self.peers;
        format!("    peer one 127.0.0.1:{one}\n    peer two 127.0.0.1:{two}\n")
    }

    /// The configuration of a machine: tables of every type, with every kind of data.
    fn config(&self, machine: usize, peers: &str) -> String {
        let name = ["one", "two"][machine];
        let (client, server) = (self.clients[machine], self.server);
        format!(
            "    localpeer {name}
{TIMES}
peers us
{peers}    table of-us type ip size 1k expire 1h store gpc0,gpc0_rate(1h)
frontend web
    bind 127.0.0.1:{client}
    http-request track-sc0 path table texts
    http-request track-sc1 src table us/of-us
    http-request track-sc2 url_param(n) table numbers if {{ url_param(n) -m found }}
    http-request sc-inc-gpc0(0)
    http-request sc-inc-gpc0(1)
    http-request sc-inc-gpc(1,2)
    http-request sc-set-gpt(2,2) 77
    http-request sc-inc-gpc1(0)
    http-request sc-set-gpt0(0) 1234567
    default_backend app
backend app
    stick-table type binary len 6 size 1k expire 1h peers us
    stick on src,sha1
    server s1 127.0.0.1:{server}
    server s2 127.0.0.1:{server}
backend texts
    stick-table type string len 20 size 1k expire 1h peers us store gpt0,gpc0,gpc0_rate(1h),conn_cnt,conn_rate(1h),conn_cur,sess_cnt,sess_rate(1h),http_req_cnt,http_req_rate(1h),http_err_cnt,http_err_rate(1h),bytes_in_cnt,bytes_in_rate(1h),bytes_out_cnt,bytes_out_rate(1h),gpc1,gpc1_rate(1h),http_fail_cnt,http_fail_rate(1h)
backend numbers
    stick-table type integer size 1k expire 1h peers us store gpt(3),gpc(2),gpc_rate(2,1h)
backend addresses
    stick-table type ipv6 size 1k peers us store gpc0
"
        )
    }
}

const TABLES: [&str; 5] = ["texts", "us/of-us", "numbers", "app", "addresses"];

/// What the tables hold, in order, without how long and with as many uses as there are when nobody
/// does anything.
fn tables(proxy: &Proxy) -> Vec<String> {
    let mut all = Vec::new();
    for table in TABLES {
        let said = proxy.control(&format!("show table {table}"));
        let lines = said.lines().filter(|l| l.starts_with("0x")).map(|line| {
            let words = line.split(' ').skip(1);
            let words = words.filter(|w| !w.starts_with("exp="));
            format!("{table} {}", words.collect::<Vec<_>>().join(" "))
        });
        let mut lines: Vec<String> = lines.collect();
        lines.sort();
        all.extend(lines);
    }
    all
}

/// Waits until both have the same, and at least so many entries.
fn wait_for_the_same(one: &Proxy, two: &Proxy, entries: usize) -> Vec<String> {
    let end = Instant::now() + lab::PATIENCE * 3;
    loop {
        let both = [tables(one), tables(two)];
        let quiet = both[0].iter().all(|l| l.contains(" use=0 "));
        if both[0] == both[1] && both[0].len() >= entries && quiet {
            return both.into_iter().next().expect("two of them");
        }
        assert!(Instant::now() < end, "{both:#?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Waits until both have met and ours have learnt what there was: a lesson that comes after an entry has
/// been counted brings the older value back, since what was sent last counts.
fn wait_for_the_meeting(one: &Proxy, two: &Proxy) {
    let end = Instant::now() + lab::PATIENCE * 2;
    loop {
        let both = [one, two].map(|p| p.control("show peers us"));
        let met = |said: &String| said.contains("last_status=ESTA") && !said.contains("=pending");
        if both.iter().all(met) {
            return;
        }
        assert!(Instant::now() < end, "{both:#?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Calls a scenario with each pair of programs in which one is ours.
fn pairs(scenario: impl Fn(&Program, &Program)) {
    let ours = Program::mulgil();
    scenario(&ours, &ours);
    match Program::haproxy() {
        Some(oracle) => {
            scenario(&oracle, &ours);
            scenario(&ours, &oracle);
        }
        None => println!("haproxy is not installed: mulgil has only itself as a peer"),
    }
}

fn ask(port: u16, paths: &[&str]) {
    for path in paths {
        assert_eq!(get(port, path).status, 200, "{path}");
    }
}

#[test]
fn what_one_counts_the_other_knows_in_both_directions() {
    pairs(|first, second| {
        let server = Server::named("app");
        let ports = Ports::new(&server);
        let peers = ports.plain();
        let one = Proxy::start(first, &ports.config(0, &peers));
        // Before they know of each other: learnt when they meet.
        ask(ports.clients[0], &["/early", "/early?n=5", "/other"]);
        let two = Proxy::start(second, &ports.config(1, &peers));
        let met = wait_for_the_same(&one, &two, 5);
        assert!(
            met.iter()
                .any(|l| l.contains("key=/early use=0") && l.contains("gpc0=2"))
        );
        // Then one by one: learnt as they happen.
        ask(ports.clients[1], &["/late?n=7"]);
        one.control("set table addresses key ::5 data.gpc0 300000");
        two.control("set table addresses key 2001:db8::1 data.gpc0 5");
        two.control("set table texts key x data.bytes_in_cnt 5000000000");
        let all = wait_for_the_same(&one, &two, met.len() + 5);
        // What was sent last counts: where a conversation began anew, that may be the older value.
        let end = Instant::now() + lab::PATIENCE;
        loop {
            ask(ports.clients[1], &["/early"]);
            let now = wait_for_the_same(&one, &two, all.len());
            let early = |l: &&String| l.contains("key=/early ");
            if !now
                .iter()
                .find(early)
                .expect("it is there")
                .contains(" gpc0=2 ")
            {
                break;
            }
            assert!(Instant::now() < end, "{now:#?}");
        }
        assert!(all.iter().any(|l| l.contains("bytes_in_cnt=5000000000")));
        // What is removed here stays there.
        one.control("clear table texts key x");
        assert!(tables(&two).iter().any(|l| l.contains("key=x ")));
    });
}

/// HAProxy has it since a version that Debian's is not.
#[test]
fn each_of_the_others_is_told_of_its_part_of_the_keys() {
    const KEYS: usize = 40;
    let ports = [port(), port(), port()];
    let start = |name: &str, others: String| {
        let config = format!(
            "    localpeer {name}\n{TIMES}peers us\n{others}    table t type string size 1k expire 1h store gpc0\n"
        );
        Proxy::start(&Program::mulgil(), &config)
    };
    let [one, two, three] = ports.map(|port| format!("127.0.0.1:{port}"));
    let receivers = ["two", "three"].map(|name| {
        let own = if name == "two" { &two } else { &three };
        start(name, format!("    peer {name} {own}\n    peer one {one}\n"))
    });
    let sender = start(
        "one",
        format!(
            "    shards 2\n    peer one {one}\n    peer two {two} shard 1\n    peer three {three} shard 2\n"
        ),
    );
    for n in 0..KEYS {
        sender.control(&format!("set table us/t key k{n} data.gpc0 {n}"));
    }
    let keys = |proxy: &Proxy| -> Vec<String> {
        let text = proxy.control("show table us/t");
        let words = text.split_whitespace();
        words
            .filter_map(|w| Some(w.strip_prefix("key=")?.to_string()))
            .collect()
    };
    let end = Instant::now() + lab::PATIENCE * 2;
    loop {
        let [two, three] = receivers.each_ref().map(keys);
        if two.len() + three.len() == KEYS {
            assert!(two.iter().all(|k| !three.contains(k)), "{two:?} {three:?}");
            assert!(!two.is_empty() && !three.is_empty());
            break;
        }
        assert!(Instant::now() < end, "{two:?} {three:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The first tells everybody of everything; the second has counted as well, and the first is not told of
/// that: what the first sets back is set back there, too.
#[test]
fn who_is_not_told_of_a_key_sets_it_back_all_the_same() {
    let ports = [port(), port()];
    let [one, two] = ports.map(|port| format!("127.0.0.1:{port}"));
    // Of one part of two: half of the keys are not among them.
    let start = |name: &str, one_has: &str| {
        let config = format!(
            "    localpeer {name}\n{TIMES}peers us\n    shards 2\n    peer one {one}{one_has}\n    peer two {two}\n    table t type string size 1k expire 1h store gpc0\n"
        );
        Proxy::start(&Program::mulgil(), &config)
    };
    let (first, second) = (start("one", ""), start("two", " shard 1"));
    let set = |proxy: &Proxy, n: usize, to: u32| {
        proxy.control(&format!("set table us/t key k{n} data.gpc0 {to}"));
    };
    let values = |proxy: &Proxy, keys: std::ops::Range<usize>| -> Vec<String> {
        keys.map(|n| {
            let said = proxy.control(&format!("show table us/t key k{n}"));
            said.trim().rsplit('=').next().unwrap_or_default().into()
        })
        .collect()
    };
    let wait = |proxy: &Proxy, keys: std::ops::Range<usize>, enough: &dyn Fn(&[String]) -> bool| {
        let end = Instant::now() + lab::PATIENCE * 2;
        loop {
            let now = values(proxy, keys.clone());
            if enough(&now) {
                return;
            }
            assert!(Instant::now() < end, "{now:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    let all = |value: &'static str| move |now: &[String]| now.iter().all(|v| v == value);
    wait_for_the_meeting(&first, &second);
    (0..8).for_each(|n| set(&first, n, 1));
    wait(&second, 0..8, &all("1"));
    // Changes are told in order: where one of the last is known, so are those before it.
    (0..20).for_each(|n| set(&second, n, 5));
    let any = |now: &[String]| now.iter().any(|v| v == "5");
    wait(&first, 8..20, &any);
    let told = values(&first, 0..8);
    assert!(any(&told) && told.iter().any(|v| v == "1"), "{told:?}");
    // What is said now crosses the fives of which nobody was told; what is said next does not.
    (0..8).for_each(|n| set(&first, n, 7));
    wait(&second, 0..8, &all("7"));
    (0..8).for_each(|n| set(&first, n, 0));
    wait(&second, 0..8, &all("0"));
}

#[test]
fn a_peer_that_starts_anew_learns_from_the_other_what_both_knew() {
    pairs(|first, second| {
        let server = Server::named("app");
        let ports = Ports::new(&server);
        let peers = ports.plain();
        let one = Proxy::start(first, &ports.config(0, &peers));
        let two = Proxy::start(second, &ports.config(1, &peers));
        wait_for_the_meeting(&one, &two);
        ask(ports.clients[0], &["/a", "/b?n=1"]);
        // Two that change an entry at the same time may exchange their values.
        wait_for_the_same(&one, &two, 5);
        ask(ports.clients[1], &["/c", "/b?n=2"]);
        let known = wait_for_the_same(&one, &two, 7);
        drop(one);
        let one = Proxy::start(first, &ports.config(0, &peers));
        assert_eq!(wait_for_the_same(&one, &two, 7), known);
        ask(ports.clients[0], &["/d"]);
        wait_for_the_same(&one, &two, 8);
    });
}

#[test]
fn a_process_tells_everything_to_the_one_that_replaces_it() {
    // The oracle of this version ends without a word when it is replaced.
    each(|second| {
        let first = &Program::mulgil();
        let server = Server::named("app");
        let ports = Ports::new(&server);
        // Nobody else knows anything.
        let peers = format!("    peer one 127.0.0.1:{}\n", ports.peers[0]);
        let mut old = Proxy::start(first, &ports.config(0, &peers));
        ask(ports.clients[0], &["/a", "/b?n=1", "/a"]);
        old.control("set table addresses key ::7 data.gpc0 9");
        let known = {
            let end = Instant::now() + lab::PATIENCE;
            loop {
                let known = tables(&old);
                if known.iter().all(|l| l.contains(" use=0 ")) {
                    break known;
                }
                assert!(Instant::now() < end, "{known:#?}");
            }
        };
        assert_eq!(known.len(), 6, "{known:#?}");
        let new = old.replace(second, &ports.config(0, &peers));
        assert_eq!(old.ended(), 0);
        let end = Instant::now() + lab::PATIENCE;
        while tables(&new) != known {
            assert!(Instant::now() < end, "{:#?}\n{known:#?}", tables(&new));
            std::thread::sleep(Duration::from_millis(20));
        }
    });
}

#[test]
fn a_process_that_nobody_replaces_ends_at_once() {
    each(|program| {
        let server = Server::named("app");
        let ports = Ports::new(&server);
        let mut one = Proxy::start(program, &ports.config(0, &ports.plain()));
        ask(ports.clients[0], &["/a"]);
        one.signal("-USR1");
        assert_eq!(one.ended(), 0);
    });
}

#[test]
fn peers_speak_within_tls_where_bind_and_server_say_so() {
    let folder = Folder::new();
    let (key, cert) = lab::certificate(&folder, "peers");
    let both = [&cert, &key].map(|p| std::fs::read_to_string(p).expect("a file"));
    let pem = folder.file("both.pem", both.concat().as_bytes());
    pairs(|first, second| {
        let server = Server::named("app");
        let ports = Ports::new(&server);
        let peers = |here: usize, there: usize| {
            let (name, other) = (["one", "two"][here], ["one", "two"][there]);
            format!(
                "    bind 127.0.0.1:{} ssl crt {pem}\n    default-server ssl verify none\n    server {name}\n    server {other} 127.0.0.1:{}\n",
                ports.peers[here], ports.peers[there]
            )
        };
        let one = Proxy::start(first, &ports.config(0, &peers(0, 1)));
        let two = Proxy::start(second, &ports.config(1, &peers(1, 0)));
        wait_for_the_meeting(&one, &two);
        ask(ports.clients[0], &["/a"]);
        wait_for_the_same(&one, &two, 3);
        ask(ports.clients[1], &["/b"]);
        wait_for_the_same(&one, &two, 4);
    });
}

#[test]
fn a_hello_that_is_not_for_this_machine_or_from_a_stranger_is_refused_by_its_number() {
    each(|program| {
        let server = Server::named("app");
        let ports = Ports::new(&server);
        let _one = Proxy::start(program, &ports.config(0, &ports.plain()));
        for (hello, status) in [
            ("HAProxyS 2.1\none\ntwo 5 1\n", "200"),
            ("HAProxyS 2.0\none\ntwo 5 1\n", "200"),
            ("HAProxyS 1.0\none\ntwo 5 1\n", "502"),
            ("HAProxyT 2.1\none\ntwo 5 1\n", "501"),
            ("HAProxyS 2.1\nother\ntwo 5 1\n", "503"),
            ("HAProxyS 2.1\none\nstranger 5 1\n", "504"),
        ] {
            let mut stream = TcpStream::connect(("127.0.0.1", ports.peers[0])).expect("open");
            stream.set_read_timeout(Some(lab::PATIENCE)).expect("set");
            stream.write_all(hello.as_bytes()).expect("room");
            let mut line = [0; 4];
            stream.read_exact(&mut line).expect("an answer");
            let said = String::from_utf8_lossy(&line).into_owned();
            assert_eq!(said, format!("{status}\n"), "{}: {hello}", program.name);
        }
    });
}

#[test]
fn a_reload_keeps_the_conversation_and_shows_its_tables() {
    let ours = Program::mulgil();
    let server = Server::named("app");
    let ports = Ports::new(&server);
    let one = Proxy::start(&ours, &ports.config(0, &ports.plain()));
    let two = Proxy::start(&ours, &ports.config(1, &ports.plain()));
    wait_for_the_meeting(&one, &two);
    ask(ports.clients[0], &["/a"]);
    wait_for_the_same(&one, &two, 3);
    let shown = |proxy: &Proxy| {
        let said = proxy.control("show peers us");
        let tries = said.split("new_conn=").nth(1).unwrap_or_default();
        let tries = tries.split(' ').next().unwrap_or_default().to_string();
        (said, tries)
    };
    let (said, tries) = shown(&one);
    assert!(said.contains("id=two(remote,active)"), "{said}");
    assert!(said.contains("last_status=ESTA"), "{said}");
    assert!(said.contains("table: id=texts update="), "{said}");
    assert!(one.control("show peers nope").contains("No such peers"));
    assert!(one.control("show info").contains("ConnectedPeers: 1"));
    one.signal("-HUP");
    one.wait_for_output("is in force");
    ask(ports.clients[0], &["/b"]);
    wait_for_the_same(&one, &two, 4);
    assert_eq!(shown(&one).1, tries);
}

/// Lines of a section, and what we say otherwise than the oracle, and why.
const LINES: &[(&str, &str)] = &[
    ("peer me 127.0.0.1:21112", ""),
    ("peer me 127.0.0.1:21112\npeer me 127.0.0.1:21113", ""),
    ("bind 127.0.0.1:21112\npeer me 127.0.0.1:21113", ""),
    ("bind 127.0.0.1:21112\nserver b 127.0.0.1:21113", ""),
    (
        "bind 127.0.0.1:21112\nserver me\nserver b 127.0.0.1:21113",
        "",
    ),
    ("peer b 127.0.0.1:21113", ""),
    ("server me", ""),
    (
        "peer me :21112\nserver b localhost:21113 weight 5 check",
        "",
    ),
    (
        "peer me 127.0.0.1:21112\nserver b 127.0.0.1:21113 weight 5",
        "",
    ),
    (
        "peer me 127.0.0.1:21112\nserver b 127.0.0.1",
        "there is no port to connect to",
    ),
    ("peer me 127.0.0.1:21112\nserver b unix@/tmp/nobody", ""),
    ("bind 127.0.0.1:21112\nbind 127.0.0.1:21114\nserver me", ""),
    (
        "default-bind maxconn 10\npeer me 127.0.0.1:21112\ndefault-server inter 1s",
        "",
    ),
    ("disabled\npeer z 127.0.0.1:21112", ""),
    (
        "peer me 127.0.0.1:21112\ntable t type ip size 1k store gpc0",
        "",
    ),
    (
        "peer me 127.0.0.1:21112\ntable t type ip size 1k\ntable t type ip size 1k",
        "nobody would ever find the second",
    ),
    ("peer me 127.0.0.1:21112\nfoo", ""),
    ("peer me 127.0.0.1:21112\nlog 127.0.0.1:21115 nowhere", ""),
    (
        "peer me 127.0.0.1:21112\nlog 127.0.0.1:21115 local0",
        "nothing is written there, which is said",
    ),
];

#[test]
fn lines_about_peers_have_the_verdicts_that_the_oracle_gives_them() {
    let Some(oracle) = Program::haproxy() else {
        println!("haproxy is not installed: nothing to compare with");
        return;
    };
    let folder = Folder::new();
    for (lines, differs) in LINES {
        let lines = lines.replace('\n', "\n    ");
        let text = format!(
            "global\n    localpeer me\n{TIMES}\npeers us\n    {lines}\nbackend b\n    stick-table type ip size 1k peers us\nfrontend f\n    bind 127.0.0.1:{}\n",
            port()
        );
        let file = folder.file("test.cfg", text.as_bytes());
        let [theirs, ours] = [&oracle, &Program::mulgil()].map(|program| {
            let (status, said) = program.run(&["-c", "-f", &file]);
            let warned = said.to_lowercase().contains("warning");
            (status == 0, status == 0 && warned)
        });
        let alike = theirs == ours;
        assert_eq!(alike, differs.is_empty(), "{lines}: {theirs:?} {ours:?}");
    }
}
