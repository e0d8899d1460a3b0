"""The constants of the format fit each other. (C++ is made from them.)"""

from __future__ import annotations

from llicti_core import spec


def test_components_lose_no_probability() -> None:
    steps = [before - after for before, after in zip(spec.CDF_TAIL, spec.CDF_TAIL[1:], strict=False)]
    assert spec.CDF_TAIL[0] == 2**15 - 1
    assert spec.CDF_TAIL[-1] == 0
    assert min(steps) > 0
    assert len(spec.CDF_TAIL) == (spec.MAX_POSITION >> 8) + 2


def test_shares_vanish_where_logits_are_far_apart() -> None:
    assert len(spec.WEIGHT_SHARE) == 16
    assert spec.WEIGHT_SHARE[spec.MAX_LOGIT_DIFFERENCE & 15] >> (spec.MAX_LOGIT_DIFFERENCE >> 4) == 0
    assert sum(spec.WEIGHT_SHARE[:1]) == 2048


def test_a_lane_never_waits_for_another() -> None:
    """What a pixel looks back to has been coded at an earlier step, also across row groups and at the ends of rows."""
    for columns in (1, 2, 30, 59, 60, 61, 100):
        period = max(spec.MIN_GROUP_STEPS, columns + spec.GROUP_PAD)

        def step(row: int, column: int, period: int = period) -> int:
            return row // spec.ROW_GROUP * period + spec.LANE_DELAY * (row % spec.ROW_GROUP) + column

        for row in (1, 31, 32, 33, 63, 64):
            for column in range(columns):
                for dy, dx in spec.BACK:
                    y, x = row + dy // 2, column + dx // 2
                    if 0 <= x < columns:
                        assert step(y, x) < step(row, column)
                assert step(row + spec.ROW_GROUP, 0) > step(row, columns - 1), "a lane ends a row before it begins one"
