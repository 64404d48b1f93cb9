//! Secrets of connections, for those who decrypt what they captured: kept with `tune.ssl.keylog`
//! (manual section 7.3.4). rustls does not tell the Finished messages, so that there is
//! no `ssl_fc_unique_id` (RFC 5929 section 3).

use super::tls::{back, tls};
use super::{FetchDef, fetch};
use crate::Sample;
use crate::args::NONE;
use crate::ctx::TlsInfo;
use crate::sample::hex;
use std::borrow::Cow;

pub static TABLE: &[FetchDef] = &[
    fetch! { ["ssl_fc_client_early_traffic_secret"], NONE, Str, Tls, "CLIENT_EARLY_TRAFFIC_SECRET of the connection with the client, in hexadecimal",
        "ssl_fc_client_early_traffic_secret" => "", |_, cx| secret(tls(cx)?, "CLIENT_EARLY_TRAFFIC_SECRET")
    },
    fetch! { ["ssl_fc_client_handshake_traffic_secret"], NONE, Str, Tls, "CLIENT_HANDSHAKE_TRAFFIC_SECRET of the connection with the client, in hexadecimal",
        "ssl_fc_client_handshake_traffic_secret" => "", |_, cx| secret(tls(cx)?, "CLIENT_HANDSHAKE_TRAFFIC_SECRET")
    },
    fetch! { ["ssl_fc_client_traffic_secret_0"], NONE, Str, Tls, "CLIENT_TRAFFIC_SECRET_0 of the connection with the client, in hexadecimal",
        "ssl_fc_client_traffic_secret_0" => "", |_, cx| secret(tls(cx)?, "CLIENT_TRAFFIC_SECRET_0")
    },
    fetch! { ["ssl_fc_early_exporter_secret"], NONE, Str, Tls, "EARLY_EXPORTER_SECRET of the connection with the client, in hexadecimal",
        "ssl_fc_early_exporter_secret" => "", |_, cx| secret(tls(cx)?, "EARLY_EXPORTER_SECRET")
    },
    fetch! { ["ssl_fc_exporter_secret"], NONE, Str, Tls, "EXPORTER_SECRET of the connection with the client, in hexadecimal",
        "ssl_fc_exporter_secret" => "", |_, cx| secret(tls(cx)?, "EXPORTER_SECRET")
    },
    fetch! { ["ssl_fc_server_handshake_traffic_secret"], NONE, Str, Tls, "SERVER_HANDSHAKE_TRAFFIC_SECRET of the connection with the client, in hexadecimal",
        "ssl_fc_server_handshake_traffic_secret" => "", |_, cx| secret(tls(cx)?, "SERVER_HANDSHAKE_TRAFFIC_SECRET")
    },
    fetch! { ["ssl_fc_server_traffic_secret_0"], NONE, Str, Tls, "SERVER_TRAFFIC_SECRET_0 of the connection with the client, in hexadecimal",
        "ssl_fc_server_traffic_secret_0" => "", |_, cx| secret(tls(cx)?, "SERVER_TRAFFIC_SECRET_0")
    },
    fetch! { ["ssl_fc_client_random"], NONE, Bin, Tls, "the random of the client's hello, of the connection with the client",
        "ssl_fc_client_random" => "", |_, cx| random(tls(cx)?.agreed.client_random.as_ref())
    },
    fetch! { ["ssl_fc_server_random"], NONE, Bin, Tls, "the random of the server's hello, of the connection with the client",
        "ssl_fc_server_random" => "", |_, cx| random(tls(cx)?.agreed.server_random.as_ref())
    },
    fetch! { ["ssl_fc_session_key"], NONE, Bin, Tls, "the master secret of TLS 1.2 with the client",
        "ssl_fc_session_key" => "", |_, cx| Some(Sample::Bin(Cow::Borrowed(tls(cx)?.agreed.secret("CLIENT_RANDOM")?)))
    },
    fetch! { ["ssl_bc_client_early_traffic_secret"], NONE, Str, Response, "CLIENT_EARLY_TRAFFIC_SECRET of the connection with the server, in hexadecimal",
        "ssl_bc_client_early_traffic_secret" => "", |_, cx| secret(back(cx)?, "CLIENT_EARLY_TRAFFIC_SECRET")
    },
    fetch! { ["ssl_bc_client_handshake_traffic_secret"], NONE, Str, Response, "CLIENT_HANDSHAKE_TRAFFIC_SECRET of the connection with the server, in hexadecimal",
        "ssl_bc_client_handshake_traffic_secret" => "", |_, cx| secret(back(cx)?, "CLIENT_HANDSHAKE_TRAFFIC_SECRET")
    },
    fetch! { ["ssl_bc_client_traffic_secret_0"], NONE, Str, Response, "CLIENT_TRAFFIC_SECRET_0 of the connection with the server, in hexadecimal",
        "ssl_bc_client_traffic_secret_0" => "", |_, cx| secret(back(cx)?, "CLIENT_TRAFFIC_SECRET_0")
    },
    fetch! { ["ssl_bc_early_exporter_secret"], NONE, Str, Response, "EARLY_EXPORTER_SECRET of the connection with the server, in hexadecimal",
        "ssl_bc_early_exporter_secret" => "", |_, cx| secret(back(cx)?, "EARLY_EXPORTER_SECRET")
    },
    fetch! { ["ssl_bc_exporter_secret"], NONE, Str, Response, "EXPORTER_SECRET of the connection with the server, in hexadecimal",
        "ssl_bc_exporter_secret" => "", |_, cx| secret(back(cx)?, "EXPORTER_SECRET")
    },
    fetch! { ["ssl_bc_server_handshake_traffic_secret"], NONE, Str, Response, "SERVER_HANDSHAKE_TRAFFIC_SECRET of the connection with the server, in hexadecimal",
        "ssl_bc_server_handshake_traffic_secret" => "", |_, cx| secret(back(cx)?, "SERVER_HANDSHAKE_TRAFFIC_SECRET")
    },
    fetch! { ["ssl_bc_server_traffic_secret_0"], NONE, Str, Response, "SERVER_TRAFFIC_SECRET_0 of the connection with the server, in hexadecimal",
        "ssl_bc_server_traffic_secret_0" => "", |_, cx| secret(back(cx)?, "SERVER_TRAFFIC_SECRET_0")
    },
    fetch! { ["ssl_bc_client_random"], NONE, Bin, Response, "the random of the client's hello, of the connection with the server",
        "ssl_bc_client_random" => "", |_, cx| random(back(cx)?.agreed.client_random.as_ref())
    },
    fetch! { ["ssl_bc_server_random"], NONE, Bin, Response, "the random of the server's hello, of the connection with the server",
        "ssl_bc_server_random" => "", |_, cx| random(back(cx)?.agreed.server_random.as_ref())
    },
    fetch! { ["ssl_bc_session_key"], NONE, Bin, Response, "the master secret of TLS 1.2 with the server",
        "ssl_bc_session_key" => "", |_, cx| Some(Sample::Bin(Cow::Borrowed(back(cx)?.agreed.secret("CLIENT_RANDOM")?)))
    },
];

fn secret<'s>(peer: &TlsInfo, label: &str) -> Option<Sample<'s>> {
    Some(Sample::owned(hex(peer.agreed.secret(label)?)))
}

fn random<'s>(random: Option<&'s tls::Random>) -> Option<Sample<'s>> {
    Some(Sample::Bin(Cow::Borrowed(random?)))
}
