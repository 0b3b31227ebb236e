# SPDX-License-Identifier: MIT OR Apache-2.0
"""DetailFlow image generation: class to tokens, coarse to fine; every prefix decodes to a picture.

    import detailflow

    with detailflow.Model() as model, model.request("potion", seed=7).generate() as generation:
        generation.save("potion.png")

The words are those of detailflow.h.
"""

from ._errors import (
    Busy,
    Cancelled,
    Closed,
    Error,
    InvalidArgument,
    NoDevice,
    NoRuntime,
    NotFound,
    OutOfMemory,
    WrongState,
)
from ._files import (
    Pack,
    PackWriter,
    bundle_pack,
    devices,
    dft_info,
    dft_tokens,
    image_encode,
    image_save,
    tokens_kind,
)
from ._generation import Generation, Levels
from ._library import abi_version, find_runtime, init_runtime, library_path, version
from ._model import Cancel, Model
from ._request import Request
from ._types import (
    Cost,
    Damage,
    Device,
    DeviceKind,
    DftInfo,
    EventKind,
    FileFormat,
    Format,
    Level,
    ModelInfo,
    Progress,
    Spinning,
    Status,
    SubmitFlag,
    TickReport,
    TokensKind,
    WorkerOrder,
)
from ._worker import Event, Events, Worker

__version__ = version
__all__ = [
    "Busy",
    "Cancel",
    "Cancelled",
    "Closed",
    "Cost",
    "Damage",
    "Device",
    "DeviceKind",
    "DftInfo",
    "Error",
    "Event",
    "EventKind",
    "Events",
    "FileFormat",
    "Format",
    "Generation",
    "InvalidArgument",
    "Level",
    "Levels",
    "Model",
    "ModelInfo",
    "NoDevice",
    "NoRuntime",
    "NotFound",
    "OutOfMemory",
    "Pack",
    "PackWriter",
    "Progress",
    "Request",
    "Spinning",
    "Status",
    "SubmitFlag",
    "TickReport",
    "TokensKind",
    "Worker",
    "WorkerOrder",
    "WrongState",
    "abi_version",
    "bundle_pack",
    "devices",
    "dft_info",
    "dft_tokens",
    "find_runtime",
    "image_encode",
    "image_save",
    "init_runtime",
    "library_path",
    "tokens_kind",
    "version",
]
