#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
# The bill of materials that `make` writes for `make install` and the zips: by the schema of CycloneDX 1.5, and true.
# packages: python3-venv
. tests/embed/common.sh
needs make python3

make --no-print-directory --silent target/licenses/sbom.cdx.json
mkdir "$WORK/parts"
ln -s "$ROOT/onnx/bundles/sprites" "$ROOT/target/runtime/libonnxruntime.so" "$WORK/parts/"
cp -rL "$WORK/parts" "$WORK/files"
python3 tests/embed/sbom/check.py target/licenses/sbom.cdx.json "$WORK/files" target/licenses/RUST_CRATES.txt

# Made again it is the same, byte for byte.
.ci/licenses "$WORK/again" "$(rustc -vV | sed -n 's/^host: //p')" target/runtime/libonnxruntime.so onnx/runtime.txt target/runtime
diff -r target/licenses "$WORK/again"

# One that is false is noticed.
sed 's/"version": "1\.[0-9.]*",/"version": 1,/; s/pkg:cargo\/sha2@/pkg:cargo\/sha3@/' target/licenses/sbom.cdx.json >"$WORK/false.json"
if python3 tests/embed/sbom/check.py "$WORK/false.json" "$WORK/files" 2>/dev/null; then
    echo "sbom: a false one passes" >&2
    exit 1
fi

venv=$ROOT/target/venv-sbom
if ! cmp -s tests/embed/sbom/tools.txt "$venv/ready"; then
    rm -rf "$venv"
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check --require-hashes --only-binary=:all: \
        --requirement tests/embed/sbom/tools.txt
    cp tests/embed/sbom/tools.txt "$venv/ready"
fi
cat >"$WORK/schema.py" <<'END'
import sys
from pathlib import Path

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

for path in sys.argv[1:]:
    wrong = JsonStrictValidator(SchemaVersion.V1_5).validate_str(Path(path).read_text(encoding="utf-8"))
    if wrong:
        sys.exit(f"{path}: {wrong}")
END
"$venv/bin/python" "$WORK/schema.py" target/licenses/sbom.cdx.json
if "$venv/bin/python" "$WORK/schema.py" "$WORK/false.json" 2>/dev/null; then
    echo "sbom: the schema accepts a version that is a number" >&2
    exit 1
fi
