"""Run the graphs of a bundle in ONNX Runtime on the CPU, with the KV cache in place where the form allows it."""

import os
from pathlib import Path
from typing import Any

import numpy as np

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
import onnxruntime as ort

from detailflow_onnx.bundle import cache
from detailflow_onnx.bundle.manifest import Manifest
from detailflow_onnx.errors import Refused, brief
from detailflow_onnx.numbers.sizes import TokenSequence

RUNTIME: str = ort.__version__
CACHE_TYPES = {"fp32": np.float32, "fp16": np.float16}  # of the KV cache, by a variant's `keys`


def session(path: Path, threads: int | None = None) -> ort.InferenceSession:
    """Load a graph."""
    options = ort.SessionOptions()
    options.log_severity_level = 3
    if threads:
        options.intra_op_num_threads = threads
    try:
        return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the exceptions of ONNX Runtime have no common base class
        raise Refused(
            f"{path}: ONNX Runtime cannot load the graph ({brief(str(error).partition(chr(10))[0])})"
        ) from None


def runs_here(variant: dict[str, Any]) -> bool:
    """Whether the installed ONNX Runtime can run a variant. The operators of `native` are in the library only."""
    if variant["form"] == "native":
        return False
    have, need = (tuple(map(int, v.split(".")[:2])) for v in (RUNTIME, variant["min_runtime"]))
    return have >= need


def to_floats(images: np.ndarray) -> np.ndarray:
    """uint8 [B, H, W, C] -> float [B, C, H, W] in -1..1, premultiplied if C is 4."""
    x = images.astype(np.float32) / 255
    if x.shape[-1] == 4:
        x = np.concatenate([x[..., :3] * x[..., 3:], x[..., 3:]], -1)
    return np.ascontiguousarray(((x - 0.5) / 0.5).transpose(0, 3, 1, 2))


class Bundle:
    """One variant of a bundle. `content` is the manifest, `variant` one entry of its `variants`."""

    def __init__(self, folder: Path, content: Manifest, variant: dict[str, Any], *, threads: int | None = None) -> None:
        self.folder, self.content, self.variant, self.threads = folder, content, variant, threads
        tokens = content["tokens"]
        self.codes: int = tokens["codes"]
        self.sequence = TokenSequence(tokens["count"], tokens["group"], tokens["causal"])
        self.cache_type = CACHE_TYPES[variant.get("keys", "fp32")]
        self._sessions: dict[str, ort.InferenceSession] = {}

    def path(self, name: str) -> Path:
        """The file of a graph. `draw` is shared by all variants."""
        file: str = self.content[name] if name == "draw" else self.variant[name]
        return self.folder / file

    def graph(self, name: str) -> ort.InferenceSession:
        """A graph, loaded on first use."""
        if name not in self._sessions:
            self._sessions[name] = session(self.path(name), self.threads)
        return self._sessions[name]

    def close(self) -> None:
        """Release the graphs and their memory. They are loaded again when needed."""
        self._sessions.clear()

    def decode(self, tokens: np.ndarray, size: int) -> np.ndarray:
        """Tokens [B, t] -> float pixels [B, C, size, size]."""
        feeds = {"ids": tokens.astype(np.int64), "size": np.array([size])}
        pixels: np.ndarray = self.graph("decoder").run(["pixels"], feeds)[0]
        return pixels

    def encode(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Float images [B, C, S, S] -> (latents, ids)."""
        latents, ids = self.graph("encoder").run(["latents", "ids"], {"image": images})
        return latents, ids

    def class_ids(self, classes: list[int]) -> np.ndarray:
        """Embedding rows of classes; -1 is "no class"."""
        ids = self.content["ids"]
        return np.array([ids["no_class"] if c < 0 else ids["class"] + c for c in classes], np.int64)

    def start(self, batch: int) -> cache.State:
        """An empty KV cache for `batch` sequences."""
        sizes = cache.CacheSizes(**{k: self.content["ar"][k] for k in ("layers", "heads", "kv_heads", "head_width")})
        kind = cache.STATES.get(self.variant["form"], cache.Concatenated)
        return kind(self.graph("ar"), sizes, self.sequence.count, batch, self.cache_type)

    def step_ids(self, classes: list[int], sampled: np.ndarray, step: int) -> np.ndarray:
        """The input ids of step number `step` when `sampled` [B, n] were sampled before it."""
        if step == 0:
            return self.class_ids(classes)[:, None]
        q = self.sequence.steps[step]
        if step < self.sequence.causal:
            return sampled[:, -1:]
        if step > self.sequence.causal:
            return sampled[:, -q:]
        special = self.content["ids"]["special"] + np.arange(self.sequence.group - 1)
        return np.concatenate([sampled[:, -1:], np.repeat(special[None], len(sampled), 0)], 1)

    def logits(self, classes: list[int], tokens: np.ndarray, steps: int | None = None) -> np.ndarray:
        """Logits [B, N, V] with teacher forcing: each step sees the `tokens` before it."""
        state, done, out = self.start(len(classes)), 0, []
        for step, q in list(enumerate(self.sequence.steps))[:steps]:
            out.append(state.run(self.step_ids(classes, tokens[:, :done].astype(np.int64), step)))
            done += q
        return np.concatenate(out, 1)

    def greedy(self, classes: list[int], scale: float, gradual: bool) -> np.ndarray:
        """Generate greedily with guidance. Returns tokens [B, N]."""
        b, groups = len(classes), self.sequence.count // self.sequence.group
        both = [*classes, *[-1] * b]
        state, sampled = self.start(2 * b), np.zeros((2 * b, 0), np.int64)
        for step in range(len(self.sequence.steps)):
            logits = state.run(self.step_ids(both, sampled, step))
            done, s = sampled.shape[1], scale
            if gradual and done >= self.sequence.causal:
                s = scale * (groups - done // self.sequence.group + 1) / (groups + 1)
            cond, uncond = logits[:b], logits[b:]
            best = (uncond + (cond - uncond) * np.float32(s)).argmax(-1)
            sampled = np.concatenate([sampled, np.tile(best, (2, 1))], 1)
        return sampled[:b]
