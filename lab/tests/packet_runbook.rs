//! What an operator does with `mode packet`: takes rights away, takes frontends and servers out and puts them
//! in, changes links and addresses under open sessions.

#[path = "packet/balancer.rs"]
mod balancer;
#[path = "packet/ends.rs"]
mod ends;
#[path = "packet/net.rs"]
mod net;
#[path = "packet/nets.rs"]
mod nets;

use balancer::{Balancer, detach, mulgil};
use ends::{Numbers, path_mtu, serve_numbers, talk};
use lab::{Folder, Program};
use net::{Net, cookie, possible, possible_with, wait_until};
use nets::{OneArm, VIPS, at, line};
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

/// A frontend and a backend of one name.
const WEB: &str = "
global
    sysctl auto
frontend web
    mode packet
    bind 198.51.100.80:80
    default_backend web
backend web
    mode packet
    forward nat
    server one 10.0.0.11:80
    server two 10.0.0.12:80
listen kept
    mode packet
    bind 198.51.100.80:81
    forward nat
    source-persistence 30m
    server one 10.0.0.11:80
";

/// What a process writes that is started by `setpriv` with these words, once it serves what is not packets;
/// and whether it serves packets.
fn deprived(net: &Net, words: &str) -> (String, bool) {
    let folder = Folder::new();
    // Where anybody can run it.
    let program = folder.path("mulgil");
    let own = Program::mulgil().path();
    if std::fs::hard_link(&own, &program).is_err() {
        std::fs::copy(&own, &program).expect("a copy");
    }
    let file = folder.file(
        "test.cfg",
        b"global
    nbthread 1
    tune.packet.flows 1000
listen packets
    mode packet
    bind 198.51.100.80:80
    forward nat
    server one 10.0.0.11:80
frontend web
    mode http
    timeout client 5s
    bind 127.0.0.1:8404
    http-request return status 200
",
    );
    let output = std::fs::File::create(folder.path("output")).expect("a file");
    let args: Vec<&str> = words.split(' ').collect();
    let args = [&args[..], &[&program, "-f", &file, "-db"]].concat();
    let mut process = net.spawn("l", "setpriv", &args, output);
    let said = || std::fs::read_to_string(folder.path("output")).unwrap_or_default();
    let serves = || {
        let mut stream = TcpStream::connect("127.0.0.1:8404")?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok::<_, std::io::Error>(text)
    };
    wait_until("the rest of the file is served", || {
        let over = process.try_wait().ok().flatten();
        assert!(over.is_none(), "{words}: {}", said());
        let text = net.within("l", serves);
        text.is_ok_and(|t| t.starts_with("HTTP/1.1 200"))
    });
    let said = said();
    let talks = || {
        net.within("c", || talk(at("198.51.100.80:80"), 1000))
            .is_ok()
    };
    let packets = !said.contains("'mode packet' is not served");
    if packets {
        // Neighbours are looked for when they are first needed.
        wait_until("packets are served", talks);
    }
    let _ = process.kill();
    let _ = process.wait();
    (said, packets)
}

#[test]
fn without_the_capabilities_they_are_named_and_the_rest_of_the_file_is_served() {
    if !possible_with(&["setpriv"]) {
        return;
    }
    let net = line();
    net.exec("l", "sysctl -qw net.ipv4.ip_forward=1");
    let nobody = "--reuid=65534 --regid=65534 --clear-groups";
    for (words, lacks) in [
        (nobody, &["CAP_NET_ADMIN", "CAP_SYS_ADMIN"][..]),
        (
            "--bounding-set -all --inh-caps -all",
            &["CAP_NET_ADMIN", "CAP_SYS_ADMIN"],
        ),
        ("--bounding-set -net_admin", &["CAP_NET_ADMIN"]),
        ("--bounding-set -sys_admin", &["CAP_SYS_ADMIN"]),
        // These are not asked for.
        ("--bounding-set -bpf,-net_raw,-sys_ptrace", &[]),
    ] {
        let (said, packets) = deprived(&net, words);
        assert_eq!(packets, lacks.is_empty(), "{words}: {said}");
        assert_eq!(packets, !said.contains("this process lacks"), "{said}");
        for capability in ["CAP_NET_ADMIN", "CAP_SYS_ADMIN"] {
            let named = said.contains(&format!("{capability} (to "));
            assert_eq!(named, lacks.contains(&capability), "{words}: {said}");
        }
    }
    detach(&net, "l");
}

/// A frontend and a backend of one name, and what a runbook does with them.
#[test]
fn frontends_and_servers_are_taken_out_and_put_in_while_running() {
    if !possible() {
        return;
    }
    let net = line();
    let balancer = Balancer::start(&net, "l", WEB);
    let does = |command: &str| balancer.control(command).expect("answers");
    let vip = "198.51.100.80:80";
    let talks = || net.within("c", move || talk(at(vip), 100)).is_ok();
    wait_until("both serve", || talks() && talks());
    let keeps = || {
        net.within("c", || talk(at("198.51.100.80:81"), 100))
            .is_ok()
    };
    wait_until("a client has its server", keeps);
    let stat = does("show stat");
    let rows = stat.lines().filter(|l| l.starts_with("web,FRONTEND,"));
    assert_eq!(rows.count(), 1, "{stat}");
    let open: Vec<TcpStream> = net.within("c", move || {
        let one = || TcpStream::connect(at(vip)).expect("connects");
        (0..2).map(|_| one()).collect()
    });
    let flows = |server: &str| does(&format!("show flows srv={server} ESTABLISHED"));
    let is_open = |server: &str| flows(server).contains("src=");
    wait_until("each has one", || is_open("one") && is_open("two"));
    let of_two = flows("two");
    let mut kept = open
        .into_iter()
        .find(|s| of_two.contains(&format!("src={} ", s.local_addr().expect("known"))))
        .expect("one of both");
    does("shutdown sessions server web/one");
    assert!(!is_open("one") && is_open("two"));
    does("disable frontend web");
    does("disable frontend kept");
    let short = Duration::from_millis(300);
    // One that is slow is a session nevertheless.
    let begun = |name| balancer.stat(name, "FRONTEND", "stot");
    for (name, to) in [("web", vip), ("kept", "198.51.100.80:81")] {
        let fails = || {
            net.within("c", move || TcpStream::connect_timeout(&at(to), short))
                .is_err()
        };
        wait_until("no session begins", || {
            let before = begun(name);
            (0..3).all(|_| fails()) && begun(name) == before
        });
    }
    let patience = Some(lab::net::PATIENCE);
    kept.set_read_timeout(patience).expect("a timeout");
    kept.write_all(b"more").expect("room");
    kept.shutdown(Shutdown::Write).expect("room");
    let mut text = String::new();
    let _ = kept.read_to_string(&mut text);
    assert!(text.starts_with("two "), "what is open goes on: {text}");
    does("enable frontend web");
    does("enable frontend kept");
    wait_until("sessions begin again", || talks() && keeps());
    assert!(does("set maxconn frontend web 5").contains("has no effect in 'mode packet'"));
    assert!(does("unpublish backend web").contains("always published"));
    assert!(does("add server web/three 10.0.0.11:80").contains("New server registered"));
    does("enable server web/three");
    wait_until("the new one serves", || {
        talks() && balancer.stat("web", "three", "stot") != "0"
    });
    does("set server web/three state maint");
    does("clear flows srv=three");
    wait_until("it is gone", || {
        does("del server web/three").contains("Server deleted")
    });
    drop(balancer);
    detach(&net, "l");
}

/// The folder of tables of a part of this program, and how one of another version is called.
fn folders(net: &Net, host: &str, part: &str) -> Option<(PathBuf, PathBuf)> {
    let beginning = format!("{}-{part}-v", net.within(host, cookie).expect("a number"));
    let entries = std::fs::read_dir("/run/mulgil/bpf").into_iter().flatten();
    let mut folders = entries.flatten().map(|e| e.path());
    let own = folders.find(|p| p.to_string_lossy().contains(&format!("/{beginning}")));
    if own.is_none() {
        println!("the folder of tables is in nobody's sight: not tried");
    }
    own.map(|own| {
        let other = own.with_file_name(format!("{beginning}0"));
        (own, other)
    })
}

fn serves(net: &Net) -> bool {
    net.within("c", || talk(at("198.51.100.80:80"), 10_000))
        .is_ok()
}

/// What a mulgil has left whose tables are laid out otherwise stands in a folder with another number: ours
/// and that one's. Nothing is left where nobody can see them.
fn left_by_another_version(net: &Net) -> Option<(PathBuf, PathBuf)> {
    let balancer = Balancer::start(net, "l", WEB);
    wait_until("it serves", || serves(net));
    let Some((own, other)) = folders(net, "l", "balancer") else {
        drop(balancer);
        detach(net, "l");
        return None;
    };
    balancer.kill();
    std::fs::rename(&own, &other).expect("another name");
    Some((own, other))
}

#[test]
fn programs_of_another_version_are_replaced() {
    if !possible() {
        return;
    }
    let net = line();
    let Some((own, other)) = left_by_another_version(&net) else {
        return;
    };
    let talks = || serves(&net);
    assert!(talks(), "traffic goes on");
    let balancer = Balancer::start(&net, "l", WEB);
    assert!(
        balancer
            .output()
            .contains("another version of mulgil stood here")
    );
    assert!(own.exists() && !other.exists());
    wait_until("it serves", talks);
    balancer.kill();
    std::fs::rename(&own, &other).expect("another name");
    assert!(detach(&net, "l").contains("removed"));
    assert!(!own.exists() && !other.exists());
    wait_until("nothing is left", || !talks());
}

#[test]
fn a_start_that_fails_halfway_leaves_another_versions_programs_at_work() {
    if !possible() {
        return;
    }
    let net = line();
    let Some((own, other)) = left_by_another_version(&net) else {
        return;
    };
    let talks = || serves(&net);
    // Each frontend has places of its own for the servers: 17,000, and there is room for 16,383.
    let mut many = String::from("backend many\n    mode packet\n");
    for n in 0..1000 {
        many += &format!("    server s{n} 10.1.{}.{}:80\n", n / 250, n % 250 + 1);
    }
    for n in 0..17 {
        many += &format!(
            "frontend f{n}\n    mode packet\n    bind 198.51.100.80:{}\n    default_backend many\n",
            1000 + n
        );
    }
    let failed = Balancer::start(&net, "l", &many);
    let said = failed.output();
    let why =
        "'mode packet' is not served: there are more servers than the packet tables have room for";
    assert!(said.contains(why), "{said}");
    wait_until("those that were there serve", talks);
    failed.kill();
    wait_until("they go on", talks);
    assert!(other.exists());
    let balancer = Balancer::start(&net, "l", WEB);
    let said = balancer.output();
    assert!(
        said.contains("another version of mulgil stood here"),
        "{said}"
    );
    assert!(own.exists() && !other.exists());
    wait_until("it serves", talks);
    drop(balancer);
    detach(&net, "l");
}

/// One address is taken back, the others are served as before.
#[test]
fn servers_that_another_version_set_up_keep_their_other_addresses() {
    if !possible() {
        return;
    }
    let arm = OneArm {
        setup: "tunnel --vip 203.0.113.100 --vip 2001:db8:3::100",
        cable: Net::loose_cable,
        far: true,
        gateway: false,
        crossed: false,
    };
    let net = arm.lay();
    let undo = |host: &str, vip: &str| {
        mulgil(
            &net,
            host,
            &format!("server-setup tunnel --vip {vip} --undo"),
        )
    };
    let mut owns = Vec::new();
    for host in ["s1", "s2"] {
        let Some((own, other)) = folders(&net, host, "server") else {
            return;
        };
        std::fs::rename(&own, &other).expect("another name");
        undo(host, VIPS[0]);
        assert!(own.exists() && !other.exists());
        owns.push(own);
    }
    let balancer = Balancer::start(&net, "l", &arm.config(|_| "tunnel gue".to_string()));
    let mut names = BTreeSet::new();
    wait_until("both serve", || {
        let heard = net.within("c", || talk(at("[2001:db8:3::100]:80"), 10_000));
        names.extend(heard.map(|h| h.name));
        names.len() == 2
    });
    for host in ["s1", "s2"] {
        undo(host, VIPS[1]);
        assert_eq!(silence(&net, host), "0");
    }
    assert!(owns.iter().all(|own| !own.exists()));
    drop(balancer);
    detach(&net, "l");
}

fn silence(net: &Net, host: &str) -> String {
    let value = net.exec(host, "sysctl -n net.ipv4.conf.all.arp_ignore");
    value.trim().to_string()
}

#[test]
fn what_a_setup_of_a_server_changed_before_it_failed_is_taken_back() {
    if !possible() {
        return;
    }
    let net = line();
    net.exec("s", "sysctl -qw net.ipv6.conf.all.disable_ipv6=1");
    let setup = |more: &'static [&str]| {
        net.within("s", move || {
            let mut command = Program::mulgil().command();
            command.args(["server-setup", "dsr", "--vip", "2001:db8:3::100"]);
            command.args(more).output().expect("it runs")
        })
    };
    let failed = setup(&[]);
    let said = String::from_utf8_lossy(&failed.stderr).into_owned();
    assert!(said.contains("the loopback does not take"), "{said}");
    assert_eq!(silence(&net, "s"), "1");
    let undone = setup(&["--undo"]);
    assert!(undone.status.success(), "{undone:?}");
    assert_eq!(silence(&net, "s"), "0");
}

/// Only the last process says that packets are served on without it.
#[test]
fn a_process_that_is_replaced_leaves_nothing_to_detach() {
    if !possible() {
        return;
    }
    const NOTICE: &str = "goes on without this process";
    let net = line();
    let mut balancer = Balancer::start(&net, "l", WEB);
    for how in ["-sf", "-st"] {
        let next = balancer.succeed(&net, "l", how);
        wait_until("the first one ends", || balancer.is_over());
        assert!(!balancer.output().contains(NOTICE), "{how}");
        balancer = next;
    }
    balancer.signal("-TERM");
    wait_until("the last one ends", || balancer.is_over());
    assert!(balancer.output().contains(NOTICE));
    detach(&net, "l");
}

/// What the kernel has found out about a path is forgotten with it.
#[test]
fn a_smaller_path_that_was_found_out_holds_for_a_while_only() {
    if !possible() {
        return;
    }
    let arm = OneArm {
        setup: "",
        cable: Net::loose_cable,
        far: true,
        gateway: false,
        crossed: false,
    };
    let net = arm.lay();
    net.exec("l", "sysctl -eqw net.ipv4.route.mtu_expires=3");
    net.ip("r", "link set dev far mtu 1400");
    let known = net.within("l", || path_mtu(at("10.1.0.11:53"), 1300));
    assert_eq!(known.expect("it is told"), 1400);
    let balancer = Balancer::start(&net, "l", &arm.config(|_| "tunnel ipip".to_string()));
    let says = |mtu: u32| {
        let line = format!("backend 'four' leave {} of the {mtu} bytes", mtu - 20);
        balancer.output().contains(&line)
    };
    wait_until("the whole link is known", || says(1500));
    println!("the smaller path was known: {}", says(1400));
    drop(balancer);
    detach(&net, "l");
}

/// Cables, interfaces and their addresses change under open sessions.
#[test]
fn links_and_addresses_that_change_are_followed() {
    if !possible() {
        return;
    }
    let net = line();
    net.within("s", || serve_numbers(at("10.0.0.11:7000")));
    let config = "
global
    sysctl auto
listen web
    mode packet
    bind 198.51.100.80:80 interface front
    forward nat
    server one 10.0.0.11:80
listen numbers
    mode packet
    bind 198.51.100.80:7000 interface front
    forward nat
    server one 10.0.0.11:7000
listen gone
    mode packet
    bind 198.51.100.80:81 interface front
    forward nat
    server absent 10.0.0.99:80
    server astray 192.168.9.9:80
";
    let balancer = Balancer::start(&net, "l", config);
    let said = || {
        let packets = balancer.control("show packets").unwrap_or_default();
        let traced = balancer.control("show flows trace 198.51.100.2");
        let traced = traced.unwrap_or_default();
        format!("{}\n{packets}\n{traced}", balancer.output())
    };
    let talks = || {
        net.within("c", || talk(at("198.51.100.80:80"), 10_000))
            .is_ok()
    };
    wait_until("it serves", talks);
    let mut numbers = net
        .within("c", || Numbers::of(at("198.51.100.80:7000")))
        .expect("connected");
    let mut goes_on = |what: &str| {
        let heard = numbers.go_on(100);
        heard.unwrap_or_else(|e| panic!("{what}: {e}\n{}", said()));
        wait_until(what, talks);
    };
    goes_on("at first");
    for (server, why) in [
        ("absent", "10.0.0.99 does not say its address on 'back'"),
        ("astray", "no route leads to 192.168.9.9"),
    ] {
        let told = format!("packets for server gone/{server} are dropped: {why}");
        wait_until("servers that are not there are told of", || {
            balancer.output().contains(&told)
        });
    }
    // It tells nobody; but it has to ask for its gateway anew.
    net.ip("s", "link set dev e0 address 02:00:00:00:00:77");
    goes_on("the server has another address on the link");
    net.ip("l", "link set dev back address 02:00:00:00:00:88");
    goes_on("this machine has another one on the servers' link");
    net.ip("l", "link set dev front address 02:00:00:00:00:99");
    goes_on("this machine has another one on the clients' link");
    net.ip("l", "addr del 10.0.0.1/24 dev back");
    net.ip("l", "addr add 10.0.0.254/24 dev back");
    net.ip("s", "route replace default via 10.0.0.254");
    goes_on("the servers' gateway has another address");
    // Both ends of the cable go, with their addresses and routes.
    net.ip("l", "link del dev back");
    net.loose_cable("s:e0", "l:back");
    net.ip("s", "addr add 10.0.0.11/24 dev e0");
    net.ip("s", "route add default via 10.0.0.254");
    net.ip("l", "addr add 10.0.0.254/24 dev back");
    goes_on("the servers' link is another one of this name");
    net.ip("l", "link del dev front");
    net.loose_cable("c:e0", "l:front");
    net.ip("c", "addr add 198.51.100.2/24 dev e0");
    net.ip("l", "addr add 198.51.100.1/24 dev front");
    goes_on("the clients' link is another one of this name");
    drop(balancer);
    detach(&net, "l");
}
