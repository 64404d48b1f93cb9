//! `mode smtp` before two postfixes, as Debian has them: by recipient domain, with the client's
//! address by XCLIENT and by PROXY, with TLS on both sides, and when one of them dies. Needs root,
//! because postfix does; each runs in a folder of its own, without the system's service.

#[path = "smtp/mailer.rs"]
#[allow(dead_code)] // scripted servers are for the other scenarios
mod mailer;

use lab::{Folder, LogSink, PATIENCE, Program, Proxy, port};
use mailer::{Talker, certificate};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const MASTER: &str = "/usr/lib/postfix/sbin/master";

/// A running postfix.
struct Postfix {
    folder: Folder,
    /// Where it listens: as it is, and for PROXY headers.
    ports: [u16; 2],
    pid: Option<u32>,
}

impl Postfix {
    /// Starts one that is the last stop of this domain.
    fn start(domain: &str) -> Postfix {
        let folder = Folder::new();
        let ports = [port(), port()];
        let path = |name: &str| folder.path(name);
        let reachable = |path: &str| {
            let mode = std::fs::Permissions::from_mode(0o755);
            std::fs::set_permissions(path, mode).expect("permissions");
        };
        reachable(&path(""));
        for name in ["conf", "queue", "data", "mail"] {
            std::fs::create_dir(path(name)).expect("a folder");
            reachable(&path(name));
        }
        chown(path("data"), Some(number("-u", "postfix")), None).expect("an owner");
        chown(path("mail"), Some(65534), Some(65534)).expect("an owner");
        let (pem, _) = certificate(&folder);
        let home = path("");
        let home = home.trim_end_matches('/');
        let main = format!(
            "compatibility_level = 3.6\nqueue_directory = {home}/queue\ndata_directory = {home}/data\n\
             maillog_file = {home}/log\nmaillog_file_prefixes = {home}\nmyhostname = mx.{domain}\n\
             mydestination =\ninet_interfaces = 127.0.0.1\ninet_protocols = ipv4\n\
             mynetworks = 192.0.2.1/32\nsmtpd_authorized_xclient_hosts = 127.0.0.0/8\n\
             smtpd_relay_restrictions = reject_unauth_destination\nsmtpd_peername_lookup = no\n\
             smtpd_tls_security_level = may\nsmtpd_tls_cert_file = {pem}\nsmtpd_tls_key_file = {pem}\nsmtpd_tls_loglevel = 1\n\
             virtual_mailbox_domains = {domain}\nvirtual_mailbox_base = {home}/mail\n\
             virtual_mailbox_maps = static:all/\nvirtual_uid_maps = static:65534\n\
             virtual_gid_maps = static:65534\nalias_maps =\nalias_database =\nlocal_recipient_maps =\n"
        );
        let master = format!(
            "127.0.0.1:{} inet n - n - - smtpd\n127.0.0.1:{} inet n - n - - smtpd\n  \
             -o smtpd_upstream_proxy_protocol=haproxy\n\
             cleanup unix n - n - 0 cleanup\nqmgr unix n - n 300 1 qmgr\n\
             rewrite unix - - n - - trivial-rewrite\nbounce unix - - n - 0 bounce\n\
             defer unix - - n - 0 bounce\ntrace unix - - n - 0 bounce\nerror unix - - n - - error\n\
             retry unix - - n - - error\nvirtual unix - n n - - virtual\nanvil unix - - n - 1 anvil\n\
             proxymap unix - - n - - proxymap\ntlsmgr unix - - n 1000? 1 tlsmgr\n\
             postlog unix-dgram n - n - 1 postlogd\n",
            ports[0], ports[1]
        );
        std::fs::write(path("conf/main.cf"), main).expect("a file");
        std::fs::write(path("conf/master.cf"), master).expect("a file");
        let mut postfix = Postfix {
            folder,
            ports,
            pid: None,
        };
        postfix.again();
        postfix
    }

    /// Starts it, after its death as well.
    fn again(&mut self) {
        let conf = self.folder.path("conf");
        let out = Command::new("postfix")
            .args(["-c", &conf, "start"])
            .stdin(Stdio::null())
            .output()
            .expect("postfix is installed");
        let pid = self.folder.path("queue/pid/master.pid");
        let end = Instant::now() + PATIENCE;
        while !self.listens() {
            let said = String::from_utf8_lossy(&out.stderr);
            assert!(
                Instant::now() < end,
                "postfix does not start: {said} {}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        let pid = std::fs::read_to_string(pid).expect("a pid");
        self.pid = pid.trim().parse().ok();
    }

    fn listens(&self) -> bool {
        let heard = |port| {
            Talker::of(std::net::TcpStream::connect(("127.0.0.1", port)).ok()?)
                .hear()
                .into()
        };
        let heard: Option<String> = heard(self.ports[0]);
        heard.is_some_and(|h| h.starts_with("220"))
    }

    /// Ends it, conversations included.
    fn kill(&mut self) {
        let Some(pid) = self.pid.take() else { return };
        // Its children are in its group, which nobody else is in.
        let group = i32::try_from(pid).expect("a pid");
        // SAFETY: a plain call with numbers.
        unsafe { libc::kill(-group, libc::SIGKILL) };
        let end = Instant::now() + PATIENCE;
        while Path::new(&format!("/proc/{pid}/exe")).exists() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path("log")).unwrap_or_default()
    }

    /// The mail that holds this, once it is delivered.
    fn mail(&self, with: &str) -> String {
        let end = Instant::now() + PATIENCE;
        loop {
            let files = std::fs::read_dir(self.folder.path("mail/all/new"));
            for file in files.into_iter().flatten().flatten() {
                let text = std::fs::read_to_string(file.path()).unwrap_or_default();
                if text.contains(with) {
                    return text;
                }
            }
            assert!(Instant::now() < end, "no mail has '{with}': {}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Postfix {
    fn drop(&mut self) {
        self.kill();
    }
}

fn number(what: &str, user: &str) -> u32 {
    let out = Command::new("id")
        .args([what, user])
        .output()
        .expect("id runs");
    String::from_utf8_lossy(&out.stdout)
        .trim()
        .parse()
        .expect("postfix's user")
}

/// Whether postfix can be run here.
fn can() -> bool {
    // SAFETY: a plain call.
    let root = unsafe { libc::geteuid() } == 0;
    let there = root && Path::new(MASTER).exists();
    if !there {
        println!("not root, or postfix is not installed: this did not run");
    }
    there
}

/// Sends a message and gives the reply to it, or the one that kept it from being sent.
fn send(client: &mut Talker, from: &str, to: &str, text: &str) -> String {
    client.ask(&format!("MAIL FROM:<{from}>"));
    let said = client.ask(&format!("RCPT TO:<{to}>"));
    if !said.starts_with("250") {
        client.ask("RSET");
        return said;
    }
    let said = client.ask("DATA");
    assert!(said.starts_with("354"), "{said}");
    client.ask(&format!("Subject: {text}\r\n\r\n{text}\r\n."))
}

fn greeted(from: [u8; 4], port: u16) -> Talker {
    let mut client = Talker::of(lab::Client::connect_from(from, port).stream);
    assert!(client.hear().starts_with("220 mx.example"));
    assert!(client.ask("EHLO client.example").starts_with("250"));
    client
}

#[test]
fn two_postfixes_get_the_mail_of_their_domains_and_know_whom_it_came_from() {
    if !can() {
        return;
    }
    let (mut one, two) = (Postfix::start("one.example"), Postfix::start("two.example"));
    let (front, log) = (port(), LogSink::new());
    let ca = two.folder.path("ca.pem");
    // What has no effect here is no name for TLS either.
    let config = format!(
        "defaults\n  mode smtp\n  timeout client 10s\n  timeout server 10s\n  timeout connect 2s\n  \
         log 127.0.0.1:{} local0\n  option smtplog\n\
         frontend mail\n  bind 127.0.0.1:{front}\n  smtp-name mx.example\n  \
         use_backend proxied if {{ smtp.from_domain proxied.example }}\n  \
         use_backend two if {{ smtp.rcpt_domain two.example }}\n  default_backend one\n\
         backend one\n  server s 127.0.0.1:{} xclient\n\
         backend proxied\n  server s 127.0.0.1:{} send-proxy\n\
         backend two\n  timeout check 5s\n  option smtpchk EHLO lb.example\n  \
         server s 127.0.0.1:{} check inter 200ms xclient starttls ca-file {ca} pool-conn-name str(elsewhere)\n",
        log.port, one.ports[0], one.ports[1], two.ports[0]
    );
    let proxy = Proxy::start(&Program::mulgil(), &config);
    let mut client = greeted([127, 0, 0, 77], front);
    let said = send(
        &mut client,
        "ann@a.example",
        "bob@one.example",
        "by-xclient",
    );
    assert!(said.starts_with("250 2.0.0 Ok: queued"), "{said}");
    let mail = one.mail("by-xclient");
    assert!(
        mail.contains("Received: from client.example (unknown [127.0.0.77])"),
        "{mail}"
    );
    assert!(mail.contains("with ESMTP"), "{mail}");
    let said = send(
        &mut client,
        "ann@proxied.example",
        "bob@one.example",
        "by-proxy",
    );
    assert!(said.starts_with("250"), "{said}");
    let mail = one.mail("by-proxy");
    assert!(
        mail.contains("Received: from client.example (unknown [127.0.0.77])"),
        "{mail}"
    );
    let said = send(
        &mut client,
        "ann@a.example",
        "carl@two.example",
        "encrypted",
    );
    assert!(said.starts_with("250"), "{said}");
    let mail = two.mail("encrypted");
    assert!(mail.contains("(unknown [127.0.0.77])"), "{mail}");
    assert!(
        two.log().contains("TLS connection established"),
        "{}",
        two.log()
    );
    // No relay for us: postfix sees the client, not the balancer.
    let said = send(
        &mut client,
        "ann@a.example",
        "bob@elsewhere.example",
        "relayed",
    );
    assert!(said.starts_with("554 5.7.1"), "{said}");
    assert!(one.log().contains("reject: RCPT from unknown[127.0.0.77]"));

    // A death between two messages, and one inside of one.
    one.kill();
    let said = send(
        &mut client,
        "ann@a.example",
        "bob@one.example",
        "nobody-there",
    );
    assert!(said.starts_with("451 4.4.1"), "{said}");
    one.again();
    let said = send(
        &mut client,
        "ann@a.example",
        "bob@one.example",
        "back-again",
    );
    assert!(said.starts_with("250"), "{said}");
    one.mail("back-again");
    client.ask("MAIL FROM:<ann@a.example>");
    assert!(client.ask("RCPT TO:<bob@one.example>").starts_with("250"));
    one.kill();
    assert!(client.ask("DATA").starts_with("451 4.4.2"));
    client.ask("RSET");
    let said = send(
        &mut client,
        "ann@a.example",
        "carl@two.example",
        "the-other-lives",
    );
    assert!(said.starts_with("250"), "{said}");
    assert_eq!(client.ask("QUIT"), "221 2.0.0 bye");
    proxy.wait_for("two", "s", "status", "UP");
    let line = log.line("one/s");
    assert!(
        line.starts_with("<134>") && line.contains("127.0.0.77:"),
        "{line}"
    );
}

#[test]
fn curl_delivers_over_starttls_and_not_in_clear_text() {
    if !can() {
        return;
    }
    let (postfix, folder) = (Postfix::start("one.example"), Folder::new());
    let (pem, ca) = certificate(&folder);
    let front = port();
    let config = format!(
        "listen mail\n  mode smtp\n  timeout client 10s\n  timeout server 10s\n  timeout connect 2s\n  \
         bind 127.0.0.1:{front} starttls crt {pem}\n  smtp-require-tls\n  \
         server s 127.0.0.1:{} xclient\n",
        postfix.ports[0]
    );
    let _proxy = Proxy::start(&Program::mulgil(), &config);
    let curl = |tls: &[&str], subject: &str| {
        let mail = folder.file(
            "mail",
            format!("Subject: {subject}\r\n\r\nx\r\n").as_bytes(),
        );
        let out = Command::new("curl")
            .args(["-sS", "-v", "--max-time", "8", "-T", &mail])
            .args([
                "--mail-from",
                "ann@a.example",
                "--mail-rcpt",
                "bob@one.example",
            ])
            .args(tls)
            .arg(format!("smtp://127.0.0.1:{front}/client.example"))
            .output()
            .expect("curl runs");
        String::from_utf8_lossy(&out.stderr).into_owned()
    };
    let said = curl(&["--ssl-reqd", "--cacert", &ca], "by-curl");
    assert!(said.contains("250 2.0.0 Ok: queued"), "{said}");
    postfix.mail("by-curl");
    let said = curl(&[], "in-clear-text");
    assert!(said.contains("530 5.7.0 say STARTTLS first"), "{said}");
}
