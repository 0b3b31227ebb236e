"""Run a bundle's graphs with ONNX Runtime, the way the library does: keys and values kept in place, no mask."""

import os

import numpy as np

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
import onnxruntime as ort  # noqa: E402  (it reads the variable when it is loaded)

from detailflow_onnx.errors import Refused  # noqa: E402
from detailflow_onnx.bundle.manifest import GRAPHS  # noqa: E402

KINDS = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(int64)": np.int64, "tensor(bool)": np.bool_}
KEPT = {"fp32": np.float32, "fp16": np.float16}  # how a variant keeps keys and values, by its `keys`


def session(path, threads=None, spinning=None):
    options = ort.SessionOptions()
    options.log_severity_level = 3
    if threads:
        options.intra_op_num_threads = threads
    if spinning is not None:
        options.add_session_config_entry("session.intra_op.allow_spinning", str(int(spinning)))
    try:
        return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the runtime's exceptions share no base
        raise Refused(f"{path}: ONNX Runtime does not load it ({str(error).splitlines()[0]})") from None


def runs_here(variant):
    """Whether the installed ONNX Runtime is new enough for a variant, and has its operators: those of `native` are in the library."""
    if variant["form"] == "native":
        return False
    have, need = (tuple(int(n) for n in version.split(".")[:2]) for version in (ort.__version__, variant["min_runtime"]))
    return have >= need


def graphs(content):
    """The graphs that a bundle holds; every variant holds the same."""
    return [graph for graph in GRAPHS if graph in content["variants"][0]]


class Bundle:
    """One variant of a bundle. `content` is the manifest, `variant` one of its variants."""

    def __init__(self, folder, content, variant, **options):
        self.folder, self.content, self.variant, self.options = folder, content, variant, options
        self.count, self.group, self.causal, self.codes = (content["tokens"][k] for k in ("count", "group", "causal", "codes"))
        self.kept = KEPT[variant.get("keys", "fp32")]
        self._sessions = {}

    def path(self, name):
        """The file of a graph; `draw` is one for all variants."""
        return self.folder / (self.content[name] if name == "draw" else self.variant[name])

    def graph(self, name):
        if name not in self._sessions:
            self._sessions[name] = session(self.path(name), **self.options)
        return self._sessions[name]

    def close(self):
        """Let go of the graphs and their memory; they are loaded again when they are needed."""
        self._sessions.clear()

    def decode(self, tokens, size):
        return self.graph("decoder").run(["pixels"], {"ids": tokens.astype(np.int64), "size": np.array([size])})[0]

    def encode(self, images):
        """Float images [B, C, S, S] -> (latents, ids)."""
        return self.graph("encoder").run(["latents", "ids"], {"image": images})

    def rows(self, classes):
        """Embedding rows of classes; -1 is "no class"."""
        ids = self.content["ids"]
        return np.array([ids["no_class"] if c < 0 else ids["class"] + c for c in classes], np.int64)

    def start(self, batch):
        return {"mha": Kept, "fixed": Fixed}.get(self.variant["form"], Grown)(self, batch)

    def step_sizes(self):
        """How many positions each step feeds."""
        return [1] * self.causal + [self.group] * ((self.count - self.causal) // self.group)

    def fed(self, classes, drawn, step):
        """Ids that step number `step` feeds, once `drawn` [B, n] is what was drawn so far."""
        if step == 0:
            return self.rows(classes)[:, None]
        q = self.step_sizes()[step]
        if step < self.causal:
            return drawn[:, -1:]
        if step > self.causal:
            return drawn[:, -q:]
        special = self.content["ids"]["special"] + np.arange(self.group - 1)
        return np.concatenate([drawn[:, -1:], np.repeat(special[None], len(drawn), 0)], 1)

    def logits(self, classes, tokens, steps=None):
        """Teacher-forced logits [B, N, V]: what each step gives when `tokens` were drawn before it."""
        state, done, out = self.start(len(classes)), 0, []
        for step, q in list(enumerate(self.step_sizes()))[:steps]:
            out.append(state.feed(self.fed(classes, tokens[:, :done].astype(np.int64), step)))
            done += q
        return np.concatenate(out, 1)

    def greedy(self, classes, scale, gradual):
        """Guided generation without chance. Returns tokens [B, N]."""
        b, groups = len(classes), self.count // self.group
        both = [*classes, *[-1] * b]
        state, drawn = self.start(2 * b), np.zeros((2 * b, 0), np.int64)
        for step in range(len(self.step_sizes())):
            logits = state.feed(self.fed(both, drawn, step))
            done, s = drawn.shape[1], scale
            if gradual and done >= self.causal:
                s = scale * (groups - done // self.group + 1) / (groups + 1)
            cond, free = logits[:b], logits[b:]
            drawn = np.concatenate([drawn, np.tile((free + (cond - free) * np.float32(s)).argmax(-1), (2, 1))], 1)
        return drawn[:b]


class Kept:
    """Form `mha`: each past and its present are one buffer."""

    def __init__(self, bundle, batch):
        shape = bundle.content["ar"]
        self.bundle, self.batch = bundle, batch
        self.session, self.position = bundle.graph("ar"), 0
        self.binding = self.session.io_binding()
        self.held = []  # an OrtValue uses the array's memory, and the binding holds neither
        for i in range(shape["layers"]):
            for kind in ("key", "value"):
                memory = np.zeros(self.shape(shape), bundle.kept)
                value = ort.OrtValue.ortvalue_from_numpy(memory)
                self.held += [memory, value]
                self.binding.bind_ortvalue_input(f"past_{kind}_{i}", value)
                self.binding.bind_ortvalue_output(f"present_{kind}_{i}", value)

    def shape(self, ar):
        return self.batch, ar["heads"], self.bundle.count, ar["head_width"]

    def where(self, q):
        return {"start": np.array([self.position])}

    def feed(self, ids):
        fed = {"ids": np.ascontiguousarray(ids), **self.where(ids.shape[1])}
        values = {name: ort.OrtValue.ortvalue_from_numpy(array) for name, array in fed.items()}
        for name, value in values.items():
            self.binding.bind_ortvalue_input(name, value)
        self.binding.bind_output("logits")
        self.session.run_with_iobinding(self.binding)
        self.position += ids.shape[1]
        return self.binding.get_outputs()[-1].numpy()


class Fixed(Kept):
    """Form `fixed`: the same, but every token says its place, and each row of the memory is one place of one head."""

    def shape(self, ar):
        return self.batch * ar["kv_heads"] * self.bundle.count, ar["head_width"]

    def where(self, q):
        places = self.position + np.arange(q)
        heads = np.arange(self.batch * self.bundle.content["ar"]["kv_heads"])
        return {"places": np.tile(places, (self.batch, 1)), "slots": (heads[:, None] * self.bundle.count + places).reshape(-1, 1)}


class Grown:
    """Form `plain`: each step returns longer keys and values."""

    def __init__(self, bundle, batch):
        shape = bundle.content["ar"]
        self.session, self.position = bundle.graph("ar"), 0
        empty = np.zeros((batch, shape["kv_heads"], 0, shape["head_width"]), bundle.kept)
        self.past = {f"past_{kind}_{i}": empty for i in range(shape["layers"]) for kind in ("key", "value")}
        self.names = [o.name for o in self.session.get_outputs()]

    def feed(self, ids):
        out = dict(zip(self.names, self.session.run(None, {"ids": ids, "start": np.array([self.position]), **self.past})))
        self.position += ids.shape[1]
        self.past = {name.replace("present", "past"): value for name, value in out.items() if name != "logits"}
        return out["logits"]


def unit_images(images):
    """uint8 [B, H, W, C] -> float [B, C, H, W] in -1..1, premultiplied with 4 channels."""
    x = images.astype(np.float32) / 255
    if x.shape[-1] == 4:
        x = np.concatenate([x[..., :3] * x[..., 3:], x[..., 3:]], -1)
    return np.ascontiguousarray(((x - 0.5) / 0.5).transpose(0, 3, 1, 2))
