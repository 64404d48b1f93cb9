//! `cargo xtask bench`: mulgil, haproxy and nginx side by side, in CPU time per request.
//!
//! The proxy has one worker on core 0, which a loop of the idle class keeps awake; load generator
//! and origin (`bench/`) share core 1 and cost less than it does. Every measurement has a network
//! of its own. Peers take turns in every round; what counts is the ratio of medians within one
//! run. The CPU time of all the proxy's threads is read by the load generator, before the first
//! and after the last of a fixed number of answers. With `--floor` a relay that does the least
//! (`bench floor`) takes its turn, too, where there is one for a load.

pub mod arena;
pub mod loads;
pub mod measure;
pub mod peers;
mod report;

use arena::{Folder, Programs};
use loads::{LOADS, Load, Section};
use measure::{Contestant, Extent, once};
use peers::Peer;
use report::Row;

/// What the command line asks for.
#[derive(Debug, PartialEq, Eq)]
struct Wanted {
    only: Vec<String>,
    rounds: usize,
    seconds: u64,
    write: bool,
    floor: bool,
}

impl Wanted {
    fn parse(words: &[&str]) -> Result<Wanted, String> {
        let mut wanted = Wanted {
            only: Vec::new(),
            rounds: 5,
            seconds: 2,
            write: false,
            floor: false,
        };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let mut value = || {
                words
                    .next()
                    .ok_or_else(|| format!("'{word}' wants a value"))
            };
            match *word {
                "--write" => wanted.write = true,
                "--floor" => wanted.floor = true,
                "--only" => wanted.only.push(value()?.to_string()),
                "--rounds" => wanted.rounds = number(value()?)?.max(1) as usize,
                "--seconds" => wanted.seconds = number(value()?)?.max(1),
                _ => return Err(format!("'{word}' is unknown; {USAGE}")),
            }
        }
        let known = |o: &String| LOADS.iter().any(|l| l.is_meant(std::slice::from_ref(o)));
        match wanted.only.iter().find(|o| !known(o)) {
            Some(unknown) => Err(format!("no load is named '{unknown}'; {USAGE}")),
            None => Ok(wanted),
        }
    }
}

fn number(word: &str) -> Result<u64, String> {
    word.parse()
        .map_err(|_| format!("'{word}' is not a number"))
}

const USAGE: &str = "usage: cargo xtask bench [--only LOAD|SECTION]... [--rounds N] [--seconds S] \
    [--write] [--floor]; sections are http, lists, memory, workers, tls, tcp, choosing \
    and udp";

/// Runs what is asked for and prints tables; with `--write` they go into docs/performance.md.
pub fn run(words: &[&str]) -> Result<(), Vec<String>> {
    Wanted::parse(words)
        .and_then(|wanted| measure_all(&wanted))
        .map_err(|e| vec![e])
}

const PAGE: &str = "docs/performance.md";

fn measure_all(wanted: &Wanted) -> Result<(), String> {
    let programs = Programs::build()?;
    let folder = Folder::new()?;
    for section in Section::ALL {
        let of_section = || LOADS.iter().filter(|l| l.section == section);
        let meant: Vec<&Load> = of_section().filter(|l| l.is_meant(&wanted.only)).collect();
        if meant.is_empty() {
            continue;
        }
        let mut rows = Vec::new();
        for load in &meant {
            rows.push(measure_load(load, wanted, &programs, &folder)?);
        }
        let table = report::table(section, &rows);
        println!("{table}");
        if wanted.floor {
            println!("{}", report::floors(&rows));
        }
        if let Some(told) = report::disturbed(&rows) {
            eprintln!("{told}");
        }
        if wanted.write && meant.len() < of_section().count() {
            eprintln!(
                "{}: not all of it was measured, so it is not written",
                section.name()
            );
        } else if wanted.write {
            let page = std::fs::read_to_string(PAGE).map_err(|e| format!("{PAGE}: {e}"))?;
            let page = report::replace(&page, section, &table)?;
            std::fs::write(PAGE, page).map_err(|e| format!("{PAGE}: {e}"))?;
        }
    }
    Ok(())
}

fn measure_load<'l>(
    load: &'l Load,
    wanted: &Wanted,
    programs: &Programs,
    folder: &Folder,
) -> Result<Row<'l>, String> {
    let peers = Peer::ALL
        .into_iter()
        .filter(|p| p.can(load, programs))
        .filter(|p| wanted.floor || *p != Peer::Floor);
    let workers: &[u32] = match load.section {
        Section::Workers => &[1, 2],
        _ => &[1],
    };
    let contestants = peers.flat_map(|peer| workers.iter().map(move |w| (peer, *w)));
    let mut taken: Vec<(Contestant, Vec<_>)> = contestants
        .map(|(peer, threads)| (Contestant { peer, threads }, Vec::new()))
        .collect();
    // How many requests a round has is what haproxy answers in the time that is wanted.
    let one = Contestant {
        peer: if Peer::Haproxy.can(load, programs) {
            Peer::Haproxy
        } else {
            Peer::Mulgil
        },
        threads: 1,
    };
    let trial = once(load, one, Extent::Seconds(wanted.seconds), programs, folder)?;
    let extent = Extent::Requests(trial.count as u64, wanted.seconds * 5);
    for round in 1..=wanted.rounds {
        for (contestant, samples) in &mut taken {
            let sample = once(load, *contestant, extent, programs, folder)?;
            let Contestant { peer, threads } = contestant;
            let name = format!("{} round {round} {}/{threads}", load.key, peer.name());
            // A byte of a transfer costs a fraction of a nanosecond.
            let (cpu, per_second) = (sample.cpu / 1000.0, sample.per_second);
            eprintln!(
                "{name}: {cpu:.5} µs, {per_second:.0}/s, {:.0} KiB",
                sample.rss
            );
            samples.push(sample);
        }
    }
    Ok(Row { load, taken })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_read() {
        let wanted = Wanted::parse(&["--only", "tls", "--rounds", "2", "--write"]);
        let expected = Wanted {
            only: vec!["tls".into()],
            rounds: 2,
            seconds: 2,
            write: true,
            floor: false,
        };
        assert_eq!(wanted, Ok(expected));
        assert!(Wanted::parse(&["--only", "nothing"]).is_err_and(|e| e.contains("nothing")));
        assert!(Wanted::parse(&["--rounds"]).is_err());
        assert!(Wanted::parse(&["--rounds", "x"]).is_err());
        assert!(Wanted::parse(&["fast"]).is_err());
    }
}
