//! `use-service prometheus-exporter` beside the oracle's: the same metrics with the same labels.

use lab::{Proxy, Response, each, port};
use std::cell::RefCell;
use std::collections::BTreeMap;

/// Each metric with its type, and each sample without its value; `values` are those of which the
/// scenario knows that they are the same in both programs.
#[derive(Debug, Default, PartialEq)]
struct Exposed {
    types: BTreeMap<String, String>,
    samples: Vec<String>,
    values: Vec<String>,
}

/// The response with its body out of its chunks.
fn get(port: u16, path: &str) -> Response {
    let mut answer = lab::get(port, path);
    if answer.header("transfer-encoding").is_some() {
        let (mut body, mut rest) = (String::new(), answer.body.as_str());
        while let Some((size, chunk)) = rest.split_once("\r\n") {
            let size = usize::from_str_radix(size, 16).expect("a size");
            body += &chunk[..size];
            rest = &chunk[size + 2..];
        }
        answer.body = body;
    }
    answer
}

fn read(text: &str) -> Exposed {
    let mut exposed = Exposed::default();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect("a type");
            exposed.types.insert(name.into(), kind.into());
        } else if !line.starts_with('#') && !line.is_empty() {
            let (sample, value) = line.rsplit_once(' ').expect("a value");
            // The version is each program's own.
            let sample = match sample.split_once("version=") {
                Some((name, _)) => name,
                None => sample,
            };
            exposed.samples.push(sample.into());
            if [
                "_status{",
                "_weight{",
                "http_responses_total{proxy=\"b\"",
                "_active_servers{",
                "_requests_denied_total{",
            ]
            .iter()
            .any(|part| line.contains(part))
            {
                exposed.values.push(format!("{sample} {value}"));
            }
        }
    }
    exposed.samples.sort();
    exposed.values.sort();
    exposed
}

/// Status, content type, and what is in it.
type Scrape = (u16, Option<String>, Exposed);

const QUERIES: [&str; 9] = [
    "",
    "?scope=global",
    "?scope=frontend&scope=server",
    "?scope=backend",
    "?scope=server&no-maint",
    "?scope=*&scope=",
    "?scope=listener",
    "?scope=nothing",
    "?other=1&scope=%73erver",
];

#[test]
fn the_exporter_has_the_metrics_and_labels_of_the_oracle() {
    let seen: RefCell<Vec<Vec<Scrape>>> = RefCell::default();
    each(|program| {
        let (metrics, web, tcp, dead) = (port(), port(), port(), port());
        let proxy = Proxy::start(
            program,
            &format!(
                "defaults\n    mode http\n    timeout client 2s\n    timeout server 2s\n    timeout connect 1s\n\
                 frontend metrics\n    bind 127.0.0.1:{metrics}\n    http-request use-service prometheus-exporter if {{ path /metrics }}\n\
                 frontend f\n    bind 127.0.0.1:{web}\n    http-request deny if {{ path /no }}\n    default_backend b\n\
                 backend b\n    http-request return status 204 if {{ path /yes }}\n    server plain 127.0.0.1:{dead} weight 7\n    server off 127.0.0.1:{dead} disabled\n    server checked 127.0.0.1:{dead} check inter 60s disabled\n\
                 backend \"odd.name\"\n    server s1 127.0.0.1:{dead}\n\
                 listen raw\n    mode tcp\n    bind 127.0.0.1:{tcp}\n    server z 127.0.0.1:{dead}\n"
            ),
        );
        assert_eq!(get(web, "/no").status, 403, "{}", program.name);
        assert_eq!(get(web, "/yes").status, 204, "{}", program.name);
        proxy.wait_for("b", "BACKEND", "hrsp_2xx", "1");
        let answers = QUERIES.iter().map(|query| {
            let answer = get(metrics, &format!("/metrics{query}"));
            let exposed = if answer.status == 200 {
                read(&answer.body)
            } else {
                Exposed::default()
            };
            (answer.status, answer.header("content-type"), exposed)
        });
        seen.borrow_mut().push(answers.collect());
        assert_eq!(get(metrics, "/other").status, 503, "{}", program.name);
    });
    let seen = seen.into_inner();
    let [oracle, ours] = seen.as_slice() else {
        return;
    };
    for ((query, oracle), ours) in QUERIES.iter().zip(oracle).zip(ours) {
        assert_eq!(oracle.0, ours.0, "{query}");
        if oracle.0 == 200 {
            assert_eq!(oracle.1, ours.1, "{query}");
        }
        let missing: Vec<_> = oracle
            .2
            .samples
            .iter()
            .filter(|s| !ours.2.samples.contains(s))
            .collect();
        let more: Vec<_> = ours
            .2
            .samples
            .iter()
            .filter(|s| !oracle.2.samples.contains(s))
            .collect();
        assert!(
            missing.is_empty() && more.is_empty(),
            "{query}: missing {missing:#?}, more {more:#?}"
        );
        for (name, kind) in &ours.2.types {
            assert_eq!(oracle.2.types.get(name), Some(kind), "{query}: {name}");
        }
        assert_eq!(oracle.2.values, ours.2.values, "{query}");
    }
}
