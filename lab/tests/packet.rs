//! `mode packet` as its users see it: real clients and servers in namespaces, Mulgil between them.

#[path = "packet/balancer.rs"]
mod balancer;
#[path = "packet/ends.rs"]
mod ends;
#[path = "packet/net.rs"]
mod net;
#[path = "packet/nets.rs"]
mod nets;

use balancer::{Balancer, detach, mulgil};
use ends::{MUCH, ask, curl, largest_segment, serve_tcp, serve_udp, talk, udp};
use net::{Net, possible, wait_until};
use nets::{Cable, at, two_arms_of};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

fn two_arms() -> Net {
    two_arms_of(Net::cable)
}

const NAT: &str = "
frontend web
    mode packet
    bind 198.51.100.80:80,198.51.100.81:443
    default_backend web
frontend dns
    mode packet
    bind 198.51.100.80:53 proto udp
    default_backend web
frontend six
    mode packet
    bind [2001:db8:1::80]:80,[2001:db8:1::81]:443
    default_backend six
frontend dns-six
    mode packet
    bind [2001:db8:1::80]:53 proto udp
    default_backend six
backend web
    mode packet
    forward nat
    balance roundrobin
    server one 10.0.0.11:8080 check inter 200ms fall 2 rise 1
    server two 10.0.0.12:8080 check inter 200ms fall 2 rise 1
backend six
    mode packet
    forward nat
    server one [fd00::11]:8080
    server two [fd00::12]:8080
";

/// Further services of the same servers, at other ports of theirs; at one of these nobody listens.
const MORE: &str = "
listen closed
    mode packet
    bind 198.51.100.80:54 proto udp
    forward nat
    server one 10.0.0.11:9
listen closed-six
    mode packet
    bind [2001:db8:1::80]:54 proto udp
    forward nat
    server one [fd00::11]:9
listen http
    mode packet
    bind 198.51.100.80:8000
    forward nat
    server one 10.0.0.11:8000
    server two 10.0.0.12:8000
listen http-six
    mode packet
    bind [2001:db8:1::80]:8000
    forward nat
    server one [fd00::11]:8000
    server two [fd00::12]:8000
";

#[test]
fn nat_carries_whole_conversations_of_both_families() {
    // Where nobody has computed sums yet, only programs behind the driver can keep them right.
    carries("xdp", "XDP in its driver", Net::cable);
    carries(
        "auto",
        "TC behind its driver (TCX); not hardware",
        Net::loose_cable,
    );
    carries("clsact", "TC behind its driver (clsact)", Net::loose_cable);
}

fn carries(attach: &str, shown: &str, cable: Cable) {
    if !possible() {
        return;
    }
    let net = two_arms_of(cable);
    let config = format!("global\n    tune.packet.attach {attach}\n{NAT}{MORE}");
    let balancer = Balancer::start(&net, "l", &config);
    let stands = balancer.control("show packets").expect("answers");
    for interface in ["front", "back"] {
        let line = format!("interface {interface}: {shown}");
        assert!(stands.contains(&line), "{stands}");
    }
    for vip in [
        "198.51.100.80:80",
        "198.51.100.81:443",
        "[2001:db8:1::80]:80",
        "[2001:db8:1::81]:443",
    ] {
        let mut names = Vec::new();
        for bytes in [MUCH, 1] {
            let heard = net.within("c", move || talk(at(vip), bytes));
            let heard = heard.unwrap_or_else(|e| {
                panic!(
                    "{vip}: {e}\n{}\n{}",
                    balancer.output(),
                    balancer.control("show packets").unwrap_or_default()
                )
            });
            let client = match vip.starts_with('[') {
                true => "2001:db8:1::2",
                false => "198.51.100.2",
            };
            let seen = heard.client.ip().to_string();
            assert_eq!(seen, client, "the server sees the client");
            names.push(heard.name);
        }
        names.sort();
        assert_eq!(names, ["one", "two"], "in turns");
    }
    for vip in ["198.51.100.80", "[2001:db8:1::80]"] {
        curl(&net, "c", vip);
    }
    for (client, vip) in [
        ("198.51.100.2", "198.51.100.80"),
        ("[2001:db8:1::2]", "[2001:db8:1::80]"),
    ] {
        let (from, to) = (at(&format!("{client}:5353")), at(&format!("{vip}:53")));
        let answers = net.within("c", move || {
            let socket = udp(from, to);
            (0..3)
                .map(|i| ask(&socket, &[i; 700]).expect("an answer"))
                .collect::<Vec<_>>()
        });
        assert!(
            answers.windows(2).all(|p| p[0] == p[1]),
            "a session stays: {answers:?}"
        );
        let flows = balancer.control("show flows").expect("answers");
        assert!(flows.contains(&format!("proto=udp src={from}")), "{flows}");
    }
    // What is no service's is forwarded as it is, whatever it has to do with servers.
    for server in ["10.0.0.12:8080", "[fd00::12]:8080"] {
        let heard = net.within("c", move || talk(at(server), MUCH));
        let heard = heard.unwrap_or_else(|e| panic!("{server}: {e}"));
        assert!(["198.51.100.2", "2001:db8:1::2"].contains(&&*heard.client.ip().to_string()));
    }
    // Errors about packets of sessions find whom they are about.
    for (client, vip) in [
        ("198.51.100.2", "198.51.100.80"),
        ("[2001:db8:1::2]", "[2001:db8:1::80]"),
    ] {
        refuses(&net, client, vip);
    }
    wait_until("counters", || {
        balancer.stat("web", "FRONTEND", "stot") == "4"
    });
    let bytes: u64 = balancer
        .stat("web", "FRONTEND", "bin")
        .parse()
        .expect("a number");
    assert!(bytes > MUCH as u64);
    assert_eq!(balancer.stat("web", "FRONTEND", "mode"), "packet");
    detach(&net, "l");
}

/// A datagram for a port that nobody listens at is refused by an ICMP error of the server, about a
/// packet to an address that the client does not know.
fn refuses(net: &Net, client: &str, vip: &str) {
    let (from, to) = (at(&format!("{client}:0")), at(&format!("{vip}:54")));
    let kind = net.within("c", move || {
        let socket = udp(from, to);
        ask(&socket, b"is anybody there?").map_err(|e| e.kind())
    });
    assert_eq!(kind, Err(ErrorKind::ConnectionRefused), "{vip}");
}

/// Starts conversations in turns until one has been with this server.
fn reaches(net: &Net, vip: &'static str, name: &'static str) -> bool {
    net.within("c", move || {
        (0..4).any(|_| talk(at(vip), 10).is_ok_and(|heard| heard.name == name))
    })
}

#[test]
fn a_dead_server_gets_no_more_sessions_and_comes_back() {
    if !possible() {
        return;
    }
    let net = two_arms();
    let balancer = Balancer::start(&net, "l", NAT);
    let vip = "198.51.100.80:80";
    assert!(reaches(&net, vip, "one") && reaches(&net, vip, "two"));
    let socket = net.within("c", || udp(at("198.51.100.2:5353"), at("198.51.100.80:53")));
    let first = ask(&socket, b"first").expect("an answer");
    let (host, other) = if first == "one" {
        ("s1", "two")
    } else {
        ("s2", "one")
    };
    // Open connections to both servers.
    let open: Vec<TcpStream> = net.within("c", move || {
        let one = || TcpStream::connect(at(vip)).expect("connects");
        (0..2).map(|_| one()).collect()
    });
    net.ip(host, "link set dev e0 down");
    wait_until("it is down", || {
        balancer.stat("web", &first, "status").starts_with("DOWN")
    });
    let heard = net.within("c", move || {
        (0..4).map(|_| talk(at(vip), 10)).collect::<Vec<_>>()
    });
    for heard in heard {
        assert_eq!(heard.expect("the others serve").name, other);
    }
    // Datagrams move at once; of the connections only those of the dead server are reset.
    assert_eq!(ask(&socket, b"next").expect("an answer"), other);
    let ended = |mut stream: TcpStream| {
        stream
            .set_read_timeout(Some(Duration::from_secs(5)))
            .expect("a timeout");
        stream.write_all(b"x").expect("room");
        let _ = stream.shutdown(Shutdown::Write);
        stream.read_to_end(&mut Vec::new()).map_err(|e| e.kind())
    };
    let results: Vec<_> = open.into_iter().map(ended).collect();
    let reset = Err(ErrorKind::ConnectionReset);
    assert_eq!(
        results.iter().filter(|r| **r == reset).count(),
        1,
        "{results:?}"
    );
    assert_eq!(
        results.iter().filter(|r| r.is_ok()).count(),
        1,
        "{results:?}"
    );
    net.ip(host, "link set dev e0 up");
    // Taking the interface down took its default route.
    net.ip(host, "route replace default via 10.0.0.1");
    wait_until("it is up", || {
        balancer.stat("web", &first, "status").starts_with("UP")
    });
    let name = if first == "one" { "one" } else { "two" };
    wait_until("it serves", || reaches(&net, vip, name));
    detach(&net, "l");
}

#[test]
fn traffic_goes_on_without_the_process_and_the_next_one_takes_over() {
    if !possible() {
        return;
    }
    let net = two_arms();
    let balancer = Balancer::start(&net, "l", NAT);
    let vip = "198.51.100.80:80";
    let mut stream = net.within("c", move || TcpStream::connect(at(vip)).expect("connects"));
    stream
        .set_read_timeout(Some(Duration::from_secs(5)))
        .expect("a timeout");
    stream.write_all(b"before").expect("room");
    balancer.kill();
    stream.write_all(b"meanwhile").expect("room");
    assert!(
        reaches(&net, vip, "one") && reaches(&net, vip, "two"),
        "new sessions, too"
    );
    let balancer = Balancer::start(&net, "l", NAT);
    assert!(
        balancer
            .control("show flows tcp ESTABLISHED")
            .expect("answers")
            .contains("src=198.51.100.2:")
    );
    stream.write_all(b"after").expect("room");
    stream.shutdown(Shutdown::Write).expect("ends");
    let mut back = Vec::new();
    stream.read_to_end(&mut back).expect("an answer");
    assert!(
        String::from_utf8_lossy(&back).contains(" 20 "),
        "all bytes came"
    );
    assert!(reaches(&net, vip, "one") && reaches(&net, vip, "two"));
    // A session ends where its server leaves the file; the rest of the file goes on.
    balancer.reload(&NAT.replace(
        "server two 10.0.0.12:8080 check inter 200ms fall 2 rise 1",
        "",
    ));
    assert!(!reaches(&net, vip, "two") && reaches(&net, vip, "one"));
    drop(balancer);
    detach(&net, "l");
    // The kernel lets go of a program when nobody runs it any more.
    wait_until("nothing is left", || !reaches(&net, vip, "one"));
}

#[test]
fn no_conversation_breaks_while_the_process_is_killed_and_programs_are_replaced() {
    for attach in ["xdp", "auto"] {
        stays_whole(attach);
    }
}

/// Conversations one after another, while everything that may be replaced is.
fn stays_whole(attach: &str) {
    if !possible() {
        return;
    }
    let net = two_arms();
    let config = format!("global\n    tune.packet.attach {attach}\n{NAT}");
    let mut balancer = Balancer::start(&net, "l", &config);
    let (over, done) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicU64::new(0)),
    );
    let load = net.within("c", {
        let (over, done) = (Arc::clone(&over), Arc::clone(&done));
        move || {
            std::thread::spawn(move || -> std::io::Result<()> {
                while !over.load(Relaxed) {
                    talk(at("198.51.100.80:80"), 300_000)?;
                    talk(at("[2001:db8:1::80]:80"), 300_000)?;
                    done.fetch_add(1, Relaxed);
                }
                Ok(())
            })
        }
    });
    // Nobody sends a datagram twice: each is answered, of sessions that are there and of new ones.
    let asked = Arc::new(AtomicU64::new(0));
    let asks = net.within("c", {
        let (over, asked) = (Arc::clone(&over), Arc::clone(&asked));
        move || {
            std::thread::spawn(move || -> std::io::Result<()> {
                let new = || {
                    let socket = udp(at("[2001:db8:1::2]:0"), at("[2001:db8:1::80]:53"));
                    socket.set_read_timeout(Some(lab::net::PATIENCE))?;
                    Ok::<_, std::io::Error>(socket)
                };
                let kept = new()?;
                while !over.load(Relaxed) {
                    ask(&kept, b"of a session")?;
                    ask(&new()?, b"the first of one")?;
                    asked.fetch_add(1, Relaxed);
                }
                Ok(())
            })
        }
    });
    let goes_on = |what: &str| {
        let before = (done.load(Relaxed), asked.load(Relaxed));
        wait_until(what, || {
            assert!(!load.is_finished(), "a conversation broke: {what}");
            assert!(!asks.is_finished(), "a datagram was lost: {what}");
            done.load(Relaxed) >= before.0 + 3 && asked.load(Relaxed) >= before.1 + 20
        });
    };
    goes_on("at first");
    balancer.kill();
    goes_on("without the process");
    balancer = Balancer::start(&net, "l", &config);
    goes_on("with the next one");
    // Programs that look for other things, and back again; other tables of turns.
    for change in [
        (
            "    default_backend web\n",
            "    guard tcp-flags\n    default_backend web\n",
        ),
        ("frontend dns", "frontend names"),
        ("check inter 200ms fall 2 rise 1", "weight 3"),
    ] {
        balancer.reload(&config.replace(change.0, change.1));
        goes_on("after a reload");
    }
    over.store(true, Relaxed);
    load.join().expect("no panic").expect("all were whole");
    asks.join()
        .expect("no panic")
        .expect("every datagram was answered");
    drop(balancer);
    assert!(detach(&net, "l").contains("removed"));
    assert!(detach(&net, "l").contains("nothing was attached"));
}

/// client – router – one network with the balancer and two servers, which answer clients themselves.
fn one_arm(setup: &str, cable: fn(&Net, &str, &str)) -> Net {
    let net = Net::new(&["c", "r", "w", "l", "s1", "s2"]);
    cable(&net, "c:e0", "r:out");
    net.ip("c", "addr add 198.51.100.2/24 dev e0");
    net.ip("c", "route add default via 198.51.100.1");
    net.ip("r", "addr add 198.51.100.1/24 dev out");
    net.ip("w", "link add name switch type bridge");
    net.ip("w", "link set switch up");
    for (host, port, address) in [
        ("r", "p0", 1),
        ("l", "p1", 2),
        ("s1", "p2", 11),
        ("s2", "p3", 12),
    ] {
        cable(&net, &format!("w:{port}"), &format!("{host}:e0x"));
        net.ip("w", &format!("link set dev {port} master switch"));
        net.ip(host, "link set e0x down");
        net.ip(host, "link set e0x name lan");
        net.ip(host, "link set lan up");
        net.ip(host, &format!("addr add 203.0.113.{address}/24 dev lan"));
        if host != "r" {
            net.ip(host, "route add default via 203.0.113.1");
        }
    }
    net.exec("r", "sysctl -qw net.ipv4.ip_forward=1");
    net.open_for_programs("w", "p1");
    for (host, name) in [("s1", "one"), ("s2", "two")] {
        let has_vip = !setup.is_empty();
        if has_vip {
            mulgil(&net, host, &format!("server-setup {setup}"));
        }
        net.within(host, move || {
            serve_tcp(at("0.0.0.0:80"), name);
            if has_vip {
                serve_udp(at("203.0.113.100:53"), name);
            }
        });
    }
    net
}

/// A configuration with one address in this way.
fn direct(forward: &str) -> String {
    format!(
        "
frontend web
    mode packet
    bind 203.0.113.100:80
    default_backend web
frontend dns
    mode packet
    bind 203.0.113.100:53 proto udp
    default_backend web
backend web
    mode packet
    forward {forward}
    server one 203.0.113.11 check port 80 inter 200ms fall 2 rise 1
    server two 203.0.113.12 check port 80 inter 200ms fall 2 rise 1
"
    )
}

/// Real conversations of 5 MB each way and datagrams in this way to forward; servers answer past the
/// balancer, so that it sees bytes in one direction only.
fn carries_directly(forward: &str, setup: &str) {
    for attach in ["xdp", "auto"] {
        carries_directly_by(attach, forward, setup);
    }
}

fn carries_directly_by(attach: &str, forward: &str, setup: &str) {
    if !possible() {
        return;
    }
    // Behind the driver sums may be pending.
    let cable = if attach == "xdp" {
        Net::cable
    } else {
        Net::loose_cable
    };
    let net = one_arm(&format!("{setup} --attach {attach}"), cable);
    let config = format!(
        "global\n    tune.packet.attach {attach}\n{}",
        direct(forward)
    );
    let balancer = Balancer::start(&net, "l", &config);
    let vip = "203.0.113.100:80";
    let mut names = Vec::new();
    for bytes in [MUCH, 100] {
        let heard = net.within("c", move || talk(at(vip), bytes));
        let events = balancer.control("show packets").unwrap_or_default();
        let heard =
            heard.unwrap_or_else(|e| panic!("{forward}: {e}\n{}\n{events}", balancer.output()));
        assert_eq!(heard.client.ip().to_string(), "198.51.100.2");
        names.push(heard.name);
    }
    names.sort();
    assert_eq!(names, ["one", "two"], "in turns");
    if forward.starts_with("tunnel") {
        let most = net.within("c", move || largest_segment(at(vip)));
        let most = most.expect("it connects");
        assert!(most <= 1500 - 92, "{most} and the outer headers do not fit");
    }
    let answer = net.within("c", || {
        ask(
            &udp(at("198.51.100.2:5353"), at("203.0.113.100:53")),
            &[7; 1000],
        )
    });
    answer.expect("an answer");
    // A client in the servers' own network.
    let near = net.within("r", move || talk(at(vip), 1000));
    near.expect("a near client is served");
    wait_until("counters", || {
        balancer.stat("web", "BACKEND", "stot")
            == if forward.starts_with("tunnel") {
                "5"
            } else {
                "4"
            }
    });
    assert_eq!(
        balancer.stat("web", "BACKEND", "bout"),
        "0",
        "answers go their own way"
    );
    for host in ["s1", "s2"] {
        mulgil(&net, host, &format!("server-setup {setup} --undo"));
        assert!(
            !net.exec(host, "ip addr show dev lo")
                .contains("203.0.113.100")
        );
        assert_eq!(
            net.exec(host, "sysctl -n net.ipv4.conf.all.arp_ignore")
                .trim(),
            "0"
        );
    }
    detach(&net, "l");
}

#[test]
fn dsr_leads_to_servers_that_answer_themselves() {
    carries_directly("dsr", "dsr --vip 203.0.113.100");
}

#[test]
fn tunnels_work_at_an_mtu_of_1500() {
    for kind in ["ipip", "gre", "gue"] {
        carries_directly(&format!("tunnel {kind}"), "tunnel --vip 203.0.113.100");
    }
}

#[test]
fn dscp_leads_to_servers_that_know_the_address_by_it() {
    carries_directly("dscp 10", "dscp --dscp 10 --vip 203.0.113.100");
}

#[test]
fn full_nat_needs_nothing_of_servers_and_serves_their_own_network() {
    if !possible() {
        return;
    }
    let net = one_arm("", Net::cable);
    let config = direct("nat source 203.0.113.200-203.0.113.203 ports 30000-30099")
        .replace("frontend dns", "frontend other")
        .replace(":53 proto udp", ":81");
    let balancer = Balancer::start(&net, "l", &config);
    for host in ["c", "r", "s1"] {
        for bytes in [MUCH, 10] {
            let heard = net.within(host, move || talk(at("203.0.113.100:80"), bytes));
            let heard = heard.unwrap_or_else(|e| {
                panic!(
                    "{host}: {e}\n{}",
                    balancer.control("show packets").unwrap_or_default()
                )
            });
            let client = heard.client.ip().to_string();
            assert!(
                (200..204).any(|n| client == format!("203.0.113.{n}")),
                "{client}"
            );
            assert!((30_000..30_100).contains(&heard.client.port()), "{client}");
        }
    }
    detach(&net, "l");
}
