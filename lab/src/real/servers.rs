//! Servers as Debian has them, each with a folder and an address of its own, that a scenario stops,
//! kills and starts again.

use super::{Group, address, command, listening, missing, run, signal, user};
use crate::Folder;
use std::fs::{Permissions, create_dir, set_permissions};
use std::net::SocketAddr;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;

/// A server that runs, or ran.
pub struct Running {
    group: Group,
    /// Where it writes the number of the group that it makes for itself, if it does.
    pid: Option<String>,
    /// Its files.
    pub folder: Folder,
    /// Where it listens.
    pub addr: SocketAddr,
    program: &'static str,
    words: Vec<String>,
    /// Whom it runs as, where it refuses to be root.
    owner: Option<u32>,
}

impl Running {
    fn start(
        folder: Folder,
        addr: SocketAddr,
        program: &'static str,
        words: Vec<String>,
        owner: Option<u32>,
    ) -> Running {
        let group = Running::spawn(&folder, addr, program, &words, owner);
        Running {
            group,
            pid: None,
            folder,
            addr,
            program,
            words,
            owner,
        }
    }

    fn spawn(
        folder: &Folder,
        addr: SocketAddr,
        program: &str,
        words: &[String],
        owner: Option<u32>,
    ) -> Group {
        let mut command = command(program);
        command.args(words).current_dir(folder.path(""));
        if let Some(id) = owner {
            command.uid(id);
        }
        let output = folder.path("output");
        let group = Group::start(command, &output);
        listening(addr, &output);
        group
    }

    /// Sends all of it a signal.
    fn signal(&self, name: &str) {
        let own = self.pid.as_ref().map(std::fs::read_to_string);
        match own {
            Some(Ok(pid)) => signal(pid.trim(), name),
            _ => self.group.signal(name),
        }
    }

    /// It answers nobody from now on; the kernel still takes connections for it.
    pub fn stop(&self) {
        self.signal("STOP");
    }

    /// It goes on.
    pub fn go_on(&self) {
        self.signal("CONT");
    }

    /// It reads its files anew, if it does so on a hang-up.
    pub fn hang_up(&self) {
        self.signal("HUP");
    }

    /// It is gone.
    pub fn kill(&mut self) {
        self.signal("KILL");
        self.group.kill();
    }

    /// Starts it again after its death, with the files of now.
    pub fn again(&mut self) {
        self.group = Running::spawn(
            &self.folder,
            self.addr,
            self.program,
            &self.words,
            self.owner,
        );
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}

fn words(list: &[&str]) -> Vec<String> {
    list.iter().map(|w| (*w).to_string()).collect()
}

/// MariaDB, whose root has no password.
pub fn mariadb() -> Option<Running> {
    if missing(&["mariadbd", "mariadb", "mariadb-install-db"]) {
        return None;
    }
    let (folder, addr) = (Folder::new(), address());
    let place = format!("--datadir={}", folder.path("data"));
    let who = format!("--user={}", run("id", &["-un"]).1.trim());
    let made = run(
        "mariadb-install-db",
        &[
            "--no-defaults",
            &place,
            &who,
            "--skip-test-db",
            "--auth-root-authentication-method=normal",
        ],
    );
    assert_eq!(made.0, 0, "{}", made.1);
    let words = vec![
        "--no-defaults".into(),
        place,
        who,
        format!("--port={}", addr.port()),
        "--bind-address=127.0.0.1".into(),
        format!("--socket={}", folder.path("socket")),
        format!("--pid-file={}", folder.path("pid")),
        "--innodb-flush-log-at-trx-commit=0".into(),
        // Checks that say nothing count as failed logins.
        "--max-connect-errors=1000000".into(),
    ];
    Some(Running::start(folder, addr, "mariadbd", words, None))
}

/// PostgreSQL, which trusts everybody.
pub fn postgres() -> Option<Running> {
    if missing(&["initdb", "postgres", "psql"]) {
        return None;
    }
    let (folder, addr) = (Folder::new(), address());
    let data = folder.path("data");
    create_dir(&data).expect("a folder");
    let owner = user("postgres");
    if let Some(id) = owner {
        chown(&data, Some(id), None).expect("given");
    }
    let mut initdb = command("initdb");
    if let Some(id) = owner {
        initdb.uid(id).current_dir(&data);
    }
    let made = initdb
        .args(["-D", &data, "-A", "trust", "-U", "postgres"])
        .args(["--no-sync", "-E", "UTF8", "--locale=C"])
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&made.stderr).into_owned();
    assert!(made.status.success(), "{said}");
    let port = addr.port().to_string();
    let words = words(&[
        "-D",
        &data,
        "-k",
        &data,
        "-p",
        &port,
        "-h",
        "127.0.0.1",
        "-F",
    ]);
    Some(Running::start(folder, addr, "postgres", words, owner))
}

/// Redis, which writes nothing to its folder.
pub fn redis() -> Option<Running> {
    if missing(&["redis-server", "redis-cli"]) {
        return None;
    }
    let (folder, addr) = (Folder::new(), address());
    let port = addr.port().to_string();
    let words = words(&["--port", &port, "--bind", "127.0.0.1", "--save", ""]);
    Some(Running::start(folder, addr, "redis-server", words, None))
}

/// nginx; words after the address where it listens, and lines for its one server, in the file
/// `server.conf`.
pub fn nginx(listen: &str, server: &str) -> Option<Running> {
    if missing(&["nginx"]) {
        return None;
    }
    let (folder, addr) = (Folder::new(), address());
    let home = folder.path("");
    let who = match run("id", &["-u"]).1.trim() {
        "0" => "user root;",
        _ => "",
    };
    folder.file("server.conf", server.as_bytes());
    let text = format!(
        "{who}\ndaemon off;\nworker_processes 1;\npid {home}pid;\nerror_log {home}errors;\nevents {{ }}\n\
         http {{\n access_log off;\n client_body_temp_path {home}a;\n proxy_temp_path {home}b;\n \
         fastcgi_temp_path {home}c;\n uwsgi_temp_path {home}d;\n scgi_temp_path {home}e;\n \
         server {{\n  listen {addr} {listen};\n  include {home}server.conf;\n }}\n}}\n"
    );
    let file = folder.file("nginx.conf", text.as_bytes());
    let words = words(&["-p", &home, "-e", &folder.path("errors"), "-c", &file]);
    Some(Running::start(folder, addr, "nginx", words, None))
}

/// OpenLDAP's server with an empty directory; more lines for its `slapd.conf`, in `more.conf`.
pub fn slapd(more: &str) -> Option<Running> {
    if missing(&["slapd"]) {
        return None;
    }
    let (folder, addr) = (Folder::new(), address());
    folder.file("more.conf", more.as_bytes());
    let home = folder.path("");
    let text = format!(
        "include /etc/ldap/schema/core.schema\nmodulepath /usr/lib/ldap\nmoduleload back_mdb\n\
         pidfile {home}pid\ninclude {home}more.conf\n\
         database mdb\nsuffix \"dc=test\"\ndirectory {home}\n"
    );
    let file = folder.file("slapd.conf", text.as_bytes());
    let place = format!("ldap://{addr}");
    let words = words(&["-h", &place, "-f", &file, "-d", "0"]);
    Some(Running::start(folder, addr, "slapd", words, None))
}

/// Postfix, which takes no mail; more lines for its `main.cf`, in `more`, wait for [`again`].
/// It wants to be started by root.
///
/// [`again`]: Running::again
pub fn postfix() -> Option<Running> {
    let owner = user("postfix");
    if missing(&["postfix"]) || owner.is_none() {
        println!("postfix is not installed, or this is not root: this scenario does not run");
        return None;
    }
    let (folder, addr) = (Folder::new(), address());
    let reachable = |path: &str| {
        set_permissions(path, Permissions::from_mode(0o755)).expect("permissions");
    };
    reachable(&folder.path(""));
    for name in ["conf", "queue", "mail"] {
        create_dir(folder.path(name)).expect("a folder");
        reachable(&folder.path(name));
    }
    chown(folder.path("mail"), owner, None).expect("an owner");
    let home = folder.path("");
    let home = home.trim_end_matches('/');
    let main = format!(
        "compatibility_level = 3.6\nqueue_directory = {home}/queue\ndata_directory = {home}/mail\n\
         maillog_file = {home}/log\nmaillog_file_prefixes = {home}\nmyhostname = mx.example\n\
         mydestination =\ninet_interfaces = 127.0.0.1\ninet_protocols = ipv4\n\
         smtpd_relay_restrictions = reject_unauth_destination\nsmtpd_peername_lookup = no\n\
         alias_maps =\nalias_database =\nlocal_recipient_maps =\nsmtpd_delay_reject = no\n"
    );
    let master = format!(
        "{addr} inet n - n - - smtpd\ncleanup unix n - n - 0 cleanup\n\
         rewrite unix - - n - - trivial-rewrite\nanvil unix - - n - 1 anvil\n\
         proxymap unix - - n - - proxymap\npostlog unix-dgram n - n - 1 postlogd\n"
    );
    folder.file("conf/main.cf", main.as_bytes());
    folder.file("conf/master.cf", master.as_bytes());
    let words = words(&["-c", &folder.path("conf"), "start-fg"]);
    let pid = Some(folder.path("queue/pid/master.pid"));
    let mut running = Running::start(folder, addr, "postfix", words, None);
    running.pid = pid;
    Some(running)
}
