//! Attributes, inputs and outputs of an operator, without allocations in a call. `ort` allocates several times for each
//! tensor, which counts in a small model: it runs some forty operators in half a millisecond.

#![allow(unsafe_code, reason = "tensors that ONNX Runtime lends to an operator")]

use std::ptr;

use ort::AsPointer;
use ort::operator::{ComputeContext, KernelContext};
use ort::sys;
use ort::value::{PrimitiveTensorElementType, Shape, TensorValueType, ValueRef};

/// An error of the operator.
pub(super) fn refuse(what: impl std::fmt::Display) -> ort::Error {
    ort::Error::new(what.to_string())
}

/// An attribute that is an integer of at least 1.
pub(super) fn size(context: &KernelContext<'_>, name: &str) -> ort::Result<usize> {
    let value: Option<i64> = context.get(name);
    value
        .and_then(|value| usize::try_from(value).ok())
        .filter(|&value| value > 0)
        .ok_or_else(|| refuse(format!("attribute \"{name}\" must be an integer of at least 1")))
}

/// An attribute that is 0 or 1. One that is missing, or cannot be read, is an error: the operator would compute something else.
pub(super) fn flag(context: &KernelContext<'_>, name: &str) -> ort::Result<bool> {
    match context.get::<i64>(name) {
        Some(0) => Ok(false),
        Some(1) => Ok(true),
        _ => Err(refuse(format!("attribute \"{name}\" must be 0 or 1"))),
    }
}

/// A constant tensor of the graph. It lives as long as the session and its kernels.
pub(super) struct Constant<'a, T: PrimitiveTensorElementType + std::fmt::Debug + 'static> {
    values: &'a [T],
    /// Owns the values.
    tensor: ValueRef<'a, TensorValueType<T>>,
}

impl<'a, T: PrimitiveTensorElementType + std::fmt::Debug + 'static> Constant<'a, T> {
    /// Input `index` of an operator. An error when it is not constant, or of another type.
    pub fn new(context: &KernelContext<'a>, index: usize, what: &str) -> ort::Result<Self> {
        let tensor: ValueRef<'a, TensorValueType<T>> =
            context.constant_input(index).map_err(|error| ort::Error::new(format!("{what}: {}", error.message())))?;
        // SAFETY: a tensor of T in CPU memory, as `constant_input` has checked.
        let (data, length) = unsafe { values::<T>(tensor.ptr().cast_mut())? };
        // Weights are used where they are: in a file that is mapped, which need not be ours.
        if !data.is_aligned() {
            return Err(refuse(format!("{what}: it begins at no multiple of {} bytes", align_of::<T>())));
        }
        // SAFETY: aligned, of this length. The values belong to the graph, not to this reference. They stay where they are,
        // unchanged, for 'a.
        Ok(Self { values: unsafe { std::slice::from_raw_parts(data, length) }, tensor })
    }

    /// `None` when the operator has no such input.
    pub fn optional(context: &KernelContext<'a>, index: usize, wanted: bool, what: &str) -> ort::Result<Option<Self>> {
        if wanted { Self::new(context, index, what).map(Some) } else { Ok(None) }
    }

    pub fn get(&self) -> &'a [T] {
        self.values
    }

    pub fn shape(&self) -> &Shape {
        self.tensor.shape()
    }
}

/// One call of an operator that has one output.
pub(super) struct OperatorCall<'a>(&'a ComputeContext);

impl<'a> OperatorCall<'a> {
    /// To be made once for each call.
    pub fn new(context: &'a ComputeContext) -> Self {
        Self(context)
    }

    /// The values of an input. The operator declares the type, and ONNX Runtime checks the graph against it.
    pub fn input<T: PrimitiveTensorElementType>(&self, index: usize) -> ort::Result<&'a [T]> {
        let mut tensor: *const sys::OrtValue = ptr::null();
        // SAFETY: the context lives for this call. A missing input is null.
        unsafe { checked((ort::api().KernelContext_GetInput)(self.0.ptr(), index, &mut tensor))? };
        if tensor.is_null() {
            return Err(ort::Error::new(format!("input {index} is missing")));
        }
        // SAFETY: a tensor of T that nothing writes during the call.
        unsafe { values(tensor.cast_mut()).map(|(values, length)| std::slice::from_raw_parts(values, length)) }
    }

    /// The output, of this shape, with unspecified content.
    pub fn output(self, shape: [usize; 2]) -> ort::Result<&'a mut [f32]> {
        let shape = shape.map(|length| length as i64);
        let mut tensor: *mut sys::OrtValue = ptr::null_mut();
        // SAFETY: the context lives for this call; the shape has two lengths.
        unsafe {
            checked((ort::api().KernelContext_GetOutput)(self.0.ptr().cast_mut(), 0, shape.as_ptr(), 2, &mut tensor))?;
        }
        if tensor.is_null() {
            return Err(ort::Error::new("output 0 is missing"));
        }
        // SAFETY: a tensor of f32 that we may write during the call. This is the only reference to it, because `self` is
        // consumed. It shares no memory with an input, since the operators do not allow that.
        unsafe { values(tensor).map(|(values, length)| std::slice::from_raw_parts_mut(values, length)) }
    }
}

/// Address and number of the values of a tensor.
///
/// # Safety
/// `tensor` is a tensor of T in CPU memory.
unsafe fn values<T>(tensor: *mut sys::OrtValue) -> ort::Result<(*mut T, usize)> {
    let (mut data, mut bytes) = (ptr::null_mut(), 0);
    // SAFETY: as the caller promises; both outputs are ours.
    unsafe {
        checked((ort::api().GetTensorMutableData)(tensor, &mut data))?;
        checked((ort::api().GetTensorSizeInBytes)(tensor, &mut bytes))?;
    }
    let data: *mut T = data.cast();
    // An empty tensor may have no memory.
    if data.is_null() { Ok((ptr::dangling_mut(), 0)) } else { Ok((data, bytes / size_of::<T>())) }
}

/// # Safety
/// `status` was just returned by ONNX Runtime, and nothing else releases it.
unsafe fn checked(status: sys::OrtStatusPtr) -> ort::Result<()> {
    // SAFETY: as the caller promises.
    unsafe { ort::Error::result_from_status(status) }
}
