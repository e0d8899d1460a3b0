"""The golden files in tests/fixtures, and the small models that some of them were coded with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

import llicti_core.models

FIXTURES = Path(__file__).parent / "fixtures"
"""To be added to LLICTI_MODEL_PATH where files coded with its models are decoded."""


def files() -> list[Path]:
    """The golden files; the pixels of each are beside it in a PNG of the same name."""
    return sorted(FIXTURES.glob("*.llc"))


def pixels(path: Path) -> NDArray[np.uint8]:
    """What a golden file must decode to."""
    with Image.open(path.with_suffix(".png")) as image:
        return np.asarray(image)


def model_path(name: str) -> Path:
    """The file of a fixture model or of a bundled one."""
    path = FIXTURES / f"{name}.safetensors"
    return path if path.exists() else Path(llicti_core.models.__file__).parent / path.name
