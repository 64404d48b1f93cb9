//! Servers: maintenance, weights, checks, their lists, and those that come and go at run time.

use super::set_server::{maintain, ready, set_server, set_weight};
use super::{Command, backend_of, with_server};
use crate::cli::{Cli, Grave, Said, World};
use crate::servers_state;
use model::{Address, CheckKind, CheckScript, CliLevel, Config, Proxy, SwitchTarget};
use state::Backend;
use std::collections::HashSet;
use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

pub(super) static COMMANDS: &[Command] = &[
    Command::new(
        &["disable", "dynamic-cookie", "backend"],
        "disable dynamic-cookie backend <bk>",
        "disable dynamic cookies on a specific backend",
        CliLevel::Admin,
        |_, w, a, _| with_backend(w, a, |b| compute_cookies(b, false)),
    ),
    Command::new(
        &["enable", "dynamic-cookie", "backend"],
        "enable dynamic-cookie backend <bk>",
        "enable dynamic cookies on a specific backend",
        CliLevel::Admin,
        |_, w, a, _| with_backend(w, a, |b| compute_cookies(b, true)),
    ),
    Command::new(
        &["set", "dynamic-cookie-key", "backend"],
        "set dynamic-cookie-key backend <bk> <k>",
        "change a backend secret key for dynamic cookies",
        CliLevel::Admin,
        |_, w, a, _| {
            with_backend(w, a, |b| match a.get(1) {
                None => Said::fault("String value expected."),
                Some(key) => {
                    b.set_cookie_key(key);
                    Said::nothing()
                }
            })
        },
    ),
    Command::new(
        &["add", "server"],
        "add server <bk>/<srv>",
        "create a new server",
        CliLevel::Admin,
        add_server,
    ),
    Command::new(
        &["del", "server"],
        "del server <bk>/<srv>",
        "remove a server that is in maintenance",
        CliLevel::Admin,
        del_server,
    ),
    Command::new(
        &["disable", "agent"],
        "disable agent",
        "disable agent checks",
        CliLevel::Admin,
        |_, w, a, _| {
            with_server(w, a, |_, s| {
                s.agent_enabled.store(false, Relaxed);
                Said::nothing()
            })
        },
    ),
    Command::new(
        &["disable", "health"],
        "disable health",
        "disable health checks",
        CliLevel::Admin,
        |_, w, a, _| {
            with_server(w, a, |_, s| {
                s.checks_enabled.store(false, Relaxed);
                Said::nothing()
            })
        },
    ),
    Command::new(
        &["disable", "server"],
        "disable server (DEPRECATED)",
        "disable a server for maintenance (use 'set server' instead)",
        CliLevel::Admin,
        |_, w, a, _| {
            with_server(w, a, |b, s| {
                maintain(w.process, b, s, w.now);
                Said::nothing()
            })
        },
    ),
    Command::new(
        &["enable", "agent"],
        "enable agent",
        "enable agent checks",
        CliLevel::Admin,
        |_, w, a, _| {
            with_server(w, a, |_, s| match s.settings().agent {
                Some(_) => {
                    s.agent_enabled.store(true, Relaxed);
                    Said::nothing()
                }
                None => Said::fault("Agent was not configured on this server, cannot enable."),
            })
        },
    ),
    Command::new(
        &["enable", "health"],
        "enable health",
        "enable health checks",
        CliLevel::Admin,
        |_, w, a, _| {
            with_server(w, a, |_, s| match s.settings().check {
                Some(_) => {
                    s.checks_enabled.store(true, Relaxed);
                    Said::nothing()
                }
                None => {
                    Said::fault("Health check was not configured on this server, cannot enable.")
                }
            })
        },
    ),
    Command::new(
        &["enable", "server"],
        "enable server  (DEPRECATED)",
        "enable a disabled server (use 'set server' instead)",
        CliLevel::Admin,
        |_, w, a, _| {
            with_server(w, a, |b, s| {
                ready(w.process, b, s, w.now);
                Said::nothing()
            })
        },
    ),
    Command::new(
        &["get", "weight"],
        "get weight <bk>/<srv>",
        "report a server's current weight",
        CliLevel::User,
        |_, w, a, _| {
            with_server(w, a, |_, s| {
                Said::data(format!(
                    "{} (initial {})\n",
                    s.weight(),
                    s.settings().weight
                ))
            })
        },
    ),
    Command::new(
        &["set", "maxconn", "server"],
        "set maxconn server <bk>/<srv>",
        "change a server's maxconn setting",
        CliLevel::Admin,
        |_, w, a, _| {
            with_server(w, a, |b, s| match a.get(1).map(|t| t.parse::<u32>()) {
                None => Said::fault("Require <maxconn>."),
                Some(Ok(n)) => {
                    s.set_maxconn(n);
                    b.note(s);
                    Said::nothing()
                }
                Some(Err(_)) => Said::close_fault("maxconn string empty or preceded by garbage"),
            })
        },
    ),
    Command::new(
        &["set", "server"],
        "set server <bk>/<srv> [opts]",
        "change a server's state, weight, address or ssl",
        CliLevel::Admin,
        |_, w, a, _| {
            with_server(w, a, |b, s| {
                set_server(w, b, s, a.get(1..).unwrap_or_default())
            })
        },
    ),
    Command::new(
        &["set", "weight"],
        "set weight <bk>/<srv>  (DEPRECATED)",
        "change a server's weight (use 'set server' instead)",
        CliLevel::Admin,
        |_, w, a, _| {
            with_server(w, a, |b, s| {
                set_weight(w, b, s, a.get(1).copied().unwrap_or_default())
            })
        },
    ),
    Command::new(
        &["show", "servers", "conn"],
        "show servers conn [<backend>]",
        "dump server connections status (all or for a single backend)",
        CliLevel::User,
        servers_conn,
    ),
    Command::new(
        &["show", "servers", "state"],
        "show servers state [<backend>]",
        "dump volatile server information (all or for a single backend)",
        CliLevel::User,
        |_, w, a, _| match a.first() {
            Some(name) if w.generation.backend(name).is_none() => {
                Said::fault("Can't find backend.")
            }
            only => Said::data(servers_state::dump(
                w.process,
                &w.generation,
                only.copied(),
                w.now,
            )),
        },
    ),
];

/// Answers about the backend that the first word names.
fn with_backend(w: &World<'_>, args: &[&str], f: impl FnOnce(&Arc<Backend>) -> Said) -> Said {
    let Some(name) = args.first() else {
        return Said::fault("A backend name is expected.");
    };
    match w.generation.backend(name) {
        Some(backend) => f(backend),
        None => Said::fault("No such backend."),
    }
}

fn compute_cookies(backend: &Backend, on: bool) -> Said {
    backend.compute_cookies(on);
    Said::nothing()
}

fn servers_conn(_: &mut Cli, w: &World<'_>, args: &[&str], _: &str) -> Said {
    if let Some(name) = args.first()
        && w.generation.backend(name).is_none()
    {
        return Said::fault("Can't find backend.");
    }
    let mut out = format!(
        "# bkname/svname bkid/svid addr port - purge_delay used_cur used_max need_est unsafe_nb \
         safe_nb idle_lim idle_cur idle_per_thr[{}]\n",
        w.process.workers
    );
    let idle = w.sessions.idle(super::sessions::PATIENCE);
    for backend in &w.generation.backends {
        if args.first().is_some_and(|n| **n != *backend.name) {
            continue;
        }
        for server in backend.servers() {
            let settings = server.settings();
            let (address, port) = servers_state::address(server);
            let mine = |kept: &Vec<u32>| kept.get(server.uid as usize).copied().unwrap_or(0);
            let idle: Vec<u32> = idle.iter().map(mine).collect();
            let total: u32 = idle.iter().sum();
            let _ = write!(
                out,
                "{}/{} {}/{} {address} {port} - {} {} {} {} 0 {total} {} {total}",
                backend.name,
                server.name,
                backend.id,
                server.id,
                settings.pool_purge_delay.as_millis(),
                server.sessions.now(),
                server.sessions.max(),
                server.sessions.max(),
                settings.pool_max_conn.map_or(-1, i64::from),
            );
            for n in idle {
                let _ = write!(out, " {n}");
            }
            out.push('\n');
        }
    }
    Said::data(out)
}

/// The configuration in force with this backend's servers changed, put into force. What operators have
/// changed of the others (`set server … ssl`, `agent-addr` and the like) stays.
fn change_servers(w: &World<'_>, backend: &str, change: impl FnOnce(&mut Vec<model::Server>)) {
    let mut config = Config::clone(&w.generation.config);
    for slot in &mut config.proxies {
        // A frontend may have the same name.
        if *slot.name == *backend && slot.backend.is_some() {
            let mut proxy = Proxy::clone(slot);
            if let Some(side) = &mut proxy.backend {
                let live = w.generation.backend(backend);
                for server in &mut side.servers {
                    if let Some(live) = live.and_then(|b| b.server(&server.name)) {
                        *server = model::Server::clone(&live.settings());
                    }
                }
                change(&mut side.servers);
            }
            // It is no longer what any file says.
            proxy.fingerprint = proxy.fingerprint.wrapping_add(1);
            *slot = Arc::new(proxy);
            break;
        }
    }
    w.process.apply(Arc::new(config), w.now);
}

fn add_server(_: &mut Cli, w: &World<'_>, args: &[&str], _: &str) -> Said {
    let (backend, name) = match backend_of(w, args) {
        Ok(found) => found,
        Err(fault) => return Said::close_fault(fault),
    };
    if backend.server(name).is_some() {
        return Said::fault("Already exists a server with the same name in backend.");
    }
    if args.len() < 2 {
        return Said::fault("'server' expects <name> and <addr>[:<port>] as arguments.");
    }
    let mut words = vec![name];
    words.extend_from_slice(args.get(1..).unwrap_or_default());
    let mut server = match w.system.server(&backend.name, &words) {
        Ok(server) => server,
        Err(message) => return Said::fault(message),
    };
    if let Some(why) = unfit(w, backend, &server) {
        return Said::fault(why);
    }
    if server.id == 0 {
        let taken: HashSet<u32> = backend.servers().iter().map(|s| s.id).collect();
        server.id = (1..).find(|id| !taken.contains(id)).unwrap_or(0);
    }
    // It serves nothing before 'enable server', as HAProxy has it.
    server.disabled = true;
    let backend = Arc::clone(&backend.name);
    let added = Arc::clone(&server.name);
    let (checked, asked) = (server.check.is_some(), server.agent.is_some());
    change_servers(w, &backend, |servers| servers.push(server));
    let generation = w.process.generation.load();
    if let Some(server) = generation.backend(&backend).and_then(|b| b.server(&added)) {
        server.added.store(true, Relaxed);
        server.checks_enabled.store(!checked, Relaxed);
        server.agent_enabled.store(!asked, Relaxed);
    }
    Said::message(Grave::Info, "New server registered.")
}

/// Why a server cannot join a backend, if it cannot: as a file with it would be refused.
fn unfit(w: &World<'_>, backend: &Backend, server: &model::Server) -> Option<String> {
    let (name, id) = (&server.name, server.id);
    if let Some(other) = backend.servers().iter().find(|s| id != 0 && s.id == id) {
        return Some(format!(
            "'id' : custom id {id} already used ('server {}').",
            other.name
        ));
    }
    if let Some(track) = &server.track {
        let (of, other) = track.split_once('/').unwrap_or((&backend.name, track));
        let tracked = w.generation.backend(of).and_then(|b| b.server(other));
        let Some(tracked) = tracked else {
            return Some(format!(
                "unable to find required server '{other}' for tracking."
            ));
        };
        let settings = tracked.settings();
        if settings.check.is_none() && settings.agent.is_none() && settings.track.is_none() {
            return Some(format!(
                "unable to use {of}/{other} for tracking as it does not have any check nor agent enabled."
            ));
        }
        if server.check.is_some() {
            return Some(format!(
                "server '{name}' cannot both have checks and track '{track}'."
            ));
        }
    }
    let resolvers = server.resolution.as_ref().map(|r| &r.resolvers);
    if let Some(section) = resolvers.filter(|r| !w.generation.resolvers.contains_key(*r)) {
        return Some(format!("there is no 'resolvers {section}' for '{name}'."));
    }
    lacks_check_port(backend, server).then(|| {
        format!(
            "config: backend '{}': server '{name}' has neither service port nor check port nor tcp_check rule 'connect' with port information.",
            backend.name
        )
    })
}

/// Whether it is not said which port checks go to.
fn lacks_check_port(backend: &Backend, server: &model::Server) -> bool {
    let Some(check) = &server.check else {
        return false;
    };
    let of_rules = match &*backend.side().check {
        CheckKind::Echo => true,
        CheckKind::Script(script) => CheckScript::names_port(&script.steps),
        _ => false,
    };
    let of_check = check.port.is_some() || check.addr.as_ref().is_some_and(Address::names_port);
    !of_rules && !of_check && !server.address.names_port()
}

fn del_server(_: &mut Cli, w: &World<'_>, args: &[&str], _: &str) -> Said {
    let (backend, name) = match backend_of(w, args) {
        Ok(found) => found,
        Err(fault) => return Said::close_fault(fault),
    };
    let Some(server) = backend.server(name) else {
        return Said::close_fault("No such server.");
    };
    let rules = &backend.side().use_server;
    let pointed_at = rules.iter().any(|rule| match &rule.target {
        SwitchTarget::Name(name) => *name == server.name,
        SwitchTarget::Format(_) => false,
    });
    if pointed_at || w.generation.is_tracked(server) {
        return Said::close_fault(
            "This server cannot be removed at runtime due to other configuration elements pointing to it.",
        );
    }
    if !server.admin().in_maintenance() {
        return Said::close_fault("Only servers in maintenance mode can be deleted.");
    }
    if server.sessions.now() > 0 || server.queued.now() > 0 {
        return Said::close_fault("Server still has connections attached to it, cannot remove it.");
    }
    let name = Arc::clone(&server.name);
    let backend = Arc::clone(&backend.name);
    change_servers(w, &backend, |servers| servers.retain(|s| s.name != name));
    Said::close_fault("Server deleted.")
}
