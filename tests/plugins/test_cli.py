"""The `llicti` command: its manners with any files, streams and names."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import time
import types
import warnings
from importlib.metadata import entry_points, version
from pathlib import Path
from typing import Any

import golden
import numpy as np
import pytest
from command import failure
from PIL import Image

import llicti_core
from llicti_core import models
from llicti_plugin import cli
from llicti_plugin.cli import batch
from llicti_plugin.cli.commands import SCALES
from llicti_plugin.cli.extras import how_to_install

Capture = pytest.CaptureFixture[str]

COMMAND = Path(sys.executable).with_name("llicti")
"""Beside this Python, where an installation puts it."""

printing = pytest.mark.parametrize(
    "arguments", [["--help"], ["--version"], ["verify", "a.llc", "a.llc"], ["decode", "a.llc", "-o-"]]
)
on_unix = pytest.mark.skipif(os.name != "posix", reason="files and signals as Unix has them")


def photograph(path: Path, mode: str = "RGB") -> Image.Image:
    """A small image with a gradient and noise, saved there."""
    noise = np.random.default_rng(1).integers(0, 20, (33, 47, 3))
    pixels = noise + np.mgrid[:33, :47].sum(axis=0)[..., np.newaxis]
    image = Image.fromarray(pixels.astype(np.uint8)).convert(mode)
    image.save(path)
    return image


def run(*arguments: object) -> None:
    """A command that must succeed."""
    assert cli.main([str(argument) for argument in arguments]) == 0


def process(*arguments: str | bytes | Path, **options: Any) -> subprocess.CompletedProcess[bytes]:
    """Runs the installed command as a process of its own."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    return subprocess.run([COMMAND, *arguments], timeout=600, **pipes)


# Encoding, decoding


def test_several_into_a_folder(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    for name in ("a.png", "b.bmp"):
        photograph(tmp_path / name)
    run("encode", tmp_path / "a.png", tmp_path / "b.bmp", "-o", tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.llc", "b.llc"]
    run("decode", tmp_path / "out/a.llc", tmp_path / "out/b.llc", "-o", tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.llc", "a.png", "b.llc", "b.png"]


def test_model(tmp_path: Path, capsys: Capture) -> None:
    photograph(tmp_path / "a.png")
    name = models.available()[0]
    with golden.learned():
        run("encode", tmp_path / "a.png", "--model", name)
    assert llicti_core.inspect((tmp_path / "a.llc").read_bytes()).model == name
    assert "no-such" in failure(["encode", tmp_path / "a.png", "--model", "no-such", "--force"], capsys)


def test_existing_files(tmp_path: Path, capsys: Capture) -> None:
    photograph(tmp_path / "a.png")
    (tmp_path / "a.llc").write_bytes(b"precious")
    said = failure(["encode", tmp_path / "a.png"], capsys)
    assert said == f"llicti: {tmp_path / 'a.llc'}: exists (--force overwrites it, --skip-existing leaves it)\n"
    run("encode", tmp_path / "a.png", "--skip-existing")
    assert capsys.readouterr() == ("", "")
    assert (tmp_path / "a.llc").read_bytes() == b"precious"
    run("encode", tmp_path / "a.png", "--force")
    before = (tmp_path / "a.png").read_bytes()
    assert str(tmp_path / "a.png") in failure(["decode", tmp_path / "a.llc"], capsys)
    run("decode", tmp_path / "a.llc", "--skip-existing")
    assert (tmp_path / "a.png").read_bytes() == before
    assert cli.main(["encode", str(tmp_path / "a.png"), "--skip-existing", "--force"]) == 2


@on_unix
def test_two_files_for_one_name(tmp_path: Path, capsys: Capture) -> None:
    for name in ("a.png", "a.bmp"):
        photograph(tmp_path / name)
    (tmp_path / "link").symlink_to(tmp_path, target_is_directory=True)
    assert cli.main(["encode", str(tmp_path / "a.png"), str(tmp_path / "link" / "a.bmp")]) == 2
    assert "same" in capsys.readouterr().err
    (tmp_path / "link").unlink()
    for output in ([], ["-o", str(tmp_path / "b.llc")], ["-o", "-"]):
        assert cli.main(["encode", str(tmp_path / "a.png"), str(tmp_path / "a.bmp"), *output]) == 2
        assert "same" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.bmp", "a.png"]


def test_interrupted_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    photograph(tmp_path / "a.png")

    def full_disk(partial: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full_disk)
    monkeypatch.setattr(os, "replace", full_disk)
    said = failure(["encode", tmp_path / "a.png"], capsys)
    assert said == f"llicti: {tmp_path / 'a.llc'}: No space left on device\n"
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


@on_unix
def test_standard_streams(tmp_path: Path) -> None:
    image = photograph(tmp_path / "a.png")
    with (tmp_path / "a.png").open("rb") as source, (tmp_path / "a.llc").open("wb") as target:
        assert process("encode", "-", stdin=source, stdout=target).returncode == 0
    (tmp_path / "b.png").write_bytes(process("decode", tmp_path / "a.llc", "-o", "-").stdout)
    with Image.open(tmp_path / "b.png") as decoded:
        assert (decoded.format, decoded.tobytes()) == ("PNG", image.tobytes())


# Batches


@pytest.mark.parametrize("command", ["encode", "decode", "info", "verify"])
def test_files_that_are_none(command: str, tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "text").write_text("no image")
    failure([command, tmp_path / "text"], capsys)
    assert "No such file" in failure([command, tmp_path / "missing"], capsys)
    assert "is a folder" in failure([command, tmp_path], capsys)


def test_goes_on_after_any_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    for name in "abcd":
        photograph(tmp_path / f"{name}.png")
    raised = iter([KeyError("a\nkey"), MemoryError(), RecursionError("too deep")])
    opened = Image.open

    def damaged(file: object) -> Image.Image:
        error = next(raised, None)
        if error:
            raise error
        return opened(file)  # type: ignore[arg-type]

    monkeypatch.setattr(Image, "open", damaged)
    assert cli.main(["encode", *(str(tmp_path / f"{name}.png") for name in "abcd")]) == 1
    first, second, third = capsys.readouterr().err.splitlines()
    assert first == f"llicti: {tmp_path / 'a.png'}: KeyError: 'a\\nkey'"
    assert second == f"llicti: {tmp_path / 'b.png'}: not enough memory"
    assert third == f"llicti: {tmp_path / 'c.png'}: RecursionError: too deep"
    assert [path.name for path in tmp_path.glob("*.llc")] == ["d.llc"]


def test_warnings_and_logs_are_told_in_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    photograph(tmp_path / "a.png")
    opened = Image.open

    def odd(file: object) -> Image.Image:
        for _ in range(2):
            warnings.warn("odd\nfile", UserWarning, stacklevel=1)
            logging.getLogger("tifffile").error("odd %s", "tag")
        warnings.warn("of no concern", DeprecationWarning, stacklevel=1)
        return opened(file)  # type: ignore[arg-type]

    monkeypatch.setattr(Image, "open", odd)
    run("encode", tmp_path / "a.png")
    name = tmp_path / "a.png"
    assert capsys.readouterr().err == f"llicti: {name}: odd file\nllicti: {name}: odd tag\n"


def test_target_that_cannot_be_written(tmp_path: Path, capsys: Capture) -> None:
    photograph(tmp_path / "a.png")
    said = failure(["encode", tmp_path / "a.png", "-o", tmp_path / "missing" / "a.llc"], capsys)
    assert said.startswith(f"llicti: {tmp_path / 'missing' / 'a.llc'}: ")


# What is printed, and where


def test_info(tmp_path: Path, capsys: Capture) -> None:
    photograph(tmp_path / "a.png")
    with golden.learned():
        run("encode", tmp_path / "a.png")
    run("info", tmp_path / "a.llc")
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    assert out.startswith(f"{tmp_path / 'a.llc'}: 47x33 RGB, uint8, model ")
    assert f"{(tmp_path / 'a.llc').stat().st_size} bytes" in out


def test_info_as_json(tmp_path: Path, capsys: Capture) -> None:
    photograph(tmp_path / "a.png")
    frames = [llicti_core.encode(np.zeros((3, 4), np.uint16), mode="I;16")] * 2
    (tmp_path / "b.llc").write_bytes(llicti_core.join(frames))
    with golden.learned():
        run("encode", tmp_path / "a.png")
    run("info", "--json", tmp_path / "a.llc", tmp_path / "b.llc")
    one, several = map(json.loads, capsys.readouterr().out.splitlines())
    header, size = llicti_core.inspect(tmp_path / "a.llc"), (tmp_path / "a.llc").stat().st_size
    assert one == {
        **{name: value for name, value in header._asdict().items() if name != "flat"},
        "path": str(tmp_path / "a.llc"),
        "bytes": size,
        "bits_per_subpixel": pytest.approx(8 * size / (47 * 33 * 3), abs=1e-6),
    }
    assert (several["width"], several["height"], several["dtype"], several["n_frames"]) == (4, 3, "uint16", 2)
    assert several["model"] is several["bits_per_subpixel"] is None


def test_heatmap(tmp_path: Path, capsys: Capture) -> None:
    pixels = np.zeros((64, 64, 3), np.uint8)
    pixels[:, 32:] = np.random.default_rng(0).integers(0, 256, (64, 32, 3))
    with golden.learned():
        (tmp_path / "a.llc").write_bytes(llicti_core.encode(pixels, effort=0))
    run("info", "--heatmap", tmp_path / "b.png", tmp_path / "a.llc")
    assert " bits per pixel; in " in capsys.readouterr().out
    with Image.open(tmp_path / "b.png") as image:
        brightness = np.asarray(image.convert("L"))
    assert brightness.shape == (64, 64)
    assert brightness[:, 40:].mean() > 4 * brightness[:, :24].mean()
    before = (tmp_path / "b.png").read_bytes()
    assert "b.png: exists" in failure(["info", "--heatmap", tmp_path / "b.png", tmp_path / "a.llc"], capsys)
    assert (tmp_path / "b.png").read_bytes() == before
    assert "c.jpg: does not end" in failure(["info", "--heatmap", tmp_path / "c.jpg", tmp_path / "a.llc"], capsys)
    assert cli.main(["info", "--heatmap", "b.png", "a.llc", "b.llc"]) == 2


def test_verify(tmp_path: Path, capsys: Capture) -> None:
    photograph(tmp_path / "a.png")
    run("encode", tmp_path / "a.png")
    run("verify", tmp_path / "a.llc")
    assert capsys.readouterr().out == f"{tmp_path / 'a.llc'}: ok\n"
    data = bytearray((tmp_path / "a.llc").read_bytes())
    (tmp_path / "a.llc").write_bytes(data + b"more")
    assert "4 bytes" in failure(["verify", tmp_path / "a.llc"], capsys)
    run("decode", tmp_path / "a.llc", "-o", tmp_path / "b.png")
    data[-1] ^= 1
    (tmp_path / "a.llc").write_bytes(data)
    failure(["verify", tmp_path / "a.llc"], capsys)


@on_unix
@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_names_that_cannot_be_shown(encoding: str, tmp_path: Path) -> None:
    name = os.fsencode(tmp_path) + b"/caf\xe9\n\xce\xa9.llc"
    Image.new("RGB", (4, 4)).save(os.fsdecode(name), "LLC")
    done = process("verify", name, name + b"?", env={**os.environ, "PYTHONIOENCODING": encoding})
    omega = "Ω" if encoding == "utf-8" else r"\u03a9"
    assert done.returncode == 1
    assert done.stdout.decode() == rf"{tmp_path}/caf\udce9\n{omega}.llc: ok" + "\n"
    assert done.stderr.decode() == rf"llicti: {tmp_path}/caf\udce9\n{omega}.llc?: No such file or directory" + "\n"


@on_unix
@pytest.mark.parametrize(
    "arguments", [["--help"], ["--version"], ["verify", "a.llc", "a.llc"], ["decode", "a.llc", "-o-"]]
)
def test_closed_pipe(arguments: list[str], tmp_path: Path) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "a.llc")
    reading, writing = os.pipe()
    os.close(reading)
    done = process(*arguments, cwd=tmp_path, stdout=writing)
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, b"")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
@pytest.mark.parametrize(
    "arguments", [["--help"], ["--version"], ["verify", "a.llc", "a.llc"], ["decode", "a.llc", "-o-"]]
)
def test_full_device(arguments: list[str], tmp_path: Path) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "a.llc")
    with open("/dev/full", "wb") as full:
        done = process(*arguments, cwd=tmp_path, stdout=full)
        assert (done.returncode, done.stderr) == (1, b"llicti: standard output: No space left on device\n")
        # Python's streams have a buffer, but where the environment says otherwise.
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
        assert process("verify", tmp_path / "missing", stderr=full, env=environment).returncode == 1


@on_unix
def test_without_standard_streams(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "a.llc")
    program = 'exec "$0" verify a.llc missing.llc >&- 2>&-'
    assert subprocess.run(["/bin/sh", "-c", program, COMMAND], cwd=tmp_path, timeout=600).returncode == 1


@on_unix
def test_ctrl_c(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")  # waits for a writer who never comes
    photograph(tmp_path / "a.png")
    files = [tmp_path / "a.png", tmp_path / "pipe.png"]
    with subprocess.Popen([COMMAND, "encode", *files], stderr=subprocess.PIPE) as encoding:
        while not (tmp_path / "a.llc").exists():
            assert encoding.poll() is None
            time.sleep(0.01)
        time.sleep(0.1)
        encoding.send_signal(signal.SIGINT)
        assert encoding.communicate(timeout=600)[1] == b"llicti: interrupted\n"
    assert encoding.returncode == 130


def test_ctrl_c_wherever_a_command_is(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    def interrupted(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(batch, "run", interrupted)
    assert cli.main(["verify", "a.llc"]) == 130
    assert capsys.readouterr() == ("", "llicti: interrupted\n")


@on_unix
def test_ctrl_c_while_the_codec_works(tmp_path: Path) -> None:
    Image.effect_noise((2000, 1500), 60).convert("RGB").save(tmp_path / "a.png", compress_level=1)
    with subprocess.Popen([COMMAND, "encode", "--effort", "3", tmp_path / "a.png"], stderr=subprocess.PIPE) as encoding:
        time.sleep(1.5)
        assert encoding.poll() is None
        encoding.send_signal(signal.SIGINT)
        sent = time.monotonic()
        assert encoding.communicate(timeout=600)[1] == b"llicti: interrupted\n"
        assert time.monotonic() - sent < 3  # a fraction of a second where the machine has nothing else to do
    assert encoding.returncode == 130
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_ctrl_c_leaves_nothing_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    photograph(tmp_path / "a.png")

    def interrupted(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupted)
    monkeypatch.setattr(Path, "replace", interrupted)
    assert cli.main(["encode", str(tmp_path / "a.png"), str(tmp_path / "missing")]) == 130
    assert capsys.readouterr() == ("", "llicti: interrupted\n")
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


@pytest.mark.parametrize(
    "arguments",
    [[], ["no-such"], ["encode"], ["encode", "a", "--effort", "9"], ["decode", "a", "--scale", "3"], ["info", "--x"]],
)
def test_usage_errors(arguments: list[str], capsys: Capture) -> None:
    assert cli.main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "Usage: llicti" in err


# The installation


def test_installed_under_two_names() -> None:
    scripts = {script.name: script.value for script in entry_points(group="console_scripts")}
    assert scripts["llicti"] == scripts["llc"] == "llicti_plugin.cli:main"


@pytest.mark.parametrize("command", [[COMMAND], [COMMAND.with_name("llc")], [sys.executable, "-m", "llicti_core"]])
def test_installed_command(command: list[str | Path], tmp_path: Path) -> None:
    run = subprocess.run([*command, "--version"], check=True, cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    assert run.stdout == f"llicti {version('llicti')}\n"


@pytest.mark.parametrize("switched_off", [False, True])
def test_version_tells_where_libraries_do_not_know_the_format(switched_off: bool) -> None:
    """As in folders of PYTHONPATH, where Python reads no .pth files; the first line stays what scripts look for."""
    environment = {**os.environ, "LLICTI_AUTOLOAD": "0" if switched_off else "1"}
    run = process("--version", env=environment)
    assert (run.returncode, run.stdout.decode().strip()) == (0, f"llicti {version('llicti')}")
    assert (b"`import llicti_plugin` makes them" in run.stderr) == switched_off
    assert bool(run.stderr) == switched_off


def test_completion() -> None:
    # As a shell asks for what may follow `llicti ve`.
    asked = {"_LLICTI_COMPLETE": "bash_complete", "COMP_WORDS": "llicti ve", "COMP_CWORD": "1"}
    run = subprocess.run([COMMAND], env={**os.environ, **asked}, stdout=subprocess.PIPE, text=True)
    assert run.stdout == "plain,verify\n"


def test_missing_extra(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    for name in [name for name in sys.modules if name.startswith("llicti_core.training")]:
        monkeypatch.delitem(sys.modules, name)
    assert f"train needs torch: {how_to_install('train')}" in failure(["train", "photos"], capsys)


def test_errors_of_commands_with_a_command_line_of_their_own(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    def fails(arguments: list[str]) -> int:
        raise FileNotFoundError(2, "No such file or directory", arguments[0])

    command = types.ModuleType("llicti_core.paper.run")
    command.main = fails  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "llicti_core.paper.run", command)
    assert failure(["run", "--odd.json"], capsys) == "llicti: run: --odd.json: No such file or directory\n"


def test_hints_name_packages() -> None:
    assert how_to_install("deep").startswith("pip install 'imagecodecs>=")
    assert "tifffile" in how_to_install("deep")
    assert "no-such" in how_to_install("no-such")


def test_help_imports_nothing_heavy() -> None:
    program = (
        "import sys; from llicti_plugin import cli; cli.main(['--help']); cli.main(['decode', '--help']); "
        "print(sorted({'PIL', 'imageio', 'llicti_core', 'numpy', 'torch'} & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", program], check=True, cwd="/", stdout=subprocess.PIPE, text=True).stdout
    assert out.endswith("\n[]\n")
    assert SCALES == llicti_core.SCALES  # which is why it may be said twice
