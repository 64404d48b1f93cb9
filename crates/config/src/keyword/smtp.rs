//! Keywords of `mode smtp`.

use super::{Keyword, keyword, near, num};
use crate::draft::sections::*;
use crate::units;
use std::sync::Arc;

/// What may be announced by `smtp-extensions`.
const EXTENSIONS: [&str; 5] = ["SIZE", "8BITMIME", "ENHANCEDSTATUSCODES", "DSN", "SMTPUTF8"];

/// What only conversations of SMTP have.
pub(super) static SMTP_KEYWORDS: &[Keyword] = &[
    keyword!(
        "smtp-name",
        FRONT,
        "NAME",
        "mail.example.org",
        "the name that clients of SMTP are greeted with; the machine's own by default",
        |d, l| {
            l.exactly(1, "a name, such as mail.example.org")?;
            let good = |b: u8| b.is_ascii_alphanumeric() || b"-_.[]:".contains(&b);
            if !l.arg(0).bytes().all(good) || l.arg(0).is_empty() {
                return l.fail(
                    0,
                    format!(
                        "'{}' is no name of a machine, such as mail.example.org",
                        l.arg(0)
                    ),
                );
            }
            d.front.smtp.name = Some(l.arg(0).into());
            Ok(())
        }
    ),
    keyword!(
        "smtp-banner",
        FRONT,
        "TEXT",
        "'ESMTP no spam'",
        "what is said behind that name; ESMTP by default",
        |d, l| {
            l.exactly(1, "a text in quotes")?;
            let text = l.arg(0);
            if text.is_empty() || !text.bytes().all(|b| matches!(b, 32..=126)) || text.len() > 400 {
                return l.fail(
                    0,
                    "a greeting is one line of at most 400 plain characters: shorten it, or leave the others out",
                );
            }
            d.front.smtp.banner = text.into();
            Ok(())
        }
    ),
    keyword!(
        "smtp-extensions",
        FRONT,
        "none | NAME [NAME]*",
        "SIZE 8BITMIME DSN",
        "what is announced to clients of SMTP, which all servers must know; SIZE 8BITMIME ENHANCEDSTATUSCODES by default",
        |d, l| {
            let mut names = Vec::new();
            if l.args().is_empty() {
                return l.fail(
                    0,
                    format!(
                        "'smtp-extensions' wants none, or some of {}",
                        EXTENSIONS.join(", ")
                    ),
                );
            }
            if l.arg(0) == "none" {
                l.exactly(1, "nothing after 'none'")?;
                d.front.smtp.extensions = names;
                return Ok(());
            }
            for (at, word) in l.texts(0).into_iter().enumerate() {
                let name = word.to_ascii_uppercase();
                if !EXTENSIONS.contains(&name.as_str()) {
                    return l.fail(at, near("extension", word, &EXTENSIONS));
                }
                names.push(Arc::from(name));
            }
            d.front.smtp.extensions = names;
            Ok(())
        }
    ),
    keyword!(
        "smtp-size",
        FRONT,
        "BYTES",
        "50m",
        "the longest message that is taken from clients of SMTP",
        |d, l| {
            l.exactly(1, "a number of bytes, such as 50m")?;
            let size = l.map(0, units::size(l.arg(0)))?;
            d.front.smtp.size = Some(size).filter(|n| *n > 0);
            Ok(())
        }
    ),
    keyword!(
        "smtp-max-errors",
        FRONT,
        "N",
        "20",
        "refused commands after which a client of SMTP is sent away; 20 by default",
        |d, l| {
            l.exactly(1, "a number")?;
            d.front.smtp.max_errors = num(l, 0, 1, 1 << 30)?;
            Ok(())
        }
    ),
    keyword!(
        "smtp-max-rcpts",
        FRONT,
        "N",
        "100",
        "the most recipients of a message, at least 100 (RFC 5321); 1000 by default",
        |d, l| {
            l.exactly(1, "a number")?;
            d.front.smtp.max_rcpts = num(l, 0, 100, 1 << 30)?;
            Ok(())
        }
    ),
    keyword!(
        "smtp-bare-newline",
        FRONT,
        "refuse|normalize",
        "normalize",
        "what becomes of lines of SMTP that end in a line feed alone; refuse by default",
        |d, l| {
            l.exactly(1, "refuse or normalize")?;
            d.front.smtp.normalize = match l.arg(0) {
                "refuse" => false,
                "normalize" => true,
                other => return l.fail(0, near("word", other, &["refuse", "normalize"])),
            };
            Ok(())
        }
    ),
    keyword!(
        "smtp-auth",
        FRONT,
        "MECHANISM [MECHANISM]*",
        "PLAIN LOGIN",
        "ways to log in that are announced once the conversation is encrypted; a server that rules choose without a recipient is asked",
        |d, l| {
            if l.args().is_empty() {
                return l.fail(0, "'smtp-auth' wants ways to log in, such as PLAIN LOGIN");
            }
            let mut names: Vec<Arc<str>> = Vec::new();
            for (at, word) in l.texts(0).into_iter().enumerate() {
                let good = |b: u8| b.is_ascii_alphanumeric() || b"-_".contains(&b);
                if word.is_empty() || word.len() > 20 || !word.bytes().all(good) {
                    return l.fail(
                        at,
                        format!("'{word}' is no way to log in, such as PLAIN or SCRAM-SHA-256"),
                    );
                }
                let name = word.to_ascii_uppercase();
                if name.ends_with("-PLUS") || name == "EXTERNAL" {
                    return l.fail(
                        at,
                        format!("'{word}' is bound to the TLS of one connection, which ends here: leave it out"),
                    );
                }
                names.push(Arc::from(name));
            }
            d.front.smtp.auth = names;
            Ok(())
        }
    ),
    keyword!(
        no "smtp-require-tls",
        FRONT,
        "",
        "",
        "clients of SMTP must encrypt the conversation before they send mail",
        |d, l| {
            l.exactly(0, "nothing")?;
            d.front.smtp.require_tls = !l.negated;
            Ok(())
        }
    ),
];
