"""Models: the bundled ones load, identities pin weights, and the overflow proof refuses what it must."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from images import photograph

import llicti_core
from llicti_core import models
from llicti_core.errors import UnknownModelError
from llicti_core.models import Model, ModelSpec, registry
from llicti_core.spec import BANDS, NETWORKS


def random_model(seed: int = 0) -> Model:
    rng = np.random.default_rng(seed)
    spec = ModelSpec("random", (6, 2), (5, 1))
    tensors = {}
    for name, (shape, form) in spec.tensor_shapes().items():
        low, high = {"weight": (-127, 128), "bias": (-5000, 5000), "multiplier": (1, 100)}[name.rsplit(".")[-1]]
        tensors[name] = rng.integers(low, high, shape, form)
    return Model(spec, tensors)


def renamed_model() -> Model:
    """A model good enough for encoders to use it."""
    default = models.load()
    return Model(default.spec._replace(name="renamed"), default.tensors)


def changed(model: Model, name: str, tensor: np.ndarray) -> Model:
    return Model(model.spec, {**model.tensors, name: tensor})


@pytest.mark.parametrize("name", models.available())
def test_bundled_models_pass_the_overflow_proof(name: str) -> None:
    model = models.load(name)
    assert model.spec.name == name
    model.check_bounds()


@pytest.mark.parametrize(("profile", "limit"), [("default", 25_000), ("best", 100_000)])
def test_a_profile_is_a_bundled_model_of_limited_cost(profile: str, limit: int) -> None:
    model = models.load(profile)
    assert model.spec.name in models.available()
    products = sum(
        memoryview(layer.weight).nbytes
        for network in NETWORKS
        for band in BANDS
        for layer in model.layers(network, band.name)
    )
    assert products / len(BANDS) <= limit  # multiply-accumulates a pixel


def test_identities_of_bundled_models_are_known_without_hashing() -> None:
    for name in models.available():
        model = models.load(name)
        assert "identity" in vars(model), f"_IDENTITIES lacks {name}"
        assert model.identity == Model(model.spec, model.tensors).identity


def test_another_file_in_place_of_a_bundled_model_is_hashed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundled = models.load()
    other = changed(bundled, "luma.11.0.weight", np.zeros(bundled.tensors["luma.11.0.weight"].shape, np.int8))
    models.write_model(other, tmp_path / f"{bundled.spec.name}.safetensors")
    monkeypatch.setattr(registry, "_BUNDLED", str(tmp_path))
    assert models.load().identity == other.identity != bundled.identity


def test_a_written_model_reads_back(tmp_path: Path) -> None:
    model = random_model()
    models.write_model(model, tmp_path / "model.safetensors")
    read = models.read_model(tmp_path / "model.safetensors")
    assert read.spec == model.spec
    assert read.identity == model.identity
    assert read.tensors == model.tensors


def test_identity_depends_on_every_tensor_and_on_the_spec() -> None:
    model = random_model()
    identities = {model.identity}
    for name, tensor in model.tensors.items():
        other = np.array(tensor)
        other.flat[-1] ^= 1
        identities.add(changed(model, name, other).identity)
    identities.add(Model(model.spec._replace(name="other"), model.tensors).identity)
    assert len(identities) == len(model.tensors) + 2


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("luma.11.0.bias", 2**30),
        ("chroma.01.1.multiplier", 2**20),
        ("luma.10.2.bias", -(2**31)),
        ("chroma.11.1.multiplier", 0),
        ("luma.01.1.weight", -128),
    ],
)
def test_a_model_that_could_overflow_is_refused(name: str, value: int) -> None:
    model = random_model()
    tensor = np.array(model.tensors[name])
    tensor.flat[0] = value
    with pytest.raises(ValueError, match="overflow"):
        changed(model, name, tensor).check_bounds()


@pytest.mark.parametrize(
    "spec",
    [
        ModelSpec("", (8, 1), (8, 1)),
        ModelSpec("a/b", (8, 1), (8, 1)),
        ModelSpec("x" * 33, (8, 1), (8, 1)),
        ModelSpec("a", (0, 1), (8, 1)),
        ModelSpec("a", (8, 1), (257, 1)),
        ModelSpec("a", (8, 0), (8, 1)),
        ModelSpec("a", (8, 1), (8, 17)),
    ],
)
def test_impossible_specs_are_refused(spec: ModelSpec) -> None:
    with pytest.raises(ValueError, match="no model can be called"):
        spec.check()
    with pytest.raises(ValueError, match="no model can be called"):
        ModelSpec.from_json(spec.to_json())


def test_specs_have_one_text() -> None:
    text = '{"chroma":[56,2],"luma":[64,2],"name":"llicti-d4"}'
    assert ModelSpec.from_json(text) == ModelSpec("llicti-d4", (64, 2), (56, 2))
    assert ModelSpec.from_json(text).to_json() == text
    assert json.loads(text) == {"chroma": [56, 2], "luma": [64, 2], "name": "llicti-d4"}
    with pytest.raises(ValueError, match="one form"):
        ModelSpec.from_json(text.replace("56", "056"))
    for wrong in (
        "{}",
        "[]",
        text.replace(":", ": "),
        '{"chroma":[1],"luma":[1,1],"name":"a"}',
        '{"chroma":[1,1],"luma":1,"name":"a"}',
    ):
        with pytest.raises(ValueError, match="not the description"):
            ModelSpec.from_json(wrong)
    for wrong in ('{"chroma":[1,1],"depth":1,"luma":[1,1],"name":"a"}', '{"chroma":[1,1],"luma":["a",1],"name":"a"}'):
        with pytest.raises(ValueError, match="description"):
            ModelSpec.from_json(wrong)


def test_the_same_model_gives_the_same_file(tmp_path: Path) -> None:
    for name in "ab":
        models.write_model(random_model(), tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_misshapen_tensors_are_named() -> None:
    model = random_model()
    with pytest.raises(ValueError, match=r"luma\.11\.0\.weight"):
        changed(model, "luma.11.0.weight", np.zeros((3, 2), np.int8))
    with pytest.raises(ValueError, match="missing"):
        Model(model.spec, {})


def test_other_files_are_no_models(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"not a model at all")
    with pytest.raises(ValueError, match="not a model"):
        models.read_model(path)


def test_damaged_files_are_no_models(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    models.write_model(random_model(), path)
    data = path.read_bytes()
    begin = data.index(b'"data_offsets":[') + len(b'"data_offsets":[')
    for damaged in (
        b"",
        data[:7],
        data[:100],
        data[:-1],
        b"\xff" * 8 + data[8:],
        data.replace(b'"I8"', b'"U8"', 1),
        data.replace(b"llicti", b"other!", 1),
        data.replace(b'"chroma.11.0.bias"', b'"chroma.11.9.bias"'),
        data[:begin] + b"-" + data[begin + 1 :],
        data[:begin] + b"9" + data[begin + 1 :],
    ):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match="not a model"):
            models.read_model(path)
    path.write_bytes(data)
    assert models.read_model(path).identity == random_model().identity


def test_a_file_with_other_weights_is_not_decoded_by_guess() -> None:
    name = models.load().spec.name
    with pytest.raises(UnknownModelError, match=name):
        models.load_exact(name, bytes(8))


def test_models_are_found_in_the_folders_of_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = renamed_model()
    models.write_model(model, tmp_path / "renamed.safetensors")
    with pytest.raises(UnknownModelError, match="there are: best, default, llicti-b3, llicti-d4"):
        models.load("renamed")
    monkeypatch.setenv("LLICTI_MODEL_PATH", f"{tmp_path / 'nowhere'}{os.pathsep}{tmp_path}")
    assert models.load("renamed").identity == model.identity
    assert "renamed" in models.available()
    pixels = photograph(75, 101)
    data = llicti_core.encode(pixels, model="renamed")
    assert (llicti_core.decode(data) == pixels).all()
    monkeypatch.delenv("LLICTI_MODEL_PATH")
    with pytest.raises(UnknownModelError, match=model.identity.hex()):
        llicti_core.decode(data)


def test_a_name_shared_by_two_models_is_settled_by_their_identity(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = [tmp_path / "a", tmp_path / "b"]
    for seed, folder in enumerate(folders):
        folder.mkdir()
        models.write_model(random_model(seed=seed), folder / "random.safetensors")
    monkeypatch.setenv("LLICTI_MODEL_PATH", os.pathsep.join(map(str, folders)))
    for seed in (0, 1):
        identity = random_model(seed=seed).identity
        assert models.load_exact("random", identity).identity == identity


def test_a_model_file_under_another_name_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    models.write_model(random_model(), tmp_path / "other.safetensors")
    (tmp_path / "broken.safetensors").write_bytes(b"?")
    monkeypatch.setenv("LLICTI_MODEL_PATH", str(tmp_path))
    with pytest.raises(UnknownModelError, match="'random'"):
        models.load("other")
    with pytest.raises(UnknownModelError, match="cannot be used"):
        models.load("broken")


def test_an_installed_package_can_bring_a_model(tmp_path: Path) -> None:
    """A tiny package with an entry point, installed into a folder, is found by a fresh interpreter."""
    source, site = tmp_path / "source", tmp_path / "site"
    (source / "tiny_models").mkdir(parents=True)
    (source / "tiny_models" / "__init__.py").touch()
    models.write_model(renamed_model(), source / "tiny_models" / "renamed.safetensors")
    np.save(tmp_path / "pixels.npy", photograph(75, 101))
    (source / "pyproject.toml").write_text(
        '[project]\nname = "tiny-models"\nversion = "1"\n'
        '[project.entry-points."llicti.models"]\nrenamed = "tiny_models"\n'
        '[tool.setuptools.package-data]\ntiny_models = ["*.safetensors"]\n'
    )
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--disable-pip-version-check"]
    subprocess.run([*pip, "--target", str(site), str(source)], check=True, capture_output=True)
    code = (
        "import numpy, llicti_core; a = numpy.load('pixels.npy')\n"
        "data = llicti_core.encode(a, model='renamed')\n"
        "assert (llicti_core.decode(data) == a).all(); print(llicti_core.inspect(data).model)"
    )
    environment = {**os.environ, "PYTHONPATH": str(site)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, check=True, capture_output=True, text=True
    )
    assert done.stdout.strip() == "renamed"


def test_a_broken_model_file_hides_no_good_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        folder.mkdir()
    (folders[0] / "random.safetensors").write_bytes(b"?")
    models.write_model(random_model(), folders[1] / "random.safetensors")
    monkeypatch.setenv("LLICTI_MODEL_PATH", os.pathsep.join(map(str, folders)))
    assert models.load_exact("random", random_model().identity).spec.name == "random"
    with pytest.raises(UnknownModelError, match="cannot be used"):
        models.load_exact("random", bytes(8))


def test_a_replaced_model_file_is_read_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLICTI_MODEL_PATH", str(tmp_path))
    for seed in (0, 1):
        models.write_model(random_model(seed=seed), tmp_path / "random.safetensors")
        os.utime(tmp_path / "random.safetensors", (seed, seed))
        assert models.load("random").identity == random_model(seed=seed).identity


def test_an_entry_point_of_a_missing_package_is_an_unknown_model(monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib import metadata

    points = metadata.EntryPoints([metadata.EntryPoint("gone", "no_such_package", "llicti.models")])
    monkeypatch.setattr(registry, "_entry_points", lambda: points)
    with pytest.raises(UnknownModelError, match="no_such_package"):
        models.load("gone")
