//! The matrix product of attention in plain Rust.

use super::super::element::KvElement;
use super::super::simd::{FUSED, LANES, Lanes, mul_add_lanes};
use super::matmul::MatMul;

pub(in crate::kernels) fn matmul<B: KvElement>(product: MatMul<'_, B>) {
    for row in 0..product.rows {
        for vector in 0..product.vectors {
            let mut sums = [0.0f32; LANES];
            for k in 0..product.depth {
                // SAFETY: within the product's rows and vectors, which `MatMul::new` checked or its caller promised.
                let (a, line) = unsafe {
                    let b = product.b.add(k * product.b_row_stride + vector * product.b_vector_stride);
                    (*product.a.add(row * product.a_stride + k), B::lanes(b.cast::<[B; LANES]>().read_unaligned()))
                };
                sums = mul_add_lanes::<FUSED>(a, &line, &sums);
            }
            // SAFETY: as above.
            unsafe {
                product.out.add(row * product.out_stride + vector * LANES).cast::<Lanes>().write_unaligned(sums);
            }
        }
    }
}
