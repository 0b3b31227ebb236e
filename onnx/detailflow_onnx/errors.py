"""The exception for requests that cannot be fulfilled, and the reaction to SIGTERM."""

import sys


class Refused(Exception):
    """The request cannot be fulfilled. The message is one sentence that names the subject."""


def need(condition: object, sentence: str) -> None:
    """Raise `Refused(sentence)` unless `condition` is true."""
    if not condition:
        raise Refused(sentence)


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
