"""The adversarial baselines of the paper: medGAN, medBGAN and medWGAN.

An autoencoder is trained first. Then a generator makes latents of it from noise, the decoder makes
patient vectors of them, and a discriminator, which sees each vector beside the mean of its batch,
tells them from real ones; generator and decoder learn from it. The three differ in the objective
alone. Sizes, learning rates, penalties and epochs are those of the published code.

Choi, Biswal, Malin, Duke, Stewart & Sun (2017), Generating Multi-label Discrete Patient Records
using Generative Adversarial Networks, MLHC (medGAN). Baowaly, Lin, Liu & Chen (2019), Synthesizing
electronic health records using improved generative adversarial networks, JAMIA 26(3) (medBGAN,
medWGAN), after Hjelm et al. (2018), Boundary-Seeking Generative Adversarial Networks, ICLR, and
Gulrajani et al. (2017), Improved Training of Wasserstein GANs, NeurIPS.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from scoehr.checkpoints import Checkpoint, Row, facts_hash
from scoehr.files import InputError
from scoehr.generators.base import Fitting, Generator, Sampling, Settings
from scoehr.minibatches import Data
from scoehr.models import Autoencoder, Head, reinitialise
from scoehr.training import Diverged, TrainingConfig

Objective = Literal["gan", "boundary", "wasserstein"]
HEADS: dict[str, Head] = {"binary": "sigmoid", "count": "relu"}
PENALTY = 10.0  # on the critic's gradient (Gulrajani et al. 2017)
DIVERGENCE_FACTOR = 100.0  # times the first loss is divergence
SAVE_EVERY = 10.0  # seconds between checkpoints, at least
BURN_IN = 1000  # batches that set the running means of batch normalisation after training


@dataclass(frozen=True)
class GANConfig(Settings):
    """Every choice of the model; the defaults are the published code's."""

    kind: Literal["count", "binary"] = "binary"
    objective: Objective = "gan"
    embedding: int = 128  # size of the latents, the noise and the generator's layers
    width: int = 256  # of the discriminator's first layer; its second has half
    autoencoder_epochs: int = 100
    autoencoder_batch: int = 100
    epochs: int = 1000
    batch: int = 1000
    discriminator_steps: int = 2  # before each step of the generator
    learning_rate: float = 1e-3
    weight_decay: float = 1e-3
    sample_batch: int = 1000

    def __post_init__(self) -> None:
        super().__post_init__()
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
    """medGAN's: latents of counts are rectified (Choi et al. 2017, eq. 1 and 2).

    Its loss is a sum over codes as in those equations. The published code takes the mean over codes
    for counts, beside which the weight decay is so strong that little is learned.
    """

    def encode(self, x: Tensor) -> Tensor:
        return F.relu(self.encoder(x)) if self.head == "relu" else super().encode(x)


class LatentGenerator(nn.Module):
    """Noise to latents, both ``(B, embedding)``: three layers with batch normalisation.

    Each adds its output to its input; the last has the activation of the encoder, the others ReLU.
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
        activations = (F.relu, F.relu, torch.tanh if self.head == "sigmoid" else F.relu)
        for layer, norm, activation in zip(self.layers, self.norms, activations, strict=True):
            z = z + activation(norm(layer(z)))
        return z


class Discriminator(nn.Module):
    """Logits ``(B,)`` that vectors ``(B, n_codes)`` are real, each beside the mean of its batch.

    Minibatch averaging shows a lack of variety, the sign of mode collapse.
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
        first = self.layers[0]
        assert isinstance(first, nn.Linear)
        of_vector, of_mean = first.weight.split(x.shape[1], dim=1)  # the mean is one for all
        hidden = F.linear(x, of_vector, first.bias) + F.linear(x.mean(0), of_mean)  # (B, width)
        return self.layers[1:](hidden).squeeze(1)


# ----------------------------------------------------------------------------
# Objectives


def discriminator_loss(
    discriminator: nn.Module,
    objective: Objective,
    real: Tensor,
    synthetic: Tensor,
    rng: torch.Generator,
) -> Tensor:
    """Loss of the discriminator on as many real as synthetic vectors ``(B, n_codes)``: one value.

    * ``gan``, ``boundary``: -log D(real) - log(1 - D(synthetic));
    * ``wasserstein``: f(synthetic) - f(real) + 10 (‖∇f‖ - 1)², the gradient between the two
      (Gulrajani
      et al. 2017, eq. 3), at one point of the line for the whole batch as in Baowaly et al.'s code.
    """
    if objective == "wasserstein":
        line = torch.lerp(synthetic, real, torch.rand((), generator=rng).to(real))
        difference = discriminator(synthetic).mean() - discriminator(real).mean()
        return difference + PENALTY * (gradient_norms(discriminator, line) - 1).square().mean()
    return F.softplus(-discriminator(real)).mean() + F.softplus(discriminator(synthetic)).mean()


def gradient_norms(discriminator: nn.Module, x: Tensor) -> Tensor:
    """Norm of the critic's gradient at each vector ``(B, n_codes)``: ``(B,)``, differentiable."""
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(discriminator(x).sum(), x, create_graph=True)
    return gradient.norm(dim=1)


def generator_loss(objective: Objective, logits: Tensor) -> Tensor:
    """Loss of generator and decoder, from the logits of synthetic vectors ``(B,)``: one value.

    * ``gan``: -log D;
    * ``boundary``: ½ (log D - log(1 - D))², least where the discriminator is undecided;
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

    def _make_networks(self, n_codes: int) -> None:
        head = HEADS[self.config.kind]
        self.autoencoder = RecordAutoencoder(n_codes, self.config.embedding, head)
        reinitialise(self.autoencoder)
        self.generator = LatentGenerator(self.config.embedding, head)

    @property
    def network(self) -> nn.Module:
        return self.generator

    # ------------------------------------------------------------------ fit

    def _train(self, fitting: Fitting) -> list[Row]:
        config, n = self.config, len(fitting.data)
        if n < 2:
            raise InputError(
                "one patient is too few for a discriminator, which averages over batches; give more"
            )
        autoencoder = self.autoencoder
        training = TrainingConfig(
            epochs=config.autoencoder_epochs,
            batch=min(config.autoencoder_batch, n),
            learning_rate=config.learning_rate,
            weight_decay=config.weight_decay,
        )
        about = {"head": autoencoder.head, "encoder": type(autoencoder).__name__}
        rows = fitting.train("autoencoder", autoencoder, autoencoder.loss, training, about=about)
        adversarial = _AdversarialTraining(self, fitting).run()
        self._update_running_means(fitting.seed)
        return rows + [{"stage": "gan", **row} for row in adversarial]

    def _floats(self, n: int, n_codes: int) -> int:
        discriminator = 8 * 2 * n_codes * self.config.width
        each = 24 * n_codes + 16 * self.config.embedding
        return max(512, min(n, self.config.batch)) * each + discriminator

    @torch.no_grad()
    def _update_running_means(self, seed: int) -> None:
        """Bring the running means of batch normalisation to those of the trained weights."""
        rng = torch.Generator().manual_seed(seed)
        self.generator.train()
        for _ in range(BURN_IN):
            self.generator(torch.randn(self.config.batch, self.config.embedding, generator=rng))
        self.generator.eval()

    # --------------------------------------------------------------- sample

    def _draw(self, size: int, rng: torch.Generator, how: Sampling) -> Tensor:
        self.evaluations = 1
        return self.generator.eval()(torch.randn(size, self.config.embedding, generator=rng))

    @torch.no_grad()
    def decode(self, latents: Tensor, rng: torch.Generator | None = None) -> Tensor:
        """Latents ``(n, embedding)`` to the nearest whole counts, or to presence at one half."""
        return self.autoencoder.decode(latents)

    def _modules(self) -> dict[str, nn.Module]:
        """Without the discriminator, which has seen who was in the training set."""
        return {
            "generator.safetensors": self.generator,
            "autoencoder.safetensors": self.autoencoder,
        }


class _AdversarialTraining:
    """Generator with decoder against discriminator, each with its Adam."""

    def __init__(self, model: GAN, fitting: Fitting):
        self.config, self.fitting, self.device = model.config, fitting, model.device
        self.data = fitting.data.to(self.device)
        self.held_out = None if fitting.held_out is None else fitting.held_out.to(self.device)
        self.generator, self.autoencoder = model.generator, model.autoencoder
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(fitting.seed + 1)
            self.discriminator = Discriminator(self.data.shape[1], self.config.width)
        modules = nn.ModuleDict(
            {
                "generator": self.generator,
                "autoencoder": self.autoencoder,
                "discriminator": self.discriminator,
            }
        ).to(self.device)
        decoder = self.autoencoder.decoder.parameters()
        optimisers = {
            "generator": self._adam([*self.generator.parameters(), *decoder]),
            "discriminator": self._adam(self.discriminator.parameters()),
        }
        rng = torch.Generator().manual_seed(fitting.seed)
        self.state = Checkpoint(modules, optimisers, rng)

    def run(self) -> list[Row]:
        """Train to the end, and leave the networks on the CPU.

        Returns:
            A row an epoch: epoch, train_loss and validation_loss (the discriminator's),
            generator_loss, learning_rate, seconds.
        """
        config, state, path = self.config, self.state, self._path()
        limit = DIVERGENCE_FACTOR * max(1.0, self._held_out_loss(self.data))
        state.read(path)
        done, hidden = len(state.history), not self.fitting.progress or None
        epochs = range(done, config.epochs)
        for epoch in tqdm(epochs, "gan", config.epochs, initial=done, disable=hidden):
            start = time.perf_counter()
            loss, generator_loss = self._epoch()
            row = {"epoch": epoch + 1, "train_loss": loss}
            row |= {"validation_loss": self._held_out_loss(self.held_out)}
            row |= {"generator_loss": generator_loss, "learning_rate": config.learning_rate}
            state.history.append(row | {"seconds": time.perf_counter() - start})
            if not (abs(loss) < limit and math.isfinite(generator_loss)):
                raise Diverged(
                    f"gan diverged in epoch {epoch + 1}: losses {loss:.4g} and "
                    f"{generator_loss:.4g}; lower the learning rate",
                    state.history,
                )
            state.save(path, SAVE_EVERY, last=epoch + 1 == config.epochs)
        state.module.cpu()
        return state.history

    def _path(self) -> Path | None:
        """The checkpoint's, named by all that decides the training."""
        if (folder := self.fitting.folder) is None:
            return None
        seed, modules = self.fitting.seed, self.state.module
        facts = facts_hash(self.config, seed, self.data, self.held_out, modules)
        return folder / f"gan-{facts}.checkpoint"

    def _epoch(self) -> tuple[float, float]:
        """As many steps of the generator as batches; mean losses of discriminator and generator."""
        config, rng = self.config, self.state.rng
        batch = min(config.batch, len(self.data))
        n_batches = math.ceil(len(self.data) / batch)
        losses = generator_losses = torch.zeros((), device=self.device)
        for _ in range(n_batches):
            self.generator.eval()  # the discriminator sees the running means, as published
            for _ in range(config.discriminator_steps):
                rows = torch.randperm(len(self.data), generator=rng)[:batch]
                with torch.no_grad():
                    synthetic = self._synthetic(batch, rng)
                real = self.data[rows]
                loss = discriminator_loss(
                    self.discriminator, config.objective, real, synthetic, rng
                )
                losses = losses + self._step("discriminator", loss)
            self.generator.train()
            self.discriminator.requires_grad_(False)  # it does not learn in this step
            logits = self.discriminator(self._synthetic(batch, rng))
            self.discriminator.requires_grad_(True)
            loss = generator_loss(config.objective, logits)
            generator_losses = generator_losses + self._step("generator", loss)
        mean = float(losses) / (n_batches * config.discriminator_steps)
        return mean, float(generator_losses) / n_batches

    def _step(self, name: str, loss: Tensor) -> Tensor:
        """One step of one optimiser on this loss."""
        self.state.module.zero_grad()
        loss.backward()
        self.state.optimisers[name].step()
        return loss.detach()

    def _synthetic(self, size: int, rng: torch.Generator) -> Tensor:
        """Vectors ``(size, n_codes)`` before rounding: probabilities, or expected counts."""
        noise = torch.randn(size, self.config.embedding, generator=rng).to(self.device)
        return self.autoencoder.output(self.generator(noise))

    @torch.no_grad()
    def _held_out_loss(self, patients: Data | None) -> float:
        """The discriminator's loss on a batch and synthetic patients, under fixed noise."""
        if patients is None or not len(patients):
            return math.nan
        self.generator.eval()
        rng = torch.Generator().manual_seed(self.fitting.seed + 1)
        real = next(iter(patients.split(self.config.batch)))
        synthetic = self._synthetic(len(real), rng)
        loss = discriminator_loss(self.discriminator, self.config.objective, real, synthetic, rng)
        return float(loss)

    def _adam(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Adam:
        config = self.config
        return torch.optim.Adam(
            parameters, lr=config.learning_rate, weight_decay=config.weight_decay
        )
