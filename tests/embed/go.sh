#!/usr/bin/env bash
# Go: the scenario, `go vet`, and the tests of the binding, with the checks of cgo that are off by default.
# packages: golang-go gcc libc6-dev
. tests/embed/common.sh
needs go cc

export LD_LIBRARY_PATH=$LIBRARIES
# Pointers of Go that C keeps, or that lead to others, end the program.
export GODEBUG=cgocheck=2
# As examples/go/README.md says, in the checkout.
(cd examples/go && go run ./cmd/scenario) >"$WORK/output.txt"
same_output "$WORK/output.txt"

# A copy elsewhere names header and library itself.
cp -r examples/go "$WORK/detailflow"
cd "$WORK/detailflow"
export CGO_CFLAGS="-O2 -Wall -Werror -I$ROOT/include" CGO_LDFLAGS="-L$LIBRARIES"
badly=$(gofmt -l .)
[ -z "$badly" ]
go vet ./...
"$LIBRARIES/dflow" bundle pack "$ROOT/onnx/bundles/sprites" "$WORK/sprites.dflow" >/dev/null
DETAILFLOW_TEST_FILE=$WORK/sprites.dflow go test -count=1 ./...

# Beside the program the library is found without LD_LIBRARY_PATH.
go build -o "$WORK/program" ./cmd/scenario
unset LD_LIBRARY_PATH
if "$WORK/program" >"$WORK/program.txt" 2>&1; then
    echo "the program found a library that is not beside it" >&2
    exit 1
fi
grep -F libdetailflow.so "$WORK/program.txt"
cp "$LIBRARIES/libdetailflow.so" "$WORK"
DETAILFLOW_BUNDLE=$ROOT/onnx/bundles/sprites ORT_DYLIB_PATH=$ROOT/target/runtime/libonnxruntime.so \
    "$WORK/program" >"$WORK/program.txt"
same_output "$WORK/program.txt"
