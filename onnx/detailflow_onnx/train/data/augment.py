"""Pictures as the models take them: float32, -1..1, premultiplied if they have alpha; optionally augmented."""

import math

import torch

from detailflow_onnx.errors import need

# Colour as luma and two chroma axes, and back: a hue rotation rotates the two.
_YIQ = torch.tensor(
    [[0.299, 0.587, 0.114], [0.595716, -0.274453, -0.321263], [0.211456, -0.522591, 0.311135]], dtype=torch.float64
)
_RGB = torch.linalg.inv(_YIQ)


def prepare(
    pictures: torch.Tensor,
    *,
    flips: bool,
    hue: float,
    generator: torch.Generator | None,
    recolour: float = 0.0,
    shift: int = 0,
    repeats: torch.Tensor | None = None,
) -> torch.Tensor:
    """Convert uint8 [n, C, S, S] with straight alpha to float32 in -1..1, premultiplied if C is 4.

    flips: half of the pictures are mirrored left to right. hue (0..1): probability that the hue of a picture is rotated
    by a random angle at constant luma; greys and alpha stay. recolour (0..1): probability that two random parts of the
    hues are rotated apart, and saturation and brightness changed. shift: most pixels by which a picture moves, as far
    as its transparent border allows. repeats [n, 2]: pictures that repeat down and across are moved at random around
    their edges. generator: of the CPU; None disables augmentation.
    """
    n, channels = pictures.shape[:2]
    need(channels in (3, 4), f"pictures have {channels} channels; 3 (RGB) or 4 (RGBA) is needed")
    need(0 <= hue <= 1, f"hue is {hue}; a probability from 0 to 1 is needed")
    x = pictures.to(torch.float32).div_(255)
    if generator is not None:
        # Always three numbers per picture, so that an augmentation that is off does not change the others.
        draws = torch.rand(3, n, generator=generator, device=generator.device).to(x.device)
        if hue > 0:
            chosen = (draws[1] < hue).nonzero()[:, 0]
            x[chosen, :3] = rotate_hue(x[chosen, :3], draws[2, chosen] * (2 * math.pi))
        if flips:
            chosen = (draws[0] < 0.5).nonzero()[:, 0]
            x[chosen] = x[chosen].flip(3)
        if recolour > 0:
            draws = torch.rand(7, n, generator=generator, device=generator.device).to(x.device)
            chosen = (draws[0] < recolour).nonzero()[:, 0]
            x[chosen, :3] = recoloured(x[chosen, :3], draws[1:, chosen])
        if shift or repeats is not None:
            draws = torch.rand(2, n, generator=generator, device=generator.device).to(x.device)
            x = moved(x, draws, shift, repeats)
    if channels == 4:
        x[:, :3] *= x[:, 3:]
    return x.mul_(2).sub_(1)


def recoloured(colour: torch.Tensor, draws: torch.Tensor) -> torch.Tensor:
    """Straight colour [n, 3, h, w] in 0..1 with two parts of the hues rotated apart: a swapped palette.

    draws [6, n] in 0..1: start and length of the first part, both angles, saturation, brightness.
    """
    to, back = (m.to(colour.device, colour.dtype) for m in (_YIQ, _RGB))
    start, length, one, two, saturation, light = draws[:, :, None, None]
    y, i, q = torch.einsum("ac,nchw->anhw", to, colour)
    turn = 2 * math.pi
    angle = torch.atan2(q, i)
    first = (angle / turn - start) % 1 < 0.25 + 0.5 * length
    angle = angle + turn * torch.where(first, one, two)
    chroma = torch.hypot(i, q) * (0.6 + 0.7 * saturation)
    y = y.clamp(min=0) ** (2 ** (light - 0.5))
    yiq = torch.stack([y, chroma * angle.cos(), chroma * angle.sin()])
    return torch.einsum("ac,cnhw->nahw", back, yiq).clamp_(0, 1)


def moved(x: torch.Tensor, draws: torch.Tensor, shift: int, repeats: torch.Tensor | None) -> torch.Tensor:
    """Pictures [n, C, S, S] in 0..1, moved: see `prepare`. draws [2, n] in 0..1: down and across."""
    n, channels, side = x.shape[:3]
    painted = x[:, 3] > 0 if channels == 4 else torch.ones_like(x[:, 0], dtype=torch.bool)
    index, at = [], torch.arange(side, device=x.device)
    for axis, draw in enumerate(draws):
        lines = painted.any(2 - axis)  # rows, then columns
        before = torch.where(lines, at, side).amin(1).clamp(max=shift)
        after = torch.where(lines, side - 1 - at, side).amin(1).clamp(max=shift)
        offset = (draw * (before + after + 1)).floor() - before
        if repeats is not None:
            offset = torch.where(repeats[:, axis].to(x.device), (draw * side).floor(), offset)
        index.append((at - offset[:, None].long()) % side)
    rows, columns = index
    picture = torch.arange(n, device=x.device)[:, None, None]
    return x.permute(0, 2, 3, 1)[picture, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2).contiguous()


def rotate_hue(colour: torch.Tensor, angle: torch.Tensor) -> torch.Tensor:
    """Rotate the hue of straight colour [n, 3, h, w] in 0..1 by `angle` [n] radians. Values are clipped to 0..1."""
    angle = angle.double().cpu()
    turn = torch.zeros(len(angle), 3, 3, dtype=torch.float64)
    turn[:, 0, 0] = 1
    turn[:, 1, 1] = turn[:, 2, 2] = torch.cos(angle)
    turn[:, 2, 1] = torch.sin(angle)
    turn[:, 1, 2] = -turn[:, 2, 1]
    m = (_RGB @ turn @ _YIQ).to(colour.device, colour.dtype)[..., None, None]  # [n, 3, 3, 1, 1]
    out = torch.empty_like(colour)
    for c in range(3):  # term by term, not as a matmul: the same bits for every batch size
        out[:, c] = m[:, c, 0] * colour[:, 0] + m[:, c, 1] * colour[:, 1] + m[:, c, 2] * colour[:, 2]
    return out.clamp_(0, 1)


def rotate_hue_premultiplied(images: torch.Tensor, angle: torch.Tensor) -> torch.Tensor:
    """Rotate the hue of pictures in 0..1, premultiplied if they have 4 channels, by `angle` [n] radians."""
    colour, alpha = images[:, :3], images[:, 3:]
    if not alpha.shape[1]:
        return rotate_hue(colour, angle)
    straight = (colour / alpha.clamp(min=1e-6)).clamp(0, 1)
    return torch.cat([rotate_hue(straight, angle) * alpha, alpha], 1)
