//! Who is measured, and the files they are given: the same for mulgil and haproxy.

use super::arena::{FRONT, Folder, ORIGIN, Programs, SINK};
use super::loads::{ALIVE, Key, LINES, Load, Section};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// Ours.
    Mulgil,
    /// The one whose language is ours.
    Haproxy,
    /// Known to be fast.
    Nginx,
    /// The least that any proxy can cost (`bench floor`).
    Floor,
}

impl Peer {
    /// All there are.
    pub const ALL: [Peer; 4] = [Peer::Mulgil, Peer::Haproxy, Peer::Nginx, Peer::Floor];

    /// As tables name it.
    pub fn name(self) -> &'static str {
        match self {
            Peer::Mulgil => "mulgil",
            Peer::Haproxy => "haproxy",
            Peer::Nginx => "nginx",
            Peer::Floor => "floor",
        }
    }

    /// Its program.
    pub fn program(self, programs: &Programs) -> PathBuf {
        match self {
            Peer::Mulgil => programs.mulgil.clone(),
            Peer::Floor => programs.bench.clone(),
            Peer::Haproxy | Peer::Nginx => PathBuf::from(self.name()),
        }
    }

    /// Whether it can take part in a load.
    pub fn can(self, load: &Load, programs: &Programs) -> bool {
        match self {
            Peer::Haproxy => !load.is_datagrams(),
            Peer::Mulgil => load.tls.is_none() || speaks_tls(&programs.mulgil),
            Peer::Nginx if load.is_datagrams() => Path::new(NGINX_STREAM).exists(),
            Peer::Nginx => load.section == Section::Http && !load.rules,
            Peer::Floor => floor_kind(load).is_some(),
        }
    }

    /// The arguments that start it for a load; its files are put into the folder.
    pub fn arguments(
        self,
        load: &Load,
        threads: u32,
        folder: &Folder,
    ) -> Result<Vec<String>, String> {
        if self == Peer::Floor {
            return Ok(floor_arguments(load));
        }
        if self == Peer::Nginx {
            let text = match load.is_datagrams() {
                true => nginx_stream_config(load, folder),
                false => nginx_config(folder),
            };
            let file = folder.file("nginx.conf", &text)?;
            return Ok(vec!["-c".into(), file]);
        }
        let crt = match load.tls {
            Some(key) => Some(certificate(folder, key)?),
            None => None,
        };
        let list = match &load.list {
            Some(list) => {
                let lines = (0..LINES).map(|n| (list.line)(n) + "\n");
                Some(folder.file(&format!("{}.lst", load.key), &lines.collect::<String>())?)
            }
            None => None,
        };
        let text = config(load, threads, crt.as_deref(), list.as_deref());
        let file = folder.file("proxy.cfg", &text)?;
        Ok(vec!["-f".into(), file, "-db".into()])
    }
}

/// What `bench floor` is called for a load, where there is such a relay.
fn floor_kind(load: &Load) -> Option<&'static str> {
    match (load.is_datagrams(), load.tcp && load.idle == 0) {
        (true, _) => Some("udp"),
        // One that copies says nothing of large transfers.
        (false, true) if !load.is_transfer() => Some("tcp"),
        _ => None,
    }
}

fn floor_arguments(load: &Load) -> Vec<String> {
    let (listen, to) = (format!("127.0.0.1:{FRONT}"), format!("127.0.0.1:{ORIGIN}"));
    let kind = floor_kind(load).unwrap_or_default();
    let mut words = vec!["floor", kind, "--listen", &listen, "--to", &to];
    if load.close && kind == "udp" {
        words.push("--close");
    }
    words.into_iter().map(String::from).collect()
}

/// Asked as a user would ask: `-cc` ends with 0 where the condition holds.
fn speaks_tls(mulgil: &Path) -> bool {
    let mut command = Command::new(mulgil);
    command.args(["-cc", "feature(OPENSSL)"]);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|s| s.success())
}

/// The file that mulgil and haproxy both read.
pub fn config(load: &Load, threads: u32, crt: Option<&str>, file: Option<&str>) -> String {
    let maxconn = match load.affordable_idle() {
        0 => 4_000,
        idle => idle + 100,
    };
    let mode = match (load.tcp, load.is_datagrams()) {
        (_, true) => "udp",
        (true, false) => "tcp",
        (false, false) => "http",
    };
    let ssl = crt.map_or(String::new(), |crt| format!(" ssl crt {crt}"));
    let mut out = format!(
        "global\n    nbthread {threads}\n    maxconn {maxconn}\n\
         defaults\n    mode {mode}\n    timeout client 60s\n    timeout server 60s\n    \
         timeout connect 2s\n"
    );
    out.push_str(splicing(load));
    if mode == "http" {
        out.push_str("    option forwardfor\n");
    }
    let _ = write!(
        out,
        "frontend f\n    maxconn {maxconn}\n    bind 127.0.0.1:{FRONT}{ssl}\n"
    );
    if load.path == ALIVE {
        let _ = writeln!(out, "    monitor-uri {ALIVE}");
    }
    if load.rules {
        let _ = write!(out, "    option httplog\n    log 127.0.0.1:{SINK} local0\n");
        for i in 0..10 {
            let _ = writeln!(
                out,
                "    use_backend b if {{ path_beg /no{i} }} {{ hdr(host) -i no{i}.example }}"
            );
        }
        out.push_str(
            "    http-request set-header X-One 1\n    http-request del-header X-Two\n    \
             http-response set-header X-Three 3\n",
        );
    }
    if let (Some(list), Some(file)) = (&load.list, file) {
        let _ = writeln!(out, "    {}", list.rule.replace("LIST", file));
    }
    out.push_str("    default_backend b\nbackend b\n");
    if load.servers > 0 {
        out.push_str("    balance leastconn\n    http-after-response set-status 200\n");
        for n in 1..=load.servers {
            let (a, b, c) = (n >> 16, (n >> 8) & 255, n & 255);
            let _ = writeln!(out, "    server s{n} 10.{a}.{b}.{c}:80 redir http://x");
        }
        return out;
    }
    let check = if mode == "http" {
        out.push_str("    option httpchk\n    http-check expect status 200\n");
        " check"
    } else {
        ""
    };
    let _ = writeln!(out, "    server s1 127.0.0.1:{ORIGIN}{check}");
    out
}

/// Where bodies are large, haproxy is at its best with `splice-response`: on 64 KiB it spends a
/// quarter less than with `splice-auto`, which seldom decides for it. Where connections are many,
/// the pipes would want descriptors that these need.
fn splicing(load: &Load) -> &'static str {
    if load.is_datagrams() {
        return match load.close {
            true => "    udp-responses 1\n",
            false => "",
        };
    }
    let large = matches!(load.path, "/64k" | "/1m") || load.is_transfer();
    match (large && load.tls.is_none(), load.idle > 0) {
        (_, true) => "",
        (true, _) => "    option splice-response\n",
        (false, _) => "    option splice-auto\n",
    }
}

fn nginx_config(folder: &Folder) -> String {
    let dir = folder.0.display();
    format!(
        "worker_processes 1; pid {dir}/nginx.pid; error_log {dir}/nginx.err; daemon off; user root;\n\
         worker_rlimit_nofile 30000; events {{ worker_connections 20000; }}\n\
         http {{ access_log off; keepalive_requests 100000000; proxy_temp_path {dir}/proxy;\n\
         client_body_temp_path {dir}/body; fastcgi_temp_path {dir}/fastcgi;\n\
         uwsgi_temp_path {dir}/uwsgi; scgi_temp_path {dir}/scgi;\n\
         upstream o {{ server 127.0.0.1:{ORIGIN}; keepalive 600; keepalive_requests 100000000; }}\n\
         server {{ listen 127.0.0.1:{FRONT} backlog=4096;\n\
         location / {{ proxy_pass http://o; proxy_http_version 1.1;\n\
         proxy_set_header Connection \"\"; proxy_set_header X-Forwarded-For $remote_addr; }} }} }}\n"
    )
}

/// Debian's module for streams and datagrams (libnginx-mod-stream).
const NGINX_STREAM: &str = "/usr/lib/nginx/modules/ngx_stream_module.so";

fn nginx_stream_config(load: &Load, folder: &Folder) -> String {
    let dir = folder.0.display();
    let responses = if load.close { "proxy_responses 1;" } else { "" };
    format!(
        "load_module {NGINX_STREAM};\n\
         worker_processes 1; pid {dir}/nginx.pid; error_log {dir}/nginx.err; daemon off; user root;\n\
         worker_rlimit_nofile 30000; events {{ worker_connections 20000; }}\n\
         stream {{ server {{ listen 127.0.0.1:{FRONT} udp; proxy_pass 127.0.0.1:{ORIGIN};\n\
         proxy_timeout 60s; {responses} }} }}\n"
    )
}

/// A self-signed certificate with its key, made when it is first asked for.
fn certificate(folder: &Folder, key: Key) -> Result<String, String> {
    let (name, kind): (_, &[&str]) = match key {
        Key::P256 => ("p256", &["ec", "-pkeyopt", "ec_paramgen_curve:P-256"]),
        Key::Rsa2048 => ("rsa2048", &["rsa:2048"]),
    };
    let path = folder.path(&format!("{name}.pem"));
    if Path::new(&path).exists() {
        return Ok(path);
    }
    let (key_file, crt_file) = (folder.path("key"), folder.path("crt"));
    let mut command = Command::new("openssl");
    command.args(["req", "-x509", "-nodes", "-days", "30", "-newkey"]);
    command.args(kind);
    command.args([
        "-subj",
        "/CN=localhost",
        "-addext",
        "subjectAltName=DNS:localhost",
    ]);
    command.args(["-keyout", &key_file, "-out", &crt_file]);
    let out = command.output().map_err(|e| format!("openssl: {e}"))?;
    if !out.status.success() {
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        return Err(format!("openssl made no certificate: {said}"));
    }
    let read = |path: &str| std::fs::read_to_string(path).map_err(|e| format!("{path}: {e}"));
    folder.file(
        &format!("{name}.pem"),
        &(read(&crt_file)? + &read(&key_file)?),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::loads::LOADS;

    #[test]
    fn every_load_has_its_configuration() {
        for load in LOADS.iter().filter(|l| l.tls.is_none()) {
            let text = config(load, 1, None, Some("/l"));
            assert_eq!(text.contains("/l"), load.list.is_some(), "{}", load.key);
            assert!(text.contains("nbthread 1"), "{}", load.key);
            let asked = !load.tcp && !load.is_datagrams() && load.servers == 0;
            assert_eq!(text.contains("httpchk"), asked);
            assert_eq!(
                text.matches("use_backend").count(),
                if load.rules { 10 } else { 0 }
            );
        }
        let tls = LOADS
            .iter()
            .find(|l| l.tls.is_some() && l.close)
            .expect("one");
        let text = config(tls, 1, Some("/c.pem"), None);
        assert!(text.contains(" ssl crt /c.pem\n") && text.contains("monitor-uri /alive\n"));
    }
}
