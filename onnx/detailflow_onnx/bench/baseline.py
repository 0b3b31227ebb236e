"""DetailFlow in PyTorch, to compare speeds with: eager or compiled, on the CPU or on CUDA.

`cache="none"` computes as the paper describes it: every step feeds the whole sequence so far, masked so that nobody sees a
later block, and takes the logits of its last positions. Of a picture of 128 tokens these are 1,116 positions.
`cache="kept"` keeps keys and values and feeds what is new, in as many steps.

Otherwise it is kind to PyTorch: the output layer sees only the positions whose logits are wanted; with bf16 the weights of
products are converted once, to what autocast would convert them to at each use; attention is
`scaled_dot_product_attention`: by products and a softmax (`--attention matmul`) one layer of GPT-L took 0.99 to 1.14 times
as long in fp32 and bf16, with keys kept and without (one thread, batch 1, in turns).

Guidance doubles the batch; a token is drawn by softmax and `multinomial`; the decoder runs once at the end.
"""

import contextlib
import math
import time
from pathlib import Path

import numpy as np

from detailflow_onnx.numbers import schedule
from detailflow_onnx.errors import Refused, need
from detailflow_onnx.numbers.resize import positions

try:
    import torch
    from torch.nn import functional
except ImportError as error:
    raise Refused(f"the baseline needs PyTorch: pip install './onnx[baseline]' ({error})") from None

PRECISIONS = ("fp32", "bf16")
CACHES = ("none", "kept")


def attention(q, k, v, mask=None):
    """[B, heads, L, width] each; `mask[i, j]`: i sees j."""
    return functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)


def attention_by_products(q, k, v, mask=None):
    scores = q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf"))
    return scores.softmax(-1).to(v.dtype) @ v


ATTENTION = {"sdpa": attention, "matmul": attention_by_products}


class Products(torch.nn.Module):
    """Tensors by name. Those of products are in `dtype`, all others in float32."""

    def __init__(self, dtype):
        super().__init__()
        self.dtype = dtype

    def take(self, name, value):
        self.register_buffer(name, torch.from_numpy(np.ascontiguousarray(value)), persistent=False)

    def take_product(self, name, weight, bias=None):
        self.register_buffer(name, torch.from_numpy(np.ascontiguousarray(weight)).to(self.dtype), persistent=False)
        if bias is not None:
            self.register_buffer(name + "_bias", torch.from_numpy(bias).to(self.dtype), persistent=False)

    def product(self, x, name):
        return functional.linear(x, getattr(self, name), getattr(self, name + "_bias", None))


class Ar(Products):
    """The autoregressive model. Row `codes + c` of its table is class c, then "no class", then the special tokens."""

    def __init__(self, model, dtype, attend):
        super().__init__(dtype)
        self.numbers, self.attend = model.ar, attend
        read = model.ar_weights.read
        table = [read("tok_embeddings.weight"), read("cls_embedding.embedding_table.weight")]
        if model.group > 1:
            table.append(read("spe_tok_embeddings.special_embeddings.weight"))
        self.take("table", np.concatenate(table))
        for i in range(model.ar.depth):
            for name in ("attention_norm", "ffn_norm"):
                self.take(f"{name}_{i}", read(f"layers.{i}.{name}.weight"))
            for name in ("attention.wqkv", "attention.wo", "feed_forward.w1", "feed_forward.w2", "feed_forward.w3"):
                self.take_product(f"{name.split('.')[1]}_{i}", read(f"layers.{i}.{name}.weight"))
        self.take("norm", read("norm.weight"))
        self.take_product("output", read("output.weight"))
        self.take("turns", np.stack(schedule.rotary(model), -1))
        self.take("seen", schedule.seen(model))

    def rms(self, x, weight):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.numbers.eps) * weight

    def split(self, x, heads):
        return x.unflatten(-1, (heads, -1)).transpose(1, 2)

    def turned(self, x, turns):
        """Rotary embedding of interleaved pairs; `turns` [L, pairs, 2] holds cosines and sines."""
        a, b = x.float().unflatten(-1, (-1, 2)).unbind(-1)
        cos, sin = turns.unbind(-1)
        return torch.stack([a * cos - b * sin, a * sin + b * cos], -1).flatten(-2).to(x.dtype)

    def layer(self, x, i, turns, mask, keep):
        """`keep(i, k, v)` gives the keys and values to look at."""
        ar = self.numbers
        kept = ar.kv_heads * ar.head_width
        q, k, v = self.product(self.rms(x, getattr(self, f"attention_norm_{i}")), f"wqkv_{i}").split([ar.width, kept, kept], -1)
        q, k, v = self.turned(self.split(q, ar.heads), turns), self.turned(self.split(k, ar.kv_heads), turns), self.split(v, ar.kv_heads)
        k, v = keep(i, k, v)
        if ar.kv_heads != ar.heads:
            k, v = (y.repeat_interleave(ar.heads // ar.kv_heads, 1) for y in (k, v))
        x = x + self.product(self.attend(q, k, v, mask).transpose(1, 2).flatten(2), f"wo_{i}")
        h = self.rms(x, getattr(self, f"ffn_norm_{i}"))
        return x + self.product(functional.silu(self.product(h, f"w1_{i}")) * self.product(h, f"w3_{i}"), f"w2_{i}")

    def finish(self, x, wanted):
        return self.product(self.rms(x[:, -wanted:], self.norm), "output").float()

    def whole(self, ids, wanted):
        """Logits of the last `wanted` positions; all of `ids` [B, L] is fed, from position 0 on."""
        length = ids.shape[1]
        x, turns, mask = self.table[ids], self.turns[:length], self.seen[:length, :length]
        for i in range(self.numbers.depth):
            x = self.layer(x, i, turns, mask, lambda i, k, v: (k, v))
        return self.finish(x, wanted)

    def onward(self, ids, start, kept):
        """Logits of `ids` [B, q] fed at position `start`; `kept` [depth, 2, B, kv heads, N, width] is written to."""
        end = start + ids.shape[1]

        def keep(i, k, v):
            kept[i, 0, :, :, start:end] = k
            kept[i, 1, :, :, start:end] = v
            return kept[i, 0, :, :, :end], kept[i, 1, :, :, :end]

        x, turns = self.table[ids], self.turns[start:end]
        for i in range(self.numbers.depth):
            x = self.layer(x, i, turns, None, keep)
        return self.finish(x, ids.shape[1])

    def onward_static(self, ids, places, kept):
        """The same for a compiler: shapes do not change from step to step. `places` [q] are the positions; all N are
        looked at, and those that are not there yet masked."""

        def keep(i, k, v):
            kept[i, 0].index_copy_(2, places, k)
            kept[i, 1].index_copy_(2, places, v)
            return kept[i, 0], kept[i, 1]

        x, turns, mask = self.table[ids], self.turns[places], self.seen[places]
        for i in range(self.numbers.depth):
            x = self.layer(x, i, turns, mask, keep)
        return self.finish(x, ids.shape[1])


class Decoder(Products):
    """Tokens to pixels."""

    def __init__(self, model, dtype, attend):
        super().__init__(dtype)
        self.side, self.channels, self.attend = model.decoder, model.channels, attend
        read, root = model.tokenizer.read, "decoder."
        book = read("quantize.embedding.weight")
        if model.l2_norm:
            book = book / np.maximum(np.linalg.norm(book, axis=-1, keepdims=True), 1e-12)
        self.take("book", book)
        self.take_product("post", read("post_quant_conv.weight"), read("post_quant_conv.bias"))
        self.take("latents", read(root + "latent_pos_embed"))
        self.mask, self.table = read(root + "mask_token"), read(root + "visual_model.embeddings.position_embedding.weight")
        for i in range(self.side.depth):
            p = f"{root}visual_model.encoder.layers.{i}."
            for name in ("layer_norm1", "layer_norm2"):
                self.take(f"{name}_{i}", read(f"{p}{name}.weight"))
                self.take(f"{name}_bias_{i}", read(f"{p}{name}.bias"))
            qkv = [[read(f"{p}self_attn.{n}_proj.{part}") for n in "qkv"] for part in ("weight", "bias")]
            self.take_product(f"qkv_{i}", *(np.concatenate(parts) for parts in qkv))
            for name in ("self_attn.out_proj", "mlp.fc1", "mlp.fc2"):
                self.take_product(f"{name.split('.')[1]}_{i}", read(f"{p}{name}.weight"), read(f"{p}{name}.bias"))
        for part in ("weight", "bias"):
            self.take(f"norm_{part}", read(f"{root}visual_model.post_layernorm.{part}"))
        self.take_product("pixel", read(root + "to_pixel.model.weight"), read(root + "to_pixel.model.bias"))

    def patches(self, size):
        """What stands in the patches' places [1, n*n, width]; depends on the size alone."""
        return torch.from_numpy(self.mask + positions(self.table, size // self.side.patch)[None]).to(self.latents.device)

    def forward(self, tokens, patches):
        """[B, t] -> pixels [B, C, size, size], about -1..1."""
        side, (b, t) = self.side, tokens.shape
        n, p = math.isqrt(patches.shape[1]), side.patch
        x = torch.cat([patches.expand(b, -1, -1), self.product(self.book[tokens], "post") + self.latents[:, :t]], 1)
        for i in range(side.depth):
            h = functional.layer_norm(x, x.shape[-1:], getattr(self, f"layer_norm1_{i}"), getattr(self, f"layer_norm1_bias_{i}"), side.eps)
            q, k, v = self.product(h, f"qkv_{i}").unflatten(-1, (3, side.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
            x = x + self.product(self.attend(q, k, v).transpose(1, 2).flatten(2), f"out_proj_{i}")
            h = functional.layer_norm(x, x.shape[-1:], getattr(self, f"layer_norm2_{i}"), getattr(self, f"layer_norm2_bias_{i}"), side.eps)
            x = x + self.product(functional.gelu(self.product(h, f"fc1_{i}"), approximate="tanh"), f"fc2_{i}")
        x = functional.layer_norm(x[:, : n * n], x.shape[-1:], self.norm_weight, self.norm_bias, side.eps)
        pixels = self.product(x, "pixel").float().view(b, n, n, p, p, self.channels)
        return pixels.permute(0, 5, 1, 3, 2, 4).reshape(b, self.channels, n * p, n * p)


def _compile_everything():
    """By default PyTorch falls back to eager, with no more than a warning, after some programs of one function: each
    precision, batch and length counts as one. Here that is an error."""
    config = torch._dynamo.config
    for name, value in (("recompile_limit", 1024), ("cache_size_limit", 1024), ("accumulated_recompile_limit", 4096), ("fail_on_recompile_limit_hit", True)):
        if hasattr(config, name):  # names differ from version to version
            setattr(config, name, value)


class Baseline:
    """One model in one precision on one device, drawing pictures.

    `drawn` is told the time of each part of the last picture: `ar_ms`, `decode_ms`, `steps_ms`."""

    def __init__(self, model, precision="fp32", cache="kept", device="cpu", compiled=False, attend="sdpa", parts=None):
        need(cache in CACHES and precision in PRECISIONS, f"{precision} {cache}: no such baseline")
        self.model, self.precision, self.cache, self.device, self.compiled = model, precision, cache, torch.device(device), compiled
        dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        # Variants that differ in their cache alone share the weights.
        self.ar, self.decoder = parts or (Ar(model, dtype, ATTENTION[attend]).to(self.device), Decoder(model, dtype, ATTENTION[attend]).to(self.device))
        self._whole, self._onward, self._decode = self.ar.whole, self.ar.onward, self.decoder
        if compiled:
            _compile_everything()
            # The prefix grows from step to step: one program for any length, or one for each would be compiled.
            self._whole = torch.compile(self.ar.whole, dynamic=True)
            self._onward = torch.compile(self.ar.onward_static, dynamic=False)
            self._decode = torch.compile(self.decoder, dynamic=False)
        self.patches = self.decoder.patches(model.size)
        self.drawn = {}

    @property
    def parts(self):
        return self.ar, self.decoder

    def _context(self):
        stack = contextlib.ExitStack()
        stack.enter_context(torch.inference_mode())
        if self.precision == "bf16":
            stack.enter_context(torch.autocast(self.device.type, torch.bfloat16))
        return stack

    def _now(self):
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    def steps(self):
        """How many positions each step predicts."""
        return [1] * self.model.causal + [self.model.group] * ((self.model.count - self.model.causal) // self.model.group)

    def fed(self, first, tokens):
        """What stands at the positions 0 .. up to the end of the step that follows `tokens` [B, n]."""
        c, n, g = self.model.causal, tokens.shape[1], self.model.group
        if n < c:
            return torch.cat([first, tokens], 1)
        special = torch.arange(self.model.special, self.model.special + g - 1, device=self.device).expand(len(tokens), -1)
        return torch.cat([first, tokens[:, :c], special, tokens[:, c:]], 1)

    def classes(self, classes, guided):
        """Their rows of the table [B, 1]; where guided the unconditional half follows."""
        rows = [self.model.first_class + c for c in classes] + [self.model.no_class] * (len(classes) if guided else 0)
        return torch.tensor(rows, device=self.device)[:, None]

    def _keys(self, rows):
        ar = self.model.ar
        dtype = torch.bfloat16 if self.precision == "bf16" else torch.float32
        return torch.zeros(ar.depth, 2, rows, ar.kv_heads, self.model.count, ar.head_width, dtype=dtype, device=self.device)

    def _step(self, first, tokens, q, kept):
        ids = self.fed(first, tokens)
        if self.cache == "none":
            return self._whole(ids, q)
        start = ids.shape[1] - q
        if not self.compiled:
            return self._onward(ids[:, start:], start, kept)
        # A copy: a slice of one row or column keeps the strides of the whole, and a compiler takes each for another shape.
        return self._onward(ids[:, start:].clone(memory_format=torch.contiguous_format), torch.arange(start, start + q, device=self.device), kept)

    def logits(self, classes, tokens):
        """Teacher-forced logits [B, N, V] as numpy: what each step gives when `tokens` were drawn before it; -1 as a class
        is "no class"."""
        first = torch.tensor([self.model.no_class if c < 0 else self.model.first_class + c for c in classes], device=self.device)[:, None]
        tokens, done, out = torch.as_tensor(tokens, device=self.device), 0, []
        with self._context():
            kept = self._keys(len(tokens)) if self.cache == "kept" else None
            for q in self.steps():
                out.append(self._step(first, tokens[:, :done], q, kept))
                done += q
        return torch.cat(out, 1).cpu().numpy()

    def decode(self, tokens, size):
        """[B, t] -> float pixels [B, C, size, size] as numpy."""
        with self._context():
            return self._decode(torch.as_tensor(tokens, device=self.device), self.decoder.patches(size)).cpu().numpy()

    def draw(self, classes, guidance, generator, greedy=False):
        """Pictures of `classes`: (tokens [B, N], 8-bit pixels [B, size, size, C])."""
        begun = self._now()
        guided, b = guidance != 1, len(classes)
        first = self.classes(classes, guided)
        tokens = torch.zeros(len(first), 0, dtype=torch.long, device=self.device)
        steps_ms = []
        with self._context():
            kept = self._keys(len(first)) if self.cache == "kept" else None
            for q in self.steps():
                before = self._now()
                logits = self._step(first, tokens, q, kept)
                if guided:
                    cond, free = logits[:b], logits[b:]
                    logits = free + (cond - free) * guidance
                if greedy:
                    drawn = logits.argmax(-1)
                else:
                    drawn = torch.multinomial(logits.softmax(-1).flatten(0, 1), 1, generator=generator).view(b, q)
                tokens = torch.cat([tokens, drawn.repeat(2, 1) if guided else drawn], 1)
                steps_ms.append(1e3 * (self._now() - before))
            decoding = self._now()
            pixels = self._decode(tokens[:b].contiguous(), self.patches)
            bytes_ = (127.5 * pixels + 128).clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
        ended = self._now()
        self.drawn = {"ar_ms": 1e3 * (decoding - begun), "decode_ms": 1e3 * (ended - decoding), "steps_ms": steps_ms, "ms": 1e3 * (ended - begun)}
        return tokens[:b].cpu().numpy(), bytes_


def variants(model, precisions, caches, device, compiled, attend):
    """{name: Baseline}, in the order asked for; one set of weights for each precision."""
    out = {}
    if device == "cuda":
        need(torch.cuda.is_available(), "--device cuda: PyTorch finds no CUDA device here")
    for precision in precisions:
        parts = None
        for cache in caches:
            made = out[precision, cache] = Baseline(model, precision, cache, device, compiled, attend, parts)
            parts = made.parts
    return out


def bf16_instructions():
    """What the processor multiplies bf16 with: without AMX bf16 can be slower than fp32. None where nobody tells."""
    try:
        flags = set(Path("/proc/cpuinfo").read_text().split())
    except OSError:
        return None
    return " ".join(flag for flag in ("amx_bf16", "avx512_bf16", "bf16") if flag in flags) or "none"


def rounds(model, options):
    """(what is common to all results, [(description, function that draws once and gives its times)])."""
    if options.threads:
        torch.set_num_threads(options.threads)
    made = variants(model, options.precision, options.cache, options.device, options.compile, options.attention)
    generator = torch.Generator(device=options.device).manual_seed(options.seed)

    def one(baseline, batch):
        def draw():
            try:
                baseline.draw([k % len(model.classes) for k in range(batch)], options.guidance, generator)
            except (RuntimeError, ImportError) as error:  # memory, or no compiler where one is needed
                raise Refused(f"baseline {baseline.precision}, cache {baseline.cache}, batch {batch}: {str(error).splitlines()[0]}") from None
            return baseline.drawn

        return draw

    out = []
    for batch in options.batch:
        for (precision, cache), baseline in made.items():
            about = {"implementation": "torch", "device": options.device, "precision": precision, "cache": cache, "compiled": options.compile}
            about |= {"attention": options.attention, "threads": torch.get_num_threads(), "batch": batch, "guidance": options.guidance}
            out.append((about, one(baseline, batch)))
    common = {"torch": torch.__version__, "model": model.name}
    if options.device == "cpu":
        common["bf16 instructions"] = bf16_instructions()
    else:
        common["card"] = torch.cuda.get_device_name()
    return common, out
