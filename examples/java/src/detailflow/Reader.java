// SPDX-License-Identifier: MIT OR Apache-2.0
package detailflow;

import com.sun.jna.Pointer;
import detailflow.Structs.detailflow_reader;
import java.io.IOException;
import java.nio.ByteBuffer;

/**
 * What the library calls while Model.open runs, on the thread that opens. An exception must not pass through C: it is kept,
 * and is the cause of that of open.
 */
final class Reader implements Structs.ReadAt {
    private static final long MOST = 1 << 30;
    private final ByteSource source;
    private Throwable error;

    Reader(ByteSource source) {
        this.source = source;
    }

    Throwable error() {
        return error;
    }

    detailflow_reader toNative() throws IOException {
        detailflow_reader reader = new detailflow_reader();
        reader.size = source.size();
        reader.read_at = this;
        return reader;
    }

    @Override
    public SizeT invoke(Pointer user, long offset, Pointer buffer, SizeT count) {
        try {
            return new SizeT(readAll(offset, buffer, count.longValue()));
        } catch (Throwable thrown) {
            error = thrown;
            return new SizeT(0);
        }
    }

    private long readAll(long offset, Pointer buffer, long count) throws IOException {
        long done = 0;
        while (done < count) {
            ByteBuffer part = buffer.getByteBuffer(done, Math.min(count - done, MOST));
            int read = source.read(offset + done, part);
            if (read <= 0 || read > part.capacity()) {
                break;
            }
            done += read;
        }
        return done;
    }
}
