//! Commands and pages against a configuration, without sockets.

use admin::{Cli, Listen, System, Visit, World};
use config::{LoadRequest, Source};
use model::CliLevel;
use rules::Wall;
use state::{NoSessions, Process};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

/// A configuration that is a text.
struct Text(&'static str);

impl Source for Text {
    fn read(&self, _: &str) -> Result<Vec<u8>, String> {
        Ok(self.0.into())
    }
    fn list(&self, _: &str) -> Option<Vec<String>> {
        None
    }
    fn resolve(&self, _: &str) -> Vec<IpAddr> {
        Vec::new()
    }
    fn user(&self, _: &str) -> Option<u32> {
        None
    }
    fn group(&self, _: &str) -> Option<u32> {
        None
    }
}

impl System for Text {
    fn server(&self, _: &str, words: &[&str]) -> Result<model::Server, String> {
        config::server_from_words(words, self, &model::Global::default())
    }
    fn packets(&self, _: admin::Packets<'_>) -> Option<String> {
        None
    }
    fn listen(&self, _: &str, _: Listen) {}
    fn libraries(&self) -> String {
        String::new()
    }
    fn reload(&self) -> Result<String, String> {
        Err("nothing to read\n".into())
    }
}

impl state::VirtualRouters for Text {
    fn status(&self) -> Option<Vec<state::VrrpStatus>> {
        Some(Vec::new())
    }
    fn release(&self, _: Option<&str>, _: bool) -> Result<(), String> {
        Err("there is no vrrp section".into())
    }
}

const CONFIG: Text = Text(
    "global\n    description \"a, \\\"b\\\"\"\n\
     defaults\n    mode http\n    timeout client 1s\n    timeout server 1s\n    timeout connect 1s\n\
     frontend fe\n    bind 127.0.0.1:1\n    default_backend be\n    stats uri /st\n    stats auth joe:secret\n    stats scope be\n\
     backend be\n    server a 127.0.0.1:1 weight 10 check\n    server b 127.0.0.1:2\n    server c 127.0.0.1:3 disabled\n",
);

fn process() -> Arc<Process> {
    let request = LoadRequest {
        paths: vec!["text".into()],
        env: Default::default(),
        lists: None,
        flags: config::Flags::default(),
    };
    let loaded = config::load(&request, &CONFIG);
    let config = loaded.config.expect("a valid configuration");
    Process::new(
        Arc::new(config),
        2,
        100,
        1000,
        Wall::default(),
        Instant::now(),
        state::Machine {
            hostname: "host".into(),
            ..state::Machine::default()
        },
    )
}

fn say(process: &Arc<Process>, cli: &mut Cli, line: &str) -> String {
    let world = World {
        process,
        generation: process.generation.load_full(),
        env: &[("HOME".into(), "/here".into())],
        sessions: &NoSessions,
        system: &CONFIG,
        sockets: &[],
        startup_logs: "",
        descriptor: 3,
        now: Instant::now(),
        wall: Wall::default(),
    };
    cli.execute(line, &world).text
}

fn as_admin(process: &Arc<Process>, line: &str) -> String {
    say(process, &mut Cli::new(CliLevel::Admin), line)
}

#[test]
fn what_only_others_may_do_is_refused_to_a_user_and_changes_nothing() {
    let process = process();
    let before = as_admin(&process, "show servers state");
    for command in admin::commands().filter(|c| c.level > CliLevel::User && !c.experimental) {
        let line = command.words.join(" ") + " be/a 1";
        let answer = say(&process, &mut Cli::new(CliLevel::User), &line);
        assert_eq!(answer, "Permission denied\n\n", "{line}");
    }
    assert_eq!(as_admin(&process, "show servers state"), before);
}

#[test]
fn no_two_commands_begin_with_the_same_words() {
    let mut words: Vec<_> = admin::commands().map(|c| c.words).collect();
    words.sort_unstable();
    let before = words.len();
    words.dedup();
    assert_eq!(words.len(), before);
}

#[test]
fn a_state_that_is_dumped_is_the_state_that_is_restored() {
    let old = process();
    for line in [
        "set weight be/a 7",
        "set server be/b state maint",
        "enable server be/c",
    ] {
        assert_eq!(as_admin(&old, line), "\n", "{line}");
    }
    let without_times = |text: &str| -> Vec<String> {
        let line = |l: &str| {
            let mut words: Vec<&str> = l.split(' ').collect();
            if words.len() > 9 {
                words.remove(9);
            }
            words.join(" ")
        };
        text.lines().map(line).collect()
    };
    for health in ["down", "up"] {
        as_admin(&old, &format!("set server be/a health {health}"));
        let dump = as_admin(&old, "show servers state");
        let new = process();
        let backends = new.generation.load_full().backends.clone();
        assert!(admin::restore(&dump, &backends, Instant::now()).is_empty());
        let restored = as_admin(&new, "show servers state");
        assert_eq!(without_times(&restored), without_times(&dump), "{health}");
    }
}

#[test]
fn a_damaged_state_file_changes_nothing_it_does_not_say() {
    let process = process();
    let before = as_admin(&process, "show servers state");
    let backends = process.generation.load_full().backends.clone();
    for text in [
        "",
        "2\n",
        "1\n\n# be_name\nbe\n",
        "1\n# be_id be_name srv_id srv_name\n2 be 1\n2 zz 1 a\n",
        "1\n# be_name srv_name srv_uweight srv_iweight srv_admin_state\nbe a 999 10 -1\nbe a x y z\n",
    ] {
        admin::restore(text, &backends, Instant::now());
    }
    assert_eq!(as_admin(&process, "show servers state"), before);
}

#[test]
fn no_line_whatever_is_in_it_does_harm() {
    let process = process();
    let pieces = [
        "set",
        "server",
        "be/a",
        "weight",
        "addr",
        "port",
        "state",
        "show",
        "stat",
        "info",
        "-1",
        "99999999999999999999",
        "%",
        ";",
        "\\",
        "<<",
        "@1",
        "json",
        "add",
        "del",
        "zz",
        "é",
        "be/",
        "/",
        "frontend",
        "fe",
        "maxconn",
        "var",
        "proc.x",
        "expr",
        "int(1)",
        "get",
        "help",
        "prompt",
        "errors",
        "sess",
        "0x",
        "timeout",
        "cli",
        "check-addr",
        "::1",
        "typed",
        "desc",
    ];
    let mut seed = 7u64;
    let mut next = move |n: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (seed >> 33) as usize % n
    };
    let mut cli = Cli::new(CliLevel::Admin);
    cli.experimental = true;
    for _ in 0..3000 {
        let line: Vec<&str> = (0..next(7)).map(|_| pieces[next(pieces.len())]).collect();
        say(&process, &mut cli, &line.join(" "));
    }
}

#[test]
fn info_keeps_each_fields_place_and_escapes_what_it_quotes() {
    let process = process();
    let typed = as_admin(&process, "show info typed");
    assert!(
        typed.contains("\n47.Tasks.1:MGP:u32:0\n") && typed.contains("\n50.node.1:COS:str:host\n")
    );
    let json = as_admin(&process, "show info json");
    assert!(
        json.contains(r#""value":{"type":"str","value":"a, \"b\""}}"#),
        "{json}"
    );
    let desc = as_admin(&process, "show info desc");
    assert!(
        desc.lines()
            .filter(|l| !l.is_empty())
            .all(|l| l.ends_with('"')),
        "{desc}"
    );
    assert!(as_admin(&process, "show stat typed desc").contains("weight.1:MaP:u32:10:\""));
}

#[test]
fn counters_limits_and_variables_change_as_they_are_told() {
    let process = process();
    as_admin(&process, "set maxconn global 50");
    assert_eq!(process.maxconn(), 50);
    as_admin(&process, "set maxconn global 0");
    assert_eq!(process.maxconn(), 100, "0 is what it was started for");
    as_admin(&process, "set maxconn global 5000");
    assert_eq!(process.maxconn(), 100, "and no more than that");
    as_admin(&process, "set rate-limit sessions global 9");
    assert!(as_admin(&process, "show info").contains("\nSessRateLimit: 9\n"));
    let mut cli = Cli::new(CliLevel::Admin);
    say(
        &process,
        &mut cli,
        "experimental-mode on; set var proc.a str(x)",
    );
    assert_eq!(
        say(&process, &mut cli, "get var proc.a"),
        "proc.a: type=str value=<x>\n"
    );
    assert_eq!(
        say(&process, &mut cli, "set var txn.a str(x)"),
        "'set var': cannot set variable 'txn.a', only scope 'proc' is permitted here.\n"
    );
}

fn visit(process: &Arc<Process>, target: &str, authorization: Option<&str>) -> admin::Page {
    let generation = process.generation.load_full();
    let frontend = generation.frontend("fe").expect("the frontend");
    let page = frontend.proxy().stats.as_ref().expect("its page");
    admin::serve(&Visit {
        page,
        proxy: "fe",
        target,
        authorization,
        change: None,
        admin: false,
        process,
        generation: &generation,
        now: Instant::now(),
    })
}

#[test]
fn the_page_is_for_those_who_know_the_password_and_shows_its_scope() {
    let process = process();
    for wrong in [
        None,
        Some("Basic am9lOndyb25n"),
        Some("Bearer x"),
        Some("Basic ???"),
    ] {
        assert_eq!(visit(&process, "/st", wrong).status, 401, "{wrong:?}");
    }
    let right = Some("Basic am9lOnNlY3JldA==");
    let page = visit(&process, "/st;csv", right);
    assert_eq!(page.status, 200);
    assert!(page.body.contains("\nbe,BACKEND,") && !page.body.contains("\nfe,FRONTEND,"));
    let html = visit(&process, "/st;st=<script>", right);
    assert!(!html.body.contains("<script>"));
}
