//! `-v` and `-vv`: what this program is and has.

/// How it waits for events.
pub const POLLERS: &str = "Available polling systems :\n      epoll : pref=300,  test result OK\n\
                           Total: 1 (1 usable), will use epoll.\n";

/// What it puts between connections and streams.
const MULTIPLEXERS: &str = "Available multiplexer protocols :\n\
         \x20       h1 : mode=HTTP  side=FE|BE  flags=HTX|NO_UPG\n\
         \x20     none : mode=TCP   side=FE|BE  flags=NO_UPG\n";

/// The text for `-v` (1) and `-vv` (2).
pub fn text(detail: u8) -> String {
    let (major, minor, _) = config::condition::LANGUAGE_LEVEL;
    let mut out = format!(
        "Mulgil version {} (speaks HAProxy's language, level {major}.{minor})\n",
        admin::VERSION
    );
    if detail < 2 {
        return out;
    }
    let features: Vec<String> = config::condition::FEATURES
        .iter()
        .map(|f| format!("+{f}"))
        .collect();
    let tuning = model::Tuning::default();
    let workers = std::thread::available_parallelism().map_or(1, |n| n.get());
    out.push_str(&format!(
        "Licence: Apache-2.0 OR MIT\nFeature list : {}\n\nDefault settings :\n  bufsize = {}, \
         maxrewrite = {}\n\nBuilt with multi-threading support (default={workers}).\n\
         Built with expressions of the regex crate (no backreferences).\n\n{POLLERS}\n\
         {MULTIPLEXERS}\nAvailable services : {}\n\nAvailable filters : none\n\nTables :\n",
        features.join(" "),
        tuning.bufsize,
        tuning.maxrewrite,
        rules::Service::ALL.map(rules::Service::name).join(" "),
    ));
    for (count, what) in [
        (config::table::GLOBAL_KEYWORDS.len(), "keywords of global"),
        (
            config::table::keywords().count() + config::table::OPTIONS.len(),
            "keywords and options of proxies",
        ),
        (rules::table::fetches().count(), "sample fetches"),
        (rules::table::converters().count(), "converters"),
        (rules::table::actions().count(), "actions"),
        (admin::commands().count(), "commands of the control socket"),
    ] {
        out.push_str(&format!("  {count} {what}\n"));
    }
    out
}
