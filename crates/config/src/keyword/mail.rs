//! `email-alert …` (manual section 4.2).

use super::{Keyword, keyword};
use crate::diag::Fault;
use crate::draft::sections::*;
use crate::line::Line;
use std::sync::Arc;

pub(super) static MAIL_KEYWORDS: &[Keyword] = &[
    keyword!(
        "email-alert from",
        ALL,
        "ADDRESS",
        "balancer@example.com",
        "who mails about servers are from",
        |d, l| {
            d.email.from = Some(address(l)?);
            Ok(())
        }
    ),
    keyword!(
        "email-alert level",
        ALL,
        "LEVEL",
        "notice",
        "what is less grave is not mailed",
        |d, l| {
            l.exactly(1, "a level")?;
            d.email.level = Some(crate::log::level(l, 0)?);
            Ok(())
        }
    ),
    keyword!(
        "email-alert mailers",
        ALL,
        "SECTION",
        "post",
        "who sends mails about servers on",
        |d, l| {
            l.exactly(1, "the name of a 'mailers' section")?;
            d.email.mailers = Some(l.arg(0).into());
            Ok(())
        }
    ),
    keyword!(
        "email-alert myhostname",
        ALL,
        "NAME",
        "lb.example.com",
        "how we introduce ourselves to mailers",
        |d, l| {
            d.email.hostname = Some(address(l)?);
            Ok(())
        }
    ),
    keyword!(
        "email-alert to",
        ALL,
        "ADDRESS",
        "operator@example.com",
        "who gets mails about servers",
        |d, l| {
            d.email.to = Some(address(l)?);
            Ok(())
        }
    ),
];

/// A word that goes to a mailer as it is: nothing in it may end a line there.
fn address(l: &Line<'_>) -> Result<Arc<str>, Fault> {
    l.exactly(1, "an address")?;
    let text = l.arg(0);
    match text
        .bytes()
        .any(|b| b.is_ascii_control() || b"<> ".contains(&b))
    {
        true => l.fail(0, format!("'{text}' is no address of a mail")),
        false => Ok(text.into()),
    }
}
