"""To add a generator, a metric and a row, as many files are touched as CONTRIBUTING says."""

import os
import re
import shutil
import subprocess
import sys

from benchmarks.sizes import CHECKOUT

GENERATOR = '''
"""Toy: every code on its own, by its mean."""
from dataclasses import dataclass
from typing import Any, ClassVar, Literal
import torch
from torch import nn
from scoehr.generators.base import Generator, Settings

@dataclass(frozen=True)
class ToyConfig(Settings):
    kind: Literal["count", "binary"] = "count"
    sample_batch: int = 1024

class Toy(Generator):
    name = "toy"
    settings = ToyConfig
    summary = "Independent Poisson counts."
    architecture, output, weights = "none", "mean", ("toy.safetensors",)
    presets: ClassVar[dict[str, dict[str, Any]]] = {"toy": {}}

    @property
    def network(self):
        return self.means

    def _make_networks(self, n_codes):
        tensor = nn.Parameter(torch.zeros(n_codes), requires_grad=False)
        self.means = nn.ParameterDict({"means": tensor})

    def _train(self, fitting):
        self.means["means"].data = fitting.data[:].mean(dim=0)
        row = {"stage": "toy", "epoch": 1, "train_loss": 0.0, "validation_loss": 0.0}
        return [row | {"learning_rate": 0.0, "seconds": 0.0}]

    def _floats(self, n, n_codes):
        return n_codes

    def _draw(self, size, rng, how):
        return torch.poisson(self.means["means"].expand(size, -1), generator=rng)

    def decode(self, latents, rng=None):
        return latents

    def _weights(self):
        return {"toy.safetensors": dict(self.means.items())}

    def _load_weights(self, weights):
        self.means = nn.ParameterDict(weights["toy.safetensors"])
'''
METRIC = '''

@METRICS.register(family="fidelity", toy=Metric("Difference of spread", 0, None, "lower", 0, "toy"))
def toy(real: Rows, synthetic: Rows) -> float:
    """Difference of the standard deviations of codes per patient."""
    return abs(float(real.sum(axis=1).std()) - float(synthetic.sum(axis=1).std()))
'''
USE = """
from reproduction.synthesis import experiments
from scoehr import generators, metrics
from scoehr.data.simulate import sample_matrix
train, validation, test = sample_matrix(300, seed=1).split()
generators.preset("toy").fit(train, validation).save("model")
synthetic = generators.load("model").sample(len(test), seed=1)
scores = metrics.evaluate(test, synthetic, train=train)
real = scores["reference"]["real"]["fidelity"]["toy"]
print(scores["fidelity"]["toy"], real, "fidelity.toy" in scores["gap"])
print(experiments.plan()["toy-row"].title)
"""


def files(thing):
    """The files that CONTRIBUTING says to touch for a thing called toy."""
    text = (CHECKOUT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    row = re.search(rf"^\| {thing} \| (.*) \|$", text, re.MULTILINE)[1]
    return re.findall(r"`([\w/]+\.\w+)`", row.replace("NAME", "toy"))


def test_a_toy_generator_metric_and_row_touch_the_files_of_the_table(tmp_path):
    for part in ("scoehr", "reproduction", "companions", "workflow"):
        shutil.copytree(CHECKOUT / part, tmp_path / part, symlinks=True)
    made, listed = files("a generator")
    (tmp_path / made).write_text(GENERATOR)
    edit(
        tmp_path / listed,
        "from scoehr.generators.thinning",
        "from scoehr.generators.toy import Toy\n",
    )
    edit(tmp_path / listed, "ScoEHR, Thinning, Private", "Toy, ")
    (metric,) = files("a metric")
    with (tmp_path / metric).open("a") as file:
        file.write(METRIC)
    (plan,) = files("a row of a table")
    edit(tmp_path / plan, "  reported: {title", "  toy-row: {title: A toy, preset: toy}\n")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-c", USE]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    scores, title = done.stdout.splitlines()
    value, real, gap = scores.split()
    assert float(value) > float(real) >= 0 and gap == "True" and title == "A toy"


def edit(path, before, text):
    """Put a text before the first place of another."""
    old = path.read_text(encoding="utf-8")
    assert before in old
    path.write_text(old.replace(before, text + before, 1), encoding="utf-8")


def test_a_data_set_touches_three_files_and_a_page_two():
    assert [len(files(thing)) for thing in ("a data set", "a page")] == [3, 2]
    assert [(CHECKOUT / file).is_file() for file in files("a data set")] == [True, True, False]
