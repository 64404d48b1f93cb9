//! `server` and `server-template` lines, from their words to servers.

use super::{AgentDraft, Reading, names, words};
use crate::address::{self, Purpose};
use crate::diag::Fault;
use crate::line::{Bases, Line, loose_line};
use crate::load::{Unnamed, check_name};
use crate::source::Source;
use model::{AgentCheck, SendProxy, Server};
use std::sync::Arc;
use std::time::Duration;

/// Reads a `server` line. Without `id` its number is 0, which means none yet.
pub fn server(line: &mut Line<'_>, from: &Reading) -> Result<Server, Fault> {
    let name = line.arg(0);
    if name.is_empty() {
        return line.fail(0, "'server' wants <name> <address>[:<port>]");
    }
    if line.arg(1).is_empty() {
        return line.fail(0, "'server' wants <name> <address>[:<port>], but has only a name: add an address, for example 10.0.0.7:80");
    }
    line.map(0, check_name("server name", name))?;
    named(line, name, 1, from)
}

/// Reads the words from argument `at` on of a line whose server has its address elsewhere: how to
/// get there.
pub fn way(line: &mut Line<'_>, at: usize, from: &Reading) -> Result<Server, Fault> {
    let reading = words(line, at, from)?;
    let mut server = reading.server;
    if let Some(tls) = &reading.tls {
        server.tls = tls.finish(line, false)?.traffic;
    }
    Ok(server)
}

/// Reads a `server-template` line. A number on it is that of the first server.
pub fn template(line: &mut Line<'_>, from: &Reading) -> Result<Vec<Server>, Fault> {
    let (prefix, count) = (line.arg(0), line.arg(1));
    if line.arg(2).is_empty() {
        return line.fail(
            0,
            "'server-template' wants <prefix> <number>|<first>-<last> <address>[:<port>]",
        );
    }
    line.map(0, check_name("server name", prefix))?;
    let (first, last) = count.split_once('-').unwrap_or(("1", count));
    let (first, last) = match (first.parse::<u32>(), last.parse::<u32>()) {
        (Ok(first), Ok(last)) if first <= last && last > 0 => (first, last),
        _ => {
            return line.fail(
                1,
                format!("'{count}' is neither a number of servers nor a range, such as 1-3"),
            );
        }
    };
    if last - first >= MOST_OF_A_TEMPLATE {
        return line.fail(
            1,
            format!("'{count}' is too many servers for one line: at most {MOST_OF_A_TEMPLATE}"),
        );
    }
    let server = named(line, prefix, 2, from)?;
    let servers = (first..=last).enumerate().map(|(i, n)| Server {
        name: format!("{prefix}{n}").into(),
        id: if i == 0 { server.id } else { 0 },
        ..server.clone()
    });
    Ok(servers.collect())
}

/// So that a slip of the finger does not exhaust memory.
const MOST_OF_A_TEMPLATE: u32 = 100_000;

/// A place that sessions go to instead of a server: no name of it is ever shown.
pub fn direct(line: &Line<'_>, address: &str) -> Result<Server, Fault> {
    let read = address::parse(address, Purpose::Connect, None, line.source);
    let (address, hostname) = line.map(0, read)?;
    Ok(Server {
        name: "<NOSRV>".into(),
        address,
        hostname: hostname.map(Into::into),
        ..super::blank()
    })
}

/// The server whose address is the argument at `at`.
fn named(line: &mut Line<'_>, name: &str, at: usize, from: &Reading) -> Result<Server, Fault> {
    let read = words(line, at + 1, from);
    let looked_up = read.as_ref().is_ok_and(|r| r.looks_up(line.arg(at)));
    let unnamed = Unnamed(line.source);
    let source = if looked_up { line.source } else { &unnamed };
    let address = line.map(
        at,
        address::parse_any(line.arg(at), Purpose::Connect, None, source),
    );
    let (mut reading, (address, hostname)) = match (read, address) {
        (Ok(reading), Ok(address)) => (reading, address),
        (Err(words), Err(address)) => {
            line.warnings.push(address);
            return Err(words);
        }
        (Err(fault), Ok(_)) | (Ok(_), Err(fault)) => return Err(fault),
    };
    let mut server = reading.server;
    // A limit that grows has nowhere to grow to: it stays (manual, `minconn`).
    server.maxconn = server.maxconn.max(server.minconn);
    server.name = name.into();
    server.hostname = hostname.map(Into::into);
    let methods = reading.init_addr.as_deref();
    let resolution = reading.resolution.filter(|r| !r.resolvers.is_empty());
    server.address = names::start_address(line, at, address, methods, resolution.is_some())?;
    if server.signed.is_some() && !matches!(server.address, model::Address::Inet { .. }) {
        let message = format!(
            "server '{name}' is not reached by TCP, so nothing can be signed: remove 'tcp-md5sig'"
        );
        return line.fail(at, message);
    }
    server.resolution = resolution
        .filter(|_| server.hostname.is_some())
        .map(Arc::from);
    let said = |option: &str| reading.proxy_options.contains(&option);
    if let Some(SendProxy::V2 { .. }) = server.send_proxy {
        server.send_proxy = Some(SendProxy::V2 {
            crc32c: said("crc32c"),
            authority: said("authority"),
            unique_id: said("unique-id"),
            // Each part of what is known of TLS stands inside that.
            ssl: said("ssl") || said("cert-cn") || said("ssl-cipher"),
            cert_cn: said("cert-cn"),
            ssl_cipher: said("ssl-cipher"),
            cert_sig: said("cert-sig"),
            cert_key: said("cert-key"),
            never_local: line.bases.never_local,
        });
    }
    let own_place = reading.check.addr.is_some() || reading.check.port.is_some();
    // Checks that go elsewhere do as told, others as the traffic does (manual, `check-send-proxy`).
    reading.check.send_proxy = match (reading.check_send_proxy, own_place) {
        (true, _) => server.send_proxy.or(Some(SendProxy::V1)),
        (false, false) => server.send_proxy,
        (false, true) => None,
    };
    if reading.checked && reading.check.via_socks4 && server.socks4.is_none() {
        line.warn(
            at,
            "'check-via-socks4' has no effect without 'socks4': name that proxy, or remove it",
        );
    }
    if let Some(tls) = &reading.tls {
        let parts = tls.finish(line, own_place)?;
        (server.tls, server.tls_known) = (parts.traffic, parts.known);
        reading.check.tls = parts.check;
        if reading.checked {
            reading.check.script_tls = match &reading.check.tls {
                Some(tls) => Some(tls.clone()),
                None => crate::tls::for_rules(Some(tls), line.bases, line.source),
            };
        }
    }
    if reading.check.reuse_pool {
        // Checks that connect in a way of their own have no use for connections of the traffic (manual 3.2).
        let way =
            reading.check_send_proxy || reading.check.via_socks4 || server.send_proxy.is_some();
        let same_tls = reading.check.tls.is_some() == server.tls.is_some();
        reading.check.reuse_pool = same_tls && !own_place && !way;
    } else if reading.check.pool_name.take().is_some() && reading.checked {
        line.warn(
            at,
            "'check-pool-conn-name' has no effect without 'check-reuse-pool': add that, or remove it",
        );
    }
    server.agent = agent(line, &reading.agent)?;
    server.check = reading.checked.then(|| match &from.shared_check {
        Some(shared) if **shared == reading.check => Arc::clone(shared),
        _ => Arc::new(reading.check),
    });
    Ok(server)
}

/// The agent that is to be asked, if any.
fn agent(line: &Line<'_>, draft: &AgentDraft) -> Result<Option<Arc<AgentCheck>>, Fault> {
    if !draft.wanted {
        return Ok(None);
    }
    let Some(port) = draft.port else {
        let at = line.texts(0).iter().position(|w| *w == "agent-check");
        return line.fail(
            at.unwrap_or(0),
            "'agent-check' does not know where the agent listens: add agent-port, such as agent-port 9777",
        );
    };
    Ok(Some(Arc::new(AgentCheck {
        port,
        addr: draft.addr.clone(),
        inter: draft.inter.unwrap_or(Duration::from_secs(2)),
        send: draft.send.clone(),
    })))
}

/// Reads the words of a `server` line that stands in no file, its name first (`add server` of the
/// control socket). Nothing of a `default-server` is in it. TLS files are those of the running
/// configuration, `store`, so that what was put there while running is found, and what changes
/// there later reaches this server. `global` is of that configuration.
pub fn from_words(
    words: &[&str],
    source: &dyn Source,
    global: &model::Global,
) -> Result<Server, String> {
    let store = &global.certificates;
    let folders = store.folders();
    let mut bases = Bases {
        ca_base: folders.authorities,
        crt_base: folders.certificates,
        never_local: global.pp2_never_send_local,
        ..Bases::default()
    };
    bases.tls.store = Arc::clone(store);
    bases.tls.server = store.server_settings();
    loose_line("server", words, source, &bases, |line| {
        server(line, &Reading::default())
    })
}
