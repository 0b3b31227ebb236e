// SPDX-License-Identifier: MIT OR Apache-2.0
// Accepted by `tsc --strict`; each line below an @ts-expect-error must be refused.
import {
    Model, Request, Generation, Worker, Cancel, DetailFlowError, Status, Format, SubmitFlag, EventKind, tokenFileTokens,
} from '../index.js';

export async function program(signal: AbortSignal): Promise<Uint8Array> {
    using model: Model = await Model.open('bundle', { threads: 1, precision: 'int8', signal });
    const potion: number = model.findClass('potion');
    using request = new Request(model, { classIndex: potion, seed: 7n, temperature: [[0, 1], [8, 0.5]] });
    using generation = new Generation(request);
    const { stepsLeft } = await generation.step({ signal });
    const pixels = Buffer.alloc(32 * 32 * 4);
    const picture = await generation.decode(0, { into: pixels, format: Format.RGBA8 });
    using worker = new Worker({ threads: stepsLeft > 0 ? 1 : 0 });
    worker.submit(request, { flags: SubmitFlag.DECODE | SubmitFlag.HOLD });
    for await (const event of worker) {
        if (event.kind === EventKind.LEVEL) {
            event.decodeLevelSync();
        } else if (event.error !== undefined) {
            throw event.error;
        }
    }
    const handle: bigint = generation.getCancel().detach();
    Cancel.attach(handle).trigger();
    const tokens: Uint32Array = tokenFileTokens(model.encodeTokens(generation.tokens()));
    await model.encode({ width: 1, height: 1, data: new Uint8Array(4) });
    await model.score(potion, [...tokens]);
    return picture.data;
}

export function refused(model: Model, request: Request, error: unknown): void {
    // @ts-expect-error: models are opened
    new Model();
    // @ts-expect-error: no such option
    void Model.open('bundle', { device: 'cpu', thread: 1 });
    // @ts-expect-error: a class is found by its name
    new Request(model, { classIndex: 'potion' });
    // @ts-expect-error: no such setting
    request.set({ sed: 7 });
    // @ts-expect-error: a promise
    new Generation(request).step().stepsLeft;
    // @ts-expect-error: there may be no event
    new Worker().poll().kind;
    // @ts-expect-error: cannot be set
    model.info.name = 'other';
    if (error instanceof DetailFlowError && error.status === Status.BUSY) {
        // @ts-expect-error: no such status
        error.code === 'DETAILFLOW_STATUS_WEARY';
    }
}
