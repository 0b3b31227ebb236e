// SPDX-License-Identifier: MIT OR Apache-2.0
'use strict';
// Errors, and the owners of handles.
const { native, struct, fields } = require('./native.js');

/** A failed call of the library, or a use of something closed. `code` is the name of the status. */
class DetailFlowError extends Error {
    /**
     * @param {number} status One of Status.
     * @param {string} message
     * @param {ErrorOptions} [options]
     */
    constructor(status, message, options) {
        super(message, options);
        this.name = 'DetailFlowError';
        this.status = status;
        this.code = native.status_name(status);
    }
}

const Status = Object.freeze({
    OK: 0, INVALID_ARGUMENT: 1, NOT_FOUND: 2, BAD_BUNDLE: 3, NO_RUNTIME: 4, NO_DEVICE: 5, OUT_OF_MEMORY: 6, IO: 7,
    BAD_FORMAT: 8, CANCELLED: 9, WRONG_STATE: 10, BUSY: 11, FAILED: 12, INTERNAL: 13,
});

/** Throws unless a call went well. The message is that of this thread, which made the call. */
function check(status, options) {
    if (status !== Status.OK) {
        throw new DetailFlowError(status, native.last_message(), options);
    }
}

/** A call on another thread, as a promise of its status. What `args` hold in memory stays until it is done. */
function later(call, args) {
    return new Promise((resolve, reject) => {
        call.async(...args, (error, status) => (error ? reject(error) : resolve(status, args)));
    });
}

/** As `check`, of a call on another thread that filled a detailflow_error. */
function checkError(status, error) {
    if (status !== Status.OK) {
        throw new DetailFlowError(status, fields('error', error).message);
    }
}

/** Asks for the size, then for the data: again when there was more by then, since another thread steps. `call(memory, capacity,
 * count)` is a function of the library. */
function array(Type, call) {
    const count = new BigUint64Array(1);
    for (;;) {
        check(call(null, 0, count));
        const memory = new Type(Number(count[0]));
        if (memory.length === 0) {
            return memory;
        }
        const status = call(memory, memory.length, count);
        if (status === Status.OK) {
            return memory.subarray(0, Number(count[0]));
        }
        const message = native.last_message();
        check(call(null, 0, count));
        if (count[0] <= memory.length) {
            throw new DetailFlowError(status, message);
        }
    }
}

function text(call) {
    const length = new BigUint64Array(1);
    check(call(null, 0, length));
    const memory = Buffer.alloc(Number(length[0]) + 1);
    check(call(memory, memory.length, length));
    return memory.toString('utf8', 0, memory.indexOf(0));
}

/** A new handle: `make` fills the memory that it is given. */
function handleFrom(make, options) {
    const handle = new BigUint64Array(1);
    check(make(handle), options);
    return handle[0];
}

// Everything that is open. The states do not know their owners, so that these can be collected.
const open = new Set();
const collected = new FinalizationRegistry((state) => state.close());

class State {
    constructor(address, free, stop) {
        this.address = address;
        this.free = free;
        this.stop = stop;
        this.running = 0;
        this.closed = false;
        open.add(this);
    }

    // A handle must not be freed while another thread is inside a call with it: the last one that leaves frees it.
    close() {
        if (this.closed) {
            return;
        }
        this.closed = true;
        if (this.running > 0) {
            this.stop?.(this.address);
        } else {
            this.release();
        }
    }

    leave() {
        this.running -= 1;
        if (this.closed && this.running === 0) {
            this.release();
        }
    }

    release() {
        open.delete(this);
        this.free?.(this.address);
        this.address = null;
    }
}

// The threads of libuv are waited for when the process ends: what draws there, or in a worker, stops first. `exit` comes after
// the last code of the program, and after an uncaught exception.
process.on('exit', () => {
    for (const state of open) {
        state.close();
    }
});

/** The owner of a handle. */
class Owner {
    #state;
    #kept;

    /**
     * @param {bigint} address
     * @param {Function} free Frees the handle.
     * @param {Function} [stop] Stops the calls with it that run on other threads.
     */
    constructor(address, free, stop) {
        this.#state = new State(address, free, stop);
        collected.register(this, this.#state, this.#state);
    }

    /** The model that it was made from is not collected before it. */
    _keeps(model) {
        this.#kept = model;
    }

    get _kept() {
        return this.#kept;
    }

    /** The handle; throws when it is closed. */
    _handle() {
        if (this.#state.closed) {
            throw new DetailFlowError(Status.INVALID_ARGUMENT, `this ${this.constructor.name} is closed`);
        }
        return this.#state.address;
    }

    /** Runs `work`, which calls on another thread: what `close` frees lives until it has returned. */
    async _hold(work) {
        const handle = this._handle();
        const state = this.#state;
        state.running += 1;
        try {
            return await work(handle);
        } finally {
            state.leave();
        }
    }

    /** Calls on another thread; the handle is the first argument. `getMessage` reads the message of such a handle. */
    _later(call, getMessage, ...args) {
        return this._hold(async (handle) => {
            const status = await later(call, [handle, ...args]);
            if (status !== Status.OK) {
                throw new DetailFlowError(status, text((...out) => getMessage(handle, ...out)));
            }
        });
    }

    /** The handle is someone else's from now on. Throws while a call with it runs on another thread. */
    _giveAway() {
        const handle = this._handle();
        this._idle();
        collected.unregister(this.#state);
        this.#state.free = undefined;
        this.#state.close();
        return handle;
    }

    _idle() {
        if (this.#state.running > 0) {
            throw new DetailFlowError(Status.BUSY, `this ${this.constructor.name} is used by a call on another thread`);
        }
    }

    /** Whether it was closed. */
    get closed() {
        return this.#state.closed;
    }

    /** Frees what it holds; again does nothing. What was made from it goes on. */
    close() {
        collected.unregister(this.#state);
        this.#state.close();
    }

    [Symbol.dispose]() {
        this.close();
    }
}

/** Stops a generation from anywhere, also from another node:worker_threads thread. */
class Cancel extends Owner {
    constructor(handle) {
        super(handle ?? handleFrom((out) => native.cancel_new(out, null)), native.cancel_free);
    }

    trigger() {
        check(native.cancel_trigger(this._handle(), null));
    }

    /** Gives it to another thread: a number for `Cancel.attach` there. Here it is closed. */
    detach() {
        return this._giveAway();
    }

    static attach(handle) {
        return new Cancel(BigInt(handle));
    }
}

/** Runs `work` with a cancel that the signal triggers. */
async function withSignal(signal, cancel, work) {
    if (signal === undefined) {
        return work();
    }
    const trigger = () => cancel.closed || cancel.trigger();
    if (signal.aborted) {
        trigger();
    }
    signal.addEventListener('abort', trigger, { once: true });
    try {
        return await work();
    } catch (error) {
        if (error instanceof DetailFlowError && error.status === Status.CANCELLED && signal.aborted) {
            error.cause = signal.reason;
        }
        throw error;
    } finally {
        signal.removeEventListener('abort', trigger);
    }
}

/** `value`, when it is an integer that 32 bits hold. */
function u32(value, name) {
    if (typeof value !== 'number' || !Number.isInteger(value) || value < 0 || value > 0xffffffff) {
        throw new RangeError(`${name}: ${String(value)} is not an integer from 0 to 4294967295`);
    }
    return value;
}

/** `value` as a bigint, when it is an integer that 64 bits hold. */
function u64(value, name) {
    const whole = typeof value === 'bigint' || Number.isSafeInteger(value);
    if (!whole || value < 0 || value > 0xffffffffffffffffn) {
        throw new RangeError(`${name}: ${String(value)} is not an integer from 0 to 2^64 - 1 (above 2^53 - 1 as a bigint)`);
    }
    return BigInt(value);
}

/** `value` as a bigint, when it is an integer that comes back as the same number. */
function safe(value, name) {
    if (!Number.isSafeInteger(value) || value < 0) {
        throw new RangeError(`${name}: ${String(value)} is not an integer from 0 to 2^53 - 1`);
    }
    return BigInt(value);
}

/** `value`, when it is a number. */
function float(value, name) {
    if (typeof value !== 'number') {
        throw new TypeError(`${name}: ${String(value)} must be a number`);
    }
    return value;
}

/** `value`, when it is a string without a zero, which would end it in C. */
function string(value, name) {
    if (typeof value !== 'string' || value.includes('\0')) {
        throw new TypeError(`${name}: ${JSON.stringify(value) ?? String(value)} is not a string without zeros`);
    }
    return value;
}

/** `value` as bytes, without a copy. */
function bytes(value, name) {
    if (ArrayBuffer.isView(value)) {
        return new Uint8Array(value.buffer, value.byteOffset, value.byteLength);
    }
    if (value instanceof ArrayBuffer) {
        return new Uint8Array(value);
    }
    throw new TypeError(`${name}: is no Buffer, Uint8Array or ArrayBuffer`);
}

/** Tokens as the library takes them. A Uint32Array is not copied. */
function tokensOf(value, name) {
    return value instanceof Uint32Array ? value : Uint32Array.from(value, (token) => u32(token, name));
}

/** Milliseconds as nanoseconds, or without limit. */
function nanoseconds(milliseconds, name) {
    float(milliseconds, name);
    if (!(milliseconds >= 0)) {
        throw new RangeError(`${name}: ${milliseconds} is less than 0`);
    }
    return milliseconds > 1e12 ? 0xffffffffffffffffn : BigInt(Math.round(milliseconds * 1e6));
}

/** The struct that a call fills. */
function filled(name, call) {
    const memory = struct(name);
    check(call(memory));
    return fields(name, memory);
}

module.exports = {
    DetailFlowError, Status, Owner, Cancel, check, checkError, later, array, text, handleFrom, filled, withSignal, u32, u64,
    float, string, bytes, tokensOf, nanoseconds, safe,
};
