//! Answers without the names and addresses of a configuration (`set anon on`): for who may see how a
//! machine is doing, but not whose it is.

use crate::cli::World;
use model::{Address, Host};
use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;
use std::sync::Arc;

/// What is hidden, and by which key: what is alike is alike afterwards, also in other answers by this key.
pub struct Veil {
    key: u32,
    names: HashSet<Arc<str>>,
    /// What stands in more than one word, such as paths of UNIX sockets; the longest first.
    phrases: Vec<Arc<str>>,
}

/// The parts of a word, as colons divide it, that one address or name may have.
const PARTS: usize = 9;

impl Veil {
    /// One for the names of a configuration, and of servers that came since.
    pub fn new(key: u32, world: &World<'_>) -> Veil {
        let generation = &world.generation;
        let config = &generation.config;
        let mut veil = Veil {
            key,
            names: HashSet::new(),
            phrases: Vec::new(),
        };
        let binds = config.proxies.iter().filter_map(|p| p.frontend.as_ref());
        let binds = binds.flat_map(|f| &f.binds);
        for bind in binds.chain(config.peers.iter().flat_map(|p| &p.binds)) {
            veil.add(bind.options.name.as_deref().unwrap_or_default());
            veil.place(&bind.address);
        }
        for proxy in &config.proxies {
            veil.add(&proxy.name);
        }
        for server in generation.backends.iter().flat_map(|b| b.servers()) {
            veil.add(&server.name);
            veil.add(server.settings().hostname.as_deref().unwrap_or_default());
            veil.add(server.hostname().as_deref().unwrap_or_default());
            veil.place(&server.settings().address);
        }
        for section in &config.peers {
            veil.add(&section.name);
            veil.add(&section.local);
            for peer in &section.others {
                veil.add(&peer.name);
                veil.place(&peer.address);
            }
        }
        for (name, section) in &config.resolvers {
            veil.add(name);
            section.nameservers.iter().for_each(|n| veil.add(&n.name));
        }
        for socket in &config.global.stats_sockets {
            veil.place(&socket.address);
        }
        veil.add(&world.process.node);
        veil.add(config.global.description.as_deref().unwrap_or_default());
        let sections = config.mailers.keys().chain(config.userlists.keys());
        sections.for_each(|name| veil.add(name));
        config.tables.iter().for_each(|t| veil.add(&t.name));
        config.vrrp.iter().for_each(|v| veil.add(&v.name));
        veil.phrases.sort_by_key(|p| std::cmp::Reverse(p.len()));
        veil.phrases.dedup();
        veil
    }

    fn add(&mut self, name: &str) {
        match name.chars().all(is_part) {
            _ if name.is_empty() => false,
            true => self.names.insert(name.into()),
            false => {
                self.phrases.push(name.into());
                true
            }
        };
    }

    /// Addresses of IP are known as such wherever they stand.
    fn place(&mut self, address: &Address) {
        match address {
            Address::Unix { path, .. } => self.add(path),
            Address::Abstract { name, .. } => self.add(name),
            Address::Inet {
                host: Host::Name(name),
                ..
            } => self.add(name),
            Address::Inet { .. } | Address::Fd(_) => {}
        }
    }

    /// The text with six hexadecimal digits for each name and each address; ports stay.
    pub fn hide(&self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(start) = rest.find(|c| is_part(c) || self.begins(c)) {
            let (before, from) = rest.split_at(start);
            out.push_str(before);
            let phrase = self.phrases.iter().find(|p| from.starts_with(&***p));
            if let Some(phrase) = phrase {
                out.push_str(&self.digits(&**phrase));
                rest = from.get(phrase.len()..).unwrap_or_default();
                continue;
            }
            let end = from.find(|c| !is_part(c)).unwrap_or(from.len());
            // What begins a phrase, and is none of a word.
            let end = end.max(from.chars().next().map_or(1, char::len_utf8));
            let (word, after) = from.split_at(end);
            self.word(word, &mut out);
            rest = after;
        }
        out.push_str(rest);
        out
    }

    fn begins(&self, c: char) -> bool {
        self.phrases.iter().any(|p| p.starts_with(c))
    }

    /// A word may have several names and addresses, with colons between them.
    fn word(&self, word: &str, out: &mut String) {
        let mut rest = word;
        while !rest.is_empty() {
            let ends = rest.match_indices(':').map(|(at, _)| at);
            let ends: Vec<usize> = ends.chain([rest.len()]).take(PARTS).collect();
            let pieces = ends.iter().rev().filter_map(|end| rest.get(..*end));
            // A full stop behind it belongs to the sentence.
            let mut pieces = pieces.flat_map(|p| [p, p.trim_end_matches('.')]);
            let hidden = pieces.find_map(|p| Some((p.len(), self.hidden(p)?)));
            let shown = hidden.as_ref().map_or("", |(_, digits)| digits.as_str());
            out.push_str(shown);
            rest = rest
                .get(hidden.map_or(0, |(at, _)| at)..)
                .unwrap_or_default();
            let next = rest.find(':').map_or(rest.len(), |at| at + 1);
            let (between, behind) = rest.split_at(next);
            out.push_str(between);
            rest = behind;
        }
    }

    /// What stands for a name, an address, or the first and the last of some.
    fn hidden(&self, piece: &str) -> Option<String> {
        if self.names.contains(piece) {
            return Some(self.digits(piece));
        }
        let address = |text: &str| Some(self.digits(text.parse::<IpAddr>().ok()?));
        address(piece).or_else(|| {
            let (first, last) = piece.split_once('-')?;
            Some(format!("{}-{}", address(first)?, address(last)?))
        })
    }

    fn digits(&self, what: impl Hash) -> String {
        let mut hasher = DefaultHasher::new();
        (self.key, what).hash(&mut hasher);
        format!("{:06x}", hasher.finish() & 0xff_ffff)
    }
}

/// Whether a name or an address may have this character.
fn is_part(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | ':')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_addresses_are_hidden_and_nothing_else() {
        let names = ["web", "s1", "x.y", "a:b"].map(Arc::from);
        let veil = Veil {
            key: 7,
            names: names.into_iter().collect(),
            phrases: vec!["/run/a b".into(), "/run/a".into(), "our node".into()],
        };
        let web = veil.digits("web");
        let (s1, ip) = (veil.digits("s1"), veil.digits(IpAddr::from([192, 0, 2, 1])));
        let six = veil.digits(IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]));
        let link = veil.digits(IpAddr::from([0xfe80, 0, 0, 0, 0, 0, 0, 0]));
        let (pair, path) = (veil.digits("a:b"), veil.digits("/run/a b"));
        for (text, wanted) in [
            ("web/s1 webs s10", format!("{web}/{s1} webs s10")),
            ("in web: web.", format!("in {web}: {web}.")),
            ("fe=web,be=<s1>", format!("fe={web},be=<{s1}>")),
            ("web:s1:3", format!("{web}:{s1}:3")),
            ("192.0.2.1 192.0.2.1:80", format!("{ip} {ip}:80")),
            ("at 12:30:45 1.5", "at 12:30:45 1.5".into()),
            ("S.2.1:str:192.0.2.1:80", format!("S.2.1:str:{ip}:80")),
            ("1:str:::1", format!("1:str:{six}")),
            ("1:str:a:b a:c", format!("1:str:{pair} a:c")),
            ("192.0.2.1-192.0.2.1,", format!("{ip}-{ip},")),
            ("192.0.2.1. fe80::: 0-1", format!("{ip}. {link}: 0-1")),
            ("/run/a b:/run/c our", format!("{path}:/run/c our")),
            ("/", "/".into()),
            ("", String::new()),
        ] {
            assert_eq!(veil.hide(text), wanted, "{text}");
        }
        assert_eq!(veil.hide("[::1]:80 ::1"), format!("[{six}]:80 {six}"));
        let other = Veil { key: 8, ..veil };
        assert_ne!(other.hide("web"), web);
    }
}
