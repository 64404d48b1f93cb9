//! The objects of the packet plane: built by one pinned compiler, kept in the tree, so that whoever
//! builds the program needs none, and compared byte for byte with what their sources say.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Debian's; other versions make other bytes.
const CLANG: &str = "clang-19";

const FOLDER: &str = "crates/packet/bpf";

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
    let faults: Vec<String> = sources.iter().filter_map(|s| one(s, check).err()).collect();
    if faults.is_empty() {
        Ok(())
    } else {
        Err(faults)
    }
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

/// What packets cost, by test runs in the kernel.
pub fn bench() -> Result<(), Vec<String>> {
    let run = Command::new("cargo")
        .args([
            "bench",
            "--quiet",
            "-p",
            "mulgil-packet",
            "--bench",
            "packet",
        ])
        .status();
    match run {
        Ok(status) if status.success() => Ok(()),
        Ok(_) => Err(vec!["the measurements failed".into()]),
        Err(e) => Err(vec![format!("cargo bench does not run: {e}")]),
    }
}
