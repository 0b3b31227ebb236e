"""`python -m detailflow_onnx`."""

import sys

from .cli import main

sys.exit(main())
