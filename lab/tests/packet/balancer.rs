//! Mulgil in a namespace.
#![allow(dead_code)] // each test file uses its part

use crate::net::{Net, wait_until};
use lab::{Folder, Program};
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command};
use std::time::Duration;

/// A running balancer.
pub struct Balancer {
    child: Child,
    folder: Folder,
}

impl Balancer {
    /// Starts one on a host of `net`, and waits until its control socket answers.
    pub fn start(net: &Net, host: &str, config: &str) -> Balancer {
        Balancer::start_for(net, host, 10_000, config)
    }

    /// The same for so many sessions.
    pub fn start_for(net: &Net, host: &str, flows: u32, config: &str) -> Balancer {
        let folder = Folder::new();
        let text = format!(
            "global\n    nbthread 1\n    tune.packet.flows {flows}\n    stats socket {} level admin\n{config}",
            folder.path("control")
        );
        let file = folder.file("test.cfg", text.as_bytes());
        Balancer::run(net, host, folder, &["-f", &file, "-db"])
    }

    /// Starts another one in its place with the same configuration; `how` is `-sf` or `-st`.
    pub fn succeed(&self, net: &Net, host: &str, how: &str) -> Balancer {
        let folder = Folder::new();
        let text = std::fs::read_to_string(self.file()).expect("a configuration");
        let text = text.replace(&self.socket(), &folder.path("control"));
        let file = folder.file("test.cfg", text.as_bytes());
        let pid = self.child.id().to_string();
        Balancer::run(net, host, folder, &["-f", &file, "-db", how, &pid])
    }

    fn run(net: &Net, host: &str, folder: Folder, args: &[&str]) -> Balancer {
        let output = File::create(folder.path("output")).expect("a file");
        let program = Program::mulgil();
        let path = program
            .command()
            .get_program()
            .to_string_lossy()
            .into_owned();
        let child = net.spawn(host, &path, args, output);
        let mut balancer = Balancer { child, folder };
        wait_until("it starts", || {
            let over = balancer.child.try_wait().ok().flatten();
            assert!(over.is_none(), "it did not start: {}", balancer.output());
            balancer
                .control("show info")
                .is_some_and(|t| t.contains("Pid"))
        });
        balancer
    }

    /// The path of its control socket.
    pub fn socket(&self) -> String {
        self.folder.path("control").to_string()
    }

    /// The path of its configuration.
    pub fn file(&self) -> String {
        self.folder.path("test.cfg").to_string()
    }

    /// What it has written.
    pub fn output(&self) -> String {
        std::fs::read_to_string(self.folder.path("output")).unwrap_or_default()
    }

    /// The answer to a command.
    pub fn control(&self, command: &str) -> Option<String> {
        let mut stream = UnixStream::connect(self.folder.path("control")).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
        writeln!(stream, "{command}").ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        Some(text)
    }

    /// A field of a row of `show stat`.
    pub fn stat(&self, proxy: &str, name: &str, field: &str) -> String {
        let text = self.control("show stat").expect("answers");
        let mut lines = text.lines();
        let head = lines.next().unwrap_or_default().trim_start_matches("# ");
        let at = head.split(',').position(|f| f == field).expect("a field");
        let row = lines
            .find(|l| l.starts_with(&format!("{proxy},{name},")))
            .expect("a row");
        row.split(',').nth(at).unwrap_or_default().to_string()
    }

    /// Writes another configuration and has it read.
    pub fn reload(&self, config: &str) {
        let text = format!(
            "global\n    nbthread 1\n    tune.packet.flows 10000\n    stats socket {} level admin\n{config}",
            self.folder.path("control")
        );
        self.folder.file("test.cfg", text.as_bytes());
        let before = self.output().matches("is in force").count();
        self.signal("-HUP");
        wait_until("it reloads", || {
            self.output().matches("is in force").count() > before
        });
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args([signal, &pid]).status();
        assert!(sent.is_ok_and(|s| s.success()), "kill {signal} {pid}");
    }

    /// Whether it has ended.
    pub fn is_over(&mut self) -> bool {
        self.child.try_wait().is_ok_and(|status| status.is_some())
    }

    /// Kills it so that it can do nothing about it.
    pub fn kill(mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs Mulgil's program on a host with these arguments; what it wrote.
#[track_caller]
pub fn mulgil(net: &Net, host: &str, args: &str) -> String {
    let program = Program::mulgil();
    let path = program
        .command()
        .get_program()
        .to_string_lossy()
        .into_owned();
    net.exec(host, &format!("{path} {args}"))
}

/// Takes everything out of the kernel.
#[track_caller]
pub fn detach(net: &Net, host: &str) -> String {
    mulgil(net, host, "packet detach")
}
