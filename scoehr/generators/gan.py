"""The adversarial baselines of the paper: medGAN, medBGAN and medWGAN.

An autoencoder is trained first. Then a generator makes codes of it from noise, the decoder makes records of the codes,
and a discriminator that sees each record beside the mean of its batch tells them from real ones; generator and decoder
learn from it. The three differ in the objective alone. Sizes, rates, penalties and epochs are those of the published
code.

Choi, Biswal, Malin, Duke, Stewart & Sun (2017), Generating Multi-label Discrete Patient Records using Generative
Adversarial Networks, MLHC (medGAN). Baowaly, Lin, Liu & Chen (2019), Synthesizing electronic health records using
improved generative adversarial networks, JAMIA 26(3) (medBGAN, medWGAN), after Hjelm et al. (2018), Boundary-Seeking
Generative Adversarial Networks, ICLR, and Gulrajani et al. (2017), Improved Training of Wasserstein GANs, NeurIPS.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import safetensors
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from scoehr.data.matrix import CodeMatrix
from scoehr.files import InputError, replacing
from scoehr.generators.base import Generator, Settings, Weights
from scoehr.generators.settings import check_limits
from scoehr.minibatches import SparseRows
from scoehr.models import Autoencoder, Head, reinitialise
from scoehr.training import (
    CODE_VERSION,
    Diverged,
    TrainingConfig,
    check_threads,
    digest,
    threads,
    train,
)

Objective = Literal["gan", "boundary", "wasserstein"]
HEADS: dict[str, Head] = {"binary": "sigmoid", "count": "relu"}
PENALTY = 10.0  # on the critic's gradient (Gulrajani et al. 2017)
PATIENCE = 100.0  # a loss this many times that of the first epoch's start is divergence
SAVE_EVERY = 10.0  # seconds between checkpoints, at least
BURN_IN = 1000  # batches that renew the running means of batch normalisation once the generator is trained


@dataclass(frozen=True)
class GANConfig(Settings):
    """Every choice of the model; the defaults are the published code's."""

    kind: Literal["count", "binary"] = "binary"
    objective: Objective = "gan"
    embedding: int = 128  # of the autoencoder's code, so of the noise and the generator's layers, which shortcuts join
    width: int = 256  # of the discriminator's first layer; its second has half
    autoencoder_epochs: int = 100
    autoencoder_batch: int = 100
    epochs: int = 1000
    batch: int = 1000
    discriminator_steps: int = 2  # before each step of the generator
    rate: float = 1e-3
    weight_decay: float = 1e-3
    sampler: Literal["generator"] = "generator"
    steps: int = 1
    sample_batch: int = 1000

    def __post_init__(self) -> None:
        super().__post_init__()
        check_limits("steps", self.steps, "[1, 1]")
        if self.width < 2 or self.batch < 2:
            raise InputError(
                "width and batch must be at least 2: the width is halved, batches are averaged over"
            )


#: What each named variant changes in the settings.
PRESETS: dict[str, dict[str, Any]] = {
    "medgan": {},
    "medbgan": {"objective": "boundary"},
    "medwgan": {"objective": "wasserstein"},
}


# ----------------------------------------------------------------------------
# Networks


class RecordAutoencoder(Autoencoder):
    """medGAN's: as the paper's, but the code of counts is rectified (Choi et al. 2017, equations 1 and 2).

    Its loss is summed over codes as those equations have it; the published code takes the mean over codes for counts,
    next to which the weight decay is so strong that little is learned.
    """

    def encode(self, x: Tensor) -> Tensor:
        return F.relu(self.encoder(x)) if self.head == "relu" else super().encode(x)


class CodeGenerator(nn.Module):
    """Noise ``(B, embedding)`` to codes ``(B, embedding)``: three layers with batch normalisation and shortcuts.

    Each adds its output to its input; the last is activated as the encoder is, the others rectified.
    """

    def __init__(self, embedding: int, head: Head):
        super().__init__()
        self.embedding, self.head = embedding, head
        layers = [nn.Linear(embedding, embedding, bias=False) for _ in range(3)]
        for layer in layers:
            nn.init.xavier_uniform_(layer.weight)
        self.layers = nn.ModuleList(layers)
        self.norms = nn.ModuleList(
            nn.BatchNorm1d(embedding, eps=1e-3, momentum=0.01) for _ in range(3)
        )

    def forward(self, z: Tensor) -> Tensor:
        last = torch.tanh if self.head == "sigmoid" else F.relu
        for layer, norm, activation in zip(
            self.layers, self.norms, (F.relu, F.relu, last), strict=True
        ):
            z = z + activation(norm(layer(z)))
        return z


class Discriminator(nn.Module):
    """Logits ``(B,)`` that records ``(B, n_codes)`` are real; each is seen beside the mean of its batch.

    Minibatch averaging lets it see that a batch lacks variety, the sign of a generator that makes one record only.
    """

    def __init__(self, n_codes: int, width: int):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(2 * n_codes, width),
            nn.ReLU(),
            nn.Linear(width, width // 2),
            nn.ReLU(),
            nn.Linear(width // 2, 1),
        )
        reinitialise(self)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(torch.cat([x, x.mean(0).expand_as(x)], dim=1)).squeeze(1)


# ----------------------------------------------------------------------------
# Objectives


def discriminator_loss(
    discriminator: nn.Module, objective: Objective, real: Tensor, made: Tensor, rng: torch.Generator
) -> Tensor:
    """What the discriminator lowers, from as many real as made records ``(B, n_codes)``: one value.

    * ``gan``, ``boundary``: -log D(real) - log(1 - D(made));
    * ``wasserstein``: f(made) - f(real) + 10 (‖∇f‖ - 1)², the gradient taken between the two (Gulrajani et al. 2017,
      equation 3), at one point of the line for the whole batch as in the code of Baowaly et al.
    """
    if objective == "wasserstein":
        line = torch.lerp(made, real, torch.rand((), generator=rng).to(real))
        difference = discriminator(made).mean() - discriminator(real).mean()
        return difference + PENALTY * (gradient_norms(discriminator, line) - 1).square().mean()
    return F.softplus(-discriminator(real)).mean() + F.softplus(discriminator(made)).mean()


def gradient_norms(discriminator: nn.Module, x: Tensor) -> Tensor:
    """Euclidean norm of the critic's gradient at each record ``(B, n_codes)``: ``(B,)``, itself differentiable."""
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(discriminator(x).sum(), x, create_graph=True)
    return gradient.norm(dim=1)


def generator_loss(objective: Objective, logits: Tensor) -> Tensor:
    """What generator and decoder lower, from the discriminator's logits of made records ``(B,)``: one value.

    * ``gan``: -log D; ``boundary``: ½ (log D - log(1 - D))², least where the discriminator is undecided;
    * ``wasserstein``: -f.
    """
    match objective:
        case "gan":
            return F.softplus(-logits).mean()
        case "boundary":
            return 0.5 * logits.square().mean()  # the logit is log D - log(1 - D)
        case "wasserstein":
            return -logits.mean()


# ----------------------------------------------------------------------------
# The model


class GAN(Generator):
    """medGAN and its two successors.

    >>> model = generators.preset("medwgan", epochs=100).fit(matrix)  # doctest: +SKIP
    >>> model.sample(1_000, seed=1).write("synthetic.parquet")        # doctest: +SKIP
    """

    name = "gan"
    settings = GANConfig
    summary = "A generative adversarial network on the latents of an autoencoder."
    architecture = "GAN"
    output = "latent"
    weights = ("generator.safetensors", "autoencoder.safetensors")
    presets = PRESETS
    config: GANConfig

    def __init__(self, config: GANConfig | None = None, device: str | None = None):
        super().__init__(config, device)
        self.autoencoder: RecordAutoencoder
        self.generator: CodeGenerator

    @property
    def network(self) -> nn.Module:
        return self.generator

    def _build(self, vocabulary: CodeMatrix, seed: int) -> None:
        self.vocabulary = vocabulary.take(np.arange(0))
        head = HEADS[self.config.kind]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.autoencoder = RecordAutoencoder(len(vocabulary.codes), self.config.embedding, head)
            reinitialise(self.autoencoder)
            self.generator = CodeGenerator(self.config.embedding, head)

    # ------------------------------------------------------------------ fit

    def _train(
        self,
        data: SparseRows,
        held_out: SparseRows | None,
        seed: int,
        folder: Path | None,
        progress: bool,
    ) -> list[dict[str, Any]]:
        config = self.config
        if len(data) < 2:
            raise InputError(
                "one patient is too few for a discriminator, which averages over batches; give more"
            )
        rows = train(
            self.autoencoder,
            self.autoencoder.loss,
            data,
            TrainingConfig(
                epochs=config.autoencoder_epochs,
                batch=min(config.autoencoder_batch, len(data)),
                rate=config.rate,
                weight_decay=config.weight_decay,
            ),
            seed=seed,
            validation=held_out,
            about={"head": self.autoencoder.head, "encoder": type(self.autoencoder).__name__},
            store=folder,
            name="autoencoder",
            progress=progress,
        )
        game = _Game(
            self, data.to(self.device), None if held_out is None else held_out.to(self.device), seed
        )
        played = game.play(folder, progress)
        self._settle(seed)
        return [{"stage": "autoencoder", **row} for row in rows] + [
            {"stage": "gan", **row} for row in played
        ]

    def _floats(self, n: int, n_codes: int) -> int:
        discriminator = 8 * 2 * n_codes * self.config.width
        each = 24 * n_codes + 16 * self.config.embedding
        return max(512, min(n, self.config.batch)) * each + discriminator

    @torch.no_grad()
    def _settle(self, seed: int) -> None:
        """Bring the running means of batch normalisation up to the trained weights, then leave them."""
        rng = torch.Generator().manual_seed(seed)
        self.generator.train()
        for _ in range(BURN_IN):
            self.generator(torch.randn(self.config.batch, self.config.embedding, generator=rng))
        self.generator.eval()

    # --------------------------------------------------------------- sample

    def _draw(self, size: int, sampler: str, steps: int, rng: torch.Generator) -> Tensor:
        if sampler != "generator" or steps != 1:
            raise InputError(
                f"sampler {sampler!r} with {steps} steps does not suit a GAN; it has 'generator' with 1"
            )
        self.evaluations = 1
        return self.generator.eval()(torch.randn(size, self.config.embedding, generator=rng))

    @torch.no_grad()
    def decode(self, latents: Tensor, rng: torch.Generator | None = None) -> Tensor:
        """Codes ``(n, embedding)`` through the decoder to the nearest whole counts, or to presence at one half."""
        return self.autoencoder.decode(latents)

    def _weights(self) -> Weights:
        """The discriminator stays behind: it has seen who was in the training set."""
        return {
            "generator.safetensors": self.generator.state_dict(),
            "autoencoder.safetensors": self.autoencoder.state_dict(),
        }

    def _take(self, weights: Weights) -> None:
        self.generator.load_state_dict(weights["generator.safetensors"])
        self.autoencoder.load_state_dict(weights["autoencoder.safetensors"])
        self.generator.eval()


class _Game:
    """Adversarial training: two players, each with its Adam; resumable to the bit."""

    def __init__(self, model: GAN, data: SparseRows, held_out: SparseRows | None, seed: int):
        self.config, self.data, self.held_out, self.seed = model.config, data, held_out, seed
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed + 1)
            discriminator = Discriminator(data.shape[1], model.config.width)
        self.generator, self.autoencoder, self.discriminator = (
            model.generator,
            model.autoencoder,
            discriminator,
        )
        self.modules = nn.ModuleDict(
            {
                "generator": self.generator,
                "autoencoder": self.autoencoder,
                "discriminator": discriminator,
            }
        ).to(data.device)
        self.optimisers = {
            "maker": self._adam(
                [*self.generator.parameters(), *self.autoencoder.decoder.parameters()]
            ),
            "discriminator": self._adam(discriminator.parameters()),
        }
        self.rng = torch.Generator().manual_seed(seed)
        self.history: list[dict[str, float]] = []

    def play(self, folder: Path | None, progress: bool) -> list[dict[str, float]]:
        """Train to the end, from the checkpoint if there is one, and leave the networks on the CPU.

        Returns:
            One row an epoch: epoch, train_loss and validation_loss (the discriminator's), generator_loss,
            learning_rate, seconds.
        """
        config, path = self.config, folder and folder / f"gan-{self._digest()}.checkpoint"
        limit = PATIENCE * max(1.0, self._held_out_loss(self.data))
        if path is not None and path.exists():
            self._read(path)
        saved, done = time.monotonic(), len(self.history)
        for epoch in tqdm(
            range(done, config.epochs),
            "gan",
            config.epochs,
            initial=done,
            disable=not progress or None,
        ):
            begun = time.perf_counter()
            told, made = self._epoch()
            row = {
                "epoch": epoch + 1,
                "train_loss": told,
                "validation_loss": self._held_out_loss(self.held_out),
            }
            row |= {
                "generator_loss": made,
                "learning_rate": config.rate,
                "seconds": time.perf_counter() - begun,
            }
            self.history.append(row)
            if not (abs(told) < limit and math.isfinite(made)):
                raise Diverged(
                    f"gan diverged in epoch {epoch + 1}: losses {told:.4g} and {made:.4g}; lower the learning rate",
                    self.history,
                )
            if path is not None and (
                epoch + 1 == config.epochs or time.monotonic() - saved > SAVE_EVERY
            ):
                self._write(path)
                saved = time.monotonic()
        self.modules.cpu()
        return self.history

    def _epoch(self) -> tuple[float, float]:
        """As many steps of the generator as there are batches; mean losses of discriminator and generator."""
        config = self.config
        batch = min(config.batch, len(self.data))
        turns = math.ceil(len(self.data) / batch)
        told = made = torch.zeros((), device=self.data.device)
        for _ in range(turns):
            self.generator.eval()  # the discriminator learns against the running means, as published
            for _ in range(config.discriminator_steps):
                rows = torch.randperm(len(self.data), generator=self.rng)[:batch]
                with torch.no_grad():
                    records = self._records(batch, self.rng)
                loss = discriminator_loss(
                    self.discriminator, config.objective, self.data[rows], records, self.rng
                )
                told = told + self._step("discriminator", loss)
            self.generator.train()
            loss = generator_loss(
                config.objective, self.discriminator(self._records(batch, self.rng))
            )
            made = made + self._step("maker", loss)
        return float(told) / (turns * config.discriminator_steps), float(made) / turns

    def _step(self, player: str, loss: Tensor) -> Tensor:
        """One step of the optimiser of one player, on this loss."""
        self.modules.zero_grad()
        loss.backward()
        self.optimisers[player].step()
        return loss.detach()

    def _records(self, size: int, rng: torch.Generator) -> Tensor:
        """Records ``(size, n_codes)`` before rounding: probabilities, or counts that are not whole."""
        noise = torch.randn(size, self.config.embedding, generator=rng).to(self.data.device)
        return self.autoencoder.output(self.generator(noise))

    @torch.no_grad()
    def _held_out_loss(self, rows: SparseRows | None) -> float:
        """The discriminator's loss on these patients and as many made ones, under the same noise at every call."""
        if rows is None or not len(rows):
            return math.nan
        self.generator.eval()
        rng = torch.Generator().manual_seed(self.seed + 1)
        real = next(rows.split(self.config.batch))  # means over more patients would tell more
        made = self._records(len(real), rng)
        return float(discriminator_loss(self.discriminator, self.config.objective, real, made, rng))

    def _adam(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Adam:
        return torch.optim.Adam(
            parameters, lr=self.config.rate, weight_decay=self.config.weight_decay
        )

    # ---------------------------------------------------------- checkpoints

    def _digest(self) -> str:
        """Name for what decides the course of the game: settings, seed, data, and the networks as they enter it."""
        entering = [digest(value) for value in self.modules.state_dict().values()]
        held_out = None if self.held_out is None else digest(self.held_out)
        facts = [
            CODE_VERSION,
            asdict(self.config),
            self.seed,
            digest(self.data),
            held_out,
            entering,
        ]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]

    def _write(self, path: Path) -> None:
        tensors = {f"weights/{key}": value for key, value in self.modules.state_dict().items()}
        for player, optimiser in self.optimisers.items():
            for index, moments in optimiser.state_dict()["state"].items():
                tensors |= {f"{player}/{index}/{name}": value for name, value in moments.items()}
        tensors["rng"] = self.rng.get_state()
        tensors = {key: value.clone() for key, value in tensors.items()}
        with replacing(path) as scratch:
            save_file(tensors, scratch, {"rows": json.dumps(self.history)} | threads())

    def _read(self, path: Path) -> None:
        """Take up a checkpoint."""
        try:
            with safetensors.safe_open(path, "pt") as file:
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
                self.history = json.loads(file.metadata()["rows"])
                check_threads(file.metadata())
        except safetensors.SafetensorError as error:
            raise InputError(
                f"{path}: not a readable checkpoint ({error}); delete it to train anew"
            ) from None
        self.rng.set_state(tensors.pop("rng"))
        states: dict[str, dict[int, dict[str, Tensor]]] = {player: {} for player in self.optimisers}
        for key in [key for key in tensors if not key.startswith("weights/")]:
            player, index, name = key.split("/")
            states[player].setdefault(int(index), {})[name] = tensors.pop(key)
        self.modules.load_state_dict(
            {key.removeprefix("weights/"): value for key, value in tensors.items()}
        )
        for player, optimiser in self.optimisers.items():
            optimiser.load_state_dict({**optimiser.state_dict(), "state": states[player]})
