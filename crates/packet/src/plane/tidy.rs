//! How much is looked at in one go, so that as many sessions can end in a second as begin.

use super::{Error, GLANCE, Plane};
use state::Process;
use std::time::{Duration, Instant};

/// How long removing may go on at a time, about, while everything else waits.
const HURRY: Duration = Duration::from_millis(20);

impl Plane {
    /// Looks at some more sessions and removes those that are over. Where that is much of what it
    /// meets it goes on for a while. Returns how many it removed.
    pub fn tidy(&mut self, process: &Process) -> Result<usize, Error> {
        let end = Instant::now() + HURRY;
        let mut removed = 0;
        loop {
            let more = self.tidy_some(process)?;
            removed += more;
            if more < GLANCE / 8 || Instant::now() >= end {
                return Ok(removed);
            }
        }
    }
}
