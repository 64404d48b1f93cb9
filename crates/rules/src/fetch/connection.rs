//! The client's connection (manual section 7.3.3).

use super::{FetchDef, fetch, int, truth};
use crate::args::NONE;
use crate::{Ctx, Sample};
use std::net::SocketAddr;

pub static TABLE: &[FetchDef] = &[
    fetch! { ["dst"], NONE, Addr, Connection, "the address the client connected to",
        "dst" => "192.0.2.1", |_, cx| address(cx.dst())
    },
    fetch! { ["dst_is_local"], NONE, Bool, Connection,
        "whether the address the client connected to is one of this machine",
        "dst_is_local" => "0", |_, cx| local(cx.dst(), cx)
    },
    fetch! { ["dst_port"], NONE, Int, Connection, "the port the client connected to",
        "dst_port" => "80", |_, cx| cx.dst().and_then(|a| int(a.port()))
    },
    fetch! { ["fc_dst"], NONE, Addr, Connection, "the address the client connected to, whatever rules say",
        "fc_dst" => "192.0.2.1", |_, cx| address(cx.session.dst)
    },
    fetch! { ["fc_dst_is_local"], NONE, Bool, Connection,
        "whether the address the client connected to is one of this machine, whatever rules say",
        "fc_dst_is_local" => "0", |_, cx| local(cx.session.dst, cx)
    },
    fetch! { ["fc_dst_port"], NONE, Int, Connection, "the port the client connected to, whatever rules say",
        "fc_dst_port" => "80", |_, cx| cx.session.dst.and_then(|a| int(a.port()))
    },
    fetch! { ["fc_src"], NONE, Addr, Connection, "the client's address, whatever rules say",
        "fc_src" => "192.0.2.7", |_, cx| address(cx.session.src)
    },
    fetch! { ["fc_src_is_local"], NONE, Bool, Connection,
        "whether the client's address is one of this machine, whatever rules say",
        "fc_src_is_local" => "0", |_, cx| local(cx.session.src, cx)
    },
    fetch! { ["fc_src_port"], NONE, Int, Connection, "the client's port, whatever rules say",
        "fc_src_port" => "40000", |_, cx| cx.session.src.and_then(|a| int(a.port()))
    },
    fetch! { ["fc_http_major"], NONE, Int, Connection, "the client's version of HTTP: 1 or 2",
        "fc_http_major" => "1", |_, cx| {
            let alpn = cx.session.tls.as_ref().and_then(|t| t.alpn.as_deref());
            int(if alpn == Some("h2") { 2 } else { 1 })
        }
    },
    fetch! { ["fe_id"], NONE, Int, Connection, "the frontend's number",
        "fe_id" => "2", |_, cx| int(cx.session.frontend_id)
    },
    fetch! { ["fe_name"], NONE, Str, Connection, "the frontend's name",
        "fe_name" => "web", |_, cx| Some(Sample::str(cx.session.frontend.as_bytes()))
    },
    fetch! { ["http_first_req"], NONE, Bool, Connection, "whether this is the session's first request",
        "http_first_req" => "1", |_, cx| truth(!cx.stream.follows)
    },
    fetch! { ["so_id"], NONE, Int, Connection, "the listener's number",
        "so_id" => "1", |_, cx| int(cx.session.listener_id)
    },
    fetch! { ["so_name"], NONE, Str, Connection, "the listener's name",
        "so_name" => "", |_, cx| Some(Sample::str(cx.session.listener.as_bytes()))
    },
    fetch! { ["src"], NONE, Addr, Connection, "the client's address",
        "src" => "192.0.2.7", |_, cx| address(cx.src())
    },
    fetch! { ["src_is_local"], NONE, Bool, Connection,
        "whether the client's address is one of this machine",
        "src_is_local" => "0", |_, cx| local(cx.src(), cx)
    },
    fetch! { ["src_port"], NONE, Int, Connection, "the client's port",
        "src_port" => "40000", |_, cx| cx.src().and_then(|a| int(a.port()))
    },
];

fn address<'s>(address: Option<SocketAddr>) -> Option<Sample<'s>> {
    address.map(|a| Sample::ip(a.ip().to_canonical()))
}

fn local<'s>(address: Option<SocketAddr>, cx: &Ctx<'_>) -> Option<Sample<'s>> {
    truth(cx.facts.is_local(address?.ip().to_canonical()))
}
