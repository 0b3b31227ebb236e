# SPDX-License-Identifier: MIT OR Apache-2.0
"""What owns what: closing and collecting, in any order."""

import gc
import unittest
import weakref

from detailflow import Closed, EventKind, Model, SubmitFlag, Worker


class Owners(unittest.TestCase):
    def test_use_after_close_raises_and_close_may_be_repeated(self):
        model = Model()
        request = model.request()
        generation, worker = request.begin(), Worker()
        for owner in (model, request, generation, worker):
            owner.close()
            owner.close()
            self.assertTrue(owner.closed)
        calls = [lambda: model.find_class("potion"), request.begin, generation.step, worker.poll, model.__enter__]
        for call in calls:
            with self.assertRaises(Closed):
                call()

    def test_owners_are_closed_in_any_order(self):
        model = Model()
        generation = model.request("potion", 7).begin()
        model.close()
        generation.finish()
        self.assertEqual(generation.decode().shape, (32, 32, 4))
        generation.close()

    def test_job_survives_the_objects_that_it_was_made_from(self):
        with Worker() as worker:
            worker.submit(Model().request("potion", 7), flags=SubmitFlag.DECODE)
            gc.collect()
            *_, last = worker.events()
        self.assertEqual(last.kind, EventKind.DONE)
        self.assertEqual(last.decode().shape, (32, 32, 4))

    def test_model_of_a_job_is_not_collected(self):
        def submit(worker):
            of_requests, of_generation = Model(threads=1), Model(threads=1)
            request = of_requests.request(images=4)
            for _ in range(10):
                worker.submit(request, flags=SubmitFlag.LAST_ONLY)
            worker.submit(of_generation.request().begin(), flags=SubmitFlag.LAST_ONLY)
            return weakref.ref(of_requests), weakref.ref(of_generation)

        # It works in tick() only: nothing is done before the garbage is collected.
        with Worker(threads=0) as worker:
            models = submit(worker)
            gc.collect()
            while worker.tick(1).more:
                pass
            self.assertEqual([event.kind for event in iter(worker.poll, None)], [EventKind.DONE] * 11)
            # Nothing keeps them when the last events were taken.
            gc.collect()
            self.assertEqual([model() for model in models], [None, None])

    def test_worker_that_is_closed_keeps_no_model(self):
        model = Model(threads=1)
        worker = Worker(threads=0)
        worker.submit(model.request())
        worker.close()
        kept, model = weakref.ref(model), None
        gc.collect()
        self.assertIsNone(kept())

    def test_model_that_is_closed_ends_its_jobs(self):
        with Model(threads=1) as model, Worker(threads=0) as worker:
            worker.submit(model.request())
            worker.submit(model.request().begin())
            model.close()
            self.assertEqual([event.kind for event in iter(worker.poll, None)], [EventKind.CANCELLED] * 2)

    def test_everything_may_be_collected_under_load(self):
        for _ in range(10):
            model = Model(threads=1)
            worker = Worker()
            worker.submit(model.request(images=8))
            generation = model.request(images=8).begin()
            generation.step()
            cycle = [model, worker, generation]
            cycle.append(cycle)
            del model, worker, generation, cycle
            gc.collect()


if __name__ == "__main__":
    unittest.main()
