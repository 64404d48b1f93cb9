//! The objects of the packet plane: built by one pinned compiler, kept in the tree, so that whoever
//! builds the program needs none, and compared byte for byte with what their sources say.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Debian's; other versions make other bytes.
const CLANG: &str = "clang-19";

const FOLDER: &str = "crates/packet/bpf";

/// How many instructions each object had when somebody last looked: a name and a number on a line.
const NOTED: &str = "crates/packet/bpf/instructions.txt";

/// Builds every object anew; with `check` only says which differ from those in the tree.
pub fn run(check: bool) -> Result<(), Vec<String>> {
    if Command::new(CLANG).arg("--version").output().is_err() {
        if check {
            println!(
                "{CLANG} is not installed: the BPF objects were not compared with their sources"
            );
            return Ok(());
        }
        return Err(vec![format!(
            "{CLANG} is not installed: apt-get install {CLANG}"
        )]);
    }
    let entries = fs::read_dir(FOLDER).map_err(|e| vec![format!("{FOLDER}: {e}")])?;
    let mut sources: Vec<PathBuf> = entries.flatten().map(|e| e.path()).collect();
    sources.retain(|p| p.to_string_lossy().ends_with(".bpf.c"));
    sources.sort();
    let mut faults: Vec<String> = sources.iter().filter_map(|s| one(s, check).err()).collect();
    faults.extend(sources.iter().filter_map(|s| grown(s).err()));
    if faults.is_empty() {
        Ok(())
    } else {
        Err(faults)
    }
}

/// Whether an object has grown by more than a tenth since its instructions were noted.
fn grown(source: &Path) -> Result<(), String> {
    let object = source.with_extension("o");
    let name = object.file_name().unwrap_or_default().to_string_lossy();
    let bytes = fs::read(&object).map_err(|e| format!("{}: {e}", object.display()))?;
    let now =
        instructions(&bytes).ok_or_else(|| format!("{} is no object of eBPF", object.display()))?;
    let noted = fs::read_to_string(NOTED).map_err(|e| format!("{NOTED}: {e}"))?;
    fits(&name, now, &noted)
}

/// Whether so many instructions are at most a tenth more than the notes say.
fn fits(name: &str, now: u64, noted: &str) -> Result<(), String> {
    let before = noted.lines().find_map(|line| {
        let (of, number) = line.split_once(' ')?;
        number.parse::<u64>().ok().filter(|_| of == name)
    });
    match before {
        Some(before) if now <= before + before / 10 => Ok(()),
        Some(before) => Err(format!(
            "{name} has {now} instructions, and had {before}: make it smaller, or write '{name} {now}' into {NOTED}"
        )),
        None => Err(format!("write '{name} {now}' into {NOTED}")),
    }
}

/// Instructions of an object: eight bytes each in the sections of ELF that are executable.
fn instructions(elf: &[u8]) -> Option<u64> {
    let u16_at = |at: usize| Some(u16::from_le_bytes(elf.get(at..at + 2)?.try_into().ok()?));
    let u64_at = |at: usize| Some(u64::from_le_bytes(elf.get(at..at + 8)?.try_into().ok()?));
    if elf.get(..6)? != b"\x7fELF\x02\x01" {
        return None;
    }
    // e_shoff, e_shentsize, e_shnum; in each section sh_flags with SHF_EXECINSTR, and sh_size.
    let (start, each, count) = (u64_at(0x28)?, u16_at(0x3a)?, u16_at(0x3c)?);
    let mut bytes = 0;
    for n in 0..usize::from(count) {
        let at = usize::try_from(start).ok()? + n * usize::from(each);
        if u64_at(at + 8)? & 4 != 0 {
            bytes += u64_at(at + 32)?;
        }
    }
    Some(bytes / 8)
}

fn one(source: &Path, check: bool) -> Result<(), String> {
    let kept = source.with_extension("o");
    let name = source.file_name().unwrap_or_default();
    let fresh = std::env::temp_dir().join(format!("mulgil-bpf-{}.o", std::process::id()));
    let folder = fs::canonicalize(FOLDER).map_err(|e| format!("{FOLDER}: {e}"))?;
    let built = Command::new(CLANG)
        .current_dir(&folder)
        .args([
            "-target", "bpf", "-mcpu=v3", "-O2", "-g", "-Wall", "-Wextra", "-Werror",
        ])
        .arg(format!("-ffile-prefix-map={}=.", folder.display()))
        .arg("-c")
        .arg(name)
        .arg("-o")
        .arg(&fresh)
        .status()
        .map_err(|e| format!("{CLANG}: {e}"))?;
    if !built.success() {
        return Err(format!("{} does not compile", source.display()));
    }
    let bytes = fs::read(&fresh).map_err(|e| format!("{}: {e}", fresh.display()))?;
    let _ = fs::remove_file(&fresh);
    if !check {
        return fs::write(&kept, bytes).map_err(|e| format!("{}: {e}", kept.display()));
    }
    if fs::read(&kept).ok().as_deref() == Some(bytes.as_slice()) {
        return Ok(());
    }
    Err(format!(
        "{} is not what {} says: run 'cargo xtask bpf' and commit it",
        kept.display(),
        source.display()
    ))
}

/// What packets cost, by test runs in the kernel. With `--only TEXT` or `--beside OBJECT` some rows of
/// single packets, without those of many services and sessions.
pub fn bench(options: &[&str]) -> Result<(), Vec<String>> {
    let mut cargo = Command::new("cargo");
    cargo.args([
        "bench",
        "--quiet",
        "-p",
        "mulgil-packet",
        "--bench",
        "packet",
    ]);
    if options.is_empty() {
        cargo.args(["--bench", "scale"]);
    }
    match cargo.arg("--").args(options).status() {
        Ok(status) if status.success() => Ok(()),
        Ok(_) => Err(vec!["the measurements failed".into()]),
        Err(e) => Err(vec![format!("cargo bench does not run: {e}")]),
    }
}

#[cfg(test)]
mod tests {
    use super::{fits, instructions};

    #[test]
    fn a_program_that_grew_by_more_than_a_tenth_is_refused() {
        let noted = "other.bpf.o 5\nforward.bpf.o 1000\n";
        assert_eq!(fits("forward.bpf.o", 900, noted), Ok(()));
        assert_eq!(fits("forward.bpf.o", 1100, noted), Ok(()));
        let grown = fits("forward.bpf.o", 1101, noted).expect_err("too many");
        assert!(grown.contains("has 1101 instructions, and had 1000"));
        let new = fits("new.bpf.o", 1, noted).expect_err("not noted");
        assert!(new.contains("write 'new.bpf.o 1' into"));
    }

    #[test]
    fn instructions_are_counted_in_every_section_that_runs() {
        let mut elf = vec![0u8; 64 + 3 * 64];
        elf[..6].copy_from_slice(b"\x7fELF\x02\x01");
        elf[0x28..0x30].copy_from_slice(&64u64.to_le_bytes());
        elf[0x3a..0x3c].copy_from_slice(&64u16.to_le_bytes());
        elf[0x3c..0x3e].copy_from_slice(&3u16.to_le_bytes());
        for (n, flags, size) in [(0usize, 4u64, 80u64), (1, 2, 1000), (2, 6, 160)] {
            let at = 64 + n * 64;
            elf[at + 8..at + 16].copy_from_slice(&flags.to_le_bytes());
            elf[at + 32..at + 40].copy_from_slice(&size.to_le_bytes());
        }
        assert_eq!(instructions(&elf), Some(30));
        assert_eq!(instructions(b"no object"), None);
    }
}
