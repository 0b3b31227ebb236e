// SPDX-License-Identifier: MIT OR Apache-2.0
package detailflow;

import java.time.Duration;

final class Time {
    /** UINT64_MAX: without limit. */
    static final long UNLIMITED = -1;

    private Time() {}

    static long nanoseconds(Duration time) {
        if (time.isNegative()) {
            throw new IllegalArgumentException("a time must not be negative: " + time);
        }
        try {
            return time.toNanos();
        } catch (ArithmeticException error) {
            return UNLIMITED;
        }
    }
}
