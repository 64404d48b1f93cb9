//! Stick tables beside the oracle: what is counted when, what rules read, whom they send where,
//! and what the control socket shows of it.

use lab::{Client, LogSink, Program, Proxy, Server, each, get, port};
use std::cell::RefCell;
use std::io::Write;
use std::time::{Duration, Instant};

const TIMES: &str = "defaults\n    mode http\n    timeout client 2s\n    timeout server 2s\n    timeout connect 1s\n    retries 0\n";
const COUNTS: &str = "gpc0,conn_cnt,conn_cur,conn_rate(1h),sess_cnt,sess_rate(1h),http_req_cnt,http_req_rate(1h),http_err_cnt,http_err_rate(1h),http_fail_cnt,http_fail_rate(1h)";

/// What the control socket says, without the places of entries and how long they live.
fn control(proxy: &Proxy, command: &str) -> Vec<String> {
    let said = proxy.control(command);
    let lines = said.lines().map(|line| {
        let words = line.split(' ');
        let words = words.filter(|w| !w.starts_with("exp=") && !w.starts_with("0x"));
        words.collect::<Vec<_>>().join(" ")
    });
    lines.collect()
}

/// Runs a scenario with both programs; what it brought together must be the same.
fn same(scenario: impl Fn(&Program, &mut Vec<Vec<String>>)) {
    let all: RefCell<Vec<Vec<Vec<String>>>> = RefCell::default();
    each(|program| {
        let mut seen = Vec::new();
        scenario(program, &mut seen);
        all.borrow_mut().push(seen);
    });
    if let [oracle, ours] = all.into_inner().as_slice() {
        for (i, (oracle, ours)) in oracle.iter().zip(ours).enumerate() {
            assert_eq!(oracle, ours, "step {i}: the oracle's is the first");
        }
        assert_eq!(oracle.len(), ours.len());
    }
}

/// Waits until nothing holds an entry of these tables, and shows them.
fn settled(proxy: &Proxy, tables: &[&str]) -> Vec<String> {
    let end = Instant::now() + lab::PATIENCE;
    loop {
        let shown = tables
            .iter()
            .map(|t| control(proxy, &format!("show table {t}")));
        let shown: Vec<String> = shown.flatten().collect();
        let busy = |line: &String| line.contains(" use=") && !line.contains(" use=0 ");
        if !shown.iter().any(busy) {
            return shown;
        }
        assert!(Instant::now() < end, "{shown:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Shows tables and empties them.
fn taken(proxy: &Proxy, tables: &[&str]) -> Vec<String> {
    let shown = settled(proxy, tables);
    for table in tables {
        proxy.control(&format!("clear table {table}"));
    }
    shown
}

/// A server that does what the path says.
fn server() -> Server {
    Server::start(|request, stream| {
        let path = request.split(' ').nth(1).unwrap_or_default();
        let status = match path {
            "/close" => return false,
            "/garbage" => {
                let _ = stream.write_all(b"HTTZ/1.1\r\n\r\n");
                return false;
            }
            "/short" => {
                let head = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc";
                let _ = stream.write_all(head);
                return false;
            }
            path => path.strip_prefix("/status/").unwrap_or("200"),
        };
        let head =
            format!("HTTP/1.1 {status} Whatever\r\nContent-Length: 0\r\nX-Sid: {status}\r\n\r\n");
        stream.write_all(head.as_bytes()).is_ok()
    })
}

#[test]
fn each_kind_of_event_is_counted_where_the_oracle_counts_it() {
    same(|program, seen| {
        let server = server();
        let (web, early, late, tcp) = (port(), port(), port(), port());
        let tables = ["conn", "sess", "cont", "http", "early", "late"];
        let mut config = format!(
            "{TIMES}frontend f\n    bind 127.0.0.1:{web}\n\
             \x20   tcp-request connection track-sc0 src table conn\n\
             \x20   tcp-request session track-sc1 src table sess\n\
             \x20   tcp-request content track-sc2 src table cont if {{ path -m beg /c }}\n\
             \x20   http-request track-sc2 path table http\n\
             \x20   http-request track-sc0 str(taken) table http\n\
             \x20   http-request deny if {{ path /deny }}\n\
             \x20   http-request return status 404 if {{ path /ours }}\n    default_backend b\n\
             frontend e\n    bind 127.0.0.1:{early}\n    tcp-request connection track-sc0 src table early\n    tcp-request connection reject\n\
             frontend l\n    bind 127.0.0.1:{late}\n    tcp-request connection track-sc0 src table early\n    tcp-request session track-sc1 src table late\n    tcp-request session reject\n\
             frontend t\n    mode tcp\n    bind 127.0.0.1:{tcp}\n    tcp-request content track-sc1 src table cont\n    default_backend tb\n\
             backend tb\n    mode tcp\n    server s {0}\n\
             backend b\n    http-request track-sc1 str(taken) table http\n    server s {0}\n",
            server.addr
        );
        for table in tables {
            let key = if table == "http" {
                "string len 20"
            } else {
                "ip"
            };
            config += &format!(
                "backend {table}\n    stick-table type {key} size 1k expire 1h store {COUNTS}\n"
            );
        }
        let proxy = Proxy::start(program, &config);
        for paths in [
            &["/a", "/a"][..],
            &["/status/404"],
            &["/status/503", "/status/501", "/status/505"],
            &["/deny"],
            &["/ours"],
            &["/c"],
            &["/a", "/c", "/b"],
            &["/close"],
            &["/garbage"],
            &["/short"],
        ] {
            let mut client = Client::connect(web);
            for path in paths {
                client.ask(&format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n"));
            }
            drop(client);
            seen.push(taken(&proxy, &tables));
        }
        for port in [early, late, tcp] {
            get(port, "/");
            seen.push(taken(&proxy, &tables));
        }
        let mut client = Client::connect(web);
        client.ask("GARBAGE\r\n\r\n");
        drop(client);
        seen.push(taken(&proxy, &tables));
        // While a connection waits for its next request, only what it tracks itself is held.
        let mut client = Client::connect(web);
        client.ask("GET /a HTTP/1.1\r\nHost: x\r\n\r\n");
        let end = Instant::now() + lab::PATIENCE;
        while control(&proxy, "show table http")
            .concat()
            .contains("use=1")
        {
            assert!(Instant::now() < end);
            std::thread::sleep(Duration::from_millis(10));
        }
        let held = tables.map(|t| control(&proxy, &format!("show table {t}")));
        seen.push(held.concat());
        drop(client);
        seen.push(taken(&proxy, &tables));
    });
}

/// Bytes are counted as they are on the wire; the oracle counts how it keeps messages inside.
#[test]
fn bytes_are_counted_once_they_have_passed() {
    let server = server();
    let web = port();
    let proxy = Proxy::start(
        &Program::mulgil(),
        &format!(
            "{TIMES}listen l\n    bind 127.0.0.1:{web}\n    stick-table type ip size 10 store bytes_in_cnt,bytes_out_cnt,bytes_in_rate(1h),bytes_out_rate(1h)\n    http-request track-sc0 src\n    server s {}\n",
            server.addr
        ),
    );
    let mut client = Client::connect(web);
    let request = format!(
        "GET /a HTTP/1.1\r\nHost: x\r\nX-Long: {}\r\n\r\n",
        "y".repeat(2000)
    );
    let first = client.ask(&request);
    let second = client.ask(&request);
    drop(client);
    let shown = settled(&proxy, &["l"]).concat();
    let (received, sent) = (request.len() * 2, first.head.len() + second.head.len());
    assert!(
        shown.contains(&format!("bytes_in_cnt={received} bytes_in_rate(3600000)={received} bytes_out_cnt={sent} bytes_out_rate(3600000)={sent}")),
        "{shown}: {received} {sent}"
    );
}

/// A long transfer is counted while it goes on, not when it is over.
#[test]
fn a_transfer_is_counted_while_it_lasts() {
    let server = Server::start(|_, stream| {
        let head = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n";
        let begun = stream
            .write_all(head)
            .and_then(|()| stream.write_all(&[b'x'; 5000]));
        // The rest does not come before the test is over.
        std::thread::sleep(lab::PATIENCE);
        begun.is_ok()
    });
    for mode in ["http", "tcp"] {
        let web = port();
        let proxy = Proxy::start(
            &Program::mulgil(),
            &format!(
                "{TIMES}listen l\n    mode {mode}\n    bind 127.0.0.1:{web}\n    stick-table type ip size 10 store bytes_out_cnt\n    tcp-request content track-sc0 src\n    server s {}\n",
                server.addr
            ),
        );
        let mut client = Client::connect(web);
        client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
        let end = Instant::now() + lab::PATIENCE;
        while control(&proxy, "show table l data.bytes_out_cnt ge 5000").len() < 3 {
            assert!(
                Instant::now() < end,
                "{mode}: {}",
                proxy.control("show table l")
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

#[test]
fn rules_read_and_change_what_the_oracles_do() {
    const READ: [&str; 44] = [
        "sc0_inc_gpc0",
        "sc0_clr_gpc0",
        "sc_inc_gpc0(0)",
        "sc0_gpc0_rate",
        "sc0_inc_gpc1",
        "src_inc_gpc0(g)",
        "src_inc_gpc0(g)",
        "src_get_gpc0(g)",
        "src_clr_gpc0(g)",
        "src_get_gpc0(g)",
        "src_conn_cnt(g)",
        "src_updt_conn_cnt(g)",
        "src_http_req_cnt(f)",
        "sc0_http_req_cnt(g)",
        "sc0_get_gpc0(k)",
        "sc0_tracked(k)",
        "sc0_tracked(f)",
        "sc1_trackers",
        "sc1_tracked",
        "sc1_conn_cnt",
        "sc0_trackers",
        "sc_trackers(0)",
        "src,table_gpc0(g)",
        "src,table_http_req_cnt(g)",
        "str(1.2.3.4),table_gpc0(g)",
        "str(zzz),table_gpc0(g)",
        "str(zzz),in_table(g)",
        "src,in_table(g)",
        "str(9.9.9.9),in_table(g)",
        "src,table_expire(g,7)",
        "int(5),table_idle(k,8)",
        "int(5),table_expire(k)",
        "src_get_gpc0(a)",
        "src_get_gpt0(a)",
        "table_cnt(f)",
        "table_avl(f)",
        "table_cnt",
        "path,table_http_req_cnt",
        "sc0_http_req_cnt",
        "sc0_http_req_rate",
        "sc0_get_gpt0",
        "sc2_get_gpt0",
        "sc2_get_gpc0",
        "sc2_get_gpc1",
    ];
    same(|program, seen| {
        let web = port();
        let values = READ.map(|v| format!("{v}=%[{v}]")).join(" ");
        let proxy = Proxy::start(
            program,
            &format!(
                "{TIMES}frontend f\n    bind 127.0.0.1:{web}\n\
                 \x20   stick-table type string size 1k expire 100s store gpc0_rate(1h),http_req_cnt,http_req_rate(1h),gpt0\n\
                 \x20   http-request track-sc0 path\n    http-request track-sc2 src table a\n\
                 \x20   http-request sc-set-gpt0(0) 42\n    http-request sc-set-gpt0(2) path,length\n\
                 \x20   http-request sc-inc-gpc0(2)\n    http-request sc-inc-gpc1(2) if {{ path /two }}\n\
                 \x20   http-request return status 200 content-type text/plain lf-string \"{values}\"\n\
                 backend g\n    stick-table type ip size 1k expire 100s store gpc0,conn_cnt\n\
                 backend k\n    stick-table type string size 1k expire 100s store gpc0\n\
                 backend a\n    stick-table type ip size 1k expire 100s store gpc(2),gpt(2),gpc_rate(2,1h)\n"
            ),
        );
        for path in ["/one", "/one", "/two"] {
            let answer = get(web, path).body;
            seen.push(answer.split(' ').map(str::to_string).collect());
            settled(&proxy, &["f", "a"]);
        }
        seen.push(settled(&proxy, &["f", "g", "k", "a"]));
    });
}

#[test]
fn limits_by_rate_and_by_connections_refuse_the_same_requests() {
    same(|program, seen| {
        let (web, sink) = (port(), LogSink::new());
        let proxy = Proxy::start(
            program,
            &format!(
                "{TIMES}frontend f\n    bind 127.0.0.1:{web}\n    log 127.0.0.1:{} local0\n    log-format \"LINE %HP %ST %ts %[sc0_http_req_rate] %[sc0_http_err_cnt] %[sc1_conn_cur]\"\n\
                 \x20   stick-table type string len 16 size 100 expire 1h store http_req_rate(1h),http_err_cnt,gpc0\n\
                 \x20   tcp-request connection track-sc1 src table conns\n    tcp-request connection reject if {{ sc1_conn_cur gt 2 }}\n\
                 \x20   http-request track-sc0 req.hdr(x-token)\n\
                 \x20   http-request deny deny_status 429 if {{ sc0_http_req_rate gt 3 }}\n\
                 \x20   http-request sc-inc-gpc0(0) if {{ path /login }}\n\
                 \x20   http-request tarpit deny_status 403 if {{ sc0_get_gpc0 gt 2 }}\n    timeout tarpit 10ms\n\
                 \x20   http-request return status 204\n\
                 backend conns\n    stick-table type ip size 100 expire 1h store conn_cur\n",
                sink.port
            ),
        );
        let mut step = Vec::new();
        for (i, (token, path)) in [
            ("a", "/x"),
            ("a", "/x"),
            ("a", "/x"),
            ("a", "/x"),
            ("b", "/login"),
            ("b", "/login"),
            ("b", "/login"),
            ("b", "/x"),
            ("c", "/login"),
            ("", "/x"),
        ]
        .into_iter()
        .enumerate()
        {
            let header = if token.is_empty() {
                String::new()
            } else {
                format!("X-Token: {token}\r\n")
            };
            let mut client = Client::connect(web);
            let answer = client.ask(&format!(
                "GET {path}{i} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{header}\r\n"
            ));
            let line = sink.line(&format!("{path}{i} "));
            let line = line.split("LINE").nth(1).unwrap_or_default();
            step.push(format!("{token} {path} {} {line}", answer.status));
            drop(client);
            settled(&proxy, &["f", "conns"]);
        }
        seen.push(step);
        seen.push(settled(&proxy, &["f", "conns"]));
        // Two connections of an address are served, a third is closed, and one more when one left.
        let ask = "GET /y HTTP/1.1\r\nHost: x\r\n\r\n";
        let mut clients = [Client::connect(web), Client::connect(web)];
        let mut statuses: Vec<u16> = clients.iter_mut().map(|c| c.ask(ask).status).collect();
        statuses.push(Client::connect(web).ask(ask).status);
        drop(clients);
        settled(&proxy, &["conns"]);
        statuses.push(Client::connect(web).ask(ask).status);
        seen.push(statuses.iter().map(u16::to_string).collect());
    });
}

#[test]
fn clients_stick_to_the_server_that_a_table_remembers() {
    same(|program, seen| {
        let (one, two) = (Server::named("one"), Server::named("two"));
        let (web, other, tcp) = (port(), port(), port());
        let proxy = Proxy::start(
            program,
            &format!(
                "{TIMES}frontend f\n    bind 127.0.0.1:{web}\n    default_backend b\n\
                 frontend g\n    bind 127.0.0.1:{other}\n    default_backend c\n\
                 listen t\n    mode tcp\n    bind 127.0.0.1:{tcp}\n    stick-table type ip size 100\n    stick on src\n    server s1 {0}\n    server s2 {1}\n\
                 backend b\n    stick-table type string len 20 size 1k expire 100s\n    stick on path unless {{ path /free }}\n\
                 \x20   stick store-request path table short\n    stick store-response res.hdr(x-server) table answers\n\
                 \x20   server s1 {0}\n    server s2 {1}\n\
                 backend c\n    stick-table type string len 20 size 1k expire 100s srvkey addr\n    stick match path table b\n    stick store-request path\n\
                 \x20   server s2 {1}\n    server s1 {0}\n    server s3 {0} non-stick weight 0\n\
                 backend short\n    stick-table type string len 4 size 1k expire 100s store gpc0\n\
                 backend answers\n    stick-table type binary len 5 size 1k expire 100s\n",
                one.addr, two.addr
            ),
        );
        let ask = |port: u16, paths: &[&str]| -> Vec<String> {
            let named = paths.iter().map(|p| get(port, p).header("x-server"));
            named.map(Option::unwrap_or_default).collect()
        };
        seen.push(ask(
            web,
            &[
                "/a", "/b", "/a", "/b", "/b", "/free", "/free", "/longer", "/a",
            ],
        ));
        seen.push(settled(&proxy, &["b", "short", "answers"]));
        // Another backend, whose servers stand in another order, looks into the same table.
        seen.push(ask(other, &["/a", "/b", "/a", "/longer"]));
        let shown = settled(&proxy, &["c"]).into_iter();
        let without = |l: String| {
            l.replace(&one.addr.to_string(), "ONE")
                .replace(&two.addr.to_string(), "TWO")
        };
        seen.push(shown.map(without).collect());
        let tcp: Vec<String> = ask(tcp, &["/", "/", "/"]);
        assert!(
            tcp.iter().all(|s| *s == tcp[0]),
            "{}: {tcp:?}",
            program.name
        );
        seen.push(settled(&proxy, &["t"]));
        // A server that is down is passed over, and what is served then is remembered.
        proxy.control("disable server b/s1");
        seen.push(ask(web, &["/a"]));
        proxy.control("enable server b/s1");
        seen.push(ask(web, &["/a", "/a"]));
        seen.push(settled(&proxy, &["b"]));
    });
}

#[test]
fn the_control_socket_shows_sets_and_clears_as_the_oracles_does() {
    const COMMANDS: &[&str] = &[
        "show table",
        "show table b",
        "show table nope",
        "set table",
        "set table nope key x",
        "set table b key",
        "set table b",
        "set table b key k2 data.gpc0 1",
        "set table b key k2 data.gpt[0] x",
        "set table b key k2 datax 5",
        "set table b key k2 data.server_id",
        "set table b data.gpc gt 3",
        "set table b key k2",
        "set table six key ::1 data.gpc0 4",
        "set table six key zz data.gpc0 4",
        "set table two key 77 data.gpc0 4",
        "set table two key 78 data.gpc0 4",
        "set table two key 79 data.gpc0 4",
        "set table two key abc data.gpc0 4",
        "set table bin key abcd data.http_req_cnt 4",
        "set table f key 10.0.0.1 data.http_req_rate 50 data.bytes_in_cnt 7000000000",
        "set table f key 10.0.0.9 data.conn_cur 50 data.server_id 3",
        "set table f key 2.0.0.1",
        r"set table b key a\ b=c\\d data.server_id 3",
        "show table b",
        "show table six",
        "show table two",
        "show table bin",
        "show table f",
        "show table f data.http_req_rate gt 40",
        "show table f data.http_req_rate gt 60",
        "show table f data.http_req_rate gt 40 data.bytes_in_cnt eq 7000000000",
        "show table f data.http_req_rate",
        "show table f data.http_req_rate gt",
        "show table f data.http_req_rate gx 4",
        "show table f data.nope gt 4",
        "show table f data.http_req_rate gt 40 data.x eq 1",
        "show table two data.gpc1 gt 4",
        "show table f nope",
        "show table f key 10.0.0.1",
        "show table f key 10.0.0.7",
        "show table f key",
        "show table b data.gpc eq 5",
        "show table f data.conn_cur ne 0",
        "show table f data.conn_cur le 50",
        "show table f data.conn_cur lt 50",
        "clear table",
        "clear table nope",
        "clear table f key 10.0.0.1",
        "clear table f key 10.0.0.1",
        "show table f",
        "clear table two data.gpc0 eq 4",
        "show table two",
        "clear table six",
        "show table six",
        "clear table f data.nope eq 1",
        "show table",
    ];
    same(|program, seen| {
        let web = port();
        let proxy = Proxy::start(
            program,
            &format!(
                "{TIMES}frontend f\n    bind 127.0.0.1:{web}\n    stick-table type ip size 1k expire 1h store {COUNTS},bytes_in_cnt,bytes_out_rate(1h),gpt0,gpc1,gpc1_rate(1m),gpc0_rate(1m),server_id\n\
                 backend b\n    stick-table type string len 20 size 100 expire 1m store gpc(3),gpc_rate(2,10s),gpt(2)\n    stick on path\n    server s1 127.0.0.1:1\n\
                 backend six\n    stick-table type ipv6 size 1m nopurge expire 1d store gpc0 srvkey addr\n\
                 backend two\n    stick-table type integer size 2 expire 1h store gpc0\n\
                 backend bin\n    stick-table type binary len 4 size 2k store http_req_cnt\n"
            ),
        );
        for command in COMMANDS {
            let mut said = control(&proxy, command);
            said.insert(0, command.to_string());
            seen.push(said);
        }
    });
}

#[test]
fn a_reload_keeps_the_entries_of_a_table_that_goes_on() {
    let web = port();
    let text = |expire: &str, more: &str| {
        format!(
            "{TIMES}frontend f\n    bind 127.0.0.1:{web}\n    http-request track-sc0 path table t\n    http-request track-sc1 path table u\n    http-request return status 200 content-type text/plain lf-string %[sc0_http_req_cnt]/%[sc1_http_req_cnt]\n\
             backend t\n    stick-table type string size 100 expire {expire} store http_req_cnt\n\
             backend u\n    stick-table type string size 100 store http_req_cnt{more}\n"
        )
    };
    let proxy = Proxy::start(&Program::mulgil(), &text("1h", ""));
    let mut kept = Client::connect(web);
    let ask = "GET /a HTTP/1.1\r\nHost: x\r\n\r\n";
    assert_eq!(kept.ask(ask).body, "1/1");
    let head = std::fs::read_to_string(&proxy.file).expect("the file");
    let head: Vec<&str> = head.lines().take(3).collect();
    std::fs::write(
        &proxy.file,
        format!("{}\n{}", head.join("\n"), text("2h", ",gpc0")),
    )
    .expect("written");
    proxy.control("reload");
    // One table stores other data now: its entries begin anew.
    assert_eq!(get(web, "/a").body, "2/1");
    assert_eq!(kept.ask(ask).body, "3/2");
    let shown = proxy.control("show table t");
    assert!(shown.contains("http_req_cnt=3"), "{shown}");
    let left = shown
        .split("exp=")
        .nth(1)
        .and_then(|t| t.split(' ').next()?.parse::<u64>().ok());
    assert!(left.is_some_and(|ms| ms > 3_600_000), "{shown}");
}

#[test]
fn an_entry_that_is_tracked_cannot_be_cleared_and_an_old_one_goes() {
    each(|program| {
        let web = port();
        let proxy = Proxy::start(
            program,
            &format!(
                "{TIMES}frontend f\n    bind 127.0.0.1:{web}\n    stick-table type ip size 10 expire 300ms store conn_cur\n    tcp-request connection track-sc0 src\n    http-request return status 200\n"
            ),
        );
        let mut client = Client::connect(web);
        client.ask("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
        let said = proxy.control("clear table f key 127.0.0.1");
        assert_eq!(
            said, "Entry currently in use, cannot remove\n\n",
            "{}",
            program.name
        );
        // Held for longer than it lives, and for no longer once it is let go.
        std::thread::sleep(Duration::from_millis(600));
        assert!(
            proxy.control("show table f").contains("use=1"),
            "{}",
            program.name
        );
        drop(client);
        let end = Instant::now() + lab::PATIENCE;
        while !proxy.control("show table f").contains("used:0") {
            assert!(Instant::now() < end, "{}", program.name);
            std::thread::sleep(Duration::from_millis(20));
        }
    });
}
