//! Commands run at changes of state, one after another.

use crate::track::{end, shell};
use std::collections::VecDeque;
use std::process::Child;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long one may take; the next one waits until then.
const LONGEST: Duration = Duration::from_secs(30);

/// How many may wait: who changes state faster than its commands run does not fill the memory.
const MOST: usize = 64;

/// How often a running command is looked at.
const REAP: Duration = Duration::from_millis(20);

/// A command with its arguments.
pub type Call = (Arc<str>, [String; 3]);

/// Commands that wait, and the one that runs.
#[derive(Default)]
pub struct Calls {
    waiting: VecDeque<Call>,
    running: Option<(Child, Instant)>,
}

impl Calls {
    /// Has a command run when its turn comes; `false` when too many wait already.
    pub fn push(&mut self, call: Call) -> bool {
        if self.waiting.len() >= MOST {
            return false;
        }
        self.waiting.push_back(call);
        true
    }

    /// When [`Calls::step`] wants to be called.
    pub fn deadline(&self, now: Instant) -> Option<Instant> {
        match (&self.running, self.waiting.is_empty()) {
            (Some(_), _) => Some(now + REAP),
            (None, false) => Some(now),
            (None, true) => None,
        }
    }

    /// Looks after the running command and starts the next one; what went wrong.
    pub fn step(&mut self, now: Instant) -> Option<String> {
        if let Some((child, since)) = &mut self.running {
            match child.try_wait() {
                Ok(Some(_)) => {}
                Ok(None) if now < *since + LONGEST => return None,
                Ok(None) | Err(_) => end(child),
            }
            self.running = None;
        }
        let (command, arguments) = self.waiting.pop_front()?;
        let arguments = arguments.each_ref().map(String::as_str);
        match shell(&command, &arguments).spawn() {
            Ok(child) => {
                self.running = Some((child, now));
                None
            }
            Err(e) => Some(format!("cannot run 'notify {command}': {e}")),
        }
    }

    /// Waits for those that are left, but not for long.
    pub fn finish(&mut self, patience: Duration) {
        let until = Instant::now() + patience;
        while (self.running.is_some() || !self.waiting.is_empty()) && Instant::now() < until {
            self.step(Instant::now());
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}
