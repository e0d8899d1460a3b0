"""The golden files in tests/fixtures, and the small models that some of them were coded with."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import format_decoder
import numpy as np
from numpy.typing import NDArray
from PIL import Image

import llicti_core.models
from llicti_core import Metadata, encoder
from llicti_core.container import Header, Reader, pack_section
from llicti_core.spec import HEAD

FIXTURES = Path(__file__).parents[1] / "fixtures"
"""To be added to LLICTI_MODEL_PATH where files coded with its models are decoded."""


def files() -> list[Path]:
    """The golden files; the pixels of each are beside it in a PNG of the same name, or a file of NumPy's."""
    return sorted(FIXTURES.glob("*.llc"))


def pixels(path: Path, frame: int = 0) -> NDArray[Any]:
    """What a frame of a golden file must decode to."""
    if path.with_suffix(".npy").exists():
        stored: NDArray[Any] = np.load(path.with_suffix(".npy"))
        return stored
    with Image.open(frame_path(path, frame)) as image:
        return np.asarray(image)


def frame_path(path: Path, frame: int) -> Path:
    """Where the pixels of a frame are."""
    return path.with_name(f"{path.stem}-{frame}.png") if frame else path.with_suffix(".png")


def metadata(path: Path) -> list[Metadata]:
    """What the frames of a golden file must have as metadata."""
    stored = path.with_suffix(".json")
    return [_unpacked(frame) for frame in json.loads(stored.read_text("utf-8"))] if stored.exists() else [Metadata()]


def pack_metadata(frames: list[Metadata]) -> str:
    """The reverse of `metadata`: JSON, with bytes in hex."""
    fields = [{name: _packed(value) for name, value in frame._asdict().items()} for frame in frames]
    return json.dumps(fields, indent=1, ensure_ascii=False) + "\n"


def _packed(value: Any) -> Any:
    return {"hex": value.hex()} if isinstance(value, bytes) else value


def _unpacked(fields: dict[str, Any]) -> Metadata:
    for name, value in fields.items():
        if isinstance(value, list):
            fields[name] = tuple(value)
        elif isinstance(value, dict) and "hex" in value:
            fields[name] = bytes.fromhex(value["hex"])
    return Metadata(**fields)


def model_path(name: str) -> Path:
    """The file of a fixture model or of a bundled one."""
    path = FIXTURES / f"{name}.safetensors"
    return path if path.exists() else Path(llicti_core.models.__file__).parent / path.name


@contextmanager
def learned() -> Iterator[None]:
    """Lets the encoder code every image by the model, whatever it is."""
    with (
        mock.patch.object(encoder, "may_be_fallback", return_value=False),
        mock.patch.object(encoder, "is_constant", return_value=False),
    ):
        yield


def sections(data: bytes) -> list[tuple[bytes, bytes]]:
    """Tags and payloads of every section of a file, ancillary ones too, as the document's decoder reads them.

    Payloads that are in HEAD are given as sections of their own.
    """
    file, found = format_decoder.Bytes(data), list[tuple[bytes, bytes]]()
    file.take(9)
    while file.at < len(data):
        tag, payload = format_decoder.read_section(file)
        if tag == b"HEAD":
            found += apart(payload.data)
        else:
            found.append((tag, payload.data))
    return found


def apart(payload: bytes) -> list[tuple[bytes, bytes]]:
    """A HEAD section and those whose payloads are in it."""
    reader = Reader(payload, "header")
    header = Header.read(reader)
    tags = [tag for tag, _ in header.layout]
    if not reader.left or not tags or header.learned:
        return [(HEAD, payload)]
    found = [(HEAD, payload[: reader.at])]
    found += [(tag, bytes(reader.take(reader.varint()))) for tag in tags[:-1]]
    found.append((tags[-1], bytes(reader.take(reader.left))))
    return found


def assembled(sections: list[tuple[bytes, bytes]]) -> bytes:
    """The reverse of `sections`."""
    return format_decoder.SIGNATURE + b"\0" + b"".join(pack_section(*section) for section in sections)
