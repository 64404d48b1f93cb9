//! Cookies that lead a client back to its server (manual, `cookie`): read from the request before
//! a server is chosen, written into the response after its rules.

use crate::stream::Stream;
use crate::worker::Worker;
use http::{Head, Known, cookie};
use model::{CookieMode, PersistenceCookie};
use rules::NoTrace;
use state::{Backend, Server};
use std::sync::Arc;
use std::time::Duration;

/// What is known of the cookie of one request.
pub struct Persistence {
    /// The two letters of the log.
    pub flags: [u8; 2],
    /// The server that a valid cookie names.
    server: Option<Arc<Server>>,
    /// Dates in the cookie, in units of four seconds.
    last: Option<u32>,
    first: Option<u32>,
    /// A down server is good enough.
    force: bool,
    /// A rule chose the server: nothing is inserted, though a date is kept young.
    overruled: bool,
    /// `ignore-persist`: nothing is inserted.
    ignored: bool,
}

impl Default for Persistence {
    fn default() -> Persistence {
        Persistence {
            flags: *b"--",
            server: None,
            last: None,
            first: None,
            force: false,
            overruled: false,
            ignored: false,
        }
    }
}

/// What separates the server's name from the application's value in prefix mode.
const PREFIX_END: u8 = b'~';
/// Dates further ahead than this are not believed.
const AHEAD: i64 = 24 * 3600;

/// Reads the request's cookie, and takes out what the server is not to see.
pub fn read(stream: &mut Stream<'_>, backend: &Arc<Backend>) {
    let side = backend.side();
    let Some(settings) = side.cookie.clone() else {
        return;
    };
    let mut state = Persistence::default();
    let rule = side
        .persist_rules
        .iter()
        .find(|r| r.condition.eval(&ctx!(stream), &mut NoTrace));
    state.force = rule.is_some_and(|r| r.force);
    state.ignored = rule.is_some_and(|r| !r.force);
    let active = settings.mode != CookieMode::Passive || settings.indirect;
    if active {
        state.flags = *b"NN";
    }
    let name = settings.name.as_bytes();
    let found = stream
        .request
        .known(Known::Cookie)
        .flat_map(cookie::pairs)
        .find(|(n, _)| *n == name)
        .map(|(_, value)| value.to_vec());
    if let Some(value) = found {
        let flag = state.judge(&settings, backend, &value, stream.worker);
        if active {
            state.flags[0] = if state.ignored { b'U' } else { flag };
        }
        if state.ignored {
            state.server = None;
        }
        hide(&mut stream.request, &settings);
    }
    stream.persistence = state;
}

impl Persistence {
    /// Looks for the server that the value means; the first flag.
    fn judge(
        &mut self,
        settings: &PersistenceCookie,
        backend: &Backend,
        value: &[u8],
        worker: &Worker,
    ) -> u8 {
        let end = match settings.mode {
            CookieMode::Prefix => PREFIX_END,
            _ => b'|',
        };
        let mut parts = value.splitn(2, |b| *b == end);
        let id = parts.next().unwrap_or_default();
        if settings.mode != CookieMode::Prefix
            && let Some(dates) = parts.next()
        {
            let mut dates = dates.split(|b| *b == b'|');
            self.last = dates.next().and_then(date);
            self.first = dates.next().and_then(date);
        }
        let now = worker.wall(std::time::Instant::now()).secs;
        let gone = |date: Option<u32>, limit: Option<Duration>| {
            let (Some(date), Some(limit)) = (date, limit) else {
                return false;
            };
            let age = now - i64::from(date) * 4;
            age > limit.as_secs() as i64 || age < -AHEAD
        };
        if settings.mode == CookieMode::Insert {
            if gone(self.first, settings.max_life) {
                return b'O';
            }
            if gone(self.last, settings.max_idle) {
                return b'E';
            }
        }
        let mut down = None;
        for server in backend.by_cookie(id) {
            if server.usable() {
                self.server = Some(Arc::clone(server));
                return b'V';
            }
            down = down.or(Some(server));
        }
        match down {
            Some(server) if self.force || backend.side().persist => {
                self.server = Some(Arc::clone(server));
                b'D'
            }
            Some(_) => b'D',
            None => b'I',
        }
    }

    /// The server the client is to go back to.
    pub fn server(&self) -> Option<&Arc<Server>> {
        self.server.as_ref()
    }

    /// Whether only this server will do, whatever its state (`force-persist`).
    pub fn is_forced(&self) -> bool {
        self.force && self.server.is_some()
    }

    /// A table remembers the server.
    pub fn stick_to(&mut self, server: Arc<Server>) {
        if self.server.is_none() && !self.ignored {
            self.server = Some(server);
        }
    }

    /// A rule chose the server.
    pub fn overrule(&mut self) {
        if self.flags[0] != b'-' {
            self.overruled = true;
            // A cookie that is too old, or none, is told of all the same.
            if !matches!(self.flags[0], b'N' | b'E' | b'O') {
                self.flags[0] = b'U';
            }
        }
    }

    /// The server could not be reached and another one is tried.
    pub fn redispatched(&mut self) {
        if self.server.take().is_some() && self.flags[0] == b'V' {
            self.flags[0] = b'D';
        }
    }
}

/// Takes the cookie out of the request, or the server's name out of the cookie.
fn hide(request: &mut Head, settings: &PersistenceCookie) {
    let name = settings.name.as_bytes();
    if settings.mode == CookieMode::Prefix {
        let mut done = false;
        request.rewrite_values(b"cookie", |line| {
            if done {
                return None;
            }
            let changed = cookie::with_value(line, name, |value| {
                let end = value.iter().position(|b| *b == PREFIX_END)?;
                value.get(end + 1..).map(<[u8]>::to_vec)
            });
            done = changed.is_some();
            changed
        });
    } else if settings.mode == CookieMode::Insert && settings.indirect {
        let mut empty = false;
        request.rewrite_values(b"cookie", |line| {
            let left = cookie::without(line, name)?;
            empty |= left.is_empty();
            Some(left)
        });
        if empty {
            request.retain(|n, value| !(value.is_empty() && n.eq_ignore_ascii_case(b"cookie")));
        }
    }
}

/// Makes the response carry the cookie that leads back to its server.
pub fn write(stream: &mut Stream<'_>) {
    let Some(backend) = stream.backend.clone() else {
        return;
    };
    let (Some(settings), Some(slot)) = (&backend.side().cookie, &stream.slot) else {
        return;
    };
    let Some(head) = stream.response.as_mut() else {
        return;
    };
    if settings.mode == CookieMode::Passive && !settings.indirect {
        return;
    }
    let server = slot.server();
    let id = backend.cookie_of(server);
    let state = &mut stream.persistence;
    let back = state.server.as_ref().is_some_and(|s| s.uid == server.uid);
    let given = set_by_server(head, settings, id.as_deref(), back);
    if given != b'N' {
        state.flags[1] = given;
    }
    let post = stream.request.method() == b"POST";
    if settings.mode != CookieMode::Insert
        || state.ignored
        || (settings.postonly && !post)
        || given == b'P'
    {
        return;
    }
    // Rounded up, as HAProxy does, so that both give the same cookie in a cluster.
    let now = ((stream.worker.wall(std::time::Instant::now()).secs + 3) / 4) as u32;
    if back || state.overruled {
        let (idle, life) = (settings.max_idle.is_some(), settings.max_life.is_some());
        let stale = (idle || state.last.is_some()) && state.last != Some(now);
        // A date that nobody asks for goes, one that is missing comes.
        let misdated = life != state.first.is_some();
        if !(stale || misdated) {
            return;
        }
    }
    let mut line = settings.name.as_bytes().to_vec();
    line.push(b'=');
    match &id {
        Some(id) => {
            line.extend_from_slice(id.as_bytes());
            if settings.max_idle.is_some() || settings.max_life.is_some() {
                put_date(&mut line, now);
            }
            if settings.max_life.is_some() {
                put_date(&mut line, state.first.filter(|_| back).unwrap_or(now));
            }
        }
        // A server without a value takes back what another may have set.
        None => line.extend_from_slice(b"; Expires=Thu, 01-Jan-1970 00:00:01 GMT"),
    }
    line.extend_from_slice(b"; path=/");
    line.extend_from_slice(settings.attributes.as_bytes());
    let cached = settings.nocache && cacheable(stream.request.method(), head);
    head.append(b"set-cookie", &line);
    state.flags[1] = if back || state.overruled { b'U' } else { b'I' };
    if cached {
        head.append(b"cache-control", b"private");
    }
}

/// What becomes of a cookie of that name that the server sets itself, for a client that was led `back`
/// to it or not; the second flag.
fn set_by_server(
    head: &mut Head,
    settings: &PersistenceCookie,
    id: Option<&str>,
    back: bool,
) -> u8 {
    let name = settings.name.as_bytes();
    let ours = |line: &[u8]| cookie::set_pair(line).is_some_and(|(n, _)| n == name);
    if !head.known(Known::SetCookie).any(ours) {
        return b'N';
    }
    let dropped = settings.mode == CookieMode::Insert || (settings.indirect && back);
    if settings.preserve {
        return b'P';
    }
    if dropped {
        head.retain(|n, value| !(n.eq_ignore_ascii_case(b"set-cookie") && ours(value)));
        return b'D';
    }
    let (Some(id), CookieMode::Rewrite | CookieMode::Prefix) = (id, settings.mode) else {
        return b'P';
    };
    let prefix = settings.mode == CookieMode::Prefix;
    head.rewrite_values(b"set-cookie", |line| {
        if !ours(line) {
            return None;
        }
        cookie::with_value(line, name, |value| {
            let mut new = id.as_bytes().to_vec();
            if prefix {
                new.push(PREFIX_END);
                new.extend_from_slice(value);
            }
            Some(new)
        })
    });
    b'R'
}

/// Whether a shared cache would keep the response (RFC 9111 section 3) for a reason it states.
fn cacheable(method: &[u8], head: &Head) -> bool {
    let age = |item: &[u8], name: &[u8]| {
        let value = item.get(name.len()..)?.strip_prefix(b"=")?;
        let matches = item.get(..name.len())?.eq_ignore_ascii_case(name);
        matches.then(|| value != b"0")
    };
    let mut fresh = [&b"expires"[..], b"etag", b"last-modified"]
        .iter()
        .any(|name| head.get(name).is_some());
    for item in head.items(b"cache-control") {
        if [&b"private"[..], b"no-cache", b"no-store"]
            .iter()
            .any(|name| item.eq_ignore_ascii_case(name))
        {
            return false;
        }
        match age(item, b"s-maxage").or_else(|| age(item, b"max-age")) {
            Some(false) => return false,
            Some(true) => fresh = true,
            None => {}
        }
    }
    fresh && matches!(method, b"GET" | b"HEAD")
}

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// A date of five digits; anything else is none.
fn date(text: &[u8]) -> Option<u32> {
    if text.len() < 5 {
        return None;
    }
    text.iter().take(5).try_fold(0u32, |n, b| {
        let digit = DIGITS.iter().position(|d| d == b)?;
        Some((n << 6) | digit as u32)
    })
}

fn put_date(line: &mut Vec<u8>, date: u32) {
    line.push(b'|');
    for shift in [24, 18, 12, 6, 0] {
        line.extend(DIGITS.get((date >> shift) as usize & 63));
    }
}
