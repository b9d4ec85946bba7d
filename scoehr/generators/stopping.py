"""When training ends: the epoch that validation patients, or some held out for it, choose."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from scoehr.minibatches import Data, SparseRows
from scoehr.training import Judge

#: Mean losses ``(B,)`` of patients ``(B, D)`` over so many draws of noise.
Losses = Callable[[Tensor, int, torch.Generator], Tensor]
DRAWS = 4  # of levels and noise of each patient by whom epochs are judged
SMALLEST = 200  # training patients of whom some can be held out for it


def hold_out(rows: SparseRows, seed: int) -> tuple[SparseRows, SparseRows | None]:
    """The training patients ``(n, D)`` without a tenth, but at least 50, and these.

    None are held out of fewer than 200.
    """
    n = len(rows)
    if n < SMALLEST:
        return rows, None
    held, order = max(n // 10, SMALLEST // 4), np.random.default_rng([seed, n]).permutation(n)
    return SparseRows(rows.counts[order[held:]]), SparseRows(rows.counts[order[:held]])


def judge(losses: Losses, held_out: Data, seed: int, device: str) -> Judge:
    """Their mean loss under the network as it is, with the same noise at every call."""
    rows = SparseRows.of(held_out).to(device)

    def judged() -> Tensor:
        rng = torch.Generator().manual_seed(seed)
        return torch.cat([losses(part, DRAWS, rng) for part in rows.parts()]).mean()

    return judged


def said(history: pd.DataFrame, judged_by: str) -> dict[str, Any]:
    """What config.json and the model card say of it; nothing where nothing was chosen."""
    if "chosen" not in history:
        return {}
    chosen = history["chosen"].astype(str) == "True"
    epoch = int(history.loc[chosen, "epoch"].max())
    return {"stopping": {"epoch": epoch, "trained": len(history), "judged_by": judged_by}}
