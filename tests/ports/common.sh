# Sourced by the scripts of this folder, from the repository root: where the tools are, and what several of them do.
#
# Each port is a script NAME.sh that builds the library for another system at opt-level 1, runs what can be run here, and
# exits with 0 only if all of it passed. What cannot run calls `skip`.
set -euo pipefail

# Everything that setup.sh fetches, and each port's target folder.
PORTS=${DETAILFLOW_PORTS:-$PWD/target/ports}
# One optimization level for all ports: a build of the release profile costs 5 to 8 minutes of CPU time each.
export CARGO_PROFILE_RELEASE_OPT_LEVEL=1

# runtime PLATFORM: the folder with the ONNX Runtime of a platform tag of PyPI, such as win_amd64.
runtime() { echo "$PORTS/ort-$1/onnxruntime/capi"; }

# The tokens that every port must draw, by this machine's own `dflow` with its fastest kernels.
reference_tokens() {
    local file=target/ports/reference.json
    mkdir -p target/ports
    target/release/dflow generate all --seed 7 --form native -o target/ports/reference.png --tokens-out "$file" >&2
    echo "$file"
}

# same_tokens FILE: fails unless the file has the bytes of `reference_tokens`.
same_tokens() {
    if ! cmp "$1" "$(reference_tokens)"; then
        echo "$1: other tokens than on this machine" >&2
        return 1
    fi
}

# skip NAME WHY: reported at the end of `make test-ports`, and a failure with DETAILFLOW_EVERYTHING=1.
skip() {
    mkdir -p target/skipped
    echo "SKIPPED $1: $2" | tee "target/skipped/ports-$1" >&2
    [ -z "${DETAILFLOW_EVERYTHING:-}" ]
}
