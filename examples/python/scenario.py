# SPDX-License-Identifier: MIT OR Apache-2.0
"""What a program does with the library, from an open model to a quit while work is going on: python scenario.py [MODEL].

examples/README.md describes it; examples/c/scenario.c is the same in C, and prints the same bytes.
"""

import sys
import threading

import numpy as np

import detailflow
from detailflow import Cancelled, Error, EventKind, Model, SubmitFlag, Worker

JOBS, MANY = 4, 64


def fnv1a(data: bytes) -> str:
    """FNV-1a, 64 bits."""
    value = 0xCBF29CE484222325
    for byte in data:
        value = (value ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return f"{value:016x}"


def describe(model: Model) -> None:
    """1. What the model is."""
    info = model.info
    print(f"model {info.name}: {info.image_size} px, {info.token_count} tokens, {info.class_count} classes")
    for level in model.levels:
        print(f"level {level.level_size} px: {level.token_count} tokens")


def provoke_an_error(model: Model) -> None:
    """2. An error, as a program shows it."""
    try:
        model.find_class("no such class")
    except Error as error:
        print(f"error {error.name}: {error.message}")


def draw(model: Model, class_index: int, seed: int) -> list[int]:
    """3. One picture step by step; each level is shown when it is complete. Returns its tokens."""
    with model.request(class_index, seed).begin() as generation:
        for progress in generation.levels():
            pixels = generation.decode_level()
            print(f"drawn {progress.level_size} px {fnv1a(pixels.tobytes())}")
        tokens: list[int] = generation.tokens().tolist()
    print("tokens", *tokens)
    return tokens


def round_trip(model: Model, tokens: list[int], class_index: int, seed: int) -> None:
    """4. A token file in memory, and the picture from it."""
    file = model.dft_encode(tokens, class_index, seed)
    info, back = detailflow.dft_info(file), detailflow.dft_tokens(file)
    print(f"file {len(file)} bytes {fnv1a(file)}: class {info.class_index}, seed {info.seed}, {len(back)} tokens")
    # Into memory of this program.
    side = model.info.image_size
    pixels = np.zeros((side, side, 4), np.uint8)
    model.decode(back, side, out=pixels)
    print(f"decoded {side} px {fnv1a(pixels.tobytes())}")


def cancel(model: Model) -> None:
    """5. Another thread cancels what this one draws; the tokens so far are kept."""
    with model.request(images=MANY).begin() as generation:
        generation.step()
        thread = threading.Thread(target=generation.cancel)
        thread.start()
        outcome = "DETAILFLOW_STATUS_OK"
        try:
            generation.finish()
        except Cancelled as error:
            outcome = error.name
        thread.join()
        kept = "tokens are kept" if generation.progress.token_count > 0 else "no tokens"
        print(f"cancelled {outcome}: {kept}")


def work(model: Model) -> None:
    """6. Jobs of a worker; its events are polled, as a game loop does."""
    lines = []
    with Worker() as worker:
        with model.request() as request:
            for job in range(JOBS):
                request.set(class_=job, seed=job)
                worker.submit(request, user=job, flags=SubmitFlag.DECODE)
        while worker.pending > 0:
            event = worker.poll()
            if event is None:
                continue
            if event.error:
                raise event.error
            # The last event of a job repeats its last level.
            if event.kind == EventKind.LEVEL:
                digest = fnv1a(event.decode().tobytes())
                lines.append(f"job {event.user}: {event.level_size:4} px {digest}")
    # Jobs end in any order.
    print(*sorted(lines), sep="\n")


def quit(model: Model) -> None:
    """7. The program ends while a worker draws."""
    worker = Worker()
    worker.submit(model.request(images=MANY))
    print(f"quit with {worker.pending} job going on", flush=True)
    sys.exit(0)


def main() -> None:
    """The scenario."""
    model = Model(*sys.argv[1:2])
    describe(model)
    provoke_an_error(model)
    potion = model.find_class("potion")
    tokens = draw(model, potion, 7)
    round_trip(model, tokens, potion, 7)
    cancel(model)
    work(model)
    quit(model)


if __name__ == "__main__":
    main()
