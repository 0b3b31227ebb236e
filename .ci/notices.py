"""Prints the licences of the Rust crates in a build, each text once; takes the output of `cargo metadata`."""

import json
import re
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


def licence_texts(package: dict) -> list[str]:
    """What the licence files of a crate say."""
    folder = Path(package["manifest_path"]).parent
    return [
        file.read_text(encoding="utf-8", errors="replace").strip()
        for file in sorted(folder.iterdir())
        if file.name.upper().startswith(("LICEN", "COPYING", "NOTICE")) and file.is_file()
    ]


def source(package: dict) -> tuple[str, str]:
    """The repository of a crate, without the folder in it, and the licence."""
    return re.split(r"/tree/|/blob/|/$", package["repository"] or "")[0], package["license"]


def main() -> None:
    """Reads the metadata and prints the notices."""
    metadata = json.load(sys.stdin)
    packages = [package for package in linked_packages(metadata) if package["id"] != metadata["resolve"]["root"]]
    found = {package["id"]: licence_texts(package) for package in packages}
    # Of the crates of one repository under one licence, some leave its text to the others.
    shared: dict[tuple[str, str], list[str]] = {}
    for package in packages:
        if package["repository"] and found[package["id"]]:
            shared.setdefault(source(package), found[package["id"]])
    texts: dict[str, list[str]] = {}
    without = []
    for package in packages:
        name = f"{package['name']} {package['version']} ({package['license']})"
        of_crate = found[package["id"]] or shared.get(source(package), [])
        for text in of_crate:
            texts.setdefault(text, []).append(name)
        if not of_crate:
            authors = ", ".join(re.sub(r" *<.*>", "", author) for author in package["authors"])
            without.append(", ".join(filter(None, [name, authors, package["repository"]])))

    print("The library and dflow contain these Rust crates, and the Rust standard library (MIT OR Apache-2.0).")
    if without:
        print("\nCrates that come without the text; LICENSE-MIT and LICENSE-APACHE have that of these licences:")
        print("  " + "\n  ".join(without))
    for text, names in texts.items():
        print("\n" + "-" * 80 + "\n" + "\n".join(names) + "\n" + "-" * 80 + "\n\n" + text)


if __name__ == "__main__":
    main()
