"""The networks: the study's bi-LSTM as reported and with its readout mended, a GRU-D and a small
Transformer.

All take ``values`` and ``mask`` ``(B, 48, F)`` and ``static`` ``(B, 7)`` and give logits ``(B, 2)``
of survival and death. Gaps are filled inside the model, so that a change of a measured value, such
as an attack makes, is carried forward too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from companions.mortality_attack import features, peers
from companions.mortality_attack.features import FeatureSet
from companions.mortality_attack.protocol import Statistics
from companions.mortality_attack.queries import HOURS
from scoehr.files import InputError, read_json, replacing, write_json
from scoehr.generators.settings import Settings, within

Network = Literal["bilstm", "grud", "transformer"]
Activation = Literal["relu", "tanh"]
ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "tanh": nn.Tanh}


@dataclass(frozen=True)
class ModelConfig(Settings):
    """Everything that determines an untrained network but its random numbers.

    ``hidden``, ``dense``, ``dropout`` and the activations are the study's search space; ``filled``:
    values come filled from the protocol, and nothing says what was measured; ``last_step`` and
    ``double_softmax`` as in :class:`~companions.mortality_attack.protocol.Protocol`.
    """

    network: Network = "bilstm"
    features: FeatureSet = "study"
    hidden: int = within("[1, 16384]", 128)
    dense: int = within("[1, 16384]", 16)
    dropout: float = within("[0, 1)", 0.3)
    activation: Activation = "tanh"
    dense_activation: Activation = "relu"
    filled: bool = False
    last_step: bool = False
    double_softmax: bool = False


class Inputs(nn.Module):
    """From measured values to what a network reads: filled and standardised values, what was
    measured, how long ago.
    """

    chosen: Tensor
    mean: Tensor
    spread: Tensor

    def __init__(self, config: ModelConfig, statistics: Statistics):
        super().__init__()
        chosen = features.chosen(config.features)
        self.filled, self.static = config.filled, config.features == "all"
        self.register_buffer("chosen", torch.tensor(chosen))
        self.register_buffer("mean", torch.tensor(statistics.mean[chosen], dtype=torch.float32))
        self.register_buffer("spread", torch.tensor(statistics.spread[chosen], dtype=torch.float32))
        self.count = len(chosen)
        self.channels = len(chosen) * (1 if config.filled else 3)
        self.described = len(features.STATIC) if self.static else 0

    def parts(self, values: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Standardised values carried forward (0, the mean, before the first), the mask, and hours
        since measured.

        Each ``(B, T, n)``; the hours are divided by the 48 of the window.
        """
        values, known = values[..., self.chosen], mask[..., self.chosen]
        hour = torch.arange(values.shape[1], device=values.device)[:, None]
        last = torch.where(known, hour, -1).cummax(1).values  # (B, T, n)
        carried = ((values - self.mean) / self.spread).gather(1, last.clamp(min=0)) * (last >= 0)
        since = torch.where(last >= 0, hour - last, hour + 1)
        return carried, known.to(values), since.to(values) / HOURS

    def forward(self, values: Tensor, mask: Tensor) -> Tensor:
        if self.filled:
            return values[..., self.chosen]
        return torch.cat(self.parts(values, mask), -1)


class BiLSTM(nn.Module):
    """Two LSTMs, one backward in time, then activation, dropout, dense layer, activation, output:
    the study's model.

    With ``last_step`` the head sees what a bidirectional LSTM puts out at the last hour. There the
    backward half has read one hour, so one hour is all it is given: the same numbers for half the
    work.
    """

    def __init__(self, config: ModelConfig, inputs: Inputs):
        super().__init__()
        self.config = config
        self.ahead = nn.LSTM(inputs.channels, config.hidden, batch_first=True)
        self.back = nn.LSTM(inputs.channels, config.hidden, batch_first=True)
        self.head = head(2 * config.hidden + inputs.described, config)

    def forward(self, x: Tensor, static: Tensor) -> Tensor:
        ahead = self.ahead(x)[1][0][-1]
        back = self.back(x[:, -1:] if self.config.last_step else x.flip(1))[1][0][-1]
        return self.head(torch.cat([ahead, back, static], -1))


class GRUD(nn.Module):
    """GRU with trainable decays towards the mean and of the state (Che et al. 2018, Scientific
    Reports 8, 6085).
    """

    def __init__(self, config: ModelConfig, inputs: Inputs):
        super().__init__()
        n, hidden = inputs.count, config.hidden
        self.decay_value = nn.Parameter(torch.zeros(2, n))
        self.decay_state = nn.Linear(n, hidden)
        self.into = nn.Linear(2 * n, 3 * hidden)
        self.over = nn.Linear(hidden, 3 * hidden)
        self.head = head(hidden + inputs.described, config)

    def forward(self, x: Tensor, static: Tensor) -> Tensor:
        carried, known, since = x.chunk(3, -1)  # each (B, T, n)
        fading = torch.exp(-torch.relu(self.decay_value[0] * since + self.decay_value[1]))
        reads = self.into(torch.cat([torch.where(known > 0, carried, fading * carried), known], -1))
        decay = torch.exp(-torch.relu(self.decay_state(since)))
        state = x.new_zeros(len(x), self.over.in_features)
        for hour in range(x.shape[1]):
            state = state * decay[:, hour]
            reset, update, new = reads[:, hour].chunk(3, -1)
            kept_reset, kept_update, kept_new = self.over(state).chunk(3, -1)
            candidate = torch.tanh(new + torch.sigmoid(reset + kept_reset) * kept_new)
            state = torch.lerp(candidate, state, torch.sigmoid(update + kept_update))
        return self.head(torch.cat([state, static], -1))


class Transformer(nn.Module):
    """Two encoder layers over the 48 hours, averaged (Vaswani et al. 2017)."""

    def __init__(self, config: ModelConfig, inputs: Inputs):
        super().__init__()
        self.embed = nn.Linear(inputs.channels, config.hidden)
        self.place = nn.Parameter(torch.randn(HOURS, config.hidden) * 0.02)
        layer = nn.TransformerEncoderLayer(
            config.hidden, 4, 2 * config.hidden, config.dropout, batch_first=True, norm_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = head(config.hidden + inputs.described, config)

    def forward(self, x: Tensor, static: Tensor) -> Tensor:
        return self.head(torch.cat([self.encoder(self.embed(x) + self.place).mean(1), static], -1))


NETWORKS: dict[str, type[BiLSTM | GRUD | Transformer]] = {
    "bilstm": BiLSTM,
    "grud": GRUD,
    "transformer": Transformer,
}


def head(width: int, config: ModelConfig) -> nn.Sequential:
    """The study's last layers."""
    return nn.Sequential(
        ACTIVATIONS[config.activation](),
        nn.Dropout(config.dropout),
        nn.Linear(width, config.dense),
        ACTIVATIONS[config.dense_activation](),
        nn.Linear(config.dense, 2),
    )


class Classifier(nn.Module):
    """A network with its inputs; ``threshold`` is the probability from which it calls death."""

    threshold: Tensor

    def __init__(self, config: ModelConfig, statistics: Statistics, seed: int = 0):
        super().__init__()
        self.config = config
        self.inputs = Inputs(config, statistics)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.network = NETWORKS[config.network](config, self.inputs)
        self.register_buffer("threshold", torch.tensor(0.5))

    def forward(self, values: Tensor, mask: Tensor, static: Tensor) -> Tensor:
        """Logits ``(B, 2)`` without softmax."""
        return self.network(
            self.inputs(values, mask), static if self.inputs.static else static[:, :0]
        )

    def loss(self, logits: Tensor, died: Tensor) -> Tensor:
        """Cross-entropy, of the softmax of the softmax if so reported."""
        scores = logits.softmax(-1) if self.config.double_softmax else logits
        return nn.functional.cross_entropy(scores, died.long())

    def margin(self, logits: Tensor) -> Tensor:
        """How far the logits are on the side of death, 0 at the threshold, ``(B,)``."""
        return logits[:, 1] - logits[:, 0] - torch.logit(self.threshold)


class Committee(Classifier):
    """Classifiers whose probabilities of death are averaged, as one that can be attacked."""

    def __init__(self, members: Sequence[Classifier], threshold: float):
        nn.Module.__init__(self)
        self.members = nn.ModuleList(members)
        self.inputs = max((member.inputs for member in members), key=lambda inputs: inputs.count)
        self.register_buffer("threshold", torch.tensor(threshold))

    def forward(self, values: Tensor, mask: Tensor, static: Tensor) -> Tensor:
        """Logits of survival, 0, and of death ``(B, 2)``, those of the mean probability."""
        chances = [member(values, mask, static).softmax(-1)[:, 1] for member in self.members]
        death = torch.logit(torch.stack(chances).mean(0), eps=1e-6)
        return torch.stack([torch.zeros_like(death), death], 1)


def write(folder: Path, model: Classifier, statistics: Statistics, facts: dict[str, Any]) -> None:
    """Weights as safetensors, settings and statistics as JSON, into a folder that is there."""
    with replacing(folder / "model.safetensors") as scratch:
        save_file(
            {name: tensor.contiguous().cpu() for name, tensor in model.state_dict().items()},
            scratch,
        )
    kept = {name: value.tolist() for name, value in asdict(statistics).items() if name != "ids"}
    write_json(folder / "model.json", {"model": asdict(model.config), "statistics": kept, **facts})


def read(folder: Path) -> tuple[Classifier | peers.Peer, Statistics, dict[str, Any]]:
    """What :func:`write` or a peer wrote: the model, its statistics (without ids) and the other
    facts.

    Raises:
        InputError: the folder holds no such model, or weights of another.
    """
    facts = read_json(folder / "model.json")
    try:
        arrays = {name: np.array(value) for name, value in facts.pop("statistics").items()}
        statistics = Statistics(**arrays, ids=np.array([], int))
        if "peer" in facts:
            return peers.read(folder, facts, statistics), statistics, facts
        model = Classifier(ModelConfig(**facts.pop("model")), statistics)
        model.load_state_dict(load_file(folder / "model.safetensors"))
    except (KeyError, TypeError, RuntimeError, OSError, SafetensorError) as error:
        raise InputError(
            f"{folder}: holds no model that can be read ({error}); give a folder that train wrote"
        ) from None
    return model.eval(), statistics, facts
