"""Codings of columns, what is hidden, and its loss, against definitions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from scoehr.columns import IMPOSSIBLE, Coding, Layout, hide, log_moves, log_shares, masked_loss
from scoehr.files import InputError


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


class TestCoding:
    def test_few_numbers_are_values_of_their_own(self):
        values = np.array([0.0, 2.5, 2.5, np.nan, 7.0])
        coding = Coding.of_numbers("x", "visit", values, missing=True)
        assert len(coding) == 4 and coding.digits == 1
        places = coding.places(values)
        assert places.tolist() == [0, 1, 1, 3, 2]
        np.testing.assert_array_equal(coding.numbers(places, rng()), values)

    def test_many_numbers_are_drawn_from_bins_as_they_were_and_spikes_are_kept(self):
        found = np.random.default_rng(0)
        whole = np.where(found.random(20_000) < 0.3, 0, found.geometric(0.004, 20_000))
        coding = Coding.of_numbers("cost", "visit", whole.astype(float), missing=False)
        assert 30 <= len(coding) <= 40 and coding.digits == 0
        places = coding.places(whole.astype(float))
        drawn = coding.numbers(places, rng())
        assert np.array_equal(drawn == 0, whole == 0)
        assert np.array_equal(drawn, drawn.round())
        assert np.array_equal(coding.places(drawn), places)
        grid = np.quantile(whole, np.linspace(0.3, 1, 60))
        shares = [np.searchsorted(np.sort(x), grid, "right") / len(x) for x in (drawn, whole)]
        assert np.abs(shares[0] - shares[1]).max() < 0.006  # the chance of a draw within a bin
        assert drawn.max() <= whole.max()

    def test_a_continuous_number_keeps_its_decimals(self):
        values = np.random.default_rng(1).normal(37, 1, 5_000).round(2)
        coding = Coding.of_numbers("temperature", "visit", values, missing=False)
        drawn = coding.numbers(coding.places(values), rng())
        assert np.array_equal(drawn.round(2), drawn)
        assert np.corrcoef(drawn, values)[0, 1] > 0.98  # bins of the tails are wide
        assert drawn.std() == pytest.approx(values.std(), rel=0.01)

    def test_a_value_is_found_as_it_is_written_or_refused(self):
        sex = Coding("sex", "patient", "category", ("F", "M"), missing=True)
        assert [sex.place_of(text) for text in ("F", "M", "")] == [0, 1, 2]
        age = Coding.of_numbers("age", "visit", np.arange(10.0), missing=False)
        assert age.place_of("3") == 3
        with pytest.raises(InputError, match="sex=X: no such value; sex has F, M"):
            sex.place_of("X")
        with pytest.raises(InputError, match="age=old: age takes numbers"):
            age.place_of("old")


LAYOUT = Layout(
    [
        Coding("a", "patient", "category", ("x", "y")),
        Coding("b", "visit", "category", ("u", "v", "w")),
    ]
)


class TestProcess:
    def test_as_many_columns_stay_known_each_way_and_the_weight_undoes_it(self):
        fixed = torch.tensor([[True, False, False, False]]).expand(60_000, 4)
        known, weight = hide(fixed, rng())
        assert known[:, 0].all()
        often = torch.bincount(known[:, 1:].sum(1), minlength=4) / len(known)
        assert often.tolist() == pytest.approx([1 / 3, 1 / 3, 1 / 3, 0], abs=0.01)
        expected = ((~known) * weight[:, None]).mean(0)
        assert expected.tolist() == pytest.approx([0, 1, 1, 1], abs=0.03)

    def test_the_loss_is_cross_entropy_of_what_is_hidden_and_there(self):
        logits = 3 * torch.randn(50, 5, generator=rng())
        places = torch.stack([torch.arange(50) % 2, torch.arange(50) % 4 - 1], dim=1)
        hidden = torch.rand(50, 2, generator=rng(1)) < 0.5
        found = masked_loss(logits, LAYOUT.one_hot(places), hidden, LAYOUT.column)
        first = F.cross_entropy(logits[:, :2], places[:, 0], reduction="none")
        second = F.cross_entropy(logits[:, 2:], places[:, 1].clamp(min=0), reduction="none")
        second = second * (places[:, 1] >= 0)
        torch.testing.assert_close(found, first * hidden[:, 0] + second * hidden[:, 1])

    def test_shares_and_moves_are_those_of_patients(self):
        shares = log_shares(torch.tensor([30, 10, 5, 5, 0]), LAYOUT)
        assert shares.exp().tolist() == pytest.approx([0.75, 0.25, 0.5, 0.5, 0])
        assert shares[-1] == IMPOSSIBLE
        pairs = torch.zeros(5, 5)
        pairs[2, 2], pairs[3, 4], pairs[0, 3] = 95, 95, 1000  # the last is of two columns
        moves = log_moves(pairs, LAYOUT).exp()
        assert moves[2, 2:].tolist() == pytest.approx([0.975, 0, 0.025])  # (95 + 5 / 2) / 100
        assert moves[4, 2:].tolist() == pytest.approx([0.5, 0, 0.5])
        assert moves[0, 2:].tolist() == [1, 1, 1]
