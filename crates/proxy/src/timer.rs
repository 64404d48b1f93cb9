//! Deadlines of a worker's connections.
//!
//! A connection has one [`Timer`], whose deadline moves with every byte. Moving it later is a
//! store: the entry in the queue stays where it is, and when its time comes it is put back at
//! the new deadline. Only an earlier deadline touches the queue.

use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

/// Milliseconds since the worker started; `NEVER` is not armed.
type Tick = u64;
const NEVER: Tick = Tick::MAX;

struct Slot {
    deadline: Tick,
    /// Tick of the queue entry that counts for this slot; `NEVER`: none.
    queued: Tick,
    waker: Option<Waker>,
}

#[derive(Default)]
struct Queue {
    slots: Vec<Slot>,
    free: Vec<u32>,
    heap: BinaryHeap<Reverse<(Tick, u32)>>,
    /// The tick up to which everything has been fired.
    now: Tick,
    /// Tick that the driver sleeps for.
    driver_until: Tick,
    driver: Option<Waker>,
}

/// All timers of one worker.
pub struct Timers {
    start: Instant,
    queue: RefCell<Queue>,
}

impl Timers {
    /// No timers yet; ticks count from `start`.
    pub fn new(start: Instant) -> Rc<Timers> {
        let queue = RefCell::new(Queue {
            driver_until: NEVER,
            ..Queue::default()
        });
        Rc::new(Timers { start, queue })
    }

    /// The tick at or after `at`, so that nothing fires early.
    fn tick(&self, at: Instant) -> Tick {
        let since = at.saturating_duration_since(self.start);
        let begun = u64::from(since.subsec_nanos().div_ceil(1_000_000));
        let ticks = since.as_secs().saturating_mul(1000).saturating_add(begun);
        ticks.min(NEVER - 1)
    }

    /// Fires every timer whose deadline has come; returns the next tick with an entry.
    fn advance(&self, now: Instant) -> Tick {
        let now = self.tick(now);
        let mut due = Vec::new();
        let mut queue = self.queue.borrow_mut();
        let queue = &mut *queue;
        queue.now = now;
        let next = loop {
            let Some(Reverse((tick, index))) = queue.heap.peek().copied() else {
                break NEVER;
            };
            if tick > now {
                break tick;
            }
            queue.heap.pop();
            let Some(slot) = queue.slots.get_mut(index as usize) else {
                continue;
            };
            if slot.queued != tick {
                continue;
            }
            slot.queued = NEVER;
            if slot.deadline <= now {
                due.extend(slot.waker.take());
            } else if slot.deadline != NEVER {
                slot.queued = slot.deadline;
                queue.heap.push(Reverse((slot.deadline, index)));
            }
        };
        queue.driver_until = next;
        // Waking runs no task here: it only queues them.
        due.into_iter().for_each(Waker::wake);
        next
    }

    /// Runs for the life of the worker: sleeps until the next entry and fires what is due.
    pub async fn drive(self: Rc<Self>) {
        let mut sleep = pin!(tokio::time::sleep(Duration::ZERO));
        poll_fn(|cx| -> Poll<()> {
            loop {
                let next = self.advance(Instant::now());
                self.queue.borrow_mut().driver = Some(cx.waker().clone());
                if next == NEVER {
                    return Poll::Pending;
                }
                let at = self.start + Duration::from_millis(next);
                sleep.as_mut().reset(tokio::time::Instant::from_std(at));
                if sleep.as_mut().poll(cx).is_pending() {
                    return Poll::Pending;
                }
            }
        })
        .await;
    }

    /// A new timer, not armed.
    pub fn timer(self: &Rc<Self>) -> Timer {
        let mut queue = self.queue.borrow_mut();
        let fresh = Slot {
            deadline: NEVER,
            queued: NEVER,
            waker: None,
        };
        let index = match queue.free.pop() {
            Some(index) => {
                if let Some(slot) = queue.slots.get_mut(index as usize) {
                    // An entry of the slot's former owner may still be queued: it is the same
                    // slot's business now and fires, at worst, into a deadline not yet reached.
                    let queued = slot.queued;
                    *slot = Slot { queued, ..fresh };
                }
                index
            }
            None => {
                queue.slots.push(fresh);
                (queue.slots.len() - 1) as u32
            }
        };
        Timer {
            timers: Rc::clone(self),
            index,
        }
    }
}

/// One deadline; dropping it forgets the deadline.
pub struct Timer {
    timers: Rc<Timers>,
    index: u32,
}

impl Timer {
    /// Sets the deadline; `None` is never.
    pub fn arm(&self, at: Option<Instant>) {
        let deadline = at.map_or(NEVER, |at| self.timers.tick(at));
        let mut queue = self.timers.queue.borrow_mut();
        let queue = &mut *queue;
        let Some(slot) = queue.slots.get_mut(self.index as usize) else {
            return;
        };
        slot.deadline = deadline;
        if deadline < slot.queued && deadline > queue.now {
            slot.queued = deadline;
            queue.heap.push(Reverse((deadline, self.index)));
            if deadline < queue.driver_until {
                queue.driver_until = deadline;
                if let Some(driver) = queue.driver.take() {
                    driver.wake();
                }
            }
        }
    }

    /// Ready once the deadline has passed; until then the task is woken when it does.
    pub fn poll_expired(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut queue = self.timers.queue.borrow_mut();
        let now = queue.now;
        let Some(slot) = queue.slots.get_mut(self.index as usize) else {
            return Poll::Pending;
        };
        if slot.deadline == NEVER {
            return Poll::Pending;
        }
        if slot.deadline <= now {
            return Poll::Ready(());
        }
        match &slot.waker {
            Some(waker) if waker.will_wake(cx.waker()) => {}
            _ => slot.waker = Some(cx.waker().clone()),
        }
        Poll::Pending
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        let mut queue = self.timers.queue.borrow_mut();
        let index = self.index;
        if let Some(slot) = queue.slots.get_mut(index as usize) {
            slot.deadline = NEVER;
            slot.waker = None;
            queue.free.push(index);
        }
    }
}
