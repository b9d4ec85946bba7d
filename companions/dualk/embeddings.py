"""Vectors of the entities of a knowledge graph: HAKE by hand, RotatE by PyKEEN for comparison, and
how well they rank.

HAKE (Zhang, Cai, Zhang & Wang 2020, AAAI, Learning Hierarchy-Aware Knowledge Graph Embeddings)
gives every entity a modulus and a phase in each dimension: moduli tell levels of a hierarchy apart,
phases the entities of one level. It is polar, not hyperbolic. Trained against self-adversarial
negatives (Sun, Deng, Nie & Tang 2019, ICLR, RotatE).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm

from companions.dualk.graph import Triples

#: (heads, relations) -> scores of every entity as tail, (n, n_entities); higher is likelier.
Ranker = Callable[[Tensor, Tensor], Tensor]
#: Adam's rate for RotatE.
ROTATE_RATE = 5e-2


@dataclass(frozen=True)
class EmbeddingConfig:
    """Everything that determines an embedding but its triples."""

    dimensions: int = 1000  # moduli, and as many phases: the study's 2,000 numbers an entity
    epochs: int = 50
    batch: int = 256
    negatives: int = 64
    margin: float = 9.0  # gamma
    temperature: float = 1.0  # of the self-adversarial weights
    phase_weight: float = 0.5  # lambda
    rate: float = 3e-2  # in units of the range of the initial values
    held_out: float = 0.05  # share of triples to test by


class HAKE(nn.Module):
    """Moduli and phases of entities and relations.

    The distance of a triple is ``‖h_m ∘ r_m + (h_m + t_m) ∘ r_b - t_m‖₂ + λ ‖sin((h_p + r_p - t_p)
    / 2)‖₁`` with relation moduli r_m > 0 and mixture biases r_b in (-min(1, r_m), 1), as the
    authors' code has them.
    """

    def __init__(self, entities: int, relations: int, config: EmbeddingConfig):
        super().__init__()
        d, self.config = config.dimensions, config
        self.span = (config.margin + 2.0) / d  # the authors' range of the initial values
        self.modulus = nn.Parameter(torch.empty(entities, d).uniform_(-self.span, self.span))
        self.phase = nn.Parameter(torch.empty(entities, d).uniform_(-self.span, self.span))
        self.relation_modulus = nn.Parameter(torch.ones(relations, d))
        phase = torch.empty(relations, d).uniform_(-self.span, self.span)
        self.relation_phase = nn.Parameter(phase)
        self.bias = nn.Parameter(torch.zeros(relations, d))
        self.modulus_weight = nn.Parameter(torch.tensor(1.0))
        self.phase_weight = nn.Parameter(torch.tensor(config.phase_weight * self.span))

    def forward(self, head: Tensor, relation: Tensor, tail: Tensor) -> Tensor:
        """Score γ - distance; index tensors of shapes that broadcast."""
        turn = self.phase[head] + self.relation_phase[relation] - self.phase[tail]
        phases = torch.sin(turn * (torch.pi / self.span) / 2).abs().sum(-1)
        scale = self.relation_modulus[relation].abs()
        mixed = torch.minimum(self.bias[relation], torch.ones(()))
        mixed = torch.maximum(mixed, -scale)
        moduli = self.modulus[head] * (scale + mixed) - self.modulus[tail] * (1 - mixed)
        distance = self.modulus_weight * moduli.norm(dim=-1) + self.phase_weight * phases
        return self.config.margin - distance

    def rank(self, head: Tensor, relation: Tensor) -> Tensor:
        """Scores of every entity as tail."""
        everyone = torch.arange(len(self.modulus))
        return torch.stack([self(h, r, everyone) for h, r in zip(head, relation, strict=True)])

    def vectors(self) -> NDArray[np.float32]:
        """An entity's moduli, then its phases in units of the range, (n_entities, 2 d)."""
        return torch.cat([self.modulus, self.phase], dim=1).detach().numpy()

    def cartesian(self) -> NDArray[np.float32]:
        """The same as points of planes, |m| cos p and |m| sin p, (n_entities, 2 d)."""
        angle, length = self.phase * (torch.pi / self.span), self.modulus.abs()
        return torch.cat([length * angle.cos(), length * angle.sin()], dim=1).detach().numpy()


class RotatE(nn.Module):
    """PyKEEN's RotatE as a score that trains like HAKE, with as many numbers an entity."""

    def __init__(self, entities: int, relations: int, config: EmbeddingConfig, seed: int):
        super().__init__()
        from pykeen.models import RotatE as Model  # slow to import
        from pykeen.triples import CoreTriplesFactory

        nothing = torch.zeros((0, 3), dtype=torch.long)
        factory = CoreTriplesFactory.create(nothing, num_entities=entities, num_relations=relations)
        sizes: dict[str, Any] = {"embedding_dim": config.dimensions, "random_seed": seed}
        self.model = Model(triples_factory=factory, **sizes)
        self.entities, self.config = entities, config

    def forward(self, head: Tensor, relation: Tensor, tail: Tensor) -> Tensor:
        """Score γ - distance; index tensors of shapes that broadcast."""
        parts = torch.broadcast_tensors(head, relation, tail)
        flat = torch.stack([part.reshape(-1) for part in parts], dim=1)
        return self.config.margin + self.model.score_hrt(flat).view(parts[0].shape)

    def rank(self, head: Tensor, relation: Tensor) -> Tensor:
        """Scores of every entity as tail."""
        return self.model.score_t(torch.stack([head, relation], dim=1))


def train(
    graph: Triples, config: EmbeddingConfig, *, seed: int = 0, progress: bool = True
) -> tuple[HAKE, list[float]]:
    """Train HAKE on all triples of ``graph``; the model and the loss of each epoch."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = HAKE(len(graph.entities), len(graph.relations), config)
    rate = config.rate * model.span
    return model, _fit(model, graph, graph.triples, config, rate, seed, progress)


def _fit(
    model: nn.Module,
    graph: Triples,
    rows: np.ndarray,
    config: EmbeddingConfig,
    rate: float,
    seed: int,
    progress: bool,
) -> list[float]:
    """Adam on the adversarial loss of some triples; the mean loss of each epoch."""
    rng, entities = torch.Generator().manual_seed(seed), len(graph.entities)
    optimiser = torch.optim.Adam(model.parameters(), lr=rate)
    triples, losses = torch.from_numpy(rows), []
    for _ in tqdm(range(config.epochs), type(model).__name__, disable=not progress or None):
        total = 0.0
        for chosen in torch.randperm(len(triples), generator=rng).split(config.batch):
            optimiser.zero_grad()
            loss = adversarial_loss(model, triples[chosen], entities, config, rng)
            loss.backward()
            optimiser.step()
            if isinstance(model, RotatE):
                model.model.post_parameter_update()  # relations back to the unit circle
            total += float(loss.detach()) * len(chosen)
        losses.append(total / len(triples))
    return losses


def adversarial_loss(
    model: nn.Module, triples: Tensor, entities: int, config: EmbeddingConfig, rng: torch.Generator
) -> Tensor:
    """-log σ(s⁺) - Σ wᵢ log σ(-sᵢ⁻), w the softmax of the scores of other heads or other tails."""
    head, relation, tail = triples.T[:, :, None]
    others = torch.randint(entities, (len(triples), config.negatives), generator=rng)
    if torch.rand((), generator=rng) < 0.5:
        negative = model(head, relation, others)
    else:
        negative = model(others, relation, tail)
    weight = functional.softmax(config.temperature * negative.detach(), dim=1)
    wrong = (weight * functional.logsigmoid(-negative)).sum(dim=1)
    right = functional.logsigmoid(model(head, relation, tail)[:, 0])
    return -(right + wrong).mean() / 2


# Ranking -----------------------------------------------------------------------------------------


@torch.no_grad()
def ranking(
    rank: Ranker, tested: np.ndarray, known: np.ndarray, most: int = 2_000
) -> dict[str, float]:
    """Filtered link prediction of tails: mean reciprocal rank and Hits@1, 3, 10.

    ``tested`` and ``known`` are triples (n, 3); other known tails of the same head and relation are
    left out of the ranking, and ties count by their mean rank. At most the first ``most`` tested
    triples count.
    """
    tested = tested[:most]
    answers: dict[tuple[int, int], list[int]] = {}
    for head, relation, tail in np.concatenate([known, tested]).tolist():
        answers.setdefault((head, relation), []).append(tail)
    ranks = []
    for block in np.array_split(tested, max(1, len(tested) // 128)):
        scores = rank(torch.from_numpy(block[:, 0]), torch.from_numpy(block[:, 1])).numpy()
        for row, (head, relation, tail) in zip(scores, block.tolist(), strict=True):
            mine = row[tail]
            row[answers[head, relation]] = -np.inf
            ranks.append(1 + (row > mine).sum() + (row == mine).sum() / 2)
    reciprocal = np.array(ranks)
    hits = {f"hits@{k}": float((reciprocal <= k).mean()) for k in (1, 3, 10)}
    return {"mrr": float((1 / reciprocal).mean()), **hits, "tested": len(ranks)}


class Compared(NamedTuple):
    """HAKE trained on all but the held-out triples, and how it and others rank those."""

    hake: HAKE
    scores: dict[str, dict[str, Any]]


def compare(
    graph: Triples, config: EmbeddingConfig, *, seed: int = 0, progress: bool = True
) -> Compared:
    """Train HAKE and RotatE alike on triples; rank the held-out ones, also by chance."""
    known, tested = graph.split(config.held_out, seed)
    rest = Triples(graph.entities, graph.relations, known)
    hake, losses = train(rest, config, seed=seed, progress=progress)
    rotate = RotatE(len(graph.entities), len(graph.relations), config, seed)
    others = _fit(rotate, graph, known, config, ROTATE_RATE, seed, progress)
    rng = torch.Generator().manual_seed(seed)

    def chance(heads: Tensor, _: Tensor) -> Tensor:
        return torch.rand(len(heads), len(graph.entities), generator=rng)

    rankers = {"HAKE": hake.rank, "RotatE": rotate.rank, "chance": chance}
    scores: dict[str, dict[str, Any]] = {
        name: dict(ranking(rank, tested, known)) for name, rank in rankers.items()
    }
    scores["HAKE"]["loss"], scores["RotatE"]["loss"] = losses, others
    return Compared(hake, scores)


# Node features -----------------------------------------------------------------------------------


def features(model: HAKE, graph: Triples, codes: np.ndarray, width: int) -> NDArray[np.float32]:
    """Features of the nodes of the disease graph, (n_codes + 1, width); row 0, padding, is zero.

    A code without a vector of its own takes that of itself less its last character, then less two,
    then zeros, as reported. If ``width`` is the 2 d of HAKE, its moduli and phases are taken as
    they are, as reported; if it is smaller, the points of the plane are projected on their first
    principal components.
    """
    as_reported = width == 2 * model.config.dimensions
    vectors = model.vectors() if as_reported else _components(model.cartesian(), width)
    place = {entity: row for row, entity in enumerate(graph.entities.tolist())}
    found = np.zeros((len(codes) + 1, width), dtype=np.float32)
    for row, code in enumerate(codes.tolist(), start=1):
        known = next((place[name] for name in (code, code[:-1], code[:-2]) if name in place), None)
        if known is not None:
            found[row] = vectors[known]
    return found


def _components(points: np.ndarray, width: int) -> NDArray[np.float32]:
    """Projection on the first principal components, scaled to unit variance on average."""
    centred = points - points.mean(axis=0)
    _, values, directions = np.linalg.svd(centred, full_matrices=False)
    projected = centred @ directions[:width].T
    signs = np.sign(directions[:width][np.arange(width), np.abs(directions[:width]).argmax(axis=1)])
    scale = np.sqrt((values[:width] ** 2).mean() / len(points)) or 1.0
    return (projected * signs / scale).astype(np.float32)
