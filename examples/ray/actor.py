# SPDX-License-Identifier: MIT OR Apache-2.0
"""The actor that generates parts of a job: picture files, and Parquet files of tokens that mark parts as done."""

import ctypes
import errno
import hashlib
import itertools
import json
import os
import uuid
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

import detailflow
import pyarrow as pa
import pyarrow.parquet as pq
from detailflow import FileFormat, Format

# A line of `dflow batch --list`: everything that it takes to generate a picture.
Line: TypeAlias = dict[str, Any]

# What the library encodes. `dflow batch` alone writes OpenEXR, DDS and KTX2.
FORMATS = {
    "png": FileFormat.PNG,
    "jpg": FileFormat.JPEG,
    "webp": FileFormat.WEBP,
    "bmp": FileFormat.BMP,
    "tga": FileFormat.TGA,
    "tiff": FileFormat.TIFF,
    "qoi": FileFormat.QOI,
}
SCHEMA = pa.schema(
    [
        ("number", pa.uint64()),
        ("row", pa.uint32()),
        ("class", pa.string()),
        ("class_index", pa.uint32()),
        ("seed", pa.uint64()),
        ("tags", pa.list_(pa.string())),
        ("tokens", pa.list_(pa.uint32())),
        # The mean of the sampled tokens; null where all were given.
        ("log_probability", pa.float32()),
        # Of the levels, coarse to fine, below OUT.
        ("files", pa.list_(pa.string())),
    ]
)
# The key in the metadata of a part's Parquet file: the SHA-256 of its lines.
LINES = b"detailflow.lines"
# A folder in OUT for the lock of the driver and for files that are not complete.
PRIVATE = ".detailflow-ray"
# Fields of a line that are equal in pictures that step together.
SHARED = ("guidance", "gradual", "temperature", "top_k", "top_p", "prefix", "redetail")


class Generator:
    """Generates parts. Each actor has a model of its own."""

    def __init__(
        self, out: Path, folder: str, bundle: str | None, device: str | None, threads: int, batch: int
    ) -> None:
        """Opens the model. Paths in the job are relative to `folder`; at most `batch` pictures step together."""
        self.out = out
        self.folder = Path(folder)
        self.batch = batch
        self.model = detailflow.Model(bundle, device=device, threads=threads)
        self.temporary = out / PRIVATE / uuid.uuid4().hex

    def __call__(self, parts: dict[str, Any]) -> dict[str, list[Any]]:
        """Generates parts, usually one. Returns for each: how many pictures, what went wrong, what ends the run."""
        counts, errors, fatal = [], [], []
        for text in map(str, parts["lines"]):
            rows, failed, stop = self.try_part(text)
            counts.append(rows)
            errors.append("\n".join(failed))
            fatal.append(stop)
        return {"pictures": counts, "errors": errors, "fatal": fatal}

    def try_part(self, text: str) -> tuple[int, list[str], str]:
        """Generates a part from its lines, and marks it as done if nothing went wrong."""
        pictures = [json.loads(line) for line in text.split("\n")]
        try:
            check(pictures[0], self.model.info)
            rows, failed = self.generate_part(pictures)
            if not failed:
                first, last = pictures[0]["number"], pictures[-1]["number"]
                self.finish(f"{first:012}-{last:012}.parquet", rows, digest(text))
            return len(rows), failed, ""
        except (OSError, ValueError) as error:
            return 0, [], f"pictures from number {pictures[0]['number']} on: {error}"

    def generate_part(self, pictures: list[Line]) -> tuple[list[Line], list[str]]:
        """Generates pictures and writes their files. Returns rows of the table, and what went wrong."""
        rows: list[Line] = []
        failed: list[str] = []
        for _, same in itertools.groupby(pictures, shared):
            for together in chunks(same, self.batch):
                try:
                    generated = self.generate(together)
                except (detailflow.Error, OSError) as error:
                    failed += [f"picture {picture['number']}: {error}" for picture in together]
                    continue
                for picture, tokens, mean in generated:
                    try:
                        rows.append(self.write(picture, tokens, mean))
                    except (detailflow.Error, OSError) as error:
                        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                            # Nothing else can be written either: this ends the run.
                            raise
                        failed.append(f"picture {picture['number']}: {error}")
        return rows, failed

    def generate(self, pictures: list[Line]) -> list[tuple[Line, Any, float | None]]:
        """Generates pictures with equal settings. Returns each with its tokens and their mean log-probability."""
        first = pictures[0]
        finest = first["levels"][-1]
        prefix = self.prefix(first)
        sampled = len(prefix) < finest["tokens"]
        with self.model.request(
            images=len(pictures),
            level_size=finest["size"],
            guidance=curve(first["guidance"]),
            gradual_guidance=first["gradual"],
            temperature=curve(first["temperature"]),
            top_k=curve(first["top_k"]),
            top_p=curve(first["top_p"]),
            log_probabilities=sampled,
        ) as request:
            for image, picture in enumerate(pictures):
                request.set_image_source(image, picture["class_index"], picture["seed"])
            if len(prefix) > 0:
                request.set_prefix(prefix)
            with request.generate() as generation:
                return [
                    (
                        picture,
                        generation.tokens(image)[: finest["tokens"]],
                        generation.mean_log_probability(image) if sampled else None,
                    )
                    for image, picture in enumerate(pictures)
                ]

    def prefix(self, picture: Line) -> Any:
        """The tokens that a picture begins with."""
        if "redetail" in picture:
            keep = self.model.find_level(picture["redetail"]["keep"])
            return self.model.encode_file(self.folder / picture["redetail"]["image"])[: keep.token_count]
        return picture.get("prefix", [])

    def write(self, picture: Line, tokens: Any, mean: float | None) -> Line:
        """Writes the files of a picture; returns its row of the table."""
        for level in picture["levels"]:
            path = self.out / level["file"]
            data, record = self.encode(level, tokens[: level["tokens"]], picture["provenance"])
            if record is not None:
                self.place(path.with_name(path.name + ".json"), record)
            self.place(path, data)
        if picture["tokens"] == "files":
            dft = self.model.dft_encode(tokens, picture["class_index"], picture["seed"])
            self.place(path.with_name(path.name + ".dft"), dft)
        row = {name: picture[name] for name in ("number", "row", "class", "class_index", "seed", "tags")}
        files = [level["file"] for level in picture["levels"]]
        return row | {"tokens": tokens, "log_probability": mean, "files": files}

    def encode(self, level: Line, tokens: Any, provenance: str) -> tuple[bytes, bytes | None]:
        """A picture file, and the file beside it with its record, if there is one."""
        output = json.loads(level["head"])["output"]
        decoded, stored = Format.RGBA8, Format.RGBA8
        if self.model.info.channels == 3:
            decoded = stored = Format.RGB8
        elif output["alpha"] == "premultiplied":
            decoded = Format.RGBA8_PREMULTIPLIED
        pixels = self.model.decode(tokens, format=decoded)
        pixels = pixels.repeat(output["scale"], axis=0).repeat(output["scale"], axis=1)
        data = detailflow.image_encode(pixels, FORMATS[output["format"]], format=stored)
        if provenance == "none":
            return data, None
        head, numbers = head_text(level["head"], self.model.info), json.dumps(tokens.tolist(), separators=(",", ":"))
        if provenance == "sidecar":
            return data, f'{head[:-1]},"tokens":{numbers}}}\n'.encode()
        return (with_record(data, head, numbers) if output["format"] == "png" else data), None

    def finish(self, name: str, rows: list[Line], lines: bytes) -> None:
        """Writes the table of a part, when the disk has the files of its pictures."""
        sync(self.out)
        sink = pa.BufferOutputStream()
        pq.write_table(pa.Table.from_pylist(rows, SCHEMA.with_metadata({LINES: lines})), sink)
        self.place(self.out / "tokens" / name, sink.getvalue().to_pybytes(), durable=True)

    def place(self, path: Path, data: bytes, durable: bool = False) -> None:
        """Writes a file under another name and renames it; `durable`: the name appears when the disk has the bytes."""
        for attempt in range(2):
            try:
                with self.temporary.open("wb") as file:
                    file.write(data)
                    if durable:
                        file.flush()
                        os.fsync(file.fileno())
                self.temporary.replace(path)
                return
            except FileNotFoundError:
                if attempt > 0:
                    raise
                self.temporary.parent.mkdir(parents=True, exist_ok=True)
                path.parent.mkdir(parents=True, exist_ok=True)


def chunks(pictures: Iterator[Line], size: int) -> Iterator[list[Line]]:
    """Lists of at most so many."""
    while chunk := list(itertools.islice(pictures, size)):
        yield chunk


def digest(lines: str) -> bytes:
    """What tells the lines of a part from other lines."""
    return hashlib.sha256(lines.encode()).hexdigest().encode()


def shared(picture: Line) -> str:
    """Equal in pictures that step together."""
    sizes = [level["size"] for level in picture["levels"]]
    return json.dumps([sizes] + [picture.get(name) for name in SHARED])


def refuse(picture: Line) -> None:
    """Refuses what `dflow batch` alone makes."""
    output = json.loads(picture["levels"][-1]["head"])["output"]
    if picture["select"]:
        raise ValueError(f"row {picture['row']} selects among its pictures: `dflow batch` alone does that")
    if output["format"] not in FORMATS:
        raise ValueError(f"{output['format']} files: `dflow batch` alone writes them; allowed: {', '.join(FORMATS)}")


def check(picture: Line, model: detailflow.ModelInfo) -> None:
    """Refuses a model or a library that is not that of `dflow`: its pictures would be others."""
    head = json.loads(picture["levels"][-1]["head"])
    manifest = Path(model.path) / "detailflow.json"
    same = (head["bundle"], head["tokenizer"]) == (model.name, model.tokenizer_id)
    if manifest.is_file():
        same = hashlib.sha256(manifest.read_bytes()).hexdigest() == head["manifest"]
    if not same or head["library"] != detailflow.version:
        raise ValueError(
            f"the model is {model.path} with library {detailflow.version}, that of dflow the bundle {head['bundle']} "
            f"({head['manifest']}) with {head['library']}; --bundle names one for both"
        )


def curve(text: str) -> float | list[tuple[int, float]]:
    """A setting in its text form, `1.5` or `1@8,3@64`, as a request takes it."""
    if "@" not in text:
        return float(text)
    points = (point.split("@") for point in text.split(","))
    return [(int(token), float(value)) for value, token in points]


def head_text(head: str, model: detailflow.ModelInfo) -> str:
    """The head of a record, for the device of this actor: `dflow` may have run on another one."""
    fields = json.loads(head)
    here = {"precision": model.precision, "form": model.form, "device": model.device}
    if fields == fields | here:
        return head
    return json.dumps(fields | here, separators=(",", ":"), ensure_ascii=False)


def with_record(png: bytes, head: str, tokens: str) -> bytes:
    """A PNG file with the record of its picture after the first chunk; onnx/TOKENS.md specifies it."""
    texts = [
        (b"tEXt", b"Software\0libdetailflow " + detailflow.version.encode()),
        (b"iTXt", b"detailflow\0\0\0\0\0" + head.encode()),
        (b"tEXt", b"detailflow-tokens\0" + tokens.encode()),
    ]
    added = [
        len(text).to_bytes(4, "big") + kind + text + zlib.crc32(kind + text).to_bytes(4, "big") for kind, text in texts
    ]
    return b"".join([png[:33], *added, png[33:]])


def sync(folder: Path) -> None:
    """Waits until the disk has what was written to the file system of a folder."""
    syncfs = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)
    if syncfs is None:
        os.sync()
        return
    opened = os.open(folder, os.O_RDONLY)
    try:
        if syncfs(opened) != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(folder))
    finally:
        os.close(opened)
