"""The one exception of this package: a sentence for the person who called."""


class Refused(Exception):
    """What was asked cannot be done. The message is one sentence that names the subject."""


def need(condition, sentence):
    """Refuse with `sentence` unless `condition` holds."""
    if not condition:
        raise Refused(sentence)
