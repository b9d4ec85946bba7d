import pytest
import torch
import torchsde

from scoehr import InputError
from scoehr.sampling import (
    SAMPLERS,
    births,
    ddim,
    dpm_solver_pp_2m,
    evaluations,
    events,
    heun,
    power_schedule,
    solve,
    uniform_schedule,
)
from scoehr.sdes import T_MIN, AdditiveReverseSDE, RateModel, ReverseSDE
from tests.problems import Alone, Gaussian

PROBLEM = Gaussian()


@pytest.mark.parametrize(("sampler", "order"), [(ddim, 1), (heun, 2), (dpm_solver_pp_2m, 2)])
def test_order_of_convergence(sampler, order):
    x = torch.randn(100, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    errors = []
    for steps in (40, 80, 160):
        times = power_schedule(PROBLEM.sde, steps, last=0.01).double()
        end = sampler(PROBLEM.score, PROBLEM.sde, x, times)
        errors.append(float((end - PROBLEM.flow(x, times[0], times[-1])).abs().max()))
    ratios = torch.log2(torch.tensor(errors[:-1]) / torch.tensor(errors[1:]))
    assert torch.all((ratios - order).abs() < 0.25), (errors, ratios)


@pytest.mark.parametrize(
    ("name", "steps"),
    [("euler_maruyama", 300), ("sra1", 60), ("ddim", 200), ("heun", 40), ("dpm_solver_pp_2m", 40)],
)
def test_every_sampler_returns_the_data(name, steps):
    rng = torch.Generator().manual_seed(0)
    x = solve(
        name, PROBLEM.score, PROBLEM.sde, torch.randn(20_000, 1, generator=rng), steps, rng=rng
    )
    assert float(x.mean()) == pytest.approx(PROBLEM.mean, abs=0.03)
    assert float(x.var()) == pytest.approx(PROBLEM.variance, rel=0.05)


def test_the_higher_order_method_follows_the_same_path_more_closely():
    """Strong errors on one Brownian path, against steps twenty times as fine."""
    x = torch.randn(400, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    ends = torch.tensor([0.0, 0.9], dtype=x.dtype)
    brownian = torchsde.BrownianInterval(
        0.0,
        1.0,
        size=tuple(x.shape),
        dtype=x.dtype,
        entropy=3,
        levy_area_approximation="space-time",
    )

    def path(kind, method, steps):
        sde = kind(PROBLEM.sde, PROBLEM.score)
        return torchsde.sdeint(sde, x, ends, bm=brownian, method=method, dt=1 / steps)[-1]

    truth = path(AdditiveReverseSDE, "srk", 4000)
    euler = [float((path(ReverseSDE, "euler", steps) - truth).abs().mean()) for steps in (100, 200)]
    sra1 = [
        float((path(AdditiveReverseSDE, "srk", steps) - truth).abs().mean()) for steps in (100, 200)
    ]
    assert sra1[0] < 0.2 * euler[0], (sra1, euler)
    assert sra1[0] / sra1[1] > 2.2 > euler[0] / euler[1], (sra1, euler)


@pytest.mark.parametrize("name", SAMPLERS)
def test_same_generator_same_result(name):
    def once():
        rng = torch.Generator().manual_seed(7)
        return solve(
            name, PROBLEM.score, PROBLEM.sde, torch.randn(5, 2, generator=rng), 10, rng=rng
        )

    assert torch.equal(once(), once())


@pytest.mark.parametrize("name", ["ddim", "heun", "dpm_solver_pp_2m"])
def test_evaluations_are_counted(name):
    calls = []

    def score(x, t):
        calls.append(1)
        return PROBLEM.score(x, t)

    solve(name, score, PROBLEM.sde, torch.randn(3, 1), 12, rng=torch.Generator())
    assert len(calls) == evaluations(name, 12)


@pytest.mark.parametrize("steps", [2, 10, 50])
def test_schedules_fall_from_one_to_zero(steps):
    for schedule in (uniform_schedule, power_schedule):
        times = schedule(PROBLEM.sde, steps)
        assert len(times) == steps + 1
        assert times[0] == 1
        assert times[-1] == 0
        assert torch.all(times.diff() < 0)
    assert float(power_schedule(PROBLEM.sde, steps)[-2]) == pytest.approx(T_MIN, rel=1e-3)


def test_bad_sampler_and_steps():
    with pytest.raises(InputError, match="sampler 'rk45' is unknown"):
        solve("rk45", PROBLEM.score, PROBLEM.sde, torch.randn(2, 1), 5, rng=torch.Generator())
    with pytest.raises(InputError, match="at least 2 steps"):
        solve("heun", PROBLEM.score, PROBLEM.sde, torch.randn(2, 1), 1, rng=torch.Generator())


def empty(size: int, n_codes: int) -> torch.Tensor:
    return torch.zeros(size, n_codes)


class Known:
    """A known rate, in the place of a RateModel."""

    def __init__(self, rate):
        self.rate = rate

    def __call__(self, x, level):
        return self.rate(x, level)

    def outlook(self, x, level):
        expected = self.rate(x, level)
        many = expected.sum(dim=1)
        return many.log(), lambda rows: (expected[rows] / many[rows][:, None]).log()


def twins(x, level):
    """Two codes both present or both absent, even odds: the known rate brings the dependence back."""
    either = (x > 0).any(dim=1, keepdim=True)
    odds = (1 - level[:, None]) ** 2
    missing = torch.where(either, 1.0, odds / (1 + odds))
    return missing * (1 - x).clamp(min=0)


TWINS = Known(twins)


def grown(*args, **how):
    return events(*args, **how)[0]


def leaps(steps, **more):
    return lambda rate, start, **how: births(rate, start, steps, **more, **how)


class TestRecordsGrow:
    @pytest.mark.parametrize("sampler", [grown, leaps(1), leaps(7)])
    def test_independent_poisson_counts_are_exact(self, sampler):
        mean = torch.tensor([0.05, 0.4, 2.0])
        model, rng = RateModel(Alone(), 3), torch.Generator().manual_seed(0)
        model.learn_shares(torch.poisson(mean.expand(200_000, 3), generator=rng))
        x = sampler(model, empty(100_000, 3), rng=rng)
        torch.testing.assert_close(x.mean(0), mean, rtol=0.05, atol=0.003)
        torch.testing.assert_close(x.var(0), mean, rtol=0.05, atol=0.003)

    @pytest.mark.parametrize(("sampler", "error"), [(grown, 0.008), (leaps(300), 0.02)])
    def test_independent_counts_of_any_shape(self, sampler, error):
        """Births one by one leave the chance alone, four standard errors of it."""
        counts = torch.tensor([0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 2.0, 2.0, 2.0, 3.0])[:, None]
        model = RateModel(Alone(), 1)
        model.learn_shares(counts.repeat(1000, 1))
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
        model.learn_shares(counts.repeat(100, 1))
        x = sampler(model, empty(2_000, 2), rng=rng)
        assert model.most.tolist() == [9, 80]
        assert x[:, 0].max() <= 9 + over
        assert 12 < x.sum(1).max() <= float(model.lengths[-1]) + over <= 89 + over

    @pytest.mark.parametrize("n_codes", [1, 7])
    def test_records_are_as_long_as_patients_whatever_their_codes(self, n_codes):
        """Codes all alike: the length alone has a law, here of two humps."""
        rng = torch.Generator().manual_seed(0)
        short = torch.rand(50_000, generator=rng) < 0.7
        length = torch.where(short, 2.0, torch.poisson(torch.full((50_000,), 40.0), generator=rng))
        model = RateModel(Alone(), n_codes)
        model.learn_shares(length[:, None] * torch.eye(n_codes)[torch.arange(50_000) % n_codes])
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

        x, evaluations = events(
            Known(rate), empty(20_000, 20), rng=torch.Generator().manual_seed(0)
        )
        missed = (
            births(rate, empty(20_000, 20), 64, rng=torch.Generator().manual_seed(0)).sum(1) != 3
        )
        assert float((x.sum(1) == 3).float().mean()) > 0.99
        assert float(missed.float().mean()) > 0.05
        assert evaluations == pytest.approx(
            1 + 3 * 2, abs=0.1
        )  # a first look; a proposal and a look for each birth

    def test_an_empty_law_grows_nothing(self):
        x, evaluations = events(
            Known(lambda x, level: 0 * x), empty(5, 4), rng=torch.Generator().manual_seed(0)
        )
        assert float(x.sum()) == 0
        assert evaluations == 1
