//! `connect` of `http-check` and `tcp-check`.

use super::{Kind, near, push, value};
use crate::address::{self, Purpose};
use crate::diag::Fault;
use crate::draft::Draft;
use crate::line::Line;
use model::{Address, CheckAction, CheckConnect, CheckPort, Host, PortSpec};

const WORDS: [&str; 11] = [
    "default",
    "port",
    "addr",
    "send-proxy",
    "via-socks4",
    "ssl",
    "sni",
    "alpn",
    "linger",
    "proto",
    "comment",
];

pub(super) fn connect(d: &mut Draft, l: &mut Line<'_>, kind: Kind) -> Result<(), Fault> {
    first_is_connect(d, l, kind)?;
    let mut connect = CheckConnect::default();
    let mut comment = None;
    let mut at = 0;
    while !l.arg(at).is_empty() {
        let mut taken = 2;
        match l.arg(at) {
            "port" => connect.port = Some(port(l, at)?),
            "addr" => {
                value(l, at)?;
                connect.addr = Some(place(l, at + 1)?);
            }
            "sni" => connect.sni = Some(value(l, at)?.into()),
            "alpn" => {
                let names = value(l, at)?.split(',').filter(|n| !n.is_empty());
                connect.alpn = names.map(Into::into).collect();
                if connect.alpn.iter().any(|p| &**p == "h2") {
                    return l.fail(
                        at + 1,
                        "checks speak no HTTP/2: leave h2 out of the protocols",
                    );
                }
            }
            "proto" => protocol(l, at, kind)?,
            "comment" => comment = Some(value(l, at)?.into()),
            flag => {
                taken = 1;
                match flag {
                    "default" => connect.default = true,
                    "send-proxy" => connect.send_proxy = true,
                    "via-socks4" => connect.via_socks4 = true,
                    "ssl" => connect.ssl = true,
                    "linger" => connect.linger = true,
                    other => {
                        let what = format!("{} connect word", kind.word());
                        return l.fail(at, near(&what, other, &WORDS));
                    }
                }
            }
        }
        at += taken;
    }
    if (connect.sni.is_some() || !connect.alpn.is_empty()) && !connect.ssl && !connect.default {
        return l.fail(
            0,
            "'sni' and 'alpn' are of TLS, which this connection does not speak: add ssl",
        );
    }
    if connect.ssl {
        d.check.tls.get_or_insert_with(|| l.place_of_keyword());
    }
    push(d, kind, CheckAction::Connect(Box::new(connect)), comment);
    Ok(())
}

/// Where one rule connects, the first must, so that it is clear what goes where; and an HTTP
/// request must be judged before the next connection.
fn first_is_connect(d: &mut Draft, l: &Line<'_>, kind: Kind) -> Result<(), Fault> {
    let steps = &kind.rules(d).steps;
    let mut speaking = steps
        .iter()
        .filter(|s| !matches!(s.action, CheckAction::SetVar(_) | CheckAction::UnsetVar(_)));
    let first = speaking.next();
    if first.is_some_and(|s| !matches!(s.action, CheckAction::Connect(_))) {
        return l.fail(
            0,
            format!(
                "the first rule must connect where one does: put a '{} connect' before all others",
                kind.word()
            ),
        );
    }
    let last = speaking.next_back();
    if kind == Kind::Http && last.is_some_and(|s| matches!(s.action, CheckAction::Request(_))) {
        return l.fail(
            0,
            "the request before is not judged: put an 'http-check expect' before this line",
        );
    }
    Ok(())
}

fn port(l: &Line<'_>, at: usize) -> Result<CheckPort, Fault> {
    let text = value(l, at)?;
    if !text.starts_with(|c: char| c.is_ascii_digit()) {
        return l.expression(at + 1).map(CheckPort::Expr);
    }
    match text.parse::<u16>() {
        Ok(port) if port > 0 => Ok(CheckPort::Fixed(port)),
        _ => l.fail(
            at + 1,
            format!("'{text}' is no port: use 1 to 65535, or an expression"),
        ),
    }
}

fn place(l: &Line<'_>, at: usize) -> Result<Address, Fault> {
    let parsed = address::parse(l.arg(at), Purpose::Connect, None, l.source);
    match l.map(at, parsed)?.0 {
        address @ Address::Inet {
            host: Host::Ip(_),
            port: PortSpec::None | PortSpec::Fixed(_),
            ..
        } => Ok(address),
        _ => l.fail(
            at,
            format!("'{}' is no IP address that can be checked", l.arg(at)),
        ),
    }
}

/// The protocol that a connection speaks, which the kind of rules has settled already.
fn protocol(l: &Line<'_>, at: usize, kind: Kind) -> Result<(), Fault> {
    let (only, has) = match kind {
        Kind::Http => ("h1", "HTTP/1"),
        Kind::Tcp | Kind::Udp => ("none", "bytes as they are"),
    };
    match value(l, at)? {
        name if name == only => Ok(()),
        other => l.fail(
            at + 1,
            format!("'{other}' is no protocol for this: checks send {has} here, 'proto {only}'"),
        ),
    }
}
