//! Checks of real servers, mulgil and the oracle side by side: while the server works, while it is
//! stopped, turns checks away, is dead, and works again, both find the same.

use lab::real::{Running, command, mariadb, nginx, postfix, postgres, redis, run, slapd};
use lab::{PATIENCE, Program, Proxy, each, get, port};
use std::time::{Duration, Instant};

/// Both programs with one configuration, a backend `b` with one server `s`.
struct Beside(Vec<(&'static str, Proxy)>);

/// What the last check has found: status, check_status, check_code and last_chk. Before the status of
/// one there is a star while the next one is under way.
fn found(proxy: &Proxy) -> Vec<String> {
    let names = ["status", "check_status", "check_code", "last_chk"];
    let values = proxy.stats("b", "s", &names);
    let plain = |value: &String| value.trim_matches(['"', '*', ' ']).to_string();
    values.iter().map(plain).collect()
}

impl Beside {
    fn start(server: &Running, lines: &str, words: &str) -> Beside {
        let config = format!(
            "defaults\n    timeout client 3s\n    timeout server 3s\n    timeout connect 1s\n\
             backend b\n{lines}    server s {} check inter 200 rise 1 fall 1 {words}\n",
            server.addr
        );
        let programs = Program::haproxy().into_iter().chain([Program::mulgil()]);
        Beside(
            programs
                .map(|p| (p.name, Proxy::start(&p, &config)))
                .collect(),
        )
    }

    /// Waits until all find the server in this state for this reason, and say the same of it.
    fn find(&self, status: &str, check: &str, when: &str) {
        self.wait(when, |all| {
            let same = all.windows(2).all(|pair| pair[0].1 == pair[1].1);
            same && all.iter().all(|(_, f)| f[0] == status && f[1] == check)
        });
    }

    /// Waits until all find it down, each for a reason of its own.
    fn down(&self, reason: impl Fn(&str) -> &'static str, when: &str) {
        self.wait(when, |all| {
            all.iter()
                .all(|(name, f)| f[0] == "DOWN" && f[1] == reason(name))
        });
    }

    fn wait(&self, when: &str, good: impl Fn(&[(&str, Vec<String>)]) -> bool) {
        let end = Instant::now() + PATIENCE * 4;
        loop {
            let all: Vec<_> = self.0.iter().map(|(n, p)| (*n, found(p))).collect();
            if good(&all) {
                return;
            }
            assert!(Instant::now() < end, "{when}: {all:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The server works, is stopped, goes on, dies, and is started again.
    fn through_all(&self, server: &mut Running, [good, silent, dead]: [&str; 3]) {
        self.find("UP", good, "at first");
        server.stop();
        self.find("DOWN", silent, "stopped");
        server.go_on();
        self.find("UP", good, "gone on");
        server.kill();
        self.find("DOWN", dead, "dead");
        server.again();
        self.find("UP", good, "started again");
    }
}

/// A working check is an answer, a stopped server's a silence, a dead one's no connection.
const TALKING: [&str; 3] = ["L7OK", "L7TOUT", "L4CON"];

fn ask(name: &str, args: &[&str]) {
    let (code, said) = run(name, args);
    assert_eq!(code, 0, "{name}: {said}");
}

#[test]
fn redis_is_asked_for_a_pong() {
    let Some(mut server) = redis() else { return };
    let both = Beside::start(&server, "    option redis-check\n", "");
    both.through_all(&mut server, TALKING);
    let port = server.addr.port().to_string();
    ask(
        "redis-cli",
        &["-p", &port, "config", "set", "requirepass", "secret"],
    );
    // The oracle waits for more than the error, until its time is over.
    let reason = |name: &str| match name {
        "haproxy" => "L7TOUT",
        _ => "L7STS",
    };
    both.down(reason, "wants a password");
    ask(
        "redis-cli",
        &[
            "-p",
            &port,
            "-a",
            "secret",
            "--no-auth-warning",
            "config",
            "set",
            "requirepass",
            "",
        ],
    );
    both.find("UP", "L7OK", "wants none any more");
}

#[test]
fn redis_answers_a_script_with_a_password() {
    let Some(mut server) = redis() else { return };
    let script = "    option tcp-check\n    tcp-check connect\n    tcp-check send AUTH\\ secret\\r\\n\n    \
         tcp-check expect rstring ^(\\+OK|-ERR)\n    tcp-check send PING\\r\\n\n    tcp-check expect string +PONG\n    \
         tcp-check send info\\ replication\\r\\n\n    tcp-check expect string role:master\n    \
         tcp-check send QUIT\\r\\n\n    tcp-check expect string +OK\n";
    let both = Beside::start(&server, script, "");
    both.through_all(&mut server, TALKING);
    let port = server.addr.port().to_string();
    ask("redis-cli", &["-p", &port, "replicaof", "127.0.0.1", "1"]);
    both.find("DOWN", "L7TOUT", "no master any more");
    ask("redis-cli", &["-p", &port, "replicaof", "no", "one"]);
    both.find("UP", "L7OK", "master again");
}

#[test]
fn mariadb_is_logged_into() {
    let Some(mut server) = mariadb() else { return };
    let socket = server.folder.path("socket");
    let sql = |sql: &str| {
        ask(
            "mariadb",
            &["--no-defaults", "-S", &socket, "-u", "root", "-e", sql],
        );
    };
    sql("create user probe@'127.0.0.1'");
    let both = Beside::start(&server, "    option mysql-check user probe\n", "");
    let greeted = Beside::start(&server, "    option mysql-check\n", "");
    both.through_all(&mut server, TALKING);
    greeted.find("UP", "L7OK", "greets");
    sql("drop user probe@'127.0.0.1'");
    both.find("DOWN", "L7STS", "does not know the user");
    sql("create user probe@'127.0.0.1'");
    both.find("UP", "L7OK", "knows the user");
}

#[test]
fn postgresql_is_logged_into() {
    let Some(mut server) = postgres() else { return };
    let both = Beside::start(&server, "    option pgsql-check user postgres\n", "");
    both.through_all(&mut server, TALKING);
    let rules = server.folder.path("data/pg_hba.conf");
    let trusting = std::fs::read(&rules).expect("a file");
    std::fs::write(&rules, "host all all 127.0.0.1/32 reject\n").expect("written");
    server.hang_up();
    both.find("DOWN", "L7RSP", "rejects");
    std::fs::write(&rules, trusting).expect("written");
    server.hang_up();
    both.find("UP", "L7OK", "trusts");
}

#[test]
fn openldap_is_bound_to() {
    let Some(mut server) = slapd("") else { return };
    let both = Beside::start(&server, "    option ldap-check\n", "");
    both.through_all(&mut server, TALKING);
    server.kill();
    server.folder.file("more.conf", b"disallow bind_anon\n");
    server.again();
    both.find("DOWN", "L7STS", "wants a name");
}

#[test]
fn postfix_is_greeted() {
    let Some(mut server) = postfix() else { return };
    let both = Beside::start(&server, "    option smtpchk EHLO check.example\n", "");
    both.through_all(&mut server, TALKING);
    server.kill();
    let path = server.folder.path("conf/main.cf");
    let text = std::fs::read_to_string(&path).expect("a file");
    server.folder.file(
        "conf/main.cf",
        format!("{text}smtpd_client_restrictions = reject\n").as_bytes(),
    );
    server.again();
    both.find("DOWN", "L7STS", "wants no such client");
}

const PAGES: &str = "location = /up { return 200 \"all is well\\n\"; }\nlocation = /down { return 503; }\n\
    location = / { return 200; }\nlocation = /odd { return 200 \"on fire\\n\"; }\n";

#[test]
fn nginx_is_asked_for_a_page() {
    let Some(mut server) = nginx("", PAGES) else {
        return;
    };
    let both = Beside::start(&server, "    option httpchk GET /\n", "");
    let content = "    option httpchk\n    http-check connect\n    \
         http-check send meth GET uri /up ver HTTP/1.1 hdr Host a.example\n    \
         http-check expect status 200-299\n    http-check connect\n    \
         http-check send meth GET uri /up ver HTTP/1.1 hdr Host a.example\n    http-check expect string well\n";
    let content = Beside::start(&server, content, "");
    let odd = "    option httpchk GET /odd\n    http-check expect ! string fire\n";
    let odd = Beside::start(&server, odd, "");
    let failing = Beside::start(&server, "    option httpchk GET /down\n", "");
    both.through_all(&mut server, TALKING);
    content.find("UP", "L7OK", "the page says so");
    odd.find("DOWN", "L7RSP", "the page says so");
    failing.find("DOWN", "L7STS", "the page is not there");
    let pages = PAGES.replace("well", "lost");
    server.folder.file("server.conf", pages.as_bytes());
    server.hang_up();
    content.find("DOWN", "L7RSP", "the page says something else");
}

#[test]
fn a_page_that_asks_a_server_behind_its_own_tells_of_both() {
    let Some(mut behind) = nginx("", PAGES) else {
        return;
    };
    let page = format!(
        "location = /deep {{ proxy_pass http://{}/up; }}\n",
        behind.addr
    );
    let Some(server) = nginx("", &page) else {
        return;
    };
    let lines = "    option httpchk GET /deep\n    http-check expect string well\n";
    let both = Beside::start(&server, lines, "");
    both.find("UP", "L7OK", "both work");
    behind.kill();
    both.find("DOWN", "L7RSP", "the one behind is dead");
    behind.again();
    both.find("UP", "L7OK", "both work again");
}

#[test]
fn a_server_that_dies_costs_no_request_and_gets_none_once_it_is_down() {
    let named = |name: &str| nginx("", &format!("location / {{ return 200 {name}; }}\n"));
    let (Some(one), Some(two)) = (named("one"), named("two")) else {
        return;
    };
    let one = std::cell::RefCell::new(one);
    each(|program| {
        let mut one = one.borrow_mut();
        let door = port();
        let config = format!(
            "defaults\n    mode http\n    timeout client 5s\n    timeout server 5s\n    timeout connect 5s\n    \
             http-reuse never\n    option redispatch 1\n    retry-on all-retryable-errors\n\
             listen l\n    bind 127.0.0.1:{door}\n    default-server check inter 200 fall 2 rise 1\n    \
             server one {}\n    server two {}\n",
            one.addr, two.addr
        );
        let proxy = Proxy::start(program, &config);
        let ask = |times: usize| -> Vec<String> {
            let bodies = (0..times).map(|_| get(door, "/"));
            let good = bodies.inspect(|r| assert_eq!(r.status, 200, "{}", program.name));
            good.map(|r| r.body).collect()
        };
        assert!(ask(10).contains(&"one".to_string()), "{}", program.name);
        one.kill();
        ask(20);
        proxy.wait_for("l", "one", "status", "DOWN");
        let before = proxy.stat("l", "one", "stot");
        assert_eq!(ask(20), vec!["two"; 20], "{}", program.name);
        assert_eq!(proxy.stat("l", "one", "stot"), before, "{}", program.name);
        one.again();
        proxy.wait_for("l", "one", "status", "UP");
        assert!(ask(10).contains(&"one".to_string()), "{}", program.name);
    });
}

#[test]
fn nginx_shakes_hands() {
    let folder = lab::Folder::new();
    let (key, cert) = (folder.path("key.pem"), folder.path("cert.pem"));
    let made = command("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "30",
            "-subj",
            "/CN=a.example",
            "-addext",
            "subjectAltName=DNS:a.example",
            "-keyout",
            &key,
            "-out",
            &cert,
        ])
        .output()
        .expect("it runs");
    assert!(made.status.success());
    let pages = format!("ssl_certificate {cert};\nssl_certificate_key {key};\n{PAGES}");
    let Some(mut server) = nginx("ssl", &pages) else {
        return;
    };
    let hello = Beside::start(&server, "    option ssl-hello-chk\n", "");
    let page = Beside::start(
        &server,
        "    option httpchk GET /up\n    http-check expect string well\n",
        &format!("check-ssl check-sni a.example verifyhost a.example ca-file {cert}"),
    );
    let shaken = Beside::start(&server, "", "check-ssl verify none");
    let stranger = Beside::start(
        &server,
        "",
        &format!("check-ssl verifyhost b.example ca-file {cert}"),
    );
    hello.through_all(&mut server, ["L6OK", "L6TOUT", "L4CON"]);
    page.find("UP", "L7OK", "the page says so");
    shaken.find("UP", "L6OK", "shakes hands");
    // The oracle has a text for each thing that may be wrong with a certificate.
    stranger.down(|_| "L6RSP", "is another");
}
