"""Prints a C program that declares what a detailflow.json says, after detailflow.h, and prints sizes and offsets.

SPDX-License-Identifier: MIT OR Apache-2.0
"""

import json
import sys
from pathlib import Path

api = json.loads(Path(sys.argv[1]).read_text())
structs = {struct["name"] for struct in api["structs"]}


def parameters(entry):
    return ", ".join(f"{one['type']} {one['name']}" for one in entry["parameters"]) or "void"


print("#include <detailflow.h>\n#include <stdio.h>")
for function in api["functions"]:
    print(f"{function['returns']['type']} {function['name']}({parameters(function)});")
for callback in api["callbacks"]:
    print(f"typedef {callback['returns']['type']} again_{callback['name']}({parameters(callback)});")
    print(f'_Static_assert(_Generic(({callback["name"]})0, again_{callback["name"]} *: 1), "{callback["name"]}");')
for handle in api["handles"]:
    print(f"void {handle['free']}({handle['name']} *);")
for struct in api["structs"]:
    print(f"struct again_{struct['name']} {{")
    for field in struct["fields"]:
        array = f"[{field['array']}]" if "array" in field else ""
        print(f"    {field['type']} {field['name']}{array};")
    print("};")
    print(f'_Static_assert(sizeof(struct again_{struct["name"]}) == sizeof({struct["name"]}), "{struct["name"]}");')
    for field in struct["fields"]:
        name, where = field["name"], f"{struct['name']}.{field['name']}"
        again = f"((struct again_{struct['name']} *)0)->{name}"
        print(f'_Static_assert(_Generic(&(({struct["name"]} *)0)->{name}, __typeof__(&{again}): 1), "{where}");')
for constant in api["constants"] + [value for enum in api["enums"] for value in enum["values"]]:
    print(f'_Static_assert({constant["name"]} == {constant["value"]}u, "{constant["name"]}");')
print("int main(void)\n{")
for name in sorted(structs):
    print(f'    printf("{name} %zu\\n", sizeof({name}));')
print("    return 0;\n}")
