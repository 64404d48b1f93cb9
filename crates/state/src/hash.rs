//! Keys of the hashing schedulers, 32 bits.
//!
//! The function is sdbm (public domain, `hash-type … sdbm`, the language's default).

/// Hashes a key.
pub fn bytes(key: &[u8]) -> u32 {
    key.iter().fold(0u32, |hash, byte| step(hash, *byte))
}

#[inline]
fn step(hash: u32, byte: u8) -> u32 {
    u32::from(byte)
        .wrapping_add(hash << 6)
        .wrapping_add(hash << 16)
        .wrapping_sub(hash)
}

/// Spreads a hash over all 32 bits, so that neighbours end up far apart (`avalanche`): the
/// finaliser of MurmurHash3, which is in the public domain.
pub fn avalanche(hash: u32) -> u32 {
    let mut h = hash;
    h ^= h >> 16;
    h = h.wrapping_mul(0x85eb_ca6b);
    h ^= h >> 13;
    h = h.wrapping_mul(0xc2b2_ae35);
    h ^ (h >> 16)
}

/// Hashes a request target for `balance uri`.
///
/// `whole` takes the query in; `path_only` begins at the path of an absolute target; `len` stops
/// after that many bytes and `depth` at the slash that would open level `depth + 1`.
pub fn uri(
    target: &[u8],
    len: Option<u32>,
    depth: Option<u32>,
    whole: bool,
    path_only: bool,
) -> u32 {
    let target = if path_only { from_path(target) } else { target };
    let mut hash = 0;
    let mut slashes = 0;
    for (index, byte) in target.iter().enumerate() {
        if len.is_some_and(|len| len > 0 && index >= len as usize) {
            break;
        }
        if *byte == b'?' && !whole {
            break;
        }
        if *byte == b'/' {
            slashes += 1;
            if depth.is_some_and(|depth| depth > 0 && slashes > depth) {
                break;
            }
        }
        hash = step(hash, *byte);
    }
    hash
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

/// The main part of a host name, for `use_domain_only`: of `haproxy.1wt.eu` only `1wt`. A
/// port is cut off, and a name without a dot is taken as it is.
pub fn domain(host: &[u8]) -> &[u8] {
    let end = host.iter().position(|b| *b == b':').unwrap_or(host.len());
    let name = host.get(..end).unwrap_or_default();
    let Some(last) = name.iter().rposition(|b| *b == b'.') else {
        return name;
    };
    let before = name.get(..last).unwrap_or_default();
    match before.iter().rposition(|b| *b == b'.') {
        Some(dot) => before.get(dot + 1..).unwrap_or_default(),
        None => before,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sdbm_gives_the_known_values() {
        // hash(i) = hash(i - 1) * 65599 + byte, by hand for "ab".
        assert_eq!(bytes(b""), 0);
        assert_eq!(bytes(b"a"), 97);
        assert_eq!(bytes(b"ab"), 97 * 65599 + 98);
    }

    #[test]
    fn xxh64_gives_the_published_values() {
        assert_eq!(xxh64(b""), 0xef46_db37_51d8_e999);
        assert_eq!(xxh64(b"abc"), 0x44bc_2cf5_ad77_0999);
        let long: Vec<u8> = (0..101).collect();
        assert_eq!(xxh64(&long), 0xe99038495f85381e);
    }

    #[test]
    fn the_query_counts_only_when_the_whole_uri_does() {
        let plain = uri(b"/a/b", None, None, false, false);
        assert_eq!(uri(b"/a/b?x=1", None, None, false, false), plain);
        assert_ne!(uri(b"/a/b?x=1", None, None, true, false), plain);
    }

    #[test]
    fn length_and_depth_stop_the_hash() {
        let one = uri(b"/a", None, None, false, false);
        assert_eq!(uri(b"/a/b/c", None, Some(1), false, false), one);
        assert_eq!(uri(b"/a/b/c", Some(2), None, false, false), one);
    }

    #[test]
    fn path_only_forgets_the_authority() {
        let path = uri(b"/x/y", None, None, false, false);
        assert_eq!(uri(b"http://a.example/x/y", None, None, false, true), path);
        assert_eq!(uri(b"/x/y", None, None, false, true), path);
        let odd = b"/redir/http://b/";
        assert_eq!(
            uri(odd, None, None, false, true),
            uri(odd, None, None, false, false)
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
