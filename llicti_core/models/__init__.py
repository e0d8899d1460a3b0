"""Models: what one is made of, reading and writing it, and finding the one a file asks for."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from llicti_core.errors import UnknownModelError
from llicti_core.names import is_model_name
from llicti_core.pyramid import BANDS, SCALES

if TYPE_CHECKING:
    from importlib import metadata

GROUPS = 4
"""Networks side by side in a band: component scales, means, weights, cross-channel coefficients."""

COMPONENTS = 5
"""Components of a mixture."""

OUTPUTS = 3 * COMPONENTS
"""Outputs of each of the four networks: three channels (or coefficients a, b, d) of five components."""

HIDDEN_SHIFT = 14
"""Accumulators of hidden layers are multiplied by m / 2**HIDDEN_SHIFT."""

OUTPUT_SHIFT = 12
"""Accumulators of output layers are multiplied by m / 2**OUTPUT_SHIFT."""

ACTIVATION_MAX = 127
"""Activations are 7-bit, so that they are exact both as signed and as unsigned bytes."""

DEFAULT = "default"


_ALIASES = {DEFAULT: "llicti-d1"}
"""Names that stand for a bundled model."""


@dataclass(frozen=True)
class ModelSpec:
    """The shape of a model.

    name: what files call it, 1 to 32 letters, digits, dots, hyphens and underscores, a letter or digit first.
    width: channels of each hidden layer of each of the four networks, 1 to 256.
    depth: hidden layers, 1 to 16.

    Raises ValueError for anything else.
    """

    name: str
    width: int
    depth: int

    def __post_init__(self) -> None:
        if not is_model_name(self.name) or not 1 <= self.width <= 256 or not 1 <= self.depth <= 16:
            msg = f"no model can be called {self.name!r}, {self.width} wide and {self.depth} deep"
            raise ValueError(msg)

    def to_json(self) -> str:
        """The spec as models' files and hashes have it (docs/format.md, 7.3)."""
        fields = {"depth": self.depth, "name": self.name, "width": self.width}
        return json.dumps(fields, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> ModelSpec:
        """The reverse of to_json. Raises ValueError."""
        try:
            fields = json.loads(text)
            return cls(str(fields["name"]), int(fields["width"]), int(fields["depth"]))
        except (KeyError, TypeError) as error:
            msg = f"not the description of a model: {text[:100]}"
            raise ValueError(msg) from error

    def tensor_shapes(self) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
        """Name, shape and dtype of every tensor, in the order in which the model's hash takes them."""
        shapes: dict[str, tuple[tuple[int, ...], np.dtype]] = {}
        i8, i32 = np.dtype(np.int8), np.dtype(np.int32)
        for band in BANDS:
            inputs = input_size(len(band.neighbours))
            for layer in range(self.depth + 1):
                fan_in = inputs if layer == 0 else self.width
                fan_out = OUTPUTS if layer == self.depth else self.width
                scales = (SCALES,) if layer == 0 else ()
                key = f"{band.name}.{layer}"
                shapes[f"{key}.weight"] = ((GROUPS, fan_out, fan_in), i8)
                shapes[f"{key}.bias"] = ((*scales, GROUPS, fan_out), i32)
                shapes[f"{key}.multiplier"] = ((GROUPS, fan_out), i32)
        return shapes


@dataclass(frozen=True)
class Layer:
    """One integer layer of one band: `(weight @ x + bias) * multiplier`, then a rounding shift.

    weight: int8 [groups, out, in]; bias: int32 [groups, out], for the first layer [scales, groups, out];
    multiplier: int32 [groups, out].
    """

    weight: NDArray[np.int8]
    bias: NDArray[np.int32]
    multiplier: NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class Model:
    """A model's spec and its integer tensors."""

    spec: ModelSpec
    tensors: Mapping[str, NDArray[np.generic]]

    def layers(self, band: str) -> list[Layer]:
        """The layers of a band's networks, first to last."""
        keys = [f"{band}.{layer}" for layer in range(self.spec.depth + 1)]
        get = self.tensors
        return [Layer(get[f"{k}.weight"], get[f"{k}.bias"], get[f"{k}.multiplier"]) for k in keys]  # type: ignore[arg-type]

    @cached_property
    def identity(self) -> bytes:
        """First 8 bytes of the SHA-256 of the spec and every tensor (docs/format.md, 7.3)."""
        digest = hashlib.sha256(self.spec.to_json().encode())
        for name, (_, dtype) in self.spec.tensor_shapes().items():
            digest.update(np.ascontiguousarray(self.tensors[name], dtype.newbyteorder("<")).tobytes())
        return digest.digest()[:8]

    def check(self) -> None:
        """Prove that no accumulator or product can leave 32 bits, whatever the input.

        Raises ValueError where a tensor is missing or misshapen, or a bound does not hold.
        """
        for name, (shape, dtype) in self.spec.tensor_shapes().items():
            tensor = self.tensors.get(name)
            if tensor is None or tensor.shape != shape or tensor.dtype != dtype:
                found = "missing" if tensor is None else f"{tensor.dtype}{list(tensor.shape)}"
                msg = f"model {self.spec.name!r}: tensor {name} is {found}, expected {dtype}{list(shape)}"
                raise ValueError(msg)
        for band in BANDS:
            for number, layer in enumerate(self.layers(band.name)):
                peak = 128 if number == 0 else ACTIVATION_MAX
                reach = np.abs(layer.weight.astype(np.int64)).sum(axis=2) * peak
                reach = reach + np.abs(layer.bias.astype(np.int64)).reshape(-1, *reach.shape).max(axis=0)
                multiplier = layer.multiplier.astype(np.int64)
                # Three times: an engine may store signed inputs with 128 added, and take it off in the bias.
                fits = 3 * reach.max() < 2**31 and (reach * multiplier).max() < 2**31 - 2**HIDDEN_SHIFT
                if multiplier.min() < 1 or not fits:
                    msg = f"model {self.spec.name!r}: layer {number} of band {band.name} can overflow 32 bits"
                    raise ValueError(msg)


def input_size(neighbours: int) -> int:
    """Inputs of a band's networks: three channels of every neighbour, and of their base."""
    return 3 * neighbours + 3


def write_model(model: Model, path: str | Path) -> None:
    """Check `model` and write it to a safetensors file."""
    from safetensors.numpy import save

    model.check()
    # One entry of metadata, since the order of several is not kept and the same model shall give the same file.
    metadata = {"llicti": model.spec.to_json()}
    Path(path).write_bytes(save({k: np.ascontiguousarray(v) for k, v in model.tensors.items()}, metadata))


def read_model(path: str | Path) -> Model:
    """Read a model from a safetensors file and check it. Raises OSError or ValueError."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), "numpy") as file:
            spec = ModelSpec.from_json((file.metadata() or {})["llicti"])
            tensors = {key: file.get_tensor(key) for key in file.keys()}
    except (SafetensorError, KeyError) as error:
        msg = f"{path}: not a model: {error}"
        raise ValueError(msg) from error
    model = Model(spec, tensors)
    model.check()
    return model


def load(name: str = DEFAULT) -> Model:
    """The installed model called `name`. Raises UnknownModelError."""
    for path in _find(_ALIASES.get(name, name)):
        return _read_cached(path)
    msg = f"model {name!r} is not installed (there are: {', '.join(available())})"
    raise UnknownModelError(msg)


def load_exact(name: str, identity: bytes) -> Model:
    """The installed model called `name` whose weights are those of `identity`. Raises UnknownModelError."""
    others = []
    for path in _find(name):
        model = _read_cached(path)
        if model.identity == identity:
            return model
        others.append(model.identity.hex())
    there = f"installed under that name is {', '.join(others)}" if others else "none of that name is installed"
    msg = f"the file needs model {name!r} {identity.hex()}; {there}"
    raise UnknownModelError(msg)


def available() -> list[str]:
    """Names of the installed models: bundled ones, those in the folders of LLICTI_MODEL_PATH, and those that other
    packages bring by an entry point of the group `llicti.models`."""
    files = [path for folder in _folders() for path in folder.glob("*.safetensors")]
    return sorted({path.stem for path in files} | {point.name for point in _entry_points()})


def _find(name: str) -> Iterator[Path]:
    """The files of the models called `name`; a name that no model can have finds none."""
    if not is_model_name(name):
        return
    for folder in _folders():
        if (path := folder / f"{name}.safetensors").is_file():
            yield path
    for point in _entry_points():
        if point.name == name:
            yield Path(str(resources.files(point.value) / f"{name}.safetensors"))


def _folders() -> list[Path]:
    """Where models are looked for: this package, then the folders of LLICTI_MODEL_PATH."""
    paths = os.environ.get("LLICTI_MODEL_PATH", "").split(os.pathsep)
    return [Path(__file__).parent, *(Path(path) for path in paths if path)]


def _entry_points() -> metadata.EntryPoints:
    """Other packages' models: name of the model = package that holds NAME.safetensors."""
    from importlib import metadata

    return metadata.entry_points(group="llicti.models")


@lru_cache(maxsize=16)
def _read_cached(path: Path) -> Model:
    """The model in a file, which must be called as the file is. Raises UnknownModelError."""
    try:
        model = read_model(path)
    except (OSError, ValueError) as error:
        msg = f"model file {path} cannot be used: {error}"
        raise UnknownModelError(msg) from error
    if model.spec.name != path.stem:
        msg = f"model file {path} holds a model called {model.spec.name!r}"
        raise UnknownModelError(msg)
    return model
