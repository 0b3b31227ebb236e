#!/usr/bin/env bash
# Makes the .love file: the game, the Lua module and the bundle:
#   examples/love/build.sh BUNDLE.dflow OUTPUT.love
# SPDX-License-Identifier: MIT OR Apache-2.0
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
bundle=$(realpath "$1")
output=$(realpath -m "$2")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

cp "$here"/game/*.lua "$folder"
cp -r "$here/../lua/detailflow.lua" "$here/../lua/detailflow" "$folder"
cp "$bundle" "$folder/sprites.dflow"
rm -f "$output"
cd "$folder"
# The bundle stays uncompressed: its weights hardly shrink, and are read from anywhere in the file.
zip -q -X -r -n .dflow "$output" .
