//! What becomes of a server's replies.

use super::commands::{client_ip, features, own_ip};
use super::control::{Control, Expected, NO_DATA, Next, Scene, Wish};
use super::data::{Data, End, Secured};
use super::door::Door;
use crate::connect;
use rules::random;
use std::net::IpAddr;
use std::sync::Arc;
use wire::ftp::{self, ReplyLine, Verb};

impl Control {
    /// Takes the next line of what the server says.
    pub(super) fn reply(&mut self, scene: &mut Scene<'_>, line: &[u8]) -> Result<(), Next> {
        let Ok(read) = self.replies.line(line) else {
            return Err(self.confused());
        };
        if read.first {
            self.answered = self.answers(read);
        }
        let at = self.answered;
        let over = read.last && !read.is_preliminary();
        // A service that closes says so whenever it does (RFC 959 section 5.4).
        self.parting |= over && read.code == 421;
        match self.expected.get_mut(at) {
            Some(Expected::Transfer(begun)) => {
                *begun |= read.is_preliminary();
                if *begun && !read.is_preliminary() {
                    self.closing.extend_from_slice(line);
                    if over {
                        self.completion = Some(std::mem::take(&mut self.closing));
                    }
                    return Ok(());
                }
                self.say(line);
            }
            Some(Expected::Port(wish)) => {
                if over {
                    let wish = *wish;
                    let reply = self.port(scene, read.code, line, wish);
                    self.say(reply);
                }
            }
            Some(Expected::Features) => {
                let last = over && read.code != 211;
                self.features(read, line);
                if last {
                    self.settle(at);
                    return Ok(());
                }
            }
            Some(Expected::Login) => {
                // 232: the user is authorized by the certificate (RFC 4217 section 13).
                self.logged_in |= over && matches!(read.code, 230 | 232);
                self.say(line);
            }
            Some(Expected::Quit) => {
                self.parting |= over;
                self.say(line);
            }
            Some(Expected::Passed | Expected::Status) => self.say(line),
            Some(Expected::Ours(_)) => return Err(self.confused()),
            None => {
                self.say(line);
                return Ok(());
            }
        }
        if over {
            self.settle(at);
        }
        Ok(())
    }

    /// Which of those expected a reply answers: the first, but what was asked for while a transfer is
    /// under way may be answered before its end: a status always is (RFC 959 section 4.1.3), the rest
    /// by servers that go on listening. A transfer ends well by 226 or 250 only, and never by a reply that
    /// asks for more (section 5.4).
    fn answers(&self, read: ReplyLine) -> usize {
        let begun = matches!(self.expected.front(), Some(Expected::Transfer(true)));
        let other = matches!(read.code, 200..=225 | 227..=249 | 251..=399);
        if !begun || !other {
            return 0;
        }
        let first = |kind: fn(&Expected) -> bool| self.expected.iter().position(kind);
        first(|e| matches!(e, Expected::Status))
            .filter(|_| matches!(read.code, 211..=213))
            .or_else(|| first(|e| matches!(e, Expected::Passed | Expected::Features)))
            .unwrap_or(0)
    }

    /// Our features in the place of the server's about the same things.
    fn features(&mut self, read: ReplyLine, line: &[u8]) {
        let ours = features(&self.bind);
        if read.code != 211 {
            if read.last {
                self.say(format!("211-Features:\r\n{ours}211 End\r\n"));
            }
            return;
        }
        let name = ftp::feature(line).unwrap_or_default();
        let verb = ftp::command(name).map_or(Verb::Unfit, |c| c.verb);
        let replaced = matches!(
            verb,
            Verb::Auth
                | Verb::Pbsz
                | Verb::Prot
                | Verb::Ccc
                | Verb::Pasv
                | Verb::Epsv
                | Verb::Port
                | Verb::Eprt
                | Verb::Unfit
        );
        match (read.first, read.last) {
            (true, true) => self.say(format!("211-Features:\r\n{ours}211 End\r\n")),
            (false, true) => {
                self.say(ours);
                self.say(line);
            }
            _ if replaced && !read.first => {}
            _ => self.say(line),
        }
    }

    /// Makes a data connection to the port that the server names, and says what the client is to do.
    fn port(&mut self, scene: &mut Scene<'_>, code: u16, line: &[u8], wish: Wish) -> Vec<u8> {
        let port = match code {
            227 => ftp::passive_port(line),
            229 => ftp::extended_passive_port(line),
            400.. => return line.to_vec(),
            _ => None,
        };
        let made = port.and_then(|port| self.open_data(scene, port, wish));
        made.map_or_else(|| NO_DATA.into(), String::into_bytes)
    }

    fn open_data(&mut self, scene: &mut Scene<'_>, port: u16, wish: Wish) -> Option<String> {
        let main = scene.server.as_deref()?;
        let server = Arc::clone(scene.session.visit.slot.as_ref()?.server());
        let backend = scene.session.backend()?;
        let (client, info) = (&*scene.client, &scene.session.info);
        let from = client_ip(client)?;
        let own = own_ip(client)?;
        let io = connect::beside(main, port, client, backend, &server, info).ok()?;
        let secured = server.settings().tls.clone().map(|tls| Secured {
            tls,
            sni: main.name.clone(),
            target: Arc::clone(&main.target),
        });
        let settings = &client.frontend.side().ftp;
        let door = || {
            let chance = random(&scene.worker.rng);
            Door::open(own, settings.data_ports, chance, &self.bind).ok()
        };
        let (end, reply) = match wish {
            Wish::Active(address) => (End::Later(address), ACTIVE.to_string()),
            Wish::Extended => {
                let door = door()?;
                let reply = ftp::extended_passive_reply(door.port);
                (End::Awaited(door), reply)
            }
            Wish::Passive => {
                let IpAddr::V4(own) = own else { return None };
                let door = door()?;
                let told = settings.data_address.unwrap_or(own);
                let reply = ftp::passive_reply(told, door.port);
                (End::Awaited(door), reply)
            }
        };
        let acceptor = self.bind.tls.clone().filter(|_| self.protected);
        self.data = Some(Data::new(end, io, from, acceptor, secured));
        Some(reply)
    }
}

const ACTIVE: &str = "200 PORT command successful.\r\n";
