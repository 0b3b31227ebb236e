//! What Linux adds to Unix: files under /proc and /sys, and the link map of a loaded library.

use std::ffi::{CStr, CString, c_char};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::path_from_bytes;

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

pub(super) fn cpu_model_name() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = text.lines().find_map(|line| line.strip_prefix("model name"));
    name.map_or(String::new(), |name| name.trim_start_matches([' ', '\t', ':']).to_owned())
}

pub(super) fn find_library(name: &str) -> Option<PathBuf> {
    let name = CString::new(name).ok()?;
    // SAFETY: dlopen of a name; the link map belongs to the handle, which is never closed.
    unsafe {
        let handle = libc::dlopen(name.as_ptr(), libc::RTLD_LAZY | libc::RTLD_LOCAL);
        if handle.is_null() {
            return None;
        }
        let mut map: *const LinkMap = std::ptr::null();
        if libc::dlinfo(handle, libc::RTLD_DI_LINKMAP, (&raw mut map).cast()) != 0
            || map.is_null()
            || (*map).name.is_null()
        {
            return None;
        }
        path_from_bytes(CStr::from_ptr((*map).name))?.canonicalize().ok()
    }
}

/// The public head of glibc's and musl's `struct link_map`.
#[repr(C)]
struct LinkMap {
    address: usize,
    name: *const c_char,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meminfo_with_and_without_available_memory() {
        assert_eq!(available_in("MemTotal: 9 kB\nMemAvailable:    24000 kB\nBuffers: 1 kB\n"), Some(24_576_000));
        assert_eq!(available_in("MemTotal: 9 kB\n"), None);
    }
}
