//! `balance`: how servers are chosen.

use super::{near, num};
use crate::diag::Fault;
use crate::draft::{Draft, Line};
use crate::units;
use model::Balance;

/// `balance ALGORITHM [ARGUMENTS]`.
pub(super) fn balance(d: &mut Draft, l: &mut Line<'_>) -> Result<(), Fault> {
    let name = l.arg(0);
    let end = name.find('(').unwrap_or(name.len());
    let (bare, argument) = name.split_at(end);
    let argument = argument.strip_prefix('(').and_then(|a| a.strip_suffix(')'));
    if matches!(
        bare,
        "roundrobin" | "static-rr" | "leastconn" | "first" | "source" | "random" | "maglev"
    ) {
        l.surplus(1);
    }
    d.back.balance = match bare {
        "roundrobin" => Balance::RoundRobin,
        "static-rr" => Balance::StaticRr,
        "leastconn" => Balance::LeastConn,
        "first" => Balance::First,
        "source" => Balance::Source,
        "maglev" => Balance::Maglev,
        "random" => {
            let draws = match argument {
                None => 2,
                Some(n) => l.map(0, units::number(n, 1, 1000))? as u32,
            };
            Balance::Random { draws }
        }
        "uri" => {
            let (mut len, mut depth, mut whole, mut path_only) = (None, None, false, false);
            let mut at = 1;
            while !l.arg(at).is_empty() {
                match l.arg(at) {
                    "len" => {
                        len = Some(num(l, at + 1, 1, 1 << 20)?);
                        at += 1;
                    }
                    "depth" => {
                        depth = Some(num(l, at + 1, 1, 1 << 20)?);
                        at += 1;
                    }
                    "whole" => whole = true,
                    "path-only" => path_only = true,
                    other => {
                        return l.fail(
                            at,
                            near(
                                "balance uri word",
                                other,
                                &["len", "depth", "whole", "path-only"],
                            ),
                        );
                    }
                }
                at += 1;
            }
            Balance::Uri {
                len,
                depth,
                whole,
                path_only,
            }
        }
        "url_param" => {
            if l.arg(1).is_empty() {
                return l.fail(0, "'balance url_param' wants a parameter's name");
            }
            if !l.arg(2).is_empty() {
                return l.fail(
                    2,
                    format!("'{}' of 'balance url_param' is something of HAProxy that mulgil does not have yet", l.arg(2)),
                );
            }
            Balance::UrlParam {
                name: l.arg(1).into(),
                check_post: None,
            }
        }
        "hdr" => match argument {
            Some(header) if !header.is_empty() => Balance::Header {
                name: header.into(),
                use_domain_only: l.arg(1) == "use_domain_only",
            },
            _ => return l.fail(0, "'balance hdr' wants a header's name, such as hdr(host)"),
        },
        "hash" => Balance::Hash(l.expression(1)?),
        "rdp-cookie" | "log-hash" | "sticky" => {
            return l.fail(
                0,
                format!("'{bare}' is a way to balance of HAProxy that mulgil does not have yet"),
            );
        }
        "" if name.is_empty() => Balance::RoundRobin,
        other => {
            let names = [
                "roundrobin",
                "static-rr",
                "leastconn",
                "first",
                "source",
                "uri",
                "url_param",
                "hdr",
                "random",
                "hash",
                "maglev",
            ];
            return l.fail(0, near("algorithm", other, &names));
        }
    };
    Ok(())
}
