// SPDX-License-Identifier: MIT OR Apache-2.0
'use strict';
// What a program does with the library: the scenario of examples/README.md, as c/scenario.c.
const {
    Model, Request, Generation, Worker, DetailFlowError, SubmitFlag, EventKind, tokenFileInfo, tokenFileTokens,
} = require('detailflow');

const JOBS = 4;
const MANY = 64;

// FNV-1a, 64 bits.
function hash(bytes) {
    let h = 0xcbf29ce484222325n;
    for (const byte of bytes) {
        h = BigInt.asUintN(64, (h ^ BigInt(byte)) * 0x100000001b3n);
    }
    return h.toString(16).padStart(16, '0');
}

function printPixels(what, picture) {
    console.log(`${what} ${picture.width} px ${hash(picture.data)}`);
}

// 1. What the model is.
function describe(model) {
    const { name, imageSize, tokenCount, classCount } = model.info;
    console.log(`model ${name}: ${imageSize} px, ${tokenCount} tokens, ${classCount} classes`);
    for (const level of model.levels) {
        console.log(`level ${level.size} px: ${level.tokenCount} tokens`);
    }
}

// 2. An error, as a program shows it.
function provokeAnError(model) {
    try {
        model.findClass('no such class');
    } catch (error) {
        console.log(`error ${error.code}: ${error.message}`);
    }
}

// 3. One picture step by step; each level is shown when it is complete.
async function draw(model, classIndex, seed) {
    const request = new Request(model, { classIndex, seed });
    const generation = new Generation(request);
    let shown = 0;
    let progress;
    do {
        progress = await generation.step();
        if (progress.levelSize > shown) {
            printPixels('drawn', await generation.decodeLevel());
            shown = progress.levelSize;
        }
    } while (progress.stepsLeft > 0);
    const tokens = generation.tokens();
    console.log(`tokens ${tokens.join(' ')}`);
    generation.close();
    request.close();
    return tokens;
}

// 4. A token file in memory, and the picture from it.
async function roundTrip(model, tokens, classIndex, seed) {
    const file = model.encodeTokens(tokens, { classIndex, seed });
    const info = tokenFileInfo(file);
    const back = tokenFileTokens(file);
    console.log(`file ${file.length} bytes ${hash(file)}: class ${info.classIndex}, seed ${info.seed}, ${back.length} tokens`);
    printPixels('decoded', await model.decode(back));
}

// 5. This thread cancels what another one draws; the tokens so far are kept.
async function cancel(model) {
    const generation = new Generation(new Request(model, { imageCount: MANY }));
    const stop = new AbortController();
    await generation.step();
    const drawing = generation.finish({ signal: stop.signal });
    stop.abort();
    let code = 'DETAILFLOW_STATUS_OK';
    try {
        await drawing;
    } catch (error) {
        if (!(error instanceof DetailFlowError)) {
            throw error;
        }
        code = error.code;
    }
    console.log(`cancelled ${code}: ${generation.progress.tokenCount > 0 ? 'tokens are kept' : 'no tokens'}`);
    generation.close();
}

// 6. Jobs of a worker; its events are polled.
async function work(model) {
    const worker = new Worker();
    const request = new Request(model);
    const lines = [];
    for (let at = 0; at < JOBS; at++) {
        request.set({ classIndex: at, seed: at });
        worker.submit(request, { user: at, flags: SubmitFlag.DECODE });
    }
    for await (const event of worker) {
        if (event.error) {
            throw event.error;
        }
        // The last event of a job repeats its last level.
        if (event.kind === EventKind.LEVEL) {
            const picture = event.decodeLevelSync();
            lines.push(`job ${event.user}: ${String(picture.width).padStart(4)} px ${hash(picture.data)}`);
        }
    }
    worker.close();
    // Jobs end in any order.
    for (const line of lines.sort()) {
        console.log(line);
    }
}

// 7. The program ends while a worker draws.
function quit(model) {
    const worker = new Worker();
    worker.submit(new Request(model, { imageCount: MANY }));
    console.log(`quit with ${worker.pending} job going on`);
    process.exitCode = 0;
}

async function main() {
    const model = await Model.open(process.argv[2]);
    describe(model);
    provokeAnError(model);
    const potion = model.findClass('potion');
    const tokens = await draw(model, potion, 7);
    await roundTrip(model, tokens, potion, 7);
    await cancel(model);
    await work(model);
    quit(model);
}

main().catch((error) => {
    console.error(`${error.code ?? error.name}: ${error.message}`);
    process.exitCode = 1;
});
