//! Actions, and rules made of them (manual section 4.4 of 3.x, `http-request` and so on in 2.6).

mod answer;
mod connection;
mod lists;
mod normalize;
mod parse;
mod resolve;
mod set;
mod stick;
mod table;
mod verdict;
mod words;

pub use answer::{Body, Redirect, Reply};
pub use resolve::Resolve;
pub use set::RuleSet;
pub use verdict::{Effects, LogLevelChange, Verdict};

use crate::condition::Cond;
use crate::ctx::Ctx;
use crate::expr::Expr;
use crate::logformat::LogFormat;
use crate::stick::{Change, Counter, Entry, Lasts, TableName};
use crate::trace::Tracer;
use crate::vars::{Condition, VarName};
use normalize::Normalizer;
use regex::bytes::Regex;

/// How `del-header -m` compares names.
#[derive(Clone, Debug)]
pub enum NameMatch {
    /// The name itself.
    Exact(Box<[u8]>),
    /// `beg`.
    Begins(Box<[u8]>),
    /// `end`.
    Ends(Box<[u8]>),
    /// `sub`.
    Contains(Box<[u8]>),
    /// `reg`.
    Regex(Regex),
}

/// What answers requests inside the proxy (`use-service`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// The statistics in the text format of Prometheus.
    PrometheusExporter,
}

impl Service {
    /// All of them.
    pub const ALL: [Service; 1] = [Service::PrometheusExporter];

    /// Its name in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Service::PrometheusExporter => "prometheus-exporter",
        }
    }
}

/// How a connection is dropped without the client's being told (`silent-drop`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Silence {
    /// Nothing is sent at all, where the system allows it.
    Complete,
    /// A reset is sent that passes so many routers.
    Reset(u8),
}

#[derive(Clone, Debug)]
pub(crate) enum Action {
    Allow,
    Deny(Box<Reply>),
    Tarpit(Box<Reply>),
    Return(Box<Reply>),
    Redirect(Box<Redirect>),
    Reject,
    CloseServer,
    SilentDrop(Silence),
    UseService(Service),
    SetHeader(Box<[u8]>, LogFormat),
    AddHeader(Box<[u8]>, LogFormat),
    DelHeader(NameMatch),
    ReplaceHeader(Box<[u8]>, Regex, LogFormat),
    ReplaceValue(Box<[u8]>, Regex, LogFormat),
    ReplaceUri(Regex, LogFormat),
    ReplacePath(Regex, LogFormat),
    ReplacePathq(Regex, LogFormat),
    SetMethod(LogFormat),
    SetUri(LogFormat),
    SetPath(LogFormat),
    SetPathq(LogFormat),
    SetQuery(LogFormat),
    SetStatus(u16, Option<Box<[u8]>>),
    SetVar(VarName, Vec<Condition>, Expr),
    SetVarFmt(VarName, Vec<Condition>, LogFormat),
    UnsetVar(VarName),
    /// With the answer to a target that is broken.
    Normalize(Normalizer, Box<Reply>),
    SetTos(u8),
    ExpectProxy,
    ExpectNetscaler,
    /// `switch-mode http`.
    SwitchMode,
    SetMark(u32),
    EarlyHint(Box<[u8]>, LogFormat),
    SetLogLevel(LogLevelChange),
    Capture(Expr, usize),
    CaptureTo(Expr, usize),
    DisableL7Retry,
    /// `wait-for-handshake`.
    WaitForHandshake,
    SetPriorityClass(Expr),
    SetPriorityOffset(Expr),
    WaitForBody {
        time_ms: u64,
        at_least: Option<u64>,
    },
    ChangeList(Box<lists::ListChange>),
    ChangeConnection(Box<connection::ConnectionChange>),
    Pause(connection::Amount),
    /// `track-sc0` and so on.
    Track(Box<Tracking>),
    /// `sc-inc-gpc0`, `sc-add-gpc` and so on: what is tracked under a number, a counter, by how
    /// much it grows.
    Count(usize, Counter, Amount),
    /// `sc-set-gpt0` and `sc-set-gpt`.
    Tag(usize, Counter, Amount),
    Resolve(Box<Resolve>),
    /// Accepted for what it means to others; nothing to do here.
    Nothing,
}

/// What a rule tracks.
#[derive(Clone, Debug)]
pub(crate) struct Tracking {
    number: usize,
    key: Expr,
    table: TableName,
    /// As long as the connection lasts.
    session: bool,
}

/// A number, or where it comes from.
#[derive(Clone, Debug)]
pub(crate) enum Amount {
    Fixed(u32),
    Of(Box<Expr>),
}

impl Amount {
    fn of(&self, cx: &Ctx<'_>) -> Option<u32> {
        match self {
            Amount::Fixed(n) => Some(*n),
            Amount::Of(expr) => Some(expr.eval(cx)?.to_int()? as u32),
        }
    }
}

impl Action {
    /// Whether no rule of the same set comes after it.
    fn decides(&self) -> bool {
        matches!(
            self,
            Action::Allow
                | Action::Deny(_)
                | Action::Tarpit(_)
                | Action::Return(_)
                | Action::Redirect(_)
                | Action::Reject
                | Action::CloseServer
                | Action::SwitchMode
                | Action::UseService(_)
        )
    }
}

/// One action of the language.
pub struct ActionDef {
    /// Its name.
    pub name: &'static str,
    /// Where it may stand.
    pub sets: &'static [RuleSet],
    /// Its arguments, for documentation.
    pub args: &'static str,
    /// One line.
    pub doc: &'static str,
    pub(crate) parse: words::ParseFn,
}

/// All actions.
pub fn actions() -> impl Iterator<Item = &'static ActionDef> {
    [table::ACTIONS, lists::ACTIONS, connection::ACTIONS]
        .into_iter()
        .flatten()
}

/// One rule: an action and when it is taken.
#[derive(Clone, Debug)]
pub struct Rule {
    pub(crate) action: Action,
    pub(crate) condition: Option<Cond>,
    /// Slots that `capture … len` needs, for the frontend to provide.
    pub capture_len: Option<usize>,
    /// The line it was read from, `file:number: text`, for `explain`; empty where there is none.
    pub line: std::sync::Arc<str>,
}

impl Rule {
    /// Whether it has a connection begin with a PROXY header.
    pub fn expects_proxy(&self) -> bool {
        matches!(self.action, Action::ExpectProxy)
    }

    /// Whether it has a session of bytes go on as one of HTTP.
    pub fn switches_mode(&self) -> bool {
        matches!(self.action, Action::SwitchMode)
    }

    /// The slot that this rule captures into, for the configuration to number.
    pub fn set_capture_slot(&mut self, slot: usize) {
        if let Action::Capture(_, at) = &mut self.action {
            *at = slot;
        }
    }

    /// The slot that it names to capture into.
    pub fn named_capture_slot(&self) -> Option<usize> {
        match self.action {
            Action::CaptureTo(_, slot) => Some(slot),
            _ => None,
        }
    }

    /// The `resolvers` section that it asks.
    pub fn resolvers(&self) -> Option<&str> {
        match &self.action {
            Action::Resolve(rule) => Some(&rule.resolvers),
            _ => None,
        }
    }

    /// Whether it needs the request's body.
    pub fn waits_for_body(&self) -> bool {
        matches!(self.action, Action::WaitForBody { .. })
    }
}

/// Notes by which rule something is waited for.
fn waits(cx: &Ctx<'_>, rule: &Rule) {
    let line = std::sync::Arc::clone(&rule.line);
    *cx.stream.overrides.give().waiting.borrow_mut() = Some(line);
}

/// Evaluates rules in order from index `from` on. Messages and variables are changed as it goes.
pub fn run<'r, T: Tracer>(
    rules: &'r [Rule],
    from: usize,
    cx: &mut Ctx<'_>,
    effects: &mut Effects,
    tracer: &mut T,
) -> Verdict<'r> {
    if from > 0 {
        cx.stream.overrides.waited();
    }
    for (index, rule) in rules.iter().enumerate().skip(from) {
        let matched = match &rule.condition {
            Some(condition) => condition.eval(cx, tracer),
            None => true,
        };
        tracer.rule(index, matched);
        if !matched {
            continue;
        }
        if rule.action.decides() {
            *cx.stream.overrides.last_rule.borrow_mut() = Some(std::sync::Arc::clone(&rule.line));
        }
        match &rule.action {
            Action::Allow => return Verdict::Allow,
            Action::Deny(reply) => return Verdict::Deny(reply),
            Action::Tarpit(reply) => return Verdict::Tarpit(reply),
            Action::Return(reply) => return Verdict::Return(reply),
            Action::Redirect(redirect) => {
                if !redirect.ignored(cx) {
                    return Verdict::Redirect(redirect);
                }
            }
            Action::Reject => return Verdict::Reject,
            Action::CloseServer => return Verdict::CloseServer,
            Action::SwitchMode => return Verdict::SwitchMode,
            Action::SilentDrop(silence) => {
                effects.silence = Some(*silence);
                return Verdict::Reject;
            }
            Action::UseService(service) => return Verdict::Service(*service),
            Action::Normalize(normalizer, refusal) => {
                if let Some(head) = cx.req.as_deref_mut() {
                    match normalizer.apply(head.target()) {
                        Ok(target) if target != head.target() => head.set_target(&target),
                        Ok(_) => {}
                        Err(_) => return Verdict::Deny(refusal),
                    }
                }
            }
            Action::Pause(time) => {
                if let Some(time_ms) = connection::pause(time, cx) {
                    waits(cx, rule);
                    return Verdict::Pause {
                        time_ms,
                        resume: index + 1,
                    };
                }
            }
            Action::WaitForBody { time_ms, at_least } => {
                waits(cx, rule);
                return Verdict::WaitForBody {
                    time_ms: *time_ms,
                    at_least: *at_least,
                    resume: index + 1,
                };
            }
            Action::Resolve(asked) => {
                let name = asked.name.eval(cx).map(|name| name.to_text().into_owned());
                if let Some(name) = name.and_then(|n| String::from_utf8(n).ok()) {
                    waits(cx, rule);
                    return Verdict::Resolve {
                        rule: asked,
                        name: name.into(),
                        resume: index + 1,
                    };
                }
            }
            action => apply(action, cx, effects),
        }
    }
    Verdict::Continue
}

fn apply(action: &Action, cx: &mut Ctx<'_>, effects: &mut Effects) {
    let render = |format: &LogFormat, cx: &Ctx<'_>| {
        let mut out = Vec::new();
        format.render(cx, &mut out);
        out
    };
    match action {
        Action::SetHeader(name, format) => {
            let value = render(format, cx);
            if let Some(head) = head(cx) {
                head.set(name, &value);
            }
        }
        Action::AddHeader(name, format) => {
            let value = render(format, cx);
            if let Some(head) = head(cx) {
                head.append(name, &value);
            }
        }
        Action::DelHeader(names) => {
            if let Some(head) = head(cx) {
                delete(head, names);
            }
        }
        Action::ReplaceHeader(name, regex, format) => {
            let template = render(format, cx);
            if let Some(head) = head(cx) {
                head.rewrite_values(name, |value| replaced(regex, value, &template));
            }
        }
        Action::ReplaceValue(name, regex, format) => {
            let template = render(format, cx);
            if let Some(head) = head(cx) {
                head.rewrite_values(name, |line| {
                    // What does not match keeps the blanks around it.
                    let items = line.split(|b| *b == b',').map(|item| {
                        replaced(regex, item.trim_ascii(), &template)
                            .unwrap_or_else(|| item.to_vec())
                    });
                    Some(items.collect::<Vec<_>>().join(&b','))
                });
            }
        }
        Action::ReplaceUri(regex, format) => {
            let template = render(format, cx);
            if let Some(head) = cx.req.as_deref_mut()
                && let Some(target) = replaced(regex, head.target(), &template)
            {
                head.set_target(&target);
            }
        }
        Action::ReplacePath(regex, format) => {
            let template = render(format, cx);
            if let Some(head) = cx.req.as_deref_mut()
                && let Some(path) = replaced(regex, head.path(), &template)
            {
                set_path(head, &path, true);
            }
        }
        Action::ReplacePathq(regex, format) => {
            let template = render(format, cx);
            if let Some(head) = cx.req.as_deref_mut()
                && let Some(path) =
                    replaced(regex, http::uri::path_and_query(head.target()), &template)
            {
                set_path(head, &path, false);
            }
        }
        Action::SetMethod(format) => {
            let method = render(format, cx);
            if let Some(head) = cx.req.as_deref_mut()
                && !method.is_empty()
            {
                head.set_method(&method);
            }
        }
        Action::SetUri(format) => {
            let target = render(format, cx);
            if let Some(head) = cx.req.as_deref_mut()
                && !target.is_empty()
            {
                head.set_target(&target);
            }
        }
        Action::SetPath(format) => {
            let path = render(format, cx);
            if let Some(head) = cx.req.as_deref_mut() {
                set_path(head, &path, true);
            }
        }
        Action::SetPathq(format) => {
            let path = render(format, cx);
            if let Some(head) = cx.req.as_deref_mut() {
                set_path(head, &path, false);
            }
        }
        Action::SetQuery(format) => {
            let query = render(format, cx);
            if let Some(head) = cx.req.as_deref_mut() {
                let mut path = head.path().to_vec();
                if !query.is_empty() {
                    path.push(b'?');
                }
                path.extend_from_slice(&query);
                set_path(head, &path, false);
            }
        }
        Action::SetStatus(status, reason) => {
            if let Some(head) = cx.res.as_deref_mut() {
                let reason = reason
                    .as_deref()
                    .unwrap_or_else(|| http::status::reason(*status).as_bytes());
                head.set_status(*status, reason);
            }
        }
        Action::SetVar(name, conditions, expr) => {
            // Without a value the variable stays as it is.
            if let Some(value) = expr.eval(cx).map(crate::Sample::into_owned) {
                cx.set_var(name, value, conditions);
            }
        }
        Action::SetVarFmt(name, conditions, format) => {
            let mut out = Vec::new();
            format.render_plain(cx, &mut out);
            let value = crate::Sample::owned(out);
            cx.set_var(name, value, conditions);
        }
        Action::UnsetVar(name) => cx.unset_var(name),
        Action::ExpectProxy => effects.expect_proxy = true,
        Action::ExpectNetscaler => effects.expect_netscaler = true,
        Action::ChangeList(change) => change.apply(cx),
        Action::ChangeConnection(change) => change.apply(cx),
        Action::SetTos(tos) => effects.tos = Some(*tos),
        Action::SetMark(mark) => effects.mark = Some(*mark),
        Action::EarlyHint(name, format) => {
            let value = render(format, cx);
            effects.early_hints.push((name.clone(), value));
        }
        Action::SetLogLevel(change) => effects.log_level = *change,
        Action::Capture(expr, slot) | Action::CaptureTo(expr, slot) => {
            if let Some(sample) = expr.eval(cx) {
                effects
                    .captures
                    .push((*slot, sample.to_text().into_owned().into()));
            }
        }
        Action::DisableL7Retry => effects.no_retry = true,
        Action::WaitForHandshake => {}
        Action::Track(tracking) => {
            let Tracking {
                number,
                key,
                table,
                session,
            } = &**tracking;
            let lasts = match session {
                true => Lasts::Session,
                false => Lasts::Stream {
                    request: cx.req.is_some() || cx.stream.smtp.is_some(),
                },
            };
            if let (Some(tables), Some(key)) = (cx.facts.tables(), key.eval(cx)) {
                tables.track(*number, table, &key, lasts);
            }
        }
        Action::Count(number, counter, amount) => {
            if let (Some(tables), Some(by)) = (cx.facts.tables(), amount.of(cx)) {
                let entry = Entry::Tracked(*number, None);
                tables.change(entry, Change::Count(*counter, by));
            }
        }
        Action::Tag(number, tag, value) => {
            if let (Some(tables), Some(value)) = (cx.facts.tables(), value.of(cx)) {
                let entry = Entry::Tracked(*number, None);
                tables.change(entry, Change::Tag(*tag, value));
            }
        }
        Action::SetPriorityClass(expr) => {
            let class = expr.eval(cx).and_then(|sample| sample.to_int());
            effects.priority_class = class.map(|n| n.clamp(-2047, 2047) as i32);
        }
        Action::SetPriorityOffset(expr) => {
            let offset = expr.eval(cx).and_then(|sample| sample.to_int());
            effects.priority_offset = offset.map(|n| n.clamp(-524_287, 524_287) as i32);
        }
        Action::Nothing
        | Action::Allow
        | Action::Deny(_)
        | Action::Tarpit(_)
        | Action::Return(_)
        | Action::Redirect(_)
        | Action::Reject
        | Action::CloseServer
        | Action::SwitchMode
        | Action::SilentDrop(_)
        | Action::UseService(_)
        | Action::Normalize(..)
        | Action::Resolve(_)
        | Action::Pause(_)
        | Action::WaitForBody { .. } => {}
    }
}

/// The message a rule is about: the response once there is one.
fn head<'c>(cx: &'c mut Ctx<'_>) -> Option<&'c mut http::Head> {
    match &mut cx.res {
        Some(response) => Some(response),
        None => cx.req.as_deref_mut(),
    }
}

/// What takes the place of a value: the template with the groups of the match filled in. `None`
/// when nothing matches.
fn replaced(regex: &Regex, value: &[u8], template: &[u8]) -> Option<Vec<u8>> {
    let captures = regex.captures(value)?;
    let mut out = Vec::new();
    crate::convert::expand(&captures, template, &mut out);
    Some(out)
}

fn delete(head: &mut http::Head, names: &NameMatch) {
    let fold = |n: &[u8]| n.to_ascii_lowercase();
    match names {
        NameMatch::Exact(name) => {
            head.remove(name);
        }
        NameMatch::Begins(p) => {
            head.retain(|n, _| !n.get(..p.len()).is_some_and(|b| b.eq_ignore_ascii_case(p)));
        }
        NameMatch::Ends(p) => head.retain(|n, _| !fold(n).ends_with(&fold(p))),
        NameMatch::Contains(p) => {
            let p = fold(p);
            head.retain(|n, _| p.is_empty() || !fold(n).windows(p.len()).any(|w| w == &*p));
        }
        NameMatch::Regex(regex) => head.retain(|n, _| !regex.is_match(n)),
    }
}

/// Changes the path of any form of target; the query stays when `keep_query`.
fn set_path(head: &mut http::Head, path: &[u8], keep_query: bool) {
    let target = head.target();
    let old = http::uri::path_and_query(target);
    let prefix = target.len() - old.len();
    let mut new = target.get(..prefix).unwrap_or_default().to_vec();
    new.extend_from_slice(path);
    if keep_query && let Some(query) = http::uri::query(target) {
        new.push(b'?');
        new.extend_from_slice(query);
    }
    if !new.is_empty() {
        head.set_target(&new);
    }
}
