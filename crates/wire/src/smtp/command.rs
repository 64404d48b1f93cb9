//! What a client says, one line at a time (RFC 5321 section 4.1).

use super::path::{self, Path};

/// A command that was understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command<'a> {
    /// `HELO` and the client's name.
    Helo(&'a [u8]),
    /// `EHLO` and the client's name.
    Ehlo(&'a [u8]),
    /// `MAIL FROM`, whom the message comes from.
    Mail(Path<'a>, Parameters<'a>),
    /// `RCPT TO`, one of those it goes to.
    Rcpt(Path<'a>, Parameters<'a>),
    /// `DATA`: the content follows.
    Data,
    /// `RSET`: all over again.
    Rset,
    /// `NOOP`.
    Noop,
    /// `QUIT`.
    Quit,
    /// `VRFY` or `EXPN`.
    Verify,
    /// `HELP`.
    Help,
    /// `STARTTLS` (RFC 3207).
    StartTls,
    /// `AUTH` (RFC 4954): the mechanism, and the first response where it was sent at once.
    Auth(&'a [u8], Option<&'a [u8]>),
}

/// Why a line is no command that can be followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// No command of SMTP.
    Unknown,
    /// A command that is not offered here.
    NotOffered,
    /// A request of HTTP. A browser sends it that somebody has led here, with commands in its body:
    /// what follows is not to be read.
    Web,
    /// An argument where none belongs, or none where one does.
    Argument,
    /// `EHLO` and `HELO` want a domain or an address in brackets.
    Name,
    /// The path is none.
    Path,
    /// The parameters cannot be read.
    Parameter,
}

impl Fault {
    /// What a client is told: the code, the enhanced code (RFC 3463) and the words.
    pub fn reply(self) -> &'static str {
        match self {
            Fault::Unknown => "500 5.5.2 command not recognized",
            Fault::NotOffered => "502 5.5.1 command not offered here",
            Fault::Web => "521 5.5.1 this is mail, and no web server",
            Fault::Argument => "501 5.5.4 wrong number of arguments",
            Fault::Name => "501 5.5.4 a domain name or an address in brackets is wanted",
            Fault::Path => "501 5.1.7 bad address syntax",
            Fault::Parameter => "501 5.5.4 bad parameter syntax",
        }
    }
}

/// What an extension adds to `EHLO`, `MAIL` and `RCPT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // named as EHLO announces them
pub enum Extension {
    Size,
    EightBitMime,
    EnhancedStatusCodes,
    Dsn,
    SmtpUtf8,
    Auth,
}

impl Extension {
    /// All of them.
    pub const ALL: [Extension; 6] = [
        Extension::Size,
        Extension::EightBitMime,
        Extension::EnhancedStatusCodes,
        Extension::Dsn,
        Extension::SmtpUtf8,
        Extension::Auth,
    ];

    /// As `EHLO` announces it.
    pub fn name(self) -> &'static str {
        match self {
            Extension::Size => "SIZE",
            Extension::EightBitMime => "8BITMIME",
            Extension::EnhancedStatusCodes => "ENHANCEDSTATUSCODES",
            Extension::Dsn => "DSN",
            Extension::SmtpUtf8 => "SMTPUTF8",
            Extension::Auth => "AUTH",
        }
    }

    /// The extension that a parameter of `MAIL` or `RCPT` belongs to.
    fn of_parameter(keyword: &[u8]) -> Option<Extension> {
        let known: [(&[u8], Extension); 8] = [
            (b"SIZE", Extension::Size),
            (b"BODY", Extension::EightBitMime),
            (b"RET", Extension::Dsn),
            (b"ENVID", Extension::Dsn),
            (b"NOTIFY", Extension::Dsn),
            (b"ORCPT", Extension::Dsn),
            (b"SMTPUTF8", Extension::SmtpUtf8),
            (b"AUTH", Extension::Auth),
        ];
        known
            .into_iter()
            .find(|(name, _)| keyword.eq_ignore_ascii_case(name))
            .map(|(_, extension)| extension)
    }
}

/// What follows the path of `MAIL` or `RCPT`, known to be well-formed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Parameters<'a>(&'a [u8]);

impl<'a> Parameters<'a> {
    fn read(text: &'a [u8]) -> Result<Parameters<'a>, Fault> {
        let parameters = Parameters(text.trim_ascii());
        let spaced = text.is_empty() || text.starts_with(b" ");
        let good = |(keyword, value): (&[u8], Option<&[u8]>)| {
            let named = |b: &u8| b.is_ascii_alphanumeric() || *b == b'-';
            // RFC 5321 section 4.1.2 excludes "=", which ENVID and ORCPT may well hold.
            let value_is_good = value.is_none_or(|v| {
                !v.is_empty() && v.iter().all(|b| matches!(b, 33..=126) || !b.is_ascii())
            });
            !keyword.is_empty() && keyword.iter().all(named) && value_is_good
        };
        match spaced && parameters.all().all(good) && std::str::from_utf8(text).is_ok() {
            true => Ok(parameters),
            false => Err(Fault::Parameter),
        }
    }

    /// Keywords and their values.
    pub fn all(&self) -> impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)> {
        let words = self.0.split(|b| *b == b' ').filter(|w| !w.is_empty());
        words.map(|word| match word.iter().position(|b| *b == b'=') {
            Some(at) => (
                word.get(..at).unwrap_or_default(),
                Some(word.get(at + 1..).unwrap_or_default()),
            ),
            None => (word, None),
        })
    }

    /// The first keyword that belongs to none of the extensions that `offered` says yes to.
    pub fn unknown(&self, offered: impl Fn(Extension) -> bool) -> Option<&'a [u8]> {
        let foreign = |k: &&[u8]| !Extension::of_parameter(k).is_some_and(&offered);
        self.all().map(|(keyword, _)| keyword).find(foreign)
    }

    /// `SIZE=`: how long the client says the message is, bytes (RFC 1870). A number beyond all
    /// bounds is the largest.
    pub fn size(&self) -> Option<u64> {
        let (_, value) = self
            .all()
            .find(|(keyword, _)| keyword.eq_ignore_ascii_case(b"SIZE"))?;
        let digits = value.filter(|v| v.iter().all(u8::is_ascii_digit))?;
        let text = std::str::from_utf8(digits).ok()?;
        Some(text.parse().unwrap_or(u64::MAX))
    }

    /// Whether nothing in them is beyond ASCII, which only `SMTPUTF8` allows (RFC 6533 section 3).
    pub fn is_ascii(&self) -> bool {
        self.0.is_ascii()
    }

    /// Whether `SMTPUTF8` is among them.
    pub fn international(&self) -> bool {
        self.all()
            .any(|(keyword, _)| keyword.eq_ignore_ascii_case(b"SMTPUTF8"))
    }

    /// Appends those that a server that announces `known` takes, each behind a blank. `SIZE`, `AUTH` and
    /// `BODY=7BIT` mean nothing to others and are left out there; what else is not known is for
    /// the server to refuse.
    pub fn write(&self, known: impl Fn(Extension) -> bool, out: &mut Vec<u8>) {
        for (keyword, value) in self.all() {
            let seven = value.is_some_and(|v| v.eq_ignore_ascii_case(b"7BIT"));
            let left_out = match Extension::of_parameter(keyword) {
                Some(this @ (Extension::Size | Extension::Auth)) => !known(this),
                Some(Extension::EightBitMime) if seven => !known(Extension::EightBitMime),
                _ => false,
            };
            if left_out {
                continue;
            }
            out.push(b' ');
            out.extend_from_slice(keyword);
            if let Some(value) = value {
                out.push(b'=');
                out.extend_from_slice(value);
            }
        }
    }
}

impl<'a> Command<'a> {
    /// Reads a line without its end.
    pub fn read(line: &'a [u8]) -> Result<Command<'a>, Fault> {
        let line = line.trim_ascii_end();
        let verb = line.split(|b| *b == b' ').next().unwrap_or_default();
        let rest = line.get(verb.len()..).unwrap_or_default();
        let argument = rest.trim_ascii();
        let is = |name: &[u8]| verb.eq_ignore_ascii_case(name);
        let alone = |command| match argument.is_empty() {
            true => Ok(command),
            false => Err(Fault::Argument),
        };
        if is(b"EHLO") || is(b"HELO") {
            if !is_name(argument) {
                return Err(Fault::Name);
            }
            return Ok(match is(b"EHLO") {
                true => Command::Ehlo(argument),
                false => Command::Helo(argument),
            });
        }
        if is(b"MAIL") {
            let (path, parameters) = addressed(argument, b"FROM:")?;
            return match path.domain.is_empty() && !path.address.is_empty() {
                true => Err(Fault::Path),
                false => Ok(Command::Mail(path, parameters)),
            };
        }
        if is(b"RCPT") {
            let (path, parameters) = addressed(argument, b"TO:")?;
            return match path.address.is_empty() {
                true => Err(Fault::Path),
                false => Ok(Command::Rcpt(path, parameters)),
            };
        }
        if is(b"AUTH") {
            let mut words = argument.split(|b| *b == b' ');
            let mechanism = words.next().unwrap_or_default();
            let named = |b: &u8| b.is_ascii_alphanumeric() || b"-_".contains(b);
            let response = words.next();
            let good = (1..=20).contains(&mechanism.len()) && mechanism.iter().all(named);
            return match good && words.next().is_none() && response.is_none_or(is_response) {
                true => Ok(Command::Auth(mechanism, response)),
                false => Err(Fault::Argument),
            };
        }
        match () {
            () if is(b"DATA") => alone(Command::Data),
            () if is(b"RSET") => alone(Command::Rset),
            () if is(b"QUIT") => alone(Command::Quit),
            () if is(b"STARTTLS") => alone(Command::StartTls),
            () if is(b"NOOP") => Ok(Command::Noop),
            () if is(b"HELP") => Ok(Command::Help),
            () if (is(b"VRFY") || is(b"EXPN")) && argument.is_empty() => Err(Fault::Argument),
            () if is(b"VRFY") || is(b"EXPN") => Ok(Command::Verify),
            () if NOT_OFFERED.iter().any(|name| is(name)) => Err(Fault::NotOffered),
            () if crate::is_web(verb) => Err(Fault::Web),
            () => Err(Fault::Unknown),
        }
    }

    /// Its name, as rules know it; `EHLO` for both greetings.
    pub fn name(&self) -> &'static str {
        match self {
            Command::Helo(_) | Command::Ehlo(_) => "EHLO",
            Command::Mail(..) => "MAIL",
            Command::Rcpt(..) => "RCPT",
            Command::Data => "DATA",
            Command::Rset => "RSET",
            Command::Noop => "NOOP",
            Command::Quit => "QUIT",
            Command::Verify => "VRFY",
            Command::Help => "HELP",
            Command::StartTls => "STARTTLS",
            Command::Auth(..) => "AUTH",
        }
    }
}

/// Commands of extensions that are not announced, and of RFC 821.
const NOT_OFFERED: [&[u8]; 9] = [
    b"BDAT",
    b"ETRN",
    b"TURN",
    b"ATRN",
    b"SEND",
    b"SOML",
    b"SAML",
    b"XCLIENT",
    b"XFORWARD",
];

/// Whether this may answer a server's challenge, or go with the mechanism: base64 (RFC 4648), or `=`
/// for a response of no bytes.
pub fn is_response(text: &[u8]) -> bool {
    let letters = text.iter().rposition(|b| *b != b'=').map_or(0, |at| at + 1);
    let (letters, padding) = text.split_at(letters);
    let known = |b: &u8| b.is_ascii_alphanumeric() || b"+/".contains(b);
    padding.len() <= 2 && letters.iter().all(known)
}

/// `FROM:<path> parameters`, blanks before the path passed over as most servers do.
fn addressed<'a>(argument: &'a [u8], word: &[u8]) -> Result<(Path<'a>, Parameters<'a>), Fault> {
    let (found, rest) = argument
        .split_at_checked(word.len())
        .ok_or(Fault::Argument)?;
    if !found.eq_ignore_ascii_case(word) {
        return Err(Fault::Argument);
    }
    let (path, rest) = Path::read(rest.trim_ascii_start()).ok_or(Fault::Path)?;
    Ok((path, Parameters::read(rest)?))
}

/// A client's name: a domain or an address in brackets; what is odd in it but harmless is let
/// pass, because clients know no better.
fn is_name(name: &[u8]) -> bool {
    let printable = |b: &u8| matches!(b, 33..=126) && !b"<>()\"\\,;".contains(b);
    path::is_domain(name) || !name.is_empty() && name.len() <= 255 && name.iter().all(printable)
}
