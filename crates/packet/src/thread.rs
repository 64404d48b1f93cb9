//! The thread that keeps the packet plane up to date.

use crate::pins::Presence;
use crate::plane::Plane;
use state::Process;
use std::io::Write;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

/// Between two looks at the live objects: how fast a server that goes down gets no more sessions.
const TICK: Duration = Duration::from_millis(100);
/// Ticks between two looks at routes, neighbours and counters.
const SLOW: u32 = 10;

enum Order {
    Sync(Sender<()>),
    List(Sender<String>),
    Clear(Vec<String>, Sender<String>),
    Events(Sender<String>),
    Trace(IpAddr, Sender<String>),
    Guard(Sender<String>),
}

/// The packet plane at work, until the process ends.
pub struct Runner {
    orders: Sender<Order>,
    presence: Presence,
}

impl Runner {
    /// Fills the tables, attaches the programs, and keeps both up to date from then on.
    pub fn start(mut plane: Plane, process: Arc<Process>) -> Result<Runner, crate::Error> {
        plane.sync(&process, true)?;
        plane.account(&process, Instant::now());
        let presence = plane.enter();
        let presence = presence
            .map_err(|e| crate::kernel::because("the packet tables cannot be locked", &e))?;
        let (orders, taken) = channel();
        std::thread::Builder::new()
            .name("packet".into())
            .spawn(move || run(&mut plane, &process, &taken))
            .map_err(|e| crate::kernel::because("cannot start the thread for packets", &e))?;
        Ok(Runner { orders, presence })
    }

    /// Whether no other process serves the same. Asked at the end only.
    pub fn is_last(&self) -> bool {
        self.presence.is_last()
    }

    fn ask<T>(&self, order: impl FnOnce(Sender<T>) -> Order) -> Option<T> {
        let (answer, comes) = channel();
        self.orders.send(order(answer)).ok()?;
        comes.recv_timeout(Duration::from_secs(10)).ok()
    }

    /// Brings the tables to what the live objects say now, and returns when they do.
    pub fn sync(&self) {
        self.ask(Order::Sync);
    }

    /// One line for each session.
    pub fn list(&self) -> Option<String> {
        self.ask(Order::List)
    }

    /// Ends the sessions whose lines have all of these texts, and says how many.
    pub fn clear(&self, texts: &[&str]) -> Option<String> {
        let texts = texts.iter().map(|t| t.to_string()).collect();
        self.ask(|answer| Order::Clear(texts, answer))
    }

    /// What each stage decided about a client's sessions.
    pub fn trace(&self, client: IpAddr) -> Option<String> {
        self.ask(|answer| Order::Trace(client, answer))
    }

    /// One line for each frontend and what its guard did.
    pub fn guard(&self) -> Option<String> {
        self.ask(Order::Guard)
    }

    /// One line for each kind of event, with its count.
    pub fn events(&self) -> Option<String> {
        self.ask(Order::Events)
    }
}

fn run(plane: &mut Plane, process: &Process, orders: &Receiver<Order>) {
    let mut tick = 0u32;
    let mut next = Instant::now();
    loop {
        // Whoever asked may have gone meanwhile.
        match orders.recv_timeout(next.saturating_duration_since(Instant::now())) {
            Ok(Order::Sync(done)) => {
                tell(plane.sync(process, true));
                let _ = done.send(());
                continue;
            }
            Ok(Order::List(answer)) => {
                let _ = answer.send(plane.list().unwrap_or_else(|e| format!("{e}\n")));
                continue;
            }
            Ok(Order::Trace(client, answer)) => {
                let _ = answer.send(plane.trace(client).unwrap_or_else(|e| format!("{e}\n")));
                continue;
            }
            Ok(Order::Clear(texts, answer)) => {
                let said = plane.clear(&texts);
                let _ = answer.send(
                    said.map_or_else(|e| format!("{e}\n"), |n| format!("{n} sessions ended\n")),
                );
                continue;
            }
            Ok(Order::Events(answer)) => {
                let lines = plane
                    .events()
                    .into_iter()
                    .map(|(name, n)| format!("{name}: {n}\n"));
                let lines: String = lines.collect();
                let _ = answer.send(lines + &plane.attached());
                continue;
            }
            Ok(Order::Guard(answer)) => {
                let _ = answer.send(plane.guard_lines());
                continue;
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        next = Instant::now() + TICK;
        tick = tick.wrapping_add(1);
        let slow = tick.is_multiple_of(SLOW);
        tell(plane.sync(process, slow));
        if slow {
            plane.account(process, Instant::now());
        }
        tell(plane.find_neighbours());
        tell(plane.tidy(process).map(|_| ()));
        tell(plane.tidy_sources());
    }
}

/// What fails is tried again at the next tick; it is said once a second at most.
fn tell(result: Result<(), crate::Error>) {
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
    static LAST: AtomicU64 = AtomicU64::new(0);
    if let Err(e) = result {
        let now = crate::sessions::now().into();
        if LAST.swap(now, Relaxed) != now {
            // Where it cannot be written nothing else can be done about it.
            let _ = writeln!(std::io::stderr(), "warning: packets: {e}");
        }
    }
}
