"""ScoEHR: latent score-based diffusion, as reported and with each departure as an option.

fit: counts → autoencoder → latents → denoising score matching.  sample: noise → reverse diffusion →
decoder → counts.

Naseer, Walker, Landon, Ambrosy, Fudim, Wysham, Toro, Swaminathan & Lyons (2023), ScoEHR: Generating
Synthetic Electronic Health Records using Continuous-time Diffusion Models, PMLR 219.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from scipy import sparse
from torch import Tensor, nn

from scoehr import sampling
from scoehr.checkpoints import Row
from scoehr.data.matrix import CodeMatrix, Kind
from scoehr.files import InputError
from scoehr.generators.base import Fitting, Generator, Sampling, Settings, Weights
from scoehr.generators.settings import check_choice, check_limits
from scoehr.minibatches import Data, SparseRows
from scoehr.models import (
    Autoencoder,
    Head,
    ResidualMLP,
    UNet,
    check_unet,
    check_width,
    reinitialise,
    unet_dim,
)
from scoehr.sdes import (
    VPSDE,
    Prediction,
    Score,
    ScoreModel,
    score_matching_loss,
    stratified_times,
    uniform_times,
)
from scoehr.training import Schedule, TrainingConfig

TIMES = {"stratified": stratified_times, "uniform": uniform_times}


@dataclass(frozen=True)
class ScoEHRConfig(Settings):
    """Every choice of the model; the defaults are the report's (Team 97, 2024)."""

    kind: Kind = "count"  # signed: without autoencoder, negative counts stay, as reported
    # autoencoder
    latent: int | None = 144  # None: diffusion on the counts themselves
    head: Head = "relu"
    autoencoder_epochs: int = 200
    autoencoder_batch: int = 64
    autoencoder_learning_rate: float = 1e-3
    autoencoder_noise: float = 0.0  # on the latent while training
    autoencoder_schedule: Schedule = "constant"
    autoencoder_shuffle: bool = False  # the report's loader keeps the order of the rows
    weight_decay: float = 1e-4
    standardise: bool = False  # latents to mean 0, variance 1, as the VP-SDE assumes
    # score network
    network: Literal["unet", "mlp"] = "unet"
    width: int = 128
    depth: int = 4  # blocks of the MLP
    attention: tuple[int, ...] = (16,)  # image sides with attention in every block of the U-Net
    reinitialise: bool = True  # the report overrides the near-zero start
    prediction: Prediction = "score"
    time_scale: float = 1.0
    times: Literal["stratified", "uniform"] = "stratified"
    epochs: int = 50
    epoch_fraction: float = 1.0  # of the patients that an epoch sees
    batch: int = 64
    learning_rate: float = 1e-3
    schedule: Schedule = "reported"
    drop_last: bool = True
    clip: float = 1.0
    ema: float = 0.0
    # sampling
    sampler: str = "euler_maruyama"
    steps: int = 1000
    sample_batch: int = 128
    clip_latents: bool = False  # to (-1, 1), where the decoder was trained

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("sampler", self.sampler, sampling.SAMPLERS)
        check_limits("steps", self.steps, "[2, inf)")
        if self.head == "sigmoid" and self.kind != "binary":
            raise InputError(
                "the sigmoid head has presence, not counts; set kind to binary or take another head"
            )
        if self.network == "mlp":
            check_width(self.width)
        else:
            check_unet(self.latent, self.width)


#: What each named variant changes in the report's settings.
PRESETS: dict[str, dict[str, Any]] = {
    "reported": {},
    "paper": {  # as the paper describes it and its published configuration sets it
        "kind": "binary",
        "head": "sigmoid",
        "autoencoder_epochs": 20,
        "autoencoder_batch": 256,
        "autoencoder_shuffle": True,
        "reinitialise": False,
        "schedule": "official",
        "batch": 256,
    },
    "fast": {
        "head": "poisson",
        # longer, the latents saturate: reconstructed well, hard to diffuse
        "autoencoder_epochs": 12,
        "autoencoder_schedule": "cosine",
        "autoencoder_noise": 0.3,
        "autoencoder_shuffle": True,
        "weight_decay": 0.0,
        "standardise": True,
        "network": "mlp",
        "width": 512,
        "reinitialise": False,
        "prediction": "noise",
        "time_scale": 1000.0,
        "times": "uniform",
        "epochs": 200,
        "batch": 256,
        "schedule": "cosine",
        "ema": 0.999,
        "sampler": "dpm_solver_pp_2m",
        "steps": 25,
        "sample_batch": 1024,
        "clip_latents": True,
    },
}


class ScoEHR(Generator):
    """Latent score-based diffusion.

    >>> model = generators.preset("fast", epochs=10).fit(matrix)      # doctest: +SKIP
    >>> model.sample(1_000, seed=1).write("synthetic.parquet")        # doctest: +SKIP
    """

    name = "scoehr"
    settings = ScoEHRConfig
    summary = "Latent diffusion: an autoencoder, and a score network that turns noise into latents."
    architecture = "residual MLP"
    output = "score"
    samplers: ClassVar[dict[str, int | None]] = {
        "euler_maruyama": 1000,
        "sra1": 50,
        "ddim": 25,
        "heun": 25,
        "dpm_solver_pp_2m": 25,
    }
    weights = ("score.safetensors", "autoencoder.safetensors")
    presets = PRESETS
    config: ScoEHRConfig

    def __init__(self, config: ScoEHRConfig | None = None, device: str | None = None):
        super().__init__(config, device)
        self.sde = VPSDE()

    def _make_networks(self, n_codes: int) -> None:
        config, dim = self.config, self._dim(n_codes)
        network = self._new_network(dim)
        self.score = ScoreModel(network, self.sde, config.prediction, config.time_scale)
        self.autoencoder: Autoencoder | None = None
        if config.latent:
            self.autoencoder = Autoencoder(n_codes, dim, config.head, config.autoencoder_noise)
            reinitialise(self.autoencoder)
        #: Mean and standard deviation of the latents, (D,).
        self.shift, self.scale = torch.zeros(dim), torch.ones(dim)

    def _dim(self, n_codes: int) -> int:
        """Size of what is diffused."""
        config = self.config
        return config.latent or (unet_dim(n_codes) if config.network == "unet" else n_codes)

    def _new_network(self, dim: int) -> nn.Module:
        config = self.config
        if config.network == "mlp":
            return ResidualMLP(dim, config.width, config.depth)
        network = UNet(dim, config.width, attention=config.attention)
        return reinitialise(network) if config.reinitialise else network

    @property
    def network(self) -> nn.Module:
        return self.score.network

    # ------------------------------------------------------------------ fit

    def _train(self, fitting: Fitting) -> list[Row]:
        rows = []
        if self.autoencoder is not None:
            rows += self._fit_autoencoder(self.autoencoder, fitting)
        return rows + self._fit_score(self._encode_all(fitting))

    def _floats(self, n: int, n_codes: int) -> int:
        config, dim, width = self.config, self._dim(n_codes), self.config.width
        unet = config.network == "unet"
        each = 100 * width * dim if unet else 16 * config.depth * width + 12 * dim
        latents = 5 * n * (dim if config.latent or config.standardise else 0)
        autoencoder = 20 * max(512, config.autoencoder_batch) * n_codes if config.latent else 0
        return max(64, config.batch) * each + latents + autoencoder

    def _fit_autoencoder(self, autoencoder: Autoencoder, fitting: Fitting) -> list[Row]:
        config, n = self.config, len(fitting.data)
        if (
            config.head == "poisson"
        ):  # start at the mean rates, else the first epochs only find them
            rates = torch.expm1(fitting.data.mean(0) + 1 / n)
            autoencoder.decoder.bias.data = torch.log(rates)
        training = TrainingConfig(
            epochs=config.autoencoder_epochs,
            batch=min(config.autoencoder_batch, n),
            learning_rate=config.autoencoder_learning_rate,
            schedule=config.autoencoder_schedule,
            weight_decay=config.weight_decay,
            shuffle=config.autoencoder_shuffle,
            drop_last=config.drop_last,
        )
        about = self._settings("head", "autoencoder_noise")
        return fitting.train("autoencoder", autoencoder, autoencoder.loss, training, about=about)

    def _encode_all(self, fitting: Fitting) -> Fitting:
        """The same patients as latents, standardised if that is set."""
        config, held_out = self.config, fitting.held_out
        latents = self._encode(fitting.data)
        if config.standardise:
            if len(latents) < 2:
                raise InputError(
                    "one patient is too few for a preset that standardises; give more patients"
                )
            dense = _dense(latents)
            self.shift, self.scale = dense.mean(0), dense.std(0).clamp_min(1e-3)
        others = None if held_out is None else self._standardised(self._encode(held_out))
        return replace(fitting, data=self._standardised(latents), held_out=others)

    def _fit_score(self, fitting: Fitting) -> list[Row]:
        config, score, sde = self.config, self.score, self.sde
        draw_times = TIMES[config.times]

        def loss(x: Tensor, rng: torch.Generator) -> Tensor:
            t = draw_times(len(x), rng).to(x)
            noise = torch.randn(x.shape, generator=rng).to(x)
            return score_matching_loss(score, sde, x, t, noise).mean()

        more = {"drop_last": config.drop_last, "epoch_fraction": config.epoch_fraction}
        training = self._training_config(len(fitting.data), **more)
        about = self._settings("prediction", "time_scale", "times")
        return fitting.train("score", score, loss, training, device=self.device, about=about)

    def _settings(self, *names: str) -> dict[str, Any]:
        return {name: getattr(self.config, name) for name in names}

    @torch.no_grad()
    def _encode(self, counts: Data) -> Data:
        """Counts ``(n, n_codes)`` to latents ``(n, D)``; without autoencoder, padded with zeros."""
        rows = SparseRows.of(counts)
        if self.autoencoder is None:
            return rows.padded(len(self.shift))
        return torch.cat([self.autoencoder.encode(part) for part in rows.parts()])

    def _standardised(self, latents: Data) -> Data:
        if not self.config.standardise:
            return latents
        return (_dense(latents) - self.shift) / self.scale

    # --------------------------------------------------------------- sample

    def _draw(self, size: int, rng: torch.Generator, how: Sampling) -> Tensor:
        sampler, steps = how.sampler or self.config.sampler, how.steps or self.config.steps
        score = _Counting(self.score.eval().to(self.device))
        noise = torch.randn(size, len(self.shift), generator=rng).to(self.device)
        x = sampling.solve(sampler, score, self.sde, noise, steps, rng=rng).cpu()
        self.score.cpu()
        self.evaluations = score.calls
        return x * self.scale + self.shift

    @torch.no_grad()
    def decode(self, latents: Tensor, rng: torch.Generator | None = None) -> Tensor:
        """Latents ``(n, D)`` to whole counts ``(n, n_codes)``; ``rng`` for the Poisson head."""
        binary = self.config.kind == "binary"
        if self.autoencoder is not None:
            inside = latents.clamp(-1, 1) if self.config.clip_latents else latents
            counts = self.autoencoder.decode(inside, rng)
            return counts.clamp(max=1) if binary else counts
        counts = latents[:, : len(self.vocabulary.codes)]
        if binary:
            return (counts > 0.5).to(counts)
        return counts.round() if self.config.kind == "signed" else counts.round().clamp_min(0)

    @torch.no_grad()
    def reconstruct(self, matrix: CodeMatrix, *, seed: int = 0) -> CodeMatrix:
        """Each patient through encoder and decoder alone: what the autoencoder loses."""
        rng = torch.Generator().manual_seed(seed)
        parts = []
        for part in self._rows(matrix).parts():
            latents = part if self.autoencoder is None else self.autoencoder.encode(part)
            counts = self.decode(latents, rng).numpy().astype(np.int32)
            parts.append(sparse.csr_array(counts))
        return CodeMatrix.from_array(
            sparse.vstack(parts, format="csr"),
            matrix.codes,
            titles=matrix.titles,
            patients=matrix.patients,
            kind=self.config.kind,
        )

    @torch.no_grad()
    def unreachable(self) -> np.ndarray:
        """Codes ``(k,)`` that no latent in (-1, 1) decodes to (exact, for relu and sigmoid heads).

        The largest logit of code j over the box is ``bⱼ + Σᵢ |Wⱼᵢ|``; it must pass 1/2 (relu) or 0
        (sigmoid). A Poisson head has no such codes.
        """
        if self.autoencoder is None or self.autoencoder.head == "poisson":
            return np.empty(0, dtype=object)
        layer = self.autoencoder.decoder
        largest = layer.bias + layer.weight.abs().sum(dim=1)
        threshold = 0.5 if self.autoencoder.head == "relu" else 0.0
        return self.vocabulary.codes[(largest <= threshold).numpy()]

    # -------------------------------------------------------------- weights

    def _weights(self) -> Weights:
        score = {**self.score.network.state_dict(), "shift": self.shift, "scale": self.scale}
        weights = {"score.safetensors": score}
        if self.autoencoder is not None:
            weights["autoencoder.safetensors"] = self.autoencoder.state_dict()
        return weights

    def _load_weights(self, weights: Weights) -> None:
        score = weights["score.safetensors"]
        self.shift, self.scale = score.pop("shift"), score.pop("scale")
        self.score.network.load_state_dict(score)
        if self.autoencoder is not None:
            self.autoencoder.load_state_dict(weights["autoencoder.safetensors"])


def _dense(data: Data) -> Tensor:
    return data if isinstance(data, Tensor) else data.dense()


class _Counting:
    """A score that counts its evaluations."""

    def __init__(self, score: Score):
        self.score, self.calls = score, 0

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        self.calls += 1
        return self.score(x, t)
