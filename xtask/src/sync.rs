//! `cargo xtask failover sync [SECONDS] [expire]`: what it costs to keep sessions alike on two machines
//! while 100,000 new ones come in each second; with `expire` as many end after two seconds, and the
//! sweep that finds them is measured, too.
//!
//! Two balancers and a client are namespaces on one link. The client sends the first datagram of
//! 100,000 sessions a second; no server is there to answer, so that what is measured is sessions
//! and nothing else. The processor time is that of the threads that synchronise, by the
//! kernel's own account in nanoseconds, and the sessions are those that the sender counted.

use crate::namespaces::{self, ip};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const PER_SECOND: u32 = 100_000;

/// How long anything else may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// Runs the measurement and prints it.
pub fn run(args: &[&str]) -> Result<(), Vec<String>> {
    let (args, expire) = match args {
        [before @ .., "expire"] => (before, true),
        all => (all, false),
    };
    let seconds = match args {
        [] => 10,
        [n] => n
            .parse()
            .map_err(|_| vec![format!("'{n}' is no number of seconds")])?,
        _ => {
            return Err(vec![
                "usage: cargo xtask failover sync [SECONDS] [expire]".into(),
            ]);
        }
    };
    measure(seconds, expire).map_err(|e| vec![e])
}

fn measure(seconds: u32, expire: bool) -> Result<(), String> {
    if !Path::new("target/release/mulgil").exists() {
        return Err("build first: cargo build --release -p mulgil".into());
    }
    let pair = Pair::start(seconds, expire)?;
    pair.wait_for(1, "sending in-sync")?;
    pair.wait_for(2, "receiving in-sync")?;
    let before = pair.figures()?;
    let start = Instant::now();
    let sent = flood(&pair.client(), seconds)?;
    let flooded = start.elapsed();
    pair.wait_for(1, "sending in-sync")?;
    let after = pair.figures()?;
    let time = start.elapsed().as_secs_f64();
    let told = after.told - before.told;
    let taken = after.taken - before.taken;
    println!(
        "{sent} first datagrams in {:.1} s; {told} changes told, {taken} taken by the backup, {} snapshots after the first",
        flooded.as_secs_f64(),
        after.snapshots - before.snapshots,
    );
    println!("| machine | changes a second | of one core | ns a change |");
    println!("|---|---|---|---|");
    let mut rows = vec![("active", 0, told), ("backup", 1, taken)];
    if expire {
        rows.extend([
            ("active, the sweep", 2, told),
            ("backup, the sweep", 3, taken),
        ]);
    }
    for (name, at, changes) in rows {
        let ns = after.cpu[at] - before.cpu[at];
        println!(
            "| {name} | {:.0} | {:.1} % | {:.0} |",
            changes as f64 / flooded.as_secs_f64(),
            ns as f64 / time / 1e7,
            ns as f64 / changes.max(1) as f64
        );
    }
    Ok(())
}

/// Sends so many seconds' first datagrams from a namespace; how many.
fn flood(namespace: &str, seconds: u32) -> Result<u64, String> {
    let path = format!("/run/netns/{namespace}");
    let work = move || -> std::io::Result<u64> {
        let namespace = File::open(path)?;
        // SAFETY: plain call on an open descriptor; only this thread, which ends at once, moves.
        if unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) } != 0 {
            return Err(std::io::Error::last_os_error());
        }
        // SAFETY: the descriptor is new and ours.
        let socket = unsafe {
            let fd = libc::socket(libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_RAW);
            if fd < 0 {
                return Err(std::io::Error::last_os_error());
            }
            OwnedFd::from_raw_fd(fd)
        };
        let start = Instant::now();
        let mut sent = 0u64;
        while start.elapsed() < Duration::from_secs(seconds.into()) {
            let due = start.elapsed().as_secs_f64() * f64::from(PER_SECOND);
            while (sent as f64) < due {
                send(&socket, sent as u32)?;
                sent += 1;
            }
            std::thread::sleep(Duration::from_micros(500));
        }
        Ok(sent)
    };
    let sent = std::thread::spawn(work).join();
    sent.map_err(|_| "a thread failed".to_string())?
        .map_err(|e| format!("cannot send: {e}"))
}

fn send(socket: &OwnedFd, n: u32) -> std::io::Result<()> {
    // A client of its own for each 50,000 sessions.
    let from = (u32::from_be_bytes([10, 200, 0, 0]) + n / 50_000).to_be_bytes();
    let port = ((10_000 + n % 50_000) as u16).to_be_bytes();
    let mut packet = [0u8; 29];
    let head = [
        [0x45, 0, 0, 29],
        [0; 4],
        [64, 17, 0, 0],
        from,
        VIP,
        [port[0], port[1], 0, 53],
    ];
    for (to, byte) in packet.iter_mut().zip(head.concat()) {
        *to = byte;
    }
    packet[25] = 9;
    // SAFETY: an address of all zeros is one; pointers and lengths describe live values.
    let done = unsafe {
        let mut to: libc::sockaddr_in = std::mem::zeroed();
        to.sin_family = libc::AF_INET as u16;
        to.sin_addr.s_addr = u32::from_ne_bytes(VIP);
        libc::sendto(
            socket.as_raw_fd(),
            packet.as_ptr().cast(),
            packet.len(),
            0,
            (&raw const to).cast(),
            size_of::<libc::sockaddr_in>() as u32,
        )
    };
    match done {
        0.. => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}

const VIP: [u8; 4] = [203, 0, 113, 10];

struct Pair {
    prefix: String,
    folder: PathBuf,
    children: Vec<Child>,
}

impl Pair {
    fn start(seconds: u32, expire: bool) -> Result<Pair, String> {
        let prefix = format!("mgs{}", std::process::id());
        let folder = std::env::temp_dir().join(&prefix);
        std::fs::create_dir_all(&folder).map_err(|e| e.to_string())?;
        let mut pair = Pair {
            prefix,
            folder,
            children: Vec::new(),
        };
        let client = pair.client();
        namespaces::link(&client, [&pair.router(1), &pair.router(2)])?;
        for n in [1, 2] {
            pair.spawn(n, seconds, expire)?;
        }
        Ok(pair)
    }

    fn client(&self) -> String {
        format!("{}c", self.prefix)
    }

    fn router(&self, n: usize) -> String {
        format!("{}r{n}", self.prefix)
    }

    fn file(&self, name: &str, n: usize) -> PathBuf {
        self.folder.join(format!("{name}{n}"))
    }

    fn spawn(&mut self, n: usize, seconds: u32, expire: bool) -> Result<(), String> {
        let key = self.file("key", 0);
        std::fs::write(&key, "0123456789abcdef0123456789abcdef").map_err(|e| e.to_string())?;
        let expiry = if expire {
            " timeout session-udp 2s\n"
        } else {
            ""
        };
        let text = format!(
            "global\n stats socket {} level admin\n nbthread 1\n tune.packet.flows {}\n\
             listen dns\n mode packet\n bind 203.0.113.10:53 proto udp\n forward dsr\n server one 203.0.113.200\n{expiry}\
             vrrp v\n interface eth0\n virtual-router-id 51\n priority {}\n address 203.0.113.10/24\n peer 203.0.113.{}\n peer-key {}\n sync sessions\n",
            self.file("control", n).display(),
            (seconds + 2) * PER_SECOND,
            201 - n,
            3 - n,
            key.display()
        );
        let config = self.file("config", n);
        std::fs::write(&config, text).map_err(|e| e.to_string())?;
        let log = File::create(self.file("log", n)).map_err(|e| e.to_string())?;
        let copy = log.try_clone().map_err(|e| e.to_string())?;
        let child = Command::new("ip")
            .args(["netns", "exec", &self.router(n), "target/release/mulgil"])
            .arg("-f")
            .arg(config)
            .arg("-db")
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(copy)
            .spawn();
        self.children
            .push(child.map_err(|e| format!("mulgil does not start: {e}"))?);
        Ok(())
    }

    fn shown(&self, n: usize) -> Option<String> {
        let mut stream = UnixStream::connect(self.file("control", n)).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        writeln!(stream, "show vrrp").ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        Some(text)
    }

    fn wait_for(&self, n: usize, what: &str) -> Result<(), String> {
        let end = Instant::now() + PATIENCE;
        let so = |text: &str| {
            let mut lines = text.lines();
            lines.any(|l| l.starts_with("sync: sessions") && l.contains(what))
        };
        while !self.shown(n).is_some_and(|t| so(&t)) {
            if Instant::now() > end {
                let log = std::fs::read_to_string(self.file("log", n)).unwrap_or_default();
                let shown = self.shown(n).unwrap_or_default();
                return Err(format!("machine {n} is never '{what}':\n{shown}{log}"));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// What both have counted so far.
    fn figures(&self) -> Result<Figures, String> {
        let count = |n: usize, name: &str| {
            let shown = self.shown(n).unwrap_or_default();
            let line = shown
                .lines()
                .find(|l| l.starts_with("sync_count: sessions") && l.contains(name));
            let last = line.and_then(|l| l.rsplit(' ').next()?.parse().ok());
            last.ok_or_else(|| format!("machine {n} does not count '{name}':\n{shown}"))
        };
        let cpu = |n: usize, thread: &str| {
            let pid = self.children.get(n - 1).map_or(0, Child::id);
            thread_ns(pid, thread).ok_or_else(|| format!("machine {n} has no thread '{thread}'"))
        };
        Ok(Figures {
            told: count(1, "changes_sent")?,
            taken: count(2, "entries_taken")?,
            snapshots: count(1, "snapshots_sent")?,
            cpu: [
                cpu(1, "sync")?,
                cpu(2, "sync")?,
                cpu(1, "packet")?,
                cpu(2, "packet")?,
            ],
        })
    }
}

struct Figures {
    told: u64,
    taken: u64,
    snapshots: u64,
    /// Nanoseconds of the processor: who synchronises on either machine, and who sweeps.
    cpu: [u64; 4],
}

/// Nanoseconds that a process's thread has had on a processor.
fn thread_ns(pid: u32, name: &str) -> Option<u64> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).ok()?;
    let task = tasks.flatten().map(|t| t.path()).find(|t| {
        let comm = std::fs::read_to_string(t.join("comm"));
        comm.is_ok_and(|c| c.trim() == name)
    })?;
    let stat = std::fs::read_to_string(task.join("schedstat")).ok()?;
    stat.split(' ').next()?.parse().ok()
}

impl Drop for Pair {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
        for n in [1, 2] {
            let detach = ["packet", "detach"];
            let _ = Command::new("ip")
                .args(["netns", "exec", &self.router(n), "target/release/mulgil"])
                .args(detach)
                .output();
        }
        for namespace in [self.client(), self.router(1), self.router(2)] {
            let _ = ip(&format!("netns del {namespace}"));
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
