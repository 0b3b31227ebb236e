"""Looks for the phrases of tests/words.txt in what we publish.

That is the documentation, the headers, and the doc comments, error messages and help texts of src. Part of `make lint`;
prints FILE:LINE: PHRASE and exits with 1 when it finds any.
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# Files of each of these must exist, so that the check cannot pass on nothing; those of the others may.
NEEDED = [
    "README.md",
    "CHANGELOG.md",
    "include/detailflow.h",
    "include/detailflow.hpp",
    "onnx/*.md",
    "onnx/bundles/*/*.md",
    "src/lib.rs",
    "src/*/*.rs",
    "src/bin/dflow/*.rs",
]
ALSO = [
    "*.md",
    "include/**/*.md",
    "onnx/**/*.md",
    "examples/**/*.md",
    "src/**/*.md",
    "src/**/*.rs",
    "examples/*/*.c",
    "examples/*/*.cpp",
    "examples/*/*.hpp",
    "examples/*/**/*.py",
    "examples/*/**/*.cs",
    "examples/*/**/*.java",
    "examples/*/**/*.lua",
    "examples/*/**/*.js",
    "examples/*/**/*.ts",
    "examples/*/**/*.go",
    "examples/*/**/*.rs",
]

RUST = re.compile(
    r"""(?P<doc>//[/!][^\n]*)
    |(?P<comment>//[^\n]*|/\*.*?\*/)
    |b?r(?P<hashes>\#*)"(?P<raw>.*?)"(?P=hashes)
    |b?"(?P<text>(?:\\.|[^"\\])*)"
    |b?'(?:\\.[^']*|[^'\\])'
    |\w+|'\w+""",
    re.VERBOSE | re.DOTALL,
)
MARKER = re.compile(r"^[ \t]*(?://[/!]?|/?\*+/?|>|#+)?", re.MULTILINE)


def is_test(lines):
    """The line from which on a Rust file holds its unit tests."""
    for number, line in enumerate(lines, 1):
        if (
            re.match(r"#\[cfg\((all\()?test\b", line)
            and number < len(lines)
            and re.match(r"(pub(\(crate\))? )?mod \w+ \{", lines[number])
        ):
            return number
    return len(lines) + 1


def pieces(path, text):
    """(first line, text): each stretch of prose, comment markers and escapes blanked so that lines stay in place."""
    if path.suffix != ".rs":
        yield 1, MARKER.sub("", text)
        return
    end = is_test(text.split("\n"))
    docs, last = [], 0
    for match in RUST.finditer(text):
        line = text.count("\n", 0, match.start()) + 1
        if line >= end:
            break
        if match["doc"] is not None:
            if docs and line != last + 1:
                yield last - len(docs) + 1, "\n".join(docs)
                docs = []
            docs.append(match["doc"][3:])
            last = line
        else:
            said = match["text"] if match["text"] is not None else match["raw"]
            if said is not None:
                yield line, re.sub(r"\\\n", " \n", said).replace("\\n", "  ").replace('\\"', '"')
    if docs:
        yield last - len(docs) + 1, "\n".join(docs)


def search(path, text, pattern):
    """(line, phrase) of each that a text holds."""
    for first, piece in pieces(path, text):
        for match in pattern.finditer(piece):
            yield first + piece.count("\n", 0, match.start()), " ".join(match[0].split()).lower()


def compile_phrases(text):
    """How many phrases a list holds, and a pattern that finds them."""
    phrases = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    for phrase in phrases:
        if len(phrase.split()) < 2:
            sys.exit(f"tests/words.txt: `{phrase}` is one word: give a phrase that is wrong in every sense")
    # Longer ones first, so that the longest is named.
    ordered = sorted(set(phrases), key=len, reverse=True)
    return len(ordered), re.compile(
        r"\b(?:" + "|".join(r"\s+".join(map(re.escape, phrase.split())) for phrase in ordered) + r")\b", re.IGNORECASE
    )


def self_test():
    """Each place where a phrase may stand is looked at, and code and inner comments are not."""
    _, pattern = compile_phrases("to and fro")
    found = {
        "a.md": "\nto\nand fro\n",
        "a.h": "/*\n * It goes to\n * and fro.\n */",
        "b.rs": "fn f() {}\n/// It goes to\n/// and fro.\nfn g() {}",
        "c.rs": "fn f<'a>() -> char { '\"' }\nfn g() { fail(\"to \\\n    and fro\") }",
        "d.rs": '\nconst A: &str = r#"to and fro"#;',
    }
    for name, text in found.items():
        assert [line for line, _ in search(Path(name), text, pattern)] == [2], name
    for text in ["// to and fro", "fn to() { and.fro }", '#[cfg(test)]\nmod tests {\n    "to and fro";\n}']:
        assert not list(search(Path("e.rs"), text, pattern)), text


def main():
    """Searches all files; every kind that should be there must be."""
    self_test()
    files = set()
    for glob in NEEDED:
        matches = list(ROOT.glob(glob))
        if not matches:
            sys.exit(f"words: nothing matches {glob}: it has moved, and this list must follow")
        files.update(matches)
    for glob in ALSO:
        files.update(ROOT.glob(glob))
    count, pattern = compile_phrases((ROOT / "tests/words.txt").read_text())
    if count < 50:
        sys.exit(f"tests/words.txt holds {count} phrases only")
    total = 0
    for path in sorted(files):
        for line, phrase in search(path, path.read_text(), pattern):
            print(f"{path.relative_to(ROOT)}:{line}: {phrase}")
            total += 1
    if total:
        sys.exit(f"words: {total} phrases of tests/words.txt in {len(files)} files")
    print(f"words: none of {count} phrases in {len(files)} files")


main()
