//! The envelope: whom a message comes from and whom it goes to, and the server that follows.

use super::server::{Broken, Server};
use super::{Conversation, Login, Over, Sender, Stage};
use crate::passage;
use crate::termination::{Cause, Phase, Termination};
use state::Backend;
use std::sync::Arc;
use wire::smtp::{Command, Parameters, Path, Reply};

/// What clients hear when no server can take their message now.
const NO_SERVER: &str = "451 4.4.1 no server can take this message now: try again later";
const LOST: &str = "451 4.4.2 the server is lost: try again later";

impl Conversation<'_> {
    /// `MAIL FROM`: kept until a recipient says which server is to know it.
    pub(super) async fn mail(
        &mut self,
        line: &[u8],
        path: Path<'_>,
        parameters: Parameters<'_>,
    ) -> Result<(), Over> {
        if !matches!(self.stage, Stage::Idle) {
            self.refuse("503 5.5.1 a message is under way: send it, or say RSET");
            return Ok(());
        }
        if self.facts().helo.is_none() {
            self.refuse("503 5.5.1 say EHLO first");
            return Ok(());
        }
        if self.settings().require_tls && self.client.info.tls.is_none() {
            self.refuse("530 5.7.0 say STARTTLS first");
            return Ok(());
        }
        if let Some(refusal) = self.unfit(path, &parameters) {
            self.refuse(&refusal);
            return Ok(());
        }
        if self.login == Login::Lost {
            return Err(self.forgotten().await);
        }
        self.begin_message();
        let facts = self.facts();
        facts.command = "MAIL";
        facts.from = Some(path.address.into());
        facts.size = parameters.size();
        self.stage = Stage::Sender;
        let now = self.worker.process.millis(self.worker.now());
        let counters = self.frontend.counters().of(self.worker.id);
        counters.req_tot.add(1);
        counters.req_rate.event(now);
        self.worker
            .process
            .counters
            .of(self.worker.id)
            .requests
            .add(1);
        self.client.tracked.request(now);
        if !self.judge().await? {
            self.end_message(self.trouble);
            return Ok(());
        }
        self.sender = Sender {
            address: path.address.to_vec(),
            line: line.to_vec(),
        };
        self.say("250 2.1.0 ok");
        Ok(())
    }

    /// Why a sender with these parameters cannot be taken, if so.
    fn unfit(&self, path: Path<'_>, parameters: &Parameters<'_>) -> Option<String> {
        if let Some(refusal) = self.unknown(path, parameters, parameters.international()) {
            return Some(refusal);
        }
        let most = self.settings().size?;
        let said = parameters.size().filter(|n| *n > most)?;
        Some(format!(
            "552 5.3.4 a message of {said} bytes is too long: {most} are taken"
        ))
    }

    /// Why a command is not taken for what is not announced, if so.
    fn unknown(
        &self,
        path: Path<'_>,
        parameters: &Parameters<'_>,
        international: bool,
    ) -> Option<String> {
        if let Some(keyword) = parameters.unknown(|e| self.offers(e)) {
            let keyword = String::from_utf8_lossy(keyword).into_owned();
            return Some(format!("555 5.5.4 parameter {keyword} not offered here"));
        }
        let foreign = path.is_international() || !parameters.is_ascii();
        (foreign && !international)
            .then(|| "553 5.6.7 addresses beyond ASCII want SMTPUTF8".to_string())
    }

    /// `RCPT TO`: the first one says where the message goes.
    pub(super) async fn rcpt(
        &mut self,
        path: Path<'_>,
        parameters: Parameters<'_>,
    ) -> Result<(), Over> {
        if matches!(self.stage, Stage::Idle) {
            self.refuse("503 5.5.1 say MAIL first");
            return Ok(());
        }
        let international = match Command::read(&self.sender.line) {
            Ok(Command::Mail(_, sender)) => sender.international(),
            _ => false,
        };
        if let Some(refusal) = self.unknown(path, &parameters, international) {
            self.refuse(&refusal);
            return Ok(());
        }
        if let Stage::Failed(reply) = &self.stage {
            let reply = reply.clone();
            self.out.extend_from_slice(&reply);
            return Ok(());
        }
        if self.facts().rcpts >= self.settings().max_rcpts {
            self.say("452 4.5.3 too many recipients: send to the others in another message");
            return Ok(());
        }
        let facts = self.facts();
        facts.command = "RCPT";
        let before = facts.rcpt.replace(path.address.into());
        let taken = facts.rcpts;
        self.send_to(path, parameters).await?;
        // What the log shows is a recipient that was taken, where there is one.
        let facts = self.facts();
        if taken > 0 && facts.rcpts == taken {
            facts.rcpt = before;
        }
        Ok(())
    }

    /// Has the rules judge a recipient, and the server that it leads to.
    async fn send_to(&mut self, path: Path<'_>, parameters: Parameters<'_>) -> Result<(), Over> {
        if !self.judge().await? {
            return Ok(());
        }
        let chosen = match self.login {
            // Where it has logged in, its mail is taken.
            Login::Done => self
                .passage
                .backend()
                .cloned()
                .ok_or_else(Termination::default),
            _ => passage::switch(self.worker, self.client, &self.passage.info),
        };
        let backend = match chosen {
            Ok(backend) => backend,
            Err(ended) => {
                // This recipient leads nowhere; others of the message may lead to a server.
                if !matches!(self.stage, Stage::Open) {
                    self.trouble = ended;
                }
                self.status = Some(451);
                self.say(NO_SERVER);
                return Ok(());
            }
        };
        let here = |b: &Arc<Backend>| b.name == backend.name;
        if matches!(self.stage, Stage::Open) && !self.passage.backend().is_some_and(here) {
            // A message goes to one server only; who hears this sends the others another one
            // (RFC 5321 section 4.5.3.1.10).
            self.say("452 4.5.3 this recipient is served elsewhere: send another message");
            return Ok(());
        }
        if !matches!(self.stage, Stage::Open) && !self.open(backend).await? {
            return Ok(());
        }
        let mut command = [b"RCPT TO:<", path.address, b">"].concat();
        if let Some(server) = &self.server {
            parameters.write(|e| server.capabilities.has(e), &mut command);
        }
        if let Some(reply) = self.ask(&command).await? {
            if reply.is_good() {
                self.facts().rcpts += 1;
                self.trouble = Termination::default();
            }
            self.pass_on(&reply);
        }
        Ok(())
    }

    /// Reaches a server of this backend and tells it the sender; false: the client has been told
    /// why not.
    async fn open(&mut self, backend: Arc<Backend>) -> Result<bool, Over> {
        let kept = self.is_kept(&backend);
        let known = self.login == Login::Done;
        if known && !kept {
            return Err(self.forgotten().await);
        }
        if !kept && !self.renew(&backend).await? {
            return Ok(false);
        }
        self.stage = Stage::Open;
        let mut heard = self.introduce().await;
        if known && matches!(heard, Err(Broken::Lost)) {
            return Err(self.forgotten().await);
        }
        if kept && matches!(heard, Err(Broken::Lost)) {
            // It had closed between two messages: nothing of this one is lost.
            self.server = None;
            self.stage = Stage::Sender;
            if !self.renew(&backend).await? {
                return Ok(false);
            }
            self.stage = Stage::Open;
            heard = self.introduce().await;
        }
        let reply = match heard {
            Ok(reply) => reply,
            Err(broken) => return self.lose(broken).map(|()| false),
        };
        if !reply.is_good() {
            // The client has been told otherwise: its recipients bear the answer.
            let mut said = Vec::new();
            reply.write(&mut said);
            self.status = Some(reply.code);
            self.out.extend_from_slice(&said);
            self.stage = Stage::Failed(said);
            return Ok(false);
        }
        Ok(true)
    }

    /// Whether the server of the message before may have this one. What a reload has changed is
    /// reached anew.
    pub(super) fn is_kept(&self, backend: &Arc<Backend>) -> bool {
        let same = self
            .passage
            .backend()
            .is_some_and(|b| Arc::ptr_eq(b, backend));
        let slot = self.passage.visit.slot.as_ref();
        let usable = slot.is_some_and(|s| s.server().usable());
        same && usable && self.server.as_ref().is_some_and(Server::is_quiet)
    }

    /// Leaves the server there is, and reaches one of this backend; false: the client has been told
    /// that there is none.
    async fn renew(&mut self, backend: &Arc<Backend>) -> Result<bool, Over> {
        self.enter(backend);
        match self.reach(backend).await {
            Ok(()) => Ok(true),
            Err(ended) if ended.cause == Cause::ClientAbort => Err(Over(ended)),
            Err(ended) => {
                self.fail(NO_SERVER, ended);
                Ok(false)
            }
        }
    }

    /// Leaves the server there is, and enters this backend.
    pub(super) fn enter(&mut self, backend: &Arc<Backend>) {
        if let Some(server) = self.server.take() {
            server.bye(false);
        }
        self.passage.visit.leave();
        self.passage
            .enter(self.worker, self.client, Arc::clone(backend));
    }

    /// Tells the server whom the message comes from.
    async fn introduce(&mut self) -> Result<Reply, Broken> {
        let Some(server) = &mut self.server else {
            return Err(Broken::Lost);
        };
        let mut command = [b"MAIL FROM:<", self.sender.address.as_slice(), b">"].concat();
        if let Ok(Command::Mail(_, parameters)) = Command::read(&self.sender.line) {
            parameters.write(|e| server.capabilities.has(e), &mut command);
        }
        server.ask(self.worker, self.client, &command).await
    }

    /// A server that takes our greeting; one that does not is passed over, as often as `retries`
    /// says.
    pub(super) async fn reach(&mut self, backend: &Arc<Backend>) -> Result<(), Termination> {
        let mut tries = crate::overrides::retries(backend.side(), &self.passage.info);
        loop {
            let passage = &mut self.passage;
            let conn = passage.reach(self.worker, self.client, backend).await?;
            let broken = match Server::greet(conn, self.worker, self.client, passage).await {
                Ok(server) => {
                    self.server = Some(server);
                    return Ok(());
                }
                Err(broken) => broken,
            };
            let ended = Termination::new(broken.cause(), Phase::Connect);
            if broken == Broken::ClientGone {
                return Err(ended);
            }
            if let Some(slot) = passage.visit.slot.take() {
                let counters = slot.server().counters.of(self.worker.id);
                counters.eresp.add(1);
                backend.counters().of(self.worker.id).eresp.add(1);
                passage.avoid = Some(slot.server().uid);
            }
            if tries == 0 {
                return Err(ended);
            }
            tries -= 1;
        }
    }

    /// Asks the server; `None`: it is lost, and the client has been told.
    pub(super) async fn ask(&mut self, command: &[u8]) -> Result<Option<Reply>, Over> {
        let heard = match &mut self.server {
            Some(server) => server.ask(self.worker, self.client, command).await,
            None => Err(Broken::Lost),
        };
        self.or_lose(heard)
    }

    /// What the server said; `None`: it is lost, and the client has been told.
    pub(super) fn or_lose(&mut self, heard: Result<Reply, Broken>) -> Result<Option<Reply>, Over> {
        match heard {
            Ok(reply) => Ok(Some(reply)),
            Err(broken) => self.lose(broken).map(|()| None),
        }
    }

    /// The server is of no more use for this message: its client may try again.
    pub(super) fn lose(&mut self, broken: Broken) -> Result<(), Over> {
        self.forsake(broken)?;
        self.say(LOST);
        Ok(())
    }

    /// The server went down while the client says nothing: it hears of that when it asks for more.
    pub(super) fn cut_off(&mut self) -> Result<(), Over> {
        if matches!(self.stage, Stage::Open) {
            return self.forsake(Broken::Cut);
        }
        self.drop_server();
        Ok(())
    }

    /// The server is of no more use for this message.
    fn forsake(&mut self, broken: Broken) -> Result<(), Over> {
        let mut ended = Termination::new(broken.cause(), Phase::Data);
        if broken == Broken::ClientGone {
            return Err(Over(ended));
        }
        let backend = self.passage.backend().cloned();
        let slot = self.passage.visit.slot.as_ref();
        if let (Some(slot), Some(backend)) = (slot, backend) {
            slot.server().counters.of(self.worker.id).eresp.add(1);
            backend.counters().of(self.worker.id).eresp.add(1);
            if broken == Broken::Cut {
                ended = Termination::cut(slot.server(), Phase::Data);
            }
        }
        self.server = None;
        if self.login == Login::Done {
            self.login = Login::Lost;
        }
        self.doom(LOST, ended);
        Ok(())
    }

    /// Tells the client that its message cannot be taken now, and so every recipient to come.
    fn fail(&mut self, reply: &str, ended: Termination) {
        self.doom(reply, ended);
        self.say(reply);
    }

    /// Every recipient to come will hear this.
    fn doom(&mut self, reply: &str, ended: Termination) {
        self.trouble = ended;
        self.status = Some(451);
        self.stage = Stage::Failed(format!("{reply}\r\n").into_bytes());
    }

    /// Passes a server's reply on.
    pub(super) fn pass_on(&mut self, reply: &Reply) {
        reply.write(&mut self.out);
        self.status = Some(reply.code);
        if reply.code >= 500 {
            self.errors += 1;
            let now = self.worker.process.millis(self.worker.now());
            self.client.tracked.error(now);
        }
    }
}
