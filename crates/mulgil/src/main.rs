//! The mulgil binary.
fn main() {}
