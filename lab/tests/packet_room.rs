//! What an operator of packet mode is told and shown: a full table, settings of the kernel, the way of one
//! client's packets, counters; and clients that keep their servers.

#[path = "packet/balancer.rs"]
mod balancer;
#[path = "packet/ends.rs"]
mod ends;
#[path = "packet/net.rs"]
mod net;
#[path = "packet/nets.rs"]
mod nets;

use balancer::{Balancer, detach, mulgil};
use ends::{ask, talk, udp};
use lab::Program;
use net::{Net, possible, wait_until};
use nets::{at, line};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

const POOL: &str = "
global
    sysctl auto
frontend dns
    mode packet
    bind 198.51.100.80:53 proto udp
    default_backend dns
backend dns
    mode packet
    forward nat source 10.0.0.200-10.0.0.201
    timeout session-udp 2s
    server one 10.0.0.11:53
";

#[test]
fn a_full_table_is_said_and_keeps_what_it_has_and_recovers() {
    if !possible() {
        return;
    }
    let net = line();
    let balancer = Balancer::start_for(&net, "l", 8, POOL);
    let vip = "198.51.100.80:53";
    let client = |port: u16| {
        net.within("c", move || {
            udp(at(&format!("198.51.100.2:{port}")), at(vip))
        })
    };
    let first = client(5000);
    wait_until("it serves", || ask(&first, b"first").is_ok());
    let others: Vec<_> = (0..60).map(|n| client(5001 + n)).collect();
    // Sessions that come when there is no room are turned away, told of, and take nobody's place.
    wait_until("it is full and says so", || {
        others.iter().for_each(|s| drop(s.send(b"x")));
        assert_eq!(ask(&first, b"again").expect("its session stays"), "one");
        balancer.output().contains("the session table is full")
    });
    let full = balancer.control("show packets").expect("answers");
    assert!(!full.contains("table-full: 0\n"), "{full}");
    let listed = balancer.control("show flows count").expect("answers");
    let listed: u32 = listed.trim().parse().expect("a number");
    assert!((1..60).contains(&listed), "{listed}");
    let own = balancer.control("show flows count src=198.51.100.2:5000 ");
    assert_eq!(own.expect("answers").trim(), "1");
    drop(others);
    let late = client(6000);
    wait_until("silent sessions have made room", || {
        ask(&late, b"late").is_ok()
    });
    // Another size while the table is there is said, and what to do about it.
    drop(balancer);
    let balancer = Balancer::start_for(&net, "l", 100, POOL);
    wait_until("the other size is said", || {
        let said = "has room for 8 sessions, and 'tune.packet.flows' says 100";
        balancer.output().contains(said)
    });
    drop(balancer);
    detach(&net, "l");
    let balancer = Balancer::start_for(&net, "l", 100, POOL);
    assert!(!balancer.output().contains("has room for"));
    drop(balancer);
    detach(&net, "l");
}

const WEB: &str = "
frontend web
    mode packet
    bind 198.51.100.80:80
    default_backend web
frontend kept
    mode packet
    bind 198.51.100.81:80
    default_backend kept
frontend page
    mode http
    timeout client 5s
    bind 127.0.0.1:8404
    http-request use-service prometheus-exporter if { path /metrics }
    stats enable
    stats uri /stats
backend web
    mode packet
    forward nat
    server one 10.0.0.11:80 check inter 1h on-marked-down drain
    server two 10.0.0.12:80 check inter 1h
backend kept
    mode packet
    forward nat
    source-persistence 10m netmask 24
    server one 10.0.0.11:80
    server two 10.0.0.12:80
";

/// The statistics' page and the exporter say of packets what the CSV says; connections that are open count.
fn shown_everywhere(net: &Net, balancer: &Balancer, server: &str) {
    let open: Vec<TcpStream> = net.within("c", || {
        let one = || TcpStream::connect(at("198.51.100.80:80")).expect("connects");
        (0..2).map(|_| one()).collect()
    });
    for row in ["FRONTEND", "BACKEND"] {
        wait_until("open connections are counted", || {
            balancer.stat("web", row, "scur") == "2"
        });
    }
    let curl = |path: &str| net.exec("l", &format!("curl -sS http://127.0.0.1:8404{path}"));
    let page = curl("/stats");
    for head in [
        "Packets in",
        "Packets out",
        "in/s",
        "out/s",
        "Bits in/s",
        "Bits out/s",
    ] {
        assert!(page.contains(&format!("<th>{head}</th>")), "{head}");
    }
    // Nothing moves any more: what one view says is what the other says.
    let counted = balancer.stat("web", server, "pkts_out");
    assert!(
        page.contains(&format!("<td>{counted}</td>")) || page.contains(&counted),
        "{counted}"
    );
    let metrics = curl("/metrics");
    for (side, labels, row) in [
        ("frontend", "{proxy=\"web\"}".to_string(), "FRONTEND"),
        ("backend", "{proxy=\"web\"}".to_string(), "BACKEND"),
        (
            "server",
            format!("{{proxy=\"web\",server=\"{server}\"}}"),
            server,
        ),
    ] {
        for (metric, field) in [
            ("packets_in_total", "pkts_in"),
            ("packets_out_total", "pkts_out"),
            ("bytes_in_total", "bin"),
            ("current_sessions", "scur"),
        ] {
            let line = format!("haproxy_{side}_{metric}{labels} ");
            wait_until("the exporter says the same", || {
                let metrics = curl("/metrics");
                let said = metrics.lines().find_map(|l| l.strip_prefix(&line));
                said == Some(balancer.stat("web", row, field).as_str())
            });
        }
        for metric in [
            "current_packet_rate_in",
            "current_packet_rate_out",
            "current_bit_rate_in",
            "current_bit_rate_out",
        ] {
            let line = format!("haproxy_{side}_{metric}{labels} ");
            assert!(metrics.contains(&line), "{line}");
        }
    }
    drop(open);
}

/// What `mulgil doctor` writes and whether all is well.
fn doctor(net: &Net, file: String) -> (bool, String) {
    let out = net.within("l", move || {
        let mut command = Program::mulgil().command();
        command.args(["doctor", &file]).output().expect("it runs")
    });
    let text = String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned();
    (out.status.success(), text)
}

#[test]
fn settings_are_seen_to_and_one_client_can_be_followed() {
    if !possible() {
        return;
    }
    let net = line();
    let forwarding = || {
        net.exec("l", "sysctl -n net.ipv4.ip_forward")
            .trim()
            .to_string()
    };
    let balancer = Balancer::start(&net, "l", WEB);
    wait_until("it is said", || {
        let output = balancer.output();
        output.contains("net.ipv4.ip_forward is 0")
            && output.contains("run 'sysctl -w net.ipv4.ip_forward=1'")
    });
    let (well, said) = doctor(&net, balancer.file());
    assert!(
        !well && said.contains("sysctl -w net.ipv4.ip_forward=1"),
        "{said}"
    );
    balancer.reload(&format!("global\n    sysctl auto\n{WEB}"));
    wait_until("it is set", || forwarding() == "1");
    let (well, said) = doctor(&net, balancer.file());
    assert!(well, "{said}");
    for fact in [
        "ok     server web/one (10.0.0.11) takes connections at port 80",
        "ok     interface 'back': TC behind its driver (TCX)",
        "ok     address 198.51.100.80 (TCP) is on no interface",
    ] {
        assert!(said.contains(fact), "{said}");
    }

    // What each stage decides: before there is a session, and about the one that there is.
    let socket = balancer.socket();
    let trace = || {
        mulgil(
            &net,
            "l",
            &format!("trace --client 198.51.100.2 -s {socket}"),
        )
    };
    let before = trace();
    assert!(
        before.contains("198.51.100.2 has no session")
            && before.contains("tcp 198.51.100.80:80 of frontend web: one, two"),
        "{before}"
    );
    let vip = "198.51.100.80:80";
    let mut open: Vec<TcpStream> = net.within("c", move || {
        let one = || TcpStream::connect(at(vip)).expect("connects");
        (0..2).map(|_| one()).collect()
    });
    // Neighbours are looked for when they are first needed.
    wait_until("every stage is known", || {
        let shown = trace();
        [
            "answers are known",
            "frontend web, backend web",
            "one by roundrobin; it takes sessions",
            "rewrite   to 10.0.0.12:80",
            "leaves by back to ",
            "answers   front to ",
        ]
        .iter()
        .all(|part| shown.contains(part))
    });
    assert!(
        balancer
            .control("show flows trace somebody")
            .expect("answers")
            .contains("is no address")
    );

    // A server that goes down keeps its connections where the file says so; others are reset.
    for server in ["one", "two"] {
        balancer.control(&format!("set server web/{server} health down"));
        wait_until("it is down", || {
            balancer.stat("web", server, "status").starts_with("DOWN")
        });
    }
    wait_until("the programs know", || {
        let shown = trace();
        shown.contains("keeps those of TCP") && shown.contains("is down: the next packet")
    });
    let mut outcomes: Vec<bool> = open
        .iter_mut()
        .map(|stream| {
            let patience = Some(Duration::from_secs(8));
            stream.set_read_timeout(patience).expect("a timeout");
            let _ = stream.write_all(b"x");
            let _ = stream.shutdown(Shutdown::Write);
            stream.read_to_end(&mut Vec::new()).is_ok()
        })
        .collect();
    outcomes.sort_unstable();
    assert_eq!(outcomes, [false, true], "one goes on, one is reset");
    for server in ["one", "two"] {
        balancer.control(&format!("set server web/{server} health up"));
    }

    // Clients of one network keep their server.
    let mut names: Vec<String> = (2..6)
        .flat_map(|n| [n, n])
        .map(|n| {
            net.within("c", move || {
                let socket =
                    socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
                socket.bind(&at(&format!("198.51.100.{n}:0")).into())?;
                socket.connect(&at("198.51.100.81:80").into())?;
                let mut stream = TcpStream::from(socket);
                stream.shutdown(Shutdown::Write)?;
                let mut text = String::new();
                stream.read_to_string(&mut text)?;
                Ok::<_, std::io::Error>(text)
            })
            .expect("served")
        })
        .map(|text| text.split(' ').next().unwrap_or_default().to_string())
        .collect();
    names.dedup();
    assert_eq!(names.len(), 1, "{names:?}");

    // Counters, the same for frontend, backend and server.
    let mut heard = None;
    wait_until("servers take sessions again", || {
        heard = net.within("c", move || talk(at(vip), 100_000)).ok();
        heard.is_some()
    });
    let heard = heard.expect("a conversation");
    for row in ["FRONTEND", "BACKEND", heard.name.as_str()] {
        let number = |field: &str| {
            let text = balancer.stat("web", row, field);
            text.parse::<u64>()
                .unwrap_or_else(|_| panic!("{row} {field}: '{text}'"))
        };
        wait_until("packets are counted", || {
            number("pkts_in") > 10 && number("pkts_out") > 10 && number("bin") > 100_000
        });
        wait_until("rates are measured", || number("rate_max") > 0);
        for field in ["pkt_rate_in", "pkt_rate_out", "bit_rate_in", "bit_rate_out"] {
            number(field);
        }
        // New connections a second, and those that are open.
        assert!(number("stot") >= number("rate_max"), "{row}");
        assert!(row != "FRONTEND" || number("conn_rate_max") > 0);
    }
    shown_everywhere(&net, &balancer, &heard.name);
    drop(balancer);
    assert_eq!(forwarding(), "1", "traffic goes on, and needs it");
    let said = detach(&net, "l");
    assert!(said.contains("removed"), "{said}");
    assert_eq!(forwarding(), "0");
    assert!(detach(&net, "l").contains("nothing was attached"));
}
