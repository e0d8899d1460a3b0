"""The NamedTuple of records.py does what typing's does."""

from __future__ import annotations

import copy
import inspect
import pickle
import typing
from typing import Any

import pytest

from llicti_core import records


class Ours(records.NamedTuple):
    """Fields that share their names with a tuple's methods, too."""

    count: int  # type: ignore[assignment]
    index: str  # type: ignore[assignment]
    last: tuple[int, ...] = ()

    @property
    def double(self) -> int:
        """A property beside the fields."""
        return 2 * self.count


class Typings(typing.NamedTuple):
    """The same."""

    count: int  # type: ignore[assignment]
    index: str  # type: ignore[assignment]
    last: tuple[int, ...] = ()

    @property
    def double(self) -> int:
        """A property beside the fields."""
        return 2 * self.count


def test_it_is_the_tuple_that_typing_makes() -> None:
    ours, typings = Ours(3, index="a"), Typings(3, index="a")
    assert tuple(ours) == tuple(typings)
    assert hash(ours) == hash(typings)
    assert (ours.count, ours.index, ours.last, ours.double) == (3, "a", (), 6)
    assert repr(ours) == repr(typings).replace("Typings", "Ours")
    assert ours._asdict() == typings._asdict()
    assert tuple(ours._replace(last=(1,))) == tuple(typings._replace(last=(1,)))
    assert type(ours._replace(count=1)) is Ours
    assert Ours._fields == Typings._fields
    assert tuple(Ours._make([1, "b", ()])) == tuple(Typings._make([1, "b", ()]))
    assert str(inspect.signature(Ours)).startswith("(count: 'int', index: 'str', last: 'tuple[int, ...]' = ()")
    match ours:
        case Ours(count, _, last=last):
            assert (count, last) == (3, ())


def test_copies_are_equal_and_of_the_same_type() -> None:
    ours = Ours(3, "a", (1, 2))
    for again in (pickle.loads(pickle.dumps(ours)), copy.copy(ours), copy.deepcopy(ours)):
        assert again == ours
        assert type(again) is Ours


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ((), {}),
        ((1,), {}),
        ((1, "a", (), 4), {}),
        ((1, "a"), {"count": 2}),
        ((1, "a"), {"unknown": 2}),
        ((), {"count": 1}),
    ],
)
def test_wrong_arguments_are_refused(values: tuple[Any, ...], named: dict[str, Any]) -> None:
    for kind in (Ours, Typings):
        with pytest.raises(TypeError):
            kind(*values, **named)


def test_unknown_fields_cannot_be_replaced() -> None:
    with pytest.raises(TypeError, match="unknown"):
        Ours(1, "a")._replace(unknown=2)  # type: ignore[call-arg]


@pytest.mark.parametrize("name", ["count", "unknown"])
def test_it_cannot_be_changed(name: str) -> None:
    with pytest.raises(AttributeError):
        setattr(Ours(1, "a"), name, 2)
