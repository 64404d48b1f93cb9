//! The words of a `server` line about connections that are kept.

use super::{ServerWord, num};
use crate::units;

/// All of them. The place given to a function is that of its argument.
pub static SERVER_POOL_WORDS: &[ServerWord] = &[
    word!(
        "check-pool-conn-name",
        "NAME",
        "app.example",
        "with check-reuse-pool: the name of the connections that checks use, if not that of check-sni",
        |r, l, at| {
            r.check.pool_name = Some(l.arg(at).into());
            Ok(())
        }
    ),
    word!(
        "check-reuse-pool",
        "",
        "",
        "HTTP checks go over an idle connection to the server if there is one",
        |r, _, _| {
            r.check.reuse_pool = true;
            Ok(())
        }
    ),
    word!(
        "max-reuse",
        "N",
        "100",
        "requests a connection carries",
        |r, l, at| {
            r.server.max_reuse = if l.arg(at) == "-1" {
                None
            } else {
                Some(num(l, at, 0, 1 << 30)?)
            };
            Ok(())
        }
    ),
    word!(
        "no-check-reuse-pool",
        "",
        "",
        "checks have connections of their own",
        |r, _, _| {
            r.check.reuse_pool = false;
            Ok(())
        }
    ),
    word!(
        "pool-conn-name",
        "EXPRESSION",
        "req.hdr(host)",
        "a kept connection is for requests of which this says the same, if not of the same sni",
        |r, l, at| {
            r.server.pool_name = Some(l.expression(at)?);
            Ok(())
        }
    ),
    word!(
        "pool-low-conn",
        "N",
        "5",
        "accepted: each worker keeps its own connections",
        |_, l, at| num(l, at, 0, 1 << 30).map(|_| ())
    ),
    word!(
        "pool-max-conn",
        "N",
        "100",
        "idle connections kept",
        |r, l, at| {
            r.server.pool_max_conn = if l.arg(at) == "-1" {
                None
            } else {
                Some(num(l, at, 0, 1 << 30)?)
            };
            Ok(())
        }
    ),
    word!(
        "pool-purge-delay",
        "TIME",
        "10s",
        "how long idle connections are kept",
        |r, l, at| {
            r.server.pool_purge_delay = l.map(at, units::time(l.arg(at), 1_000))?;
            Ok(())
        }
    ),
    word!(
        "strict-maxconn",
        "",
        "",
        "maxconn bounds connections, kept ones too: one of those is closed where a new one is needed",
        |r, _, _| {
            r.server.strict_maxconn = true;
            Ok(())
        }
    ),
];
