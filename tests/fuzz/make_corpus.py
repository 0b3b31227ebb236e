"""Writes the corpora of the fuzz targets below tests/fuzz/corpus. Deterministic.

    python tests/fuzz/make_corpus.py DFLOW

DFLOW is the command of this checkout. Needs Pillow. Inputs that a fuzz target found are added by hand, beside these,
with a name that says what they are.
"""

import hashlib
import io
import json
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

HERE = Path(__file__).resolve().parent
DATA = HERE.parent / "data"
CORPUS = HERE / "corpus"


def put(target, name, content):
    """Adds one input."""
    (CORPUS / target).mkdir(parents=True, exist_ok=True)
    (CORPUS / target / name).write_bytes(content)


def token_files(dflow):
    """Token files of the small bundle, whole and damaged."""
    environment = os.environ | {"DETAILFLOW_BUNDLE": str(DATA / "small")}
    with tempfile.TemporaryDirectory() as folder:

        def run(*arguments):
            subprocess.run(
                [dflow, *arguments],
                cwd=folder,
                env=environment,
                check=True,
                stdout=subprocess.DEVNULL,
            )

        def read(name):
            return (Path(folder) / name).read_bytes()

        run("generate", "0", "--seed", "1", "-o", "a.png", "--tokens-out", "full.dft")
        run(
            "generate",
            "1",
            "--seed",
            str(2**64 - 1),
            "--level",
            "16",
            "-o",
            "b.png",
            "--tokens-out",
            "level.dft",
        )
        run("encode", "a.png", "-o", "encoded.dft")
        run(
            "generate",
            "all",
            "--count",
            "2",
            "-o",
            "c.png",
            "--tokens-out",
            "several.json",
        )
        run("pack", "full.dft", "level.dft", "-o", "two.dftpack")
        run("pack", "several.json", "-o", "several.dftpack")
        full, two = read("full.dft"), read("two.dftpack")
        put("dft", "full", full)
        put("dft", "level", read("level.dft"))
        put("dft", "encoded", read("encoded.dft"))
        put("dft", "cut", full[:-3])
        put("dft", "header", full[: len(full) // 2])
        put("dft", "damaged", full[:-5] + b"\xff" + full[-4:])
        put("dft", "surplus", full + b"xyz")
        put("dft", "magic", full[:4])
        put("dftpack", "two", two)
        put("dftpack", "several", read("several.dftpack"))
        put("dftpack", "cut", two[:-20])
        put("dftpack", "begun", two[len(two) // 2 :])
        put("dftpack", "twice", two + two)
        put("dftpack", "token-file", full)
        put("dftpack", "damaged", two[:60] + b"\xff\xff" + two[62:])
        put("dftpack", "magic", two[:8])
        several = json.loads(read("several.json"))
        put("token_json", "several", json.dumps(several, separators=(",", ":")).encode())
        several["images"] = several["images"][:1]
        one = json.dumps(several, separators=(",", ":"))
        put("token_json", "one", one.encode())
        put("token_json", "bom", b"\xef\xbb\xbf" + one.encode())
        put("token_json", "utf-16", one.encode("utf-16"))
        put("token_json", "cut", one.encode()[:-9])
        put("token_json", "seed-float", one.replace('"seed":', '"seed":0.5e').encode())
        several["images"][0]["class"] = 1
        put("token_json", "class-index", json.dumps(several).encode())
        several["images"][0] |= {"class": None, "seed": None}
        put("token_json", "encoded", json.dumps(several).encode())
        several["images"] = []
        put("token_json", "none", json.dumps(several).encode())
        put("token_json", "deep", b'{"images":' + b"[" * 300)
        put("token_json", "empty", b"")


def manifests():
    """Manifests of the small bundle with one thing changed, and of others. All files are empty, as in the target."""
    small = json.loads((DATA / "small/detailflow.json").read_bytes())

    def manifest(name, change=lambda manifest: None, source=small):
        copy = json.loads(json.dumps(source))
        for file in copy["files"]:
            file |= {"length": 0, "sha256": hashlib.sha256(b"").hexdigest()}
            if "decoder" in file:
                file["decoder"] = 0
        change(copy)
        put("manifest", name, json.dumps(copy, separators=(",", ":")).encode())

    def shorten(manifest):
        keep = manifest["variants"][-1]
        manifest["variants"] = [keep]
        manifest.pop("judged", None)

    def without_generator(manifest):
        shorten(manifest)
        for key in ["ar", "ids", "sampling", "draw"]:
            manifest.pop(key, None)
        for variant in manifest["variants"]:
            variant.pop("ar", None)
            variant.pop("encoder", None)

    def ladder(manifest):
        shorten(manifest)
        manifest["ladder"]["prefixes"] = manifest["ladder"]["prefixes"][::-1]

    def class_with_nul(manifest):
        shorten(manifest)
        manifest["classes"][0] = "a\0b"

    def huge(manifest):
        shorten(manifest)
        manifest["tokens"]["count"] = 2**63

    manifest("small")
    manifest("short", shorten)
    manifest("decoder-only", without_generator)
    manifest("ladder-reversed", ladder)
    manifest("class-nul", class_with_nul)
    manifest("count-huge", huge)
    manifest(
        "precisions",
        shorten,
        json.loads((DATA / "precisions/detailflow.json").read_bytes()),
    )
    text = json.dumps(small, separators=(",", ":"))
    put("manifest", "cut", text.encode()[:900])
    put("manifest", "bom", b"\xef\xbb\xbf" + text.encode()[:300])
    put("manifest", "deep", b"[" * 300)
    put("manifest", "empty", b"")


def pictures():
    """Small pictures, one or more of each format and mode. The first byte is the format: see picture.rs."""
    image = Image.new("RGBA", (12, 9))
    numbers = random.Random(1)
    image.putdata([tuple((x * 20 + band * 40 + numbers.randrange(30)) % 256 for band in range(4)) for x in range(108)])
    rgb, grey, palette = (
        image.convert("RGB"),
        image.convert("L"),
        image.convert("RGB").quantize(16),
    )

    def picture(name, number, source, kind, **options):
        out = io.BytesIO()
        source.save(out, kind, **options)
        put("picture", name, bytes([number]) + out.getvalue())
        return out.getvalue()

    png = picture("png", 0, image, "PNG")
    picture("png-rgb", 0, rgb, "PNG")
    picture("png-grey", 0, grey, "PNG")
    picture("png-palette", 0, palette, "PNG")
    picture("png-bit", 0, grey.convert("1"), "PNG")
    picture("png-16", 0, grey.convert("I;16"), "PNG")
    picture("png-profile", 0, rgb, "PNG", icc_profile=bytes(200))
    put("picture", "png-cut", bytes([0]) + png[: len(png) // 2])
    jpeg = picture("jpeg", 1, rgb, "JPEG")
    picture("jpeg-progressive", 1, rgb, "JPEG", progressive=True, quality=30)
    picture("jpeg-grey", 1, grey, "JPEG", quality=50)
    picture("jpeg-cmyk", 1, rgb.convert("CMYK"), "JPEG", quality=50)
    picture("jpeg-420", 1, rgb, "JPEG", subsampling=2, quality=20)
    exif = Image.Exif()
    exif[0x112] = 6
    picture("jpeg-rotated", 1, rgb, "JPEG", exif=exif)
    put("picture", "jpeg-cut", bytes([1]) + jpeg[:-40])
    picture("webp", 2, image, "WEBP", lossless=True)
    picture("webp-lossy", 2, image, "WEBP", quality=20)
    picture(
        "webp-animated",
        2,
        image,
        "WEBP",
        save_all=True,
        append_images=[image.rotate(90)],
    )
    picture("bmp", 3, rgb, "BMP")
    picture("bmp-palette", 3, palette, "BMP")
    picture("bmp-alpha", 3, image, "BMP")
    picture("tga", 4, image, "TGA")
    picture("tga-runs", 4, rgb, "TGA", compression="tga_rle")
    picture("tga-palette", 4, palette, "TGA")
    for compression in ["raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg"]:
        picture(f"tiff-{compression}", 5, rgb, "TIFF", compression=compression)
    picture("tiff-group4", 5, grey.convert("1"), "TIFF", compression="group4")
    picture("tiff-float", 5, grey.convert("F"), "TIFF")
    picture("tiff-alpha", 5, image, "TIFF")
    qoi = b"qoif" + (12).to_bytes(4, "big") + (9).to_bytes(4, "big") + b"\x04\x00"
    pixels = b"".join(b"\xff" + bytes(pixel) for pixel in (image.getpixel((x, 0)) for x in range(12)))
    runs = b"\xfd\xc0\x40\x95\xd5\xa5" * 3 + b"\xfd\xd0"
    put("picture", "qoi", bytes([6]) + qoi + pixels + runs + bytes(7) + b"\x01")
    picture("gif", 7, palette, "GIF")
    picture(
        "gif-animated",
        7,
        palette,
        "GIF",
        save_all=True,
        append_images=[palette.rotate(90)],
        interlace=1,
    )
    picture("ico", 8, image, "ICO", sizes=[(8, 8)])
    picture("ico-bmp", 8, image, "ICO", sizes=[(8, 8)], bitmap_format="bmp")
    picture("ppm", 9, rgb, "PPM")
    picture("pgm", 9, grey, "PPM")
    picture("pbm", 9, grey.convert("1"), "PPM")
    put("picture", "ppm-text", b"\x09P3 2 2 255 1 2 3 4 5 6 7 8 9 10 11 12")
    put(
        "picture",
        "pam",
        b"\x09P7\nWIDTH 2\nHEIGHT 2\nDEPTH 3\nMAXVAL 255\nTUPLTYPE RGB\nENDHDR\n" + bytes(range(12)),
    )


def single_files():
    """Single-file bundles: changes of the small one (place, offset, byte), and small zip files."""

    def changed(name, *changes):
        put("dflow_file", name, b"\x01" + b"".join(bytes(change) for change in changes))

    changed("whole")
    # A header: version, flags, method, CRC-32, lengths, length of the name, extra fields, the name.
    for name, offset, value in [
        ("header-magic", 0, 0),
        ("header-flags", 6, 8),
        ("header-method", 8, 8),
        ("header-crc", 14, 1),
        ("header-length", 18, 1),
        ("header-name", 26, 200),
        ("header-extra", 28, 0),
        ("header-text", 30, 0x2F),
    ]:
        changed(name, (1, offset, value))
    # The last place is the end; those before it are records of the directory.
    for name, place, offset, value in [
        ("end-entries", 14, 8, 200),
        ("end-length", 14, 12, 0),
        ("end-offset", 14, 16, 255),
        ("end-comment", 14, 20, 1),
        ("record-flags", 8, 8, 1),
        ("record-method", 8, 10, 8),
        ("record-length", 8, 24, 254),
        ("record-header", 8, 42, 1),
        ("record-name", 8, 46, 0x5C),
        ("cut", 13, 20, 255),
    ]:
        changed(name, (place, offset, value))
    changed("wide", *[(8, 24 + at, 254) for at in range(4)], (8, 30, 20))
    end = b"PK\x05\x06" + bytes(18)
    put("dflow_file", "empty", b"\x00" + end)
    put("dflow_file", "no-zip", b"\x00hello")
    locator = b"PK\x06\x07" + bytes(4) + bytes(8) + b"\x01\0\0\0"
    end_64 = b"PK\x06\x06" + (44).to_bytes(8, "little") + bytes(44)
    put(
        "dflow_file",
        "wide-empty",
        b"\x00" + end_64 + locator + end[:8] + b"\xff" * 12 + b"\0\0",
    )


def jobs():
    """Job files: a first byte that chooses TOML, JSON Lines or CSV, and the text."""
    rows = [
        {
            "class": "class 1",
            "count": 3,
            "seed": 7,
            "guidance": 1.5,
            "tags": ["a", "b"],
        },
        {
            "class": [0, "class 2"],
            "seed": "100-119",
            "guidance": "1.0@4,3.0@8",
            "gradual": True,
            "level": [16, 32],
        },
        {
            "class": "all",
            "seed": [1, 18446744073709551615],
            "level": "all",
            "output": "{tag}/{class}-{seed:04}_{level}.dds",
        },
        {
            "class": 0,
            "count": 1099511627776,
            "temperature": 0,
            "top_k": 5,
            "top_p": 0.5,
        },
        {"vary": {"tokens": "none.dft", "entry": "a", "keep": 16}},
        {
            "class": 2,
            "redetail": {"image": "none.png", "keep": 16},
            "select": {"duplicates": 4, "alpha": {"min": 0.1}},
        },
    ]
    table = """
[output]
name = "{class}/{seed:06}_{level}.png"
alpha = "premultiplied"
mips = true
compression = "bc7"
scale = 2
provenance = "sidecar"
tokens = "files"
[atlas]
size = 1024
padding = 4
formats = ["texturepacker", "love", "phaser", "godot"]
level = 16
pivot = [0.5, 1.0]
nine_slice = [1, 2, 3, 4]
[select]
duplicates = 4
best = 10
by = "likeness"
like = "none.png"
[page]
title = "x"
[defaults]
guidance = 2
"""

    def value(value):
        if isinstance(value, dict):
            return "{" + ", ".join(f"{key} = {json.dumps(item)}" for key, item in value.items()) + "}"
        return json.dumps(value)

    lines = [json.dumps(row) for row in rows]
    tables = ["[[row]]\n" + "".join(f"{key} = {value(item)}\n" for key, item in row.items()) for row in rows]
    put("job", "whole-toml", b"\0" + (table + "".join(tables)).encode())
    put("job", "rows-toml", b"\0" + "".join(tables[:3]).encode())
    put(
        "job",
        "dates-toml",
        b"\0[[row]]\nclass = 1979-05-27\nseed = 0xff\nguidance = nan\ntop_p = -inf\n",
    )
    put("job", "page-toml", b"\0page = false\nrow = [{class = 1}, 2]\nmore = 1\n")
    put("job", "whole-jsonl", b"\1\xef\xbb\xbf" + "\r\n".join(lines).encode())
    put(
        "job",
        "wrong-jsonl",
        b'\1{"class": 1, "class": 2}\n[1]\n{"colour": 1}\n{\n\xff\n{"class": 0, "vary": []}',
    )
    put(
        "job",
        "same-names-jsonl",
        b'\1{"class": 0, "output": "a.png"}\n{"class": 0, "output": "A.PNG/b.png"}\n' * 2,
    )
    csv = "class,count,seed,guidance,temperature,top_k,top_p,level,output,tags\n"
    put(
        "job",
        "whole-csv",
        b"\2"
        + (csv + 'class 1,3,7,"1.0@4,3.0@8",0,5,0.5,16;32,,a;b\nall,,5;6,,,,,all,"{class}/{seed}.png",\n').encode(),
    )
    put("job", "wrong-csv", b'\2class,seed\n9,x\n1\n1,2,3\n\xff,1\n"open,1\n')
    put("job", "filter", b'\3class="class 1",2 tag=a,b row=0-3 seed=10-20 number=1')


def programs():
    """Inputs that are programs of calls or of changes: random bytes of several lengths, the same in each run."""
    numbers = random.Random(2)
    for target, count, lengths in [
        ("bundle", 16, (2, 40)),
        ("graph", 16, (2, 60)),
        ("request", 16, (4, 120)),
    ]:
        for number in range(count):
            put(target, f"{number:02}", numbers.randbytes(numbers.randrange(*lengths)))
    for number in range(32):
        # The first byte is the number of threads.
        put(
            "api",
            f"{number:02}",
            bytes([number % 6]) + numbers.randbytes(numbers.randrange(50, 1500)),
        )


def main():
    token_files(str(Path(sys.argv[1]).resolve()))
    manifests()
    pictures()
    single_files()
    jobs()
    programs()
    files = [path for path in CORPUS.rglob("*") if path.is_file()]
    print(f"{len(files)} inputs, {sum(path.stat().st_size for path in files)} bytes")


main()
