// SPDX-License-Identifier: MIT OR Apache-2.0
'use strict';
// Workers report by events that are polled. The callbacks of the C API are not bound: a thread of a worker would wait in one
// until this thread is idle, and this thread for the worker.
const { native, struct, fields } = require('./native.js');
const {
    Owner, check, array, text, handleFrom, filled, later, DetailFlowError, Status, u32, u64, float, nanoseconds, safe,
} = require('./handle.js');
const { target, image } = require('./picture.js');

const Order = Object.freeze({ DEFAULT: 0, COARSE_FIRST: 1, PRIORITY_FIRST: 2 });
const SubmitFlag = Object.freeze({ DECODE: 1, LAST_ONLY: 2, HOLD: 4 });
const EventKind = Object.freeze({ LEVEL: 1, DONE: 2, CANCELLED: 3, FAILED: 4 });
const POLL_MS = 2;

/** Something that happened to a job, with its tokens at that moment. */
class JobEvent extends Owner {
    constructor(handle) {
        super(handle, native.event_free);
        const info = filled('event_info', (memory) => native.event_get_info(handle, memory, null));
        this.kind = info.kind;
        this.job = Number(info.job);
        this.user = Number(info.user);
        this.status = info.status;
        this.imageCount = info.image_count;
        this.tokenCount = info.token_count;
        this.levelSize = info.level_size;
        this.levelTokenCount = info.level_token_count;
        this.stepsDone = info.steps_done;
        this.stepsLeft = info.steps_left;
        this.decoded = info.decoded === 1;
    }

    /** Whether it is the last one of its job. */
    get last() {
        return this.kind !== EventKind.LEVEL;
    }

    /** Why the job was cancelled or failed, as an error; undefined for other events. */
    get error() {
        return this.status === Status.OK ? undefined
            : new DetailFlowError(this.status, text((...out) => native.event_get_job_message(this._handle(), ...out, null)));
    }

    tokens(index = 0) {
        return array(Uint32Array, (...out) => native.event_get_tokens(this._handle(), u32(index, 'index'), ...out, null));
    }

    /** The pixels of the level: at once when the worker has decoded them (`SubmitFlag.DECODE`), otherwise decoded now. */
    decodeLevelSync(index = 0, options = {}) {
        const picture = target(this.levelSize, options);
        check(native.event_decode_level(this._handle(), u32(index, 'index'), image(picture), null));
        return picture;
    }

    /** The same on another thread. */
    async decodeLevel(index = 0, options = {}) {
        const picture = target(this.levelSize, options);
        const error = struct('error');
        await this._hold(async (handle) => {
            const status = await later(native.event_decode_level, [handle, u32(index, 'index'), image(picture), error]);
            if (status !== Status.OK) {
                throw new DetailFlowError(status, fields('error', error).message);
            }
        });
        return picture;
    }
}

/** Generates in the background, on threads of its own, or in `tick` when it has none. */
class Worker extends Owner {
    // Freeing a model ends its jobs, so the models of jobs are not collected before they have ended.
    #models = new Set();

    constructor(options = {}) {
        const handle = handleFrom((out) => native.worker_options_new(out, null));
        const set = (name, value) => check(native[`worker_options_set_${name}`](handle, value));
        let worker;
        try {
            if (options.threads !== undefined) set('threads', u32(options.threads, 'threads'));
            if (options.batchSize !== undefined) set('batch_size', u32(options.batchSize, 'batchSize'));
            if (options.batchBytes !== undefined) set('batch_bytes', u64(options.batchBytes, 'batchBytes'));
            if (options.eventBytes !== undefined) set('event_bytes', u64(options.eventBytes, 'eventBytes'));
            if (options.order !== undefined) set('order', u32(options.order, 'order'));
            worker = handleFrom((out) => native.worker_new(handle, out, null));
        } finally {
            native.worker_options_free(handle);
        }
        super(worker, native.worker_free);
    }

    #keep(owner) {
        if (this.pending === 0) {
            this.#models.clear();
        }
        this.#models.add(owner._kept);
    }

    /** Submits a request; returns the number of the job. `user`, up to 2^53 - 1, comes back in its events. */
    submit(request, { user = 0, flags = 0, priority = 0 } = {}) {
        this.#keep(request);
        const job = new BigUint64Array(1);
        const options = handleFrom((out) => native.submit_options_new(out, null));
        try {
            check(native.submit_options_set_user(options, safe(user, 'user')));
            check(native.submit_options_set_flags(options, u32(flags, 'flags')));
            check(native.submit_options_set_priority(options, float(priority, 'priority')));
            check(native.worker_submit_with(this._handle(), request._handle(), options, job));
        } finally {
            native.submit_options_free(options);
        }
        return Number(job[0]);
    }

    /** Submits a generation, which the worker continues; it is closed here. */
    submitGeneration(generation, { user = 0, flags = 0 } = {}) {
        const job = new BigUint64Array(1);
        const handle = generation._handle();
        generation._idle();
        this.#keep(generation);
        check(native.worker_submit_generation(this._handle(), handle, safe(user, 'user'), u32(flags, 'flags'), job));
        generation._giveAway();
        return Number(job[0]);
    }

    #event(take) {
        const event = new BigUint64Array(1);
        check(take(event));
        return event[0] === 0n ? null : new JobEvent(event[0]);
    }

    /** The next event, or null. */
    poll() {
        return this.#event((out) => native.worker_poll(this._handle(), out));
    }

    /** The next event, or null after `timeoutMs` milliseconds. It polls, so that no thread of Node waits meanwhile. */
    async wait(timeoutMs = Infinity) {
        nanoseconds(timeoutMs, 'timeoutMs');
        const end = performance.now() + timeoutMs;
        for (;;) {
            const event = this.#event((out) => native.worker_wait(this._handle(), 0n, out));
            if (event !== null || performance.now() >= end) {
                return event;
            }
            await new Promise((resolve) => setTimeout(resolve, POLL_MS));
        }
    }

    /** The same, and blocks this thread. */
    waitSync(timeoutMs) {
        return this.#event((out) => native.worker_wait(this._handle(), nanoseconds(timeoutMs, 'timeoutMs'), out));
    }

    /** `for await`: all events until no job is pending, as one that is held or paused is. Each is closed when the next is
     * asked for. */
    async *[Symbol.asyncIterator]() {
        while (this.pending > 0) {
            // Not without limit: someone else may take the last event.
            const event = await this.wait(10 * POLL_MS);
            if (event === null) {
                continue;
            }
            try {
                yield event;
            } finally {
                event.close();
            }
        }
    }

    /** Jobs whose last event was not taken yet. */
    get pending() {
        const count = new BigUint64Array(1);
        check(native.worker_get_pending(this._handle(), count));
        return Number(count[0]);
    }

    /** Drives a worker that has no threads for about `budgetMs` milliseconds, on this thread. */
    tick(budgetMs) {
        const report = filled('tick_report', (memory) =>
            native.worker_tick(this._handle(), nanoseconds(budgetMs, 'budgetMs'), memory));
        return {
            unitCount: report.unit_count, stepCount: report.step_count, decodeCount: report.decode_count,
            imageCount: report.image_count, more: report.more === 1, timeMs: Number(report.time_ns) / 1e6,
            longestUnitMs: Number(report.longest_unit_ns) / 1e6, nextUnitMs: Number(report.next_unit_ns) / 1e6,
            readyCount: Number(report.ready_count), parkedCount: Number(report.parked_count),
        };
    }

    cancel(job) {
        check(native.worker_cancel(this._handle(), u64(job, 'job')));
    }

    cancelAll() {
        check(native.worker_cancel_all(this._handle()));
    }

    setPriority(job, priority) {
        check(native.worker_set_priority(this._handle(), u64(job, 'job'), float(priority, 'priority')));
    }

    pause(job) {
        check(native.worker_pause(this._handle(), u64(job, 'job')));
    }

    resume(job) {
        check(native.worker_resume(this._handle(), u64(job, 'job')));
    }

    /** Changes the level at which a job ends or is held; 0 is the finest. */
    continue(job, levelSize = 0) {
        check(native.worker_continue(this._handle(), u64(job, 'job'), u32(levelSize, 'levelSize')));
    }
}

module.exports = { Worker, JobEvent, Order, SubmitFlag, EventKind };
