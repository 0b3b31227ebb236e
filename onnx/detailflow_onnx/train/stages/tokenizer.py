"""Stage 1: the tokenizer (sections 3.1 and 3.2 of the paper).

A step encodes a batch and decodes all of its tokens. A share of the pictures is also decoded from the first t tokens
and compared with the picture degraded to the resolution of t tokens: this orders tokens from coarse to fine. In another
share one token or group is replaced by a near code and the picture is encoded again after that noisy prefix, so that
later tokens learn to correct it.

With `parts: decoder` the encoder and the codebook keep the weights that the run starts from, so that tokens keep their
meaning and an AR model its tokenizer. The decoder also learns the tokens that a search finds for the unchanged training
pictures.
"""

import dataclasses
import hashlib
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import distributed
from torch.nn import functional

from detailflow_onnx.checkpoint import layout, published
from detailflow_onnx.errors import need
from detailflow_onnx.numbers import ladder
from detailflow_onnx.train import losses, optimise, sheets, start
from detailflow_onnx.train.data.augment import prepare
from detailflow_onnx.train.data.batches import batches
from detailflow_onnx.train.data.folder import Folder
from detailflow_onnx.train.models import backbone
from detailflow_onnx.train.models.search import searched
from detailflow_onnx.train.models.tokenizer import REFINEMENT, Tokenizer
from detailflow_onnx.train.process import Process, seed_all
from detailflow_onnx.train.recipe import Recipe, TokenizerTrain
from detailflow_onnx.train.stages.codebook import CodebookTraining
from detailflow_onnx.train.stages.correction import perturbed, units

Losses = dict[str, torch.Tensor]
DECODER = ("decoder.", "post_quant_conv.")  # parameters of the decoder
DECODER_LAYERS = "decoder.visual_model.encoder.layers"  # as `start.begin_with` names them


def _log_error(made: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """log10 of the mean squared error of each picture, in premultiplied 0..1: a tenth of the negative PSNR.

    Pictures are in -1..1, where an error is twice as large.
    """
    return ((made - wanted).pow(2).mean((1, 2, 3)) / 4).clamp_min(1e-10).log10()


class Adversary:
    """The discriminator, its optimizer, and its loss for the tokenizer."""

    def __init__(self, channels: int, size: int, settings: TokenizerTrain, process: Process) -> None:
        self.size, self.settings, self.process = size, settings, process
        self.critic = losses.Discriminator(channels, size).to(process.device)
        self.optimiser = torch.optim.AdamW(
            self.critic.parameters(), lr=settings.gan_lr, betas=(0.5, 0.9), weight_decay=0.0
        )

    def state_dict(self) -> dict[str, Any]:
        """State for `resume.pt`."""
        return {"critic": self.critic.state_dict(), "critic_optimiser": self.optimiser.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore `state_dict`."""
        self.critic.load_state_dict(state["critic"])
        optimise.resume([self.optimiser], [state["critic_optimiser"]])

    def loss(
        self, loss: torch.Tensor, made: torch.Tensor, images: torch.Tensor, last: torch.Tensor
    ) -> tuple[torch.Tensor, Losses]:
        """Run the critic's backward pass and add its loss for the tokenizer.

        The weight of that loss equalizes the gradient norms of both losses at the last layer, as in VQGAN.
        """
        settings = self.settings
        view: Callable[[torch.Tensor], torch.Tensor] = lambda x: x  # noqa: E731  (the identity)
        if settings.gan_augment:
            view = lambda x: losses.augmented(x, self.size)  # noqa: E731  (as above)
        self.critic.requires_grad_(True)
        real, fake = self.critic(view(images)), self.critic(view(made.detach()))
        critic = functional.relu(1 - real).mean() + functional.relu(1 + fake).mean()
        critic.backward()  # `step` follows after all parts of the batch
        self.critic.requires_grad_(False)
        term = -self.critic(view(made)).mean()
        norms = [torch.autograd.grad(x, last, retain_graph=True)[0].norm() for x in (loss, term)]
        weight = settings.gan * (norms[0] / (norms[1] + 1e-4)).clamp(max=1e4).detach()
        figures = {"critic": critic.detach(), "adversarial": term.detach(), "adversarial_weight": weight}
        return loss + weight * term, figures

    def step(self) -> None:
        """The step of the critic's optimizer, with gradients averaged over processes."""
        if self.process.world > 1:
            for value in self.critic.parameters():
                if value.grad is not None:
                    distributed.all_reduce(value.grad)
                    value.grad /= self.process.world
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)


class TokenizerStage:
    """Stage 1 for the training loop."""

    def __init__(self, recipe: Recipe, folder: Folder, process: Process) -> None:
        self.recipe, self.settings, self.process = recipe, recipe.tokenizer.train, process
        self.pictures, self.held_out, self.classes = folder.train, folder.held_out, folder.classes
        self.numbers, settings = recipe.numbers, self.settings
        seed_all(settings.seed, -1)
        self.module = Tokenizer(self.numbers)
        if recipe.tokenizer.model.backbone:
            backbone.load_backbone(self.module, Path(recipe.tokenizer.model.backbone))
        self.align: losses.Align | None = None
        if settings.align:
            self.align = losses.Align(settings.align_model, self.numbers.code_width).to(process.device)
            # The projection is trained with the tokenizer, under the name of the published layout.
            self.module.global_token_proj = self.align.projection
        self.perceptual: losses.Perceptual | None = None
        if settings.perceptual:
            self.perceptual = losses.Perceptual(settings.perceptual_model).to(process.device)
        self.adversary: Adversary | None = None
        if settings.gan:
            self.adversary = Adversary(self.numbers.channels, self.numbers.size, settings, process)
        self.prefixes = ladder.table_of(self.numbers)
        self.codebook = CodebookTraining(self.module.quantize, settings, process)
        self.frozen = settings.parts == "decoder"
        self.begun = False
        self.searched: torch.Tensor | None = None  # ids of the unchanged training pictures
        if self.frozen:
            for name, value in self.module.named_parameters():
                value.requires_grad_(name.startswith(DECODER))

    def begin_with(self, folder: Path) -> list[str]:
        """Start from the weights of the tokenizer in `folder`; returns what is new. See `start.begin_with`."""
        theirs = published.open_model(published.Source(tokenizer=str(folder)))
        for key in ("size", "channels", "count", "group", "causal", "codes", "code_width", "l2_norm", "power"):
            have, want = getattr(theirs, key), getattr(self.numbers, key)
            need(have == want, f"{folder}: its {key} is {have}, but the recipe has {want}")
        for side in ("encoder", "decoder"):
            for key in ("heads", "patch", "eps"):
                have, want = getattr(getattr(theirs, side), key), getattr(getattr(self.numbers, side), key)
                need(have == want, f"{folder}: the {key} of its {side} is {have}, but the recipe has {want}")
        new = start.begin_with(self.module, theirs.tokenizer)
        self.codebook.quantizing = True  # the codebook is there
        encoder = [name for name in new if not name.endswith(DECODER_LAYERS)]
        need(not (self.frozen and encoder), f"{folder}: parts decoder trains none of {', '.join(encoder)}")
        self.begun = True
        return new

    # ------------------------------------------------ what the loop calls
    best = ("held_out_psnr", 1)

    def identity(self) -> dict[str, Any]:
        """The model. Rates, losses and steps may change when a run resumes."""
        n, model = self.numbers, dataclasses.asdict(self.recipe.tokenizer.model)
        model.pop("backbone")  # only the initial weights
        align, optimizer = self.settings.align > 0, self.settings.optimizer
        return model | {"size": n.size, "channels": n.channels, "align": align, "optimizer": optimizer}

    def batches(self, start: int) -> Iterator[tuple[int, torch.Tensor]]:
        """(step, images)."""
        data = self.recipe.data
        if self.frozen:
            need(self.begun, "tokenizer.train.parts is decoder, which needs a tokenizer to start from: --start DIR")
            self._search()
        source = batches(
            self.pictures,
            batch=-(-self.settings.batch // self.process.world),
            seed=self.settings.seed,
            start=start,
            rank=self.process.rank,
            world=self.process.world,
            flips=data.flips,
            hue=data.hue,
            balance=data.balance,
            workers=data.workers,
            recolour=data.recolour,
            shift=data.shift,
            wrap=data.wrap,
            drawings=data.drawings,
            device=self.process.device,
        )
        for step, images, _ in source:
            yield step, images.to(self.process.device)

    @staticmethod
    def size(batch: torch.Tensor) -> int:
        """Pictures in a batch."""
        return len(batch)

    @staticmethod
    def split(batch: torch.Tensor, parts: int) -> Sequence[torch.Tensor]:
        """A batch in parts."""
        return batch.chunk(parts)

    def state_dict(self) -> dict[str, Any]:
        """State for `resume.pt`."""
        adversary = self.adversary.state_dict() if self.adversary else {}
        searched = {"searched": self.searched, "searched_for": self._searched_for()}
        return self.codebook.state_dict() | adversary | {"parts": self.settings.parts} | searched

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore `state_dict`."""
        was, now = state.get("parts", "all"), self.settings.parts
        advice = "choose another --out, and give it this run with --start"
        need(was == now, f"tokenizer.train.parts is {now}, but the run has trained {was}: {advice}")
        self.codebook.load_state_dict(state)
        self.begun = True
        # Of other pictures, or by another effort: they are searched again.
        self.searched = state.get("searched") if state.get("searched_for") == self._searched_for() else None
        if self.adversary and "critic" in state:
            self.adversary.load_state_dict(state)

    def published(self, raw: dict[str, Any], averaged: dict[str, Any]) -> dict[str, Any]:
        """The averaged weights, if there are any, without untrained tensors."""
        idle = () if self.settings.correct or self.frozen else REFINEMENT
        return {"model": {name: value for name, value in averaged.items() if name not in idle}}

    def config(self) -> dict[str, Any]:
        """config.json of the published layout."""
        settings = self.settings
        return layout.describe_tokenizer(self.numbers)[0] | {
            "commit_loss_beta": settings.commitment,
            "vq_loss_ratio": settings.codebook,
            "global_token_loss_weight": settings.align,
            "correction_training": settings.correct > 0,
        }

    def config_yaml(self) -> dict[str, Any]:
        """config.yaml of the published layout."""
        return layout.describe_tokenizer(self.numbers)[1]

    def after(self, step: int, done: float) -> None:
        """The discriminator's step, and the revival of codes."""
        if self.adversary and step >= self.settings.gan_start:
            self.adversary.step()
        if not self.frozen:
            self.codebook.revive(step, done)

    def renewed(self) -> list[tuple[str, Any]]:
        """Codes that were replaced."""
        return self.codebook.renewed()

    # ------------------------------------------------ a step
    def losses(self, step: int, images: torch.Tensor) -> Losses:
        """Forward and backward."""
        if self.frozen:
            return self._decoder_losses(step, images)
        if not self.codebook.quantizing and step >= self.settings.continuous:
            self.codebook.start(step)
        settings = self.settings
        z = self.module.latents(images).float()
        codes, ids, terms = self.codebook.quantize(z)
        made = self.module.pixels(codes, self.numbers.size).float()
        terms |= self._compare(made, images)
        if self.align:
            terms["align"] = settings.align * self.align(codes[:, 0], images)
        some = _sample_count(len(images), settings.truncate)
        if some:
            terms |= self._truncated(codes[:some], images[:some])
        some = _sample_count(len(images), settings.correct)
        if some and ids is not None:
            terms |= self._corrected(images[-some:], ids[-some:])
        self.codebook.remember(z, ids)
        return self._backward(step, terms, made, images)

    def _backward(self, step: int, terms: Losses, made: torch.Tensor, images: torch.Tensor) -> Losses:
        """Backward of the sum of all terms and of the adversary's; the figures of the step."""
        figures: Losses = {}
        loss: Any = sum(terms.values())
        if self.adversary and step >= self.settings.gan_start:
            last = self.module.decoder.to_pixel.model.weight
            loss, figures = self.adversary.loss(loss, made, images, last)
        loss.backward()
        with torch.no_grad():
            figures |= {"loss": loss.detach(), "psnr": -10 * _log_error(made, images).mean()}
        return figures | {name: value.detach() for name, value in terms.items()}

    def _decoder_losses(self, step: int, images: torch.Tensor) -> Losses:
        """Forward and backward of the decoder alone."""
        settings, size = self.settings, self.numbers.size
        with torch.no_grad():
            rows = self.module.quantize.rows()
            codes = rows[self.module.encode(images)[1]]
        made = self.module.pixels(codes, size).float()
        terms = self._compare(made, images)
        some = _sample_count(len(images), settings.truncate)
        if some:
            terms |= self._truncated(codes[:some], images[:some])
        if settings.searched and self.searched is not None:
            at = torch.randint(len(self.searched), (max(1, round(settings.searched * len(images))),))
            wanted = self._unchanged(at).to(images.device)
            codes = rows[self.searched[at].to(images.device)]
            found = self._compare(self.module.pixels(codes, size).float(), wanted, settings.searched, "searched_")
            some = _sample_count(len(wanted), settings.truncate)
            if some:
                short = self._truncated(codes[:some], wanted[:some])
                found |= {f"searched_{name}": settings.searched * value for name, value in short.items()}
            terms |= found
        return self._backward(step, terms, made, images)

    def _searched_for(self) -> list[Any]:
        """What the searched tokens depend on, but for the weights."""
        names = "\n".join(self.pictures.paths)
        return [self.settings.effort, len(self.pictures), hashlib.sha256(names.encode()).hexdigest()]

    def _unchanged(self, at: torch.Tensor) -> torch.Tensor:
        return prepare(self.pictures.read(at), flips=False, hue=0.0, generator=None)

    def _search(self) -> None:
        """Search for tokens of the training pictures, unless a resumed run has them."""
        settings = self.settings
        if not settings.searched or self.searched is not None:
            return
        found = torch.zeros(len(self.pictures), self.numbers.count, dtype=torch.int64)
        if self.process.first:
            print(f"searching for tokens of {len(found)} pictures, effort {settings.effort}", file=sys.stderr)
            self.module.eval()
            for at in torch.arange(len(found)).split(256):
                images = (self._unchanged(at) + 1) / 2
                with self.process.autocast(settings.precision):
                    found[at] = searched(self.module, images, settings.effort)
            self.module.train()
        if self.process.world > 1:
            shared = found.to(self.process.device)
            distributed.broadcast(shared, 0)
            found = shared.cpu()
        self.searched = found

    def rehearse(self, images: torch.Tensor, count: int) -> None:
        """Forward and backward of `count` pictures, without any effect."""
        made = self.module.pixels(self.module.latents(images[:count]), self.numbers.size)
        trained = [value for value in self.module.parameters() if value.requires_grad]
        torch.autograd.grad(made.float().pow(2).mean(), trained, allow_unused=True)

    @staticmethod
    def takes_over(changed: dict[str, Any], state: dict[str, torch.Tensor]) -> bool:
        """Another tokenizer starts from its own weights."""
        return False

    def _compare(self, made: torch.Tensor, images: torch.Tensor, weight: float = 1.0, prefix: str = "") -> Losses:
        settings = self.settings
        pixels = losses.pixel_losses(made, images, settings)
        out = {prefix + name: weight * getattr(settings, name) * value for name, value in pixels.items()}
        if self.perceptual:
            out[prefix + "perceptual"] = weight * settings.perceptual * self.perceptual(made, images)
        return out

    def _truncated(self, codes: torch.Tensor, images: torch.Tensor) -> Losses:
        """The losses of pictures decoded from a random prefix."""
        settings = self.settings
        row = self.prefixes[int(torch.randint(len(self.prefixes), ()))]
        short = self.module.pixels(codes[:, : row["tokens"]], row["size"]).float()
        wanted = losses.degraded(images, row["resolution"], row["size"])
        pixels = losses.pixel_losses(short, wanted, settings)
        return {"short_" + k: getattr(settings, k) * settings.truncate * value for k, value in pixels.items()}

    def _corrected(self, images: torch.Tensor, ids: torch.Tensor) -> Losses:
        """The losses of pictures encoded again after a noisy prefix."""
        with torch.no_grad():
            unit = torch.randint(units(self.numbers), (len(ids),), device=ids.device)
            noisy, first = perturbed(self.module, ids, self.settings.near, unit)
        rows = self.module.quantize.rows()[noisy]
        z = self.module.latents(images, rows.detach(), first).float()
        given = torch.arange(ids.shape[1], device=ids.device) < first[:, None]
        codes, _, terms = self.codebook.quantize(z, ~given)
        mixed = torch.where(given[..., None], rows.detach(), codes)
        made = self.module.pixels(mixed, self.numbers.size).float()
        share = self.settings.correct
        weighted = {"repair_" + name: share * value for name, value in terms.items()}
        return weighted | self._compare(made, images, share, "repair_")

    # ------------------------------------------------ what a person looks at
    def _shown(self, most: int) -> torch.Tensor:
        """Up to `most` held-out pictures, or training pictures if none are held out."""
        some = self.held_out if len(self.held_out) else self.pictures
        pixels = some.read(torch.arange(len(some))[:: -(-len(some) // most)])
        return prepare(pixels, flips=False, hue=0.0, generator=None).to(self.process.device)

    def measure(self) -> dict[str, float]:
        """PSNR of held-out pictures at the full level, and how many codes they use."""
        if not len(self.held_out) or not self.codebook.quantizing:
            return {}
        psnr, used = [], torch.zeros(self.numbers.codes, dtype=torch.bool)
        for images in self._shown(512).split(64):
            ids = self.module.encode(images)[1]
            psnr.append(-10 * _log_error(self.module.decode(ids, self.numbers.size).clamp(-1, 1), images))
            used[ids.flatten().cpu()] = True
        return {"held_out_psnr": float(torch.cat(psnr).mean()), "held_out_codes": int(used.sum())}

    def sheet(self) -> Image.Image:
        """Held-out pictures, and what each level shows of them."""
        return sheets.levels(self.module, self._shown(24))


def _sample_count(count: int, share: float) -> int:
    """`share` of `count`, rounded up or down at random so that small parts of a batch are right on average."""
    return min(count, int(count * share + float(torch.rand(()))))
