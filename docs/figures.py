"""Draws the figures of docs/how-it-works.md from real data: python docs/figures.py [FOLDER]

By default into docs/figures. Needs matplotlib and scikit-image, in whose wheel the photograph is; `make test` makes an
environment that has both: .venv-dev/bin/python docs/figures.py
"""

from __future__ import annotations

import io
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.patheffects
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image
from skimage import data

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT / "tests" / "support"))

import format_decoder  # noqa: E402  # the decoder written from docs/format.md, which shows each step

import llicti_core  # noqa: E402
from llicti_core import adaptation, engines, models, spec  # noqa: E402
from llicti_core.costs import bits_per_pixel  # noqa: E402
from llicti_core.engines.base import NOT_ADAPTED, TiledImage, TileRect  # noqa: E402
from llicti_core.pyramid import level_count, segment_kinds  # noqa: E402

# Okabe and Ito's colors, which the color-blind can tell apart too.
ORANGE, SKY, GREEN, BLUE, RED, PURPLE = "#e69f00", "#56b4e9", "#009e73", "#0072b2", "#d55e00", "#cc79a7"
GREY, LIGHT = "0.45", "0.85"

STYLE = {
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.constrained_layout.use": True,
    "figure.constrained_layout.h_pad": 0.08,
    "svg.hashsalt": "llicti",  # the same picture is the same file
}
WIDTH = 7.0
"""Inches; pages show a figure some 700 pixels wide."""

COLORS = 256
"""Of a PNG."""


def photograph() -> NDArray[np.uint8]:
    """Rachel Michetti's photograph of a cup of coffee, uint8 [400, 600, 3]."""
    return np.ascontiguousarray(data.coffee())


def new_figure(height: float) -> Figure:
    """An empty figure of this many inches; white, on dark pages too."""
    figure = Figure(figsize=(WIDTH, height))
    FigureCanvasAgg(figure)
    return figure


def save(figure: Figure, path: Path) -> None:
    """As SVG; or, by the name's end, as PNG with a palette, which makes it a third of the size."""
    if path.suffix == ".svg":
        figure.savefig(path, metadata={"Date": None})
        return
    drawn = io.BytesIO()
    figure.savefig(drawn, dpi=100)
    with Image.open(drawn) as image:
        image.convert("RGB").quantize(COLORS, dither=Image.Dither.NONE).save(path, optimize=True)


def bare(axes: Any) -> Any:
    """Take frame and ticks off a panel."""
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    return axes


# The pyramid.


def pyramid() -> Figure:
    """The photograph's phases, level by level, and what each level takes of the file."""
    figure = new_figure(2.9)
    left, right = figure.subplots(1, 2, width_ratios=[1.6, 1])
    pixels = photograph()
    bare(left).imshow(_phases_apart(pixels, 3))
    height, width, _ = pixels.shape
    for level in range(3):
        h, w = height >> level, width >> level
        left.plot([w / 2, w / 2], [0, h], color="white", linewidth=1.5)
        left.plot([0, w], [h / 2, h / 2], color="white", linewidth=1.5)
        for order, band in enumerate(spec.BANDS[: 3 if level < 2 else 0], 1):
            left.text(
                w * (0.02 + band.column / 2),
                h * (0.03 + band.row / 2),
                f"level {level}, band {band.name}: {('1st', '2nd', '3rd')[order - 1]}" if level == 0 else band.name,
                color="white",
                verticalalignment="top",
                fontsize=8.5,
                bbox={"facecolor": "black", "alpha": 0.65, "linewidth": 0, "pad": 2},
            )
    left.set_title("the pixels of a photograph, sorted by phase")

    frame = llicti_core.open(llicti_core.encode(pixels))[0]
    ends = {tag: frame.sections.nth(index).end for index, (tag, _) in enumerate(frame.header.layout)}
    whole, coded = max(ends.values()), _coded_sizes(pixels, adaptation.fit(_tiled(pixels), 1, 1))
    for level in range(spec.COARSE_LEVEL, -1, -1):
        y, at = spec.COARSE_LEVEL - level, 0.0
        for network, color in enumerate((BLUE, ORANGE)):
            size = coded.get((level, network), 0) / 1000
            right.barh(y, size, left=at, color=GREY if level == spec.COARSE_LEVEL else color)
            at += size
        share = f"{100 * ends[spec.level_tag(level)] / whole:.0f} %" + (" so far" if level else "")
        right.text(at + 4, y, share, verticalalignment="center")
    right.set_yticks(range(4), [f"levels {spec.COARSE_LEVEL} and up", "level 2", "level 1", "level 0"])
    right.invert_yaxis()
    right.set_xlim(0, 1.15 * at)
    right.set_xlabel("kB")
    right.set_title("what each level takes of the file")
    handles = [matplotlib.patches.Patch(color=color) for color in (BLUE, ORANGE, GREY)]
    right.legend(handles, ["luma", "chroma", "both"], loc="upper right", frameon=False)
    return figure


def _phases_apart(pixels: NDArray[np.uint8], levels: int) -> NDArray[np.uint8]:
    """Pixels sorted by phase: 00 at the top left, where the same is done again, 01 right of it, 10 below, 11 last."""
    if not levels:
        return pixels
    rows = [[pixels[row::2, column::2] for column in (0, 1)] for row in (0, 1)]
    rows[0][0] = _phases_apart(rows[0][0], levels - 1)
    return np.concatenate([np.concatenate(row, axis=1) for row in rows])


def _tiled(pixels: NDArray[np.uint8]) -> TiledImage:
    height, width, _ = pixels.shape
    return TiledImage(memoryview(pixels), [TileRect(0, 0, height, width)], models.load(), NOT_ADAPTED)


def _coded_sizes(pixels: NDArray[np.uint8], adapted: bytes) -> dict[tuple[int, int], int]:
    """Bytes by level and network, 0 luma, 1 chroma; (COARSE_LEVEL, 0) is both of all coarser levels."""
    (tile,) = engines.get().encode(_tiled(pixels)._replace(adaptation=adapted), 1)
    kinds = segment_kinds(level_count(*pixels.shape[:2]), 3)
    return {kind: sum(map(len, streams)) for kind, streams in zip(kinds, tile.segments, strict=True)}


# What a prediction sees.


def neighbours() -> Figure:
    """What each band sees: neighbours in other phases, pixels of its own before it, and luma for its chroma."""
    figure = new_figure(3.05)
    looks = {"00": (BLUE, "s"), "11": (RED, "o"), "01": (GREEN, "^"), "10": (PURPLE, "D")}
    for axes, band in zip(figure.subplots(1, 3), spec.BANDS, strict=True):
        bare(axes).set_title(f"band {band.name}")
        axes.set_aspect("equal")
        axes.set_xlim(-4.7, 4.7)
        axes.set_ylim(4.7, -4.7)
        places = [(dy, dx) for dy in range(-4, 5) for dx in range(-4, 5)]
        for phase, (color, marker) in looks.items():
            of_phase = [(dy, dx) for dy, dx in places if (dy & 1, dx & 1) == _parity(band, phase)]
            _mark(axes, of_phase, marker, color=color, markersize=4.5, alpha=0.18, markeredgewidth=0)
            known = [(index, place) for index, (name, *place) in enumerate(band.neighbours) if name == phase]
            for edge in (color, "black"):
                same = [place for index, place in known if (index in band.nearest) == (edge == "black")]
                _mark(axes, same, marker, color=color, markersize=7.5, markeredgecolor=edge, markeredgewidth=1.4)
        _mark(axes, band.more_luma, "+", color="black", markersize=5, markeredgewidth=0.8)
        color, marker = looks[band.name]
        _mark(axes, spec.BACK, marker, color=color, markersize=7.5)
        axes.plot(0, 0, "s", color="none", markeredgecolor="black", markersize=11, markeredgewidth=1.2)
    handles = [
        *(matplotlib.lines.Line2D([], [], color=c, marker=m, linestyle="", markersize=6.5) for c, m in looks.values()),
        *(
            matplotlib.lines.Line2D([], [], **style)
            for style in (
                {"color": LIGHT, "marker": "o", "linestyle": "", "markersize": 7, "markeredgecolor": "black"},
                {"color": "black", "marker": "+", "linestyle": "", "markersize": 6},
                {"color": "none", "marker": "s", "linestyle": "", "markersize": 10, "markeredgecolor": "black"},
            )
        ),
    ]
    names = [f"phase {phase}" for phase in looks]
    names += ["outlined: in the base", "luma only, for chroma", "the pixel itself"]
    figure.legend(handles, names, loc="outside lower center", ncols=4, frameon=False, handletextpad=0.3)
    return figure


def _parity(band: spec.Band, phase: str) -> tuple[int, int]:
    """Whether offsets from a band's pixels to a phase are odd."""
    return (int(phase[0]) - band.row) & 1, (int(phase[1]) - band.column) & 1


def _mark(axes: Any, places: Iterable[Sequence[int]], marker: str, **style: Any) -> None:
    """A marker at each (dy, dx)."""
    found = np.array(list(places)).reshape(-1, 2)
    axes.plot(found[:, 1], found[:, 0], marker, **style)


def wavefront() -> Figure:
    """The step at which each pixel at the upper left of a band is decoded, and what one of them looks back to."""
    rows, columns, now, pixel = 6, 16, 9, (2, 5)
    figure = new_figure(2.75)
    axes = bare(figure.subplots())
    axes.set_aspect("equal")
    axes.set_xlim(-2.6, columns - 0.4)
    axes.set_ylim(rows - 0.4, -0.6)
    back = {(pixel[0] + dy // 2, pixel[1] + dx // 2) for dy, dx in spec.BACK}
    for row in range(rows):
        axes.text(-0.8, row, f"lane {row}", horizontalalignment="right", verticalalignment="center")
        for column in range(columns):
            step = spec.LANE_DELAY * row + column
            fill = ORANGE if step == now else "#c6dbef" if step < now else "white"
            box = matplotlib.patches.Rectangle((column - 0.5, row - 0.5), 1, 1, facecolor=fill, edgecolor="0.6")
            axes.add_patch(box)
            bold = {"fontweight": "bold"} if (row, column) == pixel else {}
            axes.text(column, row, step, horizontalalignment="center", verticalalignment="center", **bold)
    for places, color in ((back, BLUE), ({pixel}, "black")):
        for row, column in places:
            box = matplotlib.patches.Rectangle((column - 0.42, row - 0.42), 0.84, 0.84, fill=False, edgecolor=color)
            box.set_linewidth(2)
            axes.add_patch(box)
    handles = [
        matplotlib.patches.Patch(facecolor="#c6dbef", edgecolor="0.6"),
        matplotlib.patches.Patch(facecolor=ORANGE, edgecolor="0.6"),
        matplotlib.patches.Patch(facecolor="none", edgecolor="black", linewidth=2),
        matplotlib.patches.Patch(facecolor="none", edgecolor=BLUE, linewidth=2),
    ]
    names = ["decoded before", f"at step {now}, all at once", "one of these", "what it looks back to"]
    figure.legend(handles, names, loc="outside lower center", ncols=4, frameon=False)
    return figure


# The predicted distribution.


def distribution() -> Figure:
    """The luma that the network expects of two pixels, its five components, and what the luma is."""
    figure = new_figure(2.9)
    top, left = 60, 380
    pixels = np.ascontiguousarray(photograph()[top : top + 64, left : left + 64])
    seen = [step for step in _decoding_steps(pixels) if step["channel"] == 0 and step["pixel"].coded.level == 0]
    picture, *panels = figure.subplots(1, 3, width_ratios=[0.8, 1, 1])
    bare(picture).imshow(pixels, interpolation="none")
    picture.set_title("64 x 64 pixels")
    for axes, step, letter in zip(panels, (_typical(seen), _torn(seen)), "AB", strict=True):
        row, column = step["pixel"].place
        picture.plot(column, row, "o", color="none", markeredgecolor="white", markersize=7, markeredgewidth=3)
        picture.plot(column, row, "o", color="none", markeredgecolor="black", markersize=7, markeredgewidth=1.2)
        label = picture.text(column + 3, row, letter, color="black", fontweight="bold", verticalalignment="center")
        label.set_path_effects([matplotlib.patheffects.withStroke(linewidth=2.5, foreground="white")])
        mixture, value = step["mixture"], step["value"]
        values = np.arange(mixture.low + 1, mixture.high)
        whole = _probabilities(mixture, values)
        values, whole = (part[whole > whole.max() / 50] for part in (values, whole))
        edges = np.append(values, values[-1] + 1) - 0.5
        axes.stairs(whole, edges, fill=True, color=LIGHT, label="sum of the five")
        fields = zip(mixture.weight, mixture.centre, mixture.spread, strict=True)
        for (weight, centre, spread), color in zip(fields, (BLUE, GREEN, ORANGE, PURPLE, SKY), strict=True):
            alone = mixture._replace(weight=[weight], centre=[centre], spread=[spread])
            axes.stairs(_probabilities(alone, values), edges, color=color, linewidth=1.3)
        axes.axvline(value, color=RED, linestyle="--", linewidth=1.3, label="the true value")
        axes.plot(mixture.base, 0, "^", color="black", markersize=7, clip_on=False, zorder=5, label="the base")
        axes.set_xlim(edges[0], edges[-1])
        axes.set_ylim(0)
        axes.xaxis.get_major_locator().set_params(integer=True, nbins=6)
        axes.set_title(f"{letter}: probability {2.0 ** -_bits(step):.3f}, {_bits(step):.1f} bits")
        axes.set_xlabel("Y")
    panels[0].set_ylabel("probability")
    handles, names = panels[0].get_legend_handles_labels()
    handles.append(matplotlib.lines.Line2D([], [], color=BLUE))
    figure.legend(handles, [*names, "a component"], loc="outside lower center", ncols=4, frameon=False)
    return figure


def _decoding_steps(pixels: NDArray[np.uint8]) -> list[dict[str, Any]]:
    """What decoding these pixels computes, symbol by symbol."""
    (path,) = Path(models.__file__).parent.glob(f"{models.load().spec.name}.safetensors")
    steps: list[Any] = []
    model = format_decoder.read_model(path.read_bytes())
    format_decoder.decode(llicti_core.encode(pixels), model, steps.append)
    return steps


def _probabilities(mixture: Any, values: NDArray[np.int64]) -> NDArray[np.float64]:
    """Of each value, without the 1 of 65536 that every value has at least."""
    below = np.array([mixture.cumulative(int(value)) for value in [*values, values[-1] + 1]])
    return (np.diff(below) - 1) / 65536


def _bits(step: dict[str, Any]) -> float:
    """What a value took."""
    mixture, value = step["mixture"], step["value"]
    return float(16 - np.log2(mixture.cumulative(value + 1) - mixture.cumulative(value)))


def _typical(steps: list[dict[str, Any]]) -> dict[str, Any]:
    """The pixel that took the median of bits."""
    return sorted(steps, key=_bits)[len(steps) // 2]


def _torn(steps: list[dict[str, Any]]) -> dict[str, Any]:
    """The pixel whose components are furthest apart, of those that took no more than 6.5 bits."""

    def apart(step: dict[str, Any]) -> float:
        mixture = step["mixture"]
        weight, centre = np.array(mixture.weight) / 65536, np.array(mixture.centre) / 16
        return float((weight * (centre - (weight * centre).sum()) ** 2).sum())

    return max((step for step in steps if _bits(step) < 6.5), key=apart)


# Where the bits go.


def bits() -> Figure:
    """The photograph, and the bits that each of its pixels took."""
    figure = new_figure(2.75)
    left, right = figure.subplots(1, 2)
    pixels = photograph()
    frame = llicti_core.open(llicti_core.encode(pixels))[0]
    costs = bits_per_pixel(frame, llicti_core.DecodeOptions())
    bare(left).imshow(pixels[::2, ::2], extent=(0, 1, 0, 1), aspect=2 / 3)
    left.set_title("the photograph, 24 bits per pixel")
    # The mean of 4 x 4 pixels: the finest phase 00 takes less than the other three.
    mean = costs.reshape(costs.shape[0] // 4, 4, costs.shape[1] // 4, 4).mean(axis=(1, 3))
    shown = bare(right).imshow(
        mean, extent=(0, 1, 0, 1), aspect=2 / 3, cmap="viridis", vmin=0, vmax=float(np.percentile(mean, 99))
    )
    right.set_title(f"bits per pixel in its file, {costs.mean():.1f} on average")
    figure.colorbar(shown, ax=right, shrink=0.85, extend="max")
    return figure


# What adaptation changes.


def adapted() -> Figure:
    """Bytes that the adapted model saves, level by level, and how many of its numbers were changed."""
    figure = new_figure(3.0)
    left, right = figure.subplots(1, 2)
    pixels, plain = photograph(), _coded_sizes(photograph(), NOT_ADAPTED)
    kinds = sorted(plain)
    for number, (effort, color) in enumerate(((1, SKY), (3, BLUE))):
        found = adaptation.fit(_tiled(pixels), effort, 1)
        coded = _coded_sizes(pixels, found)
        saved = [plain[kind] - coded[kind] for kind in kinds] + [-len(found)]
        at = np.arange(len(saved)) + 0.4 * number - 0.2
        share = sum(saved) / sum(plain.values())
        left.bar(at, np.array(saved) / 1000, 0.4, color=color, label=f"effort {effort}: {100 * share:.1f} % smaller")
        changed = _changed(found)
        at = np.arange(len(changed)) - 0.4 * number + 0.2
        right.barh(at, list(changed.values()), 0.4, color=color)
    labels = [f"{level} {('luma', 'chroma')[network]}" for level, network in kinds[:-1]]
    labels += [f"{spec.COARSE_LEVEL} and up", "ADPT"]
    left.set_xticks(range(len(labels)), labels, rotation=45, ha="right", rotation_mode="anchor")
    left.axhline(0, color="black", linewidth=0.8)
    left.set_ylabel("kB saved")
    left.set_title("what it saves, by level")
    left.legend(frameon=False)
    right.set_yticks(range(len(changed)), list(changed))
    right.set_xlabel("numbers changed")
    total = sum(np.prod(place.shape) for place in adaptation.array_places(models.load().spec, 3, 1))
    right.set_title(f"what it changes, of {total:,.0f} numbers")
    return figure


def _changed(found: bytes) -> dict[str, int]:
    """How many numbers of an adaptation are not 0, by what they change: the last first, as bars are stacked upwards."""
    model = models.load()
    unpacked = adaptation.unpack(found, model)
    depth = model.spec.luma[1]
    names = {
        adaptation.SHIFT: "output shifts",
        adaptation.GAIN: "output gains",
        adaptation.HIDDEN_BIAS: "hidden biases",
    }
    weights = ["weights, output", *(f"weights, layer {layer}" for layer in reversed(range(depth)))]
    counts = dict.fromkeys([*names.values(), *weights], 0)
    places = adaptation.array_places(model.spec, 3, unpacked.sets)
    for place, array in zip(places, unpacked.arrays, strict=True):
        counts[names.get(place.kind) or weights[depth - place.layer]] += int(np.count_nonzero(array))
    return counts


FIGURES = {
    "pyramid.png": pyramid,
    "neighbours.svg": neighbours,
    "wavefront.svg": wavefront,
    "distribution.svg": distribution,
    "bits.png": bits,
    "adapted.svg": adapted,
}


def main(folder: Path) -> None:
    """Draw all of them into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    with matplotlib.rc_context(STYLE):
        for name, draw in FIGURES.items():
            save(draw(), folder / name)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if sys.argv[1:] else ROOT / "docs" / "figures")
