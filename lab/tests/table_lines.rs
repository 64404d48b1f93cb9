//! Lines about stick tables: taken, warned of or refused as by the oracle.

use lab::said::Verdict;
use lab::{Folder, Program, port};

/// A line of a backend that has a table for addresses, and two other tables beside it (`text` and
/// `number`); what we say otherwise than the oracle, and why.
const LINES: &[(&str, &str)] = &[
    ("stick on src", ""),
    ("stick on src table nope", ""),
    ("stick on path", ""),
    ("stick on src foo", ""),
    ("stick foo src", ""),
    ("stick", ""),
    ("stick on", ""),
    ("stick on src table", ""),
    ("stick on src table text if TRUE", ""),
    ("stick match url_param(a) table text unless FALSE", ""),
    ("stick on nope", ""),
    ("stick on src if nope", ""),
    ("stick store-request method table number", ""),
    ("stick store-request hdr(x) table number", ""),
    ("stick store-response src", ""),
    ("stick store-response path table text", ""),
    ("stick store-response method table text", ""),
    ("stick store-response hdr(x) table text", ""),
    ("stick store-response req.hdr(x) table text", ""),
    ("stick store-response res.hdr(x) table text", ""),
    ("stick store-request res.hdr(x) table text", ""),
    ("stick match res.cook(x) table text", ""),
    ("http-request track-sc0 src", ""),
    ("http-request track-sc0 src table nope", ""),
    ("http-request track-sc2 path table text if TRUE", ""),
    ("http-request track-sc3 src", ""),
    ("http-request track-sc0", ""),
    ("http-request track-sc src", "it is not said which counter"),
    ("http-request track-sc0 nope", ""),
    ("http-request track-sc0 src foo", ""),
    ("http-request track-sc0 method table number", ""),
    ("http-request track-sc0 path table number", ""),
    ("http-response track-sc0 src", ""),
    ("tcp-request content track-sc1 src", ""),
    ("http-request sc-inc-gpc0(0)", ""),
    ("http-request sc-inc-gpc1(2) if TRUE", ""),
    ("http-request sc-inc-gpc(1,0)", ""),
    ("http-request sc-set-gpt0(0) 5", ""),
    ("http-request sc-set-gpt0(0) path,length", ""),
    ("http-request sc-set-gpt(1,0) 5", ""),
    ("http-response sc-inc-gpc0(0)", ""),
    ("tcp-request content sc-inc-gpc0(0)", ""),
    ("http-request sc-inc-gpc0(3)", ""),
    ("http-request sc-inc-gpc0", "it is not said which counter"),
    ("http-request sc-set-gpt0(0)", "it is not said to what"),
    ("http-request sc-set-gpt0(0) abc", ""),
    ("http-request sc-inc-gpc(100,0)", "there is no element 100"),
    ("http-request deny if { src_get_gpc0 gt 1 }", ""),
    ("http-request deny if { src_get_gpc0(nope) gt 1 }", ""),
    ("http-request deny if { src_get_gpc0(text) gt 1 }", ""),
    ("http-request deny if { sc0_get_gpc0 gt 1 }", ""),
    ("http-request deny if { sc0_get_gpc0(nope) gt 1 }", ""),
    ("http-request deny if { sc_get_gpc0(0,text) gt 1 }", ""),
    (
        "http-request deny if { sc_get_gpc0(5) gt 1 }",
        "nothing is ever tracked under 5",
    ),
    ("http-request deny if { src,table_gpc0 gt 1 }", ""),
    ("http-request deny if { src,table_gpc0(text) gt 1 }", ""),
    ("http-request deny if { src,in_table(nope) }", ""),
    ("http-request deny if { src,in_table(text) }", ""),
    ("http-request deny if { table_cnt gt 1 }", ""),
    ("http-request deny if { table_cnt(nope) gt 1 }", ""),
    (
        "http-request set-header X %[sc0_conn_cur]/%[src_conn_rate]",
        "",
    ),
    ("http-request set-header X %[src_conn_rate(nope)]", ""),
    ("stick-table type ip size 2k", ""),
];

/// Lines of a backend that has no table yet.
const TABLES: &[(&str, &str)] = &[
    ("stick-table type ip", ""),
    ("stick-table size 1k", ""),
    ("stick-table", ""),
    ("stick-table type ip size 1k", ""),
    ("stick-table type ipv6 size 1m expire 1h", ""),
    ("stick-table type integer size 100 expire 10", ""),
    ("stick-table type string size 1k", ""),
    ("stick-table type string len 10 size 1k", ""),
    ("stick-table type binary len 10 size 1k srvkey addr", ""),
    ("stick-table type nope size 1k", ""),
    ("stick-table type ip len 4 size 1k", ""),
    ("stick-table type string len 0 size 1k", ""),
    (
        "stick-table type string len 1000000000 size 1k",
        "a key of a gigabyte is a slip",
    ),
    ("stick-table type ip size 0", ""),
    ("stick-table type ip size 1x", ""),
    ("stick-table type ip size 1k expire 1x", ""),
    ("stick-table type ip size 1k expire", ""),
    ("stick-table type ip size 1k srvkey nope", ""),
    ("stick-table type ip size 1k srvkey name", ""),
    ("stick-table type ip size 1k nopurge expire 1h", ""),
    (
        "stick-table type ip size 1k nopurge",
        "it would be full for ever one day",
    ),
    ("stick-table type ip size 1k peers nope", ""),
    ("stick-table type ip size 1k write-to here", ""),
    ("stick-table type ip size 1k foo", ""),
    ("stick-table type ip size 1k store nope", ""),
    ("stick-table type ip size 1k store gpc0_rate", ""),
    ("stick-table type ip size 1k store gpc0(3)", ""),
    ("stick-table type ip size 1k store gpc0,gpc0", ""),
    ("stick-table type ip size 1k store gpc0,gpc(2)", ""),
    (
        "stick-table type ip size 1k store gpc1_rate(1s),gpc_rate(2,1s)",
        "",
    ),
    ("stick-table type ip size 1k store gpt0,gpt(2)", ""),
    ("stick-table type ip size 1k store gpc(101)", ""),
    ("stick-table type ip size 1k store gpc(0)", ""),
    ("stick-table type ip size 1k store gpc_rate(2)", ""),
    (
        "stick-table type ip size 1k store gpc(3),gpc_rate(3,10s),gpt(100)",
        "",
    ),
    (
        "stick-table type ip size 1k store conn_rate(0)",
        "there are no events in no time",
    ),
    ("stick-table type ip size 1k store conn_rate(x)", ""),
    (
        "stick-table type ip size 1k store gpc0 store gpc1,conn_cur",
        "",
    ),
    (
        "stick-table type ip size 1k store server_id,gpt0,gpc0,gpc0_rate(1s),conn_cnt,conn_rate(1s),conn_cur,sess_cnt,sess_rate(1s),http_req_cnt,http_req_rate(1s),http_err_cnt,http_err_rate(1s),bytes_in_cnt,bytes_in_rate(1s),bytes_out_cnt,bytes_out_rate(1s),gpc1,gpc1_rate(1s),server_key,http_fail_cnt,http_fail_rate(1s)",
        "",
    ),
];

#[test]
fn lines_about_tables_have_the_verdicts_that_the_oracle_gives_them() {
    let Some(oracle) = Program::haproxy() else {
        return println!("haproxy is not installed: there is nothing to compare with");
    };
    let (ours, folder, web) = (Program::mulgil(), Folder::new(), port());
    let mut wrong = Vec::new();
    let with = LINES
        .iter()
        .map(|l| (l, "stick-table type ip size 1k store gpc0,conn_rate(1s)"));
    for ((line, why), first) in with.chain(TABLES.iter().map(|l| (l, "id 77"))) {
        let text = format!(
            "defaults\n mode http\n timeout client 1s\n timeout server 1s\n timeout connect 1s\n\
             frontend f\n bind 127.0.0.1:{web}\n default_backend here\n\
             backend here\n server s 127.0.0.1:1\n {first}\n {line}\n\
             backend text\n stick-table type string size 1k store gpc0\n\
             backend number\n stick-table type integer size 1k\n"
        );
        let file = folder.file("line.cfg", text.as_bytes());
        let (wanted, theirs) = Verdict::of(&oracle, &file);
        let (got, said) = Verdict::of(&ours, &file);
        if !why.is_empty() && got == wanted {
            wrong.push(format!("{line} is no difference any more: {why}"));
        }
        if why.is_empty() && got != wanted {
            wrong.push(format!("{line}: {wanted:?}, not {got:?}\n{theirs}\n{said}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn arrays_are_set_and_looked_for_by_their_first_element() {
    lab::each(|program| {
        let port = lab::port();
        let proxy = lab::Proxy::start(
            program,
            &format!(
                "defaults\n    mode http\n    timeout client 2s\n    timeout server 2s\n    timeout connect 1s\n\
                 frontend f\n    bind 127.0.0.1:{port}\n    http-request return status 200 hdr x-c %[src_updt_conn_cnt(ips)]\n\
                 backend arrays\n    stick-table type integer size 10 expire 1h store gpc(3),gpt(2)\n\
                 backend ips\n    stick-table type ip size 10 expire 1h store conn_cnt,conn_rate(1h)\n"
            ),
        );
        let shown = |command: &str| {
            let said = proxy.control(command);
            let at = said.find("gp").or(said.find("conn_cnt"));
            at.map_or("nothing", |at| said.get(at..).unwrap_or_default().trim())
                .to_owned()
        };
        for (command, answer) in [
            ("set table arrays key 5 data.gpc 7 data.gpt 9", ""),
            (
                "set table arrays what 5",
                "Required arguments: <table> key <key> [data.<store_data_type> <value>]*",
            ),
        ] {
            let said = proxy.control(command);
            assert_eq!(said.trim(), answer, "{}: {command}", program.name);
        }
        let kept = "gpt0=9 gpt1=0 gpc0=7 gpc1=0 gpc2=0";
        for (filter, found) in [
            ("", true),
            (" data.gpc eq 7", true),
            (" data.gpt gt 9", false),
        ] {
            let line = shown(&format!("show table arrays{filter}"));
            assert_eq!(line == kept, found, "{}: {filter}: {line}", program.name);
        }
        for count in ["1", "2"] {
            let answer = lab::get(port, "/");
            assert_eq!(
                answer.header("x-c").as_deref(),
                Some(count),
                "{}",
                program.name
            );
        }
        let line = shown("show table ips");
        assert_eq!(line, "conn_cnt=2 conn_rate(3600000)=0", "{}", program.name);
    });
}
