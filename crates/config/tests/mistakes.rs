//! One mistake is one message: what follows from it is not reported, and none hides another.

mod common;

use common::{Files, load_text, said};

fn listen(lines: &str) -> Vec<String> {
    let times = " timeout client 1s\n timeout server 1s\n timeout connect 1s\n";
    said(&load_text(&format!(
        "listen a\n mode http\n bind :80\n{times}{lines}"
    )))
}

#[test]
fn an_acl_that_is_refused_is_declared_all_the_same() {
    let said = listen(" acl x nosuchfetch\n http-request deny if x\n redirect location / if !x\n");
    assert_eq!(said, ["7: error: unknown fetch 'nosuchfetch'"]);
}

#[test]
fn what_a_refused_line_would_have_set_is_not_missing() {
    let said = said(&load_text(
        "listen a\n mode http\n bind 1.2.3.4.5:80\n timeout client 1x\n server s 127.0.0.1:1 chekc\n \
         use-server s if { path / }\n",
    ));
    let lines: Vec<&str> = said.iter().filter_map(|m| m.split(':').next()).collect();
    assert_eq!(lines, ["3", "4", "5"], "{said:?}");
}

#[test]
fn rules_capture_into_slots_that_are_there() {
    let said = listen(
        " declare capture request len 4\n http-request capture path id 0\n http-request capture path id 1\n \
         http-response capture res.hdr(x) id 0\n http-after-response capture res.hdr(x) id 3\n",
    );
    let starts = [
        "9: error: no slot 1 for captures of the request: 'a' has 1",
        "10: error: no slot 0 for captures of the response: 'a' has 0",
        "11: error: no slot 3 for captures of the response: 'a' has 0",
    ];
    assert_eq!(said.len(), starts.len(), "{said:?}");
    for (said, start) in said.iter().zip(starts) {
        assert!(said.starts_with(start), "{said}");
    }
}

#[test]
fn every_word_of_a_line_is_judged() {
    let said = listen(" server s 127.0.0.1:1 chekc inter 5x weight 300 backup\n");
    assert_eq!(said.len(), 3, "{said:?}");
    let said = listen(" bind :81 mss 0 nice 9999 name x v6only maxconns\n");
    assert_eq!(said.len(), 3, "{said:?}");
}

#[test]
fn words_that_the_language_has_lost_name_what_took_their_place() {
    for (line, remedy) in [
        ("contimeout 5s", "timeout connect"),
        ("clitimeout 5s", "timeout client"),
        ("srvtimeout 5s", "timeout server"),
        ("reqadd X:\\ y", "http-request add-header"),
        ("reqrep ^a b", "http-request replace-path"),
        ("rspadd X:\\ y", "http-response add-header"),
        ("rspidel ^X", "http-response del-header"),
        ("block if x", "http-request deny"),
        ("redispatch", "option redispatch"),
        ("appsession JSESSIONID len 5 timeout 1h", "cookie"),
        ("option forceclose", "option httpclose"),
        ("option http_proxy", "http-request set-dst"),
    ] {
        let said = listen(&format!(" {line}\n"));
        assert_eq!(said.len(), 1, "{line}: {said:?}");
        assert!(
            said[0].starts_with("7: error:") && said[0].contains(remedy),
            "{said:?}"
        );
    }
    for (line, severity, remedy) in [
        ("nbproc 4", "error", "nbthread"),
        ("nbproc 1", "warning", "remove it"),
        ("debug", "error", "remove it"),
    ] {
        let said = said(&load_text(&format!("global\n {line}\n")));
        let wanted = format!("2: {severity}: ");
        assert!(
            said.iter()
                .any(|m| m.starts_with(&wanted) && m.contains(remedy)),
            "{line}: {said:?}"
        );
    }
}

#[test]
fn a_colon_behind_a_header_name_is_left_out_and_said() {
    let said = listen(" http-request set-header X-A: b\n");
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(
        said[0].starts_with("7: warning: 'X-A:' names a header"),
        "{said:?}"
    );
}

#[test]
fn a_rule_behind_one_that_is_taken_later_is_said() {
    let said = listen(
        " redirect location / if { path /x }\n http-request deny if { path /y }\n tcp-request content accept if { path /z }\n",
    );
    let lines: Vec<&str> = said.iter().filter_map(|m| m.split(": '").next()).collect();
    assert_eq!(lines, ["8: warning", "9: warning"], "{said:?}");
    assert!(
        listen(" http-request deny if { path /y }\n redirect location / if { path /x }\n")
            .is_empty()
    );
}

#[test]
fn variables_in_addresses_need_no_quotes() {
    let mut files = Files::default();
    files.0.insert(
        "a.cfg".into(),
        "global\n setenv WHERE 127.0.0.1\n setenv PORT 81\nlisten a\n bind $WHERE:${PORT}\n timeout client 1s\n \
         timeout server 1s\n timeout connect 1s\n server s ${WHERE}:$PORT\n bind $NOWHERE\n"
            .into(),
    );
    let said = said(&files.load(&["a.cfg"]));
    assert_eq!(
        said,
        ["10: error: '$NOWHERE' comes to an empty address: set its variable"]
    );
}

#[test]
fn servers_that_track_each_other_in_a_long_round_are_refused() {
    let track = |n: u32| format!(" server s{n} :1 track s{}\n", (n + 1) % 1200);
    let round: String = (0..1200).map(track).collect();
    let said = said(&load_text(&format!("backend b\n{round}")));
    let first = "2: error: server 's0' tracks 's1', from which no server with checks is found in 1000 steps";
    assert!(said.iter().any(|s| s.starts_with(first)), "{said:#?}");
}
