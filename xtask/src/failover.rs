//! `cargo xtask failover [KILLS]`: how long an address is without service when its machine dies,
//! beside keepalived on the same network of namespaces.
//!
//! A client asks the address every millisecond by UDP; both routers answer with the same little
//! echo server. A death is `kill -9` of the VRRP program and the end of that router's echo server
//! at once. The gap is from the last answer before to the first one after. Programs take turns.

use crate::namespaces::{self, ip};
use std::fs::File;
use std::io;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const VIP: &str = "203.0.113.10";
const PORT: u16 = 7007;

/// How long anything may take before it counts as never.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long a pair is left alone before a kill: announcements of the last takeover are over.
const CALM: Duration = Duration::from_millis(1500);

/// Runs the whole comparison and prints its table.
pub fn run(args: &[&str]) -> Result<(), Vec<String>> {
    let kills = match args {
        [] => 20,
        [n] => n
            .parse()
            .map_err(|_| vec![format!("'{n}' is no number of kills")])?,
        _ => return Err(vec!["usage: cargo xtask failover [KILLS]".into()]),
    };
    compare(kills).map_err(|e| vec![e])
}

fn compare(kills: usize) -> Result<(), String> {
    let mulgil = Path::new("target/release/mulgil");
    if !mulgil.exists() {
        return Err("build first: cargo build --release -p mulgil".into());
    }
    println!("| interval | program | median ms | worst ms | at most 60 ms | all |");
    println!("|---|---|---|---|---|---|");
    for ms in [100u32, 10] {
        let mut gaps = [Peer::Mulgil, Peer::Alone, Peer::Keepalived].map(|p| (p, Vec::new()));
        for (peer, gaps) in &mut gaps {
            let pair = Pair::start(*peer, ms)?;
            gaps.extend(pair.gaps(kills)?);
        }
        for (peer, mut gaps) in gaps {
            gaps.sort();
            let shown = |at: usize| gaps.get(at).map_or(0.0, |g| g.as_secs_f64() * 1000.0);
            let fast = gaps.iter().filter(|g| g.as_millis() <= 60).count();
            let all: Vec<String> = gaps.iter().map(|g| g.as_millis().to_string()).collect();
            println!(
                "| {ms} ms | {} | {:.1} | {:.1} | {fast} of {} | {} |",
                peer.name(),
                shown(gaps.len() / 2),
                shown(gaps.len().saturating_sub(1)),
                gaps.len(),
                all.join(" ")
            );
        }
    }
    Ok(())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Peer {
    Mulgil,
    /// Its guardian is killed first, as if the whole machine died.
    Alone,
    Keepalived,
}

impl Peer {
    fn name(self) -> &'static str {
        match self {
            Peer::Mulgil => "mulgil (its process is killed)",
            Peer::Alone => "mulgil (its guardian, too: as if the machine died)",
            Peer::Keepalived => "keepalived",
        }
    }

    fn config(self, ms: u32, priority: u8) -> String {
        match self {
            Peer::Mulgil | Peer::Alone => format!(
                "vrrp v\n interface eth0\n virtual-router-id 51\n priority {priority}\n advertise-interval {ms}ms\n address {VIP}/24\n"
            ),
            Peer::Keepalived => format!(
                "global_defs {{\n vrrp_version 3\n}}\nvrrp_instance v {{\n interface eth0\n virtual_router_id 51\n priority {priority}\n advert_int {}\n state BACKUP\n virtual_ipaddress {{\n  {VIP}/24\n }}\n}}\n",
                f64::from(ms) / 1000.0
            ),
        }
    }

    fn command(self, folder: &Path, router: usize) -> Vec<String> {
        let file = |name: &str| folder.join(format!("{name}{router}")).display().to_string();
        match self {
            Peer::Mulgil | Peer::Alone => {
                let words = ["target/release/mulgil", "-f", &file("config"), "-db"];
                words.map(str::to_string).to_vec()
            }
            Peer::Keepalived => {
                let (config, pid, vrrp) = (file("config"), file("pid"), file("vrrp"));
                let words = [
                    "/usr/sbin/keepalived",
                    "-n",
                    "-P",
                    "-l",
                    "-f",
                    &config,
                    "-p",
                    &pid,
                    "-r",
                    &vrrp,
                ];
                words.map(str::to_string).to_vec()
            }
        }
    }
}

/// Makes a socket within a namespace.
fn within(namespace: &str, address: &str) -> Result<UdpSocket, String> {
    let path = format!("/run/netns/{namespace}");
    let address = address.to_string();
    let work = move || -> io::Result<UdpSocket> {
        let namespace = File::open(path)?;
        // SAFETY: plain call on an open descriptor; only this thread, which ends at once, moves.
        if unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) } != 0 {
            return Err(io::Error::last_os_error());
        }
        UdpSocket::bind(address)
    };
    let made = std::thread::spawn(work).join();
    made.map_err(|_| "a thread failed".to_string())?
        .map_err(|e| format!("no socket in {namespace}: {e}"))
}

/// Answers until it is told to end.
struct Echo(Arc<AtomicBool>);

impl Echo {
    fn start(namespace: &str) -> Result<Echo, String> {
        let socket = within(namespace, &format!("0.0.0.0:{PORT}"))?;
        let patience = Some(Duration::from_millis(50));
        socket
            .set_read_timeout(patience)
            .map_err(|e| e.to_string())?;
        let alive = Arc::new(AtomicBool::new(true));
        let watched = Arc::clone(&alive);
        std::thread::spawn(move || {
            let mut buffer = [0; 64];
            while watched.load(Ordering::Relaxed) {
                if let Ok((n, from)) = socket.recv_from(&mut buffer)
                    && watched.load(Ordering::Relaxed)
                {
                    let _ = socket.send_to(buffer.get(..n).unwrap_or_default(), from);
                }
            }
        });
        Ok(Echo(alive))
    }

    fn end(&self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

/// Two routers and a client.
struct Pair {
    peer: Peer,
    prefix: String,
    folder: std::path::PathBuf,
    ms: u32,
    second: Option<Child>,
}

impl Pair {
    fn start(peer: Peer, ms: u32) -> Result<Pair, String> {
        let prefix = format!("mgb{}", std::process::id());
        let folder = std::env::temp_dir().join(&prefix);
        std::fs::create_dir_all(&folder).map_err(|e| e.to_string())?;
        let mut pair = Pair {
            peer,
            prefix,
            folder,
            ms,
            second: None,
        };
        let client = pair.client();
        namespaces::link(&client, [&pair.router(1), &pair.router(2)])?;
        pair.second = Some(pair.spawn(2, 100)?);
        Ok(pair)
    }

    fn client(&self) -> String {
        format!("{}c", self.prefix)
    }

    fn router(&self, n: usize) -> String {
        format!("{}r{n}", self.prefix)
    }

    fn spawn(&self, router: usize, priority: u8) -> Result<Child, String> {
        let config = self.folder.join(format!("config{router}"));
        let text = self.peer.config(self.ms, priority);
        std::fs::write(config, text).map_err(|e| e.to_string())?;
        let log = File::create(self.folder.join(format!("log{router}")));
        let log = log.map_err(|e| e.to_string())?;
        let copy = log.try_clone().map_err(|e| e.to_string())?;
        Command::new("ip")
            .args(["netns", "exec", &self.router(router)])
            .args(self.peer.command(&self.folder, router))
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(copy)
            .spawn()
            .map_err(|e| format!("{} does not start: {e}", self.peer.name()))
    }

    /// Ends a program and all its processes as a crash would.
    fn kill(&self, child: &mut Child, router: usize) {
        let vrrp = self.folder.join(format!("vrrp{router}"));
        let vrrp = std::fs::read_to_string(vrrp).unwrap_or_default();
        let vrrp: i32 = vrrp.trim().parse().unwrap_or(0);
        if self.peer == Peer::Alone {
            children(child.id()).into_iter().for_each(end);
        }
        let _ = child.kill();
        if vrrp > 1 && self.peer == Peer::Keepalived {
            end(vrrp);
        }
        let _ = child.wait();
        // keepalived takes the number of its dead child for a living one.
        for name in ["pid", "vrrp"] {
            let _ = std::fs::remove_file(self.folder.join(format!("{name}{router}")));
        }
    }

    fn wait_for(&self, router: usize, there: bool) -> Result<(), String> {
        let end = Instant::now() + PATIENCE;
        let shown = format!("-n {} -o addr show dev eth0", self.router(router));
        while ip(&shown)?.contains(&format!(" {VIP}/")) != there {
            if Instant::now() > end {
                let said = |r| std::fs::read_to_string(self.folder.join(format!("log{r}")));
                return Err(format!(
                    "{}: the address does not move:\n{}\n{}",
                    self.peer.name(),
                    said(1).unwrap_or_default(),
                    said(2).unwrap_or_default()
                ));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    fn gaps(&self, kills: usize) -> Result<Vec<Duration>, String> {
        let _second = Echo::start(&self.router(2))?;
        let probe = within(&self.client(), "203.0.113.100:0")?;
        probe.set_nonblocking(true).map_err(|e| e.to_string())?;
        let mut gaps = Vec::new();
        for _ in 0..kills {
            let mut first = self.spawn(1, 200)?;
            let echo = Echo::start(&self.router(1))?;
            self.wait_for(1, true)?;
            self.wait_for(2, false)?;
            std::thread::sleep(CALM);
            let gap = measure(&probe, || {
                self.kill(&mut first, 1);
                echo.end();
            });
            // What a machine that died has no more.
            let _ = ip(&format!("-n {} addr del {VIP}/24 dev eth0", self.router(1)));
            gaps.push(gap.ok_or_else(|| format!("{}: no answer after a kill", self.peer.name()))?);
        }
        Ok(gaps)
    }
}

/// Ends a process that a program of ours started.
fn end(pid: i32) {
    // SAFETY: plain call.
    unsafe { libc::kill(pid, libc::SIGKILL) };
}

/// The processes that one has started.
fn children(pid: u32) -> Vec<i32> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task"));
    let tasks = tasks.into_iter().flatten().flatten();
    let lists = tasks.filter_map(|t| std::fs::read_to_string(t.path().join("children")).ok());
    let pids: Vec<i32> = lists
        .flat_map(|l| {
            l.split(' ')
                .filter_map(|p| p.trim().parse().ok())
                .collect::<Vec<i32>>()
        })
        .collect();
    pids
}

/// Asks every millisecond; the longest time between two answers around the kill.
fn measure(probe: &UdpSocket, kill: impl FnOnce()) -> Option<Duration> {
    let start = Instant::now();
    let (mut kill, mut killed) = (Some(kill), None);
    let (mut last, mut worst) = (None::<Instant>, Duration::ZERO);
    let mut buffer = [0; 64];
    while start.elapsed() < PATIENCE {
        let _ = probe.send_to(b"?", (VIP, PORT));
        std::thread::sleep(Duration::from_millis(1));
        let now = Instant::now();
        let mut answered = false;
        while probe.recv(&mut buffer).is_ok() {
            answered = true;
        }
        if answered {
            if let (Some(last), Some(_)) = (last, killed) {
                worst = worst.max(now - last);
            }
            last = Some(now);
        }
        if start.elapsed() > Duration::from_millis(100)
            && last.is_some()
            && let Some(kill) = kill.take()
        {
            last = Some(Instant::now());
            kill();
            killed = Some(Instant::now());
            // An answer that was on its way is none after the kill.
            while probe.recv(&mut buffer).is_ok() {}
        }
        let over = killed.is_some_and(|k| now > k + Duration::from_millis(200));
        if over && last.is_some_and(|l| now - l < Duration::from_millis(5)) {
            return Some(worst);
        }
    }
    None
}

impl Drop for Pair {
    fn drop(&mut self) {
        if let Some(mut second) = self.second.take() {
            self.kill(&mut second, 2);
        }
        for namespace in [self.client(), self.router(1), self.router(2)] {
            // Programs that are left in it end with nothing more to do.
            let _ = ip(&format!("netns del {namespace}"));
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
