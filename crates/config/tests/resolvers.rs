//! `resolvers` sections and what servers say of them.

mod common;

use common::{Files, load_text, said};
use model::{Address, Family, Host};
use std::time::Duration;

fn section(lines: &str) -> Vec<String> {
    said(&load_text(&format!("resolvers dns\n{lines}\nbackend b\n")))
}

#[test]
fn a_section_is_read_with_its_usual_values() {
    let loaded = load_text(
        "resolvers dns\n nameserver a 127.0.0.1:53\n nameserver b tcp@[::1]:54\n hold nx 5s\n hold obsolete 7\n \
         timeout retry 300ms\n resolve_retries 5\n accepted_payload_size 8192\nbackend b\n",
    );
    assert_eq!(said(&loaded), [""; 0]);
    let config = loaded.config.expect("valid");
    let dns = &config.resolvers["dns"];
    let servers: Vec<_> = dns
        .nameservers
        .iter()
        .map(|s| (&*s.name, s.address.to_string(), s.stream))
        .collect();
    assert_eq!(
        servers,
        [
            ("a", "127.0.0.1:53".into(), false),
            ("b", "[::1]:54".into(), true)
        ]
    );
    assert_eq!((dns.retries, dns.payload), (5, 8192));
    assert_eq!(
        [
            dns.resolve,
            dns.retry,
            dns.hold.nx,
            dns.hold.obsolete,
            dns.hold.valid,
            dns.hold.timeout
        ],
        [1000, 300, 5000, 7, 10_000, 30_000].map(Duration::from_millis)
    );
}

#[test]
fn the_machines_own_name_servers_are_found() {
    let mut files = Files::with(
        "resolvers own\n parse-resolv-conf\nbackend b\n timeout server 1s\n timeout connect 1s\n server s x.test:80 resolvers default init-addr none\n",
    );
    files.0.insert(
        "/etc/resolv.conf".into(),
        "# ours\nnameserver 10.0.0.2\nsearch x\nnameserver 10.0.0.2\nnameserver fe80::1%eth0\nnameserver ::1\n".into(),
    );
    let loaded = files.load(&["a.cfg"]);
    assert_eq!(said(&loaded), [""; 0]);
    let config = loaded.config.expect("valid");
    for name in ["own", "default"] {
        let servers = &config.resolvers[name].nameservers;
        let found: Vec<_> = servers.iter().map(|s| s.address.to_string()).collect();
        assert_eq!(found, ["10.0.0.2:53", "[::1]:53"], "{name}");
    }
}

#[test]
fn slips_in_a_section_are_named() {
    for (line, message) in [
        (
            "nameserver a",
            "error: 'nameserver' wants <name> <address>:<port>, such as 10.0.0.2:53",
        ),
        (
            "nameserver a 127.0.0.1",
            "error: '127.0.0.1' has no port: write 127.0.0.1:53",
        ),
        (
            "nameserver a dns.test:53",
            "error: 'dns.test' is a name, which only a name server could resolve: write its address",
        ),
        (
            "nameserver a /run/dns",
            "error: '/run/dns' is no Internet address: name servers have one",
        ),
        (
            "nameserver a *:53",
            "error: '*:53' is no address that can be asked",
        ),
        (
            "nameserver a 127.0.0.1:53 x",
            "error: 'x' is one word too many: remove it",
        ),
        (
            "nameserver a tcp@127.0.0.1:53 ssl",
            "error: 'ssl' is a word for name servers over TCP that mulgil does not have yet",
        ),
        (
            "nameserver ns 127.0.0.1:53",
            "error: 'dns' has a name server 'ns' already: give this one another name",
        ),
        (
            "hold nxx 3s",
            "error: unknown answer to hold 'nxx': did you mean 'nx'?",
        ),
        (
            "hold nx",
            "error: 'hold' wants a kind of answer and a time, such as 'hold nx 30s'",
        ),
        (
            "timeout resolv 3s",
            "error: unknown timeout 'resolv': did you mean 'resolve'?",
        ),
        (
            "accepted_payload_size 70000",
            "error: 70000 is out of range: 12 to 65535",
        ),
        (
            "nameservr a 127.0.0.1:53",
            "error: unknown keyword 'nameservr' in 'resolvers': did you mean 'nameserver'?",
        ),
        (
            "parse-resolv-conf",
            "error: cannot read '/etc/resolv.conf': no such file",
        ),
    ] {
        let said = section(&format!(" nameserver ns 127.0.0.1:53\n {line}"));
        assert_eq!(said, [format!("3: {message}")], "{line}");
    }
    assert_eq!(
        section(" resolve_retries 3"),
        ["1: warning: 'resolvers dns' has no name server to ask: add a 'nameserver' line"]
    );
    let twice = section(" nameserver a 127.0.0.1:1\nresolvers dns\n nameserver a 127.0.0.1:1");
    assert_eq!(
        twice,
        ["3: error: there is a 'resolvers dns' already: give this one another name"]
    );
}

#[test]
fn a_server_says_who_resolves_its_name_and_how() {
    let times = " timeout server 1s\n timeout connect 1s\n";
    let loaded = load_text(&format!(
        "resolvers dns\n nameserver a 127.0.0.1:53\nbackend b\n{times} default-server resolvers dns init-addr none\n \
         server one x.test:80 resolve-prefer ipv4 resolve-net 10.0.0.0/8,::/0 resolve-opts allow-dup-ip,ignore-weight\n \
         server two _http._tcp.test\n server three 127.0.0.1:80\n"
    ));
    assert_eq!(said(&loaded), [""; 0]);
    let config = loaded.config.expect("valid");
    let backend = config
        .backend("b")
        .and_then(|p| p.backend.as_ref())
        .expect("it is there");
    let [one, two, three] = &backend.servers[..] else {
        panic!("three servers")
    };
    let resolution = one.resolution.as_ref().expect("it is resolved");
    assert_eq!(
        (&*resolution.resolvers, resolution.prefer),
        ("dns", Family::V4)
    );
    assert_eq!(resolution.nets.len(), 2);
    assert!(resolution.same_address && resolution.ignore_weight);
    assert!(
        matches!(&two.address, Address::Inet { host: Host::Name(name), .. } if &**name == "_http._tcp.test")
    );
    assert!(two.resolution.is_some() && three.resolution.is_none());
}

#[test]
fn slips_in_what_servers_say_are_named() {
    let times = " timeout server 1s\n timeout connect 1s\n";
    for (line, message) in [
        (
            "server s x.test:80 resolvers nosuch init-addr none",
            "error: no 'resolvers nosuch' for the name of 's': add that section",
        ),
        (
            "server s x.test:80 resolvers dns",
            "warning: could not resolve address 'x.test': the server waits until it can be",
        ),
        (
            "server s _http._tcp.test",
            "error: could not resolve address '_http._tcp.test': name an address, or start without one by 'init-addr last,libc,none'",
        ),
        (
            "server s x.test resolve-prefer ipv5 init-addr none",
            "error: unknown family 'ipv5': did you mean 'ipv4'?",
        ),
        (
            "server s x.test resolve-net 10.0.0.0/33 init-addr none",
            "error: '33' in '10.0.0.0/33' is no prefix of 0 to 32 bits",
        ),
        (
            "server s x.test resolve-opts alow-dup-ip init-addr none",
            "error: unknown option 'alow-dup-ip': did you mean 'allow-dup-ip'?",
        ),
        (
            "tcp-request content do-resolve(txn.ip,dsn) src",
            "error: no 'resolvers dsn' to ask: did you mean 'dns'?",
        ),
    ] {
        let said = said(&load_text(&format!(
            "resolvers dns\n nameserver a 127.0.0.1:53\nbackend b\n{times} {line}\n"
        )));
        assert_eq!(said, [format!("6: {message}")], "{line}");
    }
}
