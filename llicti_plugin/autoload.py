"""The import hook: registers the format as soon as Pillow, imageio or mimetypes has been imported.

Python imports it at every start of an interpreter that has the package installed, whatever that
interpreter is for. So this module imports only what start-up has imported already (not even
`__future__`), and a failure in it is never anyone else's problem.
"""

import os
import sys
from _thread import get_ident

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Any

_LIBRARIES = ("PIL.Image", "imageio", "mimetypes")


def install() -> None:
    """What `llicti_autoload.start` calls, by when the import of this package has armed the hook.

    Where the environment says `LLICTI_AUTOLOAD=0`, take that back, so that the package registers when it is imported
    next, by someone who means it. (`llicti_autoload.pth` looks at the environment first.)
    """
    if os.environ.get("LLICTI_AUTOLOAD") == "0":
        for library in _LIBRARIES:
            _finder.forget(library)
        for module in (__name__, __name__.rpartition(".")[0]):
            sys.modules.pop(module, None)


def arm() -> None:
    """Register with the libraries imported already, and wait for the others."""
    for library in _LIBRARIES:
        if sys.modules.get(library) is None:
            _finder.wait_for(library)
        else:
            _register(library)
            _finder.forget(library)


def _register(library: str) -> None:
    from . import registration

    if library == "PIL.Image":
        registration.with_pillow()
    elif library == "imageio":
        registration.with_imageio()
    else:
        registration.with_mimetypes()


class _Finder:
    """A meta path finder that finds nothing itself: it follows the other finders' work on a few modules."""

    def __init__(self) -> None:
        self._waiting: set[str] = set()
        self._searching: set[tuple[int, str]] = set()

    def wait_for(self, library: str) -> None:
        """Watch for the import of a library."""
        self._waiting.add(library)
        if self not in sys.meta_path:
            sys.meta_path.insert(0, self)

    def forget(self, library: str) -> None:
        """Stop watching for a library, and leave `sys.meta_path` with the last of them."""
        self._waiting.discard(library)
        if not self._waiting and self in sys.meta_path:
            # A new list, because taking an item out of the old one would make an import that is
            # walking it, in this thread or another, skip the finder after this one.
            sys.meta_path = [finder for finder in sys.meta_path if finder is not self]

    def find_spec(
        self, fullname: str, path: "Sequence[str] | None" = None, target: "ModuleType | None" = None
    ) -> "ModuleSpec | None":
        """The spec that the other finders find for a library waited for, its loader wrapped; else None."""
        search = get_ident(), fullname
        # Another hook of this kind may ask every finder in turn, and so come back here.
        if fullname not in self._waiting or search in self._searching:
            return None
        self._searching.add(search)
        try:
            spec = self._find_elsewhere(fullname, path, target)
        finally:
            self._searching.discard(search)
        if spec is not None and hasattr(spec.loader, "exec_module"):
            spec.loader = _Loader(spec.loader, self, fullname)  # type: ignore[assignment]
        return spec

    def _find_elsewhere(
        self, fullname: str, path: "Sequence[str] | None", target: "ModuleType | None"
    ) -> "ModuleSpec | None":
        for finder in list(sys.meta_path):
            if finder is not self and hasattr(finder, "find_spec"):
                spec = finder.find_spec(fullname, path, target)
                if spec is not None:
                    return spec
        return None


class _Loader:
    """A library's own loader, with one step added: once the library has run, the format is registered."""

    # A default, so that an instance made without __init__ (by copy or pickle) has no endless __getattr__.
    _loader: "Any" = None

    def __init__(self, loader: "Any", finder: _Finder, library: str) -> None:
        self._loader = loader
        self._finder = finder
        self._library = library

    def __getattr__(self, name: str) -> "Any":
        return getattr(self._loader, name)

    def exec_module(self, module: "ModuleType") -> None:
        """Run the library, which sees its own loader and no trace of this one; then register the format."""
        for owner, attribute in ((module.__spec__, "loader"), (module, "__loader__")):
            if getattr(owner, attribute, None) is self:
                setattr(owner, attribute, self._loader)
        self._loader.exec_module(module)
        try:
            _register(self._library)
        except Exception:
            pass  # the library works without the format
        finally:
            self._finder.forget(self._library)


_finder = _Finder()
