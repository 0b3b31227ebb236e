// SPDX-License-Identifier: MIT OR Apache-2.0
package detailflow;

import com.sun.jna.ptr.PointerByReference;
import detailflow.Structs.detailflow_event_info;
import java.nio.ByteBuffer;
import java.util.Optional;

/** An event of a job: a level is complete, or the job has ended. */
public final class JobEvent extends Handle {
    /** detailflow_event_kind. All but LEVEL are the last of their job. */
    public enum Kind { LEVEL, DONE, CANCELLED, FAILED }

    public final Kind kind;
    public final long job;

    /** What was given with the job. */
    public final long user;

    public final Status status;
    public final int imageCount;
    public final int tokenCount;

    /** Pixels per side of the finest level that was complete; 0 before the first. */
    public final int levelSize;

    public final int levelTokenCount;
    public final int stepsDone;
    public final int stepsLeft;

    /** The pixels of the level are there already. */
    public final boolean decoded;

    private JobEvent(PointerByReference taken) {
        super("event", taken, C::detailflow_event_free);
        detailflow_event_info info = new detailflow_event_info();
        call(event -> C.detailflow_event_get_info(event, info, null));
        kind = Kind.values()[info.kind - 1];
        job = info.job;
        user = info.user;
        status = Status.of(info.status);
        imageCount = info.image_count;
        tokenCount = info.token_count;
        levelSize = info.level_size;
        levelTokenCount = info.level_token_count;
        stepsDone = info.steps_done;
        stepsLeft = info.steps_left;
        decoded = info.decoded != 0;
    }

    static Optional<JobEvent> of(PointerByReference taken) {
        return taken.getValue() == null ? Optional.empty() : Optional.of(new JobEvent(taken));
    }

    /** Why the job failed; "" when it did not. */
    public String jobMessage() {
        return Text.get((buffer, capacity, length) ->
            status(event -> C.detailflow_event_get_job_message(event, buffer, capacity, length, null)));
    }

    /** The tokens that an image had, coarse to fine. */
    public int[] tokens(int image) {
        int index = Image.unsigned(image, "image");
        return Arrays.ints(tokenCount, (tokens, capacity, count) ->
            call(event -> C.detailflow_event_get_tokens(event, index, tokens, capacity, count, null)));
    }

    /** The level as RGBA8 in a new direct buffer: levelSize pixels per side. */
    public ByteBuffer decodeLevel(int image) {
        ByteBuffer pixels = Image.allocate(levelSize, levelSize, PixelFormat.RGBA8);
        decodeLevel(image, pixels, PixelFormat.RGBA8, 0);
        return pixels;
    }

    /** Decodes the level into a direct buffer, from its position on. */
    public void decodeLevel(int image, ByteBuffer pixels, PixelFormat format, int stride) {
        int index = Image.unsigned(image, "image");
        call(event -> Image.decode(pixels, levelSize, format, stride,
            target -> C.detailflow_event_decode_level(event, index, target, null)));
    }
}
