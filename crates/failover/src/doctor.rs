//! What the `vrrp` sections of a configuration find on this machine and its links: looked at without
//! changing anything, also beside a process that serves them.

use crate::check::check;
use crate::door;
use crate::instance::source_of;
use crate::link::{Link, Netlink};
use crate::socket::{Ear, Heard};
use model::{Tracked, Vrrp};
use state::doctor::{Finding, ok, wrong};
use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long the links are listened to, at most.
const LONGEST: Duration = Duration::from_secs(5);

/// How long a machine may take to say that nobody listens there.
const REFUSAL: Duration = Duration::from_millis(200);

/// Looks at everything that the sections need.
pub fn examine(sections: &[Arc<Vrrp>]) -> Result<Vec<Finding>, String> {
    let links = Netlink::open().and_then(|mut n| n.links());
    let links = links.map_err(|e| format!("interfaces cannot be listed: {e}"))?;
    let mut found = groups(sections);
    for section in sections {
        found.extend(on_machine(section, &links, door::is_open(section)));
        found.extend(
            section
                .peers
                .iter()
                .map(|peer| path(section, *peer, &links)),
        );
    }
    found.extend(on_links(sections, &links));
    Ok(found)
}

/// Members of a group move together: a lesser priority of one of them is of no use, or harmful.
fn groups(sections: &[Arc<Vrrp>]) -> Vec<Finding> {
    let names: BTreeSet<&Arc<str>> = sections.iter().filter_map(|s| s.group.as_ref()).collect();
    let differ = names.into_iter().filter_map(|name| {
        let members = sections.iter().filter(|s| s.group.as_ref() == Some(name));
        let priorities: BTreeSet<u8> = members.map(|s| s.priority).collect();
        (priorities.len() > 1).then(|| {
            let all: Vec<String> = priorities.iter().map(u8::to_string).collect();
            wrong(
                format!(
                    "sections of group {name} have priorities {}",
                    all.join(" and ")
                ),
                "give them one priority: they are active all or none",
            )
        })
    });
    differ.collect()
}

/// The section's interfaces and addresses; `runs`: a process of this machine serves it now.
fn on_machine(vrrp: &Vrrp, links: &[Link], runs: bool) -> Vec<Finding> {
    let name = &vrrp.name;
    let mut found = Vec::new();
    let watched = vrrp.tracks.iter().filter_map(|t| match &t.what {
        Tracked::Interface(interface) => Some(interface),
        _ => None,
    });
    let dedicated = vrrp.sync.iter().filter_map(|s| s.dedicated.as_ref());
    for interface in [&vrrp.interface]
        .into_iter()
        .chain(watched)
        .chain(dedicated)
    {
        found.push(match links.iter().find(|l| *l.name == **interface) {
            None => {
                let all: Vec<&str> = links.iter().map(|l| &*l.name).collect();
                wrong(
                    format!("vrrp {name}: there is no interface {interface}"),
                    format!("name one of {}", all.join(", ")),
                )
            }
            Some(link) if !link.up => wrong(
                format!("vrrp {name}: interface {interface} is down, or has no carrier"),
                format!("ip link set {interface} up, and look at its cable"),
            ),
            Some(_) => ok(format!("vrrp {name}: interface {interface} is up")),
        });
    }
    let Some(link) = links.iter().find(|l| *l.name == *vrrp.interface) else {
        return found;
    };
    found.push(match source_of(vrrp, link) {
        Ok(source) => ok(format!("vrrp {name}: adverts go out from {source}")),
        Err(why) => wrong(
            format!("vrrp {name}: {why}"),
            "give the interface an address of its own, which does not move",
        ),
    });
    let peers = vrrp.peers.iter().map(SocketAddr::ip);
    for other in vrrp.unicast.iter().copied().chain(peers) {
        if let Some(own) = links.iter().find(|l| has(l, other)) {
            found.push(wrong(
                format!(
                    "vrrp {name}: {other} is to be another machine, and is this one's, on {}",
                    own.name
                ),
                "name the other machine: each file names the other's address",
            ));
        }
    }
    for address in &vrrp.addresses {
        let here = links.iter().find_map(|l| {
            let at = l.addresses.iter().find(|a| a.ip == address.ip)?;
            Some((&l.name, at.ours))
        });
        found.push(match here {
            None if runs => ok(format!("vrrp {name}: {address} is not here: another machine has it")),
            None => ok(format!("vrrp {name}: {address} is free to be put on {}", vrrp.interface)),
            Some((on, true)) if runs => {
                ok(format!("vrrp {name}: {address} is on {on}: this machine is active"))
            }
            Some((on, true)) => wrong(
                format!("vrrp {name}: {address} was left on {on} by a process that is gone"),
                "start mulgil, which removes it before it takes part",
            ),
            Some((on, false)) if vrrp.priority == 255 => {
                ok(format!("vrrp {name}: {address} is this machine's own, on {on}"))
            }
            Some((on, false)) => wrong(
                format!("vrrp {name}: {address} stands on {on} already and would stay there while another machine has it"),
                format!("ip addr del {address} dev {on}, or 'priority 255' if this machine owns it"),
            ),
        });
    }
    found
}

fn has(link: &Link, ip: IpAddr) -> bool {
    link.addresses.iter().any(|a| a.ip == ip && !a.ours)
}

/// The second path to a peer.
fn path(vrrp: &Vrrp, peer: SocketAddr, links: &[Link]) -> Finding {
    let name = &vrrp.name;
    let (own, refused) = match ask(peer) {
        Ok(asked) => asked,
        Err(e) => {
            return wrong(
                format!("vrrp {name}: there is no way to the peer {peer}: {e}"),
                "give the machines a network in common, best a cable of their own",
            );
        }
    };
    let by = links.iter().find(|l| has(l, own)).map_or("?", |l| &l.name);
    if refused {
        return wrong(
            format!("vrrp {name}: nobody listens at the peer {peer}"),
            "start mulgil there, with the same section and this machine as its 'peer'",
        );
    }
    match by == &*vrrp.interface {
        true => ok(format!(
            "vrrp {name}: the peer {peer} is on {by}, as the adverts are: what breaks that link breaks both"
        )),
        false => ok(format!(
            "vrrp {name}: the peer {peer} is reached from {own} on {by}"
        )),
    }
}

/// Where packets to a peer come from, and whether the other machine refuses them. What is sent is no
/// question, and nobody answers it.
fn ask(peer: SocketAddr) -> io::Result<(IpAddr, bool)> {
    let any: IpAddr = match peer.is_ipv6() {
        true => std::net::Ipv6Addr::UNSPECIFIED.into(),
        false => std::net::Ipv4Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(peer)?;
    let own = socket.local_addr()?.ip();
    socket.set_read_timeout(Some(REFUSAL))?;
    socket.send(&[0])?;
    let refused = socket.recv(&mut [0; 1]);
    Ok((
        own,
        refused.is_err_and(|e| e.kind() == io::ErrorKind::ConnectionRefused),
    ))
}

/// What is heard on the links of each virtual router.
fn on_links(sections: &[Arc<Vrrp>], links: &[Link]) -> Vec<Finding> {
    let mut found = Vec::new();
    let span = span(sections);
    let mut ears: Vec<Ear> = Vec::new();
    for vrrp in sections {
        let Some(link) = links.iter().find(|l| *l.name == *vrrp.interface && l.up) else {
            continue;
        };
        let ipv6 = vrrp.is_ipv6();
        if ears.iter().any(|e| (e.link, e.ipv6) == (link.index, ipv6)) {
            continue;
        }
        match Ear::open(link, ipv6) {
            Ok(ear) => ears.push(ear),
            Err(e) => found.push(wrong(
                format!("vrrp {}: cannot listen on {}: {e}", vrrp.name, link.name),
                "run this as root, or with CAP_NET_RAW",
            )),
        }
    }
    let heard = listen(span, &ears);
    for vrrp in sections {
        let link = links.iter().find(|l| *l.name == *vrrp.interface);
        let listened = |l: &&Link| {
            let mut ears = ears.iter();
            ears.any(|e| (e.link, e.ipv6) == (l.index, vrrp.is_ipv6()))
        };
        let Some(link) = link.filter(listened) else {
            continue;
        };
        let own = source_of(vrrp, link).ok();
        let about = heard.iter().filter(|(index, ipv6, one)| {
            let vrid = one.bytes.get(1).copied();
            // A farewell says nothing of who is there.
            let leaves = one.bytes.get(2) == Some(&0);
            (*index, *ipv6) == (link.index, vrrp.is_ipv6()) && vrid == Some(vrrp.vrid) && !leaves
        });
        let said: BTreeSet<_> = about
            .map(|(_, _, one)| {
                let found = judge(vrrp, own, one);
                (found.fact, found.remedy)
            })
            .collect();
        if said.is_empty() {
            found.push(silence(vrrp, span));
        }
        found.extend(
            said.into_iter()
                .map(|(fact, remedy)| Finding { remedy, fact }),
        );
    }
    found
}

/// For how long every virtual router's active machine needs to be listened to, within reason.
fn span(sections: &[Arc<Vrrp>]) -> Duration {
    let slowest = sections.iter().map(|s| s.interval).max();
    let span = slowest.unwrap_or_default() * 2 + Duration::from_millis(300);
    span.min(LONGEST)
}

/// What it means that nobody was heard for a while.
fn silence(vrrp: &Vrrp, span: Duration) -> Finding {
    let (name, vrid, interface) = (&vrrp.name, vrrp.vrid, &vrrp.interface);
    let span_text = format!("{:.1} s", span.as_secs_f64());
    match span > vrrp.interval {
        true => ok(format!(
            "vrrp {name}: nobody else advertises virtual router {vrid} on {interface} now: listened for {span_text}"
        )),
        false => wrong(
            format!(
                "vrrp {name}: listened for {span_text} only, and 'advertise-interval' is {:?}: nobody was heard on {interface}, who may be there all the same",
                vrrp.interval
            ),
            format!(
                "look with tcpdump -i {interface} proto 112, or at 'show vrrp' of the other machine"
            ),
        ),
    }
}

/// What the ears hear in that time.
fn listen(span: Duration, ears: &[Ear]) -> Vec<(u32, bool, Heard)> {
    let end = Instant::now() + span;
    let mut heard = Vec::new();
    while Instant::now() < end && !ears.is_empty() {
        for ear in ears {
            // Somebody who floods the link is not to be kept in memory.
            let some = std::iter::from_fn(|| ear.hear()).take(100);
            heard.extend(some.map(|one| (ear.link, ear.ipv6, one)));
        }
        heard.truncate(10_000);
        std::thread::sleep(Duration::from_millis(20));
    }
    heard
}

/// What an advert means for a section.
fn judge(vrrp: &Vrrp, own: Option<IpAddr>, heard: &Heard) -> Finding {
    let (name, from, vrid) = (&vrrp.name, heard.source, vrrp.vrid);
    match check(vrrp, own, heard) {
        Err(why) => wrong(
            format!("vrrp {name}: an advert of {from} for virtual router {vrid} would be refused"),
            why.words(),
        ),
        Ok(passed) if !passed.same_addresses => wrong(
            format!("vrrp {name}: {from} advertises virtual router {vrid} with other addresses"),
            "set 'address' alike on all routers, or another 'virtual-router-id'",
        ),
        Ok(passed) => {
            let priority = passed.advert.priority;
            let fact = format!(
                "vrrp {name}: {from} is active for virtual router {vrid}, with priority {priority}"
            );
            match priority == vrrp.priority && priority != 255 {
                true => wrong(
                    format!("{fact}, which is also that of this file"),
                    "give the machines different priorities, so that it is known which one is to be active",
                ),
                false => ok(fact),
            }
        }
    }
}

#[cfg(test)]
mod tests;
