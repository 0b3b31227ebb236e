#!/usr/bin/env bash
# Java: the binding, its tests and the scenario.
# packages: openjdk-17-jdk-headless libjna-java
. tests/embed/common.sh
needs javac java
jna=/usr/share/java/jna.jar
[ -e "$jna" ] || skip "$jna missing: tests/embed/setup.sh, or apt-get install $(packages_of "$0")"

sources=examples/java
javac --release 11 -Xlint:all -Werror -cp "$jna" -d "$WORK/classes" "$sources"/src/detailflow/*.java
jar --create --file "$WORK/detailflow.jar" -C "$WORK/classes" .
binding=$jna:$WORK/detailflow.jar
javac --release 11 -Xlint:all -Werror -cp "$binding" -d "$WORK/programs" "$sources/Scenario.java"
java -cp "$binding:$WORK/programs" Scenario >"$WORK/output.txt"
same_output "$WORK/output.txt"
