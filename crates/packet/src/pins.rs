//! Where programs and tables outlive the process: a BPF file system of our own.
//!
//! It is mounted where the machine's own processes look, because a mount made under `ip netns exec`
//! would go with whoever made it. Within it each network namespace has a folder, named by a number
//! that the kernel gives to no other until the machine restarts.

use crate::abi::ABI;
use crate::kernel::{Error, because};
use std::ffi::CString;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// What stands there until the machine restarts.
const HOME: &str = "/run/mulgil";
/// Where it is mounted.
const MOUNT: &str = "/run/mulgil/bpf";
/// Where changes of lists are kept.
const CHANGES: &str = "/run/mulgil/lists";
/// `BPF_FS_MAGIC`.
const MAGIC: i64 = 0xcafe_4a11;
/// `SO_NETNS_COOKIE`, from kernel 5.14 on.
const SO_NETNS_COOKIE: i32 = 71;

/// The folder of this network namespace.
pub struct Pins {
    /// Keeps the file system reachable, whatever mount namespace this process is in.
    root: OwnedFd,
    name: String,
}

impl Pins {
    /// Opens the balancer's; makes what is missing.
    pub fn open() -> Result<Pins, Error> {
        Pins::of("balancer")
    }

    /// Opens one for this part.
    pub fn of(part: &str) -> Result<Pins, Error> {
        let root = mounted().map_err(|e| because(format!("no BPF file system at {MOUNT}"), &e))?;
        let cookie =
            netns_cookie().map_err(|e| because("the network namespace has no number", &e))?;
        let pins = Pins {
            root,
            name: format!("{cookie}-{part}-v{ABI}"),
        };
        match fs::create_dir(pins.path()) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => {
                Err(because(format!("cannot make {MOUNT}/{}", pins.name), &e))
            }
            _ => Ok(pins),
        }
    }

    /// The folder, by a name that this process can use.
    pub fn path(&self) -> PathBuf {
        PathBuf::from(format!(
            "/proc/self/fd/{}/{}",
            self.root.as_raw_fd(),
            self.name
        ))
    }

    /// The folder of what was changed in lists while running, beside the file system of the tables, which
    /// holds nothing else.
    pub fn changes(&self) -> PathBuf {
        Path::new(CHANGES).join(&self.name)
    }

    /// What stands in it.
    pub fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.path()).into_iter().flatten().flatten();
        entries
            .map(|e| e.file_name().to_string_lossy().into_owned())
            .collect()
    }

    /// What other versions of mulgil have left here for the same part: their tables are laid out otherwise, and
    /// their programs stand beside ours.
    pub fn of_others(&self) -> Vec<Pins> {
        let beginning = self.name.trim_end_matches(|c: char| c.is_ascii_digit());
        let root = format!("/proc/self/fd/{}", self.root.as_raw_fd());
        let entries = fs::read_dir(root).into_iter().flatten().flatten();
        let names = entries.map(|e| e.file_name().to_string_lossy().into_owned());
        let is_other = |name: &String| {
            let version = name.strip_prefix(beginning);
            *name != self.name && version.is_some_and(|v| v.parse::<u32>().is_ok())
        };
        let pins = |name| {
            let root = self.root.try_clone().ok()?;
            Some(Pins { root, name })
        };
        names.filter(is_other).filter_map(pins).collect()
    }

    /// Notes that this process is at work with them, until it ends.
    pub fn enter(&self) -> io::Result<Presence> {
        let presence = Presence(fs::File::open(self.path())?);
        lock(&presence.0, libc::LOCK_SH)?;
        Ok(presence)
    }

    /// Removes everything: what is attached is detached, and the tables go with their sessions.
    pub fn remove(self) -> Result<usize, Error> {
        let names = self.names();
        for name in &names {
            let path = self.path().join(name);
            // Somebody else may have made a folder here.
            let removed = match path.is_dir() {
                true => fs::remove_dir_all(path),
                false => fs::remove_file(path),
            };
            removed.map_err(|e| because(format!("cannot remove '{name}'"), &e))?;
        }
        // Mostly there is none.
        let _ = fs::remove_dir_all(self.changes());
        fs::remove_dir(self.path()).map_err(|e| because("cannot remove the folder", &e))?;
        Ok(names.len())
    }
}

/// A process that is at work with what stands in a folder: it holds a lock of the folder that all of them
/// share.
pub struct Presence(fs::File);

impl Presence {
    /// Whether it is the last one there. Asked at its end only: the lock is no shared one any more.
    pub fn is_last(&self) -> bool {
        // The folder is gone where another version took over.
        self.0.metadata().is_ok_and(|m| m.nlink() > 0)
            && lock(&self.0, libc::LOCK_EX | libc::LOCK_NB).is_ok()
    }
}

fn lock(file: &fs::File, how: i32) -> io::Result<()> {
    // SAFETY: a plain call on an open descriptor.
    match unsafe { libc::flock(file.as_raw_fd(), how) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// A number of this network namespace that no other has until the machine restarts.
pub fn netns_cookie() -> io::Result<u64> {
    let mut cookie = 0u64;
    let mut size = size_of::<u64>() as u32;
    // SAFETY: the descriptor is ours and closed at the end; the pointers are to live values.
    let result = unsafe {
        let fd = libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0);
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        let fd = OwnedFd::from_raw_fd(fd);
        let value = (&raw mut cookie).cast();
        libc::getsockopt(
            fd.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_NETNS_COOKIE,
            value,
            &raw mut size,
        )
    };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(cookie)
    }
}

/// Processes that are likely to outlive us, the likeliest first: the first one; the kernel's own,
/// where that can be seen, because the first may be better guarded than we are; our ancestors.
fn elders() -> Vec<u32> {
    let stat = |pid: u32| {
        let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name in brackets may hold anything; the state and the parent follow it.
        let (name, rest) = text.rsplit_once(')')?;
        let parent = rest.split_whitespace().nth(1)?.parse::<u32>().ok()?;
        Some((name.contains("(kthreadd"), parent))
    };
    let mut ancestors = Vec::new();
    let mut at = std::process::id();
    while let Some((_, parent)) = stat(at).filter(|(_, parent)| *parent > 1) {
        ancestors.insert(0, parent);
        at = parent;
    }
    let kernel = stat(2).filter(|(kernel, _)| *kernel).map(|_| 2);
    std::iter::once(1).chain(kernel).chain(ancestors).collect()
}

/// The root of the file system. A thread of its own goes to the mounts of an elder and looks from
/// there; the descriptor that it opens is good for the whole process.
fn mounted() -> io::Result<OwnedFd> {
    let thread = std::thread::Builder::new().name("bpffs".into()).spawn(|| {
        // SAFETY: plain calls on descriptors that live; what `unshare` and `setns` change are this
        // thread's root and mounts only, and the thread ends here.
        unsafe {
            if libc::unshare(libc::CLONE_FS) != 0 {
                return Err(io::Error::last_os_error());
            }
            // Where none of them lets us in, our own mounts have to do.
            for pid in elders() {
                if let Ok(mounts) = fs::File::open(format!("/proc/{pid}/ns/mnt"))
                    && libc::setns(mounts.as_raw_fd(), libc::CLONE_NEWNS) == 0
                {
                    break;
                }
            }
        }
        mount_here()
    })?;
    thread
        .join()
        .unwrap_or_else(|_| Err(io::Error::other("its thread has ended")))
}

fn mount_here() -> io::Result<OwnedFd> {
    let path = CString::new(MOUNT)?;
    fs::create_dir_all(MOUNT)?;
    // One at a time, or the second one hides what the first keeps.
    let turn = fs::File::open(HOME)?;
    lock(&turn, libc::LOCK_EX)?;
    if !is_bpffs(Path::new(MOUNT)) {
        // SAFETY: all strings are NUL-terminated and live.
        let result = unsafe {
            let options = c"mode=0700".as_ptr().cast();
            libc::mount(
                c"mulgil".as_ptr(),
                path.as_ptr(),
                c"bpf".as_ptr(),
                0,
                options,
            )
        };
        if result != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    fs::File::open(MOUNT).map(OwnedFd::from)
}

fn is_bpffs(path: &Path) -> bool {
    let Ok(path) = CString::new(path.as_os_str().as_encoded_bytes()) else {
        return false;
    };
    // SAFETY: the path is NUL-terminated, the struct a live value.
    unsafe {
        let mut info: libc::statfs = std::mem::zeroed();
        libc::statfs(path.as_ptr(), &raw mut info) == 0 && info.f_type == MAGIC
    }
}
