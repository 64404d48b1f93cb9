//! Asking name servers (manual section 5.3): all of a section at once, again when they are silent,
//! and for the other kind of address when there is none of the preferred one.

use model::{Families, Family};
use rules::Sample;
use rules::action::Resolve;
use state::{Generation, Resolvers};
use std::cell::Cell;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::task::JoinSet;
use wire::dns::{self, Answer, Fault, Kind, Question};

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Nobody said anything in time.
    Silence,
    /// This was said last.
    Said(Fault),
}

/// The kinds of address to ask for, in order, of those that are taken.
pub fn kinds(prefer: Family, taken: Families) -> &'static [Kind] {
    let only = match taken {
        Families::Both => None,
        Families::Only(family) => Some(family),
        Families::Auto => (!reaches_ipv6()).then_some(Family::V4),
    };
    match (only, prefer) {
        (Some(Family::V4), _) => &[Kind::A],
        (Some(Family::V6), _) => &[Kind::Aaaa],
        (None, Family::V4) => &[Kind::A, Kind::Aaaa],
        (None, Family::V6) => &[Kind::Aaaa, Kind::A],
    }
}

/// Whether an address is of a kind that is taken.
pub fn takes(taken: Families, ip: IpAddr) -> bool {
    match taken {
        Families::Both => true,
        Families::Only(family) => (family == Family::V4) == ip.is_ipv4(),
        Families::Auto => ip.is_ipv4() || reaches_ipv6(),
    }
}

/// Whether this machine has a way into the Internet of IPv6, as it was half a minute ago at most: the
/// kernel is asked for a route, and sends nothing.
fn reaches_ipv6() -> bool {
    const HOLDS: Duration = Duration::from_secs(30);
    /// Nobody has it (RFC 3849), so that only a default route leads there.
    const SOMEWHERE: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
    thread_local! {
        static LAST: Cell<Option<(Instant, bool)>> = const { Cell::new(None) };
    }
    let now = Instant::now();
    if let Some((asked, answer)) = LAST.get()
        && now.saturating_duration_since(asked) < HOLDS
    {
        return answer;
    }
    let socket = std::net::UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0));
    let answer = socket.and_then(|s| s.connect((SOMEWHERE, 9))).is_ok();
    LAST.set(Some((now, answer)));
    answer
}

/// Asks for the first of these kinds that there is. Returns whose answer it is, too: its place in
/// the section.
pub async fn look_up(
    section: &Arc<Resolvers>,
    name: &str,
    kinds: &[Kind],
) -> Result<(Answer, usize), Failure> {
    let settings = &section.settings;
    let mut last = Failure::Silence;
    for _ in 0..settings.retries.max(1) {
        for kind in kinds {
            let Some(question) = Question::new(random(), name, *kind, settings.payload) else {
                return Err(Failure::Said(Fault::NoName));
            };
            match ask_all(section, &question).await {
                Ok((mut answer, at)) => {
                    let taken = settings.families;
                    answer.addresses.retain(|ip| takes(taken, *ip));
                    for service in &mut answer.services {
                        service.address = service.address.filter(|ip| takes(taken, *ip));
                    }
                    return Ok((answer, at));
                }
                Err(failure) => last = failure,
            }
            // Who is silent about one kind will be about the other.
            if last == Failure::Silence {
                break;
            }
        }
        // That there is no such thing is an answer, too, which asking again does not change.
        if matches!(last, Failure::Said(Fault::NoName | Fault::Empty)) {
            break;
        }
    }
    Err(last)
}

/// The address of a host, remembered for a while.
async fn address(section: &Arc<Resolvers>, name: &str, prefer: Family) -> Option<IpAddr> {
    if let Some(ip) = section.recall(name, prefer, Instant::now()) {
        return Some(ip);
    }
    let (answer, _) = look_up(section, name, kinds(prefer, section.settings.families))
        .await
        .ok()?;
    let ip = *answer.addresses.first()?;
    section.remember(name, prefer, ip, Instant::now());
    Some(ip)
}

/// The address that a rule asks for, as a value of its variable.
pub async fn for_rule(
    generation: &Generation,
    rule: &Resolve,
    name: &str,
) -> Option<Sample<'static>> {
    let section = generation.resolvers.get(&rule.resolvers)?;
    let prefer = if rule.ipv4 { Family::V4 } else { Family::V6 };
    address(section, name, prefer).await.map(Sample::ip)
}

/// A number that others cannot guess: forged answers must name it (RFC 5452 section 4).
fn random() -> u16 {
    RandomState::new().build_hasher().finish() as u16
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Relaxed);
}

async fn ask_all(
    section: &Arc<Resolvers>,
    question: &Question,
) -> Result<(Answer, usize), Failure> {
    let mut asked = JoinSet::new();
    for at in 0..section.settings.nameservers.len() {
        let (section, question) = (Arc::clone(section), question.clone());
        asked.spawn_local(async move {
            let patience = section.settings.retry;
            let answer = tokio::time::timeout(patience, ask(&section, at, &question)).await;
            (at, answer)
        });
    }
    let mut last = Failure::Silence;
    // Leaving ends those who have not answered yet.
    while let Some(asked) = asked.join_next().await {
        let Ok((at, answer)) = asked else { continue };
        let Some(counters) = section.counters.get(at) else {
            continue;
        };
        match answer {
            Ok(Ok(answer)) => {
                count(&counters.valid);
                if answer.alias {
                    count(&counters.cname);
                }
                return Ok((answer, at));
            }
            Ok(Err(Trouble::Said(fault))) => {
                count(match fault {
                    Fault::NoName => &counters.nx,
                    Fault::Refused => &counters.refused,
                    Fault::Empty => &counters.any_err,
                    Fault::Alias => &counters.cname_error,
                    Fault::Malformed | Fault::Stray => &counters.invalid,
                    Fault::Truncated => &counters.truncated,
                    Fault::Failed => &counters.other,
                });
                last = Failure::Said(fault);
            }
            Ok(Err(Trouble::Io)) => count(&counters.snd_error),
            Err(_) => count(&counters.timeout),
        }
    }
    Err(last)
}

/// What asking one name server may come to.
enum Trouble {
    /// It could not be asked.
    Io,
    /// It said this.
    Said(Fault),
}

impl From<io::Error> for Trouble {
    fn from(_: io::Error) -> Trouble {
        Trouble::Io
    }
}

async fn ask(section: &Resolvers, at: usize, question: &Question) -> Result<Answer, Trouble> {
    let (Some(server), Some(counters)) = (
        section.settings.nameservers.get(at),
        section.counters.get(at),
    ) else {
        return Err(Trouble::Io);
    };
    count(&counters.sent);
    if server.stream {
        return ask_stream(server.address, question).await;
    }
    let any: IpAddr = match server.address {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    // A socket for each question: its port is another thing that forgers have to guess.
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(server.address).await?;
    socket.send(&question.bytes()).await?;
    // One byte more tells what is too long from what just fits.
    let most = usize::from(section.settings.payload).max(512);
    let mut buffer = vec![0; most + 1];
    loop {
        let n = socket.recv(&mut buffer).await?;
        if n > most {
            count(&counters.too_big);
            return Err(Trouble::Said(Fault::Truncated));
        }
        match question.answer(buffer.get(..n).unwrap_or_default()) {
            Ok(answer) => return Ok(answer),
            Err(Fault::Stray) => count(&counters.invalid),
            // What does not fit into a datagram comes whole over TCP (RFC 7766 section 5).
            Err(Fault::Truncated) => {
                let whole = ask_stream(server.address, question).await;
                return whole.map_err(|_| Trouble::Said(Fault::Truncated));
            }
            Err(fault) => return Err(Trouble::Said(fault)),
        }
    }
}

async fn ask_stream(server: SocketAddr, question: &Question) -> Result<Answer, Trouble> {
    let mut stream = TcpStream::connect(server).await?;
    stream.write_all(&dns::framed(&question.bytes())).await?;
    let mut bytes = Vec::new();
    loop {
        if let Some(message) = dns::unframed(&bytes) {
            return question.answer(message).map_err(Trouble::Said);
        }
        if stream.read_buf(&mut bytes).await? == 0 {
            return Err(Trouble::Io);
        }
    }
}
