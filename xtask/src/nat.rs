//! `cargo xtask bench nat [ROUNDS]`: TCP through `forward nat` in namespaces, beside the kernel's own DNAT by
//! nftables and beside plain routing.
//!
//! client – router – server, joined by veth. Ends are threads of this process, so that what all of it costs is
//! this process's time and that of ksoftirqd: the kernel does a frame's whole way where it was sent, in the
//! sender's name. Each way has a network of its own; ways take turns, and medians of all rounds are printed.

use crate::namespaces::ip;
use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Connections at a time.
const LANES: usize = 4;
/// What each of them carries in one measurement, bytes.
const BULK: u64 = 256 << 20;
/// The same where each segment is a frame of its own.
const FRAMES: u64 = 64 << 20;
/// Short connections of each lane.
const SHORT: usize = 500;

/// How long anything may take before it counts as never.
const PATIENCE: Duration = Duration::from_secs(20);

const SERVER: &str = "10.0.0.11:8080";
const VIRTUAL: &str = "203.0.113.80:80";

/// Runs it and prints its table.
pub fn run(args: &[&str]) -> Result<(), Vec<String>> {
    let rounds = match args {
        [] => 5,
        [n] => n
            .parse()
            .map_err(|_| vec![format!("'{n}' is no number of rounds")])?,
        _ => return Err(vec!["usage: cargo xtask bench nat [ROUNDS]".into()]),
    };
    compare(rounds).map_err(|e| vec![e])
}

/// Who leads packets to the server.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// Nobody changes them.
    Routed,
    Nftables,
    /// By TC or in the driver.
    Mulgil(&'static str),
}

impl Way {
    fn name(self) -> String {
        match self {
            Way::Routed => "routed by the kernel".into(),
            Way::Nftables => "DNAT by nftables".into(),
            Way::Mulgil("xdp") => "mulgil, XDP".into(),
            Way::Mulgil(_) => "mulgil, TC".into(),
        }
    }

    fn target(self) -> &'static str {
        match self {
            Way::Routed => SERVER,
            _ => VIRTUAL,
        }
    }
}

/// What is measured, and in which kind of network.
const CASES: [(bool, Way); 6] = [
    (false, Way::Routed),
    (false, Way::Nftables),
    (false, Way::Mulgil("auto")),
    (true, Way::Nftables),
    (true, Way::Mulgil("auto")),
    (true, Way::Mulgil("xdp")),
];

/// One round's figures.
#[derive(Clone, Copy)]
struct Figures {
    gigabits: f64,
    seconds_a_gigabyte: f64,
    micros_a_connection: f64,
}

fn compare(rounds: usize) -> Result<(), String> {
    if !Path::new("target/release/mulgil").exists() {
        return Err("build first: cargo build --release -p mulgil".into());
    }
    let mut nets = Vec::new();
    for (n, (frames, way)) in CASES.into_iter().enumerate() {
        nets.push((Net::lay(n, frames, way)?, Vec::new()));
    }
    for _ in 0..rounds {
        for (net, figures) in &mut nets {
            figures.push(net.measure()?);
        }
    }
    println!("| cables | way | Gbit/s | CPU s a GB | CPU µs a connection |");
    println!("|---|---|---|---|---|");
    for (net, figures) in &nets {
        let median = |of: fn(&Figures) -> f64| {
            let mut all: Vec<f64> = figures.iter().map(of).collect();
            all.sort_by(f64::total_cmp);
            all.get(all.len() / 2).copied().unwrap_or(0.0)
        };
        let cables = if net.frames {
            "a frame for each segment"
        } else {
            "segments joined"
        };
        println!(
            "| {cables} | {} | {:.1} | {:.2} | {:.0} |",
            net.way.name(),
            median(|f| f.gigabits),
            median(|f| f.seconds_a_gigabyte),
            median(|f| f.micros_a_connection)
        );
    }
    Ok(())
}

/// One way's network.
struct Net {
    prefix: String,
    frames: bool,
    way: Way,
    folder: PathBuf,
    process: Option<Child>,
}

impl Net {
    fn lay(n: usize, frames: bool, way: Way) -> Result<Net, String> {
        let prefix = format!("mgn{}x{n}", std::process::id());
        let folder = std::env::temp_dir().join(&prefix);
        std::fs::create_dir_all(&folder).map_err(|e| e.to_string())?;
        let mut net = Net {
            prefix,
            frames,
            way,
            folder,
            process: None,
        };
        for host in ["c", "r", "s"] {
            ip(&format!("netns add {}", net.host(host)))?;
            ip(&format!("-n {} link set lo up", net.host(host)))?;
        }
        net.cable("c", "front", "198.51.100")?;
        net.cable("s", "back", "10.0.0")?;
        net.within("r", "sysctl -qw net.ipv4.ip_forward=1")?;
        match way {
            Way::Routed => {}
            Way::Nftables => net.translate()?,
            Way::Mulgil(attach) => net.start(attach)?,
        }
        net.serve()?;
        let end = Instant::now() + PATIENCE;
        while net.short(1).is_err() {
            if Instant::now() > end {
                let said = std::fs::read_to_string(net.folder.join("log"));
                let said = said.unwrap_or_default();
                return Err(format!("{}: nothing comes through: {said}", way.name()));
            }
        }
        Ok(net)
    }

    fn host(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// Runs a command on a host.
    fn within(&self, host: &str, command: &str) -> Result<(), String> {
        ip(&format!("netns exec {} {command}", self.host(host))).map(drop)
    }

    /// A cable from a host's `e0`, which is .2 or .11 there, to an interface of the router, .1.
    fn cable(&self, host: &str, interface: &str, network: &str) -> Result<(), String> {
        let (end, router) = (self.host(host), self.host("r"));
        let own = if host == "s" { 11 } else { 2 };
        ip(&format!(
            "link add name e0 netns {end} type veth peer name {interface} netns {router}"
        ))?;
        for (at, name, interface, number) in [(host, &end, "e0", own), ("r", &router, interface, 1)]
        {
            if self.frames {
                self.within(at, &format!("ethtool -K {interface} tx off"))?;
            }
            ip(&format!(
                "-n {name} addr add {network}.{number}/24 dev {interface}"
            ))?;
            ip(&format!("-n {name} link set dev {interface} up"))?;
        }
        if self.way == Way::Mulgil("xdp") {
            // Who is sent to by a program in the driver has one.
            let object = "crates/packet/bpf/pass.bpf.o";
            ip(&format!(
                "-n {end} link set dev e0 xdp obj {object} sec xdp"
            ))?;
        }
        ip(&format!("-n {end} route add default via {network}.1")).map(drop)
    }

    fn translate(&self) -> Result<(), String> {
        let file = self.folder.join("rules");
        let rules = "
table ip nat {
    chain prerouting {
        type nat hook prerouting priority dstnat;
        ip daddr 203.0.113.80 tcp dport 80 dnat to 10.0.0.11:8080
    }
}
";
        std::fs::write(&file, rules).map_err(|e| e.to_string())?;
        self.within("r", &format!("nft -f {}", file.display()))
    }

    fn start(&mut self, attach: &str) -> Result<(), String> {
        let file = self.folder.join("config");
        let config = format!(
            "global\n nbthread 1\n tune.packet.attach {attach}\n tune.packet.flows 100000\nlisten web\n mode packet\n bind {VIRTUAL}\n forward nat\n server one {SERVER}\n"
        );
        std::fs::write(&file, config).map_err(|e| e.to_string())?;
        let log = File::create(self.folder.join("log")).map_err(|e| e.to_string())?;
        let copy = log.try_clone().map_err(|e| e.to_string())?;
        let process = Command::new("ip")
            .args(["netns", "exec", &self.host("r"), "target/release/mulgil"])
            .arg("-f")
            .arg(&file)
            .arg("-db")
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(copy)
            .spawn()
            .map_err(|e| format!("mulgil does not start: {e}"))?;
        self.process = Some(process);
        Ok(())
    }

    /// Runs something with its sockets on a host.
    fn on<T: Send>(
        &self,
        host: &str,
        work: impl FnOnce() -> io::Result<T> + Send,
    ) -> Result<T, String> {
        let path = format!("/run/netns/{}", self.host(host));
        let work = move || -> io::Result<T> {
            let namespace = File::open(path)?;
            // SAFETY: plain call on an open descriptor; only this thread, which ends here, moves.
            if unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) } != 0 {
                return Err(io::Error::last_os_error());
            }
            work()
        };
        let done = std::thread::scope(|s| s.spawn(work).join());
        done.map_err(|_| "a thread failed".to_string())?
            .map_err(|e| format!("{}: {e}", self.way.name()))
    }

    /// The server takes all that comes, and then says a byte.
    fn serve(&self) -> Result<(), String> {
        let listener = self.on("s", || TcpListener::bind(SERVER))?;
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                std::thread::spawn(move || -> io::Result<()> {
                    let mut buffer = vec![0; 256 << 10];
                    while stream.read(&mut buffer)? > 0 {}
                    stream.write_all(b"!")
                });
            }
        });
        Ok(())
    }

    /// One conversation of so many bytes.
    fn talk(to: SocketAddr, bytes: u64) -> io::Result<()> {
        let mut stream = TcpStream::connect_timeout(&to, Duration::from_secs(1))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let buffer = vec![7; 256 << 10];
        let mut left = bytes;
        while left > 0 {
            let now = buffer
                .len()
                .min(usize::try_from(left).unwrap_or(usize::MAX));
            stream.write_all(buffer.get(..now).unwrap_or_default())?;
            left -= now as u64;
        }
        stream.shutdown(Shutdown::Write)?;
        stream.read_exact(&mut [0])
    }

    /// So many conversations of so many bytes on each lane.
    fn converse(&self, times: usize, bytes: u64) -> Result<(), String> {
        let to: SocketAddr = self.way.target().parse().map_err(|e| format!("{e}"))?;
        let lanes = || -> io::Result<()> {
            let one = move || (0..times).try_for_each(|_| Net::talk(to, bytes));
            // Threads begin in the namespace of whoever starts them.
            let lanes: Vec<_> = (0..LANES).map(|_| std::thread::spawn(one)).collect();
            for lane in lanes {
                let failed = || io::Error::other("a thread failed");
                lane.join().map_err(|_| failed())??;
            }
            Ok(())
        };
        self.on("c", lanes)
    }

    fn short(&self, times: usize) -> Result<(), String> {
        self.converse(times, 1024)
    }

    fn measure(&self) -> Result<Figures, String> {
        let bytes = if self.frames { FRAMES } else { BULK };
        let (start, before) = (Instant::now(), self.used()?);
        self.converse(1, bytes)?;
        let (time, used) = (start.elapsed(), self.used()?.saturating_sub(before));
        let gigabytes = (bytes * LANES as u64) as f64 / 1e9;
        let before = self.used()?;
        self.short(SHORT)?;
        let short = self.used()?.saturating_sub(before);
        Ok(Figures {
            gigabits: gigabytes * 8.0 / time.as_secs_f64(),
            seconds_a_gigabyte: used.as_secs_f64() / gigabytes,
            micros_a_connection: short.as_secs_f64() * 1e6 / (SHORT * LANES) as f64,
        })
    }

    /// Processor time so far: of this process, of ksoftirqd, and of the balancer.
    fn used(&self) -> Result<Duration, String> {
        // SAFETY: plain calls; the struct is a live value, all of whose bytes may be zero.
        let (own, ticks) = unsafe {
            let mut usage: libc::rusage = std::mem::zeroed();
            libc::getrusage(libc::RUSAGE_SELF, &raw mut usage);
            (usage, libc::sysconf(libc::_SC_CLK_TCK))
        };
        let of = |t: libc::timeval| Duration::new(t.tv_sec as u64, t.tv_usec as u32 * 1000);
        let mut all = of(own.ru_utime) + of(own.ru_stime);
        let tick = Duration::from_secs(1) / u32::try_from(ticks).unwrap_or(100).max(1);
        let balancer = self.process.iter().map(Child::id);
        for pid in softirqs()?.into_iter().chain(balancer) {
            all += tick * ticks_of(pid).unwrap_or(0);
        }
        Ok(all)
    }
}

/// The kernel's threads that do what no process's time was enough for.
fn softirqs() -> Result<Vec<u32>, String> {
    let entries = std::fs::read_dir("/proc").map_err(|e| format!("/proc: {e}"))?;
    let pids = entries.flatten();
    let pids = pids.filter_map(|e| e.file_name().to_str()?.parse::<u32>().ok());
    let is_one = |pid: &u32| {
        let name = std::fs::read_to_string(format!("/proc/{pid}/comm"));
        name.is_ok_and(|n| n.starts_with("ksoftirqd/"))
    };
    Ok(pids.filter(is_one).collect())
}

/// User's and system's ticks of a process (proc(5): utime and stime).
fn ticks_of(pid: u32) -> Option<u32> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = text.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let (user, system) = (fields.next()?, fields.next()?);
    Some(user.parse::<u32>().ok()? + system.parse::<u32>().ok()?)
}

impl Drop for Net {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
            let _ = self.within("r", "target/release/mulgil packet detach");
        }
        for host in ["c", "r", "s"] {
            let _ = ip(&format!("netns del {}", self.host(host)));
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
