//! The control connection of the File Transfer Protocol: commands, replies, and the addresses of data
//! connections in both (RFC 959, with 2428 for IPv6, 4217 for TLS and 2389 for `FEAT`).

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// What was read is none of FTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// The length of the first line in `bytes`, its end included; `None` while its end has not come.
pub fn line(bytes: &[u8]) -> Option<usize> {
    bytes.iter().position(|b| *b == b'\n').map(|at| at + 1)
}

/// A line without its end.
fn content(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// What a command is about, as far as somebody between client and server has to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // the commands' own names
pub enum Verb {
    User,
    /// `PASS` and `ACCT`: the rest of a login.
    Pass,
    Quit,
    Noop,
    Auth,
    Pbsz,
    Prot,
    Ccc,
    Feat,
    Pasv,
    Epsv,
    Port,
    Eprt,
    /// Whatever moves bytes over a data connection.
    Transfer,
    Abor,
    Stat,
    /// What would lead a data connection, or the session, past whoever stands between.
    Unfit,
    /// A request of HTTP, from a browser that somebody has led here: what follows is not to be read.
    Web,
    Other,
}

/// Commands by name. RFC 959 section 4.1, 2228, 2428, 1639, 3659, 7151.
const VERBS: &[(&[u8], Verb)] = &[
    (b"ABOR", Verb::Abor),
    (b"ACCT", Verb::Pass),
    (b"ADAT", Verb::Unfit),
    (b"APPE", Verb::Transfer),
    (b"AUTH", Verb::Auth),
    (b"CCC", Verb::Ccc),
    (b"CONF", Verb::Unfit),
    (b"CPSV", Verb::Unfit),
    (b"ENC", Verb::Unfit),
    (b"EPRT", Verb::Eprt),
    (b"EPSV", Verb::Epsv),
    (b"FEAT", Verb::Feat),
    (b"LIST", Verb::Transfer),
    (b"LPRT", Verb::Unfit),
    (b"LPSV", Verb::Unfit),
    (b"MIC", Verb::Unfit),
    (b"MLSD", Verb::Transfer),
    (b"NLST", Verb::Transfer),
    (b"NOOP", Verb::Noop),
    (b"PASS", Verb::Pass),
    (b"PASV", Verb::Pasv),
    (b"PBSZ", Verb::Pbsz),
    (b"PORT", Verb::Port),
    (b"PROT", Verb::Prot),
    (b"QUIT", Verb::Quit),
    (b"REIN", Verb::Unfit),
    (b"RETR", Verb::Transfer),
    (b"SPSV", Verb::Unfit),
    (b"SSCN", Verb::Unfit),
    (b"STAT", Verb::Stat),
    (b"STOR", Verb::Transfer),
    (b"STOU", Verb::Transfer),
    (b"USER", Verb::User),
];

/// A command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Command<'a> {
    /// What it is about.
    pub verb: Verb,
    /// The line without its end, and without what Telnet puts before an interruption.
    pub text: &'a [u8],
    /// What stands after the name.
    pub argument: &'a [u8],
}

/// Reads a command's line. Refused are bytes that some servers take for another line's beginning.
pub fn command(line: &[u8]) -> Result<Command<'_>, Malformed> {
    let text = content(line);
    // "Interrupt process" and "synch" come before ABOR (RFC 959 section 4.1.3, RFC 854).
    let start = text.iter().position(|b| !matches!(b, 0xff | 0xf4 | 0xf2));
    let text = text.get(start.unwrap_or(text.len())..).unwrap_or_default();
    if text.iter().any(|b| matches!(b, b'\r' | b'\n' | 0)) {
        return Err(Malformed);
    }
    let end = text.iter().position(|b| *b == b' ').unwrap_or(text.len());
    let (name, argument) = text.split_at(end);
    let known = VERBS.iter().find(|(n, _)| n.eq_ignore_ascii_case(name));
    // Servers may pass over blanks and bytes of Telnet, and read another name than stands here.
    let plain = !name.is_empty() && name.iter().all(u8::is_ascii_alphanumeric);
    Ok(Command {
        verb: match plain {
            true if crate::is_web(name) => Verb::Web,
            true => known.map_or(Verb::Other, |(_, verb)| *verb),
            false => Verb::Unfit,
        },
        text,
        argument: argument.trim_ascii(),
    })
}

/// Which line of a reply it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplyLine {
    /// The reply's code.
    pub code: u16,
    /// The reply begins here.
    pub first: bool,
    /// The reply ends here.
    pub last: bool,
}

impl ReplyLine {
    /// Whether another reply to the same command follows (RFC 959 section 4.2: 1yz).
    pub fn is_preliminary(self) -> bool {
        self.code < 200
    }
}

/// Replies, line by line.
#[derive(Clone, Copy, Debug, Default)]
pub struct Replies {
    /// The code of the reply whose last line has not come.
    open: Option<u16>,
}

impl Replies {
    /// Reads the next line.
    pub fn line(&mut self, line: &[u8]) -> Result<ReplyLine, Malformed> {
        let text = content(line);
        let begins = code(text);
        let Some(open) = self.open else {
            let (code, goes_on) = begins.ok_or(Malformed)?;
            self.open = goes_on.then_some(code);
            return Ok(ReplyLine {
                code,
                first: true,
                last: !goes_on,
            });
        };
        let last = begins == Some((open, false));
        if last {
            self.open = None;
        }
        Ok(ReplyLine {
            code: open,
            first: false,
            last,
        })
    }
}

/// The code that a line begins with, and whether more lines of its reply follow.
fn code(text: &[u8]) -> Option<(u16, bool)> {
    let [a @ b'1'..=b'6', b @ b'0'..=b'9', c @ b'0'..=b'9', rest @ ..] = text else {
        return None;
    };
    let digit = |d: &u8| u16::from(d - b'0');
    let goes_on = match rest.first() {
        None | Some(b' ') => false,
        Some(b'-') => true,
        Some(_) => return None,
    };
    Some((digit(a) * 100 + digit(b) * 10 + digit(c), goes_on))
}

/// Numbers below 256 with commas between them, and what follows.
fn six(text: &[u8]) -> Option<([u8; 6], &[u8])> {
    let mut numbers = [0; 6];
    let mut rest = text;
    for (at, number) in numbers.iter_mut().enumerate() {
        if at > 0 {
            rest = rest.strip_prefix(b",")?;
        }
        let digits = rest.iter().take_while(|b| b.is_ascii_digit()).count();
        *number = decimal(rest.get(..digits)?)?;
        rest = rest.get(digits..)?;
    }
    Some((numbers, rest))
}

fn decimal<N: std::str::FromStr>(digits: &[u8]) -> Option<N> {
    let plain = digits.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(digits)
        .ok()
        .filter(|_| plain)?
        .parse()
        .ok()
}

fn socket(numbers: [u8; 6]) -> SocketAddr {
    let [a, b, c, d, high, low] = numbers;
    let port = u16::from_be_bytes([high, low]);
    (Ipv4Addr::new(a, b, c, d), port).into()
}

/// The address in the argument of `PORT`.
pub fn port(argument: &[u8]) -> Option<SocketAddr> {
    let (numbers, rest) = six(argument)?;
    rest.is_empty().then(|| socket(numbers))
}

/// Why the argument of `EPRT` or `EPSV` cannot be followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unusable {
    /// It cannot be read: 501.
    Syntax,
    /// It names a network protocol that nobody knows: 522.
    Protocol,
}

/// The address in the argument of `EPRT` (RFC 2428 section 2): `|1|192.0.2.7|40000|`.
pub fn extended_port(argument: &[u8]) -> Result<SocketAddr, Unusable> {
    let delimiter = match argument.first() {
        Some(d @ 33..=126) => *d,
        _ => return Err(Unusable::Syntax),
    };
    let parts: Vec<&[u8]> = argument.split(|b| *b == delimiter).collect();
    let [b"", protocol, address, port, b""] = parts[..] else {
        return Err(Unusable::Syntax);
    };
    let ip = std::str::from_utf8(address)
        .ok()
        .and_then(|a| a.parse().ok());
    let port = decimal(port).ok_or(Unusable::Syntax)?;
    match (protocol, ip) {
        (b"1", Some(ip @ IpAddr::V4(_))) | (b"2", Some(ip @ IpAddr::V6(_))) => {
            Ok(SocketAddr::new(ip, port))
        }
        (b"1" | b"2", _) => Err(Unusable::Syntax),
        _ => Err(Unusable::Protocol),
    }
}

/// What `EPSV` asks for (RFC 2428 section 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExtendedPassive {
    /// A port, on the control connection's own protocol.
    Port,
    /// A port for IPv4.
    V4,
    /// A port for IPv6.
    V6,
    /// From now on nothing but `EPSV` will come.
    All,
}

/// Reads the argument of `EPSV`.
pub fn extended_passive(argument: &[u8]) -> Result<ExtendedPassive, Unusable> {
    match argument {
        b"" => Ok(ExtendedPassive::Port),
        b"1" => Ok(ExtendedPassive::V4),
        b"2" => Ok(ExtendedPassive::V6),
        all if all.eq_ignore_ascii_case(b"ALL") => Ok(ExtendedPassive::All),
        other if decimal::<u32>(other).is_some() => Err(Unusable::Protocol),
        _ => Err(Unusable::Syntax),
    }
}

/// The port in a reply to `PASV`. Its address does not count: data connections lead where the
/// control connection does. The numbers are looked for anywhere (RFC 1123 section 4.1.2.6).
pub fn passive_port(reply: &[u8]) -> Option<u16> {
    let text = content(reply).get(3..)?;
    let begins = |at: &usize| {
        let before = at.checked_sub(1).and_then(|i| text.get(i));
        !before.is_some_and(u8::is_ascii_digit)
    };
    let mut starts = (0..text.len()).filter(begins);
    let found = starts.find_map(|at| six(text.get(at..)?))?;
    Some(socket(found.0).port()).filter(|port| *port != 0)
}

/// The port in a reply to `EPSV`: `(|||6446|)`, with any delimiter (RFC 2428 section 3).
pub fn extended_passive_port(reply: &[u8]) -> Option<u16> {
    let text = content(reply).get(3..)?;
    let open = text.iter().position(|b| *b == b'(')?;
    let inner = text.get(open + 1..)?;
    let [d, b, c, rest @ ..] = inner else {
        return None;
    };
    if d != b || d != c || d.is_ascii_digit() {
        return None;
    }
    let end = rest.iter().position(|x| x == d)?;
    decimal(rest.get(..end)?).filter(|port| *port != 0)
}

/// The reply to `PASV` that names this address.
pub fn passive_reply(ip: Ipv4Addr, port: u16) -> String {
    let [a, b, c, d] = ip.octets();
    let [high, low] = port.to_be_bytes();
    format!("227 Entering Passive Mode ({a},{b},{c},{d},{high},{low}).\r\n")
}

/// The reply to `EPSV` that names this port.
pub fn extended_passive_reply(port: u16) -> String {
    format!("229 Entering Extended Passive Mode (|||{port}|)\r\n")
}

/// The name of the feature in a line of the reply to `FEAT` (RFC 2389 section 3.2): lines of
/// features begin with a space.
pub fn feature(line: &[u8]) -> Option<&[u8]> {
    let text = content(line).strip_prefix(b" ")?;
    let end = text.iter().position(|b| matches!(b, b' ' | b';'));
    text.get(..end.unwrap_or(text.len()))
}

#[cfg(test)]
mod tests;
