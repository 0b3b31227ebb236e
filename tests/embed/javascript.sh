#!/usr/bin/env bash
# JavaScript, Node: the scenario, the tests of the binding, and its TypeScript types.
# packages: nodejs npm
. tests/embed/common.sh
needs node npm

cp -r examples/javascript "$WORK/detailflow"
cd "$WORK/detailflow"
npm ci --no-audit --no-fund --loglevel=error

# A program in a folder of its own that depends on the package.
mkdir ../program
cd ../program
npm init --yes >/dev/null
npm install --no-audit --no-fund --loglevel=error ../detailflow
cp ../detailflow/scenario.js .
node scenario.js >"$WORK/output.txt"
same_output "$WORK/output.txt"
# As a module of ECMAScript.
cat >names.mjs <<'END'
import { Model, DetailFlowError } from 'detailflow';
const model = Model.openSync();
try {
    model.findClass('potoin');
} catch (error) {
    if (!(error instanceof DetailFlowError)) throw error;
    console.log(error.message);
}
END
node names.mjs | grep -F 'did you mean potion'

cd ../detailflow
npx --no-install tsc -p tests
"$LIBRARIES/dflow" bundle pack "$ROOT/onnx/bundles/sprites" "$WORK/sprites.dflow" >/dev/null
DETAILFLOW_TEST_FILE=$WORK/sprites.dflow npm test >"$WORK/tests.txt" 2>&1 || {
    cat "$WORK/tests.txt"
    exit 1
}
# All of them ran.
grep -E '^# (tests|pass|fail|skipped)' "$WORK/tests.txt"
[ "$(sed -n 's/^# pass //p' "$WORK/tests.txt")" -ge 55 ]
