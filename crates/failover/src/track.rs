//! What must be well for this machine to be active: interfaces, frontends, backends, commands and
//! files.

use crate::link::Link;
use crate::machine::Health;
use model::{Script, Track, Tracked};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How often frontends, backends and files are looked at.
pub const LOOK: Duration = Duration::from_millis(100);

/// How often a running command is looked at.
const REAP: Duration = Duration::from_millis(20);

/// The running proxy, as far as tracking sees it.
pub trait Watch: Send {
    /// Whether a frontend takes connections.
    fn frontend(&self, name: &str) -> bool;
    /// Whether a server of a backend is usable.
    fn backend(&self, name: &str) -> bool;
}

/// One `track` line while it is watched.
pub struct Tracker {
    track: Track,
    /// Whether it is up.
    pub up: bool,
    /// The number of a file; 0 for everything else.
    number: i32,
    run: Run,
}

/// A command between its runs and in one.
struct Run {
    next: Instant,
    child: Option<(Child, Instant)>,
    good: u32,
    bad: u32,
}

impl Tracker {
    /// Counts as up until it is known better.
    pub fn new(track: Track, now: Instant) -> Tracker {
        Tracker {
            track,
            up: true,
            number: 0,
            run: Run {
                next: now,
                child: None,
                good: 0,
                bad: 0,
            },
        }
    }

    /// What it watches.
    pub fn track(&self) -> &Track {
        &self.track
    }

    /// In words.
    pub fn name(&self) -> String {
        match &self.track.what {
            Tracked::Interface(name) => format!("interface {name}"),
            Tracked::Frontend(name) => format!("frontend {name}"),
            Tracked::Backend(name) => format!("backend {name}"),
            Tracked::Script(script) => format!("script {}", script.command),
            Tracked::File(path) => format!("file {path}"),
        }
    }

    /// When it wants to be looked at again; interfaces tell by themselves.
    pub fn deadline(&self, looked: Instant) -> Option<Instant> {
        match &self.track.what {
            Tracked::Interface(_) => None,
            Tracked::Script(_) => Some(match &self.run.child {
                Some((_, since)) => self.run.next.min(looked.max(*since) + REAP),
                None => self.run.next,
            }),
            _ => Some(looked + LOOK),
        }
    }

    /// Looks at it.
    pub fn look(&mut self, links: &[Link], watch: &dyn Watch, now: Instant) {
        match &self.track.what {
            Tracked::Interface(name) => {
                self.up = links.iter().any(|l| l.name == **name && l.up);
            }
            Tracked::Frontend(name) => self.up = watch.frontend(name),
            Tracked::Backend(name) => self.up = watch.backend(name),
            Tracked::File(path) => {
                // A file that is not there says nothing.
                let text = std::fs::read_to_string(&**path).unwrap_or_default();
                self.number = text
                    .trim()
                    .parse()
                    .unwrap_or(i32::from(!text.trim().is_empty()));
                self.up = self.number == 0;
            }
            Tracked::Script(script) => {
                if let Some(good) = self.run.step(script, now) {
                    self.up = self.run.count(script, good, self.up);
                }
            }
        }
    }

    /// What it means for the priority.
    fn weigh(&self, health: &mut Health) {
        let Some(weight) = self.track.weight else {
            health.fault |= !self.up;
            return;
        };
        let change = match (&self.track.what, self.up) {
            (Tracked::File(_), _) => self.number.saturating_mul(weight),
            (_, true) => weight.max(0),
            (_, false) => weight.min(0),
        };
        health.weight = health.weight.saturating_add(change);
    }
}

/// What all of them come to.
pub fn weigh(trackers: &[Tracker]) -> Health {
    let mut health = Health::default();
    trackers.iter().for_each(|t| t.weigh(&mut health));
    health
}

impl Run {
    /// Starts, looks after and ends the command; what came of it when it is over.
    fn step(&mut self, script: &Script, now: Instant) -> Option<bool> {
        if let Some((child, since)) = &mut self.child {
            let ended = match child.try_wait() {
                Ok(Some(status)) => Some(status.success()),
                Ok(None) if now < *since + script.timeout => None,
                Ok(None) | Err(_) => {
                    end(child);
                    Some(false)
                }
            };
            if ended.is_some() {
                self.child = None;
            }
            return ended;
        }
        if now < self.next {
            return None;
        }
        self.next = now + script.inter;
        match shell(&script.command, &[]).spawn() {
            Ok(child) => {
                self.child = Some((child, now));
                None
            }
            Err(_) => Some(false),
        }
    }

    fn count(&mut self, script: &Script, good: bool, up: bool) -> bool {
        if good {
            (self.good, self.bad) = (self.good.saturating_add(1), 0);
            up || self.good >= script.rise
        } else {
            (self.good, self.bad) = (0, self.bad.saturating_add(1));
            up && self.bad < script.fall
        }
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        if let Some((child, _)) = &mut self.child {
            end(child);
        }
    }
}

/// A command line for `/bin/sh`, in a process group of its own.
pub fn shell(command: &str, arguments: &[&str]) -> Command {
    let mut shell = Command::new("/bin/sh");
    let line = match arguments.is_empty() {
        true => command.to_string(),
        false => format!("{command} \"$@\""),
    };
    shell.arg("-c").arg(line).arg("mulgil").args(arguments);
    shell.stdin(Stdio::null()).stdout(Stdio::null());
    shell.process_group(0);
    shell
}

/// Ends a command with all that it has started.
pub fn end(child: &mut Child) {
    let group = i32::try_from(child.id()).unwrap_or(0);
    if group > 1 {
        // SAFETY: plain call; the group is that of a child which has not been waited for, so the
        // number is not anybody else's.
        unsafe { libc::kill(-group, libc::SIGKILL) };
    }
    let _ = child.wait();
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    struct World(bool);

    impl Watch for World {
        fn frontend(&self, _: &str) -> bool {
            self.0
        }
        fn backend(&self, _: &str) -> bool {
            self.0
        }
    }

    fn tracker(what: Tracked, weight: Option<i32>) -> Tracker {
        Tracker::new(Track { what, weight }, Instant::now())
    }

    fn health(fault: bool, weight: i32) -> Health {
        Health { fault, weight }
    }

    #[test]
    fn without_a_weight_down_is_a_fault_and_with_one_it_counts() {
        let now = Instant::now();
        for (weight, up, wanted) in [
            (None, true, health(false, 0)),
            (None, false, health(true, 0)),
            (Some(-20), true, health(false, 0)),
            (Some(-20), false, health(false, -20)),
            (Some(20), true, health(false, 20)),
            (Some(20), false, health(false, 0)),
        ] {
            let mut t = tracker(Tracked::Backend("b".into()), weight);
            t.look(&[], &World(up), now);
            assert_eq!(weigh(&[t]), wanted, "{weight:?} {up}");
        }
    }

    #[test]
    fn an_interface_is_up_while_it_is_there_and_has_a_carrier() {
        let mut t = tracker(Tracked::Interface("eth1".into()), None);
        let now = Instant::now();
        t.look(&[], &World(true), now);
        assert!(!t.up);
        let mut link = Link {
            index: 2,
            name: "eth1".into(),
            mac: [0; 6],
            up: true,
            virtual_mac: false,
            addresses: Vec::new(),
        };
        t.look(std::slice::from_ref(&link), &World(true), now);
        assert!(t.up);
        link.up = false;
        t.look(&[link], &World(true), now);
        assert!(!t.up);
    }

    #[test]
    fn a_file_has_a_number_that_a_weight_multiplies() {
        let path = std::env::temp_dir().join(format!("mulgil-track-{}", std::process::id()));
        let name: Arc<str> = path.to_string_lossy().into();
        for (text, wanted) in [
            (None, health(false, 0)),
            (Some("0\n"), health(false, 0)),
            (Some("2\n"), health(false, -20)),
            (Some("-1"), health(false, 10)),
            (Some("99999999999"), health(false, -10)),
            (Some("maintenance"), health(false, -10)),
        ] {
            match text {
                Some(text) => std::fs::write(&path, text).expect("a file"),
                None => drop(std::fs::remove_file(&path)),
            }
            let mut t = tracker(Tracked::File(Arc::clone(&name)), Some(-10));
            t.look(&[], &World(true), Instant::now());
            assert_eq!(weigh(&[t]), wanted, "{text:?}");
        }
        std::fs::remove_file(&path).expect("it is there");
    }

    #[test]
    fn a_command_counts_after_as_many_runs_as_asked_for() {
        let script = Script {
            command: "true".into(),
            inter: Duration::ZERO,
            timeout: Duration::from_secs(5),
            rise: 2,
            fall: 3,
        };
        let mut t = tracker(Tracked::Script(script.clone()), None);
        let mut up = true;
        let runs = [
            false, false, true, false, false, false, true, false, true, true,
        ];
        let seen = runs.map(|good| {
            up = t.run.count(&script, good, up);
            up
        });
        let wanted = [
            true, true, true, true, true, false, false, false, false, true,
        ];
        assert_eq!(seen, wanted);
    }

    #[test]
    fn a_command_that_takes_too_long_is_ended_and_counts_as_bad() {
        let script = Script {
            command: "sleep 600".into(),
            inter: Duration::from_secs(1),
            timeout: Duration::from_millis(1),
            rise: 1,
            fall: 1,
        };
        let mut t = tracker(Tracked::Script(script), None);
        let now = Instant::now();
        t.look(&[], &World(true), now);
        assert!(t.run.child.is_some());
        t.look(&[], &World(true), now + Duration::from_secs(2));
        assert!(t.run.child.is_none() && !t.up);
    }
}
