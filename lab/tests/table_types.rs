//! Every type of key with every type of data, as the control socket sets, filters and clears them, and
//! as rules read them: the same through mulgil and through the oracle.

use lab::{Client, Program, Proxy, each, get, port};
use std::sync::Mutex;

const TIMES: &str = "defaults\n    mode http\n    timeout client 9s\n    timeout server 9s\n    timeout connect 9s\n    retries 0\n";

/// Data that is one number.
const NUMBERS: [&str; 13] = [
    "server_id",
    "gpt0",
    "gpc0",
    "gpc1",
    "conn_cnt",
    "conn_cur",
    "sess_cnt",
    "http_req_cnt",
    "http_err_cnt",
    "http_fail_cnt",
    "bytes_in_cnt",
    "bytes_out_cnt",
    "gpc0_rate",
];

/// Events in a period, which is long here: nothing fades while a test runs.
const RATES: [&str; 9] = [
    "gpc0_rate",
    "gpc1_rate",
    "conn_rate",
    "sess_rate",
    "http_req_rate",
    "http_err_rate",
    "http_fail_rate",
    "bytes_in_rate",
    "bytes_out_rate",
];

/// Types of keys, two keys of each, and one that no entry has.
const KEYS: [(&str, [&str; 3]); 5] = [
    ("ip", ["10.1.2.3", "192.168.0.1", "10.0.0.9"]),
    ("ipv6", ["2001:db8::1", "::ffff:10.0.0.1", "::9"]),
    ("integer", ["0", "4294967295", "9"]),
    ("string len 12", ["short", "longer_than_twelve", "nobody"]),
    ("binary len 4", ["abcd", "ab", "xy"]),
];

fn stored() -> String {
    let numbers = NUMBERS.iter().filter(|n| !RATES.contains(n));
    let numbers = numbers.map(ToString::to_string);
    let rates = RATES.iter().map(|r| format!("{r}(10h)"));
    numbers.chain(rates).collect::<Vec<_>>().join(",")
}

/// Runs a scenario with both programs; what it brought together must be the same.
fn same(scenario: impl Fn(&Program) -> Vec<String>) {
    let all = Mutex::new(Vec::new());
    each(|program| {
        let seen = scenario(program);
        all.lock().expect("unpoisoned").push(seen);
    });
    if let [oracle, ours] = &all.into_inner().expect("unpoisoned")[..] {
        for (oracle, ours) in oracle.iter().zip(ours) {
            assert_eq!(oracle, ours, "the oracle's is the first");
        }
        assert_eq!(oracle.len(), ours.len());
    }
}

/// What the control socket says, without the places of entries and how long they live.
fn control(proxy: &Proxy, command: &str) -> String {
    let said = proxy.control(command);
    let words = said.split(' ');
    let words = words.filter(|w| !w.starts_with("exp=") && !w.contains("0x"));
    format!("{command}: {}", words.collect::<Vec<_>>().join(" "))
}

#[test]
fn each_type_of_key_has_each_type_of_data_set_filtered_and_cleared() {
    same(|program| {
        let mut config = format!("{TIMES}listen l\n    bind 127.0.0.1:{}\n", port());
        let data = stored();
        for (n, (key, _)) in KEYS.iter().enumerate() {
            config += &format!(
                "backend t{n}\n    stick-table type {key} size 100 expire 10h store {data}\n"
            );
            config += &format!(
                "backend a{n}\n    stick-table type {key} size 100 expire 10h store gpt(3),gpc(3),gpc_rate(3,10h)\n"
            );
        }
        let proxy = Proxy::start(program, &config);
        let mut seen = Vec::new();
        let all: Vec<&str> = NUMBERS.into_iter().chain(RATES).collect();
        for (n, (kind, [one, two, none])) in KEYS.iter().enumerate() {
            for (i, data) in all.iter().enumerate() {
                let (less, more) = (i + 3, i + 7);
                for command in [
                    format!("set table t{n} key {one} data.{data} {less}"),
                    format!("set table t{n} key {two} data.{data} {more}"),
                ] {
                    seen.push(control(&proxy, &command));
                }
                for operator in ["eq", "ne", "le", "ge", "lt", "gt"] {
                    let show = format!("show table t{n} data.{data} {operator} {less}");
                    seen.push(control(&proxy, &show));
                }
            }
            seen.push(control(&proxy, &format!("show table t{n}")));
            // A binary key cannot be named to the oracle.
            let named = match kind.starts_with("binary") {
                true => &[][..],
                false => &[one, two, none],
            };
            for key in named {
                seen.push(control(&proxy, &format!("show table t{n} key {key}")));
                seen.push(control(&proxy, &format!("set table a{n} key {key}")));
                seen.push(control(&proxy, &format!("show table a{n} key {key}")));
                seen.push(control(&proxy, &format!("clear table a{n} key {key}")));
            }
            seen.push(control(&proxy, &format!("show table a{n}")));
            for data in &all {
                // Who has it is cleared; it is made again for the next.
                let clear = format!("clear table t{n} data.{data} gt 0");
                seen.push(control(&proxy, &clear));
                seen.push(control(&proxy, &format!("show table t{n}")));
                let set = format!("set table t{n} key {one} data.{data} 1");
                seen.push(control(&proxy, &set));
            }
            seen.push(control(&proxy, &format!("show table t{n}")));
        }
        seen
    });
}

/// All of one entry by all the ways to it: as it is tracked, by its number, by the client's address,
/// and by a key.
#[test]
fn rules_read_each_type_of_data_by_each_of_its_ways() {
    let plain = |data: &str| data.trim_end_matches("_cnt").replace("bytes_", "kbytes_");
    let mut wanted = Vec::new();
    for data in NUMBERS.iter().skip(4).chain(RATES.iter().skip(2)) {
        if data.starts_with("gpc") {
            continue;
        }
        let name = match data.starts_with("bytes") && data.ends_with("_cnt") {
            true => plain(data),
            false => data.to_string(),
        };
        // What a request adds to bytes is a matter of how messages are kept: nobody tracks those of `u`.
        if data.starts_with("bytes") {
            wanted.push(format!("src_{name}(u)"));
            wanted.push(format!("src,table_{name}(u)"));
            continue;
        }
        for way in [
            format!("sc1_{name}"),
            format!("sc_{name}(1)"),
            format!("sc1_{name}(t)"),
            format!("src_{name}(t)"),
            format!("src,table_{name}(t)"),
        ] {
            wanted.push(way);
        }
    }
    for name in ["gpt0", "gpc0", "gpc1"] {
        for way in [
            format!("sc1_get_{name}"),
            format!("sc_get_{name}(1)"),
            format!("src_get_{name}(t)"),
            format!("src,table_{name}(t)"),
        ] {
            wanted.push(way);
        }
    }
    for name in ["gpc0_rate", "gpc1_rate"] {
        wanted.push(format!("sc1_{name}"));
        wanted.push(format!("sc_{name}(1)"));
        wanted.push(format!("src_{name}(t)"));
        wanted.push(format!("src,table_{name}(t)"));
    }
    for at in 0..3 {
        wanted.push(format!("sc_get_gpc({at},2)"));
        wanted.push(format!("sc_get_gpt({at},2)"));
        wanted.push(format!("sc_gpc_rate({at},2)"));
        wanted.push(format!("src_get_gpc({at},a)"));
        wanted.push(format!("src_get_gpt({at},a)"));
        wanted.push(format!("src,table_gpc({at},a)"));
        wanted.push(format!("src,table_gpt({at},a)"));
        wanted.push(format!("src,table_gpc_rate({at},a)"));
        wanted.push(format!("sc_inc_gpc({at},2)"));
        wanted.push(format!("src_inc_gpc({at},a)"));
        wanted.push(format!("sc_clr_gpc({at},2)"));
        wanted.push(format!("sc_get_gpc({at},2)"));
    }
    wanted.push("src,table_server_id(t)".to_string());
    same(|program| {
        let web = port();
        let values: Vec<String> = wanted.iter().map(|v| format!("{v}=%[{v}]")).collect();
        // A line has no room for all of them.
        let answers = values.chunks(12).enumerate().map(|(n, some)| {
            let some = some.join(" ");
            format!("    http-request return status 200 content-type text/plain lf-string \"{some}\" if {{ path /{n} }}\n")
        });
        let answers: String = answers.collect();
        let proxy = Proxy::start(
            program,
            &format!(
                "{TIMES}frontend f\n    bind 127.0.0.1:{web}\n    http-request track-sc1 src table t\n    http-request track-sc2 src table a\n\
                 \x20   http-request sc-inc-gpc(0,2) if {{ path /0 }}\n    http-request sc-inc-gpc(2,2) if {{ path /0 }}\n    http-request sc-set-gpt(1,2) 77 if {{ path /0 }}\n    http-request sc-set-gpt(2,2) int(5),add(3) if {{ path /0 }}\n\
                 {answers}backend t\n    stick-table type ip size 100 expire 10h store {0}\n\
                 backend u\n    stick-table type ip size 100 expire 10h store {0}\n\
                 backend a\n    stick-table type ip size 100 expire 10h store gpt(3),gpc(3),gpc_rate(3,10h)\n",
                stored()
            ),
        );
        for (i, data) in NUMBERS.into_iter().chain(RATES).enumerate() {
            let value = match data.starts_with("bytes") {
                true => (i + 1) * 10_240_000,
                false => i + 100,
            };
            for table in ["t", "u"] {
                proxy.control(&format!(
                    "set table {table} key 127.0.0.1 data.{data} {value}"
                ));
            }
        }
        let pages = 0..values.len().div_ceil(12);
        let pages = pages.map(|n| {
            let mut client = Client::connect(web);
            let request = format!("GET /{n} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
            let page = client.ask(&request);
            // What the next one reads of connections that are open does not count this one.
            assert!(client.closed(), "{}", program.name);
            page
        });
        pages
            .flat_map(|page| {
                assert_eq!(page.status, 200, "{}", program.name);
                let words = page.body.split(' ');
                words.map(str::to_string).collect::<Vec<_>>()
            })
            .collect()
    });
}

/// HAProxy adds more than one at a time since 2.8.
#[test]
fn a_rule_adds_to_a_counter_what_it_likes() {
    let web = port();
    let _proxy = Proxy::start(
        &Program::mulgil(),
        &format!(
            "{TIMES}frontend f\n    bind 127.0.0.1:{web}\n    stick-table type ip size 100 expire 10h store gpc(2),gpc_rate(2,10h)\n    http-request track-sc0 src\n\
             \x20   http-request sc-add-gpc(1,0) 5\n    http-request sc-add-gpc(1,0) path,length\n\
             \x20   http-request return status 200 content-type text/plain lf-string \"%[sc_get_gpc(0,0)] %[sc_get_gpc(1,0)] %[sc_gpc_rate(1,0)]\"\n"
        ),
    );
    assert_eq!(get(web, "/abc").body, "0 9 9");
    assert_eq!(get(web, "/").body, "0 15 15");
}
