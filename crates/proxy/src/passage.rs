//! The way of a connection's bytes to a server: the backend it entered, its place there, what is
//! counted and logged of it. `mode tcp` has one for each connection, `mode smtp` one for each message.

use crate::choose;
use crate::connect::{self, ConnectFailure};
use crate::moment::Moment;
use crate::observe;
use crate::place;
use crate::pool::ServerConn;
use crate::present::{self, Told};
use crate::session::Client;
use crate::stick::{self, Sticking};
use crate::termination::{Cause, Phase, Termination};
use crate::visit::Visit;
use crate::worker::Worker;
use rules::{LogLevelChange, StreamInfo};
use state::Backend;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

/// What is known of it while it lasts.
pub struct Passage {
    /// What rules and logs may know.
    pub info: StreamInfo,
    /// The backend that it entered and its place on a server.
    pub visit: Visit,
    /// The server that the first attempt passes over, by its `uid`.
    pub avoid: Option<u32>,
}

/// The backend that `use_backend` and `default_backend` lead to.
pub fn switch(
    worker: &Worker,
    client: &Client,
    info: &StreamInfo,
) -> Result<Arc<Backend>, Termination> {
    let generation = worker.generation();
    let frontend = Arc::clone(&client.frontend);
    let chosen = place::with_ctx(worker, client, info, |cx| {
        choose::switch(worker, &frontend, &generation, cx)
    });
    chosen.ok_or(Termination::new(Cause::ServerAbort, Phase::Connect))
}

impl Passage {
    /// One that has led nowhere yet.
    pub fn new(begun: Moment) -> Passage {
        Passage {
            info: StreamInfo::default(),
            visit: Visit::new(begun),
            avoid: None,
        }
    }

    /// The backend that was entered.
    pub fn backend(&self) -> Option<&Arc<Backend>> {
        self.visit.backend.as_ref()
    }

    /// It belongs to this backend from now on.
    pub fn enter(&mut self, worker: &Worker, client: &Client, backend: Arc<Backend>) {
        self.info.backend = Some(Arc::clone(&backend.name));
        self.info.backend_id = backend.id;
        backend.sessions().enter();
        let counters = backend.counters().of(worker.id);
        counters.stot.add(1);
        counters.sess_rate.event(worker.millis());
        client.seat.enter(backend.id);
        self.visit.enter(backend);
    }

    /// Another begins on the way that this one has made: same backend, same server.
    pub fn again(&mut self, begun: Moment) {
        self.visit.again(begun);
        self.info.log_level = LogLevelChange::Unchanged;
        (self.info.priority_class, self.info.priority_offset) = Default::default();
    }

    /// A place on a server and a connection to it.
    pub async fn reach(
        &mut self,
        worker: &Worker,
        client: &mut Client,
        backend: &Arc<Backend>,
    ) -> Result<ServerConn, Termination> {
        let mut avoid = self.avoid.take();
        let mut sticking = sticking(worker, client, backend, &self.info);
        let mut last = None;
        let mut scheduled = true;
        let mut placed = None;
        loop {
            let sticky = sticking.server.take();
            let (avoided, again) = (avoid.take(), last.take());
            let same = again.is_some();
            let asked = place::Asked {
                again,
                avoid: avoided,
                sticky,
            };
            let taken = place::take(worker, client, backend, &self.info, asked).await;
            let (slot, by_scheduler) = match taken {
                Ok(taken) => taken,
                Err(ended) => {
                    if ended.cause != Cause::ClientAbort {
                        backend.counters().of(worker.id).econ.add(1);
                    }
                    return Err(ended);
                }
            };
            if !same {
                scheduled = by_scheduler;
            }
            let placed = *placed.get_or_insert_with(|| worker.moment(worker.now()));
            self.visit.placed(placed);
            let server = Arc::clone(slot.server());
            self.info.server = Some(Arc::clone(&server.name));
            self.info.server_id = server.id;
            client.seat.assign(server.id);
            self.visit.slot = Some(slot);
            let counters = server.counters.of(worker.id);
            let now = worker.millis();
            counters.stot.add(1);
            counters.sess_rate.event(now);
            for c in [counters, backend.counters().of(worker.id)] {
                c.lbtot.add(u64::from(by_scheduler));
                c.last_session.raise(now + 1);
            }
            let told = told(worker, client, &self.info, backend, &server);
            let Some(slot) = &self.visit.slot else {
                return Err(Termination::new(Cause::Internal, Phase::Connect));
            };
            match connect::open(worker, client, backend, slot, told, &self.info).await {
                Ok(connection) => {
                    let now = worker.now();
                    sticking.store(&server, worker.process.millis(now));
                    let connected = worker.moment(now);
                    slot.answered(connected.since(placed), worker.process.millis(now));
                    self.visit.connected(connected);
                    self.info.server_tls = connection.io.tls_info();
                    observe::plain_connection(worker, backend, &server, true);
                    return Ok(connection);
                }
                Err(ConnectFailure::ClientGone) => {
                    return Err(Termination::new(Cause::ClientAbort, Phase::Connect));
                }
                // It was there, and may have understood that somebody came: not for another try.
                Err(ConnectFailure::Reset) => {
                    self.visit.connected(worker.moment(worker.now()));
                    return Err(Termination::new(Cause::ServerAbort, Phase::Data));
                }
                Err(failure) => {
                    // A server whose sessions are ended has not failed.
                    let cut = failure == ConnectFailure::Cut;
                    if !cut {
                        observe::plain_connection(worker, backend, &server, false);
                        slot.failed(worker.millis());
                    }
                    let all = [counters, backend.counters().of(worker.id)];
                    let side = backend.side();
                    if self.visit.retries >= crate::overrides::retries(side, &self.info) {
                        all.iter().for_each(|c| c.econ.add(1));
                        return Err(failure.ended(Some(&server)));
                    }
                    self.visit.retries += 1;
                    self.visit.slot = None;
                    if cut || choose::redispatches(backend, self.visit.retries, scheduled) {
                        avoid = Some(server.uid);
                        self.visit.redispatched = true;
                        all.iter().for_each(|c| c.wredis.add(1));
                    } else {
                        last = Some(Arc::clone(&server));
                        all.iter().for_each(|c| c.wretr.add(1));
                        let pause = Duration::from_secs(1);
                        let pause = backend
                            .proxy()
                            .timeouts
                            .connect
                            .map_or(pause, |t| t.min(pause));
                        self.pause(worker, client, pause).await?;
                    }
                }
            }
        }
    }

    /// Waits, unless the client goes away meanwhile.
    async fn pause(
        &self,
        worker: &Worker,
        client: &mut Client,
        pause: Duration,
    ) -> Result<(), Termination> {
        let abort_on_close = self.backend().is_some_and(|b| b.side().abortonclose);
        client.timer.arm(Some(worker.now() + pause));
        poll_fn(|cx| {
            if client.timer.poll_expired(cx).is_ready() {
                return Poll::Ready(Ok(()));
            }
            match client.poll_gone(cx, abort_on_close) {
                true => Poll::Ready(Err(Termination::new(Cause::ClientAbort, Phase::Connect))),
                false => Poll::Pending,
            }
        })
        .await
    }

    /// A server was reached but is of no use after all: it does not greet, or says that it is busy.
    /// The next attempt may be made, elsewhere where that is allowed; else the end.
    pub fn dismiss(
        &mut self,
        worker: &Worker,
        backend: &Arc<Backend>,
        cause: Cause,
    ) -> Result<(), Termination> {
        let ended = Termination::new(cause, Phase::Connect);
        let Some(slot) = &self.visit.slot else {
            return Err(ended);
        };
        slot.failed(worker.process.millis(worker.now()));
        let server = Arc::clone(slot.server());
        let all = [
            server.counters.of(worker.id),
            backend.counters().of(worker.id),
        ];
        if self.visit.retries >= crate::overrides::retries(backend.side(), &self.info) {
            all.iter().for_each(|c| c.econ.add(1));
            return Err(ended);
        }
        self.visit.retries += 1;
        self.visit.slot = None;
        if choose::redispatches(backend, self.visit.retries, true) {
            self.avoid = Some(server.uid);
            self.visit.redispatched = true;
            all.iter().for_each(|c| c.wredis.add(1));
        } else {
            all.iter().for_each(|c| c.wretr.add(1));
        }
        Ok(())
    }
}

/// What the `stick` rules find, those for responses included: of a connection nothing more is
/// known later.
fn sticking(worker: &Worker, client: &Client, backend: &Backend, info: &StreamInfo) -> Sticking {
    let generation = worker.generation();
    let now_ms = worker.millis();
    place::with_ctx(worker, client, info, |cx| {
        stick::connection(backend, &generation, cx, now_ms)
    })
}

/// What the server is told of this client.
fn told(
    worker: &Worker,
    client: &Client,
    info: &StreamInfo,
    backend: &Backend,
    server: &state::Server,
) -> Told {
    let settings = server.settings();
    if settings.tls.is_none() && settings.send_proxy.is_none() {
        return Told::default();
    }
    let unique = client.frontend.side().unique_id_format.as_deref();
    let told = place::with_ctx(worker, client, info, |cx| {
        present::told(&settings, backend.side(), unique, cx)
    });
    // No connection of these is kept: it has the name that TLS asks for.
    Told { name: None, ..told }
}
