//! Counters in a file, for a process that is to go on counting (`dump stats-file`, `stats-file`): sections
//! of CSV, one for frontends, backends and servers each, with whatever has a `guid`.

use state::{Generation, PerWorker, ProxyCounters};
use std::collections::HashMap;
use std::fmt::Write;

/// Whose counters they are: the word that begins a section.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Side {
    Frontend,
    Backend,
    Server,
}

impl Side {
    const ALL: [Side; 3] = [Side::Frontend, Side::Backend, Side::Server];

    fn word(self) -> &'static str {
        match self {
            Side::Frontend => "fe",
            Side::Backend => "be",
            Side::Server => "srv",
        }
    }
}

/// All that have a name for such files.
fn named<'g>(
    generation: &'g Generation,
    side: Side,
    mut each: impl FnMut(String, &'g PerWorker<ProxyCounters>),
) {
    match side {
        Side::Frontend => {
            for frontend in &generation.frontends {
                if let Some(guid) = &frontend.proxy().guid {
                    each(guid.to_string(), frontend.counters());
                }
            }
        }
        Side::Backend => {
            for backend in &generation.backends {
                if let Some(guid) = &backend.proxy().guid {
                    each(guid.to_string(), backend.counters());
                }
            }
        }
        Side::Server => {
            for server in generation.backends.iter().flat_map(|b| b.servers()) {
                if let Some(guid) = &server.settings().guid {
                    each(guid.to_string(), &server.counters);
                }
            }
        }
    }
}

/// The text of such a file.
pub fn dump(generation: &Generation) -> String {
    let mut out = String::new();
    let none = ProxyCounters::default();
    let fields: Vec<&str> = none.counts().map(|(name, _)| name).collect();
    for side in Side::ALL {
        let _ = writeln!(out, "#{} guid,{}", side.word(), fields.join(","));
        named(generation, side, |guid, counters| {
            out.push_str(&guid);
            for at in 0..fields.len() {
                let of = |c: &ProxyCounters| c.counts().nth(at).map_or(0, |(_, n)| n.get());
                let _ = write!(out, ",{}", counters.used().map(of).sum::<u64>());
            }
            out.push('\n');
        });
        out.push('\n');
    }
    out
}

/// Adds what such a file says to the counters, under the writer of that number; what was wrong with it.
/// Names and fields that are not here are passed over, as the configuration may have changed.
pub fn preload(text: &str, generation: &Generation, writer: usize) -> Vec<String> {
    let mut places: HashMap<(Side, String), &PerWorker<ProxyCounters>> = HashMap::new();
    for side in Side::ALL {
        named(generation, side, |guid, counters| {
            places.insert((side, guid), counters);
        });
    }
    let mut faults = Vec::new();
    let mut section: Option<(Side, Vec<&str>)> = None;
    for (at, line) in text.lines().enumerate() {
        let line = line.trim();
        if let Some(header) = line.strip_prefix('#') {
            let (word, fields) = header.split_once(" guid,").unwrap_or((header, ""));
            let side = Side::ALL.into_iter().find(|s| s.word() == word);
            // Any other such line is a comment, and the section goes on.
            if let Some(side) = side {
                section = Some((side, fields.split(',').collect()));
            }
            continue;
        }
        if line.is_empty() {
            continue;
        }
        let Some((side, fields)) = &section else {
            faults.push(format!("line {}: it is in no section", at + 1));
            continue;
        };
        let mut values = line.split(',');
        let guid = values.next().unwrap_or_default().to_string();
        let values: Result<Vec<u64>, _> = values.map(str::parse).collect();
        match values {
            Ok(values) if values.len() == fields.len() => {
                let Some(counters) = places.get(&(*side, guid)) else {
                    continue;
                };
                let of: HashMap<&str, _> = counters.of(writer).counts().collect();
                for (field, value) in fields.iter().zip(values) {
                    if let Some(counter) = of.get(field) {
                        counter.add(value);
                    }
                }
            }
            _ => faults.push(format!("line {}: it does not fit its section", at + 1)),
        }
    }
    faults
}
