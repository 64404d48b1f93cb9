//! The language from outside: expressions, conditions, formats and actions over a request.

mod common;

use common::{AT, REQUEST, session};
use http::{Head, h1};
use proptest::prelude::*;
use rules::action::{Effects, run};
use rules::{
    Acls, Cond, Ctx, Expr, LogFormat, NoFacts, NoTrace, Redirect, Rule, RuleSet, Scope, StreamInfo,
    Vars, Verdict,
};
use std::cell::{Cell, RefCell};

fn with<T>(f: impl FnOnce(&mut Ctx<'_>) -> T) -> T {
    let mut head = Head::default();
    let used = h1::parse_request(REQUEST.as_bytes(), &h1::ParseOptions::default(), &mut head);
    assert_eq!(used, Ok(Some(REQUEST.len())));
    let session = session();
    let (vars, rng) = (RefCell::new(Vars::default()), Cell::new(9));
    let mut cx = Ctx {
        session: &session,
        stream: &StreamInfo::default(),
        now: AT,
        req: Some(&mut head),
        res: None,
        req_body: b"k=v&k2=v2",
        res_body: &[],
        captures: [&[], &[]],
        vars: &vars,
        facts: &NoFacts,
        log: None,
        rng: &rng,
    };
    f(&mut cx)
}

fn value(expr: &str) -> Option<String> {
    let expr =
        Expr::parse(expr, &Scope::bare()).unwrap_or_else(|e| panic!("{expr}: {}", e.message));
    with(|cx| {
        expr.eval(cx)
            .map(|s| String::from_utf8_lossy(&s.to_text()).into_owned())
    })
}

#[test]
fn expressions_have_the_values_that_the_manual_says() {
    for (expr, expected) in [
        ("method", Some("GET")),
        ("path", Some("/Static/Logo.png")),
        ("pathq", Some("/Static/Logo.png?a=1&b=%20x")),
        ("query", Some("a=1&b=%20x")),
        ("base", Some("WWW.Example.org:8080/Static/Logo.png")),
        ("req.hdr(host),lower", Some("www.example.org:8080")),
        ("req.hdr(host),host_only", Some("www.example.org")),
        ("req.hdr(host),port_only", Some("8080")),
        ("req.hdr(x-list)", Some("three")),
        ("req.hdr(x-list,1)", Some("one")),
        ("req.hdr(x-list,-2)", Some("two")),
        ("req.fhdr(x-list,1)", Some("one, two")),
        ("req.hdr_cnt(x-list)", Some("3")),
        ("req.fhdr_cnt(x-list)", Some("2")),
        ("req.hdr(absent)", None),
        ("req.cook(sid)", Some("abc")),
        ("req.cook_val(t),add(3)", Some("10")),
        ("url_param(a)", Some("1")),
        ("urlp(b),url_dec", Some(" x")),
        ("req.body_param(k2)", Some("v2")),
        ("src", Some("192.0.2.7")),
        ("src_port", Some("40000")),
        ("src,ipmask(24)", Some("192.0.2.0")),
        ("fe_name", Some("web")),
        ("str(a:b:c),field(2,:)", Some("b")),
        ("str(a::c),field(2,:)", Some("")),
        ("str(a::c),word(2,:)", Some("c")),
        ("str(a:b:c),field(-1,:)", Some("c")),
        ("str(hello),bytes(1,3)", Some("ell")),
        ("str(hello),length", Some("5")),
        ("str(aXbX),regsub(X,-)", Some("a-bX")),
        ("str(aXbX),regsub(X,-,g)", Some("a-b-")),
        ("str(hi),concat(<,,>)", Some("hi<>")),
        ("int(7),div(0)", Some("9223372036854775807")),
        ("int(7),mod(4)", Some("3")),
        ("int(6),even,iif(yes,no)", Some("yes")),
        ("str(AZ),hex", Some("415A")),
        ("str(ff),hex2i", Some("255")),
        ("str(foo),base64", Some("Zm9v")),
        ("str(123456789),crc32", Some("3421780262")),
        ("str(123456789),crc32c", Some("3808858755")),
        ("date,http_date", Some("Sun, 06 Nov 1994 08:49:37 GMT")),
        ("date,utime(%Y-%m-%d)", Some("1994-11-06")),
        ("str(x),set-var(txn.v),upper,concat(-,txn.v)", Some("X-x")),
        ("var(txn.absent,fallback)", Some("fallback")),
        ("str(\"a,b\"),upper", Some("A,B")),
    ] {
        assert_eq!(value(expr).as_deref(), expected, "{expr}");
    }
}

fn holds(condition: &str) -> bool {
    let mut acls = Acls::default();
    let none = |_: &str| Ok(b"# list\n/static\n/img\n".to_vec());
    let around = Scope {
        read_file: &none,
        ..Scope::bare()
    };
    for line in [
        "static path_beg -i /static",
        "static path_end .css",
        "listed path_beg -i -f list",
    ] {
        acls.add(&line.split(' ').collect::<Vec<_>>(), &around)
            .expect("an ACL");
    }
    let scope = Scope {
        acls: &acls,
        ..around
    };
    let words: Vec<&str> = condition.split(' ').collect();
    let cond = Cond::parse(&words, &scope).unwrap_or_else(|e| panic!("{condition}: {}", e.message));
    with(|cx| cond.eval(cx, &mut NoTrace))
}

#[test]
fn conditions_combine_acls_as_the_manual_says() {
    for (condition, expected) in [
        ("if static", true),
        ("unless static", false),
        ("if !static", false),
        ("if ! static", false),
        ("if listed METH_GET", true),
        ("if METH_POST or static", true),
        ("if METH_POST || METH_GET !static", false),
        ("if { path_end .png }", true),
        ("if !{ path_end .png }", false),
        ("if { path_end .PNG }", false),
        ("if { path_end -i .PNG }", true),
        ("if { path -m sub Logo }", true),
        ("if { path_dir Static }", true),
        ("if { path_reg ^/S[a-z]+/ }", true),
        ("if { path_len 16 }", true),
        ("if { hdr_dom(host) -i example.org }", true),
        ("if { hdr_dom(host) ample.org }", false),
        ("if { hdr(x-list) two }", true),
        ("if { hdr(x-list) four }", false),
        ("if { hdr_cnt(x-list) 3 }", true),
        ("if { hdr_val(x-num) gt 41 }", true),
        ("if { hdr_val(x-num) 1:41 }", false),
        ("if { hdr_ip(x-ip) 10.0.0.0/8 }", true),
        ("if { src 192.0.2.0/255.255.255.0 }", true),
        ("if { src 10.0.0.0/8 }", false),
        ("if { hdr(absent) -m found }", false),
        ("if !{ hdr(absent) x }", true),
        ("if { method get }", false),
        ("if { method -i get }", true),
        ("if HTTP_1.1", true),
        ("if { path }", false),
        ("if { src 192.2 }", false),
        ("if { src ::ffff:192.0.2.0/120 }", true),
        ("if { str(2002:a01:203::) -m ip 10.1/16 }", false),
        ("if { str(2002:a01:203::) -m ip 10.1.0.0/16 }", true),
        ("if LOCALHOST", false),
        ("if { req.hdr(x-num) -m int ge 42 }", true),
        ("if { cook(sid) abc }", true),
        ("if { urlp(a) 1 }", true),
    ] {
        assert_eq!(holds(condition), expected, "{condition}");
    }
}

#[test]
fn formats_render_text_tags_and_expressions() {
    let render = |text: &str, log: bool| {
        let format = LogFormat::parse(text, &Scope::bare())
            .unwrap_or_else(|e| panic!("{text}: {}", e.message));
        let mut out = Vec::new();
        with(|cx| {
            if log {
                format.render_log(cx, &mut out)
            } else {
                format.render(cx, &mut out)
            }
        });
        String::from_utf8_lossy(&out).into_owned()
    };
    for (text, log, expected) in [
        ("%[src]:%[src_port]", false, "192.0.2.7:40000"),
        ("a%%b", false, "a%b"),
        ("<%[req.hdr(absent)]>", false, "<>"),
        ("<%[req.hdr(absent)]>", true, "<->"),
        ("%ci:%cp %f", true, "192.0.2.7:40000 web"),
        ("%{+X}ci", true, "C0000207"),
        ("%{+Q}f", true, "\"web\""),
        (
            "%{+Q}o %f %[path]",
            true,
            "\"\" \"web\" \"/Static/Logo.png\"",
        ),
        ("%[str(Ab),lower]", true, "ab"),
        ("%t", true, "06/Nov/1994:08:49:37.005"),
        ("%Tr", true, "-1"),
    ] {
        let shown = render(text, log);
        let shown = shown
            .strip_prefix("\"\" ")
            .map_or(shown.clone(), |s| format!("\"\" {s}"));
        if text.contains("}o ") {
            assert!(
                shown.ends_with("\"web\" \"/Static/Logo.png\""),
                "{text}: {shown}"
            );
        } else {
            assert_eq!(shown, expected, "{text}");
        }
    }
    for bad in [
        "%",
        "%zz",
        "%[path",
        "%[nosuch]",
        "%{+Z}f",
        "%[path,nosuch]",
    ] {
        assert!(LogFormat::parse(bad, &Scope::bare()).is_err(), "{bad}");
    }
}

fn rule(words: &[&str]) -> Result<Rule, rules::ParseError> {
    let acls = Acls::default();
    Rule::parse(
        RuleSet::HttpRequest,
        words,
        &Scope {
            acls: &acls,
            read_file: &|_| Ok(b"x".to_vec()),
            ..Scope::bare()
        },
    )
}

#[test]
fn actions_change_the_request() {
    for (words, expected) in [
        (
            &["set-header", "X-New", "%[path]"][..],
            "X-New: /Static/Logo.png\r\n",
        ),
        (&["add-header", "X-Num", "43"], "X-Num: 42\r\n"),
        (
            &["replace-header", "X-Num", "4(.)", "n\\1"],
            "X-Num: n2\r\n",
        ),
        (&["replace-value", "X-List", "^t", "T"], "X-List: one,T\r\n"),
        (&["set-path", "/p"], "GET /p?a=1&b=%20x HTTP/1.1\r\n"),
        (&["set-pathq", "/p"], "GET /p HTTP/1.1\r\n"),
        (
            &["set-query", "c=2"],
            "GET /Static/Logo.png?c=2 HTTP/1.1\r\n",
        ),
        (&["set-method", "PUT"], "PUT /Static"),
        (&["set-uri", "/u"], "GET /u HTTP/1.1\r\n"),
        (
            &["replace-path", "/Static(.*)", "/s\\1"],
            "GET /s/Logo.png?a=1&b=%20x HTTP/1.1\r\n",
        ),
    ] {
        let rule = rule(words).unwrap_or_else(|e| panic!("{words:?}: {}", e.message));
        let text = with(|cx| {
            let rules = [rule.clone()];
            let verdict = run(&rules, 0, cx, &mut Effects::default(), &mut NoTrace);
            assert!(matches!(verdict, Verdict::Continue));
            let mut out = Vec::new();
            cx.request().expect("a request").write_to(&mut out);
            String::from_utf8_lossy(&out).into_owned()
        });
        assert!(text.contains(expected), "{words:?}: {text}");
    }
    let gone = rule(&["del-header", "X-", "-m", "beg"]).expect("valid");
    with(|cx| {
        let _ = run(&[gone], 0, cx, &mut Effects::default(), &mut NoTrace);
        assert_eq!(cx.request().expect("a request").count(), 2);
    });
}

#[test]
fn rules_that_go_on_need_no_memory_where_nothing_was_waited_for() {
    let rules = [["set-method", "PUT"], ["set-method", "POST"]];
    let rules = rules.map(|words| rule(&words).expect("valid"));
    with(|cx| {
        let _ = run(&rules, 1, cx, &mut Effects::default(), &mut NoTrace);
        assert!(cx.stream.overrides.given(|_| Some(())).is_none());
    });
}

#[test]
fn redirects_build_their_location() {
    for (words, expected) in [
        (&["location", "/x"][..], "/x"),
        (
            &["prefix", "https://a.example"],
            "https://a.example/Static/Logo.png?a=1&b=%20x",
        ),
        (
            &["prefix", "/", "drop-query", "append-slash"],
            "/Static/Logo.png/",
        ),
        (
            &["scheme", "https"],
            "https://WWW.Example.org:8080/Static/Logo.png?a=1&b=%20x",
        ),
    ] {
        let words: Vec<&str> = std::iter::once("redirect")
            .chain(words.iter().copied())
            .collect();
        let rule = rule(&words).expect("valid");
        let location = with(|cx| {
            let rules = [rule.clone()];
            let verdict = run(&rules, 0, cx, &mut Effects::default(), &mut NoTrace);
            let Verdict::Redirect(redirect) = verdict else {
                panic!("{words:?}")
            };
            let redirect: &Redirect = redirect;
            String::from_utf8_lossy(&redirect.location(cx)).into_owned()
        });
        assert_eq!(location, expected, "{words:?}");
    }
}

#[test]
fn mistakes_name_the_word_and_what_was_probably_meant() {
    for (words, word, part) in [
        (&["set-heder", "A", "b"][..], 0, "did you mean 'set-header'"),
        (&["set-header", "A"], 1, "a value"),
        (&["set-header", "A", "%[pth]"], 2, "did you mean 'path'"),
        (&["deny", "if", "nosuch"], 2, "no ACL 'nosuch'"),
        (&["deny", "if", "{", "path_beg", "/x"], 2, "no ' }'"),
        (&["deny", "statsu", "403"], 1, "did you mean 'status'"),
        (&["track-sc0", "src"], 1, "name of a stick table"),
        (&["track-sc3", "src", "table", "t"], 0, "below 3"),
        (&["track-sc0", "src", "tabel", "t"], 2, "'table' should"),
        (&["sc-inc-gpc0"], 0, "such as (0)"),
        (&["sc-inc-gpc(100,0)"], 0, "from 0 to 99"),
        (&["sc-set-gpt0(0)"], 0, "a number or an expression"),
        (&["lua.x"], 0, "written in Lua"),
        (&["set-status", "200"], 0, "no action of 'http-request'"),
    ] {
        let error = rule(words).expect_err("a mistake");
        assert_eq!(error.word, word, "{words:?}: {}", error.message);
        assert!(error.message.contains(part), "{words:?}: {}", error.message);
    }
}

proptest! {
    #[test]
    fn no_text_makes_the_parsers_panic(text in "[a-z_.,()\\[\\]%{}+QXE'\"\\\\ 0-9-]{0,60}") {
        let _ = Expr::parse(&text, &Scope::bare());
        let _ = LogFormat::parse(&text, &Scope::bare());
        let words: Vec<&str> = text.split(' ').collect();
        let _ = rule(&words);
        let acls = Acls::default();
        let _ = Cond::parse(&words, &Scope { acls: &acls, read_file: &|_| Err(String::new()), ..Scope::bare() });
        let _ = Acls::default().add(&words, &Scope::bare());
    }
}
