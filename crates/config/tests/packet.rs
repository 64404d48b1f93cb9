//! `mode packet`: what it means, and what is said where it cannot be.

mod common;

use common::Files;
use config::{LoadRequest, Severity, load};
use model::{Forward, Mode, Transport};

fn read(text: &str) -> (Option<model::Config>, String) {
    let request = LoadRequest {
        paths: vec!["a.cfg".into()],
        ..LoadRequest::default()
    };
    let loaded = load(&request, &Files::with(text));
    let said = loaded.report.diagnostics.iter();
    let said = said.filter(|d| d.severity >= Severity::Warning);
    (loaded.config, said.map(|d| format!("{d}\n")).collect())
}

const FRONT: &str = "frontend f\n mode packet\n bind 203.0.113.10:80\n default_backend b\n";
const BACK: &str = "backend b\n mode packet\n server s 10.0.0.1:80\n";

#[test]
fn a_file_for_packets_needs_no_timeouts_and_means_what_it_says() {
    let text = format!(
        "{FRONT} bind 203.0.113.11 proto any\n bind 203.0.113.12:53 proto udp\n{BACK} forward nat source 10.0.0.200-10.0.0.215\n timeout session 1h\n"
    );
    let (config, said) = read(&text);
    assert_eq!(said, "");
    let config = config.expect("valid");
    let binds = &config
        .frontend("f")
        .expect("there")
        .frontend
        .as_ref()
        .expect("a side")
        .binds;
    let kinds: Vec<_> = binds.iter().map(|b| b.options.transport).collect();
    assert_eq!(kinds, [None, Some(Transport::Any), Some(Transport::Udp)]);
    let backend = config.backend("b").expect("there");
    assert_eq!(backend.mode, Mode::Packet);
    let packets = backend.backend.as_ref().expect("a side").packets;
    assert!(matches!(packets.forward, Forward::Nat(Some(pool)) if pool.size == 16));
    assert_eq!(packets.timeouts.established.as_secs(), 3600);
    assert_eq!(packets.timeouts.udp.as_secs(), 60);
}

#[test]
fn prefixes_and_what_leaves_outward_may_be_in_vlans() {
    let text = format!(
        "{FRONT} bind 0.0.0.0/0 interface a vlan 100\n bind 0.0.0.0/0 interface a vlan 101\n bind 0.0.0.0/0 interface b\n snat 10.0.0.0/24 vlan 200 to 203.0.113.20-203.0.113.23 ports 2000-2999 vlan 100\n snat 10.0.1.0/24 to 203.0.113.24 vlan 7\n snat 10.0.2.0/24 vlan 8 to 203.0.113.25\n snat 10.0.3.0/24 to 203.0.113.26\nfrontend o\n mode packet\n snat 10.0.4.0/24 to 203.0.113.27\n default_backend b\n{BACK}"
    );
    let (config, said) = read(&text);
    assert_eq!(said, "");
    let config = config.expect("valid");
    let side = config.frontend("f").expect("there").frontend.as_ref();
    let side = side.expect("a side");
    let vlans: Vec<_> = side.binds.iter().map(|b| b.options.vlan).collect();
    assert_eq!(vlans, [None, Some(100), Some(101), None]);
    let led: Vec<_> = side
        .snat
        .iter()
        .map(|s| (s.vlan, s.to_vlan, s.to.size))
        .collect();
    assert_eq!(
        led,
        [
            (Some(200), Some(100), 4),
            (None, Some(7), 1),
            (Some(8), None, 1),
            (None, None, 1)
        ]
    );
    assert_eq!(side.snat[0].to.ports, (2000, 2999));
    for (line, part) in [
        (
            "snat 10.0.0.0/24 vlan 0 to 203.0.113.20",
            "0 is out of range: 1 to 4094",
        ),
        (
            "snat 10.0.0.0/24 vlna 5 to 203.0.113.20",
            "did you mean 'vlan'?",
        ),
        (
            "snat 10.0.0.0/24 vlan 5 203.0.113.20",
            "unknown word after the servers '203.0.113.20'",
        ),
        ("snat 10.0.0.0/24 to 203.0.113.20 vlan", "vlan"),
        ("snat 10.0.0.0/24 to 203.0.113.20 vlan 4095", "4095"),
        (
            "snat 10.0.0.0/24 to 203.0.113.20 prots 1-2",
            "did you mean 'ports'?",
        ),
        (
            "snat 10.0.0.0/24 to 203.0.113.20 vlan 5 ports 1-2",
            "'ports' is one word too many for 'snat'",
        ),
        ("snat 10.0.0.0/24 to [fd00::1] vlan 5", "another family"),
        ("snat 10.0.0.0/24", "'to' and a pool"),
    ] {
        let (config, said) = read(&format!("{FRONT} {line}\n{BACK}"));
        assert!(config.is_none() && said.contains(part), "{line}: {said}");
    }
}

#[test]
fn packets_are_scheduled_by_what_is_known_of_them() {
    use model::PacketPart::*;
    for (line, parts) in [
        ("roundrobin", vec![]),
        ("leastconn", vec![]),
        ("bandwidth", vec![]),
        ("maglev", vec![]),
        ("hash src", vec![Source]),
        ("hash dst dst_port", vec![Destination, DestinationPort]),
        ("maglev src src_port", vec![Source, SourcePort]),
        ("hash fc_saved_syn,eth.src", vec![SourceMac]),
    ] {
        let (config, said) = read(&format!("{FRONT}{BACK} balance {line}\n"));
        assert_eq!(said, "", "{line}");
        let config = config.expect("valid");
        let backend = config.backend("b").expect("there").backend.as_ref();
        let balance = &backend.expect("a side").balance;
        assert_eq!(balance.packet_parts(), Some(parts), "{line}");
    }
    for (line, wanted) in [
        ("hash src,ipmask(24)", "hashes something else than 'src'"),
        ("maglev path", "hashes something else than 'src'"),
        ("response-time", "none is checked: add 'check'"),
        ("fastest", "none is checked: add 'check'"),
        ("weighted-response-time", "none is checked: add 'check'"),
        ("sticky", "'balance sticky' needs what connections carry"),
    ] {
        let (_, said) = read(&format!("{FRONT}{BACK} balance {line}\n"));
        assert!(said.contains(wanted), "{line}: {said}");
    }
}

#[test]
fn what_cannot_be_done_to_packets_is_an_error_that_says_why() {
    let wrong = [
        (
            format!("{FRONT}{BACK} balance uri\n"),
            "'balance uri' needs what connections carry",
        ),
        (
            format!("{FRONT} http-request deny\n{BACK}"),
            "'http-request' cannot be done in 'f'",
        ),
        (
            format!("{FRONT}{BACK} cookie SRV insert\n"),
            "'cookie' cannot be done in 'b'",
        ),
        (
            format!("{FRONT}backend b\n mode packet\n server s 10.0.0.1:+1\n"),
            "port relative to the client's",
        ),
        (
            format!("{FRONT}backend b\n mode packet\n server s 127.0.0.1:80\n"),
            "this machine's own",
        ),
        (
            format!("{FRONT}backend b\n mode packet\n server s [fd00::1]:80\n"),
            "another family than the servers",
        ),
        (
            format!("{FRONT}{BACK} server t [fd00::1]:80\n"),
            "another family than the first",
        ),
        (
            format!("{FRONT}{BACK} forward nat source fd00::1\n"),
            "another family than the pool",
        ),
        (
            format!("{FRONT}{BACK} forward tunnel ippi\n"),
            "did you mean 'ipip'?",
        ),
        (format!("{FRONT}{BACK} forward dscp 64\n"), "64"),
        (
            "frontend f\n mode packet\n bind 203.0.113.10:80\n".into(),
            "leads nowhere",
        ),
        (
            format!("{FRONT}{BACK} forward bridge\n"),
            "a bridge has two ports, or one beside a switch",
        ),
        (
            format!(
                "{}{BACK} forward bridge\n",
                FRONT.replace(":80", ":80 interface a,b,c")
            ),
            "a bridge has two ports, or one beside a switch",
        ),
        (
            format!(
                "{}{BACK} forward bridge\n",
                FRONT.replace(
                    ":80",
                    ":80 interface a,b\n bind 203.0.113.11:80 interface b,c"
                )
            ),
            "port 'b' is a bridge with 'a' already, not with 'c'",
        ),
        (
            format!("{}{BACK}", FRONT.replace(":80", ":80 interface a,b,c,d,e")),
            "more than 4 interfaces",
        ),
        (
            format!(
                "{}{BACK}",
                FRONT.replace(":80", ":80\n bind 203.0.113.10:81 vlan 7")
            ),
            "stands here with vlan 7 and in the 'bind' at",
        ),
        (
            format!("{FRONT} snat 10.0.0.0/24 to 203.0.113.8-203.0.113.12 vlan 20\n{BACK}"),
            "the 'snat 10.0.0.0/24' of 'f': 203.0.113.10 is in one VLAN, and stands here with vlan 20 and in the 'bind' at",
        ),
        (
            format!(
                "{FRONT} snat 10.0.0.0/24 to 203.0.113.20 vlan 20\n snat 10.0.1.0/24 to 203.0.113.20\n{BACK}"
            ),
            "stands here with none and in the 'snat 10.0.0.0/24' of 'f' with vlan 20",
        ),
        (
            format!(
                "{FRONT} snat 10.0.0.0/24 to 203.0.113.20 vlan 20\n{BACK} forward nat source 203.0.113.20\n"
            ),
            "the 'forward nat source' of 'b': 203.0.113.20 is in one VLAN",
        ),
        (
            format!("{FRONT} bind 203.0.113.11:80 vlan 4095\n{BACK}"),
            "4095",
        ),
        (
            "listen l\n mode tcp\n bind 203.0.113.10:80 vlan 7\n server s 10.0.0.1:80\n".into(),
            "has 'vlan', which is for 'mode packet'",
        ),
        (
            "listen l\n mode tcp\n bind 203.0.113.10:80\n server s 10.0.0.1:80 vlan 7\n".into(),
            "server 'l/s' has 'vlan', which is for 'mode packet'",
        ),
        (
            format!("global\n tune.packet.attach xpd\n{FRONT}{BACK}"),
            "did you mean 'xdp'?",
        ),
        (
            format!("frontend f\n mode tcp\n bind 203.0.113.10:80\n default_backend b\n{BACK}"),
            "give both the same mode",
        ),
        (
            "backend b\n mode tcp\n forward dsr\n server s 10.0.0.1:80\n".into(),
            "'forward' is for 'mode packet'",
        ),
    ];
    for (text, part) in wrong {
        let (config, said) = read(&text);
        assert!(
            config.is_none() && said.contains(part),
            "no '{part}' for:\n{text}\n{said}"
        );
    }
}

/// Files of guards.
fn guarded(lines: &str) -> (Option<model::Config>, String) {
    let request = LoadRequest {
        paths: vec!["a.cfg".into()],
        ..LoadRequest::default()
    };
    let text = format!("{FRONT}{lines}{BACK}");
    let mut files = Files::with(&text);
    for (name, content) in [
        (
            "bad.lst",
            "# known\n192.0.2.1\n\n198.51.100.0/24\n2001:db8::/32\n",
        ),
        ("wrong.lst", "192.0.2.1\nexample.org\n"),
        ("key", "000102030405060708090a0b0c0d0e0f\n"),
        ("short", "0001\n"),
    ] {
        files.0.insert(name.into(), content.into());
    }
    let loaded = load(&request, &files);
    let said = loaded.report.diagnostics.iter();
    let said = said.filter(|d| d.severity >= Severity::Warning);
    (loaded.config, said.map(|d| format!("{d}\n")).collect())
}

/// How many things were said.
fn told(said: &str) -> usize {
    said.matches(": warning: ").count() + said.matches(": error: ").count()
}

#[test]
fn what_packets_do_not_heed_is_told() {
    for (front, back, wanted) in [
        (
            " maxconn 10\n",
            "",
            "'maxconn' has no effect in 'f', which is in 'mode packet'",
        ),
        (
            " option tcplog\n",
            "",
            "'option tcplog' has no effect in 'f'",
        ),
        (
            " option httplog\n",
            "",
            "'option httplog' has no effect in 'f'",
        ),
        (
            " timeout client 5s\n",
            "",
            "'timeout client' has no effect in 'f'",
        ),
        ("", " retries 3\n", "'retries' has no effect in 'b'"),
        (
            "",
            " be-unpublished\n",
            "'be-unpublished' has no effect in 'b'",
        ),
        (
            " force-be-switch if TRUE\n",
            "",
            "'force-be-switch' has no effect in 'f'",
        ),
        (
            "",
            " option redispatch\n",
            "'option redispatch' has no effect in 'b'",
        ),
        (
            "",
            " timeout queue 3s\n",
            "'timeout queue' has no effect in 'b'",
        ),
        (
            " bind 203.0.113.11:80 transparent\n",
            "",
            "has 'transparent', which has no effect",
        ),
        (
            " bind 203.0.113.11:80 maxconn 7\n",
            "",
            "has 'maxconn', which has no effect",
        ),
        (
            "",
            " server t 10.0.0.2:80 cookie x\n",
            "server 't' of 'b' has a 'cookie', which has no effect",
        ),
        (
            "",
            " server t 10.0.0.2:80 observe layer4 check\n",
            "'b/t' has 'observe', which has no effect",
        ),
    ] {
        let (config, said) = read(&format!("{FRONT}{front}{BACK}{back}"));
        assert!(
            config.is_some() && said.contains(wanted),
            "{front}{back}: {said}"
        );
        assert_eq!(told(&said), 1, "{said}");
    }
    // What checks heed, and what many proxies share, is nothing to tell of.
    let (config, said) = read(&format!(
        "defaults\n timeout client 5s\n retries 3\n option redispatch\n{FRONT}{BACK} timeout connect 1s\n timeout check 1s\n"
    ));
    assert!(config.is_some());
    assert_eq!(said, "");
    for (lines, wanted) in [
        (
            " bind 127.0.0.1:81\n",
            "packets for that address cross no interface",
        ),
        (
            " bind 224.0.0.1:81\n",
            "packets for that address cross no interface",
        ),
        (" bind 203.0.113.9:81 vlan 5000\n", "5000 is out of range"),
    ] {
        let (config, said) = read(&format!(
            "frontend f\n mode packet\n default_backend b\n{lines}{BACK}"
        ));
        assert!(config.is_none() && said.contains(wanted), "{lines}: {said}");
        assert!(!said.contains("has no 'bind' line"), "{said}");
    }
    for (lines, wanted) in [
        (
            " timeout session 0\n",
            "cannot be kept for ever: write a time",
        ),
        (
            " balance uri\n",
            "'balance uri' needs what connections carry",
        ),
    ] {
        let (config, said) = read(&format!("{FRONT}{BACK}{lines}"));
        assert!(config.is_none() && said.contains(wanted), "{lines}: {said}");
        assert_eq!(told(&said), 1, "{said}");
    }
}

#[test]
fn a_guard_is_what_its_lines_say() {
    let (config, said) = guarded(
        " guard deny bad.lst\n guard limit source syns 100\n guard limit source syns 200 burst 300\n guard limit service bytes 10m\n guard syn-cookies above 50 key key\n",
    );
    assert_eq!(said, "");
    let config = config.expect("valid");
    let guard = &config.frontend("f").expect("there").guard;
    assert_eq!(guard.deny.len(), 1);
    assert_eq!(guard.deny[0].list().count(), 3);
    assert_eq!(guard.limits.len(), 2, "one of a kind");
    assert_eq!((guard.limits[0].rate, guard.limits[0].burst), (200, 300));
    assert_eq!(guard.limits[1].rate, 10 << 20);
    let cookies = guard.cookies.expect("there");
    assert_eq!(cookies.above, 50);
    assert_eq!(cookies.key.expect("there")[15], 15);
    assert!(config.backend("b").expect("there").guard.is_empty());
}

#[test]
fn a_guard_that_cannot_be_says_what_would_do() {
    for (line, wanted) in [
        ("guard", "unknown guard ''"),
        ("guard denny bad.lst", "did you mean 'deny'?"),
        ("guard deny", "'guard' wants 'deny' or 'allow' and a file"),
        ("guard deny absent.lst", "'absent.lst': "),
        (
            "guard deny wrong.lst",
            "entry 2 of 'wrong.lst': 'example.org' is no address or network",
        ),
        (
            "guard limit everybody syns 5",
            "unknown whose limit 'everybody'",
        ),
        ("guard limit source hosts 5", "unknown limit 'hosts'"),
        ("guard limit source syns 0", "0 is out of range: 1 to"),
        ("guard limit source bytes 5x", "unknown size unit 'x'"),
        ("guard limit source syns 5 bust 6", "did you mean 'burst'?"),
        ("guard limit source syns 5 burst", "'burst' wants a number"),
        (
            "guard limit source syns 5 burst 6 7",
            "'7' is one word too many",
        ),
        (
            "guard syn-cookies key short",
            "'short' holds no key: write 32 hexadecimal digits",
        ),
        ("guard syn-cookies key", "'key' wants the name of a file"),
        (
            "guard syn-cookies transparant",
            "did you mean 'transparent'?",
        ),
        ("guard tcp-flags now", "'now' is one word too many"),
    ] {
        let (config, said) = guarded(&format!(" {line}\n"));
        assert!(config.is_none() && said.contains(wanted), "{line}: {said}");
    }
    let (config, said) = read(&format!(
        "{FRONT} guard syn-cookies transparent\n{BACK} forward dsr\n"
    ));
    assert!(config.is_none(), "{said}");
    assert!(
        said.contains("wants 'forward nat' or 'forward bridge'"),
        "{said}"
    );
    let (config, said) = read(
        "frontend f\n mode tcp\n bind :80\n guard tcp-flags\n default_backend b\nbackend b\n mode tcp\n server s 10.0.0.1:80\n",
    );
    assert!(config.is_none(), "{said}");
    assert!(
        said.contains("'guard' is for 'mode packet', which 'f' is not in"),
        "{said}"
    );
}
