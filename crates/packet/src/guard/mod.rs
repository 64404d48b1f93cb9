//! The guard, as user space sees it: what its tables in the kernel should say.
//!
//! `bpf/guard.h` looks at packets before anything else does. Here lists of sources are followed as the
//! control socket changes them (`lists`), turned into what is found fast (`trie`), written (`tables`), and kept for the process that comes next (`kept`).

pub mod abi;
mod kept;
mod lists;
mod tables;
mod trie;

pub use kept::Kept;
pub use lists::LISTS;
pub use lists::Lists;
pub use tables::Tables;
pub use tables::{counts, set_guard};

use crate::abi::feature;

/// What programs must have for a guard, bits of [`feature`].
pub fn features(guard: &model::Guard) -> u32 {
    let parts = [
        (
            !guard.deny.is_empty() || !guard.allow.is_empty(),
            feature::LISTS,
        ),
        (!guard.limits.is_empty(), feature::LIMITS),
        (guard.cookies.is_some(), feature::COOKIES),
        (
            guard.cookies.is_some_and(|c| c.transparent),
            feature::SPLICE,
        ),
    ];
    let wanted = parts.iter().filter(|(wanted, _)| *wanted);
    wanted.fold(feature::GUARD, |all, (_, bit)| all | bit)
}
