// SPDX-License-Identifier: MIT OR Apache-2.0
package detailflow;

import com.sun.jna.Pointer;
import com.sun.jna.ptr.PointerByReference;
import java.lang.ref.Cleaner;
import java.lang.ref.Reference;
import java.util.function.Consumer;

/**
 * The owner of a handle of the C API. It is freed once, by close or after the garbage collector has found that nothing holds
 * the owner, and not while a call uses it. A call after close throws IllegalStateException.
 */
abstract class Handle implements AutoCloseable {
    private static final Cleaner CLEANER = Cleaner.create();

    interface Call {
        int with(Pointer handle);
    }

    /** What is freed; it must not refer to the owner, or that would never be collected. */
    static final class State implements Runnable {
        private final String name;
        private final Consumer<Pointer> free;
        private Pointer handle;
        private int users;
        private boolean closed;
        /** A call is taking the handle over. */
        private boolean given;

        private State(String name, Pointer handle, Consumer<Pointer> free) {
            this.name = name;
            this.handle = handle;
            this.free = free;
        }

        private synchronized Pointer enter() {
            checkOpen();
            users++;
            return handle;
        }

        private void checkOpen() {
            if (closed || given) {
                throw new IllegalStateException("the " + name + " is closed");
            }
        }

        private void leave() {
            Pointer last;
            synchronized (this) {
                users--;
                last = takeLast();
            }
            freeLast(last);
        }

        /** Closes; whoever uses it last frees it. */
        @Override
        public void run() {
            Pointer last;
            synchronized (this) {
                closed = true;
                last = takeLast();
            }
            freeLast(last);
        }

        private Pointer takeLast() {
            Pointer last = closed && !given && users == 0 ? handle : null;
            if (last != null) {
                handle = null;
            }
            return last;
        }

        private void freeLast(Pointer last) {
            if (last != null) {
                free.accept(last);
            }
        }

        /** What a call with the handle returns. */
        int status(Call call) {
            Pointer used = enter();
            try {
                return call.with(used);
            } finally {
                leave();
            }
        }

        /** A call that takes the handle over when it succeeds. Nobody else may be inside a call, or gets into one. */
        private void consume(Call call) {
            Pointer taken;
            synchronized (this) {
                checkOpen();
                if (users > 0) {
                    throw DetailFlowException.busy("another thread uses the " + name);
                }
                given = true;
                taken = handle;
            }
            boolean done = false;
            try {
                DetailFlowException.check(call.with(taken));
                done = true;
            } finally {
                endOfGiving(done);
            }
        }

        private void endOfGiving(boolean done) {
            Pointer last;
            synchronized (this) {
                given = false;
                if (done) {
                    closed = true;
                    handle = null;
                }
                // Not done, and closed meanwhile.
                last = takeLast();
            }
            freeLast(last);
        }
    }

    final State state;
    private final Cleaner.Cleanable cleanable;

    Handle(String name, PointerByReference made, Consumer<Pointer> free) {
        state = new State(name, made.getValue(), free);
        cleanable = CLEANER.register(this, state);
    }

    final void call(Call call) {
        Pointer used = state.enter();
        try {
            DetailFlowException.check(call.with(used));
        } finally {
            state.leave();
            // Until here: or the collector could close the state before it is entered.
            Reference.reachabilityFence(this);
        }
    }

    final int status(Call call) {
        try {
            return state.status(call);
        } finally {
            Reference.reachabilityFence(this);
        }
    }

    final void consume(Call call) {
        try {
            state.consume(call);
        } finally {
            Reference.reachabilityFence(this);
        }
    }

    /** Frees the handle, at once or when the calls of other threads have returned. A second time does nothing. */
    @Override
    public void close() {
        cleanable.clean();
    }
}
