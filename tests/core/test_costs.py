"""Where the bits of a frame went: as many as there are in its file, and where they are needed."""

from __future__ import annotations

import golden
import images
import numpy as np
import pytest

import llicti_core
from llicti_core.costs import bits_per_pixel
from llicti_core.spec import COARSE_LEVEL, level_tag

OPTIONS = llicti_core.DecodeOptions()
LEVELS = [level_tag(level) for level in range(COARSE_LEVEL + 1)]


@pytest.mark.parametrize(
    "name", ["scene-colour", "scene-grey", "streams-colour", "tiles-grey", "adapted-any-colour", "learned-rgba"]
)
def test_as_many_as_in_the_file(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLICTI_MODEL_PATH", str(golden.FIXTURES))
    with llicti_core.open(golden.FIXTURES / f"{name}.llc") as file:
        frame = file[0]
        bits = bits_per_pixel(frame, OPTIONS)
        sizes = [(tag, frame.sections.nth(index).size) for index, (tag, _) in enumerate(frame.header.layout)]
    assert (bits.dtype.name, bits.shape) == ("float32", frame.info.shape[:2])
    assert bits.min() >= 0
    learned = sum(size for tag, size in sizes if tag in LEVELS)
    # Beside what the values take, sections hold states, sizes and bounds.
    assert 0.6 * learned < bits.sum(dtype=float) / 8 < 1.01 * sum(size for _, size in sizes)


def test_a_photograph() -> None:
    pytest.importorskip("skimage")
    pixels = images.photograph(128, 192)
    pixels[:, :64] = 90  # of these hardly anything is to be told
    with golden.learned():
        data = llicti_core.encode(pixels, effort=0)
    with llicti_core.open(data) as file:
        bits = bits_per_pixel(file[0], OPTIONS)
    assert bits.sum(dtype=float) / 8 == pytest.approx(len(data), rel=0.03)
    assert 10 * bits[:, :56].mean() < bits[:, 72:].mean()


def test_what_no_model_coded() -> None:
    frames = [np.full((5, 7, 3), 9, np.uint8), np.arange(1000, dtype=np.uint32).reshape(20, 50) ** 3]
    with llicti_core.open(llicti_core.join([llicti_core.encode(pixels) for pixels in frames])) as file:
        constant, spread = (bits_per_pixel(frame, OPTIONS) for frame in file)
    assert (constant.shape, constant.max()) == ((5, 7), 0)
    assert spread.shape == (20, 50)
    assert spread.min() == spread.max() > 1
