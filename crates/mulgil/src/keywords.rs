//! `-dK`: the words of the language, class by class, in the forms that HAProxy prints (management
//! guide, section 3).

use config::table;
use rules::Type;
use rules::table::{Layer, acl_names, actions, converters, fetches};
use std::collections::BTreeSet;
use std::fmt::Write;

/// The classes: name, and what is listed.
const CLASSES: [(&str, &str); 7] = [
    ("acl", "ACL keywords"),
    ("cfg", "configuration keywords"),
    ("cli", "CLI keywords"),
    ("cnv", "sample converter keywords"),
    ("flt", "filter names"),
    ("smp", "sample fetch functions"),
    ("svc", "service names"),
];

/// The lists of the classes that `-dK` names, separated by commas; `all` is every class, `help` a list
/// of them. Other names are told of.
pub fn list(classes: &str) -> Result<String, String> {
    let mut out = String::new();
    for class in classes.split(',') {
        match class {
            "" | "help" => {
                out.push_str("# List of supported keyword classes:\nall: list all keywords\n");
                for (name, what) in CLASSES {
                    let _ = writeln!(out, "{name}: {what}");
                }
            }
            "all" => CLASSES.iter().for_each(|(name, _)| one(&mut out, name)),
            name if CLASSES.iter().any(|(n, _)| *n == name) => one(&mut out, name),
            other => {
                let known: Vec<&str> = CLASSES.iter().map(|(n, _)| *n).collect();
                return Err(format!(
                    "unknown class of keywords '{other}': use all, {}",
                    known.join(", ")
                ));
            }
        }
    }
    Ok(out)
}

fn one(out: &mut String, class: &str) {
    let title = match class {
        "acl" => "registered ACL keywords",
        "cfg" => "registered configuration keywords",
        "cli" => "registered CLI keywords",
        "cnv" => "registered sample converter functions",
        "flt" => "registered filter names",
        "smp" => "registered sample fetch functions",
        _ => "registered service names",
    };
    let _ = writeln!(out, "# List of {title}:");
    let mut lines: BTreeSet<String> = BTreeSet::new();
    match class {
        "acl" => lines.extend(acl_names().filter_map(|name| {
            let (fetch, suffix) = rules::table::acl_alias(&name)?;
            Some(format!("{name} = {fetch} -m {suffix}"))
        })),
        "cli" => lines.extend(admin::commands().map(|c| format!("{} [WORKER]", c.words.join(" ")))),
        "cnv" => lines.extend(converters().map(|c| {
            let arguments = c.args.to_string();
            format!(
                "{}{arguments}: {} => {}",
                c.name,
                kind(c.input),
                kind(c.output)
            )
        })),
        "flt" => lines.extend(["compression [COMP]".to_string()]),
        "smp" => lines.extend(fetches().flat_map(|f| {
            let arguments = f.args.to_string();
            let (place, kind) = (place(f.layer), kind(f.output));
            let line = move |name: &&str| format!("[ {place} ] {name}{arguments}: {kind}");
            f.names.iter().map(line).collect::<Vec<_>>()
        })),
        "svc" => lines.extend(rules::Service::ALL.map(|s| s.name().to_string())),
        _ => return words(out),
    }
    for line in lines {
        out.push_str(&line);
        out.push('\n');
    }
}

/// The configuration's words, section by section.
fn words(out: &mut String) {
    let mut print = |section: &str, mut words: Vec<String>| {
        words.sort();
        let _ = writeln!(out, "{section}");
        for word in words {
            let _ = writeln!(out, "\t{word}");
        }
    };
    let global = table::GLOBAL_KEYWORDS.iter().map(|k| k.name);
    let tuning = table::TUNES_WITHOUT_EFFECT.iter().copied();
    print("global", global.chain(tuning).map(String::from).collect());
    let arguments = |args: &str| if args.is_empty() { "" } else { " +1" };
    let mut proxies: Vec<String> = table::keywords().map(|k| k.name.to_string()).collect();
    proxies.extend(table::OPTIONS.iter().map(|o| format!("option {}", o.name)));
    proxies.extend(actions().flat_map(|a| {
        let sets = a.sets.iter();
        sets.map(|set| format!("{} {}", set.keyword(), a.name))
            .collect::<Vec<_>>()
    }));
    let bind =
        |name: &str, args: &str, tls: &str| format!("bind <addr> {tls}{name}{}", arguments(args));
    proxies.extend(table::BIND_WORDS.iter().map(|w| bind(w.name, w.args, "")));
    proxies.extend(
        table::BIND_TLS_WORDS
            .iter()
            .map(|w| bind(w.name, w.args, "ssl ")),
    );
    let server = |name: &str, args: &str| format!("server <name> <addr> {name}{}", arguments(args));
    let plain = table::SERVER_WORDS.iter();
    let plain = plain
        .chain(table::SERVER_CHECK_WORDS)
        .chain(table::SERVER_PROXY_WORDS)
        .chain(table::SERVER_SOCKET_WORDS);
    proxies.extend(plain.map(|w| server(w.name, w.args)));
    proxies.extend(
        table::SERVER_TLS_WORDS
            .iter()
            .map(|w| server(w.name, w.args)),
    );
    print("listen", proxies);
    let vrrp = table::VRRP_KEYWORDS.iter();
    print("vrrp", vrrp.map(|k| k.name.to_string()).collect());
}

/// The name of a type.
fn kind(of: Type) -> &'static str {
    match of {
        Type::Any => "any",
        Type::Bool => "bool",
        Type::Int => "sint",
        Type::Str => "str",
        Type::Bin => "bin",
        Type::Method => "meth",
        Type::Addr => "addr",
    }
}

/// Where a value comes from.
fn place(layer: Layer) -> &'static str {
    match layer {
        Layer::Internal => "internal  ",
        Layer::Connection => "connection",
        Layer::Tls => "TLS       ",
        Layer::Request => "request   ",
        Layer::Response => "response  ",
    }
}
