"""What the tokenizer is trained by, beside its codes: pixels, a frozen network's features, a discriminator."""

import torch
from torch import nn
from torch.nn import functional

from detailflow_onnx.errors import Refused, need


def resized(images, size):
    """[B, C, h, w] -> [B, C, size, size]: bilinear, antialiased."""
    if images.shape[-1] == size:
        return images
    return functional.interpolate(images, size=(size, size), mode="bilinear", antialias=True, align_corners=False)


def degraded(images, resolution, size):
    """What tokens that buy `resolution` are asked to show at `size`: the picture with no more detail than that."""
    return resized(resized(images, resolution), size)


def edges(images):
    """Differences of neighbours, across and down."""
    return images.diff(dim=-1), images.diff(dim=-2)


def pixel_losses(made, wanted, settings):
    """{name: loss} over pictures in -1..1; only those that the settings weigh."""
    out = {}
    if settings.l2:
        out["l2"] = functional.mse_loss(made, wanted)
    if settings.log_l2:
        out["log_l2"] = ((made - wanted).pow(2).mean((1, 2, 3)) + 1e-4).log().mean()
    if settings.l1:
        out["l1"] = functional.l1_loss(made, wanted)
    if settings.edges:
        out["edges"] = sum(functional.l1_loss(a, b) for a, b in zip(edges(made), edges(wanted)) if a.numel()) / 2
        if not torch.is_tensor(out["edges"]):
            out.pop("edges")
    return out


MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet: what networks were mostly trained with


def pretrained(name):
    """A frozen network of timm or torchvision, by name; NAME=FILE has its weights from a file."""
    name, _, file = name.partition("=")
    model = None
    try:
        import timm

        if timm.is_model(name):
            model = timm.create_model(name, pretrained=not file, num_classes=0, **({"checkpoint_path": file} if file else {}))
    except ImportError:
        pass
    except Exception as error:
        raise Refused(f"{name}: timm cannot give it ({error}); name a file of its weights as {name}=FILE") from None
    if model is None:
        try:
            import torchvision

            need(name in torchvision.models.list_models(), f"{name}: neither timm nor torchvision has such a model, or they are not installed (pip install timm torchvision)")
            model = torchvision.models.get_model(name, weights=None if file else "DEFAULT")
            if file:
                model.load_state_dict(torch.load(file, map_location="cpu", weights_only=True))
        except ImportError:
            raise Refused(f"{name}: it takes timm or torchvision (pip install timm torchvision)") from None
        except Refused:
            raise
        except Exception as error:
            raise Refused(f"{name}: its weights cannot be had ({str(error).splitlines()[0]}); name a file of them as {name}=FILE") from None
    return model.eval().requires_grad_(False)


def as_seen(images, model):
    """Pictures in -1..1 as `model` was trained to see them; premultiplied RGBA stands on grey."""
    x = (images[:, :3] + 1) / 2
    if images.shape[1] == 4:
        x = x + 0.5 * (1 - (images[:, 3:] + 1) / 2)
    known = getattr(model, "pretrained_cfg", {})  # timm's networks say what they want
    mean, deviation = (torch.tensor(v, device=x.device, dtype=x.dtype).view(1, 3, 1, 1) for v in (known.get("mean", MEAN), known.get("std", DEVIATION)))
    return (x - mean) / deviation


class Perceptual(nn.Module):
    """Squared distance between unit-length features at five depths of a frozen network (LPIPS without learnt weights)."""

    def __init__(self, name):
        super().__init__()
        self.model, self.taken = pretrained(name), []
        blocks = [m for m in self.model.modules() if isinstance(m, (nn.Conv2d, nn.LayerNorm)) or type(m).__name__ in ("Bottleneck", "BasicBlock", "Block")]
        need(blocks, f"{name}: it has no layers whose features could be compared")
        for i in sorted({round(k * (len(blocks) - 1) / 5) for k in range(1, 6)}):
            blocks[i].register_forward_hook(lambda _, __, out: self.taken.append(out))

    def features(self, images):
        self.taken.clear()
        self.model(as_seen(images, self.model))
        return [functional.normalize(x, dim=1 if x.ndim == 4 else -1) for x in self.taken]

    def forward(self, made, wanted):
        with torch.no_grad():
            there = [x.clone() for x in self.features(wanted)]
        return sum((a - b).pow(2).sum(1 if a.ndim == 4 else -1).mean() for a, b in zip(self.features(made), there)) / len(there)


class Align(nn.Module):
    """The first token's code, through a small network, against the pooled features of a frozen one: 1 - cosine (section 3.2)."""

    def __init__(self, name, code_width):
        super().__init__()
        self.teacher = pretrained(name)
        self.side = getattr(self.teacher, "pretrained_cfg", {}).get("input_size", (3, 224, 224))[-1]
        with torch.no_grad():
            width = self._pooled(torch.zeros(1, 3, self.side, self.side)).shape[-1]
        self.projection = nn.Sequential(nn.Linear(code_width, 1024), nn.SiLU(), nn.Linear(1024, 1024), nn.SiLU(), nn.Linear(1024, width))

    def _pooled(self, x):
        x = self.teacher(x)
        return x if x.ndim == 2 else x.flatten(2).mean(-1) if x.ndim == 4 else x.mean(1)

    def forward(self, first, images):
        with torch.no_grad():
            wanted = self._pooled(resized(as_seen(images, self.teacher), self.side))
        return 1 - functional.cosine_similarity(self.projection(first), wanted, dim=-1).mean()


class Discriminator(nn.Module):
    """Strided convolutions down to patches that are each judged."""

    def __init__(self, channels, size, width=64):
        super().__init__()
        layers, inner = [nn.Conv2d(channels, width, 4, 2, 1), nn.LeakyReLU(0.2)], width
        while size > 16 and inner < 8 * width:
            layers += [nn.Conv2d(inner, inner * 2, 4, 2, 1), nn.GroupNorm(8, inner * 2), nn.LeakyReLU(0.2)]
            inner, size = inner * 2, size // 2
        self.layers = nn.Sequential(*layers, nn.Conv2d(inner, inner, 3, 1, 1), nn.LeakyReLU(0.2), nn.Conv2d(inner, 1, 3, 1, 1))

    def forward(self, images):
        return self.layers(images)


def augmented(images, size):
    """Differentiable augmentation: brightness, saturation, contrast, then translation, then a cut-out square. What is drawn
    comes from the global generator."""
    b = len(images)
    draw = lambda: torch.rand(b, 1, 1, 1, device=images.device)  # noqa: E731
    colour = images[:, :3] + draw() - 0.5
    mean = colour.mean(1, keepdim=True)
    colour = (colour - mean) * (2 * draw()) + mean
    mean = colour.mean((1, 2, 3), keepdim=True)
    x = torch.cat([(colour - mean) * (0.5 + draw()) + mean, images[:, 3:]], 1)
    reach = size // 8
    padded = functional.pad(x, [reach] * 4)
    row, column = (torch.randint(0, 2 * reach + 1, (b, 1), device=x.device) + torch.arange(size, device=x.device) for _ in range(2))
    x = padded[torch.arange(b, device=x.device)[:, None, None], :, row[:, :, None], column[:, None, :]].permute(0, 3, 1, 2)
    place = torch.arange(size, device=x.device)
    inside = [(place - torch.randint(0, size, (b, 1), device=x.device)).abs() < size // 4 for _ in range(2)]
    return x * ~(inside[0][:, None, :, None] & inside[1][:, None, None, :])
