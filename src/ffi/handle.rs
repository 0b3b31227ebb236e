//! Handles: objects behind opaque pointers, the set of those that are alive, and the flag that gives BUSY.
//!
//! Every entry point asks the set of live handles before it dereferences anything, so that a freed handle or one of
//! another kind is an error and not undefined behaviour. An address that was freed and given to a new object of the same
//! kind cannot be told from it.

use std::cell::UnsafeCell;
use std::collections::BTreeMap;
use std::mem::ManuallyDrop;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{PoisonError, RwLock};

use super::message::Message;
use super::status::{DETAILFLOW_STATUS_BUSY, Failure};
use crate::support::log;

/// What a handle points to.
pub trait Object: Sized + 'static {
    /// The name of its type in C.
    const KIND: &'static str;
    /// The name of the parameter that takes it, for messages.
    const NAME: &'static str;
    /// Where the message of the last failed call is kept; `None` when the kind has no `_get_message`.
    fn message(&self) -> Option<&Message> {
        None
    }
}

/// An object whose value one thread at a time may change.
pub trait Guard: Object {
    type Value: Send;
    fn guarded(&self) -> &Guarded<Self::Value>;
}

const SHARDS: usize = 16;

/// The kind of a live handle, and whether it is being freed: calls inside callbacks that the free waits for still find it.
#[derive(Clone, Copy)]
struct Entry {
    kind: &'static str,
    dying: bool,
}

type Shard = RwLock<BTreeMap<usize, Entry>>;

/// The live handles by address. Reading allocates nothing and waits for no other reader.
static LIVE: [Shard; SHARDS] = [const { RwLock::new(BTreeMap::new()) }; SHARDS];

fn shard(address: usize) -> &'static Shard {
    // Objects are aligned and large: the low bits say nothing.
    &LIVE[(address >> 6) % SHARDS]
}

/// Adds a new object.
pub(super) fn register<T: Object>(object: *const T) {
    let entry = Entry { kind: T::KIND, dying: false };
    shard(object.addr()).write().unwrap_or_else(PoisonError::into_inner).insert(object.addr(), entry);
}

/// Whether there is a live object of this kind at the address.
pub(super) fn check<T: Object>(object: *const T) -> Result<(), Failure> {
    if object.is_null() {
        return Err(Failure::invalid(format!("{} is NULL", T::NAME)));
    }
    let live = shard(object.addr()).read().unwrap_or_else(PoisonError::into_inner);
    match live.get(&object.addr()) {
        Some(entry) if entry.kind == T::KIND => Ok(()),
        Some(entry) => Err(wrong::<T>(entry.kind)),
        None => Err(dead::<T>()),
    }
}

/// Runs `body` while the object is alive and nobody frees it or can begin to; an error for one that is being freed.
pub(super) fn hold<T: Object, R>(object: *const T, body: impl FnOnce() -> Result<R, Failure>) -> Result<R, Failure> {
    if object.is_null() {
        return Err(Failure::invalid(format!("{} is NULL", T::NAME)));
    }
    let live = shard(object.addr()).read().unwrap_or_else(PoisonError::into_inner);
    match live.get(&object.addr()) {
        Some(entry) if entry.kind != T::KIND => Err(wrong::<T>(entry.kind)),
        Some(entry) if !entry.dying => body(),
        _ => Err(dead::<T>()),
    }
}

/// Marks an object that is about to be freed. Of two threads that free it only one gets `Ok`.
pub(super) fn retire<T: Object>(object: *const T) -> Result<(), Failure> {
    let mut live = shard(object.addr()).write().unwrap_or_else(PoisonError::into_inner);
    match live.get_mut(&object.addr()) {
        Some(entry) if entry.kind == T::KIND && !entry.dying => {
            entry.dying = true;
            Ok(())
        }
        Some(entry) if entry.kind != T::KIND => Err(wrong::<T>(entry.kind)),
        _ => Err(dead::<T>()),
    }
}

/// Removes an object that was marked.
pub(super) fn remove<T>(object: *const T) {
    shard(object.addr()).write().unwrap_or_else(PoisonError::into_inner).remove(&object.addr());
}

fn wrong<T: Object>(kind: &str) -> Failure {
    Failure::invalid(format!("{} is a handle of type {kind}; a {} is needed", T::NAME, T::KIND))
}

fn dead<T: Object>() -> Failure {
    Failure::invalid(format!(
        "{} is not a live handle: this {} was freed, or the pointer did not come from this library",
        T::NAME,
        T::KIND
    ))
}

/// Tells the log of a handle that cannot be freed.
pub(super) fn report_free<T: Object>(failure: &Failure) {
    log::emit(log::Severity::Error, || format!("free of a {}: {}", T::KIND, failure.message));
}

/// A value that one thread at a time may change, or any number may read.
pub struct Guarded<T> {
    name: &'static str,
    /// How many are reading, or [`CHANGING`], or [`GONE`].
    users: AtomicUsize,
    pub(super) message: Message,
    value: UnsafeCell<ManuallyDrop<T>>,
}

impl<T> std::fmt::Debug for Guarded<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct(self.name).field("users", &self.users).finish_non_exhaustive()
    }
}

/// One thread is changing the value.
const CHANGING: usize = usize::MAX;
/// The value was given away. Nobody gets in any more.
const GONE: usize = usize::MAX - 1;

// SAFETY: the value is reached through the state of `users` alone: by one thread that changes it, or by readers.
unsafe impl<T: Send> Sync for Guarded<T> {}

impl<T: Send> Guarded<T> {
    pub(super) fn new(name: &'static str, value: T) -> Self {
        let value = UnsafeCell::new(ManuallyDrop::new(value));
        Self { name, users: AtomicUsize::new(0), message: Message::default(), value }
    }

    /// Takes the value for one thread, or fails with BUSY when another thread is inside.
    pub(super) fn seize(&self) -> Result<Seized<'_, T>, Failure> {
        let free = self.users.compare_exchange(0, CHANGING, Ordering::Acquire, Ordering::Relaxed);
        free.map(|_| Seized(self)).map_err(|_| self.busy())
    }

    /// Looks at the value, together with others who do, or BUSY when another thread is changing it. For calls that take
    /// the handle as const.
    pub(super) fn read<R>(&self, body: impl FnOnce(&T) -> Result<R, Failure>) -> Result<R, Failure>
    where
        T: Sync,
    {
        let more = |users: usize| (users < GONE - 1).then(|| users + 1);
        self.users.fetch_update(Ordering::Acquire, Ordering::Relaxed, more).map_err(|_| self.busy())?;
        let _inside = Inside(&self.users);
        // SAFETY: while there are readers nobody changes it.
        body(unsafe { &*self.value.get() })
    }

    /// A copy of a small value; see [`read`](Self::read).
    pub(super) fn copy(&self) -> Result<T, Failure>
    where
        T: Clone + Sync,
    {
        self.read(|value| Ok(value.clone()))
    }

    /// Waits until nobody is inside.
    pub(super) fn wait(&self) {
        while !matches!(self.users.load(Ordering::Acquire), 0 | GONE) {
            std::thread::sleep(std::time::Duration::from_micros(200));
        }
    }

    fn busy(&self) -> Failure {
        Failure::new(DETAILFLOW_STATUS_BUSY, format!("another thread is using this {}", self.name))
    }
}

impl<T> Drop for Guarded<T> {
    fn drop(&mut self) {
        if *self.users.get_mut() != GONE {
            // SAFETY: it was not given away, and it is dropped once.
            unsafe { ManuallyDrop::drop(self.value.get_mut()) };
        }
    }
}

/// The value of a handle, for the one thread that is inside. Dropping it leaves the handle.
pub struct Seized<'a, T>(&'a Guarded<T>);

impl<T> Seized<'_, T> {
    pub(super) fn value(&mut self) -> &mut T {
        // SAFETY: the state lets nobody else in until this is dropped.
        unsafe { &mut *self.0.value.get() }
    }

    /// Moves the value into `take`. When `take` gives it back with a failure, everything is as before; otherwise, and when
    /// `take` panics, nobody gets in any more, and the handle can only be freed.
    pub(super) fn give<R>(self, take: impl FnOnce(T) -> Result<R, (T, Failure)>) -> Result<R, Failure> {
        let guarded = self.0;
        std::mem::forget(self);
        let gone = Gone(&guarded.users);
        // SAFETY: nobody else is inside; it is used again only after it was written back.
        let value = unsafe { ManuallyDrop::take(&mut *guarded.value.get()) };
        take(value).map_err(|(value, failure)| {
            std::mem::forget(gone);
            // SAFETY: still nobody is inside, and the value was moved out.
            unsafe { guarded.value.get().write(ManuallyDrop::new(value)) };
            drop(Inside(&guarded.users));
            failure
        })
    }
}

impl<T> Drop for Seized<'_, T> {
    fn drop(&mut self) {
        drop(Inside(&self.0.users));
    }
}

/// Ends a handle whose value was given away: the last touch of its memory.
struct Gone<'a>(&'a AtomicUsize);

impl Drop for Gone<'_> {
    fn drop(&mut self) {
        self.0.store(GONE, Ordering::Release);
    }
}

/// Leaves a handle: the last touch of its memory, which may be freed right after.
struct Inside<'a>(&'a AtomicUsize);

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        let fewer = |users: usize| Some(if users == CHANGING { 0 } else { users - 1 });
        let _ = self.0.fetch_update(Ordering::Release, Ordering::Relaxed, fewer);
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::Arc;

    use super::*;

    fn is_busy<R>(result: &Result<R, Failure>) -> bool {
        matches!(result, Err(failure) if failure.status == DETAILFLOW_STATUS_BUSY as i32)
    }

    #[test]
    fn value_given_back_is_as_before() {
        let handle = Guarded::new("handle", 7);
        let given: Result<(), _> = handle.seize().unwrap().give(|value| Err((value + 1, Failure::invalid("no"))));
        assert_eq!(given.unwrap_err().message, "no");
        assert_eq!(*handle.seize().unwrap().value(), 8);
    }

    #[test]
    fn value_given_away_is_dropped_once_and_nobody_gets_in() {
        let value = Arc::new(());
        let handle = Guarded::new("handle", value.clone());
        let taken = handle.seize().unwrap().give(Ok).unwrap();
        assert!(is_busy(&handle.seize()) && is_busy(&handle.read(|_| Ok(()))));
        handle.wait();
        drop(handle);
        assert_eq!(Arc::strong_count(&taken), 2);
        drop(taken);
        assert_eq!(Arc::strong_count(&value), 1);
    }

    /// Freeing a handle waits for the thread that is inside: it must not wait for one that has panicked.
    #[test]
    fn handle_can_be_freed_after_a_panic_while_its_value_is_given() {
        let value = Arc::new(());
        let handle = Guarded::new("handle", value.clone());
        let panicked =
            catch_unwind(AssertUnwindSafe(|| handle.seize().unwrap().give(|_| -> Result<(), _> { panic!("a test") })));
        assert!(panicked.is_err() && is_busy(&handle.seize()));
        handle.wait();
        drop(handle);
        assert_eq!(Arc::strong_count(&value), 1);
    }

    struct Thing(Guarded<u32>);

    impl Object for Thing {
        const KIND: &'static str = "thing";
        const NAME: &'static str = "thing";
    }

    #[test]
    fn handle_that_is_being_freed_is_found_but_not_entered() {
        let thing = Box::new(Thing(Guarded::new("thing", 1)));
        register(&raw const *thing);
        assert!(hold(&raw const *thing, || thing.0.seize().map(drop)).is_ok());
        retire(&raw const *thing).unwrap();
        assert!(check(&raw const *thing).is_ok(), "calls inside callbacks still find it");
        assert!(hold(&raw const *thing, || thing.0.seize().map(drop)).is_err());
        assert!(retire(&raw const *thing).is_err());
        remove(&raw const *thing);
        assert!(check(&raw const *thing).is_err());
    }
}
