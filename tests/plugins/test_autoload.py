"""The import hook, each case in a Python process of its own, as it is started by the installed package."""

from __future__ import annotations

import itertools
import os
import site
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import imageio
import PIL
import pytest

import llicti_plugin

SITE_DIRECTORIES = [*site.getsitepackages(), site.getusersitepackages()]
START_LINES = [path for d in SITE_DIRECTORIES if (path := Path(d, "llicti_autoload.pth")).exists()]

pytestmark = pytest.mark.skipif(
    not START_LINES, reason="llicti_autoload.pth is not in site-packages: the package is not installed"
)

PILLOW_IMPORTS = {
    "from": "from PIL import Image",
    "import as": "import PIL.Image as X",
    "importlib": "import importlib; importlib.import_module('PIL.Image')",
    "a submodule": "import PIL.ImageOps",
    "inside another library": "import another",
    "after imageio": "import imageio.v3; from PIL import Image",
    "threads": "from concurrent.futures import ThreadPoolExecutor\n"
    "with ThreadPoolExecutor(8) as pool: list(pool.map(__import__, ['PIL.Image', 'imageio'] * 4))",
    "lazily": "import importlib.util, sys, PIL\n"
    "spec = importlib.util.find_spec('PIL.Image')\n"
    "loader = spec.loader = importlib.util.LazyLoader(spec.loader)\n"
    "PIL.Image = sys.modules['PIL.Image'] = importlib.util.module_from_spec(spec)\n"
    "loader.exec_module(PIL.Image); PIL.Image.new",
}

IMAGEIO_IMPORTS = {
    "v3": "import imageio.v3",
    "v2": "import imageio.v2",
    "top": "import imageio",
    "core": "import imageio.core.imopen",
    "config": "from imageio.config import known_plugins",
    "importlib": "import importlib; importlib.import_module('imageio.v3')",
    "after Pillow": "import PIL.Image, imageio.v3",
}

PILLOW_ROUND_TRIP = """
import sys
Image = sys.modules["PIL.Image"]
assert Image.registered_extensions()[".llc"] == "LLC" and Image.MIME["LLC"] == "image/x-llc"
im = Image.linear_gradient("L").resize((20, 13))
im.save("a.llc")
with Image.open("a.llc") as reloaded:
    assert (reloaded.format, reloaded.mode, reloaded.size) == ("LLC", im.mode, im.size)
    assert reloaded.tobytes() == im.tobytes()
"""

IMAGEIO_ROUND_TRIP = """
import sys, numpy
imageio = sys.modules["imageio"]
pixels = numpy.arange(12 * 15 * 3, dtype=numpy.uint8).reshape(12, 15, 3)
imageio.v3.imwrite("a.llc", pixels)
assert numpy.array_equal(imageio.v3.imread("a.llc"), pixels)
imageio.v2.imwrite("b.llc", pixels, format="llc")
assert numpy.array_equal(imageio.v2.imread("b.llc"), pixels)
"""

HOOK = """
import sys
hooks = [finder for finder in sys.meta_path if type(finder).__module__ == "llicti_plugin.autoload"]
"""

Run = Callable[..., str]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs code in a fresh interpreter in an empty folder; gives its output, fails on any complaint."""

    def run(code: str, *flags: str, **environment: str) -> str:
        inherited = {name: value for name, value in os.environ.items() if name != "LLICTI_AUTOLOAD"}
        process = subprocess.run(
            [sys.executable, "-W", "error", *flags, "-c", code],
            cwd=tmp_path,
            env=inherited | environment,
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert (process.returncode, process.stderr) == (0, "")
        return process.stdout

    (tmp_path / "another.py").write_text("from PIL import Image")
    return run


@pytest.mark.parametrize("statements", PILLOW_IMPORTS.values(), ids=PILLOW_IMPORTS)
def test_pillow(run: Run, statements: str) -> None:
    run(statements + PILLOW_ROUND_TRIP)


@pytest.mark.parametrize("statements", IMAGEIO_IMPORTS.values(), ids=IMAGEIO_IMPORTS)
def test_imageio(run: Run, statements: str) -> None:
    run(statements + IMAGEIO_ROUND_TRIP)


@pytest.mark.parametrize("libraries", list(itertools.permutations(["PIL.Image", "imageio", "mimetypes"])))
def test_hook_leaves_after_all(run: Run, libraries: tuple[str, ...]) -> None:
    first, second, third = libraries
    run(
        f"{HOOK}assert len(hooks) == 1\n"
        f"import {first}, {second}{HOOK}assert len(hooks) == 1\n"
        f"import {third}{HOOK}assert not hooks"
    )


@pytest.mark.parametrize("statement", ["", "mimetypes.init()"])
def test_mimetypes(run: Run, statement: str) -> None:
    run(
        f"import mimetypes\n{statement}\n"
        "assert mimetypes.guess_type('a.llc') == mimetypes.guess_type('b/C.LLC') == ('image/x-llc', None)\n"
        "assert mimetypes.guess_extension('image/x-llc') == '.llc'"
    )
    run(f"import mimetypes\n{statement}\nassert not mimetypes.guess_type('a.llc')[0]", LLICTI_AUTOLOAD="0")
    run(
        f"import mimetypes, llicti_plugin\n{statement}\n"
        "assert mimetypes.guess_type('a.llc')[0] == 'image/x-llc'\n"
        "assert mimetypes.guess_extension('image/x-llc') == '.llc'",
        LLICTI_AUTOLOAD="0",
    )


def test_bare_start_loads_nothing_heavy(run: Run) -> None:
    loaded = run("import sys; print(*sys.modules)").split()
    assert {name for name in loaded if name.startswith("llicti")} == {
        "llicti_plugin",
        "llicti_plugin.autoload",
    }
    assert not {"numpy", "PIL", "imageio", "torch", "safetensors"} & set(loaded)


def test_hook_imports_nothing_but_itself(run: Run) -> None:
    loaded = run(
        "import os, sys\n"
        f"sys.path.append({str(Path(llicti_plugin.__file__).parents[1])!r})\n"
        "before = set(sys.modules)\n"
        "import llicti_plugin\n"
        "print(*set(sys.modules) - before)",
        "-S",
    )
    assert set(loaded.split()) == {"llicti_plugin", "llicti_plugin.autoload"}


def test_registration_loads_no_codec(run: Run) -> None:
    loaded = run("import sys, PIL.Image; print(*sys.modules)").split()
    assert "llicti_plugin.registration" in loaded
    assert not {"llicti_core", "llicti_plugin.pillow", "PIL.ImageFile", "numpy"} & set(loaded)
    loaded = run("import sys, imageio; print(*sys.modules)").split()
    assert not {"llicti_core", "llicti_plugin.imageio"} & set(loaded)
    loaded = run("import sys, mimetypes; print(mimetypes.inited, *sys.modules)").split()
    assert loaded[0] == "False"
    assert not {"llicti_core", "PIL", "imageio"} & set(loaded)


def test_other_formats_load_no_codec(run: Run) -> None:
    run(
        "import io, sys; from PIL import Image\n"
        "fp = io.BytesIO(); Image.new('L', (3, 3)).save(fp, 'PNG'); Image.open(fp).load()\n"
        "assert 'llicti_core' not in sys.modules"
    )


def test_without_torch(run: Run) -> None:
    run(
        "import sys\n"
        "class Block:\n"
        "    def find_spec(self, fullname, path=None, target=None):\n"
        "        if fullname.partition('.')[0] == 'torch':\n"
        "            raise ImportError('there is no torch here')\n"
        "sys.meta_path.insert(0, Block())\n"
        "import PIL.Image, imageio"
        + PILLOW_ROUND_TRIP
        + IMAGEIO_ROUND_TRIP
        + "assert not [name for name in sys.modules if name.partition('.')[0] == 'torch']"
    )


# Switched off


def test_switched_off(run: Run) -> None:
    run(
        f"{HOOK}assert not hooks\nfrom PIL import Image; import imageio.config\n"
        "assert '.llc' not in Image.registered_extensions()\n"
        "assert 'llc' not in imageio.config.known_plugins and '.llc' not in imageio.config.known_extensions",
        LLICTI_AUTOLOAD="0",
    )


@pytest.mark.parametrize(
    "statements",
    [
        "import llicti_plugin; llicti_plugin.register(); import PIL.Image, imageio, mimetypes",
        "import PIL.Image, imageio, mimetypes, llicti_plugin; llicti_plugin.register()",
        "import PIL.Image, mimetypes, llicti_plugin; llicti_plugin.register(); import imageio",
        "import imageio, llicti_plugin; llicti_plugin.register(); import PIL.Image, mimetypes",
        "import PIL.Image, imageio, mimetypes, llicti_plugin as p; p.register(); p.register()",
    ],
)
def test_register_by_hand(run: Run, statements: str) -> None:
    run(f"{statements}{HOOK}assert not hooks{PILLOW_ROUND_TRIP}{IMAGEIO_ROUND_TRIP}", LLICTI_AUTOLOAD="0")


@pytest.mark.parametrize(
    "statements",
    [
        "import llicti_plugin, PIL.Image, imageio, mimetypes",
        "import PIL.Image, imageio, mimetypes, llicti_plugin",
        "import PIL.Image, llicti_plugin.autoload, imageio, mimetypes",
    ],
)
def test_importing_the_package_registers(run: Run, statements: str) -> None:
    run(f"{statements}{HOOK}assert not hooks{PILLOW_ROUND_TRIP}{IMAGEIO_ROUND_TRIP}", LLICTI_AUTOLOAD="0")


@pytest.mark.parametrize("imported", ["", "import PIL.Image, imageio\n"])
def test_packages_in_a_folder_of_their_own(run: Run, imported: str) -> None:
    """As `pip install --target`, PYTHONPATH and a program that was running while the package was installed have it."""
    folders = [str(Path(module.__file__).parents[1]) for module in (llicti_plugin, PIL, imageio)]
    run(
        f"import sys; sys.path += {folders!r}\n{imported}"
        f"import llicti_plugin\nimport PIL.Image, imageio.v3, imageio.v2{PILLOW_ROUND_TRIP}{IMAGEIO_ROUND_TRIP}",
        "-S",
    )


def test_register_imports_neither_library(run: Run) -> None:
    run(
        "import llicti_plugin, sys; llicti_plugin.register(); llicti_plugin.register()\n"
        f"assert 'PIL' not in sys.modules and 'imageio' not in sys.modules{HOOK}assert len(hooks) == 1",
        LLICTI_AUTOLOAD="0",
    )


def test_register_keeps_the_user_s_priorities(run: Run) -> None:
    run(
        "import imageio.config, llicti_plugin\n"
        "imageio.config.known_extensions['.llc'][0].priority = ['pillow', 'llc']\n"
        "llicti_plugin.register()\n"
        "(extension,) = imageio.config.known_extensions['.llc']\n"
        "assert extension.priority == ['pillow', 'llc']"
    )


# The libraries are left as they would be without the hook


def test_modules_stay_themselves(run: Run) -> None:
    run(
        "import importlib.machinery, importlib.resources, importlib.util, inspect, pkgutil\n"
        "import imageio, PIL.Image\n"
        "for module in PIL.Image, imageio:\n"
        "    assert type(module.__spec__.loader) is importlib.machinery.SourceFileLoader\n"
        "    assert module.__loader__ is module.__spec__.loader\n"
        "    assert importlib.util.find_spec(module.__name__) is module.__spec__\n"
        "    assert not module.__spec__._initializing\n"
        "    assert inspect.getsource(module.open if module is PIL.Image else module.imread)\n"
        "assert importlib.resources.files('imageio').joinpath('py.typed').is_file()\n"
        "assert 'v3' in {module.name for module in pkgutil.iter_modules(imageio.__path__)}\n"
    )


def test_reload(run: Run) -> None:
    run(
        "import importlib, imageio.config, PIL.Image\n"
        "importlib.reload(imageio); importlib.reload(PIL.Image)\n"
        "assert 'llc' in imageio.config.known_plugins\n"
        "import llicti_plugin; llicti_plugin.register()  # Pillow forgets every format"
        + PILLOW_ROUND_TRIP
        + IMAGEIO_ROUND_TRIP
    )


def test_spec_before_import(run: Run) -> None:
    run(
        "import importlib.util\n"
        "spec = importlib.util.find_spec('imageio')\n"
        "assert spec.origin.endswith('__init__.py') and spec.submodule_search_locations\n"
        "assert 'imread' in spec.loader.get_source('imageio')\n"
        "assert spec.loader.is_package('imageio')\n"
        "assert importlib.util.find_spec('imageio.no_such_module') is None\n"
        f"import imageio.v3{IMAGEIO_ROUND_TRIP}"
    )


@pytest.mark.parametrize("position", [0, 1, "len(sys.meta_path)"])
def test_beside_another_hook_that_asks_all_finders(run: Run, position: int | str) -> None:
    run(
        "import sys\n"
        "class Other:\n"
        "    def find_spec(self, fullname, path=None, target=None):\n"
        "        for finder in sys.meta_path:\n"
        "            if finder is not self and (spec := finder.find_spec(fullname, path, target)):\n"
        "                return spec\n"
        f"sys.meta_path.insert({position}, Other())\n"
        f"import imageio.v3, PIL.Image, mimetypes{HOOK}assert not hooks{PILLOW_ROUND_TRIP}{IMAGEIO_ROUND_TRIP}"
    )


# Nothing that goes wrong here is the libraries' problem


def test_libraries_missing(run: Run) -> None:
    run(
        "import sys\n"
        "sys.path[:] = [path for path in sys.path if 'site-packages' not in path]\n"
        "for name in 'PIL.Image', 'imageio':\n"
        "    try: __import__(name)\n"
        "    except ModuleNotFoundError: pass\n"
        "    else: raise AssertionError(name)"
    )


def test_failing_registration(run: Run) -> None:
    run(
        "import sys\n"
        "sys.modules['llicti_plugin.registration'] = None\n"
        f"import imageio.v3, mimetypes; from PIL import Image; Image.new('L', (1, 1)){HOOK}assert not hooks"
    )


def test_import_that_fails_once(run: Run, tmp_path: Path) -> None:
    (tmp_path / "imageio.py").write_text("raise RuntimeError('not yet')")
    run(
        "import importlib, os\n"
        "try: import imageio\n"
        "except RuntimeError: os.remove('imageio.py')\n"
        "importlib.invalidate_caches()\n"
        f"import imageio.v3{IMAGEIO_ROUND_TRIP}"
    )


@pytest.mark.parametrize("missing", ["llicti_plugin", "llicti_plugin.autoload"])
def test_start_line_of_a_package_half_removed(run: Run, missing: str) -> None:
    (line,) = START_LINES[0].read_text().splitlines()
    assert line.startswith("import ")
    run(
        "import sys; sys.modules.pop('llicti_plugin.autoload'); sys.modules.pop('llicti_plugin')\n"
        f"sys.modules[{missing!r}] = None\n{line}"
    )


def start_file() -> str:
    """What Python 3.15 and later do at their start in place of the line."""
    (entry_point,) = START_LINES[0].with_suffix(".start").read_text().splitlines()
    return f"import pkgutil; pkgutil.resolve_name({entry_point!r})()\n"


def test_start_file(run: Run) -> None:
    run(
        f"import sys; sys.path.append({str(START_LINES[0].parent)!r})\n{start_file()}{HOOK}assert len(hooks) == 1\n",
        "-S",
    )


def test_start_file_switched_off(run: Run) -> None:
    run(
        f"{start_file()}{HOOK}assert not hooks\n"
        "assert not [name for name in sys.modules if name.startswith('llicti')]\n"
        "from PIL import Image; import imageio.config\n"
        "assert '.llc' not in Image.registered_extensions()\n"
        "assert 'llc' not in imageio.config.known_plugins and '.llc' not in imageio.config.known_extensions\n"
        f"import llicti_plugin, imageio.v3, imageio.v2{PILLOW_ROUND_TRIP}{IMAGEIO_ROUND_TRIP}",
        LLICTI_AUTOLOAD="0",
    )
