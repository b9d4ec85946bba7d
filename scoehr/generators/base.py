"""What generators share: training, sampling in batches, saving and loading."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
import pandas as pd
import torch
from safetensors.torch import load_file, save_file
from scipy import sparse
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from tqdm import tqdm

from scoehr.checkpoints import Row, facts_hash
from scoehr.data.interchange import about
from scoehr.data.matrix import CodeMatrix
from scoehr.files import InputError, check_seed, replacing, warn
from scoehr.generators import cards, conditions, saved
from scoehr.generators.room import check_memory, check_training
from scoehr.generators.saved import Weights
from scoehr.generators.settings import Settings
from scoehr.generators.stopping import Losses, hold_out, judge, said
from scoehr.minibatches import Data, SparseRows
from scoehr.training import Loss, TrainingConfig, train


@dataclass(frozen=True)
class Fitting:
    """What every stage of a training is given."""

    data: Data  # (n, D)
    held_out: Data | None  # whose loss is recorded each epoch
    seed: int
    folder: Path | None  # of checkpoints
    progress: bool

    def train(
        self,
        stage: str,
        module: nn.Module,
        loss: Loss,
        config: TrainingConfig,
        *,
        device: str = "cpu",
        about: dict[str, Any] | None = None,
        losses: Losses | None = None,
    ) -> list[Row]:
        """Train a module on a device and bring it back: a row an epoch, with its stage.

        Where ``losses`` are given and ``config`` has patience, the held-out data choose an epoch.
        """
        judged = None
        if losses is not None and config.patience and self.held_out is not None:
            judged = judge(losses, self.held_out, self.seed, device)
        rows = train(
            module.to(device),
            loss,
            self.data.to(device),
            config,
            seed=self.seed,
            validation=None if self.held_out is None else self.held_out.to(device),
            judge=judged,
            about=about,
            store=self.folder,
            name=stage,
            progress=self.progress,
        )
        module.cpu()
        return [{"stage": stage, **row} for row in rows]


class Sampling(NamedTuple):
    """How patients are sampled."""

    sampler: str | None  # None where there is nothing to choose, and so with steps
    steps: int | None
    columns: tuple[int, ...]  # of the codes that every patient is to have


class Model(ABC):
    """Saving and loading of a fitted model."""

    #: Word for the kind of generator in config.json.
    name: ClassVar[str]
    settings: ClassVar[type[Settings]]
    #: What it does, in a sentence.
    summary: ClassVar[str]
    #: Its network, where the settings do not name one: "residual MLP", "none".
    architecture: ClassVar[str]
    #: What the network predicts, where the settings do not say: "rate", "patient vector".
    output: ClassVar[str]
    #: Files of the weights.
    weights: ClassVar[tuple[str, ...]]
    #: Saved tensors whose last dimension may be any, and whose values infinite.
    open_ended: ClassVar[tuple[str, ...]] = ()

    def __init__(self, config: Any = None, device: str | None = None):
        self.config: Any = config or self.settings()
        #: Of the network while it works.
        self.device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        self.history = pd.DataFrame()
        self.vocabulary: Any  # the codes, without patients

    @abstractmethod
    def _build(self, vocabulary: Any, seed: int) -> None:
        """Make the networks, untrained, for this vocabulary."""

    def _training_config(self, n: int, **more: Any) -> TrainingConfig:
        """The settings of a training on ``n`` patients that have the same names, and ``more``."""
        names = ("epochs", "learning_rate", "schedule", "clip", "ema")
        shared = {name: getattr(self.config, name) for name in names}
        batch = min(self.config.batch, n)
        return TrainingConfig(batch=batch, **shared, **more)

    def _modules(self) -> dict[str, nn.Module]:
        """The networks that are saved, by file."""
        return {}

    def _weights(self) -> Weights:
        """The tensors to save, by file."""
        return {file: module.state_dict() for file, module in self._modules().items()}

    def _load_weights(self, weights: Weights) -> None:
        """Put saved tensors in place."""
        for file, module in self._modules().items():
            module.load_state_dict(weights[file])

    def _require_fitted(self) -> Any:
        """The vocabulary of the fitted model."""
        if not hasattr(self, "vocabulary"):
            raise InputError("the model is not fitted; call fit, or load a saved one")
        return self.vocabulary

    def blueprint(self, vocabulary: Any) -> Weights:
        """The tensors of a model of these settings by file and name, without values or memory."""
        with torch.device("meta"), Unfilled():
            blank = self._blank()
            blank._build(vocabulary, seed=0)
            return blank._weights()

    def _blank(self) -> Self:
        """Another of the same settings."""
        return type(self)(self.config, device="cpu")

    def save(self, folder: str | Path, **extra: Any) -> Path:
        """Write the model to a new folder, all or nothing.

        Files: config.json, vocabulary.csv, history.csv, weights as safetensors, and for generators
        of patients a model and a data card. ``extra`` goes into config.json beside the model's
        entries.
        """
        folder = Path(folder)
        with replacing(folder) as scratch:
            scratch.mkdir()
            self.write(scratch, **extra)
        return folder

    @abstractmethod
    def write(self, folder: Path, **extra: Any) -> None:
        """Write the files of :meth:`save` into an existing folder."""

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """A saved model; :class:`InputError` if a file is missing, altered or of other format."""
        folder = Path(folder)
        config = saved.config(folder)
        if config["generator"] != cls.name:
            raise InputError(
                f"{folder}: holds a model of kind {config['generator']!r}, not {cls.name!r}"
            )
        saved.check(folder, config)
        with saved.naming(folder):
            model = cls(cls.settings.from_saved(config["config"]))
        words = saved.vocabulary(folder, config)
        with about(folder / saved.VOCABULARY):
            vocabulary = model._without_patients(*words)
        model._read(folder, config)
        with saved.naming(folder):
            blueprint = model.blueprint(vocabulary)
        weights = saved.weights(folder, config, blueprint, cls.open_ended)
        model._build(vocabulary, seed=0)
        with saved.naming(folder):
            model._load_weights(weights)
        model.history = saved.history(folder, config)
        return model

    @abstractmethod
    def _read(self, folder: Path, config: dict[str, Any]) -> None:
        """Read further entries of config.json and files."""

    def _without_patients(self, codes: np.ndarray, titles: np.ndarray) -> Any:
        """A vocabulary from its codes and titles."""
        counts = sparse.csr_array((0, len(codes)), dtype=np.int32)
        return CodeMatrix.from_array(counts, codes, titles)


class Generator(Model):
    """A generator of patients: ``fit`` on a :class:`CodeMatrix`, ``sample`` another.

    Its ``config`` has at least ``kind`` and ``sample_batch``; with samplers also ``sampler`` and
    ``steps``.
    """

    #: Default steps by sampler; None for a sampler without steps. Empty: one pass, nothing to
    #: choose.
    samplers: ClassVar[dict[str, int | None]] = {}
    #: Whether it can sample patients who have given codes.
    conditional: ClassVar[bool] = False
    #: What each named variant changes in the settings; empty: one of the generator's name.
    presets: ClassVar[dict[str, dict[str, Any]]] = {}
    #: Whether facts of credentialed data (account, fingerprint, sizes) may stand beside the model.
    releases_data_facts: ClassVar[bool] = True

    def __init__(self, config: Any = None, device: str | None = None):
        super().__init__(config, device)
        self.patients: int | None = None  # trained on
        self.evaluations = 0  # of the network, a patient of the last sample
        self.seconds = 0.0  # of the last sample, when it was first drawn
        #: How many training patients have two codes together, (n_codes, n_codes), if recorded.
        self.pairs: sparse.csr_array | None = None
        self.support = ""  # how many training patients meet the last condition, in words
        self.accepted, self.proposed = 0, 0  # vectors of the last conditional sample
        self.judged_by = ""  # who chose the epoch

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
        """Train.

        Args:
            train_set: patients; counts are cut to presence where ``kind`` is binary.
            validation: patients whose loss is recorded each epoch. A generator with patience
                chooses an epoch by them; without them it holds out some of the training patients.
            seed: of weights, order, times and noise.
            folder: of checkpoints, from which an interrupted training continues.

        Raises:
            Diverged: see :func:`scoehr.training.train`.
            InputError: settings and data do not fit together, or not into memory.
        """
        seed = check_seed(seed)
        if not len(train_set) or not len(train_set.codes):
            missing = "code" if len(train_set) else "patient"
            raise InputError(
                f"the training table has no {missing} to learn from; give another table"
            )
        if self.device == "cpu":
            check_training(train_set.shape, self.need(train_set))
        self._build(train_set, seed)
        self.patients = len(train_set)
        held_out = None if validation is None else self._rows(validation.align(train_set.codes))
        rows, self.judged_by = self._rows(train_set), "validation patients"
        if getattr(self.config, "patience", None) and held_out is None:
            rows, held_out = hold_out(rows, seed)
            self.judged_by = "training patients held out for it"
        checkpoints = Path(folder) if folder else None
        fitting = Fitting(rows, held_out, seed, checkpoints, progress)
        self.history = pd.DataFrame(self._train(fitting))
        if self.conditional and self.releases_data_facts:
            self.pairs = conditions.count_pairs(train_set)
        return self

    @abstractmethod
    def _train(self, fitting: Fitting) -> list[Row]:
        """Train the networks on counts ``(n, n_codes)``: a row an epoch, with its stage."""

    def need(self, train_set: CodeMatrix) -> int:
        """Bytes that training takes at its peak, about; nothing is allocated.

        Weights, gradients, two moments and an average, all but the gradients copied for a
        checkpoint; a batch and its activations; the table.
        """
        files = self.blueprint(train_set).values()
        weights = sum(tensor.nbytes for tensors in files for tensor in tensors.values())
        return 9 * weights + 4 * self._floats(*train_set.shape) + 24 * train_set.counts.nnz

    @abstractmethod
    def _floats(self, n: int, n_codes: int) -> int:
        """How many float32 numbers training on ``n`` patients holds beside the weights, about."""

    def _build(self, vocabulary: CodeMatrix, seed: int) -> None:
        self.vocabulary = vocabulary.take(np.arange(0))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self._make_networks(len(vocabulary.codes))

    @abstractmethod
    def _make_networks(self, n_codes: int) -> None:
        """Make the networks, untrained."""

    @property
    @abstractmethod
    def network(self) -> nn.Module:
        """The network that sampling evaluates."""

    def _rows(self, matrix: CodeMatrix) -> SparseRows:
        """The counts ``(n, n_codes)`` to train on."""
        return SparseRows(self._cut(matrix).counts)

    def _cut(self, matrix: CodeMatrix) -> CodeMatrix:
        """The matrix, cut to presence where ``kind`` is binary."""
        return matrix.to_binary() if self.config.kind == "binary" else matrix

    def losses(self, matrix: CodeMatrix, *, draws: int = 16, seed: int = 0) -> np.ndarray:
        """Training loss of each patient, ``(n,)``, the mean over so many draws of noise.

        Codes that the generator does not know are left out. An attack reads it to find members
        (:mod:`scoehr.metrics.attacks`). InputError where the generator has no loss for one patient.
        """
        rows = self._rows(matrix.restrict(self.vocabulary.codes)[0])
        rng = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            return torch.cat([self._losses(x, draws, rng) for x in rows.parts()]).numpy()

    def _losses(self, x: Tensor, draws: int, rng: torch.Generator) -> Tensor:
        """Mean training losses ``(B,)`` of patients ``(B, n_codes)``."""
        raise InputError(f"{self.name} has no loss for one patient; attack its table alone")

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
            sampler, steps: in place of the configured ones; see :attr:`samplers`.
            condition: codes that every patient is to have; for
                :class:`~scoehr.generators.Thinning`.
            store: folder that keeps the batches, and gives back those of the same model.

        Raises:
            InputError: the model is not fitted, ``n`` is not positive, the patients do not fit in
                memory, or the model takes no such sampler or condition.
            FloatingPointError: the reverse process left the finite numbers.
        """
        vocabulary = self._require_fitted()
        check_memory(n, len(vocabulary.codes))
        how: dict[str, Any] = {"sampler": sampler, "steps": steps, "condition": condition}
        parts = self.batches(n, seed=seed, store=store, progress=progress, **how)
        counts = sparse.vstack([part.counts for part in parts], format="csr")
        return CodeMatrix.from_array(
            counts, vocabulary.codes, titles=vocabulary.titles, kind=self.config.kind
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
        """The patients of :meth:`sample`, numbered from 0, ``sample_batch`` at a time.

        :func:`scoehr.data.matrix.write_batches` writes more than fit in memory from it.
        """
        vocabulary, seed = self._require_fitted(), check_seed(seed)
        columns = conditions.columns(vocabulary.codes, condition)
        self._check_condition(columns)
        how = Sampling(*self._sampler(sampler, steps), columns)
        origin = facts_hash(self._weights(), how, seed) if store else ""
        batch = self.config.sample_batch
        self.seconds, self.accepted, self.proposed = 0.0, 0, 0
        for start in tqdm(range(0, n, batch), "sampling", disable=not progress or None):
            size = min(batch, n - start)
            rng, decoding = stream(seed, start, 0), stream(seed, start, 1)
            path = store and store / f"latents-{facts_hash(origin, start, size)}.safetensors"
            with torch.no_grad():
                draw = lambda: self._draw(size, rng, how)  # noqa: B023, E731
                counts = self.decode(self._cached_latents(path, draw), decoding)
            if not bool(torch.isfinite(counts).all()):
                raise FloatingPointError(
                    "sampling diverged: counts are not finite; train at a lower learning rate"
                )
            yield CodeMatrix.from_array(
                sparse.csr_array(counts.clamp(-(2.0**30), 2.0**30).numpy().astype(np.int32)),
                vocabulary.codes,
                titles=vocabulary.titles,
                patients=np.arange(start, start + size),
                kind=self.config.kind,
            )

    @abstractmethod
    def _draw(self, size: int, rng: torch.Generator, how: Sampling) -> Tensor:
        """End points of the reverse process ``(size, D)``; sets ``evaluations``."""

    def decode(self, latents: Tensor, rng: torch.Generator | None = None) -> Tensor:
        """End points ``(n, D)`` to whole counts ``(n, n_codes)``; by default they are counts."""
        return latents

    def _sampler(self, sampler: str | None, steps: int | None) -> tuple[str | None, int | None]:
        """The sampler and its steps, by default those of the settings."""
        configured = getattr(self.config, "sampler", None)
        chosen = sampler or configured
        if chosen is not None and chosen not in self.samplers:
            has = ", ".join(self.samplers) or "none"
            raise InputError(f"sampler {chosen!r} does not suit {self.name}; it has {has}")
        default = self.samplers[chosen] if chosen else None
        if default is None:
            if steps is not None:
                raise InputError(f"{chosen or self.name} takes no steps; leave them out")
            return chosen, None
        steps = steps or (self.config.steps if chosen == configured else None) or default
        if steps < 2:
            raise InputError(f"a sampler needs at least 2 steps, not {steps}")
        return chosen, steps

    def _check_condition(self, columns: Sequence[int]) -> None:
        """Set ``support``; :class:`InputError` if no patient can have these codes."""
        self.support = ""
        if not columns:
            return
        if not self.conditional:
            raise InputError(
                f"a model of kind {self.name!r} cannot sample on condition; fit preset thinning"
            )
        codes = [str(self.vocabulary.codes[column]) for column in columns]
        if self.pairs is None:
            named = " and ".join(codes)
            warn(
                f"this model does not know how many patients have {named} together, or whether any "
                "has"
            )
        else:
            self.support = conditions.support(self.pairs, codes, columns, self.patients or 0)

    def _cached_latents(self, path: Path | None, draw: Callable[[], Tensor]) -> Tensor:
        """A batch of end points ``(size, D)``, from ``path`` if there, else drawn and kept."""
        if path is not None and path.exists():
            cached = load_file(path)
            self.evaluations = int(cached["evaluations"])
            self.seconds += float(cached["seconds"])
            return cached["latents"]
        start = time.perf_counter()
        latents = draw()
        seconds = time.perf_counter() - start
        self.seconds += seconds
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            costs = {"seconds": seconds, "evaluations": self.evaluations}
            tensors = {name: torch.tensor(value) for name, value in costs.items()}
            with replacing(path) as scratch:
                save_file({"latents": latents, **tensors}, scratch)
        return latents

    # ----------------------------------------------------------- save, load

    def write(self, folder: Path, **extra: Any) -> None:
        head = {"generator": self.name, "config": asdict(self.config)}
        head |= said(self.history, self.judged_by)
        head |= {"data": {"train": self.patients}, **extra}
        if not self.releases_data_facts and extra.get("credentialed", True):
            head["data"] = {}
        saved.write(folder, head, self._weights(), self.vocabulary, self.history, self.pairs)
        cards.write(folder, self.summary)

    def _read(self, folder: Path, config: dict[str, Any]) -> None:
        self.patients = config.get("data", {}).get("train")
        self.judged_by = config.get("stopping", {}).get("judged_by", "")
        self.pairs = saved.pairs(folder, config)


class Unfilled(TorchFunctionMode):
    """Within it, no initial values are drawn."""

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if getattr(function, "__module__", None) == "torch.nn.init":
            return args[0] if args else kwargs["tensor"]
        return function(*args, **(kwargs or {}))


def stream(seed: int, start: int, role: int) -> torch.Generator:
    """Random numbers of each batch, for the reverse process (role 0) and the decoder (1)."""
    state = np.random.SeedSequence([seed, start, role]).generate_state(1)[0]
    return torch.Generator().manual_seed(int(state))
