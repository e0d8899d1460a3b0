"""The paper's codec: networks, mixtures, configurations, whole files, and a run from training to evaluation."""

from __future__ import annotations

import json
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from images import SIZES, noise, smooth
from PIL import Image

torch = pytest.importorskip("torch")

from llicti_core.paper import codec  # noqa: E402
from llicti_core.paper.config import Config  # noqa: E402
from llicti_core.paper.data import from_contexts  # noqa: E402
from llicti_core.paper.mixture import Mixture, integer_table  # noqa: E402
from llicti_core.paper.network import (  # noqa: E402
    Network,
    initialise,
    load_checkpoint,
    load_weights,
    phase_of,
    to_pixels,
    to_planes,
)
from llicti_core.paper.training import Training, estimate  # noqa: E402
from llicti_core.pyramid import phase_size  # noqa: E402
from llicti_core.spec import BANDS  # noqa: E402
from llicti_core.training.data import Photographs, cumulative_shares  # noqa: E402
from llicti_plugin import cli  # noqa: E402

pytestmark = pytest.mark.slow

Tensor = Any
"""torch's, which type checkers do not know here."""

CONFIGS = Path(__file__).parents[2] / "configs"

FIRST_LAYERS = [
    {"layer0_00_11": (4, 4)},
    {"layer0_00_01": (3, 4), "layer0_11_01": (4, 3)},
    {"layer0_00_10": (4, 3), "layer0_11_10": (3, 4), "layer0_01_10": (4, 4)},
]
"""Names and kernels in the authors' checkpoints, by band."""

PARAMETERS = {"LLICTI-A": (88, 196_596), "LLICTI-B": (60, 113_940)}


class CheckingCoder:
    """Stores symbols as they are, with a checksum of the tables, which must be the same again when decoding."""

    def encode(self, table: Tensor, symbols: Tensor) -> bytes:
        """See codec.EntropyCoder."""
        assert table.dtype == symbols.dtype == torch.int16
        unsigned = table.to(torch.int64) & 0xFFFF
        unsigned[:, -1] += torch.where(unsigned[:, -1] == 0, 1 << 16, 0)
        assert (unsigned.diff(dim=1) > 0).all()
        assert symbols.min() >= 0
        assert symbols.max() < table.shape[1] - 1
        return zlib.crc32(table.numpy().tobytes()).to_bytes(4, "little") + symbols.numpy().tobytes()

    def decode(self, table: Tensor, data: bytes) -> Tensor:
        """See codec.EntropyCoder."""
        assert data[:4] == zlib.crc32(table.numpy().tobytes()).to_bytes(4, "little")
        return torch.from_numpy(np.frombuffer(data[4:], np.int16).copy())


def network(channels: int = 8, levels: int = 5, seed: int = 0) -> Network:
    """A network with random weights and, since they are initialised, mixtures of every width."""
    torch.manual_seed(seed)
    result = Network(channels, levels)
    initialise(result)
    return result


def scaled(pixels: np.ndarray) -> Tensor:
    return torch.from_numpy(to_planes(pixels)).float().unsqueeze(0) / 255


def context(planes: Tensor, level: int, index: int, row: int, column: int) -> Tensor:
    """The neighbours [3, neighbours] of a pixel, one by one; outside, the nearest of the same phase."""
    height, width = planes.shape[-2:]
    half, neighbours = 1 << level, []
    for phase, dy, dx in BANDS[index].neighbours:
        rows = range(int(phase[0]) * half, height, 2 * half)
        columns = range(int(phase[1]) * half, width, 2 * half)
        y = min(max(row + dy * half, rows[0]), rows[-1])
        x = min(max(column + dx * half, columns[0]), columns[-1])
        neighbours.append(planes[0, :, y, x])
    return torch.stack(neighbours, dim=1)


def naive_outputs(state: dict[str, Tensor], index: int, neighbours: Tensor) -> Tensor:
    """A band's 60 outputs for a pixel, from documented names alone, one parameter kind after the other."""
    prefix = f"entropymodel.entmdls_scale_band.0.{index}."
    total: Tensor = 0
    start = 0
    for name, (height, width) in FIRST_LAYERS[index].items():
        kernel = state[f"{prefix}{name}.weight"].flatten(2)
        total = total + (kernel * neighbours[:, start : start + height * width]).sum(dim=(1, 2))
        total = total + state[f"{prefix}{name}.bias"]
        start += height * width
    hidden = total.clamp(min=0)
    for layer, last in ((0, False), (2, True)):
        weight, bias = state[f"{prefix}layers1toL.{layer}.weight"], state[f"{prefix}layers1toL.{layer}.bias"]
        hidden = torch.cat([w[:, :, 0, 0] @ h for w, h in zip(weight.chunk(4), hidden.chunk(4), strict=True)]) + bias
        hidden = hidden if last else hidden.clamp(min=0)
    return hidden


@pytest.mark.parametrize("index", range(3))
@pytest.mark.parametrize("level", [0, 1])
def test_outputs_are_those_of_the_windows(index: int, level: int) -> None:
    """At every pixel of an image with odd sides, so with phases a row and a column short."""
    torch.manual_seed(1)
    net, planes = Network(5), scaled(noise(13, 11))
    band = BANDS[index]
    rows, columns = (range(parity << level, size, 2 << level) for parity, size in ((band.row, 13), (band.column, 11)))
    with torch.no_grad():
        outputs = net.outputs(planes, level, index)
        contexts = torch.stack([context(planes, level, index, row, column) for row in rows for column in columns])
        expected = torch.stack([naive_outputs(net.state_dict(), index, one) for one in contexts])
        torch.testing.assert_close(outputs, expected)
        torch.testing.assert_close(net.band(index).of_contexts(contexts), expected)


def test_planes_are_reversible_and_in_their_ranges() -> None:
    corners = np.array([[[r, g, b] for r in (0, 255) for g in (0, 255) for b in (0, 255)]], np.uint8)
    for pixels in (corners, noise(20, 30)):
        planes = to_planes(pixels)
        assert (to_pixels(planes) == pixels).all()
        assert -127 <= planes[0].min() <= planes[0].max() <= 128


@pytest.mark.parametrize("name", PARAMETERS)
def test_a_checkpoint_of_the_authors_loads(name: str, tmp_path: Path) -> None:
    channels, parameters = PARAMETERS[name]
    hidden, state = 4 * channels, {}
    for index, layers in enumerate(FIRST_LAYERS):
        prefix = f"entropymodel.entmdls_scale_band.0.{index}."
        shapes: dict[str, tuple[int, ...]] = {key: (hidden, 3, *kernel) for key, kernel in layers.items()}
        shapes["layers1toL.0"] = (hidden, channels, 1, 1)
        shapes["layers1toL.2"] = (60, channels, 1, 1)
        for key, shape in shapes.items():
            state[f"{prefix}{key}.weight"], state[f"{prefix}{key}.bias"] = torch.rand(shape), torch.rand(shape[0])
    torch.save({"epoch": 45, "state_dict": state}, tmp_path / "model_best.pth.tar")
    net = Network(channels)
    load_weights(net, load_checkpoint(tmp_path / "model_best.pth.tar")["state_dict"], "it")
    assert all(torch.equal(value, state[key]) for key, value in net.state_dict().items())
    assert sum(value.numel() for value in net.parameters()) == parameters


def test_other_checkpoints_are_refused(tmp_path: Path) -> None:
    state = Network(4).state_dict()
    with pytest.raises(ValueError, match=r"layer0_00_11.bias is 16, but 32 in a network of 8 channels"):
        load_weights(Network(8), state, "it")
    del state["entropymodel.entmdls_scale_band.0.2.layer0_01_10.bias"]
    with pytest.raises(ValueError, match=r"layer0_01_10.bias is absent"):
        load_weights(Network(4), state, "it")
    torch.save([1], tmp_path / "list.pth.tar")
    (tmp_path / "text.pth.tar").write_text("no checkpoint")
    for name in ("list.pth.tar", "text.pth.tar"):
        with pytest.raises(ValueError, match=name):
            load_checkpoint(tmp_path / name)


@pytest.mark.parametrize("channel", range(3))
def test_likelihoods_sum_to_one_and_are_what_tables_hold(channel: int) -> None:
    torch.manual_seed(2)
    outputs = torch.randn(6, 60) * 0.1
    levels = torch.arange(-600, 601)
    others = torch.randn(6, 1, 3) * 0.2
    values = others.repeat(1, len(levels), 1)
    values[..., channel] = levels / 255
    likelihoods = Mixture.of(outputs.repeat_interleave(len(levels), 0)).likelihoods(values.view(-1, 3))
    likelihoods = likelihoods.view(6, len(levels), 3)[..., channel]
    torch.testing.assert_close(likelihoods.sum(dim=1), torch.ones(6), atol=1e-4, rtol=0)
    table = Mixture.of(outputs).table(channel, others[:, 0], -255, 255).to(torch.int64) & 0xFFFF
    inside = (levels >= -254) & (levels <= 254)
    expected = likelihoods[:, inside] * (65536 - 511) + 1  # what is left when each symbol has one unit, and that unit
    assert (table.diff(dim=1)[:, 1:-1] - expected).abs().max() < 1.1


def test_colours_means_follow_the_channels_before() -> None:
    outputs = torch.zeros(1, 60)
    outputs[:, 45:50], outputs[:, 50:55], outputs[:, 55:] = 0.5, 0.25, 2  # a, b, d
    mixture, values = Mixture.of(outputs), torch.tensor([[0.1, 0.2, 0.3]])
    means = [mixture.component_means(channel, values)[0, 0].item() for channel in range(3)]
    assert means == pytest.approx([0, 0.5 * 0.1, 0.25 * 0.1 + 2 * 0.2])


def test_a_flat_stretch_leaves_every_symbol_something() -> None:
    wobbling = torch.tensor([0.0, 0.5, 0.5 - 1e-7, 0.5, 1.0]).repeat(1000, 1) * torch.linspace(0.9, 1, 1000)[:, None]
    table = integer_table(wobbling).to(torch.int64) & 0xFFFF
    table[:, -1] += torch.where(table[:, -1] == 0, 1 << 16, 0)
    assert (table.diff(dim=1) > 0).all()


@pytest.mark.parametrize("levels", [2, 5])
@pytest.mark.parametrize("size", [*SIZES, (40, 37)])
def test_files_decode_to_the_same_pixels(size: tuple[int, int], levels: int) -> None:
    net, coder = network(4, levels), CheckingCoder()
    for pixels in (smooth(*size), noise(*size)):
        assert (codec.decode(net, codec.encode(net, pixels, coder), coder) == pixels).all()


@pytest.mark.filterwarnings("ignore")
def test_torchac_codes_what_is_estimated(tmp_path: Path) -> None:
    try:
        coder = codec.Torchac()
    except ImportError as error:
        pytest.skip(str(error))
    pixels = smooth(40, 37)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    for net in (Network(8), network(8)):  # the first one's mixtures lie anywhere, so that tables end far from 0 and 1
        data = codec.encode(net, pixels, coder)
        assert (codec.decode(net, data, coder) == pixels).all()
    ((_, estimated),) = estimate(net, [tmp_path / "a.png"])
    headers = codec.HEADER.size + len(list(codec.order(5))) * (codec.LENGTH.size + 2)  # torchac ends with whole bytes
    assert 8 * (len(data) - headers) / pixels.size == pytest.approx(estimated, rel=0.03)


def test_damaged_files_are_refused() -> None:
    net, coder = network(4, 2), CheckingCoder()
    data = codec.encode(net, smooth(9, 10), coder)
    for broken in (b"", b"LLTP", b"x" + data[1:], data[:-1], data[: codec.HEADER.size + 5]):
        with pytest.raises(ValueError, match=r"not a file|too early"):
            codec.decode(net, broken, coder)
    with pytest.raises(ValueError, match="2 levels, the network 5"):
        codec.decode(network(4), data, coder)
    with pytest.raises(ValueError, match="uint8"):
        codec.encode(net, smooth(9, 10, 1), coder)


def test_published_configurations_run() -> None:
    a, b = (Config.read(CONFIGS / f"llicti_{name}.json") for name in "AB")
    assert (a.channels, a.levels, a.patch_size) == (88, 5, 160)
    assert (b.channels, b.levels, b.patch_size) == (60, 2, 128)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("mode", "test"),
        ("ycocg", False),
        ("clr_joint_mode", 1),
        ("conv_layers", 4),
        ("Evens", 6),
        ("dwtlevels", [0, 2]),
        ("useprevlevNN", [False, True, False, True, True]),
        ("distribution", "logistic"),
        ("num_mixtures", 3),
        ("activfun", "gelu"),
        ("chs", []),
        ("batch_size", 0),
        ("batch_size", "many"),
        ("learning_rate", True),
        ("num_train_dirs", 5),
        ("wavelet", "haar"),
    ],
)
def test_errors_of_configurations_name_the_key(
    key: str, value: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps({key: value}))
    assert cli.main(["run", str(path)]) == 1
    assert f"config.json: {key}: " in capsys.readouterr().err


def test_a_missing_configuration_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "config.json"
    assert cli.main(["run", str(path)]) == 1
    assert capsys.readouterr().err.startswith(f"llicti: run: {path}: ")


def test_contexts_are_those_of_the_photograph() -> None:
    """On a slope, a neighbour differs from the pixel by its distance."""
    rows, columns = np.mgrid[:129, :129]
    pixels = np.repeat((rows + columns).astype(np.uint8)[..., None], 3, axis=2)
    generator = torch.Generator().manual_seed(0)
    contexts = Photographs([pixels]).draw(500, cumulative_shares([0.5, 0.5]), generator)
    for index, band in enumerate(BANDS):
        neighbours, values = (part * 255 for part in from_contexts(contexts, index))
        half = 2.0 ** contexts.level[index].view(-1, 1)
        offsets = torch.tensor([(dy, dx) for _, dy, dx in band.neighbours])
        differences = (neighbours[:, 0] - values[:, :1]).round()
        flips = [(offsets * torch.tensor(flip)).sum(dim=1) * half for flip in ((1, 1), (1, -1), (-1, 1), (-1, -1))]
        assert torch.stack([(differences == flip).all(dim=1) for flip in flips]).any(dim=0).all()
        assert -127 <= values[:, 0].min().round() <= values[:, 0].max().round() <= 255 - 127


def settings(folder: Path, **changes: Any) -> dict[str, Any]:
    """A tiny configuration, with four photographs to train on and one to test with."""
    for name, count, size in (("train", 4, (130, 134)), ("test", 1, (40, 37))):
        (folder / name).mkdir(exist_ok=True)
        for index in range(count):
            Image.fromarray(smooth(*size, seed=index)).save(folder / name / f"{index}.png")
    values = {
        "multi_exp_name": str(folder / "runs"), "chs": [4, 4], "dwtlevels": [0, 1], "useprevlevNN": [False, True],
        "batch_size": 1, "patch_size": 32, "learning_rate": 0.01, "max_epoch": 2, "loss_prnt_iters": 2,
        "train_data_1": str(folder / "train"), "valid_data": str(folder / "test"), "test_data": str(folder / "test"),
        "steps_per_epoch": 4,
    }  # fmt: skip
    return {**values, **changes}


def test_train_validate_and_evaluate(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(codec, "Torchac", CheckingCoder)
    printed = {}
    for mode in ("train", "validate", "eval_model"):
        (tmp_path / "config.json").write_text(json.dumps(settings(tmp_path, mode=mode)))
        assert cli.main(["run", str(tmp_path / "config.json")]) == 0
        printed[mode] = capsys.readouterr().out
    assert "epoch 2/2" in printed["train"]
    assert "0.png" in printed["validate"]
    assert "37x40" in printed["eval_model"]
    assert "decoded image matches" in printed["eval_model"]
    assert printed["eval_model"].count("\n") == 1 + 3 + 18 + 1  # the image, totals, streams, the rest


@pytest.mark.parametrize("contexts", [0, 32])
def test_training_resumes_to_the_same_weights(tmp_path: Path, contexts: int) -> None:
    whole = Training(Config.of(settings(tmp_path, contexts=contexts, exp_name="whole")))
    list(whole.run())
    changes = {"contexts": contexts, "exp_name": "cut", "checkpoint_file": "checkpoint.pth.tar"}
    for line in Training(Config.of(settings(tmp_path, **changes))).run():
        if line.startswith("epoch 1/"):
            break
    resumed = Training(Config.of(settings(tmp_path, **changes, resume_training=True)))
    assert resumed.epoch == 1
    list(resumed.run())
    state = resumed.network.state_dict()
    assert all(torch.equal(value, state[key]) for key, value in whole.network.state_dict().items())


def test_training_starts_from_weights_alone(tmp_path: Path) -> None:
    state = Network(4, 2).state_dict()
    torch.save({"state_dict": state}, tmp_path / "authors.pth.tar")
    changes = {"resume_training": True, "checkpoint_file": str(tmp_path / "authors.pth.tar")}
    training = Training(Config.of(settings(tmp_path, **changes)))
    assert training.epoch == 0
    assert all(torch.equal(value, state[key]) for key, value in training.network.state_dict().items())


def test_without_torch_the_command_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delitem(sys.modules, "llicti_core.paper.run", raising=False)
    assert cli.main(["run", "config.json"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("llicti: run needs torch: pip install ")
    assert "torchac" in error


def test_training_learns(tmp_path: Path) -> None:
    changes = {"contexts": 256, "steps_per_epoch": 50, "max_epoch": 3}
    lines = [line for line in Training(Config.of(settings(tmp_path, **changes))).run() if "validation" in line]
    bits = [float(line.split("validation ")[1].split()[0]) for line in lines]
    assert bits[-1] < bits[0] - 0.2


def test_phases_are_those_of_the_pyramid() -> None:
    planes = torch.zeros(3, 7, 10)
    for band in BANDS:
        for level in range(5):
            sizes = phase_size(7, level, band.row), phase_size(10, level, band.column)
            assert phase_of(planes, level, band.row, band.column).shape[1:] == sizes
