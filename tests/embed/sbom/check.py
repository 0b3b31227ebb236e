# SPDX-License-Identifier: MIT OR Apache-2.0
"""Checks a bill of materials against what it describes: CycloneDX 1.5 in shape, and true of the files of a folder.

python3 check.py SBOM FOLDER [CRATES]

The hashes of ONNX Runtime and of the model's files must be those of files in FOLDER. CRATES, such as RUST_CRATES.txt,
must have the licence of every crate.
"""

import hashlib
import json
import re
import sys
from pathlib import Path

sbom = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
folder = Path(sys.argv[2])

assert (sbom["bomFormat"], sbom["specVersion"], sbom["version"]) == ("CycloneDX", "1.5", 1)
uuid = r"urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
assert re.fullmatch(uuid, sbom["serialNumber"]), sbom["serialNumber"]
allowed = {"type", "bom-ref", "name", "version", "purl", "description", "licenses", "hashes"}
allowed |= {"components", "externalReferences"}
root = sbom["metadata"]["component"]
parts = [root, *sbom["components"]]
inner = [part for component in parts for part in component.get("components", [])]
for part in [*parts, *inner]:
    assert part["type"] in ("library", "file", "machine-learning-model"), part
    assert part["name"] and set(part) <= allowed, part
    assert isinstance(part.get("version", ""), str), part
    for one in part.get("hashes", []):
        assert one["alg"] == "SHA-256" and re.fullmatch("[0-9a-f]{64}", one["content"]), part
for part in parts:
    [licence] = part["licenses"]
    assert licence.get("expression") or licence["license"]["id"], part
references = [part["bom-ref"] for part in [*parts, *inner]]
assert len(references) == len(set(references)), "a bom-ref is there twice"
named = {one["ref"] for one in sbom["dependencies"]}
assert named == {part["bom-ref"] for part in parts}, named
for one in sbom["dependencies"]:
    assert set(one["dependsOn"]) <= named, one

# It is true: files and their hashes, and every crate that is linked.
files = {hashlib.sha256(path.read_bytes()).hexdigest(): path for path in folder.rglob("*") if path.is_file()}
[runtime] = [part for part in parts if part["name"] == "ONNX Runtime"]
[model] = [part for part in parts if part["type"] == "machine-learning-model"]
for part in [runtime, *model["components"]]:
    assert part["hashes"][0]["content"] in files, f"{part['name']} is not in {folder}"
assert len(model["components"]) > 10
crates = [part for part in sbom["components"] if part.get("purl", "").startswith("pkg:cargo/")]
assert len(crates) > 30 and all("hashes" in crate for crate in crates), crates
assert {crate["name"] for crate in crates} >= {"ort", "image", "serde_json", "sha2", "clap"}
if len(sys.argv) > 3:
    text = Path(sys.argv[3]).read_text(encoding="utf-8")
    for crate in crates:
        named = rf"^ *{re.escape(crate['name'])} {re.escape(crate['version'])} \("
        assert re.search(named, text, re.MULTILINE), f"no licence of {crate['name']}"
print(f"sbom: {len(crates)} crates, {runtime['name']} {runtime['version']}, {model['name']}")
