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
            "stands here with vlan 7 and elsewhere with none",
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
