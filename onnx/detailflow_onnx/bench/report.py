"""Names and tables of benchmark results."""

from typing import Any


def name_of(about: dict[str, Any]) -> str:
    """The name of a contestant."""
    words = [about[key] for key in ("implementation", "device", "precision", "form") if key in about]
    if "cache" in about:
        words += ["compiled"] * about["compiled"]
        words.append("KV cache" if about["cache"] == "kept" else "no cache")
    return " ".join(words)


def print_results(common: dict[str, Any], results: list[dict[str, Any]]) -> None:
    """Print a table of results."""
    print(", ".join(f"{key} {value}" for key, value in common.items()))
    width = max(len(name_of(entry)) for entry in results)
    print(f"{'':<{width}}{'batch':>7}{'threads':>9}{'ms per picture [least .. most]':>38}{'per second':>12}")
    for entry in results:
        text = f"{entry['ms_per_image']:.1f} [{entry['min_ms_per_image']:.1f} .. {entry['max_ms_per_image']:.1f}]"
        head = f"{name_of(entry):<{width}}{entry['batch']:>7}{entry['threads'] or 'all':>9}"
        print(f"{head}{text:>38}{entry['images_per_second']:>12.3f}")
