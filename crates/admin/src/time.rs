//! Dates as HAProxy writes them in dumps.

use rules::Wall;
use state::Process;

/// `21/Nov/2026:07:12:23.624`, with so many digits behind the point.
pub(crate) fn stamp(wall: Wall, process: &Process, digits: usize) -> String {
    let zone = (process.machine.local_zone)(wall.secs);
    let micros = format!("{:06}", wall.micros);
    let date = rules::strftime(b"%d/%b/%Y:%H:%M:%S", wall.secs, (0, 0), &zone);
    format!(
        "{}.{}",
        String::from_utf8_lossy(&date),
        micros.get(..digits).unwrap_or(&micros)
    )
}
