"""Packs `make gpu-kit`: what checks and measures the library on a machine with an NVIDIA card and without a network.

    python3 .ci/gpu_kit.py OUT --dflow FILE --devices FILE --program FILE --cuda FOLDER --webgpu FILE [--arch 90]

OUT gets:

    run.py              the script (.ci/gpu_run.py); it needs nothing but the files beside it
    kit.json            the files below with their lengths and hashes
    kit.00, kit.01 ...  one .tar.xz in parts: programs, bundles, exporter, ONNX Runtime with CUDA and with WebGPU
    rest.00 ...         the code of the CUDA provider for other cards, in parts; only needed if the provider does not
                        load without it

Of the CUDA provider's device code, `kit` has that of one compute capability; the other entries of its fatbins are zeros
and compress to nothing. Their headers stay, so that the driver finds every entry where it was. `rest` has what was
zeroed, one entry after the other.
"""

import argparse
import hashlib
import io
import json
import lzma
import shutil
import struct
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PART = 22_500_000  # bytes of a part at most: 24 MB may travel at once, and the small files are beside it
FATBIN = 0xBA55ED50
PROVIDER = "target/runtime-cuda/libonnxruntime_providers_cuda.so"
# Folders and files of the checkout. The unpacked kit has the layout of a checkout.
TREE = (
    "onnx/bundles/sprites",
    "onnx/detailflow_onnx",
    *(f"tests/data/{name}" for name in ("small", "tiny-16/bundle", "precisions")),
)

Hole = tuple[int, int]  # offset and length


class Parts(io.BufferedIOBase):
    """Writes NAME.00, NAME.01 ... of at most `size` bytes each and lists them in `files`."""

    def __init__(self, folder: Path, name: str, size: int) -> None:
        self.folder, self.stem, self.size = folder, name, size
        self.files: list[dict[str, Any]] = []
        self._data = bytearray()

    def writable(self) -> bool:
        """It is for writing only."""
        return True

    def write(self, data: Any) -> int:
        """Append bytes."""
        self._data += data
        while len(self._data) >= self.size:
            self._end(self.size)
        return len(data)

    def close(self) -> None:
        """Write the last part."""
        if self._data:
            self._end(len(self._data))
        super().close()

    def _end(self, length: int) -> None:
        data, self._data = bytes(self._data[:length]), self._data[length:]
        name = f"{self.stem}.{len(self.files):02}"
        (self.folder / name).write_bytes(data)
        self.files.append({"name": name, "length": length, "sha256": hashlib.sha256(data).hexdigest()})


def section(data: bytes, wanted: bytes) -> Hole:
    """Offset and length of a section of a 64-bit ELF file."""
    if data[:5] != b"\x7fELF\x02":
        raise SystemExit("not a 64-bit ELF file")
    (table,) = struct.unpack_from("<Q", data, 0x28)
    count, names_at = struct.unpack_from("<HH", data, 0x3C)
    headers = [struct.unpack_from("<IIQQQQ", data, table + 64 * index) for index in range(count)]
    names = headers[names_at][4]
    for header in headers:
        start = names + header[0]
        if data[start : data.index(b"\0", start)] == wanted:
            return header[4], header[5]
    raise SystemExit(f"no section {wanted.decode()}")


def holes(data: bytes, arch: int) -> Iterator[Hole]:
    """The payloads in `.nv_fatbin` that are not for compute capability `arch`, 90 for 9.0.

    A fatbin is a header (magic, version, header length, length) and entries: kind, version, header length, payload
    length, and at byte 28 the compute capability.
    """
    at, length = section(data, b".nv_fatbin")
    end = at + length
    while at + 16 <= end:
        magic, _, header, length = struct.unpack_from("<IHHQ", data, at)
        if magic != FATBIN:
            at += 8  # between two fatbins
            continue
        at, last = at + header, at + header + length
        while at < last:
            _, _, header, payload = struct.unpack_from("<HHIQ", data, at)
            (entry,) = struct.unpack_from("<I", data, at + 28)
            if header < 32 or at + header + payload > last:
                raise SystemExit(f"the fatbin entry at byte {at} is longer than its fatbin")
            if entry != arch and payload:
                yield at + header, payload
            at += header + payload


def code(preset: int) -> list[dict[str, int]]:
    """Filters for x86-64 code: its jumps compress better as absolute addresses."""
    return [{"id": lzma.FILTER_X86}, {"id": lzma.FILTER_LZMA2, "preset": preset, "dict_size": 32 << 20}]


def pack_kit(parts: Parts, files: list[tuple[str, Path]], thinned: bytes, preset: int) -> None:
    """One .tar.xz of `files` (names in the kit, paths here) and the thinned provider."""
    with (
        lzma.open(parts, "wb", filters=code(preset)) as packed,
        tarfile.open(fileobj=packed, mode="w|", dereference=True) as archive,
    ):
        for name, path in files:
            info = archive.gettarinfo(path, name)
            with path.open("rb") as file:
                archive.addfile(info, file)
        info = tarfile.TarInfo(PROVIDER)
        info.size, info.mode = len(thinned), 0o755
        archive.addfile(info, io.BytesIO(thinned))
    parts.close()


def pack_rest(parts: Parts, data: bytes, cut: list[Hole], preset: int) -> None:
    """One .xz of what was cut out."""
    with lzma.open(parts, "wb", preset=min(preset, 3)) as packed:
        for offset, length in cut:
            packed.write(data[offset : offset + length])
    parts.close()


def test_binary() -> Path:
    """The compiled tests/devices.rs."""
    command = ["cargo", "test", "--release", "--locked", "--features", "cli", "--test", "devices", "--no-run"]
    done = subprocess.run([*command, "--message-format=json"], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    for message in map(json.loads, done.stdout.splitlines()):
        if message.get("executable") and message["target"]["name"] == "devices":
            return Path(message["executable"])
    raise SystemExit("cargo named no test program")


def test_program(scratch: Path) -> Path:
    """The compiled tests/c/devices.c."""
    program = scratch / "program"
    command = ["cc", "-std=c99", "-O1", "-Iinclude", "-Itests/c", "tests/c/devices.c", "-o", str(program)]
    libraries = ["-Ltarget/release", "-ldetailflow", "-lm", "-lpthread"]
    subprocess.run([*command, *libraries], cwd=ROOT, check=True)
    return program


def stripped(path: Path, folder: Path) -> Path:
    """A copy of a program without symbols, or the file itself if it is no program."""
    copy = folder / path.name
    done = subprocess.run(["strip", "-o", str(copy), str(path)], capture_output=True)
    return copy if done.returncode == 0 else path


def vulkan_loader() -> Path | None:
    """libvulkan.so.1 of this machine; a machine for computing often has only the driver."""
    listed = subprocess.run(["/sbin/ldconfig", "-p"], capture_output=True, text=True).stdout
    found = [
        Path(line.split("=> ")[1]) for line in listed.splitlines() if "libvulkan.so.1 " in line and "x86-64" in line
    ]
    found.append(Path("/usr/lib/chromium/libvulkan.so.1"))
    return next((path.resolve() for path in found if path.is_file()), None)


def members(options: argparse.Namespace, devices: Path, program: Path, scratch: Path) -> list[tuple[str, Path]]:
    """(name in the kit, path here) of every file but the CUDA provider."""
    out = [(str(path.relative_to(ROOT)), path) for tree in options.tree for path in sorted((ROOT / tree).rglob("*"))]
    out = [(name, path) for name, path in out if path.is_file() and "__pycache__" not in name]
    out += [("target/release/dflow", stripped(options.dflow, scratch)), ("tests/devices", stripped(devices, scratch))]
    out.append(("tests/program-devices", program))
    out += [("target/webgpu/libonnxruntime.so", options.webgpu)]
    for name in ("libonnxruntime.so", "libonnxruntime_providers_shared.so"):
        out.append((f"target/runtime-cuda/{name}", options.cuda / name))
    if options.library.is_file():
        out.append(("target/release/libdetailflow.so", stripped(options.library, scratch)))
    loader = vulkan_loader()
    if loader:
        out.append(("lib/libvulkan.so.1", loader))
    else:
        print("no libvulkan.so.1 here: the kit has no Vulkan loader (apt-get install libvulkan1)", file=sys.stderr)
    return out


def main() -> None:
    """Make the kit."""
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("--dflow", type=Path, default=ROOT / "target/release/dflow")
    parser.add_argument("--library", type=Path, default=ROOT / "target/release/libdetailflow.so")
    parser.add_argument("--devices", type=Path, help="the compiled tests/devices.rs (default: cargo makes it)")
    parser.add_argument("--program", type=Path, help="the compiled tests/c/devices.c (default: cc makes it)")
    parser.add_argument("--cuda", type=Path, default=ROOT / "target/runtime-cuda")
    parser.add_argument("--webgpu", type=Path, default=ROOT / "target/webgpu/libonnxruntime.so")
    parser.add_argument("--tree", nargs="+", default=TREE, help="folders of the checkout that go into the kit")
    parser.add_argument("--arch", type=int, default=90, help="compute capability times 10 (default 90: H100, H200)")
    parser.add_argument("--part", type=int, default=PART, help="bytes of a part at most")
    parser.add_argument("--preset", type=int, default=6, help="of xz, 0 is the fastest (default 6)")
    options = parser.parse_args()

    if options.out.exists() and any(options.out.iterdir()) and not (options.out / "kit.json").is_file():
        sys.exit(f"{options.out} is not empty and no kit; it would be replaced")
    shutil.rmtree(options.out, ignore_errors=True)
    options.out.mkdir(parents=True)
    whole = (options.cuda / Path(PROVIDER).name).read_bytes()
    cut = list(holes(whole, options.arch))
    thinned = bytearray(whole)
    for offset, length in cut:
        thinned[offset : offset + length] = bytes(length)
    kit, rest = (Parts(options.out, name, options.part) for name in ("kit", "rest"))
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(2) as pool:  # lzma computes without Python's lock
        program = options.program or test_program(Path(folder))
        files = members(options, options.devices or test_binary(), program, Path(folder))
        tasks = [
            pool.submit(pack_kit, kit, files, bytes(thinned), options.preset),
            pool.submit(pack_rest, rest, whole, cut, options.preset),
        ]
        for task in tasks:
            task.result()
    provider = {"path": PROVIDER, "sha256": hashlib.sha256(whole).hexdigest(), "holes": cut}
    content = {"arch": options.arch, "kit": kit.files, "rest": rest.files, "provider": provider}
    (options.out / "kit.json").write_text(json.dumps(content) + "\n", encoding="utf-8")
    shutil.copy(ROOT / ".ci/gpu_run.py", options.out / "run.py")
    for name, parts in (("kit", kit.files), ("rest", rest.files)):
        sizes = ", ".join(f"{part['length'] / 1e6:.1f}" for part in parts)
        print(f"{name}: {len(parts)} parts, MB: {sizes}")


if __name__ == "__main__":
    main()
