#!/usr/bin/env bash
# The files of the pipeline in readers that are not ours: Pillow, OpenEXR, texture2ddecoder (BC7), ktx-parse (KTX2).
# packages: python3 python3-venv nodejs npm
. tests/embed/common.sh
needs cargo python3 node npm

cargo test --release --locked --quiet --features cli --test pipeline_outputs -- --exact files_for_other_readers_are_written_and_made_again
cp tests/embed/textures/{levels.mjs,package.json,package-lock.json} "$WORK"
(cd "$WORK" && npm ci --no-audit --no-fund --loglevel=error && node levels.mjs "$ROOT/target/pipeline-outputs")

environment=$ROOT/target/venv-embed-textures
requirements=$ROOT/tests/embed/textures/requirements.txt
if ! cmp -s "$requirements" "$environment/requirements.txt"; then
    rm -rf "$environment"
    python3 -m venv "$environment"
    "$environment/bin/pip" --quiet --disable-pip-version-check install --require-hashes --only-binary=:all: --requirement "$requirements"
    cp "$requirements" "$environment"
fi
"$environment/bin/python" tests/embed/textures/check.py "$ROOT/target/pipeline-outputs" | tee "$WORK/output.txt"
