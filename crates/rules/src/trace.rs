//! Watching an evaluation, for `explain`.

/// Told of every step.
pub trait Tracer {
    /// An ACL was evaluated.
    fn acl(&mut self, name: &str, result: bool);
    /// A rule's condition held or not.
    fn rule(&mut self, index: usize, matched: bool);
}

/// Watches nothing and costs nothing.
pub struct NoTrace;

impl Tracer for NoTrace {
    fn acl(&mut self, _name: &str, _result: bool) {}
    fn rule(&mut self, _index: usize, _matched: bool) {}
}
