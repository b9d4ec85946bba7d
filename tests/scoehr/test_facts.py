"""Where conditions begin, against the definition."""

from __future__ import annotations

import math

import pytest
import torch

from scoehr.facts import begin, expected_level, shift


def test_a_record_is_chosen_as_often_as_few_of_its_codes_survive():
    """As a → 0 a record of m occurrences leaves one with a chance in proportion to m, two to C(m, 2)."""
    x = torch.tensor([[1.0, 0, 0], [0, 2, 0], [0, 1, 3], [0, 0, 0]])
    rows, start = begin(x, 90_000, torch.Generator().manual_seed(0))
    assert ((x[rows] - start) >= 0).all()
    for left in (1, 2):
        chosen = start.sum(1) == left
        often = torch.bincount(rows[chosen], minlength=4) / chosen.sum()
        chances = [math.comb(m, left) for m in (1, 2, 4, 0)]
        assert often.tolist() == pytest.approx([c / sum(chances) for c in chances], abs=0.01)
    third = start[(rows == 2) & (start.sum(1) == 1)].mean(0)
    assert third.tolist() == pytest.approx([0, 0.25, 0.75], abs=0.01)
    pair = start[(rows == 2) & (start.sum(1) == 2)].mean(0)
    assert pair.tolist() == pytest.approx([0, 0.5, 1.5], abs=0.01)


def test_where_no_record_has_a_code_nothing_begins():
    rows, start = begin(torch.zeros(3, 2), 4, torch.Generator().manual_seed(0))
    assert len(rows) == 4 and not start.any()


def test_the_level_is_the_mean_given_what_survived():
    """Under a uniform level, n of m survive with a mean level of (n + 1) / (m + 2)."""
    x, size = torch.tensor([[1.0, 1.0], [0.0, 0.0]]), torch.tensor([6.0, -1.0])
    assert expected_level(x, size).tolist() == pytest.approx([3 / 8, 0])


def test_means_add_up_and_a_certain_code_is_certain():
    log = torch.tensor([[9.0, -2.0, -3.0, 0.0], [0.0, 0.0, -9.0, -9.0], [-5.0, -5.0, -5.0, -5.0]])
    most = torch.tensor([[1.0, 1.0, 4.0, 1.0], [1.0, 3.0, 1.0, 1.0], [1.0, 1.0, 1.0, 1.0]])
    total = torch.tensor([2.5, 0.7, 3.0])
    means = most * torch.sigmoid(log + shift(log, most, total.log()))
    assert means.sum(1).tolist() == pytest.approx(total.tolist(), rel=0.02)
    assert means[0, 0] > 0.99 and means[2].tolist() == pytest.approx([0.75] * 4, rel=0.02)


def test_raising_all_odds_changes_nothing():
    log = torch.randn(20, 6, generator=torch.Generator().manual_seed(0)).requires_grad_()
    most, total = torch.ones(20, 6), torch.linspace(-1, 1, 20)
    torch.sigmoid(log + shift(log, most, total))[:, 0].sum().backward()
    assert log.grad is not None and log.grad.abs().max() > 0.05
    assert log.grad.sum(1).abs().max() < 1e-3
