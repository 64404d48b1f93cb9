//! `docs/schedulers.md`: what each scheduler does with servers of several kinds, from simulations.

use crate::simulation::{Clients, Event, Outcome, Run, SERVERS, Speeds, run as simulate};
use std::fmt::Write;

const FILE: &str = "docs/schedulers.md";

/// A scheduler in the tables.
struct Row {
    name: &'static str,
    balance: &'static str,
    words: [&'static str; SERVERS],
    /// Whether identical servers get equal shares; otherwise why not.
    fair: Result<(), &'static str>,
}

const PLAIN: [&str; SERVERS] = [""; SERVERS];

const fn fair(name: &'static str, balance: &'static str) -> Row {
    Row {
        name,
        balance,
        words: PLAIN,
        fair: Ok(()),
    }
}

const ROWS: &[Row] = &[
    fair("roundrobin", "balance roundrobin"),
    fair("static-rr", "balance static-rr"),
    fair("leastconn", "balance leastconn"),
    fair("random", "balance random"),
    fair("random(1)", "balance random(1)"),
    fair("source", "balance source"),
    Row {
        words: ["maxconn 8"; SERVERS],
        ..fair(
            "source, preserve-affinity maxconn",
            "balance source\n hash-preserve-affinity maxconn",
        )
    },
    fair(
        "source, consistent",
        "balance source\n hash-type consistent",
    ),
    fair(
        "source, consistent, factor 125",
        "balance source\n hash-type consistent\n hash-balance-factor 125",
    ),
    fair("maglev", "balance maglev"),
    fair("response-time", "balance response-time"),
    fair("fastest", "balance fastest"),
    fair("weighted-response-time", "balance weighted-response-time"),
    fair("agent", "balance agent"),
    fair("bandwidth", "balance bandwidth"),
    Row {
        words: ["", "", "", "priority 2", "priority 2"],
        fair: Err("three servers of level 1 do all, two of level 2 wait"),
        ..fair("priority min-active 2", "balance priority min-active 2")
    },
    Row {
        words: ["maxconn 8"; SERVERS],
        fair: Err("the first with room, here for 8 at a time"),
        ..fair("first", "balance first")
    },
    Row {
        fair: Err("one does all"),
        ..fair("sticky", "balance sticky")
    },
];

/// Requests a second: half of what five ordinary servers can do.
const RATE: f64 = 1_000.0;
const REQUESTS: usize = 20_000;
/// Requests in which identical servers must have had their shares.
const WINDOW: usize = 1_500;
/// The same in short runs.
const SHORT: usize = 300;

pub fn run(check: bool) -> Result<(), Vec<String>> {
    let text = document();
    if check {
        let there = std::fs::read_to_string(FILE).unwrap_or_default();
        if there != text {
            return Err(vec![format!(
                "{FILE} is not current: run 'cargo xtask schedulers'"
            )]);
        }
        return Ok(());
    }
    std::fs::write(FILE, text).map_err(|e| vec![format!("cannot write {FILE}: {e}")])
}

fn of(row: &Row, speeds: Speeds, clients: Clients, event: Event, requests: usize) -> Outcome {
    simulate(&Run {
        balance: row.balance,
        words: row.words,
        speeds,
        clients,
        event,
        requests,
    })
}

/// A beginning, and in how many requests after it identical servers must have had their shares.
struct Trial {
    name: &'static str,
    speeds: Speeds,
    clients: Clients,
    event: Event,
    window: usize,
}

const fn trial(name: &'static str, clients: Clients, event: Event) -> Trial {
    Trial {
        name,
        speeds: Speeds::Equal,
        clients,
        event,
        window: WINDOW,
    }
}

/// With one request at a time and answers that take nearly the same time, as quick servers give them.
const fn short(name: &'static str, event: Event) -> Trial {
    Trial {
        speeds: Speeds::Steady,
        window: SHORT,
        ..trial(name, Clients::OneByOne, event)
    }
}

const TRIALS: [Trial; 9] = [
    trial("start", Clients::Open(RATE), Event::Nothing),
    trial("pause", Clients::Open(RATE), Event::Pause),
    trial("slow answer", Clients::Open(RATE), Event::SlowAnswer),
    trial("start, one by one", Clients::OneByOne, Event::Nothing),
    trial("pause, one by one", Clients::OneByOne, Event::Pause),
    trial(
        "slow answer, one by one",
        Clients::OneByOne,
        Event::SlowAnswer,
    ),
    short("start, few", Event::Nothing),
    short("slow answer, few", Event::SlowAnswer),
    short("slow first answer, few", Event::SlowStart),
];

/// The shares of five identical servers in the requests that matter, from several beginnings.
fn trials(row: &Row) -> Vec<(&'static str, [f64; SERVERS])> {
    let shares = |trial: &Trial| {
        let requests = 4 * trial.window;
        let outcome = of(row, trial.speeds, trial.clients, trial.event, requests);
        let from = match trial.event {
            Event::Nothing => 0,
            _ => outcome.event_at,
        };
        (trial.name, outcome.shares(from, from + trial.window))
    };
    TRIALS.iter().map(shares).collect()
}

fn percent(shares: [f64; SERVERS]) -> String {
    let parts: Vec<String> = shares.iter().map(|s| format!("{:.0}", s * 100.0)).collect();
    parts.join(" ")
}

fn document() -> String {
    let mut out = String::from(INTRODUCTION);
    for (speeds, title) in [
        (Speeds::Equal, "Five equal servers"),
        (Speeds::Unequal, "The last two take twice the time"),
        (Speeds::OneSlow, "The last takes ten times the time"),
        (
            Speeds::Flapping,
            "The last is down for a second in every three",
        ),
    ] {
        let _ = writeln!(
            out,
            "\n### {title}\n\n| scheduler | share of each, % | median, ms | 99th percentile, ms |\n|---|---|---|---|"
        );
        for row in ROWS {
            let outcome = of(row, speeds, Clients::Open(RATE), Event::Nothing, REQUESTS);
            let shares = percent(outcome.shares(0, REQUESTS));
            let (median, high) = (outcome.quantile(500), outcome.quantile(990));
            let _ = writeln!(out, "| {} | {shares} | {median:.0} | {high:.0} |", row.name);
        }
    }
    out.push_str(FAIRNESS);
    let names: Vec<&str> = TRIALS.iter().map(|t| t.name).collect();
    let rules = "|---".repeat(names.len() + 1);
    let _ = writeln!(out, "| scheduler | {} |\n{rules}|", names.join(" | "));
    for row in ROWS {
        let cell = match row.fair {
            Err(why) => why.to_string(),
            Ok(()) => {
                let least = |shares: [f64; SERVERS]| {
                    let least = shares.iter().copied().fold(1.0, f64::min);
                    format!("{:.0}", least * 100.0)
                };
                let cells: Vec<String> = trials(row).into_iter().map(|(_, s)| least(s)).collect();
                cells.join(" | ")
            }
        };
        let gaps = match row.fair {
            Err(_) => " |".repeat(TRIALS.len() - 1),
            Ok(()) => String::new(),
        };
        let _ = writeln!(out, "| {} | {cell} |{gaps}", row.name);
    }
    out
}

const INTRODUCTION: &str = "# Schedulers

Printed by `cargo xtask schedulers`; a test keeps it current. What they are and which words they take
is in docs/manual.md.

## What they do

Simulations with a fixed seed around the code that serves: five servers that each work on four requests
at a time, answers of 10 ms on average (exponentially distributed), 1,000 requests a second by chance,
which is half of what five ordinary servers can do, 20,000 requests, 5,000 clients. Times are from the
request to its answer, waiting included. Where a server gets more than it can do its queue grows without
end, and so do the times. What is hashed makes no difference here: `uri`, `url_param`, `hdr`, `rdp-cookie` and
`hash` are what `source` is. That one gives way at `maxconn` where `hash-preserve-affinity` says so (8 in the row).
";

const FAIRNESS: &str = "
## Nobody starves

Five identical servers; what the one with the least got of the next 1,500 requests, in per cent (20 is
even): at the start, after a minute without a request, and after one answer of the first server took two
seconds (from its end on), each with 1,000 requests a second by chance and with one request at a time. \"Few\" are the
next 300 requests, one at a time, of servers whose answers all take nearly the same time. Hashes spread
clients, not requests, so theirs is as even as the clients are.

";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identical_servers_get_fair_shares_at_the_start_after_a_pause_and_after_a_slow_answer() {
        let mut unfair = Vec::new();
        for row in ROWS.iter().filter(|r| r.fair.is_ok()) {
            // By hash it is clients that are spread, and a ring is never very even (manual, hash-type).
            let least = match row.name {
                name if name.starts_with("source, consistent") => 0.05,
                _ => 0.12,
            };
            for (when, shares) in trials(row) {
                if shares.iter().any(|s| *s < least) {
                    unfair.push(format!("{} {when}: {}", row.name, percent(shares)));
                }
            }
        }
        assert!(unfair.is_empty(), "\n{}", unfair.join("\n"));
    }

    #[test]
    fn who_measures_spares_the_slow_and_still_asks_them() {
        let requests = |clients| match clients {
            Clients::Open(_) => REQUESTS,
            Clients::OneByOne => REQUESTS / 10,
        };
        for (name, clients) in [
            ("leastconn", Clients::Open(RATE)),
            ("weighted-response-time", Clients::Open(RATE)),
            ("agent", Clients::Open(RATE)),
            ("response-time", Clients::Open(RATE)),
            ("fastest", Clients::Open(RATE)),
            ("response-time", Clients::OneByOne),
            ("fastest", Clients::OneByOne),
        ] {
            let row = ROWS.iter().find(|r| r.name == name).expect("a row");
            let requests = requests(clients);
            let outcome = of(row, Speeds::OneSlow, clients, Event::Nothing, requests);
            let shares = outcome.shares(0, requests);
            let slow = shares[SERVERS - 1];
            assert!((0.001..0.1).contains(&slow), "{name}: {}", percent(shares));
        }
    }

    #[test]
    fn the_document_is_current() {
        let there = include_str!("../../docs/schedulers.md");
        assert!(there == document(), "run 'cargo xtask schedulers'");
    }
}
