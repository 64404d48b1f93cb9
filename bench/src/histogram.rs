//! Latencies, counted in buckets that grow with the value: 16 to each power of two.

use std::time::Duration;

/// Sub-buckets to a power of two: the error of a quantile stays below 1/16.
const FINE: u32 = 4;

/// Counts of latencies in nanoseconds.
pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
    largest: u64,
}

impl Histogram {
    /// An empty one.
    pub fn new() -> Histogram {
        Histogram {
            counts: vec![0; ((64 - FINE + 1) << FINE) as usize],
            total: 0,
            largest: 0,
        }
    }

    /// Counts one latency.
    pub fn add(&mut self, latency: Duration) {
        let ns = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        if let Some(count) = self.counts.get_mut(bucket(ns)) {
            *count += 1;
        }
        self.total += 1;
        self.largest = self.largest.max(ns);
    }

    /// The latency that this share (0 to 1) of all does not exceed; zero when there are none.
    pub fn quantile(&self, share: f64) -> Duration {
        let wanted = (self.total as f64 * share).ceil() as u64;
        let mut seen = 0;
        for (index, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted && seen > 0 {
                return Duration::from_nanos(upper(index).min(self.largest));
            }
        }
        Duration::from_nanos(self.largest)
    }
}

fn bucket(ns: u64) -> usize {
    let magnitude = 64 - ns.leading_zeros();
    if magnitude <= FINE {
        return ns as usize;
    }
    let shift = magnitude - FINE - 1;
    let within = (ns >> shift) & ((1 << FINE) - 1);
    (((shift + 1) << FINE) as usize) + within as usize
}

/// The largest value of a bucket.
fn upper(index: usize) -> u64 {
    let (shift, within) = (index >> FINE, (index & ((1 << FINE) - 1)) as u64);
    if shift == 0 {
        return within;
    }
    let low = (within + (1 << FINE)) << (shift - 1);
    low + ((1u64 << (shift - 1)) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_follow_each_other_without_gap() {
        for ns in (0..5000).chain((10..63).flat_map(|p| [(1u64 << p) - 1, 1 << p, (1 << p) + 1])) {
            let index = bucket(ns);
            assert!(ns <= upper(index), "{ns} is in bucket {index}");
            assert!(
                index == 0 || ns > upper(index - 1),
                "{ns} is past {}",
                index - 1
            );
        }
        let mut histogram = Histogram::new();
        histogram.add(Duration::MAX);
        assert_eq!(histogram.quantile(1.0), Duration::from_nanos(u64::MAX));
    }

    #[test]
    fn quantiles_are_within_a_sixteenth() {
        let mut histogram = Histogram::new();
        assert_eq!(histogram.quantile(0.5), Duration::ZERO);
        for us in 1..=1000 {
            histogram.add(Duration::from_micros(us));
        }
        for share in [0.01, 0.5, 0.99] {
            let exact = share * 1000.0;
            let found = histogram.quantile(share).as_nanos() as f64 / 1000.0;
            assert!(found >= exact && found <= exact * 1.07, "{share}: {found}");
        }
        assert_eq!(histogram.quantile(1.0), Duration::from_micros(1000));
    }
}
