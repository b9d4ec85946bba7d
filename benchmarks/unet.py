"""The U-Net at an eighth of its width: where the time goes, and what other ways of computing the
same take.

One thread, processor seconds, the least of some repeats. Results go to ``benchmarks/unet.json``.
Run with ``python -m benchmarks.unet``.
"""

from __future__ import annotations

import copy
import json
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.profiler import ProfilerActivity, profile

from scoehr import sampling
from scoehr.files import write_json
from scoehr.models import UNet, reinitialise
from scoehr.sdes import VPSDE

COMMAND = "python -m benchmarks.unet"
DIM, WIDTH, UPDATE, SAMPLE, STEPS = 144, 16, 64, 128, 1000
#: Channels in and out and side of the image: the shapes of most 3 x 3 convolutions.
SHAPES = [
    (16, 16, 12),
    (32, 16, 12),
    (48, 16, 12),
    (32, 32, 6),
    (64, 32, 6),
    (32, 32, 3),
    (64, 32, 3),
]


def least(ways: dict[str, Callable[[], Any]], repeats: int = 9) -> dict[str, float]:
    """Milliseconds of each way, the least of some rounds in which they take turns."""
    found = dict.fromkeys(ways, float("inf"))
    for way in ways.values():
        way()
    for _ in range(repeats):
        for name, way in ways.items():
            begin = time.process_time()
            way()
            found[name] = min(found[name], 1e3 * (time.process_time() - begin))
    return found


def network(seed: int = 0) -> nn.Module:
    """The reported network at width 16."""
    torch.manual_seed(seed)
    return reinitialise(UNet(DIM, WIDTH))


def updates() -> dict[str, float]:
    """Milliseconds of an update of 64 patients: as trained, with channels last, and with a fused
    Adam.
    """
    x, t = torch.randn(UPDATE, DIM), torch.rand(UPDATE)

    def way(layout: torch.memory_format, fused: bool) -> Callable[[], None]:
        net = network().to(memory_format=layout)  # type: ignore[call-overload]
        optimiser = torch.optim.Adam(net.parameters(), fused=fused or None)

        def update() -> None:
            optimiser.zero_grad()
            net(x, t).square().sum(1).mean().backward()
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimiser.step()

        return update

    layouts = {"as trained": torch.contiguous_format, "channels last": torch.channels_last}
    ways = {name: way(layout, False) for name, layout in layouts.items()}
    return least(
        ways | {f"{name}, fused Adam": way(layout, True) for name, layout in layouts.items()}
    )


@torch.no_grad()
def evaluations() -> dict[str, float]:
    """Milliseconds of an evaluation of 128 patients, by layout, frozen graph and size of the batch."""
    net = network().eval()
    last = copy.deepcopy(net).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    x, t = torch.randn(SAMPLE, DIM), torch.rand(SAMPLE)
    frozen = torch.jit.freeze(torch.jit.trace(net, (x, t)))
    ways = {
        "as sampled": lambda: net(x, t),
        "channels last": lambda: last(x, t),
        "frozen graph": lambda: frozen(x, t),
    }
    found = least(ways)
    for size in (32, 64, 256, 512):
        y, s = torch.randn(size, DIM), torch.rand(size)
        milliseconds = least({"": lambda y=y, s=s: net(y, s)})[""]  # type: ignore[misc]
        found[f"as sampled, {size} at a time"] = milliseconds * SAMPLE / size
    return found


@torch.no_grad()
def solver_step() -> float:
    """Milliseconds that a step of Euler-Maruyama on 128 patients takes beside the network."""
    x, times = torch.randn(SAMPLE, DIM), torch.linspace(1, 0, STEPS + 1)
    rng = torch.Generator().manual_seed(0)
    free = lambda: sampling.euler_maruyama(lambda x, t: -x, VPSDE(), x, times, rng=rng)  # noqa: E731
    return least({"": free}, repeats=2)[""] / STEPS


def shares() -> dict[str, float]:
    """Shares of an evaluation's time by operation."""
    net, x, t = network().eval(), torch.randn(SAMPLE, DIM), torch.rand(SAMPLE)
    with torch.no_grad(), profile(activities=[ProfilerActivity.CPU]) as found:
        for _ in range(5):
            net(x, t)
    times = {event.key: event.self_cpu_time_total for event in found.key_averages()}
    total = sum(times.values())
    return {
        name: value / total for name, value in sorted(times.items(), key=lambda item: -item[1])[:5]
    }


@torch.no_grad()
def convolutions() -> dict[str, dict[str, float]]:
    """Milliseconds of each shape on 128 images: the library's, as a product over patches, as a
    dense matrix.
    """
    found = {}
    for n_in, n_out, side in SHAPES:
        x, weight = torch.randn(SAMPLE, n_in, side, side), torch.randn(n_out, n_in, 3, 3)
        ways = {"convolution": lambda x=x, w=weight: F.conv2d(x, w, padding=1)}
        ways["patches"] = lambda x=x, w=weight.permute(2, 3, 1, 0).flatten(0, 2).contiguous(): (
            by_patches(x, w)
        )
        if side <= 6:
            units = torch.eye(n_in * side * side).view(-1, n_in, side, side)
            matrix = F.conv2d(units, weight, padding=1).flatten(1)
            ways["dense matrix"] = lambda x=x, m=matrix: x.flatten(1) @ m
        found[f"{n_in} to {n_out} at {side} x {side}"] = least(ways)  # type: ignore[arg-type]
    return found


def by_patches(x: Tensor, weight: Tensor) -> Tensor:
    """A 3 x 3 convolution of ``x`` ``(B, C, H, W)`` as one product with ``weight`` ``(9 C, C')``:
    ``(B H W, C')``.
    """
    n, channels, side, _ = x.shape
    padded = F.pad(x.permute(0, 2, 3, 1), (0, 0, 1, 1, 1, 1)).contiguous()
    one, row, column, cell = padded.stride()
    patches = padded.as_strided((n, side, side, 3, 3 * channels), (one, row, column, row, cell))
    return patches.reshape(n * side * side, 9 * channels) @ weight


def main() -> None:
    """Measure, print and keep."""
    torch.set_num_threads(1)
    made = {
        "command": COMMAND,
        "dim": DIM,
        "width": WIDTH,
        "update_of": UPDATE,
        "evaluation_of": SAMPLE,
        "update_ms": updates(),
        "evaluation_ms": evaluations(),
        "solver_step_ms": solver_step(),
        "shares_of_an_evaluation": shares(),
        "convolutions_ms": convolutions(),
        "threads": 1,
        "cores": os.cpu_count(),
        "platform": platform.platform(),
    }
    ratio = made["update_ms"]["as trained"] / min(made["update_ms"].values())  # type: ignore[call-overload,index,attr-defined]
    write_json(Path(__file__).with_suffix(".json"), {**made, "best_update_ratio": ratio})
    print(json.dumps(made, indent=2))
    print(f"updates a core-second, best way over today's: {ratio:.2f}")


if __name__ == "__main__":
    main()
