//! The instruction sets of CPUs: one row for each, with how it is detected and which kernels it runs. All give the same
//! numbers.
//!
//! Adding one takes a GEMM driver in `gemm/`, a matrix product in `attention/`, and a row in the table below.

#[cfg(target_arch = "aarch64")]
use std::arch::is_aarch64_feature_detected;
use std::ops::Range;
use std::sync::OnceLock;

use super::attention::matmul::MatMul;
use super::element::KvElement;
use super::gemm::operands::{Epilogue, Int4Rows, Int4Weights, PackedWeights, QuantizedRows};
use super::{attention, gemm};

/// What [`multiversion`] compiles f32 code for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Vectors {
    /// What the target has by default: SSE2 on x86-64, NEON with fused multiply-adds on AArch64.
    Baseline,
    /// 256 bits with fused multiply-adds: AVX2 and FMA.
    #[cfg(target_arch = "x86_64")]
    X86Bits256,
    /// 512 bits: AVX-512 F, BW, VL and DQ.
    #[cfg(target_arch = "x86_64")]
    X86Bits512,
}

/// The rows that a kernel for int4 weights reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RowKind {
    /// As they are, with [`starts`](Int4Rows::starts).
    Signed,
    /// With an offset of 128, and [`compensation`](Int4Rows::compensation).
    Unsigned,
}

/// Defines [`Isa`] from the table. In `gemm`, drivers are listed by the numbers of rows that they are used for; `unsigned`
/// says that the driver reads rows with an offset of 128 (see [`QuantizedRows`]). A condition after `if` never changes. `int4` has drivers
/// that read int4 weights, for few rows; with other numbers of rows those are expanded to int8.
macro_rules! instruction_sets {
    ($(
        $(#[doc = $doc:literal])+
        #[cfg($condition:meta)]
        $name:ident {
            detected: $detected:expr,
            vectors: $vectors:ident,
            gemm: [$($rows:pat $(if $allowed:expr)? => $driver:path, unsigned: $unsigned:literal;)+],
            int4: [$($few:pat => $direct:path, unsigned: $offset:literal;)*],
            attention: $matmul:path,
        }
    )+) => {
        /// An instruction set of a CPU, with the kernels that use it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Isa {
            $(
                $(#[doc = $doc])+
                #[cfg($condition)]
                $name,
            )+
        }

        impl Isa {
            /// All that this CPU supports, the best first. The last is always `Portable`.
            fn detect() -> Vec<Self> {
                let mut all = Vec::new();
                $(
                    #[cfg($condition)]
                    {
                        if $detected {
                            all.push(Self::$name);
                        }
                    }
                )+
                all
            }

            /// What f32 code is compiled for.
            pub(super) fn vectors(self) -> Vectors {
                match self {
                    $(#[cfg($condition)] Self::$name => Vectors::$vectors,)+
                }
            }

            /// Whether the GEMM of this many rows reads them as unsigned numbers, with an offset of 128.
            pub(super) fn unsigned_rows(self, rows: usize) -> bool {
                rows > 0 && match self {
                    $(#[cfg($condition)] Self::$name => match rows { $($rows $(if $allowed)? => $unsigned,)+ },)+
                }
            }

            /// Multiplies all rows with some panels of the weights.
            #[inline]
            pub(super) fn multiply_panels(
                self,
                rows: QuantizedRows<'_>,
                weights: PackedWeights<'_>,
                panels: Range<usize>,
                epilogue: &impl Epilogue,
            ) {
                match self {
                    $(
                        #[cfg($condition)]
                        Self::$name => match rows.count {
                            $($rows $(if $allowed)? => $driver(rows, weights, panels, epilogue),)+
                        },
                    )+
                }
            }

            /// Whether int4 weights have a kernel of their own for this many rows, and that reads rows with an offset of 128. With
            /// other numbers of rows the weights are expanded to int8.
            #[allow(unreachable_patterns, reason = "some have a kernel for every number of rows, and some for none")]
            pub(super) fn reads_int4(self, rows: usize) -> Option<RowKind> {
                match self {
                    $(
                        #[cfg($condition)]
                        Self::$name => match rows {
                            $($few => Some(if $offset { RowKind::Unsigned } else { RowKind::Signed }),)*
                            _ => None,
                        },
                    )+
                }
            }

            /// Multiplies all rows with some panels of int4 weights, where there is a kernel for so many rows.
            #[inline]
            #[allow(unreachable_patterns, unused_variables, reason = "as above")]
            pub(super) fn multiply_int4_panels(
                self,
                rows: Int4Rows<'_>,
                weights: Int4Weights<'_>,
                panels: Range<usize>,
                epilogue: &impl Epilogue,
            ) {
                match self {
                    $(
                        #[cfg($condition)]
                        Self::$name => match rows.count {
                            $($few => $direct(rows, weights, panels, epilogue),)*
                            _ => unreachable!("the caller has asked `reads_int4`"),
                        },
                    )+
                }
            }

            /// Computes a matrix product of attention.
            #[inline]
            pub(super) fn multiply<B: KvElement>(self, product: MatMul<'_, B>) {
                match self {
                    $(#[cfg($condition)] Self::$name => $matmul(product),)+
                }
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
fn has_avx2() -> bool {
    // All CPUs with the first two have the third.
    is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && is_x86_feature_detected!("f16c")
}

#[cfg(target_arch = "x86_64")]
fn has_vnni512() -> bool {
    has_avx2()
        && is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vnni")
}

#[cfg(target_arch = "aarch64")]
fn has_dot_products() -> bool {
    is_aarch64_feature_detected!("dotprod")
}

// The best first.
instruction_sets! {
    /// x86-64 AMX: tiles for many rows. Up to 16 rows `Vnni512` is as fast, since reading the weights takes the time; it also
    /// computes where the system refuses the tiles, which it is asked for when they are needed first.
    #[cfg(target_arch = "x86_64")]
    Amx {
        detected: has_vnni512() && gemm::amx::has_tiles(),
        vectors: X86Bits512,
        gemm: [
            17.. if gemm::amx::is_usable() => gemm::amx::run, unsigned: false;
            _ => gemm::x86::vnni512, unsigned: true;
        ],
        int4: [0..=8 => gemm::int4_x86::vnni512, unsigned: false; 9..=16 => gemm::int4_x86::vnni512_many, unsigned: true;],
        attention: attention::x86::matmul512,
    }
    /// x86-64 AVX-512 VNNI: 512-bit vectors that sum four products at once.
    #[cfg(target_arch = "x86_64")]
    Vnni512 {
        detected: has_vnni512(),
        vectors: X86Bits512,
        gemm: [_ => gemm::x86::vnni512, unsigned: true;],
        int4: [0..=8 => gemm::int4_x86::vnni512, unsigned: false; 9..=16 => gemm::int4_x86::vnni512_many, unsigned: true;],
        attention: attention::x86::matmul512,
    }
    /// x86-64 AVX-VNNI: 256-bit vectors that sum four products at once.
    #[cfg(target_arch = "x86_64")]
    Vnni256 {
        detected: has_avx2() && is_x86_feature_detected!("avxvnni"),
        vectors: X86Bits256,
        gemm: [_ => gemm::x86::vnni256, unsigned: true;],
        int4: [0..=4 => gemm::int4_x86::vnni256, unsigned: false;],
        attention: attention::x86::matmul256,
    }
    /// x86-64 AVX2: 256-bit vectors.
    #[cfg(target_arch = "x86_64")]
    Avx2 {
        detected: has_avx2(),
        vectors: X86Bits256,
        gemm: [_ => gemm::x86::avx2, unsigned: true;],
        int4: [_ => gemm::int4_x86::avx2, unsigned: false;],
        attention: attention::x86::matmul256,
    }
    /// x86-64 SSSE3: 128-bit vectors.
    #[cfg(target_arch = "x86_64")]
    Ssse3 {
        detected: is_x86_feature_detected!("ssse3"),
        vectors: Baseline,
        gemm: [_ => gemm::x86::ssse3, unsigned: false;],
        int4: [],
        attention: attention::portable::matmul,
    }
    /// Every x86-64 CPU.
    #[cfg(target_arch = "x86_64")]
    Sse2 {
        detected: true,
        vectors: Baseline,
        gemm: [_ => gemm::sse2::run, unsigned: false;],
        int4: [],
        attention: attention::portable::matmul,
    }
    /// AArch64 I8MM: products of two rows and two columns, eight deep, in one instruction. Zipping the columns takes as long
    /// as it saves with fewer than four rows.
    #[cfg(target_arch = "aarch64")]
    I8mm {
        detected: has_dot_products() && is_aarch64_feature_detected!("i8mm"),
        vectors: Baseline,
        gemm: [
            4.. => gemm::neon::i8mm, unsigned: false;
            _ => gemm::neon::dot, unsigned: false;
        ],
        int4: [],
        attention: attention::neon::matmul,
    }
    /// AArch64 with dot products: vectors that sum four products at once.
    #[cfg(target_arch = "aarch64")]
    Dot {
        detected: has_dot_products(),
        vectors: Baseline,
        gemm: [_ => gemm::neon::dot, unsigned: false;],
        int4: [],
        attention: attention::neon::matmul,
    }
    /// Every AArch64 CPU.
    #[cfg(target_arch = "aarch64")]
    Neon {
        detected: true,
        vectors: Baseline,
        gemm: [_ => gemm::neon::neon, unsigned: false;],
        int4: [],
        attention: attention::neon::matmul,
    }
    /// Plain Rust for every CPU; it is what the others are compared with.
    #[cfg(all())]
    Portable {
        detected: true,
        vectors: Baseline,
        gemm: [_ => gemm::portable::run, unsigned: false;],
        int4: [],
        attention: attention::portable::matmul,
    }
}

impl Isa {
    /// The best that this CPU supports.
    pub fn best() -> Self {
        Self::supported()[0]
    }

    /// All that this CPU supports, the best first.
    pub fn supported() -> &'static [Self] {
        static SUPPORTED: OnceLock<Vec<Isa>> = OnceLock::new();
        SUPPORTED.get_or_init(Self::detect)
    }
}

/// Defines `$name`, which runs the generic `$body` compiled for the widest vectors that the CPU has; the const parameter of
/// `$body` says whether those have fused multiply-adds. The source is the same for all of them, and so are the results.
macro_rules! multiversion {
    ($(#[$doc:meta])* $visibility:vis fn $name:ident($isa:ident, $($argument:ident: $kind:ty),* $(,)?) $(-> $result:ty)? = $body:ident) => {
        $(#[$doc])*
        $visibility fn $name($isa: $crate::kernels::Isa, $($argument: $kind),*) $(-> $result)? {
            use $crate::kernels::isa::Vectors;
            use $crate::kernels::simd::FUSED;
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx2,fma")]
            fn bits512($($argument: $kind),*) $(-> $result)? {
                $body::<true>($($argument),*)
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            fn bits256($($argument: $kind),*) $(-> $result)? {
                $body::<true>($($argument),*)
            }
            match $isa.vectors() {
                #[cfg(target_arch = "x86_64")]
                // SAFETY: an instruction set with these vectors is only used where its features were detected.
                Vectors::X86Bits512 => unsafe { bits512($($argument),*) },
                #[cfg(target_arch = "x86_64")]
                // SAFETY: as above.
                Vectors::X86Bits256 => unsafe { bits256($($argument),*) },
                Vectors::Baseline => $body::<FUSED>($($argument),*),
            }
        }
    };
}
pub(super) use multiversion;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn supported_instruction_sets_end_with_portable() {
        assert_eq!(Isa::supported().last(), Some(&Isa::Portable));
        assert_eq!(Isa::supported().iter().filter(|isa| **isa == Isa::best()).count(), 1);
        assert!(Isa::supported().iter().all(|isa| !isa.unsigned_rows(0)));
    }
}
