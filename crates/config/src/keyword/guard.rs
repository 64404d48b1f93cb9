//! `guard`: what is not let in, in packet mode.

use super::{Keyword, keyword, near};
use crate::diag::Fault;
use crate::draft::Draft;
use crate::draft::sections::ALL;
use crate::line::Line;
use crate::units;
use model::{GuardLimit, LimitOf, LimitWhat, SynCookies};
use rules::{Match, Matcher, Type};
use std::sync::Arc;

/// The keyword of guards.
pub(super) static GUARD_KEYWORDS: &[Keyword] = &[keyword!(
    "guard",
    ALL,
    "deny FILE | allow FILE | limit source|service packets|syns|bytes RATE [burst N] | syn-cookies [safe-reset|transparent] [above RATE] [key FILE] | tcp-flags",
    "deny blocked.lst",
    "packets that are dropped before anything else is done with them",
    guard
)];

/// SYNs a second without proof that are no pressure, where `above` says nothing.
const CALM: u64 = 1000;

/// More a second is no limit: nanoseconds and their parts have to tell them apart.
const FASTEST: u64 = 1_000_000_000;
const FASTEST_BYTES: u64 = 1 << 40;

fn guard(d: &mut Draft, l: &mut Line<'_>) -> Result<(), Fault> {
    match l.arg(0) {
        "deny" => {
            let list = addresses(l)?;
            d.guard.deny.push(list);
        }
        "allow" => {
            let list = addresses(l)?;
            d.guard.allow.push(list);
        }
        "limit" => {
            let limit = limit(l)?;
            d.guard.limit(limit);
        }
        "syn-cookies" => d.guard.cookies = Some(cookies(l)?),
        "tcp-flags" => {
            l.exactly(1, "nothing after 'tcp-flags'")?;
            d.guard.flags = true;
        }
        other => {
            let kinds = ["deny", "allow", "limit", "syn-cookies", "tcp-flags"];
            return l.fail(0, near("guard", other, &kinds));
        }
    }
    Ok(())
}

/// The file of addresses and networks in the argument after the first. It is an ACL's file, too, so that
/// `add acl` and its like change it.
fn addresses(l: &Line<'_>) -> Result<Arc<Matcher>, Fault> {
    l.exactly(
        2,
        "'deny' or 'allow' and a file of addresses and networks, one a line",
    )?;
    let lists = &l.bases.lists;
    let read = |path: &str| l.source.read(path);
    let list = lists.file(l.arg(1), false, true, &read);
    let list = l.map(1, list.map_err(|e| format!("'{}': {e}", l.arg(1))))?;
    if list.has_values() {
        let message = format!(
            "'{}' is the file of a map: name one with an address or a network in each line",
            l.arg(1)
        );
        return l.fail(1, message);
    }
    lists.shown_as_acl(&list);
    let matcher = list.matcher(Match::Ip, false, Type::Any);
    let matcher = matcher.map_err(|(at, fault)| {
        format!(
            "entry {} of '{}': {fault}: write an address or a network",
            at + 1,
            l.arg(1)
        )
    });
    l.map(1, matcher)
}

/// `limit source|service packets|syns|bytes RATE [burst N]`.
fn limit(l: &Line<'_>) -> Result<GuardLimit, Fault> {
    let of = match l.arg(1) {
        "source" => LimitOf::Source,
        "service" => LimitOf::Service,
        other => return l.fail(1, near("whose limit", other, &["source", "service"])),
    };
    let what = match l.arg(2) {
        "packets" => LimitWhat::Packets,
        "syns" => LimitWhat::Syns,
        "bytes" => LimitWhat::Bytes,
        other => return l.fail(2, near("limit", other, &["packets", "syns", "bytes"])),
    };
    let number = |at: usize| match what {
        LimitWhat::Bytes => units::size(l.arg(at)).and_then(|n| match n {
            1..=FASTEST_BYTES => Ok(n),
            _ => Err(format!("{n} is out of range: 1 to {FASTEST_BYTES}")),
        }),
        _ => units::number(l.arg(at), 1, FASTEST),
    };
    let rate = l.map(3, number(3))?;
    let burst = match l.arg(4) {
        "" => rate,
        "burst" if l.arg(5).is_empty() => {
            return l.fail(4, "'burst' wants a number, such as 'burst 200'");
        }
        "burst" => l.map(5, number(5))?,
        other => return l.fail(4, near("word after the rate", other, &["burst"])),
    };
    let words = if l.arg(4).is_empty() { 4 } else { 6 };
    l.exactly(words, "a limit, its rate and 'burst N'")?;
    // A frame may hold as much as one packet can; less would never come through.
    let least = if what == LimitWhat::Bytes { 65_536 } else { 1 };
    Ok(GuardLimit {
        of,
        what,
        rate,
        burst: burst.max(least),
    })
}

/// `syn-cookies [safe-reset|transparent] [above RATE] [key FILE]`.
fn cookies(l: &Line<'_>) -> Result<SynCookies, Fault> {
    let mut cookies = SynCookies {
        above: CALM,
        transparent: false,
        key: None,
    };
    let mut at = 1;
    while at < l.args().len() {
        match l.arg(at) {
            word @ ("safe-reset" | "transparent") => {
                cookies.transparent = word == "transparent";
                at += 1;
                continue;
            }
            "above" => cookies.above = l.map(at + 1, units::number(l.arg(at + 1), 0, FASTEST))?,
            "key" => cookies.key = Some(l.map(at + 1, key(l, l.arg(at + 1)))?),
            other => {
                return l.fail(
                    at,
                    near(
                        "word for cookies",
                        other,
                        &["safe-reset", "transparent", "above", "key"],
                    ),
                );
            }
        }
        at += 2;
    }
    Ok(cookies)
}

/// A key that machines share: 32 hexadecimal digits in a file.
fn key(l: &Line<'_>, file: &str) -> Result<[u8; 16], String> {
    if file.is_empty() {
        return Err("'key' wants the name of a file".into());
    }
    let bytes = l.source.read(file).map_err(|e| format!("'{file}': {e}"))?;
    let key = rules::unhex(bytes.trim_ascii());
    key.and_then(|k| k.try_into().ok()).ok_or_else(|| {
        format!(
            "'{file}' holds no key: write 32 hexadecimal digits, such as 'openssl rand -hex 16' prints"
        )
    })
}
