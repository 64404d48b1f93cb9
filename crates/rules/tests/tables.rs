//! Every entry of the tables shows an example; here each is tried.

mod common;

use common::{AT, REQUEST, session};
use http::{Head, h1};
use proptest::prelude::*;
use rules::{Ctx, Expr, Facts, FtpInfo, Scope, SmtpInfo, StreamInfo, Timeout, Vars, Zone, table};
use std::cell::{Cell, RefCell};

const RESPONSE: &str = "HTTP/1.1 200 OK\r\nSet-Cookie: s=1; Path=/\r\nSet-Cookie: s=2\r\n\
    X-A: 2, 192.0.2.9\r\n\r\n";

/// A system where every number is 7.
struct Sevens;

impl Facts for Sevens {
    fn nbsrv(&self, backend: &str) -> Option<i64> {
        (backend != "none").then_some(2)
    }
    fn be_conn(&self, _: &str) -> Option<i64> {
        Some(7)
    }
    fn be_conn_free(&self, _: &str) -> Option<i64> {
        Some(7)
    }
    fn fe_conn(&self, frontend: &str) -> Option<i64> {
        (frontend != "none").then_some(7)
    }
    fn fe_defbe(&self, _: &str) -> Option<String> {
        Some("b".into())
    }
    fn queue(&self, _: &str) -> Option<i64> {
        Some(7)
    }
    fn connslots(&self, _: &str) -> Option<i64> {
        Some(7)
    }
    fn be_sess_rate(&self, _: &str) -> Option<i64> {
        Some(7)
    }
    fn fe_sess_rate(&self, _: &str) -> Option<i64> {
        Some(7)
    }
    fn fe_req_rate(&self, _: &str) -> Option<i64> {
        Some(7)
    }
    fn retries(&self, _: &str) -> Option<i64> {
        Some(7)
    }
    fn timeout(&self, _: &str, _: Timeout) -> Option<i64> {
        Some(7)
    }
    fn srv_conn(&self, _: &str, _: &str) -> Option<i64> {
        Some(7)
    }
    fn srv_conn_free(&self, _: &str, _: &str) -> Option<i64> {
        Some(7)
    }
    fn srv_is_up(&self, _: &str, server: &str) -> Option<bool> {
        (server != "none").then_some(true)
    }
    fn srv_queue(&self, _: &str, server: &str) -> Option<i64> {
        (server != "none").then_some(7)
    }
    fn srv_sess_rate(&self, _: &str, _: &str) -> Option<i64> {
        Some(7)
    }
    fn srv_weight(&self, _: &str, _: &str) -> Option<i64> {
        Some(7)
    }
    fn srv_iweight(&self, _: &str, _: &str) -> Option<i64> {
        Some(7)
    }
    fn act_conn(&self) -> i64 {
        7
    }
    fn env(&self, name: &str) -> Option<String> {
        (name == "HOME").then(|| "/home".into())
    }
    fn local_zone(&self, secs: i64) -> Zone {
        Zone::utc(secs)
    }
    fn uptime(&self) -> i64 {
        7
    }
}

/// The text that an expression comes to; the reason why there is no such expression.
fn value(text: &str) -> Result<String, String> {
    let (mut request, mut response) = (Head::default(), Head::default());
    let options = h1::ParseOptions::default();
    let parsed = h1::parse_request(REQUEST.as_bytes(), &options, &mut request);
    assert_eq!(parsed, Ok(Some(REQUEST.len())));
    let parsed = h1::parse_response(RESPONSE.as_bytes(), &options, &mut response);
    assert_eq!(parsed, Ok(Some(RESPONSE.len())));
    let session = session();
    let (vars, rng) = (RefCell::new(Vars::default()), Cell::new(9));
    let cx = Ctx {
        session: &session,
        stream: &StreamInfo {
            ftp: Some(Box::new(FtpInfo {
                user: b"alice".as_slice().into(),
                protected: true,
            })),
            smtp: Some(Box::new(SmtpInfo {
                command: "RCPT",
                helo: Some(b"mail.one.example".as_slice().into()),
                extended: true,
                from: Some(b"ann@One.example".as_slice().into()),
                rcpt: Some(b"bob@two.example".as_slice().into()),
                rcpts: 2,
                size: Some(1024),
            })),
            ..StreamInfo::default()
        },
        now: AT,
        req: Some(&mut request),
        res: Some(&mut response),
        req_body: b"k=v&k2=v2",
        res_body: b"\0\x02ok",
        captures: [
            &[Some(b"rq".as_slice().into())],
            &[None, Some(b"rs".as_slice().into())],
        ],
        vars: &vars,
        facts: &Sevens,
        log: None,
        rng: &rng,
    };
    // A map's file holds what it is called.
    let scope = Scope {
        read_file: &|path| Ok(path.as_bytes().to_vec()),
        proxy: "web",
        ..Scope::bare()
    };
    let expr = Expr::parse(text, &scope).map_err(|e| format!("{text}: {}", e.message))?;
    let value = expr.eval(&cx).map(|s| s.to_text().into_owned());
    Ok(String::from_utf8_lossy(&value.unwrap_or_default()).into_owned())
}

#[test]
fn every_example_is_of_its_entry_and_comes_to_what_it_says() {
    let fetches = table::fetches().map(|f| (f.names, f.example));
    let converters = table::converters().map(|c| (std::slice::from_ref(&c.name), c.example));
    let mut wrong = Vec::new();
    for (names, (text, expected)) in fetches.chain(converters) {
        if !names.iter().any(|n| text.contains(n)) {
            wrong.push(format!("{names:?} is not in its example {text}"));
        }
        let found = value(text);
        if found.as_deref() != Ok(expected) {
            wrong.push(format!("{text} is {found:?}, not '{expected}'"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_name_is_there_twice_and_all_names_are_known() {
    let known = |text: &str, name: &str| text.lines().any(|l| l == name);
    let mut names: Vec<&str> = table::fetches().flat_map(|f| f.names).copied().collect();
    for name in &names {
        let list = include_str!("../src/known/fetches.txt");
        // HAProxy has no modes for mail and files.
        let ours = *name == "nbthread" || name.starts_with("smtp.") || name.starts_with("ftp.");
        assert!(known(list, name) || ours, "{name}");
    }
    let all = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), all);
    let mut names: Vec<&str> = table::converters().map(|c| c.name).collect();
    for name in &names {
        let list = include_str!("../src/known/converters.txt");
        assert!(known(list, name), "{name}");
    }
    let all = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), all);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn no_expression_makes_evaluation_panic(
        fetch in "(str|bin|int|ipv6|ipv4|hdr|cook|urlp|date|var|req.body_param)\\([ -~]{0,12}\\)",
        picks in prop::collection::vec((any::<prop::sample::Index>(), "(|\\([-a-z0-9_.,:;%$\\[\\] ]{0,14}\\))"), 0..4),
    ) {
        let names: Vec<&str> = table::converters().map(|c| c.name).collect();
        let mut text = fetch;
        for (pick, args) in &picks {
            text.push(',');
            text.push_str(names[pick.index(names.len())]);
            text.push_str(args);
        }
        let _ = value(&text);
    }

    #[test]
    fn no_date_makes_strftime_panic(format in "(%[-_0^]?[0-9]{0,3}[a-zA-Z%]|[ -~]){0,6}", secs: i64, offset: i32) {
        let zone = Zone { offset, name: "X".into() };
        let _ = rules::strftime(format.as_bytes(), secs, (5, 1000), &zone);
    }

    #[test]
    fn no_number_panics_in_arithmetic(a: i64, b: i64, name in "(add|sub|mul|div|mod|and|or|xor)") {
        for text in [
            format!("int({a}),{name}({b}),neg,cpl,even,not"),
            format!("int({a}),http_date({b},us)"),
            format!("int({a}),us_ltime(%c %N,{b})"),
        ] {
            let found = value(&text);
            prop_assert!(found.is_ok(), "{:?}", found);
        }
    }
}
