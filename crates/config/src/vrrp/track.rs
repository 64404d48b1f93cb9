//! A `track` line.

use super::VrrpDraft;
use super::words::{duration, interface};
use crate::diag::Fault;
use crate::line::Line;
use crate::units;
use model::{Script, Track, Tracked};
use std::sync::Arc;
use std::time::Duration;

/// `track KIND WHAT [weight N] …`.
pub fn track(d: &mut VrrpDraft, l: &mut Line<'_>) -> Result<(), Fault> {
    let kinds = ["interface", "frontend", "backend", "script", "file"];
    let kind = l.arg(0);
    if kind.is_empty() {
        return l.fail(0, format!("'track' wants one of {}", kinds.join(", ")));
    }
    if !kinds.contains(&kind) {
        return l.fail(0, crate::keyword::near("kind", kind, &kinds));
    }
    if l.arg(1).is_empty() {
        return l.fail(0, format!("'track {kind}' wants a name after it"));
    }
    let mut weight = None;
    let mut script = Script {
        command: l.arg(1).into(),
        inter: Duration::from_secs(1),
        timeout: Duration::from_secs(5),
        rise: 1,
        fall: 1,
    };
    let mut at = 2;
    while !l.arg(at).is_empty() {
        let (word, value) = (l.arg(at), l.arg(at + 1));
        let known: &[&str] = match kind {
            "script" => &["weight", "inter", "timeout", "rise", "fall"],
            _ => &["weight"],
        };
        if !known.contains(&word) {
            return l.fail(at, crate::keyword::near("word", word, known));
        }
        if value.is_empty() {
            return l.fail(at, format!("'{word}' wants a value after it"));
        }
        let positive = |t: Duration| match t.is_zero() {
            true => Err(format!("'{value}' is no time to wait: use more than 0")),
            false => Ok(t),
        };
        let time = || l.map(at + 1, duration(value).and_then(positive));
        let count = || l.map(at + 1, units::number(value, 1, 1000));
        match word {
            "weight" => {
                let number = value.parse::<i32>().ok();
                let Some(n) = number.filter(|n| (-253..=253).contains(n) && *n != 0) else {
                    return l.fail(
                        at + 1,
                        format!("'{value}' is no weight: -253 to 253, but not 0"),
                    );
                };
                weight = Some(n);
            }
            "inter" => script.inter = time()?,
            "timeout" => script.timeout = time()?,
            "rise" => script.rise = count()? as u32,
            _ => script.fall = count()? as u32,
        }
        at += 2;
    }
    let name: Arc<str> = l.arg(1).into();
    let what = match kind {
        "interface" => Tracked::Interface(interface(l, 1)?),
        "frontend" | "backend" => {
            let front = kind == "frontend";
            d.names.push((front, Arc::clone(&name), l.place(1)));
            if front {
                Tracked::Frontend(name)
            } else {
                Tracked::Backend(name)
            }
        }
        "script" => Tracked::Script(script),
        _ => Tracked::File(name),
    };
    d.vrrp.tracks.push(Track { what, weight });
    Ok(())
}
