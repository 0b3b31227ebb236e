"""Entry point of `python -m detailflow_onnx`."""

import sys

from detailflow_onnx.cli import main

sys.exit(main())
