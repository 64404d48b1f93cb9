//! `mulgil server-setup`: a real server for the ways to forward where it answers clients itself. It
//! has the virtual address on its loopback, keeps silent about it on the link, and undoes what
//! tunnels and DSCP have done to packets. All of it stays in force without a process, and a file
//! says how to undo it.

use crate::abi;
use crate::attach::{self, Way};
use crate::device::{self, Needs};
use crate::kernel::{Error, because};
use crate::netlink::{Link, Netlink};
use crate::pins::{Pins, netns_cookie};
use aya::maps::{HashMap, MapData};
use aya::programs::{SchedClassifier, Xdp, XdpMode};
use aya::{Ebpf, EbpfLoader};
use model::PacketAttach;
use std::collections::BTreeSet;
use std::fs;
use std::net::IpAddr;
use std::path::PathBuf;

static SERVER: &[u8] = aya::include_bytes_aligned!("../bpf/server.bpf.o");
/// The same for where frames have left the driver.
static UNWRAP: &[u8] = aya::include_bytes_aligned!("../bpf/unwrap.bpf.o");
/// For answers: clients are told of segments that leave room for a tunnel's headers.
static REPLY: &[u8] = aya::include_bytes_aligned!("../bpf/reply.bpf.o");

/// Bytes of the outer headers of the largest tunnel: IPv6 and GUE.
const OUTER: u32 = 40 + 12;

/// How packets come to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// As they are (`forward dsr`).
    Dsr,
    /// Inside others (`forward tunnel`); the port is that of GUE.
    Tunnel(u16),
    /// Marked with this code point (`forward dscp`).
    Dscp(u8),
}

/// The port of GUE where none is named.
pub const GUE_PORT: u16 = 6080;

impl Kind {
    /// As the notes have it.
    fn word(self) -> String {
        match self {
            Kind::Dsr => "dsr".into(),
            Kind::Tunnel(port) => format!("tunnel{port}"),
            Kind::Dscp(point) => format!("dscp{point}"),
        }
    }

    /// The opposite; notes of earlier versions name no port.
    fn of(word: &str) -> Option<Kind> {
        match (word.strip_prefix("tunnel"), word.strip_prefix("dscp")) {
            (Some(""), _) => Some(Kind::Tunnel(GUE_PORT)),
            (Some(port), _) => port.parse().ok().map(Kind::Tunnel),
            (_, Some(point)) => point.parse().ok().map(Kind::Dscp),
            _ => (word == "dsr").then_some(Kind::Dsr),
        }
    }

    /// The same; all ports of GUE are one kind.
    fn is_like(self, other: Kind) -> bool {
        match (self, other) {
            (Kind::Tunnel(_), Kind::Tunnel(_)) => true,
            _ => self == other,
        }
    }
}

/// The loopback's number in every network namespace.
const LOOPBACK: u32 = 1;

/// Settings that a server with an address of others needs, and their values: it answers ARP only for
/// addresses of the interface asked on and names none but those; it takes what comes by another way
/// than it would answer.
const SETTINGS: [(&str, &str); 3] = [
    ("net/ipv4/conf/all/arp_ignore", "1"),
    ("net/ipv4/conf/all/arp_announce", "2"),
    ("net/ipv4/conf/all/rp_filter", "2"),
];

/// What was set up here: virtual addresses, and settings as they were.
#[derive(Default)]
struct Notes {
    vips: BTreeSet<(IpAddr, Kind)>,
    settings: Vec<(String, String)>,
}

impl Notes {
    fn path() -> Result<PathBuf, Error> {
        let cookie =
            netns_cookie().map_err(|e| because("the network namespace has no number", &e))?;
        Ok(PathBuf::from(format!("/run/mulgil/server-{cookie}")))
    }

    fn read() -> Result<Notes, Error> {
        let text = fs::read_to_string(Notes::path()?).unwrap_or_default();
        let mut notes = Notes::default();
        for line in text.lines() {
            match line.split(' ').collect::<Vec<_>>().as_slice() {
                ["vip", ip, kind] => notes.vips.extend(ip.parse().ok().zip(Kind::of(kind))),
                ["setting", name, value] => {
                    notes.settings.push((name.to_string(), value.to_string()))
                }
                _ => {}
            }
        }
        Ok(notes)
    }

    fn write(&self) -> Result<(), Error> {
        let path = Notes::path()?;
        let failed = |e: std::io::Error| because(format!("cannot write '{}'", path.display()), &e);
        if self.vips.is_empty() && self.settings.is_empty() {
            return fs::remove_file(&path).or_else(|e| match e.kind() {
                std::io::ErrorKind::NotFound => Ok(()),
                _ => Err(failed(e)),
            });
        }
        let vips = self
            .vips
            .iter()
            .map(|(ip, kind)| format!("vip {ip} {}\n", kind.word()));
        let settings = self
            .settings
            .iter()
            .map(|(name, value)| format!("setting {name} {value}\n"));
        fs::create_dir_all("/run/mulgil").map_err(failed)?;
        fs::write(&path, vips.chain(settings).collect::<String>()).map_err(failed)
    }
}

fn setting(name: &str) -> String {
    format!("/proc/sys/{name}")
}

/// Prepares this machine to serve a virtual address. `wish` is where the program is to stand that undoes tunnels
/// and DSCP.
pub fn set_up(kind: Kind, vip: IpAddr, wish: PacketAttach) -> Result<(), Error> {
    let mut notes = Notes::read()?;
    let mut netlink = Netlink::new().map_err(|e| because("no way to the kernel's routing", &e))?;
    let addresses = netlink
        .addresses()
        .map_err(|e| because("the addresses cannot be read", &e))?;
    if addresses
        .iter()
        .any(|(ip, _, on)| *ip == vip && *on != LOOPBACK)
    {
        return Err(Error(format!(
            "{vip} is an address of an interface here: name the virtual one, which clients send to, or take it from the interface"
        )));
    }
    let mut wrong = Vec::new();
    for (name, value) in SETTINGS {
        let now = fs::read_to_string(setting(name))
            .unwrap_or_default()
            .trim()
            .to_string();
        let enough = now.as_str() >= value || name.ends_with("rp_filter") && now == "0";
        if !enough {
            wrong.push((name, value));
            notes.settings.push((name.to_string(), now));
        }
    }
    // How they were is noted first, so that all can be taken back wherever this ends.
    notes.vips.insert((vip, kind));
    notes.write()?;
    for (name, value) in wrong {
        fs::write(setting(name), value).map_err(|e| because(format!("cannot set {name}"), &e))?;
    }
    netlink
        .set_address(LOOPBACK, vip, true)
        .map_err(|e| because(format!("the loopback does not take {vip}"), &e))?;
    if kind != Kind::Dsr {
        let links = links(&mut netlink)?;
        let mut program = Program::load()?;
        program.serve_all(&notes, &links)?;
        // The last one has a code point that several name.
        program.serve(kind, vip, &links)?;
        program.attach(&links, wish)?;
    }
    Ok(())
}

fn links(netlink: &mut Netlink) -> Result<Vec<Link>, Error> {
    netlink
        .links()
        .map_err(|e| because("the interfaces cannot be read", &e))
}

/// Takes that back. `wish`: as for [`set_up`], where the programs of another version are replaced.
pub fn undo(kind: Kind, vip: IpAddr, wish: PacketAttach) -> Result<(), Error> {
    let mut notes = Notes::read()?;
    let before = notes.vips.len();
    notes
        .vips
        .retain(|(other, of)| *other != vip || !of.is_like(kind));
    if notes.vips.len() == before {
        return Err(Error(format!(
            "{vip} was not set up here for {}: nothing to undo",
            kind.word()
        )));
    }
    let mut netlink = Netlink::new().map_err(|e| because("no way to the kernel's routing", &e))?;
    if !notes.vips.iter().any(|(other, _)| *other == vip) {
        match netlink.set_address(LOOPBACK, vip, false) {
            Err(e) if e.raw_os_error() != Some(libc::EADDRNOTAVAIL) => {
                return Err(because(format!("the loopback keeps {vip}"), &e));
            }
            _ => {}
        }
    }
    if kind != Kind::Dsr {
        let pins = Pins::of("server")?;
        if notes.vips.iter().all(|(_, kind)| *kind == Kind::Dsr) {
            attach::remove_filters(&pins);
            attach::remove_others(pins.of_others())?;
            pins.remove()?;
        } else {
            let links = links(&mut netlink)?;
            let mut program = Program::load()?;
            program.forget(kind, vip)?;
            program.serve_all(&notes, &links)?;
            if !pins.of_others().is_empty() {
                program.attach(&links, wish)?;
            }
        }
    }
    if notes.vips.is_empty() {
        for (name, value) in &notes.settings {
            fs::write(setting(name), value)
                .map_err(|e| because(format!("cannot set {name}"), &e))?;
        }
        notes.settings.clear();
    }
    notes.write()
}

/// `struct point`: a code point and the family it is for.
#[repr(C)]
#[derive(Clone, Copy)]
struct Point {
    dscp: u32,
    family: u32,
}

// SAFETY: two integers without padding; any bytes are a value.
unsafe impl aya::Pod for Point {}

impl Point {
    fn new(dscp: u8, vip: IpAddr) -> Point {
        Point {
            dscp: dscp.into(),
            family: if vip.is_ipv4() { 4 } else { 6 },
        }
    }
}

fn no_entry(e: &aya::maps::MapError) -> Error {
    because("the server's tables take no entry", e)
}

struct Program {
    ebpf: Ebpf,
    behind: Ebpf,
    reply: Ebpf,
}

/// Interfaces that packets may come by.
fn usable(links: &[Link]) -> impl Iterator<Item = &Link> {
    links.iter().filter(|l| l.usable && l.master.is_none())
}

impl Program {
    fn load() -> Result<Program, Error> {
        let pins = Pins::of("server")?;
        let folder = pins.path();
        let mut loader = EbpfLoader::new();
        for name in ["tunnelled", "marked", "gue_ports"] {
            loader.map_pin_path(name, folder.join(name));
        }
        let mut object = |bytes| {
            let failed = |e| because("the server's tables cannot be made", &e);
            loader.load(bytes).map_err(failed)
        };
        let (ebpf, behind, reply) = (object(SERVER)?, object(UNWRAP)?, object(REPLY)?);
        let mut program = Program {
            ebpf,
            behind,
            reply,
        };
        let failed = |e| because("the server's program cannot be loaded", &e);
        program.xdp()?.load().map_err(failed)?;
        classifier(&mut program.behind, "server")?
            .load()
            .map_err(failed)?;
        classifier(&mut program.reply, "reply")?
            .load()
            .map_err(failed)?;
        Ok(program)
    }

    fn xdp(&mut self) -> Result<&mut Xdp, Error> {
        let program = self.ebpf.program_mut("server");
        let program = program.ok_or_else(|| Error("the object has no program".into()))?;
        program
            .try_into()
            .map_err(|e: aya::programs::ProgramError| because("the program", &e))
    }

    fn table<K: aya::Pod, V: aya::Pod>(
        &mut self,
        name: &str,
    ) -> Result<HashMap<&mut MapData, K, V>, Error> {
        let table = self.ebpf.map_mut(name);
        let table = table.ok_or_else(|| Error("the object has no such table".into()))?;
        HashMap::try_from(table).map_err(|e| no_entry(&e))
    }

    /// All that was set up: the tables of another version are not ours.
    fn serve_all(&mut self, notes: &Notes, links: &[Link]) -> Result<(), Error> {
        let mut all = notes.vips.iter();
        all.try_for_each(|(vip, kind)| self.serve(*kind, *vip, links))
    }

    fn serve(&mut self, kind: Kind, vip: IpAddr, links: &[Link]) -> Result<(), Error> {
        let address = abi::address(vip);
        match kind {
            Kind::Dsr => Ok(()),
            Kind::Dscp(point) => {
                let mut marked = self.table::<_, abi::Address>("marked")?;
                marked.insert(Point::new(point, vip), address, 0)
            }
            Kind::Tunnel(port) => {
                let mut ports = self.table::<u32, u32>("gue_ports")?;
                ports
                    .insert(u32::from(port), 1, 0)
                    .map_err(|e| no_entry(&e))?;
                let mtu = usable(links).map(|l| l.mtu).min().unwrap_or(1500);
                let headers = OUTER + if vip.is_ipv4() { 20 } else { 40 } + 20;
                let mut tunnelled = self.table::<abi::Address, u32>("tunnelled")?;
                tunnelled.insert(address, mtu.saturating_sub(headers), 0)
            }
        }
        .map_err(|e| no_entry(&e))
    }

    /// The opposite; what is not there is gone already.
    fn forget(&mut self, kind: Kind, vip: IpAddr) -> Result<(), Error> {
        let address: abi::Address = abi::address(vip);
        if let Kind::Dscp(point) = kind {
            let key = Point::new(point, vip);
            let mut marked = self.table::<_, abi::Address>("marked")?;
            match marked.get(&key, 0) {
                Ok(other) if other == address => marked.remove(&key),
                _ => Ok(()),
            }
        } else {
            let mut tunnelled = self.table::<abi::Address, u32>("tunnelled")?;
            match tunnelled.get(&address, 0) {
                Ok(_) => tunnelled.remove(&address),
                Err(_) => Ok(()),
            }
        }
        .map_err(|e| no_entry(&e))
    }

    /// To all interfaces: which one packets come by is the network's business.
    fn attach(&mut self, links: &[Link], wish: PacketAttach) -> Result<(), Error> {
        let folder = Pins::of("server")?;
        // An interface's driver has room for one program: another version's goes right before ours comes.
        if let Err(e) = attach::remove_others(folder.of_others()) {
            eprintln!("warning: what another version of mulgil has left stays: {e}");
        }
        for link in usable(links) {
            let (index, name) = (link.index, link.name.as_str());
            let (ways, reason) = device::ways(link, links, Needs::default(), wish, false);
            let mut result = Err(Error("no way to attach was named".into()));
            for way in ways {
                let behind = &mut self.behind;
                result = match way {
                    Way::Driver => attach::put_xdp(self.xdp()?, XdpMode::Driver, &folder, index),
                    Way::Tcx => {
                        attach::put_tcx(classifier(behind, "server")?, false, &folder, index, name)
                    }
                    Way::Clsact => attach::put_clsact(
                        classifier(behind, "server")?,
                        false,
                        &folder,
                        index,
                        name,
                    ),
                };
                if result.is_ok() {
                    let reason = if reason.is_empty() { "" } else { "; " }.to_string() + reason;
                    println!("interface '{name}': {way}{reason}");
                    break;
                }
            }
            let said = |e| Error(format!("interface '{name}': {e}"));
            result.map_err(said)?;
            let reply = classifier(&mut self.reply, "reply")?;
            attach::put_tcx(reply, true, &folder, index, name)
                .or_else(|_| attach::put_clsact(reply, true, &folder, index, name))
                .map_err(said)?;
        }
        Ok(())
    }
}

fn classifier<'a>(object: &'a mut Ebpf, name: &str) -> Result<&'a mut SchedClassifier, Error> {
    let program = object.program_mut(name);
    let program = program.ok_or_else(|| Error("the object has no program".into()))?;
    program
        .try_into()
        .map_err(|e: aya::programs::ProgramError| because("the program", &e))
}
