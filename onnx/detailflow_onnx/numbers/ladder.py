"""The ladder: how many tokens buy which resolution. Pure arithmetic, in the operation order of the authors' code."""


def resolution(tokens, *, size, count, power):
    """R(t): the resolution that the first `tokens` of `count` tokens were trained to show."""
    if count == 1:
        return size
    scale = (size - 1) / (count - 1) ** power
    return min(max(int(size - scale * (count - tokens) ** power), 1), size)


def prefixes(count, group, causal):
    """Every number of tokens that is a whole image: 1..c, then multiples of g."""
    return list(range(1, causal + 1)) + list(range(causal + group, count + 1, group))


def table(*, size, patch, count, group, causal, power):
    """The manifest's `ladder.prefixes`."""
    rows = []
    for tokens in prefixes(count, group, causal):
        r = resolution(tokens, size=size, count=count, power=power)
        rows.append({"tokens": tokens, "resolution": r, "size": max(patch, -(-r // patch) * patch)})
    return rows


def sizes(rows):
    """The decode sizes of a ladder table, ascending, each once."""
    return sorted({row["size"] for row in rows})
