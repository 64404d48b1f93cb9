//! Keywords of `mode ftp`.

use super::{Keyword, keyword};
use crate::draft::sections::*;
use crate::units;
use std::net::Ipv4Addr;

/// What only sessions of FTP have.
pub(super) static FTP_KEYWORDS: &[Keyword] = &[
    keyword!(
        "ftp-data-address",
        FRONT,
        "ADDRESS",
        "203.0.113.7",
        "the address that clients of FTP are told for their data connections, where it is not the one they came to",
        |d, l| {
            l.exactly(1, "an IPv4 address, such as 203.0.113.7")?;
            let address = l.arg(0).parse::<Ipv4Addr>();
            let Some(address) = address.ok().filter(|a| !a.is_unspecified()) else {
                return l.fail(
                    0,
                    format!(
                        "'{}' is no IPv4 address, such as 203.0.113.7: over IPv6 no address is told",
                        l.arg(0)
                    ),
                );
            };
            d.front.ftp.data_address = Some(address);
            Ok(())
        }
    ),
    keyword!(
        "ftp-data-ports",
        FRONT,
        "FIRST-LAST",
        "50000-50999",
        "the ports that clients of FTP are told for their data connections; the system's choice by default",
        |d, l| {
            l.exactly(1, "two ports, such as 50000-50999")?;
            let text = l.arg(0);
            let Some((first, last)) = text.split_once('-') else {
                return l.fail(
                    0,
                    format!("'{text}' is no range of ports: write two, such as 50000-50999"),
                );
            };
            let port = |text| l.map(0, units::number(text, 1, 65535));
            let (first, last) = (port(first)? as u16, port(last)? as u16);
            if first > last {
                return l.fail(
                    0,
                    format!("no port is in '{text}': write the lower one first"),
                );
            }
            d.front.ftp.data_ports = Some((first, last));
            Ok(())
        }
    ),
    keyword!(
        "ftp-greeting",
        FRONT,
        "TEXT",
        "'files of example.org'",
        "the text that clients of FTP are greeted with",
        |d, l| {
            l.exactly(1, "a text in quotes")?;
            let text = l.arg(0);
            if text.is_empty() || text.len() > 400 || !text.bytes().all(|b| matches!(b, 32..=126)) {
                return l.fail(
                    0,
                    "a greeting is one line of at most 400 plain characters: shorten it, or leave the others out",
                );
            }
            d.front.ftp.greeting = Some(text.into());
            Ok(())
        }
    ),
];
