//! The master: it keeps the privileges, passes signals on to its worker, answers on a socket of
//! its own (`-S`), and ends as its worker ends (management.txt sections 4 and 9.4).
//!
//! A reload happens inside the worker, which goes on serving: the worker's number stays, and
//! there are never old workers.

use crate::args::Args;
use crate::control::{Bound, Lines, Stream};
use crate::descriptors;
use crate::keeper::{self, Event};
use crate::run::{Behind, Prepared};
use crate::world;
use admin::{split, split_words};
use model::CliLevel;
use std::cell::{Cell, RefCell};
use std::fmt::Write;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream as PlainStream;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::UnixStream;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Semaphore, mpsc, watch};

/// What the master knows.
struct Master {
    worker: i32,
    started: Instant,
    /// Reloads that succeeded and failed, in all.
    reloads: watch::Sender<(u64, u64)>,
    /// When the configuration in force was put there.
    since: Cell<Instant>,
    /// Where connections for the worker go.
    door: PlainStream,
}

/// Starts the worker and stays with it; the exit status.
pub fn run(args: &Args, prepared: Prepared, socket: Option<Bound>, program: &str) -> i32 {
    match start(args, prepared, socket, program) {
        Ok(status) => status,
        Err(message) => {
            eprintln!("error: {message}");
            1
        }
    }
}

fn start(
    args: &Args,
    prepared: Prepared,
    socket: Option<Bound>,
    program: &str,
) -> Result<i32, String> {
    let failed = |e: std::io::Error| format!("cannot start the worker: {e}");
    let (keeper, asked) = PlainStream::pair().map_err(failed)?;
    let (door, its_door) = PlainStream::pair().map_err(failed)?;
    for stream in [&door, &its_door] {
        stream.set_nonblocking(true).map_err(failed)?;
    }
    // Signals are held back before the fork, so that none is lost, on either side, until somebody
    // stands ready for it.
    world::hold_signals();
    // SAFETY: no other thread exists yet, so the child has a whole process to itself.
    let worker = unsafe { libc::fork() };
    if worker == 0 {
        drop((asked, door, socket));
        let behind = Behind::Master {
            keeper,
            door: its_door,
        };
        let args = Args {
            notify: false,
            ..args.clone()
        };
        std::process::exit(crate::serve(&args, prepared, behind, program));
    }
    if worker < 0 {
        return Err(failed(std::io::Error::last_os_error()));
    }
    // What the worker listens on is the worker's alone.
    drop((prepared, keeper, its_door));
    let (events, heard) = mpsc::unbounded_channel();
    let for_keeper = args.clone();
    let thread = std::thread::Builder::new().name("keeper".into());
    let kept = thread.spawn(move || {
        keeper::serve(asked, &for_keeper, |event| {
            // Nobody listens any more once the master is ending.
            let _ = events.send(event);
        });
    });
    kept.map_err(failed)?;
    let now = Instant::now();
    let master = Rc::new(Master {
        worker,
        started: now,
        reloads: watch::Sender::new((0, 0)),
        since: Cell::new(now),
        door,
    });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(Default::default())
        .map_err(failed)?;
    runtime.block_on(async {
        if let Some(socket) = socket {
            let level = socket.level();
            let master = Rc::clone(&master);
            let places = Arc::new(Semaphore::new(PLACES));
            tokio::task::spawn_local(socket.accept(places, move |stream, place| {
                let conversation = Conversation {
                    master: Rc::clone(&master),
                    level,
                    prompt: false,
                    to_worker: false,
                };
                tokio::task::spawn_local(async move {
                    conversation.talk(stream).await;
                    drop(place);
                });
            }));
        }
        stay(args, &master, heard).await
    })
}

/// Passes signals on until the worker has ended.
async fn stay(
    args: &Args,
    master: &Master,
    mut heard: mpsc::UnboundedReceiver<Event>,
) -> Result<i32, String> {
    let open = |kind| signal(kind).map_err(|e| format!("cannot wait for signals: {e}"));
    let mut term = open(SignalKind::terminate())?;
    let mut interrupt = open(SignalKind::interrupt())?;
    let mut soft = open(SignalKind::user_defined1())?;
    let mut reload = open(SignalKind::user_defined2())?;
    let mut hangup = open(SignalKind::hangup())?;
    let mut child = open(SignalKind::child())?;
    world::let_signals_in();
    let mut told = 0;
    let notify = |text: &str| {
        if args.notify {
            world::notify(text);
        }
    };
    let ending = |signal| {
        notify("STOPPING=1\n");
        master.send(signal);
    };
    loop {
        tokio::select! {
            _ = term.recv() => { told = libc::SIGTERM; ending(told); }
            _ = interrupt.recv() => { told = libc::SIGINT; ending(told); }
            _ = soft.recv() => ending(libc::SIGUSR1),
            // Either asks the master for a reload; the worker knows one.
            _ = reload.recv() => master.send(libc::SIGHUP),
            _ = hangup.recv() => master.send(libc::SIGHUP),
            Some(event) = heard.recv() => match event {
                Event::Reloading if args.notify => world::notify_reloading(),
                Event::Reloading => {}
                Event::Ready => {
                    let pid = std::process::id();
                    notify(&format!("READY=1\nMAINPID={pid}\nSTATUS=Ready.\n"));
                }
                Event::Reloaded(success) => {
                    if success {
                        master.since.set(Instant::now());
                    }
                    master.reloads.send_modify(|(succeeded, failed)| {
                        *(if success { succeeded } else { failed }) += 1;
                    });
                    let status = if success {
                        "Ready."
                    } else {
                        "Reload failed: the configuration stays as it was."
                    };
                    notify(&format!("READY=1\nSTATUS={status}\n"));
                }
            },
            _ = child.recv() => {
                if let Some(status) = master.ended() {
                    return Ok(exit_status(master.worker, status, told));
                }
            }
        }
    }
}

/// What the master's own exit status is, as HAProxy's: 0 when it was told to end by SIGTERM, 130
/// by SIGINT; otherwise that of its worker.
fn exit_status(worker: i32, status: i32, told: i32) -> i32 {
    match told {
        libc::SIGTERM => return 0,
        libc::SIGINT => return 130,
        _ => {}
    }
    let code = if libc::WIFSIGNALED(status) {
        128 + libc::WTERMSIG(status)
    } else {
        libc::WEXITSTATUS(status)
    };
    if code != 0 {
        eprintln!("error: worker {worker} ended with status {code}: the master ends, too");
    }
    code
}

impl Master {
    fn send(&self, signal: i32) {
        // SAFETY: plain call on our own child, which is not reaped yet.
        unsafe { libc::kill(self.worker, signal) };
    }

    /// The worker's status, if it has ended.
    fn ended(&self) -> Option<i32> {
        let mut status = 0;
        // SAFETY: the integer is a live variable; WNOHANG returns at once.
        let ended = unsafe { libc::waitpid(self.worker, &raw mut status, libc::WNOHANG) };
        (ended == self.worker).then_some(status)
    }

    fn show_proc(&self) -> String {
        let mut out = String::new();
        let mut row = |cells: [&str; 5]| {
            let [a, b, c, d, e] = cells;
            let _ = writeln!(out, "{a:<15} {b:<15} {c:<15} {d:<15} {e:<15}");
        };
        let (succeeded, failed) = *self.reloads.borrow();
        row(["#<PID>", "<type>", "<reloads>", "<uptime>", "<version>"]);
        row([
            &std::process::id().to_string(),
            "master",
            &format!("{succeeded} [failed: {failed}]"),
            &uptime(self.started.elapsed()),
            admin::VERSION,
        ]);
        out.push_str("# workers\n");
        let mut row = |cells: [&str; 5]| {
            let [a, b, c, d, e] = cells;
            let _ = writeln!(out, "{a:<15} {b:<15} {c:<15} {d:<15} {e:<15}");
        };
        row([
            &self.worker.to_string(),
            "worker",
            "0",
            &uptime(self.since.get().elapsed()),
            admin::VERSION,
        ]);
        out.push_str("# programs\n\n");
        out
    }

    /// Has the worker reload and waits for what becomes of it.
    async fn reload(&self) -> String {
        let mut reloads = self.reloads.subscribe();
        let before = *reloads.borrow_and_update();
        self.send(libc::SIGHUP);
        let outcome = tokio::time::timeout(PATIENCE, reloads.changed()).await;
        let success = outcome.is_ok() && reloads.borrow().0 > before.0;
        format!("Success={}\n", u8::from(success))
    }

    /// Passes commands to the worker and returns its answer.
    async fn ask_worker(&self, level: CliLevel, commands: &str) -> std::io::Result<Vec<u8>> {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let (ours, its) = PlainStream::pair()?;
        let level = match level {
            CliLevel::User => b'u',
            CliLevel::Operator => b'o',
            CliLevel::Admin => b'a',
        };
        descriptors::send(self.door.as_fd(), &[level], &[its.as_fd()])?;
        drop(its);
        ours.set_nonblocking(true)?;
        let mut stream = UnixStream::from_std(ours)?;
        stream.write_all(commands.as_bytes()).await?;
        stream.write_all(b"\n").await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        Ok(answer)
    }
}

/// How long a reload may take before the master gives no more heed to it.
const PATIENCE: Duration = Duration::from_secs(60);

/// Conversations that may be held at a time.
const PLACES: usize = 100;

/// How long a conversation may be silent.
const SILENCE: Duration = Duration::from_secs(600);

fn uptime(time: Duration) -> String {
    let s = time.as_secs();
    format!(
        "{}d{:02}h{:02}m{:02}s",
        s / 86400,
        s / 3600 % 24,
        s / 60 % 60,
        s % 60
    )
}

const HELP: &[(&str, &str)] = &[
    ("@!<pid>", "send a command to the <pid> process"),
    (
        "@<relative pid>",
        "send a command to the <relative pid> process",
    ),
    ("@master", "send a command to the master process"),
    (
        "operator",
        "lower the level of the current CLI session to operator",
    ),
    ("reload", "reload the configuration"),
    (
        "show cli level",
        "display the level of the current CLI session",
    ),
    ("show proc", "show processes status"),
    ("show version", "show version of the current process"),
    ("user", "lower the level of the current CLI session to user"),
    ("help [<command>]", "list matching or all commands"),
    ("prompt", "toggle interactive mode with prompt"),
    ("quit", "disconnect"),
];

/// One connection to the master's socket.
struct Conversation {
    master: Rc<Master>,
    level: CliLevel,
    prompt: bool,
    /// `@1` alone: commands go to the worker until `@master`.
    to_worker: bool,
}

/// Whom a prefix means.
enum Whom {
    Master,
    Worker,
    Nobody,
}

impl Conversation {
    fn whom(&self, prefix: &str) -> Whom {
        let worker = self.master.worker.to_string();
        let own = std::process::id().to_string();
        match prefix {
            "@master" | "@0" => Whom::Master,
            "@1" => Whom::Worker,
            _ => match prefix.strip_prefix("@!") {
                Some(pid) if pid == worker => Whom::Worker,
                Some(pid) if pid == own => Whom::Master,
                _ => Whom::Nobody,
            },
        }
    }

    async fn talk(mut self, mut stream: Stream) {
        let mut lines = Lines::default();
        loop {
            let Some(mut line) = lines.next(&mut stream, SILENCE).await else {
                return;
            };
            // A payload goes along with its command, to the empty line that ends it.
            if line.trim_end().ends_with("<<") {
                loop {
                    let Some(more) = lines.next(&mut stream, SILENCE).await else {
                        return;
                    };
                    line.push('\n');
                    line.push_str(&more);
                    if more.is_empty() {
                        break;
                    }
                }
            }
            let out = RefCell::new(Vec::new());
            let goes_on = self.line(&line, &out).await;
            let mut out = out.into_inner();
            if self.prompt && goes_on {
                out.extend_from_slice(
                    match self.to_worker {
                        true => format!("{}> ", self.master.worker).into_bytes(),
                        false => b"master> ".to_vec(),
                    }
                    .as_slice(),
                );
            }
            if stream.write_all(&out).await.is_err() || !goes_on {
                return;
            }
        }
    }

    /// Answers the commands of one line; whether the connection goes on.
    async fn line(&mut self, line: &str, out: &RefCell<Vec<u8>>) -> bool {
        let say = |text: &str| out.borrow_mut().extend_from_slice(text.as_bytes());
        for command in split(line) {
            let command = command.trim_start();
            let (prefix, rest) = match command.starts_with('@') {
                true => command.split_once([' ', '\t']).unwrap_or((command, "")),
                false => ("", command),
            };
            let whom = match (prefix, self.to_worker) {
                ("", true) => Whom::Worker,
                ("", false) => Whom::Master,
                _ => self.whom(prefix),
            };
            let rest = rest.trim_start();
            match whom {
                Whom::Nobody => {
                    say(&format!(
                        "Can't find the target PID matching the prefix '{prefix}'\n"
                    ));
                    return false;
                }
                Whom::Worker if rest.is_empty() && !prefix.is_empty() => self.to_worker = true,
                Whom::Master if rest.is_empty() && !prefix.is_empty() => self.to_worker = false,
                _ if rest == "quit" => return false,
                _ if rest == "prompt" => {
                    self.prompt = !self.prompt;
                }
                Whom::Worker => match self.master.ask_worker(self.level, rest).await {
                    Ok(answer) => out.borrow_mut().extend_from_slice(&answer),
                    Err(e) => say(&format!("The worker does not answer: {e}\n\n")),
                },
                Whom::Master => {
                    let words = split_words(rest);
                    let words: Vec<&str> = words.iter().map(String::as_str).collect();
                    if !self.command(&words, &say).await {
                        return false;
                    }
                }
            }
        }
        true
    }

    /// A command to the master itself; whether the connection goes on.
    async fn command(&mut self, words: &[&str], say: &impl Fn(&str)) -> bool {
        match words {
            ["show", "proc", ..] => say(&self.master.show_proc()),
            ["show", "version", ..] => say(&format!("{}\n\n", admin::VERSION)),
            ["show", "cli", "level", ..] => say(match self.level {
                CliLevel::Admin => "admin\n\n",
                CliLevel::Operator => "operator\n\n",
                CliLevel::User => "user\n\n",
            }),
            ["operator", ..] => self.level = self.level.min(CliLevel::Operator),
            ["user", ..] => self.level = CliLevel::User,
            ["reload", ..] if self.level < CliLevel::Admin => say("Permission denied\n\n"),
            ["reload", ..] => {
                say(&self.master.reload().await);
                return false;
            }
            _ => {
                say(if words.first() == Some(&"help") {
                    "The following commands are valid at this level:\n"
                } else {
                    "Unknown command. Please enter one of the following commands only:\n"
                });
                for (usage, doc) in HELP {
                    say(&format!("  {usage:<39} : {doc}\n"));
                }
                say("\n");
            }
        }
        true
    }
}
