// SPDX-License-Identifier: MIT OR Apache-2.0
package detailflow;

import com.sun.jna.IntegerType;
import com.sun.jna.Native;
import com.sun.jna.ptr.ByReference;

/** size_t: public, because JNA makes instances. */
public final class SizeT extends IntegerType {
    private static final long serialVersionUID = 1;

    public SizeT() {
        this(0);
    }

    public SizeT(long value) {
        super(Native.SIZE_T_SIZE, value, true);
    }

    /** size_t *. */
    public static final class Reference extends ByReference {
        public Reference() {
            super(Native.SIZE_T_SIZE);
            getPointer().clear(Native.SIZE_T_SIZE);
        }

        int intValue() {
            return Math.toIntExact(
                Native.SIZE_T_SIZE == Long.BYTES ? getPointer().getLong(0) : getPointer().getInt(0) & 0xffffffffL);
        }
    }
}
