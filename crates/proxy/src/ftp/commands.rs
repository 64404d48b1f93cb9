//! What becomes of a client's commands: passed on, changed, answered here, or held until something
//! else is over.

use super::control::{ABORTED, CLOSING, Control, Expected, NO_DATA, Next, Scene, Wish};
use crate::session::Client;
use crate::socket;
use crate::termination::{Cause, Phase, Termination};
use model::BindOptions;
use std::net::{IpAddr, SocketAddr};
use wire::ftp::{self, Command, ExtendedPassive, Unusable, Verb};

impl Control {
    /// Follows a command; `false`: it has to wait.
    pub(super) fn command(&mut self, scene: &mut Scene<'_>, line: &[u8]) -> bool {
        let Ok(command) = ftp::command(line) else {
            self.answer("501 A line of its own for each command.\r\n");
            return true;
        };
        match command.verb {
            Verb::Auth => return self.auth(scene, &command),
            Verb::Pbsz => self.pbsz(scene.client),
            Verb::Prot => self.prot(scene, &command),
            Verb::Ccc => self.answer("533 The control connection stays protected.\r\n"),
            Verb::Unfit => self.answer("502 Command not implemented.\r\n"),
            Verb::Web => {
                self.say("500 This is FTP, and no web server.\r\n");
                scene.client.carry.clear();
                self.next = Some(Next::Ended(Termination::new(Cause::Proxy, Phase::Request)));
            }
            Verb::User => return self.user(&command),
            _ if scene.server.is_none() => self.without_server(&command),
            Verb::Pasv => return self.pasv(scene),
            Verb::Epsv => return self.epsv(scene, &command),
            Verb::Port => {
                let address = ftp::port(command.argument).ok_or(Unusable::Syntax);
                return self.active(scene, address);
            }
            Verb::Eprt => return self.active(scene, ftp::extended_port(command.argument)),
            Verb::Transfer => return self.transfer(scene, &command),
            Verb::Pass => self.pass_on(&command, Expected::Login),
            Verb::Stat => self.pass_on(&command, Expected::Status),
            Verb::Feat => self.pass_on(&command, Expected::Features),
            Verb::Quit => self.pass_on(&command, Expected::Quit),
            Verb::Abor | Verb::Noop | Verb::Other => self.pass_on(&command, Expected::Passed),
        }
        true
    }

    fn pass_on(&mut self, command: &Command<'_>, expected: Expected) {
        self.to_server.extend_from_slice(command.text);
        self.to_server.extend_from_slice(b"\r\n");
        self.expected.push_back(expected);
    }

    /// Before there is a server.
    fn without_server(&mut self, command: &Command<'_>) {
        match command.verb {
            Verb::Quit => {
                self.say("221 Goodbye.\r\n");
                self.next = Some(Next::Ended(Termination::default()));
            }
            Verb::Noop => self.say("200 NOOP ok.\r\n"),
            Verb::Feat => {
                let features = features(&self.bind);
                self.say(format!("211-Features:\r\n{features}211 End\r\n"));
            }
            Verb::Pass => self.say("503 Login with USER first.\r\n"),
            _ => self.say("530 Please login with USER and PASS.\r\n"),
        }
    }

    /// RFC 4217 section 4.
    fn auth(&mut self, scene: &mut Scene<'_>, command: &Command<'_>) -> bool {
        if !self.expected.is_empty() {
            return false;
        }
        let known = [&b"TLS"[..], b"TLS-C"];
        let Some(acceptor) = self.bind.tls.clone() else {
            self.say("502 TLS is not offered here.\r\n");
            return true;
        };
        if scene.client.io.plain().is_none() {
            self.say("503 The control connection is protected already.\r\n");
        } else if !known
            .iter()
            .any(|k| k.eq_ignore_ascii_case(command.argument))
        {
            self.say("504 Only AUTH TLS is known.\r\n");
        } else {
            self.say("234 Proceed with negotiation.\r\n");
            // What came in the clear behind the command may be anybody's (RFC 4217 section 15).
            scene.client.carry.clear();
            self.next = Some(Next::Secure(acceptor));
        }
        true
    }

    /// RFC 4217 section 8.
    fn pbsz(&mut self, client: &Client) {
        if client.io.plain().is_none() {
            self.sized = true;
            self.answer("200 PBSZ=0\r\n");
        } else {
            self.answer("503 AUTH TLS comes first.\r\n");
        }
    }

    /// RFC 4217 section 9.
    fn prot(&mut self, scene: &mut Scene<'_>, command: &Command<'_>) {
        let level = command.argument.to_ascii_uppercase();
        match level.as_slice() {
            _ if !self.sized => return self.answer("503 PBSZ comes first.\r\n"),
            b"C" => self.protected = false,
            b"P" => self.protected = true,
            b"S" | b"E" => return self.answer("536 Only levels C and P are there.\r\n"),
            _ => return self.answer("504 Only levels C and P are known.\r\n"),
        }
        if let Some(known) = &mut scene.session.info.ftp {
            known.protected = self.protected;
        }
        self.answer(format!(
            "200 PROT {} set.\r\n",
            String::from_utf8_lossy(&level)
        ));
    }

    /// A name leads to a server; the same name again, to the same.
    fn user(&mut self, command: &Command<'_>) -> bool {
        let same = self.user == command.argument;
        if self.logged_in && !same {
            self.answer("530 Can't change to another user.\r\n");
        } else if same && !self.user.is_empty() {
            self.pass_on(command, Expected::Login);
        } else if command.argument.is_empty() {
            self.answer("501 USER wants a name.\r\n");
        } else if !self.expected.is_empty() {
            return false;
        } else {
            self.user = command.argument.to_vec();
            self.next = Some(Next::Login);
        }
        true
    }

    /// Whether a data connection may be asked for now: one after the other.
    fn is_between_data(&self) -> bool {
        let asked = |e: &Expected| matches!(e, Expected::Port(_) | Expected::Transfer(_));
        !self.expected.iter().any(asked)
    }

    fn pasv(&mut self, scene: &mut Scene<'_>) -> bool {
        if self.only_extended {
            self.answer("503 EPSV ALL was said.\r\n");
        } else if !client_ip(scene.client).is_some_and(|ip| ip.is_ipv4()) {
            self.answer("425 PASV is for IPv4: use EPSV.\r\n");
        } else if !self.is_between_data() {
            return false;
        } else {
            self.ask_port(scene, Wish::Passive);
        }
        true
    }

    fn epsv(&mut self, scene: &mut Scene<'_>, command: &Command<'_>) -> bool {
        let four = client_ip(scene.client).is_some_and(|ip| ip.is_ipv4());
        match ftp::extended_passive(command.argument) {
            Err(Unusable::Syntax) => self.answer("501 EPSV wants 1, 2 or ALL.\r\n"),
            Ok(ExtendedPassive::All) => {
                self.only_extended = true;
                self.answer("200 EPSV ALL ok.\r\n");
            }
            Ok(ExtendedPassive::Port) if self.is_between_data() => {
                self.ask_port(scene, Wish::Extended);
            }
            Ok(ExtendedPassive::V4) if four && self.is_between_data() => {
                self.ask_port(scene, Wish::Extended);
            }
            Ok(ExtendedPassive::V6) if !four && self.is_between_data() => {
                self.ask_port(scene, Wish::Extended);
            }
            Ok(ExtendedPassive::Port) => return false,
            Ok(ExtendedPassive::V4) if four => return false,
            Ok(ExtendedPassive::V6) if !four => return false,
            Ok(_) | Err(Unusable::Protocol) => self.other_protocol(four),
        }
        true
    }

    /// RFC 2428 sections 2 and 3.
    fn other_protocol(&mut self, four: bool) {
        let ours = if four { 1 } else { 2 };
        self.answer(format!(
            "522 Network protocol not supported, use ({ours})\r\n"
        ));
    }

    /// `PORT` and `EPRT`: to the client itself, and to no port that a service may have (RFC 2577
    /// section 3).
    fn active(&mut self, scene: &mut Scene<'_>, address: Result<SocketAddr, Unusable>) -> bool {
        let ip = client_ip(scene.client);
        match address {
            _ if self.only_extended => self.answer("503 EPSV ALL was said.\r\n"),
            Err(Unusable::Syntax) => self.answer("501 That is no address and port.\r\n"),
            Err(Unusable::Protocol) => {
                self.other_protocol(ip.is_some_and(|ip| ip.is_ipv4()));
            }
            Ok(to) if Some(to.ip().to_canonical()) != ip => {
                self.answer("504 Data connections lead to your own address only.\r\n");
            }
            Ok(to) if to.port() < 1024 => {
                self.answer("504 Data connections lead to ports from 1024 on only.\r\n");
            }
            Ok(_) if !self.is_between_data() => return false,
            Ok(to) => self.ask_port(scene, Wish::Active(to)),
        }
        true
    }

    /// Asks the server where its end is to be; what there was before is over.
    fn ask_port(&mut self, scene: &mut Scene<'_>, wish: Wish) {
        self.drop_data(scene.worker);
        let server = scene.server.as_ref();
        let ends = server.and_then(|s| socket::ends(s.io.socket().raw()));
        let four = ends.is_some_and(|(_, server)| server.ip().to_canonical().is_ipv4());
        let command: &[u8] = if four { b"PASV\r\n" } else { b"EPSV\r\n" };
        self.to_server.extend_from_slice(command);
        self.expected.push_back(Expected::Port(wish));
    }

    /// A transfer begins when both ends are there, or on their way: the server is not told of one
    /// that cannot be.
    fn transfer(&mut self, scene: &mut Scene<'_>, command: &Command<'_>) -> bool {
        if !self.is_between_data() {
            return false;
        }
        let Some(data) = &mut self.data else {
            self.pass_on(command, Expected::Transfer(false));
            return true;
        };
        if data.failed().is_some() {
            self.drop_data(scene.worker);
            self.answer(NO_DATA);
            return true;
        }
        if let Some(address) = data.later() {
            let own = own_ip(scene.client);
            let dialled = own.map(|ip| socket::connect_beside(ip, address, &self.bind));
            let Some(Ok(fd)) = dialled else {
                self.drop_data(scene.worker);
                self.answer(NO_DATA);
                return true;
            };
            data.dial(crate::io::Io::new(fd));
            return false;
        }
        if data.is_dialling() {
            return false;
        }
        self.pass_on(command, Expected::Transfer(false));
        true
    }

    /// The client is told how a transfer went: well only if every byte has left.
    pub(super) fn complete(&mut self, reply: &[u8]) {
        let failed = self.data.as_ref().is_some_and(|d| d.failed().is_some());
        let well = reply.first() == Some(&b'2');
        self.say(if failed && well {
            ABORTED.as_bytes()
        } else {
            reply
        });
        let mut expected = self.expected.iter();
        let at = expected.position(|e| matches!(e, Expected::Transfer(_)));
        if let Some(at) = at {
            self.settle(at);
        }
    }

    /// The server has spoken of what nobody asked for.
    pub(super) fn confused(&mut self) -> Next {
        self.say(CLOSING);
        super::control::ended(Cause::ServerAbort, Phase::Data)
    }
}

/// The client's address, which data connections come from and lead to.
pub(super) fn client_ip(client: &Client) -> Option<IpAddr> {
    client.info.ends.src().map(|a| a.ip().to_canonical())
}

/// Our address on the control connection.
pub(super) fn own_ip(client: &Client) -> Option<IpAddr> {
    let own = socket::local_address(client.io.socket().raw());
    own.map(|a| a.ip().to_canonical())
}

/// The lines of `FEAT` about what we do ourselves (RFC 2389 section 3.2).
pub(super) fn features(bind: &BindOptions) -> String {
    let mut features = String::new();
    if bind.starttls {
        features += " AUTH TLS\r\n";
    }
    features += " EPRT\r\n EPSV\r\n PASV\r\n";
    if bind.tls.is_some() {
        features += " PBSZ\r\n PROT\r\n";
    }
    features
}
