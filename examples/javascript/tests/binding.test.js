// SPDX-License-Identifier: MIT OR Apache-2.0
'use strict';
const assert = require('node:assert/strict');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { test } = require('node:test');
const {
    Model, Request, Generation, Worker, Cancel, DetailFlowError, Status, Format, SubmitFlag, EventKind, savePicture,
    encodePicture, tokenFileInfo, tokenFileTokens,
} = require('..');

const model = Model.openSync(undefined, { threads: 1 });
const failed = (code, message = /./) => (error) => {
    assert.ok(error instanceof DetailFlowError, String(error));
    assert.equal(error.code, `DETAILFLOW_STATUS_${code}`);
    assert.equal(error.status, Status[code]);
    assert.match(error.message, message);
    return true;
};
const closed = failed('INVALID_ARGUMENT', /closed/);
const drawn = () => {
    const generation = new Generation(new Request(model, { classIndex: 3, seed: 7 }));
    generation.finishSync();
    return generation;
};

test('class_unknown_error_names_the_nearest', () => {
    assert.throws(() => model.findClass('potoin'), failed('INVALID_ARGUMENT', /did you mean potion/));
    assert.equal(model.classes[model.findClass('potion')], 'potion');
});

test('errors_of_other_threads_have_their_message', async () => {
    await assert.rejects(Model.open('/no/such/bundle'), failed('NOT_FOUND', /no\/such\/bundle/));
    await assert.rejects(model.decode([1, 2, 3, 4, 5]), failed('INVALID_ARGUMENT', /5/));
    await assert.rejects(model.encode(Buffer.from('no picture')), failed('BAD_FORMAT'));
    await assert.rejects(model.encode('/no/such/picture.png'), failed('NOT_FOUND', /no\/such\/picture/));
    await assert.rejects(new Generation(new Request(model)).decode(), failed('WRONG_STATE'));
});

test('closed_is_an_error_everywhere', async () => {
    const mine = Model.openSync(undefined, { threads: 1 });
    const request = new Request(mine);
    const generation = new Generation(request);
    const worker = new Worker();
    const cancel = generation.getCancel();
    // In the wrong order, and twice: what was made from the model goes on.
    for (const owner of [mine, request, mine, request]) {
        owner.close();
    }
    assert.equal((await generation.finish()).stepsLeft, 0);
    for (const owner of [generation, worker, cancel, cancel, worker, generation]) {
        owner.close();
        assert.equal(owner.closed, true);
    }
    assert.throws(() => mine.info, closed);
    assert.throws(() => mine.findClass('potion'), closed);
    await assert.rejects(mine.decode([1]), closed);
    assert.throws(() => request.set({ seed: 1 }), closed);
    assert.throws(() => new Generation(request), closed);
    assert.throws(() => new Request(mine), closed);
    await assert.rejects(generation.step(), closed);
    assert.throws(() => generation.stepSync(), closed);
    assert.throws(() => generation.progress, closed);
    assert.throws(() => worker.poll(), closed);
    assert.throws(() => worker.pending, closed);
    assert.throws(() => worker.submit(new Request(model)), closed);
    await assert.rejects(worker.wait(0), closed);
    assert.throws(() => cancel.trigger(), closed);
});

test('close_while_another_thread_draws_stops_it', async () => {
    const generation = new Generation(new Request(model, { imageCount: 64 }));
    const drawing = generation.finish();
    generation.close();
    await assert.rejects(drawing, (error) => failed('CANCELLED')(error) || closed(error));
    const decoding = model.decode(drawn().tokens());
    const mine = Model.openSync(undefined, { threads: 1 });
    const last = mine.decode(drawn().tokens());
    mine.close();
    assert.deepEqual((await last).data, (await decoding).data);
});

test('dispose_closes', () => {
    const request = new Request(model);
    request[Symbol.dispose]();
    assert.equal(request.closed, true);
});

test('abort_cancels_and_keeps_the_tokens', async () => {
    const generation = new Generation(new Request(model, { imageCount: 64 }));
    const stop = new AbortController();
    await generation.step();
    const drawing = generation.finish({ signal: stop.signal });
    stop.abort(new Error('enough'));
    await assert.rejects(drawing, (error) => failed('CANCELLED')(error) && error.cause.message === 'enough');
    assert.ok(generation.progress.tokenCount > 0);
    await assert.rejects(generation.step(), failed('CANCELLED'));
    await assert.rejects(Model.open(undefined, { signal: AbortSignal.abort() }), failed('CANCELLED'));
});

test('generation_in_use_is_busy', async () => {
    const generation = new Generation(new Request(model, { imageCount: 64 }));
    const worker = new Worker();
    const stepping = generation.step();
    assert.throws(() => worker.submitGeneration(generation), failed('BUSY'));
    await stepping;
    worker.submitGeneration(generation);
    assert.equal(generation.closed, true);
    worker.close();
});

test('pixels_are_decoded_into_the_memory_of_the_caller', async () => {
    const generation = drawn();
    const { data } = await generation.decode();
    const memory = new ArrayBuffer(100 + 32 * 200 + 100);
    const into = new Uint8Array(memory, 100, 32 * 200);
    const picture = await generation.decode(0, { into, stride: 200 });
    assert.equal(picture.data.buffer, memory);
    for (let row = 0; row < 32; row++) {
        assert.deepEqual(into.subarray(row * 200, row * 200 + 128), data.subarray(row * 128, row * 128 + 128));
        assert.ok(into.subarray(row * 200 + 128, row * 200 + 200).every((byte) => byte === 0));
    }
    assert.ok(new Uint8Array(memory, 0, 100).every((byte) => byte === 0));
    const floats = new Float32Array(32 * 32 * 4);
    generation.decodeSync(0, { into: floats, format: Format.RGBA32F });
    assert.deepEqual(Array.from(floats, (value) => Math.round(value * 255)), [...data]);
    await assert.rejects(generation.decode(0, { into: new Uint8Array(5) }), failed('INVALID_ARGUMENT'));
    assert.throws(() => generation.decodeSync(0, { into: [0] }), TypeError);
});

test('values_that_c_has_not_are_errors', () => {
    const request = new Request(model);
    for (const seed of [-1, 1.5, NaN, 2 ** 53, 2n ** 64n, -1n, '7', null]) {
        assert.throws(() => request.set({ seed }), /seed/, String(seed));
    }
    for (const classIndex of [-1, 0.5, 2 ** 32, '1', {}]) {
        assert.throws(() => request.set({ classIndex }), RangeError);
    }
    assert.throws(() => request.set({ sed: 7 }), TypeError);
    assert.throws(() => request.set({ topP: 'high' }), TypeError);
    assert.throws(() => request.set({ topP: 2 }), failed('INVALID_ARGUMENT'));
    assert.throws(() => model.findClass('a\0b'), TypeError);
    assert.throws(() => model.decodeSync([1, -1, 3, 4]), RangeError);
    const generation = new Generation(request.set({ seed: 2n ** 64n - 1n }));
    assert.equal(generation.imageSource().seed, 2n ** 64n - 1n);
});

test('token_file_round_trip', async () => {
    const generation = drawn();
    const file = model.encodeTokens(generation.tokens(), { classIndex: 3, seed: 7 });
    const info = tokenFileInfo(file);
    assert.deepEqual([info.classIndex, info.seed, info.intactCount], [3, 7n, 32]);
    assert.deepEqual(tokenFileTokens(file), generation.tokens());
    model.checkTokens(file);
    assert.ok(tokenFileTokens(file.subarray(0, 70)).length < 32);
    assert.equal(tokenFileInfo(model.encodeTokens(generation.tokens())).seed, undefined);
    assert.throws(() => tokenFileInfo(Buffer.from('nothing')), failed('BAD_FORMAT'));
    assert.deepEqual((await model.decode(generation.tokens())).data, (await generation.decode()).data);
    assert.equal((await model.decode(generation.tokens(), { levelSize: 8 })).width, 8);
});

test('pictures_are_encoded_from_files_bytes_and_pixels', async () => {
    const picture = await drawn().decode();
    const file = path.join(fs.mkdtempSync(path.join(os.tmpdir(), 'detailflow-')), 'sprite.png');
    savePicture(picture, file);
    const tokens = await model.encode(picture);
    assert.equal(tokens.length, 32);
    assert.deepEqual(await model.encode(file), tokens);
    assert.deepEqual(await model.encode(fs.readFileSync(file)), tokens);
    assert.deepEqual(await model.encode(file, { effort: 1 }), await model.encode(picture, { effort: 1 }));
    await assert.rejects(model.encode(picture, { effort: 5 }), failed('INVALID_ARGUMENT', /effort/));
    await assert.rejects(model.encode(fs.readFileSync(file), { effort: 1 }), TypeError);
    assert.deepEqual(Buffer.from(encodePicture(picture)), fs.readFileSync(file));
    assert.equal((await model.score(3, tokens)).length, 32);
    await drawn().save(file);
    fs.rmSync(path.dirname(file), { recursive: true });
});

test('models_open_from_memory_and_readers', async () => {
    const file = fs.readFileSync(process.env.DETAILFLOW_TEST_FILE);
    const expected = (await model.decode(drawn().tokens())).data;
    const tokens = drawn().tokens();
    const opened = [
        await Model.openMemory(file, { threads: 1 }),
        Model.openReaderSync(file.length, (offset, memory) => file.copy(memory, 0, offset), { threads: 1 }),
    ];
    file.fill(0);
    for (const other of opened) {
        assert.deepEqual((await other.decode(tokens)).data, expected);
    }
    const bad = new Error('the archive is damaged');
    assert.throws(() => Model.openReaderSync(file.length, () => { throw bad; }),
        (error) => failed('IO')(error) && error.cause === bad);
    assert.throws(() => Model.openReaderSync(file.length, () => undefined), failed('IO'));
    await assert.rejects(Model.openMemory(Buffer.from('no bundle')), failed('BAD_BUNDLE'));
});

test('worker_events_are_polled', async () => {
    const worker = new Worker({ threads: 1 });
    const request = new Request(model);
    const held = worker.submit(request, { user: 5, flags: SubmitFlag.HOLD });
    worker.pause(held);
    worker.resume(held);
    worker.setPriority(held, 2);
    assert.equal(worker.pending, 1);
    worker.cancel(held);
    const kinds = [];
    for await (const event of worker) {
        kinds.push(event.kind);
        assert.equal(event.user, 5);
        if (event.kind === EventKind.CANCELLED) {
            assert.ok(failed('CANCELLED')(event.error));
            assert.ok(event.last);
        }
    }
    assert.ok([EventKind.CANCELLED, EventKind.DONE].includes(kinds.at(-1)));
    assert.equal(worker.poll(), null);
    assert.equal(worker.waitSync(0), null);
    assert.throws(() => worker.cancel(99), failed('INVALID_ARGUMENT'));
    worker.submit(request, { flags: SubmitFlag.LAST_ONLY });
    const event = worker.waitSync(Infinity);
    assert.equal(event.kind, EventKind.DONE);
    assert.equal(event.tokens().length, 32);
    assert.deepEqual((await event.decodeLevel()).data, event.decodeLevelSync().data);
    worker.close();
    // Events belong to whoever took them.
    assert.equal(event.tokens().length, 32);
    event.close();
    assert.throws(() => event.tokens(), closed);
});

test('worker_user_comes_back_as_it_was', () => {
    const worker = new Worker({ threads: 0 });
    const request = new Request(model);
    for (const user of [2 ** 53, 2n ** 53n + 1n, 5n, -1, 0.5, '1']) {
        assert.throws(() => worker.submit(request, { user }), /user/, String(user));
        assert.throws(() => worker.submitGeneration(new Generation(request), { user }), /user/, String(user));
    }
    assert.equal(worker.pending, 0);
    worker.submit(request, { user: Number.MAX_SAFE_INTEGER });
    worker.cancelAll();
    assert.equal(worker.poll().user, Number.MAX_SAFE_INTEGER);
});

test('for_await_waits_for_a_held_job_and_ends_when_another_takes_the_last_event', async () => {
    const worker = new Worker();
    const hold = () => {
        const job = worker.submit(new Request(model, { levelSize: 8 }), { flags: SubmitFlag.HOLD });
        assert.equal(worker.waitSync(Infinity).kind, EventKind.LEVEL);
        return job;
    };
    const continued = hold();
    const events = worker[Symbol.asyncIterator]();
    let next = events.next();
    await worker.wait(100);
    worker.continue(continued);
    assert.equal((await next).value.levelSize, 16);
    while (!(await events.next()).done) {
        // Until the job is done.
    }
    const cancelled = hold();
    next = worker[Symbol.asyncIterator]().next();
    worker.cancel(cancelled);
    assert.equal(worker.waitSync(Infinity).kind, EventKind.CANCELLED);
    assert.deepEqual(await next, { value: undefined, done: true });
    const closing = hold();
    next = worker[Symbol.asyncIterator]().next();
    worker.close();
    await assert.rejects(next, closed);
    assert.ok(closing > cancelled);
});

test('worker_without_threads_is_ticked', async () => {
    const worker = new Worker({ threads: 0 });
    worker.submit(new Request(model));
    await assert.rejects(worker.wait(), failed('WRONG_STATE'));
    while (worker.tick(4).more) {
        // Until nothing is left.
    }
    let last;
    for (let event = worker.poll(); event !== null; event = worker.poll()) {
        last = event;
    }
    assert.equal(last.kind, EventKind.DONE);
});

test('array_that_grew_meanwhile_is_asked_for_again', () => {
    // As detailflow_generation_get_tokens while another thread steps.
    const { array } = require('../lib/handle.js');
    let tokens = 2;
    const got = array(Uint32Array, (memory, capacity, count) => {
        if (memory !== null && tokens === 2) {
            tokens = 3;
            return Status.INVALID_ARGUMENT;
        }
        count[0] = BigInt(tokens);
        memory?.fill(tokens);
        return Status.OK;
    });
    assert.deepEqual(got, Uint32Array.of(3, 3, 3));
});

test('fork_and_retain_go_on_from_the_same_tokens', async () => {
    const generation = new Generation(new Request(model, { imageCount: 3, seed: 1 }));
    await generation.advanceToLevel(8);
    const fork = generation.fork([1, 2, 3n]);
    assert.deepEqual(fork.tokens(1), generation.tokens(1));
    fork.retainImages([2]);
    assert.equal(fork.progress.imageCount, 1);
    assert.equal((await fork.advance(1000)).imageCount, 1);
    await generation.finish();
    generation.close();
    await fork.finish();
});

test('model_of_a_job_is_not_collected', async () => {
    const worker = new Worker();
    (() => {
        const mine = Model.openSync(undefined, { threads: 1 });
        worker.submit(new Request(mine, { imageCount: 16 }), { flags: SubmitFlag.LAST_ONLY });
    })();
    for (let round = 0; round < 5; round++) {
        global.gc();
        await new Promise(setImmediate);
    }
    assert.equal((await worker.wait()).kind, EventKind.DONE);
});

test('collected_owners_free_their_handles_under_load', async () => {
    const { native } = require('../lib/native.js');
    let freed = 0;
    const free = native.request_free;
    const generations = [];
    for (let round = 0; round < 20; round++) {
        for (let at = 0; at < 20; at++) {
            generations.push(new Generation(new Request(model, { levelSize: 8, seed: at })).finish());
            void new Cancel();
        }
        global.gc();
        await Promise.all(generations.splice(0));
    }
    native.request_free = (handle) => { freed += 1; free(handle); };
    for (let at = 0; at < 100; at++) {
        void new Request(model);
    }
    for (let round = 0; freed < 90 && round < 1000; round++) {
        global.gc();
        await new Promise(setImmediate);
    }
    native.request_free = free;
    assert.ok(freed >= 90, `${freed} of 100 requests were freed`);
});
