//! What else two machines can share, and what else may happen between them: hardware addresses,
//! rules, addresses that are not accepted, an owner, two groups crossed; forged, doubled and
//! reordered adverts.

#[path = "pairs/raw.rs"]
mod raw;

use lab::net::{Net, Router, possible, until};
use raw::{Advert, Announcements, Relay};

const VIP: &str = "203.0.113.10";
const SIX: &str = "2001:db8::10";

const DEFAULTS: &str = "defaults\n    mode http\n    timeout client 5s\n    timeout server 5s\n    timeout connect 1s\n";

/// A section of a virtual router.
fn section(name: &str, vrid: u8, priority: u8, address: &str, more: &str) -> String {
    format!(
        "vrrp {name}\n    interface eth0\n    virtual-router-id {vrid}\n    priority {priority}\n    \
         advertise-interval 100ms\n    address {address}\n{more}"
    )
}

/// A frontend that answers with a name on some addresses.
fn frontend(name: &str, binds: &[&str]) -> String {
    let binds: String = binds.iter().map(|b| format!("    bind {b}:80\n")).collect();
    format!(
        "{DEFAULTS}frontend web\n{binds}    http-request return status 200 content-type text/plain string {name}\n"
    )
}

fn config(name: &str, priority: u8, more: &str) -> String {
    frontend(name, &[VIP]) + &section("public", 51, priority, &format!("{VIP}/24"), more)
}

/// The hardware address that the client knows of an address.
fn known(net: &Net, address: &str) -> String {
    let shown = net.ip(&net.client(), &format!("neigh show {address} dev br0"));
    let mut words = shown.split(' ').skip_while(|w| *w != "lladdr");
    words.nth(1).unwrap_or_default().to_string()
}

/// The processes that a process has started.
fn children(of: u32) -> Vec<String> {
    let path = format!("/proc/{of}/task/{of}/children");
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.split_whitespace().map(str::to_string).collect()
}

#[test]
fn a_virtual_hardware_address_moves_with_the_addresses() {
    if !possible() {
        return;
    }
    let both = |name: &str, priority: u8| {
        let group = "    virtual-mac\n    group edge\n";
        frontend(name, &[VIP, &format!("[{SIX}]")])
            + &section("public", 51, priority, &format!("{VIP}/24"), group)
            + &section("six", 52, priority, &format!("{SIX}/64"), group)
    };
    let net = Net::new(2);
    let first = Router::start(&net, 1, &both("first", 200));
    let second = Router::start(&net, 2, &both("second", 100));
    let own_links = |n: usize| net.ip(&net.router(n), "-o link show type macvlan");
    let serves = |name: &str| {
        for address in [VIP, SIX] {
            until(&format!("{name} answers at {address}"), || {
                net.get(address) == name
            });
        }
        assert_eq!(known(&net, VIP), "00:00:5e:00:01:33");
        assert_eq!(known(&net, SIX), "00:00:5e:00:02:34");
    };
    first.wait_for("public", "state", "active");
    second.wait_for("public", "state", "backup");
    serves("first");
    let shown = own_links(1);
    assert!(
        shown.contains("vrrp4.51.") && shown.contains("vrrp6.52."),
        "{shown}"
    );
    assert_eq!(own_links(2), "");
    assert_eq!(first.vrrp("public", "address"), format!("{VIP}/24 here"));
    // The guardian takes the interfaces away, too.
    first.kill();
    serves("second");
    until("the first has no interface left", || {
        own_links(1).is_empty()
    });
    let first = Router::start(&net, 1, &both("first", 200));
    serves("first");
    until("the second has no interface left", || {
        own_links(2).is_empty()
    });
    // As if the machine lost its power: nobody is left to tidy up but the next start.
    lose_power(&net, first);
    serves("second");
    assert!(own_links(1).contains("vrrp4.51."));
    let first = Router::start(&net, 1, &both("first", 50));
    first.wait_for_output("removed interface vrrp4.51.");
    assert_eq!(own_links(1), "");
    // A process that replaces another finds them where they are.
    let old = second.child.id().to_string();
    let third = Router::replace(&net, 2, &both("third", 100), &old);
    serves("third");
    assert_eq!(first.count("public", "became_active"), 0);
    third.stop();
    serves("first");
    assert_eq!(own_links(2), "");
}

/// Whoever looks at the link sees each announcement.
#[test]
fn addresses_are_announced_at_once_again_and_anew_when_a_split_link_is_whole() {
    if !possible() {
        return;
    }
    let both = |name: &str, priority: u8| {
        frontend(name, &[VIP])
            + &section("public", 51, priority, &format!("{VIP}/24"), "")
            + &section("six", 52, priority, &format!("{SIX}/64"), "")
    };
    let net = Net::new(2);
    let mac = |n: usize| {
        let shown = net.ip(&net.router(n), "-o link show dev eth0");
        let mut words = shown.split(' ').skip_while(|w| *w != "link/ether");
        let text = words.nth(1).expect("a hardware address");
        let bytes: Vec<u8> = text
            .split(':')
            .map(|b| u8::from_str_radix(b, 16).expect("a byte"))
            .collect();
        <[u8; 6]>::try_from(bytes).expect("six bytes")
    };
    let (one, two) = (mac(1), mac(2));
    let heard = Announcements::listen(&net.client(), "br0");
    let first = Router::start(&net, 1, &both("first", 200));
    for address in [VIP, SIX] {
        // At once, after 0.1 s, after another 0.5 s.
        until(&format!("{address} is announced three times"), || {
            heard.count(address, one) >= 3
        });
        assert_eq!(heard.count(address, two), 0, "{address}");
    }
    let second = Router::start(&net, 2, &both("second", 100));
    for section in ["public", "six"] {
        second.wait_for(section, "state", "backup");
    }
    // The second one hears nothing, and claims what is not its own.
    let flood = |on: &str| {
        let args = ["link", "set", "dev", "eth0r2", "mcast_flood", on];
        assert!(net.exec(&net.client(), "bridge", &args).0);
    };
    flood("off");
    for address in [VIP, SIX] {
        until(&format!("the second announces {address}"), || {
            heard.count(address, two) > 0
        });
    }
    let before = [VIP, SIX].map(|a| heard.count(a, one));
    flood("on");
    for section in ["public", "six"] {
        second.wait_for(section, "state", "backup");
    }
    for (address, before) in [VIP, SIX].into_iter().zip(before) {
        until(&format!("the first announces {address} anew"), || {
            heard.count(address, one) > before
        });
    }
    assert_eq!(first.count("public", "became_active"), 1);
    assert_eq!(first.count("six", "became_active"), 1);
}

#[test]
fn an_address_that_is_not_accepted_is_there_and_takes_no_packets() {
    if !possible() {
        return;
    }
    let both = |more: &str| {
        frontend("only", &[VIP, &format!("[{SIX}]")])
            + &section("public", 51, 200, &format!("{VIP}/24"), more)
            + &section("six", 52, 200, &format!("{SIX}/64"), more)
    };
    let net = Net::new(1);
    let only = Router::start(&net, 1, &both("    no accept\n"));
    only.wait_for("public", "state", "active");
    only.wait_for("six", "state", "active");
    for address in [VIP, SIX] {
        // The link is told who has it, but the connection is not taken.
        assert_eq!(net.get(address), "");
        assert_ne!(known(&net, address), "", "{address}");
    }
    only.reload(&both(""));
    for address in [VIP, SIX] {
        until(&format!("{address} is accepted"), || {
            net.get(address) == "only"
        });
    }
    only.reload(&both("    no accept\n"));
    assert_eq!(net.get(VIP), "");
    // A process that dies leaves no filter behind.
    only.kill();
    let tables = || net.exec(&net.router(1), "nft", &["list", "tables"]).1;
    until("the filter is gone", || !tables().contains("mulgil"));
}

#[test]
fn rules_and_their_routes_go_with_the_address_and_others_are_left_alone() {
    if !possible() {
        return;
    }
    let lines = "    rule from 203.0.113.10 table 100 priority 1000\n    rule to 198.51.100.0/24 table 300\n    \
                 route default via 203.0.113.254 table 100\n";
    let net = Net::new(2);
    net.ip(&net.router(2), "rule add to 198.51.100.0/24 table 300");
    let first = Router::start(&net, 1, &config("first", 200, lines));
    let second = Router::start(&net, 2, &config("second", 100, lines));
    first.wait_for("public", "state", "active");
    second.wait_for("public", "state", "backup");
    let rules = |n: usize| net.ip(&net.router(n), "rule show");
    let own = |n: usize| rules(n).contains("1000:\tfrom 203.0.113.10 lookup 100 proto 112");
    let routed = |n: usize| {
        let shown = net.ip(&net.router(n), "route show table all");
        shown.contains("default via 203.0.113.254 dev eth0 table 100 proto 112")
    };
    until("the active one has both", || own(1) && routed(1));
    assert!(!own(2) && !routed(2));
    // As if the machine lost its power: nobody takes anything away.
    for guardian in children(first.child.id()) {
        net.exec(&net.client(), "kill", &["-KILL", &guardian]);
    }
    assert!(
        rules(1).contains("to 198.51.100.0/24 lookup 300 proto 112"),
        "{}",
        rules(1)
    );
    first.kill();
    until("the other one has them", || own(2) && routed(2));
    // What the crash left is removed by the next start, the address before all.
    assert!(own(1) && net.has(1, VIP));
    let first = Router::start(&net, 1, &config("first", 50, lines));
    first.wait_for("public", "state", "backup");
    assert!(!own(1) && !routed(1) && !net.has(1, VIP), "{}", rules(1));
    assert!(
        first.output().contains("removed 203.0.113.10/24 from eth0"),
        "{}",
        first.output()
    );
    second.reload(&config(
        "second",
        100,
        "    rule from 203.0.113.10 table 200 priority 1000\n",
    ));
    until("the rules are others", || {
        !own(2) && !routed(2) && rules(2).contains("1000:\tfrom 203.0.113.10 lookup 200")
    });
    second.stop();
    // The one that was there before has stayed all the while.
    let left = rules(2);
    assert!(
        !left.contains("1000:") && left.contains("to 198.51.100.0/24 lookup 300"),
        "{left}"
    );
}

/// As if the machine lost its power: nobody takes anything away.
fn lose_power(net: &Net, router: Router) {
    for guardian in children(router.child.id()) {
        net.exec(&net.client(), "kill", &["-KILL", &guardian]);
    }
    router.kill();
}

#[test]
fn what_the_file_does_not_name_any_more_is_removed_all_the_same() {
    if !possible() {
        return;
    }
    let lines = |n: u8| {
        format!(
            "    route 198.51.{n}.0/24 via 203.0.113.254\n    route 198.51.{n}.0/24 table 77\n    \
             rule from 198.51.{n}.0/24 table 77\n    rule to 198.51.{n}.0/24 table 77 priority 500\n"
        )
    };
    let net = Net::new(1);
    let host = net.router(1);
    // What somebody else has set beside it stays whatever happens.
    net.ip(&host, "route add 198.51.1.0/25 dev eth0");
    net.ip(&host, "rule add from 198.51.1.0/25 table 77 priority 400");
    // So keepalived names its interfaces.
    net.ip(
        &host,
        "link add vrrp.51 link eth0 address 00:00:5e:00:01:33 type macvlan",
    );
    let shown = || net.ip(&host, "rule show") + &net.ip(&host, "route show table all");
    let ours = |n: u8| {
        let all = shown();
        let of = format!("198.51.{n}.0/24");
        let mut lines = all.lines().filter(|l| l.contains(&of));
        lines.by_ref().filter(|l| l.contains("proto 112")).count()
    };
    let first = Router::start(&net, 1, &config("only", 200, &lines(1)));
    first.wait_for("public", "state", "active");
    until("all are set", || ours(1) == 4);
    // Nothing is there twice after another claim, nor after a rule was given another place.
    net.ip(&host, &format!("address del {VIP}/24 dev eth0"));
    first.wait_for_output("it is added again");
    until("each is there once", || ours(1) == 4);
    let placed = lines(1).replacen(
        "table 77\n    rule to",
        "table 77 priority 501\n    rule to",
        1,
    );
    first.reload(&config("only", 200, &placed));
    until("the rule has its place, and no other", || {
        shown().contains("501:") && ours(1) == 4
    });
    // Of two rules in one place the one goes that is not wanted any more.
    let narrow = "    rule from 10.0.0.0/8 to 198.51.9.0/24 table 77 priority 600\n";
    let wide = "    rule to 198.51.9.0/24 table 77 priority 600\n";
    first.reload(&config("only", 200, &(placed.clone() + narrow + wide)));
    until("both are set", || ours(9) == 2);
    first.reload(&config("only", 200, &(placed + narrow)));
    until("one is left, and it is the narrow one", || {
        ours(9) == 1 && shown().contains("from 10.0.0.0/8 to 198.51.9.0/24")
    });
    // A process that dies alone has a guardian, who takes them away.
    first.kill();
    until("the guardian has removed them", || ours(1) == 0);
    assert!(!net.has(1, VIP));
    let first = Router::start(&net, 1, &config("only", 200, &lines(1)));
    first.wait_for("public", "state", "active");
    until("all are set", || ours(1) == 4);
    // One that replaces it has other ones.
    let old = first.child.id().to_string();
    let second = Router::replace(&net, 1, &config("only", 200, &lines(2)), &old);
    second.wait_for("public", "state", "active");
    until("they are others", || ours(1) == 0 && ours(2) == 4);
    assert_eq!(second.count("public", "became_active"), 1);
    // After a crash without a guardian the file names neither them, nor the address.
    lose_power(&net, second);
    assert!(ours(2) == 4 && net.has(1, VIP), "{}", shown());
    let other = frontend("only", &["203.0.113.20"])
        + &section("other", 77, 200, "203.0.113.20/24", &lines(3));
    let third = Router::start(&net, 1, &other);
    third.wait_for("other", "state", "active");
    until("they are others again", || ours(3) == 4);
    assert!(ours(2) == 0 && !net.has(1, VIP), "{}", shown());
    third.wait_for_output("removed 203.0.113.10/24 from eth0");
    // Nor any section at all.
    lose_power(&net, third);
    assert!(ours(3) == 4 && net.has(1, "203.0.113.20"), "{}", shown());
    let fourth = Router::start(&net, 1, &frontend("only", &["203.0.113.1"]));
    assert!(ours(3) == 0 && !net.has(1, "203.0.113.20"), "{}", shown());
    fourth.stop();
    let fifth = Router::start(&net, 1, &frontend("only", &["203.0.113.1"]));
    assert!(!fifth.output().contains("vrrp"), "{}", fifth.output());
    fifth.stop();
    assert!(
        net.ip(&host, "-o link show type macvlan")
            .contains("vrrp.51@")
    );
    let left = shown();
    assert!(
        left.contains("198.51.1.0/25 dev eth0") && left.contains("from 198.51.1.0/25 lookup 77"),
        "{left}"
    );
}

#[test]
fn an_owner_is_active_at_once_and_takes_over_whatever_preempt_says() {
    if !possible() {
        return;
    }
    let net = Net::new(2);
    net.ip(&net.router(1), &format!("addr add {VIP}/24 dev eth0"));
    let second = Router::start(&net, 2, &config("second", 254, ""));
    second.wait_for("public", "state", "active");
    let owner = Router::start(&net, 1, &config("first", 255, "    no preempt\n"));
    owner.wait_for("public", "state", "active");
    assert_eq!(owner.vrrp("public", "reason"), "it owns the addresses");
    second.wait_for("public", "state", "backup");
    until("the client reaches the owner", || net.get(VIP) == "first");
    // Tracking changes no owner's priority, a release does.
    owner.control("vrrp release public");
    second.wait_for("public", "state", "active");
    owner.control("vrrp resume public");
    owner.wait_for("public", "state", "active");
    assert_eq!(owner.vrrp("public", "priority"), "255");
    owner.stop();
    second.wait_for("public", "state", "active");
    assert!(net.has(1, VIP), "the owner's address is its own");
}

#[test]
fn two_groups_crossed_share_the_load_and_each_stands_in_for_the_other() {
    if !possible() {
        return;
    }
    let (one, two) = ("203.0.113.10", "203.0.113.11");
    let crossed = |name: &str, first: u8, second: u8| {
        let shown = "    stats enable\n    stats uri /stats\n    http-request use-service prometheus-exporter if { path /metrics }\n";
        frontend(name, &[one, two])
            .replace(
                "    http-request return",
                &format!("{shown}    http-request return"),
            )
            .replace("string first", "string first unless { path /stats }")
            .replace("string second", "string second unless { path /stats }")
            + &section("one", 51, first, &format!("{one}/24"), "")
            + &section("two", 52, second, &format!("{two}/24"), "")
    };
    let net = Net::new(2);
    let first = Router::start(&net, 1, &crossed("first", 200, 100));
    let second = Router::start(&net, 2, &crossed("second", 100, 200));
    let settled = || {
        first.wait_for("one", "state", "active");
        first.wait_for("two", "state", "backup");
        second.wait_for("one", "state", "backup");
        second.wait_for("two", "state", "active");
        until("both answer", || {
            net.get(one) == "first" && net.get(two) == "second"
        });
    };
    settled();
    // What statistics say of it.
    let page = |path: &str| {
        let url = format!("http://{one}{path}");
        net.exec(&net.client(), "curl", &["-s", "-m", "5", &url]).1
    };
    until("the metrics say so", || {
        let text = page("/metrics");
        [
            "mulgil_vrrp_state{section=\"one\",state=\"active\"} 1",
            "mulgil_vrrp_state{section=\"two\",state=\"backup\"} 1",
            "mulgil_vrrp_refused_ttl_total{section=\"one\"} 0",
            "mulgil_vrrp_became_active_total{section=\"one\"} 1",
        ]
        .iter()
        .all(|line| text.contains(line))
    });
    let shown = page("/stats");
    assert!(
        shown.contains("Virtual routers") && shown.contains("active"),
        "{shown}"
    );
    second.signal("-STOP");
    first.wait_for("two", "state", "active");
    until("the first has both", || {
        net.get(two) == "first" && net.get(one) == "first"
    });
    second.signal("-CONT");
    settled();
    first.control("vrrp release");
    second.wait_for("one", "state", "active");
    until("the second has both", || net.get(one) == "second");
    first.control("vrrp resume");
    settled();
}

#[test]
fn every_advert_that_is_not_right_is_refused_and_counted() {
    if !possible() {
        return;
    }
    let net = Net::new(1);
    // Packets with a source of its own the kernel drops otherwise.
    let accept = ["-qw", "net.ipv4.conf.eth0.accept_local=1"];
    assert!(net.exec(&net.router(1), "sysctl", &accept).0);
    let only = Router::start(&net, 1, &config("only", 100, ""));
    only.wait_for("public", "state", "active");
    let good = Advert::new();
    let wrong: [(&str, Advert); 9] = [
        (
            "refused_ttl",
            Advert {
                ttl: 254,
                ..good.clone()
            },
        ),
        (
            "refused_destination",
            Advert {
                to: [203, 0, 113, 1],
                ..good.clone()
            },
        ),
        (
            "refused_length",
            Advert {
                cut: 3,
                ..good.clone()
            },
        ),
        (
            "refused_version",
            Advert {
                version: 2,
                ..good.clone()
            },
        ),
        (
            "refused_type",
            Advert {
                kind: 2,
                ..good.clone()
            },
        ),
        (
            "refused_checksum",
            Advert {
                spoil: 1,
                ..good.clone()
            },
        ),
        (
            "refused_interval",
            Advert {
                interval: 0,
                ..good.clone()
            },
        ),
        (
            "refused_own_address",
            Advert {
                from: [203, 0, 113, 1],
                ..good.clone()
            },
        ),
        (
            "other_addresses",
            Advert {
                address: [203, 0, 113, 99],
                priority: 50,
                ..good.clone()
            },
        ),
    ];
    for (counter, advert) in wrong {
        let before = only.count("public", counter);
        // The queue of a raw socket may be full for a moment.
        until(&format!("{counter} counts"), || {
            advert.send(&net.client(), "br0");
            only.count("public", counter) > before
        });
        assert_eq!(only.vrrp("public", "state"), "active", "{counter}");
    }
    assert!(only.output().contains("two routers are active now"));
    // The same without a mistake is believed.
    until("a better router is believed", || {
        good.send(&net.client(), "br0");
        only.vrrp("public", "state") == "backup"
    });
    // Another list of addresses is heard in version 3, and none in version 2.
    let two = config("only", 100, "    version 2\n").replace("100ms", "1s");
    only.reload(&two);
    for (counter, advert) in [
        (
            "refused_addresses",
            Advert {
                address: [203, 0, 113, 99],
                ..good.clone()
            },
        ),
        (
            "refused_interval",
            Advert {
                interval: 2,
                ..good.clone()
            },
        ),
        (
            "refused_authentication",
            Advert {
                authentication: 1,
                ..good.clone()
            },
        ),
    ] {
        let advert = Advert {
            version: 2,
            interval: advert.interval.min(2),
            ..advert
        };
        let advert = if counter == "refused_interval" {
            advert
        } else {
            Advert {
                interval: 1,
                ..advert
            }
        };
        until(&format!("{counter} counts"), || {
            advert.send(&net.client(), "br0");
            only.count("public", counter) > 0
        });
    }
    let unicast = config("only", 100, "    unicast 203.0.113.78\n");
    only.reload(&unicast);
    until("refused_stranger counts", || {
        Advert {
            to: [203, 0, 113, 1],
            ..good.clone()
        }
        .send(&net.client(), "br0");
        only.count("public", "refused_stranger") > 0
    });
}

#[test]
fn doubled_and_reordered_adverts_move_nothing() {
    if !possible() {
        return;
    }
    // The relay keeps every other advert until the next one comes.
    let slow = |name: &str, priority| config(name, priority, "").replace("100ms", "400ms");
    let net = Net::new(2);
    // Everything between the second router and the others comes twice, and each pair turned.
    let relay = Relay::between(&net, "eth0r2", "br0");
    let first = Router::start(&net, 1, &slow("first", 200));
    first.wait_for("public", "state", "active");
    let second = Router::start(&net, 2, &slow("second", 100));
    // Until it has heard the first one it may take itself for alone.
    until("adverts come", || {
        second.count("public", "adverts_received") > 1
    });
    net.wait_for_holder(1, VIP);
    second.wait_for("public", "state", "backup");
    let before = [
        second.count("public", "became_active"),
        first.count("public", "contended"),
        first.count("public", "became_active"),
    ];
    let heard = second.count("public", "adverts_received");
    until("many adverts come", || {
        second.count("public", "adverts_received") > heard + 12
    });
    let after = [
        second.count("public", "became_active"),
        first.count("public", "contended"),
        first.count("public", "became_active"),
    ];
    assert_eq!(before, after);
    // A farewell that comes twice and late, among adverts from before it.
    first.stop();
    net.wait_for_holder(2, VIP);
    let first = Router::start(&net, 1, &slow("first", 200));
    net.wait_for_holder(1, VIP);
    second.wait_for("public", "state", "backup");
    assert_eq!(first.count("public", "became_active"), 1);
    assert!(relay.count() >= 10, "all went through the relay");
}
