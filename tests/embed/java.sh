#!/usr/bin/env bash
# Java: the binding, its tests and the scenario.
# packages: openjdk-17-jdk-headless libjna-java
. tests/embed/common.sh
needs javac java jar
jna=/usr/share/java/jna.jar
[ -e "$jna" ] || skip "$jna missing: tests/embed/setup.sh, or apt-get install $(packages_of "$0")"

sources=examples/java
javac --release 11 -Xlint:all -Werror -cp "$jna" -d "$WORK/classes" "$sources"/src/detailflow/*.java
jar --create --file "$WORK/detailflow.jar" -C "$WORK/classes" .
binding=$jna:$WORK/detailflow.jar
javac --release 11 -Xlint:all -Werror -cp "$binding" -d "$WORK/programs" "$sources/Scenario.java"
javac --release 11 -Xlint:all -Werror -encoding UTF-8 -cp "$binding" -d "$WORK/tests" "$sources"/tests/*.java \
    "$sources"/tests/detailflow/*.java
# Many short runs: the quick start.
java=(java -XX:TieredStopAtLevel=1 -XX:+UseSerialGC)
# program NAME ARGUMENT...
program() { "${java[@]}" -cp "$binding:$WORK/programs:$WORK/tests" "$@"; }

# The structs have the layout of the header.
program detailflow.Layout source >"$WORK/layout.c"
cc -std=c99 -Wall -Wextra -Werror -Iinclude "$WORK/layout.c" -o "$WORK/layout"
"$WORK/layout" >"$WORK/layout-c.txt"
program detailflow.Layout >"$WORK/layout-java.txt"
grep -q '^detailflow_image.pixels ' "$WORK/layout-java.txt"
diff "$WORK/layout-c.txt" "$WORK/layout-java.txt"

target/release/dflow bundle pack onnx/bundles/sprites "$WORK/bundle.dflow" >/dev/null
# Not the encoding of the system: neither names nor messages depend on it.
program -Dfile.encoding=ISO-8859-1 Tests "$WORK"

# Programs that end while work is going on end with 0; they do not hang.
for way in return exit closed-model try collected step wait poll exit-elsewhere late closed; do
    timeout 600 "${java[@]}" -cp "$binding:$WORK/tests" Exits "$way" >"$WORK/exit.txt" || {
        echo "the program that ends with \"$way\" ended with $?" >&2
        exit 1
    }
    echo "ok $way"
done
grep -qx 'the worker is closed' "$WORK/exit.txt"

# Where the library is, and what is said when it is not there.
# fails MESSAGE COMMAND...: fails unless the command does, with that in its message.
fails() {
    if "${@:2}" >"$WORK/fails.txt" 2>&1 || ! grep -qF "$1" "$WORK/fails.txt"; then
        cat "$WORK/fails.txt" >&2
        echo "expected a failure with: $1" >&2
        return 1
    fi
}
scenario=("${java[@]}" -cp "$binding:$WORK/programs" Scenario)
fails "DETAILFLOW_LIBRARY names $WORK/none.so, which does not exist: set it to the path of libdetailflow.so" \
    env DETAILFLOW_LIBRARY="$WORK/none.so" "${scenario[@]}"
fails "which cannot be loaded: set DETAILFLOW_LIBRARY to its path" \
    env DETAILFLOW_LIBRARY="$WORK/layout.c" "${scenario[@]}"
fails "libdetailflow.so was not found beside $WORK or where JNA looks: set DETAILFLOW_LIBRARY to its path" \
    env -u DETAILFLOW_LIBRARY "${scenario[@]}"
echo 'unsigned detailflow_abi_version(void) { return 0; } const char *detailflow_version(void) { return "0.0.1"; }' |
    cc -shared -fPIC -x c - -o "$WORK/old.so"
fails "libdetailflow 0.0.1 has ABI version 0; this binding needs 1 or a later one" \
    env DETAILFLOW_LIBRARY="$WORK/old.so" "${scenario[@]}"
mkdir "$WORK/beside"
cp "$WORK/detailflow.jar" "$LIBRARIES/libdetailflow.so" "$WORK/beside"
env -u DETAILFLOW_LIBRARY ORT_DYLIB_PATH="$ROOT/target/runtime/libonnxruntime.so" \
    DETAILFLOW_BUNDLE="$ROOT/onnx/bundles/sprites" \
    "${java[@]}" -cp "$jna:$WORK/beside/detailflow.jar:$WORK/programs" Scenario >"$WORK/output.txt"
same_output "$WORK/output.txt"

# The commands and the program of the README.
bash -euc "$(sed '/^...java$/,/^...$/d' "$sources/README.md" | sed -n 's/^    //p' | grep -v '^apt-get ')" >"$WORK/output.txt"
same_output "$WORK/output.txt"
mkdir "$WORK/program"
sed -n '/^...java$/,/^...$/p' "$sources/README.md" | sed '1d;$d' >"$WORK/program/Program.java"
javac -cp "$binding" -d "$WORK/program" "$WORK/program/Program.java"
(cd "$WORK" && "${java[@]}" -cp "$binding:$WORK/program" Program)
[ -s "$WORK/potion.png" ]
