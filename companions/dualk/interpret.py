"""What a trained network looks at: attention of visits and codes, integrated gradients, a map of
the embeddings.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from companions.dualk.batches import Feed
from companions.dualk.cohorts import CATEGORIES, Records
from companions.dualk.models import DuaLK, Graph

#: Steps of the path that gradients are integrated over, as the study's.
STEPS = 50


class Attention(NamedTuple):
    """Weights of one patient, averaged over feature channels."""

    visits: pd.DataFrame  # visit (1 is the oldest), weight
    codes: pd.DataFrame  # visit, code, title, weight


@torch.no_grad()
def attention(model: DuaLK, graph: Graph, feed: Feed, patient: int) -> Attention:
    """How a patient's visits, and the codes of each, share the attention; each sums to 1."""
    batch, records = feed.batch(np.array([patient])), feed.records
    model.eval()
    nodes = model.graph(graph)
    per_code = model.visit_attention.weights(nodes, batch.codes).mean(dim=2).numpy()
    found = model.patient_attention.weights(*model.visits(nodes, batch))
    per_visit = found.mean(dim=2)[0].numpy()
    rows = []
    for number, row in enumerate(batch.visits[0].tolist(), start=1):
        codes, shares = batch.codes[row - 1].tolist(), per_code[row - 1].tolist()
        for node, weight in zip(codes, shares, strict=True):
            if row and node:
                rows.append((number, records.codes[node - 1], records.titles[node - 1], weight))
    there = batch.visits[0].numpy() > 0
    table = pd.DataFrame({"visit": 1 + np.flatnonzero(there), "weight": per_visit[there]})
    return Attention(table, pd.DataFrame(rows, columns=["visit", "code", "title", "weight"]))


def decoder_gradients(
    model: DuaLK, graph: Graph, feed: Feed, patients: np.ndarray, code: int, steps: int = STEPS
) -> pd.DataFrame:
    """Which laboratory items speak for a code: integrated gradients of its logit over the decoders'
    embeddings.

    From a zero baseline (Sundararajan, Taly & Yan 2017, ICML; through Captum), then carried to the
    items by the weights of the decoders' last layers. Means over ``patients``: a row an item with
    its category and attribution.
    """
    from captum.attr import IntegratedGradients

    model.eval()
    with torch.no_grad():
        batch = feed.batch(patients)
        patient = model.patient(model.graph(graph), batch)
        inputs = tuple(model.laboratory_embeddings(patient))

    def logit(*embeddings: Tensor) -> Tensor:
        times = len(embeddings[0]) // len(patient)
        others = (part.repeat(times, 1) for part in (patient, batch.labs))
        return model.head(list(embeddings), *others)[:, code]

    found = IntegratedGradients(logit).attribute(inputs, n_steps=steps)
    tables = []
    for part, key in zip(found, model.decoders, strict=True):
        name = key.replace("_", " ")
        items = (part @ model.decoder(key).fc3.weight.T).mean(dim=0).detach().numpy()
        labels = feed.records.labels[feed.records.category(name)]
        columns = {"category": name, "item": labels, "attribution": items.tolist()}
        tables.append(pd.DataFrame(columns))
    return pd.concat(tables, ignore_index=True)


def by_category(table: pd.DataFrame) -> pd.Series:
    """Share of the absolute attribution of each laboratory category."""
    sums = table["attribution"].abs().groupby(table["category"]).sum()
    return sums.reindex([name for name in CATEGORIES if name in sums.index]) / sums.sum()


def embedding_map(
    records: Records, vectors: np.ndarray, prefixes: Sequence[str], seed: int = 0, most: int = 40
) -> pd.DataFrame:
    """Two coordinates (t-SNE; van der Maaten & Hinton 2008) of the most frequent codes of prefixes.

    ``vectors`` (n_codes + 1, d) as the encoder has them. Columns x, y, code, title and group, the
    prefix.
    """
    from sklearn.manifold import TSNE

    number = np.asarray((records.visit_codes > 0).sum(axis=0)).ravel()
    chosen = []
    for prefix in prefixes:
        mine = np.flatnonzero(np.char.startswith(records.codes, prefix))
        frequent = mine[np.argsort(-number[mine], kind="stable")][: most // len(prefixes)]
        chosen += [(code, prefix) for code in frequent]
    places = np.array([code for code, _ in chosen])
    perplexity = min(30.0, max(2.0, (len(places) - 1) / 3))
    fit = TSNE(perplexity=perplexity, random_state=seed, init="pca")
    points = fit.fit_transform(vectors[places + 1])
    return pd.DataFrame(
        {
            "x": points[:, 0],
            "y": points[:, 1],
            "code": records.codes[places],
            "title": records.titles[places],
            "group": [prefix for _, prefix in chosen],
        }
    )
