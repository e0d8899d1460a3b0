"""The compiled module; see src/module.cpp and src/fit_slopes.cpp."""

class PackedModel:
    def __init__(self, bands: list[tuple[object, ...]], networks: list[list[list[tuple[object, ...]]]]) -> None: ...

def fit(
    pixels: memoryview, tiles: list[tuple[int, ...]], model: PackedModel, plans: list[list[int]], threads: int, isa: str
) -> bytes: ...
def adapted(
    model: PackedModel, adaptation: bytes, channels: int
) -> list[list[tuple[list[tuple[bytes, bytes, bytes]], bytes, bytes]]]: ...
def pack_numbers(sets: int, precision: int, arrays: list[bytes]) -> bytes: ...
def fit_slopes(
    pixels: memoryview,
    model: PackedModel,
    network: int,
    band: int,
    level: int,
    numbers: list[float],
    sets: int,
    precision: int,
    isa: str,
) -> tuple[bytes, bytes, bytes, bytes, bytes, bytes, float, bytes]: ...
def encode(
    pixels: memoryview,
    tiles: list[tuple[int, ...]],
    adaptation: bytes,
    model: PackedModel,
    threads: int,
    isa: str,
) -> list[tuple[list[tuple[int, int]], list[list[bytes]]]]: ...
def decode(
    pixels: memoryview,
    tiles: list[tuple[int, ...]],
    coded: list[tuple[list[tuple[int, int]], memoryview, list[list[bytes]]]],
    adaptation: bytes,
    model: PackedModel,
    level: int,
    threads: int,
    isa: str,
) -> None: ...
def instruction_sets() -> list[str]: ...
def pack_plain(pixels: memoryview, tile: tuple[int, ...], level: int, coarsest: bool, bits: int) -> bytes: ...
def plain_size(tile: tuple[int, ...], channels: int, level: int, coarsest: bool, bits: int) -> int: ...
def unpack_plain(
    data: bytes | memoryview,
    tile: tuple[int, ...],
    level: int,
    coarsest: bool,
    bits: int,
    pixels: memoryview,
    view_level: int,
) -> None: ...
