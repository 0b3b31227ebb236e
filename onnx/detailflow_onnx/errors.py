"""The exception for requests that cannot be fulfilled, and the reaction to SIGTERM."""

import sys

SHOWN = 80  # characters of untrusted text in a message


class Refused(Exception):
    """The request cannot be fulfilled. The message is one sentence that names the subject."""


def need(condition: object, sentence: str) -> None:
    """Raise `Refused(sentence)` unless `condition` is true."""
    if not condition:
        raise Refused(sentence)


def shown(value: object) -> str:
    """An untrusted value for a message, as Python writes it: text cut to `SHOWN` characters, containers by their type.

    The cost does not depend on what a container holds.
    """
    if isinstance(value, str):
        return repr(str(value)[:SHOWN]) + ("..." if len(value) > SHOWN else "")
    if value is None or isinstance(value, (bool, float)):
        return repr(value)
    if isinstance(value, int) and value.bit_length() <= 256:
        return repr(int(value))
    return f"of type {type(value).__name__}"


def printable(text: str) -> str:
    """The text with control and other unprintable characters escaped, for a terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def brief(error: object) -> str:
    """The message of another package's exception, printable and at most 200 characters long."""
    text = str(error)
    return printable(text[:200]) + ("..." if len(text) > 200 else "")


_signals: list[bool] = []


def exit_on_signal(*_: object) -> None:
    """Signal handler: exit with status 1.

    Python swallows an exception raised while an object is finalized, so the signal is also recorded for
    `exit_if_signalled`.
    """
    _signals.append(True)
    sys.exit(1)


def exit_if_signalled() -> None:
    """Exit with status 1 if a signal arrived earlier."""
    if _signals:
        sys.exit(1)
