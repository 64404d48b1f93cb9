//! Stick tables as rules see them (manual, `stick-table`): what they hold, by which keys, and the
//! trait through which rules read and write them. The tables themselves live elsewhere.

use crate::{Sample, Type};
use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// What the keys of a table are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // names of the manual
pub enum KeyType {
    Ip,
    Ipv6,
    Integer,
    String,
    Binary,
}

impl KeyType {
    /// All of them.
    pub const ALL: [KeyType; 5] = [
        KeyType::Ip,
        KeyType::Ipv6,
        KeyType::Integer,
        KeyType::String,
        KeyType::Binary,
    ];

    /// Its name in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            KeyType::Ip => "ip",
            KeyType::Ipv6 => "ipv6",
            KeyType::Integer => "integer",
            KeyType::String => "string",
            KeyType::Binary => "binary",
        }
    }

    /// The length of its keys in bytes, where it is always the same.
    pub fn fixed_len(self) -> Option<usize> {
        match self {
            KeyType::Ip | KeyType::Integer => Some(4),
            KeyType::Ipv6 => Some(16),
            KeyType::String | KeyType::Binary => None,
        }
    }

    /// Whether a value of this type can be a key, at least sometimes.
    pub fn takes(self, value: Type) -> bool {
        value.casts_to(match self {
            KeyType::Ip | KeyType::Ipv6 => Type::Addr,
            KeyType::Integer => Type::Int,
            KeyType::String => Type::Str,
            KeyType::Binary => Type::Bin,
        })
    }

    /// The bytes of the key that a value makes, `len` at most; numbers have their highest byte
    /// first. `None` where the value cannot be one: an IPv6 address is no `ip`.
    pub fn key<'s>(self, value: &'s Sample<'_>, len: usize) -> Option<Cow<'s, [u8]>> {
        let cut = |bytes: Cow<'s, [u8]>| match bytes {
            Cow::Borrowed(b) => Cow::Borrowed(b.get(..len).unwrap_or(b)),
            Cow::Owned(mut b) => {
                b.truncate(len);
                Cow::Owned(b)
            }
        };
        Some(match self {
            KeyType::Ip => match value.to_ip()?.to_canonical() {
                IpAddr::V4(ip) => Cow::Owned(ip.octets().to_vec()),
                IpAddr::V6(_) => return None,
            },
            KeyType::Ipv6 => match value.to_ip()? {
                IpAddr::V4(ip) => Cow::Owned(ip.to_ipv6_mapped().octets().to_vec()),
                IpAddr::V6(ip) => Cow::Owned(ip.octets().to_vec()),
            },
            KeyType::Integer => Cow::Owned((value.to_int()? as u32).to_be_bytes().to_vec()),
            KeyType::String => cut(match value.to_bytes() {
                Cow::Borrowed(b) => Cow::Borrowed(before_nul(b)),
                Cow::Owned(b) => Cow::Owned(before_nul(&b).to_vec()),
            }),
            KeyType::Binary => match value {
                Sample::Str(b) | Sample::Bin(b) | Sample::Method(b) => cut(Cow::Borrowed(b)),
                other => cut(other
                    .clone()
                    .cast(Type::Bin)?
                    .into_bytes()
                    .into_owned()
                    .into()),
            },
        })
    }
}

fn before_nul(bytes: &[u8]) -> &[u8] {
    bytes.split(|b| *b == 0).next().unwrap_or_default()
}

/// What a kind of data is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DataKind {
    /// A number of 32 bits.
    Number,
    /// A number of 64 bits.
    Large,
    /// Events in a period.
    Rate,
    /// A server.
    Server,
}

macro_rules! data {
    ($($variant:ident $name:literal $kind:ident $array:literal $doc:literal,)*) => {
        /// What can be stored with an entry, in the order in which entries show it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Data { $(#[doc = $doc] $variant,)* }

        impl Data {
            /// All of them.
            pub const ALL: &'static [Data] = &[$(Data::$variant,)*];

            /// Its name in the configuration.
            pub fn name(self) -> &'static str {
                match self { $(Data::$variant => $name,)* }
            }

            /// What it is made of.
            pub fn kind(self) -> DataKind {
                match self { $(Data::$variant => DataKind::$kind,)* }
            }

            /// Whether there are several of it.
            pub fn is_array(self) -> bool {
                match self { $(Data::$variant => $array,)* }
            }
        }
    };
}

data! {
    ServerId "server_id" Number false "Number of the server that requests go to.",
    Gpt0 "gpt0" Number false "First tag.",
    Gpc0 "gpc0" Number false "First counter for any purpose.",
    Gpc0Rate "gpc0_rate" Rate false "Its rate.",
    ConnCnt "conn_cnt" Number false "Connections.",
    ConnRate "conn_rate" Rate false "Their rate.",
    ConnCur "conn_cur" Number false "Connections now.",
    SessCnt "sess_cnt" Number false "Connections that became sessions.",
    SessRate "sess_rate" Rate false "Their rate.",
    HttpReqCnt "http_req_cnt" Number false "Requests.",
    HttpReqRate "http_req_rate" Rate false "Their rate.",
    HttpErrCnt "http_err_cnt" Number false "Requests that are errors of the client.",
    HttpErrRate "http_err_rate" Rate false "Their rate.",
    BytesInCnt "bytes_in_cnt" Large false "Bytes from the client.",
    BytesInRate "bytes_in_rate" Rate false "Their rate.",
    BytesOutCnt "bytes_out_cnt" Large false "Bytes to the client.",
    BytesOutRate "bytes_out_rate" Rate false "Their rate.",
    Gpc1 "gpc1" Number false "Second counter for any purpose.",
    Gpc1Rate "gpc1_rate" Rate false "Its rate.",
    ServerKey "server_key" Server false "Name or address of the server that requests go to.",
    HttpFailCnt "http_fail_cnt" Number false "Responses that are failures of the server.",
    HttpFailRate "http_fail_rate" Rate false "Their rate.",
    Gpt "gpt" Number true "Tags.",
    Gpc "gpc" Number true "Counters for any purpose.",
    GpcRate "gpc_rate" Rate true "Their rates.",
}

impl Data {
    /// By its name.
    pub fn by_name(name: &str) -> Option<Data> {
        Data::ALL.iter().copied().find(|d| d.name() == name)
    }
}

/// The name of a table as a rule has it. It remembers where the table was found, so that looking it
/// up again costs one comparison.
#[derive(Debug)]
pub struct TableName {
    /// The name.
    pub name: Arc<str>,
    place: AtomicUsize,
}

impl TableName {
    /// A name.
    pub fn new(name: &str) -> TableName {
        TableName {
            name: name.into(),
            place: AtomicUsize::new(0),
        }
    }

    /// The one of `all` that bears this name, `name_of` says each one's.
    pub fn find<'t, T>(&self, all: &'t [T], name_of: impl Fn(&T) -> &str) -> Option<&'t T> {
        let mine = |t: &&T| name_of(t) == &*self.name;
        if let Some(found) = all.get(self.place.load(Relaxed)).filter(mine) {
            return Some(found);
        }
        let at = all.iter().position(|t| mine(&t))?;
        self.place.store(at, Relaxed);
        all.get(at)
    }
}

impl Clone for TableName {
    fn clone(&self) -> TableName {
        TableName {
            name: Arc::clone(&self.name),
            place: AtomicUsize::new(self.place.load(Relaxed)),
        }
    }
}

/// A place where a rule names a table, for the configuration to check.
#[derive(Clone, Debug)]
pub struct TableUse {
    /// The table.
    pub table: Arc<str>,
    /// What becomes its key, where that is known.
    pub key: Option<Type>,
}

/// Which entry is meant.
#[derive(Clone, Copy, Debug)]
pub enum Entry<'a> {
    /// The one that is tracked under this number; with a table, the one of the same key there.
    Tracked(usize, Option<&'a TableName>),
    /// The one of this key.
    Key(&'a TableName, &'a Sample<'a>),
}

/// What is read of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    /// A value; of arrays the one at this index.
    Value(Data, u32),
    /// How many sessions and requests track it.
    Trackers,
    /// Milliseconds until it expires.
    Expire,
    /// Milliseconds since it was last touched.
    Idle,
    /// Whether it is there.
    Presence,
}

/// What is changed of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The counter of this name or at this index of the array grows, and its rate.
    Count(Counter, u32),
    /// It starts again at 0; its value before is what comes back.
    Clear(Counter),
    /// A tag.
    Tag(Counter, u32),
    /// One more connection.
    Connection,
}

/// A counter or tag for any purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counter {
    /// `gpc0`, `gpc1`, `gpt0`: also the first ones of an array.
    Named(u32),
    /// Of the array only.
    Indexed(u32),
}

/// How long tracking lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lasts {
    /// As long as the connection.
    Session,
    /// As long as the request, or the connection in TCP mode; whether there is a request, such as
    /// a message of SMTP.
    Stream {
        /// There is.
        request: bool,
    },
}

/// The stick tables, and what the session tracks in them. A table that is not there, an entry that
/// is not tracked, and data that is not stored give `None`; an entry that is not there counts 0.
pub trait Tables {
    /// Begins to track an entry under a number, unless something is tracked there; it is made
    /// where it is not there and there is room.
    fn track(&self, number: usize, table: &TableName, key: &Sample<'_>, lasts: Lasts);
    /// Whether something is tracked under a number.
    fn tracks(&self, number: usize) -> bool;
    /// Reads of an entry.
    fn read(&self, entry: Entry<'_>, what: Read) -> Option<i64>;
    /// Changes an entry, which is made where it is meant by its key; the new value.
    fn change(&self, entry: Entry<'_>, change: Change) -> Option<i64>;
    /// Entries in a table.
    fn used(&self, table: &TableName) -> Option<i64>;
    /// Entries that there is room for.
    fn free(&self, table: &TableName) -> Option<i64>;
    /// The key that is tracked under a number.
    fn key(&self, number: usize, table: Option<&TableName>) -> Option<Sample<'static>>;
}
