//! Errors of parsing, and near names.

/// Why words of the language mean nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseError {
    /// Index of the word at fault.
    pub word: usize,
    /// Byte in that word.
    pub offset: usize,
    /// Lowercase, names the value, ends with the remedy.
    pub message: String,
}

impl ParseError {
    /// An error about a whole word.
    pub fn at(word: usize, message: impl Into<String>) -> ParseError {
        ParseError {
            word,
            offset: 0,
            message: message.into(),
        }
    }

    /// The same error, `words` words further on.
    pub fn shifted(mut self, words: usize) -> ParseError {
        self.word += words;
        self
    }
}

/// The name that was probably meant: at most two slips (insert, drop, change, swap) away, one for
/// short words.
pub fn nearest<'a>(word: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = if word.len() <= 3 { 1 } else { 2 };
    names
        .into_iter()
        .filter(|name| name.len().abs_diff(word.len()) <= limit)
        .map(|name| (distance(word.as_bytes(), name.as_bytes()), name))
        .filter(|(d, _)| *d > 0 && *d <= limit)
        .min_by_key(|(d, _)| *d)
        .map(|(_, name)| name)
}

/// Damerau-Levenshtein distance (optimal string alignment).
fn distance(a: &[u8], b: &[u8]) -> usize {
    let width = b.len() + 1;
    let mut cost = vec![0; (a.len() + 1) * width];
    for (j, first) in cost.iter_mut().take(width).enumerate() {
        *first = j;
    }
    for i in 1..=a.len() {
        cost[i * width] = i;
        for j in 1..=b.len() {
            let above = (i - 1) * width + j;
            let here = i * width + j;
            let changed = usize::from(a[i - 1] != b[j - 1]);
            let mut best = (cost[above] + 1)
                .min(cost[here - 1] + 1)
                .min(cost[above - 1] + changed);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(cost[(i - 2) * width + j - 2] + 1);
            }
            cost[here] = best;
        }
    }
    cost[a.len() * width + b.len()]
}
