//! `smtp-request` rules: whether a command is taken.

use super::{Conversation, Over};
use crate::socket;
use crate::termination::{Cause, Phase, Termination};
use rules::action::{Body, Effects, Reply, run};
use rules::{Ctx, LogLevelChange, NoTrace, Verdict};
use std::sync::Arc;

/// The longest text of a reply, bytes: a line may have 512 (RFC 5321 section 4.5.3.1.5).
const LONGEST_TEXT: usize = 500;

impl Conversation<'_> {
    /// Runs the rules for the command that the facts show; false: it was refused, and the client
    /// will be told so.
    pub(super) async fn judge(&mut self) -> Result<bool, Over> {
        let frontend = Arc::clone(&self.frontend);
        let rules = &frontend.side().smtp_request;
        if rules.is_empty() {
            return Ok(true);
        }
        let worker = self.worker;
        let generation = worker.generation();
        let now = worker.now();
        let client = &mut *self.client;
        let mut effects = Effects::default();
        let (refusal, rejected) = {
            let view = state::View {
                process: &worker.process,
                generation: &generation,
                now,
                tracked: Some(&client.tracked),
            };
            let mut cx = Ctx::bare(
                &client.info,
                &self.passage.info,
                worker.wall(now),
                &client.vars,
                &view,
                &worker.rng,
            );
            let verdict = run(rules, 0, &mut cx, &mut effects, &mut NoTrace);
            let rejected = matches!(verdict, Verdict::Reject);
            let refusal = match verdict {
                Verdict::Deny(reply) => Some((reply.status, text(reply, &cx))),
                _ => None,
            };
            (refusal, rejected)
        };
        self.passage.info.prioritise(&effects);
        if effects.log_level != LogLevelChange::Unchanged {
            self.passage.info.log_level = effects.log_level;
        }
        if refusal.is_none() && !rejected {
            return Ok(true);
        }
        frontend.counters().of(worker.id).dreq.add(1);
        self.trouble = Termination::new(Cause::Proxy, Phase::Request);
        if let Some(silence) = effects.silence {
            socket::silence(self.client.io.socket().raw(), silence);
            return Err(Over(self.trouble));
        }
        let (status, text) = refusal.unwrap_or((421, "4.7.1 refused by a rule".into()));
        self.status = Some(status);
        self.refuse(&format!("{status} {text}"));
        match status {
            // It says that the connection is about to close (RFC 5321 section 3.8).
            421 => Err(self.end().await),
            _ => Ok(false),
        }
    }
}

/// The text of a refusal: one line, whatever the rule made it from.
fn text(reply: &Reply, cx: &Ctx<'_>) -> String {
    let mut bytes = match &reply.body {
        Body::Fixed(text) => text.to_vec(),
        Body::Format(format) => {
            let mut out = Vec::new();
            format.render(cx, &mut out);
            out
        }
        _ => format!("{}.7.1 refused by a rule", reply.status / 100).into_bytes(),
    };
    bytes.truncate(LONGEST_TEXT);
    let text = String::from_utf8_lossy(&bytes);
    let shown = text.chars().map(|c| if c.is_control() { '?' } else { c });
    shown.collect()
}
