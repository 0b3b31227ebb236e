//! Control-C: the first ends what is being drawn within a step, and what is there is kept; the second ends `dflow`.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use detailflow::Cancel;

static CURRENT: Mutex<Option<Cancel>> = Mutex::new(None);
static ASKED: AtomicBool = AtomicBool::new(false);

/// From here on Control-C cancels `cancel`, and at once when it was pressed before.
pub fn ends(cancel: Cancel) {
    listen();
    // Locked while it looks: one that is pressed from now on waits for this handle.
    let mut current = current();
    if ASKED.load(Ordering::SeqCst) {
        cancel.cancel();
    }
    *current = Some(cancel);
}

/// From here on tells whether Control-C was pressed, for work that looks at it by itself.
pub fn asked() -> impl Fn() -> bool {
    listen();
    || ASKED.load(Ordering::SeqCst)
}

fn listen() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        // Where it cannot be set Control-C ends the process as ever.
        let _ = ctrlc::set_handler(|| {
            if ASKED.swap(true, Ordering::SeqCst) {
                std::process::exit(130);
            }
            if let Some(cancel) = current().as_ref() {
                cancel.cancel();
            }
        });
    });
}

fn current() -> std::sync::MutexGuard<'static, Option<Cancel>> {
    CURRENT.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}
