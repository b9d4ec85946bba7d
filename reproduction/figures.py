"""Figures of the book: one function a figure, arrays in, a :class:`matplotlib.figure.Figure` out.

No function touches the global state of matplotlib, and a figure has the same bytes whenever its
numbers are the same. Colours are those of Okabe and Ito (2008), which people with any common colour
blindness tell apart; the real data are always black, and a model has the same colour on every page.
"""

from __future__ import annotations

import html
import io
import math
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike

from reproduction.estimates import Estimate
from reproduction.tables import cell, traced

Parameters = ParamSpec("Parameters")

#: Okabe and Ito's palette without its black (kept for the real data) and its yellow (too pale for
#: lines).
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
#: Fixed colours of what appears on several pages; any other name takes the next free colour of the
#: palette.
COLOURS = {
    "real": "#000000",
    "fast": PALETTE[0],
    "reported": PALETTE[1],
    "paper": PALETTE[2],
    "thinning": PALETTE[3],
    "report's schedule": PALETTE[1],
    "paper's schedule": PALETTE[2],
}
GREY = "#767676"
STYLE: Any = {
    "figure.dpi": 96,
    "figure.facecolor": "white",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10.5,
    "axes.titlelocation": "left",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E4E4E4",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "svg.hashsalt": "scoehr",
    "svg.fonttype": "path",
}
#: Panels side by side.
PER_ROW = 3


def styled(draw: Callable[Parameters, Figure]) -> Callable[Parameters, Figure]:
    """Run a drawing function under the book's style and leave the style of the caller alone."""

    @wraps(draw)
    def wrapper(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Figure:
        with matplotlib.rc_context(STYLE):
            return draw(*args, **kwargs)

    return wrapper


def colours(names: Sequence[str]) -> dict[str, str]:
    """A colour for each name: the fixed one if it has one, else the next of the palette."""
    taken = {COLOURS[name] for name in names if name in COLOURS}
    free = iter([colour for colour in PALETTE if colour not in taken] * (len(names) + 1))
    return {name: COLOURS[name] if name in COLOURS else next(free) for name in names}


# Showing ------------------------------------------------------------------------------------------


def svg(figure: Figure) -> str:
    """The figure as SVG text; the same bytes for the same figure."""
    buffer = io.StringIO()
    with matplotlib.rc_context(STYLE):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()


def save(figure: Figure, path: Path) -> None:
    """Write the figure as PNG at twice the screen's resolution."""
    with matplotlib.rc_context(STYLE):
        figure.savefig(path, dpi=192, metadata={"Software": None})


def show(figure: Figure, caption: str) -> None:
    """Display a figure in a notebook with its caption of one or two sentences."""
    from IPython.display import HTML, display  # only notebooks need IPython

    display({"image/svg+xml": svg(figure), "text/plain": caption}, raw=True)
    said = traced(html.escape(caption, quote=False))
    display(HTML(f'<p class="caption">{said}</p>'))


# Figures ------------------------------------------------------------------------------------------


@styled
def distribution(
    series: Mapping[str, ArrayLike],
    *,
    xlabel: str,
    ylabel: str = "share of patients (%)",
    step: float = 1.0,
) -> Figure:
    """Shares by a quantity that each patient (or dimension) has one of, one step line a series, on
    common bins.

    Bins are centred on multiples of ``step``, made wider where there would be more than 60, and
    end at the 99.5th centile; values past the last edge count in the last bin, so that every
    line sums to all.
    """
    values = {name: np.asarray(value, dtype=float) for name, value in series.items()}
    top = max(step, *(np.quantile(value, 0.995) for value in values.values()))
    width = step * max(1, np.ceil(top / step / 60))
    edges = np.arange(-width / 2, top + 1.5 * width, width)
    figure, ax = axis(6.6, 3.2)
    for name, colour in colours(list(values)).items():
        heights, _ = np.histogram(np.clip(values[name], edges[0], edges[-1]), edges)
        ax.stairs(100 * heights / len(values[name]), edges, color=colour, label=name, linewidth=1.7)
    ax.set(xlabel=xlabel, ylabel=ylabel, xlim=(max(edges[0], -step / 2), edges[-1]), ylim=(0, None))
    return _legend(figure, ax, len(values))


@styled
def lines(
    series: Mapping[str, tuple[ArrayLike, ArrayLike]],
    *,
    xlabel: str,
    ylabel: str,
    log: str = "",
    mark: str = "-",
    floor: float | None = None,
) -> Figure:
    """A line through the points ``(x, y)`` of each series.

    Args:
        series: coordinates of shape (points,) by name
        log: the logarithmic axes, such as "xy"
        mark: matplotlib's format of a line, such as "o-"
        floor: what fresh real patients score, drawn across
    """
    figure, ax = axis(6.6, 3.2)
    for name, colour in colours(list(series)).items():
        ax.plot(*series[name], mark, color=colour, label=name)
    if floor is not None:
        ax.axhline(floor, color="black", linewidth=1, linestyle=":", label="fresh real patients")
    ax.set(xlabel=xlabel, ylabel=ylabel)
    _logarithmic(ax, log)
    return _legend(figure, ax, len(series))


def _logarithmic(ax: Axes, names: str) -> None:
    """Make axes logarithmic, with plain numbers at powers of ten."""
    for name in names:
        getattr(ax, f"set_{name}scale")("log", nonpositive="mask")
        side = getattr(ax, f"{name}axis")
        side.set_major_formatter("{x:,g}")
        side.set_minor_formatter("")


@styled
def prevalence(
    real: ArrayLike, synthetic: Mapping[str, ArrayLike], *, of: str = "patients (%)"
) -> Figure:
    """Prevalence of each code in synthetic against real patients, a panel a model.

    Arrays of shape (n_codes,) in [0, 1]; a code rarer than half of the rarest real one lies at the
    lower edge. With other words in ``of`` the arrays may hold any mean, such as that of counts.
    """
    real = np.asarray(real, dtype=float)
    figure, axes = panels(len(synthetic), width=3.0, height=3.0)
    made = {name: np.asarray(value, dtype=float) for name, value in synthetic.items()}
    high = max(1.0, real.max(), *(value.max() for value in made.values()))
    for ax, (name, value) in zip(axes, made.items(), strict=True):
        _prevalence_panel(ax, real, value, colours([name])[name], high)
        ax.set(title=name, xlabel=f"real {of}")
        if _first_column(ax):
            ax.set_ylabel(f"synthetic {of}")
    return figure


def _prevalence_panel(
    ax: Axes, real: np.ndarray, synthetic: np.ndarray, colour: str, high: float = 1.0
) -> None:
    low = real[real > 0].min() / 2
    ax.plot([100 * low, 100 * high], [100 * low, 100 * high], color=GREY, linewidth=0.9)
    x, y = 100 * np.maximum(real, low), 100 * np.maximum(synthetic, low)
    ax.scatter(x, y, s=9, color=colour, alpha=0.45, linewidths=0, rasterized=True)
    ax.set(xscale="log", yscale="log", xlabel="real patients (%)", aspect="equal")
    ax.set(xlim=(80 * low, 130 * high), ylim=(80 * low, 130 * high))


@styled
def frequency(
    real: ArrayLike,
    synthetic: Mapping[str, ArrayLike],
    *,
    start: int = 1,
    labels: tuple[str, str] = ("real", "synthetic"),
) -> Figure:
    """How many codes occur how often, the report's histogram, a panel a model.

    Arrays of shape (n_codes,) hold total occurrences, shown from ``start`` on. With 1 a bar on the
    left counts the codes that never occur; the report's histograms begin at 10 and show neither
    these nor the rarer half of the tail. ``labels`` name the two sides.
    """
    real = np.asarray(real, dtype=float)
    values = {name: np.asarray(value, dtype=float) for name, value in synthetic.items()}
    top = max(real.max(), *(value.max() for value in values.values()), 10.0 * start)
    edges = np.unique(np.round(np.geomspace(start, top + 1, 29)))
    figure, axes = panels(len(values), width=3.3, height=2.8)
    for ax, (name, value) in zip(axes, values.items(), strict=True):
        ax.set(title=name, xlabel="occurrences of the code", xscale="log")
        _frequency_panel(ax, real, value, edges, colours([name])[name], start == 1, labels)
        ax.legend(handlelength=1.2, fontsize=9)
        if _first_column(ax):
            ax.set_ylabel("codes")
    return figure


def _frequency_panel(
    ax: Axes,
    real: np.ndarray,
    value: np.ndarray,
    edges: np.ndarray,
    colour: str,
    never: bool,
    labels: tuple[str, str],
) -> None:
    for place, label, counts, shade in (
        (0.3, labels[0], real, "black"),
        (0.43, labels[1], value, colour),
    ):
        heights, _ = np.histogram(counts, edges)
        ax.stairs(heights, edges, color=shade, label=label, linewidth=1.5)
        if never:
            ax.bar(place, (counts <= 0).sum(), width=0.12, color=shade, alpha=0.8)
    if never:
        ticks = {0.36: "never", 1: "1", 10: "10", 100: "100", 1000: "1,000", 10000: "10,000"}
        ax.set_xticks(list(ticks), list(ticks.values()))
        ax.set_xlim(0.2, edges[-1])
        ax.tick_params(axis="x", which="minor", bottom=False)


@styled
def correlations(matrices: Mapping[str, ArrayLike], codes: Sequence[str]) -> Figure:
    """Correlation matrices of the same codes on one scale from −0.5 to 0.5, without diagonals."""
    figure, axes = panels(len(matrices), width=2.7, height=2.7)
    for ax, (name, matrix) in zip(axes, matrices.items(), strict=True):
        values = np.array(matrix, dtype=float)
        np.fill_diagonal(values, np.nan)
        image = ax.imshow(values, vmin=-0.5, vmax=0.5, cmap="PuOr_r", interpolation="nearest")
        ax.set(title=name, xticks=[], yticks=[], xlabel=f"{len(codes)} most common codes")
        ax.grid(False)
    figure.colorbar(image, ax=axes, label="Pearson correlation", shrink=0.85)
    return figure


@styled
def gaps(frame: pd.DataFrame) -> Figure:
    """Floor-normalised gaps, a mark a model: 0 is fresh real patients, 1 is independent columns.

    ``frame`` has a row a metric and a column a model. Values outside [−0.5, 2] are drawn at the
    edge as arrows.
    """
    figure, ax = axis(6.8, 0.9 + 0.34 * len(frame))
    _gap_panel(ax, frame)
    return figure


def _gap_panel(ax: Axes, frame: pd.DataFrame) -> None:
    low, high = -0.5, 2.0
    rows = np.arange(len(frame))[::-1]
    offsets = np.linspace(0.2, -0.2, max(len(frame.columns), 2))
    for offset, (name, colour) in zip(offsets, colours(list(frame.columns)).items(), strict=False):
        value = frame[name].to_numpy(dtype=float)
        inside = (value >= low) & (value <= high)
        for marker, where in (("o", inside), (">", value > high), ("<", value < low)):
            x, y = np.clip(value[where], low, high), (rows + offset)[where]
            ax.scatter(x, y, marker=marker, color=colour, s=30)
        ax.scatter([], [], color=colour, s=30, label=name)
    for place, label in ((0, "fresh real\npatients"), (1, "independent\ncolumns")):
        ax.axvline(place, color="black", linewidth=1)
        style: Any = {"xycoords": ("data", "axes fraction"), "textcoords": "offset points"}
        ax.annotate(label, (place, 1), (0, 3), ha="center", va="bottom", fontsize=8.5, **style)
    ax.set(xlim=(low - 0.08, high + 0.08), ylim=(-0.6, len(frame) - 0.4))
    ax.set_xlabel("floor-normalised gap (no unit)")
    ax.set_yticks(rows, frame.index)
    ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))


@styled
def verdicts(sees: pd.DataFrame) -> Figure:
    """Which score sees which fault, a row a score, a column a fault.

    ``sees`` is True where the score is worse than for real data, False where it is not, and missing
    where the score is undefined.
    """
    numbers = sees.apply(lambda column: column.map({True: 1, False: 0}))
    codes = numbers.astype(float).fillna(2).to_numpy()
    figure, ax = axis(2.9 + 0.72 * sees.shape[1], 0.8 + 0.3 * len(sees))
    shades = ListedColormap(["#F6C7A8", "#A9D3EA", "#EEEEEE"])
    ax.pcolormesh(codes[::-1], cmap=shades, vmin=-0.5, vmax=2.5, edgecolors="white", linewidth=1.5)
    style: Any = {"ha": "center", "va": "center", "fontsize": 8.5}
    for (row, column), code in np.ndenumerate(codes[::-1]):
        ax.text(column + 0.5, row + 0.5, ("blind", "sees", "–")[int(code)], **style)
    faults = [textwrap.fill(str(name), 9) for name in sees.columns]
    ax.set_xticks(np.arange(sees.shape[1]) + 0.5, faults, fontsize=9)
    ax.set_yticks(np.arange(len(sees)) + 0.5, sees.index[::-1])
    ax.xaxis.tick_top()
    ax.tick_params(length=0)
    ax.grid(False)
    ax.spines[:].set_visible(False)
    return figure


@styled
def bars(values: Mapping[str, float], *, xlabel: str) -> Figure:
    """One horizontal bar a name, on a logarithmic axis."""
    figure, ax = axis(6.6, 0.8 + 0.34 * len(values))
    rows = np.arange(len(values))[::-1]
    ax.barh(rows, list(values.values()), color=list(colours(list(values)).values()), height=0.62)
    ax.set(xlabel=xlabel, xscale="log")
    ax.set_yticks(rows, list(values))
    ax.grid(axis="y", visible=False)
    return figure


@styled
def answer(real: ArrayLike, synthetic: Mapping[str, ArrayLike], gap: pd.DataFrame) -> Figure:
    """The study in one picture: prevalence of every code above, floor-normalised gaps below.

    ``real`` and ``synthetic`` as in :func:`prevalence`, ``gap`` as in :func:`gaps` with a column a
    model.
    """
    real = np.asarray(real, dtype=float)
    values = {name: np.asarray(value, dtype=float) for name, value in synthetic.items()}
    figure = Figure(figsize=(8.0, 3.6 + 0.3 * len(gap) + 0.6), layout="constrained")
    above, below = np.asarray(figure.subfigures(2, 1, height_ratios=[3.6, 0.3 * len(gap) + 0.6]))
    axes = above.subplots(1, len(values), squeeze=False)[0]
    for ax, (name, value) in zip(axes, values.items(), strict=False):
        _prevalence_panel(ax, real, value, colours([name])[name])
        ax.set_title(f"{name}: one dot a code")
    axes[0].set_ylabel("synthetic patients (%)")
    _gap_panel(below.subplots(), gap[list(values)])
    return figure


# Figures of several random seeds ------------------------------------------------------------------


@styled
def curves(
    histories: Mapping[str, Sequence[pd.DataFrame]],
    reported: Mapping[str, pd.DataFrame] | None = None,
    *,
    ylabel: str,
    log: bool = False,
) -> Figure:
    """Loss against epoch, a panel a row: mean over random seeds with their range, reported dashed.

    Args:
        histories: tables with ``epoch``, ``train_loss`` and ``validation_loss``, one a random seed
        reported: tables with ``set`` (train or test), ``epoch`` and ``loss``
        log: both axes logarithmic, and the same in all panels
    """
    figure, axes = panels(len(histories), width=3.3, height=2.8)
    for ax, (name, runs) in zip(axes, histories.items(), strict=True):
        _losses(ax, runs, (reported or {}).get(name))
        ax.set(title=name, xlabel="epoch")
        _logarithmic(ax, "xy" if log else "")
        if _first_column(ax):
            ax.set_ylabel(ylabel)
    if log:
        _alike(axes, "ylim")
    return shared_legend(figure, axes)


def _alike(axes: Sequence[Axes], limits: str) -> None:
    """Give all panels the limits that hold everything of each."""
    ends = np.array([getattr(ax, f"get_{limits}")() for ax in axes])
    for ax in axes:
        ax.set(**{limits: (ends[:, 0].min(), ends[:, 1].max())})


#: Columns of a history, the same of a reported curve, colour and mark.
LOSSES = (
    ("train_loss", "training", "train", PALETTE[0], "o"),
    ("validation_loss", "validation", "test", PALETTE[1], "s"),
)


def _losses(ax: Axes, runs: Sequence[pd.DataFrame], theirs: pd.DataFrame | None) -> None:
    for column, label, _, colour, _ in LOSSES:
        losses = pd.concat([history.set_index("epoch")[column] for history in runs], axis=1)
        ax.plot(losses.index, losses.mean(axis=1), color=colour, label=f"here, {label}")
        low, high = losses.min(axis=1), losses.max(axis=1)
        ax.fill_between(losses.index, low, high, color=colour, alpha=0.2, linewidth=0)
    if theirs is None:
        return
    for _, _, kind, colour, mark in LOSSES:
        points = theirs[theirs["set"] == kind]
        style: Any = {"marker": mark, "markersize": 3.5, "color": colour, "linewidth": 1.1}
        ax.plot(points["epoch"], points["loss"], "--", label=f"reported, {kind}", **style)


#: Reference points by score: {name: {score: value}}, drawn solid, dashed, dotted.
References = Mapping[str, Mapping[str, float | None]] | None


#: Values of the study by score: {score: {row or number: value}}, drawn as diamonds.
Reported = Mapping[str, Mapping[Any, float]] | None


@styled
def dots(
    scores: Mapping[str, Mapping[str, Estimate]],
    references: References = None,
    reported: Reported = None,
) -> Figure:
    """Estimates, a panel a score and a line a row; references are vertical lines.

    ``scores``: {score: {row: estimate}}, all with the same rows; a row without a value is marked.
    Few runs are drawn one by one, more by their mean and interval. A reported value that would
    leave no room for the rest is written.
    """
    rows = list(next(iter(scores.values())))
    names = [textwrap.fill(name, 30) for name in rows]
    step = 0.27 + 0.08 * max(name.count("\n") for name in names)
    figure, axes = panels(len(scores), width=2.9, height=0.95 + step * len(rows))
    heights, shades = np.arange(len(rows))[::-1], colours(rows)
    for ax, (score, row) in zip(axes, scores.items(), strict=True):
        for style, name, point in _references(references, score):
            ax.axvline(point, color="black", linestyle=style, linewidth=1.1, label=name)
        for height, (name, estimate) in zip(heights, row.items(), strict=True):
            interval(ax, height, estimate, shades[name])
        theirs = (reported or {}).get(score, {})
        places = zip(rows, heights, strict=True)
        points = [(theirs[name], height) for name, height in places if name in theirs]
        ours = [estimate.value for estimate in row.values() if np.isfinite(estimate.value)]
        known = [*ours, *(value for value, _ in points)]
        far = [point for point in points if _far(point[0], known)]
        _diamonds(ax, [point for point in points if point not in far])
        for value, height in far:
            _written(ax, value, height, right=value == max(known))
        ax.set(ylim=(-0.6, len(rows) - 0.4))
        ax.set_xlabel(textwrap.fill(score, 34, break_on_hyphens=False))
        ax.set_yticks(heights, names if _first_column(ax) else [""] * len(rows))
        ax.xaxis.set_major_locator(MaxNLocator(nbins=4))
        ax.grid(axis="y", visible=False)
    return shared_legend(figure, axes, "upper right")


def by_seed(changes: Mapping[str, Sequence[Estimate]], first: int) -> Figure:
    """Changes, a line each and a panel a random seed, from ``first`` on; of fewer seeds, marked."""
    panels = [f"random seed {first + k}" for k in range(max(map(len, changes.values())))]
    found = {
        title: {name: each[k] if k < len(each) else Estimate(n=0) for name, each in changes.items()}
        for k, title in enumerate(panels)
    }
    figure = dots(found, references={"no change": dict.fromkeys(panels, 0.0)})
    ends = np.array([ax.get_xlim() for ax in figure.axes])
    for ax in figure.axes:
        ax.set_xlim(ends[:, 0].min(), ends[:, 1].max())
        ax.xaxis.set_major_locator(MaxNLocator(nbins=3))
    return figure


#: Widths of all else from which on a value would leave no room.
FAR = 20


def _far(value: float, known: Sequence[float]) -> bool:
    """Whether a value lies many widths of all others from them; ``known`` has it too."""
    others = [other for other in known if other != value]
    low, high = min(others, default=value), max(others, default=value)
    return low < high and max(low - value, value - high) > FAR * (high - low)


def _written(ax: Axes, value: float, height: float, *, right: bool) -> None:
    """Write a reported value that lies beyond an end of the axis."""
    text, side = f"reported: {cell(value)}", "right" if right else "left"
    text = f"{text} \N{RIGHTWARDS ARROW}" if right else f"\N{LEFTWARDS ARROW} {text}"
    place: Any = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points"}
    place |= {"fontsize": 8.5, "ha": side, "va": "bottom"}
    ground = {"facecolor": "white", "edgecolor": "none", "pad": 0.5}
    ax.annotate(text, (float(right), height), (0, 4), bbox=ground, **place)


def _diamonds(ax: Axes, points: Sequence[tuple[float, float]]) -> None:
    """Draw reported values."""
    x, y = zip(*points, strict=True) if points else ((), ())
    style: Any = {"markerfacecolor": "none", "markeredgecolor": "black", "linestyle": "none"}
    if points:
        ax.plot(x, y, marker="D", markersize=6.5, markeredgewidth=1.2, label="reported", **style)


def interval(ax: Axes, height: float, estimate: Estimate, colour: str) -> None:
    """Draw an estimate as a dot on a line, or its few runs; mark that runs gave none."""
    if not np.isfinite(estimate.value):
        if not (estimate.n or estimate.diverged):
            return  # not run
        place: Any = {"xycoords": ("axes fraction", "data"), "ha": "center", "va": "center"}
        ax.annotate("no value", (0.5, height), fontsize=8.5, color=GREY, **place)
        return
    ends = _ends(estimate)
    ax.plot(ends, [height, height], color=colour, linewidth=2.2, solid_capstyle="butt")
    values = estimate.runs or (estimate.value,)
    ax.plot(values, [height] * len(values), "o", color=colour, markersize=5, alpha=0.8)


def _ends(estimate: Estimate) -> tuple[float, float]:
    """What a line joins: the ends of an interval, or the least and the most of few runs."""
    if estimate.runs:
        return min(estimate.runs), max(estimate.runs)
    return estimate.low, estimate.high


@styled
def against(
    scores: Mapping[str, Mapping[str, Mapping[float, Estimate]]],
    *,
    xlabel: str,
    references: References = None,
    reported: Reported = None,
) -> Figure:
    """Estimates against a number, a panel a score, a line a series; references are horizontal.

    ``scores``: {score: {series: {number: estimate}}}, at most two series, drawn a little apart.
    """
    figure, axes = panels(len(scores), width=3.1, height=2.5)
    shades = colours(list(dict.fromkeys(name for panel in scores.values() for name in panel)))
    for ax, (score, panel) in zip(axes, scores.items(), strict=True):
        for style, name, point in _references(references, score):
            ax.axhline(point, color="black", linestyle=style, linewidth=1.1, label=name)
        for shift, (name, line) in zip((-0.5, 0.5), panel.items(), strict=False):
            x = shift + np.array(list(line), dtype=float)
            values = [estimate.value for estimate in line.values()]
            ax.plot(x, values, "o-", color=shades[name], markersize=4, label=name)
            ends = np.array([_ends(estimate) for estimate in line.values()]).reshape(-1, 2)
            ax.vlines(x, ends[:, 0], ends[:, 1], color=shades[name], linewidth=1.6)
        _diamonds(ax, list((reported or {}).get(score, {}).items()))
        ax.set(xlabel=xlabel, title=textwrap.fill(score, 36, break_on_hyphens=False))
    _alike(axes, "xlim")
    return shared_legend(figure, axes)


def _references(references: References, score: str) -> Iterator[tuple[str, str, float]]:
    """Line style, name and value of every reference point that a score has."""
    for style, (name, points) in zip(("-", "--", ":"), (references or {}).items(), strict=False):
        if (point := points.get(score)) is not None:
            yield style, name, point


@styled
def tradeoff(
    points: Mapping[str, tuple[float, Estimate]],
    *,
    xlabel: str,
    ylabel: str,
    floor: float | None = None,
) -> Figure:
    """Quality against cost, {name: (cost, estimate)}, the cost logarithmic, a mark a name.

    A line joins the Pareto front: the points that none is both cheaper and better (lower) than.
    """
    figure, ax = axis(7.4, 3.6)
    shades = colours(list(points))
    front = pareto({name: (cost, estimate.value) for name, (cost, estimate) in points.items()})
    steps = np.array([(points[name][0], points[name][1].value) for name in front]).reshape(-1, 2)
    style: Any = {"where": "post", "color": GREY, "linewidth": 0.9, "zorder": 0}
    ax.step(steps[:, 0], steps[:, 1], label="Pareto front", **style)
    for place, (name, (cost, estimate)) in enumerate(points.items()):
        ax.vlines(cost, *_ends(estimate), color=shades[name], linewidth=1.8)
        mark = MARKERS[place % len(MARKERS)]
        ax.plot(cost, estimate.value, mark, color=shades[name], label=name, linestyle="none")
    if floor is not None:
        ax.axhline(floor, color="black", linewidth=1.1, linestyle=":", label="fresh real patients")
    ax.set(xscale="log", xlabel=xlabel, ylabel=ylabel)
    ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure


def pareto(points: Mapping[str, tuple[float, float]]) -> list[str]:
    """The names that no other beats in both numbers, lower being better, by the first number."""
    best, front = math.inf, []
    for name, (_, value) in sorted(points.items(), key=lambda item: item[1]):
        if value < best:
            best = value
            front.append(name)
    return front


#: Marks of points that are more than there are colours.
MARKERS = "os^Dv*XP"


@styled
def agreement(
    tables: Mapping[str, tuple[ArrayLike, ArrayLike]], *, xlabel: str, ylabel: str
) -> Figure:
    """Two numbers against each other, such as scores up to 1, a dot a code, a panel a model."""
    figure, axes = panels(len(tables), width=2.7, height=2.8, columns=4)
    sides = [np.ravel(side) for both in tables.values() for side in both]
    every = np.concatenate(sides).astype(float)
    limits = (float(np.nanmin(every, initial=1)) - 0.03, float(np.nanmax(every, initial=1)))
    for ax, (name, (x, y)) in zip(axes, tables.items(), strict=True):
        ax.plot(limits, limits, color=GREY, linewidth=0.9)
        ax.scatter(x, y, s=16, color=colours([name])[name], alpha=0.7, linewidths=0)
        ax.set(title=name, xlabel=xlabel, aspect="equal", xlim=limits, ylim=limits)
    axes[0].set_ylabel(ylabel)
    return figure


# Frames -------------------------------------------------------------------------------------------


def axis(width: float, height: float) -> tuple[Figure, Axes]:
    """A figure with one panel, in inches."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots()


def panels(
    count: int, *, width: float, height: float, columns: int = PER_ROW
) -> tuple[Figure, list[Axes]]:
    """``count`` panels in rows of at most ``columns``."""
    columns = 2 if count == 4 and columns == PER_ROW else min(count, columns)
    rows = -(-count // columns)
    figure = Figure(figsize=(max(width * columns, 4.2), height * rows), layout="constrained")
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for spare in axes[count:]:
        spare.remove()
    return figure, axes[:count]


def _first_column(ax: Axes) -> bool:
    place = ax.get_subplotspec()
    return place is not None and place.is_first_col()


def _legend(figure: Figure, ax: Axes, entries: int) -> Figure:
    if entries > 1:
        ax.legend()
    return figure


def shared_legend(
    figure: Figure, axes: Sequence[Axes], place: str = "lower center", columns: int | None = None
) -> Figure:
    """One legend outside all panels, from the panel with the most entries."""
    found = (ax.get_legend_handles_labels() for ax in axes)
    handles, labels = max(found, key=lambda entries: len(entries[1]))
    if labels:
        inches = sum(0.5 + 0.07 * len(label) for label in labels)  # with its mark, at this size
        number = columns or math.ceil(len(labels) / math.ceil(inches / figure.get_figwidth()))
        where: Any = f"outside {place}"
        figure.legend(handles, labels, loc=where, ncols=number, fontsize=9)
    return figure
