"""Metadata of Pillow's images: from `info` and the arguments of `save` to the core's, and back."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from PIL import Image

from llicti_core import Metadata, UnsupportedError

if TYPE_CHECKING:
    from PIL.PngImagePlugin import PngInfo

_OF_ANIMATIONS = ("background", "loop", "duration")
"""Other formats' plugins set these in `info` for still images too, where they mean nothing."""

_NOT_TEXT = ("compression", "model")
"""Strings that plugins put into `info` to describe a file, not the image."""

_TRANSPARENCIES: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("1", "L", "I", "I;16", "I;16B", "I;16L", "I;16N"), (int,)),
    "P": (int, bytes),
    "RGB": (tuple,),
}
"""What `info["transparency"]` can be in the modes that know it."""


def to_info(metadata: Metadata, mode: str) -> dict[str | tuple[int, int], Any]:
    """The entries of `info` for an image of this mode: Pillow's names, and every text under its own."""
    info: dict[str | tuple[int, int], Any] = {}
    info.update(metadata.text or {})
    for name, value in metadata._asdict().items():
        known = _is_transparency(value, mode) if name == "transparency" else name != "text"
        if known and value is not None:
            info[name] = value
    return info


def from_image(im: Image.Image, options: Mapping[str, Any], animated: bool) -> Metadata:
    """The metadata to store with an image: what `options`, the arguments of `save`, give; for the rest its `info`.

    An argument of None takes away what `info` has. What in `info` cannot be stored is left out. Raises
    UnsupportedError where that is so of an argument. animated: whether the image is one of several frames.
    """
    found: dict[str, Any] = {"text": _info_text(im)}
    for name in Metadata._fields:
        if name != "text" and (animated or name not in _OF_ANIMATIONS):
            found[name] = _storable(name, im.info.get(name))
    if not _is_transparency(found["transparency"], im.mode):
        found["transparency"] = None
    found.update(_given(im, options))
    return Metadata(**found)


def _given(im: Image.Image, options: Mapping[str, Any]) -> dict[str, Any]:
    """The metadata among the arguments of `save`."""
    given = {name: options[name] for name in Metadata._fields if name in options and name != "text"}
    if "pnginfo" in options:
        given["text"] = _png_text(options["pnginfo"])
    if isinstance(given.get("exif"), Image.Exif):
        given["exif"] = given["exif"].tobytes()
    for name in ("xmp", "comment"):
        if isinstance(given.get(name), str):
            given[name] = given[name].encode()
    if isinstance(given.get("transparency"), list):
        given["transparency"] = tuple(given["transparency"])
    transparency = given.get("transparency")
    if transparency is not None and not _is_transparency(transparency, im.mode):
        msg = f"cannot store transparency {transparency!r:.80} with mode {im.mode}"
        raise UnsupportedError(msg)
    return given


def _is_transparency(value: object, mode: str) -> bool:
    if mode == "P" and isinstance(value, int) and value > 255:
        return False
    if isinstance(value, tuple) and len(value) != 3:
        return False
    return isinstance(value, _TRANSPARENCIES.get(mode, ()))


def _storable(name: str, value: object) -> Any:
    """`value`, or None where it cannot be stored as `name`. A string is a text that happens to have that name."""
    if isinstance(value, str):
        return None
    try:
        Metadata(**{name: value}).sections()  # type: ignore[arg-type]
    except UnsupportedError:
        return None
    return value


def _info_text(im: Image.Image) -> dict[str, str]:
    """The texts in `info`: all strings, as the plugins for PNG and others put them there."""
    texts = getattr(im, "text", {}) if im.format == "LLC" else {}
    own = {name: text for name, text in texts.items() if name in im.info}
    strings = {
        name: str(value)
        for name, value in im.info.items()
        if isinstance(name, str) and isinstance(value, str) and name not in _NOT_TEXT
    }
    return {**own, **strings}


def _png_text(pnginfo: PngInfo | None) -> dict[str, str]:
    """The texts among the chunks to be written to a PNG file."""
    from PIL.PngImagePlugin import PngStream

    texts: dict[str, str] = {}
    for tag, data, *_ in pnginfo.chunks if pnginfo else ():
        if tag in (b"tEXt", b"zTXt", b"iTXt"):
            stream = PngStream(io.BytesIO(data))
            getattr(stream, f"chunk_{tag.decode()}")(0, len(data))
            texts.update({name: str(text) for name, text in stream.im_text.items()})
    return texts
