//! What ONNX Runtime tells of its devices, and of what runs where: calls that `ort` has no safe name for.
//!
//! Every function needs an environment or a session, so the library is loaded; the strings that ONNX Runtime gives are
//! copied before anything can free them.

#![allow(unsafe_code)]

use std::ffi::{CStr, c_char};
use std::ptr;

use ort::AsPointer;
use ort::environment::Environment;
use ort::memory::Allocator;
use ort::session::Session;
use ort::sys;

use super::device::DeviceKind;

/// Keys and values, in the order in which they were given.
pub(super) type Pairs = Vec<(String, String)>;

/// A processor as ONNX Runtime found it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Hardware {
    pub kind: DeviceKind,
    pub vendor: String,
    pub vendor_id: u32,
    pub device_id: u32,
    /// LUID, UUID, PCI address … where the system tells.
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
    // which is after the last look.
    unsafe {
        checked((ort::api().GetAvailableProviders)(&mut names, &mut count))?;
        let found = (0..count as usize).map(|at| text(*names.add(at))).collect();
        checked((ort::api().ReleaseAvailableProviders)(names, count))?;
        Ok(found)
    }
}

/// The processors of this machine, whether a provider can use them or not.
pub(super) fn hardware(environment: &Environment) -> ort::Result<Vec<Hardware>> {
    let mut count = 0;
    // SAFETY: the environment lives, and the array has room for as many as it was asked for. The devices belong to the
    // environment, which is never released.
    unsafe {
        checked((ort::api().GetNumHardwareDevices)(environment.ptr(), &mut count))?;
        let mut devices = vec![ptr::null(); count];
        checked((ort::api().GetHardwareDevices)(environment.ptr(), devices.as_mut_ptr(), count))?;
        Ok(devices.into_iter().filter(|device| !device.is_null()).map(|device| describe(device)).collect())
    }
}

/// What the providers that are registered offer, in ONNX Runtime's order, which is that of
/// [`Environment::devices`]. Nobody may register a provider meanwhile.
pub(super) fn offers(environment: &Environment) -> ort::Result<Vec<Offer>> {
    let (mut devices, mut count) = (ptr::null(), 0);
    // SAFETY: the environment lives. The array is its own and stays as it is until a provider is registered, which the
    // caller keeps from happening; what it points to stays for ever.
    unsafe {
        checked((ort::api().GetEpDevices)(environment.ptr(), &mut devices, &mut count))?;
        Ok((0..count)
            .map(|at| *devices.add(at))
            .map(|device| Offer {
                provider: text((ort::api().EpDevice_EpName)(device)),
                metadata: pairs((ort::api().EpDevice_EpMetadata)(device)),
                hardware: describe((ort::api().EpDevice_Device)(device)),
            })
            .collect())
    }
}

/// The nodes of a session: which provider took them, and of which type they are. Only a session that was told to record
/// it knows. Providers that take nodes in a second pass are not always named (seen: WebGPU of 1.27); what is on the CPU
/// is.
pub(super) fn assignment(session: &Session) -> ort::Result<Vec<(String, Vec<String>)>> {
    let (mut subgraphs, mut count) = (ptr::null(), 0);
    // SAFETY: the session lives, and all that it gives here belongs to it.
    unsafe {
        checked((ort::api().Session_GetEpGraphAssignmentInfo)(session.ptr(), &mut subgraphs, &mut count))?;
        (0..count)
            .map(|at| {
                let subgraph = *subgraphs.add(at);
                let (mut name, mut nodes, mut node_count) = (ptr::null(), ptr::null(), 0);
                checked((ort::api().EpAssignedSubgraph_GetEpName)(subgraph, &mut name))?;
                checked((ort::api().EpAssignedSubgraph_GetNodes)(subgraph, &mut nodes, &mut node_count))?;
                let types = (0..node_count).map(|at| {
                    let mut kind = ptr::null();
                    checked((ort::api().EpAssignedNode_GetOperatorType)(*nodes.add(at), &mut kind))?;
                    Ok(text(kind))
                });
                Ok((text(name), types.collect::<ort::Result<_>>()?))
            })
            .collect()
    }
}

/// What an allocator says of itself: `InUse`, `TotalAllocated` … in bytes; empty when it does not count.
pub(super) fn statistics(allocator: &Allocator) -> Pairs {
    let mut found = ptr::null_mut();
    // SAFETY: the allocator lives; the pairs are ours once they are given, and are released after the last look. An
    // allocator that does not count gives an error, which is released too.
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
    // SAFETY: as the caller promises; these only read what is there.
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
        (0..count).map(|at| (text(*keys.add(at)), text(*values.add(at)))).collect()
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
/// `status` was just given by ONNX Runtime, and nobody else releases it.
pub(super) unsafe fn checked(status: sys::OrtStatusPtr) -> ort::Result<()> {
    // SAFETY: as the caller promises.
    unsafe { ort::Error::result_from_status(status) }
}
