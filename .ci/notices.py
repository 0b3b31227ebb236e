"""Prints the licences of the Rust crates in a build, each text once; takes the output of `cargo metadata`."""

import json
import sys
from pathlib import Path


def linked_packages(metadata: dict) -> list[dict]:
    """The package itself and what is linked: dependencies that are neither for tests nor for build scripts.

    Procedural macros and what they need are named too, which does no harm.
    """
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    linked, waiting = set(), [metadata["resolve"]["root"]]
    while waiting:
        crate = waiting.pop()
        if crate not in linked:
            linked.add(crate)
            waiting += [
                dep["pkg"] for dep in nodes[crate]["deps"] if any(kind["kind"] is None for kind in dep["dep_kinds"])
            ]
    packages = [package for package in metadata["packages"] if package["id"] in linked]
    return sorted(packages, key=lambda package: (package["name"], package["version"]))


def main() -> None:
    """Reads the metadata and prints the notices."""
    metadata = json.load(sys.stdin)
    texts: dict[str, list[str]] = {}
    without = []
    for package in linked_packages(metadata):
        if package["id"] == metadata["resolve"]["root"]:
            continue
        name = f"{package['name']} {package['version']} ({package['license']})"
        folder = Path(package["manifest_path"]).parent
        files = [
            file for file in sorted(folder.iterdir()) if file.name.upper().startswith(("LICEN", "COPYING", "NOTICE"))
        ]
        for file in files:
            if file.is_file():
                texts.setdefault(file.read_text(encoding="utf-8", errors="replace").strip(), []).append(name)
        if not files:
            without.append(name)

    print("The library and dflow contain these Rust crates, and the Rust standard library (MIT OR Apache-2.0).")
    if without:
        print("\nCrates without a licence file of their own:\n  " + "\n  ".join(without))
    for text, names in texts.items():
        print("\n" + "-" * 80 + "\n" + "\n".join(names) + "\n" + "-" * 80 + "\n\n" + text)


if __name__ == "__main__":
    main()
