//! Programs on interfaces. Links are pinned: they stay when the process ends, and the next one
//! replaces the program in them under traffic.

use crate::kernel::{Error, because};
use crate::pins::Pins;
use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::xdp::XdpLink;
use aya::programs::{Xdp, XdpMode};
use std::collections::BTreeSet;
use std::fs;

/// The pin of an interface's link.
fn pin_of(ifindex: u32) -> String {
    format!("xdp-{ifindex}")
}

/// Interfaces that have a pinned link.
fn pinned(pins: &Pins) -> BTreeSet<u32> {
    let names = pins.names();
    let numbers = names
        .iter()
        .filter_map(|n| n.strip_prefix("xdp-")?.parse().ok());
    numbers.collect()
}

/// Attaches to these interfaces and to no others, in the first of `modes` that one can. Links that
/// are there get this program. `name` gives an interface's name for messages. Returns what did not work.
pub fn attach(
    program: &mut Xdp,
    modes: &[XdpMode],
    pins: &Pins,
    wanted: &BTreeSet<u32>,
    name: impl Fn(u32) -> String,
) -> Vec<Error> {
    let mut faults = Vec::new();
    let have = pinned(pins);
    for gone in have.difference(wanted) {
        // Without its pin the link goes, and with it the program there.
        if let Err(e) = fs::remove_file(pins.path().join(pin_of(*gone))) {
            faults.push(because(
                format!("interface '{}' keeps its program", name(*gone)),
                &e,
            ));
        }
    }
    for ifindex in wanted {
        let result = if have.contains(ifindex) {
            replace(program, pins, *ifindex).or_else(|_| {
                // Its interface is gone and the number is another's now.
                let _ = fs::remove_file(pins.path().join(pin_of(*ifindex)));
                begin(program, pins, *ifindex, modes)
            })
        } else {
            begin(program, pins, *ifindex, modes)
        };
        faults.extend(
            result
                .err()
                .map(|e| Error(format!("interface '{}': {e}", name(*ifindex)))),
        );
    }
    faults
}

fn replace(program: &mut Xdp, pins: &Pins, ifindex: u32) -> Result<(), Error> {
    let failed = |e: &dyn std::error::Error| because("its program cannot be replaced", e);
    let path = pins.path().join(pin_of(ifindex));
    let link: FdLink = PinnedLink::from_pin(path).map_err(|e| failed(&e))?.into();
    let link = XdpLink::try_from(link).map_err(|e| failed(&e))?;
    let id = program.attach_to_link(link).map_err(|e| failed(&e))?;
    // What we hold ourselves may go: the pin keeps it attached.
    program.take_link(id).map(drop).map_err(|e| failed(&e))
}

fn begin(program: &mut Xdp, pins: &Pins, ifindex: u32, modes: &[XdpMode]) -> Result<(), Error> {
    let failed = |e: &dyn std::error::Error| {
        because("its driver takes no program for packets (native XDP)", e)
    };
    let mut result = Err(Error("no way to attach was named".into()));
    for mode in modes {
        result = program
            .attach_to_if_index(ifindex, *mode)
            .map_err(|e| failed(&e));
        if result.is_ok() {
            break;
        }
    }
    let link = program.take_link(result?).map_err(|e| failed(&e))?;
    let link: FdLink = link.try_into().map_err(|e| failed(&e))?;
    link.pin(pins.path().join(pin_of(ifindex)))
        .map(drop)
        .map_err(|e| failed(&e))
}
