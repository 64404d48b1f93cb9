//! Networks of namespaces: routers around one link, with a client on it. Everything is removed at
//! the end, also of a test that fails.

use crate::{Folder, Program};
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// How long anything may take before it counts as never; machines under test may be busy.
pub const PATIENCE: Duration = Duration::from_secs(20);

static COUNT: AtomicU32 = AtomicU32::new(0);

/// Whether networks can be made here; says so if not.
pub fn possible() -> bool {
    let made = run("ip", &["netns", "list"]).0;
    // The folder of a process belongs to its user.
    let root = std::fs::metadata("/proc/self").is_ok_and(|m| m.uid() == 0);
    if !(made && root) {
        println!("not root, or no 'ip': networks of namespaces are not tried");
    }
    made && root
}

fn run(program: &str, args: &[&str]) -> (bool, String) {
    let output = Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .output();
    match output {
        Ok(output) => (
            output.status.success(),
            String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned(),
        ),
        Err(e) => (false, e.to_string()),
    }
}

/// Waits until something holds; `what` says what did not.
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < end, "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Runs something with all its sockets in a namespace.
pub fn within<T: Send + 'static>(namespace: &str, f: impl FnOnce() -> T + Send + 'static) -> T {
    try_within(namespace, f).expect("a namespace")
}

/// The same for a namespace that may not be there.
pub fn try_within<T: Send + 'static>(
    namespace: &str,
    f: impl FnOnce() -> T + Send + 'static,
) -> std::io::Result<T> {
    let file = std::fs::File::open(format!("/run/netns/{namespace}"))?;
    let thread = std::thread::Builder::new().spawn(move || {
        // SAFETY: a plain call on an open descriptor; it changes this thread only.
        let moved = unsafe { libc::setns(file.as_raw_fd(), libc::CLONE_NEWNET) };
        match moved {
            0 => Ok(f()),
            _ => Err(std::io::Error::last_os_error()),
        }
    })?;
    match thread.join() {
        Ok(value) => value,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// A client with a bridge, and routers on its ports: router `n` has `eth0` with 203.0.113.n/24 and
/// 2001:db8::n/64, the client 203.0.113.100 and 2001:db8::100. A second network joins routers
/// only: `eth1` with 10.9.0.n/24.
pub struct Net {
    prefix: String,
    routers: usize,
}

impl Net {
    /// A new network of so many routers.
    pub fn new(routers: usize) -> Net {
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        let net = Net {
            prefix: format!("mg{}x{n}", std::process::id()),
            routers,
        };
        net.add(&net.client());
        net.ip(&net.client(), "link add br0 type bridge mcast_snooping 0");
        net.ip(&net.client(), "link add br1 type bridge mcast_snooping 0");
        for bridge in ["br0", "br1"] {
            net.ip(&net.client(), &format!("link set {bridge} up"));
        }
        net.ip(&net.client(), "addr add 203.0.113.100/24 dev br0");
        net.ip(&net.client(), "addr add 2001:db8::100/64 dev br0 nodad");
        for r in 1..=routers {
            net.add(&net.router(r));
            for (bridge, link) in [("br0", "eth0"), ("br1", "eth1")] {
                let (client, router) = (net.client(), net.router(r));
                let port = format!("{link}r{r}");
                net.ip(
                    &client,
                    &format!("link add {port} type veth peer name {link} netns {router}"),
                );
                net.ip(&client, &format!("link set {port} master {bridge} up"));
                net.ip(&router, &format!("link set {link} up"));
            }
            let router = net.router(r);
            net.ip(&router, &format!("addr add 203.0.113.{r}/24 dev eth0"));
            net.ip(
                &router,
                &format!("addr add 2001:db8::{r}/64 dev eth0 nodad"),
            );
            net.ip(&router, &format!("addr add 10.9.0.{r}/24 dev eth1"));
        }
        net
    }

    fn add(&self, name: &str) {
        let (made, said) = run("ip", &["netns", "add", name]);
        assert!(made, "{said}");
        // A link-local address that is usable at once.
        self.exec(
            name,
            "sysctl",
            &["-qw", "net.ipv6.conf.default.accept_dad=0"],
        );
        self.exec(name, "sysctl", &["-qw", "net.ipv6.conf.all.accept_dad=0"]);
        self.ip(name, "link set lo up");
    }

    /// The client's namespace.
    pub fn client(&self) -> String {
        format!("{}c", self.prefix)
    }

    /// A router's namespace, from 1.
    pub fn router(&self, n: usize) -> String {
        format!("{}r{n}", self.prefix)
    }

    /// Runs `ip` in a namespace.
    pub fn ip(&self, namespace: &str, words: &str) -> String {
        let mut args = vec!["-n", namespace];
        args.extend(words.split(' '));
        let (done, said) = run("ip", &args);
        assert!(done, "ip {words}: {said}");
        said
    }

    /// Runs a program in a namespace to its end; whether it succeeded, and what it said.
    pub fn exec(&self, namespace: &str, program: &str, args: &[&str]) -> (bool, String) {
        let mut all = vec!["netns", "exec", namespace, program];
        all.extend(args);
        run("ip", &all)
    }

    /// Starts a program in a namespace; it is the child itself. What it writes goes to a file.
    pub fn spawn(&self, namespace: &str, program: &str, args: &[&str], output: &str) -> Child {
        let log = std::fs::File::create(output).expect("a file");
        Command::new("ip")
            .args(["netns", "exec", namespace, program])
            .args(args)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a descriptor"))
            .stderr(log)
            .spawn()
            .expect("it starts")
    }

    /// Whether a router has an address on `eth0`.
    pub fn has(&self, router: usize, address: &str) -> bool {
        let shown = self.ip(&self.router(router), "-o addr show dev eth0");
        shown.contains(&format!(" {address}/"))
    }

    /// The one router that has the address; `None` while there is none, or several.
    pub fn holder(&self, address: &str) -> Option<usize> {
        let mut holders = (1..=self.routers).filter(|r| self.has(*r, address));
        let first = holders.next();
        first.filter(|_| holders.next().is_none())
    }

    /// Waits until only this router has the address.
    pub fn wait_for_holder(&self, router: usize, address: &str) {
        until(&format!("router {router} alone has {address}"), || {
            self.holder(address) == Some(router)
        });
    }

    /// What the client gets from an address by HTTP; empty when there is nothing.
    pub fn get(&self, address: &str) -> String {
        let url = match address.contains(':') {
            true => format!("http://[{address}]/"),
            false => format!("http://{address}/"),
        };
        let args = ["-s", "-m", "1", "-g", &url];
        self.exec(&self.client(), "curl", &args).1
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        for r in 1..=self.routers {
            run("ip", &["netns", "del", &self.router(r)]);
        }
        run("ip", &["netns", "del", &self.client()]);
    }
}

/// A mulgil in a router's namespace.
pub struct Router {
    /// The process.
    pub child: Child,
    /// Its files.
    pub folder: Folder,
    number: usize,
}

impl Router {
    /// Starts it with a configuration, to which a control socket is added; ready when that answers.
    pub fn start(net: &Net, number: usize, config: &str) -> Router {
        Router::start_with(net, number, config, &[])
    }

    /// Starts one that replaces a process of the same router, by its number.
    pub fn replace(net: &Net, number: usize, config: &str, old: &str) -> Router {
        Router::start_with(net, number, config, &["-sf", old])
    }

    fn start_with(net: &Net, number: usize, config: &str, more: &[&str]) -> Router {
        let folder = Folder::new();
        let path = folder.file("test.cfg", Router::text(&folder, config).as_bytes());
        let program = Program::mulgil();
        let child = net.spawn(
            &net.router(number),
            &program.path(),
            &[&["-f", &path, "-db"], more].concat(),
            &folder.path("output"),
        );
        let router = Router {
            child,
            folder,
            number,
        };
        until(
            &format!("router {number} starts: {}", router.output()),
            || router.try_control("show info").is_some(),
        );
        router
    }

    fn text(folder: &Folder, config: &str) -> String {
        let socket = folder.path("control");
        format!("global\n    stats socket {socket} level admin\n    nbthread 1\n{config}")
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
            .unwrap_or_else(|| panic!("router {} does not answer: {}", self.number, self.output()))
    }

    /// A fact of `show vrrp` about a section.
    pub fn vrrp(&self, section: &str, fact: &str) -> String {
        let shown = self.control(&format!("show vrrp {section}"));
        let mut lines = shown.lines();
        let found = lines.find_map(|l| l.strip_prefix(&format!("{fact}: ")));
        found.unwrap_or_default().to_string()
    }

    /// Waits until a fact has a value.
    pub fn wait_for(&self, section: &str, fact: &str, wanted: &str) {
        let end = Instant::now() + PATIENCE;
        while self.vrrp(section, fact) != wanted {
            assert!(
                Instant::now() < end,
                "router {}: {fact} is never {wanted}:\n{}\n{}",
                self.number,
                self.control("show vrrp"),
                self.output()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// A counter of a section.
    pub fn count(&self, section: &str, counter: &str) -> u64 {
        self.vrrp(section, counter).parse().unwrap_or(0)
    }

    /// Puts another configuration into force by a signal.
    pub fn reload(&self, config: &str) {
        let before = self.output().matches("configuration").count();
        let text = Router::text(&self.folder, config);
        self.folder.file("test.cfg", text.as_bytes());
        self.signal("-HUP");
        until("the reload is over", || {
            self.output().matches("configuration").count() > before
        });
    }

    /// What it has written.
    pub fn output(&self) -> String {
        std::fs::read_to_string(self.folder.path("output")).unwrap_or_default()
    }

    /// Waits until it has written something.
    pub fn wait_for_output(&self, wanted: &str) {
        until(&format!("router {} says '{wanted}'", self.number), || {
            self.output().contains(wanted)
        });
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        let (done, said) = run("kill", &[signal, &pid]);
        assert!(done, "{said}");
    }

    /// Ends it as a crash would.
    pub fn kill(mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Ends it as an operator would.
    pub fn stop(mut self) {
        self.signal("-TERM");
        until("it ends", || {
            self.child.try_wait().is_ok_and(|s| s.is_some())
        });
    }
}

impl Drop for Router {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
