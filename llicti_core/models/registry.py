"""Models: what one is made of, reading and writing it, and finding the one a file asks for."""

from __future__ import annotations

import os
import sys
import zlib
from array import array
from collections.abc import Iterator, Mapping
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

from llicti_core.errors import UnknownModelError
from llicti_core.names import is_model_name
from llicti_core.records import NamedTuple
from llicti_core.spec import (
    ACTIVATION_MAX,
    BACK,
    BANDS,
    BIAS_LEVELS,
    CHROMA_OUTPUTS,
    HIDDEN_SHIFT,
    IDENTITY_BYTES,
    INPUT_MIN,
    LUMA_OUTPUTS,
    MAX_DEPTH,
    MAX_WIDTH,
    NETWORKS,
    WEIGHT_MAX,
    Band,
)

if TYPE_CHECKING:
    from importlib import metadata

DEFAULT = "default"

_BUNDLED = os.path.dirname(__file__)  # pathlib would be a tenth of the time that opening a small file takes

_EXTENSION = ".safetensors"

_DTYPES = {"b": "I8", "i": "I32"}
"""What safetensors files call the formats of tensors."""

ALIASES = {DEFAULT: "llicti-d4", "best": "llicti-b3"}
"""Names that stand for a bundled model."""

_IDENTITIES = {
    0x2C077F22: bytes.fromhex("2bae404f3f2c58f4"),  # llicti-d4
    0xC8FE2C53: bytes.fromhex("aa048885430c193f"),  # llicti-b3
}
"""Identities of the bundled models by the CRC-32 of their files, which says as well whether a file is the bundled one.
To hash it instead, and to import what hashes, takes 1 % of the time that a new process takes to open a small file."""

Shape = tuple[int, int]
"""Width and depth of a network: channels of each hidden layer, 1 to 256, and hidden layers, 1 to 16."""


class ModelSpec(NamedTuple):
    """The shape of a model.

    name: what files call it, 1 to 32 letters, digits, dots, hyphens and underscores, a letter or digit first.
    luma, chroma: width and depth of each band's network for Y, and for Co and Cg.
    """

    name: str
    luma: Shape
    chroma: Shape

    def shape(self, network: str) -> Shape:
        """Width and depth of "luma" or "chroma"."""
        return self.luma if network == "luma" else self.chroma

    def check(self) -> None:
        """Raises ValueError where a field is not what it must be."""
        possible = is_model_name(self.name)
        for width, depth in (self.luma, self.chroma):
            possible = possible and 1 <= width <= MAX_WIDTH and 1 <= depth <= MAX_DEPTH
        if not possible:
            msg = f"no model can be called {self.name!r} and have networks of (width, depth) {self.luma}, {self.chroma}"
            raise ValueError(msg)

    def to_json(self) -> str:
        """The spec as models' files and hashes have it (docs/format.md, 7.3)."""
        luma, chroma = (f"[{width},{depth}]" for width, depth in (self.luma, self.chroma))
        return f'{{"chroma":{chroma},"luma":{luma},"name":"{self.name}"}}'

    @classmethod
    def from_json(cls, text: str) -> ModelSpec:
        """The reverse of to_json. Raises ValueError.

        The text has one form alone, so it is taken apart without the module json, whose import takes 2 % of the time
        that a new process takes to open a small file.
        """
        try:
            _, _, chroma, _, luma, _, _, name, _ = text.split('"')
            spec = cls(name, _shape(luma), _shape(chroma))
        except ValueError as error:
            msg = f"not the description of a model: {text[:100]}"
            raise ValueError(msg) from error
        spec.check()
        if spec.to_json() != text:
            msg = f"the description of a model, {text[:100]}, is not in its one form, {spec.to_json()}"
            raise ValueError(msg)
        return spec

    def tensor_shapes(self) -> dict[str, tuple[tuple[int, ...], str]]:
        """Name, shape and format ("b": int8, "i": int32) of every tensor, in the order in which they are hashed."""
        shapes: dict[str, tuple[tuple[int, ...], str]] = {}
        for network in NETWORKS:
            for band in BANDS:
                for layer, (fan_out, fan_in) in enumerate(self.layer_shapes(network, band)):
                    levels = (BIAS_LEVELS,) if layer == 0 else ()
                    key = f"{network}.{band.name}.{layer}"
                    shapes[f"{key}.weight"] = ((fan_out, fan_in), "b")
                    shapes[f"{key}.bias"] = ((*levels, fan_out), "i")
                    shapes[f"{key}.multiplier"] = ((fan_out,), "i")
        return shapes

    def layer_shapes(self, network: str, band: Band) -> list[tuple[int, int]]:
        """Outputs and inputs of every layer of a band's network, first to last."""
        width, depth = self.shape(network)
        sizes = [input_size(network, band), *[width] * depth, output_size(network)]
        return list(zip(sizes[1:], sizes, strict=False))


def _shape(text: str) -> Shape:
    """A shape from what a spec has of it, such as ":[64,2],". Raises ValueError."""
    width, depth = map(int, text[2:-2].split(","))
    return width, depth


def input_size(network: str, band: Band) -> int:
    """Inputs of a band's network (docs/format.md, 4.4)."""
    known = len(band.neighbours)
    if network == "luma":
        return known + len(BACK) + 1
    return 3 * known + len(band.more_luma) + 2 * len(BACK) + 3


def output_size(network: str) -> int:
    """Outputs of a band's network (docs/format.md, 5.3)."""
    return LUMA_OUTPUTS if network == "luma" else CHROMA_OUTPUTS


class Layer(NamedTuple):
    """One integer layer of one band: `(weight @ x + bias) * multiplier`, then a rounding shift.

    weight: int8 [out, in]; bias: int32 [out], for the first layer [BIAS_LEVELS, out]; multiplier: int32 [out];
    contiguous views.
    """

    weight: memoryview
    bias: memoryview
    multiplier: memoryview


class Model:
    """A model's spec and its integer tensors, as views that need no NumPy to be handed to an engine."""

    def __init__(self, spec: ModelSpec, tensors: Mapping[str, Any]) -> None:
        """tensors: contiguous buffers, such as arrays. Raises ValueError where one is missing or misshapen."""
        self.spec = spec
        self.tensors = {name: memoryview(tensor) for name, tensor in tensors.items()}
        spec.check()
        for name, (shape, form) in spec.tensor_shapes().items():
            found = self.tensors.get(name)
            if found is None or found.shape != shape or found.format != form or not found.c_contiguous:
                there = "missing" if found is None else f"{found.format}{found.shape}"
                msg = f"model {spec.name!r}: tensor {name} is {there}, expected {form}{shape}"
                raise ValueError(msg)

    def layers(self, network: str, band: str) -> list[Layer]:
        """The layers of a band's network, "luma" or "chroma", first to last."""
        _, depth = self.spec.shape(network)
        keys = [f"{network}.{band}.{layer}" for layer in range(depth + 1)]
        get = self.tensors
        return [Layer(get[f"{key}.weight"], get[f"{key}.bias"], get[f"{key}.multiplier"]) for key in keys]

    @cached_property
    def identity(self) -> bytes:
        """First 8 bytes of the SHA-256 of the spec and every tensor (docs/format.md, 7.3)."""
        from hashlib import sha256  # not needed for a bundled model, and slow to import

        digest = sha256(self.spec.to_json().encode())
        for name in self.spec.tensor_shapes():
            digest.update(_little_endian(self.tensors[name]))
        return digest.digest()[:IDENTITY_BYTES]

    def check_bounds(self) -> None:
        """Prove that no accumulator or product can leave 32 bits, whatever the input. Raises ValueError."""
        for network in NETWORKS:
            for band in BANDS:
                for number, layer in enumerate(self.layers(network, band.name)):
                    if not within_bounds(*layer, first=number == 0):
                        msg = f"model {self.spec.name!r}: layer {number} of {network} {band.name} can overflow 32 bits"
                        raise ValueError(msg)


def within_bounds(weight: Any, bias: Any, multiplier: Any, *, first: bool) -> bool:
    """Whether no accumulator or product of a layer can leave 32 bits (docs/format.md, 7.3).

    weight: [out, in]; bias: [out] or [levels, out]; multiplier: [out]; integers. first: whether it is the first layer.
    """
    import numpy as np

    weight, bias, multiplier = (np.asarray(part).astype(np.int64) for part in (weight, bias, multiplier))
    reach = np.abs(weight).sum(axis=1) * (-INPUT_MIN if first else ACTIVATION_MAX)
    reach = reach + np.abs(bias).reshape(-1, len(reach)).max(axis=0)
    # Three times: an engine may store signed inputs with 128 added, and take it off in the bias.
    fits = 3 * reach.max() < 2**31 and (reach * multiplier).max() < 2**31 - 2**HIDDEN_SHIFT
    return bool(weight.min() >= -WEIGHT_MAX and multiplier.min() >= 1 and fits)


def write_model(model: Model, path: str | os.PathLike[str]) -> None:
    """Check `model` and write it to a safetensors file, whole or not at all. Raises OSError or ValueError."""
    import numpy as np
    from safetensors.numpy import save

    from llicti_core.atomic import write_whole

    model.check_bounds()
    tensors = {name: np.asarray(model.tensors[name]) for name in model.spec.tensor_shapes()}
    # One entry of metadata, since the order of several is not kept and the same model shall give the same file.
    write_whole(path, save(tensors, {"llicti": model.spec.to_json()}))


def read_model(path: str | os.PathLike[str]) -> Model:
    """Read a model from a safetensors file. Raises OSError or ValueError.

    Such a file is the length of a header, the header and the tensors. The header is JSON without a blank, in which an
    entry can be found as text: so neither safetensors nor json is imported, which takes 3 % of the time that a new
    process takes to open a small file.
    """
    with open(path, "rb") as file:
        return _model_in(file.read(), path)


def _model_in(file: bytes, path: str | os.PathLike[str]) -> Model:
    """The model in the bytes of the file at `path`. Raises ValueError."""
    data = memoryview(file)
    start = 8 + int.from_bytes(data[:8], "little")
    try:
        header = str(data[8:start], "utf-8")
        spec = ModelSpec.from_json(_after(header, '"llicti":"', '}"').replace('\\"', '"') + "}")
        entries = _entries(header)
        numbers = data[start:]
        tensors = {
            name: _tensor(numbers, entries.get(name, ""), name, shape, form)
            for name, (shape, form) in spec.tensor_shapes().items()
        }
    except (TypeError, ValueError) as error:
        msg = f"{path}: not a model: {error}"
        raise ValueError(msg) from error
    return Model(spec, tensors)


def _after(header: str, start: str, end: str) -> str:
    """What is between two pieces of a header. Raises ValueError where it has no such entry."""
    at = header.index(start) + len(start)
    return header[at : header.index(end, at)]


def _entries(header: str) -> dict[str, str]:
    """What a header says of each tensor, without the braces around it."""
    parts = (part.partition('":{') for part in header.strip(' {}"').split('},"'))
    return {name: entry for name, _, entry in parts}


def _tensor(numbers: memoryview, entry: str, name: str, shape: tuple[int, ...], form: str) -> memoryview:
    """The tensor `name`, which is in `numbers` where its entry says. Raises ValueError or TypeError where it is not."""
    start = f'"dtype":"{_DTYPES[form]}","shape":[{",".join(map(str, shape))}],"data_offsets":['
    if not entry.startswith(start):
        msg = f"no tensor {name} with {start.rpartition(',')[0]}"
        raise ValueError(msg)
    begin, end = map(int, entry[len(start) : -1].split(","))
    if not 0 <= begin <= end <= len(numbers):
        msg = f"file ends before tensor {name} does"
        raise ValueError(msg)
    flat = numbers[begin:end]
    if form == "i" and sys.byteorder == "big":
        flat = memoryview(_little_endian(flat.cast("i")))
    view: memoryview = flat.cast(form, shape)  # type: ignore[call-overload]  # form is a str
    return view


def _little_endian(tensor: memoryview) -> bytes:
    """The bytes of a tensor with the lowest byte of each number first; the same in the other direction."""
    if sys.byteorder == "little" or tensor.itemsize == 1:
        return tensor.tobytes()
    swapped = array("i", tensor.tobytes())
    swapped.byteswap()
    return swapped.tobytes()


def load(name: str = DEFAULT) -> Model:
    """The installed model called `name`. Raises UnknownModelError."""
    for path in _find(ALIASES.get(name, name)):
        return _read_installed(path)
    msg = f"model {name!r} is not installed (there are: {', '.join(sorted({*ALIASES, *available()}))})"
    raise UnknownModelError(msg)


def load_exact(name: str, identity: bytes) -> Model:
    """The installed model called `name` whose weights are those of `identity`. Raises UnknownModelError."""
    others = []
    for path in _find(name):
        try:
            model = _read_installed(path)
        except UnknownModelError as error:
            others.append(str(error))
            continue
        if model.identity == identity:
            return model
        others.append(f"{path} is {model.identity.hex()}")
    msg = f"the file needs model {name!r} {identity.hex()}; {'; '.join(others) or 'none of that name is installed'}"
    raise UnknownModelError(msg)


def available() -> list[str]:
    """Names of the installed models: bundled ones, those in the folders of LLICTI_MODEL_PATH, and those that other
    packages bring by an entry point of the group `llicti.models`."""
    files = [name for folder in _folders() if os.path.isdir(folder) for name in os.listdir(folder)]
    stems = {stem for stem, extension in map(os.path.splitext, files) if extension == _EXTENSION}
    return sorted(stems | {point.name for point in _entry_points()})


def _find(name: str) -> Iterator[str]:
    """The files of the models called `name`; a name that no model can have finds none."""
    if not is_model_name(name):
        return
    for folder in _folders():
        if os.path.isfile(path := os.path.join(folder, name + _EXTENSION)):
            yield path
    for point in _entry_points():
        if point.name == name:
            yield _entry_point_file(point)


def _folders() -> list[str]:
    """Where models are looked for: this package, then the folders of LLICTI_MODEL_PATH."""
    paths = os.environ.get("LLICTI_MODEL_PATH", "").split(os.pathsep)
    return [_BUNDLED, *filter(None, paths)]


def _entry_points() -> metadata.EntryPoints:
    """Other packages' models: name of the model = package that holds NAME.safetensors."""
    from importlib import metadata

    return metadata.entry_points(group="llicti.models")


def _entry_point_file(point: metadata.EntryPoint) -> str:
    """The file that an entry point stands for. Raises UnknownModelError where its package cannot be imported."""
    from importlib import resources

    try:
        return str(resources.files(point.value) / (point.name + _EXTENSION))
    except ImportError as error:
        msg = f"model {point.name!r} should be in package {point.value!r}, which cannot be imported: {error}"
        raise UnknownModelError(msg) from error


def _read_installed(path: str) -> Model:
    """The model in a file, which must be called as the file is. Raises UnknownModelError."""
    try:
        model = _read_cached(path, os.stat(path).st_mtime_ns)
    except (OSError, ValueError) as error:
        msg = f"model file {path} cannot be used: {error}"
        raise UnknownModelError(msg) from error
    if model.spec.name + _EXTENSION != os.path.basename(path):
        msg = f"model file {path} holds a model called {model.spec.name!r}"
        raise UnknownModelError(msg)
    return model


@lru_cache(maxsize=16)
def _read_cached(path: str, modified: int) -> Model:
    """The model in a file as it was at the time `modified`."""
    with open(path, "rb") as file:
        data = file.read()
    model = _model_in(data, path)
    if os.path.dirname(path) != _BUNDLED:  # those were proved before they were shipped, and NumPy is slow to import
        model.check_bounds()
    elif known := _IDENTITIES.get(zlib.crc32(data)):
        model.identity = known
    return model
