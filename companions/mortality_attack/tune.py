"""Hyperparameter search with Optuna over the study's spaces: TPE, median pruning, resumable,
watched with TensorBoard.

Trials are kept in a JournalStorage file by default; any storage URL of Optuna does instead, such as
``sqlite:///tuning.db`` or ``postgresql://…`` of a server for many workers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial

from companions.mortality_attack import attack as attacks
from companions.mortality_attack import susceptibility, train
from companions.mortality_attack.attack import AttackConfig
from companions.mortality_attack.extract import with_driver
from companions.mortality_attack.features import FeatureSet
from companions.mortality_attack.models import Activation, Classifier, ModelConfig
from companions.mortality_attack.protocol import CORRECTED, Prepared, Series, Statistics, folds
from companions.mortality_attack.train import Optimiser, Row, TrainingConfig, TuningConfig
from scoehr.files import InputError

Direction = Literal["minimize", "maximize"]
ACTIVATIONS: list[Activation] = ["relu", "tanh"]
OPTIMISERS: list[Optimiser] = ["adam", "rmsprop", "sgd"]
#: The pruner's settings, as in the study.
STARTUP_TRIALS, WARMUP_STEPS = 5, 3


class Numbered(optuna.samplers.TPESampler):
    """TPE whose random numbers follow from seed and number of a trial: neither a resumed search
    repeats one, nor do workers that share a storage."""

    def __init__(self, seed: int):
        super().__init__(seed=seed)
        self.seed = seed

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        state = np.random.SeedSequence([self.seed, trial.number]).generate_state(1)
        super().__init__(seed=int(state[0]))
        super().before_trial(study, trial)


def open_study(
    name: str,
    *,
    direction: Direction,
    storage: str | Path,
    seed: int = 0,
    sampler: optuna.samplers.BaseSampler | None = None,
) -> optuna.Study:
    """A new Optuna study, or the one of this name that the storage holds: a URL, or the path of a
    journal file.

    Raises:
        InputError: the storage cannot be opened.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    text = str(storage)
    try:
        if "://" not in text:
            Path(text).parent.mkdir(parents=True, exist_ok=True)
        there = "://" in text
        kept = with_driver(text) if there else JournalStorage(JournalFileBackend(text))
        return optuna.create_study(
            study_name=name,
            storage=kept,
            direction=direction,
            load_if_exists=True,
            sampler=sampler or Numbered(seed),
            pruner=optuna.pruners.MedianPruner(STARTUP_TRIALS, WARMUP_STEPS),
        )
    except Exception as error:  # each storage has errors of its own
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            f"{text}: cannot be opened as a storage of trials ({reason}); give a file or a URL"
        ) from None


def search(
    study: optuna.Study,
    objective: Callable[[optuna.Trial], float],
    trials: int,
    *,
    logs: Path | None = None,
    progress: bool = True,
) -> optuna.Study:
    """Add trials until the study has so many finished or pruned; ``logs`` is a folder for
    TensorBoard.
    """
    ended = (optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED)
    left = trials - len(study.get_trials(deepcopy=False, states=ended))
    if left > 0:
        callbacks = [_board(logs)] if logs else []
        study.optimize(objective, n_trials=left, callbacks=callbacks, show_progress_bar=progress)
    return study


def _board(logs: Path) -> Callable[[optuna.Study, optuna.trial.FrozenTrial], None]:
    """Write each trial's course and result for TensorBoard."""
    from torch.utils.tensorboard import SummaryWriter

    def write(study: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
        with SummaryWriter(str(logs / f"{study.study_name}-{trial.number}")) as writer:
            for step, value in trial.intermediate_values.items():
                writer.add_scalar("course", value, step)
            if trial.value is not None:
                writer.add_scalar("result", trial.value, trial.number)
            writer.add_text("settings", str(trial.params))

    return write


# The model ----------------------------------------------------------------------------------------


def _choice(trial: optuna.trial.BaseTrial, name: str, allowed: list[Any]) -> Any:
    return trial.suggest_categorical(name, allowed)


def propose_model(
    trial: optuna.trial.BaseTrial, features: FeatureSet = "study"
) -> tuple[ModelConfig, TrainingConfig]:
    """A point of the study's space: hidden 2⁵-2⁷, dense 2⁴-2⁸, dropout 0-0.5, activations,
    optimiser, learning rate, batch.
    """
    chosen = ModelConfig(
        features=features,
        hidden=2 ** trial.suggest_int("log2_hidden", 5, 7),
        activation=_choice(trial, "activation", ACTIVATIONS),
        dropout=trial.suggest_float("dropout", 0.0, 0.5),
        dense=2 ** trial.suggest_int("log2_dense", 4, 8),
        dense_activation=_choice(trial, "dense_activation", ACTIVATIONS),
    )
    training = TrainingConfig(
        optimiser=_choice(trial, "optimiser", OPTIMISERS),
        learning_rate=trial.suggest_float("learning_rate", 1e-5, 1e-1, log=True),
        batch=2 ** trial.suggest_int("log2_batch", 5, 8),
        weight_decay=0.0,
    )
    return chosen, training


def model_objective(
    data: Prepared, config: TuningConfig, *, features: FeatureSet = "study", seed: int = 0
) -> Callable[[optuna.Trial], float]:
    """Lowest mean validation loss over the folds of all blocks, reported after each; the mean AUROC
    of that block is noted.

    The folds are of the training part; they go on together, so that the pruner sees a mean of all.
    Test and validation stays have no part in tuning.
    """
    parts = [
        data._replace(train=data.train.take(learn), validation=data.train.take(choose))
        for learn, choose in folds(data.train, config.folds, seed)
    ]

    def objective(trial: optuna.Trial) -> float:
        chosen, training = propose_model(trial, features)
        fitted = [Classifier(chosen, data.statistics, seed + k) for k in range(len(parts))]
        going = [train.Trainer(model, part, training, CORRECTED, seed + k)
                 for k, (model, part) in enumerate(zip(fitted, parts, strict=True))]  # fmt: skip
        lowest = np.inf
        for block in range(config.blocks):
            loss, auroc = _mean([trainer.epochs(config.epochs) for trainer in going])
            if not np.isfinite(loss):
                raise optuna.TrialPruned
            if loss < lowest:
                lowest = loss
                trial.set_user_attr("auroc", auroc)
            trial.report(loss, block)
            if trial.should_prune():
                raise optuna.TrialPruned
        return lowest

    return objective


def _mean(folds: list[Row]) -> tuple[float, float]:
    """Mean validation loss and AUROC."""
    loss, auroc = (
        float(np.mean([row[f"validation_{name}"] for row in folds])) for name in ("loss", "auroc")
    )
    return loss, auroc


def tuned(
    data: Prepared, config: TuningConfig, *, seed: int, storage: Path, progress: bool
) -> tuple[ModelConfig, TrainingConfig, dict[str, Any]]:
    """The best point of the study's space that a search finds, or goes on to find, and what the
    page shows of all trials: the best ones, and the loss of each after every block.
    """
    study = open_study("model", direction="minimize", storage=storage, seed=seed)
    search(study, model_objective(data, config, seed=seed), config.trials, progress=progress)
    chosen, training = propose_model(optuna.trial.FixedTrial(study.best_params))
    courses = [list(trial.intermediate_values.values()) for trial in study.trials]
    return chosen, training, {"trials": table(study, config.trials), "courses": courses}


# The attack ---------------------------------------------------------------------------------------


def propose_attack(trial: optuna.Trial, base: AttackConfig) -> AttackConfig:
    """A point of the study's space: κ 0-2, λ 1e-7-1 and step size 1e-5-1 on log scales, optimiser,
    batch 2⁵-2⁷.
    """
    return replace(
        base,
        kappa=trial.suggest_float("kappa", 0.0, 2.0),
        penalty=trial.suggest_float("penalty", 1e-7, 1.0, log=True),
        step_size=trial.suggest_float("step_size", 1e-5, 1.0, log=True),
        optimiser=_choice(trial, "optimiser", OPTIMISERS),
        batch=2 ** trial.suggest_int("log2_batch", 5, 7),
    )


def attack_objective(
    model: Classifier,
    series: Series,
    statistics: Statistics,
    base: AttackConfig,
    name: str = "sparse_small",
) -> Callable[[optuna.Trial], float]:
    """The sum of an objective of :func:`susceptibility.objective` over the best changes found."""
    if name not in susceptibility.OBJECTIVES:
        raise InputError(
            f"objective {name!r} is unknown; choose one of {', '.join(susceptibility.OBJECTIVES)}"
        )

    def objective(trial: optuna.Trial) -> float:
        found = attacks.attack(
            model, series, statistics, propose_attack(trial, base), progress=False
        )
        trial.set_user_attr("success", float(found.success.mean()) if len(found) else 0.0)
        return susceptibility.objective(found.best[found.success], name)

    return objective


def table(study: optuna.Study, most: int = 10) -> list[dict[str, Any]]:
    """The best finished trials, best first: number, value, settings."""
    done = [trial for trial in study.get_trials(deepcopy=False) if trial.state.name == "COMPLETE"]
    sign = -1 if study.direction.name == "MAXIMIZE" else 1
    done.sort(key=lambda trial: sign * (trial.value or 0.0))
    return [
        {"trial": trial.number, "value": trial.value, **trial.params, **trial.user_attrs}
        for trial in done[:most]
    ]
