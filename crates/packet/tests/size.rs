//! The program does not grow without somebody saying so, and asks for nothing that old kernels lack.

mod common;

use common::bench;
use packet::abi::feature;
use packet::kernel::{Kernel, Sizes};

/// Instructions after the kernel's translation, when last looked at.
const INSTRUCTIONS: u32 = 8082;

/// What may be at most where the kernel that was looked at, Linux 6.18, said `noted`. Others translate and go through
/// branches in their own way.
fn most(noted: u32, elsewhere: u32) -> u32 {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").expect("Linux says it");
    match release.starts_with("6.18.") {
        true => noted + noted / 10,
        false => elsewhere,
    }
}

#[test]
fn the_program_has_not_grown_by_a_tenth() {
    let Some(mut bench) = bench() else { return };
    let info = bench.0.program().expect("loaded").info().expect("known");
    let Some(bytes) = info.size_translated() else {
        println!("this kernel does not say how large the program is");
        return;
    };
    let now = bytes / 8;
    println!("{now} instructions");
    assert!(
        now <= most(INSTRUCTIONS, 12_000),
        "{now} instructions, {INSTRUCTIONS} before: make it smaller, or write the new number here"
    );
}

/// Instructions that the verifier of Linux 6.18 looks at, when last looked at: in drivers and behind them, without any
/// feature and with all. This is what it takes to start: 60,000 are a twentieth of a second of one core.
const LOOKED_AT: [[u32; 2]; 2] = [[60_770, 72_100], [61_062, 72_640]];

#[test]
fn the_verifier_is_not_given_a_tenth_more_to_look_at() {
    if bench().is_none() {
        return;
    }
    let all = feature::PREFIX
        | feature::ROUTE
        | feature::SNAT
        | feature::SOURCES
        | feature::GUARD
        | feature::LISTS
        | feature::LIMITS
        | feature::COOKIES
        | feature::SPLICE;
    for (behind, noted) in [false, true].into_iter().zip(LOOKED_AT) {
        for (features, noted) in [0, all].into_iter().zip(noted) {
            let sizes = Sizes {
                flows: 4096,
                features,
            };
            let info = if behind {
                let mut kernel = Kernel::load_classifier(sizes).expect("it loads");
                kernel.classifier(false).expect("loaded").info()
            } else {
                let mut kernel = Kernel::load(sizes, None).expect("it loads");
                kernel.program().expect("loaded").info()
            };
            let Some(now) = info.expect("known").verified_instruction_count() else {
                println!("this kernel does not say how much it has looked at");
                return;
            };
            println!("behind the driver {behind}, features {features:#x}: {now}");
            assert!(
                now <= most(noted, 150_000),
                "{now} looked at, {noted} before: verify what grew by itself (`apart` in kernel.h), or write the new number here"
            );
        }
    }
}

/// The last of the kernel's functions in Linux 5.15 (`task_pt_regs`).
const LAST: i32 = 175;

/// The functions of the kernel that an object's code calls, by their numbers.
fn calls(object: &[u8]) -> Vec<i32> {
    let number = |at: usize, width: usize| {
        let bytes = object[at..at + width].iter().rev();
        bytes.fold(0, |n, b| n << 8 | usize::from(*b))
    };
    // ELF64: sections from e_shoff on, each e_shentsize long, e_shnum of them.
    let (sections, size, count) = (number(0x28, 8), number(0x3a, 2), number(0x3c, 2));
    let sections = (0..count).map(|n| sections + n * size);
    // SHF_EXECINSTR.
    let code = sections.filter(|at| number(at + 8, 8) & 4 != 0);
    let bytes = code.flat_map(|at| {
        let start = number(at + 24, 8);
        &object[start..start + number(at + 32, 8)]
    });
    let bytes: Vec<u8> = bytes.copied().collect();
    let calls = bytes.chunks_exact(8).filter(|i| i[0] == 0x85);
    calls
        .filter_map(|i| match i[1] >> 4 {
            0 => Some(i32::from_le_bytes([i[4], i[5], i[6], i[7]])),
            // Of our own.
            1 => None,
            other => panic!("a call of kind {other}, which Linux 5.15 does not know"),
        })
        .collect()
}

#[test]
fn programs_call_nothing_that_linux_5_15_does_not_have() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/bpf");
    for name in ["forward", "classify", "sent", "server", "unwrap", "reply"] {
        let object = std::fs::read(format!("{folder}/{name}.bpf.o")).expect("it is in the tree");
        let calls = calls(&object);
        assert!(!calls.is_empty(), "{name}");
        let newest = calls.iter().max();
        assert!(newest.is_some_and(|n| *n <= LAST), "{name}: {newest:?}");
    }
}
