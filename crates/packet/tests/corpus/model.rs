//! What must become of a frame, without a table of the kernel: services, sessions, and what each way to forward does
//! to a packet.

use super::frame::sum;
use super::read::*;
use super::write::*;
use std::collections::HashMap;
use std::net::IpAddr;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Nat,
    /// The same, where the direction of answers is made by the first one.
    Late,
    /// With a source of the pool.
    Pool,
    Dsr,
    Dscp,
    Bridge,
    Ipip,
    Gre,
    Gue,
}

/// The DSCP that servers know their service by.
pub const DSCP: u8 = 11;
pub const GUE_PORT: u16 = 6080;
/// Of the links that servers are on.
pub const MTU: usize = 1500;

impl Kind {
    /// Both directions come this way.
    pub fn sees_answers(self) -> bool {
        matches!(self, Kind::Nat | Kind::Late | Kind::Pool | Kind::Bridge)
    }

    pub fn is_hop(self) -> bool {
        matches!(self, Kind::Nat | Kind::Late | Kind::Pool | Kind::Dscp)
    }

    fn is_tunnel(self) -> bool {
        matches!(self, Kind::Ipip | Kind::Gre | Kind::Gue)
    }
}

/// A virtual address with its server.
#[derive(Clone, Debug)]
pub struct Way {
    pub kind: Kind,
    pub vip: IpAddr,
    /// Port and protocol of a service each, with the server's; 0 and 0 is any.
    pub ports: Vec<(u16, u8, u16)>,
    pub server: IpAddr,
    /// Outer source of tunnels.
    pub local: IpAddr,
    /// First and last of a pool's addresses, and of its ports.
    pub pool: Option<((IpAddr, IpAddr), (u16, u16))>,
}

/// One direction of a session.
#[derive(Clone, Debug)]
pub struct Side {
    way: usize,
    forward: bool,
    /// The key that its packets leave with.
    pub to: Key,
    /// Who answers go to on the link, and who sends them.
    link: [[u8; 6]; 2],
    fin: bool,
    peer_fin: bool,
    reset: bool,
}

impl Side {
    fn is_over(&self) -> bool {
        self.reset || (self.fin && self.peer_fin)
    }
}

#[derive(Debug)]
pub enum Fate {
    Untouched,
    /// With this event.
    Dropped(&'static str),
    /// To the server's link, or back to the client's; sums stand where `sums` says, and may be zero in either form.
    Sent {
        out: bool,
        frame: Vec<u8>,
        sums: Vec<usize>,
        /// Where a port stands that is any of the upper quarter (GUE's source).
        spread: Option<usize>,
    },
    /// A source of the pool, which one is not known yet: what else it must be, once that is known.
    FromPool {
        way: usize,
        packet: Box<Packet>,
    },
}

/// Of the balancer and of servers on the servers' link.
pub struct Macs {
    pub server: [u8; 6],
    pub inner: [u8; 6],
}

/// Addresses, identification, VLAN and protocol of what comes in pieces.
type Datagram = (IpAddr, IpAddr, u32, u16, u8);

pub struct Model {
    pub ways: Vec<Way>,
    pub macs: Macs,
    sessions: HashMap<Key, Side>,
    pieces: HashMap<Datagram, (u16, u16)>,
}

impl Model {
    pub fn new(ways: Vec<Way>, macs: Macs) -> Model {
        Model {
            ways,
            macs,
            sessions: HashMap::new(),
            pieces: HashMap::new(),
        }
    }

    /// Forgets sessions and pieces.
    pub fn clear(&mut self) {
        self.sessions.clear();
        self.pieces.clear();
    }

    pub fn fate(&mut self, frame: &[u8]) -> Fate {
        let mut p = match read(frame) {
            Read::Foreign => return Fate::Untouched,
            Read::Malformed => return Fate::Dropped("malformed"),
            Read::Ip(p) => p,
        };
        if p.is_error() && p.piece == Piece::Whole {
            return self.error(frame, &p);
        }
        self.join(&mut p);
        // No VLAN has a service here. A solicitation is answered, or nobody's.
        if p.vlan != 0 {
            return Fate::Untouched;
        }
        if !p.four() && p.kind == Some(135) {
            return Fate::Untouched;
        }
        self.expect_answer(&p);
        let anew = match self.sessions.get(&p.key) {
            Some(side) => side.forward && p.is_syn_or_more() && side.is_over(),
            None => true,
        };
        if anew {
            // What begins anew expects its own answers.
            if let Some(over) = self.sessions.get(&p.key).map(|s| reversed(&s.to)) {
                self.sessions.remove(&over);
            }
            if let Some(fate) = self.open(frame, &p) {
                return fate;
            }
        } else {
            self.follow(&p);
        }
        self.deliver(frame, &p)
    }

    fn join(&mut self, p: &mut Packet) {
        let datagram = (p.key.0, p.key.2, p.id, p.vlan, p.proto());
        match p.piece {
            Piece::Whole => {}
            Piece::First => {
                self.pieces.insert(datagram, (p.key.1, p.key.3));
            }
            Piece::Later => {
                if let Some(ports) = self.pieces.get(&datagram) {
                    (p.key.1, p.key.3) = *ports;
                }
            }
        }
    }

    /// The first answer of a session that waits for one.
    fn expect_answer(&mut self, p: &Packet) {
        if p.proto() != TCP || p.flags & 6 != 0 {
            self.make_answers(&p.key);
        }
    }

    fn make_answers(&mut self, key: &Key) {
        if self.sessions.contains_key(key) || !has_ports(key.4) {
            return;
        }
        let of = |(_, side): &(&Key, &Side)| {
            self.ways[side.way].kind == Kind::Late
                && side.forward
                && !side.is_over()
                && reversed(&side.to) == *key
        };
        let Some((first, side)) = self.sessions.iter().find(of) else {
            return;
        };
        let answers = Side {
            forward: false,
            to: reversed(first),
            peer_fin: side.fin,
            fin: false,
            ..side.clone()
        };
        self.sessions.insert(*key, answers);
    }

    fn service(&self, p: &Packet) -> Option<(usize, u16)> {
        let at = self.ways.iter().position(|w| w.vip == p.key.2)?;
        let (dport, proto) = (p.key.3, p.proto());
        let fits = |(port, of, _): &&(u16, u8, u16)| (*port, *of) == (dport, proto) || *of == 0;
        let (_, _, port) = self.ways[at].ports.iter().find(fits)?;
        Some((at, *port))
    }

    /// What becomes of a packet that opens no session; none where it opens one.
    fn open(&mut self, frame: &[u8], p: &Packet) -> Option<Fate> {
        if !self.ways.iter().any(|w| w.vip == p.key.2) {
            return Some(Fate::Untouched);
        }
        if p.piece == Piece::Later && p.key.3 == 0 && has_ports(p.proto()) {
            return Some(Fate::Dropped("fragment-lost"));
        }
        let Some((way, port)) = self.service(p) else {
            return Some(Fate::Untouched);
        };
        if p.proto() == TCP && !p.is_syn() {
            return Some(Fate::Dropped("no-flow"));
        }
        if self.ways[way].kind == Kind::Pool {
            return Some(Fate::FromPool {
                way,
                packet: Box::new(p.clone()),
            });
        }
        let server = self.ways[way].server;
        let mut to = p.key;
        match self.ways[way].kind {
            Kind::Nat | Kind::Late | Kind::Bridge => {
                to.2 = server;
                if has_ports(p.proto()) && p.key.3 != 0 && port != 0 {
                    to.3 = port;
                }
            }
            Kind::Dscp => to.2 = server,
            _ => {}
        }
        self.insert(frame, p, way, to);
        None
    }

    fn insert(&mut self, frame: &[u8], p: &Packet, way: usize, to: Key) {
        let side = Side {
            way,
            forward: true,
            to,
            link: [mac(frame, 6), mac(frame, 0)],
            fin: false,
            peer_fin: false,
            reset: false,
        };
        let kind = self.ways[way].kind;
        if kind.sees_answers() && kind != Kind::Late {
            let answers = Side {
                forward: false,
                to: reversed(&p.key),
                ..side.clone()
            };
            self.sessions.insert(reversed(&to), answers);
        }
        self.sessions.insert(p.key, side);
    }

    /// A packet that left with a source of the pool: what it must be in all else, or why that is none of the pool.
    pub fn left_by_pool(
        &mut self,
        frame: &[u8],
        way: usize,
        p: &Packet,
        got: &[u8],
    ) -> Result<Fate, String> {
        let Read::Ip(out) = read(got) else {
            return Err("what came out is no packet".into());
        };
        let ((first, last), ports) = self.ways[way].pool.unwrap();
        let (_, port) = self.service(p).unwrap();
        let mut to = (
            out.key.0,
            p.key.1,
            self.ways[way].server,
            p.key.3,
            p.proto(),
        );
        if has_ports(p.proto()) {
            if port != 0 && p.key.3 != 0 {
                to.3 = port;
            }
            // A later piece shows no ports.
            if p.piece != Piece::Later {
                to.1 = out.key.1;
                if to.1 < ports.0 || to.1 > ports.1 {
                    return Err(format!("port {} is none of the pool", to.1));
                }
            }
        }
        if out.key.0 < first || out.key.0 > last {
            return Err(format!("address {} is none of the pool", out.key.0));
        }
        if self.sessions.contains_key(&reversed(&to)) {
            return Err("another session has that place of the pool".into());
        }
        self.insert(frame, p, way, to);
        Ok(self.deliver(frame, p))
    }

    fn follow(&mut self, p: &Packet) {
        let (fin, reset) = (p.flags & 1 != 0, p.flags & 4 != 0);
        if p.proto() != TCP || !(fin || reset) {
            return;
        }
        let Some(side) = self.sessions.get_mut(&p.key) else {
            return;
        };
        side.reset |= reset;
        side.fin |= fin && !reset;
        let other = reversed(&side.to);
        if let Some(other) = self.sessions.get_mut(&other) {
            other.reset |= reset;
            other.peer_fin |= fin && !reset;
        }
    }

    /// A packet of a session.
    fn deliver(&self, frame: &[u8], p: &Packet) -> Fate {
        let Some(side) = self.sessions.get(&p.key) else {
            return Fate::Untouched;
        };
        let way = &self.ways[side.way];
        if way.kind.is_hop() && p.ttl <= 1 {
            return Fate::Untouched;
        }
        if way.kind.is_tunnel() {
            return self.encapsulated(frame, p, way);
        }
        let (mut out, mut sums) = (frame.to_vec(), Vec::new());
        self.relink(&mut out, side);
        if way.kind != Kind::Dsr {
            rewrite(&mut out, &mut sums, p, side, way.kind);
        }
        Fate::Sent {
            out: side.forward,
            frame: out,
            sums,
            spread: None,
        }
    }

    /// The frame's ends on the link.
    fn relink(&self, out: &mut [u8], side: &Side) {
        let bridge = self.ways[side.way].kind == Kind::Bridge;
        match (side.forward, bridge) {
            (true, false) => link(out, self.macs.server, self.macs.inner),
            (false, false) => link(out, side.link[0], side.link[1]),
            (true, true) => out[..6].copy_from_slice(&self.macs.server),
            (false, true) => {
                if out[..6] == self.macs.inner {
                    out[..6].copy_from_slice(&side.link[0]);
                }
                out[6..12].copy_from_slice(&side.link[1]);
            }
        }
    }

    fn encapsulated(&self, frame: &[u8], p: &Packet, way: &Way) -> Fate {
        let four = way.server.is_ipv4();
        let outer = if four { 20 } else { 40 };
        let shim = match way.kind {
            Kind::Gre => 4,
            Kind::Gue => 12,
            _ => 0,
        };
        let inner = p.end - p.l3;
        if inner + outer + shim > MTU {
            return too_big(frame, p, MTU - outer - shim);
        }
        let inner_proto: u8 = if p.four() { 4 } else { 41 };
        let inner_type: u16 = if p.four() { 0x0800 } else { 0x86dd };
        let proto = match way.kind {
            Kind::Gre => 47,
            Kind::Gue => UDP,
            _ => inner_proto,
        };
        let mut out = vec![0; 14];
        link(&mut out, self.macs.server, self.macs.inner);
        put16(&mut out, 12, if four { 0x0800 } else { 0x86dd });
        if four {
            out.extend([0x45, p.tos, 0, 0, 0, 0, 0x40, 0, 64, proto, 0, 0]);
            put16(&mut out, 16, (inner + outer + shim) as u16);
            out.extend([0; 8]);
            put_address(&mut out, 26, way.local);
            put_address(&mut out, 30, way.server);
            let check = !(sum(&out[14..34]) as u16);
            put16(&mut out, 24, check);
        } else {
            out.extend((6u32 << 28 | u32::from(p.tos) << 20).to_be_bytes());
            out.extend(((inner + shim) as u16).to_be_bytes());
            out.extend([proto, 64]);
            out.extend([0; 32]);
            put_address(&mut out, 22, way.local);
            put_address(&mut out, 38, way.server);
        }
        let mut spread = None;
        match way.kind {
            Kind::Gre => {
                out.extend([0, 0]);
                out.extend(inner_type.to_be_bytes());
            }
            Kind::Gue => {
                spread = Some(out.len());
                out.extend([0, 0]);
                out.extend(GUE_PORT.to_be_bytes());
                out.extend(((inner + shim) as u16).to_be_bytes());
                out.extend([0, 0, 0, inner_proto, 0, 0]);
            }
            _ => {}
        }
        out.extend(&frame[p.l3..]);
        Fate::Sent {
            out: true,
            frame: out,
            sums: Vec::new(),
            spread,
        }
    }

    /// An error about a packet of a session goes to who sent that packet.
    fn error(&mut self, frame: &[u8], p: &Packet) -> Fate {
        let Some(quote) = quote(frame, p).filter(|_| p.vlan == 0) else {
            return Fate::Untouched;
        };
        let key = reversed(&quote.key);
        self.make_answers(&key);
        let Some(side) = self.sessions.get(&key) else {
            return Fate::Untouched;
        };
        let way = &self.ways[side.way];
        if way.kind.is_hop() && p.ttl <= 1 {
            return Fate::Untouched;
        }
        if way.kind.is_tunnel() {
            return match self.encapsulated(frame, p, way) {
                Fate::Sent { out: false, .. } => Fate::Dropped("too-big"),
                sent => sent,
            };
        }
        let (mut out, mut sums) = (frame.to_vec(), Vec::new());
        self.relink(&mut out, side);
        if way.kind == Kind::Dscp {
            let side = Side {
                to: (p.key.0, 0, side.to.2, 0, p.proto()),
                ..side.clone()
            };
            rewrite(&mut out, &mut sums, p, &side, way.kind);
        } else if way.kind != Kind::Dsr {
            rewrite_quote(&mut out, &mut sums, p, &quote, side, way.kind);
        }
        Fate::Sent {
            out: side.forward,
            frame: out,
            sums,
            spread: None,
        }
    }
}

impl Packet {
    /// A SYN without ACK, whatever else it says.
    fn is_syn_or_more(&self) -> bool {
        self.proto() == TCP && self.flags & 0x12 == 2
    }
}

impl Model {
    /// What answers of a session come with.
    pub fn answers(&self, key: &Key) -> Option<Key> {
        self.sessions.get(key).map(|s| reversed(&s.to))
    }
}
