"""DuaLK's network: sizes, attention against a plain loop, order, masks, batches."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from companions.dualk import models, prepare, results, simulate
from companions.dualk.batches import Feed
from companions.dualk.claims import _toy
from companions.dualk.models import Attention, Batch, DuaLK, Graph, ModelConfig, Sizes


def test_every_part_has_the_parameters_of_the_study_at_full_size():
    assert results.full_size() == {
        "node features": 15_892_000,
        "graph attention": 579_072,
        "attention over codes and visits": 131_072,
        "laboratory decoders": 353_469,
        "laboratory layer (frozen)": 114_176,
        "classifier": 2_115_241,
        "order, time and copying": 0,
        "in all": 19_185_030,
    }


def test_sizes_follow_the_data():
    model = DuaLK(
        torch.zeros(11, 4),
        Sizes(7, {"hematology": 3, "blood gas": 2}),
        ModelConfig(features=4, width=6, decoder=5),
    )
    assert model.classifier.out_features == 7 and model.lab_layer.in_features == 5
    assert model.hidden.in_features == 2 * 5 + 6 + 6 and not model.lab_layer.weight.requires_grad
    without = DuaLK(
        torch.zeros(11, 4), Sizes(7, {}, uses_labs=False), ModelConfig(features=4, width=6)
    )
    assert without.hidden.in_features == 6


def loop_attention(layer, items, index):
    """The study's double loop: softmax over the items of a row, a channel at a time."""
    rows = []
    for row in index.tolist():
        chosen = items[[place for place in row if place]]
        weights = torch.softmax(chosen @ layer.scores, dim=0)
        rows.append((weights * chosen).sum(dim=0) if len(chosen) else torch.zeros(items.shape[1]))
    return torch.stack(rows)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 6), st.integers(1, 5))
def test_attention_is_that_of_a_plain_loop(seed, rows, width):
    torch.manual_seed(seed)
    layer = Attention(4, 0.2, "normal").eval()
    items, index = torch.randn(9, 4), torch.randint(0, 9, (rows, width))
    assert torch.allclose(layer(items, index), loop_attention(layer, items, index), atol=1e-5)


@settings(max_examples=25, deadline=None)
@given(st.permutations(range(5)), st.integers(0, 4))
@torch.no_grad()
def test_attention_knows_no_order_and_no_padding(order, padding):
    torch.manual_seed(0)
    layer = Attention(3, 0.0, "scaled").eval()
    items, index = torch.randn(8, 3), torch.tensor([[3, 1, 7, 2, 5]])
    moved = torch.nn.functional.pad(index[:, order], (0, padding))
    assert torch.allclose(layer(items, index), layer(items, moved), atol=1e-6)
    assert layer.weights(items, moved)[0, 5:].sum() == 0
    assert torch.allclose(layer.weights(items, moved).sum(dim=1), torch.ones(1, 3))


@torch.no_grad()
def test_padding_never_takes_part():
    torch.manual_seed(0)
    layer = Attention(3, 0.0, "scaled").eval()
    items, index = torch.randn(5, 3), torch.tensor([[1, 2, 0], [0, 0, 0]])
    before = layer(items, index)
    items[0] = 1e6
    assert torch.equal(before, layer(items, index)) and not before[1].any()


@torch.no_grad()
def test_order_is_seen_only_where_it_is_asked_for():
    for ordered in (False, True):
        model, batch, edges = _toy(False, ordered)
        turned = batch._replace(visits=batch.visits.flip(1))
        same = torch.allclose(model(edges, batch), model(edges, turned), atol=1e-6)
        assert same is not ordered


@torch.no_grad()
def test_time_is_seen_where_order_is():
    model, batch, edges = _toy(False, True)
    assert not torch.allclose(
        model(edges, batch), model(edges, batch._replace(since=batch.since + 3))
    )


@torch.no_grad()
def test_weights_of_edges_are_used_only_where_asked_for():
    model, batch, edges = _toy(True)
    changed = edges._replace(weights=torch.linspace(0, 5, 6)[:, None])
    assert not torch.allclose(model(edges, batch), model(changed, batch))


@torch.no_grad()
def test_patients_of_a_batch_do_not_mix():
    model, batch, edges = _toy(False, True)
    two = Batch(
        torch.cat([batch.codes, torch.tensor([[5, 1, 2]])]),
        torch.tensor([[1, 2], [3, 0]]),
        torch.tensor([[0.5, 0.0], [0.0, 0.0]]),
        *(part.repeat(2, 1) for part in batch[3:]),
    )
    assert torch.allclose(model(edges, two)[0], model(edges, batch)[0], atol=1e-6)


@torch.no_grad()
def test_the_better_variant_starts_as_the_rates_of_recurrence():
    model = DuaLK(
        torch.randn(6, 4),
        Sizes(5, {}, uses_labs=False),
        ModelConfig(features=4, width=8, copies=True),
    ).eval()
    model.rates.data = torch.arange(15.0).view(3, 5)
    last, ever = torch.tensor([[1.0, 0, 0, 0, 1]]), torch.tensor([[1.0, 0.5, 0, 0.5, 0.5]])
    batch = Batch(
        torch.tensor([[1, 5]]),
        torch.tensor([[1]]),
        torch.zeros(1, 1),
        torch.zeros(1, 0),
        last,
        ever,
    )
    assert model(Graph(torch.tensor([[1], [2]]), None), batch).tolist() == [[0, 6, 12, 8, 4]]


def test_training_of_the_attention_starts_unsaturated_where_corrected():
    largest = {}
    for start in ("normal", "scaled"):
        torch.manual_seed(0)
        layer, items = Attention(256, 0.0, start), torch.randn(7, 256)
        largest[start] = (
            layer.weights(items, torch.arange(1, 7)[None]).max(dim=1).values.mean().item()
        )
    assert largest["normal"] > 0.9 > 0.6 > largest["scaled"]


# Batches -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dualk") / "tables"
    simulate.write_tables(folder, patients=250, seed=6)
    return prepare.load("simulated", folder, digits="three")


@pytest.mark.parametrize("whole", [False, True])
def test_a_batch_holds_the_visits_of_its_patients_in_order(records, whole):
    patients = np.flatnonzero(records.visits > 1)[::-1][:40]
    feed = Feed(records, whole=whole)
    batch = feed.batch(patients)
    ever, last = feed.history(patients)
    for number, patient in enumerate(patients):
        rows = range(records.first[patient], records.first[patient + 1] - (not whole))
        there = [place for place in batch.visits[number].tolist() if place]
        assert len(there) == len(rows)
        for place, row in zip(there, rows, strict=True):
            nodes = [node for node in batch.codes[place - 1].tolist() if node]
            assert sorted(nodes) == sorted((records.visit_codes[[row]].nonzero()[1] + 1).tolist())
        cells = (records.visit_codes[list(rows)].toarray()[:, : records.targets] > 0).astype(float)
        assert ever[[number]].toarray()[0] == pytest.approx(cells.mean(axis=0), abs=1e-6)
        assert last[[number]].toarray()[0] == pytest.approx(cells[-1])
        years = (records.days[rows[-1]] - records.days[list(rows)]) / 365.25
        assert batch.since[number, : len(rows)].numpy() == pytest.approx(years, abs=1e-4)


def changed_target(records):
    """The same records with the last visits of everybody emptied of codes and laboratory items."""
    last = records.first[1:] - 1
    parts = {}
    for name in ("visit_codes", "labs", "first_day"):
        matrix = getattr(records, name).tolil()
        matrix[last] = 0
        parts[name] = type(records.labs)(matrix.tocsr())
    return type(records)(**{**vars(records), **parts})


@pytest.mark.parametrize("labs", ["none", "previous visit"])
def test_nothing_of_the_target_visit_goes_in_under_the_corrected_protocol(records, labs):
    patients = np.flatnonzero(records.visits > 1)
    ones, others = (
        Feed(each, labs=labs).batch(patients) for each in (records, changed_target(records))
    )
    for one, other in zip(ones, others, strict=True):
        width = [slice(0, min(a, b)) for a, b in zip(one.shape, other.shape, strict=True)]
        assert torch.equal(one[tuple(width)], other[tuple(width)])


@pytest.mark.parametrize("labs", ["first day", "whole visit"])
def test_the_other_settings_do_take_laboratory_results_of_the_target_visit(records, labs):
    patients = np.flatnonzero(records.visits > 1)
    ones, others = (
        Feed(each, labs=labs).batch(patients) for each in (records, changed_target(records))
    )
    assert torch.equal(ones.codes, others.codes) and ones.labs.sum() > 0 == others.labs.sum()


def test_codes_that_stand_twice_have_two_places_only_as_reported():
    from companions.dualk.claims import _small

    twice = _small(np.array([[2, 1, 0], [1, 0, 1]]))
    for repeated, nodes in ((True, [1, 1, 2]), (False, [1, 2])):
        codes = Feed(twice, repeated=repeated).batch(np.array([0])).codes
        assert [node for node in codes[0].tolist() if node] == nodes


def test_abnormal_items_are_those_of_all_visits_of_a_patient(records):
    patients = np.flatnonzero(records.visits > 1)[:20]
    found = Feed(records, whole=True).abnormal(patients)
    both = torch.cat(list(found.values()), dim=1).numpy() > 0
    for number, patient in enumerate(patients):
        rows = slice(records.first[patient], records.first[patient + 1])
        assert np.array_equal(both[number], records.labs[rows].toarray().any(axis=0))
    assert models.PLACES > 1
