"""The scripts in examples/, each run as its user would."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest
from images import photograph, smooth

import llicti_plugin

llicti_plugin.register()

EXAMPLES = Path(__file__).parents[2] / "examples"


def run(name: str, *arguments: object, cwd: Path) -> str:
    """What an example prints."""
    command = [sys.executable, EXAMPLES / name, *map(str, arguments)]
    process = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=600)
    assert (process.returncode, process.stderr) == (0, "")
    return process.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options"),
    [("torch_dataset.py", ["--workers", 2]), ("torch_device_dataset.py", ["--device", "cpu"])],
)
def test_torch_datasets(name: str, options: list[object], tmp_path: Path) -> None:
    pytest.importorskip("torch")
    images = [smooth(32, 32, seed=seed) for seed in range(2)]
    images.append(np.repeat(smooth(32, 32, 1)[..., np.newaxis], 3, axis=2))
    for number, pixels in enumerate(images[:2]):
        iio.imwrite(tmp_path / f"{number}.llc", pixels)
    iio.imwrite(tmp_path / "grey.llc", images[2][..., 0])
    printed = run(name, tmp_path, "--crop", 32, "--batch", 2, *options, cwd=tmp_path)
    red, green, blue = np.mean(images, axis=(0, 1, 2))
    assert printed.startswith("3 photographs in 2 batches")
    assert f"mean red {red:.3f}, green {green:.3f}, blue {blue:.3f}" in printed


@pytest.mark.parametrize("channels", [1, 3])
def test_opencv(channels: int, tmp_path: Path) -> None:
    cv2 = pytest.importorskip("cv2")
    pixels = photograph(60, 80)
    if channels == 1:
        pixels = np.ascontiguousarray(pixels[..., 1])
        expected = cv2.fastNlMeansDenoising(pixels, None, 4)
    else:
        expected = cv2.fastNlMeansDenoisingColored(pixels[..., ::-1].copy(), None, 4, 4)[..., ::-1]
    iio.imwrite(tmp_path / "a.llc", pixels)
    run("opencv_denoise.py", "a.llc", "b.llc", "--strength", 4, cwd=tmp_path)
    np.testing.assert_array_equal(iio.imread(tmp_path / "b.llc"), expected)


def test_scikit_image(tmp_path: Path) -> None:
    pixels = photograph(60, 80)
    iio.imwrite(tmp_path / "a.llc", pixels)
    printed = run("scikit_image_superpixels.py", "a.llc", "b.llc", "--segments", 20, cwd=tmp_path)
    reduced = iio.imread(tmp_path / "b.llc")
    assert reduced.shape == pixels.shape
    assert 1 < len(np.unique(reduced.reshape(-1, 3), axis=0)) <= int(printed.split()[0])
    assert abs(reduced.mean() - pixels.mean()) < 1
