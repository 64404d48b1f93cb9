//! What a client of `mode smtp` has said. HAProxy knows no such mode.

use super::{FetchDef, fetch, int, truth};
use crate::args::NONE;
use crate::ctx::SmtpInfo;
use crate::{Ctx, Sample};
use std::borrow::Cow;

pub static TABLE: &[FetchDef] = &[
    fetch! { ["smtp.command"], NONE, Str, Request, "the command that is being judged: AUTH, MAIL or RCPT",
        "smtp.command" => "RCPT", |_, cx| Some(Sample::str(smtp(cx)?.command.as_bytes()))
    },
    fetch! { ["smtp.from"], NONE, Str, Request, "the sender's address; empty in reports of failures",
        "smtp.from" => "ann@One.example", |_, cx| text(&smtp(cx)?.from)
    },
    fetch! { ["smtp.from_domain"], NONE, Str, Request, "its domain in small letters",
        "smtp.from_domain" => "one.example", |_, cx| domain(&smtp(cx)?.from)
    },
    fetch! { ["smtp.helo"], NONE, Str, Request, "the name a client gives itself in HELO or EHLO",
        "smtp.helo" => "mail.one.example", |_, cx| text(&smtp(cx)?.helo)
    },
    fetch! { ["smtp.rcpt"], NONE, Str, Request, "the last recipient's address",
        "smtp.rcpt" => "bob@two.example", |_, cx| text(&smtp(cx)?.rcpt)
    },
    fetch! { ["smtp.rcpt_domain"], NONE, Str, Request, "its domain in small letters",
        "smtp.rcpt_domain" => "two.example", |_, cx| domain(&smtp(cx)?.rcpt)
    },
    fetch! { ["smtp.rcpts"], NONE, Int, Request, "recipients that were taken for this message",
        "smtp.rcpts" => "2", |_, cx| int(smtp(cx)?.rcpts)
    },
    fetch! { ["smtp.size"], NONE, Int, Request, "how long the client says the message is, bytes",
        "smtp.size" => "1024", |_, cx| int(i64::try_from(smtp(cx)?.size?).unwrap_or(i64::MAX))
    },
    fetch! { ["smtp.tls"], NONE, Bool, Request, "whether this conversation of SMTP is encrypted",
        "smtp.tls" => "0", |_, cx| smtp(cx).and(truth(cx.session.tls.is_some()))
    },
];

fn smtp<'s>(cx: &'s Ctx<'_>) -> Option<&'s SmtpInfo> {
    cx.stream.smtp.as_deref()
}

fn text(value: &Option<Box<[u8]>>) -> Option<Sample<'_>> {
    Some(Sample::str(value.as_deref()?))
}

/// What stands behind the last `@`: domains are the same in small letters and in capitals.
fn domain(value: &Option<Box<[u8]>>) -> Option<Sample<'_>> {
    let address = value.as_deref()?;
    let at = address.iter().rposition(|b| *b == b'@')?;
    let domain = address.get(at + 1..)?.to_ascii_lowercase();
    Some(Sample::Str(Cow::Owned(domain)))
}
