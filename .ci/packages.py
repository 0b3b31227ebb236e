"""Writes the files by which CMake and pkg-config find the library, out of the templates in include/packages.

    python3 .ci/packages.py OUT VERSION --libdir lib --shared lib/libdetailflow.so --runtime FILE

OUT takes the place of the prefix: files go to OUT/LIBDIR/cmake/detailflow and OUT/LIBDIR/pkgconfig. Paths are relative
to the prefix. With --static also detailflow-static.pc is written; with --implib, which only Windows has, no .pc is.
"""

import argparse
import posixpath
from pathlib import Path

parser = argparse.ArgumentParser()
parser.add_argument("out", type=Path)
parser.add_argument("version")
parser.add_argument("--libdir", required=True)
parser.add_argument("--shared", required=True)
parser.add_argument("--runtime", required=True)
parser.add_argument("--static", action="store_true")
parser.add_argument("--implib", default="")
args = parser.parse_args()

templates = Path(__file__).resolve().parent.parent / "include" / "packages"
wanted = {"cmake/detailflow": ["detailflow-config.cmake", "detailflow-config-version.cmake"], "pkgconfig": []}
if not args.implib:
    wanted["pkgconfig"] = ["detailflow.pc", "detailflow-static.pc"] if args.static else ["detailflow.pc"]
for folder, names in wanted.items():
    place = posixpath.join(args.libdir, folder)
    values = {
        "VERSION": args.version,
        "PREFIX": posixpath.relpath(".", place),
        "LIBDIR": args.libdir,
        "SHARED": args.shared,
        "IMPLIB": args.implib,
        "RUNTIME": args.runtime,
        "BUNDLE": "share/detailflow",
    }
    for name in names:
        text = (templates / f"{name}.in").read_text(encoding="utf-8")
        for key, value in values.items():
            text = text.replace(f"@{key}@", value)
        if name.endswith(".pc") and not args.static:
            # Of the archive.
            text = "".join(line for line in text.splitlines(keepends=True) if "libdetailflow.a" not in line)
        (args.out / place).mkdir(parents=True, exist_ok=True)
        (args.out / place / name).write_text(text, encoding="utf-8", newline="\n")
