//! Debian's keepalived as the other router: both directions, both versions, both families.

use lab::Folder;
use lab::net::{Net, Router, possible, until};
use std::process::Child;

/// A keepalived in a router's namespace.
struct Keepalived {
    child: Child,
    folder: Folder,
}

impl Keepalived {
    fn start(net: &Net, router: usize, text: &str) -> Keepalived {
        let folder = Folder::new();
        let config = folder.file("keepalived.conf", text.as_bytes());
        let child = net.spawn(
            &net.router(router),
            "/usr/sbin/keepalived",
            &[
                "--dont-fork",
                "--vrrp",
                "--log-console",
                "--log-detail",
                "--use-file",
                &config,
                "--pid",
                &folder.path("pid"),
                "--vrrp_pid",
                &folder.path("vrrp_pid"),
            ],
            &folder.path("output"),
        );
        Keepalived { child, folder }
    }

    fn output(&self) -> String {
        std::fs::read_to_string(self.folder.path("output")).unwrap_or_default()
    }

    fn end(&mut self, signal: &str) {
        // A word that it does not know it passes over.
        let said = self.output();
        let known = !said.contains("Unknown keyword");
        assert!(known || std::thread::panicking(), "{said}");
        let vrrp = std::fs::read_to_string(self.folder.path("vrrp_pid")).unwrap_or_default();
        let parent = self.child.id().to_string();
        let send = |signal: &str, pid: &str| {
            if !pid.is_empty() {
                let _ = std::process::Command::new("kill")
                    .args([signal, pid])
                    .status();
            }
        };
        if signal == "-KILL" {
            // The parent would start its child anew, and a child without a parent says farewell.
            send("-STOP", &parent);
            send(signal, vrrp.trim());
        }
        send(signal, &parent);
        until(&format!("keepalived ends: {}", self.output()), || {
            self.child.try_wait().is_ok_and(|s| s.is_some())
        });
    }
}

impl Drop for Keepalived {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|s| s.is_none()) {
            self.end("-KILL");
        }
    }
}

fn installed() -> bool {
    let there = lab::exists("/usr/sbin/keepalived");
    if !there {
        println!("keepalived is not installed: not tried");
    }
    there && possible()
}

/// A way to speak: version, addresses, interval.
#[derive(Clone, Copy)]
struct Case {
    version: u8,
    address: &'static str,
    prefix: u8,
    more: &'static str,
    seconds: &'static str,
    time: &'static str,
    unicast: bool,
}

const CASES: [Case; 3] = [
    Case {
        version: 2,
        address: "203.0.113.10",
        prefix: 24,
        more: "",
        seconds: "1",
        time: "1s",
        unicast: false,
    },
    Case {
        version: 3,
        address: "203.0.113.10",
        prefix: 24,
        more: "",
        seconds: "0.5",
        time: "500ms",
        unicast: false,
    },
    Case {
        version: 3,
        address: "fe80::10",
        prefix: 64,
        more: "",
        seconds: "0.5",
        time: "500ms",
        unicast: false,
    },
];

/// Version 2 and 3, IPv4 and IPv6, each by multicast and by unicast, where 3 has two checksums over IPv4. Most of
/// the time goes by in waiting for intervals: all ways at the same time, each in a network of its own.
fn in_every_way(scenario: impl Fn(&Case) + Sync) {
    let mut unicast = CASES.to_vec();
    unicast.push(Case {
        more: "old_unicast_checksum\n",
        ..CASES[1]
    });
    let unicast = unicast.into_iter().map(|case| Case {
        // keepalived sends unicast from global addresses.
        address: if case.is_ipv6() {
            "2001:db8::10"
        } else {
            case.address
        },
        unicast: true,
        ..case
    });
    // No more at a time, nor beside another test's: who waits for the processor for longer than three
    // intervals is not heard, and an election follows.
    static ALONE: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let _alone = ALONE
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    for some in [CASES.to_vec(), unicast.collect()] {
        std::thread::scope(|scope| {
            for case in &some {
                scope.spawn(|| scenario(case));
            }
        });
    }
}

impl Case {
    fn is_ipv6(&self) -> bool {
        self.address.contains(':')
    }

    /// The address of a router.
    fn router(&self, n: usize) -> String {
        let network = if self.is_ipv6() {
            "2001:db8::"
        } else {
            "203.0.113."
        };
        format!("{network}{n}")
    }

    /// The section of router `n`, of two.
    fn ours(&self, n: usize, priority: u8, more: &str) -> String {
        let (own, other) = (self.router(n), self.router(3 - n));
        let unicast = match self.unicast {
            true => format!("    source {own}\n    unicast {other}\n"),
            false => String::new(),
        };
        format!(
            "vrrp public\n    interface eth0\n    virtual-router-id 51\n    version {}\n    \
             priority {priority}\n    advertise-interval {}\n    address {}/{}\n{unicast}{more}",
            self.version, self.time, self.address, self.prefix
        )
    }

    fn theirs(&self, n: usize, priority: u8, more: &str) -> String {
        let (own, other) = (self.router(n), self.router(3 - n));
        let ttl = if self.is_ipv6() {
            " unicast_ttl 255\n"
        } else {
            ""
        };
        let unicast = match self.unicast {
            true => format!("{ttl} unicast_src_ip {own}\n unicast_peer {{\n  {other}\n }}\n"),
            false => String::new(),
        };
        // On a busy machine a process of that priority may take longer than the 10 ms after which the
        // system would kill it: it would begin anew as a backup, and somebody else be active.
        format!(
            "global_defs {{\n vrrp_version {}\n vrrp_garp_master_repeat 1\n vrrp_rt_priority 20\n vrrp_rlimit_rttime 10000000\n vrrp_priority -20\n}}\n\
             vrrp_instance public {{\n interface eth0\n virtual_router_id 51\n priority {priority}\n \
             advert_int {}\n state BACKUP\n {}{unicast}{more}\n virtual_ipaddress {{\n  {}/{}\n }}\n}}\n",
            self.version, self.seconds, self.more, self.address, self.prefix
        )
    }

    /// A network in which no router hears what goes to all, where that is not to be needed.
    fn network(&self) -> Net {
        let net = Net::new(2);
        if self.unicast && !self.is_ipv6() {
            for port in ["eth0r1", "eth0r2"] {
                let args = ["link", "set", "dev", port, "mcast_flood", "off"];
                assert!(net.exec(&net.client(), "bridge", &args).0);
            }
        }
        net
    }

    /// For a message about what went wrong.
    fn name(&self) -> String {
        format!(
            "{} version {} unicast {}",
            self.address, self.version, self.unicast
        )
    }
}

#[test]
fn mulgil_is_active_and_keepalived_its_backup() {
    if !installed() {
        return;
    }
    in_every_way(|case| {
        let net = case.network();
        let ours = Router::start(&net, 1, &case.ours(1, 200, ""));
        ours.wait_for("public", "state", "active");
        let mut theirs = Keepalived::start(&net, 2, &case.theirs(2, 100, ""));
        until("keepalived is a backup", || {
            theirs.output().contains("Entering BACKUP")
        });
        // Failover, by a crash.
        ours.kill();
        until(
            &format!(
                "{}: keepalived takes over: {}",
                case.name(),
                theirs.output()
            ),
            || net.has(2, case.address),
        );
        // Failback: it preempts.
        let ours = Router::start(&net, 1, &case.ours(1, 200, ""));
        net.wait_for_holder(1, case.address);
        assert_eq!(ours.vrrp("public", "state"), "active");
        // A farewell.
        ours.stop();
        net.wait_for_holder(2, case.address);
        // One that does not preempt lets keepalived go on, and hears it.
        let ours = Router::start(&net, 1, &case.ours(1, 200, "    no preempt\n"));
        until("adverts come", || {
            ours.count("public", "adverts_received") > 3
        });
        assert_eq!(ours.vrrp("public", "state"), "backup", "{}", case.name());
        assert_eq!(net.holder(case.address), Some(2), "{}", case.name());
        theirs.end("-TERM");
        net.wait_for_holder(1, case.address);
    });
}

#[test]
fn keepalived_is_active_and_mulgil_its_backup() {
    if !installed() {
        return;
    }
    in_every_way(|case| {
        let net = case.network();
        let mut theirs = Keepalived::start(&net, 1, &case.theirs(1, 200, ""));
        until(
            &format!("{}: keepalived is active: {}", case.name(), theirs.output()),
            || net.has(1, case.address),
        );
        let ours = Router::start(&net, 2, &case.ours(2, 100, ""));
        until("adverts come", || {
            ours.count("public", "adverts_received") > 3
        });
        ours.wait_for("public", "state", "backup");
        net.wait_for_holder(1, case.address);
        // Failover, by a farewell.
        theirs.end("-TERM");
        net.wait_for_holder(2, case.address);
        // Failback: it preempts.
        let mut theirs = Keepalived::start(&net, 1, &case.theirs(1, 200, ""));
        net.wait_for_holder(1, case.address);
        ours.wait_for("public", "state", "backup");
        // Failover, by a crash.
        theirs.end("-KILL");
        ours.wait_for("public", "state", "active");
        assert!(net.has(2, case.address));
        // What it left there is its own; one that does not preempt lets ours go on, and hears it.
        let left = format!("addr del {}/{} dev eth0", case.address, case.prefix);
        net.ip(&net.router(1), &left);
        let mut theirs = Keepalived::start(&net, 1, &case.theirs(1, 200, " nopreempt"));
        until(
            &format!(
                "{}: keepalived is a backup: {}",
                case.name(),
                theirs.output()
            ),
            || theirs.output().contains("Entering BACKUP"),
        );
        let sent = ours.count("public", "adverts_sent");
        until("more adverts go out", || {
            ours.count("public", "adverts_sent") > sent + 4
        });
        net.wait_for_holder(2, case.address);
        theirs.end("-TERM");
    });
}

#[test]
fn a_backup_of_a_shorter_interval_follows_that_of_keepalived() {
    if !installed() {
        return;
    }
    // Three of its own intervals pass between two adverts of the active one.
    let slow = Case {
        seconds: "0.5",
        ..CASES[1]
    };
    let quick = Case {
        time: "100ms",
        ..CASES[1]
    };
    let net = Net::new(2);
    let mut theirs = Keepalived::start(&net, 1, &slow.theirs(1, 200, ""));
    until("keepalived is active", || net.has(1, slow.address));
    let ours = Router::start(&net, 2, &quick.ours(2, 100, ""));
    until("adverts come", || {
        ours.count("public", "adverts_received") > 1
    });
    // Until it has heard one it knows only its own interval.
    let before = ours.count("public", "became_active");
    until("more come", || ours.count("public", "adverts_received") > 5);
    assert_eq!(ours.count("public", "became_active"), before);
    theirs.end("-KILL");
    ours.wait_for("public", "state", "active");
    // And keepalived that of ours, which is the shorter one.
    let theirs = Keepalived::start(&net, 1, &slow.theirs(1, 50, ""));
    until("keepalived is a backup", || {
        theirs.output().contains("Entering BACKUP")
    });
    net.wait_for_holder(2, slow.address);
    ours.kill();
    net.wait_for_holder(1, slow.address);
}

#[test]
fn a_better_router_preempts_after_its_delay_on_either_side() {
    if !installed() {
        return;
    }
    let case = &CASES[1];
    let net = Net::new(2);
    let theirs = Keepalived::start(&net, 1, &case.theirs(1, 100, ""));
    until("keepalived is active", || net.has(1, case.address));
    let ours = Router::start(&net, 2, &case.ours(2, 200, "    preempt delay 500ms\n"));
    net.wait_for_holder(2, case.address);
    until("keepalived yields", || {
        theirs.output().contains("Entering BACKUP")
    });
    drop(theirs);
    let theirs = Keepalived::start(&net, 1, &case.theirs(1, 250, " preempt_delay 1"));
    net.wait_for_holder(1, case.address);
    ours.wait_for("public", "state", "backup");
    drop(theirs);
}

#[test]
fn a_password_of_keepalived_is_refused_and_said() {
    if !installed() {
        return;
    }
    let case = &CASES[0];
    let net = Net::new(2);
    let password = " authentication {\n  auth_type PASS\n  auth_pass secret\n }";
    let _theirs = Keepalived::start(&net, 1, &case.theirs(1, 200, password));
    let ours = Router::start(&net, 2, &case.ours(2, 100, ""));
    until("it is counted", || {
        ours.count("public", "refused_authentication") > 0
    });
    ours.wait_for_output("it has an authentication, which RFC 3768 took away: turn it off there");
}

#[test]
fn a_virtual_hardware_address_is_the_same_with_keepalived() {
    if !installed() {
        return;
    }
    let case = &CASES[1];
    let net = Net::new(2);
    let theirs = Keepalived::start(&net, 1, &case.theirs(1, 100, " use_vmac"));
    let known = || {
        // Whoever answers or refuses, the client asks for its hardware address first.
        net.get(case.address);
        let shown = net.ip(
            &net.client(),
            &format!("neigh show {} dev br0", case.address),
        );
        shown.contains("00:00:5e:00:01:33")
    };
    until("keepalived has the virtual hardware address", known);
    let ours = Router::start(&net, 2, &case.ours(2, 200, "    virtual-mac\n"));
    ours.wait_for("public", "state", "active");
    until("ours has it", known);
    ours.stop();
    until("keepalived has it again", known);
    drop(theirs);
}
