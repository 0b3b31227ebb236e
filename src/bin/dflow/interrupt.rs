//! Control-C: the first cancels the running generation within a step, and what is finished is saved; the second ends `dflow`.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use detailflow::Cancel;

static CURRENT: Mutex<Option<Cancel>> = Mutex::new(None);
static PRESSED: AtomicBool = AtomicBool::new(false);

/// From now on Control-C triggers `cancel`; if it was pressed before, `cancel` is triggered at once.
pub fn cancels(cancel: Cancel) {
    listen();
    // Locked during the check, so that a Control-C from now on waits for this handle.
    let mut current = current();
    if PRESSED.load(Ordering::SeqCst) {
        cancel.cancel();
    }
    *current = Some(cancel);
}

/// Returns a function that tells whether Control-C was pressed, for work that polls it.
pub fn pressed() -> impl Fn() -> bool {
    listen();
    || PRESSED.load(Ordering::SeqCst)
}

fn listen() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        // Without a handler Control-C ends the process, as it does by default.
        let _ = ctrlc::set_handler(|| {
            if PRESSED.swap(true, Ordering::SeqCst) {
                std::process::exit(130);
            }
            if let Some(cancel) = current().as_ref() {
                cancel.cancel();
            }
        });
    });
}

fn current() -> std::sync::MutexGuard<'static, Option<Cancel>> {
    CURRENT.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
