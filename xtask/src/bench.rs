//! `cargo xtask bench`: mulgil, haproxy and nginx side by side, in CPU time per request.
//!
//! The proxy has one worker on core 0, which a busy loop of the lowest priority keeps awake; load
//! generator (wrk) and origin (nginx) share core 1. Peers take turns in every round; what counts is
//! the ratio of medians within one run. CPU time is summed over all threads of the proxy
//! (`/proc/PID/task/*/schedstat`), so that noise of the machine is nobody's.

use std::fmt::Write;
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const ROUNDS: usize = 3;
const SECONDS: u32 = 2;
const ORIGIN: u16 = 29090;
const FRONT: u16 = 29091;
const SINK: u16 = 29092;

struct Load {
    name: &'static str,
    connections: u32,
    path: &'static str,
    close: bool,
    rules: bool,
}

const LOADS: &[Load] = &[
    Load {
        name: "64 keep-alive connections, 1 KiB",
        connections: 64,
        path: "/1k",
        close: false,
        rules: false,
    },
    Load {
        name: "512 keep-alive connections, 1 KiB",
        connections: 512,
        path: "/1k",
        close: false,
        rules: false,
    },
    Load {
        name: "new connection per request, 1 KiB",
        connections: 64,
        path: "/1k",
        close: true,
        rules: false,
    },
    Load {
        name: "64 KiB bodies",
        connections: 64,
        path: "/64k",
        close: false,
        rules: false,
    },
    Load {
        name: "1 MiB bodies",
        connections: 16,
        path: "/1m",
        close: false,
        rules: false,
    },
    Load {
        name: "10 ACLs, 3 header edits, httplog to UDP",
        connections: 64,
        path: "/1k",
        close: false,
        rules: true,
    },
];

const PEERS: [&str; 3] = ["mulgil", "haproxy", "nginx"];

/// Ends a process when it goes out of scope.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.0.id().to_string()).status();
        let _ = self.0.wait();
    }
}

fn start(core: &str, program: &str, args: &[&str]) -> Result<Running, String> {
    let child = Command::new("taskset")
        .args(["-c", core, program])
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    child
        .map(Running)
        .map_err(|e| format!("cannot start {program}: {e}"))
}

fn wait_for(port: u16) -> Result<(), String> {
    for _ in 0..200 {
        if TcpStream::connect(("127.0.0.1", port)).is_ok() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Err(format!("nothing listens on port {port}"))
}

/// The process and its children, by pid.
fn family(pid: u32) -> Vec<u32> {
    let mut all = vec![pid];
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    for child in children.unwrap_or_default().split_whitespace() {
        if let Ok(child) = child.parse() {
            all.extend(family(child));
        }
    }
    all
}

fn cpu_ns(pid: u32) -> u64 {
    let tasks = family(pid)
        .into_iter()
        .flat_map(|p| std::fs::read_dir(format!("/proc/{p}/task")));
    let tasks = tasks.flat_map(|d| d.flatten());
    let read = tasks.filter_map(|t| std::fs::read_to_string(t.path().join("schedstat")).ok());
    read.filter_map(|s| s.split(' ').next()?.parse::<u64>().ok())
        .sum()
}

fn rss_kib(pid: u32) -> u64 {
    let status = |p: u32| std::fs::read_to_string(format!("/proc/{p}/status")).unwrap_or_default();
    let of = |p: u32| -> Option<u64> {
        status(p)
            .lines()
            .find(|l| l.starts_with("VmRSS"))?
            .split_whitespace()
            .nth(1)?
            .parse()
            .ok()
    };
    family(pid).into_iter().filter_map(of).sum()
}

fn haproxy_config(rules: bool) -> String {
    let mut out = format!(
        "global\n    nbthread 1\n    maxconn 4000\ndefaults\n    mode http\n    timeout client 60s\n    timeout server 60s\n    \
         timeout connect 2s\n    option forwardfor\n    option splice-auto\nfrontend f\n    bind 127.0.0.1:{FRONT}\n"
    );
    if rules {
        let _ = write!(out, "    option httplog\n    log 127.0.0.1:{SINK} local0\n");
        for i in 0..10 {
            let _ = writeln!(
                out,
                "    use_backend b if {{ path_beg /no{i} }} {{ hdr(host) -i no{i}.example }}"
            );
        }
        out.push_str(
            "    http-request set-header X-One 1\n    http-request del-header X-Two\n    http-response set-header X-Three 3\n",
        );
    }
    let _ = write!(
        out,
        "    default_backend b\nbackend b\n    option httpchk\n    http-check expect status 200-499\n    server s1 127.0.0.1:{ORIGIN} check\n"
    );
    out
}

fn nginx_config(dir: &str, port: u16, location: &str) -> String {
    format!(
        "worker_processes 1; pid {dir}/{port}.pid; error_log {dir}/{port}.err; daemon off; user root;\n\
         events {{ worker_connections 20000; }}\n\
         http {{ access_log off; keepalive_requests 100000000; proxy_temp_path {dir}/p{port}; client_body_temp_path {dir}/c{port};\n\
         fastcgi_temp_path {dir}/f{port}; uwsgi_temp_path {dir}/u{port}; scgi_temp_path {dir}/s{port};\n\
         upstream o {{ server 127.0.0.1:{ORIGIN}; keepalive 600; }}\n\
         server {{ listen 127.0.0.1:{port} backlog=4096; location / {{ {location} }} }} }}\n"
    )
}

struct Measured {
    us: f64,
    per_second: f64,
    rss: u64,
}

fn measure(pid: u32, load: &Load) -> Result<Measured, String> {
    let before = cpu_ns(pid);
    let mut args = vec![
        "-c".to_string(),
        "1".into(),
        "wrk".into(),
        "-t1".into(),
        format!("-c{}", load.connections),
        format!("-d{SECONDS}"),
    ];
    if load.close {
        args.extend(["-H".into(), "Connection: close".into()]);
    }
    args.push(format!("http://127.0.0.1:{FRONT}{}", load.path));
    let out = Command::new("taskset")
        .args(&args)
        .output()
        .map_err(|e| format!("wrk: {e}"))?;
    let after = cpu_ns(pid);
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    if text.contains("Non-2xx") {
        return Err(format!("'{}' got errors:\n{text}", load.name));
    }
    let requests = text
        .lines()
        .find(|l| l.contains("requests in"))
        .and_then(|l| l.split_whitespace().next()?.parse::<f64>().ok())
        .filter(|n| *n > 0.0)
        .ok_or_else(|| {
            format!(
                "wrk said nothing:\n{text}{}",
                String::from_utf8_lossy(&out.stderr)
            )
        })?;
    Ok(Measured {
        us: (after - before) as f64 / 1000.0 / requests,
        per_second: requests / f64::from(SECONDS),
        rss: rss_kib(pid),
    })
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Runs it all and prints a table; with `write` it goes into docs/performance.md.
pub fn run(write: bool) -> Result<(), Vec<String>> {
    table().map_err(|e| vec![e]).and_then(|text| {
        println!("{text}");
        if !write {
            return Ok(());
        }
        let page = format!(
            "# How fast\n\nPrinted by `cargo xtask bench --write` (build with `cargo build --release` first; wants Debian's \
             haproxy, nginx and wrk, and two cores). CPU time per request of all threads of the proxy, one worker, \
             medians of {ROUNDS} interleaved rounds; only the ratios mean anything beyond the machine they were taken on.\n\n{text}"
        );
        std::fs::write("docs/performance.md", page).map_err(|e| vec![format!("docs/performance.md: {e}")])
    })
}

fn table() -> Result<String, String> {
    let dir = std::env::temp_dir().join(format!("mulgil-bench-{}", std::process::id()));
    std::fs::create_dir_all(dir.join("www")).map_err(|e| e.to_string())?;
    let at = dir.to_string_lossy().into_owned();
    let file = |name: &str, text: &[u8]| {
        let path = format!("{at}/{name}");
        std::fs::write(&path, text)
            .map(|()| path)
            .map_err(|e| e.to_string())
    };
    for (name, size) in [("www/1k", 1024), ("www/64k", 65536), ("www/1m", 1 << 20)] {
        file(name, &vec![b'a'; size])?;
    }
    let origin = file(
        "origin.conf",
        nginx_config(&at, ORIGIN, &format!("root {at}/www;")).as_bytes(),
    )?;
    let proxied = "proxy_pass http://o; proxy_http_version 1.1; proxy_set_header Connection \"\"; proxy_set_header X-Forwarded-For $remote_addr;";
    let nginx = file("front.conf", nginx_config(&at, FRONT, proxied).as_bytes())?;
    let plain = file("plain.cfg", haproxy_config(false).as_bytes())?;
    let ruled = file("ruled.cfg", haproxy_config(true).as_bytes())?;
    let _sink = std::net::UdpSocket::bind(("127.0.0.1", SINK)).map_err(|e| e.to_string())?;
    let _origin = start("1", "nginx", &["-c", &origin])?;
    wait_for(ORIGIN)?;
    let _busy = start(
        "0",
        "nice",
        &["-n", "19", "sh", "-c", "while :; do :; done"],
    )?;
    let mulgil = std::env::current_exe().map_err(|e| e.to_string())?;
    let mulgil = mulgil
        .parent()
        .and_then(|p| p.parent())
        .map(|p| p.join("release/mulgil"));
    let mulgil = mulgil
        .filter(|p| p.exists())
        .ok_or("target/release/mulgil is not there: cargo build --release")?;
    let mulgil = mulgil.to_string_lossy().into_owned();
    let mut out = String::from(
        "| load | mulgil µs | haproxy µs | nginx µs | mulgil / haproxy | mulgil req/s | haproxy req/s | mulgil RSS KiB | haproxy RSS KiB |\n|---|---|---|---|---|---|---|---|---|\n",
    );
    for load in LOADS {
        let mut us: [Vec<f64>; 3] = Default::default();
        let mut last: [Option<Measured>; 3] = Default::default();
        for _ in 0..ROUNDS {
            for (i, peer) in PEERS.iter().enumerate() {
                if load.rules && *peer == "nginx" {
                    continue;
                }
                let config = if load.rules { &ruled } else { &plain };
                let proxy = match *peer {
                    "mulgil" => start("0", &mulgil, &["-f", config, "-db"])?,
                    "haproxy" => start("0", "haproxy", &["-f", config, "-db"])?,
                    _ => start("0", "nginx", &["-c", &nginx])?,
                };
                wait_for(FRONT)?;
                std::thread::sleep(Duration::from_millis(300));
                let measured = measure(proxy.0.id(), load)?;
                us[i].push(measured.us);
                last[i] = Some(measured);
                drop(proxy);
                std::thread::sleep(Duration::from_millis(100));
            }
        }
        let [a, b, c] = us.map(median);
        let per = |i: usize| last[i].as_ref().map_or(f64::NAN, |m| m.per_second);
        let rss = |i: usize| last[i].as_ref().map_or(0, |m| m.rss);
        let nginx = if c.is_nan() {
            "–".to_string()
        } else {
            format!("{c:.1}")
        };
        let _ = writeln!(
            out,
            "| {} | {a:.1} | {b:.1} | {nginx} | {:.2} | {:.0} | {:.0} | {} | {} |",
            load.name,
            a / b,
            per(0),
            per(1),
            rss(0),
            rss(1)
        );
    }
    let _ = std::fs::remove_dir_all(&dir);
    Ok(out)
}
