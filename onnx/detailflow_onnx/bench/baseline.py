"""DetailFlow in PyTorch, to compare speeds with: eager or compiled, on the CPU or on CUDA.

The modules are those of `train.models`. `cache="none"` computes as the paper describes it: every step runs the whole
sequence so far, masked, and uses the logits of its last positions; for a picture of 128 tokens these are 1,116
positions. `cache="kept"` keeps a KV cache and runs only what is new, 128 positions in as many steps.

Settings favour PyTorch: the output layer runs only for positions whose logits are used; in bf16 the weights of linear
layers are converted once, to what autocast would convert them to at each use; attention is
`scaled_dot_product_attention`. (`--attention matmul`: matmuls and a softmax; one layer of GPT-L took 0.99 to 1.14 times
as long in fp32 and bf16, with and without a KV cache, on one thread at batch 1.)

Guidance doubles the batch. A token is sampled by softmax and `multinomial`. The decoder runs once at the end.
"""

import argparse
import contextlib
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from detailflow_onnx.bench.rounds import Contestant, Times
from detailflow_onnx.checkpoint.model import Model
from detailflow_onnx.errors import Refused, need
from detailflow_onnx.numbers.sizes import ArSizes

try:
    import torch
except ImportError as error:
    raise Refused(f"the baseline needs PyTorch: pip install './onnx[baseline]' ({error})") from None

from detailflow_onnx.train.models import tokenizer, transformer
from detailflow_onnx.train.models.attention import LayerCache, attend_fused, attend_matmul

PRECISIONS = ("fp32", "bf16")
CACHES = ("none", "kept")
ATTENTION = {"sdpa": attend_fused, "matmul": attend_matmul}

Parts = tuple[transformer.Transformer, tokenizer.Tokenizer]


def load_parts(model: Model, precision: str, device: str, attention: str) -> Parts:
    """The AR model and the decoding part of the tokenizer, ready for inference."""
    ar, weights = model.autoregressive
    numbers = ArSizes(
        count=model.count,
        group=model.group,
        causal=model.causal,
        codes=model.codes,
        classes=len(model.classes),
        ar=ar,
    )
    autoregressive, decoder = transformer.Transformer(numbers), tokenizer.Tokenizer(model, decode_only=True)
    tokenizer.load(autoregressive, weights)
    tokenizer.load(decoder, model.tokenizer)
    for part in (autoregressive, decoder):
        part.set_attention(ATTENTION[attention])
        if precision == "bf16":
            for module in part.modules():
                if isinstance(module, torch.nn.Linear):
                    module.to(torch.bfloat16)
    return autoregressive.eval().to(device), decoder.eval().to(device)


def compile_without_limits() -> None:
    """Make PyTorch compile every program, and fail instead of falling back to eager.

    By default it falls back, with only a warning, after a few programs of one function; each precision, batch size and
    length counts as one.
    """
    config: Any = torch._dynamo.config
    limits = {"recompile_limit": 1024, "cache_size_limit": 1024, "accumulated_recompile_limit": 4096}
    for name, value in {**limits, "fail_on_recompile_limit_hit": True}.items():
        if hasattr(config, name):  # names differ between versions
            setattr(config, name, value)


class Baseline:
    """One model in one precision on one device.

    `times` are those of the last call of `generate`: `ar_ms`, `decode_ms`, `steps_ms`, `ms`.
    """

    def __init__(
        self,
        model: Model,
        precision: str = "fp32",
        cache: str = "kept",
        device: str = "cpu",
        compiled: bool = False,
        attention: str = "sdpa",
        parts: Parts | None = None,
    ) -> None:
        need(cache in CACHES and precision in PRECISIONS, f"{precision} {cache}: no such baseline")
        self.model, self.precision, self.cache, self.compiled = model, precision, cache, compiled
        self.device = torch.device(device)
        self.dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        # Baselines that differ only in their cache share the weights.
        self.parts = parts or load_parts(model, precision, device, attention)
        self.ar, self.decoder = self.parts
        self.run: Callable[..., torch.Tensor] = self.ar.run
        self.step: Callable[..., torch.Tensor] = self.ar.step
        self._pixels: Callable[..., torch.Tensor] = self._decode
        if compiled:
            compile_without_limits()
            # The prefix grows from step to step: dynamic shapes give one program instead of one per length.
            self.run = torch.compile(self.ar.run, dynamic=True)
            self.step = torch.compile(self.ar.step, dynamic=False)
            self._pixels = torch.compile(self._decode, dynamic=False)
        self.times: Times = {}

    def _decode(self, ids: torch.Tensor, size: int) -> torch.Tensor:
        return self.decoder.pixels(self.decoder.quantize.rows()[ids], size).float()

    def _context(self) -> contextlib.ExitStack:
        stack = contextlib.ExitStack()
        stack.enter_context(torch.inference_mode())
        if self.precision == "bf16":
            stack.enter_context(torch.autocast(self.device.type, torch.bfloat16))
        return stack

    def _now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    def _classes(self, classes: Sequence[int], guided: bool) -> torch.Tensor:
        """Class indices [B]; -1 is "no class". If guided, the unconditional half follows."""
        none = len(self.model.classes)
        rows = [none if c < 0 else c for c in classes] + [none] * (len(classes) if guided else 0)
        return torch.tensor(rows, device=self.device)

    def _new_cache(self, rows: int) -> list[LayerCache] | None:
        return self.ar.new_cache(rows, self.dtype) if self.cache == "kept" else None

    def _step(
        self, classes: torch.Tensor, tokens: torch.Tensor, q: int, cache: list[LayerCache] | None
    ) -> torch.Tensor:
        """Logits [B, q, V] of the step that follows `tokens` [B, n]."""
        x = self.ar.inputs(classes, tokens)
        if cache is None:
            return self.run(x, q).float()
        start = x.shape[1] - q
        if not self.compiled:
            return self.step(x[:, start:], start, cache).float()
        # A copy: a slice keeps the strides of the whole, which a compiler takes for another shape.
        new = x[:, start:].clone(memory_format=torch.contiguous_format)
        return self.step(new, torch.arange(start, start + q, device=self.device), cache).float()

    def logits(self, classes: Sequence[int], tokens: np.ndarray) -> np.ndarray:
        """Logits [B, N, V] with teacher forcing; class -1 is "no class"."""
        rows, given = self._classes(classes, False), torch.as_tensor(tokens, device=self.device)
        done, out = 0, []
        with self._context():
            cache = self._new_cache(len(given))
            for q in self.model.steps:
                out.append(self._step(rows, given[:, :done], q, cache))
                done += q
        logits: np.ndarray = torch.cat(out, 1).cpu().numpy()
        return logits

    def decode(self, tokens: np.ndarray, size: int) -> np.ndarray:
        """[B, t] -> float pixels [B, C, size, size]."""
        with self._context():
            pixels: np.ndarray = self._pixels(torch.as_tensor(tokens, device=self.device), size).cpu().numpy()
        return pixels

    def generate(
        self, classes: Sequence[int], guidance: float, generator: torch.Generator | None, greedy: bool = False
    ) -> tuple[np.ndarray, np.ndarray]:
        """Pictures of `classes`: (tokens [B, N], 8-bit pixels [B, size, size, C])."""
        begun = self._now()
        guided, b = guidance != 1, len(classes)
        rows = self._classes(classes, guided)
        tokens = torch.zeros(len(rows), 0, dtype=torch.long, device=self.device)
        steps_ms = []
        with self._context():
            cache = self._new_cache(len(rows))
            for q in self.model.steps:
                before = self._now()
                logits = self._step(rows, tokens, q, cache)
                if guided:
                    cond, uncond = logits[:b], logits[b:]
                    logits = uncond + (cond - uncond) * guidance
                if greedy:
                    sampled = logits.argmax(-1)
                else:
                    p = logits.softmax(-1).flatten(0, 1)
                    sampled = torch.multinomial(p, 1, generator=generator).view(b, q)
                tokens = torch.cat([tokens, sampled.repeat(2, 1) if guided else sampled], 1)
                steps_ms.append(1e3 * (self._now() - before))
            decoding = self._now()
            pixels = self._pixels(tokens[:b].contiguous(), self.model.size)
            image = (127.5 * pixels + 128).clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
        ended = self._now()
        self.times = {
            "ar_ms": 1e3 * (decoding - begun),
            "decode_ms": 1e3 * (ended - decoding),
            "steps_ms": steps_ms,
            "ms": 1e3 * (ended - begun),
        }
        return tokens[:b].cpu().numpy(), image


def _baselines(model: Model, options: argparse.Namespace) -> dict[tuple[str, str], Baseline]:
    """{(precision, cache): Baseline}, with one set of weights for each precision."""
    out: dict[tuple[str, str], Baseline] = {}
    if options.device == "cuda":
        need(torch.cuda.is_available(), "--device cuda: PyTorch finds no CUDA device")
    for precision in options.precision:
        parts = None
        for cache in options.cache:
            made = Baseline(model, precision, cache, options.device, options.compile, options.attention, parts)
            out[precision, cache], parts = made, made.parts
    return out


def bf16_instructions() -> str | None:
    """The bf16 instructions of the CPU; None if unknown. Without AMX, bf16 can be slower than fp32."""
    try:
        flags = set(Path("/proc/cpuinfo").read_text().split())
    except OSError:
        return None
    return " ".join(flag for flag in ("amx_bf16", "avx512_bf16", "bf16") if flag in flags) or "none"


def contestants(model: Model, options: argparse.Namespace) -> tuple[dict[str, Any], list[Contestant]]:
    """(what all results share, the contestants): every batch size, precision and cache."""
    if options.threads:
        torch.set_num_threads(options.threads)
    made = _baselines(model, options)
    generator = torch.Generator(device=options.device).manual_seed(options.seed)

    def one(baseline: Baseline, batch: int) -> Callable[[], Times]:
        classes = [k % len(model.classes) for k in range(batch)]

        def generate() -> Times:
            try:
                baseline.generate(classes, options.guidance, generator)
            except (RuntimeError, ImportError) as error:  # no memory, or no compiler
                subject = f"baseline {baseline.precision}, cache {baseline.cache}, batch {batch}"
                raise Refused(f"{subject}: {str(error).splitlines()[0]}") from None
            return baseline.times

        return generate

    out: list[Contestant] = []
    for batch in options.batch:
        for (precision, cache), baseline in made.items():
            about = {
                "implementation": "torch",
                "device": options.device,
                "precision": precision,
                "cache": cache,
                "compiled": options.compile,
                "attention": options.attention,
                "threads": torch.get_num_threads(),
                "batch": batch,
                "guidance": options.guidance,
            }
            out.append((about, one(baseline, batch)))
    common: dict[str, Any] = {"torch": torch.__version__, "model": model.name}
    if options.device == "cpu":
        common["bf16 instructions"] = bf16_instructions()
    else:
        common["card"] = torch.cuda.get_device_name()
    return common, out
