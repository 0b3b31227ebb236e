// SPDX-License-Identifier: MIT OR Apache-2.0
package detailflow;

/** A failed call: its status for the program, its message for a person. */
public final class DetailFlowException extends RuntimeException {
    private static final long serialVersionUID = 1;
    private final Status status;
    private final String statusName;

    private DetailFlowException(Status status, String statusName, String message, Throwable cause) {
        super(message, cause);
        this.status = status;
        this.statusName = statusName;
    }

    public Status status() {
        return status;
    }

    /** The name of the status, such as DETAILFLOW_STATUS_NOT_FOUND. */
    public String statusName() {
        return statusName;
    }

    /** Throws when a call has failed. The message is that of this thread, so this comes right after the call. */
    static void check(int status, Throwable cause) {
        if (status != 0) {
            throw new DetailFlowException(Status.of(status), Text.read(C.detailflow_status_name(status)),
                Text.read(C.detailflow_last_message()), cause);
        }
    }

    /** What the binding finds itself, without a call. */
    static DetailFlowException busy(String message) {
        return new DetailFlowException(Status.BUSY, "DETAILFLOW_STATUS_BUSY", message, null);
    }

    static void check(int status) {
        check(status, null);
    }
}
