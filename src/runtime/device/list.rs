//! The devices of this machine, as far as ONNX Runtime and its providers tell.

use super::provider::{self, Listed};
use super::{Device, DeviceKind};
use crate::runtime::{exit, library, raw};
use crate::support::error::{Error, Result};

/// A device of this machine.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct DeviceInfo {
    /// The text that selects it, such as `openvino:CPU`; none when no provider that is here can use it.
    pub device: Option<Device>,
    /// What sort of processor it is; where the provider is there and lists no device, what it is made for.
    pub kind: DeviceKind,
    /// Who made the processor; empty where it is not known.
    pub vendor: String,
    /// What it is called; empty where it is not known.
    pub name: String,
    /// ONNX Runtime's name of the provider; empty when there is none.
    pub provider: String,
    /// The PCI number of the vendor, 0 where it is not known.
    pub vendor_id: u32,
    /// The vendor's number of this model, 0 where it is not known. Not a number of the card.
    pub device_id: u32,
    /// Everything that system and provider tell: LUID, UUID, PCI address, drivers … under their own names.
    pub metadata: Vec<(String, String)>,
}

/// The devices that can be selected here, and those that cannot because no provider is there. Loads ONNX Runtime, and
/// OpenVINO's provider library where it is found. That a device is listed does not say that it works: opening a model
/// there does.
///
/// # Errors
/// [`Error::Runtime`] when there is no ONNX Runtime; [`Error::Device`] when it cannot tell.
pub fn devices() -> Result<Vec<DeviceInfo>> {
    let _inside = exit::enter()?;
    let environment = library::environment()?;
    let fail = |error: ort::Error| Error::Device(format!("the devices cannot be listed: {}", error.message()));
    provider::load_openvino(environment);
    let listed = Listed::new();
    let offers = raw::offers(environment).map_err(fail)?;
    let built_in = raw::available_providers().map_err(fail)?;
    let mut all = Vec::new();
    for (at, offer) in offers.iter().enumerate() {
        let earlier = offers[..at].iter().filter(|earlier| earlier.provider == offer.provider).count() as u32;
        let Some(device) = selects(at, offer, earlier, &listed) else { continue };
        all.push(describe(Some(device), offer.provider.clone(), &offer.hardware, &offer.metadata));
    }
    // Providers of the older kind do not list their devices.
    for device in older() {
        let provider = provider::providers(&device)[0];
        if built_in.iter().any(|name| name == provider) && !offers.iter().any(|offer| offer.provider == provider) {
            all.push(DeviceInfo {
                device: Some(device),
                kind: DeviceKind::Gpu,
                vendor: String::new(),
                name: String::new(),
                provider: provider.to_owned(),
                vendor_id: 0,
                device_id: 0,
                metadata: Vec::new(),
            });
        }
    }
    // What the machine has and nothing here uses. Where ONNX Runtime cannot tell there is nothing to add.
    let used = |found: &raw::Hardware| offers.iter().any(|offer| offer.hardware == *found);
    for found in raw::hardware(environment).unwrap_or_default().iter().filter(|found| !used(found)) {
        all.push(describe(None, String::new(), found, &Vec::new()));
    }
    Ok(all)
}

fn older() -> [Device; 6] {
    [
        Device::Cuda { index: 0 },
        Device::TensorRt { index: 0 },
        Device::MiGraphX { index: 0 },
        Device::DirectMl { index: 0 },
        Device::CoreMl,
        Device::WebGpu,
    ]
}

/// The device that selects an offer, the one after `earlier` others of its provider; none for those that stand for
/// several.
fn selects(at: usize, offer: &raw::Offer, earlier: u32, listed: &Listed) -> Option<Device> {
    let index = earlier;
    match (offer.provider.as_str(), listed.plugin_of(at)) {
        ("CPUExecutionProvider", None) => Some(Device::Cpu),
        ("CUDAExecutionProvider", None) => Some(Device::Cuda { index }),
        ("TensorrtExecutionProvider", None) => Some(Device::TensorRt { index }),
        ("DmlExecutionProvider", None) => Some(Device::DirectMl { index }),
        ("MIGraphXExecutionProvider", None) => Some(Device::MiGraphX { index }),
        ("CoreMLExecutionProvider", None) => (index == 0).then_some(Device::CoreMl),
        ("WebGpuExecutionProvider", None) => (index == 0).then_some(Device::WebGpu),
        (provider::OPENVINO, _) => Some(Device::OpenVino { kind: offer.hardware.kind }),
        // Compositions of OpenVINO's devices.
        (name, _) if name.starts_with(provider::OPENVINO) => None,
        (_, Some((path, own))) => Some(Device::Plugin { path: path.to_owned(), device: Some(own.to_string()) }),
        (_, None) => None,
    }
}

fn describe(device: Option<Device>, provider: String, hardware: &raw::Hardware, more: &raw::Pairs) -> DeviceInfo {
    let metadata: raw::Pairs = hardware.metadata.iter().chain(more).cloned().collect();
    // Each provider has its own word.
    let name = ["FULL_DEVICE_NAME", "Description", "name", "device_name", "model"]
        .iter()
        .find_map(|key| metadata.iter().find(|(known, value)| known == key && !value.is_empty()))
        .map(|(_, value)| value.clone());
    let processor = || if hardware.kind == DeviceKind::Cpu { crate::timing::cpu_name() } else { String::new() };
    DeviceInfo {
        device,
        kind: hardware.kind,
        vendor: hardware.vendor.clone(),
        name: name.unwrap_or_else(processor),
        provider,
        vendor_id: hardware.vendor_id,
        device_id: hardware.device_id,
        metadata,
    }
}
