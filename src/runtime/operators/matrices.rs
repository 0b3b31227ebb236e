//! The matrices of a session, which further sessions of its graph use where they are. Without this ONNX Runtime maps them again for
//! each session.

#![allow(unsafe_code, reason = "tensors of one session that are lent to another")]

use std::ffi::{CString, c_void};
use std::fmt::Debug;
use std::ptr::{self, NonNull};
use std::sync::{Arc, Mutex};

use ort::AsPointer;
use ort::memory::{AllocationDevice, AllocatorType, MemoryInfo, MemoryType};
use ort::operator::KernelContext;
use ort::session::builder::SessionBuilder;
use ort::sys;
use ort::value::{DynValueRefMut, PrimitiveTensorElementType, Shape, TensorElementType, TensorRefMut};

use super::io::Constant;
use crate::support::memory::filled;
use crate::support::sync::lock;

/// The matrices of a session by their names in its graph.
#[derive(Debug, Clone, Default)]
pub(in crate::runtime) struct Matrices(Arc<Mutex<Vec<Matrix>>>);

#[derive(Debug)]
struct Matrix {
    name: CString,
    element: TensorElementType,
    shape: Shape,
    values: NonNull<c_void>,
}

// SAFETY: nothing writes it.
unsafe impl Send for Matrix {}

/// What a session uses of another one: lives as long as the session does.
pub(in crate::runtime) struct Lent {
    /// The session has references to these.
    _tensors: Vec<DynValueRefMut<'static>>,
    _owner: Arc<dyn Send + Sync>,
}

impl Matrices {
    /// Adds input `index` of an operator, which is `matrix`.
    pub(super) fn add<T>(&self, context: &KernelContext<'_>, index: usize, matrix: &Constant<'_, T>) -> ort::Result<()>
    where
        T: PrimitiveTensorElementType + Debug + 'static,
    {
        let name = input_name(context, index)?;
        let values = NonNull::from(matrix.get()).cast();
        let (element, shape) = (T::into_tensor_element_type(), matrix.shape().clone());
        let mut matrices = lock(&self.0);
        // Two layers may have one matrix.
        if matrices.iter().all(|matrix| matrix.name != name) {
            matrices.push(Matrix { name, element, shape, values });
        }
        Ok(())
    }

    /// Has the session that `builder` makes, of the same graph, use them. `owner` has their session. The result lives as long as the
    /// session made.
    pub fn lend(&self, builder: &mut SessionBuilder, owner: Arc<dyn Send + Sync>) -> ort::Result<Lent> {
        let mut tensors = Vec::new();
        for Matrix { name, element, shape, values } in lock(&self.0).iter() {
            let info = MemoryInfo::new(AllocationDevice::CPU, 0, AllocatorType::Device, MemoryType::Default)?;
            let (values, shape) = (values.as_ptr().cast(), shape.clone());
            // SAFETY: a constant of this type and shape, in CPU memory that its session has, and so `owner`. Sessions do not write
            // their constants.
            let tensor = unsafe {
                match element {
                    TensorElementType::Int8 => TensorRefMut::<i8>::from_raw(info, values, shape)?.into_dyn(),
                    TensorElementType::Uint8 => TensorRefMut::<u8>::from_raw(info, values, shape)?.into_dyn(),
                    _ => continue,
                }
            };
            // SAFETY: a builder, a name that ends with zero, and a tensor, which lives as long as the session.
            unsafe { checked((ort::api().AddInitializer)(builder.ptr_mut(), name.as_ptr(), tensor.ptr()))? };
            tensors.push(tensor);
        }
        Ok(Lent { _tensors: tensors, _owner: owner })
    }
}

/// The name that an input of an operator has in its graph.
fn input_name(context: &KernelContext<'_>, index: usize) -> ort::Result<CString> {
    let mut length = 0;
    // SAFETY: the context lives for this call. Without memory for the name only its length is written.
    unsafe { checked((ort::api().KernelInfo_GetInputName)(context.ptr(), index, ptr::null_mut(), &mut length))? };
    let mut name: Vec<u8> = filled("a name", length, 0).map_err(|error| ort::Error::new(error.to_string()))?;
    let memory = name.as_mut_ptr().cast();
    // SAFETY: as above, with memory of that length.
    unsafe { checked((ort::api().KernelInfo_GetInputName)(context.ptr(), index, memory, &mut length))? };
    CString::from_vec_with_nul(name).map_err(|error| ort::Error::new(error.to_string()))
}

/// # Safety
/// `status` was just returned by ONNX Runtime, and nothing else releases it.
unsafe fn checked(status: sys::OrtStatusPtr) -> ort::Result<()> {
    // SAFETY: as the caller promises.
    unsafe { ort::Error::result_from_status(status) }
}
