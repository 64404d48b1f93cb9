//! The thread that runs all virtual routers of this process, and how it is spoken to.

use crate::running::Running;
use crate::track::Watch;
use model::Vrrp;
use state::{Replication, VirtualRouters, VrrpStatus};
use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::JoinHandle;
use std::time::Duration;

/// How long the thread may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// Where messages for people go, each a line without its end.
pub type Say = Box<dyn Fn(&str) + Send>;

/// What the thread is asked.
pub enum Command {
    /// The sections changed; answers what could not be done.
    Reload(Vec<Arc<Vrrp>>, Sender<Vec<String>>),
    /// What there is.
    Status(Sender<Vec<VrrpStatus>>),
    /// An operator wants another router to be active, or no longer.
    Release(Option<String>, bool, Sender<Result<(), String>>),
    /// The process has given up its privileges.
    Reduce,
    /// How far copies of sessions are has changed.
    Look,
    /// The process ends: farewells, and addresses are removed.
    Stop,
}

/// How to begin.
#[derive(Clone, Copy, Debug, Default)]
pub struct Start {
    /// Another process of this machine is to be replaced: its virtual routers are asked for.
    pub replaces: bool,
    /// The process is about to give up its privileges: the thread keeps those that it needs.
    pub keep_rights: bool,
}

/// The virtual routers of this process.
pub struct Service {
    commands: Sender<Command>,
    wake: UnixStream,
    thread: Option<JoinHandle<()>>,
}

impl Service {
    /// Opens what it needs, with the privileges that takes, and starts the thread.
    pub fn start(
        how: Start,
        sections: Vec<Arc<Vrrp>>,
        watch: Box<dyn Watch>,
        replication: Arc<Replication>,
        say: Say,
    ) -> Result<Service, String> {
        let failed = |e: io::Error| format!("cannot start vrrp: {e}");
        let (wake, woken) = UnixStream::pair().map_err(failed)?;
        woken.set_nonblocking(true).map_err(failed)?;
        let (commands, orders) = mpsc::channel();
        let mut running = Running::open(how.replaces, sections, watch, replication, say)?;
        let thread = std::thread::Builder::new().name("vrrp".into());
        let (ready, is_ready) = mpsc::channel();
        let work = move || {
            running.begin(how.keep_rights);
            let _ = ready.send(());
            running.run(&orders, &woken);
        };
        let thread = thread.spawn(work).map_err(failed)?;
        // Its rights are settled before the process gives up its own.
        let _ = is_ready.recv_timeout(PATIENCE);
        Ok(Service {
            commands,
            wake,
            thread: Some(thread),
        })
    }

    fn order(&self, command: Command) -> Option<()> {
        self.commands.send(command).ok()?;
        (&self.wake).write_all(&[1]).ok()
    }

    fn ask<T>(&self, command: impl FnOnce(Sender<T>) -> Command) -> Option<T> {
        let (answer, answered): (Sender<T>, Receiver<T>) = mpsc::channel();
        self.order(command(answer))?;
        answered.recv_timeout(PATIENCE).ok()
    }

    /// To be called when the process has given up its privileges: the thread keeps only what it
    /// needs.
    pub fn reduce_rights(&self) {
        self.order(Command::Reduce);
    }

    /// Tells the thread that copies of sessions have become whole, or are no longer; good for any
    /// thread.
    pub fn looker(&self) -> Result<Box<dyn Fn() + Send>, String> {
        let wake = self.wake.try_clone();
        let wake = wake.map_err(|e| format!("cannot start to synchronise: {e}"))?;
        let commands = self.commands.clone();
        Ok(Box::new(move || {
            // It looks by itself when it ends.
            if commands.send(Command::Look).is_ok() {
                let _ = (&wake).write_all(&[1]);
            }
        }))
    }

    /// Puts other sections into force; the state of those that are the same virtual router stays.
    /// Says what could not be done.
    pub fn reload(&self, sections: Vec<Arc<Vrrp>>) -> Vec<String> {
        self.ask(|answer| Command::Reload(sections, answer))
            .unwrap_or_else(|| vec!["vrrp does not answer".into()])
    }

    /// Leaves gracefully: others take over at once.
    pub fn stop(self) {}
}

impl Drop for Service {
    fn drop(&mut self) {
        self.order(Command::Stop);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl VirtualRouters for Service {
    fn status(&self) -> Option<Vec<VrrpStatus>> {
        self.ask(Command::Status)
    }

    fn release(&self, name: Option<&str>, released: bool) -> Result<(), String> {
        let name = name.map(str::to_string);
        self.ask(|answer| Command::Release(name, released, answer))
            .unwrap_or_else(|| Err("vrrp does not answer".into()))
    }
}
