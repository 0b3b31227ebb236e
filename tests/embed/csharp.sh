#!/usr/bin/env bash
# C#: the binding, its tests and the scenario, built and run with Mono.
# packages: mono-mcs mono-runtime
. tests/embed/common.sh
needs mcs mono

sources=examples/csharp
# compile FILE ARGUMENT...
compile() { mcs -codepage:utf8 -optimize+ -warnaserror -warn:4 -out:"$WORK/$1" "${@:2}"; }

compile DetailFlow.dll -unsafe -target:library "$sources"/DetailFlow/*.cs
# For runtimes without Span.
compile plain.dll -unsafe -target:library -define:DETAILFLOW_NO_SPAN "$sources"/DetailFlow/*.cs
for program in Layout Exits; do
    compile "$program.exe" -r:"$WORK/DetailFlow.dll" "$sources/tests/$program.cs"
done
compile Tests.exe -unsafe -r:"$WORK/DetailFlow.dll" "$sources"/tests/{Tests,Pictures,Models,Submits,Check,Imports}.cs
compile Scenario.exe -r:"$WORK/DetailFlow.dll" "$sources/Scenario.cs"

# The structs have the layout of the header.
mono "$WORK/Layout.exe" source >"$WORK/layout.c"
cc -std=c99 -Wall -Wextra -Werror -Iinclude "$WORK/layout.c" -o "$WORK/layout"
"$WORK/layout" >"$WORK/layout-c.txt"
mono "$WORK/Layout.exe" >"$WORK/layout-cs.txt"
grep -q '^detailflow_image.pixels ' "$WORK/layout-cs.txt"
diff "$WORK/layout-c.txt" "$WORK/layout-cs.txt"

target/release/dflow bundle pack onnx/bundles/sprites "$WORK/bundle.dflow" >/dev/null
mono "$WORK/Tests.exe" "$WORK"

# Programs that end while work is going on end with 0; they do not hang.
for way in return exit disposed collected step wait poll exit-elsewhere late closed; do
    timeout 600 mono "$WORK/Exits.exe" "$way" >"$WORK/exit.txt" || {
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
fails "DETAILFLOW_LIBRARY names $WORK/none.so, which does not exist: set it to the path of libdetailflow.so" \
    env DETAILFLOW_LIBRARY="$WORK/none.so" mono "$WORK/Scenario.exe"
fails "which cannot be loaded: set DETAILFLOW_LIBRARY to its path" \
    env DETAILFLOW_LIBRARY="$WORK/layout.c" mono "$WORK/Scenario.exe"
fails "libdetailflow.so was not found beside $WORK/DetailFlow.dll or where the system looks: set DETAILFLOW_LIBRARY" \
    env -u DETAILFLOW_LIBRARY mono "$WORK/Scenario.exe"
echo 'unsigned detailflow_abi_version(void) { return 0; } const char *detailflow_version(void) { return "0.0.1"; }' |
    cc -shared -fPIC -x c - -o "$WORK/old.so"
fails "libdetailflow 0.0.1 has ABI version 0; this binding needs 1 or a later one" \
    env DETAILFLOW_LIBRARY="$WORK/old.so" mono "$WORK/Scenario.exe"
# One resolver, also after a failed load.
compile Resolver.exe -unsafe -define:NET5_0_OR_GREATER "$sources"/DetailFlow/*.cs "$sources"/tests/{Resolver,Check}.cs
mono "$WORK/Resolver.exe" "$WORK/layout.c" "$WORK/layout-c.txt"
# Where the system looks.
env -u DETAILFLOW_LIBRARY LD_LIBRARY_PATH="$LIBRARIES" mono "$WORK/Scenario.exe" >"$WORK/output.txt"
same_output "$WORK/output.txt"
# Beside the binding.
mkdir "$WORK/beside"
cp "$WORK/DetailFlow.dll" "$WORK/Scenario.exe" "$LIBRARIES/libdetailflow.so" "$WORK/beside"
env -u DETAILFLOW_LIBRARY ORT_DYLIB_PATH="$ROOT/target/runtime/libonnxruntime.so" \
    DETAILFLOW_BUNDLE="$ROOT/onnx/bundles/sprites" mono "$WORK/beside/Scenario.exe" >"$WORK/output.txt"
same_output "$WORK/output.txt"

# The commands and the program of the README.
bash -euc "$(sed '/^...csharp$/,/^...$/d' "$sources/README.md" | sed -n 's/^    //p' | grep -v '^apt-get ')" >"$WORK/output.txt"
same_output "$WORK/output.txt"
sed -n '/^...csharp$/,/^...$/p' "$sources/README.md" | sed '1d;$d' >"$WORK/Program.cs"
compile Program.exe -r:"$WORK/DetailFlow.dll" "$WORK/Program.cs"
(cd "$WORK" && mono Program.exe)
[ -s "$WORK/potion.png" ]
