//! Programs on interfaces. Links are pinned: they stay when the process ends, and the next one
//! replaces the program in them under traffic.

use crate::kernel::{Error, Kernel, because};
use crate::pins::Pins;
use aya::programs::XdpMode;
use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::xdp::XdpLink;
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

/// Attaches to these interfaces and to no others. Links that are there get the program of `kernel`.
/// `name` gives an interface's name for messages. Returns what did not work.
pub fn attach(
    kernel: &mut Kernel,
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
            replace(kernel, pins, *ifindex).or_else(|_| {
                // Its interface is gone and the number is another's now.
                let _ = fs::remove_file(pins.path().join(pin_of(*ifindex)));
                begin(kernel, pins, *ifindex, &name)
            })
        } else {
            begin(kernel, pins, *ifindex, &name)
        };
        faults.extend(result.err());
    }
    faults
}

fn replace(kernel: &mut Kernel, pins: &Pins, ifindex: u32) -> Result<(), Error> {
    let failed =
        |e: &dyn std::error::Error| because("the program of an interface cannot be replaced", e);
    let path = pins.path().join(pin_of(ifindex));
    let link: FdLink = PinnedLink::from_pin(path).map_err(|e| failed(&e))?.into();
    let link = XdpLink::try_from(link).map_err(|e| failed(&e))?;
    let program = kernel.program()?;
    let id = program.attach_to_link(link).map_err(|e| failed(&e))?;
    // What we hold ourselves may go: the pin keeps it attached.
    program.take_link(id).map(drop).map_err(|e| failed(&e))
}

fn begin(
    kernel: &mut Kernel,
    pins: &Pins,
    ifindex: u32,
    name: &impl Fn(u32) -> String,
) -> Result<(), Error> {
    let failed = |e: &dyn std::error::Error| {
        because(
            format!(
                "packets of interface '{}' cannot be handled in its driver (native XDP)",
                name(ifindex)
            ),
            e,
        )
    };
    let program = kernel.program()?;
    let id = program
        .attach_to_if_index(ifindex, XdpMode::Driver)
        .map_err(|e| failed(&e))?;
    let link = program.take_link(id).map_err(|e| failed(&e))?;
    let link: FdLink = link.try_into().map_err(|e| failed(&e))?;
    link.pin(pins.path().join(pin_of(ifindex)))
        .map(drop)
        .map_err(|e| failed(&e))
}
