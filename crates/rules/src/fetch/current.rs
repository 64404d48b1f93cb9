//! What counts for this request now: times and retries as rules left them, the rule that decided.

use super::connection::{UNIT, in_unit};
use super::{FetchDef, backend, fetch, int, truth};
use crate::args::NONE;
use crate::ctx::{TcpInfo, Timeout};
use crate::{Ctx, Sample, faults};
use std::net::SocketAddr;
use std::time::Duration;

pub static TABLE: &[FetchDef] = &[
    fetch! { ["bc_dst"], NONE, Addr, Internal, "the server's address on the connection to it",
        "bc_dst" => "", |_, cx| back(cx).map(|a| Sample::ip(a.1.ip().to_canonical()))
    },
    fetch! { ["bc_dst_port"], NONE, Int, Internal, "the server's port on the connection to it",
        "bc_dst_port" => "", |_, cx| back(cx).and_then(|a| int(a.1.port()))
    },
    fetch! { ["bc_err"], NONE, Int, Internal, "why the connection to the server failed, by HAProxy's number; 0 if it did not",
        "bc_err" => "", |_, cx| cx.stream.overrides.server_fault.get().and_then(int)
    },
    fetch! { ["bc_err_str"], NONE, Str, Internal, "the same in words",
        "bc_err_str" => "", |_, cx| {
            let fault = cx.stream.overrides.server_fault.get()?;
            Some(Sample::str(faults::words(fault).as_bytes()))
        }
    },
    fetch! { ["bc_be_queue"], NONE, Int, Internal, "how many waited before this request in the backend's queue",
        "bc_be_queue" => "0", |_, cx| int(cx.stream.queued[1])
    },
    fetch! { ["bc_http_major"], NONE, Int, Internal, "the version of HTTP that is spoken to the server: 1",
        "bc_http_major" => "", |_, cx| one_with_server(cx)
    },
    fetch! { ["bc_nb_streams"], NONE, Int, Internal, "requests at a time on the connection to the server: 1",
        "bc_nb_streams" => "", |_, cx| one_with_server(cx)
    },
    fetch! { ["bc_settings_streams_limit"], NONE, Int, Internal, "how many requests there may be at a time on the connection to the server: 1",
        "bc_settings_streams_limit" => "", |_, cx| one_with_server(cx)
    },
    fetch! { ["bc_reused"], NONE, Bool, Internal, "whether the connection to the server had served another request before",
        "bc_reused" => "", |_, cx| cx.stream.overrides.server_reused.get().and_then(truth)
    },
    fetch! { ["bc_rtt"], UNIT, Int, Internal, "round-trip time to the server, in ms or us",
        "bc_rtt" => "", |a, cx| int(in_unit(a, tcp(cx)?.rtt_us))
    },
    fetch! { ["bc_rttvar"], UNIT, Int, Internal, "the variance of the round-trip time to the server, in ms or us",
        "bc_rttvar(us)" => "", |a, cx| int(in_unit(a, tcp(cx)?.rttvar_us))
    },
    fetch! { ["bc_src"], NONE, Addr, Internal, "our address on the connection to the server",
        "bc_src" => "", |_, cx| back(cx).map(|a| Sample::ip(a.0.ip().to_canonical()))
    },
    fetch! { ["bc_src_port"], NONE, Int, Internal, "our port on the connection to the server",
        "bc_src_port" => "", |_, cx| back(cx).and_then(|a| int(a.0.port()))
    },
    fetch! { ["bc_srv_queue"], NONE, Int, Internal, "how many waited before this request in the server's queue",
        "bc_srv_queue" => "0", |_, cx| int(cx.stream.queued[0])
    },
    fetch! { ["be_max_retries"], NONE, Int, Internal, "the backend's `retries`",
        "be_max_retries" => "7", |_, cx| cx.facts.retries(backend(&[], cx)?).and_then(int)
    },
    fetch! { ["cur_client_timeout"], NONE, Int, Internal, "`timeout client` of this request, ms",
        "cur_client_timeout" => "7", |_, cx| {
            let set = cx.facts.timeout(&cx.session.listener.frontend, Timeout::Client);
            now(cx.stream.overrides.given(|g| g.client_timeout.get()), set)
        }
    },
    fetch! { ["cur_connect_timeout"], NONE, Int, Internal, "`timeout connect` of this request, ms",
        "cur_connect_timeout" => "7", |_, cx| of(cx, cx.stream.overrides.given(|g| g.connect_timeout.get()), Timeout::Connect)
    },
    fetch! { ["cur_max_retries"], NONE, Int, Internal, "how often this request's connection is tried again",
        "cur_max_retries" => "7", |_, cx| match cx.stream.overrides.given(|g| g.retries.get()) {
            Some(n) => int(n),
            None => cx.facts.retries(backend(&[], cx)?).and_then(int),
        }
    },
    fetch! { ["cur_queue_timeout"], NONE, Int, Internal, "`timeout queue` of this request, ms",
        "cur_queue_timeout" => "7", |_, cx| of(cx, cx.stream.overrides.given(|g| g.queue_timeout.get()), Timeout::Queue)
    },
    fetch! { ["cur_server_timeout"], NONE, Int, Internal, "`timeout server` of this request, ms",
        "cur_server_timeout" => "7", |_, cx| of(cx, cx.stream.overrides.given(|g| g.server_timeout.get()), Timeout::Server)
    },
    fetch! { ["cur_tarpit_timeout"], NONE, Int, Internal, "`timeout tarpit` of this request, ms",
        "cur_tarpit_timeout" => "7", |_, cx| of(cx, cx.stream.overrides.given(|g| g.tarpit_timeout.get()), Timeout::Tarpit)
    },
    fetch! { ["cur_tunnel_timeout"], NONE, Int, Internal, "`timeout tunnel` of this request, ms",
        "cur_tunnel_timeout" => "7", |_, cx| of(cx, cx.stream.overrides.given(|g| g.tunnel_timeout.get()), Timeout::Tunnel)
    },
    fetch! { ["last_entity"], NONE, Str, Internal, "`file:line` of the rule that decided, or that was waited for",
        "last_entity" => "", |_, cx| waiting(cx).or_else(|| last_rule(cx).map(|(file, line)| format!("{file}:{line}"))).map(Sample::owned)
    },
    fetch! { ["last_rule_file"], NONE, Str, Internal, "the file of the last rule that decided",
        "last_rule_file" => "", |_, cx| last_rule(cx).map(|(file, _)| Sample::owned(file))
    },
    fetch! { ["last_rule_line"], NONE, Int, Internal, "the line of the last rule that decided",
        "last_rule_line" => "", |_, cx| last_rule(cx).and_then(|(_, line)| int(line))
    },
    fetch! { ["server_status"], NONE, Int, Response, "the status that the server sent",
        "server_status" => "", |_, cx| cx.stream.overrides.server_status.get().and_then(int)
    },
    fetch! { ["waiting_entity"], NONE, Str, Internal, "`file:line` of the rule that was still waited for when the request ended",
        "waiting_entity" => "", |_, cx| waiting(cx).map(Sample::owned)
    },
];

/// What HTTP/1 has one of, where there is a connection to a server.
fn one_with_server(cx: &Ctx<'_>) -> Option<Sample<'static>> {
    let server = cx.stream.server.as_deref();
    server.filter(|name| !name.starts_with('<')).and(int(1))
}

fn now<'s>(changed: Option<Duration>, set: Option<i64>) -> Option<Sample<'s>> {
    match changed {
        Some(time) => int(time.as_millis() as i64),
        None => set.and_then(int),
    }
}

fn of<'s>(cx: &Ctx<'_>, changed: Option<Duration>, which: Timeout) -> Option<Sample<'s>> {
    now(changed, cx.facts.timeout(backend(&[], cx)?, which))
}

/// What the kernel knows of the server's connection.
fn tcp(cx: &Ctx<'_>) -> Option<TcpInfo> {
    cx.facts.tcp_info(cx.stream.overrides.server.get()?)
}

/// Our address and the server's on the connection to it.
fn back(cx: &Ctx<'_>) -> Option<(SocketAddr, SocketAddr)> {
    cx.stream.overrides.back(cx.facts)
}

/// Where a rule stands that has not come to its end.
fn waiting(cx: &Ctx<'_>) -> Option<String> {
    let line = cx.stream.overrides.given(|g| g.waiting.borrow().clone())?;
    Some(line.split_once(": ")?.0.to_string())
}

/// File and number of a rule's line.
fn last_rule(cx: &Ctx<'_>) -> Option<(String, i64)> {
    let line = cx.stream.overrides.last_rule.borrow();
    let (place, _) = line.as_deref()?.split_once(": ")?;
    let (file, number) = place.rsplit_once(':')?;
    Some((file.to_string(), number.parse().ok()?))
}
