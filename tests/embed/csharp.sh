#!/usr/bin/env bash
# C#: the binding, its tests and the scenario, built and run with Mono.
# packages: mono-mcs mono-runtime
. tests/embed/common.sh
needs mcs mono

sources=examples/csharp
mcs -unsafe -warnaserror -warn:4 -target:library -out:"$WORK/DetailFlow.dll" "$sources"/DetailFlow/*.cs
mcs -warnaserror -warn:4 -r:"$WORK/DetailFlow.dll" -out:"$WORK/scenario.exe" "$sources/Scenario.cs"
mono "$WORK/scenario.exe" >"$WORK/output.txt"
same_output "$WORK/output.txt"
