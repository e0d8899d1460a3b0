"""Adaptations: their bytes, what they change, and which are refused."""

from __future__ import annotations

import golden
import numpy as np
import pytest
from coding import header_of
from images import photograph, smooth
from random_models import random_adaptation, random_model

import llicti_core
from llicti_core import FormatError, models
from llicti_core.adaptation import (
    GAIN,
    HIDDEN_BIAS,
    MAX_EFFORT,
    NOT_ADAPTED,
    SHIFT,
    WEIGHT,
    adapted_model,
    array_places,
    cumulative_table,
    number_bits,
    pack,
    unpack,
)
from llicti_core.container import Coding, write_frame, write_start
from llicti_core.engines import native
from llicti_core.spec import ADAPTED, MAX_SPREAD_INDEX

MODEL = random_model((8, 2), (6, 1), 60, (100, 8192), 0)


def zeros(channels: int = 3, sets: int = 1) -> list[np.ndarray]:
    return [np.zeros(place.shape, np.int64) for place in array_places(MODEL.spec, channels, sets)]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("sets", [1, 2, 5])
def test_an_adaptation_is_what_it_was_packed_from(channels: int, sets: int) -> None:
    payload = random_adaptation(MODEL, channels, sets, 4)
    arrays, found_sets, precision = unpack(payload, MODEL, channels)
    assert found_sets == sets
    assert any(array.any() for array in arrays)
    assert pack(arrays, sets, precision, MODEL, channels) == payload
    assert native.pack_numbers(sets, precision, [array.astype(np.int8) for array in arrays]) == payload


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("sets", [0, 1, 2, 5])
def test_native_code_adapts_a_model_alike(channels: int, sets: int) -> None:
    payload = random_adaptation(MODEL, channels, sets, 4) if sets else NOT_ADAPTED
    expected, found = adapted_model(MODEL, payload, channels), native.adapted_model(MODEL, payload, channels)
    assert found.keys() == expected.keys()
    for name, network in expected.items():
        pairs = [*zip(found[name].layers, network.layers, strict=True), (found[name][1:], network[1:])]
        assert all(np.array_equal(a, b) for pair in pairs for a, b in zip(*pair, strict=True))


def test_nothing_changed_takes_next_to_nothing() -> None:
    payload = pack(zeros(), 1, 0, MODEL)
    assert len(payload) == 2 + -(-len(zeros()) // 8)
    assert not any(array.any() for array in unpack(payload, MODEL).arrays)


def test_the_spread_that_is_chosen_is_the_best() -> None:
    arrays = zeros()
    arrays[0] = np.round(np.random.default_rng(0).laplace(0, 4, arrays[0].shape)).astype(np.int64)
    payload = pack(arrays, 1, 0, MODEL)
    bits = number_bits()[:, arrays[0].ravel() + 128].sum(axis=1)
    spread = payload[2 + -(-len(arrays) // 8)]
    assert spread == bits.argmin()
    assert abs(8 * len(payload) - bits.min()) < 8 * 16


@pytest.mark.parametrize("spread", range(0, MAX_SPREAD_INDEX + 1, 3))
def test_every_number_can_be_coded_at_every_spread(spread: int) -> None:
    table = cumulative_table(spread)
    assert (table[0], table[-1], len(table)) == (0, 65536, 257)
    assert min(np.diff(table)) >= 1


def test_every_number_changes_what_it_should() -> None:
    plain = adapted_model(MODEL, NOT_ADAPTED)
    for number, place in enumerate(array_places(MODEL.spec, 3, 3)):
        arrays = zeros(sets=3)
        arrays[number][...] = 1
        changed = adapted_model(MODEL, pack(arrays, 3, 2, MODEL))
        levels = [level for level in range(5) if min(level, 2) == place.level_set]
        for key, network in changed.items():
            before = plain[key]
            here = key == (place.network, place.band)
            assert (network.gain - before.gain).sum() == (here and place.kind == GAIN) * len(levels) * place.shape[0]
            assert (network.shift - before.shift).sum() == (here and place.kind == SHIFT) * len(levels) * place.shape[0]
            for layer, (old, new) in enumerate(zip(before.layers, network.layers, strict=True)):
                there = here and layer == place.layer
                change = new.bias - old.bias
                if there and place.kind == HIDDEN_BIAS:
                    expected = np.floor(2**13 / old.multiplier + 0.5)
                    assert np.abs(change[levels] - expected).max() <= 1
                    change[levels] = 0
                assert not change.any()
                change = new.weight - old.weight
                if there and place.kind == WEIGHT:
                    assert np.abs(new.weight).max() <= 127
                    assert change.min() >= 0
                else:
                    assert not change.any()


def test_weights_change_by_units_of_their_outputs() -> None:
    model = random_model((4, 1), (4, 1), 1, (64, 65), 0)  # multipliers of 64
    for network, units in (("luma", (16, 128, 32)), ("chroma", (16, 16, 128, 128, 32, 32, 64))):
        places = array_places(model.spec, 3, 1)
        arrays = [np.full(place.shape, place.kind == WEIGHT, np.int64) for place in places]
        plain, changed = adapted_model(model, NOT_ADAPTED), adapted_model(model, pack(arrays, 1, 0, model))
        first, last = (
            new.weight - old.weight
            for old, new in zip(plain[network, "01"].layers, changed[network, "01"].layers, strict=True)
        )
        assert (first == 32).all()
        expected = np.minimum(np.repeat(units, 5)[:, np.newaxis], 127 - plain[network, "01"].layers[1].weight)
        assert (last == expected).all()


@pytest.mark.parametrize("number", [-129, 128])
def test_numbers_that_do_not_fit_are_refused(number: int) -> None:
    arrays = zeros()
    arrays[1][0, 0] = number
    with pytest.raises(ValueError, match=str(number)):
        pack(arrays, 1, 0, MODEL)


@pytest.mark.parametrize(("sets", "precision"), [(0, 0), (6, 0), (1, 5)])
def test_impossible_adaptations_are_refused(sets: int, precision: int) -> None:
    with pytest.raises(ValueError, match=f"{sets} sets and precision {precision}"):
        pack(zeros(sets=sets), sets, precision, MODEL)


@pytest.mark.parametrize("effort", [-1, MAX_EFFORT + 1])
def test_impossible_efforts_are_refused(effort: int) -> None:
    with pytest.raises(ValueError, match="effort"):
        llicti_core.encode(smooth(4, 4), effort=effort)


@pytest.mark.parametrize("engine", ["native", "reference"])
@pytest.mark.parametrize(
    "payload",
    [b"", b"\1", b"\1\0", bytes(50), b"\1\0" + b"\xff" * 1000, b"\6" + bytes(30), b"\1\5" + bytes(30)],
    ids=range(7),
)
def test_damaged_adaptations_are_refused(payload: bytes, engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLICTI_ENGINE", engine)
    with golden.learned():
        data = llicti_core.encode(photograph(40, 40), effort=0)
    header = header_of(data)._replace(codings=(Coding(ADAPTED),))
    lying = write_start() + write_frame(header, [(b"ADPT", payload), *golden.sections(data)[1:]])
    with pytest.raises(FormatError, match="ADPT"):
        llicti_core.decode(lying)


@pytest.mark.parametrize("channels", [1, 3])
def test_every_bit_of_an_adaptation_counts(channels: int) -> None:
    """One that is changed anywhere is refused, or is another."""
    payload = random_adaptation(MODEL, channels, 1, 7)
    before = unpack(payload, MODEL, channels)
    refused = 0
    for at in range(len(payload)):
        try:
            found = unpack(payload[:at] + bytes((payload[at] ^ 1,)) + payload[at + 1 :], MODEL, channels)
        except FormatError:
            refused += 1
            continue
        arrays = zip(found.arrays, before.arrays, strict=True)
        assert found[1:] != before[1:] or any(not np.array_equal(one, other) for one, other in arrays)
    assert refused > len(payload) / 2


def test_an_adaptation_alone_is_no_file() -> None:
    with golden.learned():
        data = llicti_core.encode(photograph(70, 70), effort=0)
    header = header_of(data)._replace(codings=(Coding(ADAPTED),))
    payload = pack(
        [np.zeros(place.shape, np.int64) for place in array_places(models.load().spec, 3, 1)], 1, 0, models.load()
    )
    with pytest.raises(llicti_core.TruncatedError):
        llicti_core.decode(write_start() + write_frame(header, [(b"ADPT", payload)]))
