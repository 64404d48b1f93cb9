//! The program does not grow without somebody saying so.

mod common;

use common::bench;

/// Instructions after the kernel's translation, when last looked at.
const INSTRUCTIONS: u32 = 7318;

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
        now <= INSTRUCTIONS + INSTRUCTIONS / 10,
        "{now} instructions, {INSTRUCTIONS} before: make it smaller, or write the new number here"
    );
}
