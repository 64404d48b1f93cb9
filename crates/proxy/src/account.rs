//! Counting and logging: what happened to a request, for the statistics and the log.

use crate::flow::Broken;
use crate::report;
use crate::session::Client;
use crate::stream::Stream;
use crate::termination::{Cause, Phase, Termination};
use crate::worker::Worker;
use model::{CaptureSlot, LogLevel};
use rules::{LogFacts, Timers};
use state::{Backend, ProxyCounters, Server};
use std::sync::Arc;
use std::time::Instant;

/// Values kept for the log.
#[derive(Default)]
pub struct Captures {
    pub request: Vec<Option<Box<[u8]>>>,
    pub response: Vec<Option<Box<[u8]>>>,
    /// `name=value` of `capture cookie`, of the request and of the response.
    pub cookies: [Option<Box<[u8]>>; 2],
}

impl Captures {
    /// Keeps a rule's value in its slot, cut to the slot's length.
    pub fn put(&mut self, response: bool, slot: usize, value: &[u8], side: &model::Frontend) {
        let (kept, slots) = if response {
            (&mut self.response, &side.response_captures)
        } else {
            (&mut self.request, &side.request_captures)
        };
        // A slot that the frontend does not have keeps nothing.
        let Some(len) = slots.get(slot).map(|s| s.len) else {
            return;
        };
        kept.resize(slots.len(), None);
        if let Some(place) = kept.get_mut(slot) {
            *place = value.get(..len.min(value.len())).map(Into::into);
        }
    }
}

fn kept(head: &http::Head, slots: &[CaptureSlot]) -> Vec<Option<Box<[u8]>>> {
    let of = |slot: &CaptureSlot| {
        let value = head.values(slot.header.as_ref()?.as_bytes()).last()?;
        value.get(..value.len().min(slot.len)).map(Into::into)
    };
    slots.iter().map(of).collect()
}

/// The first cookie that `capture cookie` asks for, as `name=value`.
fn kept_cookie<'a>(
    side: &model::Frontend,
    most: usize,
    mut pairs: impl Iterator<Item = (&'a [u8], &'a [u8])>,
) -> Option<Box<[u8]>> {
    let (name, prefix, len) = side.capture_cookie.as_ref()?;
    let name = name.as_bytes();
    let (found, value) = pairs.find(|(n, _)| *n == name || (*prefix && n.starts_with(name)))?;
    let mut text = [found, b"=", value].concat();
    text.truncate(most.min(*len));
    Some(text.into())
}

/// Bytes that are kept of a cookie at most.
fn cookie_len(s: &Stream<'_>) -> usize {
    s.generation.config.global.tuning.http_cookielen
}

/// Keeps the request headers that the frontend captures.
pub fn capture_request(s: &mut Stream<'_>) {
    let side = s.frontend.side();
    if side.capture_cookie.is_some() {
        let lines = s.request.known(http::Known::Cookie);
        s.captures.cookies[0] =
            kept_cookie(side, cookie_len(s), lines.flat_map(http::cookie::pairs));
    }
    if !side.request_captures.is_empty() {
        s.captures.request = kept(&s.request, &side.request_captures);
    }
}

/// Keeps the response headers that the frontend captures.
pub fn capture_response(s: &mut Stream<'_>) {
    let side = s.frontend.side();
    if let (Some(head), true) = (&s.response, side.capture_cookie.is_some()) {
        let lines = head.known(http::Known::SetCookie);
        s.captures.cookies[1] = kept_cookie(
            side,
            cookie_len(s),
            lines.filter_map(http::cookie::set_pair),
        );
    }
    if let Some(head) = &s.response
        && !side.response_captures.is_empty()
    {
        s.captures.response = kept(head, &side.response_captures);
    }
}

/// What is counted of a client's side: of the frontend, and of its socket where that is counted, too.
pub fn of_client<'a>(
    worker: &Worker,
    client: &'a Client,
) -> impl Iterator<Item = &'a ProxyCounters> + use<'a> {
    let socket = client.frontend.socket(client.info.listener.id);
    let socket = socket.map(|s| s.counters().of(worker.id));
    let front = client.frontend.counters().of(worker.id);
    [Some(front), socket].into_iter().flatten()
}

fn front<'a>(s: &'a Stream<'_>) -> &'a ProxyCounters {
    s.frontend.counters().of(s.worker.id)
}

fn back<'a>(s: &'a Stream<'_>) -> Option<&'a ProxyCounters> {
    s.backend.as_ref().map(|b| b.counters().of(s.worker.id))
}

fn server<'a>(s: &'a Stream<'_>) -> Option<&'a ProxyCounters> {
    s.slot
        .as_ref()
        .map(|slot| slot.server().counters.of(s.worker.id))
}

/// A request has been read.
pub fn request_received(s: &mut Stream<'_>) {
    let now = s.worker.process.millis(s.times.arrival.complete);
    let counters = front(s);
    counters.req_tot.add(1);
    counters.req_rate.event(now);
    let process = s.worker.process.counters.of(s.worker.id);
    process.requests.add(1);
    s.client.tracked.request(now);
    if logs_something(s) {
        let mut line = s.worker.buffer();
        line.extend_from_slice(s.request.start_line());
        line.truncate(s.generation.config.global.tuning.http_logurilen);
        s.request_line = line;
    }
}

fn logs_something(s: &Stream<'_>) -> bool {
    !s.frontend.proxy().logs.is_empty() || s.frontend.side().unique_id_format.is_some()
}

/// The request could not be framed.
pub fn bad_request(s: &mut Stream<'_>) {
    of_client(s.worker, s.client).for_each(|c| c.ereq.add(1));
    client_error(s);
}

/// The request is an error of the client, for what tracks it.
fn client_error(s: &Stream<'_>) {
    let now = s.worker.millis();
    s.client.tracked.error(now);
}

/// Whose fault a server's response is, for what tracks the request: of 4xx the client's; of 5xx
/// the server's, but for what it does not know how to do (manual, `http_err_cnt`).
pub fn response_judged(s: &Stream<'_>, status: u16) {
    match status {
        400..=499 => client_error(s),
        500..=599 if status != 501 && status != 505 => server_failure(s),
        _ => {}
    }
}

/// Bytes of the body may have passed, for what tracks the request.
pub fn passing(s: &Stream<'_>) {
    let now = s.worker.millis();
    let received = s.request_head_len + s.up.received;
    s.client.tracked.passed(received, s.down.sent, now);
}

fn server_failure(s: &Stream<'_>) {
    let now = s.worker.millis();
    s.client.tracked.failure(now);
}

/// A rule refused the request.
pub fn denied(s: &mut Stream<'_>) {
    of_client(s.worker, s.client).for_each(|c| c.dreq.add(1));
    if let Some(back) = back(s) {
        back.dreq.add(1);
    }
    client_error(s);
}

/// A rule refused the response.
pub fn response_denied(s: &mut Stream<'_>) {
    of_client(s.worker, s.client).for_each(|c| c.dresp.add(1));
    for c in [back(s), server(s)].into_iter().flatten() {
        c.dresp.add(1);
    }
}

/// The stream belongs to this backend from now on.
pub fn backend_entered(s: &mut Stream<'_>, backend: &Arc<Backend>) {
    let now = s.worker.process.millis(s.times.arrival.complete);
    let counters = backend.counters().of(s.worker.id);
    counters.stot.add(1);
    counters.req_tot.add(1);
    counters.sess_rate.event(now);
    backend.sessions().enter();
}

/// A connection to a server is being opened.
pub fn connecting(worker: &Worker, backend: &Backend, server: &Server) {
    backend.counters().of(worker.id).connect.add(1);
    server.counters.of(worker.id).connect.add(1);
}

/// A kept connection is used again.
pub fn reused(s: &mut Stream<'_>, server: &Server) {
    if let Some(back) = back(s) {
        back.reuse.add(1);
    }
    server.counters.of(s.worker.id).reuse.add(1);
}

/// A place on a server has been taken; `scheduled` by the scheduler's choice.
pub fn assigned(s: &mut Stream<'_>, scheduled: bool) {
    let now = s.worker.process.millis(s.times.arrival.complete);
    for c in [back(s), server(s)].into_iter().flatten() {
        c.lbtot.add(u64::from(scheduled));
        c.last_session.raise(now + 1);
    }
    if let Some(c) = server(s) {
        c.stot.add(1);
        c.sess_rate.event(now);
    }
}

/// The request reaches no server: none can be connected to (`at` was the last), none has a place in
/// time, or there is none.
pub fn unserved(s: &Stream<'_>, at: Option<&Server>) {
    let at = at.map(|server| server.counters.of(s.worker.id));
    for c in [back(s), at].into_iter().flatten() {
        c.econ.add(1);
    }
}

/// A server's response has been read.
pub fn server_answered(s: &Stream<'_>, status: u16) {
    if let Some(c) = server(s) {
        c.req_tot.add(1);
        c.hrsp.of(status).add(1);
    }
}

/// The response was compressed.
fn compressed(s: &Stream<'_>, (input, output): (u64, u64)) {
    for c in [Some(front(s)), back(s)].into_iter().flatten() {
        c.comp_rsp.add(1);
        c.comp_in.add(input);
        c.comp_out.add(output);
    }
}

/// A response passes as it is, because a limit keeps it from being compressed.
fn uncompressed(s: &Stream<'_>) {
    for c in [Some(front(s)), back(s)].into_iter().flatten() {
        c.comp_byp
            .add(s.down.sent.saturating_sub(s.response_head_len));
    }
}

/// Another attempt is made.
pub fn retried(s: &mut Stream<'_>, elsewhere: bool) {
    for c in [back(s), server(s)].into_iter().flatten() {
        if elsewhere {
            c.wredis.add(1)
        } else {
            c.wretr.add(1)
        }
    }
}

/// The response's head is being sent; `option logasap` does not wait for more.
pub fn response_started(s: &mut Stream<'_>, head_len: usize) {
    s.response_head_len = head_len as u64;
    if s.frontend.side().logasap {
        let server = s.slot.as_ref().map(|slot| Arc::clone(slot.server()));
        let received = s.request_head_len + s.up.received;
        s.logged_early = true;
        report::stream(s, server, s.worker.now(), received, head_len as u64);
    }
}

/// There is no valid response.
pub fn response_missing(s: &mut Stream<'_>) {
    server_failure(s);
    response_lost(s);
}

fn response_lost(s: &mut Stream<'_>) {
    crate::observe::response(s, None);
    for c in [back(s), server(s)].into_iter().flatten() {
        c.eresp.add(1);
    }
}

/// The response ended before its end.
pub fn response_broken(s: &mut Stream<'_>, broken: Broken) {
    if broken != Broken::ReceiverFailed {
        response_lost(s);
    }
}

/// A server that had answered did not want the rest of the request: an error in the statistics, as with
/// HAProxy, but none of the server's health. Otherwise clients could take servers down.
pub fn request_unwanted(s: &mut Stream<'_>) {
    for c in [back(s), server(s)].into_iter().flatten() {
        c.eresp.add(1);
    }
}

/// The response did not come in time.
pub fn response_timed_out(s: &mut Stream<'_>) {
    response_missing(s);
}

/// The stream is over: counts and logs it.
pub fn finished(s: &mut Stream<'_>) {
    s.client.seat.end_request();
    if s.client.seat.was_killed() {
        s.ended.cause = Cause::Killed;
    }
    let end = s.worker.now();
    let received = s.request_head_len + s.up.received;
    let sent = s.down.sent;
    let status = s.status.unwrap_or(0);
    {
        let ms = |from: Option<Instant>, to: Option<Instant>| match (from, to) {
            (Some(a), Some(b)) => Some(b.saturating_duration_since(a).as_millis() as u64),
            _ => None,
        };
        let t = &s.times;
        let queued = ms(Some(t.arrival.complete), t.queued);
        let connected = ms(t.queued, t.connected);
        let responded = ms(t.connected, t.responded);
        let total = ms(Some(t.arrival.complete), Some(end)).unwrap_or_default();
        let counters = [Some(front(s)), back(s), server(s)];
        let at_front = |b: &Arc<Backend>| Arc::ptr_eq(b.proxy(), s.frontend.proxy());
        let local = s.ended.cause == Cause::Local && s.ended.phase == Phase::Request;
        let intercepted = local && s.backend.as_ref().is_none_or(at_front);
        for (i, c) in counters.into_iter().enumerate() {
            let Some(c) = c else { continue };
            c.bin.add(received);
            c.bout.add(sent);
            // A server is only counted what it said itself.
            if i < 2 {
                c.hrsp.of(status).add(1);
            }
            if s.ended.cause == Cause::Internal {
                c.eint.add(1);
            }
            if i == 0 {
                if intercepted {
                    c.intercepted.add(1);
                }
                continue;
            }
            match s.ended.cause {
                Cause::ClientAbort | Cause::ClientTimeout => c.cli_abrt.add(1),
                Cause::ServerAbort if s.ended.phase == Phase::Data => c.srv_abrt.add(1),
                _ => {}
            }
            if let Some(queued) = queued {
                c.qtime.event(queued);
            }
            if let Some(connected) = connected {
                c.ctime.event(connected);
            }
            if let Some(responded) = responded {
                c.rtime.event(responded);
            }
            c.ttime.event(total);
        }
    }
    for c in of_client(s.worker, s.client).skip(1) {
        c.bin.add(received);
        c.bout.add(sent);
    }
    if let Some(encoder) = &s.down.encoder {
        compressed(s, encoder.counts);
    } else if s.compression_bypassed {
        uncompressed(s);
    }
    let process = s.worker.process.counters.of(s.worker.id);
    process.bytes_out.add(sent);
    process
        .bytes_out_rate
        .events(s.worker.process.millis(end), sent);
    if let Some(backend) = &s.backend {
        backend.sessions().leave();
    }
    let now = s.worker.process.millis(end);
    s.client.tracked.passed(received, sent, now);
    // The place is free before the line is written: its counts are those after this request.
    let server = s.slot.take().map(|slot| Arc::clone(slot.server()));
    if !std::mem::take(&mut s.logged_early) {
        report::stream(s, server, end, received, sent);
    }
    // The line may show what a variable held, or a table.
    s.client.vars.borrow_mut().end_request();
    s.client.tracked.end_stream();
}

/// A connection that brought no request.
#[allow(clippy::too_many_arguments)] // what the line shows
pub fn refused(
    worker: &Worker,
    client: &Client,
    status: u16,
    sent: u64,
    ended: Termination,
    idle_since: Instant,
    first_byte: Instant,
    visible: bool,
) {
    let counters = client.frontend.counters().of(worker.id);
    let all = || of_client(worker, client);
    let now = worker.millis();
    client.tracked.request(now);
    client.tracked.error(now);
    if visible {
        counters.req_tot.add(1);
        counters.req_rate.event(now);
        worker.process.counters.of(worker.id).requests.add(1);
        all().for_each(|c| c.ereq.add(1));
        if sent > 0 {
            counters.hrsp.of(status).add(1);
        }
    }
    all().for_each(|c| c.bout.add(sent));
    let proxy = client.frontend.proxy();
    if !visible || proxy.logs.is_empty() {
        return;
    }
    let end = worker.now();
    let since = |from: Instant| end.saturating_duration_since(from).as_millis() as i64;
    let facts = LogFacts {
        request: worker.wall(first_byte),
        end: worker.wall(end),
        timers: Some(Timers {
            th: client.handshake.millis(),
            ti: first_byte.saturating_duration_since(idle_since).as_millis() as i64,
            tr_request: -1,
            tw: -1,
            tc: -1,
            tr: -1,
            td: -1,
            ta: since(first_byte),
            tt: since(idle_since),
        }),
        termination: ended.flags(*b"--"),
        status: Some(status),
        actconn: worker.process.connections.now(),
        feconn: client.frontend.sessions().now(),
        tls: client.info.tls.is_some(),
        unfinished: client.frontend.side().logasap,
        ..LogFacts::default()
    };
    let side = client.frontend.side();
    let format = match &side.error_log_format {
        Some(format) => Arc::clone(format),
        None => worker.format_of(&client.frontend),
    };
    let level = if side.log_separate_errors {
        LogLevel::Err
    } else {
        LogLevel::Info
    };
    report::log_session(worker, client, None, &facts, &format, level, end);
}

/// Counts a client's connection whose TLS handshake is done.
pub fn handshake_done(worker: &Worker, client: &Client) {
    let counters = worker.process.counters.of(worker.id);
    counters.ssl_connections.add(1);
    counters.ssl_rate.event(worker.millis());
    let resumed = client.info.tls.as_ref().is_some_and(|t| t.agreed.resumed);
    if !resumed {
        counters.ssl_key_rate.event(worker.millis());
    }
    let front = client.frontend.counters().of(worker.id);
    front.ssl_sess.add(1);
    front.ssl_reused_sess.add(u64::from(resumed));
}

/// A client's handshake of TLS failed.
pub fn handshake_failed(worker: &Worker, client: &Client) {
    let front = client.frontend.counters().of(worker.id);
    front.ssl_failed_handshake.add(1);
}

/// A handshake of TLS with a server is over: whether its session was resumed, `None` where it failed.
pub fn server_handshake(
    worker: &Worker,
    backend: &Backend,
    server: &Server,
    resumed: Option<bool>,
) {
    if let Some(resumed) = resumed {
        let counters = worker.process.counters.of(worker.id);
        counters.ssl_connections.add(1);
        if !resumed {
            counters.ssl_server_key_rate.event(worker.millis());
        }
    }
    for counters in [backend.counters(), &server.counters] {
        let c = counters.of(worker.id);
        match resumed {
            Some(resumed) => {
                c.ssl_sess.add(1);
                c.ssl_reused_sess.add(u64::from(resumed));
            }
            None => c.ssl_failed_handshake.add(1),
        }
    }
}
