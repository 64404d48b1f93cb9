//! The words of a `server` line about the sockets of its connections.

use super::ServerWord;
use crate::address::{self, Purpose};
use crate::units;

/// All of them. The place given to a function is that of its argument.
pub static SERVER_SOCKET_WORDS: &[ServerWord] = &[
    word!(
        "cc",
        "NAME",
        "reno",
        "the congestion control of its connections",
        |r, l, at| {
            r.server.congestion = Some(crate::bind::congestion(l, at)?);
            Ok(())
        }
    ),
    word!(
        "namespace",
        "NAME",
        "blue",
        "connect from this network namespace",
        |r, l, at| {
            r.server.namespace = Some(crate::bind::namespace(l, at)?);
            Ok(())
        }
    ),
    word!(
        "socks4",
        "ADDRESS:PORT",
        "127.0.0.1:1080",
        "connections go through this SOCKS proxy (version 4)",
        |r, l, at| {
            let parsed = address::parse(l.arg(at), Purpose::Connect, None, l.source);
            let (address, _) = l.map(at, parsed)?;
            let Some(proxy) = address.socket() else {
                return l.fail(
                    at,
                    format!("'{}' is not where a SOCKS proxy could be: write its address and port, such as 127.0.0.1:1080", l.arg(at)),
                );
            };
            r.server.socks4 = Some(proxy);
            Ok(())
        }
    ),
    word!(
        "tcp-md5sig",
        "WORD",
        "secret",
        "segments are signed with this word (RFC 2385)",
        |r, l, at| {
            r.server.signed = Some(crate::bind::signature(l, at)?);
            Ok(())
        }
    ),
    word!("tcp-ut", "TIME", "30s", "TCP user timeout", |r, l, at| {
        r.server.tcp_user_timeout = l.map(at, units::timeout(l.arg(at)))?;
        Ok(())
    }),
    word!(
        "tfo",
        "",
        "",
        "TCP fast open: the first bytes go with the first packet",
        |r, _, _| {
            r.server.tfo = true;
            Ok(())
        }
    ),
    word!("no-tfo", "", "", "no TCP fast open", |r, _, _| {
        r.server.tfo = false;
        Ok(())
    }),
];
