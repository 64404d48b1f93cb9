//! `cookie` and what else sends a client back to its server.

use std::sync::Arc;
use std::time::Duration;

/// What is done with the cookie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[allow(missing_docs)]
pub enum CookieMode {
    /// It is only read.
    #[default]
    Passive,
    Rewrite,
    Insert,
    Prefix,
}

/// `cookie`.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct PersistenceCookie {
    /// Its name; case counts.
    pub name: Arc<str>,
    /// `rewrite`, `insert`, `prefix`.
    pub mode: CookieMode,
    /// `indirect`: the server never sees it.
    pub indirect: bool,
    /// `nocache`.
    pub nocache: bool,
    /// `postonly`.
    pub postonly: bool,
    /// `preserve`.
    pub preserve: bool,
    /// What follows `path=/` in a cookie that is inserted: `domain`, `httponly`, `secure`, `attr`.
    pub attributes: Arc<str>,
    /// `maxidle`.
    pub max_idle: Option<Duration>,
    /// `maxlife`.
    pub max_life: Option<Duration>,
    /// `dynamic`: a server without a value has one computed.
    pub dynamic: bool,
}

/// One `force-persist` or `ignore-persist` line.
#[derive(Clone, Debug)]
pub struct PersistRule {
    /// Persistence to servers that are down; otherwise no persistence at all.
    pub force: bool,
    /// When.
    pub condition: rules::Cond,
}
