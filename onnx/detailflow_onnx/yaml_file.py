"""Read a YAML file within bounds: no anchors, aliases, tags or merge keys, no key twice, little nesting.

The events of the parser are checked before values are built from them: an alias costs a few bytes and can stand for
gigabytes, and the builder calls itself for each level of nesting.
"""

from typing import Any

import yaml

from detailflow_onnx.errors import Refused, brief, need, shown
from detailflow_onnx.files import decoded

MAX_BYTES = 1 << 16
MAX_DEPTH = 8
MAX_NUMBER = 1000  # characters of a number


def _check_event(event: yaml.Event, place: str) -> None:
    """Refuse anchors, aliases and tags."""
    need(not isinstance(event, yaml.AliasEvent), f"{place}: an alias (*); write the value where it is used")
    need(getattr(event, "anchor", None) is None, f"{place}: an anchor (&); write the value where it is used")
    tag = getattr(event, "tag", None)
    quoted = isinstance(event, yaml.ScalarEvent) and tag == "!"
    need(tag is None or quoted, f"{place}: the tag {shown(tag)}; values have no tags here")


def _check_events(text: str, origin: str) -> None:
    depth = documents = 0
    for event in yaml.parse(text, yaml.SafeLoader):
        mark = event.start_mark
        place = f"{origin}: line {mark.line + 1 if mark else 0}"
        _check_event(event, place)
        if isinstance(event, yaml.DocumentStartEvent):
            documents += 1
            need(documents == 1, f"{place}: a second document; one is read")
        elif isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            need(depth <= MAX_DEPTH, f"{place}: nested more than {MAX_DEPTH} deep")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


class _Loader(yaml.SafeLoader):
    """Refuses keys that are not text or occur twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        out: dict[Any, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            scalar = isinstance(key_node, yaml.ScalarNode)
            need(scalar and key_node.tag == "tag:yaml.org,2002:str", f"line {line}: a key that is not text")
            key = key_node.value
            need(key not in out, f"line {line}: the key {shown(key)} for the second time")
            out[key] = self.construct_object(value_node, deep=True)
        return out

    def construct_scalar(self, node: Any) -> Any:
        number = node.tag.endswith((":int", ":float"))
        need(not number or len(node.value) <= MAX_NUMBER, f"line {node.start_mark.line + 1}: a number that is too long")
        return super().construct_scalar(node)


def parse(data: bytes, origin: str) -> tuple[str, Any]:
    """(the text, its value)."""
    need(len(data) <= MAX_BYTES, f"{origin}: the file is larger than {MAX_BYTES} bytes, the most that is read")
    text = decoded(data, origin)
    try:
        _check_events(text, origin)
        return text, yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        raise Refused(f"{origin}: not YAML ({brief(str(error).splitlines()[0])})") from None
    except Refused as error:
        sentence = str(error)
        raise Refused(sentence if sentence.startswith(origin) else f"{origin}: {sentence}") from None
    except (ValueError, OverflowError) as error:  # of dates and numbers
        raise Refused(f"{origin}: not YAML ({brief(error)})") from None
