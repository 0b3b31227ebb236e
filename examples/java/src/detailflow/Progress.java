// SPDX-License-Identifier: MIT OR Apache-2.0
package detailflow;

import detailflow.Structs.detailflow_progress;
import java.time.Duration;

/** How far a generation is: detailflow_progress. */
public final class Progress {
    public final int stepsDone;

    /** 0 when it is finished. */
    public final int stepsLeft;

    public final int tokenCount;

    /** Pixels per side that the tokens so far decode to; 0 while there are none. */
    public final int prefixSize;

    /** Pixels per side of the finest level that is complete; 0 before the first. */
    public final int levelSize;

    public final int levelTokenCount;
    public final int imageCount;

    /** The predicted time of the next step; zero when it is not known. */
    public final Duration nextStep;

    Progress(detailflow_progress progress) {
        stepsDone = progress.steps_done;
        stepsLeft = progress.steps_left;
        tokenCount = progress.token_count;
        prefixSize = progress.prefix_size;
        levelSize = progress.level_size;
        levelTokenCount = progress.level_token_count;
        imageCount = progress.image_count;
        nextStep = Duration.ofNanos(progress.next_step_ns);
    }
}
