//! Programs on interfaces. They stay when the process ends, and the next one replaces them under
//! traffic: what is attached by a link has its link pinned; a filter of traffic control stays by itself,
//! and its program is pinned as a note that it is there.

use crate::kernel::{Error, Kernel, because};
use crate::pins::Pins;
use aya::programs::links::{FdLink, LinkOrder, PinnedLink};
use aya::programs::tc::{
    self, NlOptions, SchedClassifierLink, TcAttachOptions, TcAttachType, TcHandle,
};
use aya::programs::xdp::XdpLink;
use aya::programs::{SchedClassifier, Xdp, XdpMode};
use std::collections::BTreeMap;
use std::fmt;
use std::fs;

/// Where a program stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// In the driver.
    Driver,
    /// Before the kernel's protocols, by a link.
    Tcx,
    /// The same by a filter of traffic control.
    Clsact,
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Way::Driver => "XDP in its driver",
            Way::Tcx => "TC behind its driver (TCX)",
            Way::Clsact => "TC behind its driver (clsact)",
        })
    }
}

/// What an interface needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Its name.
    pub name: String,
    /// Ways for the program that packets come in by: the first that works.
    pub ways: Vec<Way>,
    /// Ways for the one that the machine's own packets leave by; none where it is not needed.
    pub sent: Vec<Way>,
}

/// The filter's place in its list, and its number: the same always, so that it can be found again.
const PRIORITY: u16 = 1;
const HANDLE: TcHandle = TcHandle::new(0, 0x6d67);

/// Pins of links, each followed by the interface's number.
const XDP: &str = "xdp";
const TCX: [&str; 2] = ["tcx-in", "tcx-out"];
const CLSACT: [&str; 2] = ["clsact-in", "clsact-out"];

fn pin_of(kind: &str, ifindex: u32) -> String {
    format!("{kind}-{ifindex}")
}

/// Kinds and interfaces of what is attached.
fn pinned(pins: &Pins) -> Vec<(&'static str, u32)> {
    let kinds = [XDP, TCX[0], TCX[1], CLSACT[0], CLSACT[1]];
    let names = pins.names();
    let of = |name: &String| {
        let (kind, ifindex) = name.rsplit_once('-')?;
        Some((
            *kinds.iter().find(|k| **k == kind)?,
            ifindex.parse::<u32>().ok()?,
        ))
    };
    names.iter().filter_map(of).collect()
}

/// Attaches to these interfaces and to no others. Returns where each has its program, and what did
/// not work.
pub fn attach(
    kernel: &mut Kernel,
    pins: &Pins,
    wanted: &BTreeMap<u32, Wanted>,
) -> (BTreeMap<u32, Way>, Vec<Error>) {
    let (mut stands, mut faults) = (BTreeMap::new(), Vec::new());
    for (ifindex, want) in wanted {
        let said = |e: Error| Error(format!("interface '{}': {e}", want.name));
        match first(kernel, pins, &want.ways, false, *ifindex, &want.name) {
            Ok(way) => drop(stands.insert(*ifindex, way)),
            Err(e) => faults.push(said(e)),
        }
        if !want.sent.is_empty()
            && let Err(e) = first(kernel, pins, &want.sent, true, *ifindex, &want.name)
        {
            faults.push(said(e));
        }
    }
    // What took another's place is there already: no packet goes past both.
    for (kind, ifindex) in pinned(pins) {
        let keep = wanted.get(&ifindex).is_some_and(|want| {
            kind == kind_of(stands.get(&ifindex).copied(), false)
                || kind.ends_with("-out") && !want.sent.is_empty()
        });
        if !keep && let Err(e) = remove(pins, kind, ifindex) {
            faults.push(e);
        }
    }
    (stands, faults)
}

fn kind_of(way: Option<Way>, out: bool) -> &'static str {
    match way {
        Some(Way::Tcx) => TCX[usize::from(out)],
        Some(Way::Clsact) => CLSACT[usize::from(out)],
        Some(Way::Driver) => XDP,
        None => "",
    }
}

fn first(
    kernel: &mut Kernel,
    pins: &Pins,
    ways: &[Way],
    out: bool,
    ifindex: u32,
    name: &str,
) -> Result<Way, Error> {
    let mut result = Err(Error("no way to attach was named".into()));
    for way in ways {
        let done = match way {
            Way::Driver => put_xdp(kernel.program()?, XdpMode::Driver, pins, ifindex),
            Way::Tcx => put_tcx(kernel.classifier(out)?, out, pins, ifindex, name),
            Way::Clsact => put_clsact(kernel.classifier(out)?, out, pins, ifindex, name),
        };
        match done {
            Ok(()) => return Ok(*way),
            Err(e) => result = Err(Error(format!("{way}: {e}"))),
        }
    }
    result
}

/// Takes a program away. `clsact` filters go by the interface, the others with their pin.
fn remove(pins: &Pins, kind: &str, ifindex: u32) -> Result<(), Error> {
    let failed =
        |e: &dyn std::error::Error| because(format!("interface #{ifindex} keeps its program"), e);
    if let (Some(name), true) = (name_of(ifindex), kind.starts_with("clsact")) {
        let direction = direction(kind.ends_with("-out"));
        let link = SchedClassifierLink::attached(&name, direction, PRIORITY, HANDLE, None);
        // It is taken away as the value goes.
        drop(link.map_err(|e| failed(&e))?);
    }
    fs::remove_file(pins.path().join(pin_of(kind, ifindex))).map_err(|e| failed(&e))
}

/// Takes everything away that no link holds; how many things that were.
pub fn remove_filters(pins: &Pins) -> usize {
    let filters = pinned(pins).into_iter();
    let filters = filters.filter(|(kind, _)| kind.starts_with("clsact"));
    // An interface that is gone took its filters along.
    filters
        .filter(|(kind, ifindex)| remove(pins, kind, *ifindex).is_ok())
        .count()
}

/// Takes away what other versions of mulgil have left ([`Pins::of_others`]); how many things that were.
pub fn remove_others(others: Vec<Pins>) -> Result<usize, Error> {
    let mut things = 0;
    for old in others {
        things += remove_filters(&old) + old.remove()?;
    }
    Ok(things)
}

fn name_of(ifindex: u32) -> Option<String> {
    let mut name = [0 as libc::c_char; libc::IF_NAMESIZE];
    // SAFETY: the buffer is as long as a name with its NUL may be.
    let found = unsafe { libc::if_indextoname(ifindex, name.as_mut_ptr()) };
    if found.is_null() {
        return None;
    }
    let bytes = name.iter().map(|c| *c as u8).take_while(|b| *b != 0);
    String::from_utf8(bytes.collect()).ok()
}

fn direction(out: bool) -> TcAttachType {
    if out {
        TcAttachType::Egress
    } else {
        TcAttachType::Ingress
    }
}

/// Puts a program into an interface's driver or right behind it.
pub fn put_xdp(program: &mut Xdp, mode: XdpMode, pins: &Pins, ifindex: u32) -> Result<(), Error> {
    let failed = |e: &dyn std::error::Error| because("it takes no program for packets", e);
    let path = pins.path().join(pin_of(XDP, ifindex));
    if let Ok(link) = PinnedLink::from_pin(&path) {
        let link = XdpLink::try_from(FdLink::from(link)).map_err(|e| failed(&e))?;
        if let Ok(id) = program.attach_to_link(link) {
            // What we hold ourselves may go: the pin keeps it attached.
            return program.take_link(id).map(drop).map_err(|e| failed(&e));
        }
        // Its interface is gone and the number is another's now.
        let _ = fs::remove_file(&path);
    }
    let id = program
        .attach_to_if_index(ifindex, mode)
        .map_err(|e| failed(&e))?;
    let link = program.take_link(id).map_err(|e| failed(&e))?;
    let link: FdLink = link.try_into().map_err(|e| failed(&e))?;
    link.pin(path).map(drop).map_err(|e| failed(&e))
}

/// Puts a program behind an interface's driver by a link.
pub fn put_tcx(
    program: &mut SchedClassifier,
    out: bool,
    pins: &Pins,
    ifindex: u32,
    name: &str,
) -> Result<(), Error> {
    let failed = |e: &dyn std::error::Error| because("it takes no program for packets", e);
    let kind = kind_of(Some(Way::Tcx), out);
    let path = pins.path().join(pin_of(kind, ifindex));
    if let Ok(link) = PinnedLink::from_pin(&path) {
        let link = SchedClassifierLink::try_from(FdLink::from(link)).map_err(|e| failed(&e))?;
        if let Ok(id) = program.attach_to_link(link) {
            return program.take_link(id).map(drop).map_err(|e| failed(&e));
        }
        let _ = fs::remove_file(&path);
    }
    let options = TcAttachOptions::TcxOrder(LinkOrder::default());
    let id = program
        .attach_with_options(name, direction(out), options)
        .map_err(|e| failed(&e))?;
    let link = program.take_link(id).map_err(|e| failed(&e))?;
    let link: FdLink = link.try_into().map_err(|e| failed(&e))?;
    link.pin(path).map(drop).map_err(|e| failed(&e))
}

/// The same by a filter of traffic control.
pub fn put_clsact(
    program: &mut SchedClassifier,
    out: bool,
    pins: &Pins,
    ifindex: u32,
    name: &str,
) -> Result<(), Error> {
    let failed = |e: &dyn std::error::Error| because("it takes no program for packets", e);
    let kind = kind_of(Some(Way::Clsact), out);
    let path = pins.path().join(pin_of(kind, ifindex));
    // The place for filters may be there already; whether it is shows next.
    let _ = tc::qdisc_add_clsact(name);
    let known = path
        .exists()
        .then(|| SchedClassifierLink::attached(name, direction(out), PRIORITY, HANDLE, None).ok())
        .flatten();
    let id = match known.map(|link| program.attach_to_link(link)) {
        Some(Ok(id)) => id,
        _ => {
            let options = NlOptions {
                priority: PRIORITY,
                handle: HANDLE,
                ..NlOptions::default()
            };
            let options = TcAttachOptions::Netlink(options);
            program
                .attach_with_options(name, direction(out), options)
                .map_err(|e| failed(&e))?
        }
    };
    // A link that is let go would take its filter along.
    std::mem::forget(program.take_link(id).map_err(|e| failed(&e))?);
    let _ = fs::remove_file(&path);
    program.pin(path).map_err(|e| failed(&e))
}
