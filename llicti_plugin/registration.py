"""What Pillow, imageio and mimetypes are told about the format: names, extension, and where the code is.

Nothing here loads the codec, or more of the libraries than they have loaded themselves: a process that
never meets an `.llc` file pays for a few entries in their tables.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import IO

    from PIL import Image, ImageFile

# The same as llicti_core.SIGNATURE, which to import is to import the codec.
_SIGNATURE = b"\x89LLC\r\n\x1a\n"

_MIME_TYPE = "image/x-llc"


def with_pillow() -> None:
    """Register the format with Pillow, which must have been imported."""
    from PIL import Image

    Image.register_open("LLC", _open, _accept)
    Image.register_save("LLC", _save)
    Image.register_save_all("LLC", _save_all)
    Image.register_extension("LLC", ".llc")
    Image.register_mime("LLC", _MIME_TYPE)


def _accept(prefix: bytes) -> bool:
    return prefix.startswith(_SIGNATURE)


def _open(fp: IO[bytes], filename: str | bytes) -> ImageFile.ImageFile:
    from .pillow import LlcImageFile

    return LlcImageFile(fp, filename)


def _save(im: Image.Image, fp: IO[bytes], filename: str | bytes) -> None:
    from .pillow import save

    save(im, fp, filename)


def _save_all(im: Image.Image, fp: IO[bytes], filename: str | bytes) -> None:
    from .pillow import save_all

    save_all(im, fp, filename)


def with_imageio() -> None:
    """Register the format with imageio, which must have been imported."""
    from imageio.config import FileExtension, PluginConfig, extension_list, known_extensions, known_plugins

    known_plugins["llc"] = PluginConfig("llc", "LlcPlugin", "llicti_plugin.imageio")
    if ".llc" not in known_extensions:  # else keep the priorities that the user may have changed
        extension = FileExtension(name="LLICTI", extension=".llc", priority=["llc", "pillow"])
        extension_list.append(extension)
        known_extensions[".llc"] = [extension]


def with_mimetypes() -> None:
    """Register the format's MIME type with the standard library's mimetypes, which must have been imported."""
    import mimetypes

    if mimetypes.inited:
        mimetypes.add_type(_MIME_TYPE, ".llc")
    else:  # add_type would read the system's tables, which those who never ask for a type can do without
        mimetypes.types_map[".llc"] = _MIME_TYPE
