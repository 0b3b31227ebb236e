# SPDX-License-Identifier: MIT OR Apache-2.0
"""How processes begin, fork, are interrupted and end: each test runs a program of its own."""

import os
import signal
import subprocess
import sys
import sysconfig
import tempfile
import textwrap
import time
import unittest
from pathlib import Path

NAMED = ("DETAILFLOW_LIBRARY", "DETAILFLOW_BUNDLE", "ORT_DYLIB_PATH")
BEGIN = "import os, sys, threading, detailflow\nfrom detailflow import *\nmodel = Model(threads=1)\n"


def run(program, **environment):
    """Runs a program of Python; returns the exit status and all its output."""
    base = {name: value for name, value in os.environ.items() if name not in NAMED or not environment}
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        env={**base, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
    )
    return result.returncode, result.stdout


class Beginning(unittest.TestCase):
    def test_wrong_library_path_names_the_path_and_the_remedy(self):
        status, output = run("import detailflow", DETAILFLOW_LIBRARY="/no/such/library.so")
        self.assertEqual(status, 1)
        self.assertIn("ImportError: detailflow: libdetailflow was not found; the environment variable", output)
        self.assertIn("/no/such/library.so: cannot open", output)

    def test_another_library_is_refused(self):
        import _ctypes

        status, output = run("import detailflow", DETAILFLOW_LIBRARY=_ctypes.__file__)
        self.assertEqual((status, "is not libdetailflow" in output), (1, True), output)

    def test_older_library_is_refused(self):
        with tempfile.TemporaryDirectory() as folder:
            source, library = Path(folder, "old.c"), Path(folder, "old.so")
            source.write_text(
                "unsigned detailflow_abi_version(void) { return 0; }\n"
                'const char *detailflow_version(void) { return "0.0.1"; }\n'
            )
            subprocess.run(["cc", "-shared", "-fPIC", str(source), "-o", str(library)], check=True)
            status, output = run("import detailflow", DETAILFLOW_LIBRARY=str(library))
        self.assertEqual((status, "has ABI version 0, this package needs 1" in output), (1, True), output)

    def test_runtime_of_pip_is_found_and_is_not_imported(self):
        program = BEGIN + "print('onnxruntime' in sys.modules, open('/proc/self/maps').read())"
        status, output = run(program)
        self.assertEqual((status, output.split()[0]), (0, "False"), output)
        self.assertIn(sysconfig.get_path("platlib") + "/onnxruntime/capi/libonnxruntime", output)

    def test_named_runtime_wins_over_that_of_pip(self):
        status, output = run("from detailflow import *\nModel()", ORT_DYLIB_PATH="/no/such/runtime.so")
        self.assertEqual((status, "NoRuntime" in output, "/no/such/runtime.so" in output), (1, True, True), output)

    def test_missing_runtime_names_the_package(self):
        program = """
            import importlib.util
            real = importlib.util.find_spec
            importlib.util.find_spec = lambda name, *rest: None if name == "onnxruntime" else real(name, *rest)
            import detailflow
            try:
                detailflow.Model()
            except detailflow.NoRuntime as error:
                print(error.message)
        """
        status, output = run(program)
        self.assertEqual((status, "pip install onnxruntime" in output), (0, True), output)

    def test_onnxruntime_of_pip_works_beside_it(self):
        for first, second in (("import onnxruntime", BEGIN), (BEGIN, "import onnxruntime")):
            status, output = run(f"{first}\n{second}\nprint(model.request().generate().decode().shape)")
            self.assertEqual((status, output), (0, "(32, 32, 4)\n"))


class Ending(unittest.TestCase):
    def end(self, program, status=0, output=""):
        self.assertEqual(run(BEGIN + textwrap.dedent(program)), (status, output))

    def test_exit_while_a_worker_draws(self):
        self.end("worker = Worker()\nworker.submit(model.request(images=256))\nsys.exit(3)", 3)

    def test_exit_while_daemon_threads_draw_decode_and_wait(self):
        self.end("""
            threading.excepthook = lambda _: None  # calls fail once the end has closed what they work with
            worker = Worker()
            worker.submit(model.request(images=256))
            generation = model.request(images=256).begin()
            generation.step()
            def always(function):
                while True:
                    function()
            for function in (generation.step, generation.decode, worker.wait, lambda: model.request().generate()):
                threading.Thread(target=always, args=(function,), daemon=True).start()
        """)

    def test_exit_while_a_daemon_thread_reads_a_bundle(self):
        self.end("""
            import io, tempfile
            begun = threading.Event()
            class Slow(io.BytesIO):
                def read(self, size=-1):
                    begun.set()
                    return super().read(min(size, 65536))
            def read():
                while True:
                    Model.open_reader(Slow(data))
            with tempfile.TemporaryDirectory() as folder:
                bundle_pack(None, folder + "/one.dflow")
                data = open(folder + "/one.dflow", "rb").read()
            thread = threading.Thread(target=read, daemon=True)
            threading.excepthook = lambda _: None
            thread.start()
            begun.wait()
        """)

    def test_exit_with_objects_that_outlive_the_modules(self):
        self.end("threading.kept = [model, model.request(), model.request().begin(), Worker()]")

    def test_exit_with_an_exception_while_drawing_in_async(self):
        self.end(
            """
            import asyncio
            async def draw():
                async for _ in model.request(images=256).begin().levels():
                    raise SystemExit(5)
            asyncio.run(draw())
        """,
            5,
        )

    @unittest.skipIf(sys.version_info >= (3, 14), "Python 3.14 stops such threads in another way")
    def test_callback_of_a_worker_aborts_python(self):
        """Why callbacks are not bound: when this ends with 0, the reason is gone."""
        program = """
            import atexit, ctypes, time
            from detailflow import _handle
            atexit.unregister(_handle._at_exit)
            library = ctypes.CDLL(detailflow.library_path)
            begun = threading.Event()
            def callback(user, event):
                begun.set()
                while True:
                    time.sleep(0.01)
            function = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p)(callback)
            worker = Worker()
            library.detailflow_worker_set_callback(ctypes.c_void_p(worker._pointer), function, None)
            worker.submit(model.request())
            begun.wait()
        """
        status, output = run(BEGIN + textwrap.dedent(program))
        self.assertEqual(status, -signal.SIGABRT, output)


class Interrupts(unittest.TestCase):
    def interrupt(self, wait):
        # A process that was started in the background of a shell ignores the signal, and so do its children.
        handler = "import signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
        program = BEGIN + handler + "worker = Worker()\nprint('ready', flush=True)\n" + wait
        with subprocess.Popen(
            [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            self.assertEqual(process.stdout.readline(), "ready\n")
            time.sleep(0.3)
            process.send_signal(signal.SIGINT)
            try:
                _, errors = process.communicate(timeout=60)
            finally:
                process.kill()
        self.assertEqual(process.returncode, -signal.SIGINT, errors)
        self.assertIn("KeyboardInterrupt", errors)

    def test_wait_without_limit(self):
        self.interrupt("worker.wait()")

    def test_finish_of_many_images(self):
        self.interrupt("while True: model.request(images=512).generate()")


class Forks(unittest.TestCase):
    def test_child_gets_exceptions_and_parent_goes_on(self):
        program = BEGIN + textwrap.dedent("""
            worker = Worker()
            worker.submit(model.request(images=64))
            child = os.fork()
            if child == 0:
                raised = []
                for call in (lambda: model.find_class("potion"), worker.poll, Model, Worker):
                    try:
                        call()
                    except WrongState as error:
                        raised.append(error)
                worker.close(), model.close()
                sys.exit(0 if len(raised) == 4 and "spawn" in raised[0].message else 1)
            print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
            print(sum(event.is_last for event in worker.events()))
        """)
        self.assertEqual(run(program), (0, "0\n1\n"))

    def test_multiprocessing_forks_get_exceptions_and_spawns_work(self):
        program = textwrap.dedent("""
            import multiprocessing, sys
            from detailflow import *
            def draw(seed):
                with Model(threads=1) as model:
                    return model.request("potion", seed).generate().tokens().tolist()
            def refused(seed):
                try:
                    draw(seed)
                except WrongState:
                    return True
            if __name__ == "__main__":
                here = draw(7)
                with multiprocessing.get_context("fork").Pool(2) as pool:
                    print(pool.map(refused, [7, 8]))
                with multiprocessing.get_context("spawn").Pool(1) as pool:
                    print(pool.map(draw, [7]) == [here])
        """)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "program.py")
            path.write_text(program)
            output = subprocess.check_output([sys.executable, str(path)], text=True, timeout=120)
        self.assertEqual(output, "[True, True]\nTrue\n")


if __name__ == "__main__":
    unittest.main()
