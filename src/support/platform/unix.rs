//! Unix: Linux, macOS, the BSDs, Android.

use std::ffi::{CStr, CString, OsStr, c_void};
use std::fs::{File, Metadata, Permissions};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

pub(super) fn file_of(address: *const c_void) -> Option<PathBuf> {
    // SAFETY: an all-zero Dl_info is valid, dladdr takes any address, fills the struct or returns 0, and the name it gives
    // lives as long as the library, which is longer than this call.
    unsafe {
        let mut info: libc::Dl_info = std::mem::zeroed();
        if libc::dladdr(address, &mut info) == 0 || info.dli_fname.is_null() {
            return None;
        }
        path_from_bytes(CStr::from_ptr(info.dli_fname).to_bytes())
    }
}

pub(super) fn stay_loaded() {
    // A library that is unloaded meanwhile, or is part of the executable, is not opened.
    let name = super::own_file().and_then(|path| CString::new(path.into_os_string().into_vec()).ok());
    if let Some(name) = name {
        // SAFETY: a C string. The library is loaded already, so that no initializer runs; the handle is never closed.
        unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_LAZY | libc::RTLD_NOLOAD | libc::RTLD_NODELETE) };
    }
}

#[cfg(feature = "load-runtime")]
pub(super) unsafe fn load_library(path: &Path) -> Result<libloading::Library, libloading::Error> {
    // SAFETY: the caller's promise.
    unsafe { libloading::Library::new(path) }
}

pub(super) fn canonical(path: &Path) -> io::Result<PathBuf> {
    path.canonicalize()
}

/// With glibc the library's link map tells its path, whatever is in it.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(super) fn find_library(name: &str) -> Option<PathBuf> {
    let text = CString::new(name).ok()?;
    // SAFETY: dlopen of a name, and a look for a symbol; the handle is never closed.
    let symbol = unsafe {
        let handle = libc::dlopen(text.as_ptr(), libc::RTLD_LAZY | libc::RTLD_LOCAL);
        if handle.is_null() {
            return None;
        }
        libc::dlsym(handle, c"OrtGetApiBase".as_ptr())
    };
    let path = file_of(symbol).unwrap_or_else(|| PathBuf::from(name));
    Some(path.canonicalize().unwrap_or(path))
}

pub(super) fn at_exit(handler: extern "C" fn()) {
    // SAFETY: the handler is code of this library, which is never unloaded.
    let _ = unsafe { libc::atexit(handler) };
}

pub(super) fn without_signals<R>(start: impl FnOnce() -> R) -> R {
    // A blocked signal of a fault kills at once, past the host's crash handler.
    const KEPT: [libc::c_int; 8] = [
        libc::SIGSEGV,
        libc::SIGBUS,
        libc::SIGFPE,
        libc::SIGILL,
        libc::SIGTRAP,
        libc::SIGABRT,
        libc::SIGSYS,
        libc::SIGPROF,
    ];
    // SAFETY: the sets are filled before they are used, and the mask is that of the calling thread alone, which gets its
    // own back.
    unsafe {
        let mut blocked: libc::sigset_t = std::mem::zeroed();
        let mut before: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&raw mut blocked);
        for signal in KEPT {
            libc::sigdelset(&raw mut blocked, signal);
        }
        let changed = libc::pthread_sigmask(libc::SIG_BLOCK, &raw const blocked, &raw mut before) == 0;
        let started = std::panic::catch_unwind(std::panic::AssertUnwindSafe(start));
        if changed {
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const before, std::ptr::null_mut());
        }
        started.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

pub(super) fn at_fork_in_child(handler: extern "C" fn()) {
    // SAFETY: the handler is code of this library, which is never unloaded. It only sets a flag.
    let _ = unsafe { libc::pthread_atfork(None, None, Some(handler)) };
}

#[cfg(not(target_os = "android"))]
mod cancellation {
    use std::ffi::c_int;

    unsafe extern "C" {
        fn pthread_setcancelstate(state: c_int, before: *mut c_int) -> c_int;
    }

    /// PTHREAD_CANCEL_DISABLE.
    const DISABLE: c_int = if cfg!(target_vendor = "apple") { 0 } else { 1 };

    /// Returns the state before.
    pub fn disable_cancellation() -> i32 {
        let mut before = 0;
        // SAFETY: changes the state of this thread and writes the one before.
        unsafe { pthread_setcancelstate(DISABLE, &raw mut before) };
        before
    }

    pub fn restore_cancellation(before: i32) {
        // SAFETY: sets a state that this thread had. A cancellation that is due happens at the next call that is a point for it.
        unsafe { pthread_setcancelstate(before, std::ptr::null_mut()) };
    }
}

/// Android has no `pthread_cancel`.
#[cfg(target_os = "android")]
mod cancellation {
    pub fn disable_cancellation() -> i32 {
        0
    }

    pub fn restore_cancellation(_before: i32) {}
}

pub(super) use cancellation::{disable_cancellation, restore_cancellation};

pub(super) fn path_from_bytes(bytes: &[u8]) -> Option<PathBuf> {
    Some(PathBuf::from(OsStr::from_bytes(bytes)))
}

pub(super) fn is_open_file_name(path: &Path) -> bool {
    let folder = path.parent().and_then(|folder| folder.canonicalize().ok());
    folder.is_some_and(|folder| folder.starts_with("/proc") || folder.starts_with("/dev/fd"))
}

pub(super) fn open_for_reading(path: &Path, follow: bool) -> io::Result<File> {
    let links = if follow { 0 } else { libc::O_NOFOLLOW };
    File::options().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY | links).open(path)
}

pub(super) fn create_new(path: &Path, private: bool) -> io::Result<File> {
    File::options().write(true).create_new(true).mode(if private { 0o600 } else { 0o666 }).open(path)
}

pub(super) fn take_permissions(file: &File, from: &Metadata) -> io::Result<()> {
    let ours = file.metadata()?;
    if (ours.uid(), ours.gid()) != (from.uid(), from.gid()) {
        // Only root may give a file away.
        let _ = std::os::unix::fs::fchown(file, Some(from.uid()), Some(from.gid()));
    }
    file.set_permissions(Permissions::from_mode(from.mode() & 0o777))
}

pub(super) fn kind_of_file(metadata: &Metadata) -> &'static str {
    let kind = metadata.file_type();
    if kind.is_fifo() {
        "a FIFO"
    } else if kind.is_socket() {
        "a socket"
    } else if kind.is_char_device() || kind.is_block_device() {
        "a device"
    } else {
        "a special file"
    }
}

pub(super) fn read_exact_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<()> {
    file.read_exact_at(buffer, offset)
}

pub(super) fn is_same_file(ours: &Metadata, theirs: &Metadata) -> bool {
    (ours.dev(), ours.ino()) == (theirs.dev(), theirs.ino())
}
