//! What one check came to, with HAProxy's names (management.txt section 9.1, `check_status`).

/// The result of one check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // what each means is said by `describe`
pub enum CheckStatus {
    Unknown,
    Init,
    Checked,
    Analysis,
    SockErr,
    L4Ok,
    L4TimeOut,
    L4Con,
    L6Ok,
    L6TimeOut,
    L6Response,
    L7Ok,
    L7OkCond,
    L7TimeOut,
    L7Response,
    L7Status,
    ProcErr,
    ProcTimeOut,
    ProcOk,
}

/// What a result says of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is well.
    Passed,
    /// It is well, but shall get no new sessions.
    Conditional,
    /// It is not.
    Failed,
    /// Nothing.
    Neutral,
}

impl CheckStatus {
    /// The code in the statistics.
    pub fn code(self) -> &'static str {
        match self {
            CheckStatus::Unknown => "UNK",
            CheckStatus::Init => "INI",
            CheckStatus::Checked => "CHECKED",
            CheckStatus::Analysis => "HANA",
            CheckStatus::SockErr => "SOCKERR",
            CheckStatus::L4Ok => "L4OK",
            CheckStatus::L4TimeOut => "L4TOUT",
            CheckStatus::L4Con => "L4CON",
            CheckStatus::L6Ok => "L6OK",
            CheckStatus::L6TimeOut => "L6TOUT",
            CheckStatus::L6Response => "L6RSP",
            CheckStatus::L7Ok => "L7OK",
            CheckStatus::L7OkCond => "L7OKC",
            CheckStatus::L7TimeOut => "L7TOUT",
            CheckStatus::L7Response => "L7RSP",
            CheckStatus::L7Status => "L7STS",
            CheckStatus::ProcErr => "PROCERR",
            CheckStatus::ProcTimeOut => "PROCTOUT",
            CheckStatus::ProcOk => "PROCOK",
        }
    }

    /// By its code.
    pub fn by_code(code: &str) -> Option<CheckStatus> {
        use CheckStatus::*;
        let all = [
            L4Ok, L4TimeOut, L4Con, L6Ok, L6TimeOut, L6Response, L7Ok, L7OkCond, L7TimeOut,
            L7Response, L7Status,
        ];
        all.into_iter().find(|s| s.code() == code)
    }

    /// In words.
    pub fn describe(self) -> &'static str {
        match self {
            CheckStatus::Unknown => "Unknown",
            CheckStatus::Init => "Initializing",
            CheckStatus::Checked => "No status change",
            CheckStatus::Analysis => "Health analyze",
            CheckStatus::SockErr => "Socket error",
            CheckStatus::L4Ok => "Layer4 check passed",
            CheckStatus::L4TimeOut => "Layer4 timeout",
            CheckStatus::L4Con => "Layer4 connection problem",
            CheckStatus::L6Ok => "Layer6 check passed",
            CheckStatus::L6TimeOut => "Layer6 timeout",
            CheckStatus::L6Response => "Layer6 invalid response",
            CheckStatus::L7Ok => "Layer7 check passed",
            CheckStatus::L7OkCond => "Layer7 check conditionally passed",
            CheckStatus::L7TimeOut => "Layer7 timeout",
            CheckStatus::L7Response => "Layer7 invalid response",
            CheckStatus::L7Status => "Layer7 wrong status",
            CheckStatus::ProcErr => "External check error",
            CheckStatus::ProcTimeOut => "External check timeout",
            CheckStatus::ProcOk => "External check passed",
        }
    }

    /// What it says of the server.
    pub fn outcome(self) -> Outcome {
        match self {
            CheckStatus::L4Ok | CheckStatus::L6Ok | CheckStatus::L7Ok | CheckStatus::ProcOk => {
                Outcome::Passed
            }
            CheckStatus::L7OkCond => Outcome::Conditional,
            CheckStatus::Unknown | CheckStatus::Init | CheckStatus::Checked => Outcome::Neutral,
            _ => Outcome::Failed,
        }
    }
}
