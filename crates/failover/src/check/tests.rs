use super::*;
use model::VirtualAddress;
use std::time::Duration;

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

pub(crate) fn vrrp(version: u8) -> Vrrp {
    Vrrp {
        name: "public".into(),
        interface: "eth0".into(),
        vrid: 51,
        version,
        priority: 100,
        interval: Duration::from_secs(1),
        preempt: true,
        preempt_delay: Duration::ZERO,
        addresses: vec![VirtualAddress {
            ip: ip("203.0.113.10"),
            prefix: 24,
        }],
        source: None,
        unicast: Vec::new(),
        peers: Vec::new(),
        routes: Vec::new(),
        rules: Vec::new(),
        virtual_mac: false,
        accept: true,
        peer_key: None,
        sync: None,
        group: None,
        tracks: Vec::new(),
        notify: Vec::new(),
        refresh: Duration::ZERO,
    }
}

fn advert(version: u8) -> Advert {
    Advert {
        version,
        vrid: 51,
        priority: 200,
        interval: Duration::from_secs(1),
        addresses: vec![ip("203.0.113.10")],
    }
}

/// What becomes of an advert after a change of it and of its way.
fn verdict(
    vrrp: &Vrrp,
    advert: &Advert,
    mut change: impl FnMut(&mut Heard),
) -> Result<(), Refusal> {
    let (source, destination) = (ip("10.0.0.2"), ip("224.0.0.18"));
    let mut heard = Heard {
        source,
        destination,
        hops: 255,
        bytes: advert.encode(source, destination, Sum::PseudoHeader),
    };
    change(&mut heard);
    check(vrrp, Some(ip("10.0.0.1")), &heard).map(|_| ())
}

#[test]
fn an_advert_of_a_neighbour_passes() {
    for version in [2, 3] {
        let said = verdict(&vrrp(version), &advert(version), |_| {});
        assert_eq!(said, Ok(()), "{version}");
    }
}

#[test]
fn each_reason_to_refuse_has_a_name() {
    let (v2, v3) = (vrrp(2), vrrp(3));
    let none = |_: &mut Heard| {};
    let far = |h: &mut Heard| h.hops = 254;
    assert_eq!(verdict(&v3, &advert(3), far), Err(Refusal::Hops));
    let own = |h: &mut Heard| h.source = ip("10.0.0.1");
    assert_eq!(verdict(&v3, &advert(3), own), Err(Refusal::Own));
    let elsewhere = |h: &mut Heard| h.destination = ip("10.0.0.1");
    assert_eq!(
        verdict(&v3, &advert(3), elsewhere),
        Err(Refusal::Destination)
    );
    let cut = |h: &mut Heard| h.bytes.truncate(9);
    assert_eq!(verdict(&v3, &advert(3), cut), Err(Refusal::Length));
    let damaged = |h: &mut Heard| h.bytes[2] ^= 1;
    assert_eq!(verdict(&v3, &advert(3), damaged), Err(Refusal::Checksum));
    assert_eq!(verdict(&v3, &advert(2), none), Err(Refusal::Version));
    assert_eq!(verdict(&v2, &advert(3), none), Err(Refusal::Version));
    let slow = Advert {
        interval: Duration::from_secs(2),
        ..advert(2)
    };
    assert_eq!(verdict(&v2, &slow, none), Err(Refusal::Interval));
    // Version 3 follows the interval of the active router.
    let slow = Advert { version: 3, ..slow };
    assert_eq!(verdict(&v3, &slow, none), Ok(()));
    let mut listed = vrrp(3);
    listed.unicast = vec![ip("10.0.0.3")];
    assert_eq!(verdict(&listed, &advert(3), none), Err(Refusal::Stranger));
    listed.unicast = vec![ip("10.0.0.2")];
    assert_eq!(verdict(&listed, &advert(3), none), Ok(()));
}

#[test]
fn other_addresses_are_refused_in_version_2_and_noted_in_version_3() {
    let other = |version| Advert {
        addresses: vec![ip("203.0.113.11")],
        ..advert(version)
    };
    let said = verdict(&vrrp(2), &other(2), |_| {});
    assert_eq!(said, Err(Refusal::Addresses));
    let owner = Advert {
        priority: 255,
        ..other(2)
    };
    assert_eq!(verdict(&vrrp(2), &owner, |_| {}), Ok(()));
    assert_eq!(verdict(&vrrp(3), &other(3), |_| {}), Ok(()));
}

#[test]
fn any_bytes_are_taken_or_refused() {
    // A seeded mutator over good adverts: bytes changed, cut and added.
    let mut seed = 7u64;
    let mut next = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (seed >> 33) as usize
    };
    for round in 0..50_000 {
        let version = 2 + (round % 2) as u8;
        let _ = verdict(&vrrp(version), &advert(version), |h| {
            for _ in 0..next() % 4 {
                let at = next() % h.bytes.len().max(1);
                match (next() % 3, h.bytes.get_mut(at)) {
                    (0, Some(byte)) => *byte = next() as u8,
                    (1, _) => h.bytes.truncate(at),
                    _ => h.bytes.push(next() as u8),
                }
            }
        });
    }
}
