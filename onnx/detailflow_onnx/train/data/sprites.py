"""The sprite set: 32x32 RGBA pictures of 21 classes from the tiles of Dungeon Crawl Stone Soup.

The source is the CC0 part of the tiles (github.com/crawl/tiles, a release folder or the whole as tar.gz), or a checkout with the
same folders (`rltiles` of Crawl's source). Folder names give the classes; what is no picture of its class (icons laid over items, edges laid
over ground, parts of dolls, fragments) is left out. The game draws some figures in layers: those are composed here as it does.
The same source gives the same pictures, whatever machine builds them.
"""

import colorsys
import hashlib
import io
import json
import os
import tarfile
import warnings
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from detailflow_onnx.bundle import writer as bundle
from detailflow_onnx.errors import Refused, need
from detailflow_onnx.train.data.folder import reason_of

SIDE = 32
LICENSE = "CC0-1.0"
UNCLEAR = ("item/ring/agate", "item/ring/copper", "item/ring/pearl", "player/body/ringmail")  # left out of the CC0 release: who has them has all tiles
CLASSES = (
    "adventurer", "weapon", "armour", "potion", "ring", "amulet", "wand", "book", "treasure", "animal", "undead", "demon", "humanoid",
    "dragon", "golem", "plant", "floor", "wall", "water", "structure", "spell",
)  # fmt: skip
ADVENTURERS = 1000  # composed, of the parts below
TILE_BYTES = 1 << 20  # a tile is a few hundred bytes; what is larger is none
LEAST = 1 / 6  # of a tile that is painted: icons laid over items cover less

FOLDERS = {  # the tiles right inside these folders; those that only later sources have are named too
    "weapon": ("item/weapon", "item/weapon/artefact", "item/weapon/ranged", "UNUSED/weapons"),
    "armour": ("item/armour", "item/armour/artefact", "item/armour/bardings", "item/armour/headgear", "item/armour/shields", "UNUSED/armour"),
    "potion": ("item/potion",),
    "ring": ("item/ring", "item/ring/artefact", "item/ring/randarts"),
    "amulet": ("item/amulet", "item/amulet/artefact", "item/amulet/randarts"),
    "wand": ("item/wand", "item/staff", "item/rod"),
    "book": ("item/book", "item/book/artefact", "item/scroll"),
    "treasure": ("item/gold", "item/misc", "item/misc/runes", "item/food", "UNUSED/food"),
    "animal": ("mon/animals", "mon/aquatic", "player/felids"),
    "undead": ("mon/undead", "mon/undead/simulacra", "mon/undead/skeletons", "mon/undead/spectrals", "mon/undead/zombies",
               "mon/undead/bound_souls"),
    "demon": ("mon/demons", "mon/demonspawn", "mon/humanoids/demonspawn", "mon/panlord"),
    "humanoid": ("mon", "mon/unique", "mon/spriggan", "mon/holy", "mon/humanoids", "mon/humanoids/spriggans", "mon/humanoids/elves", "mon/humanoids/humans",
                 "mon/humanoids/giants", "mon/humanoids/orcs", "mon/demihumanoids", "mon/demihumanoids/merfolk", "mon/demihumanoids/taurs",
                 "mon/demihumanoids/naga"),
    "dragon": ("mon/dragons", "mon/draco"),
    "golem": ("mon/nonliving", "mon/statues", "dngn/statues"),
    "plant": ("mon/fungi_plants", "dngn/trees", "mon/tentacles/vine_ends", "mon/tentacles/vine_segments"),
    "floor": ("dngn/floor", "dngn/floor/grass"),
    "wall": ("dngn/wall", "dngn/wall/abyss"),
    "water": ("dngn/water",),
    "structure": ("dngn", "dngn/altars", "dngn/doors", "dngn/gateways", "dngn/vaults", "dngn/traps"),
    "spell": tuple(
        f"gui/spells/{school}"
        for school in "air conjuration earth enchantment fire ice necromancy poison summoning translocation transmutation".split()
    ) + ("gui/invocations", "gui/abilities"),
}  # fmt: skip

ELSEWHERE = {  # tiles whose own class is plain from the name, though their folder says another or none
    "animal": (
        "mon/guardian_serpent", "mon/griffon", "mon/hippogriff", "mon/manticore", "mon/unique/natasha", "mon/unique/prince_ribbit", "mon/vault/gigabat", "mon/vault/megabat",
        "mon/vault/microbat", "mon/vault/phase_bat", "player/transform/pig_form", "UNUSED/monsters/alligator_baby", "UNUSED/monsters/boring_beetle",
        "UNUSED/monsters/giant_centipede", "UNUSED/monsters/giant_firefly", "UNUSED/monsters/giant_goldfish", "UNUSED/monsters/jellyfish",
        "UNUSED/monsters/lava_fish", "UNUSED/monsters/lava_worm", "UNUSED/monsters/moth_of_suppression", "UNUSED/monsters/phoenix",
        "UNUSED/monsters/raven", "UNUSED/monsters/war_dog",
    ),
    "undead": ("mon/unique/boris", "mon/unique/murray", "mon/unique/jory", "mon/vault/zonguldrok_lich", "UNUSED/monsters/wight_king"),
    "demon": (
        "mon/unique/asmodeus", "mon/unique/dispater", "mon/unique/geryon", "UNUSED/monsters/asmodeus.small", "UNUSED/monsters/cerebov",
        "UNUSED/monsters/dispater.small", "UNUSED/monsters/gloorx_vloq", "UNUSED/monsters/lom_lobon", "UNUSED/monsters/mnoleg", "UNUSED/monsters/rotting_devil",
        "UNUSED/monsters/tormentor", "mon/sprint/dimme",
    ),
    "humanoid": (
        "mon/vault/hellbinder", "mon/vault/moon_troll", "UNUSED/monsters/centaur_paladin", "UNUSED/monsters/deep_dwarf_artificer",
        "UNUSED/monsters/deep_dwarf_berserker", "UNUSED/monsters/deep_dwarf_death_knight", "UNUSED/monsters/deep_troll_berserker",
        "UNUSED/monsters/enchantress_human", "UNUSED/monsters/formicid_venom_mage", "UNUSED/monsters/gnome", "UNUSED/monsters/michael",
        "UNUSED/monsters/naga_warrior_unique", "UNUSED/monsters/spriggan_enchanter", "UNUSED/monsters/spriggan_rider",
    ),
    "dragon": (
        "mon/unique/xtahua", "mon/unique/jormungandr", "mon/unique/tiamat_*", "player/transform/dragon_form*", "UNUSED/monsters/eastern_dragon",
        "UNUSED/monsters/forest_drake", "UNUSED/monsters/holy_dragon",
    ),
    "golem": ("mon/unique/roxanne", "mon/vault/*_statue", "UNUSED/monsters/*_statue", "dngn/vaults/golden_statue_*", "dngn/vaults/statue_*"),
    "plant": ("player/transform/mushroom_form", "player/transform/tree_form", "UNUSED/monsters/thorn_lotus"),
    "water": ("UNUSED/features/deep_water*",),
    "structure": (
        "dngn/statues/*column*",
        "UNUSED/features/altar_ashenzari", "UNUSED/features/hive_portal", "UNUSED/features/rock_stairs_*", "UNUSED/features/branch_stairs",
        "UNUSED/features/sarcophagus_open", "UNUSED/features/trap_mechanical", "UNUSED/features/gas_trap",
    ),
    "treasure": ("UNUSED/other/magic_lamp",),
}  # fmt: skip

WHOLE = (  # painted over less than a sixth of the tile, and yet what the class says
    "item/gold/01", "item/staff/staff04", "item/weapon/dagger", "item/weapon/ranged/blowgun?", "item/weapon/artefact/urand_arc_blade",
    "item/weapon/artefact/urand_blowgun", "item/weapon/artefact/urand_spriggans_knife",
)  # fmt: skip

LEFT_OUT = (  # (tiles, why)
    (("item/*/i-*", "item/*/*/i-*", "UNUSED/*/i-*"), "icon that is laid over an item"),
    (("item/weapon/ranged/stone", "item/weapon/ranged/needle*", "item/weapon/ranged/throwing_net"), "no weapon to the eye"),
    (("mon/demonspawn/black_sun", "mon/demonspawn/blood_saint", "mon/demonspawn/chaos_champion", "mon/demonspawn/corrupter",
      "mon/demonspawn/warmonger", "mon/draco/draco-job-*", "mon/statues/overlay_*"), "clothes of a figure"),
    (("mon/panlord/demon_body_*", "mon/panlord/demon_head_*", "mon/panlord/demon_wings_*"), "part of a figure that is taller than a tile"),
    (("mon/nonliving/*vortex*", "mon/nonliving/maelstrom*", "mon/nonliving/twister*", "mon/nonliving/ball_lightning", "mon/nonliving/battlesphere",
      "mon/nonliving/orb_of_fire", "mon/nonliving/fulminant_prism*", "mon/nonliving/insubstantial_wisp", "mon/nonliving/test_spawner",
      "mon/nonliving/spectral_*", "mon/nonliving/wellspring", "mon/statues/block_of_ice*"), "an effect or a thing, no figure"),
    (("mon/glowing_shapeshifter", "mon/shapeshifter", "mon/orb_guardian_fetus", "mon/unique/dissolution", "mon/unique/azrael", "mon/holy/ophan",
      "mon/holy/apis", "mon/orb_guardian", "mon/mutant_beast", "mon/unique/giaggostuono", "mon/unique/nellie"),
     "not the shape of its class"),
    (("dngn/floor/slime_overlay_*", "dngn/floor/pedestal_[nesw]*"), "edge that is laid over ground"),
    (("dngn/wall/shadow_*",), "shadow that is laid over ground"),
    (("dngn/water/ink_*", "dngn/water/liquefaction*", "dngn/water/grey_dirt_*"), "no water"),
    (("dngn/water/*_wave_*", "dngn/water/shallow_bord_*"), "edge that is laid over water"),
    (("dngn/unseen", "dngn/vaults/brick_dark_*", "dngn/vaults/dimension_edge", "dngn/vaults/teleporter_ice_cave", "dngn/vaults/disco_ball", "dngn/teleporter"),
     "ground or wall, no structure"),
    (("dngn/doors/gate_open_*", "dngn/doors/vgate_open_*"), "fragment of an open gate"),
)  # fmt: skip

LAYERS = (  # (class, figures or ground, what the game draws over them)
    ("golem", ("mon/statues/statue_base",), ("mon/statues/overlay_*",)),
    ("water", ("dngn/water/deep_water",), ("dngn/water/deep_water_wave_*1",)),
    ("water", ("dngn/water/shallow_water",), ("dngn/water/shallow_water_wave_*",)),
)  # fmt: skip

# What a doll wears: (folders, the probability of wearing one), drawn in this order. Only parts made for a figure on two legs.
PARTS = (
    (("player/cloak",), 0.35),
    (("player/base",), 1.0),
    (("player/legs",), 0.85),
    (("player/boots",), 0.8),
    (("player/body",), 0.95),
    (("player/gloves",), 0.5),
    (("player/hair",), 0.6),
    (("player/beard",), 0.08),
    (("player/head",), 0.55),
    (("player/hand1", "player/hand1/artefact", "player/hand_right", "player/hand_right/artefact"), 0.9),
    (("player/hand2", "player/hand2/doll_only", "player/hand_left", "player/hand_left/doll_only"), 0.5),
)
BASES = ("deep_dwarf", "deep_elf", "demigod", "dwarf", "elf", "gnome", "halfling", "human", "mummy", "vampire", "ghoul", "demonspawn_red", "spriggan",
         "kobold2", "minotaur_brown1", "minotaur_brown2", "lorc", "tengu_wingless")  # fmt: skip
SMOOTH = ("deep_dwarf", "deep_elf", "demigod", "dwarf", "elf", "gnome", "halfling", "human", "vampire")  # those that wear hair
NOT_WORN = ("player/boots/hooves", "player/boots/spider", "player/gloves/claws", "player/hair/tengu_comb", "player/hair/djinn*", "player/legs/garter",
            "player/hand1/artefact/bladehands*")  # fmt: skip

STONES = {  # of a ring: (hue in degrees, saturation factor)
    "ruby": (356, 1.0), "amber": (32, 1.0), "topaz": (52, 1.0), "emerald": (135, 1.0), "aquamarine": (180, 0.9), "sapphire": (222, 1.0),
    "amethyst": (278, 0.9), "tourmaline": (330, 1.0), "diamond": (200, 0.12),
}  # fmt: skip
BANDS = {  # of a ring: (hue in degrees, saturation, brightness of its lightest point)
    "gold": (45, 0.75, 1.0), "silver": (210, 0.05, 0.95), "copper": (24, 0.7, 0.95), "iron": (215, 0.15, 0.6), "jade": (150, 0.5, 0.8),
    "ivory": (45, 0.2, 1.0),
}  # fmt: skip


def build(source, out, *, seed=0):
    """Write the set to the folder `out`: OUT/CLASS/*.png (32x32, straight RGBA), OUT/labels.txt and OUT/data.json.

    `source` is a folder or a tar archive. Returns what data.json says: the count of every class, what was left out and why."""
    out = Path(out).absolute()
    tiles = open_source(source)
    pictures, left_out = _choose(tiles)
    bad = [[name, reason] for name, reason in tiles.bad]
    composed = {}
    for kind, made in (("layers", _layers(tiles)), ("rings", _rings(tiles)), ("adventurers", _adventurers(tiles, seed))):
        composed[kind] = len(made)
        pictures += made
    pictures, doubles = _once(pictures)
    counts = {c: sum(1 for kind, _, _ in pictures if kind == c) for c in CLASSES}
    for c in CLASSES:
        need(counts[c], f"{source} has no tiles of the class {c}: is it the tile set of Dungeon Crawl Stone Soup?")
    summary = {
        "source": {"name": "Dungeon Crawl Stone Soup tiles", "sha256": tiles.digest()},
        "license": "unclear in part: see github.com/crawl/tiles for the tiles that are CC0-1.0" if tiles.match(UNCLEAR) else LICENSE,
        "seed": seed,
        "size": SIDE,
        "counts": counts,
        "composed": composed,
        "pictures": len(pictures),
        "bad": bad,
        "left_out": left_out + doubles,
    }
    with bundle.beside(out) as work:
        for kind, name, pixels in pictures:
            folder = work / kind
            folder.mkdir(exist_ok=True)
            Image.fromarray(pixels).save(folder / f"{name}.png")
        (work / "labels.txt").write_text("\n".join(CLASSES) + "\n")
        (work / "data.json").write_text(json.dumps(summary, indent=1) + "\n")
    return summary


class Tiles:
    """The picture files below a root that holds item, mon, dngn and player, by their path without `.png`."""

    def __init__(self, readers):
        self._readers = readers
        self._seen = {}
        self.bad = []
        self.names = sorted(readers)
        self.folders = {}
        for name in self.names:
            self.folders.setdefault(str(PurePosixPath(name).parent), []).append(name)

    def match(self, patterns, folder=None):
        """The names that one of `patterns` matches, in order; `*` does not cross a slash."""
        names = self.names if folder is None else self.folders.get(folder, [])
        return [n for n in names if any(_like(n, p) for p in patterns)]

    def pixels(self, name):
        """uint8 [h, w, 4], straight, black where it is transparent; None where the file cannot be read."""
        if name not in self._seen:
            try:
                self._seen[name] = _read(self._readers[name]())
            except Exception as error:  # what PIL raises on a broken file is not said anywhere
                self._seen[name] = None
                self.bad.append((name + ".png", reason_of(error)))
        return self._seen[name]

    def digest(self):
        """SHA-256 over names and pixels of what was read."""
        sha = hashlib.sha256()
        for name in sorted(self._seen):
            if self._seen[name] is not None:
                sha.update(name.encode() + b"\0" + self._seen[name].tobytes())
        return sha.hexdigest()


def open_source(source):
    """The Tiles of a folder or an archive, wherever in it their root lies."""
    source = Path(source)
    need(source.exists(), f"{source} is not there: give the folder of the tiles, or their tar.gz")
    try:
        files = _walk(source) if source.is_dir() else _unpack(source)
    except (OSError, tarfile.TarError, EOFError) as error:
        raise Refused(f"{source} cannot be read as a folder or a tar archive of tiles: {error}") from None
    root = _root(files)
    need(root is not None, f"{source} holds no folder with item, mon, dngn and player in it: give the tile set of Dungeon Crawl Stone Soup")
    prefix = root + "/" if root else ""
    inside = {name[len(prefix) : -4]: read for name, read in files.items() if name.startswith(prefix)}
    return Tiles(inside)


def _is_tile(name):
    return name.endswith(".png") and not PurePosixPath(name).name.startswith(".")


def _walk(folder):
    files = {}
    for here, folders, names in os.walk(folder):
        folders.sort()
        for name in names:
            if _is_tile(name):
                path = Path(here, name)
                files[path.relative_to(folder).as_posix()] = lambda path=path: _small(path.stat().st_size, path.read_bytes)
    return files


def _small(size, read):
    if size > TILE_BYTES:
        raise ValueError(f"{size} bytes are too many for a tile")
    return read()


def _unpack(archive):
    """The pictures of a tar archive, in memory: nothing of it is written, so no name in it can do harm."""
    files = {}
    with tarfile.open(archive) as tar:
        for member in tar:
            if not (member.isfile() and _is_tile(member.name)):
                continue
            if member.size > TILE_BYTES:
                files[member.name] = lambda size=member.size: _small(size, bytes)
            else:
                data = tar.extractfile(member).read()
                files[member.name] = lambda data=data: data
    return {PurePosixPath(name).as_posix(): read for name, read in files.items()}


def _root(files):
    """The folder nearest to the top that has item, mon, dngn and player in it."""
    inside = {}
    for name in files:
        parts = name.split("/")
        for k in range(len(parts) - 1):
            inside.setdefault("/".join(parts[:k]), set()).add(parts[k])
    roots = [folder for folder, names in inside.items() if {"item", "mon", "dngn", "player"} <= names]
    return min(roots, key=lambda r: (r.count("/"), r), default=None)


def _read(data):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with Image.open(io.BytesIO(data)) as image:
            if image.width * image.height > 1 << 20:
                raise ValueError(f"{image.width}x{image.height} is no tile")
            pixels = np.array(image.convert("RGBA"))
    pixels[pixels[..., 3] == 0] = 0
    return pixels


def _like(name, pattern):
    return name.count("/") == pattern.count("/") and fnmatchcase(name, pattern)


def _named(name):
    return name.replace("/", "-")


def _choose(tiles):
    """([(class, name, pixels)], [[tile, why]]) of the tiles that stand as they are."""
    moved = {name: c for c, patterns in ELSEWHERE.items() for name in tiles.match(patterns)}
    wanted = {name: c for c in CLASSES for folder in FOLDERS.get(c, ()) for name in tiles.folders.get(folder, ())}
    wanted.update(moved)
    chosen, left_out = [], []
    for name in sorted(wanted):
        pixels = tiles.pixels(name)
        if pixels is None:
            continue
        reason = next((why for patterns, why in LEFT_OUT if any(_like(name, p) for p in patterns)), None)
        if reason is None:
            pixels, reason = _fit(pixels)
        if reason is None:
            share = float((pixels[..., 3] > 0).mean())
            if share < LEAST and not any(_like(name, p) for p in WHOLE):
                reason = f"paints {share:.0%} of the tile"
            elif wanted[name] in ("floor", "wall", "water") and (pixels[..., 3] > 0).mean() < 0.98 and "clear" not in name:
                reason = "ground that does not fill the tile"
        if reason is None:
            chosen.append((wanted[name], _named(name), pixels))
        else:
            left_out.append([name + ".png", reason])
    return chosen, left_out


def _fit(pixels):
    """(32x32 pixels, None), a smaller tile in the middle; (None, why) for a larger one."""
    h, w = pixels.shape[:2]
    if max(h, w) > SIDE:
        return None, f"is {w}x{h}, larger than a tile"
    if (h, w) == (SIDE, SIDE):
        return pixels, None
    whole = np.zeros((SIDE, SIDE, 4), np.uint8)
    top, left = (SIDE - h) // 2, (SIDE - w) // 2
    whole[top : top + h, left : left + w] = pixels
    return whole, None


def _once(pictures):
    """Without those whose pixels another one before them has."""
    seen, kept, doubles = {}, [], []
    for kind, name, pixels in pictures:
        first = seen.setdefault(pixels.tobytes(), f"{kind}/{name}.png")
        if first == f"{kind}/{name}.png":
            kept.append((kind, name, pixels))
        else:
            doubles.append([f"{kind}/{name}.png", f"the same pixels as {first}"])
    return kept, doubles


def over(below, above):
    """Straight RGBA `above` laid over `below`, both uint8 [h, w, 4]."""
    b, a = below.astype(np.float64) / 255, above.astype(np.float64) / 255
    alpha = a[..., 3:] + b[..., 3:] * (1 - a[..., 3:])
    colour = a[..., :3] * a[..., 3:] + b[..., :3] * b[..., 3:] * (1 - a[..., 3:])
    colour = np.divide(colour, alpha, out=np.zeros_like(colour), where=alpha > 0)
    return np.floor(np.concatenate([colour, alpha], axis=-1) * 255 + 0.5).astype(np.uint8)


def _tile(tiles, name):
    pixels = tiles.pixels(name)
    return pixels if pixels is not None and pixels.shape == (SIDE, SIDE, 4) else None


def _layers(tiles):
    made = []
    for kind, below, above in LAYERS:
        for low in tiles.match(below):
            for high in tiles.match(above):
                a, b = _tile(tiles, low), _tile(tiles, high)
                if a is not None and b is not None:
                    made.append((kind, f"{_named(low)}+{high.rsplit('/', 1)[1]}", over(a, b)))
    return made


def _rings(tiles):
    """Rings of other metals and stones: the set has few of its own, and hardly more than their colours tells them apart."""
    made = []
    for name in tiles.match(("item/ring/ruby", "item/ring/tourmaline")):
        pixels = _tile(tiles, name)
        if pixels is None:
            continue
        colours = np.array([colorsys.rgb_to_hsv(*p) for p in (pixels[..., :3].reshape(-1, 3) / 255).tolist()]).reshape(SIDE, SIDE, 3)
        hue, saturation, value = colours[..., 0] * 360, colours[..., 1], colours[..., 2]
        painted = (pixels[..., 3] > 0) & (value > 0)
        stone = painted & (saturation > 0.3) & ((hue > 300) | ((hue < 14) & (saturation > 0.9)))
        band = painted & ~stone
        for metal, (band_hue, band_saturation, brightest) in BANDS.items():
            for gem, (stone_hue, factor) in STONES.items():
                hsv = colours.copy()
                hsv[stone, 0], hsv[stone, 1] = stone_hue / 360, saturation[stone] * factor
                if factor < 0.5:
                    hsv[stone, 2] = 0.45 + 0.55 * value[stone]  # a clear stone is light
                hsv[band, 0], hsv[band, 1], hsv[band, 2] = band_hue / 360, band_saturation, value[band] * brightest / value[band].max()
                turned = np.array([colorsys.hsv_to_rgb(*p) for p in hsv.reshape(-1, 3).tolist()]).reshape(SIDE, SIDE, 3)
                picture = pixels.copy()
                picture[painted, :3] = np.floor(turned[painted] * 255 + 0.5)
                made.append(("ring", f"{_named(name)}+{metal}-{gem}", picture))
    return made


def _adventurers(tiles, seed):
    """`ADVENTURERS` dolls with what they wear, drawn at random; each another one."""
    worn = []
    for folders, probability in PARTS:
        names = [n for folder in folders for n in tiles.folders.get(folder, ()) if not any(_like(n, p) for p in NOT_WORN)]
        worn.append((folders[0], probability, [n for n in names if _tile(tiles, n) is not None]))
    bases = next(names for folder, _, names in worn if folder == "player/base")
    families = {family: [n for n in bases if _like(n, f"player/base/{family}_*")] for family in sorted(BASES)}
    drawn = [family for family in families if families[family]]
    drawn += 2 * [family for family in drawn if family in SMOOTH]
    draw = _Draw(seed)
    made, seen = [], set()
    for _ in range(20 * ADVENTURERS if drawn else 0):  # enough to meet as many that differ, unless the source has few parts
        if len(made) == ADVENTURERS:
            break
        family = draw.one(drawn)
        doll = np.zeros((SIDE, SIDE, 4), np.uint8)
        for folder, probability, parts in worn:
            chance, which = draw.share(), draw.share()  # always two, so that one part does not move the draws of the next
            parts = families[family] if folder == "player/base" else parts
            bald = folder in ("player/hair", "player/beard") and family not in SMOOTH
            if parts and chance < probability and not bald:
                doll = over(doll, _tile(tiles, parts[int(which * len(parts))]))
        if doll.tobytes() not in seen:
            seen.add(doll.tobytes())
            made.append(("adventurer", f"{len(made):04d}", doll))
    return made


class _Draw:
    """Random numbers from SHA-256 of the seed and a count: the same in every version of every library."""

    def __init__(self, seed):
        self._seed, self._count = seed, 0

    def share(self):
        """0 <= share < 1"""
        self._count += 1
        digest = hashlib.sha256(f"adventurer {self._seed} {self._count}".encode()).digest()
        return int.from_bytes(digest[:6], "big") / (1 << 48)

    def one(self, items):
        return items[int(self.share() * len(items))]
