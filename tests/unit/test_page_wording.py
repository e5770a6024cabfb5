"""Numbers, times and lists read as people write them."""

import pytest

from common.page.wording import (
    capitalised,
    duration,
    listing,
    metric,
    moment,
    number,
    percent,
    plain,
    plural,
    share,
    signed,
    spelled,
)

NB = "\N{NO-BREAK SPACE}"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (None, "—"),
        (0.04, "0.0 s"),
        (59.94, "59.9 s"),
        (59.97, "1 min"),
        (61.2, "1 min 1 s"),
        (3600, "1 h"),
        (7500, "2 h 5 min"),
        (273600, "3 d 4 h"),
    ],
)
def test_duration(seconds: float | None, words: str) -> None:
    assert duration(seconds) == words


@pytest.mark.parametrize(
    ("part", "words"),
    [
        (0, f"0{NB}%"),
        (0.0001, f"<{NB}1{NB}%"),
        (0.0049, f"<{NB}1{NB}%"),
        (0.006, f"1{NB}%"),
        (0.744, f"74{NB}%"),
        (1, f"100{NB}%"),
    ],
)
def test_percent(part: float, words: str) -> None:
    assert percent(part) == words


def test_share_of_nothing_is_undefined() -> None:
    assert (share(1, 4), share(0, 4), share(0, 0)) == (f"25{NB}%", f"0{NB}%", "—")


@pytest.mark.parametrize(
    ("value", "words"),
    [(0.1367, "0.137"), (0.7, "0.7"), (512.0, "512"), (2048.4, "2048"), (99.95, "100"), (0.0, "0")],
)
def test_plain(value: float, words: str) -> None:
    assert plain(value) == words


def test_metrics() -> None:
    assert (metric(0.8499), metric(None), metric(0.8449, 2)) == ("0.850", "—", "0.84")
    assert (signed(-0.0001), signed(0.02), signed(None)) == ("0.000", "+0.020", "—")
    assert signed(-0.03) == "\N{MINUS SIGN}0.030"


def test_numbers_and_nouns() -> None:
    assert (number(12345), spelled(3), spelled(1000)) == ("12,345", "three", "1,000")
    assert (plural(1, "case"), plural(30, "case")) == ("1 case", "30 cases")
    assert plural(2, "patient has", "patients have") == "2 patients have"
    assert capitalised("all AUROC") == "All AUROC"


def test_listing() -> None:
    assert (listing([]), listing(["a"]), listing(["a", "b", "c"])) == ("", "a", "a, b and c")
    assert listing([str(i) for i in range(10)], 3) == "0, 1, 2 and 7 more"
    # To name one more takes no more room than to count it.
    assert listing(["a", "b", "c"], 2) == "a, b and c"


def test_moment() -> None:
    assert moment("2026-11-21T03:00:00+01:00") == "21 November 2026, 02:00:00 UTC"
    assert moment("2026-11-21T03:00:00") == "21 November 2026, 03:00:00"
    assert (moment("soon"), moment(None)) == ("soon", "—")
