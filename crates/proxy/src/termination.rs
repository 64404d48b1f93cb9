//! How a session ended: one value that decides the log's flags, the counters, and what may
//! still be tried (manual section 8.5).

/// Who or what ended it: the first flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Cause {
    /// Nobody: it ended as it should.
    #[default]
    Normal,
    /// `C`: the client closed or reset.
    ClientAbort,
    /// `S`: the server closed, reset or refused.
    ServerAbort,
    /// `P`: a rule or a limit of ours.
    Proxy,
    /// `L`: answered here without any server.
    Local,
    /// `R`: a resource of ours ran out.
    Resource,
    /// `D`: the server went down and its sessions were ended.
    ServerDown,
    /// `U`: a backup server's sessions were ended, because another came up.
    BackupRelieved,
    /// `I`: a fault of ours.
    Internal,
    /// `K`: an operator ended it.
    Killed,
    /// `c`: the client was silent too long.
    ClientTimeout,
    /// `s`: the server was silent too long.
    ServerTimeout,
}

/// Where it was: the second flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Phase {
    /// Past the end.
    #[default]
    Normal,
    /// `R`: waiting for the request.
    Request,
    /// `Q`: in the queue.
    Queue,
    /// `C`: connecting.
    Connect,
    /// `H`: waiting for the response's head.
    Headers,
    /// `D`: transferring.
    Data,
    /// `L`: the server is done, the client still takes.
    Last,
    /// `T`: held in the tarpit.
    Tarpit,
}

/// The end of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Termination {
    /// Who.
    pub cause: Cause,
    /// Where.
    pub phase: Phase,
}

impl Termination {
    /// A termination by `cause` in `phase`.
    pub fn new(cause: Cause, phase: Phase) -> Self {
        Termination { cause, phase }
    }

    /// The end of a session that was ended because of its server.
    pub fn cut(server: &state::Server, phase: Phase) -> Self {
        let cause = if server.usable() {
            Cause::BackupRelieved
        } else {
            Cause::ServerDown
        };
        Termination { cause, phase }
    }

    /// Whether anything went wrong.
    pub fn is_normal(self) -> bool {
        self.cause == Cause::Normal
    }

    /// The letters of the log; the two for cookies are `--` where no cookie is configured.
    pub fn flags(self, cookie: [u8; 2]) -> [u8; 4] {
        let cause = match self.cause {
            Cause::Normal => b'-',
            Cause::ClientAbort => b'C',
            Cause::ServerAbort => b'S',
            Cause::Proxy => b'P',
            Cause::Local => b'L',
            Cause::Resource => b'R',
            Cause::ServerDown => b'D',
            Cause::BackupRelieved => b'U',
            Cause::Internal => b'I',
            Cause::Killed => b'K',
            Cause::ClientTimeout => b'c',
            Cause::ServerTimeout => b's',
        };
        let phase = match self.phase {
            Phase::Normal => b'-',
            Phase::Request => b'R',
            Phase::Queue => b'Q',
            Phase::Connect => b'C',
            Phase::Headers => b'H',
            Phase::Data => b'D',
            Phase::Last => b'L',
            Phase::Tarpit => b'T',
        };
        [cause, phase, cookie[0], cookie[1]]
    }
}
