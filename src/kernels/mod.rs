//! The arithmetic of our own operators on the CPU: products of int8 weights with what surrounds them ([`linear`]) and
//! attention over keys that are kept row by row ([`attention`]). Pure computing: no ONNX Runtime, no file, no
//! allocation in the steady state; `runtime::operators` brings them into the graphs.
//!
//! **The same bits everywhere.** Integer products are exact in whatever order they are summed. Everything in f32 is done
//! on [`lanes`] of 16 in one fixed order, whatever the width of the processor's registers, with fused multiply-adds
//! where (and only where) the source says so. So a row's numbers depend on that row alone: not on its place among
//! others, not on threads, not on the processor.
//!
//! **Unsafe** is confined to this folder: loads and stores of the vector units, and keys that several threads write at
//! disjoint places.

#![allow(unsafe_code)]

pub(crate) mod attention;
mod gemm;
pub(crate) mod kv;
pub(crate) mod linear;
pub(crate) mod memory;
mod quantize;
mod simd;

pub(crate) use gemm::Isa;

/// Threads that share a piece of work.
pub(crate) trait Pool {
    /// Calls `task` once with each number below `count`, on any thread, and returns when all are done.
    fn each(&self, count: usize, task: &(dyn Fn(usize) + Sync));

    /// How many threads there are, at least one.
    fn threads(&self) -> usize;
}

/// One thread: the caller's.
#[cfg(test)]
pub(crate) struct Alone;

#[cfg(test)]
impl Pool for Alone {
    fn each(&self, count: usize, task: &(dyn Fn(usize) + Sync)) {
        (0..count).for_each(task);
    }

    fn threads(&self) -> usize {
        1
    }
}

/// A pointer that threads share; who uses it sees to it that no two write the same place.
#[derive(Clone, Copy)]
struct Shared<T>(*mut T);

// SAFETY: it is an address; each use says why what it reads and writes is its own.
unsafe impl<T> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for Shared<T> {}

impl<T> Shared<T> {
    /// A method, so that closures take the whole and not the pointer within.
    fn at(&self, offset: usize) -> *mut T {
        self.0.wrapping_add(offset)
    }
}

/// Defines `$name`, which runs the generic `$body` compiled for the widest vectors that this processor has. The body is
/// the same source for all of them, and so are its results.
macro_rules! versions {
    ($(#[$doc:meta])* $visibility:vis fn $name:ident($isa:ident, $($argument:ident: $kind:ty),* $(,)?) $(-> $result:ty)? = $body:path) => {
        $(#[$doc])*
        $visibility fn $name($isa: $crate::kernels::Isa, $($argument: $kind),*) $(-> $result)? {
            #[cfg(target_arch = "x86_64")]
            {
                use $crate::kernels::Isa;
                #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx2,fma")]
                fn wide($($argument: $kind),*) $(-> $result)? {
                    $body($($argument),*)
                }
                #[target_feature(enable = "avx2,fma")]
                fn narrow($($argument: $kind),*) $(-> $result)? {
                    $body($($argument),*)
                }
                match $isa {
                    // SAFETY: the processor was asked for what each of them needs.
                    Isa::Amx | Isa::Vnni512 => return unsafe { wide($($argument),*) },
                    // SAFETY: as above.
                    Isa::Vnni256 | Isa::Avx2 => return unsafe { narrow($($argument),*) },
                    Isa::Portable => {}
                }
            }
            let _ = $isa;
            $body($($argument),*)
        }
    };
}
pub(crate) use versions;
