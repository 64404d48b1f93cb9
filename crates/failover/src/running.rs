//! The loop: waits for packets, changes of links, orders and time; tells the machines; does what
//! they say.

mod before;
mod orders;
mod peers;
mod step;

pub use before::is_left_behind;

use crate::accept::Shield;
use crate::check::{Refusal, check};
use crate::door::Door;
use crate::guardian::{Guardian, Will};
use crate::instance::Instance;
use crate::link::{Link, Netlink};
use crate::machine::{Action, Advert, LEAVING, State};
use crate::notify::Calls;
use crate::router::Router;
use crate::service::{Command, Say};
use crate::socket::{Ear, Frames, Heard};
use crate::track::{Tracker, Watch, weigh};
use model::Vrrp;
use state::Replication;
use std::collections::BTreeMap;
use std::io::Read;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

/// Packets read from one socket before anything else gets its turn.
const BURST: usize = 512;

/// How long the last notify commands may take when the process ends.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// All virtual routers, with what they share.
pub struct Running {
    netlink: Netlink,
    frames: Frames,
    links: Vec<Link>,
    ears: Vec<Ear>,
    paths: Vec<peers::Path>,
    router: Router,
    /// Beside each member of the router.
    instances: Vec<Instance>,
    trackers: Vec<Vec<Tracker>>,
    doors: Vec<Option<Door>>,
    looked: Instant,
    calls: Calls,
    guardian: Option<Guardian>,
    /// Keeps packets out that `no accept` is about, once there are any.
    shield: Option<Shield>,
    watch: Box<dyn Watch>,
    replication: Arc<Replication>,
    /// Addresses whose sessions are kept alike, and whether they are served here.
    roles: BTreeMap<IpAddr, bool>,
    /// When the statistics were told last, and of which states.
    shown: Option<(Instant, Vec<State>)>,
    say: Say,
}

impl Running {
    /// Opens the sockets, removes what a process before this one left behind, and starts every
    /// section's election.
    pub fn open(
        replaces: bool,
        sections: Vec<Arc<Vrrp>>,
        watch: Box<dyn Watch>,
        replication: Arc<Replication>,
        say: Say,
    ) -> Result<Running, String> {
        let failed = |what: &str, e: std::io::Error| {
            format!("vrrp needs {what}: {e}; start as root, or with CAP_NET_ADMIN and CAP_NET_RAW")
        };
        let mut netlink = Netlink::open().map_err(|e| failed("netlink", e))?;
        let frames = Frames::open().map_err(|e| failed("a packet socket", e))?;
        let links = netlink
            .links()
            .map_err(|e| failed("the list of interfaces", e))?;
        let mut running = Running {
            netlink,
            frames,
            links,
            ears: Vec::new(),
            paths: Vec::new(),
            router: Router::default(),
            instances: Vec::new(),
            trackers: Vec::new(),
            doors: Vec::new(),
            looked: Instant::now(),
            calls: Calls::default(),
            guardian: None,
            shield: None,
            watch,
            replication,
            roles: BTreeMap::new(),
            shown: None,
            say,
        };
        running.guardian = match Guardian::start() {
            Ok(guardian) => Some(guardian),
            Err(e) => {
                (running.say)(&format!(
                    "warning: vrrp: no guardian can be started: {e}; after a crash addresses stay until the next start"
                ));
                None
            }
        };
        let (inherited, doors) = running.inherit(replaces, &sections)?;
        running.clean(&sections, &inherited);
        let now = Instant::now();
        for ((section, inherited), door) in sections.into_iter().zip(inherited).zip(doors) {
            running.add(section, inherited, Some(door), now);
        }
        running.follow_links(now);
        Ok(running)
    }

    fn refresh_links(&mut self) {
        match self.netlink.links() {
            Ok(links) => self.links = links,
            Err(e) => (self.say)(&format!("warning: vrrp: cannot list interfaces: {e}")),
        }
    }

    /// Brings sockets and health in line with the links as they are.
    fn follow_links(&mut self, now: Instant) {
        self.open_ears();
        self.open_paths();
        self.look(now);
        self.follow_copies(now);
        // Those that are new begin when it is known how they are.
        for member in &mut self.router.members {
            if !member.machine.is_running() {
                member.machine.start(now);
            }
        }
        self.router.settle(now);
        for at in 0..self.instances.len() {
            self.keep_addresses(at, now);
        }
        self.act(now);
    }

    /// One ear for each interface and family.
    fn open_ears(&mut self) {
        let mut wanted: Vec<(&Link, bool)> = Vec::new();
        for instance in &self.instances {
            let (name, ipv6) = (&instance.vrrp.interface, instance.vrrp.is_ipv6());
            if let Some(link) = self.links.iter().find(|l| l.name == **name)
                && !wanted
                    .iter()
                    .any(|(l, six)| l.index == link.index && *six == ipv6)
            {
                wanted.push((link, ipv6));
            }
        }
        self.ears.retain(|e| {
            wanted
                .iter()
                .any(|(l, six)| l.index == e.link && *six == e.ipv6)
        });
        for (link, ipv6) in wanted {
            if self
                .ears
                .iter()
                .any(|e| e.link == link.index && e.ipv6 == ipv6)
            {
                continue;
            }
            match Ear::open(link, ipv6) {
                Ok(ear) => self.ears.push(ear),
                // It is tried again at the next change of a link.
                Err(e) if link.up => {
                    (self.say)(&format!("error: vrrp: cannot listen on {}: {e}", link.name));
                }
                Err(_) => {}
            }
        }
    }

    /// Looks at everything tracked and tells the machines.
    fn look(&mut self, now: Instant) {
        self.looked = now;
        for at in 0..self.instances.len() {
            let trackers = &mut self.trackers[at];
            for tracker in trackers.iter_mut() {
                tracker.look(&self.links, &*self.watch, now);
            }
            let mut health = weigh(trackers);
            let instance = &mut self.instances[at];
            let link = instance.follow_link(&self.links);
            let deaf = instance.link.as_ref().is_some_and(|l| {
                let ipv6 = instance.vrrp.is_ipv6();
                !self
                    .ears
                    .iter()
                    .any(|e| e.link == l.index && e.ipv6 == ipv6)
            });
            let down = trackers
                .iter()
                .find(|t| !t.up && t.track().weight.is_none());
            instance.fault = match (link, down) {
                (Err(why), _) => Some(why),
                (Ok(()), _) if deaf => {
                    Some(format!("cannot listen on {}", instance.vrrp.interface))
                }
                (Ok(()), Some(tracker)) => Some(format!("{} is down", tracker.name())),
                (Ok(()), None) => None,
            };
            health.fault |= instance.fault.is_some();
            let machine = &mut self.router.members[at].machine;
            let settings = instance.settings();
            if *machine.settings() != settings {
                machine.reconfigure(settings, now);
            }
            if machine.health() != health {
                machine.set_health(health, now);
            }
        }
        self.router.settle(now);
    }

    /// An active router's addresses that somebody has removed come back.
    fn keep_addresses(&mut self, at: usize, now: Instant) {
        if self.router.members[at].machine.state() != State::Active {
            return;
        }
        let instance = &mut self.instances[at];
        if instance.link.is_none() {
            return;
        }
        let home = instance.home();
        let there = |ip| home.is_some_and(|l| l.addresses.iter().any(|a| a.ip == ip));
        let lost: Vec<_> = instance
            .added
            .iter()
            .filter(|a| !there(a.ip))
            .copied()
            .collect();
        let missing = instance.vrrp.addresses.iter().any(|a| !there(a.ip));
        if !missing {
            return;
        }
        instance.added.retain(|a| !lost.contains(a));
        for address in lost {
            let line = format!(
                "{address} was removed from {} by somebody else: it is added again",
                instance.vrrp.interface
            );
            if instance.may_say(&line, now) {
                (self.say)(&format!("warning: vrrp {}: {line}", instance.vrrp.name));
            }
        }
        self.claim(at);
    }

    /// What the thread does first, as long as the process has all its rights.
    pub fn begin(&mut self, keep_rights: bool) {
        hurry();
        if keep_rights && let Err(e) = crate::rights::keep() {
            (self.say)(&format!(
                "error: vrrp: cannot keep the right to move addresses: {e}"
            ));
        }
    }

    /// Serves until told to stop.
    pub fn run(&mut self, orders: &Receiver<Command>, woken: &UnixStream) {
        loop {
            let now = Instant::now();
            let ready = self.wait(woken, now);
            let now = Instant::now();
            // Packets first: who was stopped for a while must see who took over meanwhile.
            self.hear(now);
            self.hear_peers(now);
            if ready.contains(&self.netlink.changes()) && self.netlink.changed() {
                self.refresh_links();
                self.follow_links(now);
            }
            self.answer_doors(&ready);
            if ready.contains(&woken.as_raw_fd()) {
                let mut bytes = [0; 64];
                let gone = matches!((&*woken).read(&mut bytes), Ok(0));
                if self.obey(orders, now) || gone {
                    return self.leave(now);
                }
            }
            if self.look_due().is_some_and(|at| at <= now) {
                self.look(now);
            }
            if self.ask_due().is_some_and(|at| at <= now) {
                self.ask_peers(now);
            }
            self.follow_copies(now);
            self.router.tick(now);
            self.act(now);
            self.make_will();
            self.say_waits(now);
            self.show(now);
            if let Some(wrong) = self.calls.step(now) {
                (self.say)(&format!("warning: vrrp: {wrong}"));
            }
        }
    }

    fn look_due(&self) -> Option<Instant> {
        let all = self.trackers.iter().flatten();
        all.filter_map(|t| t.deadline(self.looked)).min()
    }

    /// Waits for the next thing; the descriptors that are readable.
    fn wait(&self, woken: &UnixStream, now: Instant) -> Vec<RawFd> {
        let deadlines = [
            self.router.deadline(),
            self.look_due(),
            self.ask_due(),
            self.copies_due(now),
            self.calls.deadline(now),
        ];
        let next = deadlines.into_iter().flatten().min();
        let fds = [woken.as_raw_fd(), self.netlink.changes()];
        let paths = self.paths.iter().map(|p| p.socket.as_raw_fd());
        let fds = fds.into_iter().chain(self.ears.iter().map(Ear::fd));
        let fds = fds.chain(paths);
        let fds = fds.chain(self.doors.iter().flatten().map(Door::fd));
        let mut polled: Vec<libc::pollfd> = fds
            .map(|fd| libc::pollfd {
                fd,
                events: libc::POLLIN,
                revents: 0,
            })
            .collect();
        let wait = next.map(|at| {
            let wait = at.saturating_duration_since(now);
            libc::timespec {
                tv_sec: i64::try_from(wait.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: wait.subsec_nanos().into(),
            }
        });
        let timeout = wait.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
        // SAFETY: the array and the time are live variables, and the count is the array's.
        unsafe {
            libc::ppoll(
                polled.as_mut_ptr(),
                polled.len() as libc::nfds_t,
                timeout,
                std::ptr::null(),
            )
        };
        let ready = polled.iter().filter(|p| p.revents != 0);
        ready.map(|p| p.fd).collect()
    }

    /// Reads all packets that wait.
    fn hear(&mut self, now: Instant) {
        let mut all: Vec<(u32, bool, Heard)> = Vec::new();
        for ear in &self.ears {
            let packets = std::iter::from_fn(|| ear.hear()).take(BURST);
            all.extend(packets.map(|p| (ear.link, ear.ipv6, p)));
        }
        for (link, ipv6, heard) in all {
            let vrid = heard.bytes.get(1).copied().unwrap_or(0);
            let ours = self.instances.iter().position(|i| {
                let here = i.link.as_ref().is_some_and(|l| l.index == link);
                here && i.vrrp.is_ipv6() == ipv6 && i.vrrp.vrid == vrid
            });
            if let Some(at) = ours {
                self.hear_one(at, &heard, now);
            }
        }
        self.router.settle(now);
    }

    fn hear_one(&mut self, at: usize, heard: &Heard, now: Instant) {
        let instance = &mut self.instances[at];
        let machine = &mut self.router.members[at].machine;
        let passed = match check(&instance.vrrp, instance.own(), heard) {
            Ok(passed) => passed,
            Err(why) => {
                instance.counters.refuse(why);
                return self.say_refused(at, heard, why, now);
            }
        };
        instance.counters.received += 1;
        instance.counters.farewells.1 += u64::from(passed.advert.priority == LEAVING);
        instance.heard = Some((heard.source, passed.advert.priority, now));
        if passed.advert.priority != LEAVING {
            // What it cannot check it would not follow.
            instance.sum = passed.sum;
        }
        let advert = Advert {
            from: heard.source,
            priority: passed.advert.priority,
            interval: passed.advert.interval,
        };
        let contends = machine.state() == State::Active && advert.priority != LEAVING;
        machine.packet_received(&advert, now);
        if contends && machine.state() == State::Active {
            instance.counters.contended += 1;
        }
        if !passed.same_addresses {
            instance.counters.other_addresses += 1;
            let line = format!(
                "{} advertises virtual router {} with other addresses than ours: set 'address' alike on all routers",
                heard.source, instance.vrrp.vrid
            );
            if instance.may_say(&line, now) {
                (self.say)(&format!("warning: vrrp {}: {line}", instance.vrrp.name));
            }
        }
    }

    /// What cannot be heard is said, loudly when it means that two routers are active.
    fn say_refused(&mut self, at: usize, heard: &Heard, why: Refusal, now: Instant) {
        let active = self.router.members[at].machine.state() == State::Active;
        let instance = &mut self.instances[at];
        let line = format!(
            "an advert of {} for virtual router {} is refused: {}",
            heard.source,
            instance.vrrp.vrid,
            why.words()
        );
        let name = Arc::clone(&instance.vrrp.name);
        let line = match active {
            true => format!("error: vrrp {name}: {line}; two routers are active now"),
            false => format!("warning: vrrp {name}: {line}"),
        };
        if instance.may_say(&line, now) {
            (self.say)(&line);
        }
    }

    /// What is to be done if this process dies.
    fn make_will(&mut self) {
        let mut will = Will::default();
        for (instance, member) in self.instances.iter().zip(&self.router.members) {
            if let Some(home) = instance.home() {
                let added = instance.added.iter();
                will.addresses.extend(added.map(|a| (home.index, *a)));
            }
            will.links
                .extend(instance.own_link.as_ref().map(|l| l.index));
            if member.machine.state() == State::Active {
                will.farewells.extend(instance.farewells());
                will.marked.extend(instance.marked());
            }
        }
        if let Some(guardian) = &mut self.guardian {
            guardian.tell(will);
        }
    }

    /// Does what the machines want done.
    fn act(&mut self, now: Instant) {
        self.follow_acceptance(now);
        for at in 0..self.instances.len() {
            while let Some(action) = self.router.members[at].machine.poll_action() {
                self.act_one(at, action, now);
            }
        }
        self.publish(now);
    }

    fn act_one(&mut self, at: usize, action: Action, now: Instant) {
        let priority = self.router.members[at].machine.priority();
        let instance = &mut self.instances[at];
        let name = Arc::clone(&instance.vrrp.name);
        match action {
            Action::Advertise(priority) => instance.advertise(&self.frames, priority),
            Action::Claim => self.claim(at),
            Action::Yield => {
                let mut wrong = instance.remove_routes(&mut self.netlink, &instance.marked());
                wrong.extend(instance.remove_addresses(&mut self.netlink, |_| false));
                wrong.extend(instance.remove_own_link(&mut self.netlink));
                for wrong in wrong {
                    (self.say)(&format!("error: vrrp {name}: {wrong}"));
                }
            }
            Action::Announce => instance.announce(&self.frames),
            Action::Changed { from, to, cause } => {
                instance.changed(to, cause, now);
                let why = match (&instance.fault, to) {
                    (Some(fault), State::Initialize) => fault.clone(),
                    _ => cause.words().to_string(),
                };
                (self.say)(&format!(
                    "notice: vrrp {name}: from {} to {}, priority {priority}: {why}",
                    from.name(),
                    to.name(),
                ));
                for command in &instance.vrrp.notify {
                    let arguments = [name.to_string(), to.name().into(), priority.to_string()];
                    if !self.calls.push((Arc::clone(command), arguments)) {
                        (self.say)(&format!(
                            "warning: vrrp {name}: too many changes: 'notify {command}' is left out"
                        ));
                    }
                }
            }
            Action::Contended(other) => (self.say)(&format!(
                "error: vrrp {name}: two routers are active: {} goes on advertising priority {} though ours is {priority}; it does not hear us, or refuses what it hears",
                other.from, other.priority
            )),
            Action::Blocked => (self.say)(&format!(
                "warning: vrrp {name}: the active router is silent on {} but says over the second path that it is active: not claimed",
                instance.vrrp.interface
            )),
        }
    }

    fn claim(&mut self, at: usize) {
        let instance = &mut self.instances[at];
        let made = instance.home().is_none();
        let mut wrong = instance.add_addresses(&mut self.netlink);
        wrong.extend(instance.add_routes(&mut self.netlink));
        for wrong in wrong {
            (self.say)(&format!("error: vrrp {}: {wrong}", instance.vrrp.name));
        }
        instance.announce(&self.frames);
        if made {
            // Whoever looks before the kernel tells of the new interface must find it.
            self.refresh_links();
        }
    }

    /// Keeps packets to addresses out that are ours now and not to be accepted; before they come to
    /// their interface.
    fn follow_acceptance(&mut self, now: Instant) {
        let all = self.instances.iter().zip(&self.router.members);
        let closed = all.filter(|(i, m)| !i.vrrp.accept && m.machine.state() == State::Active);
        let addresses = closed.flat_map(|(i, _)| i.vrrp.addresses.iter().map(|a| a.ip));
        let addresses: Vec<IpAddr> = addresses.collect();
        if self.shield.is_none() && addresses.is_empty() {
            return;
        }
        let done = match &mut self.shield {
            Some(shield) => shield.shut(addresses),
            None => Shield::open().and_then(|mut shield| {
                shield.shut(addresses)?;
                self.shield = Some(shield);
                Ok(())
            }),
        };
        if done.is_err() {
            // Answers that are left on its socket would be taken for those of the next batch.
            self.shield = None;
        }
        let closed = self.instances.iter_mut().find(|i| !i.vrrp.accept);
        if let (Err(e), Some(instance)) = (done, closed) {
            let line = format!(
                "'no accept' cannot be kept: nftables: {e}; packets to the addresses are taken"
            );
            if instance.may_say(&line, now) {
                (self.say)(&format!("error: vrrp {}: {line}", instance.vrrp.name));
            }
        }
    }

    fn leave(&mut self, now: Instant) {
        for member in &mut self.router.members {
            member.machine.stop(now);
        }
        self.act(now);
        self.make_will();
        self.calls.finish(LAST_WORDS);
    }
}

/// Asks for a real-time priority: a busy machine must not make its backup believe that it is
/// gone. Without the right to it, it goes on as before.
pub fn hurry() {
    let wanted = libc::sched_param { sched_priority: 1 };
    let policy = libc::SCHED_RR | libc::SCHED_RESET_ON_FORK;
    // SAFETY: plain call for the calling thread, with a live variable.
    unsafe { libc::sched_setscheduler(0, policy, &raw const wanted) };
}
