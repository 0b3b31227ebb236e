# SPDX-License-Identifier: MIT OR Apache-2.0
"""Compares Doxygen's XML with the headers: everything that they declare must be there, with a description.

python3 pages.py XML INCLUDE
"""

import re
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

xml, include = Path(sys.argv[1]), Path(sys.argv[2])


def described(node):
    return any("".join(node.find(name).itertext()).strip() for name in ("briefdescription", "detaileddescription"))


shown, bare = set(), []
for path in sorted(xml.glob("*.xml")):
    for compound in ElementTree.parse(path).getroot().findall("compounddef"):
        name = compound.findtext("compoundname")
        if compound.get("kind") in ("class", "struct", "file"):
            shown.add(name.removeprefix("detailflow::"))
            if not described(compound):
                bare.append(name)
        for member in [*compound.iter("memberdef"), *compound.iter("enumvalue")]:
            shown.add(member.findtext("name"))
            if member.get("prot") != "private" and not described(member):
                bare.append(f"{name}: {member.findtext('name')}")

c = (include / "detailflow.h").read_text(encoding="utf-8")
cpp = (include / "detailflow.hpp").read_text(encoding="utf-8")
cpp = re.sub(r"/// @cond.*?/// @endcond", "", cpp, flags=re.DOTALL)
declared = {
    "functions": set(re.findall(r"DETAILFLOW_CALL (detailflow_\w+)\(", c)),
    "structs": set(re.findall(r"^typedef struct (detailflow_\w+)", c, re.MULTILINE)),
    "constants": set(re.findall(r"^    (DETAILFLOW_\w+) = ", c, re.MULTILINE)),
    "classes": set(
        re.findall(
            r"^(?:class|struct)(?: \[\[nodiscard\]\])? (\w+)(?: final)? (?:: public [^{]*)?\{", cpp, re.MULTILINE
        )
    ),
}
for kind, names in declared.items():
    assert len(names) > 15, f"only {len(names)} {kind} in the headers"
    missing = sorted(names - shown)
    assert not missing, f"{kind} that Doxygen does not show: {', '.join(missing)}"
assert not bare, "without a description: " + ", ".join(sorted(set(bare)))
print(", ".join(f"{len(names)} {kind}" for kind, names in declared.items()))
