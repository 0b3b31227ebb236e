//! The devices of this machine.

use std::ffi::{CString, c_char};

use super::call::call;
use super::error::detailflow_error;
use super::family::family;
use super::handle::Object;
use super::param::{Out, Owned, Shared};
use super::plain::Plain;
use super::status::{Failure, c_string, detailflow_status};
use crate::runtime::{DeviceInfo, DeviceKind, devices};

/// Kinds of devices.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum detailflow_device_kind {
    /// A CPU.
    DETAILFLOW_DEVICE_KIND_CPU = 1,
    /// A graphics card.
    DETAILFLOW_DEVICE_KIND_GPU = 2,
    /// A neural processing unit.
    DETAILFLOW_DEVICE_KIND_NPU = 3,
}

family!(detailflow_device_kind: DETAILFLOW_DEVICE_KIND_CPU, DETAILFLOW_DEVICE_KIND_GPU, DETAILFLOW_DEVICE_KIND_NPU);

/// The devices of this machine at the time the list was made. Thread-safe.
#[derive(Debug)]
pub struct detailflow_device_list(Vec<Entry>);

impl Object for detailflow_device_list {
    const KIND: &'static str = "detailflow_device_list";
    const NAME: &'static str = "list";
}

#[derive(Debug)]
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
        let kind = match info.kind {
            DeviceKind::Cpu => DETAILFLOW_DEVICE_KIND_CPU,
            DeviceKind::Gpu => DETAILFLOW_DEVICE_KIND_GPU,
            DeviceKind::Npu => DETAILFLOW_DEVICE_KIND_NPU,
        };
        Self {
            kind: kind as u32,
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
#[derive(Clone, Copy, Debug)]
pub struct detailflow_device_info {
    /// sizeof(detailflow_device_info).
    pub struct_size: u32,
    /// One of DETAILFLOW_DEVICE_KIND_*.
    pub kind: u32,
    /// PCI vendor ID; 0 when unknown.
    pub vendor_id: u32,
    /// The vendor's ID of this model, not of the individual card; 0 when unknown.
    pub device_id: u32,
    /// Number of pairs that detailflow_device_list_get_metadata gives.
    pub metadata_count: u32,
    /// Reserved; 0.
    pub reserved: u32,
    /// What detailflow_model_options_set_device takes; NULL when no execution provider that is here can use the device.
    pub device: *const c_char,
    /// Name of the vendor; "" when unknown.
    pub vendor: *const c_char,
    /// Name of the device; "" when unknown.
    pub name: *const c_char,
    /// ONNX Runtime's name of the execution provider; "" when there is none.
    pub provider: *const c_char,
}

// SAFETY: struct_size comes first, and it holds numbers and pointers only.
unsafe impl Plain for detailflow_device_info {
    const NAME: &'static str = "detailflow_device_info";
    fn struct_size(&mut self) -> &mut u32 {
        &mut self.struct_size
    }
}

/// Lists the devices that can be selected, and those that cannot because their execution provider is missing.
///
/// Loads ONNX Runtime if it is not loaded yet, and the OpenVINO provider library where there is one. A listed device may
/// still fail; only opening a model on it tells.
///
/// @param list Receives the handle. Free it with detailflow_device_list_free.
/// @param error May be NULL.
/// @return NO_RUNTIME; NO_DEVICE when ONNX Runtime cannot list devices.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_device_list_new(
    list: Out<'_, *mut detailflow_device_list>,
    error: Out<'_, detailflow_error>,
) -> detailflow_status {
    call(error, || {
        let place = list.place("list")?;
        place.set_handle(detailflow_device_list(devices()?.iter().map(Entry::from).collect()));
        Ok(())
    })
}

/// Frees a list. NULL does nothing.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_device_list_free(list: Owned<detailflow_device_list>) {
    list.free(|_| {});
}

/// Gets the number of devices.
///
/// @param count Receives the number.
/// @param error May be NULL.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_device_list_get_count(
    list: Shared<'_, detailflow_device_list>,
    count: Out<'_, usize>,
    error: Out<'_, detailflow_error>,
) -> detailflow_status {
    call(error, || {
        let list = list.get()?;
        count.place("count")?.set(list.0.len());
        Ok(())
    })
}

/// Gets a device.
///
/// @param device_index 0 to count - 1.
/// @param info Filled; its struct_size is set. The strings live as long as the list.
/// @param error May be NULL.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_device_list_get_info(
    list: Shared<'_, detailflow_device_list>,
    device_index: usize,
    info: Out<'_, detailflow_device_info>,
    error: Out<'_, detailflow_error>,
) -> detailflow_status {
    call(error, || {
        let entry = list.get()?.entry(device_index)?;
        info.structure()?.write(detailflow_device_info {
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
        })
    })
}

/// Gets one key/value pair of device metadata, as reported by the operating system or the execution provider: LUID, UUID,
/// PCI address, driver version.
///
/// @param device_index 0 to count - 1.
/// @param metadata_index 0 to detailflow_device_info.metadata_count - 1.
/// @param key Receives the name. It lives as long as the list.
/// @param value Receives the value. It lives as long as the list.
/// @param error May be NULL.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_device_list_get_metadata(
    list: Shared<'_, detailflow_device_list>,
    device_index: usize,
    metadata_index: usize,
    key: Out<'_, *const c_char>,
    value: Out<'_, *const c_char>,
    error: Out<'_, detailflow_error>,
) -> detailflow_status {
    call(error, || {
        let entry = list.get()?.entry(device_index)?;
        let (key, value) = (key.place("key")?, value.place("value")?);
        let pairs = &entry.metadata;
        let pair = pairs.get(metadata_index).ok_or_else(|| {
            Failure::invalid(format!(
                "metadata_index is {metadata_index}; device {device_index} has {} pairs of metadata",
                pairs.len()
            ))
        })?;
        key.set(pair.0.as_ptr());
        value.set(pair.1.as_ptr());
        Ok(())
    })
}

impl detailflow_device_list {
    fn entry(&self, index: usize) -> Result<&Entry, Failure> {
        let count = self.0.len();
        self.0.get(index).ok_or_else(|| Failure::invalid(format!("device_index is {index}; there are {count} devices")))
    }
}
