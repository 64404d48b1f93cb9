//! The mulgil binary: arguments, the process's life, and the wiring of the crates.

mod args;
mod control;
mod demo;
mod run;
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
    if rest.first().is_some_and(|a| a == "demo") {
        exit(demo::main(rest.get(1..).unwrap_or_default()));
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

fn with_args(mut args: Args, program: &str) -> i32 {
    if args.version > 0 {
        version(args.version);
        return 0;
    }
    if let Some(condition) = &args.condition {
        let env: BTreeMap<String, String> = std::env::vars().collect();
        return match config::condition::evaluate(condition, &env) {
            Ok(true) => 0,
            Ok(false) => 1,
            Err((_, message)) => {
                eprintln!("error: {message}");
                255
            }
        };
    }
    if let Some(directory) = &args.directory
        && let Err(e) = std::env::set_current_dir(directory)
    {
        eprintln!("error: cannot change to '{directory}': {e}");
        return 1;
    }
    let (config, loaded) = run::load(&args);
    let Some(config) = config else { return 1 };
    if args.check {
        if args.verbose || !args.quiet {
            println!("Configuration file is valid");
        }
        return 0;
    }
    args.master |= config.global.master_worker;
    args.daemon |= config.global.daemon;
    let background = args.daemon && !args.foreground;
    let pidfile = args
        .pidfile
        .clone()
        .or(config.global.pidfile.as_deref().map(str::to_string));
    let prepared = match run::prepare(&args, config, loaded) {
        Ok(prepared) => prepared,
        Err(message) => {
            eprintln!("error: {}", message.replace('\n', "\nerror: "));
            return 1;
        }
    };
    if background {
        // SAFETY: no other thread exists yet, so the child has a whole process to itself.
        match unsafe { libc::fork() } {
            0 => {
                // SAFETY: plain call.
                unsafe { libc::setsid() };
            }
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
    } else if pidfile.is_some() {
        write_pid(pidfile.as_deref(), std::process::id() as i32);
    }
    if args.master && !args.foreground {
        return master(&args, prepared, program);
    }
    serve(&args, prepared, program)
}

fn serve(args: &Args, prepared: run::Prepared, program: &str) -> i32 {
    match run::serve(args, prepared, program) {
        Ok(Ended::Softly) => 0,
        Ok(Ended::Signal(signal)) => 128 + signal,
        Err(message) => {
            eprintln!("error: {message}");
            1
        }
    }
}

/// The master: starts the worker, passes signals on, and ends as it ends.
fn master(args: &Args, prepared: run::Prepared, program: &str) -> i32 {
    let signals = [
        libc::SIGTERM,
        libc::SIGINT,
        libc::SIGUSR1,
        libc::SIGHUP,
        libc::SIGUSR2,
        libc::SIGCHLD,
    ];
    // SAFETY: the sets are live variables; blocking comes before the fork, so that no signal is
    // lost, and the child takes it back before it starts threads.
    let (worker, set, old) = unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        let mut old: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        for signal in signals {
            libc::sigaddset(&raw mut set, signal);
        }
        libc::sigprocmask(libc::SIG_BLOCK, &raw const set, &raw mut old);
        (libc::fork(), set, old)
    };
    if worker == 0 {
        // SAFETY: the set was filled by the call above.
        unsafe { libc::sigprocmask(libc::SIG_SETMASK, &raw const old, std::ptr::null_mut()) };
        return serve(
            &Args {
                notify: false,
                ..args.clone()
            },
            prepared,
            program,
        );
    }
    if worker < 0 {
        eprintln!(
            "error: cannot start the worker: {}",
            std::io::Error::last_os_error()
        );
        return 1;
    }
    drop(prepared);
    if args.notify {
        world::notify("READY=1\n");
    }
    let mut told = 0;
    loop {
        let mut signal = 0;
        // SAFETY: the set and the integer are live variables.
        unsafe { libc::sigwait(&raw const set, &raw mut signal) };
        if signal == libc::SIGCHLD {
            let mut status = 0;
            // SAFETY: the integer is a live variable; WNOHANG returns at once.
            let ended = unsafe { libc::waitpid(worker, &raw mut status, libc::WNOHANG) };
            if ended == worker {
                if told == libc::SIGTERM || told == libc::SIGINT {
                    return 128 + told;
                }
                return match (libc::WIFSIGNALED(status), libc::WTERMSIG(status)) {
                    (true, by) => 128 + by,
                    (false, _) => libc::WEXITSTATUS(status),
                };
            }
            continue;
        }
        told = signal;
        // A reload is asked of the master by either signal; the worker knows one.
        let passed = if signal == libc::SIGUSR2 {
            libc::SIGHUP
        } else {
            signal
        };
        // SAFETY: plain call on our own child.
        unsafe { libc::kill(worker, passed) };
    }
}

fn write_pid(file: Option<&str>, pid: i32) {
    if let Some(file) = file
        && let Err(e) = std::fs::write(file, format!("{pid}\n"))
    {
        eprintln!("warning: cannot write pidfile '{file}': {e}");
    }
}

fn version(detail: u8) {
    let (major, minor, _) = config::condition::LANGUAGE_LEVEL;
    println!(
        "Mulgil version {} (speaks HAProxy's language, level {major}.{minor})",
        admin::VERSION
    );
    if detail > 1 {
        println!("Apache-2.0 OR MIT");
        let count = |n: usize, what: &str| println!("  {n} {what}");
        count(config::table::GLOBAL_KEYWORDS.len(), "keywords of global");
        count(
            config::table::KEYWORDS.len() + config::table::OPTIONS.len(),
            "keywords and options of proxies",
        );
        count(rules::table::fetches().count(), "sample fetches");
        count(rules::table::converters().count(), "converters");
        count(rules::table::ACTIONS.len(), "actions");
        count(admin::COMMANDS.len(), "commands of the control socket");
    }
}
