//! What ONNX Runtime lends an operator: constants as long as the session lives, inputs and the output for one call. `ort`
//! does this too, with several allocations each time; a small model has some forty operators in half a millisecond.

#![allow(unsafe_code)]

use std::ptr;

use ort::AsPointer;
use ort::operator::{ComputeContext, KernelContext};
use ort::sys;
use ort::value::{PrimitiveTensorElementType, TensorValueType, ValueRef};

use super::raw::checked;

/// A constant tensor of the graph. It lives as long as the session, and its kernels.
pub(super) struct Constant<'a, T: PrimitiveTensorElementType + std::fmt::Debug + 'static> {
    values: &'a [T],
    /// What they belong to.
    _tensor: ValueRef<'a, TensorValueType<T>>,
}

impl<'a, T: PrimitiveTensorElementType + std::fmt::Debug + 'static> Constant<'a, T> {
    /// Input `index` of an operator; an error when it is no constant, or of another type.
    pub fn new(context: &KernelContext<'a>, index: usize, what: &str) -> ort::Result<Self> {
        let tensor: ValueRef<'a, TensorValueType<T>> =
            context.constant_input(index).map_err(|error| ort::Error::new(format!("{what}: {}", error.message())))?;
        let values: *const [T] = tensor.extract_tensor().1;
        // SAFETY: the numbers belong to the graph and not to this reference to them: they lie where they are, unchanged, for
        // as long as 'a.
        Ok(Self { values: unsafe { &*values }, _tensor: tensor })
    }

    /// None when the operator has no such input.
    pub fn optional(context: &KernelContext<'a>, index: usize, wanted: bool, what: &str) -> ort::Result<Option<Self>> {
        if wanted { Self::new(context, index, what).map(Some) } else { Ok(None) }
    }

    pub fn get(&self) -> &'a [T] {
        self.values
    }
}

/// One call of an operator with one output.
pub(super) struct Call<'a>(&'a ComputeContext);

impl<'a> Call<'a> {
    /// To be made once for a call.
    pub fn new(context: &'a ComputeContext) -> Self {
        Self(context)
    }

    /// The numbers of an input. The operator declares its type, and ONNX Runtime holds the graph to that.
    pub fn input<T: PrimitiveTensorElementType>(&self, index: usize) -> ort::Result<&'a [T]> {
        let mut tensor: *const sys::OrtValue = ptr::null();
        // SAFETY: the context lives for this call; an input that is missing is null.
        unsafe { checked((ort::api().KernelContext_GetInput)(self.0.ptr(), index, &mut tensor))? };
        if tensor.is_null() {
            return Err(ort::Error::new(format!("input {index} is missing")));
        }
        // SAFETY: it is a tensor of T; nobody writes it during the call.
        unsafe { numbers(tensor.cast_mut()).map(|(values, length)| std::slice::from_raw_parts(values, length)) }
    }

    /// The output, of this shape, of no certain content.
    pub fn output(self, shape: [usize; 2]) -> ort::Result<&'a mut [f32]> {
        let shape = shape.map(|length| length as i64);
        let mut tensor: *mut sys::OrtValue = ptr::null_mut();
        // SAFETY: as above; the shape has two numbers.
        unsafe {
            checked((ort::api().KernelContext_GetOutput)(self.0.ptr().cast_mut(), 0, shape.as_ptr(), 2, &mut tensor))?;
        }
        if tensor.is_null() {
            return Err(ort::Error::new("there is no output"));
        }
        // SAFETY: it is a tensor of f32, ours to write during the call, and this is the only reference to it: the call is
        // used up. It is no input at the same time, since the operators name none that could be.
        unsafe { numbers(tensor).map(|(values, length)| std::slice::from_raw_parts_mut(values, length)) }
    }
}

/// Where the numbers of a tensor are, and how many.
///
/// # Safety
/// It is a tensor of T that lies in memory of the processor.
unsafe fn numbers<T>(tensor: *mut sys::OrtValue) -> ort::Result<(*mut T, usize)> {
    let (mut data, mut bytes) = (ptr::null_mut(), 0);
    // SAFETY: both outputs are ours.
    unsafe {
        checked((ort::api().GetTensorMutableData)(tensor, &mut data))?;
        checked((ort::api().GetTensorSizeInBytes)(tensor, &mut bytes))?;
    }
    let data: *mut T = data.cast();
    // An empty tensor may have no memory.
    if data.is_null() { Ok((ptr::dangling_mut(), 0)) } else { Ok((data, bytes / size_of::<T>())) }
}
