//! What clients of FTP have said: there in `mode ftp` once they have sent `USER`, and in its logs.

use super::{FetchDef, fetch, truth};
use crate::args::NONE;
use crate::{Ctx, FtpInfo, Sample};

pub static TABLE: &[FetchDef] = &[
    fetch! { ["ftp.protected"], NONE, Bool, Connection, "whether data connections of a client of FTP are protected (PROT P)",
        "ftp.protected" => "1", |_, cx| truth(ftp(cx)?.protected)
    },
    fetch! { ["ftp.user"], NONE, Str, Connection, "the name that a client of FTP logs in by",
        "ftp.user" => "alice", |_, cx| Some(Sample::str(&ftp(cx)?.user))
    },
];

fn ftp<'a>(cx: &'a Ctx<'_>) -> Option<&'a FtpInfo> {
    cx.stream.ftp.as_deref()
}
