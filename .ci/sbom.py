"""Prints a bill of materials in CycloneDX 1.5 (JSON) of what a package contains; takes the output of `cargo metadata`.

    cargo metadata ... | python3 .ci/sbom.py --runtime FILE --runtime-list onnx/runtime.txt --bundle FOLDER

The parts are the library with its Rust crates and the Rust standard library, ONNX Runtime and the model. The same parts
give the same bytes: there is no time in it, and its serial number is made from the rest.
"""

import argparse
import hashlib
import json
import re
import subprocess
import sys
import uuid
from pathlib import Path
from urllib.parse import quote

from notices import linked_packages

ROOT = Path(__file__).resolve().parent.parent


def sha256(path: Path) -> list[dict[str, str]]:
    """The hashes of a file."""
    return [{"alg": "SHA-256", "content": hashlib.sha256(path.read_bytes()).hexdigest()}]


def licence(expression: str) -> list[dict[str, str]]:
    """The licences of a crate."""
    # Some crates write "MIT/Apache-2.0".
    return [{"expression": re.sub(r"\s*/\s*", " OR ", expression)}]


def crates(metadata: dict) -> tuple[dict, list[dict], list[dict]]:
    """The library, its crates, and what each depends on."""
    lock = (ROOT / "Cargo.lock").read_text(encoding="utf-8")
    entry = r'^name = "(.+)"\nversion = "(.+)"\nsource = ".+"\nchecksum = "(.+)"$'
    checksums = {(name, version): checksum for name, version, checksum in re.findall(entry, lock, re.MULTILINE)}
    packages = linked_packages(metadata)
    names = {package["id"]: f"pkg:cargo/{quote(package['name'])}@{quote(package['version'])}" for package in packages}
    components = []
    for package in packages:
        component = {
            "type": "library",
            "bom-ref": names[package["id"]],
            "name": package["name"],
            "version": package["version"],
            "purl": names[package["id"]],
        }
        if package["license"]:
            component["licenses"] = licence(package["license"])
        checksum = checksums.get((package["name"], package["version"]))
        if checksum:
            component["hashes"] = [{"alg": "SHA-256", "content": checksum}]
        if package["repository"]:
            component["externalReferences"] = [{"type": "vcs", "url": package["repository"]}]
        components.append(component)
    depends = [
        {"ref": names[node["id"]], "dependsOn": sorted(names[of] for of in node["dependencies"] if of in names)}
        for node in metadata["resolve"]["nodes"]
        if node["id"] in names
    ]
    root = next(component for component in components if component["name"] == "detailflow")
    # No registry has it.
    root.pop("purl")
    return root, [component for component in components if component is not root], depends


def rust() -> dict:
    """The standard library of the Rust in PATH."""
    version = subprocess.run(["rustc", "--version"], check=True, capture_output=True, text=True).stdout.split()[1]
    return {
        "type": "library",
        "bom-ref": f"rust-std@{version}",
        "name": "Rust standard library",
        "version": version,
        "licenses": licence("MIT OR Apache-2.0"),
    }


def runtime(file: Path, wanted: Path) -> dict:
    """ONNX Runtime, as the list pins it."""
    name, version = re.search(r"^([\w-]+)==([\w.]+)", wanted.read_text(encoding="utf-8"), re.MULTILINE).groups()
    return {
        "type": "library",
        "bom-ref": f"pkg:pypi/{name}@{version}",
        "name": "ONNX Runtime",
        "version": version,
        "purl": f"pkg:pypi/{name}@{version}",
        "description": f"{file.name}, out of the package {name}",
        "licenses": [{"license": {"id": "MIT"}}],
        "hashes": sha256(file),
    }


def bundle(folder: Path) -> dict:
    """A model, with its files."""
    manifest = json.loads((folder / "detailflow.json").read_text(encoding="utf-8"))
    name = manifest["name"]
    return {
        "type": "machine-learning-model",
        "bom-ref": f"bundle:{name}",
        "name": name,
        "description": "The default model",
        "licenses": [{"license": {"id": manifest["license"]}}],
        "components": [
            {"type": "file", "bom-ref": f"bundle:{name}/{file.name}", "name": file.name, "hashes": sha256(file)}
            for file in sorted(folder.iterdir())
        ],
    }


def main() -> None:
    """Reads the metadata and prints the bill of materials."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--runtime", type=Path, required=True)
    parser.add_argument("--runtime-list", type=Path, required=True)
    parser.add_argument("--bundle", type=Path, required=True)
    args = parser.parse_args()
    root, components, depends = crates(json.load(sys.stdin))
    others = [rust(), runtime(args.runtime, args.runtime_list), bundle(args.bundle)]
    of_root = next(one for one in depends if one["ref"] == root["bom-ref"])
    of_root["dependsOn"] = sorted([*of_root["dependsOn"], *(other["bom-ref"] for other in others)])
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": root},
        "components": [*components, *others],
        "dependencies": depends + [{"ref": other["bom-ref"], "dependsOn": []} for other in others],
    }
    document["serialNumber"] = f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(document, sort_keys=True))}"
    json.dump(document, sys.stdout, indent=2)
    print()


if __name__ == "__main__":
    main()
