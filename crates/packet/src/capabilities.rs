//! What this process must be allowed to do.

/// By capabilities(7): the number, the name, and what it is for here.
const NEEDED: [(u32, &str, &str); 2] = [
    (
        12,
        "CAP_NET_ADMIN",
        "to put programs on interfaces and to read neighbours",
    ),
    (
        21,
        "CAP_SYS_ADMIN",
        "to load programs and to keep their tables in a file system of their own",
    ),
];

/// What helps where one is missing.
pub(crate) const REMEDY: &str = "start mulgil as root, or give it these capabilities";

/// `CAP_NET_RAW`.
const NET_RAW: u32 = 13;

/// Those of this process; `None` where they cannot be read.
fn effective() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("CapEff:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

/// Which of them this process does not have, as a sentence; `None` where none is missing.
pub(crate) fn lacking() -> Option<String> {
    said(effective()?)
}

/// Whether it may send frames of its own.
pub(crate) fn sends_frames() -> bool {
    effective().is_none_or(|all| all >> NET_RAW & 1 != 0)
}

fn said(effective: u64) -> Option<String> {
    let lacks = NEEDED.iter().filter(|(n, ..)| effective >> n & 1 == 0);
    let each: Vec<String> = lacks
        .map(|(_, name, why)| format!("{name} ({why})"))
        .collect();
    (!each.is_empty()).then(|| format!("this process lacks {}", each.join(" and ")))
}

#[cfg(test)]
mod tests {
    use super::said;

    #[test]
    fn what_is_missing_is_named_and_nothing_else() {
        assert_eq!(said(u64::MAX), None);
        assert_eq!(said(1 << 12 | 1 << 21), None);
        let one = said(u64::MAX ^ 1 << 21).expect("one is missing");
        assert!(one.starts_with("this process lacks CAP_SYS_ADMIN (to load"));
        let both = said(0).expect("both are missing");
        assert!(both.contains("CAP_NET_ADMIN") && both.contains(" and CAP_SYS_ADMIN"));
    }
}
