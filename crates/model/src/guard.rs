//! `guard`: what is not let in, in packet mode.

use std::sync::Arc;

/// Whose packets a limit counts together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitOf {
    /// One client's address; in IPv6 its network of 64 bits.
    Source,
    /// All that a frontend's addresses get.
    Service,
}

/// What a limit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum LimitWhat {
    Packets,
    Syns,
    /// Of IP packets, their headers included.
    Bytes,
}

/// `guard limit`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GuardLimit {
    /// Whose.
    pub of: LimitOf,
    /// Of what.
    pub what: LimitWhat,
    /// So many a second, not 0.
    pub rate: u64,
    /// So many at once, not 0.
    pub burst: u64,
}

/// `guard syn-cookies`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SynCookies {
    /// SYNs a second of clients that have proved nothing; beyond them they must.
    pub above: u64,
    /// Clients connect by their cookie, at once; otherwise they prove where they are, and connect then.
    pub transparent: bool,
    /// What cookies are made with, where a pair shares it; otherwise it is drawn.
    pub key: Option<[u8; 16]>,
}

/// The guard of a proxy in packet mode.
#[derive(Clone, Debug, Default)]
pub struct Guard {
    /// `guard deny`: sources that are dropped.
    pub deny: Vec<Arc<rules::Matcher>>,
    /// `guard allow`: sources that nothing of this guard touches.
    pub allow: Vec<Arc<rules::Matcher>>,
    /// `guard tcp-flags`: flags that no connection has. Any other line means this, too.
    pub flags: bool,
    /// `guard limit`, one at most of a kind.
    pub limits: Vec<GuardLimit>,
    /// `guard syn-cookies`.
    pub cookies: Option<SynCookies>,
}

impl Guard {
    /// Whether no line asks for anything.
    pub fn is_empty(&self) -> bool {
        self.deny.is_empty()
            && self.allow.is_empty()
            && !self.flags
            && self.limits.is_empty()
            && self.cookies.is_none()
    }

    /// Sets a limit, in place of one of the same kind.
    pub fn limit(&mut self, limit: GuardLimit) {
        self.limits
            .retain(|l| (l.of, l.what) != (limit.of, limit.what));
        self.limits.push(limit);
    }

    /// This one, and where it says nothing the other: a frontend's over its backend's.
    pub fn over(&self, other: &Guard) -> Guard {
        let mut both = other.clone();
        for (list, mine) in [(&mut both.deny, &self.deny), (&mut both.allow, &self.allow)] {
            list.extend(mine.iter().cloned());
        }
        both.flags |= self.flags;
        self.limits.iter().for_each(|l| both.limit(*l));
        both.cookies = self.cookies.or(both.cookies);
        both
    }
}
