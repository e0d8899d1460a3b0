"""Models: the bundled ones load, identities pin weights, and the overflow proof refuses what it must."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from llicti_core import models
from llicti_core.errors import UnknownModelError
from llicti_core.models import Model, ModelSpec


def random_model(width: int = 6, depth: int = 2, seed: int = 0) -> Model:
    rng = np.random.default_rng(seed)
    spec = ModelSpec("random", width, depth)
    tensors = {}
    for name, (shape, dtype) in spec.tensor_shapes().items():
        low, high = {"weight": (-127, 128), "bias": (-5000, 5000), "multiplier": (1, 100)}[name.rsplit(".")[-1]]
        tensors[name] = rng.integers(low, high, shape, dtype)
    return Model(spec, tensors)


def changed(model: Model, name: str, tensor: np.ndarray) -> Model:
    return Model(model.spec, {**model.tensors, name: tensor})


@pytest.mark.parametrize("name", models.available())
def test_bundled_models_pass_the_overflow_proof(name: str) -> None:
    model = models.load(name)
    assert model.spec.name == name
    model.check()


def test_default_is_one_of_the_bundled_models() -> None:
    assert models.load().spec.name in models.available()


def test_a_written_model_reads_back(tmp_path: Path) -> None:
    model = random_model()
    models.write_model(model, tmp_path / "model.safetensors")
    read = models.read_model(tmp_path / "model.safetensors")
    assert read.spec == model.spec
    assert read.identity == model.identity
    assert all((read.tensors[name] == tensor).all() for name, tensor in model.tensors.items())


def test_identity_depends_on_every_tensor_and_on_the_spec() -> None:
    model = random_model()
    identities = {model.identity}
    for name, tensor in model.tensors.items():
        other = tensor.copy()
        other.flat[-1] ^= 1
        identities.add(changed(model, name, other).identity)
    identities.add(Model(dataclasses.replace(model.spec, name="other"), model.tensors).identity)
    assert len(identities) == len(model.tensors) + 2


@pytest.mark.parametrize(
    ("name", "value"),
    [("11.0.bias", 2**30), ("01.1.multiplier", 2**20), ("10.2.bias", -(2**31)), ("11.2.multiplier", 0)],
)
def test_a_model_that_could_overflow_is_refused(name: str, value: int) -> None:
    model = random_model()
    tensor = model.tensors[name].copy()
    tensor.flat[0] = value
    with pytest.raises(ValueError, match="overflow"):
        changed(model, name, tensor).check()


@pytest.mark.parametrize(
    ("name", "width", "depth"), [("", 8, 1), ("a/b", 8, 1), ("x" * 33, 8, 1), ("a", 0, 1), ("a", 257, 1), ("a", 8, 0)]
)
def test_impossible_specs_are_refused(name: str, width: int, depth: int) -> None:
    with pytest.raises(ValueError, match="no model can be called"):
        ModelSpec(name, width, depth)


def test_the_same_model_gives_the_same_file(tmp_path: Path) -> None:
    for name in "ab":
        models.write_model(random_model(), tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_misshapen_tensors_are_named() -> None:
    model = random_model()
    with pytest.raises(ValueError, match=r"11\.0\.weight"):
        changed(model, "11.0.weight", np.zeros((4, 3, 2), np.int8)).check()
    with pytest.raises(ValueError, match="missing"):
        Model(model.spec, {}).check()


def test_other_files_are_no_models(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"not a model at all")
    with pytest.raises(ValueError, match="not a model"):
        models.read_model(path)


def test_a_file_with_other_weights_is_not_decoded_by_guess() -> None:
    name = models.load().spec.name
    with pytest.raises(UnknownModelError, match=name):
        models.load_exact(name, bytes(8))
