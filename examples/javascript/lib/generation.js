// SPDX-License-Identifier: MIT OR Apache-2.0
'use strict';
const { native, struct, fields } = require('./native.js');
const {
    DetailFlowError, Status, Owner, Cancel, check, array, handleFrom, filled, withSignal, u32, u64, float, string, tokensOf,
    nanoseconds,
} = require('./handle.js');
const { target, image } = require('./picture.js');

// A setting that may be a number, or a curve over the tokens: [[token, value], ...].
function setCurve(name, handle, value, check1) {
    if (!Array.isArray(value)) {
        check(native[`request_set_${name}`](handle, check1(value, name)));
        return;
    }
    const at = Uint32Array.from(value, ([token]) => u32(token, name));
    const values = Float32Array.from(value, ([, number]) => float(number, name));
    check(native[`request_set_${name}_curve`](handle, at, values, at.length));
}

const SETTINGS = {
    imageCount: (handle, value) => check(native.request_set_image_count(handle, u32(value, 'imageCount'))),
    classIndex: (handle, value) => check(native.request_set_class(handle, u32(value, 'classIndex'))),
    seed: (handle, value) => check(native.request_set_seed(handle, u64(value, 'seed'))),
    guidance: (handle, value) => setCurve('guidance', handle, value, float),
    gradualGuidance: (handle, value) => check(native.request_set_gradual_guidance(handle, Number(Boolean(value)))),
    temperature: (handle, value) => setCurve('temperature', handle, value, float),
    topK: (handle, value) => setCurve('top_k', handle, value, u32),
    topP: (handle, value) => setCurve('top_p', handle, value, float),
    logProbabilities: (handle, value) => check(native.request_set_log_probabilities(handle, Number(Boolean(value)))),
    levelSize: (handle, value) => check(native.request_set_level_size(handle, u32(value, 'levelSize'))),
    prefix: (handle, value) => {
        const tokens = tokensOf(value, 'prefix');
        check(native.request_set_prefix(handle, tokens, tokens.length, 0));
    },
    // One entry for each image: { classIndex, seed, prefix }, all of them optional but the first two together.
    images: (handle, list) => list.forEach(({ classIndex, seed, prefix }, index) => {
        if (classIndex !== undefined || seed !== undefined) {
            check(native.request_set_image_source(handle, index, u32(classIndex, 'classIndex'), u64(seed, 'seed')));
        }
        if (prefix !== undefined) {
            const tokens = tokensOf(prefix, 'prefix');
            check(native.request_set_image_prefix(handle, index, tokens, tokens.length));
        }
    }),
};

/** What to generate. Settings may be given at once, or set one by one: `request.set({ seed: 7 })`. */
class Request extends Owner {
    constructor(model, settings = {}) {
        const handle = handleFrom((out) => native.request_new(model._handle(), out));
        super(handle, native.request_free);
        // A worker keeps the models of its jobs.
        this._keeps(model);
        try {
            this.set(settings);
        } catch (error) {
            this.close();
            throw error;
        }
    }

    set(settings) {
        const handle = this._handle();
        for (const name of Object.keys(settings)) {
            if (!Object.hasOwn(SETTINGS, name)) {
                throw new TypeError(`no setting ${name}: there are ${Object.keys(SETTINGS).join(', ')}`);
            }
        }
        // In the order of the table: added images take class and seed of the first one, and `images` comes last.
        for (const [name, set] of Object.entries(SETTINGS)) {
            if (settings[name] !== undefined) {
                set(handle, settings[name]);
            }
        }
        return this;
    }
}

function progressOf(memory) {
    const progress = fields('progress', memory);
    return {
        stepsDone: progress.steps_done, stepsLeft: progress.steps_left, tokenCount: progress.token_count,
        prefixSize: progress.prefix_size, levelSize: progress.level_size, imageCount: progress.image_count,
        levelTokenCount: progress.level_token_count, nextStepMs: Number(progress.next_step_ns) / 1e6,
        nextDecodeMs: Number(progress.next_decode_ns) / 1e6,
    };
}

function triggerCancel(generation) {
    const cancel = new BigUint64Array(1);
    if (native.generation_get_cancel(generation, cancel) === Status.OK) {
        native.cancel_trigger(cancel[0], null);
        native.cancel_free(cancel[0]);
    }
}

/** A request being generated, or finished. */
class Generation extends Owner {
    /** @param {Request | Generation} from @param {bigint} [handle] That of a fork. */
    constructor(from, handle) {
        super(handle ?? handleFrom((out) => native.generation_new(from._handle(), out)), native.generation_free, triggerCancel);
        this._keeps(from._kept);
    }

    #now(call, ...args) {
        const memory = struct('progress');
        check(call(this._handle(), ...args, memory));
        return progressOf(memory);
    }

    async #later(signal, call, ...args) {
        const cancel = signal === undefined ? undefined : this.getCancel();
        try {
            return await withSignal(signal, cancel, async () => {
                const memory = struct('progress');
                await this._later(call, native.generation_get_message, ...args, memory);
                return progressOf(memory);
            });
        } finally {
            cancel?.close();
        }
    }

    /** One step, on another thread: one token of each image, or one group. */
    step({ signal } = {}) {
        return this.#later(signal, native.generation_step);
    }

    stepSync() {
        return this.#now(native.generation_step);
    }

    /** At least one step, and more as long as they should end within `budgetMs`. On another thread. */
    async advance(budgetMs, { signal } = {}) {
        return this.#later(signal, native.generation_advance, nanoseconds(budgetMs, 'budgetMs'));
    }

    advanceSync(budgetMs) {
        return this.#now(native.generation_advance, nanoseconds(budgetMs, 'budgetMs'));
    }

    /** Steps until a level is complete, on another thread. */
    async advanceToLevel(levelSize, { signal } = {}) {
        return this.#later(signal, native.generation_advance_to_level, u32(levelSize, 'levelSize'));
    }

    advanceToLevelSync(levelSize) {
        return this.#now(native.generation_advance_to_level, u32(levelSize, 'levelSize'));
    }

    /** All steps that are left, on another thread. Between two of them that thread is free for others. */
    async finish({ signal } = {}) {
        let progress;
        do {
            progress = await this.step({ signal });
        } while (progress.stepsLeft > 0);
        return progress;
    }

    finishSync() {
        return this.#now(native.generation_finish);
    }

    get progress() {
        return this.#now(native.generation_get_progress);
    }

    /** The tokens of one image so far. */
    tokens(index = 0) {
        return array(Uint32Array, (...out) => native.generation_get_tokens(this._handle(), u32(index, 'index'), ...out));
    }

    /** The log-probabilities of these tokens, when the request records them. */
    logProbabilities(index = 0) {
        return array(Float32Array, (...out) =>
            native.generation_get_log_probabilities(this._handle(), u32(index, 'index'), ...out));
    }

    /** Class and seed of one image. */
    imageSource(index = 0) {
        const classIndex = new Uint32Array(1);
        const seed = new BigUint64Array(1);
        check(native.generation_get_image_source(this._handle(), u32(index, 'index'), classIndex, seed));
        return { classIndex: classIndex[0], seed: seed[0] };
    }

    // A step on another thread may make the picture larger between the look at its size and the decode.
    async #decode(call, sizeName, index, options) {
        u32(index, 'index');
        for (;;) {
            const size = this.progress[sizeName];
            const picture = target(size, options);
            try {
                await this._later(call, native.generation_get_message, index, image(picture));
                return picture;
            } catch (error) {
                if (error.status !== Status.INVALID_ARGUMENT || this.progress[sizeName] === size) {
                    throw error;
                }
            }
        }
    }

    #decodeNow(call, sizeName, index, options) {
        const picture = target(this.progress[sizeName], options);
        check(call(this._handle(), u32(index, 'index'), image(picture)));
        return picture;
    }

    /** The picture of all tokens so far, on another thread. */
    decode(index = 0, options = {}) {
        return this.#decode(native.generation_decode, 'prefixSize', index, options);
    }

    decodeSync(index = 0, options = {}) {
        return this.#decodeNow(native.generation_decode, 'prefixSize', index, options);
    }

    /** The picture of the finest level that is complete, on another thread. */
    decodeLevel(index = 0, options = {}) {
        return this.#decode(native.generation_decode_level, 'levelSize', index, options);
    }

    decodeLevelSync(index = 0, options = {}) {
        return this.#decodeNow(native.generation_decode_level, 'levelSize', index, options);
    }

    /** Decodes, and writes a picture file, on another thread; the ending of the path chooses the format. */
    async save(path, index = 0) {
        await this._later(native.generation_save, native.generation_get_message, u32(index, 'index'), string(path, 'path'));
    }

    /** A generation with the same tokens so far that goes on with other seeds, one for each image. */
    fork(seeds) {
        const list = BigUint64Array.from(seeds, (seed) => u64(seed, 'seeds'));
        return new Generation(this, handleFrom((out) => native.generation_fork(this._handle(), list, list.length, out)));
    }

    /** Goes on with these images only. */
    retainImages(indices) {
        const list = tokensOf(indices, 'indices');
        check(native.generation_retain_images(this._handle(), list, list.length));
    }

    setLevelSize(levelSize) {
        check(native.generation_set_level_size(this._handle(), u32(levelSize, 'levelSize')));
    }

    /** Cancels it, from this thread, while another one steps. */
    cancel() {
        const cancel = this.getCancel();
        cancel.trigger();
        cancel.close();
    }

    /** What cancels it from anywhere. */
    getCancel() {
        return Cancel.attach(handleFrom((out) => native.generation_get_cancel(this._handle(), out)));
    }
}

module.exports = { Request, Generation };
