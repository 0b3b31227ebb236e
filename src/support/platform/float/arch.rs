//! Reading and setting the environment: one module for each architecture. Each function is a call of its own, so that no
//! arithmetic is moved across it.

#[cfg(all(test, target_arch = "x86_64"))]
pub(super) use this::is_invalid_raised;
pub(super) use this::{State, restore, save, set_default};

/// MXCSR for SSE and AVX, and the control and status words of x87, which the C library uses for `long double`. What is as it
/// should be is not written: reading takes a few nanoseconds, `fldenv` a hundred.
#[cfg(target_arch = "x86_64")]
mod this {
    use std::arch::asm;

    /// All exceptions masked, rounding to nearest, subnormal numbers kept.
    const MXCSR: u32 = 0x1F80;
    /// All exceptions masked, rounding to nearest, 64 bits of precision.
    const CONTROL: u16 = 0x037F;
    /// The raised flags in the status word.
    const RAISED: u16 = 0xFF;

    #[derive(Clone, Copy)]
    pub struct State {
        mxcsr: u32,
        control: u16,
        status: u16,
    }

    #[inline(never)]
    pub fn save() -> State {
        let mut state = State { mxcsr: 0, control: 0, status: 0 };
        // SAFETY: writes the fields of `state`; changes nothing and waits for no pending exception.
        unsafe {
            asm!(
                "stmxcsr [{mxcsr}]",
                "fnstcw [{control}]",
                "fnstsw [{status}]",
                mxcsr = in(reg) &raw mut state.mxcsr,
                control = in(reg) &raw mut state.control,
                status = in(reg) &raw mut state.status,
                options(nostack),
            );
        }
        state
    }

    #[cfg(test)]
    pub fn is_invalid_raised() -> bool {
        save().mxcsr & 1 != 0
    }

    pub fn set_default() {
        restore(&State { mxcsr: MXCSR, control: CONTROL, status: 0 });
    }

    #[inline(never)]
    pub fn restore(state: &State) {
        let now = save();
        if now.mxcsr != state.mxcsr {
            // SAFETY: reads what `save` stored, or the default.
            unsafe { asm!("ldmxcsr [{}]", in(reg) &raw const state.mxcsr, options(nostack)) };
        }
        if (now.control, now.status & RAISED) != (state.control, state.status & RAISED) {
            // Control, status and tag words and the pointers of the last instruction, a word in each of the first three.
            let mut environment = [0u32; 7];
            let words = |old: u32, new: u16, mask: u16| old & !u32::from(mask) | u32::from(new & mask);
            // SAFETY: writes 28 bytes, and reads them after two words were changed in them. `fnstenv` waits for no pending
            // exception and masks all, so that `fldenv` raises none; a flag that is raised and not masked afterwards was so
            // when it was saved.
            unsafe {
                asm!("fnstenv [{}]", in(reg) &raw mut environment, options(nostack));
                environment[0] = words(environment[0], state.control, !0);
                environment[1] = words(environment[1], state.status, RAISED);
                asm!("fldenv [{}]", in(reg) &raw const environment, options(nostack));
            }
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
            asm!(
                "mrs {control}, fpcr",
                "mrs {status}, fpsr",
                control = out(reg) control,
                status = out(reg) status,
                options(nostack),
            );
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
            asm!(
                "msr fpcr, {control}",
                "msr fpsr, {status}",
                control = in(reg) state.control,
                status = in(reg) state.status,
                options(nostack),
            );
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
