//! The devices that `auto` tries.

use super::diagnose::is_built_in;
use super::facts::{Auto, Connection, FACTS, RequiredHardware};
use super::name::{Device, DeviceKind};
use super::openvino;
use super::plugin::DeviceListLock;
use super::raw;
use crate::runtime::{exit, library};
use crate::support::error::Result;

/// The devices that `auto` tries, best first. Devices whose provider is not available are left out; the CPU, which always
/// works, is the last.
///
/// # Errors
/// [`Error::Runtime`](crate::Error::Runtime) when ONNX Runtime cannot be loaded.
pub(crate) fn candidates() -> Result<Vec<Device>> {
    let _inside = exit::enter()?;
    let environment = library::environment()?;
    let _listed = DeviceListLock::new();
    // A machine whose hardware cannot be listed counts as one without a GPU.
    let hardware = raw::hardware(environment).unwrap_or_default();
    let mut found: Vec<(&Auto, Device)> = FACTS
        .iter()
        .filter_map(|facts| facts.auto.as_ref().map(|auto| (auto, (auto.device)())))
        .filter(|(auto, device)| has_hardware(&hardware, auto.hardware) && is_available(device))
        .collect();
    found.sort_by_key(|(auto, _)| auto.rank);
    Ok(found.into_iter().map(|(_, device)| device).collect())
}

fn has_hardware(hardware: &[raw::Hardware], wanted: RequiredHardware) -> bool {
    let mut gpus = hardware.iter().filter(|found| found.kind == DeviceKind::Gpu);
    match wanted {
        RequiredHardware::Unchecked => true,
        RequiredHardware::AnyGpu => gpus.next().is_some(),
        RequiredHardware::GpuOf(vendor) => gpus.any(|found| found.vendor_id == vendor),
    }
}

fn is_available(device: &Device) -> bool {
    let built_in = || is_built_in(device).unwrap_or(false);
    match device.facts().connection {
        Connection::Always(_) => true,
        Connection::BuiltIn(_) => built_in(),
        Connection::OpenVino => built_in() || openvino::find(device).is_ok(),
        Connection::Plugin | Connection::Resolved => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auto_needs_the_hardware_of_the_row() {
        let gpu = |vendor_id| raw::Hardware {
            kind: DeviceKind::Gpu,
            vendor: String::new(),
            vendor_id,
            device_id: 0,
            metadata: Vec::new(),
        };
        let cpu = raw::Hardware { kind: DeviceKind::Cpu, ..gpu(7) };
        for (hardware, wanted, found) in [
            (vec![], RequiredHardware::Unchecked, true),
            (vec![cpu.clone()], RequiredHardware::AnyGpu, false),
            (vec![cpu.clone(), gpu(1)], RequiredHardware::AnyGpu, true),
            (vec![cpu, gpu(1)], RequiredHardware::GpuOf(7), false),
            (vec![gpu(1), gpu(7)], RequiredHardware::GpuOf(7), true),
        ] {
            assert_eq!(has_hardware(&hardware, wanted), found, "{wanted:?}");
        }
    }
}
