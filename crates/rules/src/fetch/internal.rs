//! What the running system knows (manual section 7.3.2).

use super::{FetchDef, backend, fetch, int, name_arg, truth};
use crate::args::{Arg, ArgKind::*, ArgList, ArgSpec, NONE, args};
use crate::ctx::{Timeout, Wall};
use crate::{Ctx, Sample};

const NAME: ArgSpec = args(&[Str], 1);
const MAYBE_NAME: ArgSpec = args(&[Str], 0);
const UNIT: ArgSpec = args(&[Word(&["s", "ms", "us"])], 0);

pub static TABLE: &[FetchDef] = &[
    fetch! { ["accept_date"], UNIT, Int, Internal, "when the session was accepted: seconds (or ms, us) since 1970",
        "accept_date" => "784111777", |a, cx| date(cx.session.accepted, a.text(0))
    },
    fetch! { ["act_conn"], NONE, Int, Internal, "connections of the process",
        "act_conn" => "7", |_, cx| int(cx.facts.act_conn())
    },
    fetch! { ["avg_queue"], MAYBE_NAME, Int, Internal, "requests waiting per usable server",
        "avg_queue(b)" => "4", |a, cx| {
            let name = backend(a, cx)?;
            let (queued, servers) = (cx.facts.queue(name)?, cx.facts.nbsrv(name)?);
            int(if servers > 0 { (queued + servers - 1) / servers } else { queued * 2 })
        }
    },
    fetch! { ["be_conn"], MAYBE_NAME, Int, Internal, "sessions of a backend",
        "be_conn(b)" => "7", |a, cx| cx.facts.be_conn(backend(a, cx)?).and_then(int)
    },
    fetch! { ["be_conn_free"], MAYBE_NAME, Int, Internal, "free places of a backend's usable servers, -1 without end",
        "be_conn_free(b)" => "7", |a, cx| cx.facts.be_conn_free(backend(a, cx)?).and_then(int)
    },
    fetch! { ["be_connect_timeout"], NONE, Int, Internal, "the backend's `timeout connect`, ms",
        "be_connect_timeout" => "7", |_, cx| cx.facts.timeout(backend(&[], cx)?, Timeout::Connect).and_then(int)
    },
    fetch! { ["be_id"], NONE, Int, Internal, "the backend's number",
        "be_id" => "2", |_, cx| int(match cx.stream.backend {
            Some(_) => cx.stream.backend_id,
            None => cx.session.listener.frontend_id,
        })
    },
    fetch! { ["be_name"], NONE, Str, Internal, "the backend's name",
        "be_name" => "web", |_, cx| backend(&[], cx).map(|n| Sample::str(n.as_bytes()))
    },
    fetch! { ["be_queue_timeout"], NONE, Int, Internal, "the backend's `timeout queue`, ms",
        "be_queue_timeout" => "7", |_, cx| cx.facts.timeout(backend(&[], cx)?, Timeout::Queue).and_then(int)
    },
    fetch! { ["be_server_timeout"], NONE, Int, Internal, "the backend's `timeout server`, ms",
        "be_server_timeout" => "7", |_, cx| cx.facts.timeout(backend(&[], cx)?, Timeout::Server).and_then(int)
    },
    fetch! { ["be_sess_rate"], MAYBE_NAME, Int, Internal, "new sessions a second of a backend",
        "be_sess_rate(b)" => "7", |a, cx| cx.facts.be_sess_rate(backend(a, cx)?).and_then(int)
    },
    fetch! { ["be_tarpit_timeout"], NONE, Int, Internal, "the backend's `timeout tarpit`, ms",
        "be_tarpit_timeout" => "7", |_, cx| cx.facts.timeout(backend(&[], cx)?, Timeout::Tarpit).and_then(int)
    },
    fetch! { ["be_tunnel_timeout"], NONE, Int, Internal, "the backend's `timeout tunnel`, ms",
        "be_tunnel_timeout" => "7", |_, cx| cx.facts.timeout(backend(&[], cx)?, Timeout::Tunnel).and_then(int)
    },
    fetch! { ["connslots"], MAYBE_NAME, Int, Internal, "free places of a backend's servers and their queues, -1 without end",
        "connslots(b)" => "7", |a, cx| cx.facts.connslots(backend(a, cx)?).and_then(int)
    },
    fetch! { ["date"], args(&[Int, Word(&["s", "ms", "us"])], 0), Int, Internal,
        "seconds (or ms, us) since 1970, shifted",
        "date(3,ms)" => "784111777008", |a, cx| {
            let now = date(cx.now, a.text(1))?.to_int()?;
            int(now.saturating_add(a.int(0).unwrap_or(0)))
        }
    },
    fetch! { ["date_us"], NONE, Int, Internal, "microseconds of the current second",
        "date_us" => "5000", |_, cx| int(cx.now.micros)
    },
    fetch! { ["env"], NAME, Str, Internal, "an environment variable",
        "env(HOME)" => "/home", |a, cx| cx.facts.env(name_arg(a)?).map(Sample::owned)
    },
    fetch! { ["fe_client_timeout"], NONE, Int, Internal, "the frontend's `timeout client`, ms",
        "fe_client_timeout" => "7", |_, cx| cx.facts.timeout(&cx.session.listener.frontend, Timeout::Client).and_then(int)
    },
    fetch! { ["fe_conn"], MAYBE_NAME, Int, Internal, "sessions of a frontend",
        "fe_conn" => "7", |a, cx| cx.facts.fe_conn(frontend(a, cx)).and_then(int)
    },
    fetch! { ["fe_defbe"], NONE, Str, Internal, "the frontend's default backend",
        "fe_defbe" => "b", |_, cx| cx.facts.fe_defbe(&cx.session.listener.frontend).map(Sample::owned)
    },
    fetch! { ["fe_req_rate"], MAYBE_NAME, Int, Internal, "requests a second of a frontend",
        "fe_req_rate" => "7", |a, cx| cx.facts.fe_req_rate(frontend(a, cx)).and_then(int)
    },
    fetch! { ["fe_sess_rate"], MAYBE_NAME, Int, Internal, "new sessions a second of a frontend",
        "fe_sess_rate" => "7", |a, cx| cx.facts.fe_sess_rate(frontend(a, cx)).and_then(int)
    },
    fetch! { ["fe_tarpit_timeout"], NONE, Int, Internal, "the frontend's `timeout tarpit`, ms",
        "fe_tarpit_timeout" => "7", |_, cx| cx.facts.timeout(&cx.session.listener.frontend, Timeout::Tarpit).and_then(int)
    },
    fetch! { ["hostname"], NONE, Str, Internal, "this machine's name",
        "hostname" => "localhost", |_, cx| Some(Sample::str(cx.facts.hostname().as_bytes()))
    },
    fetch! { ["nbproc", "proc"], NONE, Int, Internal, "number of processes, and of this one: 1",
        "proc" => "1", |_, _| int(1)
    },
    fetch! { ["nbsrv"], MAYBE_NAME, Int, Internal, "usable servers of a backend",
        "nbsrv(b)" => "2", |a, cx| cx.facts.nbsrv(backend(a, cx)?).and_then(int)
    },
    fetch! { ["nbthread"], NONE, Int, Internal, "number of workers",
        "nbthread" => "1", |_, cx| int(cx.facts.nbthread())
    },
    fetch! { ["pid"], NONE, Int, Internal, "the process's number",
        "pid" => "1", |_, cx| int(cx.facts.pid())
    },
    fetch! { ["prio_class"], NONE, Int, Internal, "the request's class in a queue",
        "prio_class" => "0", |_, cx| int(cx.stream.priority_class)
    },
    fetch! { ["prio_offset"], NONE, Int, Internal, "by how many ms the request counts as later in a queue",
        "prio_offset" => "0", |_, cx| int(cx.stream.priority_offset)
    },
    fetch! { ["queue"], MAYBE_NAME, Int, Internal, "requests waiting in a backend",
        "queue(b)" => "7", |a, cx| cx.facts.queue(backend(a, cx)?).and_then(int)
    },
    fetch! { ["rand"], args(&[Int], 0), Int, Internal, "a random number below the given one (2^32)",
        "rand(1)" => "0", |a, cx| {
            let range = a.int(0).unwrap_or(1 << 32).max(0) as u64;
            int(((u128::from(cx.random()) * u128::from(range)) >> 64) as i64)
        }
    },
    fetch! { ["request_date"], UNIT, Int, Internal, "when the request came: seconds (or ms, us) since 1970",
        "request_date(us)" => "784111777005000", |a, cx| date(cx.log.map_or(cx.now, |l| l.request), a.text(0))
    },
    fetch! { ["srv_conn"], NAME, Int, Internal, "sessions of [backend/]server",
        "srv_conn(b/s)" => "7", |a, cx| of_server(a, cx, |b, s| cx.facts.srv_conn(b, s))
    },
    fetch! { ["srv_conn_free"], NAME, Int, Internal, "free places of [backend/]server, -1 without end",
        "srv_conn_free(b/s)" => "7", |a, cx| of_server(a, cx, |b, s| cx.facts.srv_conn_free(b, s))
    },
    fetch! { ["srv_id"], NONE, Int, Internal, "the server's number",
        "srv_id" => "", |_, cx| cx.stream.server.as_ref().and_then(|_| int(cx.stream.server_id))
    },
    fetch! { ["srv_is_up"], NAME, Bool, Internal, "whether [backend/]server is usable",
        "srv_is_up(b/s)" => "1", |a, cx| {
            let (b, s) = server(a, cx)?;
            cx.facts.srv_is_up(b, s).and_then(truth)
        }
    },
    fetch! { ["srv_iweight"], NAME, Int, Internal, "weight of [backend/]server in the configuration",
        "srv_iweight(b/s)" => "7", |a, cx| of_server(a, cx, |b, s| cx.facts.srv_iweight(b, s))
    },
    fetch! { ["srv_name"], NONE, Str, Internal, "the server's name",
        "srv_name" => "", |_, cx| cx.stream.server.as_deref().map(|s| Sample::str(s.as_bytes()))
    },
    fetch! { ["srv_queue"], NAME, Int, Internal, "requests waiting for [backend/]server",
        "srv_queue(b/s)" => "7", |a, cx| of_server(a, cx, |b, s| cx.facts.srv_queue(b, s))
    },
    fetch! { ["srv_sess_rate"], NAME, Int, Internal, "new sessions a second of [backend/]server",
        "srv_sess_rate(b/s)" => "7", |a, cx| of_server(a, cx, |b, s| cx.facts.srv_sess_rate(b, s))
    },
    fetch! { ["srv_weight", "srv_uweight"], NAME, Int, Internal, "weight of [backend/]server",
        "srv_weight(b/s)" => "7", |a, cx| of_server(a, cx, |b, s| cx.facts.srv_weight(b, s))
    },
    fetch! { ["stopping"], NONE, Bool, Internal, "whether the process is stopping",
        "stopping" => "0", |_, cx| truth(cx.facts.stopping())
    },
    fetch! { ["thread"], NONE, Int, Internal, "the worker's number, from 0",
        "thread" => "0", |_, cx| int(cx.session.worker)
    },
    fetch! { ["txn.id32"], NONE, Int, Internal, "a number of 32 bits that is another for each request",
        "txn.id32,bool" => "1", |_, cx| int((cx.random() >> 32) as u32)
    },
    fetch! { ["unique-id"], NONE, Str, Internal, "the request's unique ID",
        "unique-id" => "", |_, cx| cx.stream.unique_id.get(cx).map(Sample::str)
    },
    fetch! { ["uptime"], NONE, Int, Internal, "seconds since the process started",
        "uptime" => "7", |_, cx| int(cx.facts.uptime())
    },
    fetch! { ["uuid"], args(&[Word(&["4", "7"])], 0), Str, Internal, "a UUID (RFC 9562), random or (7) by date",
        "uuid,length" => "36", |a, cx| Some(Sample::owned(uuid(a.text(0) == Some(b"7"), cx)))
    },
    fetch! { ["var"], args(&[Var, Str], 1), Any, Internal, "a variable, or the default",
        "var(txn.absent,d)" => "d", |a, cx| cx.var(a.var(0)?).or_else(|| a.text(1).map(Sample::str))
    },
];

fn frontend<'s>(args: &'s [Arg], cx: &'s Ctx<'_>) -> &'s str {
    name_arg(args).unwrap_or(&cx.session.listener.frontend)
}

fn server<'s>(args: &'s [Arg], cx: &'s Ctx<'_>) -> Option<(&'s str, &'s str)> {
    let name = name_arg(args)?;
    name.split_once('/')
        .or_else(|| backend(&[], cx).map(|b| (b, name)))
}

fn of_server<'s>(
    args: &'s [Arg],
    cx: &'s Ctx<'_>,
    fact: impl Fn(&str, &str) -> Option<i64>,
) -> Option<Sample<'s>> {
    let (backend, server) = server(args, cx)?;
    fact(backend, server).and_then(int)
}

fn date<'s>(at: Wall, unit: Option<&[u8]>) -> Option<Sample<'s>> {
    int(match unit {
        Some(b"ms") => at.secs * 1000 + i64::from(at.micros / 1000),
        Some(b"us") => at.secs * 1_000_000 + i64::from(at.micros),
        _ => at.secs,
    })
}

/// Versions 4 and 7 (RFC 9562 sections 5.4 and 5.7).
fn uuid(by_date: bool, cx: &Ctx<'_>) -> String {
    let (mut high, low) = (cx.random(), cx.random());
    let mut version = 0x4000;
    if by_date {
        let millis = cx.now.secs as u64 * 1000 + u64::from(cx.now.micros / 1000);
        high = millis << 16 | (high & 0x0fff);
        version = 0x7000;
    }
    let high = (high & 0xffff_ffff_ffff_0fff) | version;
    let low = (low & 0x3fff_ffff_ffff_ffff) | 0x8000_0000_0000_0000;
    format!(
        "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        high >> 32,
        (high >> 16) & 0xffff,
        high & 0xffff,
        low >> 48,
        low & 0xffff_ffff_ffff
    )
}
