//! The table of keywords of a `vrrp` section, and what must hold of the whole section.

mod track;
mod words;

use crate::diag::Fault;
use crate::draft::Place;
use crate::fingerprint::Fingerprint;
use crate::line::Line;
use model::{PeerKey, SyncSessions, Vrrp};
use std::sync::Arc;
use std::time::Duration;
use words::{
    duration, interface, ip, number, peer, text, virtual_address, virtual_route, virtual_rule,
};

/// One keyword of a `vrrp` section.
pub struct VrrpKeyword {
    /// Its word or words.
    pub name: &'static str,
    /// Its arguments.
    pub args: &'static str,
    /// Arguments that make a valid line.
    pub example: &'static str,
    /// One line.
    pub doc: &'static str,
    parse: fn(&mut VrrpDraft, &mut Line<'_>) -> Result<(), Fault>,
}

macro_rules! keyword {
    ($name:literal, $args:literal, $example:literal, $doc:literal, $parse:expr) => {
        VrrpKeyword {
            name: $name,
            args: $args,
            example: $example,
            doc: $doc,
            parse: $parse,
        }
    };
}

/// A section as far as it has been read.
pub struct VrrpDraft {
    vrrp: Vrrp,
    /// Its header.
    pub place: Place,
    /// Of all lines, so that proxies do not count as changed by them.
    pub fingerprint: Fingerprint,
    interval: Option<Place>,
    sync: Option<Place>,
    names: Vec<(bool, Arc<str>, Place)>,
}

impl VrrpDraft {
    pub fn new(name: Arc<str>, place: Place) -> VrrpDraft {
        VrrpDraft {
            vrrp: Vrrp {
                name,
                interface: "".into(),
                vrid: 0,
                version: 3,
                priority: 100,
                interval: Duration::from_secs(1),
                preempt: true,
                preempt_delay: Duration::ZERO,
                addresses: Vec::new(),
                source: None,
                routes: Vec::new(),
                rules: Vec::new(),
                virtual_mac: false,
                accept: true,
                unicast: Vec::new(),
                peers: Vec::new(),
                peer_key: None,
                sync: None,
                group: None,
                tracks: Vec::new(),
                notify: Vec::new(),
                refresh: Duration::from_secs(60),
            },
            place,
            fingerprint: Fingerprint::default(),
            interval: None,
            sync: None,
            names: Vec::new(),
        }
    }

    /// Its name.
    pub fn name(&self) -> Arc<str> {
        Arc::clone(&self.vrrp.name)
    }

    /// A line of the section.
    pub fn line(&mut self, line: &mut Line<'_>) -> Result<(), Fault> {
        let name = line.words.first().map_or("", |w| w.text.as_str());
        let Some(keyword) = VRRP_KEYWORDS.iter().find(|k| k.name == name) else {
            let names: Vec<&str> = VRRP_KEYWORDS.iter().map(|k| k.name).collect();
            let message = match rules::nearest(name, names.iter().copied()) {
                Some(near) => format!("unknown keyword '{name}' in 'vrrp': did you mean '{near}'?"),
                None => format!(
                    "unknown keyword '{name}' in 'vrrp': use {}",
                    names.join(", ")
                ),
            };
            return Err(Fault::at(0, message));
        };
        if line.negated && !["preempt", "accept"].contains(&name) {
            let message =
                format!("'{name}' cannot be taken back with 'no': remove the line that sets it");
            return Err(Fault::at(0, message));
        }
        (keyword.parse)(self, line)
    }

    /// The virtual router, and what is wrong with the section as a whole.
    pub fn finish(
        self,
        frontends: impl Fn(&str) -> bool,
        backends: impl Fn(&str) -> bool,
        others: &[Arc<Vrrp>],
    ) -> (Vrrp, Vec<(Place, String)>) {
        let VrrpDraft {
            vrrp: v,
            place,
            interval,
            sync,
            names,
            ..
        } = self;
        let mut wrong = Vec::new();
        let mut say = |message: String| wrong.push((place.clone(), message));
        for (missing, line) in [
            (v.interface.is_empty(), "interface eth0"),
            (v.vrid == 0, "virtual-router-id 51"),
            (v.addresses.is_empty(), "address 203.0.113.10/24"),
        ] {
            if missing {
                let word = line.split(' ').next().unwrap_or_default();
                say(format!(
                    "'vrrp {}' has no '{word}': add a line such as '{line}'",
                    v.name
                ));
            }
        }
        let wide = v.is_ipv6();
        if let Some(other) = v.addresses.iter().find(|a| a.ip.is_ipv6() != wide) {
            say(format!(
                "'{}' is of another family than '{}': VRRP elects for each family apart, so give it a 'vrrp' section of its own, and both the same 'group'",
                other.ip,
                v.addresses
                    .first()
                    .map(|a| a.ip.to_string())
                    .unwrap_or_default()
            ));
        }
        let strangers = v.unicast.iter().chain(v.source.iter());
        for stranger in strangers.filter(|a| a.is_ipv6() != wide) {
            say(format!(
                "'{stranger}' is of another family than the addresses: adverts go over the family that they are about"
            ));
        }
        let owner = v.priority == 255;
        for (word, set) in [("virtual-mac", v.virtual_mac), ("no accept", !v.accept)] {
            if owner && set {
                say(format!(
                    "priority 255 is for who has the addresses in any case, '{word}' for who has not: use a priority up to 254, or remove '{word}'"
                ));
            }
        }
        let outside = v.rules.iter().find(|r| r.is_ipv6() != wide);
        if let Some(rule) = outside {
            say(format!(
                "'rule {rule}' is of another family than the addresses: put it into the section of that family"
            ));
        }
        if v.version == 2 && wide {
            say("version 2 knows no IPv6: use version 3, or addresses of IPv4".into());
        }
        let twin =
            |o: &&Arc<Vrrp>| o.interface == v.interface && o.vrid == v.vrid && o.is_ipv6() == wide;
        if let Some(other) = others.iter().find(twin) {
            say(format!(
                "'vrrp {}' has virtual-router-id {} on {} already: give this one another",
                other.name, v.vrid, v.interface
            ));
        }
        let confused = |o: &&Arc<Vrrp>| {
            let shared = o.peers.iter().any(|p| v.peers.contains(p));
            shared && o.vrid == v.vrid && o.is_ipv6() == wide
        };
        if let Some(other) = others.iter().find(confused) {
            say(format!(
                "'vrrp {}' has virtual-router-id {} and the same peer: what it says could be about either, so give this one another number",
                other.name, v.vrid
            ));
        }
        if let (Some(kept), Some(place)) = (&v.sync, sync) {
            let mut at = |message: String| wrong.push((place.clone(), message));
            if v.peers.is_empty() {
                at("'sync sessions' has nobody to keep alike with: add a line 'peer ADDRESS' with the other machine's".into());
            }
            if v.peer_key.is_none() && kept.dedicated.is_none() {
                at("'sync sessions' without 'peer-key' would take sessions from anybody: add 'peer-key FILE', or 'sync sessions dedicated INTERFACE' where only the two machines are on that link".into());
            }
            let other = others.iter().find(|o| {
                let shared = o.peers.iter().any(|p| v.peers.contains(p));
                shared && o.sync.is_some() && (o.peer_key != v.peer_key || o.sync != v.sync)
            });
            if let Some(other) = other {
                at(format!(
                    "'vrrp {}' synchronises with the same peer in another way: give both the same 'peer-key' and 'sync sessions'",
                    other.name
                ));
            }
        }
        let mut at = |message: String| {
            wrong.push((interval.clone().unwrap_or_else(|| place.clone()), message));
        };
        let ms = v.interval.as_millis();
        if v.version == 2 && (v.interval.subsec_nanos() != 0 || !(1000..=255_000).contains(&ms)) {
            at(format!(
                "version 2 carries whole seconds from 1s to 255s, not {ms}ms: use one of those, or version 3"
            ));
        }
        if v.version == 3 && (!ms.is_multiple_of(10) || !(10..=40_950).contains(&ms)) {
            at(format!(
                "version 3 carries hundredths of a second from 10ms to 40950ms, not {ms}ms: use a multiple of 10ms"
            ));
        }
        for (front, name, place) in names {
            let kind = if front { "frontend" } else { "backend" };
            if !(if front {
                frontends(&name)
            } else {
                backends(&name)
            }) {
                wrong.push((
                    place,
                    format!("no {kind} is called '{name}': add a section '{kind} {name}'"),
                ));
            }
        }
        (v, wrong)
    }
}

/// All keywords of a `vrrp` section.
pub static VRRP_KEYWORDS: &[VrrpKeyword] = &[
    keyword!(
        "accept",
        "",
        "",
        "packets to the addresses are taken while active ('no accept': only forwarded through here)",
        |d, l| {
            l.exactly(0, "no argument")?;
            d.vrrp.accept = !l.negated;
            Ok(())
        }
    ),
    keyword!(
        "address",
        "ADDRESS[/PREFIX]",
        "203.0.113.20/24",
        "an address that the active router has; several lines for several",
        |d, l| {
            l.exactly(1, "an address")?;
            let address = l.map(0, virtual_address(l.arg(0)))?;
            if d.vrrp.addresses.iter().any(|a| a.ip == address.ip) {
                return l.fail(
                    0,
                    format!("'{}' stands above already: remove it", address.ip),
                );
            }
            if d.vrrp.addresses.len() == 255 {
                return l.fail(
                    0,
                    "an advert carries 255 addresses at most: use another section",
                );
            }
            d.vrrp.addresses.push(address);
            Ok(())
        }
    ),
    keyword!(
        "advertise-interval",
        "TIME",
        "100ms",
        "between two adverts: from 10ms (version 3), or whole seconds (version 2)",
        |d, l| {
            l.exactly(1, "a time")?;
            d.vrrp.interval = l.map(0, duration(l.arg(0)))?;
            d.interval = Some(l.place(0));
            Ok(())
        }
    ),
    keyword!(
        "announce-refresh",
        "TIME",
        "60s",
        "between two announcements of the addresses while active; 0: only after a takeover",
        |d, l| {
            l.exactly(1, "a time")?;
            d.vrrp.refresh = l.map(0, duration(l.arg(0)))?;
            Ok(())
        }
    ),
    keyword!(
        "group",
        "NAME",
        "edge",
        "sections of one group are active all or none",
        |d, l| {
            d.vrrp.group = Some(text(l, "a name")?);
            Ok(())
        }
    ),
    keyword!(
        "interface",
        "NAME",
        "eth0",
        "where adverts come and go, and where the addresses are",
        |d, l| {
            l.exactly(1, "the name of an interface")?;
            d.vrrp.interface = interface(l, 0)?;
            Ok(())
        }
    ),
    keyword!(
        "notify",
        "COMMAND",
        "/etc/mulgil/moved",
        "run by /bin/sh at each change, with name, state and priority as arguments",
        |d, l| {
            let command = text(l, "a command, quoted if it has several words")?;
            d.vrrp.notify.push(command);
            Ok(())
        }
    ),
    keyword!(
        "peer",
        "ADDRESS[:PORT]",
        "10.9.0.2",
        "the other router over a second path: no claim while it says there that it is active",
        |d, l| {
            l.exactly(1, "an address")?;
            let peer = l.map(0, peer(l.arg(0)))?;
            d.vrrp.peers.push(peer);
            Ok(())
        }
    ),
    keyword!(
        "peer-key",
        "FILE",
        "list.txt",
        "a file with the secret that authenticates the second path",
        |d, l| {
            l.exactly(1, "a file")?;
            let key = l.source.read(l.arg(0));
            let key = key.or_else(|e| l.fail(0, format!("cannot read '{}': {e}", l.arg(0))))?;
            let key = key.trim_ascii();
            if key.len() < 16 {
                let message = format!(
                    "the key in '{}' has {} bytes: use at least 16, for example of 'openssl rand -hex 32'",
                    l.arg(0),
                    key.len()
                );
                return l.fail(0, message);
            }
            d.vrrp.peer_key = Some(PeerKey(key.into()));
            Ok(())
        }
    ),
    keyword!(
        "preempt",
        "[delay TIME]",
        "delay 30s",
        "a higher priority takes over from a lower one, after a delay ('no preempt': never)",
        |d, l| {
            d.vrrp.preempt = !l.negated;
            match l.arg(0) {
                "" => return Ok(()),
                "delay" if !l.negated => l.exactly(2, "a time after 'delay'")?,
                other => return l.fail(0, format!("'{other}' stands where 'delay TIME' may")),
            }
            d.vrrp.preempt_delay = l.map(1, duration(l.arg(1)))?;
            Ok(())
        }
    ),
    keyword!(
        "priority",
        "N",
        "200",
        "1 to 254, the highest is active; 255: this machine owns the addresses",
        |d, l| {
            d.vrrp.priority = number(l, 255)?;
            Ok(())
        }
    ),
    keyword!(
        "route",
        "NETWORK/PREFIX|default [via ADDRESS] [table N]",
        "198.51.100.0/24 via 203.0.113.254",
        "a route by the interface that only the active router has",
        |d, l| {
            let route = virtual_route(l)?;
            if d.vrrp.routes.contains(&route) {
                return l.fail(0, format!("'{route}' stands above already: remove it"));
            }
            d.vrrp.routes.push(route);
            Ok(())
        }
    ),
    keyword!(
        "rule",
        "[from NETWORK] [to NETWORK] table N [priority N]",
        "from 203.0.113.10 table 100",
        "which packets are routed by which table, on the active router only",
        |d, l| {
            let rule = virtual_rule(l)?;
            if d.vrrp.rules.contains(&rule) {
                return l.fail(0, format!("'{rule}' stands above already: remove it"));
            }
            d.vrrp.rules.push(rule);
            Ok(())
        }
    ),
    keyword!(
        "source",
        "ADDRESS",
        "192.0.2.1",
        "where adverts come from, instead of the interface's first address",
        |d, l| {
            l.exactly(1, "an address")?;
            d.vrrp.source = Some(l.map(0, ip(l.arg(0)))?);
            Ok(())
        }
    ),
    keyword!(
        "sync",
        "sessions [dedicated INTERFACE]",
        "sessions dedicated eth2",
        "sessions and stick tables follow to the peers, sealed with 'peer-key' or over a link of their own",
        |d, l| {
            if l.arg(0) != "sessions" {
                let message = format!("'{}' cannot be synchronised: use 'sync sessions'", l.arg(0));
                return l.fail(0, message);
            }
            let dedicated = match l.arg(1) {
                "" => {
                    l.exactly(1, "'sessions'")?;
                    None
                }
                "dedicated" => {
                    l.exactly(3, "an interface after 'dedicated'")?;
                    Some(interface(l, 2)?)
                }
                other => {
                    let message = format!("'{other}' stands where 'dedicated INTERFACE' may");
                    return l.fail(1, message);
                }
            };
            d.vrrp.sync = Some(SyncSessions { dedicated });
            d.sync = Some(l.place(0));
            Ok(())
        }
    ),
    keyword!(
        "track",
        "interface|frontend|backend|script|file WHAT [weight N] …",
        "interface eth1 weight -20",
        "what must be well for this machine to be active, or by how much the priority changes",
        track::track
    ),
    keyword!(
        "unicast",
        "ADDRESS*",
        "192.0.2.2 192.0.2.3",
        "the other routers, which get adverts one by one instead of by multicast",
        |d, l| {
            if l.args().is_empty() {
                return l.fail(0, "'unicast' wants addresses of the other routers");
            }
            for at in 0..l.args().len() {
                let address = l.map(at, ip(l.arg(at)))?;
                d.vrrp.unicast.push(address);
            }
            Ok(())
        }
    ),
    keyword!(
        "version",
        "2|3",
        "3",
        "of the protocol; version 2 (IPv4, whole seconds) is for old routers",
        |d, l| {
            l.exactly(1, "2 or 3")?;
            d.vrrp.version = match l.arg(0) {
                "2" => 2,
                "3" => 3,
                other => return l.fail(0, format!("there is no version '{other}': use 2 or 3")),
            };
            Ok(())
        }
    ),
    keyword!(
        "virtual-mac",
        "",
        "",
        "the addresses have a hardware address of their own, which moves with them",
        |d, l| {
            l.exactly(0, "no argument")?;
            d.vrrp.virtual_mac = true;
            Ok(())
        }
    ),
    keyword!(
        "virtual-router-id",
        "N",
        "51",
        "1 to 255, equal on all routers of these addresses and different from others on the link",
        |d, l| {
            d.vrrp.vrid = number(l, 255)?;
            Ok(())
        }
    ),
];
