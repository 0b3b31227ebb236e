"""The command line.

Exit status: 0 success; 1 refused, stopped or beyond a tolerance (one sentence on standard error); 2 wrong usage.
`arguments` has the argument types; the other modules add and run their commands and import the rest of the package only
then, so that PyTorch and ONNX Runtime are loaded only where they are needed.
"""

import argparse
import signal
import sys
import threading
from collections.abc import Sequence

from detailflow_onnx import __version__
from detailflow_onnx.cli import bench, checkpoint, export, train, verify
from detailflow_onnx.errors import Refused, exit_on_signal, printable


def parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    top = argparse.ArgumentParser(prog="detailflow_onnx", description="Make, measure and train DetailFlow bundles.")
    top.add_argument("--version", action="version", version=__version__)
    commands = top.add_subparsers(dest="command", required=True)
    for module in (export, checkpoint, verify, bench, train):
        module.add_commands(commands)
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return the exit status."""
    command_line = parser()
    options = command_line.parse_args(arguments)
    if options.command == "export":
        export.check_usage(command_line, options)
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, exit_on_signal)  # so that partially written folders are removed
    try:
        status: int = options.run(options)
        return status
    except Refused as error:
        print(printable(f"detailflow_onnx: {error}"), file=sys.stderr)
    except OSError as error:
        print(printable(f"detailflow_onnx: {error.filename or ''}: {error.strerror or error}"), file=sys.stderr)
    except (KeyboardInterrupt, BrokenPipeError):
        print("detailflow_onnx: interrupted", file=sys.stderr)
    return 1
