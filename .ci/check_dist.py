"""Builds an sdist and from it a wheel, checks what both hold, and installs and uninstalls the wheel."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import tempfile
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
AUTOLOAD = ("llicti_autoload.pth", "llicti_autoload.start")
MIME_TYPE = "share/mime/packages/llicti.xml"


def run(*command: str | Path) -> str:
    """Runs a command, away from the source tree; returns what it printed."""
    result = subprocess.run(command, cwd="/", text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if result.returncode:
        sys.exit(f"{' '.join(map(str, command))}\n{result.stdout}")
    return result.stdout


def tracked(*paths: str) -> set[str]:
    """The files under git at these paths."""
    return set(subprocess.check_output(["git", "ls-files", *paths], cwd=ROOT, text=True).split("\n")) - {""}


def check_sdist(sdist: Path) -> list[str]:
    with tarfile.open(sdist) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    return [f"sdist lacks {name}" for name in sorted(tracked() - held)]


def check_wheel(wheel: Path) -> list[str]:
    held = set(zipfile.ZipFile(wheel).namelist())
    native = "llicti_core/engines/native/"
    wanted = {name for name in tracked("llicti_core", "llicti_plugin") if not name.startswith(f"{native}src/")}
    wanted -= {f"llicti_plugin/{name}" for name in (*AUTOLOAD, Path(MIME_TYPE).name)}
    data = "-".join(wheel.name.split("-")[:2]) + ".data/data/"
    wanted |= {*AUTOLOAD, data + MIME_TYPE}
    problems = [f"wheel lacks {name}" for name in sorted(wanted - held)]
    modules = {name for name in held if name.startswith(f"{native}_native.") and not name.endswith(".pyi")}
    problems += [] if modules else ["wheel lacks the native engine"]
    extra = {name for name in held - wanted - modules if ".dist-info/" not in name}
    return problems + [f"wheel holds {name}, which is not under git" for name in sorted(extra)]


def check_uninstall(wheel: Path, folder: Path) -> list[str]:
    """Whether the autoload files and the description for desktops come and go with the package."""
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    pip = (python, "-m", "pip", "--disable-pip-version-check", "--quiet")
    site = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('platlib'))").strip())
    run(*pip, "install", "--no-deps", wheel)
    installed = [*(site / name for name in AUTOLOAD), folder / MIME_TYPE]
    problems = [f"not installed: {path}" for path in installed if not path.is_file()]
    noise = run(python, "-c", "pass")  # Pillow and imageio are missing here, and that must not show
    problems += [f"Python starts with: {noise}"] if noise else []
    run(*pip, "uninstall", "--yes", "llicti")
    return problems + [f"left behind: {path}" for path in sorted(folder.rglob("*llicti*"))]


def main() -> int:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        run(sys.executable, "-m", "build", "--outdir", folder, ROOT)
        (sdist,) = folder.glob("*.tar.gz")
        (wheel,) = folder.glob("*.whl")
        problems = check_sdist(sdist) + check_wheel(wheel) + check_uninstall(wheel, folder / "venv")
        for problem in problems:
            print(problem)
        print(f"{sdist.name}: {sdist.stat().st_size:,} bytes; {wheel.name}: {wheel.stat().st_size:,} bytes")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
