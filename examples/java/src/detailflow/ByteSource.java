// SPDX-License-Identifier: MIT OR Apache-2.0
package detailflow;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.SeekableByteChannel;

/** A .dflow bundle that the program reads: out of an archive, an asset package, a channel. */
public interface ByteSource {
    /** Bytes of the file. */
    long size() throws IOException;

    /** Reads bytes from an offset on into a buffer, as many as it takes or fewer, and advances it; returns how many. */
    int read(long offset, ByteBuffer target) throws IOException;

    /** A channel, which is not closed. */
    static ByteSource of(SeekableByteChannel channel) {
        return new ByteSource() {
            @Override
            public long size() throws IOException {
                return channel.size();
            }

            @Override
            public int read(long offset, ByteBuffer target) throws IOException {
                return channel.position(offset).read(target);
            }
        };
    }

    /** A file that lies in memory. */
    static ByteSource of(byte[] data) {
        return new ByteSource() {
            @Override
            public long size() {
                return data.length;
            }

            @Override
            public int read(long offset, ByteBuffer target) {
                int count = target.remaining();
                target.put(data, (int) offset, count);
                return count;
            }
        };
    }
}
