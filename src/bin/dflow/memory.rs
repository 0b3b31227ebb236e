//! The memory of this process.

/// Peak resident memory of this process so far, in bytes. None where the operating system does not report it.
pub fn peak() -> Option<u64> {
    let status =
        if cfg!(target_os = "linux") { std::fs::read_to_string("/proc/self/status").ok()? } else { return None };
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
}
