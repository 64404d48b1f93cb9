//! `cargo xtask checks [N [ROUNDS]]`: what it costs to check N servers (10,000 by default) every two
//! seconds, one worker on one core, mulgil and haproxy in turns; CPU time of all threads, and memory.

use crate::bench::arena::{Folder, PROXY_CORE, Programs, Running, fresh_network};
use std::net::TcpListener;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// How long every server has had its first checks.
const BEGINNING: Duration = Duration::from_secs(5);
/// How long is measured: a few intervals.
const MEASURED: Duration = Duration::from_secs(10);

/// Runs it and prints what came of it.
pub fn run(args: &[&str]) -> Result<(), Vec<String>> {
    let number = |word: &str| word.parse::<u32>();
    let (count, rounds) = match args {
        [] => (Ok(10_000), Ok(3)),
        [count] => (number(count), Ok(3)),
        [count, rounds] => (number(count), number(rounds)),
        _ => (number(""), number("")),
    };
    let (Ok(count), Ok(rounds)) = (count, rounds) else {
        return Err(vec!["usage: cargo xtask checks [N [ROUNDS]]".to_string()]);
    };
    measure_all(count, rounds).map_err(|e| vec![e])
}

fn measure_all(count: u32, rounds: u32) -> Result<(), String> {
    let programs = Programs::build()?;
    let folder = Folder::new()?;
    println!("{count} servers, checked every 2 s");
    for round in 1..=rounds {
        for program in [programs.mulgil.as_path(), Path::new("/usr/sbin/haproxy")] {
            let (cpu, memory, came) = measure(program, count, &folder)?;
            println!(
                "round {round}, {}: {:.2} % of a core, {memory} KiB, {came} connections accepted",
                program.display(),
                cpu * 100.0
            );
        }
    }
    Ok(())
}

/// The part of a core that a program takes, its memory in KiB, and how many connections the servers
/// have been given meanwhile: haproxy ends most of them before.
fn measure(program: &Path, count: u32, folder: &Folder) -> Result<(f64, u64, u64), String> {
    fresh_network();
    let listener = TcpListener::bind("0.0.0.0:0").map_err(|e| e.to_string())?;
    // What comes at once on a busy machine must not be lost: a server would count as down.
    // SAFETY: the descriptor is the listener's, which is alive.
    if unsafe { libc::listen(listener.as_raw_fd(), 4096) } != 0 {
        return Err(std::io::Error::last_os_error().to_string());
    }
    let port = listener.local_addr().map_err(|e| e.to_string())?.port();
    let accepted = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&accepted);
    // Takes connections and ends them as the client does; ends with this process.
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            counter.fetch_add(1, Relaxed);
            let _ = std::io::Read::read(&mut stream, &mut [0]);
        }
    });
    let mut config = format!(
        "global\n    nbthread 1\n    stats socket {}\ndefaults\n    timeout client 5s\n    timeout server 5s\n    \
         timeout connect 2s\nbackend b\n    default-server check inter 2s\n",
        folder.path("control")
    );
    for n in 0..count {
        let (a, b) = (n / 250, n % 250 + 1);
        config += &format!("    server s{n} 127.{}.{}.{b}:{port}\n", a / 250, a % 250);
    }
    let file = folder.file("checks.cfg", &config)?;
    let running = Running::start(PROXY_CORE, program, &["-db", "-f", &file])?;
    std::thread::sleep(BEGINNING);
    let (before, begun) = (cpu_time(running.pid())?, Instant::now());
    let came = accepted.load(Relaxed);
    std::thread::sleep(MEASURED);
    let spent = cpu_time(running.pid())? - before;
    let part = spent as f64 / begun.elapsed().as_nanos() as f64;
    let came = accepted.load(Relaxed) - came;
    Ok((part, memory(running.pid()), came))
}

/// CPU time of all threads of a process, nanoseconds (kernel, `sched-stats.rst`).
pub fn cpu_time(pid: impl std::fmt::Display) -> Result<u64, String> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task"));
    let tasks = tasks.map_err(|e| format!("the program has ended: {e}"))?;
    let of = |path: std::path::PathBuf| {
        let text = std::fs::read_to_string(path.join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<u64>().ok()
    };
    Ok(tasks.flatten().filter_map(|t| of(t.path())).sum())
}

/// Resident memory of a process, KiB.
pub fn memory(pid: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = text.lines().find_map(|l| l.strip_prefix("VmRSS:"));
    let number = line.and_then(|l| l.split_whitespace().next());
    number.and_then(|n| n.parse().ok()).unwrap_or(0)
}
