//! What operators look at and turn: the control socket's commands, the statistics page, the CSV.
//!
//! Text in, text out: whoever owns the sockets calls this. Reads the running system through
//! `state` and changes it only through the methods there.

mod address;
mod anon;
mod cli;
mod commands;
mod info;
mod page;
mod prometheus;
mod servers_state;
mod stat;
mod stat_fields;
mod stat_text;
mod stats_file;
mod time;
mod typed;

pub use address::shown;
pub use cli::{Cli, Listen, Output, Packets, System, World, split, split_words};
pub use commands::{Command, all as commands};
pub use page::{Page, Visit, serve};
pub use prometheus::metrics;
pub use servers_state::restore;
pub use stat::algorithm;
pub use stat_text::csv;
pub use stats_file::preload;

/// The program's version, as `show version` and `show info` say it.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The day of its sources, as `show info` says it; whoever releases a version changes it.
pub const RELEASE_DATE: &str = "2026/11/21";
