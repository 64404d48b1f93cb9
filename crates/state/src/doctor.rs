//! What `mulgil doctor` says of one thing that it looked at.

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What to do; `None` where all is well.
    pub remedy: Option<String>,
    /// What was found.
    pub fact: String,
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.remedy {
            None => write!(f, "ok     {}", self.fact),
            Some(remedy) => write!(f, "WRONG  {}\n       {remedy}", self.fact),
        }
    }
}

/// All is well with it.
pub fn ok(fact: String) -> Finding {
    Finding { remedy: None, fact }
}

/// Something is to be done.
pub fn wrong(fact: String, remedy: impl Into<String>) -> Finding {
    let remedy = Some(remedy.into());
    Finding { remedy, fact }
}
