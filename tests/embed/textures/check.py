# SPDX-License-Identifier: MIT OR Apache-2.0
"""Reads the files of tests/pipeline_outputs.rs with Pillow, OpenEXR, texture2ddecoder and (by levels.mjs) ktx-parse.

    check.py FOLDER

FOLDER has files.json, the files, and for each level of each file the pixels that it was made of (NAME.LEVEL.FORMAT).
"""

import json
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
import OpenEXR
import texture2ddecoder
from PIL import Image

# Root mean square error of a level in BC7, in units of a byte, of premultiplied colour and alpha: what is seen.
BC7_ERROR = 8.0


def pixels(folder, name, level, kind, side, dtype=np.uint8):
    values = np.frombuffer((folder / f"{name}.{level}.{kind}").read_bytes(), dtype)
    return values.reshape(side, side, 4)


def enlarged(values, scale):
    return values.repeat(scale, 0).repeat(scale, 1)


def multiplied_in_linear_light(straight):
    """sRGB bytes of straight sRGB floats, multiplied with alpha in linear light."""
    colour, alpha = straight[..., :3].astype(np.float64), straight[..., 3:].astype(np.float64)
    linear = np.where(colour <= 0.04045, colour / 12.92, ((colour + 0.055) / 1.055) ** 2.4) * alpha
    encoded = np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.concatenate([encoded, alpha], -1) * 255


def check_picture(folder, entry):
    name, side, scale = entry["file"], entry["sizes"][0], entry["scale"]
    with Image.open(folder / name) as image:
        found = np.asarray(image.convert("RGBA"))
        info, text = dict(image.info), getattr(image, "text", {})
    if name.endswith(".jpg"):
        wanted = pixels(folder, name, 0, "premultiplied8", side).astype(int)[..., :3]
        assert np.abs(found[..., :3] - wanted).mean() < 8, name
        return
    kind = "rgba8" if entry["alpha"] == "straight" else "premultiplied8"
    assert (found == enlarged(pixels(folder, name, 0, kind, side), scale)).all(), name
    if name.endswith(".png"):
        assert info["srgb"] == 0, info
        check_record(folder / name, text)


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def check_record(path, text):
    """The record in a PNG file, and that another program writes the same bytes out of its parts."""
    head, tokens = json.loads(text["detailflow"]), json.loads(text["detailflow-tokens"])
    assert head["class"] == "potion" and head["seed"] == 9 and len(tokens) == 32, text
    file = path.read_bytes()
    record = (
        chunk(b"tEXt", b"Software\0" + text["Software"].encode())
        + chunk(b"iTXt", b"detailflow\0\0\0\0\0" + text["detailflow"].encode())
        + chunk(b"tEXt", b"detailflow-tokens\0" + json.dumps(tokens, separators=(",", ":")).encode())
    )
    # After IHDR: the signature has 8 bytes, that chunk 25.
    assert file[33 : 33 + len(record)] == record, path
    plain = file[:33] + file[33 + len(record) :]
    assert b"detailflow" not in plain
    assert json.dumps(head, separators=(",", ":"), ensure_ascii=False) == text["detailflow"]


def check_exr(folder, entry):
    name, side, scale = entry["file"], entry["sizes"][0], entry["scale"]
    with OpenEXR.File(str(folder / name)) as file:
        chromaticities = file.header()["chromaticities"]
        [(_, channel)] = file.channels().items()
        found = np.array(channel.pixels)
    assert found.dtype == np.float16, found.dtype
    wanted = enlarged(pixels(folder, name, 0, "linear16f", side, np.float16), scale)
    assert (found == wanted).all(), name
    assert np.allclose(chromaticities, [0.64, 0.33, 0.3, 0.6, 0.15, 0.06, 0.3127, 0.329])


def seen(straight):
    return np.concatenate([straight[..., :3] * (straight[..., 3:] / 255.0), straight[..., 3:]], -1)


def check_level(folder, entry, level, data):
    """One level of a texture against its pixels; returns the error of BC7."""
    name, side = entry["file"], entry["sizes"][level]
    if entry["alpha"] == "straight":
        wanted, rounding = pixels(folder, name, level, "rgba8", side).astype(np.float64), 0.0
    else:
        wanted = multiplied_in_linear_light(pixels(folder, name, level, "rgba32f", side, np.float32))
        rounding = 0.6
    if entry["compression"] == "none":
        found = np.frombuffer(data, np.uint8).reshape(side, side, 4)
        assert np.abs(found - wanted).max() <= rounding, (name, level)
        return 0.0
    bgra = np.frombuffer(texture2ddecoder.decode_bc7(data, side, side), np.uint8).reshape(side, side, 4)
    found = bgra[..., [2, 1, 0, 3]]
    blocks = pixels(folder, name.replace(".ktx2", ".dds"), level, "blocks", side)
    assert (found == blocks).all(), (name, level)
    if entry["alpha"] == "straight":
        found, wanted = seen(found), seen(wanted)
    error = float(np.sqrt(((found - wanted) ** 2).mean()))
    assert error < BC7_ERROR, (name, level, error)
    return error


def check_dds(folder, entry):
    name, sizes, bc7 = entry["file"], entry["sizes"], entry["compression"] == "bc7"
    file = (folder / name).read_bytes()
    start, errors = 148, []
    for level, side in enumerate(sizes):
        length = (side + 3) // 4 * ((side + 3) // 4) * 16 if bc7 else side * side * 4
        errors.append(check_level(folder, entry, level, file[start : start + length]))
        start += length
    assert start == len(file), name
    # All of the largest level by a reader that knows the header.
    with Image.open(folder / name) as image:
        assert image.size == (sizes[0], sizes[0]) and image.mode == "RGBA", (name, image)
        found = np.asarray(image)
    if bc7:
        wanted = pixels(folder, name, 0, "blocks", sizes[0])
    else:
        wanted = np.frombuffer(file[148:], np.uint8, found.size).reshape(found.shape)
    assert (found == wanted).all(), name
    return errors


def check_ktx2(folder, entry):
    name, sizes, bc7 = entry["file"], entry["sizes"], entry["compression"] == "bc7"
    parsed = json.loads((folder / f"{name}.parsed").read_text())
    assert parsed["vkFormat"] == (146 if bc7 else 43), name
    assert (parsed["pixelWidth"], parsed["pixelHeight"], parsed["levels"]) == (sizes[0], sizes[0], len(sizes)), name
    [descriptor] = parsed["dataFormatDescriptor"]
    assert descriptor["colorModel"] == (134 if bc7 else 1), descriptor
    assert (descriptor["colorPrimaries"], descriptor["transferFunction"]) == (1, 2), descriptor
    assert descriptor["flags"] == (0 if entry["alpha"] == "straight" else 1), descriptor
    assert len(descriptor["samples"]) == (1 if bc7 else 4), descriptor
    assert parsed["keyValue"]["KTXorientation"] == "rd", parsed
    assert parsed["keyValue"]["KTXwriter"].startswith("libdetailflow "), parsed
    levels = [(folder / f"{name}.{level}.level").read_bytes() for level in range(len(sizes))]
    return [check_level(folder, entry, level, data) for level, data in enumerate(levels)]


def main():
    folder = Path(sys.argv[1])
    entries = json.loads((folder / "files.json").read_text())
    read = {"dds": check_dds, "ktx2": check_ktx2, "exr": check_exr}
    counts, worst = {}, {}
    for entry in entries:
        extension = entry["file"].rsplit(".", 1)[1]
        errors = read.get(extension, check_picture)(folder, entry)
        counts[extension] = counts.get(extension, 0) + 1
        for side, error in zip(entry["sizes"], errors or [], strict=False):
            worst[side] = max(worst.get(side, 0), error)
    print("files that were read:", counts)
    print("largest error of BC7 by level size:", {side: round(error, 2) for side, error in sorted(worst.items())})
    twice = dict.fromkeys(("png", "webp", "bmp", "tga", "tiff", "qoi", "exr"), 2)
    assert counts == twice | {"jpg": 1, "dds": 12, "ktx2": 12}, counts


main()
