//! The table of commands, by family: each entry is the words it begins with, how it is written,
//! a line, who may use it, and its function.

mod certificates;
mod conversation;
mod crt_lists;
mod internals;
mod limits;
mod malformed;
mod ocsp;
mod packets;
mod patterns;
mod peers;
mod process;
mod resolvers;
mod servers;
mod sessions;
mod set_server;
mod statistics;
mod tables;
mod ticket_keys;
mod tls_files;
mod variables;
mod vrrp;

pub(crate) use set_server::{change, drain, maintain, ready};

use crate::cli::{Cli, Said, World};
use model::CliLevel;
use state::{Backend, Frontend, Server};
use std::sync::Arc;

/// One command.
pub struct Command {
    /// The words it begins with.
    pub words: &'static [&'static str],
    /// How it is written.
    pub usage: &'static str,
    /// One line.
    pub doc: &'static str,
    /// Who may use it.
    pub level: CliLevel,
    /// Whether it wants `experimental-mode on`.
    pub experimental: bool,
    pub(crate) run: fn(&mut Cli, &World<'_>, &[&str], &str) -> Said,
}

impl Command {
    const fn new(
        words: &'static [&'static str],
        usage: &'static str,
        doc: &'static str,
        level: CliLevel,
        run: fn(&mut Cli, &World<'_>, &[&str], &str) -> Said,
    ) -> Command {
        Command {
            words,
            usage,
            doc,
            level,
            experimental: false,
            run,
        }
    }

    const fn experimental(mut self) -> Command {
        self.experimental = true;
        self
    }
}

/// All commands.
pub fn all() -> impl Iterator<Item = &'static Command> {
    [
        certificates::COMMANDS,
        conversation::COMMANDS,
        crt_lists::COMMANDS,
        internals::COMMANDS,
        limits::COMMANDS,
        malformed::COMMANDS,
        ocsp::COMMANDS,
        packets::COMMANDS,
        peers::COMMANDS,
        process::COMMANDS,
        resolvers::COMMANDS,
        servers::COMMANDS,
        sessions::COMMANDS,
        statistics::COMMANDS,
        tables::COMMANDS,
        ticket_keys::COMMANDS,
        tls_files::COMMANDS,
        variables::COMMANDS,
        vrrp::COMMANDS,
    ]
    .into_iter()
    .flatten()
    .chain(patterns::commands())
}

fn with_frontend(w: &World<'_>, args: &[&str], f: impl FnOnce(&Arc<Frontend>) -> Said) -> Said {
    let Some(name) = args.first() else {
        return Said::fault("A frontend name is expected.");
    };
    match w.generation.frontend(name) {
        Some(frontend) => f(frontend),
        None => Said::fault("No such frontend."),
    }
}

/// The backend and the server's name of `backend/server`, or what is wrong with it.
fn backend_of<'a>(
    w: &'a World<'_>,
    args: &[&'a str],
) -> Result<(&'a Arc<Backend>, &'a str), &'a str> {
    let named = args.first().and_then(|a| a.split_once('/'));
    let Some((backend, server)) = named.filter(|(_, server)| !server.is_empty()) else {
        return Err("Require 'backend/server'.");
    };
    match w.generation.backend(backend) {
        Some(backend) => Ok((backend, server)),
        None => Err("No such backend."),
    }
}

fn with_server(
    w: &World<'_>,
    args: &[&str],
    f: impl FnOnce(&Arc<Backend>, &Arc<Server>) -> Said,
) -> Said {
    match backend_of(w, args) {
        Ok((backend, server)) => match backend.server(server) {
            Some(server) => f(backend, server),
            None => Said::fault("No such server."),
        },
        Err(fault) => Said::fault(fault),
    }
}
