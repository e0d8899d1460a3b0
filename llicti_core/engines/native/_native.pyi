"""The compiled module; see src/module.cpp."""

import numpy as np
from numpy.typing import NDArray

class PackedModel:
    def __init__(self, bands: list[tuple[object, ...]]) -> None: ...

def fit(
    pixels: memoryview,
    tiles: list[tuple[int, ...]],
    model: PackedModel,
    plan: list[int],
    threads: int,
    isa: str,
) -> tuple[bytes, bytes]: ...
def estimate(
    model: PackedModel,
    band: int,
    activations: NDArray[np.int16],
    residuals: NDArray[np.float32],
    bounds: list[tuple[int, int]],
    gain: NDArray[np.float32],
    bias: NDArray[np.float32],
    hidden: NDArray[np.float32],
    isa: str,
) -> tuple[float, list[float], list[float], list[float]]: ...
def encode(
    pixels: memoryview,
    tiles: list[tuple[int, ...]],
    adaptation: tuple[bytes, bytes],
    model: PackedModel,
    threads: int,
    isa: str,
) -> list[tuple[list[tuple[int, int]], list[list[bytes]]]]: ...
def decode(
    pixels: memoryview,
    tiles: list[tuple[int, ...]],
    coded: list[tuple[list[tuple[int, int]], memoryview, list[list[bytes]]]],
    adaptation: tuple[bytes, bytes],
    model: PackedModel,
    level: int,
    threads: int,
    isa: str,
) -> str: ...
def constants() -> dict[str, int]: ...
def instruction_sets() -> list[str]: ...
