"""The one exception of this package: a sentence for the person who called."""

import sys


class Refused(Exception):
    """What was asked cannot be done. The message is one sentence that names the subject."""


def need(condition, sentence):
    """Refuse with `sentence` unless `condition` holds."""
    if not condition:
        raise Refused(sentence)


_told = []


def stop(*_):
    """For a signal: remember it, and leave. An exception that comes while Python finalises an object is swallowed, so the
    writer asks again with `stop_if_told`."""
    _told.append(True)
    sys.exit(1)


def stop_if_told():
    if _told:
        sys.exit(1)
