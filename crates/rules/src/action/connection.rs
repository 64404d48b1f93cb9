//! Actions on the connections of a request: addresses, times, marks, a pause.

use super::RuleSet::{self, HttpRequest, HttpResponse, TcpRequestContent, TcpResponseContent};
use super::words::{Words, millis};
use super::{Action, ActionDef};
use crate::Ctx;
use crate::error::ParseError;
use crate::expr::Expr;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

const REQUEST: [RuleSet; 2] = [HttpRequest, TcpRequestContent];
const BOTH: [RuleSet; 2] = [HttpRequest, HttpResponse];

/// What a rule says about the connections.
#[derive(Clone, Debug)]
pub(crate) enum ConnectionChange {
    Src(Expr),
    SrcPort(Expr),
    Dst(Expr),
    DstPort(Expr),
    Timeout(Which, Amount),
    Retries(Amount),
    BackTos(Amount),
    BackMark(Amount),
}

/// A time that `set-timeout` sets.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Which {
    Client,
    Connect,
    Queue,
    Server,
    Tarpit,
    Tunnel,
}

const WHICH: [(&str, Which); 6] = [
    ("client", Which::Client),
    ("connect", Which::Connect),
    ("queue", Which::Queue),
    ("server", Which::Server),
    ("tarpit", Which::Tarpit),
    ("tunnel", Which::Tunnel),
];

/// A number that is said, or found out.
#[derive(Clone, Debug)]
pub(crate) enum Amount {
    Fixed(i64),
    Found(Box<Expr>),
}

impl Amount {
    fn of(&self, cx: &Ctx<'_>) -> Option<i64> {
        match self {
            Amount::Fixed(n) => Some(*n),
            Amount::Found(expr) => expr.eval(cx)?.to_int(),
        }
    }

    /// The next word where `read` knows it, or an expression.
    fn parse(
        w: &mut Words<'_>,
        read: impl FnOnce(&str) -> Option<i64>,
    ) -> Result<Amount, ParseError> {
        let word = w.expect("a value or an expression")?;
        let starts_number = word.starts_with(|c: char| c.is_ascii_digit());
        match read(word) {
            Some(n) => Ok(Amount::Fixed(n)),
            None if starts_number => w.fail(format!("'{word}' is no value that fits here")),
            None => {
                w.at -= 1;
                Ok(Amount::Found(Box::new(w.rest_expr()?)))
            }
        }
    }
}

fn change(change: Result<ConnectionChange, ParseError>) -> Result<Action, ParseError> {
    Ok(Action::ChangeConnection(Box::new(change?)))
}

/// A number up to `most`, decimal or `0x…`.
fn number(most: u32) -> impl FnOnce(&str) -> Option<i64> {
    move |text| {
        let n = match text.strip_prefix("0x") {
            Some(digits) => u32::from_str_radix(digits, 16),
            None => text.parse(),
        };
        n.ok().filter(|n| *n <= most).map(i64::from)
    }
}

pub(super) static ACTIONS: &[ActionDef] = &[
    ActionDef {
        name: "close",
        sets: &[TcpResponseContent],
        args: "",
        doc: "let pass what the server said and close its connection",
        parse: |_, _| Ok(Action::CloseServer),
    },
    ActionDef {
        name: "pause",
        sets: &[HttpRequest],
        args: "TIME|EXPR",
        doc: "go on with the rules after a time",
        parse: |w, _| {
            Ok(Action::Pause(Amount::parse(w, |text| {
                millis(text).and_then(|ms| i64::try_from(ms).ok())
            })?))
        },
    },
    ActionDef {
        name: "set-bc-mark",
        sets: &REQUEST,
        args: "N|EXPR",
        doc: "the firewall's mark of what is sent to the server",
        parse: |w, _| change(Amount::parse(w, number(u32::MAX)).map(ConnectionChange::BackMark)),
    },
    ActionDef {
        name: "set-bc-tos",
        sets: &REQUEST,
        args: "N|EXPR",
        doc: "the type of service of what is sent to the server",
        parse: |w, _| change(Amount::parse(w, number(255)).map(ConnectionChange::BackTos)),
    },
    ActionDef {
        name: "set-dst",
        sets: &REQUEST,
        args: "EXPR",
        doc: "the address the client connected to, for all that follows",
        parse: |w, _| change(w.rest_expr().map(ConnectionChange::Dst)),
    },
    ActionDef {
        name: "set-dst-port",
        sets: &REQUEST,
        args: "EXPR",
        doc: "the port the client connected to, for all that follows",
        parse: |w, _| change(w.rest_expr().map(ConnectionChange::DstPort)),
    },
    ActionDef {
        name: "set-retries",
        sets: &REQUEST,
        args: "N|EXPR",
        doc: "how often a failed connection is tried again, up to 100",
        parse: |w, _| change(Amount::parse(w, number(100)).map(ConnectionChange::Retries)),
    },
    ActionDef {
        name: "set-src",
        sets: &REQUEST,
        args: "EXPR",
        doc: "the client's address, for all that follows",
        parse: |w, _| change(w.rest_expr().map(ConnectionChange::Src)),
    },
    ActionDef {
        name: "set-src-port",
        sets: &REQUEST,
        args: "EXPR",
        doc: "the client's port, for all that follows",
        parse: |w, _| change(w.rest_expr().map(ConnectionChange::SrcPort)),
    },
    ActionDef {
        name: "set-timeout",
        sets: &BOTH,
        args: "client|connect|queue|server|tarpit|tunnel TIME|EXPR",
        doc: "how long to be patient with this request",
        parse: |w, _| {
            let name = w.expect("the name of a timeout")?;
            let Some((_, which)) = WHICH.iter().find(|(n, _)| *n == name) else {
                let names = WHICH.map(|(n, _)| n).join(", ");
                return w.fail(format!("'{name}' is no timeout of a request: use {names}"));
            };
            let time = Amount::parse(w, |text| {
                millis(text)
                    .filter(|ms| *ms > 0)
                    .and_then(|ms| i64::try_from(ms).ok())
            });
            change(time.map(|time| ConnectionChange::Timeout(*which, time)))
        },
    },
];

/// Milliseconds of a `pause`; none where the expression has no value.
pub(super) fn pause(amount: &Amount, cx: &Ctx<'_>) -> Option<u64> {
    amount
        .of(cx)
        .and_then(|ms| u64::try_from(ms).ok())
        .filter(|ms| *ms > 0)
}

impl ConnectionChange {
    pub(super) fn apply(&self, cx: &Ctx<'_>) {
        let now = cx.stream.overrides.give();
        let ip = |expr: &Expr| expr.eval(cx)?.to_ip();
        let port = |expr: &Expr| u16::try_from(expr.eval(cx)?.to_int()?).ok();
        // The port stays with a new address, and the address with a new port.
        let of = |old: Option<SocketAddr>, ip: Option<IpAddr>, port: Option<u16>| {
            let port = port.or(old.map(|a| a.port()));
            let ip = ip.or(old.map(|a| a.ip()));
            let ip = ip.unwrap_or(Ipv4Addr::UNSPECIFIED.into());
            Some(SocketAddr::new(ip, port.unwrap_or(0)))
        };
        match self {
            ConnectionChange::Src(expr) => {
                if let Some(ip) = ip(expr) {
                    now.src.set(of(cx.src(), Some(ip), None));
                }
            }
            ConnectionChange::SrcPort(expr) => {
                if let Some(port) = port(expr) {
                    now.src.set(of(cx.src(), None, Some(port)));
                }
            }
            ConnectionChange::Dst(expr) => {
                if let Some(ip) = ip(expr) {
                    now.dst.set(of(cx.dst(), Some(ip), None));
                }
            }
            ConnectionChange::DstPort(expr) => {
                if let Some(port) = port(expr) {
                    now.dst.set(of(cx.dst(), None, Some(port)));
                }
            }
            ConnectionChange::Timeout(which, time) => {
                let ms = time.of(cx).and_then(|ms| u64::try_from(ms).ok());
                let Some(time) = ms.filter(|ms| *ms > 0).map(Duration::from_millis) else {
                    return;
                };
                let cell = match which {
                    Which::Client => &now.client_timeout,
                    Which::Connect => &now.connect_timeout,
                    Which::Queue => &now.queue_timeout,
                    Which::Server => &now.server_timeout,
                    Which::Tarpit => &now.tarpit_timeout,
                    Which::Tunnel => &now.tunnel_timeout,
                };
                cell.set(Some(time));
            }
            ConnectionChange::Retries(n) => {
                let n = n.of(cx).and_then(|n| u32::try_from(n).ok());
                if let Some(n) = n.filter(|n| *n <= 100) {
                    now.retries.set(Some(n));
                }
            }
            ConnectionChange::BackTos(n) => {
                let tos = n.of(cx).and_then(|n| u8::try_from(n).ok());
                now.bc_tos.set(tos.or(now.bc_tos.get()));
            }
            ConnectionChange::BackMark(n) => {
                let mark = n.of(cx).and_then(|n| u32::try_from(n).ok());
                now.bc_mark.set(mark.or(now.bc_mark.get()));
            }
        }
    }
}
