"""The benchmarks: that they say what they measured, and where; not how fast anything is."""

from __future__ import annotations

import importlib
import json
import re

import pytest
from pages import TOP

PAGE = TOP / "docs/performance.md"
#: Seconds.
HOUR = 3600.0


@pytest.fixture
def benchmarks(monkeypatch):
    """Imports a module of the benchmarks, which lie beside the package."""
    monkeypatch.syspath_prepend(str(TOP))
    return lambda name: importlib.import_module(f"benchmarks.{name}")


@pytest.fixture
def row(benchmarks):
    """Makes the row of a figure beside another."""
    return lambda ratio, **more: benchmarks("results").Row(
        "a call", "ours", 25.0, "µs", "theirs", ratio, (ratio - 0.1, ratio + 0.1), 1.5, **more
    )


@pytest.mark.slow
def test_main__short(benchmarks, tmp_path, monkeypatch, capsys):
    """A short run of one measure prints a table, and writes its rows, with what it ran on, as JSON."""
    monkeypatch.setenv("COLUMNS", "200")
    file = tmp_path / "results.json"
    benchmarks("__main__").main(["sessions", "--short", "--json", str(file)])

    said = json.loads(file.read_text())
    (measured,) = said["measures"]
    ours = [row for row in measured["rows"] if "tiktok-oauth-session" in row["contestant"]]
    table = capsys.readouterr().out
    assert ("sessions", True) == (measured["name"], measured["is_short"])
    assert {"requests", "Authlib", "tiktok-oauth-session"} <= said["versions"].keys()
    assert {1.15} == {row["goal"] for row in ours}
    assert all(row["figure"] > 0 and row["spread"][0] <= row["ratio"] <= row["spread"][1] for row in ours)
    assert {row["verdict"] for row in ours} <= {"met", "missed"}
    assert measured["title"] in table
    assert table.count("tiktok-oauth-session") == len(ours)


def test_main__unknown_measure(benchmarks, capsys):
    """A measure that there is not is a usage error that names it."""
    with pytest.raises(SystemExit) as caught:
        benchmarks("__main__").main(["speed"])

    assert 2 == caught.value.code
    assert "there is no measure 'speed'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("ratio", "at_least", "verdict"),
    [
        (1.5, False, "met"),
        (1.51, False, "missed"),
        (1.5, True, "met"),
        (1.49, True, "missed"),
    ],
)
def test_row__verdict(row, ratio, at_least, verdict):
    """A goal is met up to its very number, or from it on."""
    assert verdict == row(ratio, at_least=at_least).verdict


def test_compared__paired(benchmarks):
    """A ratio is the median of the rounds' own ratios: what slows a whole round down changes nothing."""
    figures = {"ours": [10.0, 300.0, 12.0], "theirs": [10.0, 100.0, 4.0]}
    row = benchmarks("results").compared("a call", "µs", figures, "ours", "theirs")

    assert (12.0, 3.0) == (row.figure, row.ratio)


def test_page__written(benchmarks, row, tmp_path):
    """Results take the place of earlier ones on the page, with a plot beside it, and all else stays."""
    pytest.importorskip("matplotlib", reason="it is in the extra [bench], with which .ci/run runs this")
    page = tmp_path / "performance.md"
    place = "<!-- measured: {0} -->\nold\n<!-- end of {0} -->\n"
    page.write_text(f"Before\n{place.format('machine')}Between\n{place.format('calls')}After\n")
    measured = benchmarks("results").Measured(
        "calls",
        "Calls",
        date="30 November 2026",
        load=0.4,
        is_short=False,
        rows=[row(1.2)],
        notes=["So it was."],
        series={},
    )
    benchmarks("page").write([measured], page)

    text = page.read_text()
    assert "old" not in text
    assert re.sub(r"(?s)<!-- measured.*?<!-- end of \w+ -->", "-", text) == "Before\n-\nBetween\n-\nAfter\n"
    assert "| a call | ours | 25 µs | theirs | 1.20 (1.10 to 1.30) | ≤ 1.5 | met |" in text
    assert "So it was. Measured on 30 November 2026, at a load of 0.4 when it began." in text
    assert "![Calls, drawn](performance/calls.svg)" in text
    assert "a call: ours / theirs" in (tmp_path / "performance/calls.svg").read_text()


def test_page__no_place(benchmarks, tmp_path):
    """A page that has no place for a result is an error, and stays as it is."""
    pytest.importorskip("matplotlib", reason="as above")
    page = tmp_path / "performance.md"
    page.write_text("No place\n")

    with pytest.raises(ValueError, match="no place for machine"):
        benchmarks("page").write([], page)
    assert "No place\n" == page.read_text()


def test_page__places(benchmarks):
    """The documentation's page has a place for every measure, and shows whole runs only."""
    text = PAGE.read_text("utf-8")
    places = re.findall(r"<!-- measured: (\w+) -->\n\n(.+?)\n\n<!-- end of \1 -->", text, re.DOTALL)

    assert {"machine", *benchmarks("__main__").MEASURES} == {name for name, _ in places}
    assert [] == [name for name, content in places if "short run" in content]


def fleet(benchmarks, **options):
    """Return two hours of a process that keeps 6,300 accounts alive: one a second, at up to two a second."""
    simulated = benchmarks("simulated")
    process = simulated.Fleet(
        6300,
        **{
            "rate": 2.0,
            "workers": 8,
            "lifetime_s": 2 * HOUR,
            "within_s": HOUR / 4,
            "latency_s": 0.05,
            "is_down": lambda now: False,
            "silence_s": 0.0,
            **options,
        },
    )
    with simulated.simulated(process.clock):
        process.live(2 * HOUR)
    return process


def test_simulation__all_is_well(benchmarks):
    """While TikTok answers, each account is refreshed once in its time, and no token ends."""
    process = fleet(benchmarks)

    assert {60} == set(process.requests[2:104])
    assert {0} == set(process.ended)


@pytest.mark.parametrize("silence_s", [0.0, 25.0])
def test_simulation__outage(benchmarks, silence_s):
    """While it does not, it is hardly asked; then the rate is kept, until every account is fresh again."""
    process = fleet(benchmarks, is_down=lambda now: HOUR / 2 <= now < HOUR, silence_s=silence_s)

    assert sum(process.requests[31:60]) < 29 * 6
    assert 120 + 2 >= max(process.requests)
    assert 0 < max(process.ended)
    assert 0 == process.ended[-1]
