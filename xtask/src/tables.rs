//! `cargo xtask tables`: what an entry of a stick table takes, what a step costs when there are many,
//! and how long others wait while old entries go; memory and look-ups by rules also beside haproxy's.

use crate::checks::cpu_time;
use model::{ServerKey, StickTable, Stored};
use rules::stick::{Data, KeyType};
use state::stick::{Held, Table, Touch};
use std::hint::black_box;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

const ENTRIES: u32 = 1_000_000;
/// Steps that are timed together.
const SLICE: u32 = 10_000;
/// The table that is measured, as a file has it.
const LINE: &str = "type integer size 1m expire 10m store conn_cur,http_req_rate(10s)";
/// Look-ups that a request makes, and requests that are timed together.
const LOOK_UPS: u32 = 100;
/// See above.
const REQUESTS: u32 = 500;
/// `expire 10m`.
const EXPIRE: u64 = 600_000;

/// Prints the figures.
pub fn run() -> Result<(), Vec<String>> {
    if cfg!(debug_assertions) {
        let message =
            "built without optimisation: use 'cargo run --release -p mulgil-xtask -- tables'";
        return Err(vec![message.to_string()]);
    }
    println!("stick-table {LINE}, {ENTRIES} entries");
    steps().map_err(|e| vec![e])?;
    let ours = std::env::current_exe().map_err(|e| vec![e.to_string()])?;
    let ours = ours.with_file_name("mulgil").to_string_lossy().into_owned();
    for (name, path) in [("mulgil", &*ours), ("haproxy", "/usr/sbin/haproxy")] {
        match beside(path) {
            Ok((bytes, look_up)) => println!(
                "{name}: {bytes} bytes an entry, all of the process counted; a rule's look-up takes {look_up} ns"
            ),
            Err(e) => println!("{name} was not measured: {e}"),
        }
    }
    Ok(())
}

fn settings() -> StickTable {
    let mut settings = StickTable {
        name: "t".into(),
        key: KeyType::Integer,
        key_len: 4,
        size: ENTRIES,
        expire: Some(Duration::from_millis(EXPIRE)),
        nopurge: false,
        server_key: ServerKey::Name,
        stores: Vec::new(),
        peers: None,
        follows: false,
    };
    settings.store(Stored::plain(Data::ConnCur));
    settings.store(Stored {
        period: 10_000,
        ..Stored::plain(Data::HttpReqRate)
    });
    settings
}

/// Keys in no order, each once.
fn key(n: u32) -> [u8; 4] {
    n.wrapping_mul(0x9e37_79b9).to_be_bytes()
}

/// Times of the steps, one worker alone.
fn steps() -> Result<(), String> {
    println!("| step | ns |\n|---|---|");
    let before = resident("self")?;
    let table = Arc::new(Table::new(&settings()));
    let count = |n: u32, now: u64| {
        table.with(&key(n), now, Touch::Create, |e| {
            e.add(&[Data::HttpReqRate], 1)
        })
    };
    let each = |what: &str, f: &dyn Fn(u32)| {
        // A quarter of the slices are quieter than this one: others work on this machine, too.
        let mut slices: Vec<u128> = (0..ENTRIES / SLICE)
            .map(|slice| {
                let begin = Instant::now();
                (slice * SLICE..(slice + 1) * SLICE).for_each(f);
                begin.elapsed().as_nanos() / u128::from(SLICE)
            })
            .collect();
        slices.sort_unstable();
        println!(
            "| {what} | {} |",
            slices.get(slices.len() / 4).unwrap_or(&0)
        );
    };
    each("a new entry", &|n| {
        black_box(count(n, u64::from(n / 10_000)));
    });
    let bytes = (resident("self")? - before) / u64::from(ENTRIES);
    each("looked up, any of them", &|n| {
        black_box(
            table.with(&key(n.wrapping_mul(7919) % ENTRIES), 100, Touch::No, |e| {
                e.get(Data::HttpReqRate, 0)
            }),
        );
    });
    each("looked up, not there", &|n| {
        black_box(table.with(&key(n + ENTRIES), 100, Touch::No, |_| ()));
    });
    each("counted and put off", &|n| {
        black_box(count(n.wrapping_mul(7919) % ENTRIES, 100));
    });
    each("tracked: held, counted twice, let go", &|n| {
        let held = Held::new(&table, &key(n.wrapping_mul(7919) % ENTRIES), 100);
        if let Some(held) = held {
            black_box(held.with(100, |e| e.add(&[Data::ConnCur], 1)));
            black_box(held.with(100, |e| e.add(&[Data::HttpReqRate], 1)));
        }
    });
    each("new in a full table: the oldest makes room", &|n| {
        black_box(count(n + ENTRIES, 100));
    });
    println!(
        "\nan entry takes {bytes} bytes, {} of them its own",
        table.entry_len()
    );
    let (mut part, mut steps) = (Some(0), Vec::new());
    let begin = Instant::now();
    while let Some(at) = part {
        let step = Instant::now();
        part = table.purge(at, EXPIRE + 101);
        steps.push(step.elapsed().as_nanos());
    }
    println!(
        "all expire at once: {} ns each",
        begin.elapsed().as_nanos() / u128::from(ENTRIES)
    );
    // The longest are those in which the kernel let others run.
    steps.sort_unstable();
    let part_of = |share: usize| steps.get(steps.len() * share / 1000).unwrap_or(&0) / 1000;
    println!(
        "a part is locked for {} µs while 64 of its entries go, {} µs in one of a hundred cases",
        part_of(500),
        part_of(990)
    );
    match table.len() {
        0 => Ok(()),
        left => Err(format!("{left} entries are left")),
    }
}

/// Memory in use, bytes.
fn resident(pid: &str) -> Result<u64, String> {
    let path = format!("/proc/{pid}/status");
    let text = std::fs::read_to_string(&path).map_err(|e| format!("{path}: {e}"))?;
    let line = text.lines().find(|l| l.starts_with("VmRSS:"));
    let kib = line.and_then(|l| l.split_whitespace().nth(1)?.parse::<u64>().ok());
    kib.map(|k| k * 1024)
        .ok_or_else(|| format!("{path} has no VmRSS"))
}

/// A program that ends with its measurement.
struct Program(Child, std::path::PathBuf);

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
        let _ = std::fs::remove_dir_all(&self.1);
    }
}

/// Bytes that a program takes for each entry, filled by its control socket, and nanoseconds of its CPU
/// time that a rule's look-up takes of any of them.
fn beside(program: &str) -> Result<(u64, u64), String> {
    let name = program.rsplit('/').next().unwrap_or_default();
    let folder = std::env::temp_dir().join(format!("xtask-tables-{}-{name}", std::process::id()));
    std::fs::create_dir_all(&folder).map_err(|e| e.to_string())?;
    let (file, socket) = (folder.join("a.cfg"), folder.join("control"));
    let doors = [folder.join("with"), folder.join("without")];
    let mut text = format!(
        "global\n nbthread 1\n stats socket {} level admin\ndefaults\n mode http\n timeout client 1m\n",
        socket.display(),
    );
    // The same rules, but for the look-up itself.
    for (door, look_up) in doors.iter().zip([",table_http_req_rate(t)", ""]) {
        let name = door.file_name().unwrap_or_default().display();
        text += &format!("frontend {name}\n bind unix@{}\n", door.display());
        let rule = format!(" http-request set-var(txn.n) rand({ENTRIES}){look_up}\n");
        text += &rule.repeat(LOOK_UPS as usize);
        text += " http-request return status 204\n";
    }
    text += &format!("backend t\n stick-table {LINE}\n");
    std::fs::write(&file, text).map_err(|e| e.to_string())?;
    let child = Command::new(program)
        .args(["-db", "-f"])
        .arg(&file)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|e| format!("{program}: {e}"))?;
    let program = Program(child, folder);
    let pid = program.0.id().to_string();
    let end = Instant::now() + Duration::from_secs(10);
    while UnixStream::connect(&socket).is_err() {
        if Instant::now() > end {
            return Err("it did not start".into());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let before = resident(&pid)?;
    // Many commands in a line, many lines one after another.
    for first in (0..ENTRIES).step_by(200) {
        let mut stream = UnixStream::connect(&socket).map_err(|e| e.to_string())?;
        let commands = (first..first + 200).map(|n| {
            // In no order, each once.
            let n = u64::from(n) * 7919 % u64::from(ENTRIES);
            format!("set table t key {n}")
        });
        let line = commands.collect::<Vec<_>>().join(";") + "\n";
        let mut answer = String::new();
        let talked = stream
            .write_all(line.as_bytes())
            .and_then(|()| stream.read_to_string(&mut answer));
        talked.map_err(|e| e.to_string())?;
    }
    let mut shown = String::new();
    let mut stream = UnixStream::connect(&socket).map_err(|e| e.to_string())?;
    let talked = stream
        .write_all(b"show table\n")
        .and_then(|()| stream.read_to_string(&mut shown));
    talked.map_err(|e| e.to_string())?;
    if !shown.contains(&format!("used:{ENTRIES}")) {
        return Err(format!("not all entries are there: {shown}"));
    }
    let bytes = (resident(&pid)? - before) / u64::from(ENTRIES);
    Ok((bytes, look_up(&pid, &doors)?))
}

/// What a look-up takes: the least difference of several between requests with and without.
fn look_up(pid: &str, doors: &[PathBuf; 2]) -> Result<u64, String> {
    let mut streams = Vec::new();
    for door in doors {
        streams.push(UnixStream::connect(door).map_err(|e| e.to_string())?);
    }
    let mut least = [u64::MAX; 2];
    for _ in 0..9 {
        for (stream, least) in streams.iter_mut().zip(&mut least) {
            let before = cpu_time(pid)?;
            for _ in 0..REQUESTS {
                request(stream).map_err(|e| e.to_string())?;
            }
            *least = (*least).min(cpu_time(pid)? - before);
        }
    }
    let [with, without] = least;
    Ok(with.saturating_sub(without) / u64::from(LOOK_UPS * REQUESTS))
}

/// A request on a kept connection, and its answer, which has no body.
fn request(stream: &mut UnixStream) -> std::io::Result<()> {
    stream.write_all(b"GET / HTTP/1.1\r\nHost: t\r\n\r\n")?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        let mut piece = [0; 1024];
        match stream.read(&mut piece)? {
            0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            n => answer.extend(piece.iter().take(n)),
        }
    }
    Ok(())
}
