//! Packet mode at its edges: a pool that is used up, sessions that are half open when their service
//! changes, errors about answers that went past the balancer, and clients that two frontends share.

#[path = "packet/balancer.rs"]
mod balancer;
#[path = "packet/ends.rs"]
mod ends;
#[path = "packet/net.rs"]
mod net;
#[path = "packet/nets.rs"]
mod nets;

use balancer::{Balancer, detach};
use ends::{MUCH, ask, serve_udp, talk, udp};
use net::{Net, possible, wait_until};
use nets::{OneArm, VIPS, at, two_arms_of};
use std::collections::BTreeSet;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

/// A service of datagrams that one server answers, with these words.
fn datagrams(words: &str, forward: &str) -> String {
    format!(
        "listen dns\n    mode packet\n    bind 198.51.100.80:53 proto udp\n{words}    forward {forward}\n    server one 10.0.0.11:8080\n"
    )
}

const VIP: &str = "198.51.100.80:53";

fn client(net: &Net, port: u16) -> UdpSocket {
    net.within("c", move || {
        udp(at(&format!("198.51.100.2:{port}")), at(VIP))
    })
}

#[test]
fn a_pool_that_is_used_up_is_said_and_keeps_what_it_has_until_it_gets_more() {
    if !possible() {
        return;
    }
    let net = two_arms_of(Net::loose_cable);
    let small = datagrams("", "nat source 10.0.0.200 ports 5000-5007");
    let balancer = Balancer::start(&net, "l", &small);
    let first = client(&net, 5000);
    wait_until("it serves", || ask(&first, b"first").is_ok());
    assert!(!balancer.output().contains("no address and port left"));
    let others: Vec<_> = (0..40).map(|n| client(&net, 5001 + n)).collect();
    wait_until("it is used up, and that is said", || {
        others.iter().for_each(|s| drop(s.send(b"x")));
        assert_eq!(ask(&first, b"again").expect("its session stays"), "one");
        balancer.output().contains("no address and port left")
    });
    let events = balancer.control("show packets").expect("answers");
    assert!(!events.contains("pool-empty: 0\n"), "{events}");
    let listed = balancer.control("show flows count").expect("answers");
    assert_eq!(listed.trim(), "8", "one for each port");
    // What it says is what to do.
    balancer.reload(&datagrams("", "nat source 10.0.0.200 ports 5000-5999"));
    let late = client(&net, 6000);
    wait_until("there is room", || ask(&late, b"late").is_ok());
    assert_eq!(ask(&first, b"still").expect("its session stays"), "one");
    drop(balancer);
    detach(&net, "l");
}

#[test]
fn turns_go_on_where_they_were_when_their_service_changes() {
    if !possible() {
        return;
    }
    let net = two_arms_of(Net::loose_cable);
    net.within("s2", || serve_udp(at("10.0.0.12:8081"), "three"));
    let config = |words: &str| {
        let second = "    server two 10.0.0.12:8080\n";
        datagrams(words, "nat") + second
    };
    // What stands beside the turns changes, and then the turns themselves.
    let changes = [
        config("    no-flow reset\n"),
        config("    no-flow hash\n"),
        config("    no-flow drop\n"),
        config("    no-flow drop\n") + "    server three 10.0.0.12:8081\n",
    ];
    let balancer = Balancer::start(&net, "l", &changes[2]);
    let mut port = 8000;
    let mut next = || {
        port += 1;
        let client = client(&net, port);
        let mut name = String::new();
        wait_until("it serves", || {
            ask(&client, b"whose turn").is_ok_and(|n| {
                name = n;
                true
            })
        });
        name
    };
    let mut met = BTreeSet::new();
    wait_until("both serve", || {
        met.insert(next());
        met.len() == 2
    });
    let mut names = Vec::new();
    for change in changes.iter().cycle().take(8) {
        balancer.reload(change);
        names.push(next());
    }
    // Four, less or more what a neighbour who is not known for a moment takes away.
    let of_one = names.iter().filter(|n| *n == "one").count();
    assert!((2..=6).contains(&of_one), "{names:?}");
    drop(balancer);
    detach(&net, "l");
}

/// A server that answers when it is told to.
fn slow_server(net: &Net) -> UdpSocket {
    net.within("s1", || {
        let socket = UdpSocket::bind("10.0.0.11:5300").expect("binds");
        let patience = Some(Duration::from_secs(30));
        socket.set_read_timeout(patience).expect("a timeout");
        socket
    })
}

/// The next datagram that is this one, and whom it came from.
fn gets(server: &UdpSocket, wanted: &[u8]) -> SocketAddr {
    let mut buffer = [0; 100];
    loop {
        let (n, from) = server.recv_from(&mut buffer).expect("a datagram");
        if &buffer[..n] == wanted {
            return from;
        }
    }
}

#[test]
fn who_waits_for_its_first_answer_gets_it_though_its_service_has_a_pool_or_a_guard_now() {
    if !possible() {
        return;
    }
    let net = two_arms_of(Net::loose_cable);
    let server = slow_server(&net);
    let slow = |words: &str, forward: &str| datagrams(words, forward).replace(":8080", ":5300");
    let plain = slow("", "nat");
    let balancer = Balancer::start(&net, "l", &plain);
    let pool = slow("", "nat source 10.0.0.200");
    let guarded = slow("    guard limit source packets 1000000\n", "nat");
    for (n, next) in (0..).zip([&pool, &guarded]) {
        let asks = client(&net, 7000 + n);
        let question = format!("asked {n}");
        let mut from = None;
        wait_until("it serves without a pool", || {
            asks.send(question.as_bytes()).expect("sent");
            from = Some(gets(&server, question.as_bytes()));
            from == asks.local_addr().ok()
        });
        let flows = balancer.control("show flows count").expect("answers");
        assert_eq!(flows.trim(), "1", "the answers' direction is not there yet");
        balancer.reload(next);
        let other = client(&net, 7100 + n);
        if next == &pool {
            wait_until("others have an address of the pool", || {
                other.send(b"other").expect("sent");
                gets(&server, b"other").ip() == at("10.0.0.200:0").ip()
            });
        } else {
            wait_until("it has a guard", || {
                let guards = balancer.control("show guard").expect("answers");
                guards.contains("fe=dns ")
            });
        }
        let from = from.expect("known");
        server.send_to(b"answered", from).expect("sent");
        let mut answer = [0; 100];
        let got = asks.recv(&mut answer).unwrap_or_else(|e| {
            let flows = balancer.control("show flows").unwrap_or_default();
            panic!("{n}: {e}\n{}\n{flows}", balancer.output())
        });
        assert_eq!(&answer[..got], b"answered");
        balancer.control("clear flows dst=198.51.100.80");
        balancer.reload(&plain);
    }
    drop(balancer);
    detach(&net, "l");
}

/// How often a host's own kernel has been told that somebody cannot be reached.
fn told_of_unreachable(net: &Net, host: &str, six: bool) -> u64 {
    let file = if six { "snmp6" } else { "snmp" };
    let text = net.within(host, move || {
        std::fs::read_to_string(format!("/proc/thread-self/net/{file}")).expect("counters")
    });
    let count = if six {
        let mut lines = text.lines();
        let count = lines.find_map(|l| l.strip_prefix("Icmp6InDestUnreachs"));
        count.map(|n| n.trim().to_string())
    } else {
        // A line of names, and one of values.
        let mut lines = text.lines().filter_map(|l| l.strip_prefix("Icmp: "));
        let (names, values) = (lines.next(), lines.next());
        let at = names.and_then(|n| n.split(' ').position(|n| n == "InDestUnreachs"));
        let value = at.and_then(|at| values?.split(' ').nth(at));
        value.map(str::to_string)
    };
    let count = count.and_then(|n| n.parse().ok());
    count.unwrap_or_else(|| panic!("no counter in {text}"))
}

/// Servers answer past the balancer, and a link behind the router is smaller than theirs: who says so says it
/// to the virtual address, whose packets the servers know by their code point. Somebody may also say that there
/// is nobody.
#[test]
fn servers_known_by_dscp_hear_of_errors_about_their_answers() {
    if !possible() {
        return;
    }
    let arm = OneArm {
        setup: "dscp --dscp 10 --vip 203.0.113.100 --vip 2001:db8:3::100",
        cable: Net::cable,
        // A router would not pass on to them what it has said itself.
        far: false,
        gateway: false,
        crossed: false,
    };
    let net = arm.lay();
    for (host, interface) in [("c", "e0"), ("r", "out")] {
        net.ip(host, &format!("link set dev {interface} mtu 1400"));
    }
    // The client does not know.
    net.ip("c", "route replace default via 198.51.100.1 advmss 1460");
    net.ip("c", "route replace default via 2001:db8:1::1 advmss 1440");
    for attach in ["xdp", "auto"] {
        if attach == "auto" {
            net.loosen();
        }
        let config = arm.config(|_| "dscp 10".to_string());
        let config = format!("global\n    tune.packet.attach {attach}\n{config}");
        let balancer = Balancer::start(&net, "l", &config);
        let errors = || {
            let events = balancer.control("show packets").expect("answers");
            let mut lines = events.lines();
            let count = lines.find_map(|l| l.trim().strip_prefix("icmp-error: "));
            count.and_then(|n| n.parse::<u64>().ok()).expect("a number")
        };
        for vip in VIPS {
            for host in ["s1", "s2"] {
                net.ip(host, "route flush cache");
                net.ip(host, "-6 route flush cache");
            }
            let before = errors();
            let to = match vip.contains(':') {
                true => format!("[{vip}]"),
                false => vip.to_string(),
            };
            let web = at(&format!("{to}:80"));
            let heard = net.within("c", move || talk(web, MUCH));
            heard.unwrap_or_else(|e| panic!("{attach} {vip}: {e}\n{}", balancer.output()));
            assert!(errors() > before, "{attach} {vip}: nobody had to be told");
            // Of a client that has gone by the time that its answer comes the server is told, too.
            let dns = at(&format!("{to}:53"));
            let any = if vip.contains(':') {
                "[::]:0"
            } else {
                "0.0.0.0:0"
            };
            let told = || ["s1", "s2"].map(|s| told_of_unreachable(&net, s, vip.contains(':')));
            let before = told();
            wait_until("the servers hear that nobody is there", || {
                let gone = net.within("c", move || {
                    let gone = udp(at(any), dns);
                    gone.send(b"question")
                });
                gone.expect("it is sent");
                told() != before
            });
        }
        drop(balancer);
        detach(&net, "l");
    }
}

#[test]
fn a_client_keeps_its_server_whichever_frontend_it_comes_by_and_each_counts_its_own() {
    if !possible() {
        return;
    }
    let net = two_arms_of(Net::loose_cable);
    let config = "
frontend first
    mode packet
    bind 198.51.100.80:80
    default_backend kept
frontend second
    mode packet
    bind 198.51.100.81:80
    default_backend kept
backend kept
    mode packet
    forward nat
    source-persistence 10m
    server one 10.0.0.11:8080
    server two 10.0.0.12:8080
";
    let balancer = Balancer::start(&net, "l", config);
    let name = |vip: &'static str| {
        let heard = net.within("c", move || talk(at(vip), 10));
        heard
            .unwrap_or_else(|e| panic!("{vip}: {e}\n{}", balancer.output()))
            .name
    };
    let server = name("198.51.100.80:80");
    for _ in 0..3 {
        assert_eq!(name("198.51.100.81:80"), server);
    }
    assert_eq!(name("198.51.100.80:80"), server);
    for (frontend, sessions) in [("first", "2"), ("second", "3")] {
        wait_until("its sessions are counted", || {
            balancer.stat(frontend, "FRONTEND", "stot") == sessions
        });
    }
    assert_eq!(balancer.stat("kept", &server, "stot"), "5");
    drop(balancer);
    detach(&net, "l");
}
