//! The expression language: samples, fetches, converters, ACLs, log formats, actions.
//!
//! Pure: what the rules must know of the running system they read through [`Facts`]. Every
//! element of the language is one entry of a table ([`table`]): name, arguments, one line of
//! documentation, the function. Evaluation takes a [`Tracer`]; the empty one costs nothing.

mod acl;
pub mod action;
mod args;
mod condition;
mod convert;
mod ctx;
mod date;
mod digest;
pub mod digits;
mod error;
mod expr;
pub mod faults;
mod fetch;
mod json;
mod lists;
mod logformat;
mod map;
mod overrides;
mod pattern;
mod sample;
mod session;
pub mod stick;
mod tags;
mod trace;
mod userlist;
mod vars;

pub use acl::Acls;
pub use action::{LogLevelChange, Redirect, Reply, Rule, RuleSet, Service, Silence, Verdict, run};
pub use condition::Cond;
pub use ctx::{
    Ctx, Facts, FtpInfo, Inspection, LogFacts, NoFacts, SmtpInfo, StreamInfo, TcpInfo, Timeout,
    Timers, TlsInfo, Wall, random,
};
pub use date::{Zone, log_date, strftime};
pub use error::{ParseError, nearest};
pub use expr::Expr;
pub use lists::{Change, Entry, Listed, Matcher, Passed, PatternList, PatternLists};
pub use logformat::{LogFormat, UniqueId};
pub use overrides::Overrides;
pub use pattern::contains as network_contains;
pub use pattern::{MATCHES, Match, PatternFault, network, unhex};
pub use sample::{Sample, Type, hex};
pub use session::{Descriptor, Ends, Listener, SessionInfo};
pub use trace::{NoTrace, Tracer};
pub use vars::{Condition as VarCondition, VarLimits, VarName, VarScope, Vars};

use std::sync::{Arc, LazyLock};

/// A compiled regular expression of the language's own kind: bytes, no backreferences.
#[derive(Clone, Debug)]
pub struct Regex(regex::bytes::Regex);

impl Regex {
    /// Compiles it, `fold`: without regard to case; says why when the engine here cannot have it.
    pub fn new(text: &str, fold: bool) -> Result<Regex, String> {
        pattern::regex(text, fold).map(Regex)
    }

    /// Whether it matches somewhere in these bytes.
    pub fn is_match(&self, bytes: &[u8]) -> bool {
        self.0.is_match(bytes)
    }
}

/// What parsing may look at.
#[derive(Clone, Copy)]
pub struct Scope<'a> {
    /// The ACLs declared so far in this proxy.
    pub acls: &'a Acls,
    /// Reads a file that a pattern list or an answer's body comes from.
    pub read_file: &'a dyn Fn(&str) -> Result<Vec<u8>, String>,
    /// The lists of patterns, where what is read belongs to a configuration.
    pub lists: Option<&'a PatternLists>,
    /// The proxy whose stick table is meant where none is named; empty where there is none.
    pub proxy: &'a str,
    /// How many entries of stick tables may be tracked at once (`tune.stick-counters`).
    pub stick_counters: usize,
    /// Is told each stick table that is named.
    pub uses_table: &'a dyn Fn(stick::TableUse),
}

impl Scope<'_> {
    /// What a text may look at that stands in no file: the predefined ACLs only.
    pub fn bare() -> Scope<'static> {
        static NO_ACLS: LazyLock<Acls> = LazyLock::new(Acls::default);
        Scope {
            acls: &NO_ACLS,
            read_file: &|path| Err(format!("'{path}' cannot be read from here")),
            lists: None,
            proxy: "",
            stick_counters: STICK_COUNTERS,
            uses_table: &|_| {},
        }
    }

    /// The list of a file. `map`: its lines have a key and a value; `used`: it is looked up here.
    fn list(&self, name: &str, map: bool, used: bool) -> Result<Arc<PatternList>, String> {
        match self.lists {
            Some(lists) => lists.file(name, map, used, self.read_file),
            None => PatternLists::default().file(name, map, used, self.read_file),
        }
    }
}

/// `tune.stick-counters` where it is not set.
pub const STICK_COUNTERS: usize = 3;

/// The hashes that `hash-type` shares with converters.
pub mod hash {
    pub use crate::convert::{avalanche, crc32, djb2, sdbm};
}

/// The tables that the language is made of, for documentation and for "did you mean".
pub mod table {
    pub use crate::action::actions;
    pub use crate::convert::converters;
    pub use crate::fetch::{Layer, acl_alias, acl_names, fetches};
    pub use crate::tags::TAGS;
}

/// The log formats that options name (manual section 8.2).
pub mod formats {
    /// `option httplog`.
    pub const HTTP: &str = "%ci:%cp [%tr] %ft %b/%s %TR/%Tw/%Tc/%Tr/%Ta %ST %B %CC %CS %tsc \
                            %ac/%fc/%bc/%sc/%rc %sq/%bq %hr %hs %{+Q}r";
    /// `option httplog clf`.
    pub const HTTP_CLF: &str = "%{+Q}o %{-Q}ci - - [%trg] %r %ST %B \"\" \"\" %cp %ms %ft %b %s \
                                %TR %Tw %Tc %Tr %Ta %tsc %ac %fc %bc %sc %rc %sq %bq %CC %CS \
                                %hrl %hsl";
    /// `option httpslog`; errors of handshakes are not known to a request that was received.
    pub const HTTPS: &str = "%ci:%cp [%tr] %ft %b/%s %TR/%Tw/%Tc/%Tr/%Ta %ST %B %CC %CS %tsc \
                             %ac/%fc/%bc/%sc/%rc %sq/%bq %hr %hs %{+Q}r 0/-/-/-/%[ssl_fc_is_resumed] \
                             %[ssl_fc_sni]/%sslv/%sslc";
    /// `option tcplog`.
    pub const TCP: &str = "%ci:%cp [%t] %ft %b/%s %Tw/%Tc/%Tt %B %ts %ac/%fc/%bc/%sc/%rc %sq/%bq";
    /// `option smtplog`: a line for each message.
    pub const SMTP: &str = "%ci:%cp [%tr] %ft %b/%s %Tw/%Tc/%Tt %ST %U %ts %ac/%fc/%bc/%sc/%rc \
                            %sq/%bq helo=%[smtp.helo] from=<%[smtp.from]> to=<%[smtp.rcpt]> \
                            rcpts=%[smtp.rcpts]";
}
