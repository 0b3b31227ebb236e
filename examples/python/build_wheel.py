# SPDX-License-Identifier: MIT OR Apache-2.0
"""The build backend of pyproject.toml (PEP 517): writes the wheel, and nothing else.

The wheel is the package, the library and the default bundle. It has no extension module: its tag is
py3-none-PLATFORM, and one wheel serves every Python. Where the library and the bundle come from:

- DETAILFLOW_PREFIX, when it is set: an installed prefix, or the folder of a zip for this platform;
- otherwise the checkout that this folder is part of: target/release and onnx/bundles/sprites, after `make`.

The licences of all that is inside the library come with it: target/licenses, share/doc/detailflow or licenses/.
"""

import base64
import hashlib
import os
import sys
import sysconfig
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parent.parent
LIBRARY = {"darwin": "libdetailflow.dylib", "win32": "detailflow.dll"}.get(sys.platform, "libdetailflow.so")
# Beside the library in the wheel, where it looks for its default bundle.
NATIVE = "detailflow/native"
EPOCH = (1980, 1, 1, 0, 0, 0)


def build_wheel(wheel_directory: str, config_settings: Any = None, metadata_directory: Any = None) -> str:
    """Writes the wheel into `wheel_directory`; returns its name."""
    project = tomllib.loads((HERE / "pyproject.toml").read_text("utf-8"))["project"]
    library, bundle = find_parts()
    name, version = str(project["name"]), str(project["version"])
    tag = "py3-none-" + sysconfig.get_platform().replace("-", "_").replace(".", "_")
    info = f"{name}-{version}.dist-info"
    files: list[tuple[str, bytes]] = [
        (f"detailflow/{path.name}", path.read_bytes())
        for path in sorted((HERE / "detailflow").iterdir())
        if path.suffix == ".py" or path.name == "py.typed"
    ]
    files.append((f"{NATIVE}/{LIBRARY}", library.read_bytes()))
    files += [(f"{NATIVE}/detailflow/{path.name}", path.read_bytes()) for path in sorted(bundle.iterdir())]
    files.append((f"{info}/METADATA", metadata(project).encode()))
    files.append((f"{info}/WHEEL", f"Wheel-Version: 1.0\nRoot-Is-Purelib: false\nTag: {tag}\n".encode()))
    files += [(f"{info}/licenses/{path.name}", path.read_bytes()) for path in licenses()]
    record = [f"{path},sha256={digest(data)},{len(data)}\n" for path, data in files] + [f"{info}/RECORD,,\n"]
    files.append((f"{info}/RECORD", "".join(record).encode()))

    wheel = f"{name}-{version}-{tag}.whl"
    with zipfile.ZipFile(Path(wheel_directory) / wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, data in files:
            entry = zipfile.ZipInfo(path, EPOCH)
            entry.external_attr = (0o755 if path.endswith(LIBRARY) else 0o644) << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, data)
    return wheel


def build_sdist(sdist_directory: str, config_settings: Any = None) -> str:
    """A source distribution would lack the library."""
    raise SystemExit("detailflow: no source distribution, since the library is not in this folder; build a wheel")


def find_parts() -> tuple[Path, Path]:
    """The library and the folder of the default bundle."""
    prefix = os.environ.get("DETAILFLOW_PREFIX")
    if prefix:
        root = Path(prefix).expanduser().resolve()
        libraries = [*places_of_library(root)]
        bundles = [root / "share/detailflow", root / "detailflow"]
        remedy = "set DETAILFLOW_PREFIX to the PREFIX of `make install`"
    else:
        libraries = [CHECKOUT / "target/release" / LIBRARY]
        bundles = [CHECKOUT / "onnx/bundles/sprites"]
        remedy = "run `make` in the checkout, or set DETAILFLOW_PREFIX to an installed prefix"
    library = first("library", libraries, Path.is_file, remedy)
    bundle = first("default bundle", bundles, lambda path: (path / "detailflow.json").is_file(), remedy)
    return library, bundle


def places_of_library(root: Path) -> Iterator[Path]:
    """Where `make install` and the zips have it; lib/TRIPLET is that of Debian."""
    for folder in ("lib", "lib64", "bin", "."):
        yield root / folder / LIBRARY
    yield from sorted(root.glob(f"lib/*/{LIBRARY}"))


def first(what: str, places: list[Path], exists: Any, remedy: str) -> Path:
    """The first place that exists."""
    for place in places:
        if exists(place):
            return place
    tried = "".join(f"\n    {place}" for place in places)
    raise SystemExit(f"detailflow: no {what}; {remedy}. Tried:{tried}")


def licenses() -> list[Path]:
    """The licences of the library and of the crates in it. Not those of ONNX Runtime, which is another wheel."""
    prefix = os.environ.get("DETAILFLOW_PREFIX")
    root = Path(prefix).expanduser().resolve() if prefix else CHECKOUT
    places = [root / "share/doc/detailflow", root / "licenses"] if prefix else [root / "target/licenses"]
    remedy = "set DETAILFLOW_PREFIX to a complete prefix" if prefix else "run `make` in the checkout"
    folder = first("licences of the crates", places, lambda path: (path / "RUST_CRATES.txt").is_file(), remedy)
    return [*sorted(folder.glob("LICENSE-*")), *sorted(folder.glob("RUST_*"))]


def metadata(project: dict[str, Any]) -> str:
    """METADATA of the wheel."""
    lines = [
        "Metadata-Version: 2.4",
        f"Name: {project['name']}",
        f"Version: {project['version']}",
        f"Summary: {project['description']}",
        f"Requires-Python: {project['requires-python']}",
        f"License-Expression: {project['license']}",
        *[f"License-File: {path.name}" for path in licenses()],
        *[f"Requires-Dist: {dependency}" for dependency in project["dependencies"]],
        "Description-Content-Type: text/markdown",
    ]
    return "\n".join(lines) + "\n\n" + (HERE / "README.md").read_text("utf-8")


def digest(data: bytes) -> str:
    """The hash as RECORD has it."""
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
