//! What Linux adds to Unix: files under /proc and /sys, and its own calls.

use std::collections::HashSet;
use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::read_exact_at;

pub(super) fn available_memory() -> Option<u64> {
    let number = |path: &str| std::fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    let group = |limit, used| Some(number(limit)?.saturating_sub(number(used)?));
    let machine = available_in(&std::fs::read_to_string("/proc/meminfo").ok()?);
    let version_2 = group("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current");
    let version_1 = group("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes");
    [machine, version_2, version_1].into_iter().flatten().min()
}

/// `MemAvailable` of the text of /proc/meminfo, in bytes.
fn available_in(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
}

#[cfg_attr(not(feature = "pipeline"), allow(dead_code, reason = "only the pipeline syncs many files at once"))]
pub(super) fn sync_file_system(file: &File) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    // SAFETY: an open descriptor, and the call reads no memory.
    if unsafe { libc::syncfs(file.as_raw_fd()) } == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

pub(super) fn address_space_left() -> Option<u64> {
    // SAFETY: the call fills the struct that it is given; sysconf only returns a number.
    let (limit, page) = unsafe {
        let mut limits: libc::rlimit = std::mem::zeroed();
        let got = libc::getrlimit(libc::RLIMIT_AS, &raw mut limits) == 0 && limits.rlim_cur != libc::RLIM_INFINITY;
        (got.then_some(limits.rlim_cur)?, libc::sysconf(libc::_SC_PAGESIZE))
    };
    let pages: u64 = std::fs::read_to_string("/proc/self/statm").ok()?.split(' ').next()?.parse().ok()?;
    Some(limit.saturating_sub(pages.saturating_mul(u64::try_from(page).ok()?)))
}

/// Physical cores among the CPUs of the process's mask; `None` where /sys does not tell.
pub(super) fn cores_in_mask() -> Option<usize> {
    // SAFETY: an all-zero set is valid, and the call fills a set of the size that it is told.
    let mask = unsafe {
        let mut mask: libc::cpu_set_t = std::mem::zeroed();
        let got = libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &raw mut mask);
        (got == 0).then_some(mask)?
    };
    let mut cores = HashSet::new();
    for cpu in 0..libc::CPU_SETSIZE as usize {
        // SAFETY: the number is within the set.
        if unsafe { libc::CPU_ISSET(cpu, &mask) } {
            let siblings = format!("/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list");
            cores.insert(std::fs::read(siblings).ok()?);
        }
    }
    Some(cores.len())
}

pub(super) fn cpu_model_name() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = text.lines().find_map(|line| line.strip_prefix("model name"));
    name.map_or(String::new(), |name| name.trim_start_matches([' ', '\t', ':']).to_owned())
}

pub(super) fn truncated_library(path: &Path) -> Option<String> {
    let file = File::open(path).ok()?;
    let length = file.metadata().ok()?.len();
    let needed = elf_length(|buffer, offset| read_exact_at(&file, buffer, offset).ok())?;
    (length < needed).then(|| format!("the file is truncated: it has {length} bytes of {needed} or more"))
}

/// The least length of an ELF file of this machine's byte order, by its segments. `None` when it is not one, or its headers
/// are cut off, which the loader reports.
fn elf_length(read: impl Fn(&mut [u8], u64) -> Option<()>) -> Option<u64> {
    const LOAD: u32 = 1;
    let mut head = [0; 64];
    read(&mut head[..20], 0)?;
    let (wide, little) = (head[4] == 2, head[5] == 1);
    if head[..4] != *b"\x7fELF" || little != cfg!(target_endian = "little") {
        return None;
    }
    read(if wide { &mut head } else { &mut head[..52] }, 0)?;
    let short = |bytes: &[u8], at: usize| Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?));
    let word = |bytes: &[u8], at: usize| Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let long = |bytes: &[u8], at: usize| Some(u64::from_ne_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
    let size = |bytes: &[u8], at: [usize; 2]| if wide { long(bytes, at[1]) } else { word(bytes, at[0]).map(u64::from) };
    let table = size(&head, [28, 32])?;
    let each = usize::from(short(&head, if wide { 54 } else { 42 })?);
    let count = usize::from(short(&head, if wide { 56 } else { 44 })?);
    if each != if wide { 56 } else { 32 } {
        return None;
    }
    let mut segments = vec![0; each * count];
    read(&mut segments, table)?;
    let end = |segment: &[u8]| {
        let (offset, length) = (size(segment, [4, 8])?, size(segment, [16, 32])?);
        (word(segment, 0)? == LOAD).then_some(offset.saturating_add(length))
    };
    segments.chunks_exact(each).filter_map(end).max()
}

pub(super) fn exchange(a: &Path, b: &Path) -> io::Result<()> {
    const RENAME_EXCHANGE: libc::c_uint = 2;
    let text = |path: &Path| CString::new(path.as_os_str().as_bytes());
    let (a, b) = (text(a)?, text(b)?);
    let here = libc::AT_FDCWD;
    // SAFETY: two C strings that live until the call returns. By number, since older C libraries have no function for it.
    match unsafe { libc::syscall(libc::SYS_renameat2, here, a.as_ptr(), here, b.as_ptr(), RENAME_EXCHANGE) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(target_arch = "x86_64")]
pub(super) fn enable_amx() -> bool {
    const ARCH_REQ_XCOMP_PERM: i32 = 0x1023;
    const XFEATURE_XTILEDATA: u64 = 18;
    // SAFETY: the call changes what this process may use, and nothing else; an older kernel returns an error.
    unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0 }
}

/// The system refuses tiles while a thread has an alternate signal stack that is too small for them, so a thread has one
/// meanwhile. Where there is no thread to be had, `body` gets what it asks for.
#[cfg(target_arch = "x86_64")]
pub(super) fn refusing_amx<R>(body: impl FnOnce() -> R) -> R {
    use std::sync::mpsc::channel;
    std::thread::scope(|scope| {
        let (ready, is_ready) = channel::<()>();
        let (_done, is_done) = channel::<()>();
        let hold = move || {
            let _stack = SmallSignalStack::new();
            let _ = ready.send(());
            // Until the other end is dropped.
            let _ = is_done.recv();
        };
        if std::thread::Builder::new().name("detailflow-start".into()).spawn_scoped(scope, hold).is_ok() {
            let _ = is_ready.recv();
        }
        body()
    })
}

/// An alternate signal stack of this thread, on which no signal is ever taken: it stays until this is dropped, at the end of
/// the thread.
#[cfg(target_arch = "x86_64")]
struct SmallSignalStack {
    _memory: Vec<u8>,
    before: libc::stack_t,
}

#[cfg(target_arch = "x86_64")]
impl SmallSignalStack {
    fn new() -> Self {
        let mut memory = vec![0u8; 8192];
        // SAFETY: all-zero signal sets and stacks are valid. No signal comes on this thread from here on, so that the stack is
        // never used; its memory lives until `drop` puts back the one before.
        unsafe {
            let mut all: libc::sigset_t = std::mem::zeroed();
            libc::sigfillset(&raw mut all);
            libc::pthread_sigmask(libc::SIG_BLOCK, &raw const all, std::ptr::null_mut());
            let mut stack: libc::stack_t = std::mem::zeroed();
            stack.ss_sp = memory.as_mut_ptr().cast();
            stack.ss_size = memory.len();
            let mut before: libc::stack_t = std::mem::zeroed();
            before.ss_flags = libc::SS_DISABLE;
            libc::sigaltstack(&raw const stack, &raw mut before);
            Self { _memory: memory, before }
        }
    }
}

#[cfg(target_arch = "x86_64")]
impl Drop for SmallSignalStack {
    fn drop(&mut self) {
        // SAFETY: sets what this thread had before, or none.
        unsafe { libc::sigaltstack(&raw const self.before, std::ptr::null_mut()) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn truncated_library_is_told_from_a_whole_one() {
        let whole = std::env::current_exe().unwrap();
        assert_eq!(truncated_library(&whole), None);
        let bytes = std::fs::read(&whole).unwrap();
        let needed = elf_length(|buffer, offset| {
            let from = usize::try_from(offset).ok()?;
            buffer.copy_from_slice(bytes.get(from..from.checked_add(buffer.len())?)?);
            Some(())
        });
        assert!(needed.is_some_and(|needed| needed <= bytes.len() as u64 && needed > 1000), "{needed:?}");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("library");
        // What follows the segments, such as debug information, is not needed.
        let needed = usize::try_from(needed.unwrap()).unwrap();
        for length in [needed, needed - 1, needed / 2, 4096, 100, 64, 20, 4, 0] {
            std::fs::write(&path, &bytes[..length]).unwrap();
            let found = truncated_library(&path);
            assert_eq!(found.is_some(), (4096..needed).contains(&length), "{length}: {found:?}");
        }
        // Offsets and counts of a damaged head do not overflow.
        for at in 4..64 {
            let mut damaged = bytes[..4096].to_vec();
            damaged[at] = 255;
            std::fs::write(&path, &damaged).unwrap();
            truncated_library(&path);
        }
    }

    #[test]
    fn meminfo_with_and_without_available_memory() {
        assert_eq!(available_in("MemTotal: 9 kB\nMemAvailable:    24000 kB\nBuffers: 1 kB\n"), Some(24_576_000));
        assert_eq!(available_in("MemTotal: 9 kB\n"), None);
    }
}
