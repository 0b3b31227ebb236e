//! The devices of this machine, as far as ONNX Runtime and its execution providers list them.

use super::facts::{FACTS, OPENVINO_PROVIDER};
use super::name::{Device, DeviceKind};
use super::openvino;
use super::plugin::DeviceListLock;
use super::raw;
use crate::runtime::{exit, library};
use crate::support::error::{Error, Result};

/// A device of this machine.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct DeviceInfo {
    /// The device, whose text selects it (`openvino:CPU`). `None` when no available provider can use it.
    pub device: Option<Device>,
    /// Kind of processor. For a provider that does not list its devices: the kind that it is made for.
    pub kind: DeviceKind,
    /// Vendor of the hardware; empty when unknown.
    pub vendor: String,
    /// Name of the hardware; empty when unknown.
    pub name: String,
    /// ONNX Runtime's name of the execution provider; empty when there is none.
    pub provider: String,
    /// PCI number of the vendor, 0 when unknown.
    pub vendor_id: u32,
    /// The vendor's number of this model of processor, 0 when unknown. It is not the index of a GPU.
    pub device_id: u32,
    /// What the system and the provider tell, under their own names: LUID, UUID, PCI address, driver version …
    pub metadata: Vec<(String, String)>,
}

/// Lists the devices of this machine: those that can be selected, and those that no available provider can use. Loads
/// ONNX Runtime, and OpenVINO's provider library if it is found. A listed device may still fail: opening a model checks
/// that it works.
///
/// # Errors
/// [`Error::Runtime`] when ONNX Runtime cannot be loaded; [`Error::Device`] when it fails to list devices.
pub fn devices() -> Result<Vec<DeviceInfo>> {
    let _inside = exit::enter()?;
    let environment = library::environment()?;
    let fail = |error: ort::Error| Error::Device(format!("the devices cannot be listed: {}", error.message()));
    openvino::load(environment);
    let listed = DeviceListLock::new();
    let offers = raw::offers(environment).map_err(fail)?;
    let built_in = raw::available_providers().map_err(fail)?;
    let mut all = Vec::new();
    for (number, offer) in offers.iter().enumerate() {
        let earlier = offers[..number].iter().filter(|earlier| earlier.provider == offer.provider).count() as u32;
        let Some(device) = selected_by(number, offer, earlier, &listed) else { continue };
        all.push(describe(Some(device), offer.provider.clone(), &offer.hardware, &offer.metadata));
    }
    // Some providers that are built in do not list their devices.
    for (facts, kind) in FACTS.iter().filter_map(|facts| Some((facts, facts.unlisted_kind?))) {
        let Some(&provider) = facts.providers.first() else { continue };
        if built_in.iter().any(|name| name == provider) && !offers.iter().any(|offer| offer.provider == provider) {
            all.push(DeviceInfo {
                device: Some(facts.device(0)),
                kind,
                vendor: String::new(),
                name: String::new(),
                provider: provider.to_owned(),
                vendor_id: 0,
                device_id: 0,
                metadata: Vec::new(),
            });
        }
    }
    // Hardware that no provider uses. Where ONNX Runtime cannot list hardware, there is nothing to add.
    let used = |found: &raw::Hardware| offers.iter().any(|offer| offer.hardware == *found);
    for found in raw::hardware(environment).unwrap_or_default().iter().filter(|found| !used(found)) {
        all.push(describe(None, String::new(), found, &Vec::new()));
    }
    Ok(all)
}

/// The device that selects offer `number`, which comes after `earlier` others of its provider; `None` when the offer is
/// not a single device, or has no text that selects it.
fn selected_by(number: usize, offer: &raw::Offer, earlier: u32, listed: &DeviceListLock) -> Option<Device> {
    if offer.provider == OPENVINO_PROVIDER {
        return Some(Device::OpenVino { kind: offer.hardware.kind });
    }
    // Compositions of OpenVINO's devices.
    if offer.provider.starts_with(OPENVINO_PROVIDER) {
        return None;
    }
    if let Some((path, own)) = listed.plugin_of(number) {
        return Some(Device::Plugin { path: path.to_owned(), device: Some(own.to_string()) });
    }
    let facts = FACTS.iter().find(|facts| facts.providers.first() == Some(&offer.provider.as_str()))?;
    (earlier == 0 || !facts.single).then(|| facts.device(earlier))
}

fn describe(device: Option<Device>, provider: String, hardware: &raw::Hardware, more: &raw::Pairs) -> DeviceInfo {
    let metadata: raw::Pairs = hardware.metadata.iter().chain(more).cloned().collect();
    // Providers use different keys for the name.
    let name = ["FULL_DEVICE_NAME", "Description", "name", "device_name", "model"]
        .iter()
        .find_map(|key| metadata.iter().find(|(known, value)| known == key && !value.is_empty()))
        .map(|(_, value)| value.clone());
    let cpu_name =
        || if hardware.kind == DeviceKind::Cpu { crate::support::platform::cpu_model_name() } else { String::new() };
    DeviceInfo {
        device,
        kind: hardware.kind,
        vendor: hardware.vendor.clone(),
        name: name.unwrap_or_else(cpu_name),
        provider,
        vendor_id: hardware.vendor_id,
        device_id: hardware.device_id,
        metadata,
    }
}
