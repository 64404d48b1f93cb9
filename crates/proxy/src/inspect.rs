//! `tcp-response content`: rules that look at what a server says before its client hears it.

use crate::place;
use crate::relay::Relay;
use crate::session::Client;
use crate::termination::{Cause, Phase, Termination};
use crate::transport::Transport;
use crate::worker::Worker;
use rules::action::{Effects, run};
use rules::{Ctx, NoTrace, StreamInfo, Verdict};
use state::{Backend, Slot};
use std::future::poll_fn;
use std::task::Poll;

/// What a server's first bytes came to.
enum Decision {
    /// They may pass.
    Pass,
    /// They may pass, and the server has said all.
    Close,
    /// They must not pass.
    Reject,
    /// More bytes may change what the rules asked for.
    Wait,
}

/// Holds back what the server says until the rules have decided, at most for
/// `tcp-response inspect-delay` and as far as a buffer holds; what the client says passes meanwhile.
pub async fn response(
    worker: &Worker,
    client: &mut Client,
    server: &mut Transport,
    (backend, slot): (&Backend, Option<&Slot>),
    info: &mut StreamInfo,
    relay: &mut Relay,
) -> Result<(), Termination> {
    let proxy = backend.proxy();
    if proxy.tcp_response_content.is_empty() {
        return Ok(());
    }
    let longest = worker.generation().config.global.tuning.bufsize;
    let alarm = worker.timers.timer();
    let mut over = proxy.response_inspect_delay.is_none();
    alarm.arm(proxy.response_inspect_delay.map(|d| worker.now() + d));
    let mut said = worker.buffer();
    let mut from = 0;
    let decision = loop {
        info.inspection.waiting = !over && said.len() < longest;
        let decided = decide(worker, client, backend, info, &said, &mut from);
        if !matches!(decided, Decision::Wait) {
            break decided;
        }
        let more = poll_fn(|cx| {
            let ends = (&mut *client, &mut *server);
            if let Poll::Ready(ended) = relay.poll(worker, cx, ends, (backend, slot)) {
                return Poll::Ready(Err(ended));
            }
            let mut scratch = worker.scratch.borrow_mut();
            match server.poll_read(cx, &mut scratch) {
                Poll::Ready(Ok(n)) if n > 0 => {
                    said.extend_from_slice(scratch.get(..n).unwrap_or_default());
                    relay.heard(worker.moment(worker.now()));
                    Poll::Ready(Ok(true))
                }
                Poll::Ready(Ok(_)) => Poll::Ready(Ok(false)),
                Poll::Ready(Err(_)) => {
                    relay.server_failed();
                    Poll::Ready(Ok(false))
                }
                Poll::Pending => alarm.poll_expired(cx).map(|()| Ok(false)),
            }
        })
        .await?;
        over |= !more;
    };
    info.inspection = Default::default();
    if matches!(decision, Decision::Reject) {
        let counters = [Some(backend.counters()), slot.map(|s| &s.server().counters)];
        for c in counters.into_iter().flatten() {
            c.of(worker.id).dresp.add(1);
        }
        client.frontend.counters().of(worker.id).dresp.add(1);
        return Err(Termination::new(Cause::Proxy, Phase::Data));
    }
    let passed = poll_fn(|cx| Poll::Ready(relay.release(worker, cx, &mut client.io, &said))).await;
    worker.recycle(said);
    passed.map_err(|_| Termination::new(Cause::ClientAbort, Phase::Data))?;
    if matches!(decision, Decision::Close) {
        server.socket().close_at_once();
        relay.end_server();
    }
    Ok(())
}

/// Takes the rules from `from` on, one by one: one that cannot be decided yet holds up those after
/// it.
fn decide(
    worker: &Worker,
    client: &Client,
    backend: &Backend,
    info: &mut StreamInfo,
    said: &[u8],
    from: &mut usize,
) -> Decision {
    let rules = &backend.proxy().tcp_response_content;
    while *from < rules.len() {
        info.inspection.undecided.set(false);
        let this = rules.get(..=*from).unwrap_or_default();
        let mut effects = Effects::default();
        let verdict = place::with_ctx(worker, client, info, |cx| {
            let mut cx = Ctx {
                req: None,
                res: None,
                res_body: said,
                ..*cx
            };
            run(this, *from, &mut cx, &mut effects, &mut NoTrace)
        });
        let fd = client.io.socket().raw();
        crate::socket::mark(fd, effects.tos, effects.mark);
        if let Some(silence) = effects.silence {
            crate::socket::silence(fd, silence);
        }
        match verdict {
            Verdict::Reject | Verdict::Deny(_) => return Decision::Reject,
            Verdict::Allow => return Decision::Pass,
            Verdict::CloseServer => return Decision::Close,
            _ if info.inspection.undecided.get() => return Decision::Wait,
            _ => *from += 1,
        }
    }
    Decision::Pass
}
