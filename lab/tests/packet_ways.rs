//! Ways to forward of a balancer that stands beside the way: one arm in a network with a router. Each
//! carries real conversations of both families, from clients far and near.

#[path = "packet/balancer.rs"]
mod balancer;
#[path = "packet/ends.rs"]
mod ends;
#[path = "packet/net.rs"]
mod net;
#[path = "packet/nets.rs"]
mod nets;

use balancer::{Balancer, detach, mulgil};
use ends::{Heard, MUCH, ask, curl, largest_segment, path_mtu, talk, udp};
use lab::{Folder, Program};
use net::{Net, possible, wait_until};
use nets::{OneArm, VIPS, at};
use std::collections::BTreeSet;
use std::net::TcpStream;

/// A network in which servers are prepared by these words.
fn prepared(setup: &'static str, far: bool) -> OneArm {
    OneArm {
        setup,
        cable: Net::cable,
        far,
        gateway: false,
        crossed: false,
    }
}

/// Before programs stand elsewhere than in the driver: there sums may be pending.
fn ready_for(net: &Net, attach: &str) {
    if attach != "xdp" {
        net.loosen();
    }
}

/// The balancer knows its neighbours, so that no first packet is lost for one who does not.
fn meet(net: &Net, arm: &OneArm) {
    let [four, six] = arm.servers();
    let servers = [11, 12].map(|n| [format!("{four}{n}:80"), format!("[{six}{n}]:80")]);
    for server in servers.concat() {
        net.within("l", move || {
            TcpStream::connect(at(&server)).expect("a server")
        });
    }
}

fn within_brackets(vip: &str) -> String {
    match vip.contains(':') {
        true => format!("[{vip}]"),
        false => vip.to_string(),
    }
}

fn said(balancer: &Balancer) -> String {
    let packets = balancer.control("show packets").unwrap_or_default();
    let flows = balancer.control("show flows").unwrap_or_default();
    format!("{}\n{packets}\n{flows}", balancer.output())
}

/// A conversation of so many bytes each way; what the server said.
fn hear(net: &Net, balancer: &Balancer, host: &str, vip: &str, bytes: usize) -> Heard {
    let to = at(&format!("{}:80", within_brackets(vip)));
    let heard = net.within(host, move || talk(to, bytes));
    heard.unwrap_or_else(|e| panic!("{host} {vip}: {e}\n{}", said(balancer)))
}

/// The same; the server's name and the address that it saw.
fn converse(
    net: &Net,
    balancer: &Balancer,
    host: &str,
    vip: &str,
    bytes: usize,
) -> (String, String) {
    let heard = hear(net, balancer, host, vip, bytes);
    (heard.name, heard.client.ip().to_string())
}

/// Whole conversations, curl and datagrams with both addresses: servers see who the client is.
fn carries(net: &Net, balancer: &Balancer) {
    for (vip, client) in VIPS.into_iter().zip(["198.51.100.2", "2001:db8:1::2"]) {
        let mut names = BTreeSet::new();
        for bytes in [MUCH, 100] {
            let (name, seen) = converse(net, balancer, "c", vip, bytes);
            assert_eq!(seen, client);
            names.insert(name);
        }
        // One that the balancer had not met lost its turn with the packet that asked for it.
        wait_until("both have their turns", || {
            names.insert(converse(net, balancer, "c", vip, 100).0);
            names.len() == 2
        });
        curl(net, "c", &within_brackets(vip));
        let from = at(&format!("{}:5353", within_brackets(client)));
        let to = at(&format!("{}:53", within_brackets(vip)));
        let answer = net.within("c", move || ask(&udp(from, to), &[7; 1000]));
        answer.unwrap_or_else(|e| panic!("{to}: {e}\n{}", said(balancer)));
    }
}

/// Real conversations in these ways to forward, in the driver and behind it; servers answer past the balancer,
/// so that it sees bytes in one direction only.
fn carries_directly(arm: OneArm, ways: &[(&str, &str)]) {
    if !possible() {
        return;
    }
    let net = arm.lay();
    for (attach, forward) in ways {
        ready_for(&net, attach);
        if *forward != "dsr" {
            meet(&net, &arm);
        }
        carries_by(&net, &arm, attach, forward);
    }
    arm.set_up(&net, "--undo");
    for host in ["s1", "s2"] {
        let loopback = net.exec(host, "ip addr show dev lo");
        assert!(VIPS.iter().all(|vip| !loopback.contains(vip)), "{loopback}");
        let silence = net.exec(host, "sysctl -n net.ipv4.conf.all.arp_ignore");
        assert_eq!(silence.trim(), "0");
    }
}

fn carries_by(net: &Net, arm: &OneArm, attach: &str, forward: &str) {
    // "crossed" is no word of the language: each address is served by servers of the other family.
    let (forward, crossed) = match forward.strip_suffix(" crossed") {
        Some(forward) => (forward, true),
        None => (forward, false),
    };
    let tunnel = forward.starts_with("tunnel");
    let arm = OneArm { crossed, ..*arm };
    let config = arm.config(|_| forward.to_string());
    let config = format!("global\n    tune.packet.attach {attach}\n{config}");
    let balancer = Balancer::start(net, "l", &config);
    carries(net, &balancer);
    for vip in VIPS {
        // A client in the balancer's own network, which may be the servers', too. (A router does not pass on what
        // it has said itself.)
        if !forward.starts_with("dscp") {
            converse(net, &balancer, "r", vip, MUCH);
        }
        if tunnel {
            a_tunnel_is_known_to_be_smaller(net, vip);
        }
    }
    for backend in ["four", "six"] {
        let told = format!("the tunnels of backend '{backend}' leave ");
        let times = balancer.output().matches(&told).count();
        assert_eq!(times, usize::from(tunnel), "{told}");
    }
    if tunnel {
        net.ip("l", "link set dev lan mtu 1400");
    }
    for backend in ["four", "six"] {
        wait_until("counters", || {
            balancer
                .stat(backend, "BACKEND", "stot")
                .parse::<u32>()
                .is_ok_and(|n| n >= 4)
        });
        let bytes = balancer.stat(backend, "BACKEND", "bout");
        assert_eq!(bytes, "0", "answers go their own way");
    }
    if tunnel {
        wait_until("less room is told of", || {
            balancer.output().contains(" of the 1400 bytes on 'lan'")
        });
        net.ip("l", "link set dev lan mtu 1500");
    }
    drop(balancer);
    detach(net, "l");
}

/// Clients are told of segments that fit, and of datagrams that do not.
fn a_tunnel_is_known_to_be_smaller(net: &Net, vip: &str) {
    let (headers, address) = match vip.contains(':') {
        true => (112, format!("[{vip}]")),
        false => (92, vip.to_string()),
    };
    // What was learnt of another tunnel is forgotten.
    net.ip("c", "route flush cache");
    net.ip("c", "-6 route flush cache");
    let to = at(&format!("{address}:80"));
    let most = net
        .within("c", move || largest_segment(to))
        .expect("it connects");
    assert!(
        most <= 1500 - headers,
        "{most} and the outer headers do not fit"
    );
    let to = at(&format!("{address}:53"));
    let known = net
        .within("c", move || path_mtu(to, 1400))
        .expect("it is told");
    assert!((1280..1500).contains(&known), "{known}");
}

#[test]
fn dsr_leads_to_servers_that_answer_themselves() {
    let setup = "dsr --vip 203.0.113.100 --vip 2001:db8:3::100";
    carries_directly(prepared(setup, false), &[("xdp", "dsr"), ("auto", "dsr")]);
}

const TUNNEL: &str = "tunnel --vip 203.0.113.100 --vip 2001:db8:3::100";

#[test]
fn tunnels_cross_a_router_at_an_mtu_of_1500_from_the_driver() {
    // The servers' programs are in their drivers, too.
    let setup = "tunnel --attach xdp --vip 203.0.113.100 --vip 2001:db8:3::100";
    carries_directly(
        prepared(setup, true),
        &[
            ("xdp", "tunnel ipip"),
            ("xdp", "tunnel gre"),
            ("xdp", "tunnel gue"),
            ("xdp", "tunnel ipip crossed"),
        ],
    );
}

#[test]
fn tunnels_cross_a_router_at_an_mtu_of_1500_from_behind_the_driver() {
    carries_directly(
        prepared(TUNNEL, true),
        &[
            ("auto", "tunnel ipip"),
            ("auto", "tunnel gre"),
            ("auto", "tunnel gue"),
            ("auto", "tunnel gue crossed"),
        ],
    );
}

#[test]
fn dscp_crosses_a_router_to_servers_that_know_the_address_by_it() {
    let setup = "dscp --dscp 10 --attach xdp --vip 203.0.113.100 --vip 2001:db8:3::100";
    carries_directly(prepared(setup, true), &[("xdp", "dscp 10")]);
    let setup = "dscp --dscp 10 --vip 203.0.113.100 --vip 2001:db8:3::100";
    carries_directly(prepared(setup, true), &[("auto", "dscp 10")]);
}

#[test]
fn full_nat_needs_nothing_of_servers_and_serves_their_own_network() {
    if !possible() {
        return;
    }
    let arm = prepared("", false);
    let net = arm.lay();
    meet(&net, &arm);
    for attach in ["xdp", "auto"] {
        ready_for(&net, attach);
        let pools = [
            "203.0.113.200-203.0.113.203 ports 30000-30099",
            "2001:db8:3::200-2001:db8:3::203 ports 30000-30099",
        ];
        let config = arm.config(|family| format!("nat source {}", pools[family]));
        let config = format!("global\n    tune.packet.attach {attach}\n{config}");
        let balancer = Balancer::start(&net, "l", &config);
        for (vip, own) in VIPS.into_iter().zip(["203.0.113.20", "2001:db8:3::20"]) {
            // The server s1 is its own client, too.
            for host in ["c", "r", "s1"] {
                for bytes in [MUCH, 10] {
                    let seen = hear(&net, &balancer, host, vip, bytes).client;
                    let ip = seen.ip().to_string();
                    assert!((0..4).any(|n| ip == format!("{own}{n}")), "{seen}");
                    assert!((30_000..30_100).contains(&seen.port()), "{seen}");
                }
            }
            let address = within_brackets(vip);
            curl(&net, "c", &address);
            for host in ["c", "r"] {
                let to = at(&format!("{address}:53"));
                let from = if vip.contains(':') {
                    "[::]:0"
                } else {
                    "0.0.0.0:0"
                };
                let answer = net.within(host, move || ask(&udp(at(from), to), &[7; 1000]));
                answer.unwrap_or_else(|e| panic!("{to}: {e}\n{}", said(&balancer)));
            }
        }
        drop(balancer);
        detach(&net, "l");
    }
}

/// One arm, and the servers' gateway is the balancer: answers come back by it without any pool. Links
/// behind the router are smaller, and servers are told so by errors about packets that they never sent.
#[test]
fn nat_on_one_arm_is_the_servers_gateway_and_errors_about_answers_find_them() {
    if !possible() {
        return;
    }
    let arm = OneArm {
        gateway: true,
        ..prepared("", false)
    };
    let net = arm.lay();
    nets::forward(&net, "l");
    for (host, interface) in [("c", "e0"), ("r", "out")] {
        net.ip(host, &format!("link set dev {interface} mtu 1400"));
    }
    // The client does not know.
    net.ip("c", "route replace default via 198.51.100.1 advmss 1460");
    net.ip("c", "route replace default via 2001:db8:1::1 advmss 1440");
    for client in ["198.51.100.2:7", "[2001:db8:1::2]:7"] {
        net.within("c", move || ends::serve_tcp(at(client), "outside"));
    }
    meet(&net, &arm);
    for attach in ["xdp", "auto"] {
        ready_for(&net, attach);
        // Servers have learnt what is said anew.
        for host in ["s1", "s2"] {
            net.ip(host, "route flush cache");
            net.ip(host, "-6 route flush cache");
        }
        let config = arm.config(|_| "nat".to_string());
        let config = format!("global\n    tune.packet.attach {attach}\n{config}");
        let balancer = Balancer::start(&net, "l", &config);
        carries(&net, &balancer);
        let events = balancer.control("show packets").expect("answers");
        assert!(!events.contains("icmp-error: 0\n"), "{events}");
        // What is no service's is forwarded: a server's own conversation, by its gateway.
        for (client, server) in [
            ("198.51.100.2:7", "203.0.113.11"),
            ("[2001:db8:1::2]:7", "[2001:db8:3::11]"),
        ] {
            let heard = net
                .within("s1", move || talk(at(client), 100_000))
                .expect("it goes out");
            assert_eq!(within_brackets(&heard.client.ip().to_string()), server);
        }
        drop(balancer);
        detach(&net, "l");
    }
}

/// What `mulgil doctor` says on the balancer about a configuration.
fn doctor(net: &Net, config: &str) -> String {
    let folder = Folder::new();
    let file = folder.file("test.cfg", config.as_bytes());
    let out = net.within("l", move || {
        let mut command = Program::mulgil().command();
        command.args(["doctor", &file]).output().expect("it runs")
    });
    String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned()
}

/// Before there is any client: each server is sent what it would be sent, through the virtual address.
#[test]
fn the_doctor_asks_servers_as_clients_packets_would() {
    if !possible() {
        return;
    }
    let dscp = "dscp --dscp 10 --vip 203.0.113.100 --vip 2001:db8:3::100";
    let dsr = "dsr --vip 203.0.113.100 --vip 2001:db8:3::100";
    // A server that does not answer is given its time: all ways at once.
    std::thread::scope(|all| {
        for (setup, far, forwards) in [
            (dsr, false, &["dsr"][..]),
            (TUNNEL, true, &["tunnel ipip", "tunnel gre", "tunnel gue"]),
            (dscp, true, &["dscp 10"]),
        ] {
            all.spawn(move || the_doctor_asks(prepared(setup, far), forwards));
        }
    });
}

fn the_doctor_asks(arm: OneArm, forwards: &[&str]) {
    let net = arm.lay();
    let says = |forward: &str, wanted: &dyn Fn(&str) -> Vec<String>, times: usize| {
        let config = arm.config(|_| forward.to_string());
        let mut said = String::new();
        let lines: Vec<String> = VIPS.into_iter().flat_map(wanted).collect();
        let end = std::time::Instant::now() + lab::net::PATIENCE;
        // Neighbours of IPv6 are found when a link is up for some time.
        while !lines
            .iter()
            .all(|l| said.matches(l.as_str()).count() == times)
        {
            let late = std::time::Instant::now() > end;
            assert!(!late, "{forward}: not {lines:?}, but {said}");
            said = doctor(&net, &config);
        }
        said
    };
    for forward in forwards {
        let answers = |vip: &str| vec![format!("answers for {vip} port 80 itself")];
        let said = says(forward, &answers, 2);
        let small = said.contains("of the 1500 bytes on 'lan'");
        assert_eq!(small, forward.starts_with("tunnel"), "{said}");
    }
    // One of them forgets it.
    mulgil(&net, "s2", &format!("server-setup {} --undo", arm.setup));
    let lines = |vip: &str| {
        vec![
            format!("does not answer for {vip} port 80"),
            format!("--vip {vip}'; and let it through"),
        ]
    };
    std::thread::scope(|all| {
        for forward in forwards {
            all.spawn(|| says(forward, &lines, 1));
        }
    });
}

#[test]
fn the_doctor_sees_gateways_that_lead_elsewhere_and_what_stands_on_interfaces() {
    if !possible() {
        return;
    }
    let net = nets::two_arms_of(Net::loose_cable);
    let config = "
listen web
    mode packet
    bind 198.51.100.80:80
    forward nat
    server one 10.0.0.11:8080
    server two 10.0.0.12:8080
";
    let said = doctor(&net, config);
    for server in ["one (10.0.0.11)", "two (10.0.0.12)"] {
        let line = format!("ok     server web/{server} answers 198.51.100.1 through this machine");
        assert!(said.contains(&line), "{said}");
    }
    assert!(
        said.contains("ok     interface 'back': TC behind its driver (TCX)"),
        "{said}"
    );
    assert!(said.contains("lro off, gro "), "{said}");
    net.ip("s2", "route del default via 10.0.0.1");
    let object = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../crates/packet/bpf/pass.bpf.o"
    );
    net.ip(
        "l",
        &format!("link set dev back xdpgeneric obj {object} sec xdp"),
    );
    let said = doctor(&net, config);
    for line in [
        "server web/two (10.0.0.12) does not answer 198.51.100.1",
        "ip route replace default via",
        "interface 'back' has somebody's XDP program in its generic form",
        "ip link set dev back xdpgeneric off",
    ] {
        assert!(said.contains(line), "{line}: {said}");
    }
    assert!(
        said.contains("web/one (10.0.0.11) answers 198.51.100.1"),
        "{said}"
    );
}

/// Where the kernel has them; `lab/on-kernel` runs this under one that has.
#[test]
fn bonds_and_vrfs_are_interfaces_like_others() {
    if !possible() {
        return;
    }
    let net = nets::two_arms_of(Net::loose_cable);
    if !net.has_kinds("l", &["bond", "vrf"]) {
        println!("this kernel has no bonds or no VRFs: not tried");
        return;
    }
    // LACP on both ends of the cable towards the servers.
    for (host, port) in [("l", "back"), ("w", "trunk")] {
        net.ip(
            host,
            "link add bond0 type bond mode 802.3ad lacp_rate fast miimon 50",
        );
        net.ip(host, &format!("link set dev {port} down nomaster"));
        net.ip(host, &format!("addr flush dev {port}"));
        net.ip(host, &format!("link set dev {port} master bond0"));
        net.ip(host, "link set dev bond0 up");
    }
    net.ip("w", "link set dev bond0 master switch");
    net.ip("l", "addr add 10.0.0.1/24 dev bond0");
    // Clients are in a routing table of their own.
    net.ip("l", "link add red type vrf table 10");
    net.ip("l", "link set dev red up");
    net.ip("l", "link set dev front master red");
    let config = "
listen web
    mode packet
    bind 198.51.100.80:80 interface front
    forward nat
    server one 10.0.0.11:8080
    server two 10.0.0.12:8080
";
    let balancer = Balancer::start(&net, "l", config);
    let mut heard = None;
    wait_until("it serves", || {
        heard = net.within("c", || talk(at("198.51.100.80:80"), MUCH)).ok();
        heard.is_some()
    });
    let client = heard.expect("a conversation").client.ip().to_string();
    assert_eq!(client, "198.51.100.2");
    let stands = balancer.control("show packets").expect("answers");
    for line in ["interface front: ", "interface bond0: "] {
        assert!(stands.contains(line), "{stands}");
    }
    println!("{stands}");
    drop(balancer);
    detach(&net, "l");
}
