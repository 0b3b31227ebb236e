use std::hint::black_box;

use super::*;

/// A negative third in the rounding mode of this thread: upward is not nearest.
fn third() -> f32 {
    black_box(-1.0_f32) / black_box(3.0)
}

/// Rounding upward.
#[cfg(target_arch = "x86_64")]
#[allow(deprecated, reason = "there is no other name for the register")]
fn round_up() {
    use std::arch::x86_64::{_mm_getcsr, _mm_setcsr};
    // SAFETY: rounding is set back by the guard under test, or at the end of the test's thread.
    unsafe { _mm_setcsr(_mm_getcsr() | 0x4000) };
}

#[cfg(target_arch = "x86_64")]
#[test]
fn environment_is_the_default_inside_and_the_hosts_outside() {
    let nearest = -1.0_f32 / 3.0;
    std::thread::spawn(move || {
        assert_eq!(third(), nearest);
        round_up();
        let up = third();
        assert_ne!(up, nearest);
        {
            let _float = enter();
            assert_eq!(third(), nearest);
            {
                let _nested = enter();
                assert_eq!(third(), nearest);
            }
            assert_eq!(third(), nearest);
            {
                let _callback = leave();
                assert_eq!(third(), up);
                let _again = enter();
                assert_eq!(third(), nearest);
            }
            assert_eq!(third(), nearest);
        }
        assert_eq!(third(), up);
        let state = host();
        std::thread::spawn(move || {
            adopt(state);
            assert_eq!(third(), nearest);
            let _callback = leave();
            assert_eq!(third(), up);
        })
        .join()
        .unwrap();
        set_default();
        assert_eq!(third(), nearest);
    })
    .join()
    .unwrap();
}
