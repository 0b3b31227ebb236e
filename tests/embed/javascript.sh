#!/usr/bin/env bash
# JavaScript, Node: the scenario, the tests of the binding, and its TypeScript types.
# packages: nodejs npm
. tests/embed/common.sh
needs node npm

cp -r examples/javascript "$WORK/detailflow"
cd "$WORK/detailflow"
npm ci --no-audit --no-fund --loglevel=error
# A program in another folder that depends on the package, as examples/javascript/README.md says.
mkdir ../program
cd ../program
npm init --yes >/dev/null
npm install --no-audit --no-fund --loglevel=error ../detailflow
cp ../detailflow/scenario.js .
node scenario.js >"$WORK/output.txt"
same_output "$WORK/output.txt"
