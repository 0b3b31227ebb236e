//! The process: its end, its memory.

use std::ffi::{c_int, c_void};
use std::sync::Once;

use windows_sys::Win32::System::LibraryLoader::{GetModuleHandleW, GetProcAddress};
use windows_sys::Win32::System::SystemInformation::{GlobalMemoryStatusEx, MEMORYSTATUSEX};
use windows_sys::core::w;

/// `exit()` is a function of a C runtime, of which a process may have several, each with a list of its own. We register with
/// the shared ones, and with that of the program where we are linked into it. In a DLL `atexit` is a list of the DLL, which is
/// run when the system has ended all other threads; then [`threads_are_gone`].
///
/// Handlers run under a lock of the C runtime that a later registration would wait for, so there is one. It is enough: ONNX
/// Runtime's static objects are destroyed when its DLL is detached, after all handlers.
pub(in super::super) fn at_exit(handler: extern "C" fn()) {
    unsafe extern "C" {
        fn atexit(handler: extern "C" fn()) -> c_int;
    }
    type Register = unsafe extern "C" fn(extern "C" fn()) -> *mut c_void;
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let shared = [
            (w!("ucrtbase.dll"), c"_crt_atexit"),
            (w!("ucrtbased.dll"), c"_crt_atexit"),
            (w!("msvcrt.dll"), c"_onexit"),
        ];
        for (library, function) in shared {
            // SAFETY: two C strings. Both functions take a function without parameters, whose result is not looked at, and
            // return something that is not needed. The handler is code of this library, which is never unloaded.
            unsafe {
                let module = GetModuleHandleW(library);
                if !module.is_null()
                    && let Some(register) = GetProcAddress(module, function.as_ptr().cast())
                {
                    std::mem::transmute::<unsafe extern "system" fn() -> isize, Register>(register)(handler);
                }
            }
        }
        // SAFETY: as above.
        unsafe { atexit(handler) };
    });
}

pub(in super::super) fn threads_are_gone() -> bool {
    // Of no header, but in all versions of Windows, and documented for Microsoft's own C runtime.
    #[link(name = "ntdll", kind = "raw-dylib")]
    unsafe extern "system" {
        fn RtlDllShutdownInProgress() -> u8;
    }
    // SAFETY: it takes nothing and returns whether the process is ending and the other threads are gone.
    unsafe { RtlDllShutdownInProgress() != 0 }
}

pub(in super::super) fn at_fork_in_child(_handler: extern "C" fn()) {}

pub(in super::super) fn disable_cancellation() -> i32 {
    0
}

pub(in super::super) fn restore_cancellation(_before: i32) {}

pub(in super::super) fn available_memory() -> Option<u64> {
    // SAFETY: an all-zero struct is valid; the call fills it when it tells its own size.
    let status = unsafe {
        let mut status: MEMORYSTATUSEX = std::mem::zeroed();
        status.dwLength = size_of::<MEMORYSTATUSEX>() as u32;
        (GlobalMemoryStatusEx(&raw mut status) != 0).then_some(status)?
    };
    Some(status.ullAvailPhys.min(status.ullAvailPageFile))
}
