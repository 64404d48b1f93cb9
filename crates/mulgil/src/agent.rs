//! `mulgil agent`: runs on a server and tells balancers by `agent-check` how much work it can take.
//!
//! Every visitor gets one line and the end of the connection: a percentage, and the words that an
//! operator has put into a file. Mulgil and HAProxy understand it alike.

mod load;
mod machine;

use load::{Load, Policy, RESOURCES};
use machine::Reading;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// How it is used.
pub const USAGE: &str = "\
usage: mulgil agent [OPTIONS]      tells balancers how much work this machine can take
       --listen ADDRESS            where balancers ask; 0.0.0.0:9777 when not given
       --cpu N  --run-queue N  --memory N  --network N  --disk N
                                   what each counts beside the others, 0 to 256; 10 5 5 5 5
       --network-speed NAME=MBIT   the speed of an interface that does not say it
       --interval TIME             between two looks at the machine; 1s
       --smooth TIME               how slowly the answer follows; 5s
       --hysteresis PERCENT        the answer moves by so much or not at all; 5
       --floor PERCENT             the smallest answer; 1
       --words FILE                its first line is said, too, while it is there: drain, maint,
                                   ready, up, 'down # reason', maxconn:30
";

/// What the arguments ask for.
#[derive(Clone, Debug, PartialEq)]
struct Settings {
    listen: String,
    policy: Policy,
    interval: Duration,
    speeds: BTreeMap<String, u64>,
    words: Option<String>,
}

/// Visitors at a time; more are sent away.
const VISITORS: usize = 64;
/// How long a visitor may take to read its line and go.
const PATIENCE: Duration = Duration::from_secs(1);

/// Runs it until it is ended from outside.
pub fn main(args: &[String]) -> i32 {
    match parse(args).and_then(run) {
        Ok(()) => 0,
        Err(message) => {
            eprintln!("error: {message}");
            1
        }
    }
}

fn parse(args: &[String]) -> Result<Settings, String> {
    let mut settings = Settings {
        listen: "0.0.0.0:9777".into(),
        policy: Policy::default(),
        interval: Duration::from_secs(1),
        speeds: BTreeMap::new(),
        words: None,
    };
    let mut rest = args.iter();
    while let Some(flag) = rest.next() {
        let Some(value) = rest.next() else {
            return Err(format!("'{flag}' wants a value after it\n{USAGE}"));
        };
        let number = |most: u32| match value.parse::<u32>() {
            Ok(n) if n <= most => Ok(n),
            _ => Err(format!("'{flag} {value}' wants a number from 0 to {most}")),
        };
        let time = || {
            config::time(value)
                .map_err(|m| format!("'{flag} {value}' wants a time such as 5s: {m}"))
        };
        let resource = RESOURCES
            .iter()
            .position(|(_, name)| flag.strip_prefix("--").is_some_and(|f| f == *name));
        match (flag.as_str(), resource) {
            (_, Some(at)) => {
                if let Some(weight) = settings.policy.weights.get_mut(at) {
                    *weight = number(256)?;
                }
            }
            ("--listen", _) => settings.listen.clone_from(value),
            ("--interval", _) => match time()? {
                time if time < Duration::from_millis(10) => {
                    return Err(format!("'{flag} {value}' is too short: 10ms at least"));
                }
                time => settings.interval = time,
            },
            ("--smooth", _) => settings.policy.smooth = time()?,
            ("--hysteresis", _) => settings.policy.hysteresis = number(100)?,
            ("--floor", _) => settings.policy.floor = number(100)?,
            ("--words", _) => settings.words = Some(value.clone()),
            ("--network-speed", _) => {
                let speed = value.split_once('=');
                let speed = speed.and_then(|(n, s)| Some((n, s.parse::<u32>().ok()?)));
                let Some((name, megabits)) = speed.filter(|(_, s)| *s > 0) else {
                    return Err(format!(
                        "'{flag} {value}' wants an interface and Mbit/s, such as eth0=1000"
                    ));
                };
                let speed = u64::from(megabits) * 1_000_000;
                settings.speeds.insert(name.to_string(), speed);
            }
            _ => return Err(format!("unknown argument '{flag}'\n{USAGE}")),
        }
    }
    if settings.policy.weights.iter().all(|w| *w == 0) {
        return Err(
            "everything counts 0: give one of --cpu, --run-queue, --memory, --network, --disk more"
                .into(),
        );
    }
    Ok(settings)
}

fn run(settings: Settings) -> Result<(), String> {
    let listener = TcpListener::bind(&settings.listen)
        .map_err(|e| format!("cannot listen on {}: {e}", settings.listen))?;
    let percent = Arc::new(AtomicU32::new(100));
    let (shown, watched) = (Arc::clone(&percent), settings.clone());
    std::thread::spawn(move || watch(&watched, &shown));
    let visitors = Arc::new(AtomicUsize::new(0));
    for visitor in listener.incoming() {
        let Ok(visitor) = visitor else {
            // Out of descriptors or the like: those who are here leave soon.
            std::thread::sleep(Duration::from_millis(10));
            continue;
        };
        if visitors.load(Relaxed) >= VISITORS {
            continue;
        }
        visitors.fetch_add(1, Relaxed);
        let line = line(percent.load(Relaxed), settings.words.as_deref());
        let here = Arc::clone(&visitors);
        std::thread::spawn(move || {
            tell(visitor, &line);
            here.fetch_sub(1, Relaxed);
        });
    }
    Ok(())
}

/// Looks at the machine again and again.
fn watch(settings: &Settings, percent: &AtomicU32) {
    let mut load = Load::new(settings.policy.clone());
    let mut before = (Reading::of(&machine::texts()), Instant::now());
    loop {
        std::thread::sleep(settings.interval);
        let now = (Reading::of(&machine::texts()), Instant::now());
        let mut speeds = machine::speeds();
        speeds.extend(settings.speeds.clone());
        let elapsed = now.1.saturating_duration_since(before.1);
        load.observe(&now.0.busy(&before.0, elapsed, &speeds), elapsed);
        percent.store(load.percent(), Relaxed);
        before = now;
    }
}

/// What is said now.
fn line(percent: u32, words: Option<&str>) -> String {
    let words = words.and_then(|file| std::fs::read_to_string(file).ok());
    let words = words
        .as_deref()
        .and_then(|t| t.lines().next())
        .unwrap_or("");
    // The number comes first: after a `#` everything is a reason.
    match words.trim() {
        "" => format!("{percent}%\n"),
        words => format!("{percent}% {words}\n"),
    }
}

/// Says the line. What the visitor has sent is read, because closing over unread bytes would reset
/// the connection and lose the line.
fn tell(mut visitor: TcpStream, line: &str) {
    let timed = visitor
        .set_write_timeout(Some(PATIENCE))
        .and_then(|()| visitor.set_read_timeout(Some(PATIENCE)));
    if timed.is_err() || visitor.write_all(line.as_bytes()).is_err() {
        return;
    }
    let _ = visitor.shutdown(Shutdown::Write);
    let mut rest = [0; 1024];
    let end = Instant::now() + PATIENCE;
    while visitor.read(&mut rest).is_ok_and(|n| n > 0) && Instant::now() < end {}
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(words: &str) -> Result<Settings, String> {
        let args: Vec<String> = words.split_whitespace().map(str::to_string).collect();
        parse(&args)
    }

    #[test]
    fn arguments_say_what_counts_and_how_calmly() {
        let settings = asked(
            "--listen 127.0.0.1:1 --cpu 3 --disk 0 --smooth 500ms --interval 2s --hysteresis 7 --floor 9 --network-speed eth0=100 --words w",
        )
        .expect("they are good");
        assert_eq!(settings.policy.weights, [3, 5, 5, 5, 0]);
        assert_eq!(settings.policy.smooth, Duration::from_millis(500));
        assert_eq!((settings.policy.hysteresis, settings.policy.floor), (7, 9));
        assert_eq!(settings.speeds.get("eth0"), Some(&100_000_000));
        assert_eq!(settings.interval, Duration::from_secs(2));
    }

    #[test]
    fn bad_arguments_are_named() {
        for (words, part) in [
            ("--cpu", "wants a value"),
            ("--cpu 300", "0 to 256"),
            ("--cpu x", "0 to 256"),
            ("--floor 101", "0 to 100"),
            ("--interval 1ms", "too short"),
            ("--interval x", "wants a time"),
            ("--network-speed eth0", "eth0=1000"),
            ("--network-speed eth0=0", "eth0=1000"),
            ("--speed 3", "unknown argument"),
            (
                "--cpu 0 --run-queue 0 --memory 0 --network 0 --disk 0",
                "everything counts 0",
            ),
        ] {
            let message = asked(words).expect_err(words);
            assert!(message.contains(part), "{words}: {message}");
        }
    }

    #[test]
    fn words_of_a_file_follow_the_number() {
        assert_eq!(line(73, None), "73%\n");
        assert_eq!(line(73, Some("/does/not/exist")), "73%\n");
    }
}
