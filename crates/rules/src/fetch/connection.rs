//! The client's connection (manual section 7.3.3).

use super::{FetchDef, fetch, int, truth};
use crate::args::{Arg, ArgKind::*, ArgList, ArgSpec, NONE, args};
use crate::{Ctx, Sample, TcpInfo, faults};
use std::net::SocketAddr;

/// The unit of a time.
pub(super) const UNIT: ArgSpec = args(&[Word(&["ms", "us"])], 0);

pub static TABLE: &[FetchDef] = &[
    fetch! { ["dst"], NONE, Addr, Connection, "the address the client connected to",
        "dst" => "192.0.2.1", |_, cx| address(cx.dst())
    },
    fetch! { ["dst_conn"], NONE, Int, Connection, "connections on the address that the client connected to, this one included",
        "dst_conn" => "", |_, cx| cx.facts.listener_conn(&cx.session.listener.frontend, cx.session.listener.id).and_then(int)
    },
    fetch! { ["dst_is_local"], NONE, Bool, Connection,
        "whether the address the client connected to is one of this machine",
        "dst_is_local" => "0", |_, cx| local(cx.dst(), cx)
    },
    fetch! { ["dst_port"], NONE, Int, Connection, "the port the client connected to",
        "dst_port" => "80", |_, cx| cx.dst().and_then(|a| int(a.port()))
    },
    fetch! { ["fc_dst"], NONE, Addr, Connection, "the address the client connected to, whatever rules say",
        "fc_dst" => "192.0.2.1", |_, cx| address(cx.connected_to())
    },
    fetch! { ["fc_dst_is_local"], NONE, Bool, Connection,
        "whether the address the client connected to is one of this machine, whatever rules say",
        "fc_dst_is_local" => "0", |_, cx| local(cx.connected_to(), cx)
    },
    fetch! { ["fc_dst_port"], NONE, Int, Connection, "the port the client connected to, whatever rules say",
        "fc_dst_port" => "80", |_, cx| cx.connected_to().and_then(|a| int(a.port()))
    },
    fetch! { ["fc_src"], NONE, Addr, Connection, "the client's address, whatever rules say",
        "fc_src" => "192.0.2.7", |_, cx| address(cx.session.ends.src())
    },
    fetch! { ["fc_src_is_local"], NONE, Bool, Connection,
        "whether the client's address is one of this machine, whatever rules say",
        "fc_src_is_local" => "0", |_, cx| local(cx.session.ends.src(), cx)
    },
    fetch! { ["fc_src_port"], NONE, Int, Connection, "the client's port, whatever rules say",
        "fc_src_port" => "40000", |_, cx| cx.session.ends.src().and_then(|a| int(a.port()))
    },
    fetch! { ["fc_err"], NONE, Int, Connection, "why the connection never became a session, by HAProxy's number; 0 if it did",
        "fc_err" => "0", |_, cx| int(cx.session.fault)
    },
    fetch! { ["fc_err_str"], NONE, Str, Connection, "the same in words",
        "fc_err_str" => "Success", |_, cx| Some(Sample::str(faults::words(cx.session.fault).as_bytes()))
    },
    fetch! { ["fc_fackets"], NONE, Int, Connection, "the kernel's count of forward acknowledgements of the client's connection",
        "fc_fackets" => "", |_, cx| int(tcp(cx)?.fackets)
    },
    fetch! { ["fc_lost"], NONE, Int, Connection, "segments to the client that the kernel holds for lost",
        "fc_lost" => "", |_, cx| int(tcp(cx)?.lost)
    },
    fetch! { ["fc_reordering"], NONE, Int, Connection, "the kernel's measure of reordering on the client's connection",
        "fc_reordering" => "", |_, cx| int(tcp(cx)?.reordering)
    },
    fetch! { ["fc_retrans"], NONE, Int, Connection, "segments to the client that are sent again and not acknowledged",
        "fc_retrans" => "", |_, cx| int(tcp(cx)?.retrans)
    },
    fetch! { ["fc_rtt"], UNIT, Int, Connection, "round-trip time to the client, in ms or us",
        "fc_rtt" => "", |a, cx| int(in_unit(a, tcp(cx)?.rtt_us))
    },
    fetch! { ["fc_rttvar"], UNIT, Int, Connection, "the variance of the round-trip time to the client, in ms or us",
        "fc_rttvar(us)" => "", |a, cx| int(in_unit(a, tcp(cx)?.rttvar_us))
    },
    fetch! { ["fc_sacked"], NONE, Int, Connection, "segments to the client that are acknowledged out of order",
        "fc_sacked" => "", |_, cx| int(tcp(cx)?.sacked)
    },
    fetch! { ["fc_saved_syn"], NONE, Bin, Connection, "the packet that began the connection, where `tcp-ss` had it saved; the kernel gives it once",
        "fc_saved_syn" => "", |_, cx| Some(Sample::Bin(cx.facts.saved_syn(cx.session.descriptor?.number())?.into()))
    },
    fetch! { ["fc_unacked"], NONE, Int, Connection, "segments to the client that are not acknowledged",
        "fc_unacked" => "", |_, cx| int(tcp(cx)?.unacked)
    },
    fetch! { ["fc_http_major"], NONE, Int, Connection, "the client's version of HTTP: 1 or 2",
        "fc_http_major" => "1", |_, cx| {
            let alpn = cx.session.tls.as_ref().and_then(|t| t.agreed.alpn.as_deref());
            int(if alpn == Some("h2") { 2 } else { 1 })
        }
    },
    fetch! { ["fc_nb_streams"], NONE, Int, Connection, "requests at a time on the client's connection: 1",
        "fc_nb_streams" => "1", |_, _| int(1)
    },
    fetch! { ["fc_settings_streams_limit"], NONE, Int, Connection, "how many requests there may be at a time on the client's connection: 1",
        "fc_settings_streams_limit" => "1", |_, _| int(1)
    },
    fetch! { ["fc_pp_authority"], NONE, Str, Connection, "the authority in the PROXY header",
        "fc_pp_authority" => "", |_, cx| extension(cx, 0x02)
    },
    fetch! { ["fc_pp_tlv"], args(&[Str], 1), Str, Connection, "an extension of the PROXY header, by its type (0 to 255) or name",
        "fc_pp_tlv(0xE0)" => "", |a, cx| extension(cx, kind(a.text(0)?)?)
    },
    fetch! { ["fc_pp_unique_id"], NONE, Str, Connection, "the unique ID in the PROXY header",
        "fc_pp_unique_id" => "", |_, cx| extension(cx, 0x05)
    },
    fetch! { ["fc_rcvd_proxy"], NONE, Bool, Connection, "whether the connection began with a PROXY header",
        "fc_rcvd_proxy" => "0", |_, cx| truth(cx.session.proxy_header.is_some())
    },
    fetch! { ["fe_id"], NONE, Int, Connection, "the frontend's number",
        "fe_id" => "2", |_, cx| int(cx.session.listener.frontend_id)
    },
    fetch! { ["fe_name"], NONE, Str, Connection, "the frontend's name",
        "fe_name" => "web", |_, cx| Some(Sample::str(cx.session.listener.frontend.as_bytes()))
    },
    fetch! { ["http_first_req"], NONE, Bool, Connection, "whether this is the session's first request",
        "http_first_req" => "1", |_, cx| truth(!cx.stream.follows)
    },
    fetch! { ["so_id"], NONE, Int, Connection, "the listener's number",
        "so_id" => "1", |_, cx| int(cx.session.listener.id)
    },
    fetch! { ["so_name"], NONE, Str, Connection, "the listener's name",
        "so_name" => "", |_, cx| Some(Sample::str(cx.session.listener.name.as_bytes()))
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

/// What the kernel knows of the client's connection.
fn tcp(cx: &Ctx<'_>) -> Option<TcpInfo> {
    cx.facts.tcp_info(cx.session.descriptor?.number())
}

/// Microseconds in the unit that is asked for.
pub(super) fn in_unit(args: &[Arg], us: u32) -> u32 {
    match args.text(0) {
        Some(b"us") => us,
        _ => us / 1000,
    }
}

/// The first extension of a type.
fn extension<'s>(cx: &'s Ctx<'_>, kind: u8) -> Option<Sample<'s>> {
    let all = cx.session.proxy_header.as_ref()?;
    let (_, value) = all.iter().find(|(k, _)| *k == kind)?;
    Some(Sample::str(value))
}

/// A type by its number, decimal or hexadecimal, or its name in the PROXY protocol's document.
fn kind(text: &[u8]) -> Option<u8> {
    Some(match std::str::from_utf8(text).ok()? {
        "ALPN" => 0x01,
        "AUTHORITY" => 0x02,
        "CRC32C" => 0x03,
        "NOOP" => 0x04,
        "UNIQUE_ID" => 0x05,
        "SSL" => 0x20,
        "NETNS" => 0x30,
        number => match number.strip_prefix("0x") {
            Some(hex) => u8::from_str_radix(hex, 16).ok()?,
            None => number.parse().ok()?,
        },
    })
}

fn address<'s>(address: Option<SocketAddr>) -> Option<Sample<'s>> {
    address.map(|a| Sample::ip(a.ip().to_canonical()))
}

fn local<'s>(address: Option<SocketAddr>, cx: &Ctx<'_>) -> Option<Sample<'s>> {
    truth(cx.facts.is_local(address?.ip().to_canonical()))
}
