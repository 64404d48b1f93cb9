//! The machine as loading a configuration sees it: files, names, users.

use config::Source;
use std::cell::RefCell;
use std::ffi::CString;
use std::net::{IpAddr, ToSocketAddrs};

/// This machine.
pub struct Machine;

impl Source for Machine {
    fn read(&self, path: &str) -> Result<Vec<u8>, String> {
        std::fs::read(path).map_err(|e| e.to_string())
    }

    fn list(&self, path: &str) -> Option<Vec<String>> {
        let mut found: Vec<String> = std::fs::read_dir(path)
            .ok()?
            .filter_map(|e| e.ok()?.path().to_str().map(str::to_string))
            .filter(|p| !p.rsplit('/').next().unwrap_or("").starts_with('.'))
            .collect();
        found.sort();
        Some(found)
    }

    fn resolve(&self, name: &str) -> Vec<IpAddr> {
        let found = (name, 0).to_socket_addrs();
        found
            .map(|all| all.map(|a| a.ip()).collect())
            .unwrap_or_default()
    }

    fn user(&self, name: &str) -> Option<u32> {
        let name = CString::new(name).ok()?;
        // SAFETY: the name is NUL-terminated; the result is null or a record that lives until the
        // next such call, and only this thread makes them.
        unsafe { libc::getpwnam(name.as_ptr()).as_ref().map(|p| p.pw_uid) }
    }

    fn group(&self, name: &str) -> Option<u32> {
        let name = CString::new(name).ok()?;
        // SAFETY: as for `user`.
        unsafe { libc::getgrnam(name.as_ptr()).as_ref().map(|g| g.gr_gid) }
    }
}

/// The local time zone (TZ, or the machine's) at a moment in Unix seconds.
pub fn local_zone(secs: i64) -> rules::Zone {
    /// Zones change at full quarters of an hour at most, and log lines ask again and again.
    const QUARTER: i64 = 15 * 60;
    thread_local! {
        static LAST: RefCell<Option<(i64, rules::Zone)>> = const { RefCell::new(None) };
    }
    let quarter = secs.div_euclid(QUARTER);
    LAST.with_borrow_mut(|last| match last {
        Some((of, zone)) if *of == quarter => zone.clone(),
        _ => {
            let zone = ask_local_zone(secs);
            *last = Some((quarter, zone.clone()));
            zone
        }
    })
}

fn ask_local_zone(secs: i64) -> rules::Zone {
    // SAFETY: a tm of zeros is one; localtime_r only writes into it, and its zone's name is null
    // or a text of the C library that is never freed.
    let (offset, name): (i64, &'static std::ffi::CStr) = unsafe {
        let mut tm: libc::tm = std::mem::zeroed();
        if libc::localtime_r(&secs, &mut tm).is_null() || tm.tm_zone.is_null() {
            return rules::Zone::utc(secs);
        }
        (tm.tm_gmtoff, std::ffi::CStr::from_ptr(tm.tm_zone))
    };
    rules::Zone {
        offset: offset as i32,
        name: name.to_string_lossy(),
    }
}

/// Whether an address is one of this machine: then a socket can be bound to it.
pub fn is_local(ip: IpAddr) -> bool {
    ip.is_loopback() || std::net::UdpSocket::bind((ip, 0)).is_ok()
}

/// Writes a line to standard output or to standard error; where nobody reads it, it is lost.
fn say(descriptor: i32, line: &str) {
    use std::io::Write;
    let line = format!("{line}\n");
    let _ = match descriptor {
        1 => std::io::stdout().write_all(line.as_bytes()),
        _ => std::io::stderr().write_all(line.as_bytes()),
    };
}

/// What rules may know of this machine.
pub fn facts(environment: std::collections::HashMap<String, String>) -> state::Machine {
    state::Machine {
        hostname: hostname(),
        replaces: false,
        megabytes: 0,
        environment,
        local_zone,
        is_local,
        tcp_info: proxy::tcp_info,
        say,
        saved_syn: proxy::saved_syn,
        addresses: proxy::connection_addresses,
        own_address: proxy::local_address,
    }
}

/// This machine's name.
pub fn hostname() -> String {
    let mut buffer = [0u8; 256];
    // SAFETY: the pointer and length describe `buffer`.
    unsafe { libc::gethostname(buffer.as_mut_ptr().cast(), buffer.len() - 1) };
    let end = buffer.iter().position(|b| *b == 0).unwrap_or(0);
    String::from_utf8_lossy(&buffer[..end]).into_owned()
}

/// Raises the limit of descriptors as far as asked and allowed; returns what it is then.
pub fn descriptors(wanted: u64) -> u64 {
    // SAFETY: both calls take a pointer to a live rlimit.
    unsafe {
        let mut limit = libc::rlimit {
            rlim_cur: 0,
            rlim_max: 0,
        };
        if libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) != 0 {
            return wanted;
        }
        if limit.rlim_cur < wanted {
            let raised = libc::rlimit {
                rlim_cur: wanted,
                rlim_max: limit.rlim_max.max(wanted),
            };
            if libc::setrlimit(libc::RLIMIT_NOFILE, &raw const raised) == 0 {
                return wanted;
            }
            let most = libc::rlimit {
                rlim_cur: limit.rlim_max.min(wanted),
                rlim_max: limit.rlim_max,
            };
            libc::setrlimit(libc::RLIMIT_NOFILE, &raw const most);
            return most.rlim_cur;
        }
        limit.rlim_cur
    }
}

/// Whether the configuration wants privileges to be given up.
pub fn gives_up_privileges(global: &model::Global) -> bool {
    global.chroot.is_some() || global.uid.is_some() || global.gid.is_some()
}

/// Holds all signals back until [`let_signals_in`].
pub fn hold_signals() {
    mask_all(libc::SIG_BLOCK);
}

/// Takes signals again, those that were held back first.
pub fn let_signals_in() {
    mask_all(libc::SIG_UNBLOCK);
}

fn mask_all(how: i32) {
    // SAFETY: the set is a live variable, filled before it is used.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&raw mut set);
        libc::sigprocmask(how, &raw const set, std::ptr::null_mut());
    }
}

/// Lets the signals that mean something to a serving process mean nothing to this one: it ends
/// when its socket closes.
pub fn outlive_signals() {
    for signal in [
        libc::SIGHUP,
        libc::SIGUSR1,
        libc::SIGUSR2,
        libc::SIGTTOU,
        libc::SIGTTIN,
        libc::SIGINT,
    ] {
        // SAFETY: ignoring a signal runs no code of ours.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
}

/// Ends this process by the signal that asked for it, so that its parent sees how it ended; shells
/// call that 128 and the signal's number, which is returned if it did not happen.
pub fn end_by(signal: i32) -> i32 {
    // SAFETY: plain calls; the default action runs no code of ours.
    unsafe {
        libc::signal(signal, libc::SIG_DFL);
        libc::raise(signal);
    }
    128 + signal
}

/// Leaves the terminal: a session of its own, and nothing behind the standard descriptors, so that
/// whoever waits for their end does not wait for this process.
pub fn detach() {
    let null = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/null");
    // SAFETY: plain calls; `null` is open, and the three numbers become copies of it.
    unsafe {
        libc::setsid();
        if let Ok(null) = &null {
            use std::os::fd::AsRawFd;
            for standard in 0..3 {
                libc::dup2(null.as_raw_fd(), standard);
            }
        }
    }
}

/// Now, by the calendar.
pub fn wall_now() -> rules::Wall {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let since = since.unwrap_or_default();
    rules::Wall {
        secs: since.as_secs() as i64,
        micros: since.subsec_micros(),
    }
}

/// Gives up privileges for good: root directory, then groups, then user.
pub fn drop_privileges(global: &model::Global) -> Result<(), String> {
    let failed = |what: &str| format!("{what}: {}", std::io::Error::last_os_error());
    if let Some(root) = &global.chroot {
        let path = CString::new(&**root).map_err(|_| format!("chroot '{root}' has a NUL"))?;
        // SAFETY: the path is NUL-terminated.
        let ok = unsafe { libc::chroot(path.as_ptr()) == 0 && libc::chdir(c"/".as_ptr()) == 0 };
        if !ok {
            return Err(failed(&format!("cannot chroot to '{root}'")));
        }
    }
    if let Some(gid) = global.gid {
        // SAFETY: plain calls; an empty list of groups needs no pointer.
        let ok = unsafe {
            (libc::geteuid() != 0 || libc::setgroups(0, std::ptr::null()) == 0)
                && libc::setgid(gid) == 0
        };
        if !ok {
            return Err(failed(&format!("cannot become group {gid}")));
        }
    }
    if let Some(uid) = global.uid {
        // SAFETY: plain call.
        if unsafe { libc::setuid(uid) } != 0 {
            return Err(failed(&format!("cannot become user {uid}")));
        }
    }
    Ok(())
}

/// Tells the service manager that a reload begins; it wants to know when (systemd's
/// `Type=notify-reload`).
pub fn notify_reloading() {
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the pointer is to a live timespec.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    let micros = now.tv_sec * 1_000_000 + now.tv_nsec / 1000;
    notify(&format!(
        "RELOADING=1\nMONOTONIC_USEC={micros}\nSTATUS=Reloading configuration.\n"
    ));
}

/// Tells a service manager something (sd_notify(3)); without one nothing happens.
pub fn notify(state: &str) {
    let Ok(path) = std::env::var("NOTIFY_SOCKET") else {
        return;
    };
    if let Ok(socket) = std::os::unix::net::UnixDatagram::unbound() {
        let _ = match path.strip_prefix('@') {
            Some(name) => {
                use std::os::linux::net::SocketAddrExt;
                std::os::unix::net::SocketAddr::from_abstract_name(name)
                    .and_then(|a| socket.send_to_addr(state.as_bytes(), &a))
            }
            None => socket.send_to(state.as_bytes(), &path),
        };
    }
}
