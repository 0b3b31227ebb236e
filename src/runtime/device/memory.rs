//! Memory of a device, by ONNX Runtime's allocators.

use ort::memory::{AllocationDevice, Allocator, AllocatorType, MemoryInfo, MemoryType};
use ort::session::Session;

use super::name::Device;
use super::raw;
use super::report::AllocatorMemory;

/// An allocator of the memory in which a session computes: CPU memory when the device has none of its own, or when ONNX
/// Runtime offers no allocator for it.
pub(in crate::runtime) fn allocator(session: &Session, device: &Device) -> Allocator {
    let Some((memory, index)) = device.memory() else { return Allocator::default() };
    [AllocatorType::Device, AllocatorType::Arena]
        .into_iter()
        .find_map(|kind| allocator_of(session, &memory, index, kind).ok())
        .unwrap_or_default()
}

/// An allocator of memory that the CPU and the device both use without a copy: CPU memory where the device has no memory of
/// its own.
pub(in crate::runtime) fn seen_by_both(session: &Session, device: &Device) -> ort::Result<Allocator> {
    match &device.facts().seen {
        Some(memory) => allocator_of(session, memory, device.index(), AllocatorType::Device),
        None => Ok(Allocator::default()),
    }
}

/// What the memory of a device is to ONNX Runtime.
pub(in crate::runtime) fn memory_info(device: &Device) -> ort::Result<MemoryInfo<'static>> {
    let (memory, index) = device.memory().unwrap_or((AllocationDevice::CPU, 0));
    MemoryInfo::new(memory, index as i32, AllocatorType::Device, MemoryType::Default)
}

fn allocator_of(
    session: &Session,
    memory: &AllocationDevice<'static>,
    index: u32,
    kind: AllocatorType,
) -> ort::Result<Allocator> {
    let info = MemoryInfo::new(memory.clone(), index as i32, kind, MemoryType::Default)?;
    Allocator::new(session, info)
}

/// What the allocators of a session hold. Allocators without statistics are left out.
pub(super) fn allocated(session: &Session, device: &Device) -> Vec<AllocatorMemory> {
    let mut memories = vec![(AllocationDevice::CPU, 0)];
    memories.extend(device.memory());
    let mut all = Vec::new();
    for (memory, index) in memories {
        let statistics = [AllocatorType::Arena, AllocatorType::Device].into_iter().find_map(|kind| {
            let found = raw::statistics(&allocator_of(session, &memory, index, kind).ok()?);
            (!found.is_empty()).then_some(found)
        });
        let Some(statistics) = statistics else { continue };
        let number = |key: &str| -> u64 {
            let found = statistics.iter().find(|(known, _)| known == key);
            found.and_then(|(_, value)| value.parse().ok()).unwrap_or(0)
        };
        let (bytes, in_use) = (number("TotalAllocated"), number("InUse"));
        all.push(AllocatorMemory { memory: memory.as_str().to_owned(), bytes, in_use });
    }
    all
}
