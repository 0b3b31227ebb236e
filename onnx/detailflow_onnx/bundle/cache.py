"""The KV cache of the graph `ar`, one class for each KV layout."""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import onnxruntime as ort


@dataclass(frozen=True)
class CacheSizes:
    """Sizes of the KV cache, from the manifest's `ar`."""

    layers: int
    heads: int
    kv_heads: int
    head_width: int


class State(Protocol):
    """Sequences under way: their KV cache and position."""

    def run(self, ids: np.ndarray) -> np.ndarray:
        """Run a step for ids [B, q] and return logits [B, q, V]."""


class InPlace:
    """Form `mha`: past and present of a layer are one buffer [B, H, N, D]."""

    def __init__(
        self, session: ort.InferenceSession, sizes: CacheSizes, count: int, batch: int, cache_type: Any
    ) -> None:
        self.session, self.sizes, self.count, self.batch = session, sizes, count, batch
        self.position = 0
        self.binding = session.io_binding()
        # An OrtValue uses the memory of its array, and the binding keeps neither alive.
        self.buffers: list[np.ndarray] = []
        self._values: list[ort.OrtValue] = []
        for i in range(sizes.layers):
            for kind in ("key", "value"):
                buffer = np.zeros(self.shape(), cache_type)
                value = ort.OrtValue.ortvalue_from_numpy(buffer)
                self.buffers.append(buffer)
                self._values.append(value)
                self.binding.bind_ortvalue_input(f"past_{kind}_{i}", value)
                self.binding.bind_ortvalue_output(f"present_{kind}_{i}", value)

    def shape(self) -> tuple[int, ...]:
        """The shape of one buffer."""
        return self.batch, self.sizes.heads, self.count, self.sizes.head_width

    def position_inputs(self, q: int) -> dict[str, np.ndarray]:
        """The inputs that say where the next q positions are."""
        return {"start": np.array([self.position])}

    def run(self, ids: np.ndarray) -> np.ndarray:
        """Run a step for ids [B, q] and return logits [B, q, V]."""
        q = ids.shape[1]
        inputs = {"ids": np.ascontiguousarray(ids), **self.position_inputs(q)}
        values = {name: ort.OrtValue.ortvalue_from_numpy(array) for name, array in inputs.items()}
        for name, value in values.items():
            self.binding.bind_ortvalue_input(name, value)
        self.binding.bind_output("logits")
        self.session.run_with_iobinding(self.binding)
        self.position += q
        logits: np.ndarray = self.binding.get_outputs()[-1].numpy()
        return logits


class Slots(InPlace):
    """Form `fixed`: in place, and a row of the buffer is one position of one head."""

    def shape(self) -> tuple[int, ...]:
        """The shape of one buffer."""
        return self.batch * self.sizes.kv_heads * self.count, self.sizes.head_width

    def position_inputs(self, q: int) -> dict[str, np.ndarray]:
        """Positions and cache slots of the next q positions."""
        positions = self.position + np.arange(q)
        heads = np.arange(self.batch * self.sizes.kv_heads)
        slots = (heads[:, None] * self.count + positions).reshape(-1, 1)
        return {"places": np.tile(positions, (self.batch, 1)), "slots": slots}


class Concatenated:
    """Form `plain`: each step returns a longer cache."""

    def __init__(
        self, session: ort.InferenceSession, sizes: CacheSizes, count: int, batch: int, cache_type: Any
    ) -> None:
        self.session, self.position = session, 0
        empty = np.zeros((batch, sizes.kv_heads, 0, sizes.head_width), cache_type)
        self.past = {f"past_{kind}_{i}": empty for i in range(sizes.layers) for kind in ("key", "value")}
        self.names = [o.name for o in session.get_outputs()]

    def run(self, ids: np.ndarray) -> np.ndarray:
        """Run a step for ids [B, q] and return logits [B, q, V]."""
        outputs = self.session.run(None, {"ids": ids, "start": np.array([self.position]), **self.past})
        out: dict[str, np.ndarray] = dict(zip(self.names, outputs))
        self.position += ids.shape[1]
        logits = out.pop("logits")
        self.past = {name.replace("present", "past"): value for name, value in out.items()}
        return logits


STATES: dict[str, type[InPlace] | type[Concatenated]] = {"mha": InPlace, "fixed": Slots, "plain": Concatenated}
