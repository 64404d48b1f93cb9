//! The sessions of a worker, for whoever wants to see or end them.
//!
//! Each session has one small record; what changes with its requests is numbers in cells, so that
//! a request pays some stores. Names are looked up when somebody asks.

use crate::moment::Moment;
use crate::worker::{Door, Order};
use rules::Ends;
use state::{SessionFacts, Sessions, Stage, Which};
use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::task::Waker;
use std::time::{Duration, Instant};

/// One live session.
struct Live {
    number: u32,
    /// The client's address alone.
    source: Ends,
    frontend: u32,
    accepted: Moment,
    descriptor: i32,
    /// These two are `NONE` while there is none.
    backend: Cell<u32>,
    server: Cell<u32>,
    requests: Cell<u32>,
    stage: Cell<Stage>,
    killed: Cell<bool>,
    /// The descriptor is not the session's own, which finds out by itself that it is to end.
    shared: bool,
    waker: Cell<Option<Box<Waker>>>,
}

const NONE: u32 = u32::MAX;

impl Live {
    /// Wakes whoever asked for that, and will again.
    fn wake(&self) {
        let waker = self.waker.take();
        if let Some(waker) = &waker {
            waker.wake_by_ref();
        }
        self.waker.set(waker);
    }
}

/// A session that begins.
pub struct Arrived {
    /// The client's address.
    pub source: Option<SocketAddr>,
    /// The number of the frontend.
    pub frontend: u32,
    /// When.
    pub accepted: Moment,
    /// The descriptor of the client's connection, or of the socket that its datagrams come by.
    pub descriptor: i32,
    /// The latter.
    pub shared: bool,
}

/// All sessions of one worker, side by side: what takes a place of its own in memory takes more.
pub struct Roster {
    /// When the process began.
    start: Instant,
    places: RefCell<Vec<Option<Live>>>,
    free: RefCell<Vec<u32>>,
    count: Cell<u32>,
}

impl Roster {
    /// Without sessions yet; moments count from `start`.
    pub fn new(start: Instant) -> Roster {
        Roster {
            start,
            places: RefCell::default(),
            free: RefCell::default(),
            count: Cell::default(),
        }
    }

    /// The place of a new session; it stays until it is given back.
    pub fn add(&self, session: Arrived) -> u32 {
        let mut places = self.places.borrow_mut();
        let place = self.free.borrow_mut().pop().unwrap_or(places.len() as u32);
        let number = self.count.get().wrapping_add(1);
        self.count.set(number);
        let live = Some(Live {
            number,
            source: Ends::new(session.source, None),
            frontend: session.frontend,
            accepted: session.accepted,
            descriptor: session.descriptor,
            backend: Cell::new(NONE),
            server: Cell::new(NONE),
            requests: Cell::new(0),
            stage: Cell::new(Stage::Idle),
            killed: Cell::new(false),
            shared: session.shared,
            waker: Cell::default(),
        });
        match places.get_mut(place as usize) {
            Some(slot) => *slot = live,
            None => places.push(live),
        }
        place
    }

    /// A session that is over.
    pub fn remove(&self, place: u32) {
        let mut places = self.places.borrow_mut();
        let gone = places.get_mut(place as usize).and_then(Option::take);
        // Its waker may be the last that knew of a task, whose end comes here again.
        drop(places);
        if gone.is_some() {
            self.free.borrow_mut().push(place);
        }
    }

    fn with<T>(&self, place: u32, f: impl FnOnce(&Live) -> T) -> Option<T> {
        let places = self.places.borrow();
        places.get(place as usize)?.as_ref().map(f)
    }

    /// When it came.
    pub fn accepted(&self, place: u32) -> Moment {
        let known = self.with(place, |live| live.accepted);
        known.unwrap_or(Moment::new(self.start, self.start))
    }

    /// A request, or a TCP connection's bytes, are under way.
    pub fn begin(&self, place: u32, requests: u32) {
        self.with(place, |live| {
            live.requests.set(requests);
            live.stage.set(Stage::Busy);
        });
    }

    /// Whom to wake when the session is to end, where closing a descriptor does not tell it, or may
    /// end because the process will.
    pub fn wake_by(&self, place: u32, waker: &Waker) {
        let Some(known) = self.with(place, |live| live.waker.take()) else {
            return;
        };
        // One that is replaced may be the last that knew of a task, whose end comes here again.
        let known = known.filter(|known| known.will_wake(waker));
        let known = known.unwrap_or_else(|| Box::new(waker.clone()));
        self.with(place, |live| live.waker.set(Some(known)));
    }

    /// The backend is chosen.
    pub fn enter(&self, place: u32, backend: u32) {
        self.with(place, |live| live.backend.set(backend));
    }

    /// The server is chosen.
    pub fn assign(&self, place: u32, server: u32) {
        self.with(place, |live| live.server.set(server));
    }

    /// The request is over.
    pub fn end_request(&self, place: u32) {
        self.with(place, |live| {
            live.backend.set(NONE);
            live.server.set(NONE);
            live.stage.set(Stage::Idle);
        });
    }

    /// Whether an operator has ended the session.
    pub fn was_killed(&self, place: u32) -> bool {
        self.with(place, |live| live.killed.get()).unwrap_or(false)
    }

    /// Has sessions look whether the process is about to end.
    pub fn wake(&self) {
        let places = self.places.borrow();
        places.iter().flatten().for_each(Live::wake);
    }

    /// All of them.
    pub fn list(&self, worker: usize) -> Vec<SessionFacts> {
        let places = self.places.borrow();
        let all = places.iter().flatten();
        all.map(|l| self.facts(worker, l)).collect()
    }

    /// Ends connections that wait for another request, of the frontends that are meant: they see the
    /// end of their client's stream, behind a request that has come already.
    pub fn let_go(&self, meant: impl Fn(u32) -> bool) {
        let places = self.places.borrow();
        let waiting = places.iter().flatten().filter(|live| {
            let waits = live.stage.get() == Stage::Idle && live.requests.get() > 0;
            waits && !live.shared && meant(live.frontend)
        });
        for live in waiting {
            // SAFETY: as in `end`, below.
            unsafe { libc::shutdown(live.descriptor, libc::SHUT_RD) };
        }
    }

    /// Ends those that are meant, by closing their clients' connections under them: they then end
    /// as they do when a client leaves, with all that this releases and counts.
    pub fn end(&self, worker: usize, which: Which) -> usize {
        let places = self.places.borrow();
        let all = places.iter().flatten();
        let meant = all.filter(|l| which.means(&self.facts(worker, l)));
        meant
            .map(|live| {
                live.killed.set(true);
                live.wake();
                if live.shared {
                    return;
                }
                // SAFETY: plain call; the descriptor is open, because a session leaves the roster
                // in the same step in which it closes it, on this very thread.
                unsafe { libc::shutdown(live.descriptor, libc::SHUT_RDWR) };
            })
            .count()
    }

    fn facts(&self, worker: usize, live: &Live) -> SessionFacts {
        SessionFacts {
            // Worker and number side by side; never 0.
            id: (worker as u64 + 1) << 32 | u64::from(live.number),
            worker,
            source: live.source.src(),
            frontend: live.frontend,
            backend: Some(live.backend.get()).filter(|id| *id != NONE),
            server: Some(live.server.get()).filter(|id| *id != NONE),
            accepted: live.accepted.instant(self.start),
            requests: live.requests.get(),
            stage: live.stage.get(),
            descriptor: live.descriptor,
        }
    }
}

/// The way to the rosters of all workers.
pub struct Rosters {
    pub(crate) doors: Arc<Vec<Door>>,
}

impl Rosters {
    /// Asks every worker at once, and takes what comes in time.
    fn ask<T>(&self, patience: Duration, order: impl Fn(Sender<T>) -> Order) -> Vec<T> {
        let answers = self.doors.iter().map(|door| {
            let (answer, answered) = channel();
            // A worker that has ended does not answer: its end of the channel is dropped.
            let _ = door.orders.send(order(answer));
            answered
        });
        let answers: Vec<_> = answers.collect();
        let until = Instant::now() + patience;
        let left = || until.saturating_duration_since(Instant::now());
        let come = answers.into_iter();
        come.filter_map(|a| a.recv_timeout(left()).ok()).collect()
    }
}

impl Sessions for Rosters {
    fn list(&self, patience: Duration) -> Vec<SessionFacts> {
        let lists = self.ask(patience, Order::ListSessions);
        lists.into_iter().flatten().collect()
    }

    fn end(&self, which: Which, patience: Duration) -> usize {
        let counts = self.ask(patience, |answer| Order::EndSessions(which, answer));
        counts.into_iter().sum()
    }

    fn idle(&self, patience: Duration) -> Vec<Vec<u32>> {
        self.ask(patience, Order::CountIdle)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Wake;

    fn arrival(frontend: u32) -> Arrived {
        let now = Instant::now();
        Arrived {
            source: None,
            frontend,
            accepted: Moment::new(now, now),
            descriptor: -1,
            shared: false,
        }
    }

    #[test]
    fn a_place_is_used_again_under_another_number() {
        let roster = Roster::new(Instant::now());
        let arrive = |frontend| roster.add(arrival(frontend));
        let (first, second) = (arrive(2), arrive(3));
        roster.remove(first);
        let third = arrive(4);
        let list = roster.list(1);
        let frontends: Vec<u32> = list.iter().map(|s| s.frontend).collect();
        assert_eq!(frontends, [4, 3]);
        assert_ne!(list[0].id, list[1].id);
        roster.begin(third, 1);
        roster.enter(third, 7);
        roster.assign(third, 1);
        assert_eq!(roster.end(1, Which::Server(7, 1)), 1);
        assert!(roster.was_killed(third) && !roster.was_killed(second));
    }

    thread_local! {
        static ROSTER: Roster = Roster::new(Instant::now());
    }

    /// What is left of a task whose session has this place.
    struct Last(u32);

    impl Wake for Last {
        fn wake(self: Arc<Self>) {}
    }

    impl Drop for Last {
        fn drop(&mut self) {
            ROSTER.with(|roster| roster.remove(self.0));
        }
    }

    #[test]
    fn a_waker_that_is_replaced_may_end_a_session() {
        ROSTER.with(|roster| {
            let (first, second) = (roster.add(arrival(1)), roster.add(arrival(2)));
            roster.wake_by(first, &Waker::from(Arc::new(Last(second))));
            assert_eq!(roster.list(0).len(), 2);
            roster.wake_by(first, Waker::noop());
            assert_eq!(roster.list(0).len(), 1);
        });
    }

    #[test]
    fn a_record_is_small() {
        assert!(size_of::<Option<Live>>() <= 64);
    }
}
