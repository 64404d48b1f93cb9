//! Real servers, run from their binaries with folders of their own, and ended by their process groups.

mod servers;

pub use servers::{Running, mariadb, nginx, postfix, postgres, redis, slapd};

use crate::{Folder, PATIENCE};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Whether a program is not installed, so that a scenario cannot run; `./test` installs all.
pub fn missing(programs: &[&str]) -> bool {
    let absent = programs.iter().find(|p| program(p).is_none());
    if let Some(name) = absent {
        println!("{name} is not installed: this scenario does not run");
    }
    absent.is_some()
}

/// Where a program is.
pub fn program(name: &str) -> Option<String> {
    let places = ["/usr/bin", "/usr/sbin", "/bin", "/sbin"];
    let mut paths = places.iter().map(|place| format!("{place}/{name}"));
    paths.find(|path| crate::exists(path)).or_else(|| {
        // PostgreSQL has a folder for each version.
        let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?;
        let mut paths = versions.flatten().map(|v| v.path().join("bin").join(name));
        let path = paths.find(|path| path.exists())?;
        Some(path.to_string_lossy().into_owned())
    })
}

/// A command that starts a program.
pub fn command(name: &str) -> Command {
    Command::new(program(name).expect("installed"))
}

/// The number of a user whom a package has made, where we may become it: some servers refuse to be
/// root.
pub fn user(name: &str) -> Option<u32> {
    let number = |args: &[&str]| run("id", args).1.trim().parse().ok();
    (number(&["-u"]) == Some(0)).then(|| number(&["-u", name]))?
}

/// Runs a program to its end: exit status, and all that it wrote.
pub fn run(name: &str, args: &[&str]) -> (i32, String) {
    let out = command(name)
        .args(args)
        .stdin(Stdio::null())
        .output()
        .expect("it runs");
    let text = [out.stdout, out.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    (out.status.code().unwrap_or(-1), text)
}

/// Sends a group of processes a signal; that it is gone already is no fault.
fn signal(group: &str, name: &str) {
    let group = format!("-{group}");
    let _ = Command::new("kill")
        .args(["-s", name, "--", &group])
        .stderr(Stdio::null())
        .status();
}

/// A process with those it starts; they end with it.
pub struct Group(Child);

impl Group {
    /// Starts a program; what it writes goes to a file.
    pub fn start(mut command: Command, output: &str) -> Group {
        let log = std::fs::File::create(output).expect("a file");
        let child = command
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a descriptor"))
            .stderr(log)
            .spawn()
            .expect("it starts");
        Group(child)
    }

    /// Sends all of it a signal, by its name.
    pub fn signal(&self, name: &str) {
        let group = format!("-{}", self.0.id());
        let _ = Command::new("kill")
            .args(["-s", name, "--", &group])
            .status();
    }

    /// Ends all of it at once; once it is over this does nothing.
    pub fn kill(&mut self) {
        if matches!(self.0.try_wait(), Ok(None)) {
            self.signal("KILL");
        }
        let _ = self.0.wait();
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}

/// An address of the loopback for a program that takes a moment to listen there.
pub fn address() -> SocketAddr {
    ([127, 0, 0, 1], crate::port()).into()
}

/// Waits until somebody listens.
pub fn listening(addr: SocketAddr, output: &str) {
    let end = Instant::now() + PATIENCE * 6;
    while TcpStream::connect(addr).is_err() {
        let said = std::fs::read_to_string(output).unwrap_or_default();
        assert!(Instant::now() < end, "nobody listens on {addr}: {said}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A server of FTP that takes anonymous users, who may do everything in a folder of its own.
pub struct Vsftpd {
    group: Group,
    folder: Folder,
    /// Where it listens.
    pub addr: SocketAddr,
}

impl Vsftpd {
    /// Starts one; more lines for its configuration.
    pub fn start(more: &str) -> Vsftpd {
        let folder = Folder::new();
        let addr = address();
        for name in ["root", "empty"] {
            std::fs::create_dir(folder.path(name)).expect("a folder");
        }
        let text = format!(
            "listen=YES\nbackground=NO\nlisten_address=127.0.0.1\nlisten_port={}\n\
             run_as_launching_user=YES\nsecure_chroot_dir={}\nanon_root={}\n\
             anonymous_enable=YES\nlocal_enable=NO\nno_anon_password=YES\nwrite_enable=YES\n\
             anon_upload_enable=YES\nanon_mkdir_write_enable=YES\nanon_other_write_enable=YES\n\
             anon_umask=022\nseccomp_sandbox=NO\nxferlog_enable=NO\n{more}",
            addr.port(),
            folder.path("empty"),
            folder.path("root"),
        );
        let file = folder.file("vsftpd.conf", text.as_bytes());
        let output = folder.path("output");
        let mut command = command("vsftpd");
        command.arg(file);
        let group = Group::start(command, &output);
        listening(addr, &output);
        Vsftpd {
            group,
            folder,
            addr,
        }
    }

    fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.folder.path("root"))
    }

    /// Puts a file there.
    pub fn write(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.path(name), bytes).expect("a file");
    }

    /// A file that was put there.
    pub fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap_or_default()
    }

    /// Ends it and all its sessions at once.
    pub fn kill(&mut self) {
        self.group.kill();
    }
}
