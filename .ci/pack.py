"""Packs a folder into FOLDER.zip, after it has written CONTENTS.txt: the lines given, each file's size and SHA-256.

    python3 .ci/pack.py FOLDER LINE...

The same files give the same zip: names are sorted and times are fixed.
"""

import hashlib
import sys
import zipfile
from pathlib import Path

folder = Path(sys.argv[1])
files = sorted(path for path in folder.rglob("*") if path.is_file())
listed = [
    f"{path.stat().st_size:>10}  {hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(folder)}"
    for path in files
]
head = [folder.name, "", *sys.argv[2:], "", f"{'bytes':>10}  {'SHA-256':64}  file"]
contents = folder / "CONTENTS.txt"
contents.write_text("\n".join(head + listed) + "\n", encoding="utf-8")

with zipfile.ZipFile(f"{folder}.zip", "w", zipfile.ZIP_DEFLATED) as archive:
    for path in [contents, *files]:
        entry = zipfile.ZipInfo(f"{folder.name}/{path.relative_to(folder)}", (1980, 1, 1, 0, 0, 0))
        entry.compress_type = zipfile.ZIP_DEFLATED
        executable = path.stat().st_mode & 0o100 or path.suffix in (".so", ".dylib")
        entry.external_attr = (0o100755 if executable else 0o100644) << 16
        archive.writestr(entry, path.read_bytes())
