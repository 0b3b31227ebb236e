"""Paths, and files whose packages are missing: they are skipped without being imported."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent
sys.path[:0] = [str(TESTS.parent / "onnx"), str(TESTS)]

from helpers import requirements  # noqa: E402  (found on the path set above)

# The packages that the files below a path import.
NEEDS = {"train": ("torch", "PIL", "yaml"), "exporter/test_baseline.py": ("torch",)}


class MissingModule(pytest.Module):
    """A test file that cannot be imported."""

    reason: str

    def collect(self) -> Iterator[pytest.Item]:
        """Skip or fail instead of importing the file."""
        requirements.skip(self.reason)


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> pytest.Module | None:
    """Replace files whose packages are missing."""
    for path, packages in NEEDS.items():
        if (TESTS / path) in (module_path, *module_path.parents):
            reason = requirements.missing_package(*packages)
            if reason:
                module = MissingModule.from_parent(parent, path=module_path)
                module.reason = reason
                return module
    return None


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """A run whose files were all skipped for missing packages succeeds, as one with single skipped tests does."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    skipped = bool(reporter and reporter.stats.get("skipped"))
    if exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED and skipped:
        session.exitstatus = pytest.ExitCode.OK
