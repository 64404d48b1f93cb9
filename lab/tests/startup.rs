//! How the program is started: the demo, several files and folders of files, names that are relative,
//! and a file of a hundred thousand servers.

use lab::{Folder, PATIENCE, Program, Proxy, each, get, port};
use std::collections::BTreeSet;
use std::fmt::Write;
use std::net::TcpListener;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Stdio};
use std::time::Instant;

/// Ends its process when the test is over, however it is over.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A port below those that the kernel gives away, free, as is the one of the statistics page.
fn demo_port() -> u16 {
    let first = 20_000 + (std::process::id() % 5_000) as u16;
    (first..first + 5_000)
        .find(|port| {
            let free = |port| TcpListener::bind(("127.0.0.1", port)).is_ok();
            free(*port) && free(*port + 324)
        })
        .expect("a free pair of ports")
}

#[test]
fn the_demo_shows_three_servers_that_share_the_load_and_ends_when_asked() {
    let program = Program::mulgil();
    let port = demo_port();
    let folder = Folder::new();
    let output = std::fs::File::create(folder.path("output")).expect("a file");
    let child = program
        .command()
        .args(["demo", "--bind", &format!("127.0.0.1:{port}"), "--load"])
        .stdin(Stdio::null())
        .stdout(output.try_clone().expect("a descriptor"))
        .stderr(output)
        .spawn()
        .expect("the demo starts");
    let mut demo = Ended(child);
    let said = || std::fs::read_to_string(folder.path("output")).unwrap_or_default();
    let end = Instant::now() + PATIENCE;
    while std::net::TcpStream::connect(("127.0.0.1", port + 324)).is_err() {
        assert!(Instant::now() < end, "nobody listens: {}", said());
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    let mut seen = BTreeSet::new();
    let mut asked = 0;
    while seen.len() < 3 {
        asked += 1;
        assert!(asked < 100, "only {seen:?} answered: {}", said());
        let answer = get(port, "/");
        assert_eq!(answer.status, 200, "{}", answer.head);
        let server = answer.header("x-server").expect("its server's name");
        assert!(answer.body.contains(&server), "{}", answer.body);
        seen.insert(server);
    }
    let names: Vec<&str> = seen.iter().map(String::as_str).collect();
    assert_eq!(names, ["fast", "medium", "slow"]);
    let page = get(port + 324, "/");
    assert_eq!(page.status, 200, "{}", page.head);
    for name in ["web", "servers", "fast", "medium", "slow"] {
        assert!(page.body.contains(name), "no {name} on the page");
    }
    // The load that it was asked for: requests that are not ours.
    let end = Instant::now() + PATIENCE;
    let requests = || {
        let csv = get(port + 324, "/;csv").body;
        let row = csv.lines().find(|l| l.starts_with("web,FRONTEND,"));
        let fields: Vec<&str> = csv.lines().next().unwrap_or("").split(',').collect();
        let at = fields.iter().position(|f| *f == "req_tot");
        let field = row.zip(at).and_then(|(row, at)| row.split(',').nth(at));
        field.and_then(|n| n.parse::<u32>().ok()).unwrap_or(0)
    };
    while requests() <= asked {
        assert!(Instant::now() < end, "there is no load: {}", said());
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let pid = demo.0.id().to_string();
    let mut kill = std::process::Command::new("kill");
    let killed = kill.args(["-INT", &pid]).status().expect("kill runs");
    assert!(killed.success());
    let end = Instant::now() + PATIENCE;
    let status = loop {
        if let Some(status) = demo.0.try_wait().expect("a child") {
            break status;
        }
        assert!(Instant::now() < end, "it does not end: {}", said());
        std::thread::sleep(std::time::Duration::from_millis(10));
    };
    assert_eq!(
        (status.code(), status.signal()),
        (Some(0), None),
        "{}",
        said()
    );
    assert!(
        said().contains(&format!("http://127.0.0.1:{port}/")),
        "{}",
        said()
    );
    for wrong in [&["--bind", "nowhere"][..], &["--port"], &["--bind"]] {
        let (status, text) = program.run(&[&["demo"], wrong].concat());
        assert_eq!(status, 1, "{wrong:?}");
        assert!(text.starts_with("error: "), "{text}");
    }
}

const TIMES: &str = "defaults\n    mode http\n    timeout client 2s\n    timeout server 2s\n    timeout connect 1s\n";

fn proxies(proxy: &Proxy) -> Vec<String> {
    let stat = proxy.control("show stat");
    let rows = stat.lines().filter_map(|l| l.split_once(",FRONTEND,"));
    rows.map(|(name, _)| name.to_string()).collect()
}

#[test]
fn files_are_read_in_the_order_they_are_given_and_a_folders_by_name() {
    let folder = Folder::new();
    std::fs::create_dir(folder.path("d")).expect("a folder");
    std::fs::create_dir(folder.path("d/z.cfg.d")).expect("a folder");
    let listen = |name: &str| format!("listen {name}\n    bind 127.0.0.1:{}\n", port());
    let last = folder.file("last.cfg", listen("last").as_bytes());
    // In another order than that of their names.
    for (file, name) in [
        ("d/20.cfg", "twenty"),
        ("d/3.cfg", "three"),
        ("d/100.cfg", "hundred"),
        ("d/b.cfg", "lower"),
        ("d/A.cfg", "upper"),
    ] {
        folder.file(file, listen(name).as_bytes());
    }
    // None of these is read.
    for file in [
        "d/c.conf",
        "d/.hidden.cfg",
        "d/cfg",
        "d/d.cfg~",
        "d/z.cfg.d/e.cfg",
    ] {
        folder.file(file, b"no configuration at all\n");
    }
    each(|program| {
        let first = format!("{TIMES}{}", listen("first"));
        let more = ["-f", &folder.path("d"), "-f", &last];
        let proxy = Proxy::start_with(program, &first, &more);
        let wanted = [
            "first", "hundred", "twenty", "three", "upper", "lower", "last",
        ];
        assert_eq!(proxies(&proxy), wanted, "{}", program.name);
    });
    each(|program| {
        // What follows '--' is files, too.
        let proxy = Proxy::start_with(program, TIMES, &["--", &folder.path("d"), &last]);
        let wanted = ["hundred", "twenty", "three", "upper", "lower", "last"];
        assert_eq!(proxies(&proxy), wanted, "{}", program.name);
    });
}

#[test]
fn relative_names_are_those_of_the_folder_that_is_named() {
    let folder = Folder::new();
    std::fs::create_dir(folder.path("sub")).expect("a folder");
    folder.file("sub/list", b"/secret\n");
    folder.file(
        "sub/503.http",
        b"HTTP/1.0 503 No\r\nX-Page: ours\r\nContent-Length: 0\r\n\r\n",
    );
    let text = |port| {
        format!(
            "{TIMES}    errorfile 503 503.http\nlisten l\n    bind 127.0.0.1:{port}\n    http-request return status 200 if {{ path -f list }}\n"
        )
    };
    folder.file("sub/rel.cfg", text(port()).as_bytes());
    let (here, sub) = (folder.path("."), folder.path("sub"));
    each(|program| {
        let check = |args: &[&str]| program.run(&[&["-c"], args].concat());
        for (args, good) in [
            (&["-C", &sub, "-f", "rel.cfg"][..], true),
            (&["-f", "rel.cfg", "-C", &sub], true),
            (&["-C", &sub, "--", "rel.cfg"], true),
            (&["-C", &sub, "-f", "."], true),
            (&["-C", &here, "-f", "sub/rel.cfg"], false),
            (&["-C", &folder.path("absent"), "-f", "rel.cfg"], false),
            (&["-C", &folder.path("sub/list"), "-f", "rel.cfg"], false),
            (&["-f", "rel.cfg"], false),
        ] {
            let (status, said) = check(args);
            assert_eq!(
                status,
                i32::from(!good),
                "{}: {args:?}: {said}",
                program.name
            );
        }
    });
    each(|program| {
        let port = port();
        folder.file("sub/run.cfg", text(port).as_bytes());
        let more = ["-C", &sub, "-f", "run.cfg"];
        let _proxy = Proxy::start_with(program, "", &more);
        assert_eq!(get(port, "/secret").status, 200, "{}", program.name);
        let none = get(port, "/");
        let page = (none.status, none.header("x-page"));
        assert_eq!(page, (503, Some("ours".into())), "{}", program.name);
    });
}

#[test]
fn a_file_of_a_hundred_thousand_servers_is_checked_to_its_last_line() {
    let mut text = String::from(
        "global\n    maxconn 1000\ndefaults\n    mode http\n    timeout client 5s\n    timeout server 5s\n    timeout connect 5s\nfrontend f\n    bind 127.0.0.1:8080\n    default_backend b0\n",
    );
    for backend in 0..10_000 {
        let _ = writeln!(text, "backend b{backend}\n    balance roundrobin");
        for server in 0..10 {
            let (a, b) = (backend / 250, backend % 250);
            let _ = writeln!(
                text,
                "    server s{server} 10.{a}.{b}.{server}:80 check weight {}",
                server + 1
            );
        }
    }
    text.push_str("    maxconn 5\n");
    let folder = Folder::new();
    let file = folder.file("large.cfg", text.as_bytes());
    let program = Program::mulgil();
    // Its memory is bounded by the kernel, at what a program built for debugging needs with room to spare.
    let line = format!("ulimit -v 1500000 && exec {} -c -f {file}", program.path());
    let bash = std::process::Command::new("bash")
        .args(["-c", &line])
        .output();
    let out = bash.expect("bash runs");
    let said = String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned();
    assert_eq!(out.status.code(), Some(0), "{said}");
    // The last of 120,000 lines is read as the first: it is about clients, which a backend has not.
    let place = format!("large.cfg:{}:", text.lines().count());
    assert!(said.contains(&place), "{place} {said}");
    assert_eq!(said.matches(": warning: ").count(), 1, "{said}");
}
