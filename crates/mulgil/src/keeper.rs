//! The keeper: what may still read root's files and bind low ports after the serving process has
//! given up its privileges (`user`, `group`, `chroot`).
//!
//! It is forked before that happens: a process of its own, or the master. For a reload it reads
//! everything that loading the configuration asks for and hands over the answers, with which the
//! serving process loads the same configuration; then it makes the sockets that are new and
//! passes them on. It is asked by one process only, over a socket pair that nobody else has.

use crate::args::Args;
use crate::descriptors;
use crate::run;
use crate::world::Machine;
use config::Source;
use model::Config;
use proxy::Wanted;
use std::cell::RefCell;
use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

/// What can be asked of a [`Source`], and what it answered.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Answer {
    Read(Result<Vec<u8>, String>),
    List(Option<Vec<String>>),
    Resolve(Vec<IpAddr>),
    User(Option<u32>),
    Group(Option<u32>),
}

impl Answer {
    fn kind(&self) -> u8 {
        match self {
            Answer::Read(_) => b'r',
            Answer::List(_) => b'l',
            Answer::Resolve(_) => b'a',
            Answer::User(_) => b'u',
            Answer::Group(_) => b'g',
        }
    }
}

/// Answers by kind and question.
#[derive(Debug, Default)]
struct Answers(HashMap<(u8, String), Answer>);

fn put(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&(bytes.len() as u64).to_be_bytes());
    out.extend_from_slice(bytes);
}

fn take<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (len, rest) = bytes.split_first_chunk::<8>()?;
    let len = usize::try_from(u64::from_be_bytes(*len)).ok()?;
    let (taken, rest) = rest.split_at_checked(len)?;
    *bytes = rest;
    Some(taken)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

impl Answers {
    /// Each as kind, question, whether there is something, and what.
    fn write(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for ((kind, question), answer) in &self.0 {
            let number = |n: &Option<u32>| (n.is_some(), n.unwrap_or(0).to_string().into_bytes());
            let (some, value) = match answer {
                Answer::Read(Ok(bytes)) => (true, bytes.clone()),
                Answer::Read(Err(message)) => (false, message.clone().into_bytes()),
                Answer::List(names) => (
                    names.is_some(),
                    names.iter().flatten().fold(Vec::new(), |mut all, name| {
                        put(&mut all, name.as_bytes());
                        all
                    }),
                ),
                Answer::Resolve(found) => {
                    let texts: Vec<String> = found.iter().map(ToString::to_string).collect();
                    (true, texts.join(" ").into_bytes())
                }
                Answer::User(n) | Answer::Group(n) => number(n),
            };
            out.push(*kind);
            put(&mut out, question.as_bytes());
            out.push(u8::from(some));
            put(&mut out, &value);
        }
        out
    }

    /// Reads what [`Answers::write`] has written.
    fn read(mut bytes: &[u8]) -> Option<Answers> {
        let mut answers = HashMap::new();
        while let Some((kind, rest)) = bytes.split_first() {
            bytes = rest;
            let question = text(take(&mut bytes)?);
            let (some, rest) = bytes.split_first()?;
            bytes = rest;
            let mut value = take(&mut bytes)?;
            let some = *some != 0;
            let number = || text(value).parse().ok().filter(|_| some);
            let answer = match kind {
                b'r' if some => Answer::Read(Ok(value.to_vec())),
                b'r' => Answer::Read(Err(text(value))),
                b'l' => {
                    let mut names = Vec::new();
                    while !value.is_empty() {
                        names.push(text(take(&mut value)?));
                    }
                    Answer::List(some.then_some(names))
                }
                b'a' => {
                    let texts = text(value);
                    let found = texts.split_whitespace().filter_map(|t| t.parse().ok());
                    Answer::Resolve(found.collect())
                }
                b'u' => Answer::User(number()),
                b'g' => Answer::Group(number()),
                _ => return None,
            };
            answers.insert((*kind, question), answer);
        }
        Some(Answers(answers))
    }
}

/// This machine, with every answer noted.
#[derive(Default)]
struct Noted(RefCell<Answers>);

impl Noted {
    fn note(&self, question: &str, answer: Answer) {
        let key = (answer.kind(), question.to_string());
        self.0.borrow_mut().0.insert(key, answer);
    }
}

impl Source for Noted {
    fn read(&self, path: &str) -> Result<Vec<u8>, String> {
        let answer = Machine.read(path);
        self.note(path, Answer::Read(answer.clone()));
        answer
    }
    fn list(&self, path: &str) -> Option<Vec<String>> {
        let answer = Machine.list(path);
        self.note(path, Answer::List(answer.clone()));
        answer
    }
    fn resolve(&self, name: &str) -> Vec<IpAddr> {
        let answer = Machine.resolve(name);
        self.note(name, Answer::Resolve(answer.clone()));
        answer
    }
    fn user(&self, name: &str) -> Option<u32> {
        let answer = Machine.user(name);
        self.note(name, Answer::User(answer));
        answer
    }
    fn group(&self, name: &str) -> Option<u32> {
        let answer = Machine.group(name);
        self.note(name, Answer::Group(answer));
        answer
    }
}

impl Answers {
    fn get(&self, kind: u8, question: &str) -> Option<&Answer> {
        self.0.get(&(kind, question.to_string()))
    }
}

impl Source for Answers {
    fn read(&self, path: &str) -> Result<Vec<u8>, String> {
        match self.get(b'r', path) {
            Some(Answer::Read(answer)) => answer.clone(),
            _ => Err("it was not read with the rest of the configuration".into()),
        }
    }
    fn list(&self, path: &str) -> Option<Vec<String>> {
        match self.get(b'l', path) {
            Some(Answer::List(answer)) => answer.clone(),
            _ => None,
        }
    }
    fn resolve(&self, name: &str) -> Vec<IpAddr> {
        match self.get(b'a', name) {
            Some(Answer::Resolve(answer)) => answer.clone(),
            _ => Vec::new(),
        }
    }
    fn user(&self, name: &str) -> Option<u32> {
        match self.get(b'u', name) {
            Some(Answer::User(answer)) => *answer,
            _ => None,
        }
    }
    fn group(&self, name: &str) -> Option<u32> {
        match self.get(b'g', name) {
            Some(Answer::Group(answer)) => *answer,
            _ => None,
        }
    }
}

/// What the serving process tells the keeper of its reloads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// It is serving.
    Ready,
    /// A reload begins.
    Reloading,
    /// It ended: whether the new configuration is in force.
    Reloaded(bool),
}

impl Event {
    fn of(byte: u8) -> Event {
        match byte {
            b'y' => Event::Ready,
            b'n' => Event::Reloading,
            b'+' => Event::Reloaded(true),
            _ => Event::Reloaded(false),
        }
    }

    fn byte(self) -> u8 {
        match self {
            Event::Ready => b'y',
            Event::Reloading => b'n',
            Event::Reloaded(true) => b'+',
            Event::Reloaded(false) => b'-',
        }
    }
}

const LOAD: u8 = b'L';
const BIND: u8 = b'B';

/// Answers the serving process until it is gone. `told` hears of its reloads.
pub fn serve(mut asked: UnixStream, args: &Args, mut told: impl FnMut(Event)) {
    let mut config: Option<Config> = None;
    let mut byte = [0];
    while asked.read_exact(&mut byte).is_ok() {
        let done = match byte[0] {
            LOAD => {
                let source = Noted::default();
                config = config::load(&run::request(args), &source).config;
                let answers = source.0.borrow().write();
                let mut message = Vec::with_capacity(answers.len() + 8);
                put(&mut message, &answers);
                asked.write_all(&message)
            }
            BIND => {
                if config.is_none() {
                    config = config::load(&run::request(args), &Machine).config;
                }
                bind(&asked, config.as_ref())
            }
            byte => {
                told(Event::of(byte));
                Ok(())
            }
        };
        if done.is_err() {
            return;
        }
    }
}

/// Reads which socket is wanted, and sends it.
fn bind(asked: &UnixStream, config: Option<&Config>) -> io::Result<()> {
    let mut stream = asked;
    let mut number = || {
        let mut bytes = [0; 8];
        stream.read_exact(&mut bytes)?;
        Ok::<_, io::Error>(usize::try_from(u64::from_be_bytes(bytes)).unwrap_or(usize::MAX))
    };
    let (proxy, index, len) = (number()?, number()?, number()?);
    let mut address = Vec::new();
    stream.take(len as u64).read_to_end(&mut address)?;
    // The files may have changed since: then these indices mean something else by now.
    let wanted = config
        .and_then(|c| Wanted::at(c, proxy, index))
        .filter(|wanted| wanted.address().as_bytes() == address);
    let opened = match wanted {
        Some(wanted) => wanted.open(),
        None => Err(io::ErrorKind::NotFound.into()),
    };
    // The answer is one number: 0 with a socket, or the system's number of what went wrong.
    let (code, fds) = match &opened {
        Ok(fd) => (0, vec![fd.as_fd()]),
        Err(e) => (e.raw_os_error().unwrap_or(libc::EINVAL), Vec::new()),
    };
    descriptors::send(asked.as_fd(), &code.to_be_bytes(), &fds).map(|_| ())
}

/// The way from the serving process to its keeper.
pub struct Keeper(UnixStream);

impl Keeper {
    /// Over this end of the pair.
    pub fn new(stream: UnixStream) -> Keeper {
        Keeper(stream)
    }

    /// Everything that loading the configuration asks for, as it is now.
    pub fn source(&self) -> io::Result<impl Source + use<>> {
        let mut stream = &self.0;
        stream.write_all(&[LOAD])?;
        let mut len = [0; 8];
        stream.read_exact(&mut len)?;
        let mut bytes = Vec::new();
        stream
            .take(u64::from_be_bytes(len))
            .read_to_end(&mut bytes)?;
        Answers::read(&bytes).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    /// A socket that the configuration last loaded wants.
    pub fn open(&self, wanted: &Wanted<'_>) -> io::Result<OwnedFd> {
        let mut question = vec![BIND];
        question.extend_from_slice(&(wanted.proxy as u64).to_be_bytes());
        question.extend_from_slice(&(wanted.index as u64).to_be_bytes());
        put(&mut question, wanted.address().as_bytes());
        (&self.0).write_all(&question)?;
        let mut code = [0; 4];
        let (n, fds) = descriptors::receive(self.0.as_fd(), &mut code)?;
        match (n, i32::from_be_bytes(code), fds.into_iter().next()) {
            (4, 0, Some(fd)) => Ok(fd),
            (4, code, None) if code != 0 => Err(io::Error::from_raw_os_error(code)),
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    /// Tells of a reload; a keeper that is gone need not know.
    pub fn tell(&self, event: Event) {
        let _ = (&self.0).write_all(&[event.byte()]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_survive_the_way_to_the_serving_process() {
        let noted = Noted::default();
        noted.note("/a", Answer::Read(Ok(b"text\0\xFF".to_vec())));
        noted.note("/b", Answer::Read(Err("no such file".into())));
        noted.note("/d", Answer::List(Some(vec!["x".into(), "y z".into()])));
        noted.note("/a", Answer::List(None));
        noted.note("host", Answer::Resolve(vec![IpAddr::from([10, 0, 0, 7])]));
        noted.note("web", Answer::User(Some(33)));
        noted.note("web", Answer::Group(None));
        let there = Answers::read(&noted.0.borrow().write()).expect("readable");
        assert_eq!(there.0, noted.0.borrow().0);
        assert_eq!(there.read("/b"), Err("no such file".into()));
        assert!(there.read("/never-asked").is_err());
    }

    #[test]
    fn damaged_answers_are_no_answers() {
        let noted = Noted::default();
        noted.note("/a", Answer::Read(Ok(b"text".to_vec())));
        let whole = noted.0.borrow().write();
        for end in 1..whole.len() {
            assert!(Answers::read(&whole[..end]).is_none(), "{end}");
        }
    }
}
