// SPDX-License-Identifier: MIT OR Apache-2.0
package detailflow;

import detailflow.Structs.detailflow_model_info;

/** What a model is: detailflow_model_info, whose comments in detailflow.h say more. */
public final class ModelInfo {
    /** Pixels per side of the full image. */
    public final int imageSize;

    /** 3 is RGB, 4 is RGBA. */
    public final int channels;

    public final int tokenCount;
    public final int groupSize;
    public final int causalCount;
    public final int codebookSize;
    public final int bitsPerToken;
    public final int classCount;
    public final int levelCount;
    public final float guidance;
    public final float temperature;
    public final float topP;
    public final int topK;
    public final boolean gradualGuidance;
    public final boolean canGenerate;
    public final boolean canEncode;
    public final String name;
    public final String license;
    public final String tokenizerId;
    public final String precision;
    public final String form;
    public final String device;
    public final String path;

    ModelInfo(detailflow_model_info info) {
        imageSize = info.image_size;
        channels = info.channels;
        tokenCount = info.token_count;
        groupSize = info.group_size;
        causalCount = info.causal_count;
        codebookSize = info.codebook_size;
        bitsPerToken = info.bits_per_token;
        classCount = info.class_count;
        levelCount = info.level_count;
        guidance = info.guidance;
        temperature = info.temperature;
        topP = info.top_p;
        topK = info.top_k;
        gradualGuidance = info.gradual_guidance != 0;
        canGenerate = info.can_generate != 0;
        canEncode = info.can_encode != 0;
        name = Text.read(info.name);
        license = Text.read(info.license);
        tokenizerId = Text.read(info.tokenizer_id);
        precision = Text.read(info.precision);
        form = Text.read(info.form);
        device = Text.read(info.device);
        path = Text.read(info.path);
    }
}
