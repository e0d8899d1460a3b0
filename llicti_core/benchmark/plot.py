"""The plot of size against speed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from llicti_core.benchmark.report import Row

# Where a label may stand, as offsets from its point in font points: near places first, beside the point first.
_PLACES = [
    (dx * distance, dy * distance)
    for distance in (10, 16, 24)
    for dx, dy in ((1, 0), (-1, 0), (0, -1), (0, 1), (1, -1), (-1, -1), (1, 1), (-1, 1))
]


def save(rows: Sequence[Row], path: Path) -> None:
    """Draw bits per sub-pixel against encode and decode speed. Needs matplotlib."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 6), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, 2, sharey=True)
    panels[0].set_ylabel("bits per sub-pixel (lower is better)")
    lines = [_draw(axes, rows, name) for axes, name in zip(panels, ("encode", "decode"), strict=True)]
    figure.legend(handles=[line for _, line in lines[0]], loc="outside right upper")
    figure.canvas.draw()  # places everything, which the labels depend on
    for axes, drawn in zip(panels, lines, strict=True):
        _label(axes, drawn)
    figure.savefig(path, dpi=120)


def _draw(axes: Any, rows: Sequence[Row], operation: str) -> list[tuple[list[Row], Any]]:
    """Draw the points, a family's in one colour and joined; returns each family's rows and line."""
    families: dict[str, list[Row]] = {}
    for row in rows:
        families.setdefault(row.label.partition(" (")[0], []).append(row)
    lines = []
    for family, members in families.items():
        speeds = [getattr(row, f"{operation}_speed") for row in members]
        sizes = [row.bits_per_subpixel for row in members]
        style: dict[str, Any] = {"marker": "o", "markersize": 7, "linewidth": 1}
        if family.startswith("LLC"):
            style |= {"marker": "*", "markersize": 13, "linewidth": 2, "zorder": 3}
        lines += [(members, line) for line in axes.plot(speeds, sizes, label=family, **style)]
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.margins(0.22, 0.1)
    axes.grid(alpha=0.3)
    axes.set_xlabel(f"{operation} speed, Mpixel/s (further right is better)")
    return lines


def _label(axes: Any, lines: Sequence[tuple[list[Row], Any]]) -> None:
    """Write each codec's setting where it hides the least."""
    points = np.concatenate([axes.transData.transform(line.get_xydata()) for _, line in lines])
    tracks = np.concatenate([_track(axes.transData.transform(line.get_xydata())) for _, line in lines])
    boxes: list[Any] = []
    for members, line in lines:
        for row, point in zip(members, line.get_xydata(), strict=True):
            setting = row.label.partition(" (")[2].removesuffix(")")
            text = axes.annotate(setting, point, (0, 0), textcoords="offset points", fontsize=9, color=line.get_color())
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
