// SPDX-License-Identifier: MIT OR Apache-2.0
package detailflow;

import com.sun.jna.Pointer;
import java.nio.ByteBuffer;
import java.nio.CharBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;

/** Strings cross as zero-terminated UTF-8 bytes: JNA's own encoding of strings depends on the platform. */
final class Text {
    private Text() {}

    /** null stays null. */
    static byte[] bytes(String text) {
        if (text == null) {
            return null;
        }
        if (text.indexOf('\0') >= 0) {
            throw new IllegalArgumentException("text for the C API contains a zero character");
        }
        try {
            // Throws for a lone surrogate instead of writing another name.
            ByteBuffer bytes = StandardCharsets.UTF_8.newEncoder().encode(CharBuffer.wrap(text));
            byte[] terminated = new byte[bytes.remaining() + 1];
            bytes.get(terminated, 0, terminated.length - 1);
            return terminated;
        } catch (CharacterCodingException error) {
            throw new IllegalArgumentException("text for the C API is not valid UTF-16", error);
        }
    }

    /** null for NULL. */
    static String read(Pointer address) {
        return address == null ? null : address.getString(0, "UTF-8");
    }

    interface Call {
        int with(byte[] buffer, SizeT capacity, SizeT.Reference length);
    }

    /** Text that a call writes into a buffer. */
    static String get(Call call) {
        SizeT.Reference length = new SizeT.Reference();
        DetailFlowException.check(call.with(null, new SizeT(0), length));
        while (true) {
            byte[] buffer = new byte[Math.addExact(length.intValue(), 1)];
            DetailFlowException.check(call.with(buffer, new SizeT(buffer.length), length));
            if (length.intValue() < buffer.length) {
                return new String(buffer, 0, length.intValue(), StandardCharsets.UTF_8);
            }
        }
    }
}
