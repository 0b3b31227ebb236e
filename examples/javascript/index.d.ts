// SPDX-License-Identifier: MIT OR Apache-2.0
// Functions that compute return a promise and run on a thread of libuv; those named `Sync` run on this thread.

/** The version of the library, such as "0.1.0". */
export function version(): string;
export function abiVersion(): number;
/** Where the library was found. */
export const libraryPath: string;

export const Status: {
    readonly OK: 0; readonly INVALID_ARGUMENT: 1; readonly NOT_FOUND: 2; readonly BAD_BUNDLE: 3; readonly NO_RUNTIME: 4;
    readonly NO_DEVICE: 5; readonly OUT_OF_MEMORY: 6; readonly IO: 7; readonly BAD_FORMAT: 8; readonly CANCELLED: 9;
    readonly WRONG_STATE: 10; readonly BUSY: 11; readonly FAILED: 12; readonly INTERNAL: 13;
};
export type Status = (typeof Status)[keyof typeof Status];
export type StatusName = `DETAILFLOW_STATUS_${keyof typeof Status}` | 'DETAILFLOW_STATUS_UNKNOWN';

/** A failed call of the library, or a use of something closed. */
export class DetailFlowError extends Error {
    constructor(status: number, message: string, options?: ErrorOptions);
    readonly status: number;
    readonly code: StatusName;
}

export const Format: {
    readonly RGB8: 1; readonly RGBA8: 2; readonly RGBA32F: 3; readonly BGRA8: 4; readonly RGBA8_PREMULTIPLIED: 5;
    readonly BGRA8_PREMULTIPLIED: 6; readonly RGBA16F_LINEAR: 7; readonly RGBA16F_LINEAR_PREMULTIPLIED: 8;
};
export type Format = (typeof Format)[keyof typeof Format];
export const FileFormat: {
    readonly PNG: 1; readonly JPEG: 2; readonly WEBP: 3; readonly BMP: 4; readonly TGA: 5; readonly TIFF: 6; readonly QOI: 7;
};
export type FileFormat = (typeof FileFormat)[keyof typeof FileFormat];
export const Spinning: { readonly DEFAULT: 0; readonly NEVER: 1; readonly RUNS: 2 };
export type Spinning = (typeof Spinning)[keyof typeof Spinning];
export const Order: { readonly DEFAULT: 0; readonly COARSE_FIRST: 1; readonly PRIORITY_FIRST: 2 };
export type Order = (typeof Order)[keyof typeof Order];
/** Combined with `|`. */
export const SubmitFlag: { readonly DECODE: 1; readonly LAST_ONLY: 2; readonly HOLD: 4 };
export const EventKind: { readonly LEVEL: 1; readonly DONE: 2; readonly CANCELLED: 3; readonly FAILED: 4 };
export type EventKind = (typeof EventKind)[keyof typeof EventKind];

/** Memory of the caller, used where it is. */
export type Bytes = ArrayBufferView | ArrayBuffer;
/** A Uint32Array is not copied. */
export type Tokens = Uint32Array | readonly number[];

export interface Picture {
    width: number;
    height: number;
    format: Format;
    /** Bytes from row to row. */
    stride: number;
    data: Uint8Array;
}

/** Pixels as an input. The default format is RGBA8, the default stride leaves no gap between rows. */
export interface PictureSource {
    width: number;
    height: number;
    format?: Format;
    stride?: number;
    data: Bytes;
}

export interface DecodeOptions {
    format?: Format;
    /** Where the pixels go: not copied. Must not be transferred to another thread before the promise is settled. */
    into?: Bytes;
    stride?: number;
}

export interface Abortable {
    /** Stops the work within a step, with a DetailFlowError CANCELLED whose `cause` is the signal's reason. */
    signal?: AbortSignal;
}

/** The base of all that is open. What is not closed is freed when it is collected, or when the thread ends. */
declare class Owner {
    protected constructor();
    get closed(): boolean;
    /** Frees it; again does nothing. What was made from it goes on. Calls with it on other threads are stopped. */
    close(): void;
    [Symbol.dispose](): void;
}

/** Writes pixels to a picture file; the ending of the path chooses the format. */
export function savePicture(picture: PictureSource, path: string): void;
/** Encodes pixels as a picture file in memory; the default is PNG. */
export function encodePicture(picture: PictureSource, fileFormat?: FileFormat): Uint8Array;

/** Loads ONNX Runtime now: the file that is named, or the one that is found. */
export function initRuntime(path?: string): void;

export interface ModelOptions {
    device?: string;
    deviceOptions?: Readonly<Record<string, string>>;
    allowFallback?: boolean;
    threads?: number;
    spinning?: Spinning;
    precision?: string;
    form?: string;
    weightsInMemory?: boolean;
    encoder?: boolean;
}

export interface ModelInfo {
    readonly name: string;
    readonly license: string;
    readonly tokenizerId: string;
    readonly precision: string;
    readonly form: string;
    readonly device: string;
    readonly path: string;
    readonly imageSize: number;
    readonly channels: number;
    readonly tokenCount: number;
    readonly groupSize: number;
    readonly causalCount: number;
    readonly codebookSize: number;
    readonly bitsPerToken: number;
    readonly classCount: number;
    readonly levelCount: number;
    readonly guidance: number;
    readonly temperature: number;
    readonly topP: number;
    readonly topK: number;
    readonly gradualGuidance: boolean;
    readonly canGenerate: boolean;
    readonly canEncode: boolean;
}

export interface Level {
    size: number;
    tokenCount: number;
}

/** An open model. */
export class Model extends Owner {
    private constructor();
    /** Opens a bundle, a folder or a single file, or the default bundle. */
    static open(path?: string, options?: ModelOptions & Abortable): Promise<Model>;
    static openSync(path?: string, options?: ModelOptions): Model;
    /** Opens a single-file bundle in memory. The memory is copied once, and not used afterwards. */
    static openMemory(data: Bytes, options?: ModelOptions & Abortable): Promise<Model>;
    /** Opens a single-file bundle that `read` reads: it fills `memory` from the offset and returns the number of bytes. What
     * it throws is the `cause` of the error. */
    static openReaderSync(size: number, read: (offset: number, memory: Uint8Array) => number, options?: ModelOptions): Model;
    get info(): ModelInfo;
    /** Coarse to fine. */
    get levels(): Level[];
    get classes(): string[];
    /** What runs where, for a person. */
    get report(): string;
    /** The index of a class, by its name; the error of an unknown one names the nearest. */
    findClass(name: string): number;
    /** Pixels per side of the picture that a prefix decodes to. */
    prefixSize(tokenCount: number): number;
    decode(tokens: Tokens, options?: DecodeOptions & { levelSize?: number }): Promise<Picture>;
    decodeSync(tokens: Tokens, options?: DecodeOptions & { levelSize?: number }): Picture;
    /**
     * The tokens of a picture: of a picture file by its path, of the bytes of one, or of pixels. `effort`, 1 to 4 and not for
     * bytes, searches for tokens that decode to the picture with less error.
     */
    encode(picture: string | Bytes | PictureSource, options?: Abortable & { effort?: number }): Promise<Uint32Array>;
    /** The natural logarithm of each token's probability, for a class. */
    score(classIndex: number, tokens: Tokens): Promise<Float32Array>;
    /** Tokens as a token file (.dft). */
    encodeTokens(tokens: Tokens, source?: { classIndex?: number; seed?: number | bigint }): Uint8Array;
    /** Throws unless the tokens of a token file belong to this model. */
    checkTokens(data: Bytes): void;
}

export interface TokenFileInfo {
    /** 0 none, 1 cut, 2 a group is damaged, 3 foreign bytes follow. */
    damage: number;
    intactCount: number;
    writtenCount: number;
    tokenCount: number;
    groupSize: number;
    causalCount: number;
    bitsPerToken: number;
    classIndex: number | undefined;
    seed: bigint | undefined;
    tokenizerId: string;
}
/** What a token file says. */
export function tokenFileInfo(data: Bytes): TokenFileInfo;
/** The intact tokens of a token file. */
export function tokenFileTokens(data: Bytes): Uint32Array;

/** A number, or a curve over the tokens: linear between the points [token, value]. */
export type Curve = number | ReadonlyArray<readonly [token: number, value: number]>;

export interface RequestSettings {
    imageCount?: number;
    classIndex?: number;
    seed?: number | bigint;
    guidance?: Curve;
    gradualGuidance?: boolean;
    temperature?: Curve;
    topK?: Curve;
    topP?: Curve;
    logProbabilities?: boolean;
    /** The level at which it ends; 0 is the finest. */
    levelSize?: number;
    /** The tokens that every image begins with. */
    prefix?: Tokens;
    /** For each image: class and seed together, and tokens that it begins with. */
    images?: ReadonlyArray<{ classIndex: number; seed: number | bigint; prefix?: Tokens } | { prefix?: Tokens }>;
}

/** What to generate. */
export class Request extends Owner {
    constructor(model: Model, settings?: RequestSettings);
    set(settings: RequestSettings): this;
}

export interface Progress {
    stepsDone: number;
    stepsLeft: number;
    tokenCount: number;
    prefixSize: number;
    levelSize: number;
    imageCount: number;
    levelTokenCount: number;
    /** 0 when it is not known yet. */
    nextStepMs: number;
    nextDecodeMs: number;
}

/** A request being generated, or finished. */
export class Generation extends Owner {
    constructor(request: Request);
    /** One token of each image, or one group. */
    step(options?: Abortable): Promise<Progress>;
    stepSync(): Progress;
    /** At least one step, and more as long as they should end within the budget. */
    advance(budgetMs: number, options?: Abortable): Promise<Progress>;
    advanceSync(budgetMs: number): Progress;
    advanceToLevel(levelSize: number, options?: Abortable): Promise<Progress>;
    advanceToLevelSync(levelSize: number): Progress;
    finish(options?: Abortable): Promise<Progress>;
    finishSync(): Progress;
    get progress(): Progress;
    tokens(index?: number): Uint32Array;
    logProbabilities(index?: number): Float32Array;
    imageSource(index?: number): { classIndex: number; seed: bigint };
    /** The picture of all tokens so far. */
    decode(index?: number, options?: DecodeOptions): Promise<Picture>;
    decodeSync(index?: number, options?: DecodeOptions): Picture;
    /** The picture of the finest level that is complete. */
    decodeLevel(index?: number, options?: DecodeOptions): Promise<Picture>;
    decodeLevelSync(index?: number, options?: DecodeOptions): Picture;
    save(path: string, index?: number): Promise<void>;
    /** Goes on from the same tokens with other seeds, one for each image. */
    fork(seeds: ReadonlyArray<number | bigint>): Generation;
    retainImages(indices: Tokens): void;
    setLevelSize(levelSize: number): void;
    /** Cancels it; a step on another thread ends with CANCELLED. */
    cancel(): void;
    getCancel(): Cancel;
}

/** Stops a generation, from any thread. */
export class Cancel extends Owner {
    constructor();
    trigger(): void;
    /** Gives it to another thread of node:worker_threads, as a number for `Cancel.attach`; here it is closed. */
    detach(): bigint;
    static attach(handle: bigint): Cancel;
}

export interface WorkerOptions {
    /** 0: none, the worker is driven by `tick`. */
    threads?: number;
    batchSize?: number;
    batchBytes?: number | bigint;
    eventBytes?: number | bigint;
    order?: Order;
}

export interface TickReport {
    unitCount: number;
    stepCount: number;
    decodeCount: number;
    imageCount: number;
    more: boolean;
    timeMs: number;
    longestUnitMs: number;
    nextUnitMs: number;
    readyCount: number;
    parkedCount: number;
}

/** Generates in the background. `for await` gives its events until no job is pending, and closes each. A job that is held or
 * paused is pending: the loop waits until it goes on or is cancelled. */
export class Worker extends Owner implements AsyncIterable<JobEvent> {
    constructor(options?: WorkerOptions);
    /** Returns the number of the job; `user`, up to 2^53 - 1, comes back in its events, `flags` are those of SubmitFlag. */
    submit(request: Request, options?: { user?: number; flags?: number; priority?: number }): number;
    /** The worker goes on with the generation, which is closed here. */
    submitGeneration(generation: Generation, options?: { user?: number; flags?: number }): number;
    poll(): JobEvent | null;
    wait(timeoutMs?: number): Promise<JobEvent | null>;
    /** Blocks this thread. */
    waitSync(timeoutMs: number): JobEvent | null;
    get pending(): number;
    tick(budgetMs: number): TickReport;
    cancel(job: number): void;
    cancelAll(): void;
    setPriority(job: number, priority: number): void;
    pause(job: number): void;
    resume(job: number): void;
    continue(job: number, levelSize?: number): void;
    [Symbol.asyncIterator](): AsyncGenerator<JobEvent, void, undefined>;
}

/** Something that happened to a job, with its tokens at that moment. */
export class JobEvent extends Owner {
    private constructor();
    readonly kind: EventKind;
    readonly job: number;
    readonly user: number;
    readonly status: number;
    readonly imageCount: number;
    readonly tokenCount: number;
    readonly levelSize: number;
    readonly levelTokenCount: number;
    readonly stepsDone: number;
    readonly stepsLeft: number;
    readonly decoded: boolean;
    /** Whether it is the last one of its job. */
    get last(): boolean;
    /** Why the job was cancelled or failed. */
    get error(): DetailFlowError | undefined;
    tokens(index?: number): Uint32Array;
    decodeLevel(index?: number, options?: DecodeOptions): Promise<Picture>;
    decodeLevelSync(index?: number, options?: DecodeOptions): Picture;
}

export {};
