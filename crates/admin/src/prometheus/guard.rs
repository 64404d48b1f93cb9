//! What the guards of packet frontends did. HAProxy has none; nothing stands here without a `guard` line.

use super::{COUNTER, head};
use crate::typed::quoted;
use state::Guarded;
use std::fmt::Write;

pub(super) fn of_guards(out: &mut String, guards: &Guarded) {
    let counts = guards.counts();
    if counts.is_empty() {
        return;
    }
    let name = "mulgil_guard_packets_total";
    let what = "Packets that a guard dropped or challenged, and proofs that it took, by reason.";
    head(out, name, what, COUNTER);
    for (frontend, reasons) in counts {
        for (reason, n) in reasons {
            let proxy = quoted(&frontend);
            let _ = writeln!(out, "{name}{{proxy={proxy},reason=\"{reason}\"}} {n}");
        }
    }
}
