"""The networks: autoencoder, the paper's U-Net, and residual MLPs.

A score network maps a noised latent ``x`` ``(B, D)`` and a time ``t`` ``(B,)`` in (0, 1] to ``(B,
D)``,
a score or a noise: see :class:`scoehr.sdes.ScoreModel`.

Naseer et al. (2023), ScoEHR, for the autoencoder and the choice of the U-Net; Ho, Jain & Abbeel
(2020), Denoising Diffusion Probabilistic Models, for the U-Net; Vaswani et al. (2017) for the
sinusoidal embedding.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scoehr.files import InputError

Head = Literal["relu", "sigmoid", "poisson"]

# ----------------------------------------------------------------------------
# Autoencoder


class Autoencoder(nn.Module):
    """One hidden layer with tanh latents, as in the paper.

    ``head`` names the output and its loss, summed over codes and averaged over patients:

    * ``relu``: counts, squared error, decoded by rounding (the report's code);
    * ``sigmoid``: presence, binary cross-entropy, decoded at one half (the paper);
    * ``poisson``: counts, Poisson likelihood with a softplus rate, decoded by a draw (ours).

    ``noise`` is the standard deviation of what is added to the latents in training (0 as reported).
    A decoder trained so neither overfits nor breaks on the latents of a diffusion.
    """

    def __init__(self, n_codes: int, latent: int, head: Head = "relu", noise: float = 0.0):
        super().__init__()
        if head not in get_args(Head):
            raise InputError(f"head {head!r} is unknown; choose one of {', '.join(get_args(Head))}")
        self.head, self.noise = head, noise
        self.encoder = nn.Linear(n_codes, latent)
        self.decoder = nn.Linear(latent, n_codes)

    def encode(self, x: Tensor) -> Tensor:
        """Counts ``(B, n_codes)`` to latents in (-1, 1), ``(B, latent)``."""
        return torch.tanh(self.encoder(x))

    def output(self, z: Tensor) -> Tensor:
        """Expected count (``relu``, ``poisson``) or probability (``sigmoid``), ``(B, n_codes)``."""
        return self._activation(self.decoder(z))

    def _activation(self, logits: Tensor) -> Tensor:
        activations: dict[Head, Callable[[Tensor], Tensor]] = {
            "relu": F.relu,
            "sigmoid": torch.sigmoid,
            "poisson": F.softplus,
        }
        return activations[self.head](logits)

    def loss(self, x: Tensor, rng: torch.Generator | None = None) -> Tensor:
        """Reconstruction loss of counts ``x`` ``(B, n_codes)``: one value."""
        z = self.encode(x)
        if self.noise and self.training:
            z = z + self.noise * torch.randn(z.shape, generator=rng)
        logits = self.decoder(z)
        match self.head:
            case "relu":
                total = F.mse_loss(F.relu(logits), x, reduction="sum")
            case "sigmoid":
                total = F.binary_cross_entropy_with_logits(logits, x, reduction="sum")
            case "poisson":
                total = F.poisson_nll_loss(F.softplus(logits), x, log_input=False, reduction="sum")
        return total / len(x)

    def decode(self, z: Tensor, rng: torch.Generator | None = None) -> Tensor:
        """Latents ``(B, latent)`` to whole, non-negative counts ``(B, n_codes)``."""
        expected = self.output(z)
        if self.head == "relu":
            return expected.round()  # half to even, as reported
        if self.head == "sigmoid":
            return (expected > 0.5).to(expected)
        if bool(expected.isnan().any()):
            raise FloatingPointError(
                "sampling diverged: latents are not finite; train at a lower learning rate"
            )
        return torch.poisson(expected.clamp(max=1e4), generator=rng)


# ----------------------------------------------------------------------------
# Time embedding


def time_embedding(t: Tensor, dim: int) -> Tensor:
    """Sines and cosines of ``t`` ``(B,)`` at frequencies from 1 to 1e-4, ``(B, dim)``."""
    half = dim // 2
    frequencies = torch.exp(torch.arange(half, device=t.device) * (-math.log(10_000) / (half - 1)))
    angles = t[:, None] * frequencies  # (B, half)
    return torch.cat([angles.sin(), angles.cos()], dim=1)  # (B, dim)


# ----------------------------------------------------------------------------
# U-Net of the paper


def _variance_scaling_(layer: nn.Linear | nn.Conv2d, scale: float) -> None:
    """Uniform weights of variance ``scale / fan_avg``, 1e-10 for 0, and zero bias."""
    fan_in, fan_out = nn.init._calculate_fan_in_and_fan_out(layer.weight)
    bound = math.sqrt(3 * (scale or 1e-10) / max(1.0, (fan_in + fan_out) / 2))
    nn.init.uniform_(layer.weight, -bound, bound)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


def _dense(n_in: int, n_out: int) -> nn.Linear:
    layer = nn.Linear(n_in, n_out)
    _variance_scaling_(layer, 1.0)
    return layer


def _conv(n_in: int, n_out: int, kernel: int = 3, stride: int = 1, scale: float = 1.0) -> nn.Conv2d:
    layer = nn.Conv2d(n_in, n_out, kernel, stride, padding=kernel // 2)
    _variance_scaling_(layer, scale)
    return layer


def _norm(channels: int, groups: int) -> nn.GroupNorm:
    return nn.GroupNorm(groups, channels, eps=1e-6)


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions, the time embedding between; the second starts near zero."""

    def __init__(self, n_in: int, n_out: int, time_dim: int, groups: int):
        super().__init__()
        self.norm1, self.conv1 = _norm(n_in, groups), _conv(n_in, n_out)
        self.time = _dense(time_dim, n_out)
        self.norm2, self.conv2 = _norm(n_out, groups), _conv(n_out, n_out, scale=0.0)
        self.shortcut = _conv(n_in, n_out, kernel=1) if n_in != n_out else nn.Identity()

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))  # (B, C, H, W)
        h = h + self.time(F.silu(time))[:, :, None, None]
        h = self.conv2(F.silu(self.norm2(h)))
        return self.shortcut(x) + h


class SelfAttention(nn.Module):
    """One-head attention over the H x W positions; the output projection starts near zero."""

    def __init__(self, channels: int, groups: int):
        super().__init__()
        self.norm = _norm(channels, groups)
        self.query, self.key, self.value = (_conv(channels, channels, kernel=1) for _ in range(3))
        self.out = _conv(channels, channels, kernel=1, scale=0.0)

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(x)
        projections = (layer(h) for layer in (self.query, self.key, self.value))
        rows = (part.flatten(2).transpose(1, 2)[:, None] for part in projections)
        q, k, v = (part.contiguous() for part in rows)  # (B, 1, HW, C), for the fused kernel
        h = F.scaled_dot_product_attention(q, k, v)[:, 0]  # (B, HW, C)
        return x + self.out(h.transpose(1, 2).reshape(x.shape))


class _Stage(nn.Module):
    """A residual block, then attention where the resolution asks for it."""

    def __init__(self, n_in: int, n_out: int, time_dim: int, groups: int, attention: bool):
        super().__init__()
        self.block = ResidualBlock(n_in, n_out, time_dim, groups)
        self.attention = SelfAttention(n_out, groups) if attention else nn.Identity()

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        return self.attention(self.block(x, time))


class UNet(nn.Module):
    """The paper's score network: the latent as a square image of one channel.

    Args:
        dim: size of the latent; must be ``(4 k)²``, since the image is halved twice.
        width: channels at full resolution (128 in the paper); a multiple of 4. The group norm has
            width / 4 groups, so 32 in the paper.
        multiples: channel multiples by resolution.
        attention: image sides at which attention follows every residual block. The paper's (16,)
        occurs
            with 256-dimensional latents only; the attention in the middle is always there.

    At ``width=128``: 24,515,585 parameters for 64 and 144 dimensions.
    """

    def __init__(
        self,
        dim: int,
        width: int = 128,
        multiples: tuple[int, ...] = (1, 2, 2),
        attention: tuple[int, ...] = (16,),
    ):
        super().__init__()
        check_unet(dim, width)
        self.side = side = unet_side(dim)
        time_dim, groups = 4 * width, width // 4
        self.width = width
        self.time = nn.Sequential(_dense(width, time_dim), nn.SiLU(), _dense(time_dim, time_dim))
        self.in_proj = _conv(1, width)

        def stage(n_in: int, n_out: int, attends: bool) -> _Stage:
            return _Stage(n_in, n_out, time_dim, groups, attends)

        skips, channels = [width], width
        self.down, self.downsample = nn.ModuleList(), nn.ModuleList()
        for level, multiple in enumerate(multiples):
            for _ in range(2):
                self.down.append(stage(channels, width * multiple, side in attention))
                channels = width * multiple
                skips.append(channels)
            if level < len(multiples) - 1:
                self.downsample.append(_conv(channels, channels, stride=2))
                skips.append(channels)
                side //= 2

        self.middle = nn.ModuleList(stage(channels, channels, attends) for attends in (True, False))

        self.up, self.upsample = nn.ModuleList(), nn.ModuleList()
        for level, multiple in reversed(list(enumerate(multiples))):
            for _ in range(3):
                joined = channels + skips.pop()
                self.up.append(stage(joined, width * multiple, side in attention))
                channels = width * multiple
            if level:
                self.upsample.append(_conv(channels, channels))
                side *= 2
        self.out_proj = nn.Sequential(
            _norm(channels, groups), nn.SiLU(), _conv(channels, 1, scale=0.0)
        )

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        time = self.time(time_embedding(t, self.width))  # (B, 4 width)
        h = self.in_proj(x.view(-1, 1, self.side, self.side))  # (B, width, side, side)
        skips = [h]
        for i, stage in enumerate(self.down):
            h = stage(h, time)
            skips.append(h)
            if i % 2 and i // 2 < len(self.downsample):
                h = self.downsample[i // 2](h)
                skips.append(h)
        for stage in self.middle:
            h = stage(h, time)
        for i, stage in enumerate(self.up):
            h = stage(torch.cat([h, skips.pop()], dim=1), time)
            if i % 3 == 2 and i // 3 < len(self.upsample):
                h = self.upsample[i // 3](F.interpolate(h, scale_factor=2.0, mode="nearest"))
        return self.out_proj(h).flatten(1)  # (B, D)


def check_unet(dim: int | None, width: int) -> None:
    """:class:`InputError` unless a U-Net can have this latent size (if known) and width."""
    if dim is not None:
        unet_side(dim)
    if width < 16 or width % 4:
        raise InputError(
            f"width {width} does not suit the U-Net; take a multiple of 4 that is at least 16"
        )


def unet_side(dim: int) -> int:
    """Side of the square image of ``dim`` values; :class:`InputError` if it is not ``4 k``."""
    side = math.isqrt(max(dim, 0))
    if dim <= 0 or side * side != dim or side % 4:
        below, above = (4 * (side // 4)) ** 2, unet_dim(max(dim, 1))
        near = f"{below} or {above}" if below else f"{above}"
        raise InputError(
            f"latent size {dim} does not suit the U-Net, which needs (4k)² such as 64, 144 or 256; "
            f"try {near}"
        )
    return side


def unet_dim(n: int) -> int:
    """The smallest ``(4 k)²`` that is at least ``n``: 1,071 codes are padded to 1,296."""
    return (4 * math.ceil(math.sqrt(n) / 4)) ** 2


def reinitialise(module: nn.Module) -> nn.Module:
    """The report's initialisation: N(0, 0.02²) for convolutions, Xavier for linear layers.

    In place, with bias 0.01 of linear layers. It undoes the near-zero start of the residual
    branches, the attention and the last convolution of :class:`UNet`; biases of convolutions stay.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.normal_(layer.weight, 0.0, 0.02)
        elif isinstance(layer, nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.constant_(layer.bias, 0.01)
    return module


# ----------------------------------------------------------------------------
# Residual MLPs


def check_width(width: int) -> None:
    """:class:`InputError` unless a residual MLP can have this width, half of it sines."""
    if width < 4 or width % 2:
        raise InputError(
            f"width {width} does not suit the residual MLP; take an even number from 4"
        )


class ResidualMLP(nn.Module):
    """Pre-norm residual blocks on a vector, each scaled and shifted by the time embedding.

    Latent units have no neighbours, so nothing is lost without convolutions, and an evaluation
    costs about a hundredth.

    Args:
        dim: size of the vector.
        width: hidden units of a block.
        depth: number of blocks.
        context: size of what modulates the blocks, the time embedding; ``width`` by default.
    """

    def __init__(self, dim: int, width: int = 512, depth: int = 4, context: int | None = None):
        super().__init__()
        self.width = width
        context = context or width
        self.time = nn.Sequential(nn.Linear(width, context), nn.SiLU())
        self.in_proj = nn.Linear(dim, width)
        norms = (nn.LayerNorm(width, elementwise_affine=False) for _ in range(depth))
        self.norms = nn.ModuleList(norms)
        self.modulation = nn.ModuleList(nn.Linear(context, 2 * width) for _ in range(depth))
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Linear(width, 2 * width), nn.SiLU(), nn.Linear(2 * width, width))
            for _ in range(depth)
        )
        last = nn.Linear(width, dim)
        _zero_(last)
        self.out_proj = nn.Sequential(nn.LayerNorm(width), last)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        context = self.time(time_embedding(t, self.width))
        return self.out_proj(self.apply_blocks(self.in_proj(x), context))  # (B, D)

    def apply_blocks(self, h: Tensor, context: Tensor) -> Tensor:
        """The blocks on ``h`` ``(B, width)``, modulated by ``context`` ``(B, context)``."""
        for norm, modulation, block in zip(self.norms, self.modulation, self.blocks, strict=True):
            scale, shift = modulation(context).chunk(2, dim=1)
            h = h + block(norm(h) * (1 + scale) + shift)
        return h


class RecordMLP(ResidualMLP):
    """The residual MLP on a patient vector, in the form that a :class:`~scoehr.thinning.RateModel`
    needs.

    Vectors are ``log1p`` of counts ``(B, n_codes)``; times are ``(B,)``, or ``(1,)`` for all.

    It differs from a network on latents in three ways. The size of the vector (occurrences,
    distinct codes, codes with more than one, the largest count) modulates the blocks beside time,
    since normalisation hides it; it says how many admissions the patient had. Codes that are
    present have output weights of their own, because to recur is not to occur first, and a narrow
    hidden layer cannot tell every code of itself. And the count of a code is compared with the
    size: no code recurs more often than the patient does.
    """

    EMBEDDING, MAX_COUNT = 64, 16  # of each number; counts of a code that are distinguished

    trust: Tensor | None  # (n_codes,) in [0, 1], by which the weights of each code are multiplied

    def __init__(self, n_codes: int, width: int = 256, depth: int = 2):
        super().__init__(n_codes, width, depth, context=self.EMBEDDING)
        self.register_buffer("trust", None)
        wide, narrow = 5 * self.EMBEDDING, self.EMBEDDING
        self.time = nn.Sequential(
            nn.Linear(wide, wide), nn.SiLU(), nn.Linear(wide, narrow), nn.SiLU()
        )
        self.out_modulation = nn.Linear(narrow, 2 * width)
        self.recurrence_head = nn.Embedding(n_codes, width + 1)  # weights and bias
        self.count_embedding = nn.Embedding(self.MAX_COUNT + 1, narrow)
        self.length_head = nn.Linear(width, 1)
        for layer in (
            self.out_modulation,
            self.recurrence_head,
            self.count_embedding,
            self.length_head,
        ):
            _zero_(layer)

    def read(self, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """The vector ``(B, width)``, and its size and time ``(B, 64)``."""
        h, context = self.project(x, t)
        return self.deepen(h, context), context

    def project(self, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """The first layer ``(B, width)``, and the size and time ``(B, 64)``."""
        rows, codes = x.nonzero(as_tuple=True)  # the occupied cells, few of all
        values = x[rows, codes]
        context = self.time(self._embed_size(x, t, rows, values))
        h = self.in_proj.bias.expand(len(x), -1)  # (B, width)
        values = self._trusted(values, codes)[:, None]
        return h.index_add(0, rows, values * self.in_proj.weight.T[codes]), context

    def deepen(self, h: Tensor, context: Tensor) -> Tensor:
        """The other layers but the last, ``(B, width)``."""
        scale, shift = self.out_modulation(context).chunk(2, dim=1)
        return self.out_proj[0](self.apply_blocks(h, context)) * (1 + scale) + shift

    def _embed_size(self, x: Tensor, t: Tensor, rows: Tensor, values: Tensor) -> Tensor:
        """Embeddings of time and of four sizes of the vectors, ``(B, 5 · 64)``."""
        counts = torch.expm1(values).round()
        terms = (counts, (counts > 0).to(x), (counts > 1).to(x))
        sums = [x.new_zeros(len(x)).index_add(0, rows, term) for term in terms]
        sizes = [200 * torch.log1p(size) for size in sums]
        largest = x.amax(dim=1) if x.shape[1] else x.new_zeros(len(x))
        numbers = (t.expand(len(x)), *sizes, 200 * largest)
        return torch.cat([time_embedding(number, self.EMBEDDING) for number in numbers], dim=1)

    def codes(self, x: Tensor, h: Tensor, context: Tensor) -> Tensor:
        """A number a code, ``(B, n_codes)``, from what was read."""
        rows, codes = x.nonzero(as_tuple=True)
        counts = torch.expm1(x[rows, codes]).round()
        weights = self.recurrence_head(codes)  # (occupied cells, width + 1)
        count_context = self.count_embedding(counts.clamp(max=self.MAX_COUNT).long())
        by_size = (context[rows] * count_context).sum(dim=1)
        recurring = (h[rows] * weights[:, :-1]).sum(dim=1) + weights[:, -1]
        recurring = self._trusted(recurring, codes) + by_size
        return self._trusted(self.out_proj[1](h)).index_put_((rows, codes), recurring)

    def _trusted(self, values: Tensor, codes: Any = ...) -> Tensor:
        """Values of these codes, ``(..., codes)``, each as far as it is trusted."""
        return values if self.trust is None else values * self.trust[codes]

    def length(self, h: Tensor, context: Tensor) -> Tensor:
        """A number a patient, ``(B,)``, from what was read."""
        return self.length_head(h)[:, 0]


class FactMLP(RecordMLP):
    """The residual MLP on a visit's codes, given its columns and the patient's past.

    With neither it is a :class:`RecordMLP`, with the same first weights. Columns come as zeros and
    ones ``(B, n_values)``, all zero where a column is unknown. The past is a :class:`Past`.

    Args:
        n_values: of all columns together.
        past: whether patients have several visits.
    """

    def __init__(self, n_codes: int, n_values: int, past: bool, width: int = 256, depth: int = 2):
        super().__init__(n_codes, width, depth)
        if not n_values:
            return
        self.values = nn.Linear(n_values, width, bias=False)
        self.left = nn.Linear(self.EMBEDDING, self.EMBEDDING)
        self.value_head = nn.Linear(width, n_values)
        zero: list[nn.Linear | nn.Embedding] = [self.left, self.value_head]
        if past:
            wide = 2 * n_codes + n_values + self.EMBEDDING
            self.past = nn.Sequential(nn.Linear(wide, width), nn.SiLU(), nn.Linear(width, width))
            self.again_head = nn.Embedding(n_codes, width + 3)  # weights, bias, and of last, often
            self.known_head = nn.Linear(width, 1)  # of all codes recorded before
            zero += [self.again_head, self.known_head]
        for layer in zero:
            _zero_(layer)

    def remember(self, past: Past) -> Tensor:
        """What the past says, ``(B, width)``: a term of the first layer."""
        number = time_embedding(200 * torch.log1p(past.number), self.EMBEDDING)
        return self.past(torch.cat([past.often, past.last, past.values, number], dim=1))

    def with_left(self, context: Tensor, left: Tensor) -> Tensor:
        """Size and time ``(B, 64)`` with how many codes are to come, -1 where unknown."""
        embedding = time_embedding(200 * torch.log1p(left.clamp(min=0)), self.EMBEDDING)
        return context + self.left(embedding) * (left >= 0)[:, None]

    def codes(self, x: Tensor, h: Tensor, context: Tensor, *past: Tensor) -> Tensor:
        """A number a code, from what was read, and how often and whether last it was recorded."""
        found = super().codes(x, h, context)
        if not past:
            return found
        often, last = past
        rows, codes = often.nonzero(as_tuple=True)
        weights, values = self.again_head(codes), often[rows, codes]
        again = (
            (h[rows] * weights[:, :-3]).sum(dim=1) + weights[:, -3] + self.known_head(h)[rows, 0]
        )
        again = again + weights[:, -2] * last[rows, codes] + weights[:, -1] * values
        return found.index_put((rows, codes), again, accumulate=True)

    def length(self, h: Tensor, context: Tensor, *past: Tensor) -> Tensor:
        """A number a patient, ``(B,)``, from what was read."""
        return super().length(h, context)


class Past(NamedTuple):
    """The visits of B patients so far."""

    often: Tensor  # (B, n_codes) log1p of how many visits recorded the code
    last: Tensor  # (B, n_codes) 1 where the last visit did
    values: Tensor  # (B, n_values) columns of the last visit, as zeros and ones
    number: Tensor  # (B,) how many visits there were


def _zero_(layer: nn.Linear | nn.Embedding) -> None:
    nn.init.zeros_(layer.weight)
    if isinstance(layer, nn.Linear):
        nn.init.zeros_(layer.bias)
