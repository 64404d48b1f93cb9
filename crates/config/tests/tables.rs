//! Every entry of every table has a line that is valid, and none that is broken goes unremarked.

mod common;

use common::{Files, said};
use config::table::{
    BIND_TLS_WORDS, BIND_WORDS, CONTROL_WORDS, GLOBAL_KEYWORDS, GlobalKeyword, OPTIONS,
    SERVER_CHECK_WORDS, SERVER_POOL_WORDS, SERVER_PROXY_WORDS, SERVER_SOCKET_WORDS,
    SERVER_TLS_WORDS, SERVER_WORDS, keywords,
};

const TIMES: &str = " timeout client 1s\n timeout server 1s\n timeout connect 1s\n";

/// Where a line is tried: a section header, and what must stand beside it.
struct Site {
    section: u8,
    header: &'static str,
    beside: &'static str,
}

// The bits of `Keyword::sections`.
const SITES: [Site; 4] = [
    Site {
        section: 1,
        header: "defaults base",
        beside: " timeout client 1s\n timeout server 1s\n timeout connect 1s\n",
    },
    Site {
        section: 2,
        header: "frontend here",
        beside: " bind 127.0.0.1:8001\n timeout client 1s\n",
    },
    Site {
        section: 4,
        header: "listen here",
        beside: " bind 127.0.0.1:8001\n timeout client 1s\n timeout server 1s\n timeout connect 1s\n",
    },
    Site {
        section: 8,
        header: "backend here",
        beside: " timeout server 1s\n timeout connect 1s\n",
    },
];

/// A check of datagrams that is whole.
const ASKS: &str = " option udp-check\n udp-check send ping\n udp-check expect string pong\n";

/// What is said of a line of a proxy section among all that it may refer to.
fn in_proxy(site: &Site, line: &str) -> Vec<String> {
    let packets = ["forward", "no-flow", "source-persistence", "snat", "guard"];
    if packets.contains(&line.split(' ').next().unwrap_or_default()) {
        let front = match site.section {
            2 => " bind 203.0.113.1:80\n default_backend other\n",
            4 => " bind 203.0.113.1:80\n server one 10.0.0.1 check port 80\n",
            8 => " server one 10.0.0.1 check port 80\n",
            _ => "",
        };
        // Defaults alone serve nothing.
        let text = format!(
            "{}\n mode packet\n{front} {line}\nlisten other\n mode packet\n bind 203.0.113.2:80\n server two 10.0.0.2 check port 80\n",
            site.header
        );
        return said(&Files::with(&text).load(&["a.cfg"]));
    }
    // Of servers and binds only these are for packets alone.
    if line.contains(" vlan") {
        let line = line
            .replace("127.0.0.1", "10.0.0.1")
            .replace(" agent-port 9777", "");
        let rest = match site.section {
            2 => " default_backend other\n",
            4 if line.starts_with("bind") => " server t 10.0.0.2 check port 80\n",
            4 => " bind 203.0.113.1:80\n",
            _ => "",
        };
        let text = format!(
            "{}\n mode packet\n{rest} {line}\nlisten other\n mode packet\n bind 203.0.113.2:80\n server two 10.0.0.2 check port 80\n",
            site.header
        );
        return said(&Files::with(&text).load(&["a.cfg"]));
    }
    let server = if line.starts_with("use-server") {
        " server a 127.0.0.1:8080\n"
    } else {
        ""
    };
    let checks = match line.split(' ').next() {
        Some("http-check") => " option httpchk\n",
        Some("tcp-check") => " option tcp-check\n",
        Some("udp-check") => ASKS,
        Some("option") if line.starts_with("option udp-check") => ASKS,
        Some("external-check") => " option external-check\n external-check command /bin/true\n",
        _ if line == "option external-check" && site.section & (4 | 8) != 0 => {
            " external-check command /bin/true\n"
        }
        Some("email-alert") => {
            " email-alert mailers post\n email-alert from a@b\n email-alert to c@d\n"
        }
        _ => "",
    };
    let mode = match line.split(' ').next() {
        Some("persist") if line.starts_with("persist rdp-cookie") => "tcp",
        Some("udp-responses" | "udp-check") => "udp",
        Some("option") if line.starts_with("option udp-check") => "udp",
        Some(word) if word.starts_with("smtp-") => "smtp",
        Some(word) if word.starts_with("ftp-") => "ftp",
        _ if line.starts_with("option smtplog") => "smtp",
        _ if line.ends_with(" starttls") || line.ends_with(" xclient") => "smtp",
        _ => "http",
    };
    let offered = "127.0.0.1:8001 starttls crt site.pem";
    let beside = match mode {
        "smtp" => &site.beside.replace("127.0.0.1:8001", offered),
        // Datagrams have no connections, and defaults may serve other modes.
        "udp" if site.section != 1 => &site.beside.replace(" timeout connect 1s\n", ""),
        _ => site.beside,
    };
    let text = format!(
        "global\n log 127.0.0.1:514 local0\n external-check\nmailers post\n mailer one 127.0.0.1:25\nhttp-errors pages\n errorfile 503 sorry.http\n\
         {}\n mode {mode}\n log global\n{}{checks}{server} {line}\n\
         defaults\n mode http\n{TIMES}backend app\n server one 127.0.0.1:8080 check\n\
         backend clients\n stick-table type string size 100\n",
        site.header, beside
    );
    said(&Files::with(&text).load(&["a.cfg"]))
}

fn in_global(line: &str) -> Vec<String> {
    let text = format!("global\n {line}\nlisten l\n bind 127.0.0.1:8001\n{TIMES}");
    said(&Files::with(&text).load(&["a.cfg"]))
}

#[test]
fn every_word_of_control_sockets_is_taken_and_none_on_other_lines() {
    for word in CONTROL_WORDS {
        let (name, example) = (word.name, word.example);
        let said = in_global(&format!("stats socket /run/x {name} {example}"));
        assert!(said.is_empty(), "{name}: {said:?}");
        let said = in_global(&format!("stats socket /run/x {name} nonsense"));
        assert_eq!(said.len(), 1, "{name}: {said:?}");
        let text = format!("listen l\n bind 127.0.0.1:8001 {name} {example}\n{TIMES}");
        let said = said_of(&text);
        assert!(said[0].contains("'stats socket'"), "{name}: {said:?}");
    }
}

fn said_of(text: &str) -> Vec<String> {
    said(&Files::with(text).load(&["a.cfg"]))
}

fn lines_of_proxies() -> Vec<(u8, String, &'static str, &'static str)> {
    let lines = keywords().map(|k| (k.sections, k.name.to_string(), k.args, k.example));
    let options = OPTIONS
        .iter()
        .map(|o| (o.sections, format!("option {}", o.name), o.args, o.example));
    let binds = BIND_WORDS.iter().map(|b| {
        let name = format!("bind 127.0.0.1:8080 {}", b.name);
        (2 | 4, name, b.args, b.example)
    });
    // `shard` has a meaning in `peers` only.
    let servers = SERVER_WORDS
        .iter()
        .filter(|s| s.name != "shard")
        .chain(SERVER_CHECK_WORDS)
        .chain(SERVER_POOL_WORDS)
        .chain(SERVER_PROXY_WORDS)
        .chain(SERVER_SOCKET_WORDS)
        .map(|s| {
            let name = format!("server s 127.0.0.1:8080 agent-port 9777 {}", s.name);
            (4 | 8, name, s.args, s.example)
        });
    // What is taken with a warning, always, is no example of a good line.
    let binds_tls = BIND_TLS_WORDS.iter().filter(|b| b.name != "allow-0rtt");
    let binds_tls = binds_tls.map(|b| {
        let ssl = if b.name == "starttls" { "" } else { "ssl " };
        let name = format!("bind 127.0.0.1:8080 {ssl}crt site.pem {}", b.name);
        (2 | 4, name, b.args, b.example)
    });
    let servers_tls = SERVER_TLS_WORDS.iter().filter(|s| s.name != "allow-0rtt");
    let servers_tls = servers_tls.map(|s| {
        let ssl = if s.name == "starttls" { "" } else { "ssl " };
        let name = format!("server s 127.0.0.1:8080 {ssl}ca-file site.pem {}", s.name);
        (4 | 8, name, s.args, s.example)
    });
    let all = lines.chain(options).chain(binds).chain(binds_tls);
    all.chain(servers).chain(servers_tls).collect()
}

/// A keyword with its arguments; a variable's name stands right behind it.
fn joined(name: &str, arguments: &str) -> String {
    match arguments.starts_with('(') {
        true => format!("{name}{arguments}"),
        false => format!("{name} {arguments}"),
    }
}

fn none(wrong: &[String]) {
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn every_example_loads_in_every_section_it_is_for() {
    let mut wrong: Vec<String> = Vec::new();
    for (sections, name, _, example) in lines_of_proxies() {
        for site in SITES.iter().filter(|s| sections & s.section != 0) {
            let line = joined(&name, example);
            let said = in_proxy(site, line.trim());
            if !said.is_empty() {
                wrong.push(format!("{} / {line}: {said:?}", site.header));
            }
        }
    }
    let warned = |k: &&GlobalKeyword| k.doc.starts_with("taken with a warning");
    for keyword in GLOBAL_KEYWORDS.iter().filter(|k| !warned(k)) {
        let line = format!("{} {}", keyword.name, keyword.example);
        let said = in_global(line.trim());
        if !said.is_empty() {
            wrong.push(format!("{line}: {said:?}"));
        }
    }
    none(&wrong);
}

#[test]
fn every_entry_refuses_to_stand_without_what_it_wants() {
    let mut wrong: Vec<String> = Vec::new();
    for (sections, name, args, _) in lines_of_proxies() {
        if args.is_empty() || args.starts_with('[') || matches!(name.as_str(), "balance" | "acl") {
            continue;
        }
        for site in SITES.iter().filter(|s| sections & s.section != 0) {
            let said = in_proxy(site, &name);
            if !said.iter().any(|s| s.contains("error")) {
                wrong.push(format!("{} / {name}: {said:?}", site.header));
            }
        }
    }
    for keyword in GLOBAL_KEYWORDS {
        if keyword.args.is_empty() || keyword.args.starts_with('[') {
            continue;
        }
        if in_global(keyword.name).is_empty() {
            wrong.push(keyword.name.into());
        }
    }
    none(&wrong);
}

#[test]
fn no_entry_passes_over_a_word_it_does_not_know() {
    let mut wrong: Vec<String> = Vec::new();
    // Those that end with any text, or with any number of words.
    let free = |args: &str| args.ends_with("TEXT") || args.contains("]*") || args.ends_with('*');
    for (sections, name, args, example) in lines_of_proxies() {
        if free(args) {
            continue;
        }
        for site in SITES.iter().filter(|s| sections & s.section != 0) {
            let line = format!("{name} {example}  ]] ]] ]]");
            if in_proxy(site, &line).is_empty() {
                wrong.push(format!("{} / {line}", site.header));
            }
        }
    }
    for keyword in GLOBAL_KEYWORDS.iter().filter(|k| !free(k.args)) {
        let line = format!("{} {} ]] ]] ]]", keyword.name, keyword.example);
        if in_global(&line).is_empty() {
            wrong.push(line);
        }
    }
    none(&wrong);
}

#[test]
fn no_broken_argument_makes_an_entry_panic() {
    let odd = [
        "",
        "]]",
        "-1",
        "99999999999999999999",
        "%",
        "%[",
        "{",
        "}",
        "!",
        "if",
        ":",
        "@",
        "é",
        "\\x00\\xff",
        "\"\"",
        "0",
        "/",
        "a,b",
        "(",
        "*",
        "65536",
        "[::1",
        "::",
        "-",
        "1-",
    ];
    let try_all = |words: &[&str], load: &dyn Fn(&str)| {
        for at in 0..=words.len() {
            for odd in odd {
                let mut line: Vec<&str> = words.to_vec();
                if at < line.len() {
                    line[at] = odd;
                } else {
                    line.push(odd);
                }
                load(&line.join(" "));
                load(&line[..at.min(line.len())].join(" "));
            }
        }
    };
    for (sections, name, _, example) in lines_of_proxies() {
        let site = SITES.iter().rfind(|s| sections & s.section != 0);
        let site = site.expect("it may stand somewhere");
        let words: Vec<&str> = example.split(' ').filter(|w| !w.is_empty()).collect();
        try_all(&words, &|arguments| {
            in_proxy(site, &format!("{name} {arguments}"));
        });
    }
    for keyword in GLOBAL_KEYWORDS {
        let words: Vec<&str> = keyword.example.split(' ').collect();
        try_all(&words, &|arguments| {
            in_global(&format!("{} {arguments}", keyword.name));
        });
    }
}
