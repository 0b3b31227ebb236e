// SPDX-License-Identifier: MIT OR Apache-2.0
package detailflow;

import com.sun.jna.ptr.PointerByReference;

/**
 * A request: one image of class 0 with seed 0 at the finest level, with the model's default sampling, until it is changed.
 * One thread at a time.
 */
public final class Request extends Handle {
    final Model model;

    public Request(Model model) {
        super("request", make(model), C::detailflow_request_free);
        this.model = model;
    }

    private static PointerByReference make(Model model) {
        PointerByReference made = new PointerByReference();
        model.call(handle -> C.detailflow_request_new(handle, made));
        return made;
    }

    private Request set(Call call) {
        call(call);
        return this;
    }

    public Request setImageCount(int count) {
        int checked = Image.unsigned(count, "count");
        return set(request -> C.detailflow_request_set_image_count(request, checked));
    }

    public Request setClass(int classIndex) {
        int checked = Image.unsigned(classIndex, "classIndex");
        return set(request -> C.detailflow_request_set_class(request, checked));
    }

    public Request setClass(String name) {
        return setClass(model.findClass(name));
    }

    /** The seed of the first image, unsigned; the others take the seeds that follow it. */
    public Request setSeed(long seed) {
        return set(request -> C.detailflow_request_set_seed(request, seed));
    }

    /** Class and seed of one image. */
    public Request setImageSource(int image, int classIndex, long seed) {
        int index = Image.unsigned(image, "image");
        int checked = Image.unsigned(classIndex, "classIndex");
        return set(request -> C.detailflow_request_set_image_source(request, index, checked, seed));
    }

    /** The scale of classifier-free guidance; 1 is off. */
    public Request setGuidance(float scale) {
        return set(request -> C.detailflow_request_set_guidance(request, scale));
    }

    public Request setGradualGuidance(boolean gradual) {
        return set(request -> C.detailflow_request_set_gradual_guidance(request, gradual ? 1 : 0));
    }

    public Request setTemperature(float temperature) {
        return set(request -> C.detailflow_request_set_temperature(request, temperature));
    }

    /** 0 is off. */
    public Request setTopK(int k) {
        int checked = Image.unsigned(k, "k");
        return set(request -> C.detailflow_request_set_top_k(request, checked));
    }

    /** 1 is off. */
    public Request setTopP(float p) {
        return set(request -> C.detailflow_request_set_top_p(request, p));
    }

    /** Guidance as a curve over the tokens: a value at each of these tokens, linear between them. */
    public Request setGuidance(int[] tokens, float[] values) {
        SizeT count = points(tokens, values);
        return set(request -> C.detailflow_request_set_guidance_curve(request, tokens, values, count));
    }

    public Request setTemperature(int[] tokens, float[] values) {
        SizeT count = points(tokens, values);
        return set(request -> C.detailflow_request_set_temperature_curve(request, tokens, values, count));
    }

    public Request setTopK(int[] tokens, float[] values) {
        SizeT count = points(tokens, values);
        return set(request -> C.detailflow_request_set_top_k_curve(request, tokens, values, count));
    }

    public Request setTopP(int[] tokens, float[] values) {
        SizeT count = points(tokens, values);
        return set(request -> C.detailflow_request_set_top_p_curve(request, tokens, values, count));
    }

    private static SizeT points(int[] tokens, float[] values) {
        if (tokens.length != values.length) {
            throw new IllegalArgumentException("a curve has as many tokens as values");
        }
        for (int token : tokens) {
            Image.unsigned(token, "tokens");
        }
        return new SizeT(tokens.length);
    }

    /** Whether Generation.logProbabilities works. */
    public Request setLogProbabilities(boolean record) {
        return set(request -> C.detailflow_request_set_log_probabilities(request, record ? 1 : 0));
    }

    /** The tokens that every image begins with: those of a level, or all with level size 0. */
    public Request setPrefix(int[] tokens, int levelSize) {
        int level = Image.unsigned(levelSize, "levelSize");
        return set(request -> C.detailflow_request_set_prefix(request, tokens, new SizeT(tokens.length), level));
    }

    /** The tokens that one image begins with. */
    public Request setImagePrefix(int image, int[] tokens) {
        int index = Image.unsigned(image, "image");
        return set(request -> C.detailflow_request_set_image_prefix(request, index, tokens, new SizeT(tokens.length)));
    }

    /** The level at which the generation ends; 0 is the finest. */
    public Request setLevelSize(int levelSize) {
        int level = Image.unsigned(levelSize, "levelSize");
        return set(request -> C.detailflow_request_set_level_size(request, level));
    }

    private Generation generation(java.util.function.Function<PointerByReference, Call> call) {
        PointerByReference made = new PointerByReference();
        call(call.apply(made));
        return new Generation(made, model);
    }

    /** A generation of this request, before its first step. */
    public Generation begin() {
        return generation(made -> request -> C.detailflow_generation_new(request, made));
    }

    /** A finished generation of this request. */
    public Generation generate() {
        Generation generation = begin();
        try {
            generation.finish();
            return generation;
        } catch (RuntimeException error) {
            generation.close();
            throw error;
        }
    }

    /** Images that share the tokens up to a level, and then go on with the seeds of this request. */
    public Generation vary(int[] tokens, int levelSize) {
        int level = Image.unsigned(levelSize, "levelSize");
        return generation(made -> request -> C.detailflow_vary(request, tokens, new SizeT(tokens.length), level, made));
    }

    /** A picture of any size, encoded and generated anew from a level on. */
    public Generation redetail(Image picture, int levelSize) {
        int level = Image.unsigned(levelSize, "levelSize");
        return generation(made -> request -> picture.with(image -> C.detailflow_redetail(request, image, level, made)));
    }

    /** As the other, of a picture file. */
    public Generation redetail(String path, int levelSize) {
        byte[] bytes = Text.bytes(path);
        int level = Image.unsigned(levelSize, "levelSize");
        return generation(made -> request -> C.detailflow_redetail_file(request, bytes, level, made));
    }
}
