"""Durations in every form that options take."""

import datetime
import decimal
import math
from fractions import Fraction

import pytest
from hypothesis import given, strategies as st

from hotset.durations import finite, seconds

UNITS = {"w": 604_800, "d": 86_400, "h": 3_600, "m": 60, "s": 1, "ms": Fraction(1, 10**3), "us": Fraction(1, 10**6)}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90s", 90),
        ("1h30m", 5_400),
        ("1h 30m", 5_400),
        ("1 h 30 m", 5_400),
        ("250ms", 0.25),
        ("500us", 0.0005),
        ("2d", 172_800),
        ("1w", 604_800),
        ("1.5h", 5_400),
        (".5s", 0.5),
        ("1m1ms", 60.001),
        ("  5M\n", 300),
        ("inf", math.inf),
        ("never", math.inf),
        ("Never", math.inf),
    ],
)
def test_text(text, expected):
    assert seconds(text) == expected


@pytest.mark.parametrize(
    "value", [1, 0.25, 10**9, math.inf, Fraction(3, 2), datetime.timedelta(days=2, microseconds=1)]
)
def test_numbers_and_timedeltas(value):
    expected = value.total_seconds() if isinstance(value, datetime.timedelta) else float(value)
    result = seconds(value)
    assert result == expected
    assert type(result) is float


@given(st.lists(st.sampled_from(list(UNITS)), min_size=1, unique=True), st.data())
def test_text_is_the_exact_sum_of_its_parts(units, data):
    parts = []
    total = Fraction(0)
    for unit in sorted(units, key=list(UNITS).index):
        number = data.draw(
            st.decimals(0, 10**6, places=3).map(lambda d: format(d, "f")) | st.integers(0, 10**6).map(str)
        )
        parts.append(number + data.draw(st.sampled_from(["", " "])) + unit)
        total += Fraction(number) * UNITS[unit]
    assert seconds(data.draw(st.sampled_from(["", " "])).join(parts), zero=True) == float(total)


@given(st.floats(0, allow_nan=False) | st.integers(0, 10**300))
def test_numbers_come_back_as_they_are(value):
    assert seconds(value, zero=True) == float(value)


@given(st.timedeltas(datetime.timedelta(0)))
def test_timedeltas_come_back_as_they_are(value):
    assert seconds(value, zero=True) == value.total_seconds()


@given(st.text(max_size=30) | st.text("0123456789.wdhmsu -e", max_size=12))
def test_any_text_is_a_duration_or_a_value_error(text):
    try:
        result = seconds(text, zero=True)
    except ValueError as error:
        message = str(error)
    else:
        assert result >= 0
        return
    assert repr(text)[:10] in message


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "90",
        "s",
        "1x",
        "1h30",
        "30m1h",
        "1h1h",
        "-5s",
        "+5s",
        "1e3s",
        "1_000s",
        "nan",
        "1,5h",
        "1h  30m",
        "٣s",
        "1.s",
    ],
)
def test_refuses_other_text(text):
    with pytest.raises(ValueError, match="not understood"):
        seconds(text)


@pytest.mark.parametrize("value", [None, True, False, b"5s", [5], decimal.Decimal(5), 1j, object()])
def test_refuses_other_types(value):
    with pytest.raises(TypeError, match=r"^keep must be seconds, a timedelta or text"):
        seconds(value, name="keep")


@pytest.mark.parametrize("value", [-1, -0.5, -math.inf, math.nan, datetime.timedelta(-1)])
def test_refuses_negative_and_nan(value):
    with pytest.raises(ValueError, match=r"^ttl must not be negative or NaN: "):
        seconds(value, zero=True, name="ttl")


@pytest.mark.parametrize("value", [0, 0.0, -0.0, "0s", datetime.timedelta(0)])
def test_zero_is_refused_unless_allowed(value):
    with pytest.raises(ValueError, match=r"^ttl must be more than zero: "):
        seconds(value, name="ttl")
    result = seconds(value, zero=True)
    assert result == 0
    assert math.copysign(1, result) == 1


@pytest.mark.parametrize("value", [10**400, "9" * 5000 + "s", "1h" * 1000])
def test_refuses_what_is_beyond_all_bounds_with_a_short_message(value):
    with pytest.raises(ValueError, match=r"beyond all bounds|not understood") as caught:
        seconds(value)
    assert len(str(caught.value)) < 300


def test_the_default_name_and_the_value_are_in_the_message():
    with pytest.raises(ValueError, match="'5 parsecs'"):
        seconds("5 parsecs")
    with pytest.raises(TypeError, match="None"):
        seconds(None)


def test_finite():
    assert finite("2m") == 120
    for value in ("never", math.inf, 0, "0s"):
        with pytest.raises(ValueError, match=r"^window must "):
            finite(value, name="window")
