//! The same packets where frames have left the driver: the program for TC must do to them what the one
//! for XDP does.

#[path = "forward.rs"]
mod same;
