// SPDX-License-Identifier: MIT OR Apache-2.0
'use strict';
// Finds and loads the library, and declares its functions and structs. Nothing else in this package knows koffi.
const fs = require('node:fs');
const path = require('node:path');
const koffi = require('koffi');

// What this binding was written for: DETAILFLOW_ABI_VERSION.
const ABI_VERSION = 1;
// A call needs 128 KiB of stack, and koffi gives calls on other threads no more than that by default.
const ASYNC_STACK_BYTES = 512 * 1024;

const FILE_NAME =
    { win32: 'detailflow.dll', darwin: 'libdetailflow.dylib' }[process.platform] ?? 'libdetailflow.so';

function configure() {
    if (koffi.config().async_stack_size >= ASYNC_STACK_BYTES) {
        return;
    }
    try {
        koffi.config({ async_stack_size: ASYNC_STACK_BYTES });
    } catch (cause) {
        throw new Error('koffi has loaded another library before: require detailflow first, or call ' +
            `koffi.config({ async_stack_size: ${ASYNC_STACK_BYTES} }) at the start of the program`, { cause });
    }
}

// The places, in order: the environment variable alone, or else beside this package, then where the system looks.
function places() {
    const named = process.env.DETAILFLOW_LIBRARY;
    if (named) {
        return [path.resolve(named)];
    }
    return [path.join(__dirname, '..', FILE_NAME), FILE_NAME];
}

function open() {
    const tried = [];
    for (const place of places()) {
        try {
            if (path.isAbsolute(place) && !fs.existsSync(place)) {
                throw new Error('no such file');
            }
            return [koffi.load(place), place];
        } catch (error) {
            tried.push(`  ${place}: ${error.message}`);
        }
    }
    throw new Error('libdetailflow was not found. Tried:\n' + tried.join('\n') +
        '\nSet the environment variable DETAILFLOW_LIBRARY to its path, or put it beside package.json of detailflow.');
}

configure();
const [library, libraryPath] = open();

const version = library.func('detailflow_version', 'str', []);
const abiVersion = library.func('detailflow_abi_version', 'uint32', []);
if (abiVersion() < ABI_VERSION) {
    throw new Error(`${libraryPath}: libdetailflow ${version()} has ABI version ${abiVersion()}, and this binding needs ` +
        `${ABI_VERSION}: use a newer library`);
}

const structs = {
    error: koffi.struct({ struct_size: 'uint32', status: 'int32', message: koffi.array('char', 1016, 'String') }),
    image: koffi.struct({
        struct_size: 'uint32', format: 'uint32', width: 'uint32', height: 'uint32', stride: 'size_t', pixels: 'void *',
        capacity: 'size_t',
    }),
    model_info: koffi.struct({
        struct_size: 'uint32', image_size: 'uint32', channels: 'uint32', token_count: 'uint32', group_size: 'uint32',
        causal_count: 'uint32', codebook_size: 'uint32', bits_per_token: 'uint32', class_count: 'uint32',
        level_count: 'uint32', guidance: 'float', temperature: 'float', top_p: 'float', top_k: 'uint32',
        gradual_guidance: 'uint32', can_generate: 'uint32', can_encode: 'uint32', reserved: 'uint32', name: 'str',
        license: 'str', tokenizer_id: 'str', precision: 'str', form: 'str', device: 'str', path: 'str',
    }),
    level: koffi.struct({ struct_size: 'uint32', level_size: 'uint32', token_count: 'uint32', reserved: 'uint32' }),
    progress: koffi.struct({
        struct_size: 'uint32', steps_done: 'uint32', steps_left: 'uint32', token_count: 'uint32', prefix_size: 'uint32',
        level_size: 'uint32', image_count: 'uint32', level_token_count: 'uint32', next_step_ns: 'uint64',
        next_decode_ns: 'uint64',
    }),
    reader: koffi.struct({
        struct_size: 'uint32', reserved: 'uint32', size: 'uint64',
        read_at: koffi.pointer(koffi.proto('size_t DetailflowReadAt(void *user, uint64_t offset, void *buffer, size_t count)')),
        user: 'void *',
    }),
    event_info: koffi.struct({
        struct_size: 'uint32', kind: 'uint32', job: 'uint64', user: 'uint64', status: 'int32', image_count: 'uint32',
        token_count: 'uint32', level_size: 'uint32', level_token_count: 'uint32', steps_done: 'uint32',
        steps_left: 'uint32', decoded: 'uint32',
    }),
    tick_report: koffi.struct({
        struct_size: 'uint32', unit_count: 'uint32', step_count: 'uint32', decode_count: 'uint32', image_count: 'uint32',
        more: 'uint32', time_ns: 'uint64', longest_unit_ns: 'uint64', next_unit_ns: 'uint64', ready_count: 'uint64',
        parked_count: 'uint64',
    }),
    dft_info: koffi.struct({
        struct_size: 'uint32', damage: 'uint32', intact_count: 'uint32', written_count: 'uint32', token_count: 'uint32',
        group_size: 'uint32', causal_count: 'uint32', bits_per_token: 'uint32', class_index: 'uint32', has_seed: 'uint32',
        seed: 'uint64', tokenizer_id: koffi.array('char', 24, 'String'),
    }),
};

// Parameters, one letter each: p a handle or memory (a typed array is not copied; null), s a string, i a picture, r a
// reader, u uint32, l uint64, z size_t, f float.
const TYPES = {
    p: 'void *', s: 'str', i: koffi.pointer(structs.image), r: koffi.pointer(structs.reader), u: 'uint32', l: 'uint64',
    z: 'size_t', f: 'float',
};

const SIGNATURES = {
    runtime_options_new: 'pp', runtime_options_set_library: 'ps', runtime_init: 'pp',
    model_options_new: 'pp', model_options_set_device: 'ps', model_options_set_device_option: 'pss',
    model_options_set_allow_fallback: 'pu', model_options_set_spinning: 'pu', model_options_set_threads: 'pu',
    model_options_set_precision: 'ps', model_options_set_form: 'ps', model_options_set_cancel: 'pp',
    model_options_set_weights_in_memory: 'pu', model_options_set_encoder: 'pu',
    cancel_new: 'pp', cancel_trigger: 'pp',
    image_save: 'isp', image_encode: 'iupzpp',
    model_open: 'sppp', model_open_memory: 'pzppppp', model_open_reader: 'rppp',
    model_get_message: 'ppzp', model_get_info: 'pp', model_get_report: 'ppzp', model_get_class_name: 'pup',
    model_find_class: 'psp', model_get_level: 'pup', model_find_level: 'pup', model_get_prefix_size: 'pzp',
    model_encode_data: 'ppzpzp', model_encode_with_effort: 'piuppzp', model_encode_file_with_effort: 'psuppzp',
    model_decode: 'ppzui', model_score: 'pupzpzp',
    request_new: 'pp', request_set_image_count: 'pu', request_set_class: 'pu', request_set_seed: 'pl',
    request_set_image_source: 'puul', request_set_guidance: 'pf', request_set_gradual_guidance: 'pu',
    request_set_temperature: 'pf', request_set_top_k: 'pu', request_set_top_p: 'pf',
    request_set_guidance_curve: 'pppz', request_set_temperature_curve: 'pppz', request_set_top_k_curve: 'pppz',
    request_set_top_p_curve: 'pppz', request_set_log_probabilities: 'pu', request_set_prefix: 'ppzu',
    request_set_image_prefix: 'pupz', request_set_level_size: 'pu',
    generation_new: 'pp', generation_get_message: 'ppzp', generation_step: 'pp', generation_advance: 'plp',
    generation_advance_to_level: 'pup', generation_finish: 'pp', generation_get_progress: 'pp',
    generation_get_tokens: 'pupzp', generation_decode: 'pui', generation_decode_level: 'pui', generation_save: 'pus',
    generation_get_image_source: 'pupp', generation_get_log_probabilities: 'pupzp', generation_get_cancel: 'pp',
    generation_fork: 'ppzp', generation_retain_images: 'ppz', generation_set_level_size: 'pu',
    worker_options_new: 'pp', worker_options_set_threads: 'pu', worker_options_set_batch_size: 'pu',
    worker_options_set_batch_bytes: 'pl', worker_options_set_event_bytes: 'pl', worker_options_set_order: 'pu',
    worker_new: 'ppp', worker_close: 'pl', worker_submit_with: 'pppp', worker_submit_generation: 'pplup', worker_poll: 'pp',
    worker_wait: 'plp', worker_cancel: 'pl', worker_cancel_all: 'p', worker_get_pending: 'pp', worker_tick: 'plp',
    worker_set_priority: 'plf', worker_pause: 'pl', worker_resume: 'pl', worker_continue: 'plu',
    submit_options_new: 'pp', submit_options_set_user: 'pl', submit_options_set_flags: 'pu',
    submit_options_set_priority: 'pf',
    event_get_info: 'ppp', event_get_tokens: 'pupzpp', event_decode_level: 'puip', event_get_job_message: 'ppzpp',
    dft_encode: 'ppzuppzp', dft_get_info: 'pzpp', dft_get_tokens: 'pzpzpp', dft_check: 'ppz',
};
const FREED = ['runtime_options', 'model_options', 'cancel', 'model', 'request', 'generation', 'worker_options', 'worker',
    'submit_options', 'event'];

/** @type {Record<string, Function>} The functions, without `detailflow_`; each has `.async`. */
const native = {};
for (const [name, letters] of Object.entries(SIGNATURES)) {
    native[name] = library.func(`detailflow_${name}`, 'int32', [...letters].map((letter) => TYPES[letter]));
}
for (const name of FREED) {
    native[`${name}_free`] = library.func(`detailflow_${name}_free`, 'void', ['void *']);
}
native.status_name = library.func('detailflow_status_name', 'str', ['int32']);
native.last_message = library.func('detailflow_last_message', 'str', []);

/** A struct in memory, with its size in its first field. */
function struct(name) {
    const memory = Buffer.alloc(koffi.sizeof(structs[name]));
    memory.writeUInt32LE(memory.length);
    return memory;
}

/** The fields of a struct in memory. */
function fields(name, memory) {
    return koffi.decode(memory, structs[name]);
}

/** The size of a struct. */
function sizeOf(name) {
    return koffi.sizeof(structs[name]);
}

/** Memory at an address, for a callback: valid during the callback. */
function memoryAt(address, size) {
    return new Uint8Array(koffi.view(address, size));
}

/** The string at an address. */
function stringAt(address) {
    return koffi.decode.string(address);
}

let runtime;
/** A copy of bytes in memory of the C runtime, and the function that frees it on whatever thread. */
function copyOf(bytes) {
    if (runtime === undefined) {
        const name = { win32: 'ucrtbase.dll', darwin: 'libSystem.B.dylib' }[process.platform] ?? 'libc.so.6';
        const c = koffi.load(name);
        runtime = {
            malloc: c.func('malloc', 'void *', ['size_t']),
            memcpy: c.func('memcpy', 'void *', ['void *', 'void *', 'size_t']),
            free: c.symbol('free'),
        };
    }
    const address = runtime.malloc(Math.max(bytes.byteLength, 1));
    if (address === null) {
        throw new RangeError(`no memory for ${bytes.byteLength} bytes`);
    }
    runtime.memcpy(address, bytes, bytes.byteLength);
    return { address, free: runtime.free };
}

module.exports = { native, struct, fields, sizeOf, memoryAt, stringAt, copyOf, libraryPath, version, abiVersion };
