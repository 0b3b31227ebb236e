"""Class names: those of a file, ImageNet's for 1000 classes, or "class 0", "class 1", ..."""

from importlib import resources
from pathlib import Path

from detailflow_onnx.errors import need, shown
from detailflow_onnx.files import check_name, read_text

MOST = 1 << 20  # classes of a model


def lines(text: str, origin: str) -> list[str]:
    """The lines of a list of names, stripped. Control characters are refused."""
    out = [line.strip(" \t\r") for line in text.split("\n")]
    for number, line in enumerate(out, 1):
        check_name(line, f"{origin}: line {number}, the label")
    return [line.strip() for line in out]


def _names(text: str, origin: str, count: int | None) -> tuple[str, ...]:
    names = tuple(lines(text, origin))
    while names and not names[-1]:
        names = names[:-1]
    need(count in (None, len(names)), f"{origin}: {len(names)} labels, but the model has {count} classes")
    known: dict[str, int] = {}
    for line, name in enumerate(names, 1):
        need(name, f"{origin}: line {line} is empty")
        need(
            name not in known, f"{origin}: the label {shown(name)} occurs twice, in lines {known.get(name)} and {line}"
        )
        known[name] = line
    return names


def class_names(path: str | Path | None, count: int | None) -> tuple[str, ...]:
    """`count` unique names, from the file `path` (one per line) if given. `count` None accepts any number of names."""
    if path:
        return _names(read_text(path), str(path), count)
    if count is None:
        return ()
    need(1 <= count <= MOST, f"num_classes is {count}; 1 to {MOST} are allowed")
    if count == 1000:
        text = resources.files(__package__).joinpath("imagenet.txt").read_text(encoding="utf-8")
        return _names(text, "imagenet.txt", count)
    return tuple(f"class {i}" for i in range(count))
