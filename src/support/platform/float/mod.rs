//! The float environment of a thread: rounding mode, flushing of subnormal numbers, trapped exceptions and raised flags.
//!
//! The arithmetic of this library, of ONNX Runtime and of Rust itself expects the default environment: rounding to nearest,
//! subnormal numbers kept, no exception trapped. A host may use another (audio hosts flush subnormal numbers, Delphi traps
//! exceptions), and its environment belongs to it:
//!
//! - [`enter`] stands at every entry from outside: it sets the host's environment aside and sets the default one; when the
//!   guard is dropped, the host has what it had, flags included.
//! - [`leave`] stands around every callback: the host's code runs in the host's environment.
//! - Threads that this library starts call [`set_default`], or [`adopt`] when they call back.
//!
//! Guards nest: only the outermost of a thread does anything.

mod arch;

use std::cell::Cell;
use std::marker::PhantomData;

use arch::State;

thread_local! {
    /// The host's environment while this thread computes for it; `None` while the host's own code runs. It has no
    /// destructor, so it can still be used while a thread or the process ends.
    static HOST: Cell<Option<State>> = const { Cell::new(None) };
}

/// Sets the default environment on this thread, for good: for threads that never run the host's code.
pub(crate) fn set_default() {
    arch::set_default();
}

/// The default environment, until it is dropped; see [`enter`].
#[must_use]
pub(crate) struct Entered {
    outermost: bool,
    /// An environment belongs to its thread.
    _not_send: PhantomData<*const ()>,
}

/// Sets the host's environment aside and sets the default one.
pub(crate) fn enter() -> Entered {
    let outermost = HOST.get().is_none();
    if outermost {
        HOST.set(Some(arch::save()));
        arch::set_default();
    }
    Entered { outermost, _not_send: PhantomData }
}

impl Entered {
    /// Whether the host's own code ran on this thread before.
    pub(crate) fn is_outermost(&self) -> bool {
        self.outermost
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        if self.outermost
            && let Some(state) = HOST.take()
        {
            arch::restore(&state);
        }
    }
}

/// The host's environment, until it is dropped; see [`leave`].
#[must_use]
pub(crate) struct Left {
    inside: bool,
    _not_send: PhantomData<*const ()>,
}

/// Gives the host its environment back while a callback runs. What the callback changes is kept for it.
pub(crate) fn leave() -> Left {
    let host = HOST.take();
    if let Some(state) = &host {
        arch::restore(state);
    }
    Left { inside: host.is_some(), _not_send: PhantomData }
}

impl Drop for Left {
    fn drop(&mut self) {
        if self.inside {
            HOST.set(Some(arch::save()));
            arch::set_default();
        }
    }
}

/// The environment that the host has on this thread, for a thread that is started for it.
#[cfg_attr(not(feature = "worker"), allow(dead_code, reason = "only a worker has threads that call back"))]
#[derive(Clone, Copy)]
pub(crate) struct HostState(State);

/// The host's environment on this thread.
#[cfg_attr(not(feature = "worker"), allow(dead_code, reason = "only a worker has threads that call back"))]
pub(crate) fn host() -> HostState {
    HostState(HOST.get().unwrap_or_else(arch::save))
}

/// On a thread of ours that calls back: callbacks see the environment of the thread that `state` is from, everything else
/// runs in the default one.
#[cfg_attr(not(feature = "worker"), allow(dead_code, reason = "only a worker has threads that call back"))]
pub(crate) fn adopt(state: HostState) {
    HOST.set(Some(state.0));
    arch::set_default();
}

/// Whether an invalid operation raised its flag since [`set_default`].
#[cfg(all(test, target_arch = "x86_64"))]
pub(crate) fn is_invalid_raised() -> bool {
    arch::is_invalid_raised()
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests;
