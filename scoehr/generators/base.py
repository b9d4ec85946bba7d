"""What every generator shares: drawing in batches, saving, loading, and the check of memory."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from tqdm import tqdm

from scoehr.data.matrix import CodeMatrix
from scoehr.files import InputError, check_seed, free_memory, replacing
from scoehr.generators import cards, saved
from scoehr.generators.settings import Settings
from scoehr.minibatches import Data, SparseRows
from scoehr.training import Loss, TrainingConfig, train

Weights = dict[str, dict[str, Tensor]]  # file name -> tensors


class Generator(ABC):
    """A generator of patients: ``fit`` on a :class:`CodeMatrix`, ``sample`` another, ``save`` and ``load``.

    Its ``config`` has at least ``kind``, ``sampler``, ``steps`` and ``sample_batch``.
    """

    #: Word for the kind of generator in config.json.
    name: ClassVar[str]
    settings: ClassVar[type[Settings]]
    #: What it does, in a sentence.
    summary: ClassVar[str]
    #: Its network, where the settings do not name one: "residual MLP", "none".
    architecture: ClassVar[str]
    #: What the network predicts, where the settings do not say: "rate", "patient vector".
    output: ClassVar[str]
    #: Default steps by sampler; None for a sampler without steps. Empty: one pass, nothing to choose.
    samplers: ClassVar[dict[str, int | None]] = {}
    #: Files of the weights.
    weights: ClassVar[tuple[str, ...]]
    #: What each named variant changes in the settings.
    presets: ClassVar[dict[str, dict[str, Any]]]
    #: Whether facts of the data (account, fingerprint, sizes, scores against training patients) may
    #: stand beside a saved model of credentialed data; not where privacy is promised.
    releases_data_facts: ClassVar[bool] = True
    #: Saved tensors whose last dimension may be any, and whose values infinite.
    open_ended: ClassVar[tuple[str, ...]] = ()

    def __init__(self, config: Any = None, device: str | None = None):
        self.config: Any = config or self.settings()
        self.device = device or (
            "cuda" if torch.cuda.is_available() else "cpu"
        )  # of the network while it works
        self.history = pd.DataFrame()
        self.patients: int | None = None  # that it was trained on
        self.evaluations = 0  # of the network, per patient of the last sample
        self.seconds = 0.0  # that the last sample took when it was made
        self.pairs: sp.csr_array | None = (
            None  # of codes: how many training patients have both, (n_codes, n_codes)
        )
        self.having = ""  # how many training patients meet the last condition, in words, if known
        self.accepted, self.grown = 0, 0  # records of the last sample on condition
        self.vocabulary: CodeMatrix  # the codes, without patients

    def fit(
        self,
        train_set: CodeMatrix,
        validation: CodeMatrix | None = None,
        *,
        seed: int = 0,
        folder: str | Path | None = None,
        progress: bool = True,
    ) -> Self:
        """Train.

        Args:
            train_set: the patients to learn from; counts are cut to presence where ``kind`` is binary.
            validation: patients whose loss is written down each epoch; nothing is chosen by it.
            seed: of weights, order, times and noise.
            folder: where checkpoints go, to resume from after an interruption.

        Raises:
            Diverged: see :func:`scoehr.training.train`.
            InputError: settings and data do not fit together, or not into memory.
        """
        seed = check_seed(seed)
        if not len(train_set) or not len(train_set.codes):
            wanting = "code" if len(train_set) else "patient"
            raise InputError(
                f"the training table has no {wanting}, so there is nothing to learn; give another table"
            )
        if self.device == "cpu":
            check_training(train_set.shape, self.need(train_set), free_memory())
        self._build(train_set, seed)
        self.patients = len(train_set)
        held_out = None if validation is None else self._rows(validation.align(train_set.codes))
        rows = self._train(
            self._rows(train_set), held_out, seed, Path(folder) if folder else None, progress
        )
        self.history = pd.DataFrame(rows)
        self._learn_pairs(train_set)
        return self

    def _learn_pairs(self, train_set: CodeMatrix) -> None:
        """Note which codes patients have together, where conditions are taken."""
        self.pairs = None

    def need(self, train_set: CodeMatrix) -> int:
        """Bytes that training takes at its peak, about: weights, optimiser, a batch and what its gradients need.

        The networks are measured without being made.
        """
        weights = sum(
            tensor.nbytes for file in self.blueprint(train_set).values() for tensor in file.values()
        )
        # weights, gradients, two moments and an average; all but the gradients are copied for a checkpoint
        return 9 * weights + 4 * self._floats(*train_set.shape) + 24 * train_set.counts.nnz

    @abstractmethod
    def _floats(self, n: int, n_codes: int) -> int:
        """How many numbers, float32, training on ``n`` patients holds beside the weights, at most and about."""

    @abstractmethod
    def _train(
        self,
        data: SparseRows,
        held_out: SparseRows | None,
        seed: int,
        folder: Path | None,
        progress: bool,
    ) -> list[dict[str, Any]]:
        """Train the networks on counts ``(n, n_codes)``: a row an epoch, with its stage."""

    def _learn(
        self,
        stage: str,
        module: nn.Module,
        loss: Loss,
        data: Data,
        held_out: Data | None,
        seed: int,
        folder: Path | None,
        progress: bool,
        about: dict[str, Any] | None = None,
        **more: Any,
    ) -> list[dict[str, Any]]:
        """Train a module on the device by the settings of the same names, and ``more``: a row an epoch."""
        config = self.config
        shared = {
            name: getattr(config, name) for name in ("epochs", "rate", "schedule", "clip", "ema")
        }
        rows = train(
            module.to(self.device),
            loss,
            data.to(self.device),
            TrainingConfig(batch=min(config.batch, len(data)), **shared, **more),
            seed=seed,
            validation=None if held_out is None else held_out.to(self.device),
            about=about,
            store=folder,
            name=stage,
            progress=progress,
        )
        module.cpu()
        return [{"stage": stage, **row} for row in rows]

    @property
    @abstractmethod
    def network(self) -> nn.Module:
        """The network that sampling evaluates."""

    @abstractmethod
    def _build(self, vocabulary: CodeMatrix, seed: int) -> None:
        """Make the networks, freshly initialised, for this vocabulary."""

    def blueprint(self, vocabulary: CodeMatrix) -> Weights:
        """The tensors that a model of these settings saves, by file and name, without values or memory."""
        blank = type(self)(self.config, device="cpu")
        with torch.device("meta"), Unfilled():
            blank._build(vocabulary, seed=0)
            return blank._weights()

    @abstractmethod
    def _draw(self, size: int, sampler: str, steps: int, rng: torch.Generator) -> Tensor:
        """The end points of the reverse process, ``(size, D)``; notes the evaluations."""

    def _draw_given(
        self, given: Sequence[int], size: int, sampler: str, steps: int, rng: torch.Generator
    ) -> Tensor:
        """The same for patients who have the codes in these columns."""
        raise InputError(
            f"a model of kind {self.name!r} cannot sample on condition; fit preset thinning"
        )

    @abstractmethod
    def decode(self, latents: Tensor, rng: torch.Generator | None = None) -> Tensor:
        """End points ``(n, D)`` to whole counts ``(n, n_codes)``."""

    @abstractmethod
    def _weights(self) -> Weights:
        """The tensors to save, by file."""

    @abstractmethod
    def _take(self, weights: Weights) -> None:
        """Put saved tensors in place."""

    def _rows(self, matrix: CodeMatrix) -> SparseRows:
        """The counts ``(n, n_codes)`` that training takes."""
        return SparseRows(self._cut(matrix).counts)

    def _cut(self, matrix: CodeMatrix) -> CodeMatrix:
        """The matrix, cut to presence where ``kind`` is binary."""
        return matrix.to_binary() if self.config.kind == "binary" else matrix

    # --------------------------------------------------------------- sample

    def sample(
        self,
        n: int,
        *,
        seed: int = 0,
        sampler: str | None = None,
        steps: int | None = None,
        condition: Sequence[str] = (),
        store: Path | None = None,
        progress: bool = True,
    ) -> CodeMatrix:
        """``n`` synthetic patients.

        Args:
            sampler, steps: in place of the configured ones.
            condition: codes that every patient is to have; only :class:`~scoehr.generators.Thinning` knows how.
            store: folder where each batch is kept as it is made, and taken from if the same network made it before.

        Raises:
            InputError: the model is not fitted, ``n`` is not positive, the result does not fit in memory, or the
                condition names a code that the model does not know, or the model takes none.
            FloatingPointError: the reverse process left the finite numbers.
        """
        check_memory(n, len(self._words().codes))
        parts = list(
            self.batches(
                n,
                seed=seed,
                sampler=sampler,
                steps=steps,
                condition=condition,
                store=store,
                progress=progress,
            )
        )
        words = self.vocabulary
        return CodeMatrix.from_array(
            sp.vstack([part.counts for part in parts], format="csr"),
            words.codes,
            titles=words.titles,
            kind=self.config.kind,
        )

    def batches(
        self,
        n: int,
        *,
        seed: int = 0,
        sampler: str | None = None,
        steps: int | None = None,
        condition: Sequence[str] = (),
        store: Path | None = None,
        progress: bool = True,
    ) -> Iterator[CodeMatrix]:
        """The patients of :meth:`sample`, numbered from 0 on, as many at a time as ``sample_batch``.

        For :func:`scoehr.data.matrix.write_batches`: what does not fit in memory goes to a file as it is made.
        """
        words, seed = self._words(), check_seed(seed)
        sampler, steps = sampler or self.config.sampler, steps or self.config.steps
        given = self._places(condition)
        self._check_given(given)
        maker = [_digest(self.network.state_dict()), sampler, steps, seed, *given] if store else []
        batch = self.config.sample_batch
        self.seconds, self.accepted, self.grown = 0.0, 0, 0
        for start in tqdm(range(0, n, batch), "sampling", disable=not progress or None):
            rng, decoding = (_stream(seed, start, role) for role in (0, 1))
            size = min(batch, n - start)
            path = store and store / f"latents-{_digest({}, [*maker, start, size])}.safetensors"
            with torch.no_grad():
                counts = self.decode(self._kept(path, size, sampler, steps, rng, given), decoding)
            if not bool(torch.isfinite(counts).all()):
                raise FloatingPointError(
                    "sampling diverged: counts are not finite; train anew at a lower rate"
                )
            yield CodeMatrix.from_array(
                sp.csr_array(counts.clamp(-(2.0**30), 2.0**30).numpy().astype(np.int32)),
                words.codes, titles=words.titles, patients=np.arange(start, start + size), kind=self.config.kind,
            )  # fmt: skip

    def _words(self) -> CodeMatrix:
        """The codes of the fitted model."""
        if not hasattr(self, "vocabulary"):
            raise InputError("the model is not fitted; call fit, or load a saved one")
        return self.vocabulary

    def _places(self, condition: Sequence[str]) -> list[int]:
        """Columns of the codes of a condition."""
        if isinstance(condition, str):
            raise InputError(f"condition {condition!r} is one text; give a list of codes")
        place = {code: column for column, code in enumerate(self.vocabulary.codes)}
        for code in condition:
            if code not in place:
                raise InputError(
                    f"condition {code!r} is no code of this model; its vocabulary.csv lists them"
                )
        return sorted({place[code] for code in condition})

    def _check_given(self, given: Sequence[int]) -> None:
        """:class:`InputError` if no training patient has these codes together, as far as is known."""
        del given  # taken by no generator but thinning diffusion

    def _kept(
        self,
        path: Path | None,
        size: int,
        sampler: str,
        steps: int,
        rng: torch.Generator,
        given: Sequence[int],
    ) -> Tensor:
        """A batch of end points ``(size, D)``, from ``path`` if it is there, else made and kept there."""
        if path is not None and path.exists():
            kept = load_file(path)
            latents, seconds, self.evaluations = (
                kept["latents"],
                float(kept["seconds"]),
                int(kept["evaluations"]),
            )
        else:
            begun = time.perf_counter()
            how = (size, sampler, steps, rng)
            latents = self._draw_given(given, *how) if given else self._draw(*how)
            seconds = time.perf_counter() - begun
            if path is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
                costs = {
                    "seconds": torch.tensor(seconds),
                    "evaluations": torch.tensor(self.evaluations),
                }
                with replacing(path) as scratch:
                    save_file({"latents": latents, **costs}, scratch)
        self.seconds += seconds
        return latents

    # ----------------------------------------------------------- save, load

    def save(self, folder: str | Path, **extra: Any) -> Path:
        """Write config.json, vocabulary.csv, history.csv, cards and weights to a new folder, all or nothing.

        ``extra`` goes into config.json beside the model's own entries.
        """
        folder = Path(folder)
        with replacing(folder) as scratch:
            scratch.mkdir()
            self.write(scratch, **extra)
        return folder

    def write(self, folder: Path, **extra: Any) -> None:
        """Write the files of :meth:`save` into an existing folder."""
        head = {
            "generator": self.name,
            "config": asdict(self.config),
            "data": {"train": self.patients},
            **extra,
        }
        if not self.releases_data_facts and extra.get("credentialed", True):
            head["data"] = {}
        saved.write(folder, head, self._weights(), self.vocabulary, self.history, self.pairs)
        cards.write(folder, self.summary)

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """A saved model; :class:`InputError` if files are missing, altered, swapped or of another version."""
        folder = Path(folder)
        config = saved.config(folder)
        if config["generator"] != cls.name:
            raise InputError(
                f"{folder}: holds a model of kind {config['generator']!r}; load it as that, not as {cls.name!r}"
            )
        saved.check(folder, config)
        with saved.naming(folder):
            model = cls(cls.settings.from_dict(config["config"]))
        codes, titles = saved.vocabulary(folder, config)
        words = CodeMatrix.from_array(sp.csr_array((0, len(codes)), dtype=np.int32), codes, titles)
        with saved.naming(folder):
            blueprint = model.blueprint(words)
        weights = saved.weights(folder, config, blueprint, cls.open_ended)
        model._build(words, seed=0)
        model._take(weights)
        model.patients = config.get("data", {}).get("train")
        model.history = saved.history(folder, config)
        model.pairs = saved.pairs(folder, config)
        return model


class Unfilled(TorchFunctionMode):
    """Within it, no initial values are drawn."""

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if getattr(function, "__module__", None) == "torch.nn.init":
            return args[0] if args else kwargs["tensor"]
        return function(*args, **(kwargs or {}))


def _stream(seed: int, start: int, role: int) -> torch.Generator:
    """Random numbers of their own for each batch, and in it for the reverse process (0) and the decoder (1)."""
    return torch.Generator().manual_seed(
        int(np.random.SeedSequence([seed, start, role]).generate_state(1)[0])
    )


def _digest(tensors: dict[str, Tensor], facts: list[Any] | None = None) -> str:
    """Name for what these tensors and plain values determine."""
    digest = hashlib.sha256(json.dumps(facts).encode())
    for name, value in tensors.items():
        digest.update(name.encode() + value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def check_memory(n: int, n_codes: int) -> None:
    """:class:`InputError` unless ``n`` sparse records of up to ``n_codes`` codes fit in the memory that is free.

    A record is taken to hold 4 % of the codes, some three times what MIMIC-III's do, at 8 bytes each, twice over.
    """
    _check_room(n, 100 + 2 * 8 * math.ceil(0.04 * n_codes), free_memory(), "of memory")


def check_training(shape: tuple[int, int], need: int, free: int) -> None:
    """:class:`InputError` unless ``need`` bytes, for a table of this shape, are free."""
    if need > free:
        raise InputError(
            f"training on {shape[0]:,} patients and {shape[1]:,} codes needs about {_size(need)} of memory "
            f"and {_size(free)} are free; set a smaller batch or width"
        )


def check_disk(n: int, n_codes: int, path: Path) -> None:
    """:class:`InputError` unless a table of ``n`` such records, at 8 bytes a cell, fits on the disk of ``path``."""
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    _check_room(
        n, 8 * math.ceil(0.04 * n_codes), shutil.disk_usage(folder).free, f"on the disk of {path}"
    )


def _check_room(n: int, each: int, free: int, where: str) -> None:
    if n < 1:
        raise InputError(f"the number of patients must be at least 1, not {n}")
    if n * each > free:
        raise InputError(
            f"{n:,} patients need about {_size(n * each)} {where} and {_size(free)} are free; "
            f"ask for at most {free // each:,} at a time, under different seeds"
        )


def _size(count: float) -> str:
    """A number of bytes in the unit that suits it, up to GiB."""
    power = min(3, int(math.log2(max(count, 1)) // 10))
    return f"{count / 1024**power:,.1f} {('B', 'KiB', 'MiB', 'GiB')[power]}"
