//! Reading and setting the environment: one module for each architecture. Each function is a call of its own, so that no
//! arithmetic is moved across it.

pub(super) use this::{State, restore, save, set_default};

/// MXCSR for SSE and AVX, and the x87 environment, which the C library uses for `long double`.
#[cfg(target_arch = "x86_64")]
mod this {
    use std::arch::asm;

    /// All exceptions masked, rounding to nearest, subnormal numbers kept.
    static MXCSR: u32 = 0x1F80;
    /// All exceptions masked, rounding to nearest, 64 bits of precision.
    static CONTROL: u16 = 0x037F;

    #[derive(Clone, Copy)]
    pub struct State {
        mxcsr: u32,
        /// Control, status and tag words and the pointers of the last instruction, in the layout of `fnstenv`.
        x87: [u32; 7],
    }

    #[inline(never)]
    pub fn save() -> State {
        let mut state = State { mxcsr: 0, x87: [0; 7] };
        // SAFETY: writes 4 bytes of state.mxcsr and the 28 bytes of state.x87; `fnstenv` masks the x87 exceptions, which is
        // undone by loading the control word that it stored. `fnstenv` and `fldcw` leave the register stack as it is; no
        // exception can be raised by `fldcw` that was not pending before.
        unsafe {
            asm!(
                "stmxcsr [{mxcsr}]",
                "fnstenv [{x87}]",
                "fldcw [{x87}]",
                mxcsr = in(reg) &raw mut state.mxcsr,
                x87 = in(reg) &raw mut state.x87,
                options(nostack),
            );
        }
        state
    }

    #[inline(never)]
    pub fn set_default() {
        // SAFETY: reads two statics. `fnclex` drops pending x87 exceptions, so that `fldcw` raises none.
        unsafe {
            asm!(
                "ldmxcsr [{mxcsr}]",
                "fnclex",
                "fldcw [{control}]",
                mxcsr = in(reg) &raw const MXCSR,
                control = in(reg) &raw const CONTROL,
                options(nostack),
            );
        }
    }

    #[inline(never)]
    pub fn restore(state: &State) {
        // SAFETY: reads what `save` stored. The register stack is as empty as it was then, as between any two calls.
        unsafe {
            asm!(
                "fldenv [{x87}]",
                "ldmxcsr [{mxcsr}]",
                mxcsr = in(reg) &raw const state.mxcsr,
                x87 = in(reg) &raw const state.x87,
                options(nostack),
            );
        }
    }
}

/// FPCR (rounding, flushing, traps) and FPSR (raised flags).
#[cfg(target_arch = "aarch64")]
mod this {
    use std::arch::asm;

    #[derive(Clone, Copy)]
    pub struct State {
        control: u64,
        status: u64,
    }

    #[inline(never)]
    pub fn save() -> State {
        let (control, status);
        // SAFETY: reads two registers.
        unsafe {
            asm!("mrs {control}, fpcr", "mrs {status}, fpsr", control = out(reg) control, status = out(reg) status, options(nostack));
        }
        State { control, status }
    }

    #[inline(never)]
    pub fn set_default() {
        restore(&State { control: 0, status: 0 });
    }

    #[inline(never)]
    pub fn restore(state: &State) {
        // SAFETY: writes two registers with what they held before, or with zero, the default.
        unsafe {
            asm!("msr fpcr, {control}", "msr fpsr, {status}", control = in(reg) state.control, status = in(reg) state.status, options(nostack));
        }
    }
}

/// Architectures whose environment this library does not know: it is left as it is.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
mod this {
    #[derive(Clone, Copy)]
    pub struct State;

    pub fn save() -> State {
        State
    }

    pub fn set_default() {}

    pub fn restore(_state: &State) {}
}
