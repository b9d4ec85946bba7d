"""The published runs are in the regime of their studies, and what is said of steps can be computed again."""

import numpy as np
import pytest

from reproduction.synthesis import ablations, experiments
from scoehr.metrics import fidelity

OPEN = ("simulated", "diabetes130")


@pytest.mark.parametrize("dataset", OPEN)
def test_no_published_run_leaves_the_regime_but_those_that_show_what_the_sampler_does(dataset):
    steps = set(ablations.names("steps")) - {"reported"}
    outside = [run for run in experiments.published(dataset) if run.departures]
    assert [run.id for run in outside if run.experiment["name"] not in steps] == []


def test_every_published_run_of_a_generator_is_planned():
    planned = {
        again.id
        for dataset in OPEN
        for profile in experiments.PLAN.upward("standard")
        for row in experiments.plan(dataset, None, profile).values()
        for again in experiments.replicates(row)
    }
    assert [
        run.id
        for dataset in OPEN
        for run in experiments.published(dataset)
        if run.id not in planned
    ] == []


@pytest.mark.timeout(900)
def test_a_cell_of_the_table_of_steps_is_what_the_published_weights_give():
    """The density ratio at 40 steps, from the weights of the row at 1,000 and the patients it was scored on."""
    plan = experiments.plan("simulated", None, "standard")
    generator = plan["reported"].result.generator
    published = plan["reported-steps-40"].result.metrics
    drawn = generator.sample(1000, seed=0, steps=40, progress=False)
    test = plan["reported"].cohort().test
    places = np.sort(
        np.random.default_rng([published["seed"], 1]).permutation(len(test))[
            : published["n"]["rows"]
        ]
    )
    ratio = fidelity.density_ratio(test.take(places).dense(), drawn.dense())
    assert ratio == pytest.approx(
        published["fidelity"]["density_ratio"], rel=0.005
    )  # other processors round otherwise
    full = plan["reported"].result.metrics["fidelity"]["density_ratio"]
    assert ratio > 1.5 * full, "forty steps do not solve the equation"
