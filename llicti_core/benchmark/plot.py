"""The plot of size against speed."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np

from llicti_core.benchmark.report import Row

# Where a label may stand, as offsets from its point in font points: near places first, beside the point first.
_PLACES = [
    (dx * distance, dy * distance)
    for distance in (7, 11, 16, 24)
    for dx, dy in ((1, 0), (-1, 0), (0, -1), (0, 1), (1, -1), (-1, -1), (1, 1), (-1, 1))
]

_OURS: list[dict[str, Any]] = [
    {"color": color, "marker": "*", "markersize": 12, "linewidth": 1.5, "zorder": 3} for color in ("red", "maroon")
]
_OTHERS: list[dict[str, Any]] = [
    {"color": f"C{color}", "marker": marker, "markersize": 5, "linewidth": 0.8}
    for marker in "os"
    for color in range(10)
    if color != 3  # which is red
]


def save(rows: Sequence[Row], name: str, path: Path) -> None:
    """Draw bits per sub-pixel of the photographs called `name` against encode and decode speed. Needs matplotlib.

    A step line joins the codecs that no other one beats in both: the Pareto front.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    # Documents show it some 800 pixels wide, for which the letters are large enough.
    figure = Figure(figsize=(8, 9.5), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(2, 1)
    lines = [_draw(axes, rows, name) for axes, name in zip(panels, ("encode", "decode"), strict=True)]
    panels[0].set_title(f"Lossless coding of {name}: sizes and speeds")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize=9)
    figure.canvas.draw()  # places everything, which the labels depend on
    for axes, drawn in zip(panels, lines, strict=True):
        _label(axes, drawn)
    figure.savefig(path, dpi=160)


def front(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Of points (speed, size) those that none beats: no other is as fast and smaller, or as small and faster.

    Slowest first.
    """
    found: list[tuple[float, float]] = []
    for speed, size in sorted(points, key=lambda point: (-point[0], point[1])):
        if not found or size < found[-1][1]:
            found.append((speed, size))
    return found[::-1]


def _draw(axes: Any, rows: Sequence[Row], operation: str) -> list[tuple[list[Row], Any]]:
    """Draw the points, a family's in one colour and joined; returns each family's rows and line."""
    families: dict[str, list[Row]] = {}
    for row in rows:
        families.setdefault(row.label.partition(" (")[0], []).append(row)
    lines = []
    ours, others = (cycle(styles) for styles in (_OURS, _OTHERS))
    for family, members in families.items():
        points = [(getattr(row, f"{operation}_speed"), row.bits_per_subpixel) for row in members]
        style = next(ours if members[0].name.startswith("llc-") else others)
        lines += [(members, line) for line in axes.plot(*zip(*points, strict=True), label=family, **style)]
    best = front([(getattr(row, f"{operation}_speed"), row.bits_per_subpixel) for row in rows])
    # Whoever needs a speed between two points takes the faster one: the step is after the slower.
    axes.step(*zip(*best, strict=True), where="pre", color="0.8", linewidth=3, zorder=0, label="front")
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter("")
    axes.margins(0.08, 0.08)
    axes.grid(alpha=0.3)
    axes.set_xlabel(f"{operation} speed, Mpixel/s (further right is better)")
    axes.set_ylabel("bits per sub-pixel (lower is better)")
    return lines


def _label(axes: Any, lines: Sequence[tuple[list[Row], Any]]) -> None:
    """Write each codec's setting where it hides the least, or its name where it has one setting alone."""
    points = np.concatenate([axes.transData.transform(line.get_xydata()) for _, line in lines])
    tracks = np.concatenate([_track(axes.transData.transform(line.get_xydata())) for _, line in lines])
    boxes: list[Any] = []
    for members, line in lines:
        for row, point in zip(members, line.get_xydata(), strict=True):
            name, _, setting = row.label.partition(" (")
            short = setting.removesuffix(")").replace("effort ", "e") if len(members) > 1 else name
            text = axes.annotate(short, point, (0, 0), textcoords="offset points", fontsize=8, color=line.get_color())
            best = min(_PLACES, key=lambda place: _hidden(_placed(text, place), axes.bbox, points, tracks, boxes))
            boxes.append(_placed(text, best))


def _track(points: Any) -> Any:
    """Points along a polyline, close together."""
    along = np.linspace(0, len(points) - 1, 100 * len(points))
    return np.stack([np.interp(along, range(len(points)), points[:, axis]) for axis in (0, 1)], axis=1)


def _placed(text: Any, place: tuple[int, int]) -> Any:
    """Move a label; returns the box that it covers."""
    dx, dy = place
    text.set_position(place)
    text.set_horizontalalignment("left" if dx > 0 else "right" if dx < 0 else "center")
    text.set_verticalalignment("bottom" if dy > 0 else "top" if dy < 0 else "center")
    return text.get_window_extent()


def _hidden(box: Any, panel: Any, points: Any, tracks: Any, boxes: Sequence[Any]) -> int:
    """How bad a place for a label is: off the panel, on another label, on a point, on a line."""
    outside = not (panel.contains(box.x0, box.y0) and panel.contains(box.x1, box.y1))
    hides = int(box.count_overlaps(boxes)) + _inside(box.padded(6), points)
    return 1000 * outside + 100 * hides + _inside(box, tracks)


def _inside(box: Any, points: Any) -> int:
    """How many points are in a box."""
    return len(points[((points >= box.min) & (points <= box.max)).all(axis=1)])
