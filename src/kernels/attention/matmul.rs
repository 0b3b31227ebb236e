//! The matrix product that attention consists of: queries times keys, and scores times values.

use std::marker::PhantomData;

use super::super::simd::LANES;

/// `out[r][..] = sum over k of a[r][k] * b[k][..]`, k in ascending order, over whole vectors of 16. `B` is the type of `b`, a
/// [`KvElement`](super::super::element::KvElement); sums are in f32.
#[derive(Debug, Clone, Copy)]
pub(in crate::kernels) struct MatMul<'a, B> {
    pub(super) rows: usize,
    pub(super) a: *const f32,
    pub(super) a_stride: usize,
    pub(super) b: *const B,
    /// Distance of its rows.
    pub(super) b_row_stride: usize,
    /// Distance of its vectors of 16.
    pub(super) b_vector_stride: usize,
    pub(super) depth: usize,
    pub(super) vectors: usize,
    pub(super) out: *mut f32,
    pub(super) out_stride: usize,
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))] // Portable code does not prefetch.
    pub(super) prefetch: Prefetch,
    borrowed: PhantomData<&'a mut [f32]>,
}

/// Memory that is read next, to be fetched into the caches meanwhile: memory that is not read sequentially from one call to the
/// next is slow to begin with.
#[derive(Debug, Clone, Copy)]
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
pub(super) struct Prefetch {
    pub from: *const u8,
    /// Number of cache lines.
    pub lines: usize,
}

impl Prefetch {
    /// Bytes of a cache line.
    pub const LINE: usize = 64;

    const NOTHING: Self = Self { from: std::ptr::null(), lines: 0 };
}

impl<'a, B> MatMul<'a, B> {
    /// `a` and `out` with the stride of their rows; `b` with the strides of its rows and of its vectors.
    ///
    /// # Safety
    /// `b` has `depth` rows of `vectors` vectors, and nobody writes them meanwhile.
    #[inline]
    pub(super) unsafe fn new(
        rows: usize,
        a: (&'a [f32], usize),
        b: (*const B, usize, usize),
        depth: usize,
        vectors: usize,
        out: (&'a mut [f32], usize),
    ) -> Self {
        let below = rows.saturating_sub(1);
        assert!(rows == 0 || below * a.1 + depth <= a.0.len(), "matmul: the left operand is too small");
        assert!(rows == 0 || below * out.1 + vectors * LANES <= out.0.len(), "matmul: the output is too small");
        Self {
            rows,
            a: a.0.as_ptr(),
            a_stride: a.1,
            b: b.0,
            b_row_stride: b.1,
            b_vector_stride: b.2,
            depth,
            vectors,
            out: out.0.as_mut_ptr(),
            out_stride: out.1,
            prefetch: Prefetch::NOTHING,
            borrowed: PhantomData,
        }
    }

    /// The same, prefetching `count` elements from `from` on meanwhile; nothing when `from` is null.
    pub(super) fn prefetching(self, from: *const B, count: usize) -> Self {
        let lines = if from.is_null() { 0 } else { (count * size_of::<B>()).div_ceil(Prefetch::LINE) };
        Self { prefetch: Prefetch { from: from.cast(), lines }, ..self }
    }
}
