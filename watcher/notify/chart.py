"""What does a finding look like? Curves in, PNG bytes out."""

from __future__ import annotations

import io
import math
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from watcher.model import Floats, Ints
from watcher.notify.message import clean

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SIZE = (8.0, 4.5)  # inches; at 120 dpi it fills a phone held upright
_DPI = 120
_COLOURS = ("#2563a8", "#d9711c", "#3c8f4e", "#8a56ac", "#7a7a7a")
_BENEATH_COLOUR = "#8a56ac"
_ONSET_COLOUR = "#c62828"
_BEST_COLOUR = "#2e7d32"
_DECADES_FOR_LOG = 1.5  # a loss that spans more is only readable on a logarithmic axis
_FEW_DECADES = 4.0  # powers of ten alone would leave an axis with hardly a number
_lock = threading.Lock()  # matplotlib promises nothing about threads


class CurveLike(Protocol):
    """The whole curve, one entry a bucket: a window's ``curve``."""

    @property
    def step(self) -> Ints:
        """First step of each bucket."""

    @property
    def mean(self) -> Floats:
        """Mean of its finite values, NaN where it has none."""

    @property
    def low(self) -> Floats:
        """Lowest finite value."""

    @property
    def high(self) -> Floats:
        """Highest finite value."""


def chart(
    series: Mapping[str, CurveLike],
    onset: int | None,
    best: int | None,
    title: str,
    *,
    beneath: tuple[str, CurveLike] | None = None,
) -> bytes:
    """Draw the curves by their names, mark onset and best step; another beneath, on its own scale.

    Empty curves and curves without a finite value are named in the legend all the same.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    if beneath is not None and not np.isfinite(beneath[1].mean).any():
        beneath = None
    with _lock:
        figure = Figure(figsize=_SIZE, dpi=_DPI, layout="constrained")
        FigureCanvasAgg(figure)
        ratios = [3, 1] if beneath else [1]
        axes = figure.subplots(len(ratios), 1, sharex=True, squeeze=False, height_ratios=ratios)
        top = axes[0, 0]
        _curves(top, series, onset, best)
        top.set_title(
            _label(title, 90), loc="left", fontsize=11, fontweight="bold", parse_math=False
        )
        if beneath is not None:
            _beneath(axes[1, 0], *beneath, onset)
        axes[-1, 0].set_xlabel("step")
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def _curves(
    axes: Axes, series: Mapping[str, CurveLike], onset: int | None, best: int | None
) -> None:
    handles: list[Any] = []
    names: list[str] = []
    for i, (name, curve) in enumerate(series.items()):
        colour = _COLOURS[i % len(_COLOURS)]
        few = len(curve.step) <= 40
        mean, low, high = (_drawable(v) for v in (curve.mean, curve.low, curve.high))
        (line,) = axes.plot(
            curve.step, mean, color=colour, lw=1.6, marker="o" if few else "", ms=3
        )
        axes.fill_between(curve.step, low, high, color=colour, alpha=0.18, lw=0)
        handles.append(line)
        names.append(_label(name, 60))
    for step, word, colour in ((onset, "onset", _ONSET_COLOUR), (best, "best", _BEST_COLOUR)):
        if step is not None:
            style = "--" if word == "onset" else ":"
            handles.append(axes.axvline(step, color=colour, lw=1.6, ls=style))
            names.append(f"{word}: step {step}")
    _decorate(axes)
    if (decades := _decades(series)) > _DECADES_FOR_LOG:
        _logarithmic(axes, decades)
    if handles:
        for text in axes.legend(handles, names, fontsize=9, framealpha=0.85).get_texts():
            text.set_parse_math(False)


def _beneath(axes: Axes, name: str, curve: CurveLike, onset: int | None) -> None:
    axes.plot(curve.step, _drawable(curve.mean), color=_BENEATH_COLOUR, lw=1.4)
    axes.set_ylabel(name, fontsize=9)
    axes.ticklabel_format(axis="y", style="sci", scilimits=(-2, 3), useMathText=False)
    if onset is not None:
        axes.axvline(onset, color=_ONSET_COLOUR, lw=1.6, ls="--")
    _decorate(axes)


def _decorate(axes: Axes) -> None:
    axes.grid(alpha=0.25)
    axes.margins(x=0.02)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=9)


def _drawable(values: Floats) -> Floats:
    """Return values that matplotlib can scale: what is beyond 1e100 is drawn as a gap."""
    return np.where(np.abs(values) < 1e100, values, np.nan)


def _logarithmic(axes: Axes, decades: float) -> None:
    """Scale by factors; few decades are labelled in between as well."""
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    axes.set_yscale("log")
    if decades <= _FEW_DECADES:
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())


def _decades(series: Mapping[str, CurveLike]) -> float:
    """Return how many powers of ten the curves span; 0 if they are not all above zero."""
    every = np.concatenate([_drawable(c.low) for c in series.values()] or [np.empty(0)])
    tops = np.concatenate([_drawable(c.high) for c in series.values()] or [np.empty(0)])
    if not np.isfinite(every).any():
        return 0.0
    low, high = float(np.nanmin(every)), float(np.nanmax(tops))
    return math.log10(high / low) if low > 0 else 0.0


def _label(text: str, limit: int) -> str:
    """Return a name in the font's own glyphs; a long one keeps its end."""
    from matplotlib.font_manager import findfont, get_font

    known = get_font(findfont("DejaVu Sans")).get_charmap()
    text = "".join(c if ord(c) in known else "?" for c in clean(text))
    return text if len(text) <= limit else "…" + text[1 - limit :]
