// SPDX-License-Identifier: MIT OR Apache-2.0
package detailflow;

import com.sun.jna.Pointer;
import com.sun.jna.ptr.PointerByReference;

/** Options of a worker; what is not set has its default. */
public final class WorkerOptions {
    /** detailflow_worker_order. */
    public enum Order { DEFAULT, COARSE_FIRST, PRIORITY_FIRST }

    private Integer threads;
    private Integer batchSize;
    private Long batchBytes;
    private Long eventBytes;
    private Order order;

    /** 0: the worker works within tick. */
    public WorkerOptions threads(int count) {
        threads = Image.unsigned(count, "threads");
        return this;
    }

    public WorkerOptions batchSize(int size) {
        batchSize = Image.unsigned(size, "batchSize");
        return this;
    }

    public WorkerOptions batchBytes(long bytes) {
        batchBytes = bytes;
        return this;
    }

    public WorkerOptions eventBytes(long bytes) {
        eventBytes = bytes;
        return this;
    }

    public WorkerOptions order(Order value) {
        order = value;
        return this;
    }

    Pointer make() {
        PointerByReference made = new PointerByReference();
        DetailFlowException.check(C.detailflow_worker_options_new(made, null));
        Pointer options = made.getValue();
        try {
            set(options);
            return options;
        } catch (RuntimeException error) {
            C.detailflow_worker_options_free(options);
            throw error;
        }
    }

    private void set(Pointer options) {
        if (threads != null) {
            DetailFlowException.check(C.detailflow_worker_options_set_threads(options, threads));
        }
        if (batchSize != null) {
            DetailFlowException.check(C.detailflow_worker_options_set_batch_size(options, batchSize));
        }
        if (batchBytes != null) {
            DetailFlowException.check(C.detailflow_worker_options_set_batch_bytes(options, batchBytes));
        }
        if (eventBytes != null) {
            DetailFlowException.check(C.detailflow_worker_options_set_event_bytes(options, eventBytes));
        }
        if (order != null) {
            DetailFlowException.check(C.detailflow_worker_options_set_order(options, order.ordinal()));
        }
    }
}
