#!/usr/bin/env bash
# The page of a job in headless Chromium: 10,050 generated pictures on two pages, opened from disk. Screenshots stay in
# target/embed/page. DETAILFLOW_TIMES=1 makes a failure of a task over 50 ms.
# packages: chromium nodejs npm
. tests/embed/common.sh
needs chromium node npm

mkdir "$WORK/out"
DETAILFLOW_PAGE_PICTURES=10050 DETAILFLOW_PAGE_FOLDER=$WORK/out \
    cargo test --release --locked --quiet --features cli --lib -- --ignored page_of_generated_pictures
cp tests/embed/page/* "$WORK"
cd "$WORK"
npm ci --no-audit --no-fund --loglevel=error
node check.js "$WORK/out" "$WORK"
