//! Keys of the hashing schedulers, 32 bits, and the 64-bit hash of computed cookies.

use model::{HashFunction, HashKind};
use std::net::IpAddr;

/// Hashes a key as `hash-type` says. With `none` the lower 32 bits of the key are its hash: of a number
/// where the key is one in decimal digits, otherwise of its last bytes.
pub fn bytes(key: &[u8], function: HashFunction) -> u32 {
    let hash = match function.kind {
        HashKind::Sdbm => rules::hash::sdbm(key),
        HashKind::Djb2 => rules::hash::djb2(key),
        HashKind::Crc32 => rules::hash::crc32(key),
        HashKind::None => std::str::from_utf8(key)
            .ok()
            .and_then(|text| text.trim().parse::<i64>().ok())
            .map_or_else(|| last_bytes(key), |number| number as u32),
    };
    if function.avalanche {
        rules::hash::avalanche(hash)
    } else {
        hash
    }
}

/// The hash of a client's address: its 32-bit words put together by exclusive or. It is a number already,
/// so that of `hash-type` only `avalanche` counts, as for HAProxy.
pub fn address(ip: IpAddr, function: HashFunction) -> u32 {
    let number = match ip.to_canonical() {
        IpAddr::V4(ip) => ip.to_bits(),
        IpAddr::V6(ip) => (0..4).fold(0, |n, word| n ^ (ip.to_bits() >> (32 * word)) as u32),
    };
    match function.avalanche {
        true => rules::hash::avalanche(number),
        false => number,
    }
}

/// The number that the last four bytes are, the highest first.
fn last_bytes(key: &[u8]) -> u32 {
    key.iter().fold(0, |n, byte| (n << 8) | u32::from(*byte))
}

/// The part of a request target that `balance uri` hashes.
///
/// `whole` takes the query in; `path_only` begins at the path of an absolute target; `len` stops
/// after that many bytes and `depth` at the slash that would open level `depth + 1`.
pub fn uri_part(
    target: &[u8],
    len: Option<u32>,
    depth: Option<u32>,
    whole: bool,
    path_only: bool,
) -> &[u8] {
    let target = if path_only { from_path(target) } else { target };
    let longest = len.filter(|l| *l > 0).map_or(target.len(), |l| l as usize);
    let mut slashes = 0;
    let end = target.iter().take(longest).position(|byte| {
        slashes += u32::from(*byte == b'/');
        (*byte == b'?' && !whole) || depth.is_some_and(|depth| depth > 0 && slashes > depth)
    });
    let end = end.unwrap_or(longest).min(target.len());
    target.get(..end).unwrap_or_default()
}

/// What follows scheme and authority.
fn from_path(target: &[u8]) -> &[u8] {
    let Some(scheme) = target.windows(3).position(|w| w == b"://") else {
        return target;
    };
    // A colon and two slashes after the first slash belong to the path itself.
    if target.iter().take(scheme).any(|b| *b == b'/') {
        return target;
    }
    let after = target.get(scheme + 3..).unwrap_or_default();
    match after.iter().position(|b| *b == b'/') {
        Some(slash) => after.get(slash..).unwrap_or_default(),
        None => b"",
    }
}

/// XXH64 with seed 0.
pub fn xxh64(bytes: &[u8]) -> u64 {
    const P: [u64; 5] = [
        11_400_714_785_074_694_791,
        14_029_467_366_897_019_727,
        1_609_587_929_392_839_161,
        9_650_029_242_287_828_579,
        2_870_177_450_012_600_261,
    ];
    let round = |acc: u64, word: u64| {
        let acc = acc.wrapping_add(word.wrapping_mul(P[1]));
        acc.rotate_left(31).wrapping_mul(P[0])
    };
    let word = |b: &[u8]| b.iter().rev().fold(0u64, |n, b| (n << 8) | u64::from(*b));
    let stripes = bytes.chunks_exact(32);
    let mut rest = stripes.remainder();
    let mut hash = if bytes.len() >= 32 {
        let start = P[0].wrapping_add(P[1]);
        let mut lanes = [start, P[1], 0, 0u64.wrapping_sub(P[0])];
        for stripe in stripes {
            for (lane, part) in lanes.iter_mut().zip(stripe.chunks(8)) {
                *lane = round(*lane, word(part));
            }
        }
        let turned = lanes.iter().zip([1, 7, 12, 18]);
        let sum = turned.fold(0u64, |n, (l, by)| n.wrapping_add(l.rotate_left(by)));
        lanes.iter().fold(sum, |hash, lane| {
            (hash ^ round(0, *lane))
                .wrapping_mul(P[0])
                .wrapping_add(P[3])
        })
    } else {
        P[4]
    };
    hash = hash.wrapping_add(bytes.len() as u64);
    while let Some((part, after)) = rest.split_at_checked(8) {
        hash ^= round(0, word(part));
        hash = hash.rotate_left(27).wrapping_mul(P[0]).wrapping_add(P[3]);
        rest = after;
    }
    if let Some((part, after)) = rest.split_at_checked(4) {
        hash ^= word(part).wrapping_mul(P[0]);
        hash = hash.rotate_left(23).wrapping_mul(P[1]).wrapping_add(P[2]);
        rest = after;
    }
    for b in rest {
        hash ^= u64::from(*b).wrapping_mul(P[4]);
        hash = hash.rotate_left(11).wrapping_mul(P[0]);
    }
    hash = (hash ^ (hash >> 33)).wrapping_mul(P[1]);
    hash = (hash ^ (hash >> 29)).wrapping_mul(P[2]);
    hash ^ (hash >> 32)
}

/// The main part of a host name, for `use_domain_only`: of `haproxy.1wt.eu` only `1wt`. A port is cut
/// off, and a name without a dot is taken as it is. Where a part of the name is empty HAProxy's answer
/// changes from request to request.
pub fn domain(host: &[u8]) -> &[u8] {
    let end = host.iter().position(|b| *b == b':').unwrap_or(host.len());
    let name = host.get(..end).unwrap_or_default();
    let mut parts = name.rsplit(|b| *b == b'.').skip(1);
    parts.next().unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sdbm_gives_the_known_values() {
        // hash(i) = hash(i - 1) * 65599 + byte, by hand for "ab".
        let sdbm = HashFunction::default();
        assert_eq!(bytes(b"", sdbm), 0);
        assert_eq!(bytes(b"a", sdbm), 97);
        assert_eq!(bytes(b"ab", sdbm), 97 * 65599 + 98);
    }

    #[test]
    fn the_functions_give_the_values_of_the_converters_of_their_names() {
        let hash = |kind, avalanche| bytes(b"123456789", HashFunction { kind, avalanche });
        assert_eq!(hash(HashKind::Crc32, false), 0xcbf4_3926);
        let djb2 = b"123456789".iter().fold(5381u32, |h, b| {
            h.wrapping_mul(33).wrapping_add(u32::from(*b))
        });
        assert_eq!(hash(HashKind::Djb2, false), djb2);
        // What haproxy says of `str(hello),sdbm(1)`.
        let spread = HashFunction {
            kind: HashKind::Sdbm,
            avalanche: true,
        };
        assert_eq!(bytes(b"hello", spread), 2_061_535_398);
        let none = |key: &[u8]| {
            let kind = HashKind::None;
            bytes(
                key,
                HashFunction {
                    kind,
                    avalanche: false,
                },
            )
        };
        assert_eq!(none(b"123456789"), 123_456_789);
        assert_eq!(none(&1_234_567_890_123u64.to_be_bytes()), 1_912_276_171);
    }

    #[test]
    fn xxh64_gives_the_published_values() {
        assert_eq!(xxh64(b""), 0xef46_db37_51d8_e999);
        assert_eq!(xxh64(b"abc"), 0x44bc_2cf5_ad77_0999);
        let long: Vec<u8> = (0..101).collect();
        assert_eq!(xxh64(&long), 0xe99038495f85381e);
    }

    #[test]
    fn of_a_target_counts_what_the_words_say() {
        let part = |target: &'static str, len, depth, whole, path_only| {
            let part = uri_part(target.as_bytes(), len, depth, whole, path_only);
            std::str::from_utf8(part).expect("ascii")
        };
        assert_eq!(part("/a/b?x=1", None, None, false, false), "/a/b");
        assert_eq!(part("/a/b?x=1", None, None, true, false), "/a/b?x=1");
        assert_eq!(part("/a/b/c", None, Some(1), false, false), "/a");
        assert_eq!(part("/a/b/c", Some(2), None, false, false), "/a");
        assert_eq!(part("/a", Some(9), None, false, false), "/a");
        assert_eq!(
            part("http://a.example/x/y", None, None, false, true),
            "/x/y"
        );
        assert_eq!(
            part("/r/http://b/", None, None, false, true),
            "/r/http://b/"
        );
    }

    #[test]
    fn the_domain_is_what_stands_before_the_last_dot() {
        for (host, domain_only) in [
            ("haproxy.1wt.eu", "1wt"),
            ("www.example.com:8080", "example"),
            ("example.com", "example"),
            ("localhost", "localhost"),
            ("", ""),
        ] {
            assert_eq!(domain(host.as_bytes()), domain_only.as_bytes(), "{host}");
        }
    }
}
