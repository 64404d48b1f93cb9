//! `balance` and what tunes it: how servers are chosen.

use super::{near, num};
use crate::diag::Fault;
use crate::draft::Draft;
use crate::line::Line;
use crate::units;
use model::{Balance, HashFunction, HashKind, HashMethod, PreserveAffinity};
use std::sync::Arc;

/// The names of algorithms, HAProxy's first.
const NAMES: [&str; 21] = [
    "roundrobin",
    "static-rr",
    "leastconn",
    "first",
    "sticky",
    "source",
    "uri",
    "url_param",
    "hdr",
    "random",
    "hash",
    "rdp-cookie",
    "response-time",
    "fastest",
    "weighted-response-time",
    "agent",
    "bandwidth",
    "maglev",
    "priority",
    "log-hash",
    "log-sticky",
];

/// `balance ALGORITHM [ARGUMENTS]`.
pub(super) fn balance(d: &mut Draft, l: &mut Line<'_>) -> Result<(), Fault> {
    d.back.min_active = None;
    let mut at = 0;
    if l.arg(0) == "priority" {
        d.back.min_active = Some(1);
        at = 1;
        if l.arg(1) == "min-active" {
            d.back.min_active = Some(num(l, 2, 1, 1 << 20)?);
            at = 3;
        }
        if l.arg(at) == "priority" {
            return l.fail(at, "name the algorithm within a level, such as leastconn");
        }
    }
    d.back.balance = algorithm(l, at)?;
    Ok(())
}

/// The algorithm whose name is the argument at `at`; round robin where there is none.
fn algorithm(l: &mut Line<'_>, at: usize) -> Result<Balance, Fault> {
    let name = l.arg(at);
    let end = name.find('(').unwrap_or(name.len());
    let (bare, argument) = name.split_at(end);
    let argument = argument.strip_prefix('(').and_then(|a| a.strip_suffix(')'));
    let takes_words = matches!(bare, "uri" | "url_param" | "hdr" | "hash" | "maglev");
    if !takes_words && !bare.is_empty() {
        l.surplus(at + 1);
    }
    let takes_argument = matches!(bare, "hdr" | "random" | "rdp-cookie");
    if end < name.len() && NAMES.contains(&bare) && !(takes_argument && argument.is_some()) {
        let message = format!("'{name}' is not understood: write '{bare}' without parentheses");
        return l.fail(at, message);
    }
    Ok(match bare {
        "" if name.is_empty() => Balance::RoundRobin,
        "roundrobin" => Balance::RoundRobin,
        "static-rr" => Balance::StaticRr,
        "leastconn" => Balance::LeastConn,
        "first" => Balance::First,
        "sticky" => Balance::Sticky,
        "source" => Balance::Source,
        "response-time" => Balance::ResponseTime,
        "fastest" => Balance::Fastest,
        "weighted-response-time" => Balance::WeightedResponseTime,
        "agent" => Balance::Agent,
        "bandwidth" => Balance::Bandwidth,
        "random" => {
            let draws = match argument {
                None | Some("") => 2,
                Some(n) => l.map(at, units::number(n, 1, 1000))? as u32,
            };
            Balance::Random { draws }
        }
        "uri" => uri(l, at)?,
        "url_param" => url_param(l, at)?,
        "hdr" => header(l, at, argument.unwrap_or_default())?,
        "rdp-cookie" if argument == Some("") => {
            return l.fail(
                at,
                "'rdp-cookie()' wants a cookie's name, or no parentheses",
            );
        }
        "rdp-cookie" => Balance::RdpCookie {
            name: argument.unwrap_or("mstshash").into(),
        },
        "hash" => {
            if l.arg(at + 1).is_empty() {
                return l.fail(at, "'balance hash' wants an expression, such as 'hash src'");
            }
            Balance::Hash(expressions(l, at + 1)?)
        }
        "maglev" => Balance::Maglev(expressions(l, at + 1)?),
        "log-hash" | "log-sticky" => {
            let message = format!(
                "'{bare}' chooses among log servers in 'mode log', which mulgil does not have: use 'hash' or 'sticky'"
            );
            return l.fail(at, message);
        }
        other => return l.fail(at, near("algorithm", other, &NAMES)),
    })
}

/// The expressions from `at` on; their values are hashed together.
fn expressions(l: &Line<'_>, at: usize) -> Result<Arc<[Arc<rules::Expr>]>, Fault> {
    (at..l.args().len()).map(|at| l.expression(at)).collect()
}

/// `uri [len N] [depth N] [whole] [path-only]`.
fn uri(l: &Line<'_>, start: usize) -> Result<Balance, Fault> {
    let (mut len, mut depth, mut whole, mut path_only) = (None, None, false, false);
    let mut at = start + 1;
    while !l.arg(at).is_empty() {
        match l.arg(at) {
            "len" => {
                len = Some(num(l, at + 1, 1, 1 << 20)?);
                at += 1;
            }
            "depth" => {
                depth = Some(num(l, at + 1, 1, 1 << 20)?);
                at += 1;
            }
            "whole" => whole = true,
            "path-only" => path_only = true,
            other => {
                let names = ["len", "depth", "whole", "path-only"];
                return l.fail(at, near("balance uri word", other, &names));
            }
        }
        at += 1;
    }
    Ok(Balance::Uri {
        len,
        depth,
        whole,
        path_only,
    })
}

/// `url_param NAME [check_post [N]]`; the number is of older versions and without effect (manual).
fn url_param(l: &mut Line<'_>, at: usize) -> Result<Balance, Fault> {
    let name = l.arg(at + 1);
    if name.is_empty() {
        return l.fail(at, "'balance url_param' wants a parameter's name");
    }
    let check_post = match l.arg(at + 2) {
        "" => false,
        "check_post" => true,
        other => {
            let message = near("balance url_param word", other, &["check_post"]);
            return l.fail(at + 2, message);
        }
    };
    if !l.arg(at + 3).is_empty() {
        num(l, at + 3, 1, u32::MAX.into())?;
    }
    l.surplus(at + 4);
    Ok(Balance::UrlParam {
        name: name.into(),
        check_post,
    })
}

/// `hdr(NAME) [use_domain_only]`.
fn header(l: &mut Line<'_>, at: usize, name: &str) -> Result<Balance, Fault> {
    if name.is_empty() {
        return l.fail(at, "'balance hdr' wants a header's name, such as hdr(host)");
    }
    let use_domain_only = match l.arg(at + 1) {
        "" => false,
        "use_domain_only" => true,
        other => {
            let message = near("balance hdr word", other, &["use_domain_only"]);
            return l.fail(at + 1, message);
        }
    };
    l.surplus(at + 2);
    Ok(Balance::Header {
        name: name.into(),
        use_domain_only,
    })
}

/// `hash-type METHOD [FUNCTION [MODIFIER]]`.
pub(super) fn hash_type(d: &mut Draft, l: &mut Line<'_>) -> Result<(), Fault> {
    l.surplus(3);
    d.back.hash_method = match l.arg(0) {
        "map-based" => HashMethod::MapBased,
        "consistent" => HashMethod::Consistent,
        other => return l.fail(0, near("hash method", other, &["map-based", "consistent"])),
    };
    let kind = match l.arg(1) {
        "" | "sdbm" => HashKind::Sdbm,
        "djb2" => HashKind::Djb2,
        "crc32" => HashKind::Crc32,
        "none" => HashKind::None,
        "wt6" => {
            let message = "'wt6' is a hash function that is described nowhere, so mulgil has it not: use sdbm, djb2, crc32 or none";
            return l.fail(1, message);
        }
        other => {
            let names = ["sdbm", "djb2", "crc32", "none"];
            return l.fail(1, near("hash function", other, &names));
        }
    };
    let avalanche = match l.arg(2) {
        // Consistent hashing without a function named is sdbm with avalanche (manual).
        "" => l.arg(1).is_empty() && d.back.hash_method == HashMethod::Consistent,
        "avalanche" => true,
        other => return l.fail(2, near("hash modifier", other, &["avalanche"])),
    };
    d.back.hash_function = HashFunction { kind, avalanche };
    Ok(())
}

/// `hash-preserve-affinity always|maxconn|maxqueue`.
pub(super) fn preserve_affinity(d: &mut Draft, l: &mut Line<'_>) -> Result<(), Fault> {
    l.exactly(1, "always, maxconn or maxqueue")?;
    d.back.preserve_affinity = match l.arg(0) {
        "always" => PreserveAffinity::Always,
        "maxconn" => PreserveAffinity::Maxconn,
        "maxqueue" => PreserveAffinity::Maxqueue,
        other => {
            let names = ["always", "maxconn", "maxqueue"];
            return l.fail(0, near("way to keep affinity", other, &names));
        }
    };
    Ok(())
}
