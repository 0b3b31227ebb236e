//! Memory whose size comes from a request or a file: asked for in a way that can fail.

use crate::support::error::{Error, Result};

/// Less than this is not looked up before it is asked for.
const SMALL: u64 = 64 << 20;

/// An empty vector with room for `count` elements, or [`Error::OutOfMemory`] instead of an abort.
pub(crate) fn reserve<T>(what: &str, count: usize) -> Result<Vec<T>> {
    let bytes = (count as u64).saturating_mul(size_of::<T>() as u64);
    check(what, bytes)?;
    let mut memory = Vec::new();
    memory.try_reserve_exact(count).map_err(|_| Error::OutOfMemory { what: what.to_owned(), bytes })?;
    Ok(memory)
}

/// A vector of `count` copies of `value`, allocated as [`reserve`] does.
pub(crate) fn filled<T: Clone>(what: &str, count: usize, value: T) -> Result<Vec<T>> {
    let mut memory = reserve(what, count)?;
    memory.resize(count, value);
    Ok(memory)
}

/// Refuses what cannot fit. The system promises memory that it does not have, and then kills whoever uses it: better to
/// say so before. Small amounts are not looked up, so ordinary work opens no file for this.
pub(crate) fn check(what: &str, bytes: u64) -> Result<()> {
    if bytes > SMALL && available().is_some_and(|available| bytes > available) {
        return Err(Error::OutOfMemory { what: what.to_owned(), bytes });
    }
    Ok(())
}

/// Bytes that can be had without swapping: what the kernel counts as available, or less where a control group says so.
/// None where that cannot be told.
fn available() -> Option<u64> {
    if !cfg!(target_os = "linux") {
        return None;
    }
    let number = |path: &str| std::fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    let group = |limit, used| Some(number(limit)?.saturating_sub(number(used)?));
    let machine = available_in(&std::fs::read_to_string("/proc/meminfo").ok()?);
    let version_2 = group("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current");
    let version_1 = group("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes");
    [machine, version_2, version_1].into_iter().flatten().min()
}

/// `MemAvailable` of the text of /proc/meminfo.
fn available_in(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_had_is_refused() {
        assert!(matches!(reserve::<u64>("it", usize::MAX / 8), Err(Error::OutOfMemory { .. })));
        assert!(matches!(reserve::<u8>("it", isize::MAX as usize), Err(Error::OutOfMemory { .. })));
        assert_eq!(filled("it", 3, 7u8).unwrap(), [7, 7, 7]);
    }

    #[test]
    fn meminfo_is_read() {
        assert_eq!(available_in("MemTotal: 9 kB\nMemAvailable:    24000 kB\nBuffers: 1 kB\n"), Some(24_576_000));
        assert_eq!(available_in("MemTotal: 9 kB\n"), None);
    }
}
