//! Routes and rules that only the active router has. They carry our mark as the addresses do, by
//! which they are told from those that somebody else has set, also by the next process after a crash.

use crate::link::{MARK, Netlink};
use model::{VirtualAddress, VirtualRoute, VirtualRule, Vrrp};
use netlink_packet_core::{NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleHeader, RuleMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use std::fmt;
use std::io;
use std::net::IpAddr;

/// A route or a rule that carries our mark, or is to carry it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Marked {
    /// A route by an interface, given by its number.
    Route(u32, VirtualRoute),
    /// A rule, of no interface.
    Rule(VirtualRule),
}

impl Marked {
    /// The routes of a section by its interface, if that is there, and its rules.
    pub fn all_of(vrrp: &Vrrp, link: Option<u32>) -> Vec<Marked> {
        let routes = link.into_iter().flat_map(|link| {
            let routes = vrrp.routes.iter();
            routes.map(move |r| Marked::Route(link, *r))
        });
        routes
            .chain(vrrp.rules.iter().copied().map(Marked::Rule))
            .collect()
    }

    /// Whether both say the same: the main table may be left out, and a network of all addresses.
    pub fn is_same(&self, other: &Marked) -> bool {
        match (self, other) {
            (Marked::Route(a, x), Marked::Route(b, y)) => {
                let parts = |r: &VirtualRoute| (r.destination, r.via, table_of(r));
                a == b && parts(x) == parts(y)
            }
            (Marked::Rule(x), Marked::Rule(y)) => x.priority == y.priority && says_the_same(x, y),
            _ => false,
        }
    }

    /// Whether this, which the kernel lists, is what was wanted: a place among rules that the kernel
    /// has chosen is as good as any.
    pub fn is_as(&self, wanted: &Marked) -> bool {
        match (self, wanted) {
            (Marked::Rule(x), Marked::Rule(y)) if y.priority.is_none() => says_the_same(x, y),
            _ => self.is_same(wanted),
        }
    }

    /// As one line, which [`Marked::read`] reads.
    pub fn line(&self) -> String {
        match self {
            Marked::Route(link, route) => format!("route {link} {route}"),
            Marked::Rule(rule) => format!("rule {rule}"),
        }
    }

    /// Reads what [`Marked::line`] wrote.
    pub fn read(text: &str) -> Option<Marked> {
        let words: Vec<&str> = text.split(' ').collect();
        match words.as_slice() {
            ["route", link, destination, rest @ ..] => {
                let mut route = VirtualRoute {
                    destination: VirtualAddress::read(destination)?,
                    via: None,
                    table: None,
                };
                for pair in rest.chunks(2) {
                    match pair {
                        ["via", ip] => route.via = Some(ip.parse().ok()?),
                        ["table", n] => route.table = Some(n.parse().ok()?),
                        _ => return None,
                    }
                }
                Some(Marked::Route(link.parse().ok()?, route))
            }
            ["rule", rest @ ..] => {
                let (mut from, mut to, mut table, mut priority) = (None, None, None, None);
                for pair in rest.chunks(2) {
                    match pair {
                        ["from", ip] => from = Some(VirtualAddress::read(ip)?),
                        ["to", ip] => to = Some(VirtualAddress::read(ip)?),
                        ["table", n] => table = Some(n.parse().ok()?),
                        ["priority", n] => priority = Some(n.parse().ok()?),
                        _ => return None,
                    }
                }
                from.or(to)?;
                Some(Marked::Rule(VirtualRule {
                    from,
                    to,
                    table: table?,
                    priority,
                }))
            }
            _ => None,
        }
    }
}

/// For people, who know interfaces by other names than numbers.
impl fmt::Display for Marked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Marked::Route(_, route) => write!(f, "route {route}"),
            Marked::Rule(rule) => write!(f, "rule {rule}"),
        }
    }
}

impl Netlink {
    /// Sets a route or rule with our mark. One that is there already stays as it is.
    pub fn set(&mut self, what: &Marked) -> io::Result<()> {
        let (request, only_new) = match what {
            Marked::Route(link, route) => {
                let request = RouteNetlinkMessage::NewRoute(route_message(*link, route));
                (request, NLM_F_EXCL)
            }
            // What the kernel would take for the same is not: without a place it chooses a new one each
            // time, in the same place a network that is not given is any.
            Marked::Rule(rule) => {
                let there = self.marked_rules(family_of(what))?;
                if there.iter().any(|r| r.is_as(what)) {
                    return Ok(());
                }
                (RouteNetlinkMessage::NewRule(rule_message(rule)), 0)
            }
        };
        let done = self.ask(request, NLM_F_ACK | NLM_F_CREATE | only_new);
        unless(libc::EEXIST, done)
    }

    /// Removes a route or rule, if it is there and carries our mark.
    pub fn unset(&mut self, what: &Marked) -> io::Result<()> {
        match what {
            Marked::Route(link, route) => {
                let request = RouteNetlinkMessage::DelRoute(route_message(*link, route));
                unless(libc::ESRCH, self.ask(request, NLM_F_ACK))
            }
            Marked::Rule(_) => self.unset_rules(what),
        }
    }

    /// Removes a rule with our mark from all its places. To the kernel a network that is not given
    /// is any, so that of two rules in one place it may take the other one: that is set again.
    fn unset_rules(&mut self, what: &Marked) -> io::Result<()> {
        let family = family_of(what);
        let before = self.marked_rules(family)?;
        let mut left = before.clone();
        for _ in 0..before.len() {
            let Some(Marked::Rule(rule)) = left.iter().find(|r| r.is_as(what)) else {
                break;
            };
            let request = RouteNetlinkMessage::DelRule(rule_message(rule));
            unless(libc::ENOENT, self.ask(request, NLM_F_ACK))?;
            left = self.marked_rules(family)?;
        }
        let others = before.iter().filter(|r| !r.is_as(what));
        for taken in others.filter(|r| !left.contains(r)) {
            self.set(taken)?;
        }
        Ok(())
    }

    /// All rules of a family with our mark.
    fn marked_rules(&mut self, family: AddressFamily) -> io::Result<Vec<Marked>> {
        let mut message = RuleMessage::default();
        message.header.family = family;
        match self.ask(RouteNetlinkMessage::GetRule(message), NLM_F_DUMP) {
            // There is no IPv6 at all.
            Err(e) if e.raw_os_error() == Some(libc::EAFNOSUPPORT) => Ok(Vec::new()),
            found => Ok(found?
                .iter()
                .filter_map(|m| match m {
                    RouteNetlinkMessage::NewRule(rule) => marked_rule(rule),
                    _ => None,
                })
                .collect()),
        }
    }

    /// All routes and rules with our mark, of all interfaces and tables.
    pub fn marked(&mut self) -> io::Result<Vec<Marked>> {
        let mut all = Vec::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut message = RouteMessage::default();
            message.header.address_family = family;
            message.header.protocol = RouteProtocol::Other(MARK);
            message.header.kind = RouteType::Unicast;
            // The kernel leaves the others out where it can: they may be a million.
            self.choose_strictly(true);
            let found = self.ask(RouteNetlinkMessage::GetRoute(message), NLM_F_DUMP);
            self.choose_strictly(false);
            all.extend(found?.iter().filter_map(|m| match m {
                RouteNetlinkMessage::NewRoute(route) => marked_route(route),
                _ => None,
            }));
            all.extend(self.marked_rules(family)?);
        }
        Ok(all)
    }
}

/// What was asked for is done, also where an error says that it was so before.
fn unless(before: i32, done: io::Result<Vec<RouteNetlinkMessage>>) -> io::Result<()> {
    match done {
        Err(e) if e.raw_os_error() != Some(before) => Err(e),
        _ => Ok(()),
    }
}

fn family_of(what: &Marked) -> AddressFamily {
    let ipv6 = match what {
        Marked::Route(_, route) => route.destination.ip.is_ipv6(),
        Marked::Rule(rule) => rule.is_ipv6(),
    };
    match ipv6 {
        true => AddressFamily::Inet6,
        false => AddressFamily::Inet,
    }
}

/// Whether two rules are alike but for their places.
fn says_the_same(x: &VirtualRule, y: &VirtualRule) -> bool {
    let parts = |r: &VirtualRule| (network(r.from), network(r.to), r.table);
    x.is_ipv6() == y.is_ipv6() && parts(x) == parts(y)
}

fn table_of(route: &VirtualRoute) -> u32 {
    route.table.unwrap_or(u32::from(RouteHeader::RT_TABLE_MAIN))
}

/// A network of a rule; one of all addresses is none.
fn network(given: Option<VirtualAddress>) -> Option<VirtualAddress> {
    given.filter(|n| n.prefix > 0)
}

fn marked_route(message: &RouteMessage) -> Option<Marked> {
    let header = &message.header;
    if u8::from(header.protocol) != MARK || header.kind != RouteType::Unicast {
        return None;
    }
    let address = |a: &RouteAddress| match a {
        RouteAddress::Inet(ip) => Some(IpAddr::V4(*ip)),
        RouteAddress::Inet6(ip) => Some(IpAddr::V6(*ip)),
        _ => None,
    };
    let mut table = u32::from(header.table);
    let (mut link, mut ip, mut via) = (None, None, None);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(a) => ip = Some(address(a)?),
            RouteAttribute::Gateway(a) => via = Some(address(a)?),
            RouteAttribute::Oif(n) => link = Some(*n),
            RouteAttribute::Table(n) => table = *n,
            _ => {}
        }
    }
    let destination = VirtualAddress {
        ip: ip.unwrap_or(everything(header.address_family == AddressFamily::Inet6)),
        prefix: header.destination_prefix_length,
    };
    let main = u32::from(RouteHeader::RT_TABLE_MAIN);
    let route = VirtualRoute {
        destination,
        via,
        table: (table != main).then_some(table),
    };
    Some(Marked::Route(link?, route))
}

fn marked_rule(message: &RuleMessage) -> Option<Marked> {
    let header = &message.header;
    // The first place of all is not told.
    let (mut from, mut to, mut priority, mut ours) = (None, None, Some(0), false);
    let mut table = u32::from(header.table);
    for attribute in &message.attributes {
        match attribute {
            RuleAttribute::Source(ip) => from = Some(*ip),
            RuleAttribute::Destination(ip) => to = Some(*ip),
            RuleAttribute::Priority(n) => priority = Some(*n),
            RuleAttribute::Table(n) => table = *n,
            RuleAttribute::Protocol(p) => ours = u8::from(*p) == MARK,
            _ => {}
        }
    }
    if !ours {
        return None;
    }
    let six = header.family == AddressFamily::Inet6;
    let whole = |ip: Option<IpAddr>, prefix| ip.map(|ip| VirtualAddress { ip, prefix });
    let all = VirtualAddress {
        ip: everything(six),
        prefix: 0,
    };
    let (from, to) = (whole(from, header.src_len), whole(to, header.dst_len));
    Some(Marked::Rule(VirtualRule {
        // A rule without either is one for all packets.
        from: if to.is_none() {
            from.or(Some(all))
        } else {
            from
        },
        to,
        table,
        priority,
    }))
}

fn everything(six: bool) -> IpAddr {
    match six {
        true => IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED),
        false => IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED),
    }
}

/// What a table number is in a message's header, where only a byte is for it.
fn short(table: u32) -> u8 {
    u8::try_from(table).unwrap_or(RouteHeader::RT_TABLE_UNSPEC)
}

fn rule_message(rule: &VirtualRule) -> RuleMessage {
    let length = |n: &Option<VirtualAddress>| n.map_or(0, |n| n.prefix);
    let mut message = RuleMessage::default();
    message.header = RuleHeader {
        family: match rule.is_ipv6() {
            true => AddressFamily::Inet6,
            false => AddressFamily::Inet,
        },
        src_len: length(&rule.from),
        dst_len: length(&rule.to),
        table: short(rule.table),
        action: RuleAction::ToTable,
        ..RuleHeader::default()
    };
    // A network of all addresses is told by its length alone.
    let given = |n| network(n).map(|n| n.ip);
    let all = &mut message.attributes;
    all.extend(given(rule.from).map(RuleAttribute::Source));
    all.extend(given(rule.to).map(RuleAttribute::Destination));
    all.extend(rule.priority.map(RuleAttribute::Priority));
    all.push(RuleAttribute::Table(rule.table));
    all.push(RuleAttribute::Protocol(RouteProtocol::Other(MARK)));
    message
}

fn route_message(link: u32, route: &VirtualRoute) -> RouteMessage {
    let table = table_of(route);
    let mut message = RouteMessage::default();
    message.header = RouteHeader {
        address_family: match route.destination.ip {
            IpAddr::V4(_) => AddressFamily::Inet,
            IpAddr::V6(_) => AddressFamily::Inet6,
        },
        destination_prefix_length: route.destination.prefix,
        table: short(table),
        protocol: RouteProtocol::Other(MARK),
        scope: match route.via {
            None if route.destination.ip.is_ipv4() => RouteScope::Link,
            _ => RouteScope::Universe,
        },
        kind: RouteType::Unicast,
        ..RouteHeader::default()
    };
    let value = |ip| match ip {
        IpAddr::V4(ip) => RouteAddress::Inet(ip),
        IpAddr::V6(ip) => RouteAddress::Inet6(ip),
    };
    let destination = (route.destination.prefix > 0)
        .then(|| RouteAttribute::Destination(value(route.destination.ip)));
    let via = route.via.map(|ip| RouteAttribute::Gateway(value(ip)));
    message.attributes.extend(destination);
    message.attributes.extend(via);
    message.attributes.push(RouteAttribute::Oif(link));
    message.attributes.push(RouteAttribute::Table(table));
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Vec<Marked> {
        let lines = [
            "route 3 198.51.100.0/24 via 203.0.113.254",
            "route 4294967295 192.0.2.0/25",
            "route 3 0.0.0.0/0 via 203.0.113.254 table 100",
            "route 3 2001:db8:1::/48 via fe80::1 table 4000000",
            "rule from 203.0.113.10/32 table 100 priority 1000",
            "rule from 203.0.113.10/32 to 198.51.100.0/24 table 4000000",
            "rule to 2001:db8::/32 table 7",
        ];
        lines
            .iter()
            .map(|line| {
                let read = Marked::read(line).unwrap_or_else(|| panic!("{line}"));
                assert_eq!(read.line(), *line);
                read
            })
            .collect()
    }

    #[test]
    fn what_is_written_down_is_read_again_and_nothing_else_is() {
        all();
        for odd in [
            "",
            "route",
            "route x 1.2.3.4/32",
            "route 3 1.2.3.4",
            "route 3 1.2.3.4/32 via",
            "route 3 1.2.3.4/32 over 1.2.3.4",
            "rule table 3",
            "rule from 1.2.3.4/32",
            "rule from 1.2.3.4/32 table x",
            "rules from 1.2.3.4/32 table 3",
        ] {
            assert_eq!(Marked::read(odd), None, "{odd}");
        }
    }

    /// What the kernel lists is what it was told, with what it has added.
    #[test]
    fn each_is_found_in_the_kernels_list_and_only_with_our_mark() {
        for one in all() {
            match one {
                Marked::Route(link, route) => {
                    let mut message = route_message(link, &route);
                    message.attributes.push(RouteAttribute::Priority(1024));
                    let listed = marked_route(&message).expect("ours");
                    assert!(listed.is_as(&one), "{listed} {one}");
                    message.header.protocol = RouteProtocol::Static;
                    assert_eq!(marked_route(&message), None);
                }
                Marked::Rule(rule) => {
                    let mut message = rule_message(&rule);
                    if rule.priority.is_none() {
                        message.attributes.push(RuleAttribute::Priority(32765));
                    }
                    let listed = marked_rule(&message).expect("ours");
                    assert!(listed.is_as(&one), "{listed} {one}");
                    message
                        .attributes
                        .retain(|a| !matches!(a, RuleAttribute::Protocol(_)));
                    assert_eq!(marked_rule(&message), None);
                }
            }
        }
        let all = all();
        for (a, one) in all.iter().enumerate() {
            for (b, other) in all.iter().enumerate() {
                assert_eq!(one.is_same(other), a == b, "{one} {other}");
            }
        }
    }

    #[test]
    fn only_a_place_that_nobody_wanted_is_as_good_as_any() {
        let rule =
            |rest: &str| Marked::read(&format!("rule from 10.0.0.0/8 {rest}")).expect("a rule");
        let (any, first, second) = (
            rule("table 7"),
            rule("table 7 priority 500"),
            rule("table 7 priority 501"),
        );
        assert!(first.is_as(&any) && second.is_as(&any) && first.is_as(&first));
        assert!(!first.is_as(&second));
        // What a reload compares: a place that is given from now on is a change.
        assert!(!any.is_same(&first) && !first.is_same(&any) && any.is_same(&any));
        for other in [rule("table 8"), rule("to 10.0.0.0/8 table 7")] {
            assert!(!first.is_as(&other), "{other}");
        }
        assert!(rule("to 0.0.0.0/0 table 7").is_same(&any));
    }
}
