//! What a process and its children have used, as the kernel counts it.

use std::collections::BTreeMap;
use std::fs::read_to_string;

/// One thread's account.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Thread {
    /// Its name.
    pub name: String,
    /// Time on a CPU, nanoseconds.
    pub cpu: u64,
    /// Time it could have run but another did, nanoseconds.
    pub waited: u64,
}

/// The accounts of all threads of some processes, by thread id.
#[derive(Clone, Debug, Default)]
pub struct Usage(BTreeMap<u32, Thread>);

impl Usage {
    /// Of these processes and their children, now.
    pub fn of(pids: &[u32]) -> Usage {
        let mut threads = BTreeMap::new();
        for pid in pids.iter().flat_map(|pid| family(*pid)) {
            let Ok(tasks) = std::fs::read_dir(format!("/proc/{pid}/task")) else {
                continue;
            };
            for task in tasks.flatten() {
                let id = task.file_name().to_string_lossy().parse();
                let stat = read_to_string(task.path().join("schedstat"));
                let (Ok(id), Ok(stat)) = (id, stat) else {
                    continue;
                };
                let name = read_to_string(task.path().join("comm")).unwrap_or_default();
                if let Some((cpu, waited)) = schedstat(&stat) {
                    let name = name.trim().replace([',', ':'], "-");
                    threads.insert(id, Thread { name, cpu, waited });
                }
            }
        }
        Usage(threads)
    }

    /// What was used from `earlier` until this, thread by thread.
    pub fn since(&self, earlier: &Usage) -> Vec<Thread> {
        let used = self.0.iter().map(|(id, now)| {
            let (cpu, waited) = earlier.0.get(id).map_or((0, 0), |t| (t.cpu, t.waited));
            Thread {
                name: now.name.clone(),
                cpu: now.cpu.saturating_sub(cpu),
                waited: now.waited.saturating_sub(waited),
            }
        });
        used.collect()
    }
}

/// On-CPU time and run-queue time: the first two numbers of a `schedstat` file.
fn schedstat(text: &str) -> Option<(u64, u64)> {
    let mut numbers = text.split_whitespace().map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// Resident memory of these processes and their children, KiB.
pub fn rss_kib(pids: &[u32]) -> u64 {
    let all = pids.iter().flat_map(|pid| family(*pid));
    all.filter_map(|pid| vm_rss(&read_to_string(format!("/proc/{pid}/status")).ok()?))
        .sum()
}

fn vm_rss(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// The process and its children, by pid.
fn family(pid: u32) -> Vec<u32> {
    let mut all = vec![pid];
    let children = read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    for child in children.unwrap_or_default().split_whitespace() {
        all.extend(child.parse().into_iter().flat_map(family));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_files_are_read() {
        assert_eq!(schedstat("123456 789 12\n"), Some((123456, 789)));
        assert_eq!(schedstat("123456"), None);
        assert_eq!(vm_rss("VmPeak:\t  9 kB\nVmRSS:\t    5216 kB\n"), Some(5216));
        assert_eq!(vm_rss("VmPeak: 9 kB\n"), None);
    }

    #[test]
    fn only_what_came_after_counts_and_new_threads_count_whole() {
        let usage = |list: &[(u32, u64)]| {
            let thread = |cpu| Thread {
                name: "t".into(),
                cpu,
                waited: 0,
            };
            Usage(list.iter().map(|(id, cpu)| (*id, thread(*cpu))).collect())
        };
        let used = usage(&[(1, 50), (3, 7)]).since(&usage(&[(1, 20), (2, 9)]));
        assert_eq!(used.iter().map(|t| t.cpu).collect::<Vec<_>>(), [30, 7]);
    }

    #[test]
    fn this_process_has_used_something() {
        let me = [std::process::id()];
        assert!(rss_kib(&me) > 100);
        assert!(!Usage::of(&me).since(&Usage::default()).is_empty());
    }
}
