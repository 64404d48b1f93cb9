//! What concerns the connection to the control socket itself.

use super::Command;
use crate::cli::{Cli, Grave, Said, World, help};
use model::{CliLevel, ShowSeverity};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

pub(super) static COMMANDS: &[Command] = &[
    Command::new(
        &["expert-mode"],
        "expert-mode [on|off]",
        "allow commands for experts, or say whether they are allowed",
        CliLevel::Admin,
        |c, _, a, _| mode("expert-mode", &mut c.expert, a),
    ),
    Command::new(
        &["experimental-mode"],
        "experimental-mode [on|off]",
        "allow experimental commands, or say whether they are allowed",
        CliLevel::Admin,
        |c, _, a, _| mode("experimental-mode", &mut c.experimental, a),
    ),
    Command::new(
        &["help"],
        "help [<command>]",
        "list matching or all commands",
        CliLevel::User,
        |c, _, a, _| Said::message(Grave::Info, help(a, c.level(), false).trim_end()),
    ),
    Command::new(
        &["operator"],
        "operator",
        "lower the level of the current CLI session to operator",
        CliLevel::Operator,
        |c, _, _, _| {
            c.lower(CliLevel::Operator);
            Said::nothing()
        },
    ),
    Command::new(
        &["set", "anon"],
        "set anon on [<key>]|off",
        "hide names and addresses in what the current CLI session is answered",
        CliLevel::User,
        set_anon,
    ),
    Command::new(
        &["set", "anon", "global-key"],
        "set anon global-key <key>",
        "change the key that names are hidden by where none is given; 0 is as configured",
        CliLevel::Admin,
        |_, w, a, _| match a.first().and_then(|key| key.parse().ok()) {
            Some(key) => {
                w.process.set_anon_key(key);
                Said::nothing()
            }
            None => Said::fault("A key is expected: a number up to 4294967295."),
        },
    ),
    Command::new(
        &["set", "severity-output"],
        "set severity-output [none|number|string]",
        "set presence of severity level in feedback information",
        CliLevel::User,
        |c, _, a, _| {
            c.gravity = match a.first().copied() {
                Some("none") => ShowSeverity::None,
                Some("number") => ShowSeverity::Number,
                Some("string") => ShowSeverity::Name,
                _ => {
                    return Said::fault("one of 'none', 'number', 'string' is a required argument");
                }
            };
            Said::nothing()
        },
    ),
    Command::new(
        &["set", "timeout"],
        "set timeout [cli] <delay>",
        "change a timeout setting",
        CliLevel::User,
        set_timeout,
    ),
    Command::new(
        &["show", "anon"],
        "show anon",
        "tell whether names and addresses are hidden, and operators by which key",
        CliLevel::User,
        |c, _, _, _| {
            Said::data(match (c.anon, c.level()) {
                (None, _) => "Anonymized mode disabled\n".to_string(),
                (Some(_), CliLevel::User) => "Anonymized mode enabled\n".into(),
                (Some(key), _) => format!("Anonymized mode enabled\nKey : {key}\n"),
            })
        },
    ),
    Command::new(
        &["show", "cli", "level"],
        "show cli level",
        "display the level of the current CLI session",
        CliLevel::User,
        |c, _, _, _| Said::message(Grave::Info, name(c.level())),
    ),
    Command::new(
        &["show", "cli", "sockets"],
        "show cli sockets",
        "dump list of cli sockets",
        CliLevel::Operator,
        |_, w, _, _| {
            let sockets = w.sockets.iter();
            let lines = sockets.map(|(address, level)| format!("{address} {} all\n", name(*level)));
            Said::data(format!(
                "# socket lvl processes\n{}",
                lines.collect::<String>()
            ))
        },
    ),
    Command::new(
        &["user"],
        "user",
        "lower the level of the current CLI session to user",
        CliLevel::User,
        |c, _, _, _| {
            c.lower(CliLevel::User);
            Said::nothing()
        },
    ),
];

fn name(level: CliLevel) -> &'static str {
    match level {
        CliLevel::Admin => "admin",
        CliLevel::Operator => "operator",
        CliLevel::User => "user",
    }
}

fn mode(name: &str, on: &mut bool, args: &[&str]) -> Said {
    match args.first().copied() {
        None => {
            let state = if *on { "ON" } else { "OFF" };
            return Said::message(Grave::Info, format_args!("{name} is {state}"));
        }
        Some(word) => *on = word == "on",
    }
    Said::nothing()
}

fn set_anon(c: &mut Cli, w: &World<'_>, args: &[&str], _: &str) -> Said {
    match args {
        ["off"] => c.anon = None,
        ["on"] => {
            let keys = [w.process.anon_key(), w.generation.config.global.anon_key];
            let key = keys.into_iter().find(|key| *key != 0);
            // Any other number does where nobody wants to compare answers.
            c.anon = Some(key.unwrap_or_else(|| RandomState::new().build_hasher().finish() as u32));
        }
        ["on", key] => match key.parse() {
            Ok(key) => c.anon = Some(key),
            Err(_) => return Said::fault("A key is expected: a number up to 4294967295."),
        },
        _ => return Said::fault("'set anon' only supports 'on', 'off', and 'global-key'."),
    }
    Said::nothing()
}

fn set_timeout(c: &mut Cli, _: &World<'_>, args: &[&str], _: &str) -> Said {
    match args {
        ["cli", text, ..] => match seconds(text) {
            Some(timeout) => {
                c.timeout = Some(timeout);
                Said::nothing()
            }
            None => Said::fault("Invalid timeout value."),
        },
        ["cli"] => Said::fault("Expects an integer value."),
        _ => Said::fault("'set timeout' only supports 'cli'."),
    }
}

/// A time in seconds when no unit is given; at least a second.
pub(super) fn seconds(text: &str) -> Option<Duration> {
    let end = text.bytes().take_while(u8::is_ascii_digit).count();
    let n: u64 = text.get(..end)?.parse().ok()?;
    let time = match text.get(end..)? {
        "us" => Duration::from_micros(n),
        "ms" => Duration::from_millis(n),
        "" | "s" => Duration::from_secs(n),
        "m" => Duration::from_secs(n.checked_mul(60)?),
        "h" => Duration::from_secs(n.checked_mul(3600)?),
        "d" => Duration::from_secs(n.checked_mul(86_400)?),
        _ => return None,
    };
    let longest = Duration::from_secs(u32::MAX.into());
    (time >= Duration::from_secs(1) && time <= longest).then_some(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_of_the_conversation_is_in_seconds_and_at_least_one() {
        for (text, wanted) in [
            ("20", Some(20)),
            ("2m", Some(120)),
            ("3000ms", Some(3)),
            ("0", None),
            ("10ms", None),
            ("x", None),
            ("5y", None),
            ("99999999999999999999", None),
        ] {
            assert_eq!(seconds(text).map(|t| t.as_secs()), wanted, "{text}");
        }
    }
}
