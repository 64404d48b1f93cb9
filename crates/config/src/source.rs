//! What loading asks of the world.

use std::collections::BTreeMap;
use std::net::IpAddr;

/// `default-path`: where files with relative names are looked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum DefaultPath {
    /// Where the process was started.
    #[default]
    Current,
    /// Beside the configuration file.
    Config,
    /// In the folder above that.
    Parent,
    /// In this folder.
    Origin(String),
}

impl DefaultPath {
    /// The folder for lines of this file; `None` when names are taken as they are.
    pub fn folder(&self, file: &str) -> Option<String> {
        let beside = file.rsplit_once('/').map(|(folder, _)| folder);
        match self {
            DefaultPath::Current => None,
            DefaultPath::Config => beside.map(Into::into),
            DefaultPath::Parent => Some(beside.map_or("..".into(), |f| format!("{f}/.."))),
            DefaultPath::Origin(folder) => Some(folder.clone()),
        }
    }
}

/// A source whose relative names start in a folder.
pub struct Within<'a> {
    /// The source.
    pub source: &'a dyn Source,
    /// The folder; `None` leaves names as they are.
    pub folder: Option<String>,
    /// What variables stand for.
    pub env: &'a BTreeMap<String, String>,
}

impl Within<'_> {
    fn path(&self, path: &str) -> String {
        match &self.folder {
            Some(folder) if !path.starts_with('/') => format!("{folder}/{path}"),
            _ => path.into(),
        }
    }
}

impl Source for Within<'_> {
    fn read(&self, path: &str) -> Result<Vec<u8>, String> {
        self.source.read(&self.path(path))
    }
    fn list(&self, path: &str) -> Option<Vec<String>> {
        self.source.list(&self.path(path))
    }
    fn resolve(&self, name: &str) -> Vec<IpAddr> {
        self.source.resolve(name)
    }
    fn user(&self, name: &str) -> Option<u32> {
        self.source.user(name)
    }
    fn group(&self, name: &str) -> Option<u32> {
        self.source.group(name)
    }
    fn variable(&self, name: &str) -> Option<String> {
        self.env.get(name).cloned()
    }
}

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
    /// The value of an environment variable. Words that stand in no file see none.
    fn variable(&self, _name: &str) -> Option<String> {
        None
    }
}
