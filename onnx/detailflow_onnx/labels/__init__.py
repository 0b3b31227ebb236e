"""Class names: the published models' ImageNet names, a file of the caller's, or "class 0", "class 1", ..."""

from importlib import resources
from pathlib import Path

from detailflow_onnx.errors import Refused, need


def _lines(text, origin, count):
    names = tuple(line.strip() for line in text.splitlines())
    while names and not names[-1]:
        names = names[:-1]
    need(count in (None, len(names)), f"{origin}: {len(names)} labels, and the model has {count} classes")
    seen = {}
    for line, name in enumerate(names, 1):
        need(name, f"{origin}: line {line} is empty")
        need(name not in seen, f"{origin}: the label {name!r} is there twice, in lines {seen.get(name)} and {line}")
        seen[name] = line
    return names


def class_names(path, count):
    """`count` unique names, from the file `path` (one a line) where given. With a count of None, as many as the file has."""
    if path:
        try:
            return _lines(Path(path).read_text(encoding="utf-8"), path, count)
        except (OSError, UnicodeDecodeError) as error:
            raise Refused(f"{path}: {getattr(error, 'strerror', None) or 'not UTF-8 text'}") from None
    if count is None:
        return ()
    need(count >= 1, f"num_classes is {count}; a model needs a class")
    if count == 1000:
        return _lines(resources.files(__package__).joinpath("imagenet.txt").read_text(encoding="utf-8"), "imagenet.txt", count)
    return tuple(f"class {i}" for i in range(count))
