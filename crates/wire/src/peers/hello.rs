//! How a conversation of peers begins.

/// What the protocol calls itself.
const NAME: &str = "HAProxyS";
/// The version that is spoken.
const VERSION: &str = "2.1";
/// Bytes of a hello at most.
const LONGEST: usize = 1024;

/// Who wants to speak with whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The peer that is spoken to.
    pub to: String,
    /// The peer that speaks.
    pub from: String,
    /// Its process.
    pub process: u32,
}

/// The answer to a hello.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // names of the document
pub enum Status {
    Succeeded,
    TryAgain,
    ProtocolError,
    BadVersion,
    /// The one who is spoken to has another name.
    LocalName,
    /// Nobody knows who speaks.
    RemoteName,
}

impl Status {
    /// All of them.
    pub const ALL: [Status; 6] = [
        Status::Succeeded,
        Status::TryAgain,
        Status::ProtocolError,
        Status::BadVersion,
        Status::LocalName,
        Status::RemoteName,
    ];

    /// Its number.
    pub fn code(self) -> u16 {
        match self {
            Status::Succeeded => 200,
            Status::TryAgain => 300,
            Status::ProtocolError => 501,
            Status::BadVersion => 502,
            Status::LocalName => 503,
            Status::RemoteName => 504,
        }
    }

    /// The line that says it.
    pub fn line(self) -> String {
        format!("{}\n", self.code())
    }
}

/// What the first bytes of a conversation are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HelloRead {
    /// Not complete yet.
    NeedMore,
    /// A hello, and how many bytes it takes.
    Hello(Hello, usize),
    /// None: the answer.
    Refused(Status),
}

/// Appends a hello.
pub fn write_hello(hello: &Hello, out: &mut Vec<u8>) {
    let Hello { to, from, process } = hello;
    let text = format!("{NAME} {VERSION}\n{to}\n{from} {process} 1\n");
    out.extend(text.bytes());
}

/// Reads the hello at the front.
pub fn read_hello(input: &[u8]) -> HelloRead {
    let name = input.split(|b| *b == b' ').next().unwrap_or_default();
    if !NAME
        .as_bytes()
        .starts_with(name.get(..NAME.len()).unwrap_or(name))
        || name.len() > NAME.len()
    {
        return HelloRead::Refused(Status::ProtocolError);
    }
    let mut lines = input.split_inclusive(|b| *b == b'\n');
    let mut line = || {
        let line = lines.next()?.strip_suffix(b"\n")?;
        Some(line.strip_suffix(b"\r").unwrap_or(line))
    };
    let three = (|| Some((line()?, line()?, line()?)))();
    let Some((first, to, from)) = three else {
        return if input.len() > LONGEST {
            HelloRead::Refused(Status::ProtocolError)
        } else {
            HelloRead::NeedMore
        };
    };
    // Any version 2 will do: what a newer one adds is passed over.
    let version = first.get(NAME.len() + 1..).unwrap_or_default();
    if version != b"2" && !version.starts_with(b"2.") {
        return HelloRead::Refused(Status::BadVersion);
    }
    let texts = (str::from_utf8(to), str::from_utf8(from));
    let (Ok(to), Ok(from)) = texts else {
        return HelloRead::Refused(Status::ProtocolError);
    };
    let mut words = from.split(' ');
    let from = words.next().unwrap_or_default();
    let Some(process) = words.next().and_then(|w| w.parse().ok()) else {
        return HelloRead::Refused(Status::ProtocolError);
    };
    let taken = input.iter().enumerate().filter(|(_, b)| **b == b'\n');
    let taken = taken.map(|(at, _)| at + 1).nth(2).unwrap_or_default();
    let hello = Hello {
        to: to.into(),
        from: from.into(),
        process,
    };
    HelloRead::Hello(hello, taken)
}

/// Reads the status at the front, and how many bytes it takes; `None` where more have to come, an
/// error where it is none.
pub fn read_status(input: &[u8]) -> Result<Option<(Status, usize)>, Status> {
    let Some(end) = input.iter().position(|b| *b == b'\n') else {
        return if input.len() > 8 {
            Err(Status::ProtocolError)
        } else {
            Ok(None)
        };
    };
    let line = input.get(..end).unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let code = str::from_utf8(line)
        .ok()
        .and_then(|l| l.parse::<u16>().ok());
    let status = Status::ALL.into_iter().find(|s| Some(s.code()) == code);
    status
        .map(|s| Some((s, end + 1)))
        .ok_or(Status::ProtocolError)
}
