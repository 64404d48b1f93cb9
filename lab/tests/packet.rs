//! `mode packet` as its users see it: real clients and servers in namespaces, Mulgil between them.

#[path = "packet/balancer.rs"]
mod balancer;
#[path = "packet/ends.rs"]
mod ends;
#[path = "packet/net.rs"]
mod net;
#[path = "packet/nets.rs"]
mod nets;

use balancer::{Balancer, detach};
use ends::{MUCH, ask, curl, talk, udp};
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
    server one 10.0.0.11:8080 check inter 2s fastinter 200ms downinter 200ms fall 2 rise 1
    server two 10.0.0.12:8080 check inter 2s fastinter 200ms downinter 200ms fall 2 rise 1
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
        "server two 10.0.0.12:8080 check inter 2s fastinter 200ms downinter 200ms fall 2 rise 1",
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
                    // The table has room for some thousand sessions, which live for a minute.
                    std::thread::sleep(Duration::from_millis(10));
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
        (
            "check inter 2s fastinter 200ms downinter 200ms fall 2 rise 1",
            "weight 3",
        ),
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
