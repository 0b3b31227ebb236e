"""Stage 1: the tokenizer (section 3.1 and 3.2 of the paper; DETAILFLOW section 6).

A step encodes a batch and decodes all of its tokens. A share of the pictures is also decoded from its first t tokens, and
compared with the picture degraded to what t tokens buy: this orders the tokens from coarse to fine. Another share has one
token or group replaced by a near one and is encoded again from that noisy prefix on, so that later tokens learn to repair it.
"""

import dataclasses

import torch
from torch.nn import functional

from detailflow_onnx.train.models import backbone
from detailflow_onnx.train import losses
from detailflow_onnx.train import optimise
from detailflow_onnx.train.data.feed import feed, prepare
from detailflow_onnx.train.loop import seeded
from detailflow_onnx.train.models.tokenizer import Tokenizer, ladder_of


def disturbed(tokenizer, ids, near, unit):
    """(ids with one token (below c) or one whole group replaced by near codes, where what follows it begins [B]).

    `unit` [B] is which: 0..c-1 the causal tokens, then the groups."""
    numbers = tokenizer.numbers
    c, g = numbers.causal, numbers.group
    start = torch.where(unit < c, unit, c + (unit - c) * g)
    end = torch.where(unit < c, unit + 1, start + g)
    place = torch.arange(numbers.count, device=ids.device)
    hit = (place >= start[:, None]) & (place < end[:, None])
    book = tokenizer.quantize.rows()
    neighbours = tokenizer.quantize.nearest(book[ids[hit]], min(near + 1, numbers.codes))
    own = neighbours == ids[hit][:, None]  # nearly always the first; where two codes coincide, perhaps not there at all
    neighbours = neighbours.gather(1, own.int().argsort(dim=1, stable=True))[:, :-1]
    pick = torch.randint(neighbours.shape[1], (len(neighbours), 1), device=ids.device)
    noisy = ids.clone()
    noisy[hit] = neighbours.gather(1, pick).squeeze(1)
    return noisy, end


def units(numbers):
    """How many tokens and groups can be disturbed: all but the last, which nothing could repair."""
    return numbers.causal + (numbers.count - numbers.causal) // numbers.group - 1


class TokenizerStage:
    def __init__(self, recipe, folder, place):
        self.recipe, self.settings, self.pictures, self.held_out, self.place = recipe, recipe.tokenizer.train, folder.train, folder.held_out, place
        self.classes = folder.classes
        self.numbers, settings = recipe.numbers, self.settings
        seeded(settings.seed, -1)
        self.module = Tokenizer(self.numbers)
        if recipe.tokenizer.model.backbone:
            backbone.begin(self.module, recipe.tokenizer.model.backbone)
        if settings.align:
            self.align = losses.Align(settings.align_model, self.numbers.code_width).to(place.device)
            # The projection is trained with the tokenizer, under the name of the published layout.
            self.module.global_token_proj = self.align.projection
        self.perceptual = losses.Perceptual(settings.perceptual_model).to(place.device) if settings.perceptual else None
        if settings.gan:
            self.critic = losses.Discriminator(self.numbers.channels, self.numbers.size).to(place.device)
            self.critic_optimiser = torch.optim.AdamW(self.critic.parameters(), lr=settings.gan_lr, betas=(0.5, 0.9), weight_decay=0.0)
        self.rows = {row["tokens"]: row for row in ladder_of(self.numbers)}
        self.used = torch.zeros(self.numbers.codes, device=place.device)
        self.renewals, self.since = [], 0
        self.recent = []  # latents of the last steps, for the k-means and for revivals
        self.quantising = not settings.continuous

    # ------------------------------------------------ what run.train asks for
    def identity(self):
        """What must be the same for a run to be gone on with: the model. Rates, losses and steps may change under way."""
        n, model = self.numbers, dataclasses.asdict(self.recipe.tokenizer.model)
        model.pop("backbone")  # only where it began
        return model | {"size": n.size, "channels": n.channels, "align": self.settings.align > 0, "optimizer": self.settings.optimizer}

    def batches(self, start):
        data, batch = self.recipe.data, -(-self.settings.batch // self.place.world)
        for step, images, _ in feed(self.pictures, batch=batch, seed=self.settings.seed, start=start, rank=self.place.rank, world=self.place.world,
                                    flips=data.flips, hue=data.hue, balance=data.balance, workers=data.workers):  # fmt: skip
            yield step, images.to(self.place.device)

    @staticmethod
    def size(batch):
        return len(batch)

    @staticmethod
    def split(batch, parts):
        return batch.chunk(parts)

    def state_dict(self):
        out = {"used": self.used, "quantising": self.quantising, "since": self.since, "recent": self.recent}
        if self.settings.gan:
            out |= {"critic": self.critic.state_dict(), "critic_optimiser": self.critic_optimiser.state_dict()}
        return out

    def load_state_dict(self, state):
        if self.place.world == 1:  # these are the first process's; the others' are gone, and counting begins anew
            self.used.copy_(state["used"])
        self.quantising, self.since, self.recent = state["quantising"], state["since"], state["recent"]
        if self.settings.gan and "critic" in state:
            self.critic.load_state_dict(state["critic"])
            optimise.resume([self.critic_optimiser], [state["critic_optimiser"]])

    def published(self, raw, averaged):
        """`model` is what is to be used: the average, where one is kept; without what was not trained."""
        idle = () if self.settings.correct else ("refine_conv.weight", "refine_conv.bias", "encoder.refined_tokens")
        return {"model": {name: value for name, value in averaged.items() if name not in idle}}

    def config(self):
        n, settings = self.numbers, self.settings
        published = n.encoder.width == 1152
        return {
            "image_size": n.size, "max_image_size": n.size, "codebook_size": n.codes, "codebook_embed_dim": n.code_width, "codebook_l2_norm": n.l2_norm,
            "commit_loss_beta": settings.commitment, "vq_loss_ratio": settings.codebook, "num_codebooks": 1, "enc_type": "siglip2", "dec_type": "siglip2",
            "encoder_model": "siglip2_base" if published else "siglip2", "decoder_model": "siglip2_base" if n.decoder.width == 768 else "siglip2",
            "num_latent_tokens": n.count, "enc_tuning_method": "full", "dec_tuning_method": "full", "enc_pretrained": published, "dec_pretrained": False,
            "enc_patch_size": n.encoder.patch, "dec_patch_size": n.decoder.patch, "vq_mean": 0.0, "vq_std": 1.0, "causal_encoder": True, "causal_decoder": False,
            "group_size": n.group, "causal_num": None if n.causal == n.group else n.causal, "global_token_loss_weight": settings.align,
            "correction_training": settings.correct > 0, "in_channels": n.channels,
        } | ({"num_heads": n.encoder.heads} if n.encoder.heads == n.decoder.heads else {})  # fmt: skip

    def config_yaml(self):
        n = self.numbers
        return {"vq_model": "VQ-16", "content_degradation": "resolution_power", "enc_type": "siglip2", "dec_type": "siglip2", "max_image_size": n.size, "min_image_size": n.size,
                "image_size": n.size, "num_latent_tokens": n.count, "group_size": n.group, "degradation_power": n.power, "encoder_patch_size": n.encoder.patch,
                "decoder_patch_size": n.decoder.patch, "causal_num": None if n.causal == n.group else n.causal, "codebook_size": n.codes,
                "codebook_embed_dim": n.code_width, "codebook_l2_norm": n.l2_norm}  # fmt: skip

    # ------------------------------------------------ a step
    def losses(self, step, images):
        if not self.quantising and step >= self.settings.continuous:
            self.begin_codes(step)
        settings, figures = self.settings, {}
        z = self.module.latents(images).float()
        codes, ids, terms = self.quantised(z)
        made = self.module.pixels(codes, self.numbers.size).float()
        terms |= self.compare(made, images)
        if settings.align:
            terms["align"] = settings.align * self.align(codes[:, 0], images)
        some = self.share(len(images), settings.truncate)
        if some:
            t = list(self.rows)[int(torch.randint(len(self.rows), ()))]
            row = self.rows[t]
            short = self.module.pixels(codes[:some, :t], row["size"]).float()
            wanted = losses.degraded(images[:some], row["resolution"], row["size"])
            for name, value in losses.pixel_losses(short, wanted, settings).items():
                terms["short_" + name] = getattr(settings, name) * settings.truncate * value
        some = self.share(len(images), settings.correct)
        if some and ids is not None:
            terms |= self.repaired(images[-some:], ids[-some:])
        self.remember(z, ids)
        loss = sum(terms.values())
        if settings.gan and step >= settings.gan_start:
            loss, figures = self.adversarial(loss, made, images)
        loss.backward()
        with torch.no_grad():
            # One unit of premultiplied colour and alpha is two of -1..1.
            figures |= {"loss": loss.detach(), "psnr": -10 * ((made - images).pow(2).mean((1, 2, 3)) / 4).clamp_min(1e-10).log10().mean()}
        return figures | {name: value.detach() for name, value in terms.items()}

    @staticmethod
    def share(count, share):
        """How many of `count` that is; of what is left over a draw decides, so that small parts of a batch miss nothing."""
        return min(count, int(count * share + float(torch.rand(()))))

    def compare(self, made, images, weight=1.0, prefix=""):
        settings = self.settings
        out = {prefix + name: weight * getattr(settings, name) * value for name, value in losses.pixel_losses(made, images, settings).items()}
        if self.perceptual:
            out[prefix + "perceptual"] = weight * settings.perceptual * self.perceptual(made, images)
        return out

    def quantised(self, z, where=None):
        """(codes that gradients pass through, ids, the codebook's terms); before quantising the latents themselves. `where`
        [B, N]: the places that the terms are about (default all)."""
        book, u = self.module.quantize, self.module.quantize.normal(z)
        if not self.quantising:
            return u, None, {}
        with torch.no_grad():
            ids = book.nearest(z).squeeze(-1)
        rows = book.normal(functional.embedding(ids, book.embedding.weight))
        near, far = (rows, u) if where is None else (rows[where], u[where])
        terms = {"codebook": self.settings.codebook * functional.mse_loss(near, far.detach()),
                 "commitment": self.settings.codebook * self.settings.commitment * functional.mse_loss(far, near.detach())}  # fmt: skip
        return u + (rows - u).detach(), ids, terms

    def repaired(self, images, ids):
        """The terms of pictures whose tokens were disturbed and encoded on from there."""
        with torch.no_grad():
            unit = torch.randint(units(self.numbers), (len(ids),), device=ids.device)
            noisy, first = disturbed(self.module, ids, self.settings.near, unit)
        rows = self.module.quantize.rows()[noisy]
        z = self.module.latents(images, rows.detach(), first).float()
        given = torch.arange(ids.shape[1], device=ids.device) < first[:, None]
        codes, _, terms = self.quantised(z, ~given)
        made = self.module.pixels(torch.where(given[..., None], rows.detach(), codes), self.numbers.size).float()
        share = self.settings.correct
        return {"repair_" + name: share * value for name, value in terms.items()} | self.compare(made, images, share, "repair_")

    def adversarial(self, loss, made, images):
        """The critic's step and its term, weighed so that its gradient at the last layer is as long as the others' (VQGAN)."""
        settings = self.settings
        look = (lambda x: losses.augmented(x, self.numbers.size)) if settings.gan_augment else lambda x: x
        self.critic.requires_grad_(True)
        real, fake = self.critic(look(images)), self.critic(look(made.detach()))
        critic = functional.relu(1 - real).mean() + functional.relu(1 + fake).mean()
        critic.backward()  # its step comes after all parts of the batch
        self.critic.requires_grad_(False)
        term = -self.critic(look(made)).mean()
        last = self.module.decoder.to_pixel.model.weight
        lengths = [torch.autograd.grad(x, last, retain_graph=True)[0].norm() for x in (loss, term)]
        weight = settings.gan * (lengths[0] / (lengths[1] + 1e-4)).clamp(max=1e4).detach()
        return loss + weight * term, {"critic": critic.detach(), "adversarial": term.detach(), "adversarial_weight": weight}

    def average_critic(self):
        if self.place.world > 1:
            for value in self.critic.parameters():
                torch.distributed.all_reduce(value.grad)
                value.grad /= self.place.world

    # ------------------------------------------------ the codebook's beginning and its dead codes
    @torch.no_grad()
    def remember(self, z, ids):
        if ids is not None:
            self.used += torch.bincount(ids.flatten(), minlength=len(self.used))
        if not self.quantising or self.settings.revive:
            self.recent.append(self.module.quantize.normal(z.detach()).flatten(0, 1))
            enough = -(-16 * self.numbers.codes // max(1, len(self.recent[-1])))
            self.recent = self.recent[-max(1, enough) :]

    @torch.no_grad()
    def gathered(self):
        """The latents of the last steps, of all processes."""
        z = torch.cat(self.recent)
        if self.place.world > 1:
            parts = [torch.empty_like(z) for _ in range(self.place.world)]
            torch.distributed.all_gather(parts, z)
            z = torch.cat(parts)
        return z

    @torch.no_grad()
    def begin_codes(self, step):
        """The codebook becomes the k-means of the last latents (of the unit sphere, where codes are normalised)."""
        z, book = self.gathered().float(), self.module.quantize
        seeded(self.settings.seed, -2)
        rows = z[torch.randperm(len(z), device=z.device)[: self.numbers.codes]].clone()
        if len(rows) < self.numbers.codes:
            rows = torch.cat([rows, functional.normalize(torch.randn(self.numbers.codes - len(rows), rows.shape[1], device=z.device), dim=-1)])
        for _ in range(10):
            nearest = self.assigned(z, rows)
            count = torch.bincount(nearest, minlength=len(rows))
            total = torch.zeros_like(rows).index_add_(0, nearest, z)
            rows = torch.where(count[:, None] > 0, book.normal(total / count.clamp_min(1)[:, None]), z[torch.randint(len(z), (len(rows),), device=z.device)])
        book.embedding.weight.copy_(rows)
        self.agree()
        self.quantising, self.recent, self.since = True, [], step
        self.renewals.append(("quantize.embedding.weight", slice(None)))
        self.used.zero_()

    def assigned(self, z, rows):
        """The nearest of `rows` to each of z, some at a time: all scores at once would take gigabytes."""
        with torch.autocast(z.device.type, enabled=False):
            offset = 0.0 if self.numbers.l2_norm else 0.5 * (rows**2).sum(-1)
            return torch.cat([(part @ rows.T - offset).argmax(-1) for part in z.split(8192)])

    def agree(self):
        """All processes take the first one's codebook: sums come out differently on each card."""
        if self.place.world > 1:
            torch.distributed.broadcast(self.module.quantize.embedding.weight.data, 0)

    @torch.no_grad()
    def after(self, step):
        """The critic's step; and dead codes move to where latents are."""
        settings = self.settings
        if settings.gan and step >= settings.gan_start:
            self.average_critic()
            self.critic_optimiser.step()
            self.critic_optimiser.zero_grad(set_to_none=True)
        if not (settings.revive and self.quantising and (step + 1) % settings.revive == 0):
            return
        if step - self.since < settings.revive:
            self.used.zero_()
            return
        if self.place.world > 1:
            torch.distributed.all_reduce(self.used)
        if step < settings.revive_until * settings.steps:
            dead = (self.used == 0).nonzero().squeeze(1)
            z = self.gathered()
            seeded(settings.seed, step, -3)
            dead = dead[: len(z)]
            self.module.quantize.embedding.weight[dead] = z[torch.randperm(len(z), device=z.device)[: len(dead)]].float()
            self.renewals.append(("quantize.embedding.weight", dead))
            self.agree()
        self.used.zero_()

    def renewed(self):
        out, self.renewals = self.renewals, []
        return out

    # ------------------------------------------------ what a person looks at
    def shown(self, most):
        """Up to `most` held-out pictures, or training ones where none are held out."""
        some = self.held_out if len(self.held_out) else self.pictures
        return prepare(some.read(torch.arange(len(some))[:: -(-len(some) // most)]), flips=False, hue=0.0, generator=None).to(self.place.device)

    def measure(self):
        """PSNR of held-out pictures at the full level, in 0..1, and how many codes they use."""
        if not len(self.held_out) or not self.quantising:
            return {}
        psnr, seen = [], torch.zeros(self.numbers.codes, dtype=torch.bool)
        for images in self.shown(512).split(64):
            ids = self.module.encode(images)[1]
            made = self.module.decode(ids, self.numbers.size).clamp(-1, 1)
            psnr.append(-10 * ((made - images).pow(2).mean((1, 2, 3)) / 4).clamp_min(1e-10).log10())
            seen[ids.flatten().cpu()] = True
        return {"held_out_psnr": float(torch.cat(psnr).mean()), "held_out_codes": int(seen.sum())}

    def sheet(self):
        """Held-out pictures, and what each level shows of them."""
        from detailflow_onnx.train.sheets import levels

        return levels(self.module, self.shown(24))
