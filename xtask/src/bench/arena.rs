//! Where a measurement takes place: a network of its own, processes on the cores they belong to.

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Where the origin listens.
pub const ORIGIN: u16 = 29090;
/// Where the proxy listens.
pub const FRONT: u16 = 29091;
/// Where log lines go to.
pub const SINK: u16 = 29092;

/// The core of a proxy with one worker.
pub const PROXY_CORE: &str = "0";
/// The core of load generator and origin.
pub const ENDS_CORE: &str = "1";
/// Both, for a proxy with two workers.
pub const BOTH_CORES: &str = "0,1";

/// Moves this process into a new, empty network with only the loopback, so that no connection of
/// an earlier run (in TIME_WAIT, above all) costs a later one anything. Without the right to do
/// that everything stays where it is.
pub fn fresh_network() {
    // SAFETY: plain call; it changes where sockets made from now on are, and nothing else.
    let moved = unsafe { libc::unshare(libc::CLONE_NEWNET) } == 0;
    if moved {
        let up = Command::new("ip")
            .args(["link", "set", "lo", "up"])
            .status();
        if !up.is_ok_and(|s| s.success()) {
            eprintln!("the loopback of the new network could not be brought up");
        }
    }
}

/// A temporary folder, removed at the end.
pub struct Folder(pub PathBuf);

impl Folder {
    /// A new, empty one.
    pub fn new() -> Result<Folder, String> {
        let path = std::env::temp_dir().join(format!("mulgil-bench-{}", std::process::id()));
        std::fs::create_dir_all(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        Ok(Folder(path))
    }

    /// Writes a file and gives its path.
    pub fn file(&self, name: &str, text: &str) -> Result<String, String> {
        let path = self.path(name);
        std::fs::write(&path, text).map_err(|e| format!("{path}: {e}"))?;
        Ok(path)
    }

    /// A path in it.
    pub fn path(&self, name: &str) -> String {
        self.0.join(name).to_string_lossy().into_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A process that is ended when it goes out of scope.
pub struct Running(Child);

impl Running {
    /// Starts a program on these cores. What it writes is not read.
    pub fn start(cores: &str, program: &Path, args: &[&str]) -> Result<Running, String> {
        let mut command = on(cores, program);
        command.args(args).stdin(Stdio::null());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn();
        child
            .map(Running)
            .map_err(|e| format!("cannot start {}: {e}", program.display()))
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // SAFETY: plain call; the child has not been waited for, so the pid is still its own.
        unsafe { libc::kill(self.pid() as libc::pid_t, libc::SIGTERM) };
        let until = Instant::now() + Duration::from_secs(3);
        while matches!(self.0.try_wait(), Ok(None)) {
            if Instant::now() > until {
                let _ = self.0.kill();
                let _ = self.0.wait();
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// A command that will run on these cores only.
pub fn on(cores: &str, program: &Path) -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", cores]).arg(program);
    command
}

/// Waits until something listens.
pub fn wait_for(port: u16) -> Result<(), String> {
    for _ in 0..300 {
        if TcpStream::connect(("127.0.0.1", port)).is_ok() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Err(format!("nothing listens on port {port}"))
}

/// Our own programs, as `cargo build --release` leaves them.
pub struct Programs {
    /// The proxy.
    pub mulgil: PathBuf,
    /// Both ends.
    pub bench: PathBuf,
}

impl Programs {
    /// Builds them.
    pub fn build() -> Result<Programs, String> {
        let mut cargo = Command::new("cargo");
        cargo.args(["build", "--release", "--quiet", "--locked"]);
        cargo.args(["--package", "mulgil", "--package", "mulgil-bench"]);
        let built = cargo.status().map_err(|e| format!("cargo: {e}"))?;
        if !built.success() {
            return Err("the release build failed".into());
        }
        let here = std::env::current_exe().map_err(|e| e.to_string())?;
        let target = here.parent().and_then(Path::parent);
        let release = target
            .ok_or("xtask is not in a target folder")?
            .join("release");
        Ok(Programs {
            mulgil: release.join("mulgil"),
            bench: release.join("bench"),
        })
    }
}
