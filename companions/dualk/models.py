"""The DuaLK network: attention over the disease graph, codes to visits, visits to patients,
laboratory decoders.

Shapes: B patients, V visits of a batch, C codes of its fullest visit, T visits of its longest
patient, h hidden width. Everything that is a list of varying length is an index table padded by 0,
and row 0 of what it points into is padding: ``codes`` (V, C) points into nodes, ``visits`` (B, T)
into visits. So one attention layer serves both, without loops.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch_geometric.nn import GATConv

#: Visits back from the last that have a place of their own; older ones share one.
PLACES = 16


class Batch(NamedTuple):
    """What the network sees of B patients."""

    codes: Tensor  # (V, C) int64: nodes of each visit, 0 is padding
    visits: Tensor  # (B, T) int64: 1 + row in codes, the oldest first, 0 is padding
    since: Tensor  # (B, T) years from each visit to the patient's last
    labs: Tensor  # (B, items) 0/1
    last: Tensor  # (B, targets) 0/1: codes of the last visit seen
    ever: Tensor  # (B, targets) share of the visits seen that have the code


class Graph(NamedTuple):
    """Edges for torch_geometric: (2, n) from, to; weights (n, 1) or None."""

    edges: Tensor
    weights: Tensor | None


@dataclass(frozen=True)
class ModelConfig:
    """Sizes and choices of the network; the defaults are the study's."""

    features: int = 2000  # of a node
    width: int = 256  # h
    decoder: int = 128
    attention_dropout: float = 0.2
    decoder_dropout: float = 0.4
    classifier_dropout: float = 0.4
    attention: Literal["normal", "scaled"] = "normal"
    weighted: bool = False
    ordered: bool = False
    copies: bool = False  # adds the network's logits to a learned rate of recurrence of each code


class Attention(nn.Module):
    """Pools rows of items by a softmax over them, channel by channel: Σ softmax(xW) ⊙ x."""

    def __init__(self, width: int, dropout: float, start: Literal["normal", "scaled"]):
        super().__init__()
        spread = 1.0 if start == "normal" else 1 / math.sqrt(width)
        self.scores = nn.Parameter(torch.randn(width, width) * spread)
        self.dropout = nn.Dropout(dropout)

    def weights(self, items: Tensor, index: Tensor) -> Tensor:
        """(n, h), (rows, k) -> (rows, k, h), 0 where ``index`` is 0, else summing to 1 over k."""
        scores = functional.embedding(index, items @ self.scores)  # once an item, then looked up
        empty = (index == 0)[..., None]
        weights = functional.softmax(scores.masked_fill(empty, -1e30), dim=1)
        return weights.masked_fill(empty, 0.0)

    def forward(self, items: Tensor, index: Tensor) -> Tensor:
        """(n, h), (rows, k) -> (rows, h); a row without items is zero."""
        weights = self.dropout(self.weights(items, index))
        return (weights * functional.embedding(index, items)).sum(dim=1)


class GraphEncoder(nn.Module):
    """Two layers of graph attention over trainable node features -> (nodes, h)."""

    def __init__(self, features: Tensor, width: int, weighted: bool):
        super().__init__()
        extra = 1 if weighted else None
        self.features = nn.Parameter(features.clone())
        self.conv1 = GATConv(features.shape[1], width, heads=1, edge_dim=extra)
        self.conv2 = GATConv(width, width, heads=1, edge_dim=extra)

    def forward(self, graph: Graph) -> Tensor:
        hidden = functional.relu(self.conv1(self.features, graph.edges, graph.weights))
        return self.conv2(hidden, graph.edges, graph.weights)


class Decoder(nn.Module):
    """From a patient to the abnormal items of one laboratory category."""

    def __init__(self, width: int, inner: int, items: int, dropout: float):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, width), nn.Linear(width, inner)
        self.fc3 = nn.Linear(inner, items)
        self.dropout = nn.Dropout(dropout)

    def embed(self, patient: Tensor) -> Tensor:
        """(B, h) -> (B, inner): what the classifier gets of it."""
        hidden = self.dropout(functional.relu(self.fc1(patient)))
        return self.dropout(functional.relu(self.fc2(hidden)))

    def forward(self, patient: Tensor) -> Tensor:
        """(B, h) -> (B, items) logits."""
        return self.fc3(self.embed(patient))


class LaboratoryNet(nn.Module):
    """Abnormal items of an admission -> its codes; its first layer goes into DuaLK, frozen."""

    def __init__(self, items: int, width: int, codes: int, dropout: float = 0.4):
        super().__init__()
        self.first, self.second = nn.Linear(items, width), nn.Linear(width, codes)
        self.dropout = nn.Dropout(dropout)

    def forward(self, labs: Tensor) -> Tensor:
        return self.second(self.dropout(functional.relu(self.first(labs))))


@dataclass(frozen=True)
class Sizes:
    """Codes to predict, and items of each laboratory category in the order of the vector."""

    targets: int
    items: Mapping[str, int] = field(default_factory=dict)
    uses_labs: bool = True


class DuaLK(nn.Module):
    """The whole network. ``features`` (n_codes + 1, d) are the first values of the node table.

    The classifier sees the three decoder embeddings, the patient and, if ``sizes.uses_labs``, the
    laboratory layer.
    """

    def __init__(self, features: Tensor, sizes: Sizes, config: ModelConfig):
        super().__init__()
        h, self.config, self.sizes = config.width, config, sizes
        self.graph = GraphEncoder(features, h, config.weighted)
        self.visit_attention = Attention(h, config.attention_dropout, config.attention)
        self.patient_attention = Attention(h, config.attention_dropout, config.attention)
        self.decoders = nn.ModuleDict()
        for name, n in sizes.items.items():
            decoder = Decoder(h, config.decoder, n, config.decoder_dropout)
            self.decoders[name.replace(" ", "_")] = decoder
        inputs = h + config.decoder * len(self.decoders)
        if sizes.uses_labs:
            self.lab_layer = nn.Linear(sum(sizes.items.values()), h).requires_grad_(False)
            inputs += h
        self.hidden, self.classifier = nn.Linear(inputs, h), nn.Linear(h, sizes.targets)
        self.dropout = nn.Dropout(config.classifier_dropout)
        if config.ordered:
            self.place = nn.Embedding(PLACES + 1, h)
            self.since = nn.Linear(1, h, bias=False)
            nn.init.normal_(self.place.weight, std=0.02)
        if config.copies:  # starts as the rates of recurrence alone, companions.dualk.rates.table
            self.rates = nn.Parameter(torch.zeros(3, sizes.targets))
            nn.init.zeros_(self.classifier.weight)
            nn.init.zeros_(self.classifier.bias)

    def visits(self, nodes: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """(nodes, h) -> visits (n + 1, h), row 0 zero, and those of each patient, (B, T).

        Where the order counts, every patient's visits have their own rows, moved by place and time.
        """
        visits = functional.pad(self.visit_attention(nodes, batch.codes), (0, 0, 1, 0))
        if not self.config.ordered:
            return visits, batch.visits
        there = batch.visits > 0
        back = there.flip(1).cumsum(1).flip(1).clamp(max=PLACES)  # 1 for the last visit
        time = self.since(torch.log1p(batch.since)[..., None])
        moved = functional.embedding(batch.visits, visits) + self.place(back) + time
        rows = functional.pad((moved * there[..., None]).flatten(0, 1), (0, 0, 1, 0))
        number = torch.arange(1, there.numel() + 1).view_as(batch.visits)
        return rows, torch.where(there, number, 0)

    def patient(self, nodes: Tensor, batch: Batch) -> Tensor:
        """(nodes, h) -> (B, h)."""
        return self.patient_attention(*self.visits(nodes, batch))

    def laboratory(self, patient: Tensor) -> dict[str, Tensor]:
        """(B, h) -> logits of the items of each category."""
        return {name: decoder(patient) for name, decoder in self.decoders.items()}

    def laboratory_embeddings(self, patient: Tensor) -> list[Tensor]:
        """(B, h) -> the inner layer of each decoder, (B, inner)."""
        return [self.decoder(name).embed(patient) for name in self.decoders]

    def decoder(self, name: str) -> Decoder:
        """One of the decoders."""
        found = self.decoders[name]
        assert isinstance(found, Decoder)
        return found

    def head(self, embeddings: list[Tensor], patient: Tensor, labs: Tensor) -> Tensor:
        """(B, targets) logits of the classifier from decoder embeddings, patient and items."""
        parts = [*embeddings, patient]
        if self.sizes.uses_labs:
            parts.append(functional.relu(self.lab_layer(labs)))
        return self.classifier(self.dropout(functional.relu(self.hidden(torch.cat(parts, dim=1)))))

    def forward(self, graph: Graph, batch: Batch) -> Tensor:
        """(B, targets) logits of the codes of the next visit."""
        return self.from_nodes(self.graph(graph), batch)

    def from_nodes(self, nodes: Tensor, batch: Batch) -> Tensor:
        """The same from encoded nodes (nodes, h), the same for every batch of an evaluation."""
        patient = self.patient(nodes, batch)
        logits = self.head(self.laboratory_embeddings(patient), patient, batch.labs)
        return logits + recurrence(self.rates, batch) if self.config.copies else logits


def recurrence(rates: Tensor, batch: Batch) -> Tensor:
    """(3, targets) rates by the state of a code in a history -> (B, targets)."""
    last, earlier, never = rates
    return torch.where(batch.last > 0, last, torch.where(batch.ever > 0, earlier, never))


def parameter_table(model: DuaLK) -> dict[str, int]:
    """Parameters of each part, in the order of the study's account."""

    def count(*modules: nn.Module) -> int:
        return sum(part.numel() for module in modules for part in module.parameters())

    found = {
        "node features": model.graph.features.numel(),
        "graph attention": count(model.graph.conv1, model.graph.conv2),
        "attention over codes and visits": count(model.visit_attention, model.patient_attention),
        "laboratory decoders": count(model.decoders),
        "laboratory layer (frozen)": count(model.lab_layer) if model.sizes.uses_labs else 0,
        "classifier": count(model.hidden, model.classifier),
    }
    found["order, time and copying"] = count(model) - sum(found.values())
    return found | {"in all": count(model)}
