//! `cargo xtask profile LOAD [PEER]`: where the time of mulgil, or of a peer, goes under one load of
//! the benchmark, and how many system calls a request costs it and haproxy.

use crate::bench::arena::{Folder, Programs};
use crate::bench::loads::{LOADS, Load};
use crate::bench::measure::{Contestant, Extent, Stage};
use crate::bench::peers::Peer;
use std::collections::BTreeMap;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Profiles the load of this name, as the peer of that name carries it.
pub fn run(name: &str, peer: &str) -> Result<(), Vec<String>> {
    let Some(peer) = Peer::ALL.into_iter().find(|p| p.name() == peer) else {
        let known = Peer::ALL.map(Peer::name);
        return Err(vec![format!(
            "no peer is named '{peer}'; there are {known:?}"
        )]);
    };
    let Some(load) = LOADS.iter().find(|l| l.key == name) else {
        let known: Vec<&str> = LOADS.iter().map(|l| l.key).collect();
        return Err(vec![format!(
            "no load is named '{name}'; there are {known:?}"
        )]);
    };
    profile(load, peer).map_err(|e| vec![e])
}

const SECONDS: u64 = 3;

fn profile(load: &Load, peer: Peer) -> Result<(), String> {
    let programs = Programs::build()?;
    let folder = Folder::new()?;
    if !peer.can(load, &programs) {
        return Err(format!(
            "{} cannot take part in '{}'",
            peer.name(),
            load.key
        ));
    }
    if is_there("perf") {
        functions(load, peer, &programs, &folder)?;
    } else {
        println!("perf is not installed: no functions");
    }
    let tool = match (is_there("perf"), is_there("strace")) {
        (true, _) => Tool::Perf,
        (false, true) => Tool::Strace,
        (false, false) => {
            println!("neither perf nor strace is installed: no system calls");
            return Ok(());
        }
    };
    let ours = calls(load, Peer::Mulgil, tool, &programs, &folder)?;
    let theirs = calls(load, Peer::Haproxy, tool, &programs, &folder)?;
    let (unit, _) = unit(load);
    println!("\nsystem calls per {unit}\n{:<18} mulgil  haproxy", "");
    for name in ours
        .keys()
        .chain(theirs.keys().filter(|k| !ours.contains_key(*k)))
    {
        let of = |calls: &BTreeMap<String, f64>| calls.get(name).copied().unwrap_or_default();
        if of(&ours) >= 0.001 || of(&theirs) >= 0.001 {
            println!("{name:<18} {:>6.3}  {:>7.3}", of(&ours), of(&theirs));
        }
    }
    Ok(())
}

/// What is counted by: requests, or in TCP mode so many bytes.
fn unit(load: &Load) -> (&'static str, f64) {
    if load.is_transfer() {
        ("MiB", (1 << 20) as f64)
    } else {
        ("request", 1.0)
    }
}

fn is_there(program: &str) -> bool {
    let mut command = Command::new(program);
    command
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.status().is_ok_and(|s| s.success())
}

fn stage(load: &Load, peer: Peer, programs: &Programs, folder: &Folder) -> Result<Stage, String> {
    Stage::set(load, Contestant { peer, threads: 1 }, programs, folder)
}

/// Samples the program counter while the load is on, and prints where it was.
fn functions(load: &Load, peer: Peer, programs: &Programs, folder: &Folder) -> Result<(), String> {
    let stage = stage(load, peer, programs, folder)?;
    let data = folder.path("perf.data");
    let pid = stage.pid().to_string();
    // The clock of the CPU, because a virtual machine has no counter of cycles.
    let record = [
        "record",
        "-q",
        "-e",
        "cpu-clock",
        "-F",
        "4999",
        "-g",
        "-o",
        &data,
        "-p",
        &pid,
    ];
    let perf = attach("perf", &record)?;
    let sample = stage.run(
        load,
        Extent::Seconds(SECONDS),
        Duration::from_millis(300),
        programs,
    );
    detach(perf)?;
    let sample = sample?;
    let (unit, bytes) = unit(load);
    let cpu = sample.cpu * bytes / 1000.0;
    println!("{}: {cpu:.1} µs of CPU per {unit}\n", load.name);
    let own = report(&data, &["--no-children", "--sort", "dso,sym"])?;
    println!("functions by their own time\n{}", top(&own, 40, |_| true));
    let of_mulgil = |line: &str| !line.contains("[k]");
    println!("of these, outside the kernel\n{}", top(&own, 30, of_mulgil));
    let whole = report(&data, &["--children", "--sort", "sym"])?;
    // Some are entered by another name.
    let is_call =
        |line: &str| line.contains("[k] __x64_sys_") || line.contains("[k] __sys_sendmsg");
    println!(
        "system calls with all they call\n{}",
        top(&whole, 30, is_call)
    );
    Ok(())
}

fn report(data: &str, how: &[&str]) -> Result<String, String> {
    let mut command = Command::new("perf");
    command.args(["report", "-i", data, "-g", "none", "--percent-limit", "0.1"]);
    let out = command.args(how).stderr(Stdio::null()).output();
    let out = out.map_err(|e| format!("perf report: {e}"))?;
    Ok(String::from_utf8_lossy(&out.stdout).into_owned())
}

/// The first lines of a report that are wanted.
fn top(report: &str, count: usize, wanted: impl Fn(&str) -> bool) -> String {
    let lines = report.lines().map(str::trim_end);
    let lines = lines.filter(|l| !l.is_empty() && !l.starts_with('#') && wanted(l));
    lines.take(count).map(|l| format!("{l}\n")).collect()
}

#[derive(Clone, Copy)]
enum Tool {
    Perf,
    Strace,
}

/// System calls per request, by name.
fn calls(
    load: &Load,
    peer: Peer,
    tool: Tool,
    programs: &Programs,
    folder: &Folder,
) -> Result<BTreeMap<String, f64>, String> {
    let stage = stage(load, peer, programs, folder)?;
    let file = folder.path("calls");
    let pid = stage.pid().to_string();
    let counting = match tool {
        Tool::Perf => attach("perf", &["trace", "-s", "-o", &file, "-p", &pid])?,
        Tool::Strace => attach("strace", &["-c", "-f", "-o", &file, "-p", &pid])?,
    };
    // Without a warm-up: every call must belong to a request that is counted.
    let sample = stage.run(load, Extent::Seconds(SECONDS), Duration::ZERO, programs);
    detach(counting)?;
    let sample = sample?;
    let text = std::fs::read_to_string(&file).map_err(|e| format!("{file}: {e}"))?;
    let counted = match tool {
        Tool::Perf => parse_perf(&text),
        Tool::Strace => parse_strace(&text),
    };
    let count = sample.count / unit(load).1;
    let per_request = counted
        .into_iter()
        .map(|(name, n)| (name, n as f64 / count));
    Ok(per_request.collect())
}

/// `perf trace -s`: a table a thread, lines `name calls errors total min avg max stddev%`.
fn parse_perf(text: &str) -> BTreeMap<String, u64> {
    let mut counted = BTreeMap::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        if let [name, calls, errors, ..] = words.as_slice()
            && let (Ok(calls), Ok(_)) = (calls.parse::<u64>(), errors.parse::<u64>())
        {
            *counted.entry(name.to_string()).or_default() += calls;
        }
    }
    counted
}

/// `strace -c`: lines `%time seconds usecs/call calls [errors] name`, the last one a total.
fn parse_strace(text: &str) -> BTreeMap<String, u64> {
    let mut counted = BTreeMap::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        if let [_, _, _, calls, name] | [_, _, _, calls, _, name] = words.as_slice()
            && let Ok(calls) = calls.parse::<u64>()
            && *name != "total"
        {
            *counted.entry(name.to_string()).or_default() += calls;
        }
    }
    counted
}

/// Starts a tool that watches a process, and gives it the time to attach itself.
fn attach(tool: &str, args: &[&str]) -> Result<Child, String> {
    let mut command = Command::new(tool);
    command.args(args).stdin(Stdio::null());
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let child = command.spawn().map_err(|e| format!("{tool}: {e}"))?;
    std::thread::sleep(Duration::from_millis(800));
    Ok(child)
}

/// Ends it as a user would, so that it writes what it has.
fn detach(mut tool: Child) -> Result<(), String> {
    // SAFETY: plain call; the child has not been waited for, so the pid is still its own.
    unsafe { libc::kill(tool.id() as libc::pid_t, libc::SIGINT) };
    tool.wait().map(|_| ()).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_of_perf_are_added_up() {
        let text = " worker-0 (12), 300 events, 97.2%\n\n   syscall  calls  errors  total  min\n\
                    \x20  -------- ------ ------\n   recvfrom   34   13   1.537   0.027\n\
                    \x20  epoll_wait   5   0   1.0   0.1\n\n main (11)\n   epoll_wait   2   0   1.0\n";
        let counted = parse_perf(text);
        assert_eq!(counted.get("recvfrom"), Some(&34));
        assert_eq!(counted.get("epoll_wait"), Some(&7));
        assert_eq!(counted.len(), 2);
    }

    #[test]
    fn the_table_of_strace_is_read_with_and_without_errors() {
        let text = "% time     seconds  usecs/call     calls    errors syscall\n\
                    ------ ----------- ----------- --------- --------- ----------------\n\
                    \x2055.00    0.000100           5        20         3 recvfrom\n\
                    \x2045.00    0.000090           5        18           sendto\n\
                    100.00    0.000190           5        38         3 total\n";
        let counted = parse_strace(text);
        assert_eq!(counted.get("recvfrom"), Some(&20));
        assert_eq!(counted.get("sendto"), Some(&18));
        assert_eq!(counted.len(), 2);
    }

    #[test]
    fn a_report_is_cut_to_what_is_wanted() {
        let text = "# head\n\n  9% [k] a\n  8% [.] b\n  7% [k] c\n";
        assert_eq!(top(text, 1, |l| l.contains("[k]")), "  9% [k] a\n");
    }
}
