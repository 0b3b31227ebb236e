"""What tests need beside the package, and what happens when it is missing: a skip, or a failure.

With DETAILFLOW_EVERYTHING=1 in the environment a missing package or tool is a failure. Reasons read
"SUBJECT is not installed (HOW TO INSTALL IT)", so that the summary of `pytest -rs` can be collected.
"""

import importlib.util
import os
from typing import NoReturn

import pytest

EVERYTHING = os.environ.get("DETAILFLOW_EVERYTHING", "") not in ("", "0")
PACKAGES = {"torch": "PyTorch", "PIL": "Pillow", "yaml": "PyYAML"}  # importable name -> name
INSTALL = "make test-train"


def missing_package(*names: str) -> str | None:
    """Why tests that need these packages cannot run; None if they can."""
    for name in names:
        if importlib.util.find_spec(name) is None:
            return f"{PACKAGES[name]} is not installed ({INSTALL})"
    return None


def skip(reason: str) -> NoReturn:
    """Skip a test or a file because something is missing; fail if everything is required."""
    if EVERYTHING:
        pytest.fail(f"{reason}, and DETAILFLOW_EVERYTHING is set", pytrace=False)
    pytest.skip(reason, allow_module_level=True)
