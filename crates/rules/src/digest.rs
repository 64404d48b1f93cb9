//! Message digests by the names that OpenSSL knows them by (RFC 1321, RFC 2104, FIPS 180-4).

use hmac::{KeyInit, Mac, SimpleHmac};

/// A message digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // names of the standards
pub enum Digest {
    Md5,
    Sha1,
    Sha224,
    Sha256,
    Sha384,
    Sha512,
    Sha512_224,
    Sha512_256,
}

macro_rules! with {
    ($digest:expr, $function:ident ( $($arg:expr),* )) => {
        match $digest {
            Digest::Md5 => $function::<md5::Md5>($($arg),*),
            Digest::Sha1 => $function::<sha1::Sha1>($($arg),*),
            Digest::Sha224 => $function::<sha2::Sha224>($($arg),*),
            Digest::Sha256 => $function::<sha2::Sha256>($($arg),*),
            Digest::Sha384 => $function::<sha2::Sha384>($($arg),*),
            Digest::Sha512 => $function::<sha2::Sha512>($($arg),*),
            Digest::Sha512_224 => $function::<sha2::Sha512_224>($($arg),*),
            Digest::Sha512_256 => $function::<sha2::Sha512_256>($($arg),*),
        }
    };
}

impl Digest {
    /// Each name there is.
    pub const NAMES: &[(&'static str, Digest)] = &[
        ("md5", Digest::Md5),
        ("sha1", Digest::Sha1),
        ("sha224", Digest::Sha224),
        ("sha256", Digest::Sha256),
        ("sha384", Digest::Sha384),
        ("sha512", Digest::Sha512),
        ("sha512-224", Digest::Sha512_224),
        ("sha512-256", Digest::Sha512_256),
    ];

    /// By its name, in any case.
    pub fn by_name(name: &str) -> Option<Digest> {
        let mut all = Self::NAMES.iter();
        all.find(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, d)| *d)
    }

    /// The digest of bytes.
    pub fn of(self, bytes: &[u8]) -> Vec<u8> {
        fn run<D: sha1::Digest>(bytes: &[u8]) -> Vec<u8> {
            D::digest(bytes).to_vec()
        }
        with!(self, run(bytes))
    }

    /// The keyed digest of bytes (HMAC).
    pub fn keyed(self, key: &[u8], bytes: &[u8]) -> Vec<u8> {
        fn run<D>(key: &[u8], bytes: &[u8]) -> Vec<u8>
        where
            D: sha1::Digest + hmac::digest::common::BlockSizeUser,
        {
            // A key of any length will do: the error that the type allows does not come.
            SimpleHmac::<D>::new_from_slice(key)
                .map(|mac| mac.chain_update(bytes).finalize().into_bytes().to_vec())
                .unwrap_or_default()
        }
        with!(self, run(key, bytes))
    }
}
