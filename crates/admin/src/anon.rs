//! Answers without the names and addresses of a configuration (`set anon on`): for who may see how a
//! machine is doing, but not whose it is.

use state::Generation;
use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// What is hidden, and by which key: what is alike is alike afterwards, also in other answers by this key.
pub struct Veil {
    key: u32,
    names: HashSet<Arc<str>>,
}

impl Veil {
    /// One for the names of a configuration, and of servers that came since.
    pub fn new(key: u32, generation: &Generation) -> Veil {
        let config = &generation.config;
        let mut names = HashSet::new();
        for proxy in &config.proxies {
            names.insert(Arc::clone(&proxy.name));
            let binds = proxy.frontend.iter().flat_map(|f| &f.binds);
            names.extend(binds.filter_map(|b| b.options.name.clone()));
        }
        for server in generation.backends.iter().flat_map(|b| b.servers()) {
            names.insert(Arc::clone(&server.name));
            names.extend(server.settings().hostname.clone());
        }
        names.extend(config.tables.iter().map(|t| Arc::clone(&t.name)));
        names.extend(config.peers.iter().map(|p| Arc::clone(&p.name)));
        names.extend(config.vrrp.iter().map(|v| Arc::clone(&v.name)));
        names.extend(config.resolvers.keys().cloned());
        names.extend(config.mailers.keys().cloned());
        names.extend(config.userlists.keys().cloned());
        Veil { key, names }
    }

    /// The text with six hexadecimal digits for each name and each address; ports stay.
    pub fn hide(&self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(start) = rest.find(is_part) {
            let (before, from) = rest.split_at(start);
            let end = from.find(|c| !is_part(c)).unwrap_or(from.len());
            let (word, after) = from.split_at(end);
            out.push_str(before);
            self.word(word, &mut out);
            rest = after;
        }
        out.push_str(rest);
        out
    }

    fn word(&self, word: &str, out: &mut String) {
        // A sign behind it belongs to the sentence, if it is not part of an address such as `fe80::`.
        let name = word.trim_end_matches([':', '.']);
        let end = word.get(name.len()..).unwrap_or_default();
        if self.names.contains(word) {
            out.push_str(&self.digits(word));
        } else if self.names.contains(name) {
            out.push_str(&self.digits(name));
            out.push_str(end);
        } else if let Ok(ip) = word.parse::<IpAddr>() {
            out.push_str(&self.digits(ip));
        } else if let Ok(ip) = name.parse::<IpAddr>() {
            out.push_str(&self.digits(ip));
            out.push_str(end);
        } else if let Ok(socket) = name.parse::<SocketAddr>() {
            let (ip, port) = (self.digits(socket.ip()), socket.port());
            out.push_str(&format!("{ip}:{port}{end}"));
        } else if word.contains(':') {
            for (at, part) in word.split(':').enumerate() {
                out.push_str(if at > 0 { ":" } else { "" });
                match self.names.contains(part) {
                    true => out.push_str(&self.digits(part)),
                    false => out.push_str(part),
                }
            }
        } else {
            out.push_str(word);
        }
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
        let names = ["web", "s1", "x.y"].map(Arc::from);
        let veil = Veil {
            key: 7,
            names: names.into_iter().collect(),
        };
        let web = veil.digits("web");
        let (s1, ip) = (veil.digits("s1"), veil.digits(IpAddr::from([192, 0, 2, 1])));
        for (text, wanted) in [
            ("web/s1 webs s10", format!("{web}/{s1} webs s10")),
            ("in web: web.", format!("in {web}: {web}.")),
            ("fe=web,be=<s1>", format!("fe={web},be=<{s1}>")),
            ("web:s1:3", format!("{web}:{s1}:3")),
            ("192.0.2.1 192.0.2.1:80", format!("{ip} {ip}:80")),
            ("at 12:30:45 1.5", "at 12:30:45 1.5".into()),
            ("", String::new()),
        ] {
            assert_eq!(veil.hide(text), wanted, "{text}");
        }
        let six = veil.digits(IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]));
        assert_eq!(veil.hide("[::1]:80 ::1"), format!("[{six}]:80 {six}"));
        let other = Veil { key: 8, ..veil };
        assert_ne!(other.hide("web"), web);
    }
}
