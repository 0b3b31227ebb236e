//! ONNX Runtime's own account of devices, node placement and memory: calls that `ort` has no safe name for.
//!
//! Every function needs an environment or a session, so that the library is loaded. Strings of ONNX Runtime are copied
//! before anything can free them.

#![allow(unsafe_code, reason = "calls of ONNX Runtime that ort does not wrap")]

use std::ffi::{CStr, c_char};
use std::ptr;

use ort::AsPointer;
use ort::environment::Environment;
use ort::memory::Allocator;
use ort::session::Session;
use ort::sys;

use super::name::DeviceKind;

/// Named texts, in ONNX Runtime's order.
pub(super) type Pairs = Vec<(String, String)>;

/// A hardware device that ONNX Runtime found.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Hardware {
    pub kind: DeviceKind,
    pub vendor: String,
    pub vendor_id: u32,
    pub device_id: u32,
    /// LUID, UUID, PCI address …, if the system has them.
    pub metadata: Pairs,
}

/// A device that a provider offers.
#[derive(Debug, Clone)]
pub(super) struct Offer {
    pub provider: String,
    pub metadata: Pairs,
    pub hardware: Hardware,
}

/// The providers that the library was built with.
pub(super) fn available_providers() -> ort::Result<Vec<String>> {
    let (mut names, mut count) = (ptr::null_mut(), 0);
    // SAFETY: both outputs are ours. On success they are an array of `count` strings that stays until it is released,
    // which happens after they are copied.
    unsafe {
        checked((ort::api().GetAvailableProviders)(&mut names, &mut count))?;
        let found = (0..count as usize).map(|index| text(*names.add(index))).collect();
        checked((ort::api().ReleaseAvailableProviders)(names, count))?;
        Ok(found)
    }
}

/// The hardware devices of this machine, including those that no provider can use.
pub(super) fn hardware(environment: &Environment) -> ort::Result<Vec<Hardware>> {
    let mut count = 0;
    // SAFETY: the environment lives, and the array has room for as many as it was asked for. The devices belong to the
    // environment, which is never released.
    unsafe {
        checked((ort::api().GetNumHardwareDevices)(environment.ptr(), &mut count))?;
        #[allow(clippy::disallowed_methods, reason = "as many as the machine has devices")]
        let mut devices = vec![ptr::null(); count];
        checked((ort::api().GetHardwareDevices)(environment.ptr(), devices.as_mut_ptr(), count))?;
        Ok(devices.into_iter().filter(|device| !device.is_null()).map(|device| describe(device)).collect())
    }
}

/// The devices that registered providers offer, in the order of [`Environment::devices`]. No provider may be registered
/// at the same time.
pub(super) fn offers(environment: &Environment) -> ort::Result<Vec<Offer>> {
    let (mut devices, mut count) = (ptr::null(), 0);
    // SAFETY: the environment lives. The array belongs to it and changes only when a provider is registered, which the
    // caller prevents; the entries live as long as the process.
    unsafe {
        checked((ort::api().GetEpDevices)(environment.ptr(), &mut devices, &mut count))?;
        Ok((0..count)
            .map(|index| *devices.add(index))
            .map(|device| Offer {
                provider: text((ort::api().EpDevice_EpName)(device)),
                metadata: pairs((ort::api().EpDevice_EpMetadata)(device)),
                hardware: describe((ort::api().EpDevice_Device)(device)),
            })
            .collect())
    }
}

/// The operator types of a session's nodes, by the provider that took them. The session must have been told to record
/// them. Nodes that a provider takes in a second pass are not always recorded (WebGPU of 1.27); those of the CPU are.
pub(super) fn assignment(session: &Session) -> ort::Result<Vec<(String, Vec<String>)>> {
    let (mut subgraphs, mut count) = (ptr::null(), 0);
    // SAFETY: the session lives, and owns everything that is read here.
    unsafe {
        checked((ort::api().Session_GetEpGraphAssignmentInfo)(session.ptr(), &mut subgraphs, &mut count))?;
        (0..count)
            .map(|index| {
                let subgraph = *subgraphs.add(index);
                let (mut name, mut nodes, mut node_count) = (ptr::null(), ptr::null(), 0);
                checked((ort::api().EpAssignedSubgraph_GetEpName)(subgraph, &mut name))?;
                checked((ort::api().EpAssignedSubgraph_GetNodes)(subgraph, &mut nodes, &mut node_count))?;
                let types = (0..node_count).map(|index| {
                    let mut kind = ptr::null();
                    checked((ort::api().EpAssignedNode_GetOperatorType)(*nodes.add(index), &mut kind))?;
                    Ok(text(kind))
                });
                Ok((text(name), types.collect::<ort::Result<_>>()?))
            })
            .collect()
    }
}

/// Statistics of an allocator: `InUse`, `TotalAllocated` … in bytes; empty when it has none.
pub(super) fn statistics(allocator: &Allocator) -> Pairs {
    let mut found = ptr::null_mut();
    // SAFETY: the allocator lives; the pairs are ours, and are released after they are copied. An allocator without
    // statistics returns an error, which is released too.
    unsafe {
        if checked((ort::api().AllocatorGetStats)(allocator.ptr(), &mut found)).is_err() || found.is_null() {
            return Pairs::new();
        }
        let copied = pairs(found);
        (ort::api().ReleaseKeyValuePairs)(found);
        copied
    }
}

/// # Safety
/// `device` is a hardware device of the environment.
unsafe fn describe(device: *const sys::OrtHardwareDevice) -> Hardware {
    // SAFETY: as the caller promises; these calls only read.
    unsafe {
        let api = ort::api();
        Hardware {
            kind: match (api.HardwareDevice_Type)(device) {
                sys::OrtHardwareDeviceType::OrtHardwareDeviceType_CPU => DeviceKind::Cpu,
                sys::OrtHardwareDeviceType::OrtHardwareDeviceType_GPU => DeviceKind::Gpu,
                sys::OrtHardwareDeviceType::OrtHardwareDeviceType_NPU => DeviceKind::Npu,
            },
            vendor: text((api.HardwareDevice_Vendor)(device)),
            vendor_id: (api.HardwareDevice_VendorId)(device),
            device_id: (api.HardwareDevice_DeviceId)(device),
            metadata: pairs((api.HardwareDevice_Metadata)(device)),
        }
    }
}

/// # Safety
/// `list` is NULL or lives.
unsafe fn pairs(list: *const sys::OrtKeyValuePairs) -> Pairs {
    if list.is_null() {
        return Pairs::new();
    }
    let (mut keys, mut values, mut count) = (ptr::null(), ptr::null(), 0);
    // SAFETY: as the caller promises; both arrays have `count` strings and belong to the list.
    unsafe {
        (ort::api().GetKeyValuePairs)(list, &mut keys, &mut values, &mut count);
        (0..count).map(|index| (text(*keys.add(index)), text(*values.add(index)))).collect()
    }
}

/// # Safety
/// `string` is NULL or zero-terminated.
unsafe fn text(string: *const c_char) -> String {
    if string.is_null() {
        return String::new();
    }
    // SAFETY: as the caller promises.
    unsafe { CStr::from_ptr(string) }.to_string_lossy().into_owned()
}

/// # Safety
/// `status` was just returned by ONNX Runtime, and nothing else releases it.
unsafe fn checked(status: sys::OrtStatusPtr) -> ort::Result<()> {
    // SAFETY: as the caller promises.
    unsafe { ort::Error::result_from_status(status) }
}
