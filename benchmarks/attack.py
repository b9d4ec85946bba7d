"""Attacked stays per second: the package beside a plain transcription of the loop of the LSTM
attack study.

Both attack the same reported-style bi-LSTM on the same simulated stays, all cells free, with the
same step rule, λ, box and number of steps. The loop goes on to its last step for every batch; the
package drops stays that no longer improve, and gives the backward half of the last-step readout the
one hour it reads. Written to ``benchmarks/attack.json``. Run with ``python -m benchmarks.attack``.
"""

from __future__ import annotations

import os
import platform
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from companions.mortality_attack import models, protocol, simulate, train
from companions.mortality_attack.attack import AttackConfig, attack, soft_threshold
from companions.mortality_attack.models import Classifier, ModelConfig
from companions.mortality_attack.protocol import REPORTED, Series
from scoehr.files import write_json

COMMAND = "python -m benchmarks.attack"
STAYS, STEPS, HIDDEN, BATCH = 100, 1000, 64, 64  # 1,000 steps as reported
CONFIG = AttackConfig(
    penalty=0.005, step_size=1.0, steps=STEPS, patience=60, measured_only=False, batch=BATCH
)
LIMIT = 3.0  # times as many stays a second


class ReportedLSTM(nn.Module):
    """The study's network as its code builds it: a bidirectional LSTM, and all of its outputs
    computed.
    """

    def __init__(self, model: Classifier):
        super().__init__()
        network = model.network
        assert isinstance(network, models.BiLSTM)
        self.chosen, self.head = model.inputs.chosen, network.head
        self.lstm = nn.LSTM(
            model.inputs.channels, model.config.hidden, batch_first=True, bidirectional=True
        )
        for name in ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"):
            getattr(self.lstm, name).data = getattr(network.ahead, name).data
            getattr(self.lstm, f"{name}_reverse").data = getattr(network.back, name).data

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``(B, 2)`` of ``(B, 48, F)``."""
        return self.head(self.lstm(x[..., self.chosen])[0][:, -1])


def reported_loop(
    model: ReportedLSTM, series: Series, config: AttackConfig, rows: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Success and best L1 norm of each row: every batch for all steps, every sample looked at in
    Python, as reported.

    The norm is the elementwise one and the threshold that of the package, so that both solve one
    problem.
    """
    success, norms = [], []
    for batch in np.array_split(rows, max(1, len(rows) // config.batch)):
        x, y = torch.as_tensor(series.values[batch]), torch.as_tensor(series.died[batch]).long()
        change = torch.zeros_like(x, requires_grad=True)
        optimiser = torch.optim.SGD([change], lr=config.step_size)
        best: list[tuple[float, Tensor] | None] = [None] * len(batch)
        for _ in range(config.steps):
            optimiser.zero_grad()
            logits = model(x + change)
            right = logits.gather(1, y[:, None])[:, 0]
            margin = right - logits.gather(1, 1 - y[:, None])[:, 0]
            losses = margin.clamp(min=-config.kappa) + config.penalty * change.abs().sum((1, 2))
            for place in range(len(batch)):
                turned = bool(logits[place].argmax() != y[place])
                kept = best[place]
                if turned and (kept is None or losses[place].item() < kept[0]):
                    best[place] = (losses[place].item(), change[place].detach().clone())
            margin.clamp(min=-config.kappa).sum().backward()
            optimiser.step()
            with torch.no_grad():
                change.copy_(
                    soft_threshold(change, config.step_size * config.penalty).clamp(-x, 1 - x)
                )
        for kept in best:
            success.append(kept is not None)
            norms.append(float(kept[1].abs().sum()) if kept else np.nan)
    return np.array(success), np.array(norms)


def measure(stays: int = STAYS, config: AttackConfig = CONFIG, epochs: int = 15) -> dict[str, Any]:
    """Train a victim on simulated stays, attack as many held-out ones both ways, and compare."""
    torch.set_num_threads(1)
    data = protocol.apply(
        simulate.simulate(5 * stays, seed=1).stays, replace(REPORTED, scored_on_training=False)
    )
    chosen = ModelConfig(hidden=HIDDEN, dropout=0.0, filled=True, last_step=True)
    model = Classifier(chosen, data.statistics)
    train.train(
        model,
        data,
        train.TrainingConfig(epochs=epochs, learning_rate=2e-3),
        REPORTED,
        progress=True,
        name="victim",
    )
    model.threshold.fill_(0.5)
    series = data.test.take(np.arange(min(stays, len(data.test))))
    begin, processor = time.perf_counter(), time.process_time()
    found = attack(model, series, data.statistics, config)
    ours = {
        "seconds": time.perf_counter() - begin,
        "processor_seconds": time.process_time() - processor,
    }
    norms = np.abs(found.best[found.success]).sum((1, 2))
    plain = ReportedLSTM(model).eval().requires_grad_(False)
    begin, processor = time.perf_counter(), time.process_time()
    success, plain_norms = reported_loop(plain, series, config, found.rows)
    theirs = {
        "seconds": time.perf_counter() - begin,
        "processor_seconds": time.process_time() - processor,
    }
    count = len(found)
    ours |= {"per_second": count / ours["processor_seconds"], "success": float(found.success.mean()),
             "l1": float(np.median(norms)), "mean_steps": float(found.steps.mean())}  # fmt: skip
    theirs |= {"per_second": count / theirs["processor_seconds"], "success": float(success.mean()),
               "l1": float(np.nanmedian(plain_norms)), "mean_steps": float(config.steps)}  # fmt: skip
    return {
        "stays": count, "steps": config.steps, "data": "simulated stays", "hidden": HIDDEN, "threads": 1,
        "package": ours, "reported_loop": theirs, "ratio": ours["per_second"] / theirs["per_second"], "limit": LIMIT,
    }  # fmt: skip


def main() -> int:
    """Measure, write, and say whether the limit holds."""
    found = measure()
    machine = {"cores": os.cpu_count(), "load": os.getloadavg()[1], "platform": platform.platform()}
    write_json(Path(__file__).with_suffix(".json"), {"command": COMMAND, **found, **machine})
    for name in ("package", "reported_loop"):
        print(f"{name:14} {found[name]['per_second']:8.2f} stays a second, {found[name]['success']:.1%} turned, "
              f"median L1 norm {found[name]['l1']:.3f}")  # fmt: skip
    print(f"ratio {found['ratio']:.2f} (limit {LIMIT})")
    return 0 if found["ratio"] >= LIMIT else 1


if __name__ == "__main__":
    sys.exit(main())
