# SPDX-License-Identifier: MIT OR Apache-2.0
"""Sprites from dflow on planes, in a row: blender --python blender.py -- potion 8

Without arguments (in the text editor of Blender) it takes 8 potions. DFLOW names the command if it is not on the path.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import bpy


def generate(name: str, count: int, folder: Path) -> list[Path]:
    """Runs dflow, which prints the path of each picture that it wrote."""
    command = [os.environ.get("DFLOW", "dflow"), "generate", name, "--count", str(count), "-o", "{class}-{seed}.png"]
    result = subprocess.run(command, cwd=folder, check=True, stdout=subprocess.PIPE, text=True)
    return [folder / line for line in result.stdout.splitlines()]


def add_plane(picture: Path, x: float) -> None:
    """A plane with the picture as its texture, inside the scene: pixels stay sharp, and alpha is transparent."""
    bpy.ops.mesh.primitive_plane_add(size=1, location=(x, 0, 0))
    material = bpy.data.materials.new(picture.stem)
    material.use_nodes = True
    material.blend_method = "CLIP"
    nodes, links = material.node_tree.nodes, material.node_tree.links
    texture = nodes.new("ShaderNodeTexImage")
    texture.image = bpy.data.images.load(str(picture))
    texture.image.pack()
    texture.interpolation = "Closest"
    for output, target in [("Color", "Base Color"), ("Alpha", "Alpha")]:
        links.new(texture.outputs[output], nodes["Principled BSDF"].inputs[target])
    bpy.context.object.name = picture.stem
    bpy.context.object.data.materials.append(material)


arguments = sys.argv[sys.argv.index("--") + 1 :] if "--" in sys.argv else ["potion", "8"]
with tempfile.TemporaryDirectory() as folder:
    for number, picture in enumerate(generate(arguments[0], int(arguments[1]), Path(folder))):
        add_plane(picture, 1.1 * number)
