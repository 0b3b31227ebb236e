//! Which devices are here.

use std::ffi::{CString, c_char};

use super::call::{call, free, into_handle, object, output};
use super::plain::{Plain, write};
use super::status::{Failure, c_string, detailflow_status};
use crate::runtime::{DeviceInfo, DeviceKind, devices};

/// A general processor.
pub const DETAILFLOW_DEVICE_CPU: u32 = 1;
/// A graphics card.
pub const DETAILFLOW_DEVICE_GPU: u32 = 2;
/// A processor for neural networks.
pub const DETAILFLOW_DEVICE_NPU: u32 = 3;

/// The devices of this machine as they were when it was made. Made by detailflow_device_list_new; const from then on.
pub struct detailflow_device_list(Vec<Entry>);

struct Entry {
    kind: u32,
    vendor_id: u32,
    device_id: u32,
    device: Option<CString>,
    vendor: CString,
    name: CString,
    provider: CString,
    metadata: Vec<(CString, CString)>,
}

impl From<&DeviceInfo> for Entry {
    fn from(info: &DeviceInfo) -> Self {
        Self {
            kind: match info.kind {
                DeviceKind::Cpu => DETAILFLOW_DEVICE_CPU,
                DeviceKind::Gpu => DETAILFLOW_DEVICE_GPU,
                DeviceKind::Npu => DETAILFLOW_DEVICE_NPU,
            },
            vendor_id: info.vendor_id,
            device_id: info.device_id,
            device: info.device.as_ref().map(|device| c_string(&device.to_string())),
            vendor: c_string(&info.vendor),
            name: c_string(&info.name),
            provider: c_string(&info.provider),
            metadata: info.metadata.iter().map(|(key, value)| (c_string(key), c_string(value))).collect(),
        }
    }
}

/// A device. The strings live as long as the list.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct detailflow_device_info {
    /// sizeof(detailflow_device_info).
    pub struct_size: u32,
    /// DETAILFLOW_DEVICE_CPU, DETAILFLOW_DEVICE_GPU or DETAILFLOW_DEVICE_NPU.
    pub kind: u32,
    /// The PCI number of the vendor, 0 where it is not known.
    pub vendor_id: u32,
    /// The vendor's number of this model, 0 where it is not known. Not a number of the card.
    pub device_id: u32,
    /// How many pairs detailflow_device_list_metadata gives.
    pub metadata_count: u32,
    /// 0.
    pub reserved: u32,
    /// What detailflow_model_options_set_device takes; NULL when no provider that is here can use it.
    pub device: *const c_char,
    /// Who made the processor; "" where it is not known.
    pub vendor: *const c_char,
    /// What it is called; "" where it is not known.
    pub name: *const c_char,
    /// ONNX Runtime's name of the provider; "" when there is none.
    pub provider: *const c_char,
}

// SAFETY: struct_size comes first, and it holds numbers and pointers only.
unsafe impl Plain for detailflow_device_info {
    const NAME: &'static str = "detailflow_device_info";
    fn struct_size(&mut self) -> &mut u32 {
        &mut self.struct_size
    }
}

/// Lists the devices that can be selected here, and those that cannot because no provider is there. Loads ONNX Runtime
/// if that has not happened, and OpenVINO's provider library where it is found. That a device is listed does not say that
/// it works: opening a model there does. Free with detailflow_device_list_free.
///
/// Errors: NO_RUNTIME, NO_DEVICE (ONNX Runtime cannot tell).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn detailflow_device_list_new(list: *mut *mut detailflow_device_list) -> detailflow_status {
    call(|| {
        // SAFETY: the contract of the header.
        let place = unsafe { output(list, "list") }?;
        let entries = devices()?.iter().map(Entry::from).collect();
        place.set(into_handle(detailflow_device_list(entries)));
        Ok(())
    })
}

/// Frees a list. NULL is fine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn detailflow_device_list_free(list: *mut detailflow_device_list) {
    // SAFETY: the contract of the header.
    unsafe { free(list) }
}

/// How many devices there are, into `count`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn detailflow_device_list_count(
    list: *const detailflow_device_list,
    count: *mut usize,
) -> detailflow_status {
    call(|| {
        // SAFETY: the contract of the header.
        let entries = &unsafe { object(list, "list") }?.0;
        // SAFETY: the contract of the header.
        unsafe { output(count, "count") }?.set(entries.len());
        Ok(())
    })
}

/// Fills `info`, whose struct_size is set, with device `index`, 0 to the count - 1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn detailflow_device_list_get_info(
    list: *const detailflow_device_list,
    index: usize,
    info: *mut detailflow_device_info,
) -> detailflow_status {
    call(|| {
        // SAFETY: the contract of the header.
        let entry = entry(unsafe { object(list, "list") }?, index)?;
        let filled = detailflow_device_info {
            struct_size: 0,
            kind: entry.kind,
            vendor_id: entry.vendor_id,
            device_id: entry.device_id,
            metadata_count: entry.metadata.len() as u32,
            reserved: 0,
            device: entry.device.as_ref().map_or(std::ptr::null(), |device| device.as_ptr()),
            vendor: entry.vendor.as_ptr(),
            name: entry.name.as_ptr(),
            provider: entry.provider.as_ptr(),
        };
        // SAFETY: the contract of the header.
        unsafe { write(info, filled) }
    })
}

/// What system and provider tell of device `index`, pair `at` of its metadata_count: LUID, UUID, PCI address, drivers …
/// under their own names. The strings live as long as the list.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn detailflow_device_list_metadata(
    list: *const detailflow_device_list,
    index: usize,
    at: usize,
    key: *mut *const c_char,
    value: *mut *const c_char,
) -> detailflow_status {
    call(|| {
        // SAFETY: the contract of the header.
        let entry = entry(unsafe { object(list, "list") }?, index)?;
        // SAFETY: the contract of the header.
        let (key, value) = unsafe { (output(key, "key")?, output(value, "value")?) };
        let pairs = &entry.metadata;
        let pair = pairs.get(at).ok_or_else(|| {
            Failure::invalid(format!("at is {at}; device {index} has {} pairs of metadata", pairs.len()))
        })?;
        key.set(pair.0.as_ptr());
        value.set(pair.1.as_ptr());
        Ok(())
    })
}

fn entry(list: &detailflow_device_list, index: usize) -> Result<&Entry, Failure> {
    let count = list.0.len();
    list.0.get(index).ok_or_else(|| Failure::invalid(format!("index is {index}; there are {count} devices")))
}
