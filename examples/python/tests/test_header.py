# SPDX-License-Identifier: MIT OR Apache-2.0
"""Declarations of the package against detailflow.h. DETAILFLOW_CHECKOUT names the checkout."""

import ctypes
import enum
import os
import re
import subprocess
import tempfile
import unittest
from pathlib import Path

from detailflow import _library, _signatures, _structs, _types

INCLUDE = Path(os.environ.get("DETAILFLOW_CHECKOUT", Path(__file__).parents[3])) / "include"
HEADER = (INCLUDE / "detailflow.h").read_text("utf-8")
# What a parameter of C is in _signatures; other types are pointers.
TYPES = {
    "const char *": _signatures.S,
    "uint32_t": _signatures.U32,
    "uint64_t": _signatures.U64,
    "size_t": _signatures.SIZE,
    "float": _signatures.F32,
}
# As outputs of one value; as arrays they are P.
OUTPUTS = {
    "const char **": _signatures.TO_S,
    "uint32_t *": _signatures.TO_U32,
    "uint64_t *": _signatures.TO_U64,
    "size_t *": _signatures.TO_SIZE,
    "float *": _signatures.TO_F32,
}


def parameters(name):
    """The types of the parameters of a function in the header."""
    found = re.search(rf"DETAILFLOW_CALL detailflow_{name}\(([^)]*)\);", HEADER)
    assert found, f"detailflow_{name} is not in the header"
    text = re.sub(r"\s+", " ", found[1])
    return [re.sub(r"\w+$", "", parameter.strip()).strip() for parameter in text.split(",")]


class Declarations(unittest.TestCase):
    def test_every_function_has_the_parameters_of_the_header(self):
        for name, declared in [*_signatures.CALLS.items(), *((name, (_signatures.P,)) for name in _signatures.FREES)]:
            types = parameters(name)
            self.assertEqual(len(types), len(declared), name)
            for kind, mine in zip(types, declared, strict=True):
                if kind.startswith("detailflow_") and kind.endswith(" **"):
                    self.assertIs(mine, _signatures.PP, (name, kind))
                elif kind in OUTPUTS:
                    self.assertIn(mine, (OUTPUTS[kind], _signatures.P), (name, kind))
                else:
                    self.assertIs(mine, TYPES.get(kind, _signatures.P), (name, kind))

    def test_every_constant_has_the_number_of_the_header(self):
        families = [kind for kind in vars(_types).values() if isinstance(kind, enum.EnumMeta)]
        families = [kind for kind in families if kind.__module__ == _types.__name__]
        self.assertGreater(len(families), 8)
        for family in families:
            prefix = "DETAILFLOW_" + re.sub(r"(?<!^)(?=[A-Z])", "_", family.__name__).upper()
            header = dict(re.findall(rf"^    {prefix}_(\w+) = (\d+),", HEADER, re.MULTILINE))
            mine = {name: str(member.value) for name, member in family.__members__.items()}
            self.assertEqual(mine, header, family)

    def test_abi_version_is_that_of_the_header(self):
        self.assertIn(f"#define DETAILFLOW_ABI_VERSION {_library.ABI_VERSION}\n", HEADER)

    def test_every_struct_has_the_layout_of_a_c_compiler(self):
        structs = [kind for kind in vars(_structs).values() if isinstance(kind, type) and kind.__name__ != "Struct"]
        structs = [kind for kind in structs if issubclass(kind, _structs.Struct)]
        lines, mine = [], []
        for struct in structs:
            name = "detailflow" + re.sub(r"(?=[A-Z])", "_", struct.__name__).lower()
            lines.append(f'printf("{name} %zu\\n", sizeof({name}));')
            mine.append(f"{name} {ctypes.sizeof(struct)}")
            for field, *_ in struct._fields_:
                lines.append(f'printf("{name}.{field} %zu\\n", offsetof({name}, {field}));')
                mine.append(f"{name}.{field} {getattr(struct, field).offset}")
        program = "#include <detailflow.h>\n#include <stdio.h>\nint main(void) {" + "\n".join(lines) + "}"
        with tempfile.TemporaryDirectory() as folder:
            source, binary = Path(folder, "layout.c"), Path(folder, "layout")
            source.write_text(program)
            subprocess.run(["cc", f"-I{INCLUDE}", str(source), "-o", str(binary)], check=True)
            self.assertEqual(subprocess.check_output([str(binary)], text=True).split("\n")[:-1], mine)


if __name__ == "__main__":
    unittest.main()
