//! How odd, broken and hostile messages are treated, beside the oracle.
//!
//! The cases are in `conformance/*.txt`. `LAB_WRITE=1` writes what happens into them, for review.

mod conformance {
    pub mod corpus;
    pub mod lane;
}

use conformance::corpus::{Asked, Then};
use conformance::corpus::{Case, Corpus};
use conformance::lane::{Lane, Sending, config};
use lab::{Program, Proxy};
use std::collections::BTreeMap;
use std::sync::Mutex;

/// Cases run on so many frontends at a time.
const LANES: usize = 16;

/// The outcome of each case, by its name. One that is not as expected may be the fault of a busy
/// machine: it is tried up to four times.
fn run(
    program: &Program,
    cases: &[Case],
    sending: Sending,
    expected: impl Fn(&Case, &str) -> bool + Sync,
) -> BTreeMap<String, String> {
    let lanes: Vec<Lane> = (0..LANES).map(|_| Lane::new()).collect();
    let proxy = Proxy::start(program, &config(&lanes, sending));
    let outcomes = Mutex::new(BTreeMap::new());
    let next = Mutex::new(cases.iter());
    std::thread::scope(|scope| {
        for lane in &lanes {
            scope.spawn(|| {
                loop {
                    let Some(case) = next.lock().expect("unpoisoned").next() else {
                        return;
                    };
                    let mut outcome = lane.run(case, sending);
                    for _ in 0..3 {
                        if expected(case, &outcome) {
                            break;
                        }
                        outcome = lane.run(case, sending);
                    }
                    let mut all = outcomes.lock().expect("unpoisoned");
                    all.insert(case.name.clone(), outcome);
                }
            });
        }
    });
    assert!(
        proxy.control("show info").contains("Pid"),
        "{} lives",
        program.name
    );
    outcomes.into_inner().expect("unpoisoned")
}

fn compare(file: &str) {
    let corpus = Corpus::read(file);
    let theirs = |case: &Case, found: &str| found == case.oracle || found == case.oracle_or;
    let oracle = Program::haproxy().map(|p| run(&p, &corpus.cases, Sending::Whole, theirs));
    let as_is = |case: &Case, found: &str| found == case.ours;
    let ours = run(&Program::mulgil(), &corpus.cases, Sending::Whole, as_is);
    if std::env::var_os("LAB_WRITE").is_some() {
        corpus.write(file, oracle.as_ref(), &ours);
        return;
    }
    let mut wrong = String::new();
    for case in &corpus.cases {
        let mut check = |program: &str, found: Option<&String>, wanted: &str| {
            if let Some(found) = found.filter(|f| *f != wanted) {
                wrong += &format!(
                    "\n# {} ({program})\n  wanted {wanted}\n   found {found}\n",
                    case.name
                );
            }
        };
        let theirs = oracle.as_ref().and_then(|o| o.get(&case.name));
        check(
            "haproxy",
            theirs.filter(|t| **t != case.oracle_or),
            &case.oracle,
        );
        check("mulgil", ours.get(&case.name), &case.ours);
        if case.oracle != case.ours && case.because.is_empty() {
            wrong += &format!("\n# {}: differs, and nothing says why\n", case.name);
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn requests_are_read_as_the_oracle_reads_them_or_more_strictly() {
    compare("requests.txt");
}

#[test]
fn answers_are_read_as_the_oracle_reads_them_or_more_strictly() {
    compare("responses.txt");
}

/// What of an outcome cannot depend on how the bytes come: a refusal in a body is logged in the phase
/// it was met in, and who goes on sending to a closed connection may see it reset.
fn timeless(outcome: &str) -> String {
    let (before, after) = outcome.split_once(" [").unwrap_or((outcome, ""));
    let answer = before.replace(" reset", " closed");
    if answer.starts_with("200") {
        let sent = after.split_once(']').map_or("", |(_, sent)| sent);
        return answer + sent;
    }
    answer
}

/// Whether an outcome is the same but for what depends on how the bytes come. A reset may come before
/// the client has read the answer, which the log has nevertheless.
fn as_whole(case: &Case, found: &str) -> bool {
    let wanted = case.ours.strip_prefix("200 closed");
    let unread = found.strip_prefix("reset");
    (unread.is_some() && unread == wanted) || timeless(found) == timeless(&case.ours)
}

#[test]
fn requests_are_read_the_same_however_the_bytes_are_cut() {
    let corpus = Corpus::read("requests.txt");
    let found = run(&Program::mulgil(), &corpus.cases, Sending::Cut, as_whole);
    let mut wrong = String::new();
    for case in &corpus.cases {
        let found = found.get(&case.name).map_or("", String::as_str);
        if !as_whole(case, found) {
            wrong += &format!(
                "\n# {}\n  wanted {}\n   found {found}\n",
                case.name, case.ours
            );
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn an_odd_answer_is_never_taken_for_the_next_requests() {
    let mut corpus = Corpus::read("responses.txt");
    // What follows a half body, or a request for a tunnel, is not a request; and while a server
    // stalls the time for the next request runs out.
    corpus.cases.retain(|c| {
        let (asked, then) = c.asked.unwrap_or((Asked::Connect, Then::Stall));
        matches!(asked, Asked::Get | Asked::Head) && then != Then::Stall
    });
    let found = run(
        &Program::mulgil(),
        &corpus.cases,
        Sending::Pipelined,
        as_whole,
    );
    let mut wrong = String::new();
    for case in &corpus.cases {
        let found = found.get(&case.name).map_or("", String::as_str);
        if !as_whole(case, found) {
            wrong += &format!(
                "\n# {}\n  wanted {}\n   found {found}\n",
                case.name, case.ours
            );
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}
