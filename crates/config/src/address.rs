//! Reading addresses (manual section 11.1).

use crate::source::Source;
use model::{Address, Host, PortSpec, SocketKind};
use std::net::IpAddr;

/// What an address is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// `bind`: ranges, wildcards, inherited descriptors.
    Listen,
    /// `server`: names, relative ports, no port.
    Connect,
    /// `source` of a server: a range of ports, or no port.
    Source,
    /// `log` and the like: datagrams.
    Datagram,
}

/// Reads one address. A port that is missing becomes `default_port` if there is one. Variables are
/// replaced even where no double quotes stand around them, as nowhere else in the language. It must
/// not be for datagrams, unless that is its purpose.
pub fn parse(
    text: &str,
    purpose: Purpose,
    default_port: Option<u16>,
    source: &dyn Source,
) -> Result<(Address, Option<String>), String> {
    let read = parse_any(text, purpose, default_port, source)?;
    if purpose != Purpose::Datagram && read.0.is_datagram() {
        return Err(format!(
            "'{text}' is for datagrams, which nothing here takes: name a stream address, such as tcp@"
        ));
    }
    Ok(read)
}

/// Reads one address that may be for datagrams, where the proxy's mode has the last word.
pub fn parse_any(
    text: &str,
    purpose: Purpose,
    default_port: Option<u16>,
    source: &dyn Source,
) -> Result<(Address, Option<String>), String> {
    if !text.contains('$') {
        return plain(text, purpose, default_port, source);
    }
    let value = expand(text, source)?;
    if value.is_empty() {
        return Err(format!(
            "'{text}' comes to an empty address: set its variable"
        ));
    }
    plain(&value, purpose, default_port, source)
        .map_err(|message| format!("{message} (this is what '{text}' comes to)"))
}

/// `ADDRESS/BITS[:PORT]`: the address, how many of its bits count, and the rest. `None` where it is
/// something else.
pub fn prefix(text: &str) -> Result<Option<(IpAddr, u8, &str)>, String> {
    let Some((address, rest)) = text.split_once('/') else {
        return Ok(None);
    };
    let Ok(ip) = address.trim_matches(['[', ']']).parse::<IpAddr>() else {
        return Ok(None);
    };
    let (bits, rest) = rest.split_at(rest.find(':').unwrap_or(rest.len()));
    let most = if ip.is_ipv4() { 32 } else { 128 };
    let bits = bits.parse::<u8>().ok().filter(|b| *b <= most);
    let Some(bits) = bits else {
        return Err(format!(
            "'{text}' does not end in a number of bits: write {ip}/{most} or less"
        ));
    };
    let base = match ip {
        IpAddr::V4(ip) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0);
            IpAddr::V4((u32::from(ip) & mask).into())
        }
        IpAddr::V6(ip) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
            IpAddr::V6((u128::from(ip) & mask).into())
        }
    };
    if base != ip {
        return Err(format!(
            "'{text}' has bits behind the {bits} that count: write {base}/{bits}"
        ));
    }
    Ok(Some((ip, bits, rest)))
}

/// `$NAME` and `${NAME}` replaced by their values; one that is not set is empty.
fn expand(text: &str, source: &dyn Source) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        out.push_str(before);
        let inner = after.strip_prefix('{').unwrap_or(after);
        let braced = inner.len() < after.len();
        let letter = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let (name, behind) = inner.split_at(inner.find(|c| !letter(c)).unwrap_or(inner.len()));
        if name.is_empty() {
            return Err(format!("no variable name follows a '$' in '{text}'"));
        }
        rest = match behind.strip_prefix('}') {
            Some(behind) if braced => behind,
            _ if braced => {
                return Err(format!(
                    "'${{{name}' in '{text}' has no '}}' behind its name: close it, or put double quotes around a variable with more than a name"
                ));
            }
            _ => behind,
        };
        out.push_str(&source.variable(name).unwrap_or_default());
    }
    out.push_str(rest);
    Ok(out)
}

/// Reads an address without variables.
fn plain(
    text: &str,
    purpose: Purpose,
    default_port: Option<u16>,
    source: &dyn Source,
) -> Result<(Address, Option<String>), String> {
    let mut rest = text;
    let mut kind = if purpose == Purpose::Datagram {
        SocketKind::Datagram
    } else {
        SocketKind::Stream
    };
    let mut family = None;
    let mut path = false;
    while let Some((prefix, after)) = rest.split_once('@') {
        match prefix {
            "ipv4" | "tcp4" | "udp4" | "quic4" => family = Some(4),
            "ipv6" | "tcp6" | "udp6" | "quic6" => family = Some(6),
            "tcp" | "udp" | "stream" | "dgram" | "ip" => {}
            "unix" | "uxst" | "uxdg" => {
                if prefix == "uxdg" {
                    kind = SocketKind::Datagram;
                }
                rest = after;
                path = true;
                break;
            }
            "abns" | "abnsz" => {
                if after.len() > 106 {
                    return Err(format!(
                        "abstract socket name '{after}' is too long: at most 106 bytes"
                    ));
                }
                return Ok((
                    Address::Abstract {
                        name: after.into(),
                        padded: prefix == "abns",
                    },
                    None,
                ));
            }
            "fd" if matches!(purpose, Purpose::Connect | Purpose::Source) => {
                return Err(format!(
                    "'{text}' is a descriptor, which cannot be connected: name an address"
                ));
            }
            "fd" => {
                return match after.parse::<i32>() {
                    Ok(fd) if fd >= 0 => Ok((Address::Fd(fd), None)),
                    _ => Err(format!("'{after}' is no file descriptor number")),
                };
            }
            "sockpair" | "rhttp" | "rev" => {
                return Err(format!(
                    "'{prefix}@' is a kind of address of HAProxy that mulgil does not have yet"
                ));
            }
            _ => break,
        }
        match prefix {
            "quic4" | "quic6" => {
                return Err(format!(
                    "'{prefix}@' is a kind of address of HAProxy that mulgil does not have yet"
                ));
            }
            "udp" | "udp4" | "udp6" | "dgram" => kind = SocketKind::Datagram,
            "tcp" | "tcp4" | "tcp6" | "stream" => kind = SocketKind::Stream,
            _ => {}
        }
        rest = after;
    }
    if path || rest.starts_with('/') {
        return unix(rest, kind);
    }
    let (host, port) = split(rest)?;
    let port = match (port, default_port) {
        (None, Some(port)) => PortSpec::Fixed(port),
        (None, None) if purpose == Purpose::Listen => {
            return Err(format!("'{text}' has no port: write {rest}:80 for example"));
        }
        (None, None) => PortSpec::None,
        (Some(port), _) => port_spec(port, purpose, text)?,
    };
    let mut hostname = None;
    let host =
        match host {
            "" | "*" if family == Some(6) => Host::Any6,
            "" | "*" => Host::Any,
            "::" | "[::]" => Host::Any6,
            name => {
                let bare = name
                    .strip_prefix('[')
                    .and_then(|n| n.strip_suffix(']'))
                    .unwrap_or(name);
                match bare.parse::<IpAddr>() {
                    Ok(ip)
                        if matches!(
                            (family, ip),
                            (Some(4), IpAddr::V6(_)) | (Some(6), IpAddr::V4(_))
                        ) =>
                    {
                        return Err(format!(
                            "address '{bare}' is not of the family that '{text}' asks for"
                        ));
                    }
                    Ok(ip) if ip.is_unspecified() && purpose != Purpose::Datagram => {
                        if ip.is_ipv4() { Host::Any } else { Host::Any6 }
                    }
                    Ok(ip) => Host::Ip(ip),
                    Err(_) => {
                        hostname = Some(name.to_string());
                        resolve(name, family, source)?
                    }
                }
            }
        };
    Ok((Address::Inet { host, port, kind }, hostname))
}

fn resolve(name: &str, family: Option<u8>, source: &dyn Source) -> Result<Host, String> {
    let valid = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if !name.chars().all(valid) {
        return Err(format!("'{name}' is no address and no host name"));
    }
    let found = source.resolve(name).into_iter().find(|ip| match family {
        Some(4) => ip.is_ipv4(),
        Some(_) => ip.is_ipv6(),
        None => true,
    });
    Ok(found.map_or_else(|| Host::Name(name.into()), Host::Ip))
}

fn unix(path: &str, kind: SocketKind) -> Result<(Address, Option<String>), String> {
    if path.is_empty() || path.len() > 107 {
        return Err(format!("socket path '{path}' must have 1 to 107 bytes"));
    }
    Ok((
        Address::Unix {
            path: path.into(),
            kind,
        },
        None,
    ))
}

/// Host and port. A colon after the last bracket, or the last colon, is before the port.
fn split(text: &str) -> Result<(&str, Option<&str>), String> {
    if let Some(end) = text.rfind(']') {
        let (host, port) = text.split_at(end + 1);
        return match port.strip_prefix(':') {
            Some(port) => Ok((host, Some(port))),
            None if port.is_empty() => Ok((host, None)),
            None => Err(format!("'{port}' stands where ':port' should")),
        };
    }
    // `::1` without port, `::1:80` with one, as the language has always read them.
    match text.rsplit_once(':') {
        None if text.bytes().all(|b| b.is_ascii_digit()) && !text.is_empty() => Ok((text, None)),
        None => Ok((text, None)),
        Some(("", port)) => Ok(("", Some(port))),
        Some((host, port)) => {
            if host.ends_with(':') && port.is_empty() {
                return Ok((text, None));
            }
            Ok((host, Some(port)))
        }
    }
}

fn port_spec(port: &str, purpose: Purpose, text: &str) -> Result<PortSpec, String> {
    let number = |digits: &str| match digits.parse::<u16>() {
        Ok(n) if digits.bytes().all(|b| b.is_ascii_digit()) => Ok(n),
        _ => Err(format!("'{digits}' in '{text}' is no port from 1 to 65535")),
    };
    if port.is_empty() {
        return if matches!(purpose, Purpose::Connect | Purpose::Source) {
            Ok(PortSpec::None)
        } else {
            number(port).map(PortSpec::Fixed)
        };
    }
    if purpose == Purpose::Connect && port.starts_with(['+', '-']) {
        return match port.parse::<i32>() {
            Ok(offset) if (-65535..=65535).contains(&offset) => Ok(PortSpec::Offset(offset)),
            _ => Err(format!("'{port}' in '{text}' is no port offset")),
        };
    }
    if let Some((first, last)) = port.split_once('-') {
        let (first, last) = (number(first)?, number(last)?);
        if !matches!(purpose, Purpose::Listen | Purpose::Source) {
            return Err(format!(
                "a port range in '{text}' is not for here: name one port"
            ));
        }
        if last < first || first == 0 {
            return Err(format!(
                "port range '{port}' in '{text}' is empty: write the lower one first"
            ));
        }
        return Ok(PortSpec::Range(first, last));
    }
    let port = number(port)?;
    if port == 0 && purpose == Purpose::Listen {
        return Err(format!(
            "port 0 in '{text}' cannot be listened on: name a port"
        ));
    }
    Ok(if port == 0 {
        PortSpec::None
    } else {
        PortSpec::Fixed(port)
    })
}
