"""Losses of the tokenizer beside those of its codebook: pixels, features of a frozen network, a discriminator."""

import functools
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from detailflow_onnx.errors import Refused, need
from detailflow_onnx.train.recipe import TokenizerTrain

Losses = dict[str, torch.Tensor]


def resized(images: torch.Tensor, size: int) -> torch.Tensor:
    """[B, C, h, w] -> [B, C, size, size]: bilinear, antialiased, half-pixel centres."""
    if images.shape[-1] == size:
        return images
    return functional.interpolate(images, size=(size, size), mode="bilinear", antialias=True, align_corners=False)


def degraded(images: torch.Tensor, resolution: int, size: int) -> torch.Tensor:
    """The target of a prefix that reaches `resolution`, decoded at `size`: pictures without finer detail."""
    return resized(resized(images, resolution), size)


def edges(images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Differences of horizontal and vertical neighbours."""
    return images.diff(dim=-1), images.diff(dim=-2)


def pixel_losses(made: torch.Tensor, wanted: torch.Tensor, settings: TokenizerTrain) -> Losses:
    """The losses with a weight in the settings, over pictures in -1..1."""
    out: Losses = {}
    if settings.l2:
        out["l2"] = functional.mse_loss(made, wanted)
    if settings.log_l2:
        out["log_l2"] = ((made - wanted).pow(2).mean((1, 2, 3)) + 1e-4).log().mean()
    if settings.l1:
        out["l1"] = functional.l1_loss(made, wanted)
    if settings.edges:
        terms = [functional.l1_loss(a, b) for a, b in zip(edges(made), edges(wanted)) if a.numel()]
        if terms:
            out["edges"] = functools.reduce(torch.add, terms) / 2
    return out


MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet normalization, the usual one


def _from_timm(name: str, file: str) -> nn.Module | None:
    try:
        import timm
    except ImportError:
        return None
    try:
        if not timm.is_model(name):
            return None
        more = {"checkpoint_path": file} if file else {}
        model: nn.Module = timm.create_model(name, pretrained=not file, num_classes=0, **more)
    except Exception as error:  # downloads raise many kinds of exceptions
        raise Refused(f"{name}: timm cannot load it ({error}); give a file of its weights as {name}=FILE") from None
    return model


def _from_torchvision(name: str, file: str) -> nn.Module:
    try:
        import torchvision
    except ImportError:
        raise Refused(f"{name}: it needs timm or torchvision (pip install timm torchvision)") from None
    known = name in torchvision.models.list_models()
    hint = "or it is not installed (pip install timm torchvision)"
    need(known, f"{name}: neither timm nor torchvision has this model, {hint}")
    try:
        model: nn.Module = torchvision.models.get_model(name, weights=None if file else "DEFAULT")
        if file:
            model.load_state_dict(torch.load(file, map_location="cpu", weights_only=True))
    except Exception as error:  # downloads and damaged files raise many kinds of exceptions
        text = str(error).splitlines()[0]
        raise Refused(f"{name}: cannot load its weights ({text}); give a file of them as {name}=FILE") from None
    return model


def pretrained(name: str) -> nn.Module:
    """A frozen network of timm or torchvision, by name. NAME=FILE reads its weights from a file."""
    name, _, file = name.partition("=")
    model = _from_timm(name, file)
    if model is None:
        model = _from_torchvision(name, file)
    return model.eval().requires_grad_(False)


def normalized(images: torch.Tensor, model: nn.Module) -> torch.Tensor:
    """Pictures in -1..1 as `model` expects them. Premultiplied RGBA is composited over grey."""
    x = (images[:, :3] + 1) / 2
    if images.shape[1] == 4:
        x = x + 0.5 * (1 - (images[:, 3:] + 1) / 2)
    config: dict[str, Any] = getattr(model, "pretrained_cfg", {})  # networks of timm say what they expect

    def channels(key: str, default: tuple[float, ...]) -> torch.Tensor:
        return torch.tensor(config.get(key, default), device=x.device, dtype=x.dtype).view(1, 3, 1, 1)

    return (x - channels("mean", MEAN)) / channels("std", DEVIATION)


class Perceptual(nn.Module):
    """Squared distance of unit-length features at five depths of a frozen network (LPIPS without learnt weights)."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.model = pretrained(name)
        self.taken: list[torch.Tensor] = []
        names, kinds = ("Bottleneck", "BasicBlock", "Block"), (nn.Conv2d, nn.LayerNorm)
        blocks = [m for m in self.model.modules() if isinstance(m, kinds) or type(m).__name__ in names]
        need(blocks, f"{name}: it has no layers whose features can be compared")
        for i in sorted({round(k * (len(blocks) - 1) / 5) for k in range(1, 6)}):
            blocks[i].register_forward_hook(lambda _, __, out: self.taken.append(out))

    def features(self, images: torch.Tensor) -> list[torch.Tensor]:
        """The features at each depth."""
        self.taken.clear()
        self.model(normalized(images, self.model))
        return [functional.normalize(x, dim=1 if x.ndim == 4 else -1) for x in self.taken]

    def forward(self, made: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
        """The loss."""
        with torch.no_grad():
            targets = [x.clone() for x in self.features(wanted)]
        pairs = zip(self.features(made), targets)
        terms = [(a - b).pow(2).sum(1 if a.ndim == 4 else -1).mean() for a, b in pairs]
        return functools.reduce(torch.add, terms) / len(targets)


class Align(nn.Module):
    """1 - cosine of the projected first code and the pooled features of a frozen network (section 3.2 of the paper)."""

    def __init__(self, name: str, code_width: int) -> None:
        super().__init__()
        self.teacher = pretrained(name)
        self.side: int = getattr(self.teacher, "pretrained_cfg", {}).get("input_size", (3, 224, 224))[-1]
        with torch.no_grad():
            width = self._pooled(torch.zeros(1, 3, self.side, self.side)).shape[-1]
        self.projection = nn.Sequential(
            nn.Linear(code_width, 1024), nn.SiLU(), nn.Linear(1024, 1024), nn.SiLU(), nn.Linear(1024, width)
        )

    def _pooled(self, x: torch.Tensor) -> torch.Tensor:
        x = self.teacher(x)
        if x.ndim == 2:
            return x
        return x.flatten(2).mean(-1) if x.ndim == 4 else x.mean(1)

    def forward(self, first: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
        """The loss."""
        with torch.no_grad():
            wanted = self._pooled(resized(normalized(images, self.teacher), self.side))
        return 1 - functional.cosine_similarity(self.projection(first), wanted, dim=-1).mean()


class Discriminator(nn.Module):
    """Strided convolutions with one score per patch."""

    def __init__(self, channels: int, size: int, width: int = 64) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(channels, width, 4, 2, 1), nn.LeakyReLU(0.2)]
        inner = width
        while size > 16 and inner < 8 * width:
            layers += [nn.Conv2d(inner, inner * 2, 4, 2, 1), nn.GroupNorm(8, inner * 2), nn.LeakyReLU(0.2)]
            inner, size = inner * 2, size // 2
        layers += [nn.Conv2d(inner, inner, 3, 1, 1), nn.LeakyReLU(0.2), nn.Conv2d(inner, 1, 3, 1, 1)]
        self.layers = nn.Sequential(*layers)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """The scores."""
        scores: torch.Tensor = self.layers(images)
        return scores


def augmented(images: torch.Tensor, size: int) -> torch.Tensor:
    """Differentiable augmentation: brightness, saturation, contrast, translation, cutout; of the global generator."""
    b, device = len(images), images.device

    def draw() -> torch.Tensor:
        return torch.rand(b, 1, 1, 1, device=device)

    colour = images[:, :3] + draw() - 0.5
    mean = colour.mean(1, keepdim=True)
    colour = (colour - mean) * (2 * draw()) + mean
    mean = colour.mean((1, 2, 3), keepdim=True)
    x = torch.cat([(colour - mean) * (0.5 + draw()) + mean, images[:, 3:]], 1)
    reach = size // 8
    padded = functional.pad(x, [reach] * 4)
    pixel = torch.arange(size, device=device)
    row, column = (torch.randint(0, 2 * reach + 1, (b, 1), device=device) + pixel for _ in range(2))
    sample = torch.arange(b, device=device)[:, None, None]
    x = padded[sample, :, row[:, :, None], column[:, None, :]].permute(0, 3, 1, 2)
    inside = [(pixel - torch.randint(0, size, (b, 1), device=device)).abs() < size // 4 for _ in range(2)]
    return x * ~(inside[0][:, None, :, None] & inside[1][:, None, None, :])
