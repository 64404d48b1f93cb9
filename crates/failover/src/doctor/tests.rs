use super::*;
use crate::check::tests::{ip, vrrp};
use crate::link::Address;
use wire::vrrp::{Advert, Sum};

fn link(name: &str, up: bool, addresses: &[(&str, bool)]) -> Link {
    let addresses = addresses.iter().map(|(text, ours)| Address {
        ip: ip(text),
        prefix: 24,
        ours: *ours,
        usable: true,
    });
    Link {
        index: 3,
        name: name.into(),
        mac: [2; 6],
        up,
        virtual_mac: false,
        addresses: addresses.collect(),
    }
}

fn said(found: &[Finding]) -> String {
    found.iter().map(|f| format!("{f}\n")).collect()
}

#[test]
fn what_is_wrong_with_interfaces_and_addresses_is_named_with_its_remedy() {
    let own = ("203.0.113.1", false);
    let vip = |ours| ("203.0.113.10", ours);
    let cases: [(Vec<Link>, bool, &str, &str); 7] = [
        (
            vec![link("eth1", true, &[own])],
            false,
            "no interface eth0",
            "name one of eth1",
        ),
        (
            vec![link("eth0", false, &[own])],
            false,
            "eth0 is down",
            "ip link set eth0 up",
        ),
        (
            vec![link("eth0", true, &[])],
            false,
            "no address of IPv4 to send from",
            "an address of its own",
        ),
        (
            vec![link("eth0", true, &[own, vip(false)])],
            true,
            "stands on eth0 already",
            "ip addr del 203.0.113.10/24 dev eth0",
        ),
        (
            vec![link("eth0", true, &[own, vip(true)])],
            false,
            "was left on eth0",
            "start mulgil",
        ),
        (
            vec![link("eth0", true, &[own, vip(true)])],
            true,
            "this machine is active",
            "",
        ),
        (
            vec![link("eth0", true, &[own])],
            false,
            "is free to be put on eth0",
            "",
        ),
    ];
    for (links, runs, fact, remedy) in cases {
        let found = on_machine(&vrrp(3), &links, runs);
        let one = found.iter().find(|f| f.fact.contains(fact));
        let one = one.unwrap_or_else(|| panic!("{fact}:\n{}", said(&found)));
        match &one.remedy {
            None => assert_eq!(remedy, "", "{fact}"),
            Some(text) => assert!(!remedy.is_empty() && text.contains(remedy), "{text}"),
        }
    }
}

#[test]
fn a_file_that_names_its_own_machine_as_the_other_is_found() {
    let links = [link("eth0", true, &[("203.0.113.1", false)])];
    let mut section = vrrp(3);
    section.peers = vec![SocketAddr::new(ip("203.0.113.1"), 7112)];
    let found = said(&on_machine(&section, &links, false));
    assert!(
        found.contains("203.0.113.1 is to be another machine, and is this one's, on eth0"),
        "{found}"
    );
    section.peers = vec![SocketAddr::new(ip("203.0.113.2"), 7112)];
    let found = said(&on_machine(&section, &links, false));
    assert!(!found.contains("WRONG"), "{found}");
}

#[test]
fn members_of_a_group_want_one_priority() {
    let member = |group: &str, priority| {
        Arc::new(Vrrp {
            group: Some(group.into()),
            priority,
            ..vrrp(3)
        })
    };
    let found = groups(&[
        member("edge", 200),
        member("edge", 100),
        member("alike", 100),
        member("alike", 100),
        Arc::new(vrrp(3)),
    ]);
    assert_eq!(found.len(), 1);
    assert!(said(&found).contains("group edge have priorities 100 and 200"));
}

#[test]
fn an_advert_is_judged_as_it_would_be_heard() {
    let advert = |version, priority, address: &str| {
        let (source, destination) = (ip("203.0.113.2"), ip("224.0.0.18"));
        let advert = Advert {
            version,
            vrid: 51,
            priority,
            interval: Duration::from_secs(1),
            addresses: vec![ip(address)],
        };
        Heard {
            source,
            destination,
            hops: 255,
            bytes: advert.encode(source, destination, Sum::PseudoHeader),
        }
    };
    let own = Some(ip("203.0.113.1"));
    let verdict = |heard: &Heard| judge(&vrrp(3), own, heard).to_string();
    let vip = "203.0.113.10";
    let good = verdict(&advert(3, 200, vip));
    assert!(
        good.starts_with("ok ") && good.contains("with priority 200"),
        "{good}"
    );
    let same = verdict(&advert(3, 100, vip));
    assert!(
        same.contains("give the machines different priorities"),
        "{same}"
    );
    let other = verdict(&advert(3, 200, "203.0.113.99"));
    assert!(other.contains("with other addresses"), "{other}");
    let old = verdict(&advert(2, 200, vip));
    assert!(
        old.contains("would be refused\n       it is of another version"),
        "{old}"
    );
}

#[test]
fn silence_that_is_shorter_than_an_interval_means_nothing() {
    let every = |seconds| Vrrp {
        interval: Duration::from_secs(seconds),
        ..vrrp(3)
    };
    let of = |seconds| span(&[Arc::new(every(seconds)), Arc::new(every(1))]);
    assert_eq!((of(1), of(40)), (Duration::from_millis(2300), LONGEST));
    let said = |seconds| silence(&every(seconds), of(seconds)).to_string();
    let short = said(1);
    assert!(
        short.starts_with("ok ") && short.ends_with("eth0 now: listened for 2.3 s"),
        "{short}"
    );
    let long = said(40);
    assert!(
        long.contains("listened for 5.0 s only, and 'advertise-interval' is 40s"),
        "{long}"
    );
}
