//! `log` lines.

use crate::address::{self, Purpose};
use crate::diag::Fault;
use crate::line::Line;
use crate::units;
use model::{Address, Host, LogFacility, LogFormatKind, LogLevel, LogSetting, LogTarget};
use std::sync::Arc;

pub const LEVELS: [(&str, LogLevel); 8] = [
    ("emerg", LogLevel::Emerg),
    ("alert", LogLevel::Alert),
    ("crit", LogLevel::Crit),
    ("err", LogLevel::Err),
    ("warning", LogLevel::Warning),
    ("notice", LogLevel::Notice),
    ("info", LogLevel::Info),
    ("debug", LogLevel::Debug),
];

const FACILITIES: [&str; 24] = [
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "auth2",
    "ftp", "ntp", "audit", "alert", "cron2", "local0", "local1", "local2", "local3", "local4",
    "local5", "local6", "local7",
];

const FORMATS: [(&str, LogFormatKind); 8] = [
    ("local", LogFormatKind::Local),
    ("rfc3164", LogFormatKind::Rfc3164),
    ("rfc5424", LogFormatKind::Rfc5424),
    ("priority", LogFormatKind::Priority),
    ("short", LogFormatKind::Short),
    ("timed", LogFormatKind::Timed),
    ("iso", LogFormatKind::Iso),
    ("raw", LogFormatKind::Raw),
];

/// Reads `log TARGET [len N] [format F] [sample R:N] FACILITY [LEVEL [MINLEVEL]]`.
pub fn parse(line: &Line<'_>) -> Result<Arc<LogSetting>, Fault> {
    if line.args().is_empty() {
        return line.fail(
            0,
            "'log' wants a target and a facility, such as log 127.0.0.1:514 local0",
        );
    }
    let target = match line.arg(0) {
        "stdout" => LogTarget::Stdout,
        "stderr" => LogTarget::Stderr,
        text if text.starts_with("ring@") => {
            return line.fail(
                0,
                "'ring@' is a log target of HAProxy that mulgil does not have yet",
            );
        }
        text => {
            let parsed = address::parse(text, Purpose::Datagram, Some(514), line.source);
            match line.map(0, parsed)?.0 {
                Address::Inet {
                    host: Host::Name(name),
                    ..
                } => {
                    return line.fail(
                        0,
                        format!("'{name}' has no address here: name an IP address, a socket's path, stdout or stderr"),
                    );
                }
                address => LogTarget::Address(address),
            }
        }
    };
    let mut setting = LogSetting {
        target,
        max_len: 1024,
        format: LogFormatKind::Rfc3164,
        sample: None,
        facility: LogFacility(0),
        level: LogLevel::Debug,
        min_level: LogLevel::Emerg,
    };
    let mut at = 1;
    loop {
        match line.arg(at) {
            "len" => {
                setting.max_len =
                    line.map(at + 1, units::number(line.arg(at + 1), 80, 65535))? as usize;
            }
            "format" => {
                let name = line.arg(at + 1);
                setting.format = match FORMATS.iter().find(|(n, _)| *n == name) {
                    Some((_, format)) => *format,
                    None => {
                        let names: Vec<_> = FORMATS.iter().map(|(n, _)| *n).collect();
                        return line.fail(
                            at + 1,
                            format!("unknown log format '{name}': use {}", names.join(", ")),
                        );
                    }
                };
            }
            "sample" => setting.sample = Some(line.map(at + 1, sample(line.arg(at + 1)))?),
            "profile" => {
                return line.fail(
                    at,
                    "'profile' is a log option of HAProxy that mulgil does not have yet",
                );
            }
            _ => break,
        }
        at += 2;
    }
    let name = line.arg(at);
    match FACILITIES.iter().position(|f| *f == name) {
        Some(n) => setting.facility = LogFacility(n as u8),
        None if name.is_empty() => {
            return line.fail(
                at,
                "'log' wants a facility after its target, such as local0",
            );
        }
        None => {
            let near = rules::nearest(name, FACILITIES);
            return line.fail(at, match near {
                Some(near) => format!("unknown log facility '{name}': did you mean '{near}'?"),
                None => format!("unknown log facility '{name}': use daemon, local0 to local7 or another of syslog's"),
            });
        }
    }
    if !line.arg(at + 1).is_empty() {
        setting.level = level(line, at + 1)?;
    }
    if !line.arg(at + 2).is_empty() {
        setting.min_level = level(line, at + 2)?;
    }
    if !line.arg(at + 3).is_empty() {
        return line.fail(
            at + 3,
            format!(
                "'{}' is one word too many for 'log': remove it",
                line.arg(at + 3)
            ),
        );
    }
    Ok(Arc::new(setting))
}

pub(crate) fn level(line: &Line<'_>, at: usize) -> Result<LogLevel, Fault> {
    let name = line.arg(at);
    match LEVELS.iter().find(|(n, _)| *n == name) {
        Some((_, level)) => Ok(*level),
        None => {
            let names: Vec<_> = LEVELS.iter().map(|(n, _)| *n).collect();
            line.fail(
                at,
                format!("unknown log level '{name}': use {}", names.join(", ")),
            )
        }
    }
}

/// `1,3-4:10`.
fn sample(text: &str) -> Result<(Vec<(u32, u32)>, u32), String> {
    let bad = || format!("'{text}' is no sample, such as 1,3-4:10");
    let (ranges, size) = text.rsplit_once(':').ok_or_else(bad)?;
    let size = size
        .parse::<u32>()
        .ok()
        .filter(|n| *n > 0)
        .ok_or_else(bad)?;
    let ranges = ranges.split(',').map(|r| {
        let (low, high) = r.split_once('-').unwrap_or((r, r));
        let (low, high) = (low.parse().ok()?, high.parse().ok()?);
        (low >= 1 && low <= high && high <= size).then_some((low, high))
    });
    Ok((ranges.collect::<Option<Vec<_>>>().ok_or_else(bad)?, size))
}
