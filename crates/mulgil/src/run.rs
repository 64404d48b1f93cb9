//! The life of the process: load, bind, serve, change, end.

use crate::args::Args;
use crate::control::{self, Control};
use crate::world::{self, Machine};
use config::{LoadRequest, Loaded, Severity};
use http::Head;
use model::{Config, StatsPage};
use proxy::{Answer, Listeners, Services, StatsPages, Tag, WorkerSetup};
use rules::Wall;
use state::{Generation, Process};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};

/// Loads what the arguments name and prints what is said of it.
pub fn load(args: &Args) -> (Option<Config>, Loaded) {
    let request = LoadRequest {
        paths: args.files.clone(),
        env: std::env::vars().collect(),
    };
    let mut loaded = config::load(&request, &Machine);
    let fatal = |c: &Config| c.global.zero_warning || args.warnings_fatal;
    for diagnostic in &loaded.report.diagnostics {
        if diagnostic.severity >= Severity::Notice
            && !(args.quiet && diagnostic.severity < Severity::Error)
        {
            eprintln!("{diagnostic}");
        }
    }
    if loaded.report.suppressed > 0 {
        eprintln!("and {} messages more", loaded.report.suppressed);
    }
    let mut config = loaded.config.take();
    if loaded.report.warned() && config.as_ref().is_some_and(fatal) {
        eprintln!("error: there are warnings, and zero-warning or -dW makes them errors");
        config = None;
    }
    (config, loaded)
}

/// How the process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Softly, with nothing left to serve.
    Softly,
    /// By this signal.
    Signal(i32),
}

/// The statistics page as the engine wants it.
struct Pages;

impl StatsPages for Pages {
    fn serve(
        &self,
        page: &StatsPage,
        proxy: &str,
        request: &Head,
        process: &Process,
        generation: &Generation,
        now: Instant,
    ) -> Option<Answer> {
        let target = String::from_utf8_lossy(request.target());
        let authorization = request
            .get(b"authorization")
            .and_then(|a| std::str::from_utf8(a).ok());
        let page = admin::serve(
            page,
            proxy,
            &target,
            authorization,
            process,
            generation,
            now,
        );
        let mut answer = Answer::error(page.status);
        answer
            .headers
            .push((b"content-type".to_vec(), page.content_type.into()));
        for (name, value) in page.headers {
            answer.headers.push((name.into(), value.into_bytes()));
        }
        answer.body = Some(page.body.into_bytes());
        Some(answer)
    }
}

/// What has been bound before privileges are dropped.
pub struct Prepared {
    config: Arc<Config>,
    listeners: Arc<Listeners>,
    control: Vec<control::Bound>,
    env: Vec<(String, String)>,
    descriptors: u64,
}

/// Connections when nothing is said about them.
const DEFAULT_MAXCONN: u32 = 10_000;

/// Opens every socket of the configuration.
pub fn prepare(args: &Args, config: Config, loaded: Loaded) -> Result<Prepared, String> {
    let mut config = config;
    if args.maxconn.is_some() {
        config.global.maxconn = args.maxconn;
    }
    // Each session has two sockets; the rest is for listeners, checks and logs.
    let wanted = config
        .global
        .ulimit_n
        .unwrap_or_else(|| u64::from(config.global.maxconn.unwrap_or(DEFAULT_MAXCONN)) * 2 + 200);
    let wanted = config
        .global
        .fd_hard_limit
        .map_or(wanted, |hard| wanted.min(hard));
    let descriptors = world::descriptors(wanted);
    if config.global.maxconn.is_none() {
        let room = descriptors.saturating_sub(200) / 2;
        config.global.maxconn = Some(
            u32::try_from(room)
                .unwrap_or(u32::MAX)
                .clamp(10, DEFAULT_MAXCONN),
        );
    }
    // Sockets of a process that is to be replaced may still be in the way: it is told to make room.
    let listeners = bind_with_patience(args, &config)?;
    let control = control::bind(&config.global.stats_sockets)?;
    Ok(Prepared {
        config: Arc::new(config),
        listeners: Arc::new(listeners),
        control,
        env: loaded.env.into_iter().collect(),
        descriptors,
    })
}

fn bind_with_patience(args: &Args, config: &Config) -> Result<Listeners, String> {
    let replacing = !args.finish.is_empty() || !args.terminate.is_empty();
    let attempts = if replacing { 50 } else { 1 };
    let mut told = false;
    let mut errors = Vec::new();
    for _ in 0..attempts {
        match proxy::bind_all(config, &Listeners::default()) {
            Ok(listeners) => return Ok(listeners),
            Err(found) => errors = found,
        }
        if replacing && !told {
            told = true;
            signal_all(&args.finish, libc::SIGTTOU);
            signal_all(&args.terminate, libc::SIGTTOU);
        }
        if replacing {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
    Err(lines.join("\n"))
}

fn signal_all(pids: &[i32], signal: i32) {
    for pid in pids.iter().filter(|p| **p > 1) {
        // SAFETY: plain call; a process that is gone gives ESRCH.
        unsafe { libc::kill(*pid, signal) };
    }
}

fn wall_now() -> Wall {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let since = since.unwrap_or_default();
    Wall {
        secs: since.as_secs() as i64,
        micros: since.subsec_micros(),
    }
}

/// Serves until told to end.
pub fn serve(args: &Args, prepared: Prepared, program: &str) -> Result<Ended, String> {
    let Prepared {
        config,
        listeners,
        control,
        env,
        descriptors,
    } = prepared;
    // The zone is read once, while its file can be reached.
    let _ = world::local_zone(0);
    world::drop_privileges(&config.global)?;
    let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
    let workers = config.global.nbthread.map_or(cores, |n| n as usize);
    let hostname = world::hostname();
    let process = Process::new(
        Arc::clone(&config),
        workers,
        config.global.maxconn.unwrap_or(DEFAULT_MAXCONN),
        descriptors,
        wall_now(),
        Instant::now(),
        state::Machine {
            hostname: hostname.clone(),
            environment: env.iter().cloned().collect(),
            local_zone: world::local_zone,
            is_local: world::is_local,
        },
    );
    let sent = config.global.log_send_hostname.as_ref().map(|name| {
        if name.is_empty() {
            hostname.as_str().into()
        } else {
            Arc::clone(name)
        }
    });
    let tag = Tag {
        name: config
            .global
            .log_tag
            .clone()
            .unwrap_or_else(|| program.into()),
        hostname: sent,
        own_hostname: hostname.into(),
        pid: process.pid,
        zone: world::local_zone,
    };
    let cpus = (0..workers as u32).map(|w| {
        let mine = config
            .global
            .cpu_map
            .iter()
            .filter(|(t, _)| t.is_empty() || t.contains(&(w + 1)));
        mine.flat_map(|(_, cpus)| cpus.iter().map(|c| *c as usize))
            .collect()
    });
    let setup = WorkerSetup {
        process: Arc::clone(&process),
        services: Arc::new(Services {
            stats: Box::new(Pages),
        }),
        tag,
        cpus: cpus.collect(),
    };
    let engine = proxy::start_workers(setup, &listeners)
        .map_err(|e| format!("cannot start workers: {e}"))?;
    let control_state = Rc::new(Control {
        process: Arc::clone(&process),
        env,
        timeout: config
            .global
            .stats_timeout
            .unwrap_or(Duration::from_secs(10)),
    });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(Default::default())
        .map_err(|e| format!("cannot start: {e}"))?;
    let ended = runtime.block_on(async {
        for bound in control {
            tokio::task::spawn_local(control::serve(bound, Rc::clone(&control_state)));
        }
        signal_all(&args.finish, libc::SIGUSR1);
        signal_all(&args.terminate, libc::SIGTERM);
        if args.notify {
            world::notify("READY=1\n");
        }
        wait(args, &process, &engine, listeners, config).await
    });
    engine.quit();
    ended
}

/// Waits for signals and does what they say.
async fn wait(
    args: &Args,
    process: &Arc<Process>,
    engine: &proxy::Engine,
    mut listeners: Arc<Listeners>,
    mut config: Arc<Config>,
) -> Result<Ended, String> {
    let open = |kind| signal(kind).map_err(|e| format!("cannot wait for signals: {e}"));
    let mut term = open(SignalKind::terminate())?;
    let mut interrupt = open(SignalKind::interrupt())?;
    let mut soft = open(SignalKind::user_defined1())?;
    let mut reload = open(SignalKind::hangup())?;
    let mut pause = open(SignalKind::from_raw(libc::SIGTTOU))?;
    let mut look = tokio::time::interval(Duration::from_millis(20));
    let mut stop_by = None;
    loop {
        tokio::select! {
            _ = term.recv() => return Ok(Ended::Signal(libc::SIGTERM)),
            _ = interrupt.recv() => return Ok(Ended::Signal(libc::SIGINT)),
            _ = soft.recv() => {
                if !process.is_stopping() {
                    process.stop();
                    engine.stop_accepting();
                    stop_by = config.global.hard_stop_after.map(|t| Instant::now() + t);
                }
            }
            _ = pause.recv() => engine.stop_accepting(),
            _ = reload.recv() => {
                // A file that cannot be used changes nothing.
                if let Some((next, sockets)) = reloaded(args, &listeners) {
                    config = Arc::new(next);
                    process.apply(Arc::clone(&config));
                    listeners = Arc::new(sockets);
                    engine.listen(&listeners);
                    eprintln!("notice: the new configuration is in force");
                }
            }
            _ = look.tick() => {
                if process.is_stopping() {
                    let late = stop_by.is_some_and(|t| Instant::now() >= t);
                    if process.connections.now() == 0 || late {
                        return Ok(Ended::Softly);
                    }
                }
            }
        }
    }
}

fn reloaded(args: &Args, listeners: &Listeners) -> Option<(Config, Listeners)> {
    let (config, _) = load(args);
    let Some(mut config) = config else {
        eprintln!("error: the configuration stays as it was");
        return None;
    };
    if args.maxconn.is_some() {
        config.global.maxconn = args.maxconn;
    }
    match proxy::bind_all(&config, listeners) {
        Ok(sockets) => Some((config, sockets)),
        Err(errors) => {
            errors.iter().for_each(|e| eprintln!("error: {e}"));
            eprintln!("error: the configuration stays as it was");
            None
        }
    }
}
