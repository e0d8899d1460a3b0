"""Training: a run learns, resumes to the same weights, and exports what it trained."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from images import smooth

torch = pytest.importorskip("torch")

import llicti_core  # noqa: E402
from llicti_core import models  # noqa: E402
from llicti_core.adaptation import adapted_model  # noqa: E402
from llicti_core.engines import reference  # noqa: E402
from llicti_core.spec import BANDS, BIAS_LEVELS  # noqa: E402
from llicti_core.training import trainer as training_loop  # noqa: E402
from llicti_core.training.__main__ import main  # noqa: E402
from llicti_core.training.data import Photographs, cumulative_shares  # noqa: E402
from llicti_core.training.export import export  # noqa: E402
from llicti_core.training.network import KINDS, Contexts, Network, channel_bits, input_columns  # noqa: E402
from llicti_core.training.trainer import Trainer, TrainingConfig  # noqa: E402

pytestmark = pytest.mark.slow

SMALL = {"name": "tiny", "luma": (8, 2), "chroma": (6, 1), "batch": 64, "warmup": 2}
TINY = TrainingConfig(**SMALL, steps=12, average=0.5, quantise_from=0)
EVEN = cumulative_shares([1] * BIAS_LEVELS)


@pytest.fixture(scope="module")
def photographs() -> Photographs:
    return Photographs([smooth(140, 150, seed=seed) for seed in range(3)])


def weights(trainer: Trainer) -> list[np.ndarray]:
    return [p.detach().numpy() for p in (*trainer.network.parameters(), *trainer.averaged.parameters())]


def test_training_learns(photographs: Photographs) -> None:
    config = TrainingConfig(**{**SMALL, "luma": (16, 2), "batch": 256, "warmup": 5}, steps=60)
    bits = [report["training"] for report in Trainer(config, photographs).run(report_every=20)]
    assert bits[-1] < bits[0] - 0.2


@pytest.mark.parametrize("keep", [1, 0.5])
def test_a_resumed_run_ends_with_the_same_weights(
    keep: float, photographs: Photographs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training_loop, "EVERY", 1)
    config = TrainingConfig(**{**vars(TINY), "keep": keep})
    whole = Trainer(config, photographs)
    list(whole.run())
    first = Trainer(config, photographs, tmp_path / "run.pt")
    next(first.run(report_every=2))  # a checkpoint after 2 steps; what comes then never happens
    resumed = Trainer(config, photographs, tmp_path / "run.pt")
    assert resumed.step == 2
    list(resumed.run())
    assert all((a == b).all() for a, b in zip(weights(whole), weights(resumed), strict=True))


def test_a_run_may_start_from_the_weights_of_another(photographs: Photographs, tmp_path: Path) -> None:
    first = Trainer(TINY, photographs, tmp_path / "first.pt")
    list(first.run())
    second = Trainer(TINY, photographs, tmp_path / "second.pt", start=tmp_path / "first.pt")
    assert second.step == 0
    kept, taken = first.averaged.parameters(), second.network.parameters()
    assert all(torch.equal(a, b) for a, b in zip(kept, taken, strict=True))


def test_a_start_of_another_shape_is_refused(photographs: Photographs, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"llicti-d4 has .* another shape .* \[8, 2\]"):
        Trainer(TINY, photographs, start=models.load("default"))
    list(Trainer(TINY, photographs, tmp_path / "run.pt").run())
    other = TrainingConfig(**{**vars(TINY), "luma": (16, 2)})
    with pytest.raises(ValueError, match=r"run.pt has .* another shape .* \[16, 2\]"):
        Trainer(other, photographs, start=tmp_path / "run.pt")


def test_a_checkpoint_of_another_run_is_refused(photographs: Photographs, tmp_path: Path) -> None:
    list(Trainer(TINY, photographs, tmp_path / "run.pt").run())
    with pytest.raises(ValueError, match="learning_rate"):
        Trainer(TrainingConfig(**{**vars(TINY), "learning_rate": 1.0}), photographs, tmp_path / "run.pt")


def outputs(network: Network, kind: str, contexts: Contexts) -> np.ndarray:
    """Mixture parameters of one kind of network, [3, n, outputs]."""
    with torch.no_grad():
        return getattr(network, kind)(getattr(contexts, kind), contexts.level).numpy()


def integer_outputs(model: models.Model, kind: str, band: int, contexts: Contexts) -> np.ndarray:
    """The same of a band by the reference engine, [n, outputs]."""
    inputs = getattr(contexts, kind)[band].numpy()[:, input_columns(kind, band)].astype(np.int64)
    predictor = object.__new__(reference._Predictor)
    predictor.weights = adapted_model(model, b"", 3)[kind, BANDS[band].name]
    found = np.zeros((len(inputs), predictor.weights.layers[-1].weight.shape[0]), np.int64)
    for level in range(BIAS_LEVELS):
        chosen = (contexts.level[band] == level).numpy()
        predictor.level = level
        found[chosen] = predictor._outputs(inputs[chosen])
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_integers_do_what_the_trained_network_does(photographs: Photographs, kind: str) -> None:
    """Parameters from the exported integers equal those of the float network quantised in the loop, up to rounding."""
    trainer = Trainer(TINY, photographs)
    list(trainer.run())
    model = export(trainer.averaged, "tiny")
    contexts = photographs.draw(500, EVEN, torch.Generator().manual_seed(0))
    floats = outputs(trainer.averaged, kind, contexts)
    for band in range(len(BANDS)):
        difference = np.abs(integer_outputs(model, kind, band, contexts) - floats[band])
        # Where the bias is rounded, an activation may round the other way, and move outputs by its weights.
        assert difference.mean() < 0.06
        assert difference.max() <= 2


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_may_start_from_a_model(photographs: Photographs, kind: str) -> None:
    """The network of an exported model is the one that it was exported from, up to rounding."""
    trainer = Trainer(TINY, photographs)
    list(trainer.run())
    again = Trainer(TINY, photographs, start=export(trainer.averaged, "tiny"))
    contexts = photographs.draw(200, EVEN, torch.Generator().manual_seed(0))
    difference = np.abs(outputs(again.network, kind, contexts) - outputs(trainer.averaged, kind, contexts))
    assert difference.mean() < 0.2
    assert np.abs(outputs(trainer.averaged, kind, contexts)).mean() > 5  # so that equal means something


@pytest.mark.parametrize("width", [5, 67])
def test_exported_weights_let_kernels_add_in_16_bits(width: int) -> None:
    """Of every two unsigned inputs of the first layer, and of the first or last two of each quad and the next one's."""
    network = Network((width, 2), (width, 2))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(parameter.sign() / 2)  # as large as each other, so that sums are what limits them
    model = export(network, "tiny")
    for kind in KINDS:
        for layer, most in zip(model.layers(kind, "01"), (32767 // 255, 32767 // 127, 32767 // 127), strict=True):
            weight = np.asarray(layer.weight).astype(int)
            period, offsets = (2, ([0, 1],)) if layer.bias.ndim == 2 else (8, ([0, 1, 4, 5], [2, 3, 6, 7]))
            padded = np.pad(weight, ((0, 0), (0, -weight.shape[1] % period))).reshape(len(weight), -1, period)
            sums = [np.clip(sign * padded[..., at], 0, None).sum(axis=2) for sign in (1, -1) for at in offsets]
            assert 0.9 * most < np.max(sums) <= most


def test_quantisation_may_set_in_late(photographs: Photographs) -> None:
    trainer = Trainer(TrainingConfig(**{**vars(TINY), "quantise_from": 0.5}), photographs)
    contexts = photographs.draw(8, EVEN, torch.Generator().manual_seed(0))
    whole = set()
    while (progress := trainer.progress()) < 1:
        trainer._train(1)
        found = outputs(trainer.network, "chroma", contexts)
        whole.add((progress >= 0.5, bool((found == found.round()).all())))
    assert whole == {(False, False), (True, True)}
    found = outputs(trainer.averaged, "chroma", contexts)
    assert (found == found.round()).all()  # validation is always that of the integers


def test_contexts_are_the_codec_s() -> None:
    """Contexts drawn at the places of a file are what the reference engine makes of the same pixels."""
    planes = (np.arange(150 * 140 * 3).reshape(150, 140, 3) * 7919 % 251).astype(np.int16) - 125
    photographs = Photographs([np.zeros((150, 140, 3), np.uint8)])
    photographs.pixels = torch.from_numpy(planes.reshape(-1, 3))
    contexts = photographs.draw(200, cumulative_shares([1, 1, 0, 0, 0]), torch.Generator().manual_seed(1), aligned=True)
    bounds = [(-128, 127), (-255, 255), (-255, 255)]
    random = adapted_model(export(Network((4, 1), (4, 1)), "tiny"), b"", 3)
    for number, band in enumerate(BANDS):
        for level in (0, 1):
            chosen = (contexts.level[number] == level).numpy()
            assert chosen.sum() > 50
            for kind in KINDS:
                predictor = reference._Predictor(planes, 8, bounds, level, band, kind, random)
                row, column = np.mgrid[: predictor.pixels.shape[0], : predictor.pixels.shape[1]].reshape(2, -1)
                parts = [part[row, column] for part in predictor.before]
                parts += [predictor._back(row, column, (0, len(planes)), c) for c in predictor.coded]
                inputs = np.concatenate([*parts, predictor.after[row, column]], axis=1)
                known = {context.astype(np.int16).tobytes() for context in inputs}
                drawn = getattr(contexts, kind)[number].numpy()[chosen][:, input_columns(kind, number)]
                assert all(context.astype(np.int16).tobytes() in known for context in drawn)


def test_some_contexts_lack_neighbours_of_their_own_band(photographs: Photographs) -> None:
    """As at the edges of tiles and streams: W, WW, NW, N, NE are missing in the combinations that occur there."""
    contexts = photographs.draw(20000, EVEN, torch.Generator().manual_seed(0))
    back = contexts.chroma[..., -13:-8]  # of Co
    missing = (back == 0).reshape(-1, 5)
    for pattern in ([0, 0, 1, 1, 1], [1, 1, 1, 0, 0], [0, 1, 0, 0, 0], [0, 0, 0, 0, 1]):
        assert 0.005 < (missing == torch.tensor(pattern, dtype=torch.bool)).all(dim=1).float().mean() < 0.2


def test_estimated_bits_are_the_mixture_s() -> None:
    """Components of half a pixel's spread on the true value: the logistic mass of one pixel."""
    bits = channel_bits(torch.full((1, 5), 24.0), torch.zeros(1, 5), torch.zeros(1, 5), torch.zeros(1))
    mass = np.tanh(0.5)  # logistic mass of -1/2..1/2 at spread 1/2
    assert np.allclose(bits.numpy(), -np.log2(mass * (1 - 2**-8) + 2**-16), atol=1e-5)


@pytest.fixture
def command(tmp_path: Path) -> list[str]:
    from PIL import Image

    photos = tmp_path / "photos"
    photos.mkdir()
    for seed in range(2):
        Image.fromarray(smooth(130, 140, seed=seed)).save(photos / f"{seed}.png")
    config = tmp_path / "config.json"
    config.write_text(json.dumps({**SMALL, "batch": 16, "steps": 600}))
    return [str(config), "--photos", str(photos), "--validate", str(photos), "--run"]


def test_the_command_trains_plots_and_exports(command: list[str], tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert main([*command, str(run)]) == 0
    assert main([*command, str(run)]) == 0  # resumes at the end: nothing left to train
    model = models.read_model(run / "tiny.safetensors")
    assert model.spec == ("tiny", (8, 2), (6, 1))
    reports = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert [report["step"] for report in reports] == [250, 500, 600]
    assert reports[-1]["progress"] == 1
    assert reports[-1]["validation"] < reports[0]["validation"]
    assert (run / "curve.png").read_bytes().startswith(b"\x89PNG")


def test_a_killed_run_resumes_to_the_same_weights(command: list[str], tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    arguments = [sys.executable, "-m", "llicti_core.training", *command]
    subprocess.run([*arguments, str(whole)], cwd=tmp_path, check=True, capture_output=True)
    process = subprocess.Popen([*arguments, str(killed)], cwd=tmp_path, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not (killed / "checkpoint.pt").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert not (killed / "tiny.safetensors").exists()
    subprocess.run([*arguments, str(killed)], cwd=tmp_path, check=True, capture_output=True)
    assert (killed / "tiny.safetensors").read_bytes() == (whole / "tiny.safetensors").read_bytes()


def test_a_run_can_be_limited_in_time(photographs: Photographs) -> None:
    config = TrainingConfig(**SMALL, steps=10**9, minutes=0.5 / 60)
    trainer = Trainer(config, photographs)
    reports = list(trainer.run(report_every=10**9))
    assert trainer.progress() == 1
    assert 0.5 <= trainer.seconds < 5
    assert reports[-1]["step"] == trainer.step


def test_a_run_can_be_cut_into_stages(command: list[str], tmp_path: Path) -> None:
    whole, staged = tmp_path / "whole", tmp_path / "staged"
    assert main([*command, str(whole)]) == 0
    stages = 0
    while not (staged / "tiny.safetensors").exists():
        assert main([*command, str(staged), "--stage", "0.000001"]) == 0
        stages += 1
    assert stages == 3  # one a report
    assert (staged / "tiny.safetensors").read_bytes() == (whole / "tiny.safetensors").read_bytes()


def test_a_device_that_is_not_there_is_named(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*command, str(tmp_path / "run"), "--device", "cuda:77"]) == 2
    assert "cuda:77" in capsys.readouterr().err


def test_unknown_keys_of_a_configuration_are_named(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text('{"widht": 3}')
    with pytest.raises(ValueError, match="widht"):
        TrainingConfig.read(path)


def test_a_trained_model_codes_without_loss(
    photographs: Photographs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models.write_model(export(Trainer(TINY, photographs).averaged, "tiny"), tmp_path / "tiny.safetensors")
    monkeypatch.setenv("LLICTI_MODEL_PATH", str(tmp_path))
    pixels = smooth(40, 50)
    for name in ("native", "reference"):
        monkeypatch.setenv("LLICTI_ENGINE", name)
        assert (llicti_core.decode(llicti_core.encode(pixels, model="tiny", effort=0)) == pixels).all()


def test_blocks_of_weights_are_left_out(photographs: Photographs) -> None:
    """As many as the configuration says, for good; a run that starts from the model keeps no more of them."""
    trainer = Trainer(TrainingConfig(**{**vars(TINY), "steps": 400, "keep": 0.4}), photographs)
    list(trainer.run())
    model = export(trainer.averaged, "tiny")
    assert 0.35 < used_blocks(model).mean() <= 0.4
    again = Trainer(TINY, photographs, start=model)
    list(again.run())
    found = export(again.averaged, "tiny")
    assert not (used_blocks(found) & ~used_blocks(model)).any()
    assert used_blocks(export(Trainer(TINY, photographs).averaged, "tiny")).mean() > 0.9


def used_blocks(model: models.Model) -> np.ndarray:
    """Of each block of 2 outputs and 4 inputs, whether it has a weight that is not 0."""
    used = []
    for kind in KINDS:
        for band in BANDS:
            for layer in model.layers(kind, band.name):
                weight = np.asarray(layer.weight)
                padded = np.pad(weight, [(0, -length % by) for length, by in zip(weight.shape, (2, 4), strict=True)])
                rows, columns = padded.shape
                used.append((padded.reshape(rows // 2, 2, columns // 4, 4) != 0).any(axis=(1, 3)).ravel())
    return np.concatenate(used)
