//! How long steps and decodes take on this machine: [`latency`] measures and predicts, [`store`] keeps the measurements
//! of a calibration for later processes. Knows no model.

pub(crate) mod latency;
#[cfg(feature = "calibration")]
pub(crate) mod store;

/// The CPU's model name, empty where the system does not tell. Machines may share a cache directory.
pub(crate) fn cpu_name() -> String {
    let read = if cfg!(target_os = "linux") { std::fs::read_to_string("/proc/cpuinfo").ok() } else { None };
    let name = read.as_deref().and_then(|text| text.lines().find_map(|line| line.strip_prefix("model name")));
    name.map_or(String::new(), |name| name.trim_start_matches([' ', '\t', ':']).to_owned())
}
