# SPDX-License-Identifier: MIT OR Apache-2.0
"""Errors, pixels and threads of the package."""

import asyncio
import ctypes
import io
import pickle
import tempfile
import threading
import unittest
from pathlib import Path
from unittest import mock

import numpy as np

import detailflow
from detailflow import (
    Busy,
    Cancelled,
    Closed,
    Error,
    EventKind,
    Format,
    InvalidArgument,
    Model,
    Status,
    SubmitFlag,
    Worker,
    WrongState,
)


class WithModel(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.model = Model(threads=1)

    @classmethod
    def tearDownClass(cls):
        cls.model.close()


class Errors(WithModel):
    def test_wrong_class_names_the_nearest(self):
        with self.assertRaises(InvalidArgument) as raised:
            self.model.request("poton")
        self.assertEqual(raised.exception.status, Status.INVALID_ARGUMENT)
        self.assertIn("potion", raised.exception.message)
        self.assertIsInstance(raised.exception, ValueError)

    def test_missing_bundle_is_not_found(self):
        with self.assertRaises(detailflow.NotFound):
            Model("/no/such/bundle")

    def test_unknown_option_is_a_type_error(self):
        with self.assertRaises(TypeError):
            Model(device_name="cpu")

    def test_decode_before_the_first_level_is_wrong_state(self):
        with self.model.request().begin() as generation, self.assertRaises(WrongState):
            generation.decode()

    def test_level_beyond_the_end_is_refused_before_the_first_step(self):
        with self.model.request(level_size=8).begin() as generation:
            with self.assertRaises(InvalidArgument):
                generation.advance_to_level(32)
            self.assertEqual(generation.progress.steps_done, 0)
            self.assertEqual(generation.advance_to_level(8).level_size, 8)

    def test_integers_that_c_has_not_are_refused_and_named(self):
        generation = self.model.request(images=2).begin()
        worker = Worker(threads=0)
        calls = {
            "request_set_seed": [lambda: self.model.request(seed=2**64 + 7), lambda: self.model.request(seed=-1)],
            "request_set_image_count": [lambda: self.model.request(images=2**32 + 1)],
            "request_set_class": [lambda: self.model.request(2**32 + 3)],
            "request_set_level_size": [lambda: self.model.request(level_size=2**32)],
            "request_set_top_k": [lambda: self.model.request(top_k=2**32), lambda: self.model.request(top_k=-1)],
            "top_k_curve": [lambda: self.model.request(top_k=[(2**32, 1), (2**32 + 1, 2)])],
            "request_set_image_source": [lambda: self.model.request().set_image_source(2**32, 0, 0)],
            "generation_advance_to_level": [lambda: generation.advance_to_level(2**32)],
            "generation_get_tokens": [lambda: generation.tokens(2**32)],
            "generation_fork": [lambda: generation.fork([1, -1]), lambda: generation.fork(np.array([1, -1]))],
            "generation_retain_images": [lambda: generation.retain(np.array([2**32]))],
            "model_get_prefix_size": [lambda: self.model.prefix_size(2**64 + 4)],
            "model_find_level": [lambda: self.model.find_level(2**32)],
            "seed": [lambda: self.model.dft_encode([1] * 32, seed=2**64)],
            "model_options_set_threads": [lambda: Model(threads=2**32 + 1)],
            "worker_cancel": [lambda: worker.cancel(-1)],
            "submit_options_set_user": [lambda: worker.submit(self.model.request(), 2**64 + 5)],
        }
        with generation, worker:
            for name, all_calls in calls.items():
                for at, call in enumerate(all_calls):
                    wanted = f"^INVALID_ARGUMENT: {name}: .* is not from 0 to"
                    with self.subTest(name=name, at=at), self.assertRaisesRegex(InvalidArgument, wanted):
                        call()
            self.assertEqual((generation.progress.steps_done, worker.pending), (0, 0))
        for wrong in ({"seed": 1.5}, {"images": "2"}, {"top_k": 1.5}):
            with self.assertRaisesRegex(TypeError, "not an integer"):
                self.model.request(**wrong)
        with self.model.request(np.int64(3), np.uint64(2**64 - 1), top_k=4.0).begin() as generation:
            self.assertEqual(generation.source(), (3, 2**64 - 1))

    def test_text_with_a_zero_byte_is_refused(self):
        calls = [
            lambda: self.model.find_class("potion\0x"),
            lambda: self.model.request("potion\0x"),
            lambda: Model("sprites\0x"),
            lambda: Model(device="cpu\0x"),
            lambda: detailflow.image_save(np.zeros((8, 8, 4), np.uint8), "/no/such/a\0.png"),
        ]
        for at, call in enumerate(calls):
            with self.subTest(at=at), self.assertRaisesRegex(InvalidArgument, "has a zero byte"):
                call()

    def test_model_cannot_be_pickled(self):
        with self.assertRaisesRegex(TypeError, "cannot be pickled"):
            pickle.dumps(self.model)


class Pixels(WithModel):
    def setUp(self):
        with self.model.request("potion", 7).generate() as generation:
            self.tokens = generation.tokens()
            self.pixels = generation.decode()

    def test_part_of_an_array_receives_pixels_and_nothing_else_changes(self):
        atlas = np.full((100, 90, 4), 77, np.uint8)
        part = atlas[30:62, 20:52]
        self.assertIs(self.model.decode(self.tokens, 32, out=part), part)
        np.testing.assert_array_equal(part, self.pixels)
        atlas[30:62, 20:52] = 77
        self.assertTrue((atlas == 77).all())

    def test_format_follows_from_the_array(self):
        rgb = self.model.decode(self.tokens, out=np.empty((32, 32, 3), np.uint8))
        floats = self.model.decode(self.tokens, out=np.empty((32, 32, 4), np.float32))
        bgra = self.model.decode(self.tokens, format=Format.BGRA8)
        np.testing.assert_array_equal(bgra[..., [2, 1, 0, 3]], self.pixels)
        np.testing.assert_allclose(floats, self.pixels / 255, atol=1 / 255)
        self.assertEqual(rgb.shape, (32, 32, 3))

    def test_arrays_that_the_library_cannot_fill_are_refused(self):
        frozen = np.empty((32, 32, 4), np.uint8)
        frozen.flags.writeable = False
        wrong = {
            "read-only": frozen,
            "strides": np.empty((4, 32, 32), np.uint8).transpose(1, 2, 0),
            "rows run from top": np.empty((32, 32, 4), np.uint8)[::-1],
            "float64": np.empty((32, 32, 4)),
            "shape": np.empty((32, 32), np.uint8),
        }
        for reason, out in wrong.items():
            with self.assertRaisesRegex(ValueError, reason):
                self.model.decode(self.tokens, out=out)
        with self.assertRaises(InvalidArgument):
            self.model.decode(self.tokens, out=np.empty((16, 16, 4), np.uint8))

    def test_mips_are_written_into_the_arrays(self):
        outs = [np.empty((side, side, 4), np.uint8) for side in (32, 16, 8)]
        self.model.decode_mips(self.tokens, outs)
        np.testing.assert_array_equal(outs[0], self.pixels)
        np.testing.assert_array_equal(outs[2], self.model.decode(self.tokens, 8))

    def test_picture_is_encoded_from_file_memory_and_array(self):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "potion.png")
            detailflow.image_save(self.pixels, path)
            from_file = self.model.encode_file(path)
            searched = self.model.encode_file(path, effort=1)
        self.assertEqual(from_file.size, 32)
        np.testing.assert_array_equal(from_file, self.model.encode_data(detailflow.image_encode(self.pixels)))
        np.testing.assert_array_equal(from_file, self.model.encode(self.pixels[::-1][::-1]))
        with self.assertRaisesRegex(detailflow.InvalidArgument, "effort"):
            self.model.encode(self.pixels, effort=5)
        np.testing.assert_array_equal(self.model.encode(self.pixels, effort=1), searched)
        self.assertFalse(np.array_equal(searched, from_file))

    def test_pack_gives_the_token_files_that_were_added(self):
        file = self.model.dft_encode(self.tokens, "potion", 7)
        self.model.dft_check(file)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "all.dftpack")
            with detailflow.PackWriter(path) as writer:
                writer.add(file, "potion")
                writer.add(file)
            with detailflow.Pack(path) as pack:
                self.assertEqual([*pack], [file, file])
                self.assertEqual((pack["potion"], pack.name(0), len(pack)), (file, "potion", 2))


class Opening(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.path = Path(cls.folder.name, "sprites.dflow")
        detailflow.bundle_pack(None, cls.path)

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def test_memory_and_reader_give_the_model_of_the_file(self):
        data = self.path.read_bytes()
        with Model(self.path) as one, Model.open_memory(data) as two, Model.open_reader(io.BytesIO(data)) as three:
            tokens = [model.request("potion", 7).generate().tokens().tolist() for model in (one, two, three)]
        self.assertEqual(tokens[0], tokens[1])
        self.assertEqual(tokens[0], tokens[2])

    def test_exception_of_the_reader_comes_out(self):
        class Failing(io.BytesIO):
            def read(self, size=-1, /):
                raise ZeroDivisionError("of the reader")

        with self.assertRaisesRegex(ZeroDivisionError, "of the reader") as raised:
            Model.open_reader(Failing(self.path.read_bytes()))
        self.assertEqual(raised.exception.__cause__.status, Status.IO)

    def test_reader_that_ends_early_is_an_io_error(self):
        class Short(io.BytesIO):
            def read(self, size=-1, /):
                return b""

        with self.assertRaises(Error) as raised:
            Model.open_reader(Short(self.path.read_bytes()))
        self.assertEqual(raised.exception.status, Status.IO)

    def test_memory_that_is_not_contiguous_is_refused_before_it_is_copied(self):
        allocated = []
        libc = ctypes.CDLL(None)
        malloc = libc.malloc
        malloc.restype = ctypes.c_void_p
        libc.malloc = mock.Mock(side_effect=lambda size: allocated.append(size) or malloc(ctypes.c_size_t(size)))
        with mock.patch.object(detailflow._open.ctypes, "CDLL", lambda _: libc):
            with self.assertRaises(TypeError):
                Model.open_memory(memoryview(bytes(64))[::2])
            self.assertEqual(allocated, [])
            with self.assertRaises(Error):
                Model.open_memory(b"no bundle")
            self.assertEqual(allocated, [9])

    def test_damaged_memory_is_an_error(self):
        with self.assertRaises(Error):
            Model.open_memory(b"no bundle")


class Threads(WithModel):
    def test_another_thread_cancels(self):
        with self.model.request(images=64).begin() as generation:
            generation.step()
            thread = threading.Thread(target=generation.cancel)
            thread.start()
            with self.assertRaises(Cancelled):
                while True:
                    generation.finish()
            thread.join()
            self.assertGreater(generation.tokens().size, 0)

    def test_generation_that_is_closed_while_it_draws_ends(self):
        generation = self.model.request(images=64).begin()
        generation.step()
        raised = []

        def draw():
            try:
                while generation.finish().steps_left == 0:
                    pass
            except Error as error:
                raised.append(type(error))

        thread = threading.Thread(target=draw)
        thread.start()
        generation.close()
        thread.join()
        self.assertIn(raised[0], (Cancelled, Closed))

    def test_worker_that_is_closed_ends_a_wait_without_limit(self):
        worker = Worker()
        begun, raised = threading.Event(), []

        def wait():
            begun.set()
            try:
                worker.wait()
            except Error as error:
                raised.append(type(error))

        thread = threading.Thread(target=wait)
        thread.start()
        begun.wait()
        worker.close()
        thread.join()
        self.assertEqual(raised, [Closed])

    def test_tokens_are_read_while_another_thread_steps(self):
        with self.model.request().begin() as generation:
            call, read = detailflow._library.call, []

            def call_after_a_step(name, *arguments):
                # The other thread steps between the question for the size and the reading.
                if name == "generation_get_tokens" and arguments[2] is not None and not read:
                    read.append(name)
                    generation.step()
                call(name, *arguments)

            with mock.patch.object(detailflow._library, "call", call_after_a_step):
                self.assertEqual(generation.tokens().size, 1)
            self.assertEqual(len(read), 1)

    def test_many_threads_use_and_close_the_same_objects(self):
        for _ in range(20):
            generation = self.model.request(images=4).begin()
            unexpected = []

            def use(generation=generation, unexpected=unexpected):
                try:
                    while True:
                        generation.step()
                        generation.decode()
                except (Busy, Cancelled, Closed):
                    pass
                except Error as error:
                    unexpected.append(error)

            threads = [threading.Thread(target=use) for _ in range(4)]
            for thread in threads:
                thread.start()
            generation.close()
            for thread in threads:
                thread.join()
            self.assertEqual(unexpected, [])


class Workers(WithModel):
    def test_ticks_draw_into_targets(self):
        target = np.zeros((32, 32, 4), np.uint8)
        with Worker(threads=0) as worker:
            job = worker.submit(self.model.request("potion", 7), user=5, targets={0: target})
            while worker.tick(0.004).more:
                pass
            events = list(iter(worker.poll, None))
            self.assertEqual(worker.pending, 0)
        self.assertEqual([event.level_size for event in events], [8, 16, 24, 32, 32])
        self.assertEqual({(event.job, event.user) for event in events}, {(job, 5)})
        np.testing.assert_array_equal(target, events[-1].decode())

    def test_generation_goes_on_in_a_worker_and_is_used_up(self):
        generation = self.model.request("potion", 7).begin()
        generation.step()
        with Worker() as worker:
            worker.submit(generation)
            self.assertTrue(generation.closed)
            with self.assertRaises(Closed):
                worker.submit(generation)
            *_, last = worker.events()
        self.assertEqual(last.tokens().size, 32)

    def test_held_job_goes_on_and_cancelled_job_says_why(self):
        with Worker() as worker:
            held = worker.submit(self.model.request(level_size=8), flags=SubmitFlag.HOLD)
            self.assertEqual(worker.wait(60).level_size, 8)
            worker.continue_to(held)
            self.assertEqual([event.level_size for event in worker.events()][-1], 32)
            held = worker.submit(self.model.request(level_size=8), flags=SubmitFlag.HOLD)
            worker.wait(60)
            worker.cancel(held)
            (last,) = worker.events()
        self.assertIsInstance(last.error, Cancelled)
        self.assertNotEqual(last.message, "")

    def test_wait_ends_at_its_timeout_and_worker_without_threads_refuses_it(self):
        with Worker() as worker:
            self.assertIsNone(worker.wait(0.01))
        with Worker(threads=0) as worker, self.assertRaises(WrongState):
            worker.wait(0.01)

    def test_exception_at_submit_leaves_no_job(self):
        with Worker() as worker:
            with self.assertRaises(Error):
                worker.submit(self.model.request(), targets={7: np.empty((8, 8, 4), np.uint8)})
            self.assertEqual(worker.pending, 0)


class Async(WithModel):
    def test_levels_come_one_by_one(self):
        async def draw():
            with self.model.request("potion", 7).begin() as generation:
                return [progress.level_size async for progress in generation.levels()]

        self.assertEqual(asyncio.run(draw()), [8, 16, 24, 32])

    def test_cancelled_task_cancels_the_generation(self):
        generation = self.model.request(images=256).begin()

        async def draw(begun):
            async for _ in generation.levels():
                begun.set()

        async def main():
            begun = asyncio.Event()
            task = asyncio.create_task(draw(begun))
            await begun.wait()
            task.cancel()
            with self.assertRaises(asyncio.CancelledError):
                await task

        asyncio.run(main())
        with self.assertRaises(Cancelled):
            generation.step()
        self.assertGreater(generation.tokens().size, 0)

    def test_events_of_a_worker_come_beside_other_tasks(self):
        async def main():
            with Worker() as worker:
                for user in range(3):
                    worker.submit(self.model.request(user), user)
                return [event.user async for event in worker.events() if event.kind == EventKind.DONE]

        self.assertEqual(sorted(asyncio.run(main())), [0, 1, 2])


if __name__ == "__main__":
    unittest.main()
