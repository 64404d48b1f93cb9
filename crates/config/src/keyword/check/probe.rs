//! Options for checks in a protocol that is known, and for programs that check.

use super::near;
use crate::diag::Fault;
use crate::draft::{CheckChoice, Draft};
use crate::line::Line;
use model::{CheckKind, Probe};
use std::sync::Arc;

fn choose(d: &mut Draft, kind: CheckKind) {
    d.check.choice = Some(CheckChoice::Kind(kind));
}

/// An option without arguments that means this kind of check.
pub fn of_kind(d: &mut Draft, l: &mut Line<'_>, kind: CheckKind) -> Result<(), Fault> {
    l.surplus(1);
    choose(d, kind);
    Ok(())
}

/// The same for a conversation.
pub fn of_probe(d: &mut Draft, l: &mut Line<'_>, probe: Probe) -> Result<(), Fault> {
    of_kind(d, l, CheckKind::Probe(probe))
}

/// `option smtpchk [HELO|EHLO DOMAIN]`.
pub fn smtpchk(d: &mut Draft, l: &mut Line<'_>) -> Result<(), Fault> {
    l.surplus(3);
    let hello: Arc<str> = match (l.arg(1), l.arg(2)) {
        (word @ ("HELO" | "EHLO"), domain) if !domain.is_empty() => {
            format!("{word} {domain}").into()
        }
        // As HAProxy has it, anything else is the usual greeting.
        _ => "HELO localhost".into(),
    };
    if hello.bytes().any(|b| b.is_ascii_control()) {
        return l.fail(2, "a domain has no control characters: write a host name");
    }
    choose(d, CheckKind::Probe(Probe::Smtp(hello)));
    Ok(())
}

/// A user's name that fits into the messages of the protocols.
fn user(l: &Line<'_>, at: usize) -> Result<Arc<str>, Fault> {
    match l.arg(at) {
        "" => l.fail(at, format!("'{}' wants 'user' and a name", l.arg(0))),
        name if name.len() > 255 => l.fail(at, "this name is too long: at most 255 bytes"),
        name => Ok(name.into()),
    }
}

/// `option mysql-check [user NAME [post-41 | pre-41]]`.
pub fn mysql_check(d: &mut Draft, l: &mut Line<'_>) -> Result<(), Fault> {
    let (mut name, mut old) = (None, false);
    match l.arg(1) {
        "" => {}
        "user" => {
            name = Some(user(l, 2)?);
            old = match l.arg(3) {
                "" | "post-41" => false,
                "pre-41" => true,
                other => return l.fail(3, near("version", other, &["post-41", "pre-41"])),
            };
        }
        other => return l.fail(1, near("mysql-check word", other, &["user"])),
    }
    l.surplus(4);
    choose(d, CheckKind::Probe(Probe::MySql { user: name, old }));
    Ok(())
}

/// `option pgsql-check user NAME`.
pub fn pgsql_check(d: &mut Draft, l: &mut Line<'_>) -> Result<(), Fault> {
    match l.arg(1) {
        "user" => {
            l.surplus(3);
            let user = user(l, 2)?;
            choose(d, CheckKind::Probe(Probe::PgSql(user)));
            Ok(())
        }
        "" => l.fail(0, "'pgsql-check' wants 'user' and a name"),
        other => l.fail(1, near("pgsql-check word", other, &["user"])),
    }
}

/// `option grpc-check [service NAME]`.
pub fn grpc_check(d: &mut Draft, l: &mut Line<'_>) -> Result<(), Fault> {
    let service: Arc<str> = match (l.arg(1), l.arg(2)) {
        ("", _) => "".into(),
        ("service", "") => return l.fail(1, "'service' wants a name, such as shop.Cart"),
        ("service", name) => name.into(),
        (other, _) => return l.fail(1, near("grpc-check word", other, &["service"])),
    };
    l.surplus(3);
    choose(d, CheckKind::Grpc(service));
    Ok(())
}

/// `option external-check`.
pub fn external_check(d: &mut Draft, l: &mut Line<'_>) -> Result<(), Fault> {
    l.surplus(1);
    d.check.choice = Some(CheckChoice::External);
    d.check.external = Some(l.place_of_keyword());
    Ok(())
}
