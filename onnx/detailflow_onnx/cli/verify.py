"""The command `verify`: compare a bundle with expected numbers."""

import argparse
import json
import sys
from pathlib import Path

from detailflow_onnx.cli.arguments import Commands


def add_commands(commands: Commands) -> None:
    """Add the command."""
    p = commands.add_parser("verify", help="compare a bundle with expected numbers")
    p.set_defaults(run=run)
    p.add_argument("bundle", metavar="BUNDLE", help="the bundle")
    p.add_argument("--expected", required=True, metavar="FILE.npz", help="the expected numbers")
    p.add_argument("--json", action="store_true", help="print the figures as JSON")


def run(options: argparse.Namespace) -> int:
    """The command."""
    from detailflow_onnx.bundle.single import opened
    from detailflow_onnx.bundle.verify import verify

    with opened(Path(options.bundle)) as folder:
        rows = verify(folder, Path(options.expected))
    failed = [row for row in rows if row["ok"] is False]
    if options.json:
        print(json.dumps({"ok": not failed, "figures": rows}, indent=1))
    else:
        print(f"{'precision':<11}{'form':<7}{'figure':<9}{'value':>12}{'tolerance':>11}")
        for row in rows:
            bound = "" if row["tolerance"] is None else f"{row['tolerance']:g}"
            mark = "  FAILED" if row["ok"] is False else ""
            head = f"{row['precision']:<11}{row['form']:<7}{row['figure']:<9}"
            print(f"{head}{row['value']:>12.6g}{bound:>11}{mark}")
    for row in failed:
        subject = f"{row['precision']} {row['form']}: {row['figure']} is {row['value']:.6g}"
        print(f"{subject}, beyond the tolerance {row['tolerance']:g}", file=sys.stderr)
    return 1 if failed else 0
