//! What is wrong with the servers of a proxy, and where. The places of servers are not kept while
//! reading, because there may be a million of them: their lines are found again.

use crate::draft::CheckChoice;
use crate::draft::{Draft, Place};
use crate::lexer::{self, Variables};
use model::{Address, Balance, Host, Resolvers, Server};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

/// More are not looked for: the report would not show them.
const ENOUGH: usize = 200;

pub(super) struct Finding {
    /// The server.
    pub name: Arc<str>,
    /// Which line of that name, from 0.
    pub nth: usize,
    what: What,
}

enum What {
    SameName,
    SameId(u32, Arc<str>),
    NoCheckPort,
    BothChecksAndTrack(Arc<str>),
    TracksUnchecked(Arc<str>),
    TracksNobody(Arc<str>),
    TracksItself(Arc<str>),
    TracksTooFar(Arc<str>),
    NoResolvers(Arc<str>),
    NoAgent,
    Unfit(String),
}

impl Finding {
    /// `first` is the line of the first server of that name.
    pub(super) fn message(&self, draft: &Draft, first: usize) -> String {
        let (name, proxy) = (&self.name, &draft.name);
        match &self.what {
            What::SameName => format!(
                "'{proxy}' has a server '{name}' already, at line {first}: give this one another name"
            ),
            What::SameId(id, other) => {
                format!("server '{other}' of '{proxy}' has id {id} already: give '{name}' another")
            }
            What::NoCheckPort => format!(
                "server '{name}' has no port that checks could go to: add one to its address, or 'port N'"
            ),
            What::BothChecksAndTrack(wanted) => {
                format!("server '{name}' cannot both have checks and track '{wanted}'")
            }
            What::TracksUnchecked(wanted) => {
                format!("server '{wanted}' has no checks to track: give it 'check'")
            }
            What::TracksItself(wanted) => format!(
                "server '{name}' tracks '{wanted}', which leads back to it: let one of them have checks"
            ),
            What::TracksTooFar(wanted) => format!(
                "server '{name}' tracks '{wanted}', from which no server with checks is found in {CHAIN} steps: let one of them have checks"
            ),
            What::NoResolvers(wanted) => {
                format!("no 'resolvers {wanted}' for the name of '{name}': add that section")
            }
            What::Unfit(message) => message.clone(),
            What::NoAgent => format!(
                "server '{name}' has no agent to take its weight from: add 'agent-check', or choose another 'balance'"
            ),
            What::TracksNobody(wanted) => {
                format!("no server '{wanted}' to track: name one that is there")
            }
        }
    }
}

/// Servers that do not fit the mode of their proxy, each with what is to be said.
pub(super) fn unfit(draft: &Draft, judge: impl Fn(&Server) -> Vec<String>) -> Vec<Finding> {
    let mut names: HashMap<&str, usize> = HashMap::new();
    let mut found = Vec::new();
    for server in &draft.back.servers {
        let nth = names.entry(&server.name).or_insert(0);
        found.extend(judge(server).into_iter().map(|message| Finding {
            name: Arc::clone(&server.name),
            nth: *nth,
            what: What::Unfit(message),
        }));
        *nth += 1;
        if found.len() > ENOUGH {
            break;
        }
    }
    found
}

/// Where the state of a server comes from.
pub(super) enum Origin {
    /// Nowhere: it has no checks.
    Nowhere,
    /// Its own checks, or its agent.
    Own,
    /// The server of this name, of the same backend or of the one before the slash.
    Other(Arc<str>),
}

/// Of backends that `track` names: each server, and where its state comes from.
pub(super) type Tracked = HashMap<Arc<str>, HashMap<Arc<str>, Origin>>;

/// Servers that are followed from one to the next at most, to see whether they lead back.
const CHAIN: usize = 1000;

/// Which servers of backends that are named by `track` have checks.
pub(super) fn tracked(drafts: &[Draft]) -> Tracked {
    let mut wanted: HashSet<Arc<str>> = HashSet::new();
    for draft in drafts {
        for track in draft.back.servers.iter().filter_map(|s| s.track.as_deref()) {
            let backend = track.split_once('/').map_or(&*draft.name, |(b, _)| b);
            wanted.insert(backend.into());
        }
    }
    let tracked = drafts
        .iter()
        .filter(|d| d.has_back() && wanted.contains(&d.name));
    let known = |s: &Server| match &s.track {
        Some(other) => Origin::Other(Arc::clone(other)),
        None if s.check.is_some() || s.agent.is_some() => Origin::Own,
        None => Origin::Nowhere,
    };
    tracked
        .map(|d| {
            let servers = d.back.servers.iter();
            let servers = servers.map(|s| (Arc::clone(&s.name), known(s)));
            (Arc::clone(&d.name), servers.collect())
        })
        .collect()
}

/// What is wrong with whom a server tracks: it must be there, and have checks or track another.
fn wrong_track(draft: &Draft, server: &Server, tracked: &Tracked) -> Option<What> {
    let wanted = server.track.as_ref()?;
    let mut place = wanted.split_once('/').unwrap_or((&draft.name, wanted));
    match tracked.get(place.0).and_then(|all| all.get(place.1)) {
        None => return Some(What::TracksNobody(Arc::clone(wanted))),
        Some(Origin::Nowhere) => return Some(What::TracksUnchecked(Arc::clone(wanted))),
        Some(_) if server.check.is_some() => {
            return Some(What::BothChecksAndTrack(Arc::clone(wanted)));
        }
        Some(_) => {}
    }
    for _ in 0..CHAIN {
        if place == (&*draft.name, &*server.name) {
            return Some(What::TracksItself(Arc::clone(wanted)));
        }
        let Some(Origin::Other(next)) = tracked.get(place.0).and_then(|all| all.get(place.1))
        else {
            return None;
        };
        place = next.split_once('/').unwrap_or((place.0, next));
    }
    Some(What::TracksTooFar(Arc::clone(wanted)))
}

/// What is said of a `shard`: keys are told to peers, and to nobody else.
pub(super) fn stray_shard(draft: &Draft) -> Option<String> {
    let server = draft.back.servers.iter().find(|s| s.shard > 0)?;
    Some(format!(
        "'shard' of server '{}' has no effect outside 'peers': remove it",
        server.name
    ))
}

/// What is said of words about kept connections where none is kept, or no check could use one.
pub(super) fn stray_pool(draft: &Draft) -> Option<String> {
    let http = draft.mode == model::Mode::Http;
    let servers = &draft.back.servers;
    if !http && let Some(server) = servers.iter().find(|s| s.pool_name.is_some()) {
        let name = &server.name;
        return Some(format!(
            "'pool-conn-name' of server '{name}' has no effect outside mode http: remove it"
        ));
    }
    let checks = http && matches!(draft.check.choice, Some(CheckChoice::Http));
    let reuses = |s: &&model::Server| s.check.as_ref().is_some_and(|c| c.reuse_pool);
    let server = servers.iter().find(reuses).filter(|_| !checks)?;
    Some(format!(
        "'check-reuse-pool' of server '{}' has no effect without HTTP checks in mode http: add 'option httpchk', or remove it",
        server.name
    ))
}

/// All that is wrong with the servers of a proxy.
pub(super) fn findings(
    draft: &Draft,
    tracked: &Tracked,
    resolvers: &BTreeMap<Arc<str>, Arc<Resolvers>>,
) -> Vec<Finding> {
    let servers = &draft.back.servers;
    let mut names: HashMap<&str, usize> = HashMap::with_capacity(servers.len());
    let mut ids: HashMap<u32, &Server> = HashMap::new();
    let mut found = Vec::new();
    let own_port = draft.check.names_port() || draft.check.needs_no_port();
    for server in servers {
        let nth = names.entry(&server.name).or_insert(0);
        let mut push = |what| {
            found.push(Finding {
                name: Arc::clone(&server.name),
                nth: *nth,
                what,
            });
        };
        if *nth > 0 {
            push(What::SameName);
        }
        if server.id != 0
            && let Some(other) = ids.insert(server.id, server)
        {
            push(What::SameId(server.id, Arc::clone(&other.name)));
        }
        if !own_port && lacks_check_port(server) {
            push(What::NoCheckPort);
        }
        if matches!(draft.back.balance, Balance::Agent) && server.agent.is_none() {
            push(What::NoAgent);
        }
        if let Some(what) = wrong_track(draft, server, tracked) {
            push(what);
        }
        if let Some(resolution) = &server.resolution
            && !resolvers.contains_key(&resolution.resolvers)
        {
            push(What::NoResolvers(Arc::clone(&resolution.resolvers)));
        }
        *nth += 1;
        if found.len() > ENOUGH {
            break;
        }
    }
    found
}

pub(super) fn lacks_check_port(server: &Server) -> bool {
    let without = |address: &Address| match address {
        // The answer about a service names its port.
        Address::Inet {
            host: Host::Name(name),
            ..
        } if model::names_service(name) => false,
        _ => !address.names_port(),
    };
    server.check.as_ref().is_some_and(|check| {
        let given = check.addr.as_ref().is_some_and(|a| !without(a));
        check.port.is_none() && !given && without(&server.address)
    })
}

impl crate::draft::CheckDraft {
    /// Whether checks speak a protocol without ports.
    fn needs_no_port(&self) -> bool {
        matches!(self.choice, Some(CheckChoice::Kind(model::CheckKind::Echo)))
    }

    /// Whether the rules say which port connections go to.
    fn names_port(&self) -> bool {
        let rules = match self.choice {
            Some(CheckChoice::Http) => &self.http,
            Some(CheckChoice::Tcp) => &self.tcp,
            _ => return false,
        };
        model::CheckScript::names_port(&rules.steps)
    }
}

/// The lines of these servers, by name, in order.
pub(super) fn places(
    draft: &Draft,
    findings: &[Finding],
    text: &str,
    env: &BTreeMap<String, String>,
) -> HashMap<String, Vec<Place>> {
    let wanted: HashSet<&str> = findings.iter().map(|f| &*f.name).collect();
    let mut places: HashMap<String, Vec<Place>> = HashMap::new();
    for (index, line) in text.split('\n').enumerate().skip(draft.place.line) {
        let variables = Variables {
            env,
            file: &draft.place.file,
            line: index + 1,
            section: &draft.name,
        };
        let Ok(words) = lexer::words(line, &variables) else {
            continue;
        };
        let word = |at: usize| words.get(at).map_or("", |w| w.text.as_str());
        if super::section::known().any(|s| s == word(0)) {
            break;
        }
        let of_line = |name: &&&str| match word(0) {
            "server" => **name == word(1),
            "server-template" => name.strip_prefix(word(1)).is_some_and(|digits| {
                !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())
            }),
            _ => false,
        };
        for name in wanted.iter().filter(of_line) {
            let place = words.get(1).map(|w| Place {
                file: Arc::clone(&draft.place.file),
                line: index + 1,
                text: line.trim_end_matches('\r').into(),
                start: w.start,
                end: w.end,
            });
            places.entry((*name).to_string()).or_default().extend(place);
        }
    }
    places
}
