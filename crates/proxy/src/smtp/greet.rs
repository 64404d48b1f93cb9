//! What is not about a message: the greeting, `EHLO`, `STARTTLS`.

use super::{Conversation, Login, Over};
use crate::prelude;
use crate::termination::{Phase, Termination};
use rules::SmtpInfo;
use std::sync::Arc;
use wire::smtp::Extension;

impl Conversation<'_> {
    /// The name we go by.
    fn name(&self) -> Arc<str> {
        match &self.settings().name {
            Some(name) => Arc::clone(name),
            None => self.worker.process.machine.hostname.as_str().into(),
        }
    }

    /// The first words.
    pub(super) fn banner(&mut self) {
        let text = format!("220 {} {}", self.name(), self.settings().banner);
        self.say(&text);
    }

    /// `EHLO` or `HELO`: forgets a message under way (RFC 5321 section 4.1.4).
    pub(super) async fn hello(&mut self, name: &[u8], extended: bool) {
        self.reset().await;
        // A server that was told another name is of no use.
        let renamed = self.facts().helo.as_deref().is_some_and(|old| old != name);
        if renamed || self.facts().extended != extended {
            self.drop_server();
            self.login = Login::None;
        }
        let facts = self.facts();
        facts.extended = extended;
        facts.helo = Some(name.into());
        let ours = self.name();
        if !extended {
            self.say(&format!("250 {ours}"));
            return;
        }
        let mut lines = vec![ours.to_string(), "PIPELINING".into()];
        for extension in Extension::ALL.into_iter().filter(|e| self.offers(*e)) {
            lines.push(match (extension, self.settings().size) {
                (Extension::Size, Some(most)) => format!("SIZE {most}"),
                (Extension::Auth, _) => format!("AUTH {}", self.settings().auth.join(" ")),
                _ => extension.name().into(),
            });
        }
        if self.acceptor().is_some() {
            lines.push("STARTTLS".into());
        }
        let last = lines.len() - 1;
        for (at, line) in lines.iter().enumerate() {
            let sign = if at == last { ' ' } else { '-' };
            self.say(&format!("250{sign}{line}"));
        }
    }

    /// What makes TLS of this connection, where it may still be asked for.
    fn acceptor(&self) -> Option<Arc<tls::Acceptor>> {
        if self.client.info.tls.is_some() {
            return None;
        }
        let options = self.client.bind()?;
        options.tls.clone().filter(|_| options.starttls)
    }

    /// `STARTTLS` (RFC 3207). Whatever was said before counts no more, and what was sent behind
    /// this command without waiting is thrown away: it came in clear text, from anybody.
    pub(super) async fn start_tls(&mut self) -> Result<(), Over> {
        let Some(acceptor) = self.acceptor() else {
            self.refuse("503 5.5.1 TLS is not offered here, or spoken already");
            return Ok(());
        };
        self.reset().await;
        self.drop_server();
        self.client.carry.clear();
        self.say("220 2.0.0 ready for TLS");
        self.flush().await?;
        let made = prelude::secure(self.worker, self.client, acceptor).await;
        made.map_err(|cause| Over(Termination::new(cause, Phase::Request)))?;
        *self.facts() = SmtpInfo::default();
        self.login = Login::None;
        Ok(())
    }
}
