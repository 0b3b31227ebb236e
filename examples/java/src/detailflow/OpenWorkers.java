// SPDX-License-Identifier: MIT OR Apache-2.0
package detailflow;

import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;

/** The workers that are open: their jobs are stopped when the virtual machine ends, before it does. */
final class OpenWorkers {
    private static final Set<Entry> OPEN = ConcurrentHashMap.newKeySet();

    static {
        try {
            Runtime.getRuntime().addShutdownHook(new Thread(() -> OPEN.forEach(Entry::stop), "detailflow-shutdown"));
        } catch (IllegalStateException error) {
            // It is ending already: the library stops what runs when the process exits.
        }
    }

    private OpenWorkers() {}

    /** Refers to the handle, not to its owner, which can be collected. */
    static final class Entry {
        private volatile Handle.State state;

        void add(Handle.State handle) {
            state = handle;
            OPEN.add(this);
        }

        void remove() {
            OPEN.remove(this);
        }

        private void stop() {
            try {
                state.status(worker -> C.detailflow_worker_close(worker, 0));
            } catch (IllegalStateException error) {
                // It was closed meanwhile.
            }
        }
    }
}
