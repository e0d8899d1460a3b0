"""Training: a run learns, resumes to the same weights, and exports what it trained."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from coding import decode_with, encode_with
from images import smooth

torch = pytest.importorskip("torch")

from llicti_core import engines, models  # noqa: E402
from llicti_core.engines import reference  # noqa: E402
from llicti_core.spec import BANDS  # noqa: E402
from llicti_core.training.__main__ import main  # noqa: E402
from llicti_core.training.data import Photographs  # noqa: E402
from llicti_core.training.export import export  # noqa: E402
from llicti_core.training.network import Network, mixture_bits  # noqa: E402
from llicti_core.training.trainer import Trainer, TrainingConfig  # noqa: E402

pytestmark = pytest.mark.slow

TINY = TrainingConfig(name="tiny", width=8, depth=2, steps=12, batch=64, warmup=2, average=0.5)


@pytest.fixture(scope="module")
def photographs() -> Photographs:
    return Photographs([smooth(120, 130, seed=seed) for seed in range(3)])


def weights(trainer: Trainer) -> list[np.ndarray]:
    return [p.detach().numpy() for p in (*trainer.network.parameters(), *trainer.averaged.parameters())]


def test_training_learns(photographs: Photographs) -> None:
    config = TrainingConfig(name="tiny", width=16, depth=2, steps=60, batch=256, warmup=5)
    bits = [report["training"] for report in Trainer(config, photographs).run(report_every=20)]
    assert bits[-1] < bits[0] - 0.2


def test_a_resumed_run_ends_with_the_same_weights(photographs: Photographs, tmp_path: Path) -> None:
    whole = Trainer(TINY, photographs)
    list(whole.run())
    first = Trainer(TINY, photographs, tmp_path / "run.pt")
    next(first.run(report_every=5))  # a checkpoint after 5 steps; what comes then never happens
    resumed = Trainer(TINY, photographs, tmp_path / "run.pt")
    assert resumed.step == 5
    list(resumed.run())
    assert all((a == b).all() for a, b in zip(weights(whole), weights(resumed), strict=True))


def test_a_run_may_start_from_the_weights_of_another(photographs: Photographs, tmp_path: Path) -> None:
    first = Trainer(TINY, photographs, tmp_path / "first.pt")
    list(first.run())
    second = Trainer(TINY, photographs, tmp_path / "second.pt", start=tmp_path / "first.pt")
    assert second.step == 0
    kept, taken = first.averaged.parameters(), second.network.parameters()
    assert all(torch.equal(a, b) for a, b in zip(kept, taken, strict=True))


def test_a_checkpoint_of_another_run_is_refused(photographs: Photographs, tmp_path: Path) -> None:
    list(Trainer(TINY, photographs, tmp_path / "run.pt").run())
    with pytest.raises(ValueError, match="learning_rate"):
        Trainer(TrainingConfig(**{**vars(TINY), "learning_rate": 1.0}), photographs, tmp_path / "run.pt")


def test_integers_do_what_the_trained_network_does(photographs: Photographs) -> None:
    """Parameters from the exported integers equal those of the float network quantised in the loop, up to rounding."""
    trainer = Trainer(TINY, photographs)
    list(trainer.run())
    model = export(trainer.averaged, "tiny")
    generator = torch.Generator().manual_seed(0)
    for band in BANDS:
        batch = photographs.draw(band, 200, [1, 1, 1, 1, 1], generator)
        floats = trainer.averaged.bands[band.name](batch.inputs, batch.scale).numpy()
        for scale in range(5):
            chosen = (batch.scale == scale).numpy()
            inputs = batch.inputs.numpy().astype(np.int64)[chosen]
            fine = reference._network(inputs, reference._layers(model, band), scale)
            difference = np.abs((fine + 8 >> 4) - floats[chosen])
            # Where the bias is rounded, an activation may round the other way, and move outputs by its weights.
            assert difference.mean() < 0.06
            assert difference.max() <= 2


@pytest.mark.parametrize("width", [5, 67])
def test_exported_weights_let_kernels_add_in_16_bits(width: int) -> None:
    """Of every two unsigned inputs of the first layer, and of the first or last two of each quad and the next one's."""
    network = Network(width, 2)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(parameter.sign() / 2)  # as large as each other, so that sums are what limits them
    model = export(network, "tiny")
    for layer, most in zip(model.layers("01"), (32767 // 255, 32767 // 127, 32767 // 127), strict=True):
        weight = np.asarray(layer.weight).astype(int)
        period, offsets = (2, ([0, 1],)) if layer.bias.ndim == 2 else (8, ([0, 1, 4, 5], [2, 3, 6, 7]))
        padded = np.pad(weight, ((0, 0), (0, -weight.shape[1] % period))).reshape(len(weight), -1, period)
        sums = [np.clip(sign * padded[..., at], 0, None).sum(axis=2) for sign in (1, -1) for at in offsets]
        assert 0.9 * most < np.max(sums) <= most


def test_quantisation_may_set_in_late(photographs: Photographs) -> None:
    trainer = Trainer(TrainingConfig(**{**vars(TINY), "quantise_from": 0.5}), photographs)
    band, batch = BANDS[0], photographs.draw(BANDS[0], 8, [1, 1, 1, 1, 1], torch.Generator().manual_seed(0))
    whole = set()
    while (progress := trainer.progress()) < 1:
        trainer._train_step()
        outputs = trainer.network.bands[band.name](batch.inputs, batch.scale)
        whole.add((progress >= 0.5, bool((outputs == outputs.round()).all())))
    assert whole == {(False, False), (True, True)}
    outputs = trainer.averaged.bands[band.name](batch.inputs, batch.scale)
    assert (outputs == outputs.round()).all()  # validation is always that of the integers


def test_contexts_are_the_codec_s(photographs: Photographs) -> None:
    """A context drawn at random is what the reference engine makes of the same pixel."""
    planes = np.arange(128 * 128 * 3).reshape(128, 128, 3) % 251
    planes = planes.astype(np.int16)
    photographs = Photographs([np.zeros((128, 128, 3), np.uint8)])
    photographs.pixels = torch.from_numpy(planes.reshape(-1, 3))
    for band in BANDS:
        batch = photographs.draw(band, 300, [1, 1, 0, 0, 0], torch.Generator().manual_seed(1))
        known = {0: set(), 1: set()}  # type: dict[int, set[bytes]]
        for scale in (0, 1):
            for dy in range(2 << scale):
                for dx in range(2 << scale):
                    shifted = np.roll(planes, (dy, dx), (0, 1))
                    for flipped in (shifted, shifted[::-1], shifted[:, ::-1], shifted[::-1, ::-1]):
                        known[scale] |= {
                            row.astype(np.int16).tobytes() for row in reference._context(flipped, scale, band)[0]
                        }
        for row, scale in zip(batch.inputs.numpy(), batch.scale.tolist(), strict=True):
            assert row.astype(np.int16).tobytes() in known[scale]


def test_estimated_bits_are_the_mixture_s() -> None:
    """One component of half a pixel's scale on the true value: the logistic mass of one pixel."""
    parameters = torch.zeros(1, 60)
    parameters[:, :15] = 24
    bits = mixture_bits(parameters, torch.zeros(1, 3), (1, 1, 1))
    mass = np.tanh(0.5)  # logistic mass of -1/2..1/2 at scale 1/2
    assert np.allclose(bits.numpy(), -np.log2(mass), atol=1e-3)


@pytest.fixture
def command(tmp_path: Path) -> list[str]:
    from PIL import Image

    photos = tmp_path / "photos"
    photos.mkdir()
    for seed in range(2):
        Image.fromarray(smooth(110, 120, seed=seed)).save(photos / f"{seed}.png")
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"name": "tiny", "width": 8, "depth": 1, "batch": 64, "steps": 600, "warmup": 2}))
    return [str(config), "--photos", str(photos), "--validate", str(photos), "--run"]


def test_the_command_trains_plots_and_exports(command: list[str], tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert main([*command, str(run)]) == 0
    assert main([*command, str(run)]) == 0  # resumes at the end: nothing left to train
    model = models.read_model(run / "tiny.safetensors")
    assert (model.spec.name, model.spec.width, model.spec.depth) == ("tiny", 8, 1)
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
    config = TrainingConfig(name="tiny", width=8, depth=1, steps=10**9, minutes=0.5 / 60, batch=64)
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
        engine = engines.get(name)
        assert decode_with(engine, encode_with(engine, pixels, "tiny")) == pixels.tobytes()
