//! Agents: what they say and what operators say of them, the same through mulgil and the oracle.

use lab::{LogSink, Proxy, each};
use std::io::{Read, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// An agent that says to every visitor what it is told to say.
struct Agent {
    port: u16,
    words: Arc<Mutex<Vec<u8>>>,
    asked: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Agent {
    fn saying(words: &[u8]) -> Agent {
        let listener = lab::listener();
        let port = listener.local_addr().expect("an address").port();
        let words = Arc::new(Mutex::new(words.to_vec()));
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (said, seen) = (Arc::clone(&words), Arc::clone(&asked));
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let said = said.lock().expect("unpoisoned").clone();
                let seen = Arc::clone(&seen);
                std::thread::spawn(move || {
                    let _ = stream.write_all(&said);
                    let _ = stream.shutdown(std::net::Shutdown::Write);
                    let _ = stream.set_read_timeout(Some(Duration::from_secs(1)));
                    let mut got = Vec::new();
                    let _ = stream.read_to_end(&mut got);
                    seen.lock().expect("unpoisoned").push(got);
                });
            }
        });
        Agent { port, words, asked }
    }

    fn says(&self, words: &[u8]) {
        *self.words.lock().expect("unpoisoned") = words.to_vec();
    }
}

/// A server that takes every connection, for a queue of what nobody takes is full soon, and ends it.
fn idle() -> u16 {
    let listener = lab::listener();
    let port = listener.local_addr().expect("an address").port();
    std::thread::spawn(move || for _ in listener.incoming().flatten() {});
    port
}

/// Waits until fields of the server have these values.
fn wait(proxy: &Proxy, names: &str, wanted: &[&str], what: &str) {
    let names: Vec<&str> = names.split(' ').collect();
    proxy.wait_for_stats(("b", "s"), &names, wanted, what);
}

const TIMES: &str =
    "defaults\n    timeout client 3s\n    timeout server 3s\n    timeout connect 1s\n";

#[test]
fn an_agent_sets_weight_limit_and_state() {
    each(|program| {
        let agent = Agent::saying(b"up\n");
        let port = idle();
        let proxy = Proxy::start(
            program,
            &format!(
                "{TIMES}backend b\n    server s 127.0.0.1:{port} weight 10 check inter 50 agent-check agent-port {} agent-inter 30\n",
                agent.port
            ),
        );
        const NAMES: &str =
            "status weight slim agent_status agent_code agent_desc last_agt agent_health";
        let ok = "Layer7 check passed";
        let bad = "Layer7 wrong status";
        let same = "No status change";
        for (says, wanted) in [
            (
                &b"up\n"[..],
                ["UP", "10", "", "L7OK", "0", ok, "via agent : up", "1"],
            ),
            (b"75%\n", ["UP", "7", "", "CHECKED", "", same, "", "1"]),
            (
                b"drain\n",
                ["DRAIN (agent)", "7", "", "CHECKED", "", same, "", "1"],
            ),
            (
                b"Up\n",
                [
                    "DRAIN (agent)",
                    "7",
                    "",
                    "L7OK",
                    "0",
                    ok,
                    "via agent : Up",
                    "1",
                ],
            ),
            (b"ready\n", ["UP", "7", "", "CHECKED", "", same, "", "1"]),
            (b"maint\n", ["MAINT", "7", "", "CHECKED", "", same, "", "1"]),
            (
                b"drain\n",
                ["DRAIN (agent)", "7", "", "CHECKED", "", same, "", "1"],
            ),
            (
                b"ready 200%\n",
                ["UP", "20", "", "CHECKED", "", same, "", "1"],
            ),
            (b"0%\n", ["UP", "0", "", "CHECKED", "", same, "", "1"]),
            (
                b"fail # spaced reason\n",
                [
                    "DOWN (agent)",
                    "0",
                    "",
                    "L7STS",
                    "0",
                    bad,
                    "via agent : fail (spaced reason)",
                    "0",
                ],
            ),
            (
                b"50%\n",
                ["DOWN (agent)", "5", "", "CHECKED", "", same, "", "0"],
            ),
            (
                b"stopped\n",
                [
                    "DOWN (agent)",
                    "5",
                    "",
                    "L7STS",
                    "0",
                    bad,
                    "via agent : stopped",
                    "0",
                ],
            ),
            (
                b"up 30%,maxconn:7\tready\r\n",
                ["UP", "3", "7", "L7OK", "0", ok, "via agent : up", "1"],
            ),
            (
                b"down\n",
                [
                    "DOWN (agent)",
                    "3",
                    "7",
                    "L7STS",
                    "0",
                    bad,
                    "via agent : down",
                    "0",
                ],
            ),
            (
                b"nonsense\n",
                [
                    "DOWN (agent)",
                    "3",
                    "7",
                    "CHECKED",
                    "",
                    same,
                    "agent reports an error : nonsense",
                    "0",
                ],
            ),
            (
                b"5x%\n",
                [
                    "DOWN (agent)",
                    "3",
                    "7",
                    "CHECKED",
                    "",
                    same,
                    "agent warns : Trailing garbage in weight string",
                    "0",
                ],
            ),
            (
                b"",
                [
                    "DOWN (agent)",
                    "3",
                    "7",
                    "L7RSP",
                    "",
                    "Layer7 invalid response",
                    "TCPCHK got an empty response at step 2",
                    "0",
                ],
            ),
            (
                b"maxconn:0 up\n",
                ["UP", "3", "", "L7OK", "0", ok, "via agent : up", "1"],
            ),
        ] {
            agent.says(says);
            let what = format!("{}: {:?}", program.name, String::from_utf8_lossy(says));
            wait(&proxy, NAMES, &wanted, &what);
        }
    });
}

#[test]
fn operators_overrule_an_agent_and_send_it_elsewhere() {
    each(|program| {
        let (agent, other) = (Agent::saying(b"75%\n"), Agent::saying(b"25%\n"));
        let port = idle();
        let proxy = Proxy::start(
            program,
            &format!(
                "{TIMES}backend b\n    server s 127.0.0.1:{port} weight 100 agent-check agent-port {} agent-inter 30 agent-send \"who\\n\"\n    server plain 127.0.0.1:{port}\n",
                agent.port
            ),
        );
        let what = program.name;
        wait(
            &proxy,
            "weight status agent_health",
            &["75", "no check", "1"],
            what,
        );
        let ask = |command: &str| proxy.control(command).trim_end().to_string();
        assert_eq!(ask("set server b/s agent down"), "", "{what}");
        wait(&proxy, "status agent_health", &["DOWN (agent)", "0"], what);
        assert_eq!(ask("set server b/s agent up"), "", "{what}");
        wait(&proxy, "status agent_health", &["no check", "1"], what);
        let to = format!("set server b/s agent-addr 127.0.0.1 port {}", other.port);
        assert_eq!(ask(&to), "", "{what}");
        wait(&proxy, "weight", &["25"], what);
        assert_eq!(ask("set server b/s agent-send other"), "", "{what}");
        // Servers that come and go leave that as it is.
        for (command, answer) in [
            (
                format!("add server b/late 127.0.0.1:{port}"),
                "New server registered.",
            ),
            ("del server b/late".into(), "Server deleted."),
        ] {
            assert_eq!(ask(&command), answer, "{what}");
        }
        let back = format!("set server b/s agent-port {}", agent.port);
        assert_eq!(ask(&back), "", "{what}");
        wait(&proxy, "weight", &["75"], what);
        assert_eq!(ask("disable agent b/s"), "", "{what}");
        wait(&proxy, "agent_status last_agt", &["", ""], what);
        assert_eq!(ask("set weight b/s 33"), "", "{what}");
        std::thread::sleep(Duration::from_millis(150));
        wait(&proxy, "weight", &["33"], what);
        let none = "agent checks are not enabled on this server";
        assert_eq!(
            ask("set server b/s agent down"),
            format!("{none}."),
            "{what}"
        );
        assert_eq!(ask("set server b/s agent-port 5"), none, "{what}");
        assert_eq!(ask("enable agent b/s"), "", "{what}");
        wait(&proxy, "weight", &["75"], what);
        for (command, answer) in [
            (
                "set server b/s agent",
                "'set server <srv> agent' expects 'up' or 'down'.",
            ),
            (
                "set server b/s agent-port x",
                "provided port is not an integer",
            ),
            (
                "set server b/s agent-port 70000",
                "provided port is invalid",
            ),
            ("set server b/plain agent-port 5", none),
            (
                "enable agent b/plain",
                "Agent was not configured on this server, cannot enable.",
            ),
            ("disable agent b/plain", ""),
        ] {
            assert_eq!(ask(command), answer, "{what}: {command}");
        }
        // One that was given up before it had said anything is no question.
        let mut asked = agent.asked.lock().expect("unpoisoned").clone();
        asked.retain(|question| !question.is_empty());
        let (first, last) = (asked.first().cloned(), asked.last().cloned());
        assert_eq!(first.unwrap_or_default(), b"who\n", "{what}");
        assert_eq!(last.unwrap_or_default(), b"other", "{what}");
    });
}

/// A log line without its header and without what depends on the machine's speed.
fn plain(line: &str) -> String {
    let text = line.split_once("]: ").map_or(line, |(_, text)| text);
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("duration: ") {
        let (before, after) = rest.split_at(at + "duration: ".len());
        out.push_str(before);
        out.push('N');
        rest = after.trim_start_matches(|c: char| c.is_ascii_digit());
    }
    out + rest
}

#[test]
fn what_an_agent_changes_is_logged_word_for_word() {
    let told = Mutex::new(Vec::<Vec<String>>::new());
    each(|program| {
        let agent = Agent::saying(b"ready\n");
        let port = idle();
        let log = LogSink::new();
        let proxy = Proxy::start(
            program,
            &format!(
                "    log 127.0.0.1:{} local0\n{TIMES}    log global\n    timeout check 5s\nbackend b\n    option log-health-checks\n    server s 127.0.0.1:{port} agent-check agent-port {} agent-inter 30\n    server spare 127.0.0.1:{port} backup\n",
                log.port, agent.port
            ),
        );
        let mut lines = Vec::new();
        for (says, awaited) in [
            (&b"up\n"[..], "succeeded"),
            (b"down # why not\n", "is DOWN"),
            (b"up\n", "is UP"),
            (b"drain\n", "enters drain"),
            (b"ready\n", "leaving forced drain"),
            (b"maint\n", "for maintenance"),
            (b"ready\n", "leaving forced maintenance"),
        ] {
            agent.says(says);
            loop {
                let line = plain(&log.line("erver ").replace("\u{0}", ""));
                let done = line.contains(awaited);
                lines.push(line);
                if done {
                    break;
                }
            }
        }
        drop(proxy);
        told.lock().expect("unpoisoned").push(lines);
    });
    let told = told.into_inner().expect("unpoisoned");
    if let [oracle, ours] = &told[..] {
        assert_eq!(oracle, ours);
    }
}

#[test]
fn our_agent_speaks_the_protocol_to_both_programs() {
    each(|program| {
        let port = idle();
        let agent_port = lab::port();
        let folder = lab::Folder::new();
        let words = folder.file("words", b"drain\n");
        let mut agent = lab::Program::mulgil()
            .command()
            .args(["agent", "--listen", &format!("127.0.0.1:{agent_port}")])
            .args(["--interval", "20ms", "--floor", "40", "--words", &words])
            .spawn()
            .expect("the agent starts");
        let proxy = Proxy::start(
            program,
            &format!(
                "{TIMES}backend b\n    server s 127.0.0.1:{port} weight 100 agent-check agent-port {agent_port} agent-inter 30 agent-send \"hello\\n\"\n"
            ),
        );
        wait(
            &proxy,
            "status agent_status last_agt",
            &["DRAIN (agent)", "CHECKED", ""],
            program.name,
        );
        let weight: u32 = proxy.stat("b", "s", "weight").parse().expect("a number");
        folder.file("words", b"ready down # deploying\n");
        let reason = "via agent : down (deploying)";
        wait(
            &proxy,
            "status last_agt",
            &["DOWN (agent)", reason],
            program.name,
        );
        folder.file("words", b"up\n");
        wait(
            &proxy,
            "status agent_status",
            &["no check", "L7OK"],
            program.name,
        );
        let _ = agent.kill();
        let _ = agent.wait();
        assert!((40..=100).contains(&weight), "{}: {weight}", program.name);
    });
}
