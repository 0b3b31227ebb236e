// SPDX-License-Identifier: MIT OR Apache-2.0
package detailflow;

import com.sun.jna.ptr.PointerByReference;

/** Cancels a generation, from any thread at any time, also when a worker has it. */
public final class Cancel extends Handle {
    Cancel(PointerByReference made) {
        super("cancel", made, C::detailflow_cancel_free);
    }

    public void trigger() {
        call(cancel -> C.detailflow_cancel_trigger(cancel, null));
    }
}
