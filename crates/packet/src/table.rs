//! What tables can do and the library has no words for: many entries by one call, entries by a
//! descriptor that any thread may have, and counters that are shared with the programs as memory.

use aya::Pod;
use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::atomic::AtomicU32;

const BPF_MAP_CREATE: i64 = 0;
const BPF_MAP_LOOKUP_ELEM: i64 = 1;
const BPF_MAP_UPDATE_ELEM: i64 = 2;
const BPF_MAP_DELETE_ELEM: i64 = 3;
const BPF_MAP_LOOKUP_AND_DELETE_ELEM: i64 = 21;
const BPF_MAP_LOOKUP_BATCH: i64 = 24;
const BPF_MAP_UPDATE_BATCH: i64 = 26;
const BPF_OBJ_GET_INFO_BY_FD: i64 = 15;

const BPF_MAP_TYPE_HASH: u32 = 1;
const BPF_MAP_TYPE_ARRAY: u32 = 2;
const BPF_F_INNER_MAP: u32 = 1 << 12;

/// Only where there is no entry yet.
const BPF_NOEXIST: u64 = 1;

/// `union bpf_attr` as batch commands use it.
#[repr(C)]
#[derive(Default)]
struct Batch {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    elem_flags: u64,
    flags: u64,
}

/// `union bpf_attr` as commands on one entry use it.
#[repr(C)]
#[derive(Default)]
struct One {
    map_fd: u32,
    pad: u32,
    key: u64,
    value: u64,
    flags: u64,
}

fn command<T>(number: i64, attr: &mut T) -> io::Result<()> {
    // SAFETY: `attr` is one of the structs above, filled by the callers with pointers that live as
    // long as the call, to as many bytes as the table's keys and values have.
    let result = unsafe { libc::syscall(libc::SYS_bpf, number, &raw mut *attr, size_of::<T>()) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Kinds of tables that are made while programs run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Kind {
    Hash,
    Array,
}

/// `union bpf_attr` as tables are made with it.
#[repr(C)]
#[derive(Default)]
struct Create {
    kind: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    flags: u32,
}

/// A table of so many entries, to stand in a place of another one. Its memory is taken at once.
pub fn create<K: Pod, V: Pod>(kind: Kind, entries: usize) -> io::Result<OwnedFd> {
    let (kind, flags) = match kind {
        Kind::Hash => (BPF_MAP_TYPE_HASH, 0),
        // Those of one place may differ in size.
        Kind::Array => (BPF_MAP_TYPE_ARRAY, BPF_F_INNER_MAP),
    };
    let mut attr = Create {
        kind,
        key_size: size_of::<K>() as u32,
        value_size: size_of::<V>() as u32,
        max_entries: u32::try_from(entries).unwrap_or(u32::MAX).max(1),
        flags,
    };
    // SAFETY: `attr` is a live value of the size that is given.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            BPF_MAP_CREATE,
            &raw mut attr,
            size_of::<Create>(),
        )
    };
    match i32::try_from(fd) {
        // SAFETY: the kernel has just given us this descriptor.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Makes or replaces an entry.
pub fn put<K: Pod, V: Pod>(map: BorrowedFd<'_>, key: &K, value: &V) -> io::Result<()> {
    let mut one = One {
        map_fd: map.as_raw_fd() as u32,
        key: std::ptr::from_ref(key) as u64,
        value: std::ptr::from_ref(value) as u64,
        ..One::default()
    };
    command(BPF_MAP_UPDATE_ELEM, &mut one)
}

/// Makes an entry where there is none; whether it did.
pub fn insert_new<K: Pod, V: Pod>(map: BorrowedFd<'_>, key: &K, value: &V) -> bool {
    let mut one = One {
        map_fd: map.as_raw_fd() as u32,
        key: std::ptr::from_ref(key) as u64,
        value: std::ptr::from_ref(value) as u64,
        flags: BPF_NOEXIST,
        ..One::default()
    };
    command(BPF_MAP_UPDATE_ELEM, &mut one).is_ok()
}

/// An entry's value.
pub fn get<K: Pod, V: Pod + Default>(map: BorrowedFd<'_>, key: &K) -> Option<V> {
    value(BPF_MAP_LOOKUP_ELEM, map, key)
}

/// Takes an entry out of a hash table, with its value (Linux 5.14 and later). `K` and `V` are those
/// of the table.
pub fn take<K: Pod, V: Pod + Default>(map: BorrowedFd<'_>, key: &K) -> Option<V> {
    value(BPF_MAP_LOOKUP_AND_DELETE_ELEM, map, key)
}

fn value<K: Pod, V: Pod + Default>(number: i64, map: BorrowedFd<'_>, key: &K) -> Option<V> {
    let mut value = V::default();
    let mut one = One {
        map_fd: map.as_raw_fd() as u32,
        key: std::ptr::from_ref(key) as u64,
        value: &raw mut value as u64,
        ..One::default()
    };
    command(number, &mut one).ok()?;
    Some(value)
}

/// Removes an entry; whether it was there.
pub fn remove<K: Pod>(map: BorrowedFd<'_>, key: &K) -> bool {
    let mut one = One {
        map_fd: map.as_raw_fd() as u32,
        key: std::ptr::from_ref(key) as u64,
        ..One::default()
    };
    command(BPF_MAP_DELETE_ELEM, &mut one).is_ok()
}

/// Makes or replaces many entries by one call. How many of them, from the first on; a full table
/// takes no more.
pub fn insert_all<K: Pod, V: Pod>(map: BorrowedFd<'_>, keys: &[K], values: &[V]) -> usize {
    let count = keys.len().min(values.len());
    let mut batch = Batch {
        keys: keys.as_ptr() as u64,
        values: values.as_ptr() as u64,
        count: u32::try_from(count).unwrap_or(u32::MAX),
        map_fd: map.as_raw_fd() as u32,
        ..Batch::default()
    };
    match command(BPF_MAP_UPDATE_BATCH, &mut batch) {
        Ok(()) => count,
        Err(_) => (batch.count as usize).min(count),
    }
}

/// `union bpf_attr` of a question about a table, and the beginning of `struct bpf_map_info`.
#[repr(C)]
struct Question {
    fd: u32,
    len: u32,
    info: u64,
}

/// Entries that a table has room for.
pub fn room(map: BorrowedFd<'_>) -> io::Result<u32> {
    // Kind, number, bytes of keys, bytes of values, entries, flags.
    let mut info = [0u32; 6];
    let mut question = Question {
        fd: map.as_raw_fd() as u32,
        len: size_of_val(&info) as u32,
        info: info.as_mut_ptr() as u64,
    };
    command(BPF_OBJ_GET_INFO_BY_FD, &mut question)?;
    Ok(info[4])
}

/// A walk through a hash table, some entries at a time. Entries that come or go meanwhile may be met
/// or not; others are met once.
pub struct Walk<K, V> {
    at: Option<u32>,
    room: usize,
    of: PhantomData<(K, V)>,
}

impl<K: Pod, V: Pod> Walk<K, V> {
    /// A walk from the beginning, about so many entries at a time.
    pub fn new(room: usize) -> Walk<K, V> {
        Walk {
            at: None,
            room,
            of: PhantomData,
        }
    }

    /// Goes on at a position that [`Walk::position`] gave.
    pub fn seek(&mut self, at: u32) {
        self.at = Some(at);
    }

    /// Where it goes on; none at the beginning.
    pub fn position(&self) -> Option<u32> {
        self.at
    }

    /// The next entries, and whether that was the end; the walk then starts again.
    pub fn next(&mut self, map: BorrowedFd<'_>) -> io::Result<(Vec<(K, V)>, bool)> {
        loop {
            let mut keys: Vec<K> = Vec::with_capacity(self.room);
            let mut values: Vec<V> = Vec::with_capacity(self.room);
            let mut next = 0u32;
            let mut batch = Batch {
                in_batch: self.at.as_ref().map_or(0, |at| &raw const *at as u64),
                out_batch: &raw mut next as u64,
                keys: keys.as_mut_ptr() as u64,
                values: values.as_mut_ptr() as u64,
                count: u32::try_from(self.room).unwrap_or(u32::MAX),
                map_fd: map.as_raw_fd() as u32,
                ..Batch::default()
            };
            // SAFETY: keys and values have room for `count` entries of the sizes that the table has
            // (both are taken from the same definitions), and the positions are live numbers.
            let result = unsafe {
                libc::syscall(
                    libc::SYS_bpf,
                    BPF_MAP_LOOKUP_BATCH,
                    &raw mut batch,
                    size_of::<Batch>(),
                )
            };
            let error = (result < 0).then(io::Error::last_os_error);
            match error.as_ref().and_then(io::Error::raw_os_error) {
                None | Some(libc::ENOENT) => {}
                // One bucket holds more than there is room for.
                Some(libc::ENOSPC) if self.room < 1 << 20 => {
                    self.room *= 2;
                    continue;
                }
                Some(code) => return Err(io::Error::from_raw_os_error(code)),
            }
            let got = (batch.count as usize).min(self.room);
            // SAFETY: the kernel has filled `got` entries of both, any bytes of which are values.
            unsafe {
                keys.set_len(got);
                values.set_len(got);
            }
            let over = error.is_some();
            self.at = (!over).then_some(next);
            return Ok((keys.into_iter().zip(values).collect(), over));
        }
    }
}

/// A table of counters as memory.
pub struct Shared {
    start: *mut AtomicU32,
    count: usize,
    bytes: usize,
}

// SAFETY: the memory is shared with the kernel anyway, and only touched as atomics.
unsafe impl Send for Shared {}

impl Shared {
    /// Maps a table of `count` entries of 8 bytes each, of which the first four count.
    pub fn new(map: BorrowedFd<'_>, count: usize) -> io::Result<Shared> {
        // SAFETY: plain call.
        let page = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096);
        let bytes = (count * STRIDE).next_multiple_of(page);
        // SAFETY: a new mapping of a descriptor that lives; the result is checked.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                map.as_raw_fd(),
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Shared {
            start: start.cast(),
            count,
            bytes,
        })
    }

    /// One counter.
    pub fn at(&self, index: u32) -> Option<&AtomicU32> {
        let index = index as usize;
        // SAFETY: entries stand 8 bytes apart, all `count` of them lie inside the mapping, which
        // lives as long as `self`, and everybody touches them as atomics.
        (index < self.count).then(|| unsafe { &*self.start.byte_add(index * STRIDE) })
    }
}

/// Entries of arrays are rounded up to 8 bytes.
const STRIDE: usize = 8;

impl Drop for Shared {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours and nobody borrows from it any more.
        unsafe { libc::munmap(self.start.cast(), self.bytes) };
    }
}
