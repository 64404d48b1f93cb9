//! One physical arm that is inline by its VLANs, in the ways to forward in which answers go past it, between
//! firewalls, and for what servers open outward. (NAT and bridges: bridges.rs.)

#[path = "packet/balancer.rs"]
mod balancer;
#[path = "packet/ends.rs"]
mod ends;
#[path = "packet/firewalls.rs"]
mod firewalls;
#[path = "packet/net.rs"]
mod net;
#[path = "packet/nets.rs"]
mod nets;

use balancer::{Balancer, detach, mulgil};
use ends::{MUCH, ask, curl, path_mtu, serve_http, serve_tcp, serve_udp, talk, udp};
use firewalls::{CONVERSATIONS, inner, is, outer};
use net::{Net, possible, wait_until};
use nets::{SERVERS, VIPS, at, forward};

/// A switch that passes tags.
fn switch(net: &Net, host: &str) {
    net.ip(host, "link add name switch type bridge mcast_snooping 0");
    net.ip(host, "link set switch up");
}

/// A port of that switch, and the interface of a host that is behind it: in this VLAN, or with 0 in all.
fn port(net: &Net, switch: &str, name: &str, end: (&str, &str), vlan: u16) {
    let (host, interface) = end;
    net.cable(&format!("{switch}:{name}"), &format!("{host}:{interface}"));
    net.ip(switch, &format!("link set dev {name} master switch"));
    // Tags stand in frames, as on a wire.
    for (host, interface) in [(switch, name), end] {
        net.keep_tags_in_frames(host, interface);
    }
    if vlan == 0 {
        net.open_for_programs(switch, name);
    } else {
        net.classify(host, interface, "egress", &format!("push{vlan}"));
        net.classify(host, interface, "ingress", &format!("pop{vlan}"));
    }
}

fn add(net: &Net, host: &str, interface: &str, addresses: [&str; 2]) {
    let [four, six] = addresses;
    let lines =
        format!("addr add {four}/24 dev {interface}\naddr add {six}/64 dev {interface} nodad\n");
    net.ip_lines(host, &lines);
}

fn by_default(net: &Net, host: &str, via: [&str; 2]) {
    let [four, six] = via;
    let lines = format!("route add default via {four}\nroute add default via {six}\n");
    net.ip_lines(host, &lines);
}

fn within_brackets(ip: &str) -> String {
    match ip.contains(':') {
        true => format!("[{ip}]"),
        false => ip.to_string(),
    }
}

fn said(balancer: &Balancer) -> String {
    let packets = balancer.control("show packets").unwrap_or_default();
    let flows = balancer.control("show flows").unwrap_or_default();
    format!("{}\n{packets}\n{flows}", balancer.output())
}

/// client – router, which is in VLAN 100 with the virtual addresses and in VLAN 200 with the balancer's
/// other side; servers are there, too, or behind the router.
fn one_arm(setup: &'static str, far: bool) -> Net {
    let net = Net::new(&["c", "r", "w", "l", "s1", "s2"]);
    net.cable("c:e0", "r:out");
    switch(&net, "w");
    port(&net, "w", "q0", ("r", "up"), 100);
    port(&net, "w", "q1", ("r", "down"), 200);
    port(&net, "w", "q2", ("l", "arm"), 0);
    add(&net, "c", "e0", ["198.51.100.2", "2001:db8:1::2"]);
    add(&net, "r", "out", ["198.51.100.1", "2001:db8:1::1"]);
    add(&net, "r", "up", ["203.0.113.1", "2001:db8:3::1"]);
    add(&net, "r", "down", ["10.0.0.1", "fd00::1"]);
    add(&net, "l", "arm", ["203.0.113.2", "2001:db8:3::2"]);
    add(&net, "l", "arm", ["10.0.0.2", "fd00::2"]);
    by_default(&net, "c", ["198.51.100.1", "2001:db8:1::1"]);
    by_default(&net, "l", ["10.0.0.1", "fd00::1"]);
    forward(&net, "r");
    let [four, six] = if far {
        ["10.1.0.", "fd01::"]
    } else {
        ["10.0.0.", "fd00::"]
    };
    let gateway = [format!("{four}1"), format!("{six}1")];
    if far {
        net.ip("r", "link add name far type bridge mcast_snooping 0");
        net.ip("r", "link set far up");
        add(&net, "r", "far", [&gateway[0], &gateway[1]]);
    }
    for (host, name) in SERVERS {
        let n = &host[1..];
        if far {
            net.cable(&format!("r:p{n}"), &format!("{host}:e0"));
            net.ip("r", &format!("link set dev p{n} master far"));
        } else {
            port(&net, "w", &format!("p{n}"), (host, "e0"), 200);
        }
        let own = [format!("{four}1{n}"), format!("{six}1{n}")];
        add(&net, host, "e0", [&own[0], &own[1]]);
        by_default(&net, host, [&gateway[0], &gateway[1]]);
        mulgil(&net, host, &format!("server-setup {setup}"));
        net.within(host, move || {
            for ip in own.iter().map(String::as_str).chain(VIPS) {
                let ip = within_brackets(ip);
                serve_tcp(at(&format!("{ip}:80")), name);
                serve_http(at(&format!("{ip}:8000")), name);
                serve_udp(at(&format!("{ip}:53")), name);
            }
        });
    }
    net
}

fn config(attach: &str, forward: &str, far: bool) -> String {
    let mut text = format!("global\n    tune.packet.attach {attach}\n");
    let servers = if far {
        ["10.1.0.1", "fd01::1"]
    } else {
        ["10.0.0.1", "fd00::1"]
    };
    for (n, name) in ["four", "six"].into_iter().enumerate() {
        let vip = within_brackets(VIPS[n]);
        let server = |last| within_brackets(&format!("{}{last}", servers[n]));
        text.push_str(&format!(
            "frontend {name}
    mode packet
    bind {vip}:80,{vip}:8000 interface arm vlan 100
    default_backend {name}
frontend dns-{name}
    mode packet
    bind {vip}:53 proto udp interface arm vlan 100
    default_backend {name}
backend {name}
    mode packet
    forward {forward}
    default-server vlan 200 check port 80 inter 2s fastinter 200ms downinter 200ms fall 2 rise 1
    server one {}
    server two {}
",
            server(1),
            server(2)
        ));
    }
    text
}

/// What `mulgil doctor` says on the balancer about a configuration.
fn doctor(net: &Net, config: &str) -> String {
    let folder = lab::Folder::new();
    let file = folder.file("test.cfg", config.as_bytes());
    let out = net.within("l", move || {
        let mut command = lab::Program::mulgil().command();
        command.args(["doctor", &file]).output().expect("it runs")
    });
    String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned()
}

/// Bytes each way where it is not the amount that is tried.
const SOME: usize = 100_000;

/// Real conversations in these ways to forward, each as it is attached, from one VLAN to another.
fn carries(setup: &'static str, far: bool, ways: &[(&str, &str)]) {
    if !possible() {
        return;
    }
    let net = one_arm(setup, far);
    for (forward, attach) in ways.iter().copied() {
        let config = config(attach, forward, far);
        let examined = forward == "dsr" && attach == "auto";
        if examined {
            let said = doctor(&net, &config);
            for line in [
                "address 203.0.113.100 (TCP): ARP and ND are answered by the program in VLAN 100",
                "10.0.0.11 has not said its address in VLAN 200 of 'arm', where it can be asked only while mulgil runs",
            ] {
                assert!(said.contains(&format!("{line}\n")), "{line}: {said}");
            }
        }
        let balancer = Balancer::start(&net, "l", &config);
        for backend in ["four", "six"] {
            for server in ["one", "two"] {
                wait_until("checks find the servers' VLAN", || {
                    balancer.stat(backend, server, "status") == "UP"
                        && balancer.stat(backend, server, "check_status") == "L4OK"
                });
            }
        }
        for (vip, client) in VIPS.into_iter().zip(["198.51.100.2", "2001:db8:1::2"]) {
            let to = at(&format!("{}:80", within_brackets(vip)));
            wait_until("both serve", || {
                let heard = net.within("c", move || [talk(to, 10), talk(to, 10)]);
                let names: Vec<_> = heard.into_iter().flatten().map(|h| h.name).collect();
                names.len() == 2 && names[0] != names[1]
            });
            let mut names = Vec::new();
            for bytes in [1 << 20, 100] {
                let heard = net.within("c", move || talk(to, bytes));
                let heard =
                    heard.unwrap_or_else(|e| panic!("{attach} {to}: {e}\n{}", said(&balancer)));
                assert_eq!(heard.client.ip().to_string(), client);
                names.push(heard.name);
            }
            names.sort();
            assert_eq!(names, ["one", "two"], "in turns");
            curl(&net, "c", &within_brackets(vip));
            let from = at(&format!("{}:5353", within_brackets(client)));
            let dns = at(&format!("{}:53", within_brackets(vip)));
            let answer = net.within("c", move || ask(&udp(from, dns), &[7; 1000]));
            answer.unwrap_or_else(|e| panic!("{attach} {dns}: {e}\n{}", said(&balancer)));
            if forward.starts_with("tunnel") {
                // Word of what is too large finds the client in its VLAN, each time.
                net.ip("c", "route flush cache");
                net.ip("c", "-6 route flush cache");
                let known = net.within("c", move || path_mtu(dns, 1400));
                let known =
                    known.unwrap_or_else(|e| panic!("{attach} {dns}: {e}\n{}", said(&balancer)));
                assert!((1280..1500).contains(&known), "{known}");
            }
        }
        // What the operator sees.
        if examined {
            wait_until("the doctor reaches all of them", || {
                let said = doctor(&net, &config);
                said.matches("takes connections at port 80\n").count() == 4
                    && said.matches(" port 80 itself\n").count() == 4
            });
        }
        let flows = balancer
            .control("show flows vlan=100 to-vlan=200")
            .expect("answers");
        assert!(
            flows.contains("be=four") && flows.contains("be=six"),
            "{flows}"
        );
        let all = balancer.control("show flows count").expect("answers");
        let tagged = balancer.control("show flows count vlan=100 to-vlan=200");
        assert_eq!(tagged.expect("answers"), all);
        let trace = balancer
            .control("show flows trace 198.51.100.2")
            .expect("answers");
        assert!(
            trace.contains("tcp, VLAN 100") && trace.contains(", VLAN 200\n"),
            "{trace}"
        );
        for backend in ["four", "six"] {
            assert_eq!(
                balancer.stat(backend, "BACKEND", "bout"),
                "0",
                "answers go their own way"
            );
        }
        drop(balancer);
        detach(&net, "l");
    }
}

#[test]
fn dsr_leads_to_servers_in_another_vlan() {
    carries(
        "dsr --vip 203.0.113.100 --vip 2001:db8:3::100",
        false,
        &[("dsr", "auto"), ("dsr", "xdp")],
    );
}

#[test]
fn tunnels_leave_in_another_vlan() {
    carries(
        "tunnel --vip 203.0.113.100 --vip 2001:db8:3::100",
        true,
        &[
            ("tunnel ipip", "xdp"),
            ("tunnel ipip", "auto"),
            ("tunnel gre", "auto"),
            ("tunnel gue", "xdp"),
        ],
    );
}

#[test]
fn dscp_leaves_in_another_vlan() {
    let setup = "dscp --dscp 10 --vip 203.0.113.100 --vip 2001:db8:3::100";
    carries(setup, true, &[("dscp 10", "xdp")]);
}

/// inside – VLAN 100 – a – VLAN 200 – two firewalls – VLAN 200 – b – VLAN 100 – outside: one switch on each
/// side of the firewalls, and one arm of each balancer.
fn chain() -> Net {
    let net = Net::new(&["in", "a", "wi", "f1", "f2", "wo", "b", "out"]);
    for (w, balancer, end, side) in [("wi", "a", "in", "i"), ("wo", "b", "out", "o")] {
        switch(&net, w);
        port(&net, w, "pb", (balancer, "arm"), 0);
        port(&net, w, "pe", (end, "e0"), 100);
        port(&net, w, "p1", ("f1", side), 200);
        port(&net, w, "p2", ("f2", side), 200);
    }
    for n in 2..12 {
        net.ip("in", &format!("addr add 10.0.0.{n}/24 dev e0"));
    }
    net.ip("in", "addr add fd00::2/64 dev e0 nodad");
    add(&net, "a", "arm", ["10.0.0.1", "fd00::1"]);
    add(&net, "a", "arm", ["10.1.0.254", "fd01::254"]);
    add(&net, "b", "arm", ["10.2.0.254", "fd02::254"]);
    add(&net, "b", "arm", ["198.51.100.1", "2001:db8::1"]);
    add(&net, "out", "e0", ["198.51.100.2", "2001:db8::2"]);
    by_default(&net, "in", ["10.0.0.1", "fd00::1"]);
    by_default(&net, "out", ["198.51.100.1", "2001:db8::1"]);
    by_default(&net, "a", ["10.1.0.1", "fd01::1"]);
    by_default(&net, "b", ["10.2.0.1", "fd02::1"]);
    for (firewall, n) in [("f1", 1), ("f2", 2)] {
        add(
            &net,
            firewall,
            "i",
            [&format!("10.1.0.{n}"), &format!("fd01::{n}")],
        );
        add(
            &net,
            firewall,
            "o",
            [&format!("10.2.0.{n}"), &format!("fd02::{n}")],
        );
    }
    for host in ["a", "b", "f1", "f2"] {
        forward(&net, host);
    }
    firewalls::guard(&net);
    firewalls::serve(&net);
    net
}

/// The same in VLANs of one arm.
fn in_vlans(attach: &str, text: &str) -> String {
    let text = text
        .replace("interface near", "interface arm vlan 100")
        .replace("default-server", "default-server vlan 200");
    format!("global\n    tune.packet.attach {attach}\n{text}")
}

#[test]
fn firewalls_are_balanced_between_two_vlans_of_one_arm() {
    if !net::possible_with(&["nft"]) {
        return;
    }
    let net = chain();
    let a = Balancer::start(&net, "a", &in_vlans("xdp", &inner()));
    let b = Balancer::start(&net, "b", &in_vlans("auto", &outer()));
    let said = || format!("a: {}\nb: {}", said(&a), said(&b));
    let all_are = |server, status| is(&[&a, &b], server, status);
    let questions = || {
        let four = (2..12).map(|n| (at(&format!("10.0.0.{n}:5353")), at("198.51.100.2:80")));
        four.chain([(at("[fd00::2]:5353"), at("[2001:db8::2]:80"))])
    };
    let all_goes_through = |bytes| {
        for (host, to) in CONVERSATIONS {
            let heard = net.within(host, move || talk(at(to), bytes));
            heard.unwrap_or_else(|e| panic!("{to}: {e}\n{}", said()));
        }
        for (from, to) in questions() {
            let heard = net.within("in", move || ask(&udp(from, to), b"question"));
            heard.unwrap_or_else(|e| panic!("{from}: {e}\n{}", said()));
        }
    };
    all_are("fw1", "UP");
    all_are("fw2", "UP");
    // Checks go through the other balancer, which begins later.
    for (host, to) in CONVERSATIONS {
        wait_until("firewalls are known", || {
            net.within(host, move || talk(at(to), 10)).is_ok()
        });
    }
    all_are("fw1", "UP");
    all_are("fw2", "UP");
    all_goes_through(MUCH);
    let flows = a
        .control("show flows proto=udp vlan=100 to-vlan=200")
        .expect("answers");
    assert!(
        flows.contains("srv=fw1") && flows.contains("srv=fw2"),
        "{flows}"
    );
    let trace = a.control("show flows trace 192.0.2.1").expect("answers");
    assert!(
        trace.contains("(/0) in VLAN 100 of frontend four: fw1, fw2"),
        "{trace}"
    );
    net.ip("f1", "link set dev i down");
    net.ip("f1", "link set dev o down");
    all_are("fw1", "DOWN");
    // The programs know of it a moment later.
    for (from, to) in questions() {
        wait_until("questions go through the other one", || {
            net.within("in", move || ask(&udp(from, to), b"question"))
                .is_ok()
        });
    }
    all_goes_through(SOME);
    for balancer in ["a", "b"] {
        detach(&net, balancer);
    }
}

const OUTWARD: &str = include_str!("../../examples/own/outward.cfg");

#[test]
fn servers_in_a_vlan_reach_the_outside_in_another_by_the_pool() {
    if !possible() {
        return;
    }
    for attach in ["xdp", "auto"] {
        let net = Net::new(&["c", "w", "l", "s"]);
        switch(&net, "w");
        port(&net, "w", "q0", ("c", "e0"), 100);
        port(&net, "w", "q1", ("s", "e0"), 200);
        port(&net, "w", "q2", ("l", "arm"), 0);
        add(&net, "c", "e0", ["198.51.100.2", "2001:db8::2"]);
        add(&net, "s", "e0", ["10.0.0.11", "fd00::11"]);
        add(&net, "l", "arm", ["198.51.100.1", "2001:db8::1"]);
        add(&net, "l", "arm", ["10.0.0.1", "fd00::1"]);
        by_default(&net, "s", ["10.0.0.1", "fd00::1"]);
        by_default(&net, "c", ["198.51.100.1", "2001:db8::1"]);
        forward(&net, "l");
        let config = OUTWARD
            .replace("interface front", "interface arm vlan 100")
            .replace(
                "snat 10.0.0.0/24 to 198.51.100.20-198.51.100.23",
                "snat 10.0.0.0/24 vlan 200 to 198.51.100.20-198.51.100.23 vlan 100",
            )
            .replace(
                "snat fd00::/64 to 2001:db8::20",
                "snat fd00::/64 vlan 200 to 2001:db8::20 vlan 100",
            )
            .replace(":8080", ":8080 vlan 200");
        let config = format!("global\n    tune.packet.attach {attach}\n{config}");
        let balancer = Balancer::start(&net, "l", &config);
        net.within("s", || {
            serve_tcp(at("10.0.0.11:8080"), "server");
            serve_tcp(at("[fd00::11]:8080"), "server");
        });
        net.within("c", || {
            for address in ["198.51.100.2:80", "[2001:db8::2]:80"] {
                serve_tcp(at(address), "outside");
                serve_udp(at(address), "outside");
            }
        });
        for (far, pool, own) in [
            ("198.51.100.2:80", "198.51.100.2", "10.0.0.11:5353"),
            ("[2001:db8::2]:80", "2001:db8::2", "[fd00::11]:5353"),
        ] {
            // Nobody on the outside has been met yet.
            let heard = net.within("s", move || talk(at(far), SOME));
            let heard =
                heard.unwrap_or_else(|e| panic!("{attach} {far}: {e}\n{}", said(&balancer)));
            let seen = heard.client.ip().to_string();
            let last = seen.strip_prefix(pool).unwrap_or_default();
            assert!(["0", "1", "2", "3"].contains(&last), "{seen}");
            let answer = net.within("s", move || ask(&udp(at(own), at(far)), b"question"));
            let answer =
                answer.unwrap_or_else(|e| panic!("{attach} {own}: {e}\n{}", said(&balancer)));
            assert_eq!(answer, "outside");
        }
        // Clients still see the virtual address, and servers the clients'.
        for (vip, client) in [
            ("198.51.100.80:80", "198.51.100.2"),
            ("[2001:db8::80]:80", "2001:db8::2"),
        ] {
            let heard = net.within("c", move || talk(at(vip), 1000));
            let heard =
                heard.unwrap_or_else(|e| panic!("{attach} {vip}: {e}\n{}", said(&balancer)));
            assert_eq!(
                (heard.name.as_str(), heard.client.ip().to_string()),
                ("server", client.to_string())
            );
        }
        let ended = balancer
            .control("clear flows fe=web vlan=100")
            .expect("answers");
        assert!(
            ended.starts_with(char::is_numeric) && !ended.starts_with('0'),
            "{ended}"
        );
        drop(balancer);
        detach(&net, "l");
    }
}
