//! Checks that speak a server's own protocol: the conversation of `wire::probe` over a connection.

use super::clock::{Phase, Timeout};
use super::dial::{receive, send};
use super::scene::Scene;
use model::Probe;
use state::health::{CheckStatus, Finding};
use wire::probe::{Conversation, Next, Outcome, Question, Verdict};

/// Talks to the server until it is sure.
pub async fn run(scene: &Scene<'_>, probe: &Probe) -> Result<Finding, Finding> {
    let question = match probe {
        Probe::Redis => Question::Redis,
        Probe::Smtp(hello) => Question::Smtp(hello),
        Probe::MySql { user, old } => Question::MySql {
            user: user.as_deref(),
            old: *old,
        },
        Probe::PgSql(user) => Question::PgSql(user),
        Probe::Ldap => Question::Ldap,
        Probe::TlsHello => Question::TlsHello,
    };
    let mut io = scene.connect().await?;
    scene.clock.enter(Phase::Answer);
    if let Question::TlsHello = question {
        let status = Some(CheckStatus::L6TimeOut);
        let info = String::new();
        scene.clock.step(Timeout { status, info });
    }
    let (mut conversation, first) = Conversation::new(question);
    send(&mut io, &first).await?;
    let mut bytes = Vec::new();
    let mut begun = false;
    loop {
        bytes.clear();
        match receive(&mut io, &mut bytes).await {
            // It ends an answer that has begun.
            Err(found) if !begun => return Err(found),
            _ => {}
        }
        match conversation.hear(&bytes) {
            Next::More => begun = true,
            Next::Say(text) => {
                begun = false;
                send(&mut io, &text).await?;
            }
            Next::End(verdict) => return told(verdict),
        }
    }
}

fn told(verdict: Verdict) -> Result<Finding, Finding> {
    let found = |status| Finding::of(status).because(verdict.text.as_str());
    match verdict.outcome {
        Outcome::Passed => Ok(found(CheckStatus::L7Ok).with_code(verdict.code)),
        Outcome::Tls => Ok(found(CheckStatus::L6Ok)),
        Outcome::Status => Err(found(CheckStatus::L7Status).with_code(verdict.code)),
        Outcome::Invalid => Err(found(CheckStatus::L7Response)),
        Outcome::NoTls => Err(found(CheckStatus::L6Response)),
    }
}
