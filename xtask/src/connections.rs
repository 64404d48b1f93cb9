//! `cargo xtask connections [N [PROGRAM]]`: N short connections (a million by default) through `mode
//! tcp`, and what the program holds before and after: descriptors and memory.
//!
//! One in eight sends nothing, the others exchange a byte; the client ends each by a reset, so that no
//! port has to wait.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// How long one exchange, or what comes after all of them, may take.
const PATIENCE: Duration = Duration::from_secs(20);
const CLIENTS: u64 = 4;

/// Runs it and prints what came of it.
pub fn run(args: &[&str]) -> Result<(), Vec<String>> {
    let usage = || vec!["usage: cargo xtask connections [N [PROGRAM]]".to_string()];
    let (count, program) = match args {
        [] => (1_000_000, "target/release/mulgil"),
        [n] => (n.parse().map_err(|_| usage())?, "target/release/mulgil"),
        [n, program] => (n.parse().map_err(|_| usage())?, *program),
        _ => return Err(usage()),
    };
    measure(count, program).map_err(|e| vec![e])
}

/// The program; ended with this.
struct Running(Child, String);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
        let _ = std::fs::remove_file(&self.1);
    }
}

impl Running {
    /// Open descriptors.
    fn descriptors(&self) -> usize {
        let folder = std::fs::read_dir(format!("/proc/{}/fd", self.0.id()));
        folder.map_or(0, Iterator::count)
    }

    /// Resident memory, KiB.
    fn memory(&self) -> u64 {
        crate::checks::memory(self.0.id())
    }
}

fn measure(count: u64, program: &str) -> Result<(), String> {
    let listener = TcpListener::bind("127.0.0.1:0").map_err(|e| e.to_string())?;
    let server = listener.local_addr().map_err(|e| e.to_string())?;
    // Ends with this process.
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut byte = [0];
            let _ = stream
                .read_exact(&mut byte)
                .and_then(|()| stream.write_all(&byte));
        }
    });
    let free = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr());
    let door = free.map_err(|e| e.to_string())?;
    let file = std::env::temp_dir().join(format!("mulgil-connections-{}.cfg", std::process::id()));
    let file = file.to_string_lossy().into_owned();
    let config = format!(
        "global\n    nbthread 2\ndefaults\n    mode tcp\n    timeout client 5s\n    timeout server 5s\n    timeout connect 5s\n\
         listen l\n    bind {door}\n    server s {server}\n"
    );
    std::fs::write(&file, config).map_err(|e| e.to_string())?;
    let child = Command::new(program)
        .args(["-db", "-f", &file])
        .stdin(Stdio::null())
        .spawn();
    let running = Running(child.map_err(|e| format!("{program}: {e}"))?, file);
    let begun = Instant::now();
    while TcpStream::connect(door).is_err() {
        if begun.elapsed() > PATIENCE {
            return Err(format!("{program} does not listen"));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    // What is made once and kept is there after the first few.
    burst(2_000, door);
    settle(&running, None);
    let (descriptors, memory) = (running.descriptors(), running.memory());
    let begun = Instant::now();
    let good = burst(count, door);
    let took = begun.elapsed();
    settle(&running, Some(descriptors));
    println!(
        "{good} of {count} connections in {:.0} s: {:.0} a second",
        took.as_secs_f64(),
        good as f64 / took.as_secs_f64()
    );
    println!(
        "descriptors: {descriptors} before, {} after",
        running.descriptors()
    );
    println!(
        "memory: {memory} KiB before, {} KiB after",
        running.memory()
    );
    match running.descriptors() == descriptors && good == count {
        true => Ok(()),
        false => Err("something is left, or was lost".into()),
    }
}

/// Waits until as many descriptors are open as before, or until their number stands still.
fn settle(running: &Running, wanted: Option<usize>) {
    let begun = Instant::now();
    let mut last = 0;
    while begun.elapsed() < PATIENCE {
        let now = running.descriptors();
        if wanted.map_or(now == last, |wanted| now == wanted) {
            return;
        }
        last = now;
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// Makes so many connections; how many came to what they were for.
fn burst(count: u64, door: std::net::SocketAddr) -> u64 {
    let left = Arc::new(AtomicU64::new(count));
    let client = move |left: Arc<AtomicU64>| {
        let mut good = 0;
        while let Ok(n) = left.fetch_update(Relaxed, Relaxed, |n| n.checked_sub(1)) {
            good += u64::from(talk(door, n % 8 == 0).is_ok());
        }
        good
    };
    let start = |_| {
        let left = Arc::clone(&left);
        std::thread::spawn(move || client(left))
    };
    let threads: Vec<_> = (0..CLIENTS).map(start).collect();
    threads.into_iter().filter_map(|t| t.join().ok()).sum()
}

fn talk(door: std::net::SocketAddr, silent: bool) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(door)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    reset_on_close(&stream);
    if !silent {
        stream.write_all(b"x")?;
        stream.read_exact(&mut [0])?;
    }
    Ok(())
}

fn reset_on_close(stream: &TcpStream) {
    use std::os::fd::AsRawFd;
    let linger = libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    // SAFETY: the value and its length describe a live structure; the descriptor is open.
    unsafe {
        libc::setsockopt(
            stream.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_LINGER,
            (&raw const linger).cast(),
            size_of::<libc::linger>() as libc::socklen_t,
        )
    };
}
