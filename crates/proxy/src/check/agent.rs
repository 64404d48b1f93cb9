//! A server's agent: asked on a port of its own, it says weight and state (manual section 5.2,
//! `agent-check`).

use super::clock::Clock;
use super::dial::{self, Route};
use super::settle;
use crate::worker::Worker;
use model::AgentCheck;
use state::health::{CheckStatus, Finding};
use state::news::{Cause, Standing};
use state::{Admin, Backend, Server, Target};
use std::sync::Arc;
use std::time::Instant;
use wire::agent::{Reply, parse};

/// Bytes of an answer that are read.
const ANSWER: usize = 16 * 1024;

/// Connects, sends what there is to send, and reads to the end of the first line.
pub async fn ask(
    backend: &Backend,
    server: &Server,
    settings: &AgentCheck,
    clock: &Clock,
) -> Result<Vec<u8>, Finding> {
    let own = settings.addr.as_ref().and_then(Target::of);
    let target = match own.or_else(|| server.target().map(|t| (*t).clone())) {
        Some(target @ Target::Tcp { .. }) => target,
        // An agent of a server on a UNIX socket is on this machine.
        Some(_) => Target::Tcp {
            ip: std::net::Ipv4Addr::LOCALHOST.into(),
            port: model::PortSpec::None,
        },
        None => return Err(Finding::of(CheckStatus::SockErr).because("the server has no address")),
    };
    let route = Route {
        target,
        port: Some(settings.port),
        tls: None,
        send_proxy: None,
        socks4: None,
        silent: false,
    };
    let mut io = dial::connect(backend, server, &route, clock).await?;
    if let Some(text) = &settings.send {
        dial::send(&mut io, text.as_bytes()).await?;
    }
    let mut answer = Vec::new();
    while parse(&answer).is_none() && answer.len() < ANSWER {
        if !dial::receive(&mut io, &mut answer).await? {
            break;
        }
    }
    let silent = Finding::of(CheckStatus::L7Response);
    match answer.is_empty() {
        true => Err(silent.because("TCPCHK got an empty response at step 2")),
        false => Ok(answer),
    }
}

/// Does what the agent says.
pub fn take(
    worker: &Worker,
    backend: &Arc<Backend>,
    server: &Server,
    answer: Result<Vec<u8>, Finding>,
    begin: Instant,
) {
    let mut found = match &answer {
        Err(found) => found.clone(),
        Ok(bytes) => match parse(bytes) {
            None => {
                Finding::of(CheckStatus::L7Response).because("Ignoring incomplete line from agent")
            }
            Some(reply) => {
                obey(worker, backend, server, &reply);
                finding(&reply)
            }
        },
    };
    found.took = begin.elapsed();
    settle::agent(worker, backend, server, found);
}

/// Weight, limit and administrative state. In the same order as HAProxy: the state last.
fn obey(worker: &Worker, backend: &Arc<Backend>, server: &Server, reply: &Reply<'_>) {
    let before = Standing::of(backend, server);
    let old = (server.weight(), server.maxconn(), server.admin());
    if let Some(percent) = reply.percent {
        let initial = u64::from(server.settings().weight);
        let weight = (initial * u64::from(percent) / 100).min(256);
        server.set_weight(weight as u32);
    }
    if let Some(maxconn) = reply.maxconn {
        server.set_maxconn(maxconn);
    }
    let now = Instant::now();
    match reply.admin {
        None => {}
        Some(wire::agent::Admin::Ready) => server.make_ready(now),
        Some(wire::agent::Admin::Drain) => {
            server.administer(Admin::FORCED_MAINT, false, now);
            server.administer(Admin::FORCED_DRAIN, true, now);
        }
        Some(wire::agent::Admin::Maint) => {
            server.administer(Admin::FORCED_DRAIN, false, now);
            server.administer(Admin::FORCED_MAINT, true, now);
        }
    }
    if old != (server.weight(), server.maxconn(), server.admin()) {
        let process = &worker.process;
        process.changed(backend, server, before, Cause::Cli, now);
    }
}

/// What the answer says of the server's health, as the statistics tell it.
fn finding(reply: &Reply<'_>) -> Finding {
    if let Some((up, word)) = reply.state {
        let status = if up {
            CheckStatus::L7Ok
        } else {
            CheckStatus::L7Status
        };
        let detail = reply.why.filter(|w| !w.is_empty()).or(reply.unknown);
        let detail = detail.or(reply.warning);
        let detail = detail.map_or(String::new(), |d| format!(" ({d})"));
        return Finding::of(status)
            .with_code(0u32)
            .because(format!("via agent : {word}{detail}"));
    }
    let text = match (reply.unknown, reply.warning) {
        (Some(word), _) => format!("agent reports an error : {word}"),
        (None, Some(warning)) => format!("agent warns : {warning}"),
        (None, None) => String::new(),
    };
    Finding::of(CheckStatus::Checked).because(text)
}
