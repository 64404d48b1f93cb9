//! Hashes and digests.

use super::{ConvertDef, binary, convert, int};
use crate::Sample;
use crate::args::{Arg, ArgKind::*, ArgList, ArgSpec, NONE, args};
use crate::digest::Digest;
use xxhash_rust::{xxh3, xxh32, xxh64};

/// Not 0 spreads the hash over all its bits.
const AVALANCHE: ArgSpec = args(&[Int], 0);
const SEED: ArgSpec = args(&[Int], 0);

pub static TABLE: &[ConvertDef] = &[
    convert! { "crc32", AVALANCHE, Bin => Int, "CRC-32 of IEEE 802.3 (avalanched with 1)",
        "str(123456789),crc32" => "3421780262", |a, s, _| spread(crc32(&s.to_bytes()), a)
    },
    convert! { "crc32c", AVALANCHE, Bin => Int, "CRC-32C, Castagnoli (avalanched with 1)",
        "str(123456789),crc32c" => "3808858755", |a, s, _| spread(crc(&s.to_bytes(), 0x82f6_3b78), a)
    },
    convert! { "digest", args(&[Digest], 1), Bin => Bin, "the message digest of that name",
        "str(foo),digest(md5),hex" => "ACBD18DB4CC2F85CEDEF654FCCC4A4D8",
        |a, s, _| match a.first()? {
            Arg::Digest(digest) => binary(digest.of(&s.to_bytes())),
            _ => None,
        }
    },
    convert! { "djb2", AVALANCHE, Bin => Int, "DJB2 hash (avalanched with 1)",
        "str(foo),djb2(1)" => "1117544652", |a, s, _| spread(djb2(&s.to_bytes()), a)
    },
    convert! { "hmac", args(&[Digest, KeyOrVar], 2), Bin => Bin,
        "the keyed digest (RFC 2104) of that name; the key is base64, or a variable with base64",
        "str(foo),hmac(sha1,a2V5),hex" => "9FC254126C2B1B7F106ABACAE0CB77E73411FAD7",
        |a, s, cx| match a {
            [Arg::Digest(digest), Arg::Str(key)] => binary(digest.keyed(key, &s.to_bytes())),
            [Arg::Digest(digest), Arg::Var(name)] => {
                let value = cx.var(name)?;
                let key = value.to_text();
                let key = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, key).ok()?;
                binary(digest.keyed(&key, &s.to_bytes()))
            }
            _ => None,
        }
    },
    convert! { "sdbm", AVALANCHE, Bin => Int, "SDBM hash (avalanched with 1)",
        "str(foo),sdbm" => "849955110", |a, s, _| spread(sdbm(&s.to_bytes()), a)
    },
    convert! { "sha1", NONE, Bin => Bin, "SHA-1 digest",
        "str(foo),sha1,hex" => "0BEEC7B5EA3F0FDBC95D0DD47F3C5BC275DA8A33",
        |_, s, _| binary(Digest::Sha1.of(&s.to_bytes()))
    },
    convert! { "sha2", args(&[Word(&["224", "256", "384", "512"])], 0), Bin => Bin,
        "SHA-2 digest of so many bits, 256 if not said",
        "str(foo),sha2(224),hex" => "0808F64E60D58979FCB676C96EC938270DEA42445AEEFCD3A4E6F8DB",
        |a, s, _| {
            let digest = match a.text(0) {
                Some(b"224") => Digest::Sha224,
                Some(b"384") => Digest::Sha384,
                Some(b"512") => Digest::Sha512,
                _ => Digest::Sha256,
            };
            binary(digest.of(&s.to_bytes()))
        }
    },
    convert! { "xxh3", SEED, Bin => Int, "XXH3 hash, 64 bits",
        "str(foo),xxh3(7)" => "-3512664464946352570",
        |a, s, _| int(xxh3::xxh3_64_with_seed(&s.to_bytes(), a.int(0).unwrap_or(0) as u64) as i64)
    },
    convert! { "xxh32", SEED, Bin => Int, "XXHash, 32 bits",
        "str(foo),xxh32(7)" => "971305489",
        |a, s, _| int(xxh32::xxh32(&s.to_bytes(), a.int(0).unwrap_or(0) as u32).into())
    },
    convert! { "xxh64", SEED, Bin => Int, "XXHash, 64 bits",
        "str(foo),xxh64(7)" => "8283876513818656790",
        |a, s, _| int(xxh64::xxh64(&s.to_bytes(), a.int(0).unwrap_or(0) as u64) as i64)
    },
];

/// DJB2 (public domain).
pub fn djb2(bytes: &[u8]) -> u32 {
    bytes.iter().fold(5381, |h: u32, b| {
        h.wrapping_mul(33).wrapping_add((*b).into())
    })
}

/// CRC-32 of IEEE 802.3.
pub fn crc32(bytes: &[u8]) -> u32 {
    crc(bytes, 0xedb8_8320)
}

/// SDBM (public domain).
pub fn sdbm(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0u32, |h, b| {
        u32::from(*b)
            .wrapping_add(h << 6)
            .wrapping_add(h << 16)
            .wrapping_sub(h)
    })
}

/// The hash, avalanched where the argument says so.
fn spread<'s>(hash: u32, args: &[Arg]) -> Option<Sample<'s>> {
    let spread = args.int(0).is_some_and(|n| n != 0);
    int(if spread { avalanche(hash) } else { hash }.into())
}

/// Spreads a hash over all its bits: Bob Jenkins' full avalanche (public domain), and one step
/// more that was found out from the oracle's answers.
pub fn avalanche(hash: u32) -> u32 {
    let mut a = hash;
    a = a.wrapping_add(0x7ed5_5d16).wrapping_add(a << 12);
    a = (a ^ 0xc761_c23c) ^ (a >> 19);
    a = a.wrapping_add(0x1656_67b1).wrapping_add(a << 5);
    a = a.wrapping_add(0xd3a2_646c) ^ (a << 9);
    a = a.wrapping_add(0xfd70_46c5).wrapping_add(a << 3);
    a = (a ^ 0xb55a_4f09) ^ (a >> 16);
    a.wrapping_sub(a << 30)
}

fn crc(bytes: &[u8], polynomial: u32) -> u32 {
    !bytes.iter().fold(!0u32, |crc, b| {
        (0..8).fold(crc ^ u32::from(*b), |c, _| {
            (c >> 1) ^ (polynomial & (c & 1).wrapping_neg())
        })
    })
}
