//! Attention in f32: what the two kinds of it share. Every sum is taken in one order, so that all processors, and any number
//! of queries at once, come to the same numbers.

mod cached;
mod full;
#[cfg(target_arch = "x86_64")]
mod x86;

use std::marker::PhantomData;

pub(crate) use cached::{Attention, Token};
pub(crate) use full::FullAttention;

use super::simd::{LANES, Lanes, exp, largest, sum};
use super::{Isa, versions};

versions! {
    /// Softmax of the first `seen` scores; what is beyond becomes 0.
    fn softmax(isa, scores: &mut [f32], seen: usize) = softmax_body
}

#[inline(always)]
fn softmax_body(scores: &mut [f32], seen: usize) {
    scores[seen..].fill(f32::NEG_INFINITY);
    let (blocks, _) = scores.as_chunks_mut::<LANES>();
    let mut top = [f32::NEG_INFINITY; LANES];
    for block in &*blocks {
        for i in 0..LANES {
            top[i] = if block[i] > top[i] { block[i] } else { top[i] };
        }
    }
    let top = largest(top);
    let mut total = [0.0; LANES];
    for block in &mut *blocks {
        for i in 0..LANES {
            block[i] = exp(block[i] - top);
            total[i] += block[i];
        }
    }
    let inverse = 1.0 / sum(total);
    // Not block by block: compilers make gathers of that.
    for x in scores {
        *x *= inverse;
    }
}

/// `out[r][..] = sum over k of a[r][k] * b[k][..]`, k in order, over whole vectors of 16.
#[derive(Clone, Copy)]
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
struct Outer<'a> {
    rows: usize,
    a: *const f32,
    a_stride: usize,
    b: *const f32,
    b_stride: usize,
    /// How far apart its vectors lie.
    b_lot: usize,
    depth: usize,
    vectors: usize,
    out: *mut f32,
    out_stride: usize,
    ahead: Ahead,
    borrowed: PhantomData<&'a mut [f32]>,
}

/// What is wanted next, to be fetched into the caches meanwhile: memory that is not read one after the other from one call to
/// the next is slow to begin with.
#[derive(Clone, Copy)]
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
struct Ahead {
    from: *const f32,
    /// Lots of 16 numbers.
    lines: usize,
}

impl Ahead {
    const NOTHING: Self = Self { from: std::ptr::null(), lines: 0 };
}

impl<'a> Outer<'a> {
    /// `a`, `b` and `out` with how far their rows lie apart, and `b` with how far its vectors do.
    ///
    /// # Safety
    /// `b` has `depth` rows of so many vectors, and nobody writes them meanwhile.
    unsafe fn new(
        rows: usize,
        a: (&'a [f32], usize),
        b: (*const f32, usize, usize),
        depth: usize,
        vectors: usize,
        out: (&'a mut [f32], usize),
    ) -> Self {
        assert!(rows == 0 || (rows - 1) * a.1 + depth <= a.0.len(), "more rows than there are");
        assert!(rows == 0 || (rows - 1) * out.1 + vectors * LANES <= out.0.len(), "more than there is room for");
        Self {
            rows,
            a: a.0.as_ptr(),
            a_stride: a.1,
            b: b.0,
            b_stride: b.1,
            b_lot: b.2,
            depth,
            vectors,
            out: out.0.as_mut_ptr(),
            out_stride: out.1,
            ahead: Ahead::NOTHING,
            borrowed: PhantomData,
        }
    }

    fn ahead(self, from: *const f32, lines: usize) -> Self {
        let lines = if from.is_null() { 0 } else { lines };
        Self { ahead: Ahead { from, lines }, ..self }
    }
}

/// Does it.
fn outer(isa: Isa, job: Outer<'_>) {
    #[cfg(target_arch = "x86_64")]
    match isa {
        // SAFETY: the processor was asked for what each of them needs.
        Isa::Amx | Isa::Vnni512 => return unsafe { x86::outer512(job) },
        // SAFETY: as above.
        Isa::Vnni256 | Isa::Avx2 => return unsafe { x86::outer256(job) },
        Isa::Portable => {}
    }
    let _ = isa;
    for row in 0..job.rows {
        for vector in 0..job.vectors {
            let mut sums = [0.0f32; LANES];
            for k in 0..job.depth {
                // SAFETY: within the job's rows and vectors, which `new` checked or its caller promised.
                let (a, line) = unsafe {
                    let line = job.b.add(k * job.b_stride + vector * job.b_lot).cast::<Lanes>().read_unaligned();
                    (*job.a.add(row * job.a_stride + k), line)
                };
                for i in 0..LANES {
                    sums[i] = a.mul_add(line[i], sums[i]);
                }
            }
            // SAFETY: as above.
            unsafe {
                job.out.add(row * job.out_stride + vector * LANES).cast::<Lanes>().write_unaligned(sums);
            }
        }
    }
}
