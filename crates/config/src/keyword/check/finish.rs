//! From the lines about checks to what the checks of a backend do, once all lines are read.

use crate::draft::{CheckChoice, CheckDraft, RequestDraft};
use model::{
    Address, Bind, CheckAction, CheckConnect, CheckExpect, CheckKind, CheckScript, CheckStatus,
    CheckStep, External, Host, HttpCheckSend, Match, PortSpec,
};
use std::sync::Arc;

impl RequestDraft {
    /// The request that this says, and for the rest `base`, and for the rest the manual.
    pub(super) fn over(self, base: &RequestDraft) -> HttpCheckSend {
        let mut headers = base.headers.clone();
        headers.extend(self.headers);
        HttpCheckSend {
            method: self
                .method
                .or_else(|| base.method.clone())
                .unwrap_or_else(|| "OPTIONS".into()),
            uri: self
                .uri
                .or_else(|| base.uri.clone())
                .unwrap_or_else(|| super::fixed("/")),
            version: self
                .version
                .or_else(|| base.version.clone())
                .unwrap_or_else(|| "HTTP/1.0".into()),
            headers,
            body: self.body.or_else(|| base.body.clone()),
        }
    }
}

/// What the check settings amount to.
///
/// `binds` are those of the section, for programs that are told of the first.
pub fn finish(check: CheckDraft, binds: &[Bind]) -> CheckKind {
    let implicit = |action| CheckStep {
        action,
        comment: None,
        number: 0,
    };
    let connect = |linger| {
        implicit(CheckAction::Connect(Box::new(CheckConnect {
            default: true,
            linger,
            ..CheckConnect::default()
        })))
    };
    match check.choice {
        None => CheckKind::Tcp,
        Some(CheckChoice::Kind(kind)) => kind,
        // Without a command it has been reported by now.
        Some(CheckChoice::External) => CheckKind::External(External {
            command: check.command.unwrap_or_else(|| "".into()),
            path: check.path,
            proxy: binds.iter().find_map(|b| place(&b.address)),
        }),
        Some(CheckChoice::Udp) => CheckKind::Udp(CheckScript {
            http: false,
            steps: check.udp.steps,
        }),
        Some(CheckChoice::Tcp) => {
            let mut steps = check.tcp.steps;
            if steps.is_empty() {
                // As checks without this option end, too.
                let linger = true;
                steps.push(connect(linger));
            } else if !steps.iter().any(is_connect) {
                steps.insert(0, connect(false));
            }
            CheckKind::Script(CheckScript { http: false, steps })
        }
        Some(CheckChoice::Http) => {
            let mut steps = check.http.steps;
            if !steps.iter().any(is_connect) {
                steps.insert(0, connect(false));
            }
            let first = check.http.first.unwrap_or_default().over(&check.option);
            let first = CheckAction::Request(Box::new(first));
            match steps.iter_mut().find(|s| is_request(s)) {
                Some(step) => step.action = first,
                None => {
                    let at = steps.iter().position(is_connect).map_or(0, |at| at + 1);
                    steps.insert(at, implicit(first));
                }
            }
            let last = steps.iter().rposition(is_request).unwrap_or(0);
            let judged = steps.iter().skip(last);
            let mut judged = judged.filter(|s| matches!(s.action, CheckAction::Expect(_)));
            if judged.next().is_none() {
                steps.push(implicit(CheckAction::Expect(Box::new(good_status()))));
            }
            CheckKind::Script(CheckScript { http: true, steps })
        }
    }
}

/// An address as a program is told of it.
fn place(address: &Address) -> Option<(Arc<str>, Option<u16>)> {
    let ip = |host: &Host| match host {
        Host::Ip(ip) => ip.to_string(),
        Host::Any | Host::Name(_) => "0.0.0.0".into(),
        Host::Any6 => "::".into(),
    };
    match address {
        Address::Inet {
            host,
            port: PortSpec::Fixed(port) | PortSpec::Range(port, _),
            ..
        } => Some((ip(host).into(), Some(*port))),
        Address::Unix { path, .. } => Some((Arc::clone(path), None)),
        _ => None,
    }
}

fn is_connect(step: &CheckStep) -> bool {
    matches!(step.action, CheckAction::Connect(_))
}

fn is_request(step: &CheckStep) -> bool {
    matches!(step.action, CheckAction::Request(_))
}

/// What is expected when nothing is said.
fn good_status() -> CheckExpect {
    CheckExpect {
        what: Match::Status(vec![(200, 399)]),
        negated: false,
        min_recv: None,
        ok: CheckStatus::L7Ok,
        error: None,
        timeout: CheckStatus::L7TimeOut,
        on_success: None,
        on_error: None,
        code: None,
    }
}
