//! Memory that only the start needed, or what is seldom done.

use libc::{c_int, c_void, dl_phdr_info, size_t};
use std::time::Duration;

/// Lets go of the pages of the program and its libraries that were used so far, most of them by
/// linking and by reading the configuration, and none of them again: those that are, come back from
/// the system's cache of files.
pub fn forget_the_start() {
    // SAFETY: the callback is called before this returns, and is given no data.
    unsafe { libc::dl_iterate_phdr(Some(forget), std::ptr::null_mut()) };
}

/// Lets go of all pages of the program again and again, so that what only the start of the workers
/// needed, or what is seldom done, does not stay. What is in use comes back with some fifty faults,
/// sixteen pages each, from the cache of files. Not where somebody elects by the millisecond, and not
/// under a debugger, whose breakpoints are in such pages.
pub async fn forget_the_unused() {
    let mut pause = SOON;
    loop {
        tokio::time::sleep(pause).await;
        if !is_traced() {
            forget_the_start();
        }
        pause = PERIOD;
    }
}

fn is_traced() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let tracer = status.lines().find_map(|l| l.strip_prefix("TracerPid:"));
    tracer.is_some_and(|pid| pid.trim() != "0")
}

/// When the workers have begun.
const SOON: Duration = Duration::from_secs(1);

/// Often enough that nothing stays for long, and seldom enough to cost nothing: a fifth of a millisecond
/// each time.
const PERIOD: Duration = Duration::from_secs(10);

/// For each object: the program, its libraries, the linker.
unsafe extern "C" fn forget(info: *mut dl_phdr_info, _: size_t, _: *mut c_void) -> c_int {
    // SAFETY: whoever calls says where the headers are, and how many.
    let (base, headers) = unsafe {
        let info = &*info;
        let count = usize::from(info.dlpi_phnum);
        (
            info.dlpi_addr,
            std::slice::from_raw_parts(info.dlpi_phdr, count),
        )
    };
    let fixed = |h: &&libc::Elf64_Phdr| h.p_type == libc::PT_LOAD && h.p_flags & libc::PF_W == 0;
    for segment in headers.iter().filter(fixed) {
        let start = base + segment.p_vaddr;
        let (first, end) = (
            start.next_multiple_of(PAGE),
            (start + segment.p_memsz) / PAGE * PAGE,
        );
        let length = end.saturating_sub(first) as usize;
        // SAFETY: whole pages of a mapping of an object's file that nothing ever writes to: code
        // that does not depend on its place has no relocations in such segments. They read the same
        // afterwards.
        unsafe { libc::madvise(first as *mut c_void, length, libc::MADV_DONTNEED) };
    }
    0
}

/// A file in memory.
struct Object<'m> {
    path: &'m str,
    range: (u64, u64),
    code: bool,
}

/// The files with code in memory, a line each.
pub fn object_files() -> String {
    let maps = maps();
    let line = |o: Object<'_>| format!("{}\n", o.path);
    with_code(&maps).map(line).collect()
}

/// The same with their first and last byte, and how many there are between.
pub fn objects() -> String {
    described(&maps())
}

fn maps() -> String {
    std::fs::read_to_string("/proc/self/maps").unwrap_or_default()
}

fn described(maps: &str) -> String {
    let line = |o: Object<'_>| {
        let (from, to) = o.range;
        let length = to - from;
        format!("{from:#x}-{:#x} ({length:#09x}) {}\n", to - 1, o.path)
    };
    with_code(maps).map(line).collect()
}

fn with_code(maps: &str) -> impl Iterator<Item = Object<'_>> {
    let mut objects: Vec<Object<'_>> = Vec::new();
    for line in maps.lines() {
        let mut words = line.split_ascii_whitespace();
        let (Some(range), Some(rights)) = (words.next(), words.next()) else {
            continue;
        };
        let Some(path) = words.nth(3).filter(|path| path.starts_with('/')) else {
            continue;
        };
        let hex = |text| u64::from_str_radix(text, 16).ok();
        let ends = range.split_once('-').map(|(a, b)| (hex(a), hex(b)));
        let Some((Some(from), Some(to))) = ends else {
            continue;
        };
        let code = rights.contains('x');
        match objects.iter_mut().find(|o| o.path == path) {
            Some(object) => {
                object.range = (object.range.0.min(from), object.range.1.max(to));
                object.code |= code;
            }
            None => objects.push(Object {
                path,
                range: (from, to),
                code,
            }),
        }
    }
    objects.into_iter().filter(|o| o.code)
}

/// No machine that runs this has larger ones that are not a multiple of it; where they are larger, the
/// system refuses what is not aligned, and everything stays as it is.
const PAGE: u64 = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_with_code_are_shown_from_their_first_to_their_last_byte() {
        let maps = "55d0-55e0 r--p 00000000 08:01 12 /usr/bin/a\n55e0-55f0 r-xp 00010000 08:01 12 /usr/bin/a\n\
                    6000-6010 rw-p 00000000 00:00 0 [heap]\n7000-7010 r--p 00000000 08:01 13 /etc/data\nodd\n";
        assert_eq!(described(maps), "0x55d0-0x55ef (0x0000020) /usr/bin/a\n");
    }

    #[test]
    fn the_program_goes_on_with_fewer_pages() {
        let mapped = || {
            let text = std::fs::read_to_string("/proc/self/status").expect("readable");
            let line = text.lines().find(|l| l.starts_with("RssFile:"));
            let words = line.and_then(|l| l.split_whitespace().nth(1));
            words.and_then(|n| n.parse::<u64>().ok()).expect("a number")
        };
        let before = mapped();
        forget_the_start();
        assert!(mapped() < before);
    }
}
