//! What the guard's programs and we share: `bpf/guard.h` field by field.

use crate::abi::Address;

/// Guards that there is room for; 0 is none.
pub const GUARDS: u32 = 1024;

/// Lengths of IPv4 prefixes that are looked up one by one: 25 to 31.
pub const LENGTHS4: usize = 7;
/// Lengths of IPv6 prefixes that there is room for.
pub const LENGTHS6: usize = 24;

/// Of a cell: the rest is the number of a chunk.
pub const CELL_CHUNK: u32 = 1 << 31;

/// `struct limit`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limit {
    /// 2^-16 nanoseconds to the next unit; 0: no limit.
    pub cost: u64,
    /// Nanoseconds that units may come too early.
    pub burst: u64,
}

impl Limit {
    /// So many units a second, not 0, and so many at once.
    pub fn new(rate: u64, burst: u64) -> Limit {
        let rate = rate.max(1);
        let burst = u128::from(burst) * 1_000_000_000 / u128::from(rate);
        Limit {
            cost: ((1_000_000_000 << 16) / rate).max(1),
            burst: u64::try_from(burst).unwrap_or(u64::MAX).min(1 << 62),
        }
    }
}

/// Index in [`Guard::source`] and [`Guard::service`].
#[allow(missing_docs)] // see guard.h
pub mod limit {
    pub const PACKETS: usize = 0;
    pub const SYNS: usize = 1;
    pub const BYTES: usize = 2;
    pub const LIMITS: usize = 3;
}

/// `struct guard`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Guard {
    /// Lists of sources that are dropped, a bit each,
    pub deny: u32,
    /// and of those that nothing here touches.
    pub allow: u32,
    /// Bits of [`flag`].
    pub flags: u32,
    /// Zero.
    pub pad: u32,
    /// Of cookies.
    pub key: [u64; 2],
    /// For each source, by [`limit`].
    pub source: [Limit; limit::LIMITS],
    /// For all together.
    pub service: [Limit; limit::LIMITS],
    /// SYNs beyond this are pressure; without a cost every one is.
    pub calm: Limit,
}

/// Bits of [`Guard::flags`].
#[allow(missing_docs)] // see guard.h
pub mod flag {
    pub const SOURCES: u32 = 1;
    pub const SERVICE: u32 = 1 << 1;
    pub const COOKIES: u32 = 1 << 2;
    pub const SPLICE: u32 = 1 << 3;
}

/// `struct length`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Length {
    /// Ones where the address counts.
    pub mask: Address,
    /// How many, in 16 bytes.
    pub bits: u32,
}

impl Length {
    /// Of so many bits of 128.
    pub fn new(bits: u8) -> Length {
        let ones = u128::MAX.checked_shl(128 - u32::from(bits.min(128)));
        Length {
            mask: ones.unwrap_or(0).to_be_bytes(),
            bits: bits.into(),
        }
    }
}

/// `struct guard_setup`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Setup {
    /// Bits of [`has`].
    pub contents: u32,
    /// Of the calendar.
    pub minute: u32,
    /// Of `four`.
    pub count4: u32,
    /// Of `six`.
    pub count6: u32,
    /// Lengths of IPv4 prefixes in `guard_nets`.
    pub four: [Length; LENGTHS4],
    /// Lengths of IPv6 prefixes there.
    pub six: [Length; LENGTHS6],
}

/// Bits of [`Setup::contents`].
#[allow(missing_docs)] // see guard.h
pub mod has {
    pub const HOSTS: u32 = 1;
    pub const CHUNKS: u32 = 1 << 1;
    pub const NETS: u32 = 1 << 2;
}

/// `struct chunk`.
pub type Chunk = [u32; 256];

/// `struct net`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Net {
    /// Its beginning; zero from there on.
    pub address: Address,
    /// How many bits of the 16 bytes count.
    pub bits: u32,
}

/// What guards did, in the order of `enum guarded`.
pub const REASONS: [&str; 7] = [
    "denied",
    "invalid",
    "source-limit",
    "service-limit",
    "challenged",
    "proven",
    "spliced",
];

/// Those of [`REASONS`] that are packets dropped.
pub const DROPPED: usize = 4;

/// `struct guard_counts`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// By [`REASONS`].
    pub n: [u64; REASONS.len()],
}

// SAFETY: all of these are `repr(C)` and hold integers and arrays of integers only, which fill them
// without padding (the assertions below add them up): any bytes are a value, every byte of one is set.
unsafe impl aya::Pod for Guard {}
unsafe impl aya::Pod for Setup {}
unsafe impl aya::Pod for Net {}
unsafe impl aya::Pod for Counts {}

const _: () = {
    assert!(size_of::<Limit>() == 16);
    assert!(size_of::<Guard>() == 16 + 16 + 7 * 16);
    assert!(size_of::<Length>() == 20);
    assert!(size_of::<Setup>() == 16 + 20 * (LENGTHS4 + LENGTHS6));
    assert!(size_of::<Net>() == 20);
    assert!(size_of::<Counts>() == 56);
};
