//! Servers that are known by name: what name servers said, and which server it moves where.

use crate::backend::Backend;
use crate::news;
use crate::server::{Admin, Server, Target};
use model::{Address, Family, LogLevel, PortSpec, Resolution};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What is asked for, by all servers that want the same.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Wish {
    /// The `resolvers` section.
    pub section: Arc<str>,
    /// A host, or a service.
    pub name: Arc<str>,
    /// The preferred kind of address of a host; `None` for a service.
    pub prefer: Option<Family>,
}

/// One place of a service (an SRV record).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The host.
    pub host: Arc<str>,
    /// The port.
    pub port: u16,
    /// The weight of the record, 0 to 65535.
    pub weight: u16,
    /// The address, where the answer brought it along.
    pub address: Option<IpAddr>,
}

/// The name that a server was given while running.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given {
    /// The host.
    pub host: Arc<str>,
    /// The port, where a service says it.
    pub port: Option<u16>,
    /// Whether its address comes with the service, so that nobody needs to ask for it.
    pub addressed: bool,
}

/// Records by when they were last seen.
#[derive(Clone, Debug)]
pub struct Known<T> {
    seen: Vec<(T, Instant)>,
    good: Instant,
}

impl<T: Clone> Known<T> {
    /// Nothing yet; bad answers are held against `now`.
    pub fn new(now: Instant) -> Known<T> {
        Known {
            seen: Vec::new(),
            good: now,
        }
    }

    /// Takes a good answer. Records that are not in it count for `obsolete` more. Returns all that
    /// count, those of the answer first.
    pub fn learn(
        &mut self,
        answer: Vec<T>,
        same: impl Fn(&T, &T) -> bool,
        obsolete: Duration,
        now: Instant,
    ) -> Vec<T> {
        let old = std::mem::take(&mut self.seen);
        let still = old.into_iter().filter(|(item, at)| {
            now.saturating_duration_since(*at) < obsolete && !answer.iter().any(|a| same(a, item))
        });
        let still: Vec<_> = still.collect();
        self.seen = answer.into_iter().map(|item| (item, now)).collect();
        self.seen.extend(still);
        self.good = now;
        self.seen.iter().map(|(item, _)| item.clone()).collect()
    }

    /// Whether a bad answer is to be passed over: the last good one is not older than `hold`.
    pub fn holds(&self, hold: Duration, now: Instant) -> bool {
        now.saturating_duration_since(self.good) < hold
    }

    /// Forgets the records.
    pub fn forget(&mut self) {
        self.seen.clear();
    }
}

/// Why a server has no address any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// All addresses are other servers'.
    NoAddress,
    /// There is no such name.
    NoName,
    /// Name servers refuse.
    Refused,
    /// Name servers are silent.
    Timeout,
    /// Any other bad answer.
    Other,
    /// The service has no place for it.
    Removed,
}

impl std::fmt::Display for Loss {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Loss::NoAddress => "No IP for server",
            Loss::NoName => "DNS NX status",
            Loss::Refused => "DNS refused status",
            Loss::Timeout => "DNS timeout status",
            Loss::Other => "unspecified DNS error",
            Loss::Removed => "entry removed from SRV record",
        })
    }
}

/// What became of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Turn {
    /// It has another address; `back` when it had none.
    Moved {
        /// The one before.
        from: Option<IpAddr>,
        /// The one now.
        to: IpAddr,
        /// Whether it was out for want of one.
        back: bool,
    },
    /// It has another name.
    Named {
        /// The one before.
        from: Option<Arc<str>>,
        /// The one now.
        to: Arc<str>,
    },
    /// It has no address, and is out.
    Lost(Loss),
}

/// A server and what became of it.
pub type Turned = (Arc<Server>, Turn);

impl Server {
    /// Its host's name, as configured or as given while running.
    pub fn hostname(&self) -> Option<Arc<str>> {
        if let Some(given) = self.given() {
            return Some(Arc::clone(&given.host));
        }
        let name = self.settings().hostname.clone();
        name.filter(|n| !model::names_service(n))
    }

    /// The service that it is a place of.
    pub fn service(&self) -> Option<Arc<str>> {
        let settings = self.settings();
        let name = settings
            .hostname
            .as_ref()
            .filter(|n| model::names_service(n));
        settings.resolution.as_ref().and(name).cloned()
    }

    /// What is to be asked for its sake: the service, if it is of one, and its host.
    pub fn wishes(&self) -> impl Iterator<Item = Wish> {
        let settings = self.settings();
        let wish = |name: Arc<str>, resolution: &Resolution, prefer| Wish {
            section: Arc::clone(&resolution.resolvers),
            name,
            prefer,
        };
        let resolution = settings.resolution.as_ref();
        let service = resolution.and_then(|r| Some(wish(self.service()?, r, None)));
        let asks = !self.given().is_some_and(|g| g.addressed);
        let host = resolution.filter(|_| asks);
        let host = host.and_then(|r| Some(wish(self.hostname()?, r, Some(r.prefer))));
        service.into_iter().chain(host)
    }

    fn seat(&self) -> Seat {
        let settings = self.settings();
        let resolution = settings.resolution.as_ref();
        Seat {
            now: match self.target().as_deref() {
                Some(Target::Tcp { ip, .. }) => Some(*ip),
                _ => None,
            },
            nets: resolution.map_or(Vec::new(), |r| r.nets.clone()),
            // Places of a service differ by their ports.
            shares: resolution.is_some_and(|r| r.same_address)
                || self.given().is_some_and(|g| g.port.is_some()),
        }
    }

    /// The port that goes with whatever address it has.
    pub fn port(&self) -> PortSpec {
        if let Some(port) = self.given().and_then(|g| g.port) {
            return PortSpec::Fixed(port);
        }
        match (&self.settings().address, self.target().as_deref()) {
            (_, Some(Target::Tcp { port, .. })) => *port,
            (Address::Inet { port, .. }, _) => *port,
            _ => PortSpec::None,
        }
    }

    /// Goes to this address; says if that is another than before.
    fn move_to(&self, ip: IpAddr, now: Instant) -> Option<Turn> {
        let target = Target::Tcp {
            ip,
            port: self.port(),
        };
        let before = self.target();
        let back = self.admin().0 & Admin::UNRESOLVED != 0;
        if before.as_deref() != Some(&target) {
            self.set_target(target);
        }
        self.administer(Admin::UNRESOLVED, false, now);
        let from = match before.as_deref() {
            Some(Target::Tcp { ip, .. }) => Some(*ip),
            _ => None,
        };
        (back || from != Some(ip)).then_some(Turn::Moved { from, to: ip, back })
    }

    fn lose(&self, loss: Loss, now: Instant) -> Option<Turn> {
        let before = self.admin().0 & Admin::UNRESOLVED != 0;
        self.administer(Admin::UNRESOLVED, true, now);
        self.clear_target();
        (!before).then_some(Turn::Lost(loss))
    }
}

/// Whether an address is in one of these networks.
fn within(nets: &[(IpAddr, u8)], ip: IpAddr) -> bool {
    nets.iter()
        .any(|(net, bits)| rules::network_contains(*net, *bits, ip))
}

/// A server as far as it matters which address it gets.
struct Seat {
    /// Where it is.
    now: Option<IpAddr>,
    /// Networks whose addresses go before others.
    nets: Vec<(IpAddr, u8)>,
    /// Whether it may have the address of another.
    shares: bool,
}

/// Who gets which address. A server stays where it is if that is still among them; others get one
/// that nobody has, of their networks first, and where they may share, any.
fn addresses_for(seats: &[Seat], addresses: &[IpAddr]) -> Vec<Option<IpAddr>> {
    let keep = |seat: &Seat| seat.now.filter(|ip| addresses.contains(ip));
    let mut given: Vec<Option<IpAddr>> = seats.iter().map(keep).collect();
    for (at, seat) in seats.iter().enumerate() {
        if given.get(at).is_none_or(|ip| ip.is_some()) {
            continue;
        }
        let free: Vec<IpAddr> = addresses
            .iter()
            .copied()
            .filter(|ip| !given.contains(&Some(*ip)))
            .collect();
        let near = |of: &[IpAddr]| of.iter().copied().find(|ip| within(&seat.nets, *ip));
        let shared = if seat.shares { addresses } else { &[] };
        let choice = near(&free)
            .or(near(shared))
            .or(free.first().copied())
            .or(shared.first().copied());
        if let Some(slot) = given.get_mut(at) {
            *slot = choice;
        }
    }
    given
}

/// Who gets which place of a service: who has one keeps it, others get what is left.
fn places_for(had: &[Option<(&str, u16)>], places: &[Place]) -> Vec<Option<usize>> {
    let same = |at: &Option<(&str, u16)>, p: &Place| *at == Some((&*p.host, p.port));
    let mut left: Vec<usize> = (0..places.len()).collect();
    let kept: Vec<Option<usize>> = had
        .iter()
        .map(|old| {
            let place = |at: &&usize| places.get(**at).is_some_and(|p| same(old, p));
            let at = left.iter().find(place).copied()?;
            left.retain(|n| *n != at);
            Some(at)
        })
        .collect();
    let mut left = left.into_iter();
    kept.into_iter()
        .map(|at| at.or_else(|| left.next()))
        .collect()
}

/// The weight of a server by that of its record.
fn weight_of(record: u16) -> u32 {
    u32::from(record).div_ceil(256)
}

/// What log lines say of it, word for word as HAProxy says it; `by` is who brought the address.
pub fn lines(backend: &Backend, turned: &Turned, by: &str) -> Vec<(LogLevel, String)> {
    let (server, turn) = turned;
    let name = format!("{}/{}", backend.name, server.name);
    let mut lines = Vec::new();
    match turn {
        Turn::Moved { from, to, back } => {
            if *from != Some(*to) {
                let from = from.map_or("(none)".into(), |ip| ip.to_string());
                lines.push(format!(
                    "{name} changed its IP from {from} to {to} by {by}."
                ));
            }
            if *back {
                let host = server.hostname().unwrap_or_default();
                lines.push(format!(
                    "Server {name} ('{host}') is UP/READY (resolves again)."
                ));
                lines.push(format!(
                    "Server {name} administratively READY thanks to valid DNS answer."
                ));
            }
        }
        Turn::Named { from, to } => {
            let from = from.as_deref().unwrap_or("(null)");
            lines.push(format!(
                "{name} changed its FQDN from {from} to {to} by 'SRV record'"
            ));
        }
        Turn::Lost(loss) => lines.push(format!(
            "Server {name} is going DOWN for maintenance ({loss}). {}",
            news::left(backend, server)
        )),
    }
    let level = match turn {
        Turn::Lost(_) => LogLevel::Alert,
        _ => LogLevel::Notice,
    };
    lines.into_iter().map(|line| (level, line)).collect()
}

impl Backend {
    /// Gives the addresses of a host to the servers that wish for them. Who was moved by an operator
    /// stays there until there are `other` addresses than before.
    pub fn take_addresses(
        self: &Arc<Self>,
        wish: &Wish,
        addresses: &[IpAddr],
        other: bool,
        now: Instant,
    ) -> Vec<Turned> {
        let mine: Vec<&Arc<Server>> = self
            .wishing(wish)
            .filter(|s| other || !s.is_pinned())
            .collect();
        let seats: Vec<Seat> = mine.iter().map(|s| s.seat()).collect();
        let turned = mine
            .into_iter()
            .zip(addresses_for(&seats, addresses))
            .filter_map(|(server, ip)| {
                server.pin(false);
                let turn = match ip {
                    Some(ip) => server.move_to(ip, now),
                    None => server.lose(Loss::NoAddress, now),
                };
                turn.map(|t| (Arc::clone(server), t))
            });
        let turned = turned.collect();
        self.after(turned)
    }

    /// Gives the places of a service to its servers.
    pub fn take_places(
        self: &Arc<Self>,
        wish: &Wish,
        places: &[Place],
        now: Instant,
    ) -> Vec<Turned> {
        let mine: Vec<&Arc<Server>> = self.wishing(wish).collect();
        let given: Vec<_> = mine.iter().map(|s| s.given()).collect();
        let had: Vec<_> = given
            .iter()
            .map(|g| Some((&*g.as_ref()?.host, g.as_ref()?.port?)))
            .collect();
        let mut turned = Vec::new();
        let mut reweighted = false;
        for ((server, old), at) in mine.iter().zip(&had).zip(places_for(&had, places)) {
            let mut push = |turn| turned.push((Arc::clone(server), turn));
            let place = at.and_then(|at| places.get(at));
            let stays = place.is_some_and(|p| *old == Some((&p.host, p.port)));
            if old.is_some() && !stays {
                server.give(None);
                server
                    .lose(Loss::Removed, now)
                    .into_iter()
                    .for_each(&mut push);
            }
            let Some(place) = place else { continue };
            if !stays {
                let to = Arc::clone(&place.host);
                push(Turn::Named { from: None, to });
            }
            server.give(Some(Given {
                host: Arc::clone(&place.host),
                port: Some(place.port),
                addressed: place.address.is_some(),
            }));
            let weight = weight_of(place.weight);
            let ignores = |r: &Arc<Resolution>| r.ignore_weight;
            if server.weight() != weight
                && !server.settings().resolution.as_ref().is_some_and(ignores)
            {
                server.set_weight(weight);
                reweighted = true;
            }
            if let Some(ip) = place.address.filter(|_| !(stays && server.is_pinned())) {
                server.pin(false);
                server.move_to(ip, now).into_iter().for_each(&mut push);
            }
        }
        if reweighted && turned.is_empty() {
            self.refresh();
        }
        self.after(turned)
    }

    /// Takes the servers out that wish for what cannot be had.
    pub fn lose(self: &Arc<Self>, wish: &Wish, loss: Loss, now: Instant) -> Vec<Turned> {
        let turned = self.wishing(wish).filter_map(|server| {
            if wish.prefer.is_none() {
                server.give(None);
            }
            server.lose(loss, now).map(|t| (Arc::clone(server), t))
        });
        let turned = turned.collect();
        self.after(turned)
    }

    fn wishing<'a>(&'a self, wish: &'a Wish) -> impl Iterator<Item = &'a Arc<Server>> {
        let all = self.servers().iter();
        all.filter(move |s| s.wishes().any(|w| w == *wish))
    }

    fn after(self: &Arc<Self>, turned: Vec<Turned>) -> Vec<Turned> {
        if !turned.is_empty() {
            self.refresh();
        }
        turned
    }
}

#[cfg(test)]
mod tests;
