// SPDX-License-Identifier: MIT OR Apache-2.0
'use strict';
const { native, struct, sizeOf, memoryAt, stringAt, copyOf } = require('./native.js');
const {
    Owner, Cancel, check, checkError, later, array, text, handleFrom, filled, withSignal, u32, u64, string, bytes, tokensOf,
} = require('./handle.js');
const { target, image } = require('./picture.js');

const Spinning = Object.freeze({ DEFAULT: 0, NEVER: 1, RUNS: 2 });
// The class of pictures that have none, because they were encoded.
const NO_CLASS = 0xffffffff;

/** Options of opening, as the library has them. The process does not wait for an opening that it has no use for: `cancel`. */
function ownerOf(options, cancel) {
    const trigger = cancel._handle();
    const owner = new Owner(handleFrom((out) => native.model_options_new(out, null)), native.model_options_free,
        () => native.cancel_trigger(trigger, null));
    const set = (name, ...values) => check(native[`model_options_set_${name}`](owner._handle(), ...values));
    try {
        if (options.device !== undefined) set('device', string(options.device, 'device'));
        for (const [key, value] of Object.entries(options.deviceOptions ?? {})) {
            set('device_option', key, string(value, key));
        }
        if (options.allowFallback !== undefined) set('allow_fallback', Number(Boolean(options.allowFallback)));
        if (options.threads !== undefined) set('threads', u32(options.threads, 'threads'));
        if (options.spinning !== undefined) set('spinning', u32(options.spinning, 'spinning'));
        if (options.precision !== undefined) set('precision', string(options.precision, 'precision'));
        if (options.form !== undefined) set('form', string(options.form, 'form'));
        if (options.weightsInMemory !== undefined) set('weights_in_memory', Number(Boolean(options.weightsInMemory)));
        if (options.encoder !== undefined) set('encoder', Number(Boolean(options.encoder)));
        set('cancel', trigger);
    } catch (error) {
        owner.close();
        throw error;
    }
    return owner;
}

/** Opens here and now: `call(options, made)`. */
function openNow(options, call, failed) {
    const cancel = new Cancel();
    try {
        const owner = ownerOf(options, cancel);
        try {
            return handleFrom((made) => call(owner._handle(), made), failed);
        } finally {
            owner.close();
        }
    } finally {
        cancel.close();
    }
}

/** Opens on another thread: `call(options, made, error)`. */
async function openLater(options, call) {
    const cancel = new Cancel();
    try {
        const owner = ownerOf(options, cancel);
        const made = new BigUint64Array(1);
        const error = struct('error');
        try {
            await withSignal(options.signal, cancel, () => cancel._hold(() => owner._hold(async (handle) => {
                checkError(await call(handle, made, error), error);
            })));
        } finally {
            owner.close();
        }
        return made[0];
    } finally {
        cancel.close();
    }
}

/** The reader of a file that `read` reads; what `read` throws is kept in `failed`. */
function readerOf(size, read, failed) {
    return {
        struct_size: sizeOf('reader'), reserved: 0, size: u64(size, 'size'), user: null,
        read_at(_user, offset, buffer, count) {
            try {
                const got = read(Number(offset), memoryAt(buffer, Number(count)));
                return typeof got === 'number' && got >= 0 ? got : 0;
            } catch (error) {
                failed.cause ??= error;
                return 0;
            }
        },
    };
}

/** An open model: made by `Model.open` and its like. */
class Model extends Owner {
    #info;

    constructor(handle) {
        super(handle, native.model_free);
    }

    /** Opens a bundle, a folder or a single file, or the default bundle, on another thread. */
    static async open(path, options = {}) {
        const name = path === undefined ? null : string(path, 'path');
        return new Model(await openLater(options, (...rest) => later(native.model_open, [name, ...rest])));
    }

    static openSync(path, options = {}) {
        const name = path === undefined ? null : string(path, 'path');
        return new Model(openNow(options, (handle, made) => native.model_open(name, handle, made, null)));
    }

    /** Opens a single-file bundle in memory, on another thread. The memory is copied once, and not used afterwards. */
    static async openMemory(data, options = {}) {
        const file = bytes(data, 'data');
        return new Model(await openLater(options, (...rest) => {
            const copy = copyOf(file);
            return later(native.model_open_memory, [copy.address, file.length, copy.free, copy.address, ...rest]);
        }));
    }

    /** Opens a single-file bundle that `read(offset, memory)` reads: it fills the memory and returns the number of bytes.
     * Here and now: functions of JavaScript run on this thread only. */
    static openReaderSync(size, read, options = {}) {
        const failed = {};
        const reader = readerOf(size, read, failed);
        return new Model(openNow(options, (handle, made) => native.model_open_reader(reader, handle, made, null), failed));
    }

    /** What the model is. */
    get info() {
        const handle = this._handle();
        if (this.#info === undefined) {
            const info = filled('model_info', (memory) => native.model_get_info(handle, memory));
            this.#info = Object.freeze({
                name: info.name, license: info.license, tokenizerId: info.tokenizer_id, precision: info.precision,
                form: info.form, device: info.device, path: info.path, imageSize: info.image_size, channels: info.channels,
                tokenCount: info.token_count, groupSize: info.group_size, causalCount: info.causal_count,
                codebookSize: info.codebook_size, bitsPerToken: info.bits_per_token, classCount: info.class_count,
                levelCount: info.level_count, guidance: info.guidance, temperature: info.temperature, topP: info.top_p,
                topK: info.top_k, gradualGuidance: info.gradual_guidance === 1, canGenerate: info.can_generate === 1,
                canEncode: info.can_encode === 1,
            });
        }
        return this.#info;
    }

    /** The levels, coarse to fine. */
    get levels() {
        return Array.from({ length: this.info.levelCount }, (_, index) => {
            const level = filled('level', (memory) => native.model_get_level(this._handle(), index, memory));
            return { size: level.level_size, tokenCount: level.token_count };
        });
    }

    /** The names of the classes. */
    get classes() {
        const name = new BigUint64Array(1);
        return Array.from({ length: this.info.classCount }, (_, index) => {
            check(native.model_get_class_name(this._handle(), index, name));
            return stringAt(name[0]);
        });
    }

    /** The index of a class; the error of an unknown one names the nearest. */
    findClass(name) {
        const index = new Uint32Array(1);
        check(native.model_find_class(this._handle(), string(name, 'name'), index));
        return index[0];
    }

    /** What runs where, for a person. */
    get report() {
        return text((...out) => native.model_get_report(this._handle(), ...out));
    }

    /** Pixels per side of the picture that a prefix decodes to. */
    prefixSize(tokenCount) {
        const size = new Uint32Array(1);
        check(native.model_get_prefix_size(this._handle(), u32(tokenCount, 'tokenCount'), size));
        return size[0];
    }

    #decodeArgs(tokens, options) {
        const given = tokensOf(tokens, 'tokens');
        const level = u32(options.levelSize ?? 0, 'levelSize');
        const picture = target(level || this.prefixSize(given.length), options);
        return [picture, given, given.length, level, image(picture)];
    }

    /** Decodes tokens into pixels, on another thread. */
    async decode(tokens, options = {}) {
        const [picture, ...args] = this.#decodeArgs(tokens, options);
        await this._later(native.model_decode, native.model_get_message, ...args);
        return picture;
    }

    decodeSync(tokens, options = {}) {
        const [picture, ...args] = this.#decodeArgs(tokens, options);
        check(native.model_decode(this._handle(), ...args));
        return picture;
    }

    async #encode(call, ...args) {
        const tokens = new Uint32Array(this.info.tokenCount);
        await this._later(call, native.model_get_message, ...args, tokens, tokens.length, new BigUint64Array(1));
        return tokens;
    }

    /**
     * The tokens of a picture, on another thread: of pixels, of the bytes of a picture file, or of one by its path. With
     * `effort`, 1 to 4, of pixels and paths, it searches for tokens that decode to the picture with less error.
     */
    async encode(picture, options = {}) {
        if (typeof picture !== 'string' && picture.width === undefined) {
            if (options.effort) throw new TypeError('effort needs pixels or the path of a file, not its bytes');
            return this.#encode(native.model_encode_data, bytes(picture, 'picture'), picture.byteLength);
        }
        const effort = u32(options.effort ?? 0, 'effort');
        const [call, source] = typeof picture === 'string'
            ? [native.model_encode_file_with_effort, string(picture, 'picture')]
            : [native.model_encode_with_effort, image(picture)];
        const cancel = new Cancel();
        try {
            return await withSignal(options.signal, cancel, () => cancel._hold((handle) =>
                this.#encode(call, source, effort, handle)));
        } finally {
            cancel.close();
        }
    }

    /** How likely each token is for a class: natural logarithms. On another thread. */
    async score(classIndex, tokens) {
        const given = tokensOf(tokens, 'tokens');
        const values = new Float32Array(given.length);
        await this._later(native.model_score, native.model_get_message, u32(classIndex, 'classIndex'), given, given.length,
            values, values.length, new BigUint64Array(1));
        return values;
    }

    /** Tokens as a token file (.dft). */
    encodeTokens(tokens, { classIndex = NO_CLASS, seed } = {}) {
        const given = tokensOf(tokens, 'tokens');
        const value = seed === undefined ? null : BigUint64Array.of(u64(seed, 'seed'));
        return array(Uint8Array, (...out) =>
            native.dft_encode(this._handle(), given, given.length, u32(classIndex, 'classIndex'), value, ...out));
    }

    /** Throws unless the tokens of a token file belong to this model. */
    checkTokens(data) {
        const file = bytes(data, 'data');
        check(native.dft_check(this._handle(), file, file.length));
    }
}

/** What a token file says. A cut or damaged one is not an error: `intactCount`. */
function tokenFileInfo(data) {
    const file = bytes(data, 'data');
    const info = filled('dft_info', (memory) => native.dft_get_info(file, file.length, memory, null));
    return {
        damage: info.damage, intactCount: info.intact_count, writtenCount: info.written_count, tokenCount: info.token_count,
        groupSize: info.group_size, causalCount: info.causal_count, bitsPerToken: info.bits_per_token,
        classIndex: info.class_index === NO_CLASS ? undefined : info.class_index,
        seed: info.has_seed === 1 ? BigInt(info.seed) : undefined, tokenizerId: info.tokenizer_id,
    };
}

/** The intact tokens of a token file. */
function tokenFileTokens(data) {
    const file = bytes(data, 'data');
    return array(Uint32Array, (...out) => native.dft_get_tokens(file, file.length, ...out, null));
}

/** Loads ONNX Runtime now rather than when the first model is opened: the file that is named, or the one that is found. */
function initRuntime(path) {
    const options = handleFrom((out) => native.runtime_options_new(out, null));
    try {
        if (path !== undefined) {
            check(native.runtime_options_set_library(options, string(path, 'path')));
        }
        check(native.runtime_init(options, null));
    } finally {
        native.runtime_options_free(options);
    }
}

module.exports = { Model, Spinning, tokenFileInfo, tokenFileTokens, initRuntime };
