//! Settings of the kernel that ways to forward need: which they are, whether they are as they should be,
//! and how they were before somebody set them.

use crate::kernel::{Error, because};
use crate::pins::netns_cookie;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

/// What a configuration asks of the kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asks {
    /// Packets of this family that no program sends on itself are routed by the kernel.
    pub forward4: bool,
    /// Likewise.
    pub forward6: bool,
    /// Interfaces that packets come and leave by, where the kernel would tell their senders of a shorter way.
    pub silent: BTreeSet<String>,
    /// Interfaces that packets may come by another way than they would be answered.
    pub loose: BTreeSet<String>,
}

/// A setting that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// Its path below `/proc/sys`.
    pub name: String,
    /// What it is.
    pub now: String,
    /// What it should be.
    pub wanted: &'static str,
    /// What happens otherwise.
    pub why: &'static str,
}

impl Wrong {
    /// As `sysctl` takes it.
    pub fn assignment(&self) -> String {
        format!("{}={}", self.dotted(), self.wanted)
    }

    /// Its name as `sysctl` says it.
    pub fn dotted(&self) -> String {
        dotted(&self.name)
    }
}

/// A path below `/proc/sys` as `sysctl` says it: the dot of an interface's name is a slash there.
fn dotted(name: &str) -> String {
    let swapped = name.chars().map(|c| match c {
        '/' => '.',
        '.' => '/',
        other => other,
    });
    swapped.collect()
}

/// What is not as it should be; `read` says what a setting is, if there is such a one.
pub fn wrong(asks: &Asks, read: impl Fn(&str) -> Option<String>) -> Vec<Wrong> {
    let mut found = Vec::new();
    let mut want = |name: String, wanted, why| {
        if let Some(now) = read(&name).filter(|now| now != wanted) {
            found.push(Wrong {
                name,
                now,
                wanted,
                why,
            });
        }
    };
    let forwards = "answers of servers do not find their way back, nor does what is not balanced";
    if asks.forward4 {
        want("net/ipv4/ip_forward".into(), "1", forwards);
    }
    if asks.forward6 {
        want("net/ipv6/conf/all/forwarding".into(), "1", forwards);
    }
    let redirects = "clients are told to go past the balancer";
    let ports = asks.silent.iter().map(String::as_str);
    // The kernel redirects where either of the two is set.
    for port in ports.chain((!asks.silent.is_empty()).then_some("all")) {
        want(
            format!("net/ipv4/conf/{port}/send_redirects"),
            "0",
            redirects,
        );
    }
    // The larger one of the two counts; 1 is strict, 2 is loose.
    let all = read("net/ipv4/conf/all/rp_filter");
    let strict = |port: &String| {
        let own = read(&format!("net/ipv4/conf/{port}/rp_filter"));
        all.as_deref().max(own.as_deref()) == Some("1")
    };
    if asks.loose.iter().any(strict) {
        found.push(Wrong {
            name: "net/ipv4/conf/all/rp_filter".into(),
            now: all.unwrap_or_default(),
            wanted: "2",
            why: "packets are dropped that come by another way than they would be answered",
        });
    }
    found
}

/// What a setting is in this network namespace.
pub fn read(name: &str) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/sys/{name}")).ok()?;
    Some(text.trim().to_string())
}

fn write(name: &str, value: &str) -> Result<(), Error> {
    fs::write(format!("/proc/sys/{name}"), value)
        .map_err(|e| because(format!("cannot set {} to {value}", dotted(name)), &e))
}

/// The note of how settings were, one for each network namespace.
fn note() -> Result<PathBuf, Error> {
    let cookie = netns_cookie().map_err(|e| because("the network namespace has no number", &e))?;
    Ok(PathBuf::from(format!("/run/mulgil/settings-{cookie}")))
}

fn noted() -> Result<BTreeMap<String, String>, Error> {
    let text = fs::read_to_string(note()?).unwrap_or_default();
    let lines = text.lines().filter_map(|l| l.split_once(' '));
    Ok(lines.map(|(n, v)| (n.to_string(), v.to_string())).collect())
}

/// Sets them. How they were is noted first, so that nothing is lost wherever this process ends.
pub fn set(wrong: &[Wrong]) -> Result<(), Error> {
    let mut before = noted()?;
    for setting in wrong {
        let name = setting.name.clone();
        before.entry(name).or_insert_with(|| setting.now.clone());
    }
    let lines: String = before.iter().map(|(n, v)| format!("{n} {v}\n")).collect();
    let path = note()?;
    fs::create_dir_all("/run/mulgil")
        .and_then(|()| fs::write(&path, lines))
        .map_err(|e| because(format!("cannot write '{}'", path.display()), &e))?;
    wrong.iter().try_for_each(|s| write(&s.name, s.wanted))
}

/// Restores what was set here. How many settings.
pub fn restore() -> Result<usize, Error> {
    let before = noted()?;
    for (name, value) in &before {
        // An interface that is gone has no settings.
        if read(name).is_some() {
            write(name, value)?;
        }
    }
    match fs::remove_file(note()?) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(because("the note of settings stays", &e))
        }
        _ => Ok(before.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_asked_for_and_not_so_is_wrong() {
        let values = BTreeMap::from([
            ("net/ipv4/ip_forward", "0"),
            ("net/ipv6/conf/all/forwarding", "1"),
            ("net/ipv4/conf/all/send_redirects", "0"),
            ("net/ipv4/conf/e0/send_redirects", "1"),
            ("net/ipv4/conf/e0.5/send_redirects", "1"),
            ("net/ipv4/conf/all/rp_filter", "0"),
            ("net/ipv4/conf/e0/rp_filter", "1"),
            ("net/ipv4/conf/e1/rp_filter", "2"),
        ]);
        let read = |name: &str| values.get(name).map(|v| v.to_string());
        let names = |asks: &Asks| -> Vec<String> {
            wrong(asks, read).iter().map(Wrong::assignment).collect()
        };
        assert!(names(&Asks::default()).is_empty());
        let both = Asks {
            forward4: true,
            forward6: true,
            ..Asks::default()
        };
        assert_eq!(names(&both), ["net.ipv4.ip_forward=1"]);
        let silent = Asks {
            silent: BTreeSet::from(["e0".into(), "e0.5".into(), "gone".into()]),
            ..Asks::default()
        };
        let wanted = [
            "net.ipv4.conf.e0.send_redirects=0",
            "net.ipv4.conf.e0/5.send_redirects=0",
        ];
        assert_eq!(names(&silent), wanted);
        let loose = |port: &str| Asks {
            loose: BTreeSet::from([port.to_string()]),
            ..Asks::default()
        };
        assert_eq!(names(&loose("e0")), ["net.ipv4.conf.all.rp_filter=2"]);
        assert!(names(&loose("e1")).is_empty());
    }
}
