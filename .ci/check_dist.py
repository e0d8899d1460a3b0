"""Checks what the sdist and the wheels hold.

.ci/check_dist.py              builds an sdist and from it a wheel, checks both, installs and uninstalls
.ci/check_dist.py dist/*.whl   checks wheels that have been built, for any system
"""

from __future__ import annotations

import email
import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
AUTOLOAD = ("llicti_autoload.pth", "llicti_autoload.start")
# Where what desktops read is installed, and where it is in the tree.
DESKTOP = {
    "share/mime/packages/llicti.xml": "llicti_plugin/llicti.xml",
    "share/thumbnailers/llicti.thumbnailer": "llicti_plugin/llicti.thumbnailer",
}
LICENCES = ("LICENSE", "licenses/libstdc++.txt", "licenses/nanobind.txt", "licenses/robin-map.txt")
DIST_INFO = {"METADATA", "RECORD", "WHEEL", "entry_points.txt", *(f"licenses/{name}" for name in LICENCES)}
NATIVE = "llicti_core/engines/native/"


def run(*command: str | Path) -> str:
    """Runs a command, away from the source tree; returns what it printed."""
    result = subprocess.run(command, cwd="/", text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if result.returncode:
        sys.exit(f"{' '.join(map(str, command))}\n{result.stdout}")
    return result.stdout


def tracked(*paths: str) -> set[str]:
    """The files under git at these paths."""
    return set(subprocess.check_output(["git", "ls-files", *paths], cwd=ROOT, text=True).split("\n")) - {""}


def stated_version() -> str:
    """The one that pyproject.toml states."""
    (version,) = re.findall(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text("utf-8"), re.MULTILINE)
    return version


def check_version() -> list[str]:
    """The changelog's newest heading, and the tag where a workflow runs for one, must agree with pyproject.toml."""
    version = stated_version()
    heading = re.findall("^## (.+)$", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)[0]
    problems = [] if heading.split()[0] == version else [f"CHANGELOG begins with {heading}, not with {version}"]
    if os.environ.get("GITHUB_REF_TYPE") == "tag":
        tag = os.environ["GITHUB_REF_NAME"]
        problems += [] if tag == f"v{version}" else [f"the tag is {tag}, and the version {version}"]
        problems += ["CHANGELOG says that the version is unreleased"] if "unreleased" in heading else []
    return problems


def check_sdist(sdist: Path) -> list[str]:
    with tarfile.open(sdist) as archive:
        held = {member.name.partition("/")[2] for member in archive.getmembers() if member.isfile()}
        (info,) = (name for name in archive.getnames() if name.count("/") == 1 and name.endswith("/PKG-INFO"))
        stated = email.message_from_binary_file(archive.extractfile(info))["Version"]  # type: ignore[arg-type]
    problems = [f"sdist lacks {name}" for name in sorted(tracked() - held)]
    problems += [f"sdist holds {name}, which is not under git" for name in sorted(held - tracked() - {"PKG-INFO"})]
    return problems + ([] if stated == stated_version() else [f"sdist says that it is version {stated}"])


def check_wheel(wheel: Path) -> list[str]:
    archive = zipfile.ZipFile(wheel)
    held = {name for name in archive.namelist() if not name.endswith("/")}
    package, version, python, abi, platform = wheel.stem.split("-")
    info, data = f"{package}-{version}.dist-info/", f"{package}-{version}.data/data/"

    # Where files are installed, by where they are in the tree.
    installed = {name: name for name in tracked("llicti_core", "llicti_plugin") if not name.startswith(f"{NATIVE}src/")}
    installed |= {f"llicti_plugin/{name}": name for name in AUTOLOAD}
    installed |= {source: data + target for target, source in DESKTOP.items()}
    installed |= {name: f"{info}licenses/{name}" for name in LICENCES}
    wanted = {*installed.values(), *(info + name for name in DIST_INFO)}
    problems = [f"wheel lacks {name}" for name in sorted(wanted - held)]
    problems += [
        f"{name} in the wheel is not {source}"
        for source, name in installed.items()
        if name in held and archive.read(name) != (ROOT / source).read_bytes()
    ]

    # One wheel serves CPython 3.12 and later, but for builds without the GIL.
    engine = "_native.pyd" if platform.startswith("win") else "_native.abi3.so"
    stable = int(python.removeprefix("cp3")) >= 12 and not abi.endswith("t")
    if (stable and (python, abi) != ("cp312", "abi3")) or not (stable or abi in (python, f"{python}t")):
        problems.append(f"tags are {python}-{abi}")
    engines = {name for name in held if name.startswith(f"{NATIVE}_native.") and not name.endswith(".pyi")}
    if len(engines) != 1 or (stable and engines != {NATIVE + engine}):
        problems.append(f"the wheel's native engine is {sorted(engines)}")
    problems += [f"wheel holds {name}, which is not under git" for name in sorted(held - wanted - engines)]

    if info + "METADATA" in held:
        stated = email.message_from_bytes(archive.read(info + "METADATA"))
        if not version == stated["Version"] == stated_version():
            problems.append(f"{wheel.name} says that it is version {stated['Version']}")
        if sorted(stated.get_all("License-File", [])) != sorted(LICENCES):
            problems.append(f"licences that the wheel tells of: {stated.get_all('License-File')}")
    return problems


def check_tags(wheel: Path) -> list[str]:
    """Whether the wheel that this Python has built is the one for it."""
    version = sys.version_info[1]
    if sysconfig.get_config_var("Py_GIL_DISABLED"):
        tags = f"cp3{version}-cp3{version}t"
    else:
        tags = f"cp3{version}-cp3{version}" if version < 12 else "cp312-abi3"
    return [] if f"-{tags}-" in wheel.name else [f"{wheel.name}: its tags should be {tags}"]


def check_installing(wheel: Path, folder: Path) -> list[str]:
    """Whether the autoload files and what desktops read come and go with the package, which knows its version."""
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    pip = (python, "-m", "pip", "--disable-pip-version-check", "--quiet")
    site = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('platlib'))").strip())
    run(*pip, "install", "--no-deps", wheel)
    installed = [*(site / name for name in AUTOLOAD), *(folder / name for name in DESKTOP)]
    problems = [f"not installed: {path}" for path in installed if not path.is_file()]
    noise = run(python, "-c", "pass")  # Pillow and imageio are missing here, and that must not show
    problems += [f"Python starts with: {noise}"] if noise else []
    version = run(python, "-c", "import llicti_core; print(llicti_core.__version__)").strip()
    problems += [] if version == stated_version() else [f"llicti_core.__version__ is {version}"]
    run(*pip, "uninstall", "--yes", "llicti")
    return problems + [f"left behind: {path}" for path in sorted(folder.rglob("*llicti*"))]


def main() -> int:
    problems = check_version()
    wheels = list(map(Path, sys.argv[1:]))
    for wheel in wheels:
        problems += check_wheel(wheel)
    if not wheels:
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            run(sys.executable, "-m", "build", "--outdir", folder, ROOT)
            (sdist,) = folder.glob("*.tar.gz")
            (wheel,) = folder.glob("*.whl")
            problems += check_sdist(sdist) + check_tags(wheel) + check_wheel(wheel)
            problems += check_installing(wheel, folder / "venv")
            print(f"{sdist.name}: {sdist.stat().st_size:,} bytes; {wheel.name}: {wheel.stat().st_size:,} bytes")
    for problem in problems:
        print(problem)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
