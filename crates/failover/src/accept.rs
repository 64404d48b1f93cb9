//! `no accept`: packets to an address that is ours while active are not taken (`Accept_Mode` false,
//! RFC 9568 section 6.1), by a table of the kernel's packet filter (nftables). The table is owned
//! by our socket: when this process ends, however it does, the kernel removes it.

use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_NETFILTER};
use std::io;
use std::net::IpAddr;

/// linux/netfilter/nfnetlink.h and nf_tables.h.
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const NFTABLES: u16 = 10;
const NEW_TABLE: u16 = NFTABLES << 8;
const DELETE_TABLE: u16 = NFTABLES << 8 | 2;
const NEW_CHAIN: u16 = NFTABLES << 8 | 3;
const NEW_RULE: u16 = NFTABLES << 8 | 6;
const OWNER: u32 = 2;
const LOCAL_IN: u32 = 1;
const NETWORK_HEADER: u32 = 1;
const TRANSPORT_HEADER: u32 = 2;
const META_L4PROTO: u32 = 16;
const VERDICT: u32 = 0;
const REGISTER: u32 = 1;
const DROP: u32 = 0;
const ACCEPT: u32 = 1;
const NESTED: u16 = 1 << 15;

/// What tells a host on the link who has an address must come through (RFC 9568 section 6.4.3).
const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;

const ICMPV6: u8 = 58;

/// Keeps packets to some addresses out, for as long as it lives.
pub struct Shield {
    socket: Socket,
    table: String,
    shut: Vec<IpAddr>,
}

impl Shield {
    /// One that keeps nothing out yet.
    pub fn open() -> io::Result<Shield> {
        let mut socket = Socket::new(NETLINK_NETFILTER)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Shield {
            socket,
            table: format!("mulgil-vrrp-{}", std::process::id()),
            shut: Vec::new(),
        })
    }

    /// Packets to these addresses are not taken from now on, to others they are: all at once.
    pub fn shut(&mut self, addresses: Vec<IpAddr>) -> io::Result<()> {
        if addresses == self.shut {
            return Ok(());
        }
        let mut batch = Batch::default();
        batch.message(BATCH_BEGIN, 0, NFTABLES, 0, &[]);
        for ipv6 in [false, true] {
            let of = |all: &[IpAddr]| -> Vec<IpAddr> {
                let ours = all.iter().filter(|a| a.is_ipv6() == ipv6);
                ours.copied().collect()
            };
            let (before, after) = (of(&self.shut), of(&addresses));
            if before != after {
                batch.table(&self.table, ipv6, !before.is_empty(), &after);
            }
        }
        let last = batch.sequence;
        batch.message(BATCH_END, 0, NFTABLES, 0, &[]);
        self.socket.send(&batch.bytes, 0)?;
        self.answers(last)?;
        self.shut = addresses;
        Ok(())
    }

    /// Reads answers until the last one, or the first that is an error.
    fn answers(&self, last: u32) -> io::Result<()> {
        loop {
            let (bytes, _) = self.socket.recv_from_full()?;
            let mut rest = bytes.as_slice();
            while let Some((head, _)) = rest.split_first_chunk::<20>() {
                let [
                    l0,
                    l1,
                    l2,
                    l3,
                    t0,
                    t1,
                    _,
                    _,
                    s0,
                    s1,
                    s2,
                    s3,
                    ..,
                    e0,
                    e1,
                    e2,
                    e3,
                ] = *head;
                let length = u32::from_ne_bytes([l0, l1, l2, l3]) as usize;
                // NLMSG_ERROR; its code of 0 acknowledges.
                if u16::from_ne_bytes([t0, t1]) == 2 {
                    let code = i32::from_ne_bytes([e0, e1, e2, e3]);
                    if code != 0 {
                        return Err(io::Error::from_raw_os_error(code.saturating_neg()));
                    }
                    if u32::from_ne_bytes([s0, s1, s2, s3]) == last {
                        return Ok(());
                    }
                }
                let next = length.max(16).next_multiple_of(4);
                rest = rest.get(next..).unwrap_or_default();
            }
        }
    }
}

/// Messages that take effect together.
#[derive(Default)]
struct Batch {
    bytes: Vec<u8>,
    /// Of the last message that is acknowledged.
    sequence: u32,
}

fn attribute(kind: u16, content: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(content.len() + 7);
    bytes.extend((content.len() as u16 + 4).to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(content);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn word(kind: u16, text: &str) -> Vec<u8> {
    attribute(kind, format!("{text}\0").as_bytes())
}

fn number(kind: u16, n: u32) -> Vec<u8> {
    attribute(kind, &n.to_be_bytes())
}

fn nest(kind: u16, parts: &[Vec<u8>]) -> Vec<u8> {
    attribute(kind | NESTED, &parts.concat())
}

/// A part of a rule by its name.
fn expression(name: &str, parts: &[Vec<u8>]) -> Vec<u8> {
    nest(1, &[word(1, name), nest(2, parts)])
}

fn load(base: u32, offset: u32, length: u32) -> Vec<u8> {
    let parts = [(1, REGISTER), (2, base), (3, offset), (4, length)];
    expression("payload", &parts.map(|(kind, n)| number(kind, n)))
}

fn equals(value: &[u8]) -> Vec<u8> {
    let value = nest(3, &[attribute(1, value)]);
    expression("cmp", &[number(1, REGISTER), number(2, 0), value])
}

fn decide(verdict: u32) -> Vec<u8> {
    let verdict = nest(2, &[nest(2, &[number(1, verdict)])]);
    expression("immediate", &[number(1, VERDICT), verdict])
}

impl Batch {
    fn message(&mut self, kind: u16, family: u8, resource: u16, flags: u16, parts: &[Vec<u8>]) {
        /// NLM_F_REQUEST and NLM_F_ACK.
        const REQUEST: u16 = 1;
        const ACK: u16 = 4;
        let content = parts.concat();
        let wanted = if kind > 0xff { ACK } else { 0 };
        self.sequence += u32::from(kind > 0xff);
        self.bytes.extend((content.len() as u32 + 20).to_ne_bytes());
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend((REQUEST | wanted | flags).to_ne_bytes());
        self.bytes.extend(self.sequence.to_ne_bytes());
        self.bytes.extend([0; 4]);
        self.bytes.extend([family, 0]);
        self.bytes.extend(resource.to_be_bytes());
        self.bytes.extend(content);
    }

    /// A family's table anew, with a rule for each address.
    fn table(&mut self, name: &str, ipv6: bool, there: bool, addresses: &[IpAddr]) {
        /// NLM_F_CREATE and NLM_F_APPEND.
        const CREATE: u16 = 0x400;
        const APPEND: u16 = 0x800;
        let family = if ipv6 { libc::AF_INET6 } else { libc::AF_INET } as u8;
        if there {
            self.message(DELETE_TABLE, family, 0, 0, &[word(1, name)]);
        }
        if addresses.is_empty() {
            return;
        }
        let table = [word(1, name), number(2, OWNER)];
        self.message(NEW_TABLE, family, 0, CREATE, &table);
        let hook = nest(4, &[number(1, LOCAL_IN), number(2, 0)]);
        let chain = [word(1, name), word(3, "input"), hook, word(7, "filter")];
        self.message(NEW_CHAIN, family, 0, CREATE, &chain);
        let mut rule = |parts: &[Vec<u8>]| {
            let rule = [word(1, name), word(2, "input"), nest(4, parts)];
            self.message(NEW_RULE, family, 0, CREATE | APPEND, &rule);
        };
        if ipv6 {
            for kind in [SOLICITATION, ADVERTISEMENT] {
                let protocol = [number(1, REGISTER), number(2, META_L4PROTO)];
                rule(&[
                    expression("meta", &protocol),
                    equals(&[ICMPV6]),
                    load(TRANSPORT_HEADER, 0, 1),
                    equals(&[kind]),
                    decide(ACCEPT),
                ]);
            }
        }
        for address in addresses {
            let (to, parts) = match address {
                IpAddr::V4(a) => (load(NETWORK_HEADER, 16, 4), equals(&a.octets())),
                IpAddr::V6(a) => (load(NETWORK_HEADER, 24, 16), equals(&a.octets())),
            };
            rule(&[to, parts, decide(DROP)]);
        }
    }
}
