//! Active checks on the wire: who is asked when, and what becomes of the answers.
//!
//! Each worker keeps one task per check of its share of the servers. What a check does stands in
//! the modules below; what its result means is decided by `state::health`.

mod agent;
mod answer;
mod clock;
mod converse;
mod datagram;
mod dial;
mod external;
mod grpc;
mod judge;
mod pace;
mod probe;
mod raw;
mod scene;
mod script;
mod settle;

pub use settle::observed;

use crate::worker::Worker;
use clock::Clock;
use pace::Pace;
use state::news::Line;
use state::{Backend, Generation, Server};
use std::cell::RefCell;
use std::collections::HashSet;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

/// How soon a new configuration is seen.
const IDLE: Duration = Duration::from_millis(500);
/// How soon a server takes the next step of a slow start.
const STEP: Duration = Duration::from_millis(100);

/// Keeps one task per check of this worker's share, whatever configuration is in force.
pub async fn run(worker: Rc<Worker>) {
    if worker.id == 0 {
        tokio::task::spawn_local(write_news(Rc::clone(&worker)));
    }
    let watched = Rc::new(RefCell::new(HashSet::new()));
    let pace = Rc::new(Pace::default());
    let mut seen: Option<Arc<Generation>> = None;
    // Servers that start slowly.
    let mut slow: Vec<(Arc<Backend>, Arc<Server>)> = Vec::new();
    loop {
        let generation = worker.generation();
        if worker.id == 0 {
            // Nobody leaves what was put off to the next choice, which may be long in coming.
            generation.backends.iter().for_each(|b| b.catch_up());
        }
        let now = worker.process.millis(Instant::now());
        for (backend, server) in &slow {
            if server.advance_start(now) {
                backend.note(server);
            }
        }
        if seen
            .as_ref()
            .is_some_and(|seen| Arc::ptr_eq(seen, &generation))
        {
            drop(generation);
            let pause = if slow.is_empty() { IDLE } else { STEP };
            tokio::time::sleep(pause).await;
            continue;
        }
        slow.clear();
        for backend in &generation.backends {
            for server in backend.servers() {
                if server.uid as usize % worker.process.workers != worker.id {
                    continue;
                }
                let settings = server.settings();
                if settings.slowstart.is_some() {
                    slow.push((Arc::clone(backend), Arc::clone(server)));
                }
                for (kind, wanted) in [
                    (Kind::Health, settings.check.is_some()),
                    (Kind::Agent, settings.agent.is_some()),
                ] {
                    if wanted && watched.borrow_mut().insert((server.uid, kind)) {
                        let watch = Watch {
                            worker: Rc::clone(&worker),
                            backend: Arc::clone(&backend.name),
                            server: Arc::clone(server),
                            kind,
                            pace: Rc::clone(&pace),
                        };
                        let watched = Rc::clone(&watched);
                        tokio::task::spawn_local(async move {
                            watch.run().await;
                            watched.borrow_mut().remove(&(watch.server.uid, kind));
                        });
                    }
                }
            }
        }
        seen = Some(generation);
    }
}

/// Writes what is told of servers and proxies into the logs.
async fn write_news(worker: Rc<Worker>) {
    loop {
        let line = poll_fn(|cx| worker.process.news.poll_next(cx.waker())).await;
        write_line(&worker, &line);
    }
}

/// Writes what has been told and not been written yet, where the worker ends.
pub fn write_last_news(worker: &Worker) {
    while let Poll::Ready(line) = worker.process.news.poll_next(Waker::noop()) {
        write_line(worker, &line);
    }
}

fn write_line(worker: &Worker, line: &Line) {
    if line.mail {
        crate::mail::send(worker, line);
        return;
    }
    worker.logs.send(
        &line.proxy.logs,
        line.proxy.log_tag.as_deref(),
        line.level,
        worker.wall(Instant::now()),
        line.text.as_bytes(),
        b"",
    );
}

/// Which of a server's two checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    Health,
    Agent,
}

/// One check of one server, again and again.
struct Watch {
    worker: Rc<Worker>,
    backend: Arc<str>,
    server: Arc<Server>,
    kind: Kind,
    pace: Rc<Pace>,
}

impl Watch {
    /// Until the configuration has no such check any more.
    async fn run(&self) {
        let first = Instant::now() + self.first_delay();
        self.sleep_until(first, self.interval()).await;
        while let Some(backend) = self.current() {
            let running = self.pace.enter(&self.worker).await;
            let begin = Instant::now();
            let Some(interval) = self.once(&backend, begin).await else {
                return;
            };
            drop((backend, running));
            let percent = self.worker.generation().config.global.tuning.spread_checks;
            let interval = pace::spread(interval, percent, rules::random(&self.worker.rng));
            self.sleep_until(begin + interval, interval).await;
        }
    }

    async fn sleep_until(&self, due: Instant, interval: Duration) {
        let mut due = pace::gather(due, self.worker.process.start, interval);
        let hastened = self.kind == Kind::Health && self.server.settings().observe.is_some();
        if !hastened {
            return tokio::time::sleep_until(due.into()).await;
        }
        loop {
            let haste = poll_fn(|cx| self.server.haste.poll(cx.waker()));
            match tokio::time::timeout_at(due.into(), haste).await {
                Ok(sooner) => due = due.min(sooner),
                Err(_) => return self.server.haste.begun(),
            }
        }
    }

    /// How often the configuration wants it.
    fn interval(&self) -> Duration {
        let settings = self.server.settings();
        let interval = match self.kind {
            Kind::Health => settings.check.as_ref().map(|c| c.inter),
            Kind::Agent => settings.agent.as_ref().map(|a| a.inter),
        };
        interval.unwrap_or_default()
    }

    /// The first checks are spread over the interval of the servers, so that a thousand servers
    /// are not asked in one instant (manual, `max-spread-checks`).
    fn first_delay(&self) -> Duration {
        let generation = self.worker.generation();
        let most = generation.config.global.tuning.max_spread_checks;
        let own = self.interval();
        let servers = generation
            .backend(&self.backend)
            .map_or(1, |b| b.servers().len().max(1)) as u32;
        let place = self.server.id.saturating_sub(1) % servers;
        own.min(most.unwrap_or(own))
            .mul_f64(f64::from(place) / f64::from(servers))
    }

    /// The backend of now, if the server is still one of it.
    fn current(&self) -> Option<Arc<Backend>> {
        let generation = self.worker.generation();
        let backend = generation.backend(&self.backend)?;
        backend.holds(&self.server).then(|| Arc::clone(backend))
    }

    /// One check; how long from its beginning to the next, or `None` when there is none any more.
    async fn once(&self, backend: &Arc<Backend>, begin: Instant) -> Option<Duration> {
        let maintained = self.server.admin().in_maintenance();
        match self.kind {
            Kind::Health => {
                let check = self.server.settings().check.clone()?;
                if self.server.has_check() && !maintained {
                    let timeouts = &backend.proxy().timeouts;
                    let mut clock = Clock::new(begin, check.inter, timeouts);
                    let silent = self.server.health().silent_at(&check);
                    // Where the silence is too long already, this one check is its last chance.
                    clock.at_latest(silent.filter(|at| *at > begin));
                    let probing =
                        probe::health(&self.worker, backend, &self.server, &check, &clock);
                    // Boxed, so that it takes room only while it runs.
                    let found = clock.bound(Box::pin(probing)).await;
                    settle::health(&self.worker, backend, &self.server, found);
                }
                let health = self.server.health();
                let interval = health.interval(&check);
                let silent = health.silent_at(&check);
                let silent = silent.map(|at| at.saturating_duration_since(begin));
                Some(
                    silent
                        .filter(|s| !s.is_zero())
                        .map_or(interval, |s| s.min(interval)),
                )
            }
            Kind::Agent => {
                let settings = self.server.settings().agent.clone()?;
                // Only the agent can end what it began: it is asked in maintenance, too.
                if self.server.has_agent() {
                    let timeouts = &backend.proxy().timeouts;
                    let clock = Clock::new(begin, settings.inter, timeouts);
                    let asking = agent::ask(backend, &self.server, &settings, &clock);
                    let answer = clock.bound_bytes(Box::pin(asking)).await;
                    if self.server.has_agent() {
                        agent::take(&self.worker, backend, &self.server, answer, begin);
                    }
                }
                Some(settings.inter)
            }
        }
    }
}
