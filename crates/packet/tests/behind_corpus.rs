//! The same chances where frames have left the driver.

#[path = "corpus.rs"]
mod same;
