//! What a stick table knows of the entry whose key a value is (manual section 7.3.1, `table_…`).

use super::{ConvertDef, convert, int};
use crate::args::{Arg, ArgKind::*, ArgList, ArgSpec, args};
use crate::stick::{Change, Counter, Data, Entry, Read};
use crate::{Ctx, Sample};

const NAME: ArgSpec = args(&[Table], 0);
const NAME_DEFAULT: ArgSpec = args(&[Table, Int], 0);
const INDEX: ArgSpec = args(&[IntIn(0, 99), Table], 1);

macro_rules! values {
    ($($name:literal, $data:ident, $doc:literal;)*) => {
        static VALUES: &[ConvertDef] = &[$(
            convert! { $name, NAME, Any => Int, $doc, concat!("src,", $name, "(t)") => "",
                |a, s, cx| read(cx, Entry::Key(a.table(0)?, &s), Read::Value(Data::$data, 0))
            },
        )*];
    };
}

values! {
    "table_bytes_in_rate", BytesInRate, "bytes from the client in a period";
    "table_bytes_out_rate", BytesOutRate, "bytes to the client in a period";
    "table_conn_cnt", ConnCnt, "connections";
    "table_conn_cur", ConnCur, "connections now";
    "table_conn_rate", ConnRate, "connections in a period";
    "table_gpc0", Gpc0, "the first counter for any purpose";
    "table_gpc0_rate", Gpc0Rate, "how often gpc0 grew in a period";
    "table_gpc1", Gpc1, "the second counter for any purpose";
    "table_gpc1_rate", Gpc1Rate, "how often gpc1 grew in a period";
    "table_gpt0", Gpt0, "the first tag";
    "table_http_err_cnt", HttpErrCnt, "requests that were errors of the client";
    "table_http_err_rate", HttpErrRate, "errors of the client in a period";
    "table_http_fail_cnt", HttpFailCnt, "responses that were failures of the server";
    "table_http_fail_rate", HttpFailRate, "failures of the server in a period";
    "table_http_req_cnt", HttpReqCnt, "requests";
    "table_http_req_rate", HttpReqRate, "requests in a period";
    "table_server_id", ServerId, "number of the server that requests go to";
    "table_sess_cnt", SessCnt, "connections that became sessions";
    "table_sess_rate", SessRate, "sessions in a period";
}

macro_rules! arrays {
    ($($name:literal, $doc:literal, $of:expr;)*) => {
        static ARRAYS: &[ConvertDef] = &[$(
            convert! { $name, INDEX, Any => Int, $doc, concat!("src,", $name, "(1,t)") => "",
                |a, s, cx| $of(cx, Entry::Key(a.table(1)?, &s), index(a)?)
            },
        )*];
    };
}

arrays! {
    "table_clr_gpc", "sets a counter to 0; its value before", |cx, e, i| change(cx, e, Change::Clear(Counter::Indexed(i)));
    "table_gpc", "a counter for any purpose", |cx, e, i| read(cx, e, Read::Value(Data::Gpc, i));
    "table_gpc_rate", "how often a counter grew in a period", |cx, e, i| read(cx, e, Read::Value(Data::GpcRate, i));
    "table_gpt", "a tag", |cx, e, i| read(cx, e, Read::Value(Data::Gpt, i));
    "table_inc_gpc", "adds 1 to a counter; the new value", |cx, e, i| change(cx, e, Change::Count(Counter::Indexed(i), 1));
}

static OTHERS: &[ConvertDef] = &[
    convert! { "in_table", NAME, Any => Bool, "whether a stick table has an entry of this key",
        "src,in_table(t)" => "",
        |a, s, cx| match cx.facts.tables()?.read(Entry::Key(a.table(0)?, &s), Read::Presence)? {
            0 => Some(Sample::Bool(false)),
            _ => Some(Sample::Bool(true)),
        }
    },
    convert! { "table_clr_gpc0", NAME, Any => Int, "sets gpc0 to 0; its value before",
        "src,table_clr_gpc0(t)" => "",
        |a, s, cx| change(cx, Entry::Key(a.table(0)?, &s), Change::Clear(Counter::Named(0)))
    },
    convert! { "table_clr_gpc1", NAME, Any => Int, "sets gpc1 to 0; its value before",
        "src,table_clr_gpc1(t)" => "",
        |a, s, cx| change(cx, Entry::Key(a.table(0)?, &s), Change::Clear(Counter::Named(1)))
    },
    convert! { "table_expire", NAME_DEFAULT, Any => Int, "milliseconds until the entry expires, or the default",
        "src,table_expire(t,7)" => "", |a, s, cx| time(a, &s, cx, Read::Expire)
    },
    convert! { "table_idle", NAME_DEFAULT, Any => Int, "milliseconds since the entry was touched, or the default",
        "src,table_idle(t,7)" => "", |a, s, cx| time(a, &s, cx, Read::Idle)
    },
    convert! { "table_inc_gpc0", NAME, Any => Int, "adds 1 to gpc0; the new value",
        "src,table_inc_gpc0(t)" => "",
        |a, s, cx| change(cx, Entry::Key(a.table(0)?, &s), Change::Count(Counter::Named(0), 1))
    },
    convert! { "table_inc_gpc1", NAME, Any => Int, "adds 1 to gpc1; the new value",
        "src,table_inc_gpc1(t)" => "",
        |a, s, cx| change(cx, Entry::Key(a.table(0)?, &s), Change::Count(Counter::Named(1), 1))
    },
    convert! { "table_kbytes_in", NAME, Any => Int, "kilobytes from the client",
        "src,table_kbytes_in(t)" => "", |a, s, cx| kilobytes(a, &s, cx, Data::BytesInCnt)
    },
    convert! { "table_kbytes_out", NAME, Any => Int, "kilobytes to the client",
        "src,table_kbytes_out(t)" => "", |a, s, cx| kilobytes(a, &s, cx, Data::BytesOutCnt)
    },
    convert! { "table_trackers", NAME, Any => Int, "how many sessions and requests track the entry",
        "src,table_trackers(t)" => "",
        |a, s, cx| read(cx, Entry::Key(a.table(0)?, &s), Read::Trackers)
    },
];

/// All of them.
pub static ALL: [&[ConvertDef]; 3] = [VALUES, ARRAYS, OTHERS];

fn index(args: &[Arg]) -> Option<u32> {
    u32::try_from(args.int(0)?).ok()
}

fn read<'s>(cx: &Ctx<'_>, entry: Entry<'_>, what: Read) -> Option<Sample<'s>> {
    cx.facts.tables()?.read(entry, what).map(Sample::Int)
}

fn change<'s>(cx: &Ctx<'_>, entry: Entry<'_>, change: Change) -> Option<Sample<'s>> {
    cx.facts.tables()?.change(entry, change).map(Sample::Int)
}

fn kilobytes<'s>(a: &[Arg], s: &Sample<'_>, cx: &Ctx<'_>, data: Data) -> Option<Sample<'s>> {
    let entry = Entry::Key(a.table(0)?, s);
    let bytes = cx.facts.tables()?.read(entry, Read::Value(data, 0))?;
    int(bytes >> 10)
}

fn time<'s>(a: &[Arg], s: &Sample<'_>, cx: &Ctx<'_>, what: Read) -> Option<Sample<'s>> {
    let time = cx.facts.tables()?.read(Entry::Key(a.table(0)?, s), what);
    time.or(a.int(1)).map(Sample::Int)
}
