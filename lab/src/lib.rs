//! The proving ground: starts a proxy as a process, with clients and scripted servers around it.
//!
//! The same scenario runs against `mulgil` and, where it is installed, against Debian's `haproxy`,
//! which is the oracle. Everything is on the loopback, bounded in time, and ended by its pid.

mod client;
pub mod net;
mod openssl;
mod ports;
pub mod real;
pub mod said;

pub use client::{Client, Response, get};
pub use openssl::{certificate, openssl, tls_client};
pub use ports::{listener, port, ports};

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// How long anything may take before it counts as never; machines under test may be busy.
pub const PATIENCE: Duration = Duration::from_secs(12);

/// A proxy program.
#[derive(Clone, Debug)]
pub struct Program {
    /// Its name, for messages.
    pub name: &'static str,
    path: PathBuf,
}

impl Program {
    /// The program built from this workspace: beside the test's own binary.
    pub fn mulgil() -> Program {
        let path = std::env::var_os("MULGIL_BIN")
            .map(PathBuf::from)
            .unwrap_or_else(|| {
                let mut path = std::env::current_exe().expect("the test has a path");
                path.pop();
                if path.ends_with("deps") {
                    path.pop();
                }
                path.join("mulgil")
            });
        assert!(
            path.exists(),
            "{} is not built: run 'cargo build' first",
            path.display()
        );
        Program {
            name: "mulgil",
            path,
        }
    }

    /// The oracle, if it is installed.
    pub fn haproxy() -> Option<Program> {
        let path = PathBuf::from("/usr/sbin/haproxy");
        path.exists().then_some(Program {
            name: "haproxy",
            path,
        })
    }

    /// Where it is.
    pub fn path(&self) -> String {
        self.path.to_string_lossy().into_owned()
    }

    /// A command that starts it.
    pub fn command(&self) -> Command {
        Command::new(&self.path)
    }

    /// Runs it to its end: exit status, and all that it wrote.
    pub fn run(&self, args: &[&str]) -> (i32, String) {
        let out = Command::new(&self.path)
            .args(args)
            .stdin(Stdio::null())
            .output()
            .expect("runs");
        let text = [out.stdout, out.stderr].concat();
        (
            out.status.code().unwrap_or(-1),
            String::from_utf8_lossy(&text).into_owned(),
        )
    }
}

/// Runs a scenario against every program there is.
pub fn each(scenario: impl Fn(&Program)) {
    match Program::haproxy() {
        Some(oracle) => scenario(&oracle),
        None => println!("haproxy is not installed: only mulgil is tried"),
    }
    scenario(&Program::mulgil());
}

static COUNT: AtomicU32 = AtomicU32::new(0);

/// A folder of one scenario; removed at its end.
pub struct Folder(PathBuf);

impl Folder {
    /// A new, empty folder.
    pub fn new() -> Folder {
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("mulgil-lab-{}-{n}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a folder");
        Folder(path)
    }

    /// A file in it.
    pub fn file(&self, name: &str, text: &[u8]) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, text).expect("a file");
        path.to_string_lossy().into_owned()
    }

    /// A path in it.
    pub fn path(&self, name: &str) -> String {
        self.0.join(name).to_string_lossy().into_owned()
    }
}

impl Default for Folder {
    fn default() -> Folder {
        Folder::new()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A port of the loopback on which nobody listens, and which nobody else is given: until the test's
/// end it belongs to a socket that does nothing.
pub fn refusing() -> u16 {
    use socket2::{Domain, Socket, Type};
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    let any: SocketAddr = ([127, 0, 0, 1], 0).into();
    socket.bind(&any.into()).expect("a port");
    let bound = socket.local_addr().expect("an address");
    std::mem::forget(socket);
    bound.as_socket().expect("an IP address").port()
}

/// A running proxy.
pub struct Proxy {
    child: Child,
    folder: Folder,
    /// Its configuration file.
    pub file: String,
}

impl Proxy {
    /// Starts a configuration that listens on a socket it inherits, by the number in the variable
    /// that `config` is given the name of. Returns the socket's port, too.
    pub fn start_inherited(program: &Program, config: impl Fn(&str) -> String) -> (Proxy, u16) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        // The socket is handed over as standard input, the one descriptor that is inherited.
        let proxy = Proxy::spawn(program, &config("LAB_FD"), Some(listener), &[]);
        (proxy, port)
    }

    /// Starts a configuration; a control socket is added, and waited for.
    pub fn start(program: &Program, config: &str) -> Proxy {
        Proxy::spawn(program, config, None, &[])
    }

    /// Starts a configuration with further arguments behind its file.
    pub fn start_with(program: &Program, config: &str, more: &[&str]) -> Proxy {
        Proxy::spawn(program, config, None, more)
    }

    /// Starts a configuration in the place of this process, which is told to end softly.
    pub fn replace(&self, program: &Program, config: &str) -> Proxy {
        let pid = self.child.id().to_string();
        Proxy::spawn(program, config, None, &["-sf", &pid])
    }

    fn spawn(
        program: &Program,
        config: &str,
        inherited: Option<TcpListener>,
        more: &[&str],
    ) -> Proxy {
        let folder = Folder::new();
        let socket = folder.path("control");
        let text =
            format!("global\n    stats socket {socket} level admin\n    nbthread 2\n{config}");
        let file = folder.file("test.cfg", text.as_bytes());
        let log = std::fs::File::create(folder.path("output")).expect("a file");
        let mut command = Command::new(&program.path);
        let stdin = match inherited {
            Some(listener) => {
                command.env("LAB_FD", "0");
                Stdio::from(std::os::fd::OwnedFd::from(listener))
            }
            None => Stdio::null(),
        };
        let child = command
            .args(["-f", &file, "-db"])
            .args(more)
            .stdin(stdin)
            .stdout(log.try_clone().expect("a descriptor"))
            .stderr(log)
            .spawn()
            .expect("the proxy starts");
        let mut proxy = Proxy {
            child,
            folder,
            file,
        };
        let end = Instant::now() + PATIENCE;
        while !proxy
            .try_control("show info")
            .is_some_and(|t| t.contains("Pid"))
        {
            let over = proxy.child.try_wait().ok().flatten().is_some() || Instant::now() > end;
            assert!(
                !over,
                "{} did not start: {}\n{text}",
                program.name,
                proxy.output()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
        proxy
    }

    /// Where its files are; its control socket is `control` there.
    pub fn folder(&self) -> &Folder {
        &self.folder
    }

    /// What it has written.
    pub fn output(&self) -> String {
        std::fs::read_to_string(self.folder.path("output")).unwrap_or_default()
    }

    /// Waits until it has written this.
    pub fn wait_for_output(&self, wanted: &str) {
        let end = Instant::now() + PATIENCE;
        while !self.output().contains(wanted) {
            assert!(Instant::now() < end, "no '{wanted}': {}", self.output());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn try_control(&self, command: &str) -> Option<String> {
        let mut stream = UnixStream::connect(self.folder.path("control")).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        writeln!(stream, "{command}").ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        Some(text)
    }

    /// The answer to a command of the control socket.
    pub fn control(&self, command: &str) -> String {
        self.try_control(command)
            .expect("the control socket answers")
    }

    /// One field of a row of `show stat`.
    pub fn stat(&self, proxy: &str, name: &str, field: &str) -> String {
        self.stats(proxy, name, &[field]).remove(0)
    }

    /// Fields of a row of `show stat`, all of one moment.
    pub fn stats(&self, proxy: &str, name: &str, fields: &[&str]) -> Vec<String> {
        let text = self.control("show stat");
        let mut lines = text.lines();
        let header = lines.next().unwrap_or("").trim_start_matches("# ");
        let header: Vec<&str> = header.split(',').collect();
        let row = lines
            .find(|l| l.starts_with(&format!("{proxy},{name},")))
            .expect("a row");
        let row: Vec<&str> = row.split(',').collect();
        let of = |field: &&str| {
            let at = header.iter().position(|f| f == field);
            row.get(at.expect("a field of that name"))
                .map_or(String::new(), |value| (*value).to_string())
        };
        fields.iter().map(of).collect()
    }

    /// Waits until fields of a row have these values.
    pub fn wait_for_stats(
        &self,
        (proxy, name): (&str, &str),
        fields: &[&str],
        wanted: &[&str],
        what: &str,
    ) {
        let end = Instant::now() + PATIENCE;
        loop {
            let now = self.stats(proxy, name, fields);
            if now == wanted {
                return;
            }
            assert!(Instant::now() < end, "{what}: {now:?}, not {wanted:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until a field has a value.
    pub fn wait_for(&self, proxy: &str, name: &str, field: &str, wanted: &str) {
        let end = Instant::now() + PATIENCE;
        loop {
            let now = self.stat(proxy, name, field);
            if now.starts_with(wanted) {
                return;
            }
            assert!(
                Instant::now() < end,
                "{proxy}/{name}: {field} is '{now}', not '{wanted}'"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        let status = Command::new("kill")
            .args([signal, &pid])
            .status()
            .expect("kill runs");
        assert!(status.success());
    }

    /// Waits for its end; the exit status, or 128 and the signal.
    pub fn ended(&mut self) -> i32 {
        use std::os::unix::process::ExitStatusExt;
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return status
                    .code()
                    .unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
            }
            assert!(Instant::now() < end, "it does not end");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A server that answers every request on every connection with what its script says.
pub struct Server {
    /// Where it listens.
    pub addr: SocketAddr,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// `script` is given a request's head and body as text and writes to the stream; it returns
    /// whether the connection goes on.
    pub fn start(script: impl Fn(&str, &mut TcpStream) -> bool + Send + Sync + 'static) -> Server {
        Server::on(listener(), script)
    }

    /// The same on a listening socket that is there already.
    pub fn on(
        listener: TcpListener,
        script: impl Fn(&str, &mut TcpStream) -> bool + Send + Sync + 'static,
    ) -> Server {
        let addr = listener.local_addr().expect("an address");
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (kept, script) = (Arc::clone(&seen), Arc::new(script));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (kept, script) = (Arc::clone(&kept), Arc::clone(&script));
                std::thread::spawn(move || {
                    let mut client = Client::of(stream);
                    while let Some(request) = client.request() {
                        kept.lock().expect("unpoisoned").push(request.clone());
                        if !script(&request, &mut client.stream) {
                            return;
                        }
                    }
                });
            }
        });
        Server { addr, seen }
    }

    /// A server that somebody else runs, by its address.
    pub fn at(addr: SocketAddr) -> Server {
        let seen = Arc::new(Mutex::new(Vec::new()));
        Server { addr, seen }
    }

    /// Answers 200 with its name in `X-Server` and a two-byte body.
    pub fn named(name: &'static str) -> Server {
        Server::start(move |_, stream| {
            let text =
                format!("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Server: {name}\r\n\r\nok");
            stream.write_all(text.as_bytes()).is_ok()
        })
    }

    /// Answers with these bytes, then goes on or closes.
    pub fn fixed(answer: &'static [u8], goes_on: bool) -> Server {
        Server::start(move |_, stream| stream.write_all(answer).is_ok() && goes_on)
    }

    /// The requests so far.
    pub fn requests(&self) -> Vec<String> {
        self.seen.lock().expect("unpoisoned").clone()
    }
}

/// Where log lines arrive.
pub struct LogSink {
    socket: UdpSocket,
    /// Its port.
    pub port: u16,
}

impl LogSink {
    /// A new one.
    pub fn new() -> LogSink {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
        socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let port = socket.local_addr().expect("an address").port();
        LogSink { socket, port }
    }

    /// The next line that holds the text.
    pub fn line(&self, with: &str) -> String {
        let mut buffer = [0; 65536];
        loop {
            let n = self
                .socket
                .recv(&mut buffer)
                .unwrap_or_else(|_| panic!("no log line has '{with}'"));
            let line = String::from_utf8_lossy(&buffer[..n]).trim_end().to_string();
            if line.contains(with) {
                return line;
            }
        }
    }
}

impl Default for LogSink {
    fn default() -> LogSink {
        LogSink::new()
    }
}

/// Whether a path exists; for pid files and the like.
pub fn exists(path: &str) -> bool {
    Path::new(path).exists()
}
