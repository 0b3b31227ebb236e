//! Everything that differs between operating systems. One file per family: `unix`, `linux`, `link_map` (glibc) and `apple`
//! (what these add to Unix), `windows` and `other`; this file selects and documents the functions. `float` is the float
//! environment of a thread. The page handling of the kernels' own memory is the only exception and lives in `kernels::memory`.
//!
//! Where a system cannot answer, a function returns `None` or an empty value; nothing here fails.

#![allow(unsafe_code, reason = "calls of the operating system")]
#![cfg_attr(not(feature = "load-runtime"), allow(dead_code, reason = "some is for finding and loading libraries"))]

#[cfg(target_vendor = "apple")]
mod apple;
pub(crate) mod float;
#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod link_map;
#[cfg(target_os = "linux")]
mod linux;
#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

#[cfg(not(any(unix, windows)))]
mod other;

#[cfg(not(any(unix, windows)))]
use other as family;
#[cfg(unix)]
use unix as family;
#[cfg(windows)]
use windows as family;

use std::ffi::{CStr, c_void};
use std::fs::{File, Metadata};
use std::io;
use std::path::{Path, PathBuf};

/// The file that this code was loaded from: our shared library, or the executable that it is linked into.
pub(crate) fn own_file() -> Option<PathBuf> {
    file_of(own_file as *const c_void)
}

/// The library or executable that has this address in its code or data.
pub(crate) fn file_of(address: *const c_void) -> Option<PathBuf> {
    family::file_of(address)
}

/// Has this code stay in memory until the process ends, also when the host unloads our library. What cannot be unloaded stays
/// anyway.
pub(crate) fn stay_loaded() {
    family::stay_loaded();
}

/// Loads the library `path`, an absolute path. Libraries that it needs are found beside it too where that is not the system's
/// rule by itself.
///
/// # Errors
/// The system's.
///
/// # Safety
/// Its initializers run: whoever named the file, or put it where we look, vouches for it.
#[cfg(feature = "load-runtime")]
pub(crate) unsafe fn load_library(path: &Path) -> Result<libloading::Library, libloading::Error> {
    // SAFETY: the caller's promise.
    unsafe { family::load_library(path) }
}

/// Has the process call `handler` when it ends by `exit()` or by returning from `main`. Handlers run in the reverse order of
/// their registration. No effect where the system has no such list. On Windows only the first call counts; what has to be done
/// before the destructors of libraries run is done in time nevertheless.
pub(crate) fn at_exit(handler: extern "C" fn()) {
    family::at_exit(handler);
}

/// Whether the system has ended all threads but this one, which may have held locks: on Windows, as soon as the process ends.
pub(crate) fn threads_are_gone() -> bool {
    #[cfg(windows)]
    return windows::threads_are_gone();
    #[cfg(not(windows))]
    false
}

/// Has every child of `fork()` call `handler` before `fork` returns there. No effect where the system has no `fork`.
pub(crate) fn at_fork_in_child(handler: extern "C" fn()) {
    family::at_fork_in_child(handler);
}

/// While it lives, `pthread_cancel` of this thread waits. Nothing where the system has no such call.
#[must_use]
pub(crate) struct NoCancellation {
    before: i32,
}

impl NoCancellation {
    pub(crate) fn new() -> Self {
        Self { before: family::disable_cancellation() }
    }
}

impl Drop for NoCancellation {
    fn drop(&mut self) {
        family::restore_cancellation(self.before);
    }
}

/// The path that a C string names: any bytes on Unix, UTF-8 elsewhere. `None` when it is not UTF-8 there.
pub(crate) fn path_from_bytes(bytes: &CStr) -> Option<PathBuf> {
    family::path_from_bytes(bytes.to_bytes())
}

/// The absolute path of an existing file or folder, with all links followed, in the form that people know.
///
/// # Errors
/// The system's.
pub(crate) fn canonical(path: &Path) -> io::Result<PathBuf> {
    family::canonical(path)
}

/// Whether `path` is a name that the system gives to an open file of a process, such as `/proc/self/fd/1` or `/dev/fd/1`, or to
/// a device, such as `NUL`: it is written through, never replaced. Links are not followed, except in the folder.
pub(crate) fn is_open_file_name(path: &Path) -> bool {
    family::is_open_file_name(path)
}

/// Opens a file or folder for reading. Never waits, for a FIFO's other end for example. Unless `follow`, a symbolic link is an
/// error where the system can tell.
///
/// # Errors
/// The system's.
pub(crate) fn open_for_reading(path: &Path, follow: bool) -> io::Result<File> {
    family::open_for_reading(path, follow)
}

/// Creates a file that does not exist yet, for writing. If `private`, only its owner may open it where the system can say so.
///
/// # Errors
/// [`io::ErrorKind::AlreadyExists`]; otherwise the system's.
pub(crate) fn create_new(path: &Path, private: bool) -> io::Result<File> {
    family::create_new(path, private)
}

/// Opens an existing file for appending.
///
/// # Errors
/// The system's.
pub(crate) fn open_for_appending(path: &Path) -> io::Result<File> {
    File::options().append(true).open(path)
}

/// Gives `file` the owner, as far as this process may, and the permissions of another file. No effect where the system keeps
/// them otherwise.
///
/// # Errors
/// The system's.
pub(crate) fn take_permissions(file: &File, from: &Metadata) -> io::Result<()> {
    family::take_permissions(file, from)
}

/// What a file is that is not a regular one, in words: "a FIFO", "a folder" …
pub(crate) fn kind_of_file(metadata: &Metadata) -> &'static str {
    if metadata.is_dir() { "a folder" } else { family::kind_of_file(metadata) }
}

/// Renames the file `from`, so that it replaces `to`. Waits for a moment where another program keeps `to` from being replaced.
///
/// # Errors
/// The system's.
pub(crate) fn replace(from: &Path, to: &Path) -> io::Result<()> {
    #[cfg(windows)]
    return windows::replace(from, to);
    #[cfg(not(windows))]
    std::fs::rename(from, to)
}

/// Writes all changes of the file system of `file` to the disk, those of other files too.
///
/// # Errors
/// The system's; [`io::ErrorKind::Unsupported`] where the system has no such call.
#[cfg_attr(not(feature = "pipeline"), allow(dead_code, reason = "only the pipeline syncs many files at once"))]
pub(crate) fn sync_file_system(file: &File) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    return linux::sync_file_system(file);
    #[cfg(not(target_os = "linux"))]
    {
        let _ = file;
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// Whether [`sync_file_system`] works.
#[cfg_attr(not(feature = "pipeline"), allow(dead_code, reason = "only the pipeline syncs many files at once"))]
pub(crate) const SYNCS_FILE_SYSTEMS: bool = cfg!(target_os = "linux");

/// Exchanges two files or folders, of which each has a name at every moment.
///
/// # Errors
/// The system's; [`io::ErrorKind::Unsupported`] among others where the system or the file system cannot do it.
pub(crate) fn exchange(a: &Path, b: &Path) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    return linux::exchange(a, b);
    #[cfg(target_vendor = "apple")]
    return apple::exchange(a, b);
    #[cfg(not(any(target_os = "linux", target_vendor = "apple")))]
    {
        let _ = (a, b);
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// Fills `buffer` from `offset` on, whatever the file's position.
///
/// # Errors
/// [`io::ErrorKind::UnexpectedEof`] when the file ends before; otherwise the system's.
pub(crate) fn read_exact_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<()> {
    family::read_exact_at(file, buffer, offset)
}

/// Whether `path` is still the file that was opened as `file`, and not another that took its name. Where the system does not
/// number its files, whether they have one length and one time of the last change.
pub(crate) fn is_same_file(file: &File, path: &Path) -> bool {
    match (file.metadata(), std::fs::metadata(path)) {
        (Ok(ours), Ok(theirs)) => family::is_same_file(&ours, &theirs),
        _ => false,
    }
}

/// Sets a variable in the environment of this process.
///
/// # Safety
/// No other thread reads or writes the environment meanwhile, except through Rust's `std::env`.
pub(crate) unsafe fn set_environment_variable(name: &str, value: &str) {
    // SAFETY: the caller's promise.
    unsafe { std::env::set_var(name, value) };
}

/// Bytes of memory that can be had without swapping: what the kernel counts as available, or less where a control group
/// limits this process.
pub(crate) fn available_memory() -> Option<u64> {
    #[cfg(target_os = "linux")]
    return linux::available_memory();
    #[cfg(target_vendor = "apple")]
    return apple::available_memory();
    #[cfg(windows)]
    return windows::available_memory();
    #[cfg(not(any(target_os = "linux", target_vendor = "apple", windows)))]
    None
}

/// Bytes of address space that this process may still use; `None` where nothing limits it, or the system does not tell.
pub(crate) fn address_space_left() -> Option<u64> {
    #[cfg(target_os = "linux")]
    return linux::address_space_left();
    #[cfg(not(target_os = "linux"))]
    None
}

/// CPUs that this process may compute on at once: cores of the machine within the process's CPU mask, fewer where a control
/// group has a quota. Two hyper-threads count as one, since they share what a matrix product needs. At least 1. Reads files,
/// so it is for the opening of a model, not for each step.
pub(crate) fn allowed_cpus() -> usize {
    let allowed = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    #[cfg(target_os = "linux")]
    return linux::cores_in_mask().map_or(allowed, |cores| cores.clamp(1, allowed));
    #[cfg(not(target_os = "linux"))]
    allowed
}

/// Runs `start`, which starts threads, such that they never receive a signal meant for the process: the host's handlers
/// run on its own threads. Signals of a thread's own faults and the timer of profilers are left alone.
pub(crate) fn without_signals<R>(start: impl FnOnce() -> R) -> R {
    #[cfg(unix)]
    return unix::without_signals(start);
    #[cfg(not(unix))]
    start()
}

/// Whether the system tells the path of an open file, which ONNX Runtime asks for before it maps weights. Not without /proc.
pub(crate) fn knows_open_files() -> bool {
    !cfg!(target_os = "linux") || Path::new("/proc/self/fd").exists()
}

/// The CPU's model name; empty where the system does not tell.
pub(crate) fn cpu_model_name() -> String {
    #[cfg(target_os = "linux")]
    return linux::cpu_model_name();
    #[cfg(not(target_os = "linux"))]
    String::new()
}

/// Whether [`find_library`] searches at all. Windows itself has an ONNX Runtime, which is too old and must not be found.
pub(crate) const SEARCHES_LIBRARIES: bool = cfg!(unix);

/// The environment variable with the folders in which the system looks for libraries.
pub(crate) const LIBRARY_FOLDERS: &str = if cfg!(windows) {
    "PATH"
} else if cfg!(target_vendor = "apple") {
    "DYLD_LIBRARY_PATH"
} else {
    "LD_LIBRARY_PATH"
};

/// Loads the library `name` by the system's own search and returns the path of the file found: an absolute one, except on
/// Android, where a library in an APK has a path inside that file, or only its name. The library stays loaded.
pub(crate) fn find_library(name: &str) -> Option<PathBuf> {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    return link_map::find_library(name);
    #[cfg(all(unix, not(all(target_os = "linux", target_env = "gnu"))))]
    return unix::find_library(name);
    #[cfg(not(unix))]
    {
        let _ = name;
        None
    }
}

/// Why the library `path` must not be loaded: it is shorter than its segments, as after an interrupted download. The loader
/// maps such a file, and the process dies of a signal (SIGBUS) at the first page that is missing. `None` for a whole file, one
/// of another format, and on other systems.
pub(crate) fn truncated_library(path: &Path) -> Option<String> {
    #[cfg(target_os = "linux")]
    return linux::truncated_library(path);
    #[cfg(not(target_os = "linux"))]
    {
        let _ = path;
        None
    }
}

/// The names that the system gives the file of the shared library `name`, most likely first. On iOS and its relatives it is
/// part of a framework, which an app has in its folder `Frameworks`.
pub(crate) fn library_file_names(name: &str) -> Vec<String> {
    if cfg!(windows) {
        vec![format!("{name}.dll")]
    } else if cfg!(target_os = "macos") {
        vec![format!("lib{name}.dylib")]
    } else if cfg!(target_vendor = "apple") {
        vec![format!("Frameworks/{name}.framework/{name}"), format!("{name}.framework/{name}")]
    } else {
        vec![format!("lib{name}.so"), format!("lib{name}.so.1")]
    }
}

/// Asks the system to let this process use AMX tiles, whose state is large. False where it does not know them.
#[cfg(target_arch = "x86_64")]
pub(crate) fn enable_amx() -> bool {
    #[cfg(target_os = "linux")]
    return linux::enable_amx();
    #[cfg(not(target_os = "linux"))]
    false
}

/// Runs `body`, in which a library may ask for AMX tiles: the system refuses. Once they are granted, the system allows no
/// signal stack any more that is too small for them, in the whole process; who does not use the tiles should not ask.
pub(crate) fn refusing_amx<R>(body: impl FnOnce() -> R) -> R {
    #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
    return linux::refusing_amx(body);
    #[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
    body()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_file_is_found() {
        assert_eq!(own_file().is_some_and(|file| file.exists()), cfg!(any(unix, windows)));
    }

    #[test]
    fn allowed_cpus_are_no_more_than_the_process_may_use() {
        let allowed = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        assert!((1..=allowed).contains(&allowed_cpus()));
    }

    #[test]
    fn path_from_bytes_keeps_the_name() {
        assert_eq!(path_from_bytes(c"a/b.dft").unwrap(), Path::new("a/b.dft"));
    }

    #[test]
    fn open_file_names_are_told_from_files() {
        assert!(!is_open_file_name(Path::new("/devices/file")) && !is_open_file_name(Path::new("dev")));
        assert!(!is_open_file_name(Path::new("/dev/shm/file")));
        #[cfg(target_os = "linux")]
        assert!(is_open_file_name(Path::new("/dev/fd/1")) && is_open_file_name(Path::new("/proc/self/fd/1")));
    }

    #[test]
    fn exchange_swaps_folders_or_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let [a, b] = ["a", "b"].map(|name| folder.path().join(name));
        for path in [&a, &b] {
            std::fs::create_dir(path).unwrap();
        }
        std::fs::write(a.join("of-a"), "").unwrap();
        let exchanged = exchange(&a, &b).is_ok();
        assert_eq!((a.join("of-a").exists(), b.join("of-a").exists()), (!exchanged, exchanged));
        assert!(exchange(&a, &folder.path().join("none")).is_err());
        assert!(a.exists());
    }

    #[test]
    fn find_library_without_such_a_library_is_none() {
        assert_eq!(find_library("libdetailflow-does-not-exist.so"), None);
    }
}
