// SPDX-License-Identifier: MIT OR Apache-2.0
import detailflow.DetailFlowException;
import detailflow.Status;
import java.util.Objects;

/** What the tests are written with. */
final class Check {
    private Check() {}

    interface Action {
        void run() throws Exception;
    }

    static void that(boolean condition, String what) {
        if (!condition) {
            throw new AssertionError("not so: " + what);
        }
    }

    static void equal(Object expected, Object actual, String what) {
        if (!Objects.equals(expected, actual)) {
            throw new AssertionError(what + ": " + actual + " instead of " + expected);
        }
    }

    static <T extends Throwable> T fails(Class<T> type, Action action) {
        try {
            action.run();
        } catch (Throwable error) {
            if (type.isInstance(error)) {
                return type.cast(error);
            }
            throw new AssertionError("another exception", error);
        }
        throw new AssertionError("no " + type.getSimpleName() + " was thrown");
    }

    static DetailFlowException fails(Status status, Action action) {
        DetailFlowException error = fails(DetailFlowException.class, action);
        equal(status, error.status(), "status of \"" + error.getMessage() + "\"");
        return error;
    }
}
