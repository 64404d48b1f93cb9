//! Questions to name servers and their answers (RFC 1035, RFC 2782, RFC 6891). What stands in the
//! messages is read and written by a library; here is what it means to who asks for a server.

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use std::net::IpAddr;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Addresses of IPv4.
    A,
    /// Addresses of IPv6.
    Aaaa,
    /// Services.
    Srv,
}

impl Kind {
    fn record(self) -> RecordType {
        match self {
            Kind::A => RecordType::A,
            Kind::Aaaa => RecordType::AAAA,
            Kind::Srv => RecordType::SRV,
        }
    }
}

/// A question as it goes to a name server.
#[derive(Clone, Debug)]
pub struct Question {
    id: u16,
    name: Name,
    kind: Kind,
    payload: u16,
}

/// Where a service is, by an SRV record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// The host's name, without the last dot.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Lower ones are to be used first.
    pub priority: u16,
    /// Its share among those of one priority.
    pub weight: u16,
    /// Its address, where the answer brought it along.
    pub address: Option<IpAddr>,
}

/// A good answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// Addresses, in the order of the answer.
    pub addresses: Vec<IpAddr>,
    /// Services, in the order of the answer.
    pub services: Vec<Service>,
    /// Whether the name was another's alias.
    pub alias: bool,
}

/// Why a message is no good answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It answers another question, or none: whoever sent it, an answer may follow.
    Stray,
    /// It is no message of DNS.
    Malformed,
    /// It did not fit into a datagram.
    Truncated,
    /// There is no such name.
    NoName,
    /// The name has no such records.
    Empty,
    /// Aliases that lead nowhere.
    Alias,
    /// The server refuses.
    Refused,
    /// Another code of the server.
    Failed,
}

/// Aliases that are followed at most.
const MOST_ALIASES: usize = 16;

impl Question {
    /// Asks for `kind` of `name`, taking answers of up to `payload` bytes. `None`: this cannot be a
    /// name of the DNS.
    pub fn new(id: u16, name: &str, kind: Kind, payload: u16) -> Option<Question> {
        let mut name = Name::from_ascii(name).ok()?;
        name.set_fqdn(true);
        (!name.is_root()).then_some(Question {
            id,
            name,
            kind,
            payload,
        })
    }

    /// The message.
    pub fn bytes(&self) -> Vec<u8> {
        let mut message = Message::new(self.id, MessageType::Query, OpCode::Query);
        message.metadata.recursion_desired = true;
        message.add_query(Query::query(self.name.clone(), self.kind.record()));
        let mut edns = Edns::new();
        edns.set_max_payload(self.payload).set_version(0);
        message.set_edns(edns);
        // A name that was read can be written.
        message.to_vec().unwrap_or_default()
    }

    /// What a message that came back says.
    pub fn answer(&self, bytes: &[u8]) -> Result<Answer, Fault> {
        let message = Message::from_vec(bytes).map_err(|_| Fault::Malformed)?;
        let about = |q: &Query| q.name() == &self.name && q.query_type() == self.kind.record();
        if message.metadata.id != self.id
            || message.metadata.message_type != MessageType::Response
            || !matches!(message.queries.as_slice(), [] | [_])
            || !message.queries.iter().all(about)
        {
            return Err(Fault::Stray);
        }
        match message.metadata.response_code {
            ResponseCode::NoError => {}
            ResponseCode::NXDomain => return Err(Fault::NoName),
            ResponseCode::Refused => return Err(Fault::Refused),
            _ => return Err(Fault::Failed),
        }
        if message.metadata.truncation {
            return Err(Fault::Truncated);
        }
        // Without the question an answer to another one could not be told from this.
        if message.queries.is_empty() {
            return Err(Fault::Stray);
        }
        self.records(&message)
    }

    fn records(&self, message: &Message) -> Result<Answer, Fault> {
        let mut name = self.name.clone();
        let mut answer = Answer::default();
        for _ in 0..MOST_ALIASES {
            let next = message.answers.iter().find_map(|r| match &r.data {
                RData::CNAME(to) if r.name == name => Some(to.0.clone()),
                _ => None,
            });
            let Some(next) = next else { break };
            answer.alias = true;
            name = next;
        }
        let mine = message.answers.iter().filter(|r| r.name == name);
        for record in mine {
            match &record.data {
                RData::A(_) | RData::AAAA(_) if record.record_type() == self.kind.record() => {
                    answer.addresses.extend(address(record));
                }
                RData::SRV(service) if self.kind == Kind::Srv && !service.target.is_root() => {
                    let at = message.additionals.iter();
                    let at = at.filter(|r| r.name == service.target).find_map(address);
                    answer.services.push(Service {
                        host: bare(&service.target),
                        port: service.port,
                        priority: service.priority,
                        weight: service.weight,
                        address: at,
                    });
                }
                _ => {}
            }
        }
        match (
            answer.addresses.is_empty() && answer.services.is_empty(),
            answer.alias,
        ) {
            (false, _) => Ok(answer),
            (true, true) => Err(Fault::Alias),
            (true, false) => Err(Fault::Empty),
        }
    }
}

fn address(record: &Record) -> Option<IpAddr> {
    match &record.data {
        RData::A(ip) => Some(ip.0.into()),
        RData::AAAA(ip) => Some(ip.0.into()),
        _ => None,
    }
}

/// A name in lower case, without the last dot.
fn bare(name: &Name) -> String {
    let text = name.to_lowercase().to_ascii();
    text.strip_suffix('.').unwrap_or(&text).to_string()
}

/// Puts the length before a message that goes over TCP (RFC 1035 section 4.2.2).
pub fn framed(message: &[u8]) -> Vec<u8> {
    let length = u16::try_from(message.len()).unwrap_or(u16::MAX);
    let mut out = length.to_be_bytes().to_vec();
    out.extend_from_slice(message);
    out
}

/// The first whole message of bytes that came over TCP.
pub fn unframed(bytes: &[u8]) -> Option<&[u8]> {
    let (length, rest) = bytes.split_first_chunk::<2>()?;
    rest.get(..usize::from(u16::from_be_bytes(*length)))
}

#[cfg(test)]
mod tests;
