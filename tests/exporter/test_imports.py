"""The packages of detailflow_onnx import each other in one direction, and modules form no cycles."""

import ast
from pathlib import Path

import detailflow_onnx

HOME = Path(detailflow_onnx.__file__).parent
# Lowest first; a package imports only those before it. `detailflow_onnx` itself holds the version.
ORDER = [
    "errors",
    "files",
    "yaml_file",
    "output",
    "numbers",
    "labels",
    "checkpoint",
    "graphs",
    "bundle",
    "train",
    "bench",
    "cli",
    "__main__",
]
FORBIDDEN = {("train", "graphs"), ("train", "bundle")}


def imports() -> dict[str, set[str]]:
    """{module: modules of the package that it imports}, both below `detailflow_onnx`."""
    modules = {}
    for path in HOME.rglob("*.py"):
        name = path.relative_to(HOME).with_suffix("").as_posix().replace("/", ".").removesuffix(".__init__")
        modules[name] = path
    out = {}
    for name, path in modules.items():
        found = set()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("detailflow_onnx"):
                base = (node.module or "").removeprefix("detailflow_onnx").removeprefix(".")
                for alias in node.names:
                    full = f"{base}.{alias.name}".removeprefix(".")
                    found.add(full if full in modules else base)
        out[name] = found - {"", "__init__"}
    return out


def test_packages_import_in_the_documented_order():
    for name, found in imports().items():
        top = name.split(".")[0]
        for other in (module.split(".")[0] for module in found):
            if top in ("__init__", other):
                continue
            assert ORDER.index(other) < ORDER.index(top), (name, other)
            assert (top, other) not in FORBIDDEN, (name, other)


def test_modules_form_no_cycles():
    graph, done, path = imports(), set(), []

    def visit(name):
        assert name not in path, [*path, name]
        if name in done:
            return
        path.append(name)
        for other in graph.get(name, ()):
            visit(other)
        path.pop()
        done.add(name)

    for name in graph:
        visit(name)
