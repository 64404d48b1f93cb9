//! Two machines that share addresses, each a namespace: election, every way to lose the active
//! one, and what must not make an address move.

use lab::Folder;
use lab::net::{Net, Router, possible, until};

const VIP: &str = "203.0.113.10";

const DEFAULTS: &str = "defaults\n    mode http\n    timeout client 5s\n    timeout server 5s\n    timeout connect 1s\n";

/// A router that answers by HTTP with its name on the shared address.
fn config(name: &str, priority: u8, more: &str) -> String {
    format!(
        "{DEFAULTS}frontend web\n    bind {VIP}:80\n    http-request return status 200 content-type text/plain string {name}\n\
         vrrp public\n    interface eth0\n    virtual-router-id 51\n    priority {priority}\n    \
         advertise-interval 100ms\n    address {VIP}/24\n{more}"
    )
}

/// Two routers, the first of which is active.
fn pair(more: &str) -> (Net, Router, Router) {
    let net = Net::new(2);
    let first = Router::start(&net, 1, &config("first", 200, more));
    let second = Router::start(&net, 2, &config("second", 100, more));
    net.wait_for_holder(1, VIP);
    second.wait_for("public", "state", "backup");
    (net, first, second)
}

#[test]
fn the_address_follows_a_crash_and_comes_back() {
    if !possible() {
        return;
    }
    let (net, first, second) = pair("");
    until("the client reaches the first", || net.get(VIP) == "first");
    first.kill();
    second.wait_for("public", "state", "active");
    // Its guardian said farewell for it, and took its address away.
    net.wait_for_holder(2, VIP);
    assert_eq!(second.vrrp("public", "reason"), "the active router left");
    until("the client reaches the second", || net.get(VIP) == "second");
    let first = Router::start(&net, 1, &config("first", 200, ""));
    net.wait_for_holder(1, VIP);
    second.wait_for("public", "state", "backup");
    until("the client reaches the first", || net.get(VIP) == "first");
    first.stop();
    net.wait_for_holder(2, VIP);
    second.stop();
    assert_eq!(net.holder(VIP), None);
}

#[test]
fn a_graceful_stop_says_farewell() {
    if !possible() {
        return;
    }
    let (net, first, second) = pair("");
    first.stop();
    net.wait_for_holder(2, VIP);
    assert!(second.count("public", "farewells_received") > 0);
    assert_eq!(second.vrrp("public", "reason"), "the active router left");
}

#[test]
fn an_address_that_was_there_before_is_left_alone() {
    if !possible() {
        return;
    }
    let net = Net::new(1);
    net.ip(&net.router(1), &format!("addr add {VIP}/24 dev eth0"));
    let only = Router::start(&net, 1, &config("only", 200, ""));
    only.wait_for("public", "state", "active");
    assert_eq!(
        only.vrrp("public", "address"),
        format!("{VIP}/24 here before")
    );
    only.stop();
    assert!(net.has(1, VIP));
}

#[test]
fn a_process_that_was_stopped_for_a_while_yields_to_who_took_over() {
    if !possible() {
        return;
    }
    let (net, first, second) = pair("    no preempt\n");
    first.signal("-STOP");
    second.wait_for("public", "state", "active");
    first.signal("-CONT");
    first.wait_for("public", "state", "backup");
    net.wait_for_holder(2, VIP);
    assert_eq!(second.count("public", "became_active"), 1);
}

#[test]
fn a_link_that_goes_down_moves_the_address_and_back() {
    if !possible() {
        return;
    }
    let (net, first, second) = pair("");
    net.ip(&net.client(), "link set eth0r1 down");
    second.wait_for("public", "state", "active");
    first.wait_for("public", "state", "initialize");
    assert!(!net.has(1, VIP));
    assert!(first.vrrp("public", "reason").contains("eth0 is down"));
    net.ip(&net.client(), "link set eth0r1 up");
    net.wait_for_holder(1, VIP);
    second.wait_for("public", "state", "backup");
}

#[test]
fn a_reload_never_drops_to_backup() {
    if !possible() {
        return;
    }
    let (net, first, second) = pair("");
    for round in 0..5u8 {
        let more = format!("    address 203.0.113.{}/24\n", 20 + round);
        first.reload(&config("first", 190 + round, &more));
        assert_eq!(first.vrrp("public", "state"), "active");
        assert!(net.has(1, &format!("203.0.113.{}", 20 + round)));
    }
    assert!(!net.has(1, "203.0.113.20"), "it is not configured any more");
    assert_eq!(first.count("public", "became_active"), 1);
    assert_eq!(first.vrrp("public", "priority"), "194");
    assert_eq!(second.count("public", "became_active"), 0);
    // Without the section the address goes, and the other router has it.
    first.reload(&format!("{DEFAULTS}frontend web\n    bind 127.0.0.1:80\n"));
    net.wait_for_holder(2, VIP);
}

#[test]
fn an_operator_can_move_the_address() {
    if !possible() {
        return;
    }
    let (net, first, second) = pair("");
    assert!(first.control("vrrp release public").contains("Released"));
    net.wait_for_holder(2, VIP);
    assert_eq!(first.vrrp("public", "released"), "yes");
    assert!(
        first
            .control("vrrp release nowhere")
            .contains("there is no vrrp section 'nowhere'")
    );
    // When nobody else is there it takes over all the same.
    second.kill();
    first.wait_for("public", "state", "active");
    assert!(first.control("vrrp resume").contains("Resumed"));
    first.wait_for("public", "priority", "200");
}

#[test]
fn what_is_tracked_decides() {
    if !possible() {
        return;
    }
    let folder = Folder::new();
    let (flag, gate) = (folder.path("flag"), folder.path("gate"));
    let tracks = format!(
        "    track file {flag}\n    track script \"test ! -e {gate}\" inter 50ms weight -150\n    \
         track interface eth1\n    track frontend web\n"
    );
    let net = Net::new(2);
    let first = Router::start(&net, 1, &config("first", 200, &tracks));
    let second = Router::start(&net, 2, &config("second", 100, ""));
    net.wait_for_holder(1, VIP);
    let back = |how: &str| {
        net.wait_for_holder(1, VIP);
        second.wait_for("public", "state", "backup");
        println!("back after {how}");
    };
    folder.file("flag", b"1\n");
    net.wait_for_holder(2, VIP);
    first.wait_for("public", "state", "initialize");
    folder.file("flag", b"0\n");
    back("a file");
    folder.file("gate", b"");
    net.wait_for_holder(2, VIP);
    first.wait_for("public", "priority", "50");
    std::fs::remove_file(&gate).expect("it is there");
    back("a script");
    net.ip(&net.client(), "link set eth1r1 down");
    net.wait_for_holder(2, VIP);
    net.ip(&net.client(), "link set eth1r1 up");
    back("an interface");
    first.control("disable frontend web");
    net.wait_for_holder(2, VIP);
    first.control("enable frontend web");
    back("a frontend");
}

#[test]
fn whatever_is_tracked_may_have_a_weight_instead() {
    if !possible() {
        return;
    }
    let folder = Folder::new();
    let (flag, gate) = (folder.file("flag", b"0\n"), folder.path("gate"));
    let tracks = format!(
        "    track file {flag} weight -1\n    track script \"test ! -e {gate}\" inter 50ms weight -20\n    \
         track interface eth1 weight -30\n    track frontend web weight 40\n    track backend app weight -60\n\
         backend app\n    server s 10.9.0.2:80\n"
    );
    let net = Net::new(2);
    // What is well and has a weight above zero adds to the priority.
    let first = Router::start(&net, 1, &config("first", 150, &tracks));
    let second = Router::start(&net, 2, &config("second", 60, ""));
    first.wait_for("public", "priority", "190");
    net.wait_for_holder(1, VIP);
    second.wait_for("public", "state", "backup");
    let falls_to = |priority: &str| first.wait_for("public", "priority", priority);
    folder.file("flag", b"7\n");
    falls_to("183");
    folder.file("gate", b"");
    falls_to("163");
    first.control("disable frontend web");
    falls_to("123");
    net.ip(&net.client(), "link set eth1r1 down");
    falls_to("93");
    assert_eq!(first.count("public", "became_active"), 1);
    assert_eq!(net.holder(VIP), Some(1), "it is still the better one");
    first.control("disable server app/s");
    falls_to("33");
    net.wait_for_holder(2, VIP);
    first.wait_for("public", "state", "backup");
    // And each gives back what it took.
    net.ip(&net.client(), "link set eth1r1 up");
    falls_to("63");
    net.wait_for_holder(1, VIP);
    folder.file("flag", b"0\n");
    falls_to("70");
    std::fs::remove_file(&gate).expect("it is there");
    falls_to("90");
    first.control("enable frontend web");
    first.control("enable server app/s");
    falls_to("190");
}

#[test]
fn a_backend_without_servers_moves_the_address() {
    if !possible() {
        return;
    }
    let backend = "backend app\n    server s 10.9.0.2:80\n";
    let net = Net::new(2);
    let more = format!("    track backend app\n{backend}");
    let first = Router::start(&net, 1, &config("first", 200, &more));
    let _second = Router::start(&net, 2, &config("second", 100, ""));
    net.wait_for_holder(1, VIP);
    first.control("disable server app/s");
    net.wait_for_holder(2, VIP);
    first.control("enable server app/s");
    net.wait_for_holder(1, VIP);
}

#[test]
fn adverts_go_to_single_routers_where_multicast_does_not_pass() {
    if !possible() {
        return;
    }
    let net = Net::new(2);
    let first = Router::start(&net, 1, &config("first", 200, "    unicast 203.0.113.2\n"));
    let second = Router::start(&net, 2, &config("second", 100, "    unicast 203.0.113.1\n"));
    for port in ["eth0r1", "eth0r2"] {
        let args = ["link", "set", "dev", port, "mcast_flood", "off"];
        assert!(net.exec(&net.client(), "bridge", &args).0);
    }
    net.wait_for_holder(1, VIP);
    until("adverts come", || {
        second.count("public", "adverts_received") > 5
    });
    assert_eq!(second.vrrp("public", "state"), "backup");
    first.kill();
    second.wait_for("public", "state", "active");
}

#[test]
fn ipv6_addresses_move_too() {
    if !possible() {
        return;
    }
    let vip = "2001:db8::10";
    let six = |name: &str, priority: u8| {
        format!(
            "{DEFAULTS}frontend web\n    bind [{vip}]:80\n    http-request return status 200 content-type text/plain string {name}\n\
             vrrp six\n    interface eth0\n    virtual-router-id 51\n    priority {priority}\n    \
             advertise-interval 100ms\n    address {vip}/64\n"
        )
    };
    let net = Net::new(2);
    let first = Router::start(&net, 1, &six("first", 200));
    let second = Router::start(&net, 2, &six("second", 100));
    net.wait_for_holder(1, vip);
    until("the client reaches the first", || net.get(vip) == "first");
    first.kill();
    second.wait_for("six", "state", "active");
    until("the client reaches the second", || net.get(vip) == "second");
}

#[test]
fn two_active_routers_by_misconfiguration_are_said_loudly() {
    if !possible() {
        return;
    }
    let net = Net::new(2);
    let first = Router::start(&net, 1, &config("first", 200, ""));
    first.wait_for("public", "state", "active");
    let old = config("second", 100, "    version 2\n").replace("100ms", "1s");
    let second = Router::start(&net, 2, &old);
    first.wait_for_output("two routers are active now");
    assert!(first.output().contains("it is of another version"));
    assert!(first.count("public", "refused_version") > 0);
    second.wait_for("public", "state", "active");
    assert!(second.count("public", "refused_version") > 0);
}

#[test]
fn a_router_that_hears_nothing_is_contended_with_loudly_and_yields_when_it_hears_again() {
    if !possible() {
        return;
    }
    let (net, first, second) = pair("");
    let flood = |on: &str| {
        let args = ["link", "set", "dev", "eth0r2", "mcast_flood", on];
        assert!(net.exec(&net.client(), "bridge", &args).0);
    };
    flood("off");
    second.wait_for("public", "state", "active");
    first.wait_for_output("two routers are active: 203.0.113.2 goes on advertising");
    flood("on");
    second.wait_for("public", "state", "backup");
    net.wait_for_holder(1, VIP);
    assert_eq!(first.count("public", "became_active"), 1);
    until("the client reaches the first", || net.get(VIP) == "first");
}

/// What is mounted somewhere until the scenario ends, however it does.
struct Mounted(String);

impl Drop for Mounted {
    fn drop(&mut self) {
        // Lazily: who writes there may still be ending.
        let command = &mut std::process::Command::new("umount");
        let _ = command.args(["-l", &self.0]).status();
    }
}

#[test]
fn commands_are_told_of_each_change_and_a_full_disk_stops_nothing() {
    if !possible() {
        return;
    }
    let folder = Folder::new();
    let disk = folder.path("disk");
    std::fs::create_dir(&disk).expect("a folder");
    let mounted = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=1m", "none", &disk])
        .status();
    if !mounted.is_ok_and(|s| s.success()) {
        println!("no tmpfs can be mounted here: not tried");
        return;
    }
    let _mounted = Mounted(disk.clone());
    let net = Net::new(2);
    let log = folder.path("log");
    let notify = format!("    notify \"echo >> {log}\"\n    notify \"/bin/echo >> {disk}/log\"\n");
    let full = vec![b'x'; 2 << 20];
    let _ = std::fs::write(format!("{disk}/full"), &full);
    let first = Router::start(&net, 1, &config("first", 200, &notify));
    let second = Router::start(&net, 2, &config("second", 100, ""));
    net.wait_for_holder(1, VIP);
    let said = |wanted: &str| {
        until(&format!("the command was told '{wanted}'"), || {
            std::fs::read_to_string(&log).is_ok_and(|t| t.contains(wanted))
        });
    };
    said("public active 200");
    first.stop();
    said("public initialize 200");
    second.wait_for("public", "state", "active");
    // Nor does it where its own messages cannot be written.
    let text = config("third", 250, "");
    let file = folder.file("third.cfg", text.as_bytes());
    let program = lab::Program::mulgil().path();
    let mut third = net.spawn(
        &net.router(1),
        &program,
        &["-f", &file, "-db"],
        &format!("{disk}/output"),
    );
    net.wait_for_holder(1, VIP);
    second.wait_for("public", "state", "backup");
    let signal = |name: &str| {
        let pid = third.id().to_string();
        assert!(net.exec(&net.router(1), "kill", &[name, &pid]).0);
    };
    // Each way to change state is a message that is lost.
    net.ip(&net.client(), "link set eth0r1 down");
    net.wait_for_holder(2, VIP);
    net.ip(&net.client(), "link set eth0r1 up");
    net.wait_for_holder(1, VIP);
    signal("-HUP");
    until("the client reaches the third", || net.get(VIP) == "third");
    let written = std::fs::metadata(format!("{disk}/output")).map(|m| m.len());
    assert_eq!(written.ok(), Some(0), "the disk is not full");
    signal("-TERM");
    net.wait_for_holder(2, VIP);
    third.wait().expect("it ends");
    assert_eq!(second.vrrp("public", "reason"), "the active router left");
}

#[test]
fn a_group_moves_as_one() {
    if !possible() {
        return;
    }
    let group = |name: &str, priority: u8| {
        let base = config(name, priority, "    group edge\n");
        format!(
            "{base}vrrp inside\n    interface eth1\n    virtual-router-id 52\n    priority {priority}\n    \
             advertise-interval 100ms\n    address 10.9.0.10/24\n    group edge\n"
        )
    };
    let net = Net::new(2);
    let first = Router::start(&net, 1, &group("first", 200));
    let second = Router::start(&net, 2, &group("second", 100));
    net.wait_for_holder(1, VIP);
    first.wait_for("inside", "state", "active");
    // One link fails, both addresses move.
    net.ip(&net.client(), "link set eth1r1 down");
    net.wait_for_holder(2, VIP);
    second.wait_for("inside", "state", "active");
    first.wait_for("public", "state", "initialize");
    net.ip(&net.client(), "link set eth1r1 up");
    net.wait_for_holder(1, VIP);
    first.wait_for("inside", "state", "active");
    second.wait_for("inside", "state", "backup");
}

#[test]
fn no_claim_while_the_peer_says_over_the_second_path_that_it_is_active() {
    if !possible() {
        return;
    }
    let folder = Folder::new();
    let key = folder.file("key", b"0123456789abcdef0123456789abcdef");
    let other = folder.file("other", b"fedcba9876543210fedcba9876543210");
    let secured = |name: &str, priority, peer: &str, key: &str| {
        config(
            name,
            priority,
            &format!("    peer {peer}\n    peer-key {key}\n"),
        )
    };
    let net = Net::new(2);
    let first = Router::start(&net, 1, &secured("first", 200, "10.9.0.2", &key));
    let second = Router::start(&net, 2, &secured("second", 100, "10.9.0.1", &key));
    net.wait_for_holder(1, VIP);
    until("the peer answers", || {
        second.count("public", "peer_answers") > 3
    });
    // The link falls silent, but the peer still serves.
    let args = ["link", "set", "dev", "eth0r2", "mcast_flood", "off"];
    assert!(net.exec(&net.client(), "bridge", &args).0);
    second.wait_for("public", "blocked_by_peer", "yes");
    second.wait_for_output("says over the second path that it is active");
    let answers = second.count("public", "peer_answers");
    until("it goes on saying so", || {
        second.count("public", "peer_answers") > answers + 20
    });
    assert_eq!(net.holder(VIP), Some(1));
    // A dead peer says nothing, and silence blocks nobody.
    first.kill();
    second.wait_for("public", "state", "active");
    // Another key is no word at all, and said loudly.
    let first = Router::start(&net, 1, &secured("first", 50, "10.9.0.2", &other));
    second.wait_for_output("is not sealed with our key");
    assert!(second.count("public", "peer_refused") > 0);
    first.wait_for_output("is not sealed with our key");
}

#[test]
fn a_peer_that_says_that_it_is_not_active_or_is_silent_keeps_nobody_from_claiming() {
    if !possible() {
        return;
    }
    let peers =
        |name: &str, priority, peer: &str| config(name, priority, &format!("    peer {peer}\n"));
    let net = Net::new(2);
    // The second path may be another interface,
    let first = Router::start(&net, 1, &peers("first", 200, "10.9.0.2"));
    let second = Router::start(&net, 2, &peers("second", 100, "10.9.0.1"));
    net.wait_for_holder(1, VIP);
    let said = |wanted: &str| {
        until(&format!("the peer says '{wanted}'"), || {
            second.vrrp("public", "peer").contains(wanted)
        });
    };
    said("10.9.0.1:7112 active");
    // whose peer lives and says that it has lost its link,
    net.ip(&net.client(), "link set eth0r1 down");
    second.wait_for("public", "state", "active");
    said("10.9.0.1:7112 initialize");
    net.ip(&net.client(), "link set eth0r1 up");
    net.wait_for_holder(1, VIP);
    second.wait_for("public", "state", "backup");
    // or says nothing, as it stands still.
    first.signal("-STOP");
    second.wait_for("public", "state", "active");
    first.signal("-CONT");
    net.wait_for_holder(1, VIP);
    second.wait_for("public", "state", "backup");
    // It may also be the same link, by unicast, where something swallows multicast.
    first.reload(&peers("first", 200, "203.0.113.2"));
    second.reload(&peers("second", 100, "203.0.113.1"));
    said("203.0.113.1:7112 active");
    let claimed = second.count("public", "became_active");
    for port in ["eth0r1", "eth0r2"] {
        let args = ["link", "set", "dev", port, "mcast_flood", "off"];
        assert!(net.exec(&net.client(), "bridge", &args).0);
    }
    second.wait_for("public", "blocked_by_peer", "yes");
    let wanted = "the peer, which says that it is active";
    second.wait_for("public", "waits_for", wanted);
    assert_eq!(second.count("public", "became_active"), claimed);
    first.kill();
    second.wait_for("public", "state", "active");
}

#[test]
fn the_doctor_tells_what_a_pair_finds_on_its_machines() {
    if !possible() {
        return;
    }
    let net = Net::new(2);
    let folder = Folder::new();
    // It listens for a moment, in which a busy machine may say nothing.
    let sees = |n: usize, text: &str, good: bool, wanted: &[&str]| {
        let file = folder.file("doctor.cfg", text.as_bytes());
        let program = lab::Program::mulgil().path();
        let mut last = String::new();
        let end = std::time::Instant::now() + lab::net::PATIENCE;
        while std::time::Instant::now() < end {
            let (well, said) = net.exec(&net.router(n), &program, &["doctor", "-f", &file]);
            if well == good && wanted.iter().all(|line| said.contains(line)) {
                return;
            }
            last = said;
        }
        panic!("never {good} {wanted:?}:\n{last}");
    };
    let peer = |n: u8| format!("    peer 10.9.0.{n}\n");
    let first = config("first", 200, &peer(2));
    // Before anything runs; nobody listens at the other end yet.
    sees(
        1,
        &first,
        false,
        &[
            "ok     vrrp public: interface eth0 is up",
            "ok     vrrp public: adverts go out from 203.0.113.1",
            "ok     vrrp public: 203.0.113.10/24 is free to be put on eth0",
            "ok     vrrp public: nobody else advertises virtual router 51 on eth0 now",
            "WRONG  vrrp public: nobody listens at the peer 10.9.0.2:7112",
        ],
    );
    let one = Router::start(&net, 1, &first);
    one.wait_for("public", "state", "active");
    let second = config("second", 100, &peer(1));
    sees(
        2,
        &second,
        true,
        &[
            "ok     vrrp public: 203.0.113.1 is active for virtual router 51, with priority 200",
            "ok     vrrp public: the peer 10.9.0.1:7112 is reached from 10.9.0.2 on eth1",
        ],
    );
    // Beside a process that runs, which it does not disturb.
    let two = Router::start(&net, 2, &second);
    two.wait_for("public", "state", "backup");
    sees(
        1,
        &first,
        true,
        &["ok     vrrp public: 203.0.113.10/24 is on eth0: this machine is active"],
    );
    sees(
        2,
        &second,
        true,
        &["ok     vrrp public: 203.0.113.10/24 is not here: another machine has it"],
    );
    // The mistakes that pairs are made with.
    sees(
        2,
        &config("second", 200, &peer(2)),
        false,
        &[
            "WRONG  vrrp public: 10.9.0.2 is to be another machine, and is this one's, on eth1",
            "which is also that of this file\n       give the machines different priorities",
        ],
    );
    let old = config("second", 100, "    version 2\n").replace("100ms", "1s");
    sees(
        2,
        &old,
        false,
        &["would be refused\n       it is of another version: set 'version' alike"],
    );
    sees(
        2,
        &config("second", 100, "").replace("interface eth0", "interface eth7"),
        false,
        &["there is no interface eth7\n       name one of "],
    );
    net.ip(&net.router(2), &format!("addr add {VIP}/24 dev eth0"));
    sees(
        2,
        &second,
        false,
        &["WRONG  vrrp public: 203.0.113.10/24 stands on eth0 already"],
    );
    assert_eq!(one.count("public", "became_active"), 1);
    assert_eq!(two.count("public", "became_active"), 0);
}

#[test]
fn ten_milliseconds_are_an_interval() {
    if !possible() {
        return;
    }
    let quick = |name: &str, priority| config(name, priority, "").replace("100ms", "10ms");
    let net = Net::new(2);
    let first = Router::start(&net, 1, &quick("first", 200));
    net.wait_for_holder(1, VIP);
    let second = Router::start(&net, 2, &quick("second", 100));
    until("adverts come", || {
        second.count("public", "adverts_received") > 100
    });
    assert_eq!(second.vrrp("public", "interval_ms"), "10");
    first.kill();
    second.wait_for("public", "state", "active");
    net.wait_for_holder(2, VIP);
}

#[test]
fn a_process_that_replaces_another_has_its_addresses_without_an_election() {
    if !possible() {
        return;
    }
    let (net, first, second) = pair("");
    let old = first.child.id().to_string();
    let new = Router::replace(&net, 1, &config("third", 200, ""), &old);
    assert_eq!(new.vrrp("public", "state"), "active");
    first.wait_for_output("handed over to another process of this machine");
    until("the client reaches the new one", || net.get(VIP) == "third");
    assert!(net.has(1, VIP));
    assert_eq!(second.count("public", "became_active"), 0);
    assert_eq!(second.count("public", "farewells_received"), 0);
    // One that does not replace it may not stand beside it.
    let folder = Folder::new();
    let file = folder.file("test.cfg", config("fourth", 200, "").as_bytes());
    let (started, said) = net.exec(
        &net.router(1),
        &lab::Program::mulgil().path(),
        &["-f", &file, "-db"],
    );
    assert!(
        !started && said.contains("another process runs virtual router 51 on eth0"),
        "{said}"
    );
    new.stop();
    net.wait_for_holder(2, VIP);
}

#[test]
fn addresses_move_after_privileges_are_given_up() {
    if !possible() {
        return;
    }
    let unprivileged = |name: &str, priority: u8| {
        format!("global\n    user nobody\n{}", config(name, priority, ""))
    };
    let net = Net::new(2);
    let first = Router::start(&net, 1, &unprivileged("first", 200));
    let second = Router::start(&net, 2, &unprivileged("second", 100));
    net.wait_for_holder(1, VIP);
    second.wait_for("public", "state", "backup");
    net.ip(&net.client(), "link set eth0r1 down");
    second.wait_for("public", "state", "active");
    assert!(net.has(2, VIP) && !net.has(1, VIP));
    net.ip(&net.client(), "link set eth0r1 up");
    net.wait_for_holder(1, VIP);
    first.stop();
    net.wait_for_holder(2, VIP);
}

#[test]
fn routes_go_with_the_address_and_others_are_left_alone() {
    if !possible() {
        return;
    }
    let lines = "    route 198.51.100.0/24 via 203.0.113.254\n    route 192.0.2.0/25\n";
    let net = Net::new(2);
    net.ip(&net.router(1), "route add 192.0.2.0/25 dev eth0");
    let first = Router::start(&net, 1, &config("first", 200, lines));
    let second = Router::start(&net, 2, &config("second", 100, lines));
    net.wait_for_holder(1, VIP);
    second.wait_for("public", "state", "backup");
    let routes = |n: usize| net.ip(&net.router(n), "route show");
    let has = |n: usize| routes(n).contains("198.51.100.0/24 via 203.0.113.254 dev eth0 proto 112");
    until("the active one has the route", || has(1) && !has(2));
    first.kill();
    until("the other one has it", || has(2));
    assert!(
        routes(2).contains("192.0.2.0/25 dev eth0 proto 112"),
        "{}",
        routes(2)
    );
    // What the crash left is removed by the next start, what was there before is not.
    let first = Router::start(&net, 1, &config("first", 50, lines));
    first.wait_for("public", "state", "backup");
    assert!(
        !has(1) && routes(1).contains("192.0.2.0/25 dev eth0"),
        "{}",
        routes(1)
    );
    second.reload(&config(
        "second",
        100,
        "    route 198.51.100.128/25 via 203.0.113.254\n",
    ));
    until("the routes are others", || {
        !has(2) && routes(2).contains("198.51.100.128/25") && !routes(2).contains("192.0.2.0")
    });
    second.stop();
    assert!(!routes(2).contains("198.51.100"), "{}", routes(2));
    assert!(routes(1).contains("192.0.2.0/25"));
}
