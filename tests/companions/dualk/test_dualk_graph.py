"""DuaLK's graphs and embeddings: against plain loops, by known geometry, and on a toy hierarchy."""

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import sparse

from companions.dualk import embeddings, graph
from companions.dualk.claims import _small
from companions.dualk.cohorts import Records
from companions.dualk.embeddings import HAKE, EmbeddingConfig
from companions.dualk.graph import Triples
from scoehr.data import icd
from scoehr.files import InputError

COUNTS = arrays(
    np.int16, st.tuples(st.integers(1, 6), st.just(5)), elements=st.sampled_from([0, 0, 1, 1, 2])
)


def loop(cells):
    """Edges as the study counts them: over lists of codes, those that stand twice included."""
    pairs, company = Counter(), Counter()
    for visit in cells:
        codes = [code for code, times in enumerate(visit) for _ in range(times)]
        for code in set(codes):
            company[code] += len(codes) - 1
        for i, a in enumerate(codes):
            for b in codes[i + 1 :]:
                pairs.update([(a, b), (b, a), (a, a), (b, b)])
    return {(a, b): 1.0 if a == b else n / company[a] for (a, b), n in pairs.items()}


@settings(max_examples=60, deadline=None)
@given(COUNTS)
def test_cooccurrence_is_that_of_a_plain_loop(cells):
    edges = graph.cooccurrence(_small(cells), np.array([0]))
    found = {
        (a - 1, b - 1): w
        for a, b, w in zip(edges.source, edges.target, edges.weight.tolist(), strict=True)
    }
    expected = loop(cells)
    assert set(found) == set(expected)
    for pair, weight in expected.items():
        assert found[pair] == pytest.approx(weight, rel=1e-5)


def test_weights_out_of_a_code_sum_to_one_without_its_own():
    rng = np.random.default_rng(0)
    edges = graph.cooccurrence(_small((rng.random((40, 8)) < 0.4).astype(int)), np.array([0]))
    apart = edges.source != edges.target
    assert np.bincount(edges.source[apart], edges.weight[apart])[1:] == pytest.approx(np.ones(8))


def test_mutual_information_of_twins_strangers_and_rare_pairs():
    rng = np.random.default_rng(1)
    one, other = rng.random((2, 4000)) < 0.25
    rare = np.zeros(4000, dtype=bool)
    rare[:2] = one[:2] = True
    found = graph.mutual_information(
        sparse.csr_array(np.stack([one, one, other, rare], 1))
    ).toarray()
    assert found[0, 1] == pytest.approx(np.log(1 / one.mean())) and abs(found[0, 2]) < 0.1
    assert found[0, 3] == 0 and np.array_equal(found, found.T)  # two visits are too few


def test_the_strongest_are_the_largest_positive_of_each_row():
    rng = np.random.default_rng(2)
    scores = rng.normal(size=(6, 9))
    kept = graph.strongest(sparse.csr_array(scores), 3).toarray()
    for row, values in zip(kept, scores, strict=True):
        best = np.sort(values[values > 0])[::-1][:3]
        assert np.sort(row[row > 0])[::-1] == pytest.approx(best)


def test_the_graph_does_not_know_patients_outside():
    cells = np.eye(6, dtype=int) + np.roll(np.eye(6, dtype=int), 1, axis=1)
    two = Records(
        **{**vars(_small(cells)), "patients": np.array([1, 2]), "first": np.array([0, 3, 6])}
    )
    whole, part = (graph.cooccurrence(two, np.array(who)) for who in ([0, 1], [0]))
    alone = graph.cooccurrence(_small(cells[:3]), np.array([0]))
    assert part.n == alone.n < whole.n


# Knowledge graph ---------------------------------------------------------------------------------


def test_the_hierarchy_climbs_to_a_chapter():
    assert graph.parents("42731") == ["42731", "4273", "427", "chapter 7"]
    assert graph.parents("E8788")[:2] == ["E8788", "E878"] and graph.parents("V3001")[:3] == [
        "V3001",
        "V300",
        "V30",
    ]


def named(codes, cells=None):
    cells = np.ones((3, len(codes)), dtype=int) if cells is None else cells
    return Records(**{**vars(_small(cells)), "codes": np.array(codes)})


def test_triples_hold_hierarchy_groups_and_counterparts():
    found = graph.knowledge(named(["42731", "4289", "25000"]), np.array([0]))
    triples = {
        tuple(
            names[place]
            for names, place in zip(
                (found.entities, found.relations, found.entities), row, strict=True
            )
        )
        for row in found.triples
    }
    assert {
        ("42731", "is a", "4273"),
        ("427", "is a", "chapter 7"),
        ("42731", "in group", "CCS 106"),
    } <= triples
    tens = [
        head.removeprefix("ICD-10 ")
        for head, relation, tail in triples
        if (relation, tail) == ("translates", "4289")
    ]
    assert "I509" in tens and set(icd.to_icd9(tens)) == {"4289"}


def test_a_users_own_triples_join(tmp_path):
    (tmp_path / "own.csv").write_text("head,relation,tail\n4280,treated by,furosemide\n")
    found = graph.knowledge(named(["4280"]), np.array([0]), tmp_path / "own.csv")
    assert "treated by" in found.relations and "furosemide" in found.entities
    (tmp_path / "bad.csv").write_text("head,relation,tail\n4280,,x\n")
    with pytest.raises(InputError, match=r"bad.csv, row 1: head, relation or tail is empty"):
        graph.knowledge(named(["4280"]), np.array([0]), tmp_path / "bad.csv")


def test_held_out_triples_leave_no_entity_or_relation_unseen():
    rng = np.random.default_rng(0)
    triples = np.unique(
        np.stack(
            [rng.integers(30, size=200), rng.integers(3, size=200), rng.integers(30, size=200)], 1
        ),
        axis=0,
    )
    known, tested = Triples(np.arange(30), np.arange(3), triples).split(0.2, 0)
    assert len(known) + len(tested) == len(triples) and len(tested)
    assert set(tested[:, [0, 2]].ravel()) <= set(known[:, [0, 2]].ravel()) and set(
        tested[:, 1]
    ) <= set(known[:, 1])


# HAKE --------------------------------------------------------------------------------------------


def tree(depth=4):
    """A binary tree as a graph of "is a" triples."""
    n = 2 ** (depth + 1) - 1
    rows = [(child, 0, (child - 1) // 2) for child in range(1, n)]
    return Triples(np.array([str(e) for e in range(n)]), np.array(["is a"]), np.array(rows))


@pytest.fixture(scope="module")
def learnt():
    config = EmbeddingConfig(
        dimensions=16, epochs=150, negatives=8, batch=32, rate=5e-2, margin=6.0
    )
    return embeddings.train(tree(), config, progress=False)


def test_hake_learns_a_toy_hierarchy(learnt):
    model, losses = learnt
    rows = tree().triples
    found = embeddings.ranking(model.rank, rows, rows)
    assert losses[-1] < 0.6 * losses[0] and found["mrr"] > 0.7 > 5 * 0.1


def test_moduli_tell_levels_apart(learnt):
    model, _ = learnt
    sizes = model.modulus.detach().abs().mean(dim=1).numpy()
    levels = np.floor(np.log2(np.arange(len(sizes)) + 1))
    assert abs(np.corrcoef(levels, sizes)[0, 1]) > 0.4


@torch.no_grad()
def test_the_distance_is_that_of_the_paper():
    torch.manual_seed(0)
    model = HAKE(4, 1, EmbeddingConfig(dimensions=3, margin=5.0))
    model.relation_modulus.data.uniform_(0.5, 2)
    h, r, t = torch.tensor([1]), torch.tensor([0]), torch.tensor([2])
    moduli = (
        model.modulus[1] * model.relation_modulus[0] - model.modulus[2]
    ).norm()  # no mixture bias yet
    angle = torch.pi / model.span * (model.phase[1] + model.relation_phase[0] - model.phase[2])
    expected = 5.0 - moduli - model.phase_weight * torch.sin(angle / 2).abs().sum()
    assert model(h, r, t).item() == pytest.approx(expected.item(), rel=1e-5)


@torch.no_grad()
def test_a_whole_turn_changes_nothing_and_half_a_turn_does():
    torch.manual_seed(1)
    model = HAKE(3, 1, EmbeddingConfig(dimensions=4))
    score = model(torch.tensor([0]), torch.tensor([0]), torch.tensor([1])).item()
    model.phase.data[0] += 2 * model.span
    assert model(torch.tensor([0]), torch.tensor([0]), torch.tensor([1])).item() == pytest.approx(
        score, abs=1e-4
    )
    model.phase.data[0] += model.span
    assert model(torch.tensor([0]), torch.tensor([0]), torch.tensor([1])).item() != pytest.approx(
        score, abs=1e-3
    )


def test_the_same_seed_trains_the_same_embedding():
    config = EmbeddingConfig(dimensions=4, epochs=3, negatives=4, batch=8)
    ones, others = (
        embeddings.train(tree(2), config, seed=5, progress=False)[0].vectors() for _ in range(2)
    )
    assert np.array_equal(ones, others)


def test_ranks_are_filtered_and_ties_count_half():
    scores = torch.tensor([[3.0, 2.0, 2.0, 1.0]])
    known = np.array([[0, 0, 0]])
    found = embeddings.ranking(
        lambda h, r: scores.clone().repeat(len(h), 1), np.array([[0, 0, 1]]), known
    )
    assert found["mrr"] == pytest.approx(1 / 1.5) and found["hits@1"] == 0 and found["hits@3"] == 1


def test_rotate_of_pykeen_learns_the_same_triples():
    config = EmbeddingConfig(dimensions=8, epochs=60, negatives=8, batch=32, margin=6.0)
    graph_ = tree(3)
    model = embeddings.RotatE(len(graph_.entities), 1, config, 0)
    rate = embeddings.ROTATE_RATE
    embeddings._fit(model, graph_, graph_.triples, config, rate, 0, False)
    with torch.no_grad():
        first = model.rank(torch.tensor([3]), torch.tensor([0]))[0] + config.margin
        assert first[1].item() == pytest.approx(
            model(*(torch.tensor([n]) for n in (3, 0, 1))).item(), rel=1e-5
        )
    assert (
        embeddings.ranking(lambda h, r: model.rank(h, r).detach(), graph_.triples, graph_.triples)[
            "mrr"
        ]
        > 0.3
    )


def test_features_fall_back_to_shorter_codes_and_padding_is_zero(learnt):
    model, _ = learnt
    raw = embeddings.features(model, tree(), np.array(["7", "71", "xyz"]), 32)
    assert raw.shape == (4, 32) and not raw[0].any() and not raw[3].any()
    assert np.array_equal(raw[1], model.vectors()[7]) and np.array_equal(
        raw[2], raw[1]
    )  # there is no entity 71
    small = embeddings.features(model, tree(), np.array(["7", "8"]), 5)
    assert small.shape == (3, 5) and np.isfinite(small).all()
