"""The process, loss and samplers of thinning diffusion, against closed forms."""

import math
import re
import textwrap
from pathlib import Path

import pytest
import torch

from scoehr import thinning
from scoehr.models import RecordMLP
from scoehr.thinning import (
    LENGTHS,
    RateModel,
    blur_lengths,
    count_lengths,
    exact_jumps,
    marginal_rates,
    pool_counts,
    tau_leaping,
    thin,
    thinning_levels,
    thinning_loss,
)
from tests.problems import Alone

ROOT = Path(__file__).resolve().parents[2]


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("where", ["module", "README.md"])
def test_the_example_trains_and_samples(where):
    if where == "module":
        text = (thinning.__doc__ or "").splitlines()
        code = textwrap.dedent("\n".join(line for line in text if line.startswith("    ")))
    else:
        blocks = re.findall(r"```python\n(.*?)```", (ROOT / where).read_text(), re.DOTALL)
        (code,) = (block for block in blocks if "exact_jumps" in block)
    lines = [line for line in code.splitlines() if line.strip()]
    assert len([line for line in lines if "import" not in line]) <= 10
    found = {}
    exec(code, found)
    made, real = found["synthetic"], found["x"]
    assert made.shape == (500, 20)
    assert float((made.mean(0) - real.mean(0)).abs().max()) < 0.25
    assert 1 < found["evaluations"] < 100


class TestThinning:
    def test_what_survives_has_the_binomial_moments(self):
        x, level = torch.full((100_000, 1), 4.0), torch.full((100_000,), 0.3)
        thinned = thin(x, level, rng())
        assert float(thinned.mean()) == pytest.approx(1.2, abs=0.01)
        assert float(thinned.var()) == pytest.approx(4 * 0.3 * 0.7, rel=0.02)
        assert torch.all(thinned <= x)

    def test_an_untrained_model_is_right_about_independent_poisson_counts(self):
        """Of Poisson counts, what was removed does not depend on what is left: the loss has its minimum there."""
        mean = torch.tensor([0.1, 0.5, 2.0])
        model = RateModel(Alone(), 3)
        x = torch.poisson(mean.expand(100_000, 3), generator=rng())
        level = thinning_levels(len(x), rng(1))
        thinned = thin(x, level, rng(2))

        def loss(factor):
            model.fit_marginals(torch.poisson(factor * mean.expand(100_000, 3), generator=rng(3)))
            return float(thinning_loss(model, x, thinned, level).mean())

        assert loss(1.0) < min(loss(0.9), loss(1.1))

    def test_the_loss_is_smallest_at_the_conditional_mean(self):
        """Counts are 0 or 3, even odds; given level a and nothing left, three are missing with odds (1 - a)³ : 1."""
        x = 3.0 * (torch.rand(200_000, 1, generator=rng()) < 0.5)
        level = torch.full((len(x),), 0.4)
        thinned = thin(x, level, rng(1))
        removed = (x - thinned)[thinned == 0].mean()
        assert float(removed) == pytest.approx(3 * 0.6**3 / (1 + 0.6**3), abs=0.01)

    def test_marginal_rates_are_bayes_rule(self):
        """Against the definition, summed by hand over what a patient may have had; and three closed forms."""
        chance = {0: 0.5, 1: 0.2, 3: 0.2, 7: 0.1}
        shares = torch.zeros(8, 1, dtype=torch.float64)
        for m, share in chance.items():
            shares[m] = share
        levels = torch.tensor([0.0, 0.3, 0.9, 1.0], dtype=torch.float64)
        found = marginal_rates(shares, levels, 4)
        for i, a in enumerate((0.0, 0.3, 0.9)):
            for k in range(5):
                odds = {
                    m: p * math.comb(m, k) * (1 - a) ** (m - k) for m, p in chance.items() if m >= k
                }
                whole = sum(odds.values())
                mean = (
                    sum((m - k) * odd for m, odd in odds.items()) / whole / (1 - a)
                    if whole
                    else 0.0
                )
                assert float(found[i, k, 0]) == pytest.approx(mean, rel=1e-9)
        assert float(found[3, 0, 0]) == pytest.approx(0.2 / 0.5, rel=1e-4)  # the limit: P(1) / P(0)
        poisson = torch.exp(
            torch.arange(41).double() * math.log(0.7)
            - torch.lgamma(torch.arange(41).double() + 1)
            - 0.7
        )
        assert torch.allclose(
            marginal_rates(poisson[:, None], levels, 5), torch.tensor(0.7, dtype=torch.float64)
        )
        binary = marginal_rates(torch.tensor([[0.8], [0.2]], dtype=torch.float64), levels, 2)
        torch.testing.assert_close(
            binary[:, 0, 0], 0.2 / (0.8 + 0.2 * (1 - levels)), rtol=1e-5, atol=0
        )
        assert not binary[:, 1:].any()  # who has it cannot get it again

    def test_pooled_counts_are_a_patients_worth_of_those_of_all_codes(self):
        """By hand: ten patients have one code once, one patient has another three times."""
        counts = torch.tensor([[89.0, 98.0], [10.0, 0.0], [0.0, 0.0], [0.0, 1.0]])
        pooled = pool_counts(counts, 5.0)
        once = torch.tensor([10 + 5 * 10 / 11, 5 * 10 / 11]) * torch.tensor([10 / 15, 1 / 6])
        torch.testing.assert_close(pooled[1], once)
        torch.testing.assert_close(pooled.sum(0), counts.sum(0))  # as many have each code
        assert not pooled[2].any() and pooled[3].all()

    def test_no_count_of_one_patient_alone_stands_out_once_counts_are_pooled(self):
        x = torch.zeros(200, 3)
        x[:100, 0], x[50:, 1], x[0, 2] = 1, 2, 9
        networks = [RateModel(Alone(), 3, pooling=pooling) for pooling in (0.0, 5.0)]
        for model in networks:
            model.fit_marginals(x)
        assert [model.max_count.tolist() for model in networks] == [[1, 2, 9], [9, 9, 9]]
        alone, pooled = (model.count_pmf[9, 2] for model in networks)
        assert pooled < alone / 3

    def test_how_many_more_follows_by_bayes_rule(self):
        """Against the definition, summed by hand over the lengths that records may have."""
        chance = {1: 0.4, 2: 0.3, 5: 0.2, 30: 0.1}
        model = RateModel(Alone(), 40, blur=0.0)
        patients = [torch.arange(40) < n for n, p in chance.items() for _ in range(round(10 * p))]
        model.fit_marginals(torch.stack(patients).float())
        for a in (0.0, 0.4, 0.95):
            for n in (0, 1, 3, 30, 31):
                odds = {
                    m: p * math.comb(m, n) * (1 - a) ** (m - n) for m, p in chance.items() if m >= n
                }
                mean = (
                    sum((m - n) * odd for m, odd in odds.items()) / sum(odds.values())
                    if odds
                    else 0.0
                )
                found = model.remaining(torch.tensor([float(n)]), torch.tensor([a]))
                assert float(found[0]) == pytest.approx(mean, rel=1e-6, abs=1e-9)

    @pytest.mark.parametrize("levels", [1, 50])
    def test_how_many_and_which_make_the_rates_of_any_rows(self, levels):
        torch.manual_seed(0)
        network = RecordMLP(6, width=16)
        for weights in network.parameters():
            torch.nn.init.normal_(weights, std=0.1)
        model = RateModel(network, 6)
        model.fit_marginals(torch.poisson(torch.full((500, 6), 0.7), generator=rng()))
        x, level = (
            torch.poisson(torch.full((50, 6), 0.7), generator=rng(1)),
            torch.rand(levels, generator=rng(2)),
        )
        rates, encoding = model(x, level), model.encode(x, level)
        log_total = model.log_total(x, level, encoding)
        torch.testing.assert_close(rates.sum(1), log_total.exp())
        for rows in (torch.arange(50) % 3 == 0, torch.zeros(50, dtype=torch.bool)):
            part = tuple(tensor[rows] for tensor in encoding)
            at = level if len(level) == 1 else level[rows]
            probabilities = model.code_log_probs(x[rows], at, part).exp()
            expected = probabilities * log_total[rows].exp()[:, None]
            torch.testing.assert_close(rates[rows], expected)

    def test_lengths_are_told_apart_and_blurred_without_bias(self):
        x = torch.tensor([[0.0], [3.0], [3.0], [200.0], [1e6]])
        counts = count_lengths(x)
        assert counts[[0, 3, 200]].tolist() == [1, 2, 1] and int(counts.sum()) == 5
        assert float(LENGTHS[counts.nonzero()[-1, 0]]) == pytest.approx(1e6, rel=0.01)
        for m in (0, 3, 50, 400):
            alone = torch.nn.functional.one_hot(torch.tensor(m), len(LENGTHS)).double()
            one = blur_lengths(alone, 0.05, torch.ones(()))
            assert float(one.sum()) == pytest.approx(1)
            assert float((one * LENGTHS).sum()) == pytest.approx(m, rel=2e-3, abs=1e-9)
            spread = float((one * (LENGTHS - m) ** 2).sum()) ** 0.5
            assert spread == pytest.approx(0.05 * (m + 1), rel=0.02) if m >= 50 else spread < 0.01
            many = blur_lengths(alone, 0.05, 400 * alone)  # a twentieth of the noise
            assert float(many[m]) > 0.95 if m < 50 else float(many[m]) > 3 * float(one[m])


def empty(size: int, n_codes: int) -> torch.Tensor:
    return torch.zeros(size, n_codes)


class Known:
    """A known rate, in the place of a RateModel."""

    def __init__(self, rate):
        self.rate = rate

    def __call__(self, x, level):
        return self.rate(x, level)

    def encode(self, x, level):
        return (self.rate(x, level),)

    def log_total(self, x, level, encoding):
        return encoding[0].sum(dim=1).log()

    def code_log_probs(self, x, level, encoding):
        (rate,) = encoding
        return (rate / rate.sum(dim=1, keepdim=True)).log()


def twins(x, level):
    """Two codes both present or both absent, even odds: the known rate brings the dependence back."""
    either = (x > 0).any(dim=1, keepdim=True)
    odds = (1 - level[:, None]) ** 2
    missing = torch.where(either, 1.0, odds / (1 + odds))
    return missing * (1 - x).clamp(min=0)


TWINS = Known(twins)


def grown(*args, **how):
    return exact_jumps(*args, **how)[0]


def leaps(steps, **more):
    return lambda rate, start, **how: tau_leaping(rate, start, steps, **more, **how)


class TestRecordsGrow:
    @pytest.mark.parametrize("sampler", [grown, leaps(1), leaps(7)])
    def test_independent_poisson_counts_are_exact(self, sampler):
        mean = torch.tensor([0.05, 0.4, 2.0])
        model, rng = RateModel(Alone(), 3), torch.Generator().manual_seed(0)
        model.fit_marginals(torch.poisson(mean.expand(200_000, 3), generator=rng))
        x = sampler(model, empty(100_000, 3), rng=rng)
        torch.testing.assert_close(x.mean(0), mean, rtol=0.05, atol=0.003)
        torch.testing.assert_close(x.var(0), mean, rtol=0.05, atol=0.003)

    @pytest.mark.parametrize(("sampler", "error"), [(grown, 0.008), (leaps(300), 0.02)])
    def test_independent_counts_of_any_shape(self, sampler, error):
        """Births one by one leave the chance alone, four standard errors of it."""
        counts = torch.tensor([0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 2.0, 2.0, 2.0, 3.0])[:, None]
        model = RateModel(Alone(), 1)
        model.fit_marginals(counts.repeat(1000, 1))
        x = sampler(model, empty(60_000, 1), rng=torch.Generator().manual_seed(0))
        shares = [float((x == m).float().mean()) for m in (0, 1, 2, 3)]
        assert shares == pytest.approx([0.4, 0.2, 0.3, 0.1], abs=error)

    @pytest.mark.parametrize(
        ("sampler", "wild", "over"), [(grown, 2.0, 0), (leaps(200), 2.0, 15), (grown, 50.0, 15)]
    )
    def test_a_code_that_feeds_on_itself_stays_within_what_patients_had(self, sampler, wild, over):
        """But for the births of one leap, which do not see each other, and a few where the network has gone wild."""

        class Excited(Alone):
            def codes(self, y, read):
                return 3 * y

            def length(self, read):
                return torch.full((len(read),), wild)

        counts = torch.tensor([[0.0, 0.0], [0.0, 60.0], [9.0, 1.0]])
        model, rng = RateModel(Excited(), 2), torch.Generator().manual_seed(0)
        model.fit_marginals(counts.repeat(100, 1))
        x = sampler(model, empty(2_000, 2), rng=rng)
        assert model.max_count.tolist() == [9, 80]
        assert x[:, 0].max() <= 9 + over
        assert 12 < x.sum(1).max() <= float(model.lengths[-1]) + over <= 89 + over

    @pytest.mark.parametrize("n_codes", [1, 7])
    def test_records_are_as_long_as_patients_whatever_their_codes(self, n_codes):
        """Codes all alike: the length alone has a law, here of two humps."""
        rng = torch.Generator().manual_seed(0)
        short = torch.rand(50_000, generator=rng) < 0.7
        length = torch.where(short, 2.0, torch.poisson(torch.full((50_000,), 40.0), generator=rng))
        model = RateModel(Alone(), n_codes)
        model.fit_marginals(length[:, None] * torch.eye(n_codes)[torch.arange(50_000) % n_codes])
        made = grown(model, empty(20_000, n_codes), rng=rng).sum(1)
        assert float((made == 2).float().mean()) == pytest.approx(0.7, abs=0.02)
        assert float(made.mean()) == pytest.approx(0.7 * 2 + 0.3 * 40, rel=0.03)
        assert float(made[made > 10].std()) == pytest.approx(
            40**0.5 * (1 + 0.05**2 * 40) ** 0.5, rel=0.08
        )

    @pytest.mark.parametrize("sampler", [grown, leaps(200), leaps(200, binary=True)])
    def test_two_codes_that_come_together(self, sampler):
        x = sampler(TWINS, empty(40_000, 2), rng=torch.Generator().manual_seed(0))
        present = (x > 0).float()
        assert float(present.mean()) == pytest.approx(0.5, abs=0.02)
        assert float((present[:, 0] == present[:, 1]).float().mean()) > 0.98

    @pytest.mark.parametrize("sampler", [grown, leaps(100, binary=True)])
    def test_what_is_there_at_the_start_stays_and_brings_its_twin(self, sampler):
        start = torch.tensor([[1.0, 0.0]]).expand(5000, 2)
        x = sampler(TWINS, start, rng=torch.Generator().manual_seed(0))
        assert torch.all(x[:, 0] == 1)
        assert float(x[:, 1].mean()) > 0.99

    def test_a_record_of_fixed_length_has_it_where_leaps_miss(self):
        """Always three codes of twenty: what is still to come is known from what is there."""

        def rate(x, level):
            free = (1 - x).clamp(min=0)
            return (
                (3 - x.sum(dim=1, keepdim=True)).clamp(min=0) * free / free.sum(dim=1, keepdim=True)
            )

        x, evaluations = exact_jumps(
            Known(rate), empty(20_000, 20), rng=torch.Generator().manual_seed(0)
        )
        missed = (
            tau_leaping(rate, empty(20_000, 20), 64, rng=torch.Generator().manual_seed(0)).sum(1)
            != 3
        )
        assert float((x.sum(1) == 3).float().mean()) > 0.99
        assert float(missed.float().mean()) > 0.05
        assert evaluations == pytest.approx(
            1 + 3 * 2, abs=0.1
        )  # a first look; a proposal and a look for each birth

    def test_an_empty_law_grows_nothing(self):
        x, evaluations = exact_jumps(
            Known(lambda x, level: 0 * x), empty(5, 4), rng=torch.Generator().manual_seed(0)
        )
        assert float(x.sum()) == 0
        assert evaluations == 1
