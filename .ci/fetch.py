"""Downloads the wheel that a list such as onnx/runtime.txt pins, checks its hash and unpacks it into a folder.

    python3 .ci/fetch.py LIST FOLDER

The wheel is the one for this CPU architecture, whichever version of Python runs this. It needs pip and no virtual
environment: Python's own pip, or else the one that `python3 -m venv` would install.
"""

import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path


def pip_path() -> list[str]:
    """What PYTHONPATH needs so that `python -m pip` works."""
    if importlib.util.find_spec("pip"):
        return []
    # Debian has the wheels in packages of their own, and ensurepip in that of venv.
    folders = [Path("/usr/share/python-wheels")]
    ensurepip = importlib.util.find_spec("ensurepip")
    if ensurepip and ensurepip.origin:
        folders.insert(0, Path(ensurepip.origin).parent / "_bundled")
    wheels = [wheel for folder in folders for wheel in sorted(folder.glob("pip-*.whl"))]
    if not wheels:
        sys.exit(f"{sys.executable} has neither pip nor venv: install one (Debian: apt-get install python3-venv)")
    return [str(wheels[-1])]


wanted, folder = sys.argv[1], Path(sys.argv[2])
shutil.rmtree(folder, ignore_errors=True)
search = os.pathsep.join([*pip_path(), *filter(None, [os.environ.get("PYTHONPATH")])])
command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--require-hashes"]
command += ["--no-deps", "--only-binary=:all:", "--python-version", "3.13"]
command += ["--platform", f"manylinux_2_28_{platform.machine()}", "--dest", str(folder), "--requirement", wanted]
try:
    subprocess.run(command, check=True, env={**os.environ, "PYTHONPATH": search})
except subprocess.CalledProcessError as error:
    sys.exit(error.returncode)
[wheel] = folder.glob("*.whl")
with zipfile.ZipFile(wheel) as archive:
    archive.extractall(folder)
