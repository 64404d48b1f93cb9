//! What a machine is told, and what it says.

use std::net::IpAddr;
use std::time::Duration;

/// The version of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// RFC 3768: IPv4, whole seconds.
    V2,
    /// RFC 9568: both families, hundredths of seconds.
    V3,
}

/// What a machine is told once, and by a reload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The protocol's version.
    pub version: Version,
    /// 1 to 254, or [`super::OWNER`].
    pub priority: u8,
    /// Between two adverts while active; more than zero.
    pub interval: Duration,
    /// Whether a router of higher priority takes over from a lower one that is alive.
    pub preempt: bool,
    /// How long it first watches that one.
    pub preempt_delay: Duration,
    /// The address adverts come from: it decides between equal priorities.
    pub own: IpAddr,
    /// Between two announcements of addresses while active; zero: only after a claim.
    pub refresh: Duration,
    /// Whether a group decides when to claim ([`super::Machine::claim`]).
    pub grouped: bool,
}

/// An advertisement that passed all checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Advert {
    /// Who sent it.
    pub from: IpAddr,
    /// Its priority.
    pub priority: u8,
    /// The interval it advertises.
    pub interval: Duration,
}

/// RFC 9568 section 6.4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Takes no part: not started, or at fault.
    Initialize,
    /// Watches the active router.
    Backup,
    /// Answers for the addresses.
    Active,
}

impl State {
    /// Its name, as statistics show it.
    pub fn name(self) -> &'static str {
        match self {
            State::Initialize => "initialize",
            State::Backup => "backup",
            State::Active => "active",
        }
    }
}

/// Why a state was entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The machine was started.
    Started,
    /// It owns the addresses.
    Owner,
    /// The active router fell silent.
    Silence,
    /// The active router said that it leaves.
    Left,
    /// Our priority is higher than that of the active router.
    Preempted,
    /// A better router was heard.
    Better,
    /// Somebody else became active while this process did not run.
    Stalled,
    /// An operator asked for it.
    Released,
    /// Something tracked is at fault.
    Fault,
    /// Something tracked is well again.
    Recovered,
    /// The rest of the group.
    Group,
    /// The machine was stopped.
    Stopped,
    /// Taken over from another process of this machine.
    Inherited,
}

impl Cause {
    /// In words, for logs.
    pub fn words(self) -> &'static str {
        match self {
            Cause::Started => "started",
            Cause::Owner => "it owns the addresses",
            Cause::Silence => "the active router fell silent",
            Cause::Left => "the active router left",
            Cause::Preempted => "its priority is higher than that of the active router",
            Cause::Better => "a better router is there",
            Cause::Stalled => "another router took over while this process did not run",
            Cause::Released => "released by an operator",
            Cause::Fault => "something tracked is at fault",
            Cause::Recovered => "everything tracked is well again",
            Cause::Group => "its group moves together",
            Cause::Stopped => "stopped",
            Cause::Inherited => "handed over by the process before",
        }
    }
}

/// What a backup waits for that would be the active router without it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// A peer says over the second path that it is active, though it is silent on the link.
    Peer,
    /// The other members of its group cannot claim yet.
    Group,
    /// It does not have the sessions of the active router, whose priority is lower.
    Sessions,
    /// The delay of preemption is not over.
    Delay,
}

impl Wait {
    /// In words, after "waits for".
    pub fn words(self) -> &'static str {
        match self {
            Wait::Peer => "the peer, which says that it is active",
            Wait::Group => "the other members of its group",
            Wait::Sessions => "the sessions of the active router",
            Wait::Delay => "the delay of preemption",
        }
    }
}

/// What the owner of a machine has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send an advertisement of this priority.
    Advertise(u8),
    /// Add the addresses and announce them.
    Claim,
    /// Remove the addresses.
    Yield,
    /// Announce the addresses again.
    Announce,
    /// The state changed.
    Changed {
        /// From this.
        from: State,
        /// To this.
        to: State,
        /// For this reason.
        cause: Cause,
    },
    /// Another router goes on advertising although ours is better: it does not hear us.
    Contended(Advert),
    /// The active router is silent, but says over the second path that it is active.
    Blocked,
}

/// What tracking found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Whether something without a weight failed.
    pub fault: bool,
    /// The sum of the weights.
    pub weight: i32,
}
