//! Sections `vrrp`: every keyword, and what must hold of a section as a whole.

mod common;

use common::{Files, said};
use config::table::VRRP_KEYWORDS;

const WHOLE: &str =
    "vrrp public\n interface eth0\n virtual-router-id 51\n address 203.0.113.10/24\n";

fn messages(text: &str) -> Vec<String> {
    said(&Files::with(text).load(&["a.cfg"]))
}

fn refused(text: &str, wanted: &str) {
    let said = messages(text);
    assert!(
        said.iter().any(|s| s.contains(wanted)),
        "no '{wanted}' in {said:?}"
    );
}

#[test]
fn a_section_is_read_whole() {
    let text = "vrrp public\n interface eth0\n virtual-router-id 51\n priority 200\n advertise-interval 10ms\n \
                address 203.0.113.10/24\n address 203.0.113.11\n preempt delay 30s\n group edge\n \
                source 203.0.113.1\n unicast 203.0.113.2 203.0.113.3\n peer 10.9.0.2\n peer 10.9.0.3:99\n \
                track interface eth1 weight -20\n track file /run/off\n \
                track script \"test -e /x\" inter 2s timeout 1s rise 2 fall 3\n \
                notify /bin/true\n announce-refresh 0\n peer-key site.pem\n no accept\n virtual-mac\n \
                route default via 203.0.113.254 table 100\n \
                rule from 203.0.113.10 to 198.51.100.0/24 table 100 priority 1000\n";
    let loaded = Files::with(text).load(&["a.cfg"]);
    assert_eq!(said(&loaded), Vec::<String>::new());
    let config = loaded.config.expect("valid");
    let [v] = config.vrrp.as_slice() else {
        panic!("{:?}", config.vrrp)
    };
    assert_eq!((v.vrid, v.version, v.priority), (51, 3, 200));
    assert_eq!(v.interval.as_millis(), 10);
    assert_eq!(v.preempt_delay.as_secs(), 30);
    let addresses: Vec<String> = v.addresses.iter().map(ToString::to_string).collect();
    assert_eq!(addresses, ["203.0.113.10/24", "203.0.113.11/32"]);
    let peers: Vec<String> = v.peers.iter().map(ToString::to_string).collect();
    assert_eq!(peers, ["10.9.0.2:7112", "10.9.0.3:99"]);
    assert_eq!((v.unicast.len(), v.tracks.len(), v.notify.len()), (2, 3, 1));
    assert!(v.preempt && v.refresh.is_zero() && v.peer_key.is_some());
    assert!(v.virtual_mac && !v.accept);
    let moved = (v.routes[0].to_string(), v.rules[0].to_string());
    assert_eq!(moved.0, "0.0.0.0/0 via 203.0.113.254 table 100");
    assert_eq!(
        moved.1,
        "from 203.0.113.10/32 to 198.51.100.0/24 table 100 priority 1000"
    );
}

#[test]
fn every_example_stands_in_a_section_and_no_word_is_passed_over() {
    const WITH_PEER: &str = "vrrp public\n interface eth0\n virtual-router-id 51\n address 203.0.113.10/24\n peer 10.9.0.9\n";
    for keyword in VRRP_KEYWORDS {
        let line = format!("{WITH_PEER} {} {}\n", keyword.name, keyword.example);
        assert_eq!(messages(&line), Vec::<String>::new(), "{}", keyword.name);
        if !keyword.args.is_empty() && !keyword.args.starts_with('[') {
            let bare = format!("{WHOLE} {}\n", keyword.name);
            assert!(!messages(&bare).is_empty(), "{}", keyword.name);
        }
        let more = format!("{WHOLE} {} {} ]] ]]\n", keyword.name, keyword.example);
        assert!(!messages(&more).is_empty(), "{}", keyword.name);
        let negated = format!("{WHOLE} no {} {}\n", keyword.name, keyword.example);
        let may = keyword.name == "accept";
        assert_eq!(messages(&negated).is_empty(), may, "{}", keyword.name);
        for odd in [
            "-1",
            "999999999999999999999",
            "é",
            "%",
            "/",
            "0",
            "::",
            "1.2.3.4/33",
            "\"\"",
        ] {
            messages(&format!("{WHOLE} {} {odd}\n", keyword.name));
        }
    }
}

#[test]
fn what_is_missing_or_does_not_fit_is_named_with_its_remedy() {
    refused(
        "vrrp public\n",
        "has no 'interface': add a line such as 'interface eth0'",
    );
    refused("vrrp public\n", "has no 'virtual-router-id'");
    refused("vrrp public\n", "has no 'address'");
    refused("vrrp\n", "'vrrp' wants a name");
    refused(
        &format!("{WHOLE}{WHOLE}"),
        "there is a 'vrrp public' already",
    );
    let twin = WHOLE.replace("public", "other");
    refused(
        &format!("{WHOLE}{twin}"),
        "has virtual-router-id 51 on eth0 already",
    );
    let twin = format!("{} peer 10.9.0.2\n", twin.replace("eth0", "eth1"));
    refused(
        &format!("{WHOLE} peer 10.9.0.2\n{twin}"),
        "and the same peer",
    );
    refused(
        &format!("{WHOLE} address 2001:db8::1\n"),
        "is of another family",
    );
    refused(
        &format!("{WHOLE} unicast fe80::1\n"),
        "is of another family than the addresses",
    );
    refused(
        &format!("{WHOLE} address 203.0.113.10\n"),
        "stands above already",
    );
    refused(&format!("{WHOLE} address 224.0.0.1\n"), "cannot be shared");
    refused(
        &format!("{WHOLE} advertise-interval 15ms\n"),
        "use a multiple of 10ms",
    );
    refused(
        &format!("{WHOLE} advertise-interval 41s\n"),
        "10ms to 40950ms",
    );
    refused(
        &format!("{WHOLE} version 2\n advertise-interval 100ms\n"),
        "whole seconds",
    );
    for (line, why) in [
        ("route 198.51.100.0", "has no prefix"),
        ("route 198.51.100.1/24", "names a host"),
        ("route default", "has no router"),
        ("route 2001:db8::/32 via 203.0.113.1", "of another family"),
        (
            "route 198.51.100.0/24 dev eth1",
            "where 'via ADDRESS' or 'table NUMBER' may",
        ),
        ("route 198.51.100.0/24 table 255", "the kernel's own"),
        ("rule from 203.0.113.10", "has no table"),
        ("rule table 7", "about all packets"),
        ("rule from 203.0.113.1/24 table 7", "names a host"),
        (
            "rule from 203.0.113.1 to 2001:db8::1 table 7",
            "different families",
        ),
        ("rule from 203.0.113.1 lookup 7", "'lookup'"),
        (
            "rule from 203.0.113.1 table 7 priority 0",
            "0 is out of range",
        ),
        ("rule to 2001:db8::/32 table 7", "of another family"),
        ("virtual-mac yes", "'yes'"),
        ("priority 255\n virtual-mac", "priority 255"),
        ("priority 255\n no accept", "priority 255"),
    ] {
        refused(&format!("{WHOLE} {line}\n"), why);
    }
    let keyed = format!("{WHOLE} peer 10.9.0.2\n peer-key site.pem\n sync sessions\n");
    assert_eq!(messages(&keyed), Vec::<String>::new());
    for (lines, why) in [
        (
            "peer-key site.pem\n sync sessions",
            "add a line 'peer ADDRESS'",
        ),
        (
            "peer 10.9.0.2\n sync sessions",
            "would take sessions from anybody",
        ),
        ("peer 10.9.0.2\n sync tables", "use 'sync sessions'"),
        (
            "peer 10.9.0.2\n sync sessions over eth2",
            "where 'dedicated INTERFACE' may",
        ),
    ] {
        refused(&format!("{WHOLE} {lines}\n"), why);
    }
    let other = keyed.replace("public", "other").replace("id 51", "id 52");
    refused(
        &format!(
            "{keyed}{}",
            other.replace("sessions", "sessions dedicated eth2")
        ),
        "synchronises with the same peer in another way",
    );
    refused(&format!("{WHOLE} priority 0\n"), "out of range");
    refused(&format!("{WHOLE} priorty 10\n"), "did you mean 'priority'?");
    refused(
        &format!("{WHOLE} track backend app\n"),
        "no backend is called 'app'",
    );
    refused(
        &format!("{WHOLE} track frontend web\n"),
        "no frontend is called 'web'",
    );
    refused(
        &format!("{WHOLE} track interface eth1 weight 0\n"),
        "is no weight",
    );
    refused(&format!("{WHOLE} track disk x\n"), "unknown kind 'disk'");
    refused(&format!("{WHOLE} peer-key sorry.txt\n"), "cannot read");
    refused(&format!("{WHOLE} no priority 3\n"), "cannot be taken back");
    let six = WHOLE.replace("203.0.113.10/24", "fe80::1/64");
    refused(&format!("{six} version 2\n"), "version 2 knows no IPv6");
}

#[test]
fn two_families_share_a_number() {
    let six = WHOLE
        .replace("public", "six")
        .replace("203.0.113.10/24", "fe80::1/64");
    assert_eq!(messages(&format!("{WHOLE}{six}")), Vec::<String>::new());
}

#[test]
fn a_bind_on_a_shared_address_waits_for_it() {
    let text = format!(
        "{WHOLE}frontend web\n bind 203.0.113.10:80\n bind 203.0.113.11:80\n timeout client 1s\n"
    );
    let config = Files::with(&text).load(&["a.cfg"]).config.expect("valid");
    let front = config.frontend("web").and_then(|p| p.frontend.as_ref());
    let moves: Vec<bool> = front
        .expect("a frontend")
        .binds
        .iter()
        .map(|b| b.options.moves)
        .collect();
    assert_eq!(moves, [true, false]);
}
