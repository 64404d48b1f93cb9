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
use aya::maps::HashMap;
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// As they are (`forward dsr`).
    Dsr,
    /// Inside others (`forward tunnel`); the port is that of GUE.
    Tunnel(u16),
    /// Marked with this code point (`forward dscp`).
    Dscp(u8),
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
    vips: BTreeSet<(IpAddr, String)>,
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
                ["vip", ip, kind] => notes
                    .vips
                    .extend(ip.parse().ok().map(|ip| (ip, kind.to_string()))),
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
        if self.vips.is_empty() {
            return fs::remove_file(&path).or_else(|e| match e.kind() {
                std::io::ErrorKind::NotFound => Ok(()),
                _ => Err(failed(e)),
            });
        }
        let vips = self
            .vips
            .iter()
            .map(|(ip, kind)| format!("vip {ip} {kind}\n"));
        let settings = self
            .settings
            .iter()
            .map(|(name, value)| format!("setting {name} {value}\n"));
        fs::create_dir_all("/run/mulgil").map_err(failed)?;
        fs::write(&path, vips.chain(settings).collect::<String>()).map_err(failed)
    }
}

fn word(kind: Kind) -> String {
    match kind {
        Kind::Dsr => "dsr".into(),
        Kind::Tunnel(_) => "tunnel".into(),
        Kind::Dscp(point) => format!("dscp{point}"),
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
    // How they were is noted first, so that nothing is lost wherever this ends.
    notes.write()?;
    for (name, value) in wrong {
        fs::write(setting(name), value).map_err(|e| because(format!("cannot set {name}"), &e))?;
    }
    netlink
        .set_address(LOOPBACK, vip, true)
        .map_err(|e| because(format!("the loopback does not take {vip}"), &e))?;
    notes.vips.insert((vip, word(kind)));
    notes.write()?;
    if kind != Kind::Dsr {
        let links = netlink
            .links()
            .map_err(|e| because("the interfaces cannot be read", &e))?;
        let mut program = Program::load()?;
        let mtu = usable(&links).map(|l| l.mtu).min().unwrap_or(1500);
        program.serve(kind, vip, Some(mtu))?;
        program.attach(&links, wish)?;
    }
    Ok(())
}

/// Takes that back.
pub fn undo(kind: Kind, vip: IpAddr) -> Result<(), Error> {
    let mut notes = Notes::read()?;
    if !notes.vips.remove(&(vip, word(kind))) {
        return Err(Error(format!(
            "{vip} was not set up here for {}: nothing to undo",
            word(kind)
        )));
    }
    if !notes.vips.iter().any(|(other, _)| *other == vip) {
        let mut netlink =
            Netlink::new().map_err(|e| because("no way to the kernel's routing", &e))?;
        match netlink.set_address(LOOPBACK, vip, false) {
            Err(e) if e.raw_os_error() != Some(libc::EADDRNOTAVAIL) => {
                return Err(because(format!("the loopback keeps {vip}"), &e));
            }
            _ => {}
        }
    }
    if kind != Kind::Dsr {
        if notes.vips.iter().all(|(_, kind)| kind == "dsr") {
            let pins = Pins::of("server")?;
            attach::remove_filters(&pins);
            attach::remove_others(&pins)?;
            pins.remove()?;
        } else {
            Program::load()?.serve(kind, vip, None)?;
        }
    }
    if notes.vips.is_empty() {
        for (name, value) in &notes.settings {
            fs::write(setting(name), value)
                .map_err(|e| because(format!("cannot set {name}"), &e))?;
        }
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
        if attach::remove_others(&pins)? > 0 {
            println!(
                "another version of mulgil stood here: run 'server-setup' again for the other addresses of this server"
            );
        }
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

    fn serve(&mut self, kind: Kind, vip: IpAddr, mtu: Option<u32>) -> Result<(), Error> {
        let there = mtu.is_some();
        let failed = |e: aya::maps::MapError| because("the server's tables take no entry", &e);
        let lost = || Error("the object has no such table".into());
        let address = abi::address(vip);
        if let Kind::Dscp(point) = kind {
            let key = Point {
                dscp: point.into(),
                family: if vip.is_ipv4() { 4 } else { 6 },
            };
            let table = self.ebpf.map_mut("marked").ok_or_else(lost)?;
            let mut table: HashMap<_, Point, [u8; 16]> =
                HashMap::try_from(table).map_err(failed)?;
            return if there {
                table.insert(key, address, 0)
            } else {
                table.remove(&key)
            }
            .map_err(failed);
        }
        if let (Kind::Tunnel(port), true) = (kind, there) {
            let table = self.ebpf.map_mut("gue_ports").ok_or_else(lost)?;
            let mut table: HashMap<_, u32, u32> = HashMap::try_from(table).map_err(failed)?;
            table.insert(u32::from(port), 1, 0).map_err(failed)?;
        }
        let table = self.ebpf.map_mut("tunnelled").ok_or_else(lost)?;
        let mut table: HashMap<_, [u8; 16], u32> = HashMap::try_from(table).map_err(failed)?;
        match mtu {
            Some(mtu) => {
                let headers = OUTER + if vip.is_ipv4() { 20 } else { 40 } + 20;
                table.insert(address, mtu.saturating_sub(headers), 0)
            }
            None => table.remove(&address),
        }
        .map_err(failed)
    }

    /// To all interfaces: which one packets come by is the network's business.
    fn attach(&mut self, links: &[Link], wish: PacketAttach) -> Result<(), Error> {
        let folder = Pins::of("server")?;
        for link in usable(links) {
            let (index, name) = (link.index, link.name.as_str());
            let (ways, reason) = device::ways(link, Needs::default(), wish, false);
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
