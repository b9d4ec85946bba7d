"""ScoEHR: a latent score-based diffusion over patient records, as reported and with each departure as an option.

fit: counts → autoencoder → latents → denoising score matching.  sample: noise → reverse diffusion → decoder → counts.

Naseer, Walker, Landon, Ambrosy, Fudim, Wysham, Toro, Swaminathan & Lyons (2023), ScoEHR: Generating Synthetic
Electronic Health Records using Continuous-time Diffusion Models, PMLR 219.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from scipy import sparse
from torch import Tensor, nn

from scoehr import sampling
from scoehr.data.matrix import CodeMatrix, Kind
from scoehr.files import InputError
from scoehr.generators.base import Generator, Settings, Weights
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
    ScoreModel,
    score_matching_loss,
    stratified_times,
    uniform_times,
)
from scoehr.training import Schedule, TrainingConfig, train

TIMES = {"stratified": stratified_times, "uniform": uniform_times}


@dataclass(frozen=True)
class ScoEHRConfig(Settings):
    """Every choice of the model; the defaults are the report's (Team 97, 2024)."""

    kind: Kind = (
        "count"  # signed: without autoencoder, negative counts stay, as the report leaves them
    )
    # autoencoder
    latent: int | None = 144  # None: diffusion on the counts themselves
    head: Head = "relu"
    autoencoder_epochs: int = 200
    autoencoder_batch: int = 64
    autoencoder_rate: float = 1e-3
    autoencoder_noise: float = 0.0  # on the code while training
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
    epoch_share: float = 1.0  # of the patients that an epoch sees
    batch: int = 64
    rate: float = 1e-3
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
                "the sigmoid head knows presence, not counts; set kind to binary or take another head"
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
        "autoencoder_epochs": 12,  # longer, and the codes saturate: better reconstructed, harder to diffuse
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
        self.autoencoder: Autoencoder | None = None
        self.score: ScoreModel
        self.shift: Tensor  # (D,) mean and
        self.scale: Tensor  # (D,) standard deviation of the latents

    @property
    def network(self) -> nn.Module:
        return self.score.network

    # ------------------------------------------------------------------ fit

    def _train(
        self,
        data: SparseRows,
        held_out: SparseRows | None,
        seed: int,
        folder: Path | None,
        progress: bool,
    ) -> list[dict[str, Any]]:
        rows = []
        if self.autoencoder is not None:
            rows += self._fit_autoencoder(self.autoencoder, data, held_out, seed, folder, progress)
        return rows + self._fit_score(data, held_out, seed, folder, progress)

    def _floats(self, n: int, n_codes: int) -> int:
        config, dim, width = self.config, self._dim(n_codes), self.config.width
        each = (
            100 * width * dim if config.network == "unet" else 16 * config.depth * width + 12 * dim
        )
        latents = 5 * n * (dim if config.latent or config.standardise else 0)
        autoencoder = 20 * max(512, config.autoencoder_batch) * n_codes if config.latent else 0
        return max(64, config.batch) * each + latents + autoencoder

    def _fit_autoencoder(
        self,
        autoencoder: Autoencoder,
        data: SparseRows,
        held_out: SparseRows | None,
        seed: int,
        folder: Path | None,
        progress: bool,
    ) -> list[dict[str, Any]]:
        config = self.config
        if (
            config.head == "poisson"
        ):  # start at the mean rates, else the first epochs only find them
            autoencoder.decoder.bias.data = torch.log(torch.expm1(data.mean(0) + 1 / len(data)))
        rows = train(
            autoencoder,
            autoencoder.loss,
            data,
            TrainingConfig(
                epochs=config.autoencoder_epochs,
                batch=min(config.autoencoder_batch, len(data)),
                rate=config.autoencoder_rate,
                schedule=config.autoencoder_schedule,
                weight_decay=config.weight_decay,
                shuffle=config.autoencoder_shuffle,
                drop_last=config.drop_last,
            ),
            seed=seed,
            validation=held_out,
            about=self._changed("head", "autoencoder_noise"),
            store=folder,
            name="autoencoder",
            progress=progress,
        )
        return [{"stage": "autoencoder", **row} for row in rows]

    def _fit_score(
        self,
        data: SparseRows,
        held_out: SparseRows | None,
        seed: int,
        folder: Path | None,
        progress: bool,
    ) -> list[dict[str, Any]]:
        config, score, sde = self.config, self.score, self.sde
        draw_times = TIMES[config.times]

        def loss(x: Tensor, rng: torch.Generator) -> Tensor:
            t = draw_times(len(x), rng).to(x)
            noise = torch.randn(x.shape, generator=rng).to(x)
            return score_matching_loss(score, sde, x, t, noise).mean()

        latents = self._encode(data)
        if config.standardise and len(data) < 2:
            raise InputError(
                "one patient is too few for a preset that standardises; give more patients"
            )
        if config.standardise:
            latents = latents if isinstance(latents, Tensor) else latents.dense()
            self.shift, self.scale = latents.mean(0), latents.std(0).clamp_min(1e-3)
        about = self._changed("prediction", "time_scale", "times")
        more: dict[str, Any] = {
            "about": about,
            "drop_last": config.drop_last,
            "share": config.epoch_share,
        }
        codes = None if held_out is None else self._standardised(self._encode(held_out))
        return self._learn(
            "score", score, loss, self._standardised(latents), codes, seed, folder, progress, **more
        )

    def _build(self, vocabulary: CodeMatrix, seed: int) -> None:
        """Make the networks, freshly initialised, for this vocabulary."""
        config = self.config
        self.vocabulary = vocabulary.take(np.arange(0))
        n_codes = len(vocabulary.codes)
        dim = self._dim(n_codes)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = self._new_network(dim)
            self.autoencoder = (
                Autoencoder(n_codes, dim, config.head, config.autoencoder_noise)
                if config.latent
                else None
            )
            if self.autoencoder is not None:
                reinitialise(self.autoencoder)
        self.score = ScoreModel(network, self.sde, config.prediction, config.time_scale)
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

    def _changed(self, *names: str) -> dict[str, Any]:
        """Those of the settings that are not the report's."""
        settings = {name: getattr(self.config, name) for name in names}
        return {
            name: value for name, value in settings.items() if value != getattr(ScoEHRConfig, name)
        }

    @torch.no_grad()
    def _encode(self, counts: SparseRows) -> Data:
        """Counts ``(n, n_codes)`` to latents ``(n, D)``; without autoencoder, padded on the right with zeros."""
        if self.autoencoder is None:
            return counts.padded(len(self.shift))
        return torch.cat([self.autoencoder.encode(part) for part in counts.parts()])

    def _standardised(self, latents: Data) -> Data:
        if not self.config.standardise:
            return latents
        return (
            (latents if isinstance(latents, Tensor) else latents.dense()) - self.shift
        ) / self.scale

    # --------------------------------------------------------------- sample

    def _draw(self, size: int, sampler: str, steps: int, rng: torch.Generator) -> Tensor:
        counted = _Counting(self.score.eval().to(self.device))
        noise = torch.randn(size, len(self.shift), generator=rng).to(self.device)
        x = sampling.solve(sampler, counted, self.sde, noise, steps, rng=rng).cpu()
        self.score.cpu()
        self.evaluations = counted.calls
        return x * self.scale + self.shift

    @torch.no_grad()
    def decode(self, latents: Tensor, rng: torch.Generator | None = None) -> Tensor:
        """Latents ``(n, D)`` to whole counts ``(n, n_codes)``."""
        config = self.config
        if self.autoencoder is not None:
            counts = self.autoencoder.decode(
                latents.clamp(-1, 1) if config.clip_latents else latents, rng
            )
            return counts.clamp(max=1) if config.kind == "binary" else counts
        counts = latents[:, : len(self.vocabulary.codes)]
        if config.kind == "binary":
            return (counts > 0.5).to(counts)
        return counts.round() if config.kind == "signed" else counts.round().clamp_min(0)

    @torch.no_grad()
    def reconstruct(self, matrix: CodeMatrix, *, seed: int = 0) -> CodeMatrix:
        """Each patient through encoder and decoder, without diffusion: what the autoencoder alone loses."""
        rng = torch.Generator().manual_seed(seed)
        encode = self.autoencoder.encode if self.autoencoder is not None else lambda part: part
        parts = [
            sparse.csr_array(self.decode(encode(part), rng).numpy().astype(np.int32))
            for part in self._rows(matrix).parts()
        ]
        return CodeMatrix.from_array(
            sparse.vstack(parts, format="csr"),
            matrix.codes,
            titles=matrix.titles,
            patients=matrix.patients,
            kind=self.config.kind,
        )

    @torch.no_grad()
    def unreachable(self) -> np.ndarray:
        """Codes ``(k,)`` that no latent in the Tanh box can produce after rounding (exact, for relu and sigmoid heads).

        The largest logit of code j over the box is bⱼ + Σᵢ |Wⱼᵢ|; it must pass 1/2 (relu) or 0 (sigmoid). A Poisson
        head has no such codes.
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
        return {"score.safetensors": score} | (
            {"autoencoder.safetensors": self.autoencoder.state_dict()}
            if self.autoencoder is not None
            else {}
        )

    def _take(self, weights: Weights) -> None:
        score = weights["score.safetensors"]
        self.shift, self.scale = score.pop("shift"), score.pop("scale")
        self.score.network.load_state_dict(score)
        if self.autoencoder is not None:
            self.autoencoder.load_state_dict(weights["autoencoder.safetensors"])


class _Counting:
    """A score that counts its evaluations."""

    def __init__(self, score: Callable[[Tensor, Tensor], Tensor]):
        self.score, self.calls = score, 0

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        self.calls += 1
        return self.score(x, t)
