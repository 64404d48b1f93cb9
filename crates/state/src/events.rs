//! What the converter `debug` has told, for `show events buf0`.

use rules::Wall;
use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

/// The last lines, each with its time.
#[derive(Debug, Default)]
pub struct Events {
    lines: Mutex<Lines>,
}

#[derive(Debug, Default)]
struct Lines {
    kept: VecDeque<(Wall, String)>,
    bytes: usize,
}

/// Bytes of lines that are kept.
const MOST: usize = 1 << 20;

impl Events {
    /// One more line; the oldest make room for it.
    pub fn note(&self, at: Wall, line: String) {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.bytes += line.len();
        lines.kept.push_back((at, line));
        while lines.bytes > MOST
            && let Some((_, oldest)) = lines.kept.pop_front()
        {
            lines.bytes -= oldest.len();
        }
    }

    /// All that are kept, the oldest first.
    pub fn all(&self) -> Vec<(Wall, String)> {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.kept.iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_lines_make_room() {
        let events = Events::default();
        for n in 0..5 {
            events.note(Wall::default(), format!("{n}{}", "x".repeat(MOST / 3)));
        }
        let kept: Vec<String> = events.all().into_iter().map(|(_, line)| line).collect();
        assert_eq!(kept.len(), 2);
        assert!(kept[0].starts_with('3') && kept[1].starts_with('4'));
    }
}
