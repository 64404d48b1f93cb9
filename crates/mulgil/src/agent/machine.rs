//! How busy this machine is, from the texts under `/proc` and `/sys` (proc(5)).

use super::load::Busy;
use std::collections::BTreeMap;
use std::time::Duration;

/// The texts of one moment.
#[derive(Clone, Debug, Default)]
pub struct Texts {
    /// `/proc/stat`.
    pub stat: String,
    /// `/proc/meminfo`.
    pub meminfo: String,
    /// `/proc/net/dev`.
    pub net: String,
    /// `/proc/diskstats`.
    pub disks: String,
}

/// The numbers in them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reading {
    /// Clock ticks of all processors: busy, and all.
    ticks: Option<(u64, u64)>,
    processors: u32,
    /// Tasks that run or want to.
    running: Option<u32>,
    /// Memory that is not available, and all, KiB.
    memory: Option<(u64, u64)>,
    /// Bytes in and out so far, by interface.
    interfaces: BTreeMap<String, (u64, u64)>,
    /// Milliseconds with something to do, by disk.
    disks: BTreeMap<String, u64>,
}

fn number(text: Option<&str>) -> Option<u64> {
    text?.parse().ok()
}

impl Reading {
    /// Reads the texts; what cannot be read is unknown.
    pub fn of(texts: &Texts) -> Reading {
        let mut reading = Reading::default();
        for line in texts.stat.lines() {
            let mut words = line.split_whitespace();
            match words.next() {
                Some("cpu") => {
                    // user nice system idle iowait irq softirq steal; the rest is in user already.
                    let all: Vec<u64> = words.take(8).filter_map(|w| w.parse().ok()).collect();
                    let sum: u64 = all.iter().sum();
                    let idle = all.get(3).zip(all.get(4)).map(|(idle, wait)| idle + wait);
                    reading.ticks = idle.map(|idle| (sum.saturating_sub(idle), sum));
                }
                Some("procs_running") => {
                    reading.running = number(words.next()).and_then(|n| u32::try_from(n).ok());
                }
                Some(name) if name.starts_with("cpu") => reading.processors += 1,
                _ => {}
            }
        }
        let field = |name: &str| {
            let line = texts.meminfo.lines().find(|l| l.starts_with(name))?;
            number(line.split_whitespace().nth(1))
        };
        reading.memory = field("MemTotal:")
            .zip(field("MemAvailable:"))
            .map(|(total, free)| (total.saturating_sub(free), total));
        for line in texts.net.lines() {
            let Some((name, counters)) = line.split_once(':') else {
                continue;
            };
            let words: Vec<&str> = counters.split_whitespace().collect();
            let (Some(inward), Some(outward)) = (
                number(words.first().copied()),
                number(words.get(8).copied()),
            ) else {
                continue;
            };
            let name = name.trim().to_string();
            reading.interfaces.insert(name, (inward, outward));
        }
        for line in texts.disks.lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            if let (Some(name), Some(busy)) = (words.get(2), number(words.get(12).copied())) {
                reading.disks.insert((*name).to_string(), busy);
            }
        }
        reading
    }

    /// How busy the machine was since `before`, `elapsed` ago. `speeds` are those of the
    /// interfaces that count, bits per second.
    pub fn busy(
        &self,
        before: &Reading,
        elapsed: Duration,
        speeds: &BTreeMap<String, u64>,
    ) -> Busy {
        let seconds = elapsed.as_secs_f64();
        let cpu = self.ticks.zip(before.ticks).and_then(|(new, old)| {
            let all = new.1.saturating_sub(old.1);
            (all > 0).then(|| new.0.saturating_sub(old.0) as f64 / all as f64)
        });
        // The one who reads is running, too. Twice as many tasks as processors is all busy.
        let run_queue = self
            .running
            .map(|n| f64::from(n.saturating_sub(1)) / f64::from(2 * self.processors.max(1)));
        let memory = self
            .memory
            .and_then(|(used, all)| (all > 0).then(|| used as f64 / all as f64));
        let network = speeds.iter().filter_map(|(name, speed)| {
            let (new, old) = (self.interfaces.get(name)?, before.interfaces.get(name)?);
            let bytes = new.0.saturating_sub(old.0).max(new.1.saturating_sub(old.1));
            (seconds > 0.0 && *speed > 0).then(|| bytes as f64 * 8.0 / seconds / *speed as f64)
        });
        let disk = self.disks.iter().filter_map(|(name, new)| {
            let old = before.disks.get(name)?;
            (seconds > 0.0).then(|| new.saturating_sub(*old) as f64 / 1000.0 / seconds)
        });
        [
            cpu,
            run_queue.map(|r| r.min(1.0)),
            memory,
            network.reduce(f64::max).map(|b| b.min(1.0)),
            disk.reduce(f64::max).map(|b| b.min(1.0)),
        ]
    }
}

/// Reads the texts of now; what is not there is empty.
pub fn texts() -> Texts {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    Texts {
        stat: read("/proc/stat"),
        meminfo: read("/proc/meminfo"),
        net: read("/proc/net/dev"),
        disks: read("/proc/diskstats"),
    }
}

/// The speeds of interfaces that say one, bits per second.
pub fn speeds() -> BTreeMap<String, u64> {
    let Ok(folder) = std::fs::read_dir("/sys/class/net") else {
        return BTreeMap::new();
    };
    let of = |entry: std::fs::DirEntry| {
        let text = std::fs::read_to_string(entry.path().join("speed")).ok()?;
        let megabits: u64 = text.trim().parse().ok()?;
        Some((entry.file_name().into_string().ok()?, megabits * 1_000_000))
    };
    folder.flatten().filter_map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(busy: u64, idle: u64, running: u32, bytes: u64, disk: u64) -> Reading {
        Reading::of(&Texts {
            stat: format!(
                "cpu  {busy} 0 0 {idle} 0 0 0 0 0 0\ncpu0 1 2 3 4 5 6 7 8 9 0\ncpu1 1 2 3 4 5 6 7 8 9 0\nintr 5\nprocs_running {running}\n"
            ),
            meminfo: "MemTotal:  1000 kB\nMemFree: 1 kB\nMemAvailable:  250 kB\n".into(),
            net: format!(
                "Inter-|   Receive |  Transmit\n face |bytes packets\n  eth0: {bytes} 1 0 0 0 0 0 0 77 1 0 0 0 0 0 0\n"
            ),
            disks: format!("   8   0 sda 1 2 3 4 5 6 7 8 0 {disk} 11\n"),
        })
    }

    #[test]
    fn differences_between_two_moments_are_how_busy_it_was() {
        let (before, after) = (at(100, 100, 1, 0, 0), at(175, 125, 3, 12_500_000, 500));
        let speeds = BTreeMap::from([("eth0".to_string(), 200_000_000)]);
        let busy = after.busy(&before, Duration::from_secs(1), &speeds);
        assert_eq!(
            busy,
            [Some(0.75), Some(0.5), Some(0.75), Some(0.5), Some(0.5)]
        );
    }

    #[test]
    fn what_is_not_there_is_unknown() {
        let nothing = Reading::of(&Texts::default());
        let busy = nothing.busy(&nothing, Duration::ZERO, &BTreeMap::new());
        assert_eq!(busy, [None; 5]);
    }

    #[test]
    fn counters_that_went_back_do_no_harm() {
        let (before, after) = (at(100, 100, 1, 900, 900), at(1, 1, 0, 0, 0));
        let speeds = BTreeMap::from([("eth0".to_string(), 1)]);
        let busy = after.busy(&before, Duration::from_secs(1), &speeds);
        assert_eq!(busy, [None, Some(0.0), Some(0.75), Some(0.0), Some(0.0)]);
    }
}
