"""ScoEHR: a latent score-based diffusion over patient records, as reported and with each departure as an option.

fit: counts → autoencoder → latents → denoising score matching.  sample: noise → reverse diffusion → decoder → counts.

Naseer, Walker, Landon, Ambrosy, Fudim, Wysham, Toro, Swaminathan & Lyons (2023), ScoEHR: Generating Synthetic
Electronic Health Records using Continuous-time Diffusion Models, PMLR 219.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, Self, get_args

import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from scoehr import sampling
from scoehr.codes import CodeMatrix
from scoehr.files import InputError, read_json, replacing, sha256
from scoehr.models import Autoencoder, Head, ResidualMLP, UNet, reinitialise, unet_dim
from scoehr.processes import (
    VPSDE,
    Prediction,
    ScoreModel,
    score_matching_loss,
    stratified_times,
    uniform_times,
)
from scoehr.training import Schedule, TrainingConfig, train

FORMAT = 1  # of a saved model; raised when a folder of the version before can no longer be read

TIMES = {"stratified": stratified_times, "uniform": uniform_times}


@dataclass(frozen=True)
class ScoEHRConfig:
    """Every choice of the model; the defaults are the report's (Team 97, 2024)."""

    kind: Literal["count", "binary"] = "count"
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
        for name, choices in {
            "kind": ("count", "binary"),
            "head": get_args(Head),
            "network": ("unet", "mlp"),
            "prediction": get_args(Prediction),
            "times": tuple(TIMES),
            "sampler": tuple(sampling.SAMPLERS),
        }.items():
            if getattr(self, name) not in choices:
                raise InputError(f"{name} {getattr(self, name)!r} is unknown; choose one of {', '.join(choices)}")
        if self.head == "sigmoid" and self.kind == "count":
            raise InputError("the sigmoid head knows presence, not counts; set kind to binary or take another head")

    @classmethod
    def preset(cls, name: str, **changes: Any) -> ScoEHRConfig:
        """``reported``, ``paper`` or ``fast``, with changes; :class:`InputError` for an unknown name or field."""
        if name not in PRESETS:
            raise InputError(f"preset {name!r} is unknown; choose one of {', '.join(PRESETS)}")
        return cls.from_dict({**PRESETS[name], **changes})

    @classmethod
    def from_dict(cls, settings: dict[str, Any]) -> ScoEHRConfig:
        """From plain data, such as a JSON file."""
        unknown = sorted(set(settings) - {field.name for field in fields(cls)})
        if unknown:
            raise InputError(f"unknown setting {unknown[0]!r}; see ScoEHRConfig for the names")
        settings = {key: tuple(value) if isinstance(value, list) else value for key, value in settings.items()}
        return cls(**settings)


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
        "autoencoder_batch": 256,
        "autoencoder_epochs": 60,
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


class ScoEHR:
    """A generator of patients: ``fit`` on a :class:`CodeMatrix`, ``sample`` another.

    >>> model = ScoEHR.preset("fast", epochs=10).fit(matrix)          # doctest: +SKIP
    >>> model.sample(1_000, seed=1).write("synthetic.parquet")        # doctest: +SKIP
    """

    def __init__(self, config: ScoEHRConfig | None = None, device: str | None = None):
        self.config = config or ScoEHRConfig()
        self.device = device or ("cuda" if torch.cuda.is_available() else "cpu")  # of the score network while it works
        self.sde = VPSDE()
        self.history = pd.DataFrame()
        self.autoencoder: Autoencoder | None = None
        self.score: ScoreModel
        self.evaluations = 0  # of the network, per patient of the last sample
        self.shift: Tensor  # (D,) mean and
        self.scale: Tensor  # (D,) standard deviation of the latents
        self._vocabulary: CodeMatrix  # without patients

    @classmethod
    def preset(cls, name: str, **changes: Any) -> ScoEHR:
        """A model with the settings of a named variant, see :data:`PRESETS`, and changes to them."""
        return cls(ScoEHRConfig.preset(name, **changes))

    # ------------------------------------------------------------------ fit

    def fit(
        self,
        train_set: CodeMatrix,
        validation: CodeMatrix | None = None,
        *,
        seed: int = 0,
        folder: str | Path | None = None,
        progress: bool = True,
    ) -> Self:
        """Train both networks.

        Args:
            train_set: the patients to learn from; counts are cut to presence where ``kind`` is binary.
            validation: patients whose loss is written down each epoch; nothing is chosen by it.
            seed: of weights, order, times and noise.
            folder: where checkpoints go, to resume from after an interruption.

        Raises:
            Diverged: see :func:`scoehr.training.train`.
            InputError: settings and data do not fit together.
        """
        folder = Path(folder) if folder else None
        self._build(train_set, seed)
        data = self._tensor(train_set)  # (n, n_codes)
        held_out = self._tensor(validation.align(train_set.codes)) if validation is not None else None
        history = []
        if self.autoencoder is not None:
            history += self._fit_autoencoder(self.autoencoder, data, held_out, seed, folder, progress)
        history += self._fit_score(data, held_out, seed, folder, progress)
        self.history = pd.DataFrame(history)
        return self

    def _fit_autoencoder(
        self,
        autoencoder: Autoencoder,
        data: Tensor,
        held_out: Tensor | None,
        seed: int,
        folder: Path | None,
        progress: bool,
    ) -> list[dict[str, Any]]:
        config = self.config
        if config.head == "poisson":  # start at the mean rates, else the first epochs only find them
            autoencoder.decoder.bias.data = torch.log(torch.expm1(data.mean(0) + 1 / len(data)))
        rows = train(
            autoencoder,
            autoencoder.loss,
            data,
            TrainingConfig(
                epochs=config.autoencoder_epochs,
                batch=config.autoencoder_batch,
                rate=config.autoencoder_rate,
                schedule=config.autoencoder_schedule,
                weight_decay=config.weight_decay,
                shuffle=config.autoencoder_shuffle,
                drop_last=config.drop_last,
            ),
            seed=seed,
            validation=held_out,
            checkpoint=folder and folder / "autoencoder.checkpoint",
            title="autoencoder",
            progress=progress,
        )
        return [{"stage": "autoencoder", **row} for row in rows]

    def _fit_score(
        self, data: Tensor, held_out: Tensor | None, seed: int, folder: Path | None, progress: bool
    ) -> list[dict[str, Any]]:
        config, score, sde = self.config, self.score, self.sde
        draw_times = TIMES[config.times]

        def loss(x: Tensor, rng: torch.Generator) -> Tensor:
            t = draw_times(len(x), rng).to(x)
            noise = torch.randn(x.shape, generator=rng).to(x)
            return score_matching_loss(score, sde, x, t, noise).mean()

        latents = self._encode(data)
        if config.standardise:
            self.shift, self.scale = latents.mean(0), latents.std(0).clamp_min(1e-3)
        rows = train(
            score.to(self.device),
            loss,
            self._standardised(latents).to(self.device),
            TrainingConfig(
                epochs=config.epochs,
                batch=config.batch,
                rate=config.rate,
                schedule=config.schedule,
                drop_last=config.drop_last,
                clip=config.clip,
                ema=config.ema,
            ),
            seed=seed,
            validation=None if held_out is None else self._standardised(self._encode(held_out)).to(self.device),
            checkpoint=folder and folder / "score.checkpoint",
            title="score network",
            progress=progress,
        )
        score.cpu()
        return [{"stage": "score", **row} for row in rows]

    def _build(self, vocabulary: CodeMatrix, seed: int) -> None:
        """Make the networks, freshly initialised, for this vocabulary."""
        config = self.config
        self._vocabulary = vocabulary.take(np.arange(0))
        n_codes = len(vocabulary.codes)
        dim = config.latent or (unet_dim(n_codes) if config.network == "unet" else n_codes)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = self._network(dim)
            self.autoencoder = (
                Autoencoder(n_codes, dim, config.head, config.autoencoder_noise) if config.latent else None
            )
            if self.autoencoder is not None:
                reinitialise(self.autoencoder)
        self.score = ScoreModel(network, self.sde, config.prediction, config.time_scale)
        self.shift, self.scale = torch.zeros(dim), torch.ones(dim)

    def _network(self, dim: int) -> nn.Module:
        config = self.config
        if config.network == "mlp":
            return ResidualMLP(dim, config.width, config.depth)
        network = UNet(dim, config.width, attention=config.attention)
        return reinitialise(network) if config.reinitialise else network

    def _tensor(self, matrix: CodeMatrix) -> Tensor:
        matrix = matrix.to_binary() if self.config.kind == "binary" else matrix
        return torch.from_numpy(matrix.dense())  # (n, n_codes)

    @torch.no_grad()
    def _encode(self, counts: Tensor) -> Tensor:
        """Counts ``(n, n_codes)`` to latents ``(n, D)``; without autoencoder, padded on the right with zeros."""
        if self.autoencoder is not None:
            return self.autoencoder.encode(counts)
        return F.pad(counts, (0, len(self.shift) - counts.shape[1]))

    def _standardised(self, latents: Tensor) -> Tensor:
        return (latents - self.shift) / self.scale

    # --------------------------------------------------------------- sample

    def sample(
        self, n: int, *, seed: int = 0, sampler: str | None = None, steps: int | None = None, progress: bool = True
    ) -> CodeMatrix:
        """``n`` synthetic patients.

        Args:
            sampler, steps: in place of the configured ones, see :data:`scoehr.sampling.SAMPLERS`.

        Raises:
            InputError: the model is not fitted, ``n`` is not positive, or the result does not fit in memory.
            FloatingPointError: the reverse diffusion left the finite numbers.
        """
        if not hasattr(self, "score"):
            raise InputError("the model is not fitted; call fit, or load a saved one")
        check_memory(n, len(self._vocabulary.codes))
        sampler, steps = sampler or self.config.sampler, steps or self.config.steps
        parts = []
        starts = range(0, n, self.config.sample_batch)
        for start in tqdm(starts, "sampling", disable=not progress or None):
            rng = torch.Generator().manual_seed(int(np.random.SeedSequence([seed, start]).generate_state(1)[0]))
            size = min(self.config.sample_batch, n - start)
            parts.append(sp.csr_array(self._sample_batch(size, sampler, steps, rng)))
        self.score.cpu()
        return CodeMatrix.from_array(
            sp.vstack(parts, format="csr"),
            self._vocabulary.codes,
            titles=self._vocabulary.titles,
            kind=self.config.kind,
        )

    @torch.no_grad()
    def _sample_batch(self, size: int, sampler: str, steps: int, rng: torch.Generator) -> np.ndarray:
        counted = _Counting(self.score.eval().to(self.device))
        noise = torch.randn(size, len(self.shift), generator=rng).to(self.device)
        x = sampling.solve(sampler, counted, self.sde, noise, steps, rng=rng).cpu()
        self.evaluations = counted.calls
        counts = self.decode(x * self.scale + self.shift, rng)
        if not bool(torch.isfinite(counts).all()):
            raise FloatingPointError("sampling diverged: the decoded counts are not finite; train anew at a lower rate")
        return counts.clamp(max=2.0**30).numpy().astype(np.int32)

    @torch.no_grad()
    def decode(self, latents: Tensor, rng: torch.Generator | None = None) -> Tensor:
        """Latents ``(n, D)`` to whole counts ``(n, n_codes)``."""
        config = self.config
        if self.autoencoder is not None:
            return self.autoencoder.decode(latents.clamp(-1, 1) if config.clip_latents else latents, rng)
        counts = latents[:, : len(self._vocabulary.codes)]
        if config.kind == "binary":
            return (counts > 0.5).to(counts)
        return counts.round().clamp_min(0)  # a record holds no negative counts; the report leaves some

    def reconstruct(self, matrix: CodeMatrix, *, seed: int = 0) -> CodeMatrix:
        """Each patient through encoder and decoder, without diffusion: what the autoencoder alone loses."""
        counts = self.decode(self._encode(self._tensor(matrix)), torch.Generator().manual_seed(seed))
        return CodeMatrix.from_array(
            counts.numpy().astype(np.int32),
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
        return self._vocabulary.codes[(largest <= threshold).numpy()]

    # ------------------------------------------------------------ save, load

    def save(self, folder: str | Path, **extra: Any) -> Path:
        """Write config.json, history.csv and the weights (safetensors) to a new folder, all or nothing.

        ``extra`` goes into config.json beside the model's own entries.
        """
        folder = Path(folder)
        with replacing(folder) as scratch:
            scratch.mkdir()
            self.write(scratch, **extra)
        return folder

    def write(self, folder: Path, **extra: Any) -> None:
        """Write the files of :meth:`save` into an existing folder."""
        weights = {"score.safetensors": {**self.score.network.state_dict(), "shift": self.shift, "scale": self.scale}}
        if self.autoencoder is not None:
            weights["autoencoder.safetensors"] = self.autoencoder.state_dict()
        for name, tensors in weights.items():
            save_file({key: value.contiguous() for key, value in tensors.items()}, folder / name)
        config = {
            "format": FORMAT,
            "generator": "scoehr",
            "config": asdict(self.config),
            "weights": {name: sha256(folder / name) for name in weights},
            "vocabulary": {"codes": list(self._vocabulary.codes), "titles": list(self._vocabulary.titles)},
            **extra,
        }
        (folder / "config.json").write_text(json.dumps(config, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        self.history.to_csv(folder / "history.csv", index=False)

    @classmethod
    def load(cls, folder: str | Path) -> ScoEHR:
        """A saved model; :class:`InputError` if files are missing, altered, swapped or of another version."""
        folder = Path(folder)
        saved = _saved_config(folder / "config.json")
        if saved["format"] != FORMAT:
            raise InputError(
                f"{folder / 'config.json'}: format {saved['format']} is of another version of scoehr, this one "
                f"reads {FORMAT}; install that version or fit the model anew"
            )
        model = cls(ScoEHRConfig.from_dict(saved["config"]))
        words = saved["vocabulary"]
        model._build(
            CodeMatrix.from_array(
                sp.csr_array((0, len(words["codes"])), dtype=np.int32), words["codes"], titles=words["titles"]
            ),
            seed=0,
        )
        weights = {name: _load_weights(folder / name, digest) for name, digest in saved["weights"].items()}
        score = weights["score.safetensors"]
        model.shift, model.scale = score.pop("shift"), score.pop("scale")
        model.score.network.load_state_dict(score)
        if model.autoencoder is not None:
            model.autoencoder.load_state_dict(weights["autoencoder.safetensors"])
        if (folder / "history.csv").exists():
            model.history = pd.read_csv(folder / "history.csv")
        return model

    def with_sampler(self, sampler: str, steps: int) -> ScoEHR:
        """The same weights under another sampler."""
        other = ScoEHR(replace(self.config, sampler=sampler, steps=steps))
        other.__dict__ |= {key: value for key, value in self.__dict__.items() if key != "config"}
        return other


class _Counting:
    """A score that counts its evaluations."""

    def __init__(self, score: Callable[[Tensor, Tensor], Tensor]):
        self.score, self.calls = score, 0

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        self.calls += 1
        return self.score(x, t)


def _saved_config(path: Path) -> dict[str, Any]:
    saved = read_json(path)
    for key in ("format", "config", "weights", "vocabulary"):
        if not isinstance(saved, dict) or key not in saved:
            raise InputError(f"{path}: has no entry {key!r}, so it is not of a saved model; give the folder of one")
    return saved


def _load_weights(path: Path, digest: str) -> dict[str, Tensor]:
    if not path.exists():
        raise InputError(f"{path}: no such file; restore it or fit the model anew")
    if sha256(path) != digest:
        raise InputError(
            f"{path}: not the weights that config.json names (other SHA-256); restore the file or fit anew"
        )
    try:
        return load_file(path)
    except SafetensorError as error:
        raise InputError(f"{path}: not readable as safetensors ({error}); restore the file or fit anew") from None


def check_memory(n: int, n_codes: int) -> None:
    """:class:`InputError` unless ``n`` sparse records of up to ``n_codes`` codes fit in the memory that is free.

    A record is taken to hold 4 % of the codes, some three times what MIMIC-III's do, at 8 bytes each, twice over.
    """
    if n < 1:
        raise InputError(f"the number of patients must be at least 1, not {n}")
    need = n * (100 + 2 * 8 * math.ceil(0.04 * n_codes))
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if need > free:
        raise InputError(
            f"{n:,} patients need about {need / 2**30:,.1f} GiB and {free / 2**30:,.1f} GiB are free; "
            f"ask for at most {int(n * free / need):,} at a time, under different seeds"
        )
