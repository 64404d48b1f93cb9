//! The mulgil binary: arguments, the process's life, and the wiring of the crates.

/// As the standard library's, but a message that cannot be written (the disk is full, nobody reads
/// the pipe) is lost, instead of ending the thread that says it.
macro_rules! eprint {
    ($($what:tt)*) => {{
        use std::io::Write as _;
        let _ = write!(std::io::stderr(), $($what)*);
    }};
}

/// A line, in the same way.
macro_rules! eprintln {
    ($($what:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stderr(), $($what)*);
    }};
}

mod agent;
mod args;
mod control;
mod ctl;
mod demo;
mod descriptors;
mod doctor;
mod explain;
mod handover;
mod keeper;
mod keywords;
mod life;
mod master;
mod memory;
mod pages;
mod replicas;
mod run;
mod server_setup;
mod signatures;
mod version;
mod vrrp;
mod world;

use args::Args;
use run::Ended;
use std::collections::BTreeMap;
use std::process::exit;

fn main() {
    let all: Vec<String> = std::env::args().collect();
    let program = all
        .first()
        .map_or("mulgil", |p| p.rsplit('/').next().unwrap_or(p))
        .to_string();
    let rest = all.get(1..).unwrap_or_default();
    let after = rest.get(1..).unwrap_or_default();
    match rest.first().map(String::as_str) {
        Some("agent") => exit(agent::main(after)),
        Some(failover::guardian::WORD) => return failover::guardian::guard(),
        Some("demo") => exit(demo::main(after)),
        Some("ctl") => exit(ctl::main(after)),
        Some("trace") => exit(ctl::trace(after)),
        Some("doctor") => exit(doctor::main(after)),
        Some("server-setup") => exit(server_setup::main(after)),
        Some("packet") => exit(detach(after)),
        Some("explain") => exit(explain::main(after)),
        _ => {}
    }
    if rest.is_empty() || rest.iter().any(|a| a == "-h" || a == "--help") {
        eprint!("{}", args::USAGE);
        exit(i32::from(rest.is_empty()));
    }
    match args::parse(rest) {
        Ok(args) => exit(with_args(args, &program)),
        Err(message) => {
            eprintln!("error: {message}");
            eprint!("{}", args::USAGE);
            exit(1);
        }
    }
}

/// `mulgil packet detach`.
fn detach(args: &[String]) -> i32 {
    if args != ["detach"] {
        eprintln!("usage: mulgil packet detach");
        return 1;
    }
    match packet::detach() {
        Ok(0) => println!("nothing was attached in this network namespace"),
        Ok(_) => println!("programs, tables and sessions are removed"),
        Err(e) => {
            eprintln!("error: {e}");
            return 1;
        }
    }
    0
}

fn with_args(mut args: Args, program: &str) -> i32 {
    if args.version > 0 {
        print!("{}", version::text(args.version));
        return 0;
    }
    if let Some(condition) = &args.condition {
        let env: BTreeMap<String, String> = std::env::vars().collect();
        return match config::condition::evaluate(condition, &env) {
            Ok(true) => 0,
            Ok(false) => 1,
            Err((_, message)) => {
                eprintln!("error: {message}");
                2
            }
        };
    }
    if let Some(directory) = &args.directory
        && let Err(e) = std::env::set_current_dir(directory)
    {
        eprintln!("error: cannot change to '{directory}': {e}");
        return 1;
    }
    for flag in args.idle.iter().filter(|_| !args.quiet) {
        eprintln!("warning: '{flag}' has no effect: it is about what only HAProxy has inside");
    }
    let mut read = run::load(&args, &world::Machine, None);
    let Some(config) = read.config.take() else {
        return 1;
    };
    if let Some(classes) = &args.keywords {
        match keywords::list(classes) {
            Ok(text) => print!("{text}"),
            Err(message) => {
                eprintln!("error: {message}");
                return 1;
            }
        }
    }
    if args.objects {
        print!("{}", memory::object_files());
    }
    if !config.listens() {
        return run::nothing_to_listen_on(args.check);
    }
    if args.check {
        if args.verbose || !args.quiet {
            println!("Configuration file is valid");
        }
        return 0;
    }
    args.master |= config.global.master_worker;
    args.daemon |= config.global.daemon;
    args.quiet |= config.global.quiet;
    if (args.debug || args.verbose) && !args.quiet {
        println!(
            "{}Using epoll() as the polling mechanism.",
            version::POLLERS
        );
    }
    let background = args.daemon && !args.foreground && !args.debug;
    let pidfile = args
        .pidfile
        .clone()
        .or(config.global.pidfile.as_deref().map(str::to_string));
    let with_master = args.master && !args.foreground;
    let socket = match with_master.then(|| control::master_socket(&args)) {
        Some(Ok(socket)) => socket,
        None => None,
        Some(Err(message)) => {
            eprintln!("error: {message}");
            return 1;
        }
    };
    let prepared = match run::prepare(&args, config, read) {
        Ok(prepared) => prepared,
        Err(message) => {
            eprintln!("error: {}", message.replace('\n', "\nerror: "));
            return 1;
        }
    };
    if background {
        // SAFETY: no other thread exists yet, so the child has a whole process to itself.
        match unsafe { libc::fork() } {
            0 => world::detach(),
            pid if pid > 0 => {
                write_pid(pidfile.as_deref(), pid);
                return 0;
            }
            _ => {
                eprintln!(
                    "error: cannot go to the background: {}",
                    std::io::Error::last_os_error()
                );
                return 1;
            }
        }
    } else if with_master {
        write_pid(pidfile.as_deref(), std::process::id() as i32);
    }
    if with_master {
        return master::run(&args, prepared, socket, program);
    }
    serve(&args, prepared, run::Behind::Nobody, program)
}

fn serve(args: &Args, prepared: run::Prepared, behind: run::Behind, program: &str) -> i32 {
    match run::serve(args, prepared, behind, program) {
        Ok(Ended::Softly) => 0,
        Ok(Ended::Signal(signal)) => world::end_by(signal),
        Err(message) => {
            eprintln!("error: {message}");
            1
        }
    }
}

fn write_pid(file: Option<&str>, pid: i32) {
    if let Some(file) = file
        && let Err(e) = std::fs::write(file, format!("{pid}\n"))
    {
        eprintln!("warning: cannot write pidfile '{file}': {e}");
    }
}
