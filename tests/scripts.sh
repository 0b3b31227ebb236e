# shellcheck shell=bash
# Sourced by the scripts of tests/ports and tests/embed: runs several of them, and says what is skipped.

# each FOLDER NAME...: runs tests/FOLDER/NAME.sh, one after the other, and says how long each took. One that fails does not keep
# the others from running.
each() {
    local folder=$1 name begun failed=() times=()
    shift
    for name; do
        begun=$SECONDS
        echo "--- $folder: $name"
        "tests/$folder/$name.sh" || failed+=("$name")
        times+=("$(printf '%-14s %2d min %02d s' "$name" $(((SECONDS - begun) / 60)) $(((SECONDS - begun) % 60)))")
    done
    printf "$folder: %s\n" "${times[@]}"
    if [ "${#failed[@]}" -gt 0 ]; then
        echo "$folder: failed: ${failed[*]}" >&2
        return 1
    fi
}

# skipped FOLDER NAME WHY: reported at the end by make, and a failure with DETAILFLOW_EVERYTHING=1. From the repository root.
skipped() {
    mkdir -p target/skipped
    echo "SKIPPED $2: $3" | tee "target/skipped/$1-$2" >&2
    [ -z "${DETAILFLOW_EVERYTHING:-}" ]
}
