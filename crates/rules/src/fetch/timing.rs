//! What is known of a request when its log line is written: times and counts.

use super::{FetchDef, fetch, int, truth};
use crate::args::NONE;
use crate::ctx::Timers;
use crate::{Ctx, Sample};

pub static TABLE: &[FetchDef] = &[
    fetch! { ["bc.timer.connect"], NONE, Int, Internal, "in logs: connect time (%Tc), ms",
        "bc.timer.connect" => "", |_, cx| timer(cx, |t| t.tc)
    },
    fetch! { ["bs.aborted"], NONE, Bool, Internal, "in logs: whether the server broke its answer off",
        "bs.aborted" => "0", |_, cx| truth(broken(cx, b'S', b"HDL"))
    },
    fetch! { ["bytes_in", "req.bytes_in"], NONE, Int, Internal, "in logs: bytes received from the client (%U)",
        "req.bytes_in" => "", |_, cx| int(cx.log?.bytes_uploaded as i64)
    },
    fetch! { ["bytes_out", "res.bytes_out"], NONE, Int, Internal, "in logs: bytes sent to the client (%B)",
        "res.bytes_out" => "", |_, cx| int(cx.log?.bytes_read as i64)
    },
    fetch! { ["fc.timer.handshake"], NONE, Int, Internal, "in logs: handshake time (%Th), ms",
        "fc.timer.handshake" => "", |_, cx| timer(cx, |t| t.th)
    },
    fetch! { ["fc.timer.total"], NONE, Int, Internal, "in logs: total time (%Tt), ms",
        "fc.timer.total" => "", |_, cx| timer(cx, |t| t.tt)
    },
    fetch! { ["fs.aborted"], NONE, Bool, Internal, "in logs: whether the client left before the end",
        "fs.aborted" => "0", |_, cx| truth(broken(cx, b'C', b"RQCHDLT"))
    },
    fetch! { ["req.bytes_out"], NONE, Int, Internal, "in logs: bytes sent to the server",
        "req.bytes_out" => "", |_, cx| int(cx.log?.server_bytes?[0] as i64)
    },
    fetch! { ["res.bytes_in"], NONE, Int, Internal, "in logs: bytes received from the server",
        "res.bytes_in" => "", |_, cx| int(cx.log?.server_bytes?[1] as i64)
    },
    fetch! { ["req.timer.hdr"], NONE, Int, Internal, "in logs: time to receive the request (%TR), ms",
        "req.timer.hdr" => "", |_, cx| timer(cx, |t| t.tr_request)
    },
    fetch! { ["req.timer.idle"], NONE, Int, Internal, "in logs: idle time before the request (%Ti), ms",
        "req.timer.idle" => "", |_, cx| timer(cx, |t| t.ti)
    },
    fetch! { ["req.timer.queue"], NONE, Int, Internal, "in logs: time in the queue (%Tw), ms",
        "req.timer.queue" => "", |_, cx| timer(cx, |t| t.tw)
    },
    fetch! { ["req.timer.tq"], NONE, Int, Internal, "in logs: handshake, idle and request time (%Tq), ms",
        "req.timer.tq" => "", |_, cx| timer(cx, Timers::tq)
    },
    fetch! { ["res.timer.data"], NONE, Int, Internal, "in logs: data time (%Td), ms",
        "res.timer.data" => "", |_, cx| timer(cx, |t| t.td)
    },
    fetch! { ["res.timer.hdr"], NONE, Int, Internal, "in logs: the server's response time (%Tr), ms",
        "res.timer.hdr" => "", |_, cx| timer(cx, |t| t.tr)
    },
    fetch! { ["txn.conn_retries"], NONE, Int, Internal, "in logs: retries",
        "txn.conn_retries" => "", |_, cx| int(cx.log?.retries)
    },
    fetch! { ["txn.redispatched"], NONE, Bool, Internal, "in logs: whether another server was tried",
        "txn.redispatched" => "", |_, cx| truth(cx.log?.redispatched)
    },
    fetch! { ["txn.sess_term_state"], NONE, Str, Internal, "in logs: the two termination flags (%ts)",
        "txn.sess_term_state" => "", |_, cx| cx.log?.termination.get(..2).map(|t| Sample::owned(t.to_vec()))
    },
    fetch! { ["txn.status"], NONE, Int, Internal, "in logs: the status that the client got (%ST)",
        "txn.status" => "", |_, cx| int(cx.log?.status?)
    },
    fetch! { ["txn.timer.total"], NONE, Int, Internal, "in logs: active time of the request (%Ta), ms",
        "txn.timer.total" => "", |_, cx| timer(cx, |t| t.ta)
    },
    fetch! { ["txn.timer.user"], NONE, Int, Internal, "in logs: total time seen by the user (%Tu), ms",
        "txn.timer.user" => "", |_, cx| timer(cx, Timers::tu)
    },
];

/// Whether this side ended it, in one of these phases.
fn broken(cx: &Ctx<'_>, side: u8, phases: &[u8]) -> bool {
    cx.log
        .is_some_and(|l| l.termination[0] == side && phases.contains(&l.termination[1]))
}

fn timer<'s>(cx: &Ctx<'_>, of: impl Fn(&Timers) -> i64) -> Option<Sample<'s>> {
    cx.log?.timers.as_ref().map(of).and_then(int)
}
