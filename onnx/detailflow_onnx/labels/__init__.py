"""Class names: those of a file, ImageNet's for 1000 classes, or "class 0", "class 1", ..."""

import unicodedata
from importlib import resources
from pathlib import Path

from detailflow_onnx.errors import Refused, need


def _text(path: Path) -> str:
    """The text of the file `path`, without the byte order mark that some editors put at its start."""
    need(path.is_file() or not path.exists(), f"{path}: not a regular file")
    data = path.read_bytes()
    need(not data.startswith((b"\xff\xfe", b"\xfe\xff")), f"{path}: the text is UTF-16; it must be UTF-8")
    return data.decode("utf-8-sig")


def _names(text: str, origin: str, count: int | None) -> tuple[str, ...]:
    names = tuple(line.strip() for line in text.splitlines())
    while names and not names[-1]:
        names = names[:-1]
    need(count in (None, len(names)), f"{origin}: {len(names)} labels, but the model has {count} classes")
    lines: dict[str, int] = {}
    for line, name in enumerate(names, 1):
        need(name, f"{origin}: line {line} is empty")
        control = next((c for c in name if unicodedata.category(c) == "Cc"), None)
        need(control is None, f"{origin}: the label {name!r} in line {line} has a control character; none is allowed")
        need(name not in lines, f"{origin}: the label {name!r} occurs twice, in lines {lines.get(name)} and {line}")
        lines[name] = line
    return names


def class_names(path: str | Path | None, count: int | None) -> tuple[str, ...]:
    """`count` unique names, from the file `path` (one per line) if given. `count` None accepts any number of names."""
    if path:
        try:
            return _names(_text(Path(path)), str(path), count)
        except (OSError, UnicodeDecodeError) as error:
            raise Refused(f"{path}: {getattr(error, 'strerror', None) or 'not UTF-8 text'}") from None
    if count is None:
        return ()
    need(count >= 1, f"num_classes is {count}; at least 1 is needed")
    if count == 1000:
        text = resources.files(__package__).joinpath("imagenet.txt").read_text(encoding="utf-8")
        return _names(text, "imagenet.txt", count)
    return tuple(f"class {i}" for i in range(count))
