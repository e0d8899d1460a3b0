"""The plot of size against speed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from llicti_core.benchmark.report import Row

# Where a label may stand, in points from its point, the first free place is taken: beside, below, above, farther.
_PLACES = [
    (dx, dy, "left" if dx > 0 else "right" if dx < 0 else "center")
    for distance in (7, 14, 22)
    for dx, dy in ((distance, 0), (-distance, 0), (0, -distance - 4), (0, distance + 4))
]


def save(rows: Sequence[Row], path: Path) -> None:
    """Draw bits per sub-pixel against encode and decode speed. Needs matplotlib."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, 2, figsize=(13, 6), sharey=True, layout="constrained")
    for axes, operation in zip(panels, ("encode", "decode"), strict=True):
        speeds = [getattr(row, f"{operation}_speed") for row in rows]
        _draw(axes, rows, speeds)
        axes.set_xlabel(f"{operation} speed, Mpixel/s")
    panels[0].set_ylabel("bits per sub-pixel (lower is better)")
    figure.canvas.draw()  # the layout is settled before the labels find their places
    figure.set_layout_engine("none")
    for axes, operation in zip(panels, ("encode", "decode"), strict=True):
        _label(axes, rows, [getattr(row, f"{operation}_speed") for row in rows])
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def _draw(axes: Any, rows: Sequence[Row], speeds: Sequence[float]) -> None:
    """The points, those of a family in one colour and joined."""
    families: dict[str, list[tuple[float, float]]] = {}
    for row, speed in zip(rows, speeds, strict=True):
        families.setdefault(row.name.partition("-")[0], []).append((speed, row.bits_per_subpixel))
    for number, (family, points) in enumerate(families.items()):
        ours = family == "llc"
        x, y = zip(*points, strict=True)
        axes.plot(
            x,
            y,
            linestyle="" if ours else "-",
            marker="*" if ours else "o",
            markersize=15 if ours else 7,
            color="black" if ours else f"C{number}",
            linewidth=1,
            zorder=3 if ours else 2,
        )
    axes.set_xscale("log")
    axes.margins(0.18, 0.08)
    axes.grid(alpha=0.3, which="both")


def _label(axes: Any, rows: Sequence[Row], speeds: Sequence[float]) -> None:
    """The codecs' names, each in the first place where it hides no point and no other name."""
    renderer = axes.figure.canvas.get_renderer()
    points = [axes.transData.transform((speed, row.bits_per_subpixel)) for row, speed in zip(rows, speeds, strict=True)]
    taken: list[Any] = []
    for row, speed in zip(rows, speeds, strict=True):
        for dx, dy, align in _PLACES:
            text = axes.annotate(
                row.label,
                (speed, row.bits_per_subpixel),
                (dx, dy),
                textcoords="offset points",
                ha=align,
                va="center",
                fontsize=9,
                fontweight="bold" if row.name.startswith("llc-") else "normal",
            )
            box = text.get_window_extent(renderer)
            free = not any(box.contains(*point) for point in points) and not box.count_overlaps(taken)
            if free and axes.bbox.containsx(box.x0) and axes.bbox.containsx(box.x1):
                break
            text.remove()
        else:
            axes.add_artist(text)
        taken.append(box)
