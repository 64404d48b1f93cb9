//! What stick tables know: of tracked entries (`sc_…`), and of the entry of the client's address
//! (`src_…`); manual section 7.3.3.

use super::{FetchDef, fetch, int, truth};
use crate::args::{Arg, ArgKind::*, ArgList, ArgSpec, args};
use crate::stick::{Change, Counter, Data, Entry, Read, Tables};
use crate::{Ctx, Sample};

const TABLE_ONLY: ArgSpec = args(&[Table], 0);
const MAYBE: ArgSpec = args(&[MaybeTable], 0);
const TRACKED: ArgSpec = args(&[Tracked, MaybeTable], 1);
const INDEX: ArgSpec = args(&[IntIn(0, 99), Table], 1);
const INDEX_TRACKED: ArgSpec = args(&[IntIn(0, 99), Tracked, MaybeTable], 2);

/// `sc_X`, `sc0_X` and so on, and `src_X`, all of which read or change one thing of an entry.
macro_rules! families {
    ($($suffix:literal, $doc:literal, $of:expr;)*) => {
        static PLAIN: &[FetchDef] = &[$(
            fetch! { [concat!("sc_", $suffix)], TRACKED, Int, Internal, $doc,
                concat!("sc_", $suffix, "(0)") => "",
                |a, cx| $of(cx, Entry::Tracked(number(a, 0)?, a.table(1)))
            },
            fetch! { [concat!("sc0_", $suffix)], MAYBE, Int, Internal, $doc,
                concat!("sc0_", $suffix) => "", |a, cx| $of(cx, Entry::Tracked(0, a.table(0)))
            },
            fetch! { [concat!("sc1_", $suffix)], MAYBE, Int, Internal, $doc,
                concat!("sc1_", $suffix) => "", |a, cx| $of(cx, Entry::Tracked(1, a.table(0)))
            },
            fetch! { [concat!("sc2_", $suffix)], MAYBE, Int, Internal, $doc,
                concat!("sc2_", $suffix) => "", |a, cx| $of(cx, Entry::Tracked(2, a.table(0)))
            },
            fetch! { [concat!("src_", $suffix)], TABLE_ONLY, Int, Internal, $doc,
                concat!("src_", $suffix, "(t)") => "",
                |a, cx| $of(cx, Entry::Key(a.table(0)?, &client(cx)?))
            },
        )*];
    };
}

families! {
    "bytes_in_rate", "bytes from the client in a period", |cx, e| value(cx, e, Data::BytesInRate);
    "bytes_out_rate", "bytes to the client in a period", |cx, e| value(cx, e, Data::BytesOutRate);
    "clr_gpc0", "sets gpc0 to 0; its value before", |cx, e| change(cx, e, Change::Clear(Counter::Named(0)));
    "clr_gpc1", "sets gpc1 to 0; its value before", |cx, e| change(cx, e, Change::Clear(Counter::Named(1)));
    "conn_cnt", "connections", |cx, e| value(cx, e, Data::ConnCnt);
    "conn_cur", "connections now", |cx, e| value(cx, e, Data::ConnCur);
    "conn_rate", "connections in a period", |cx, e| value(cx, e, Data::ConnRate);
    "get_gpc0", "the first counter for any purpose", |cx, e| value(cx, e, Data::Gpc0);
    "get_gpc1", "the second counter for any purpose", |cx, e| value(cx, e, Data::Gpc1);
    "get_gpt0", "the first tag", |cx, e| value(cx, e, Data::Gpt0);
    "gpc0_rate", "how often gpc0 grew in a period", |cx, e| value(cx, e, Data::Gpc0Rate);
    "gpc1_rate", "how often gpc1 grew in a period", |cx, e| value(cx, e, Data::Gpc1Rate);
    "http_err_cnt", "requests that were errors of the client", |cx, e| value(cx, e, Data::HttpErrCnt);
    "http_err_rate", "errors of the client in a period", |cx, e| value(cx, e, Data::HttpErrRate);
    "http_fail_cnt", "responses that were failures of the server", |cx, e| value(cx, e, Data::HttpFailCnt);
    "http_fail_rate", "failures of the server in a period", |cx, e| value(cx, e, Data::HttpFailRate);
    "http_req_cnt", "requests", |cx, e| value(cx, e, Data::HttpReqCnt);
    "http_req_rate", "requests in a period", |cx, e| value(cx, e, Data::HttpReqRate);
    "inc_gpc0", "adds 1 to gpc0; the new value", |cx, e| change(cx, e, Change::Count(Counter::Named(0), 1));
    "inc_gpc1", "adds 1 to gpc1; the new value", |cx, e| change(cx, e, Change::Count(Counter::Named(1), 1));
    "kbytes_in", "kilobytes from the client", |cx, e| kilobytes(cx, e, Data::BytesInCnt);
    "kbytes_out", "kilobytes to the client", |cx, e| kilobytes(cx, e, Data::BytesOutCnt);
    "sess_cnt", "connections that became sessions", |cx, e| value(cx, e, Data::SessCnt);
    "sess_rate", "sessions in a period", |cx, e| value(cx, e, Data::SessRate);
}

/// The same of arrays, with an index before.
macro_rules! arrays {
    ($($suffix:literal, $doc:literal, $of:expr;)*) => {
        static ARRAYS: &[FetchDef] = &[$(
            fetch! { [concat!("sc_", $suffix)], INDEX_TRACKED, Int, Internal, $doc,
                concat!("sc_", $suffix, "(1,0)") => "",
                |a, cx| $of(cx, Entry::Tracked(number(a, 1)?, a.table(2)), index(a)?)
            },
            fetch! { [concat!("src_", $suffix)], INDEX, Int, Internal, $doc,
                concat!("src_", $suffix, "(1,t)") => "",
                |a, cx| $of(cx, Entry::Key(a.table(1)?, &client(cx)?), index(a)?)
            },
        )*];
    };
}

arrays! {
    "clr_gpc", "sets a counter to 0; its value before", |cx, e, i| change(cx, e, Change::Clear(Counter::Indexed(i)));
    "get_gpc", "a counter for any purpose", |cx, e, i| read(cx, e, Read::Value(Data::Gpc, i));
    "get_gpt", "a tag", |cx, e, i| read(cx, e, Read::Value(Data::Gpt, i));
    "gpc_rate", "how often a counter grew in a period", |cx, e, i| read(cx, e, Read::Value(Data::GpcRate, i));
    "inc_gpc", "adds 1 to a counter; the new value", |cx, e, i| change(cx, e, Change::Count(Counter::Indexed(i), 1));
}

macro_rules! tracking {
    ($($name:literal, $spec:expr, $example:literal => $value:literal, $number:expr, $table:expr,
       $trackers:literal, $trackers_example:literal;)*) => {
        static TRACKING: &[FetchDef] = &[$(
            fetch! { [$name], $spec, Bool, Internal, "whether an entry is tracked",
                $example => $value,
                |a, cx| truth(cx.facts.tables()?.tracks($number(a)?))
            },
            fetch! { [$trackers], $spec, Int, Internal, "how many sessions and requests track the entry",
                $trackers_example => "",
                |a, cx| read(cx, Entry::Tracked($number(a)?, a.table($table)), Read::Trackers)
            },
        )*];
    };
}

tracking! {
    "sc_tracked", TRACKED, "sc_tracked(0)" => "", |a| number(a, 0), 1, "sc_trackers", "sc_trackers(0)";
    "sc0_tracked", MAYBE, "sc0_tracked" => "", |_| Some(0), 0, "sc0_trackers", "sc0_trackers";
    "sc1_tracked", MAYBE, "sc1_tracked" => "", |_| Some(1), 0, "sc1_trackers", "sc1_trackers";
    "sc2_tracked", MAYBE, "sc2_tracked" => "", |_| Some(2), 0, "sc2_trackers", "sc2_trackers";
}

static TABLES: &[FetchDef] = &[
    fetch! { ["sc_key"], TRACKED, Any, Internal, "the key of the tracked entry",
        "sc_key(0)" => "", |a, cx| cx.facts.tables()?.key(number(a, 0)?, a.table(1))
    },
    fetch! { ["sc0_key"], MAYBE, Any, Internal, "the key of the entry tracked as sc0",
        "sc0_key" => "", |a, cx| cx.facts.tables()?.key(0, a.table(0))
    },
    fetch! { ["sc1_key"], MAYBE, Any, Internal, "the key of the entry tracked as sc1",
        "sc1_key" => "", |a, cx| cx.facts.tables()?.key(1, a.table(0))
    },
    fetch! { ["sc2_key"], MAYBE, Any, Internal, "the key of the entry tracked as sc2",
        "sc2_key" => "", |a, cx| cx.facts.tables()?.key(2, a.table(0))
    },
    fetch! { ["src_updt_conn_cnt"], TABLE_ONLY, Int, Internal,
        "counts one more connection of the client's address; the new count",
        "src_updt_conn_cnt(t)" => "",
        |a, cx| change(cx, Entry::Key(a.table(0)?, &client(cx)?), Change::Connection)
    },
    fetch! { ["table_avl"], TABLE_ONLY, Int, Internal, "how many entries a stick table has room for",
        "table_avl(t)" => "", |a, cx| cx.facts.tables()?.free(a.table(0)?).and_then(int)
    },
    fetch! { ["table_cnt"], TABLE_ONLY, Int, Internal, "how many entries a stick table has",
        "table_cnt(t)" => "", |a, cx| cx.facts.tables()?.used(a.table(0)?).and_then(int)
    },
];

/// All of them.
pub static ALL: [&[FetchDef]; 4] = [PLAIN, ARRAYS, TRACKING, TABLES];

fn number(args: &[Arg], at: usize) -> Option<usize> {
    usize::try_from(args.int(at)?).ok()
}

fn index(args: &[Arg]) -> Option<u32> {
    u32::try_from(args.int(0)?).ok()
}

fn client(cx: &Ctx<'_>) -> Option<Sample<'static>> {
    cx.session.ends.src().map(|src| Sample::ip(src.ip()))
}

fn tables<'c>(cx: &'c Ctx<'_>) -> Option<&'c dyn Tables> {
    cx.facts.tables()
}

fn read<'s>(cx: &Ctx<'_>, entry: Entry<'_>, what: Read) -> Option<Sample<'s>> {
    tables(cx)?.read(entry, what).map(Sample::Int)
}

fn value<'s>(cx: &Ctx<'_>, entry: Entry<'_>, data: Data) -> Option<Sample<'s>> {
    read(cx, entry, Read::Value(data, 0))
}

fn kilobytes<'s>(cx: &Ctx<'_>, entry: Entry<'_>, data: Data) -> Option<Sample<'s>> {
    let bytes = tables(cx)?.read(entry, Read::Value(data, 0))?;
    int(bytes >> 10)
}

fn change<'s>(cx: &Ctx<'_>, entry: Entry<'_>, change: Change) -> Option<Sample<'s>> {
    tables(cx)?.change(entry, change).map(Sample::Int)
}
