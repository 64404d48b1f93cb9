//! Sets of rules: the words that their lines begin with.

/// Where a rule stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum RuleSet {
    HttpRequest,
    HttpResponse,
    HttpAfterResponse,
    TcpRequestConnection,
    TcpRequestSession,
    TcpRequestContent,
    TcpResponseContent,
    SmtpRequest,
}

impl RuleSet {
    /// The words a line of this set starts with.
    pub fn keyword(self) -> &'static str {
        match self {
            RuleSet::HttpRequest => "http-request",
            RuleSet::HttpResponse => "http-response",
            RuleSet::HttpAfterResponse => "http-after-response",
            RuleSet::TcpRequestConnection => "tcp-request connection",
            RuleSet::TcpRequestSession => "tcp-request session",
            RuleSet::TcpRequestContent => "tcp-request content",
            RuleSet::TcpResponseContent => "tcp-response content",
            RuleSet::SmtpRequest => "smtp-request",
        }
    }

    /// Whether rules of this set act on the response.
    pub fn on_response(self) -> bool {
        matches!(
            self,
            RuleSet::HttpResponse | RuleSet::HttpAfterResponse | RuleSet::TcpResponseContent
        )
    }
}
