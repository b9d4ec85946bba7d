"""The reported path beside ours: seconds of a training step, of a sampled patient, of a score; and
growth with size.

``reported`` is a plain transcription of how the report's code computes: a loader that collates
patient by patient, a U-Net without fused kernels, nearest records row by row; its sampling follows
from the time of one evaluation. Both sides of a pair take turns on the same data in this process,
and the best of their turns counts. Growth is measured in a process of its own for every size, so
that peaks of memory do not hide each other. Written to ``benchmarks/speed.json``. Run with ``make
bench`` or ``python -m benchmarks.speed``.
"""

from __future__ import annotations

import json
import math
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from scipy import sparse
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from scoehr import generators
from scoehr.data.matrix import CodeMatrix, write_batches
from scoehr.data.simulate import sample_matrix
from scoehr.files import write_json
from scoehr.memory import peak_memory
from scoehr.metrics.neighbours import nearest
from scoehr.models import (
    Autoencoder,
    ResidualBlock,
    ResidualMLP,
    SelfAttention,
    UNet,
    time_embedding,
)
from scoehr.sdes import VPSDE, ScoreModel, score_matching_loss, stratified_times
from scoehr.training import TrainingConfig, train

COMMAND = "python -m benchmarks.speed"
LATENT, BATCH, EVALUATED = 144, 64, 128  # as reported
EVALUATIONS = 1002  # of a thousand steps, as reported
PATIENTS = {"training": 4_096, "sampling": 10_240, "records": 32_000}
SECONDS = 15.0  # for PATIENTS["sampling"] by the recommended generator
FASTER = 1.5  # the U-Net's training step
SIZES = {"patients": (1_000, 10_000, 100_000, 1_000_000), "codes": (100, 1_000, 10_000)}
TURNS = 3


# ----------------------------------------------------------------------------
# The reported way


class PlainUNet(nn.Module):
    """The same weights as a :class:`UNet`, computed as the DDPM code that the report took over
    writes it down.
    """

    def __init__(self, network: UNet):
        super().__init__()
        self.network = network

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """As :meth:`UNet.forward`."""
        net = self.network
        first, _, second = net.time
        time = second(_swish(first(time_embedding(t, net.width))))
        skips = [net.in_proj(x.view(-1, 1, net.side, net.side))]
        for i, stage in enumerate(net.down):
            skips.append(self._stage(stage, skips[-1], time))
            if i % 2 and i // 2 < len(net.downsample):
                skips.append(net.downsample[i // 2](skips[-1]))
        h = skips[-1]
        for stage in net.middle:
            h = self._stage(stage, h, time)
        for i, stage in enumerate(net.up):
            h = self._stage(stage, torch.cat([h, skips.pop()], dim=1), time)
            if i % 3 == 2 and i // 3 < len(net.upsample):
                h = net.upsample[i // 3](F.interpolate(h, scale_factor=2.0, mode="nearest"))
        norm, _, last = net.out_proj
        return last(_swish(norm(h))).flatten(1)

    def _stage(self, stage: Any, x: Tensor, time: Tensor) -> Tensor:
        h = _residual(stage.block, x, time)
        return _attention(stage.attention, h) if isinstance(stage.attention, SelfAttention) else h


def _swish(x: Tensor) -> Tensor:
    return x * torch.sigmoid(x)


def _residual(block: ResidualBlock, x: Tensor, time: Tensor) -> Tensor:
    h = block.conv1(_swish(block.norm1(x))) + block.time(_swish(time))[:, :, None, None]
    return block.shortcut(x) + block.conv2(_swish(block.norm2(h)))


def _attention(layer: SelfAttention, x: Tensor) -> Tensor:
    """Every position with every other, the weights written out."""
    b, c, height, width = x.shape
    h = layer.norm(x)
    q, k, v = (f(h) for f in (layer.query, layer.key, layer.value))
    weights = torch.einsum("bchw,bcij->bhwij", q, k) * c**-0.5
    weights = (
        weights.view(b, height, width, height * width)
        .softmax(-1)
        .view(b, height, width, height, width)
    )
    return x + layer.out(torch.einsum("bhwij,bcij->bchw", weights, v))


def reported_epoch(model: Autoencoder, data: Tensor) -> float:
    """An epoch of the autoencoder through a loader of single patients; the mean loss."""
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3, weight_decay=1e-4)
    losses = []
    for (x,) in DataLoader(TensorDataset(data), batch_size=BATCH, drop_last=True):
        optimiser.zero_grad()
        loss = F.mse_loss(model.output(model.encode(x)), x, reduction="sum") / len(x)
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return float(np.mean(losses))


def reported_nearest(synthetic: np.ndarray, records: np.ndarray) -> np.ndarray:
    """Largest cosine similarity of each row to any record, row by row."""
    lengths = np.linalg.norm(records, axis=1)
    return np.array(
        [
            np.max(records @ row / np.maximum(lengths * np.linalg.norm(row), 1e-12))
            for row in synthetic
        ]
    )


# ----------------------------------------------------------------------------
# Pairs


def best(*turns: Callable[[], Any]) -> list[float]:
    """Least seconds of each of these, which take turns."""
    seconds = [math.inf] * len(turns)
    for _ in range(TURNS):
        for place, turn in enumerate(turns):
            begin = time.perf_counter()
            turn()
            seconds[place] = min(seconds[place], time.perf_counter() - begin)
    return seconds


def pair(reported: float, ours: float, each: int, unit: str, **more: Any) -> dict[str, Any]:
    """Seconds of ``each`` units on both sides, a unit, and the ratio."""
    return {
        "unit": unit,
        "reported": reported / each,
        "ours": ours / each,
        "ratio": reported / ours,
        **more,
    }


def autoencoder_steps(data: Tensor) -> dict[str, Any]:
    """A training step of the autoencoder on 64 patients."""
    torch.manual_seed(0)
    theirs, ours = Autoencoder(data.shape[1], LATENT), Autoencoder(data.shape[1], LATENT)
    settings = TrainingConfig(epochs=1, batch=BATCH, weight_decay=1e-4, shuffle=False)
    seconds = best(
        lambda: reported_epoch(theirs, data),
        lambda: train(ours, ours.loss, data, settings, seed=0, progress=False),
    )
    return pair(*seconds, len(data) // BATCH, "autoencoder, a step of 64 patients")


def unet_steps() -> dict[str, Any]:
    """A training step of the reported U-Net on 64 latents, forward, backward and Adam; and how far
    both differ.
    """
    torch.manual_seed(0)
    network, sde = UNet(LATENT), VPSDE()
    x, noise, rng = (
        torch.rand(BATCH, LATENT) * 2 - 1,
        torch.randn(BATCH, LATENT),
        torch.Generator().manual_seed(0),
    )
    t = stratified_times(BATCH, rng)
    nn.init.normal_(network.out_proj[-1].weight, std=0.02)  # else nothing comes out to compare
    optimiser = torch.optim.Adam(network.parameters(), lr=0.0)

    def step(score: ScoreModel) -> None:
        optimiser.zero_grad()
        score_matching_loss(score, sde, x, t, noise).mean().backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()

    theirs, ours = (ScoreModel(net, sde, "score", 1.0) for net in (PlainUNet(network), network))
    with torch.no_grad():
        apart = float((theirs(x, t) - ours(x, t)).abs().max() / ours(x, t).abs().max())
    seconds = best(lambda: step(theirs), lambda: step(ours))
    with torch.no_grad():
        noisy, when = torch.randn(EVALUATED, LATENT), torch.full((EVALUATED,), 0.5)
        evaluated = best(lambda: theirs(noisy, when), lambda: ours(noisy, when))
    return {
        "step": pair(
            *seconds, 1, "U-Net, a step of 64 patients", relative_difference=apart, limit=FASTER
        ),
        "evaluation": pair(*evaluated, 1, "U-Net, an evaluation of 128 patients"),
    }


def mlp_steps(unet: float) -> dict[str, Any]:
    """A training step of the fast path's network on 64 latents beside the reported one's, in
    seconds ``unet``.
    """
    score, sde = ScoreModel(ResidualMLP(LATENT), VPSDE(), "noise", 1000.0), VPSDE()
    x, noise, t = torch.randn(BATCH, LATENT), torch.randn(BATCH, LATENT), torch.rand(BATCH)

    def step() -> None:
        score.zero_grad()
        score_matching_loss(score, sde, x, t, noise).mean().backward()

    return pair(unet, *best(step), 1, "score network, a step of 64 patients: U-Net, residual MLP")


def sampled(matrix: CodeMatrix, evaluation: float) -> dict[str, Any]:
    """Seconds a patient of each sampler; the reported one's from its evaluations, which are all
    alike.
    """
    many = PATIENTS["sampling"]
    reported = EVALUATIONS * evaluation / EVALUATED * many
    found = {}
    for name, settings in {
        "thinning": {"epochs": 2},
        "fast": {"epochs": 2, "autoencoder_epochs": 2},
    }.items():
        model = generators.preset(name, **settings).fit(matrix, progress=False)
        begin = time.perf_counter()
        model.sample(many, progress=False)
        ours = time.perf_counter() - begin
        found[name] = pair(
            reported,
            ours,
            many,
            f"sampling a patient: reported, {name}",
            seconds=ours,
            patients=many,
        )
    found["thinning"]["limit"] = SECONDS
    return found


def scores(matrix: CodeMatrix, rows: int = 200) -> dict[str, Any]:
    """Nearest of 32,000 records to a synthetic patient, and that both agree."""
    records, synthetic = (
        matrix.counts[kept].astype(np.float32) for kept in (slice(rows, None), slice(rows))
    )
    dense, few = records.toarray(), synthetic.toarray()
    seconds = best(lambda: reported_nearest(few, dense), lambda: nearest(synthetic, records))
    apart = float(
        np.abs(reported_nearest(few, dense) - nearest(synthetic, records).of_synthetic).max()
    )
    return pair(
        *seconds, rows, f"nearest of {len(dense):,} records to a patient", largest_difference=apart
    )


# ----------------------------------------------------------------------------
# Growth


def records_of(patients: int, codes: int, each: int = 14) -> CodeMatrix:
    """Patients with some ``each`` codes, drawn evenly."""
    rng = np.random.default_rng(0)
    cells = (np.repeat(np.arange(patients), each), rng.integers(codes, size=patients * each))
    counts = sparse.csr_array(
        (np.ones(patients * each, dtype=np.int32), cells), shape=(patients, codes)
    )
    return CodeMatrix.from_array(counts, [f"{code:05}" for code in range(codes)])


def grown(what: str, size: int) -> dict[str, float]:
    """Seconds and peak memory of one stage at one size, in this process."""
    by_codes = what.endswith("codes")
    matrix = records_of(2_000, size) if by_codes else sample_matrix(min(size, 100_000))
    with TemporaryDirectory() as folder:
        path = Path(folder) / "table.parquet"
        match what.split()[0]:
            case "training":
                stage = lambda: generators.preset("thinning", epochs=1).fit(matrix, progress=False)  # noqa: E731
            case "sampling":
                model = generators.preset("thinning", epochs=1, sampler="tau_leaping", steps=2).fit(
                    matrix.take(np.arange(256)), progress=False
                )
                many = 2_000 if by_codes else size
                stage = lambda: write_batches(path, model.batches(many, progress=False), many)  # noqa: E731
            case "reading":
                matrix.write(path)
                stage = lambda: CodeMatrix.read(path)  # noqa: E731
        begin = time.perf_counter()
        stage()
        return {"seconds": time.perf_counter() - begin, "peak_mb": peak_memory() / 1e6}


#: Stages, and the sizes that each is measured at. Sampling takes 2 leaps here: memory is what it is
#: about.
STAGES = {
    "reading, by patients": SIZES["patients"][:3],
    "training an epoch, by patients": SIZES["patients"][:3],
    "sampling to a file, by patients": SIZES["patients"],
    "training an epoch, by codes": SIZES["codes"],
    "sampling to a file, by codes": SIZES["codes"],
}


def command(stage: str) -> str:
    """The words of a stage that :func:`grown` knows it by."""
    return f"{stage.split()[0].rstrip(',')} {stage.split()[-1]}"


def growth() -> dict[str, dict[str, Any]]:
    """Each stage at each size, in a process of its own."""
    found: dict[str, dict[str, Any]] = {}
    for stage, sizes in STAGES.items():
        found[stage] = {}
        for size in sizes:
            line = [sys.executable, "-m", "benchmarks.speed", "--grown", command(stage), str(size)]
            done = subprocess.run(
                line, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[1]
            )
            found[stage][str(size)] = json.loads(done.stdout)
            print(f"{stage:34} {size:>9,} {found[stage][str(size)]}", file=sys.stderr)
    return found


def main(arguments: list[str]) -> None:
    """Measure, write, print."""
    if arguments[:1] == ["--grown"]:
        print(json.dumps(grown(arguments[1], int(arguments[2]))))
        return
    matrix = sample_matrix(PATIENTS["records"] + 200)
    small = matrix.take(np.arange(PATIENTS["training"]))
    unet = unet_steps()
    pairs = {
        "autoencoder": autoencoder_steps(torch.from_numpy(small.dense())),
        "unet": unet["step"],
        "unet evaluation": unet["evaluation"],
        "mlp": mlp_steps(unet["step"]["reported"]),
        **sampled(small, unet["evaluation"]["reported"]),
        "nearest": scores(matrix),
    }
    machine = {"cores": os.cpu_count(), "threads": torch.get_num_threads(), "load": os.getloadavg()[1],
               "platform": platform.platform()}  # fmt: skip
    for found in pairs.values():
        print(
            f"{found['unit']:62} {found['reported']:10.5f} s {found['ours']:10.5f} s   x "
            f"{found['ratio']:,.2f}"
        )
    report = {
        "command": COMMAND,
        "turns": TURNS,
        "pairs": pairs,
        "growth": growth(),
        "machine": machine,
    }
    write_json(Path(__file__).with_suffix(".json"), report)


if __name__ == "__main__":
    main(sys.argv[1:])
