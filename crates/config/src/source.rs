//! What loading asks of the world.

use std::net::IpAddr;

/// Files, names and users.
pub trait Source {
    /// A file's bytes.
    fn read(&self, path: &str) -> Result<Vec<u8>, String>;
    /// The visible files of a directory, sorted; `None` when it is no directory.
    fn list(&self, path: &str) -> Option<Vec<String>>;
    /// The addresses of a host name.
    fn resolve(&self, name: &str) -> Vec<IpAddr>;
    /// A user's number.
    fn user(&self, name: &str) -> Option<u32>;
    /// A group's number.
    fn group(&self, name: &str) -> Option<u32>;
}
