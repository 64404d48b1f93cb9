//! What operators look at and turn: the control socket's commands, the statistics page, the CSV.
//!
//! Text in, text out: whoever owns the sockets calls this. Reads the running system through
//! `state` and changes it only through the methods there.

mod certificates;
mod cli;
mod commands;
mod page;
mod stat;

pub use cli::{Cli, Output, World};
pub use commands::COMMANDS;
pub use page::{Page, serve};
pub use stat::csv;

/// The program's version, as `show version` and `show info` say it.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
