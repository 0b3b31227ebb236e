// SPDX-License-Identifier: MIT OR Apache-2.0
package detailflow;

/** What a call returned: detailflow_status_code. */
public enum Status {
    OK, INVALID_ARGUMENT, NOT_FOUND, BAD_BUNDLE, NO_RUNTIME, NO_DEVICE, OUT_OF_MEMORY, IO, BAD_FORMAT, CANCELLED,
    WRONG_STATE, BUSY, FAILED, INTERNAL,
    /** Of a library that is newer than this binding. */
    UNKNOWN;

    static Status of(int code) {
        return code >= 0 && code < UNKNOWN.ordinal() ? values()[code] : UNKNOWN;
    }
}
