//! The `mailers` section, and what `email-alert` lines come to (manual section 3.6).

use super::Loader;
use super::resolvers::Unnamed;
use super::section::check_name;
use crate::address::{self, Purpose};
use crate::diag::{Fault, Severity};
use crate::draft::Draft;
use crate::line::Line;
use crate::units;
use model::{Address, EmailAlert, Host, Mailers, PortSpec};
use std::net::SocketAddr;
use std::sync::Arc;

/// A line of the section.
pub(super) fn line(section: &mut Mailers, l: &mut Line<'_>) -> Result<(), Fault> {
    match l.words.first().map_or("", |w| w.text.as_str()) {
        "mailer" => mailer(section, l),
        "timeout" if l.arg(0) == "mail" => {
            l.exactly(2, "'mail' and a time, such as 'timeout mail 10s'")?;
            section.timeout = l.map(1, units::time(l.arg(1), 1_000))?;
            Ok(())
        }
        "timeout" => l.fail(0, crate::keyword::near("timeout", l.arg(0), &["mail"])),
        other => {
            let message =
                format!("unknown keyword '{other}' in 'mailers': use mailer or timeout mail");
            Err(Fault::at(0, message))
        }
    }
}

fn mailer(section: &mut Mailers, l: &mut Line<'_>) -> Result<(), Fault> {
    let (name, text) = (l.arg(0), l.arg(1));
    l.exactly(2, "<name> <address>:<port>, such as 10.0.0.25:25")?;
    l.map(0, check_name("name", name))?;
    let source: &dyn crate::source::Source = match model::names_service(text) {
        true => &Unnamed(l.source),
        false => l.source,
    };
    let (address, _) = l.map(1, address::parse(text, Purpose::Connect, None, source))?;
    match address {
        Address::Inet {
            host: Host::Ip(ip),
            port: PortSpec::Fixed(port),
            ..
        } => {
            section
                .mailers
                .push((name.into(), SocketAddr::new(ip, port)));
            Ok(())
        }
        Address::Inet {
            host: Host::Ip(ip), ..
        } => l.fail(1, format!("'{text}' has no port: write {ip}:25")),
        _ => l.fail(
            1,
            format!("'{text}' is no Internet address that mail could go to"),
        ),
    }
}

/// What the `email-alert` lines of a proxy say so far.
#[derive(Clone, Default)]
pub struct EmailDraft {
    pub mailers: Option<Arc<str>>,
    pub from: Option<Arc<str>>,
    pub to: Option<Arc<str>>,
    pub hostname: Option<Arc<str>>,
    pub level: Option<model::LogLevel>,
}

impl Loader<'_> {
    /// The mails that a proxy sends; says what is missing for them.
    pub(super) fn email_alert(&mut self, draft: &Draft) -> Option<Arc<EmailAlert>> {
        let place = draft.marks.get("email-alert")?;
        let email = &draft.email;
        let (Some(mailers), Some(from), Some(to)) = (&email.mailers, &email.from, &email.to) else {
            let message = format!(
                "'{}' sends no mail: that wants all of 'email-alert mailers', 'email-alert from' and 'email-alert to'",
                draft.name
            );
            self.at(place, Severity::Warning, message);
            return None;
        };
        let Some(section) = self.config.mailers.get(mailers) else {
            let known = self.config.mailers.keys().map(|k| &**k);
            let message = match rules::nearest(mailers, known) {
                Some(near) => format!("no 'mailers {mailers}': did you mean '{near}'?"),
                None => format!("no 'mailers {mailers}': add that section"),
            };
            self.at(place, Severity::Error, message);
            return None;
        };
        Some(Arc::new(EmailAlert {
            mailers: Arc::clone(section),
            from: Arc::clone(from),
            to: Arc::clone(to),
            hostname: email.hostname.clone(),
            level: email.level.unwrap_or(model::LogLevel::Alert),
        }))
    }
}
