//! The guard where frames have left the driver: what it does to packets must be the same there.

#[path = "guard.rs"]
mod same;
