// SPDX-License-Identifier: MIT OR Apache-2.0
'use strict';
// Each way in which a process or a thread of node:worker_threads ends while something draws. None may hang or crash.
const assert = require('node:assert/strict');
const { spawnSync } = require('node:child_process');
const path = require('node:path');
const { test } = require('node:test');

const BEGIN = `
    const { Model, Request, Generation, Worker, Cancel, SubmitFlag } = require(${JSON.stringify(path.join(__dirname, '..'))});
    const threads = require('node:worker_threads');
    const model = Model.openSync(undefined, { threads: 1 });
    const long = { imageCount: 256 };
    const inWorker = () => {
        const worker = new Worker();
        for (let at = 0; at < 8; at++) worker.submit(new Request(model, long), { flags: SubmitFlag.DECODE });
        return worker;
    };
    const inStep = () => {
        const generation = new Generation(new Request(model, long));
        generation.finish().catch(() => undefined);
        return generation;
    };
`;

function ended(program, env = {}) {
    const child = spawnSync(process.execPath, ['--expose-gc', '-e', BEGIN + program],
        { encoding: 'utf8', timeout: 120_000, env: { ...process.env, ...env } });
    assert.equal(child.signal, null, `hangs or dies of ${child.signal}: ${child.stderr}`);
    return child;
}

const DRAWING = {
    worker: 'inWorker();', step: 'inStep();', both: 'inWorker(); inStep(); inStep(); inStep(); inStep(); inStep();',
    opening: 'Model.open().catch(() => undefined);',
};
for (const [what, program] of Object.entries(DRAWING)) {
    test(`exit_while_${what}_draws_is_0`, () => {
        const child = ended(`${program} setImmediate(() => process.exit(0));`);
        assert.equal(child.status, 0, child.stderr);
        assert.equal(child.stderr, '');
    });
    test(`uncaught_exception_while_${what}_draws_is_1`, () => {
        const child = ended(`${program} setImmediate(() => { throw new Error('on purpose'); });`);
        assert.equal(child.status, 1, child.stderr);
        assert.match(child.stderr, /on purpose/);
    });
}

test('natural_end_while_a_worker_draws_is_0', () => {
    const child = ended('globalThis.kept = inWorker();');
    assert.deepEqual([child.status, child.stderr], [0, '']);
});

test('unhandled_rejection_while_a_worker_draws_is_1', () => {
    const child = ended("inWorker(); Promise.reject(new Error('on purpose'));");
    assert.equal(child.status, 1, child.stderr);
});

test('exit_within_an_event_loop_over_a_worker_is_0', () => {
    const child = ended('(async () => { for await (const event of inWorker()) process.exit(0); })();');
    assert.deepEqual([child.status, child.stderr], [0, '']);
});

test('use_after_the_exit_event_is_an_error', () => {
    const child = ended(`const worker = inWorker();
        process.on('exit', () => { try { worker.poll(); } catch (error) { console.log(error.code); } });
        process.exit(0);`);
    assert.deepEqual([child.status, child.stdout.trim()], [0, 'DETAILFLOW_STATUS_INVALID_ARGUMENT']);
});

// In a thread of node:worker_threads: the program of the thread, then what the main one does when the thread says "drawing".
const inThread = (program, then) => ended(`
    const thread = new threads.Worker(${JSON.stringify(BEGIN + program)}, { eval: true });
    thread.on('message', (message) => { ${then} });
    thread.on('error', (error) => console.log(error.message));
    thread.on('exit', (code) => console.log('thread ended', code));
`);

test('terminated_thread_ends_while_it_draws', () => {
    const child = inThread("inStep(); inWorker(); threads.parentPort.postMessage(0); setInterval(() => 0, 1e6);",
        'thread.terminate();');
    assert.deepEqual([child.status, child.stdout, child.stderr], [0, 'thread ended 1\n', '']);
});

test('terminated_thread_ends_while_it_waits_for_events', () => {
    const child = inThread(`const worker = inWorker(); threads.parentPort.postMessage(0);
        (async () => { for (;;) await worker.wait(); })();`, 'thread.terminate();');
    assert.deepEqual([child.status, child.stdout, child.stderr], [0, 'thread ended 1\n', '']);
});

test('exit_of_the_main_thread_while_another_draws_is_0', () => {
    const child = inThread("inStep(); inWorker(); threads.parentPort.postMessage(0); setInterval(() => 0, 1e6);",
        'process.exit(0);');
    assert.deepEqual([child.status, child.stderr], [0, '']);
});

test('thread_that_ends_by_itself_closes_what_it_opened', () => {
    const child = inThread('inWorker(); inStep(); threads.parentPort.postMessage(0); process.exit(3);', '');
    assert.deepEqual([child.status, child.stdout, child.stderr], [0, 'thread ended 3\n', '']);
});

test('worker_of_a_thread_that_ended_is_freed', () => {
    const child = inThread('threads.parentPort.postMessage(inWorker()._handle()); process.exit(3);', `
        thread.on('exit', () => console.log(require(${JSON.stringify(path.join(__dirname, '..', 'lib', 'native.js'))})
            .native.worker_get_pending(message, new BigUint64Array(1))));`);
    // 1 is INVALID_ARGUMENT: no such handle.
    assert.deepEqual([child.status, child.stdout, child.stderr], [0, 'thread ended 3\n1\n', '']);
});

test('close_of_a_worker_that_draws_does_not_hang', () => {
    const child = ended('const worker = inWorker(); setTimeout(() => { worker.close(); process.exitCode = 7; }, 0);');
    assert.deepEqual([child.status, child.stderr], [7, '']);
});

test('uncaught_exception_of_a_thread_while_it_draws_reaches_its_owner', () => {
    const child = inThread("inWorker(); inStep(); setImmediate(() => { throw new Error('on purpose'); });", '');
    assert.deepEqual([child.status, child.stdout, child.stderr], [0, 'on purpose\nthread ended 1\n', '']);
});

test('cancel_of_another_thread_stops_a_generation', () => {
    const child = ended(`
        const generation = new Generation(new Request(model, { imageCount: 64 }));
        generation.stepSync();
        const cancel = generation.getCancel();
        const thread = new threads.Worker(${JSON.stringify(`
            const { Cancel } = require(${JSON.stringify(path.join(__dirname, '..'))});
            Cancel.attach(require('node:worker_threads').workerData).trigger();
        `)}, { eval: true, workerData: cancel.detach() });
        // This thread is inside the library; it takes no messages meanwhile.
        try { for (;;) generation.stepSync(); } catch (error) { console.log(error.code); }
        try { cancel.trigger(); } catch (error) { console.log(error.message); }
    `);
    assert.equal(child.stderr, '');
    assert.match(child.stdout, /^DETAILFLOW_STATUS_CANCELLED\nthis Cancel is closed\n$/);
});

test('library_not_found_names_the_places_and_the_remedy', () => {
    const child = ended('', { DETAILFLOW_LIBRARY: '/no/such/libdetailflow.so' });
    assert.equal(child.status, 1);
    assert.match(child.stderr, /not found. Tried:\n {2}\/no\/such\/libdetailflow.so: no such file/);
    assert.match(child.stderr, /DETAILFLOW_LIBRARY/);
});
