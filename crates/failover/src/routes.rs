//! Routes and rules that only the active router has. They carry our mark as the addresses do, by
//! which they are told from those that somebody else has set.

use crate::link::{MARK, Netlink};
use model::{VirtualAddress, VirtualRoute, VirtualRule};
use netlink_packet_core::{NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleHeader, RuleMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use std::io;
use std::net::IpAddr;

impl Netlink {
    /// Sets a route by a link. One that is there already stays as it is.
    pub fn add_route(&mut self, link: u32, route: &VirtualRoute) -> io::Result<()> {
        let request = RouteNetlinkMessage::NewRoute(message_of(link, route));
        let done = self.ask(request, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL);
        match done {
            Err(e) if e.raw_os_error() != Some(libc::EEXIST) => Err(e),
            _ => Ok(()),
        }
    }

    /// Removes a route, if it carries our mark.
    pub fn remove_route(&mut self, link: u32, route: &VirtualRoute) -> io::Result<()> {
        let request = RouteNetlinkMessage::DelRoute(message_of(link, route));
        match self.ask(request, NLM_F_ACK) {
            Err(e) if e.raw_os_error() != Some(libc::ESRCH) => Err(e),
            _ => Ok(()),
        }
    }

    /// Sets a rule. One that is there already stays as it is.
    pub fn add_rule(&mut self, rule: &VirtualRule) -> io::Result<()> {
        let request = RouteNetlinkMessage::NewRule(rule_message(rule));
        let done = self.ask(request, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL);
        match done {
            Err(e) if e.raw_os_error() != Some(libc::EEXIST) => Err(e),
            _ => Ok(()),
        }
    }

    /// Removes a rule, if it carries our mark.
    pub fn remove_rule(&mut self, rule: &VirtualRule) -> io::Result<()> {
        let request = RouteNetlinkMessage::DelRule(rule_message(rule));
        match self.ask(request, NLM_F_ACK) {
            Err(e) if e.raw_os_error() != Some(libc::ENOENT) => Err(e),
            _ => Ok(()),
        }
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
    let given = |n: Option<VirtualAddress>| n.filter(|n| n.prefix > 0).map(|n| n.ip);
    let all = &mut message.attributes;
    all.extend(given(rule.from).map(RuleAttribute::Source));
    all.extend(given(rule.to).map(RuleAttribute::Destination));
    all.extend(rule.priority.map(RuleAttribute::Priority));
    all.push(RuleAttribute::Table(rule.table));
    all.push(RuleAttribute::Protocol(RouteProtocol::Other(MARK)));
    message
}

fn message_of(link: u32, route: &VirtualRoute) -> RouteMessage {
    let table = route.table.unwrap_or(u32::from(RouteHeader::RT_TABLE_MAIN));
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
