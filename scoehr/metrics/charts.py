"""The pictures of the report: SVG as data, of aggregates over at least eleven patients."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scoehr.data.matrix import CodeMatrix
from scoehr.metrics import validity
from scoehr.metrics.arrays import codes_per_patient, presence, prevalence_of
from scoehr.metrics.attacks import ATTACKS
from scoehr.metrics.whole import SCORES

#: Patients that a code, a pair of codes or a bar must have to be shown.
LEAST = 11
FURTHEST = 12
BARS = 30
SYNTHETIC, REAL, LIGHT = "#1f6feb", "#5b626b", "#c9ced6"
STYLE: Any = {
    "svg.hashsalt": "scoehr",
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": "#e6e8eb",
    "legend.frameon": False,
}


class Chart(NamedTuple):
    """A picture with what it shows; ``source`` is a data address."""

    title: str
    source: str
    caption: str


Draw = Callable[[Axes], str]


def drawn(results: Mapping[str, Any], real: CodeMatrix, synthetic: CodeMatrix) -> list[Chart]:
    """All charts that the results and the tables allow."""
    sides = _present(real, synthetic)
    draws: dict[str, tuple[Draw, float]] = {
        "Prevalence of each code": (lambda axes: _prevalence(axes, *sides), 3.4),
        "Codes a patient": (lambda axes: _lengths(axes, *sides), 3.4),
        "Pairs of codes": (lambda axes: _pairs(axes, *sides), 3.4),
    }
    gaps = {
        key: gap
        for key, gap in results["gap"].items()
        if gap is not None and not SCORES[key].caution
    }
    if gaps:
        height = 1.2 + 0.21 * len(gaps)
        draws["Gap of every score"] = (lambda axes: _gaps(axes, gaps), height)
    attacks = results.get("attacks")
    if attacks:
        draws["Attacks and their floors"] = (lambda axes: _attacks(axes, attacks), 3.4)
        draws["The worst attack"] = (lambda axes: _curve(axes, attacks["curve"]), 3.4)
        if attacks["groups"]:
            draws["Who is exposed"] = (lambda axes: _groups(axes, attacks["groups"]), 2.6)
    return [_chart(title, draw, height) for title, (draw, height) in draws.items()]


def _chart(title: str, draw: Draw, height: float) -> Chart:
    with rc_context(STYLE):
        figure = Figure(figsize=(4.6, height), layout="constrained")
        caption = draw(figure.subplots())
        file = io.BytesIO()
        figure.savefig(file, format="svg", metadata={"Date": None})
    data = base64.b64encode(file.getvalue()).decode()
    return Chart(title, f"data:image/svg+xml;base64,{data}", caption)


def _present(real: CodeMatrix, synthetic: CodeMatrix) -> tuple[Any, Any]:
    """Presence of both over the codes of both."""
    codes = list(dict.fromkeys([*real.codes.tolist(), *synthetic.codes.tolist()]))
    return presence(real.align(codes).counts), presence(synthetic.align(codes).counts)


def _legend(axes: Axes) -> None:
    """Above the axes, where it covers nothing."""
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2)


# Tables -------------------------------------------------------------------------------------------


def furthest(real: CodeMatrix, synthetic: CodeMatrix) -> list[dict[str, Any]]:
    """The twelve codes whose prevalences differ by most standard errors, of those shown."""
    one, other = _present(real, synthetic)
    codes = list(dict.fromkeys([*real.codes.tolist(), *synthetic.codes.tolist()]))
    titles = {
        code: title
        for matrix in (synthetic, real)
        for code, title in zip(matrix.codes.tolist(), matrix.titles.tolist(), strict=True)
    }
    p, q = prevalence_of(one), prevalence_of(other)
    shown = np.flatnonzero(_shown(one) & _shown(other))
    error = np.sqrt(p * (1 - p) / one.shape[0] + q * (1 - q) / other.shape[0])
    apart = np.abs(p - q)[shown] / np.maximum(error[shown], 1e-12)
    order = shown[np.argsort(-apart, kind="stable")[:FURTHEST]]
    return [
        {"code": codes[k], "title": titles.get(codes[k], ""), "real": p[k], "synthetic": q[k]}
        for k in order.tolist()
    ]


def _shown(rows: Any) -> np.ndarray:
    """Codes that enough patients have, or none."""
    held = rows.sum(axis=0)
    return (held >= LEAST) | (held == 0)


# Charts -------------------------------------------------------------------------------------------


def _prevalence(axes: Axes, real: Any, synthetic: Any) -> str:
    p, q = prevalence_of(real), prevalence_of(synthetic)
    shown = (p > 0) & (q > 0) & _shown(real) & _shown(synthetic)
    axes.loglog(p[shown], q[shown], ".", color=SYNTHETIC, markersize=4, alpha=0.6)
    low = min([*p[shown], *q[shown], 1.0])
    line = np.geomspace(low, 1, 50)
    error = 1.96 * np.sqrt(line * (1 - line) * (1 / real.shape[0] + 1 / synthetic.shape[0]))
    lower = np.maximum(line - error, low / 2)
    axes.fill_between(line, lower, line + error, color=LIGHT, linewidth=0, zorder=0)
    axes.set(xlabel="real patients", ylabel="synthetic patients")
    axes.grid(False)
    hidden = int(((p > 0) | (q > 0)).sum() - shown.sum())
    return (
        f"Share of patients with a code, a dot a code; in the grey band 95 % of the dots of fresh "
        f"real patients would lie. Codes that fewer than {LEAST} patients of a side have are left "
        f"out ({hidden:,})."
    )


def _lengths(axes: Axes, real: Any, synthetic: Any) -> str:
    sizes = [codes_per_patient(rows) for rows in (real, synthetic)]
    edges = _edges(*sizes)
    for size, color, label in zip(sizes, (REAL, SYNTHETIC), ("real", "synthetic"), strict=True):
        share = np.histogram(np.minimum(size, edges[-2]), edges)[0] / len(size)
        axes.stairs(share, np.arange(len(edges)), color=color, label=label, linewidth=1.6)
    places = np.unique(np.linspace(0, len(edges) - 2, 6).round().astype(int))
    labels = [_bar(edges, place) for place in places]
    axes.set_xticks(places + 0.5, labels)
    axes.set(xlabel="different codes", ylabel="share of patients", ylim=(0, None))
    _legend(axes)
    return "How many different codes patients have; few patients together in a bar."


def _edges(*sizes: np.ndarray) -> np.ndarray:
    """Lower edges of bars with enough patients of either side, and an upper one."""
    longest = max(int(size.max()) for size in sizes)
    width = max(1, -(-int(max(np.quantile(size, 0.99) for size in sizes) + 1) // BARS))
    edges = list(range(0, longest + 1, width))
    counts = [np.histogram(size, [*edges, longest + width + 1])[0] for size in sizes]
    kept, pending = [edges[0]], np.zeros(len(sizes))
    for edge, count in zip(edges, zip(*counts, strict=True), strict=True):
        if edge > kept[-1] and _enough(pending):
            kept.append(edge)
            pending = np.zeros(len(sizes))
        pending = pending + count
    if len(kept) > 1 and not _enough(pending):
        kept.pop()
    return np.array([*kept, longest + width + 1])


def _enough(counts: np.ndarray) -> bool:
    return bool((counts >= LEAST).all())


def _bar(edges: np.ndarray, place: int) -> str:
    if place == len(edges) - 2:
        return f"{edges[place]}+"
    last = edges[place + 1] - 1
    return str(edges[place]) if last == edges[place] else f"{edges[place]}–{last}"


def _pairs(axes: Axes, real: Any, synthetic: Any) -> str:
    order = np.argsort(-prevalence_of(real), kind="stable")[: validity.FREQUENT]
    tables = [validity.joint(rows[:, order].toarray()) for rows in (real, synthetic)]
    n, made = real.shape[0], synthetic.shape[0]
    pairs = validity.registered_pairs(validity.by_chance(tables[0], n))
    met = [table[pairs[:, 0], pairs[:, 1]] for table in tables]
    shown = np.all([count >= LEAST for count in met], axis=0)
    one = validity.log_odds(tables[0], n, pairs[shown])
    other = validity.log_odds(tables[1], made, pairs[shown])
    within = np.abs(one.value - other.value) <= 1.96 * np.hypot(one.error, other.error)
    axes.axline((0, 0), slope=1, color=LIGHT, zorder=0)
    for which, color, label in (
        (within, SYNTHETIC, "within error"),
        (~within, "#d1242f", "beyond"),
    ):
        axes.plot(one.value[which], other.value[which], ".", color=color, markersize=5, label=label)
    axes.set(xlabel="log odds ratio, real", ylabel="log odds ratio, synthetic")
    _legend(axes)
    return (
        f"Association of two codes, a dot a pair; {int(shown.sum())} pairs that at least {LEAST} "
        "patients of either side have. Of fresh real patients 5 % would lie beyond."
    )


def _gaps(axes: Axes, gaps: Mapping[str, float]) -> str:
    names = list(gaps)[::-1]
    values = np.clip([gaps[name] for name in names], -0.25, 1.25)
    axes.axvline(0, color=REAL, linewidth=1)
    axes.axvline(1, color="#d1242f", linewidth=1)
    axes.plot(values, np.arange(len(names)), "o", color=SYNTHETIC, markersize=5)
    axes.set_yticks(np.arange(len(names)), [SCORES[name].title for name in names], fontsize=8)
    axes.set(xlim=(-0.3, 1.3), xlabel="gap", ylim=(-0.7, len(names) - 0.3))
    axes.set_xticks([0, 0.5, 1])
    return (
        "0: as good as fresh real patients; 1: as bad as columns that know nothing of each other."
    )


def _attacks(axes: Axes, attacks: Mapping[str, Any]) -> str:
    keys = [key for key in ATTACKS if key.endswith("_tpr_1")][::-1]
    places = np.arange(len(keys))
    made, floor = (
        [100 * (attacks[side][key] or 0) for key in keys] for side in ("scores", "floor")
    )
    for place, key in zip(places, keys, strict=True):
        if key in attacks["interval"]:
            axes.plot(100 * np.array(attacks["interval"][key]), [place] * 2, color=SYNTHETIC)
    axes.plot(made, places, "o", color=SYNTHETIC, label="synthetic")
    axes.plot(floor, places, "o", color=REAL, fillstyle="none", label="fresh real")
    axes.axvline(1, color=LIGHT, zorder=0)
    titles = [ATTACKS[key].title.split(",")[0] for key in keys]
    axes.set_yticks(places, titles, fontsize=8)
    axes.set(xlabel="members found at 1 % false alarms, %", xlim=(0, None))
    _legend(axes)
    return "Eight attacks that guess who was trained on; the line at 1 % is a coin."


def _curve(axes: Axes, curve: Mapping[str, Any]) -> str:
    axes.loglog(curve["false"], curve["false"], color=LIGHT)
    axes.loglog(curve["false"], np.maximum(curve["floor"], 1e-4), color=REAL, label="fresh real")
    axes.loglog(curve["false"], np.maximum(curve["true"], 1e-4), color=SYNTHETIC, label="synthetic")
    axes.set(xlabel="false alarms", ylabel="members found", ylim=(1e-3, 1.1), xlim=(1e-3, 1))
    _legend(axes)
    return (
        f"{curve['attack']}: members found at each rate of false alarms. The light line is a coin."
    )


def _groups(axes: Axes, groups: Mapping[str, Mapping[str, float]]) -> str:
    places = np.arange(len(groups))
    axes.axvline(0.5, color=LIGHT, zorder=0)
    axes.plot(
        [made["auc"] for made in groups.values()], places, "o", color=SYNTHETIC, label="synthetic"
    )
    floor = [made["floor"] for made in groups.values()]
    axes.plot(floor, places, "o", color=REAL, fillstyle="none", label="fresh real")
    axes.set_yticks(places, [f"{label} codes" for label in groups])
    axes.set(xlabel="AUC of all attacks together", ylim=(-0.6, len(groups) - 0.4))
    low, high = axes.get_xlim()
    axes.set_xlim(min(low, 0.45), max(high, 0.55))
    _legend(axes)
    return "Members told from others among patients with as many codes; .5 is a coin."
