//! Dates as HAProxy writes them in dumps.

use rules::Wall;

/// `21/Nov/2026:07:12:23.624`, with so many digits behind the point.
pub(crate) fn stamp(wall: Wall, digits: usize) -> String {
    let micros = format!("{:06}", wall.micros);
    let date = rules::strftime(b"%d/%b/%Y:%H:%M:%S", wall.secs);
    format!(
        "{}.{}",
        String::from_utf8_lossy(&date),
        micros.get(..digits).unwrap_or(&micros)
    )
}
