"""The ladder: which resolution a number of tokens reaches. The operations are in the order of the authors' code."""

from detailflow_onnx.numbers.sizes import TokenizerSizes

Row = dict[str, int]  # tokens, resolution, size: an entry of the manifest's `ladder.prefixes`


def resolution(tokens: int, *, size: int, count: int, power: float) -> int:
    """R(t): the resolution that the first `tokens` of `count` tokens were trained to show."""
    if count == 1:
        return size
    scale = (size - 1) / (count - 1) ** power
    return min(max(int(size - scale * (count - tokens) ** power), 1), size)


def prefixes(count: int, group: int, causal: int) -> list[int]:
    """Every number of tokens that decodes to a picture: 1..c, then multiples of g."""
    return list(range(1, causal + 1)) + list(range(causal + group, count + 1, group))


def table(*, size: int, patch: int, count: int, group: int, causal: int, power: float) -> list[Row]:
    """The manifest's `ladder.prefixes`."""
    rows = []
    for tokens in prefixes(count, group, causal):
        r = resolution(tokens, size=size, count=count, power=power)
        rows.append({"tokens": tokens, "resolution": r, "size": max(patch, -(-r // patch) * patch)})
    return rows


def table_of(numbers: TokenizerSizes) -> list[Row]:
    """The ladder of a model."""
    return table(
        size=numbers.size,
        patch=numbers.decoder.patch,
        count=numbers.count,
        group=numbers.group,
        causal=numbers.causal,
        power=numbers.power,
    )


def sizes(rows: list[Row]) -> list[int]:
    """The decode sizes of a ladder, ascending, without duplicates."""
    return sorted({row["size"] for row in rows})


def levels(rows: list[Row], causal: int) -> dict[int, int]:
    """{size: tokens} of the levels, ascending: the decode sizes at t >= c, each with its largest t."""
    return dict(sorted({row["size"]: row["tokens"] for row in rows if row["tokens"] >= causal}.items()))


def coarsest(numbers: TokenizerSizes) -> tuple[int, int]:
    """(decode size, tokens) of the coarsest level of a model."""
    return next(iter(levels(table_of(numbers), numbers.causal).items()))
