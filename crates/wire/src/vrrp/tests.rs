use super::*;
use proptest::prelude::*;

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
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

#[test]
fn version_2_is_laid_out_as_rfc_3768_says() {
    let bytes = advert(2).encode(ip("10.0.0.1"), GROUP_V4.into(), Sum::default());
    let head = [0x21, 51, 200, 1, 0, 1];
    assert_eq!(bytes[..6], head);
    assert_eq!(bytes[8..12], [203, 0, 113, 10]);
    assert_eq!(bytes[12..], [0; 8]);
    // 0x2133 + 0xc801 + 0x0001 + 0xcb00 + 0x710a = 0x2253f; folded 0x2541; inverted.
    assert_eq!(bytes[6..8], (!0x2541u16).to_be_bytes());
}

#[test]
fn version_3_is_laid_out_as_rfc_9568_says() {
    let bytes = advert(3).encode(ip("10.0.0.1"), GROUP_V4.into(), Sum::Message);
    assert_eq!(bytes[..6], [0x31, 51, 200, 1, 0, 100]);
    assert_eq!(bytes.len(), 12);
    // 0x3133 + 0xc801 + 0x0064 + 0xcb00 + 0x710a = 0x235a2; folded 0x35a4.
    assert_eq!(bytes[6..8], (!0x35a4u16).to_be_bytes());
}

#[test]
fn each_way_of_summing_is_told_apart() {
    for how in [Sum::Message, Sum::PseudoHeader] {
        let bytes = advert(3).encode(ip("10.0.0.1"), GROUP_V4.into(), how);
        let read = Advert::decode(&bytes, ip("10.0.0.1"), GROUP_V4.into());
        assert_eq!(read, Ok((advert(3), how)));
    }
}

/// What keepalived 2.2.7 sends to one router with `old_unicast_checksum`.
#[test]
fn the_sum_of_the_group_in_an_advert_to_one_is_known_and_answered_alike() {
    let bytes = [0x31, 0x33, 0xc8, 1, 0, 0x32, 0xad, 0xfc, 203, 0, 113, 10];
    let (source, destination) = (ip("203.0.113.1"), ip("203.0.113.2"));
    let (advert, how) = Advert::decode(&bytes, source, destination).expect("an advert");
    assert_eq!(how, Sum::Group);
    assert_eq!(advert.encode(source, destination, how), bytes);
    let elsewhere = Advert::decode(&bytes, ip("203.0.113.3"), destination);
    assert_eq!(elsewhere, Err(Fault::Checksum));
}

#[test]
fn what_is_no_advert_is_refused_for_its_reason() {
    let (source, group) = (ip("10.0.0.1"), IpAddr::from(GROUP_V4));
    let broken = |change: &dyn Fn(&mut Advert), first: Option<u8>, resum: bool| {
        let mut a = advert(3);
        change(&mut a);
        let mut bytes = a.encode(source, group, Sum::Message);
        if let Some(first) = first {
            bytes[0] = first;
        }
        if resum {
            bytes[6..8].fill(0);
            let sum = !fold(add(0, &bytes));
            bytes[6..8].copy_from_slice(&sum.to_be_bytes());
        }
        Advert::decode(&bytes, source, group).map(|_| ())
    };
    let none = |_: &mut Advert| {};
    assert_eq!(broken(&none, Some(0x41), true), Err(Fault::Version(4)));
    assert_eq!(broken(&none, Some(0x32), true), Err(Fault::Type(2)));
    assert_eq!(broken(&none, Some(0x21), true), Err(Fault::Length));
    assert_eq!(broken(&|a| a.vrid = 0, None, false), Err(Fault::Vrid));
    let zero = |a: &mut Advert| a.interval = Duration::ZERO;
    assert_eq!(broken(&zero, None, false), Err(Fault::Interval));
    let leaving = |a: &mut Advert| (a.interval, a.priority) = (Duration::ZERO, 0);
    assert_eq!(broken(&leaving, None, false), Ok(()));
    let mut bytes = advert(3).encode(source, group, Sum::Message);
    bytes[8] ^= 1;
    assert_eq!(Advert::decode(&bytes, source, group), Err(Fault::Checksum));
    // A router on the way changed who it is from: with a pseudo-header that shows.
    let bytes = advert(3).encode(source, group, Sum::PseudoHeader);
    let other = Advert::decode(&bytes, ip("10.0.0.9"), group);
    assert_eq!(other, Err(Fault::Checksum));
    let mut bytes = advert(2).encode(source, group, Sum::Message);
    bytes[4] = 1;
    bytes[6..8].fill(0);
    let sum = !fold(add(0, &bytes));
    bytes[6..8].copy_from_slice(&sum.to_be_bytes());
    let read = Advert::decode(&bytes, source, group);
    assert_eq!(read, Err(Fault::Authentication(1)));
}

fn any_advert() -> impl Strategy<Value = (Advert, IpAddr)> {
    let narrow = proptest::collection::vec(any::<u32>(), 0..255)
        .prop_map(|all| all.into_iter().map(|a| IpAddr::V4(a.into())).collect());
    let wide = proptest::collection::vec(any::<u128>(), 0..255)
        .prop_map(|all| all.into_iter().map(|a| IpAddr::V6(a.into())).collect());
    let rest = (1u8..=255, any::<u8>(), 1u64..=4095, any::<u128>());
    let family = prop_oneof![
        (Just(2u8), narrow.clone()),
        (Just(3u8), narrow),
        (Just(3u8), wide)
    ];
    (family, rest).prop_map(|((version, addresses), (vrid, priority, n, from))| {
        let addresses: Vec<IpAddr> = addresses;
        let wide = addresses.first().is_some_and(IpAddr::is_ipv6);
        let interval = match version {
            2 => Duration::from_secs(n.min(255)),
            _ => Duration::from_millis(n * 10),
        };
        let source = match wide {
            true => IpAddr::V6(from.into()),
            false => IpAddr::V4((from as u32).into()),
        };
        let advert = Advert {
            version,
            vrid,
            priority,
            interval,
            addresses,
        };
        (advert, source)
    })
}

fn group_of(source: IpAddr) -> IpAddr {
    match source {
        IpAddr::V4(_) => GROUP_V4.into(),
        IpAddr::V6(_) => GROUP_V6.into(),
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read_again((advert, source) in any_advert(), pseudo: bool) {
        let how = if pseudo { Sum::PseudoHeader } else { Sum::Message };
        let bytes = advert.encode(source, group_of(source), how);
        let (read, _) = Advert::decode(&bytes, source, group_of(source)).expect("an advert");
        prop_assert_eq!(read, advert);
    }

    #[test]
    fn any_bytes_are_read_or_refused(
        bytes in proptest::collection::vec(any::<u8>(), 0..80), wide: bool
    ) {
        let source = if wide { ip("fe80::1") } else { ip("10.0.0.1") };
        let _ = Advert::decode(&bytes, source, group_of(source));
    }

    /// Damage of a few bits, and every cut: never a panic, and one bit is always noticed.
    #[test]
    fn damaged_adverts_are_refused(
        (advert, source) in any_advert(), bit in any::<prop::sample::Index>(),
        cut in any::<prop::sample::Index>()
    ) {
        let mut bytes = advert.encode(source, group_of(source), Sum::PseudoHeader);
        let short = Advert::decode(&bytes[..cut.index(bytes.len())], source, group_of(source));
        prop_assert!(short.is_err());
        let at = bit.index(bytes.len() * 8);
        bytes[at / 8] ^= 1 << (at % 8);
        if let Ok((read, _)) = Advert::decode(&bytes, source, group_of(source)) {
            // Only where both ways of summing happen to fit.
            prop_assert_ne!(read, advert);
        }
    }
}
