//! How odd, broken and hostile messages are treated, beside the oracle.
//!
//! The cases are in `conformance/*.txt`. `LAB_WRITE=1` writes what happens into them, for review.

mod conformance {
    pub mod corpus;
    pub mod lane;
}

use conformance::corpus::{Case, Corpus};
use conformance::lane::{Lane, config};
use lab::{Program, Proxy};
use std::collections::BTreeMap;
use std::sync::Mutex;

/// Cases run on so many frontends at a time.
const LANES: usize = 16;

/// The outcome of each case, by its name.
fn run(program: &Program, cases: &[Case], settings: &str) -> BTreeMap<String, String> {
    let lanes: Vec<Lane> = (0..LANES).map(|_| Lane::new()).collect();
    let proxy = Proxy::start(program, &config(&lanes, settings));
    let outcomes = Mutex::new(BTreeMap::new());
    let next = Mutex::new(cases.iter());
    std::thread::scope(|scope| {
        for lane in &lanes {
            scope.spawn(|| {
                loop {
                    let Some(case) = next.lock().expect("unpoisoned").next() else {
                        return;
                    };
                    let outcome = lane.run(case);
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
    let oracle = Program::haproxy().map(|p| run(&p, &corpus.cases, ""));
    let ours = run(&Program::mulgil(), &corpus.cases, "");
    if std::env::var_os("LAB_WRITE").is_some() {
        corpus.write(file, oracle.as_ref(), &ours);
        return;
    }
    let mut wrong = String::new();
    for case in &corpus.cases {
        let mut check = |program: &str, found: Option<&String>, wanted: &str| {
            // Where the oracle's answer depends on how its reads fall, each of its answers is named.
            if let Some(found) = found.filter(|f| wanted.split(" or ").all(|w| w != *f)) {
                wrong += &format!(
                    "\n# {} ({program})\n  wanted {wanted}\n   found {found}\n",
                    case.name
                );
            }
        };
        check(
            "haproxy",
            oracle.as_ref().and_then(|o| o.get(&case.name)),
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
