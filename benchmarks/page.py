"""Turns results.json into docs/benchmarks.md and its chart. Every number on the page comes from the results."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.cases import SERIAL
from benchmarks.contenders import FLOOR, LOADING, OURS
from benchmarks.events import LISTENER, QUIET_RUN, share
from benchmarks.measure import Figures
from benchmarks.nights import grown

HERE = Path(__file__).parent
RESULTS = HERE / "results.json"
PAGE = HERE.parent / "docs" / "benchmarks.md"
CHART = HERE.parent / "docs" / "benchmarks.svg"
DLT, PARQUET, SINGER, PYAIRBYTE = "dlt rest_api", "dlt rest_api, parquet", "Singer tap | target-duckdb", "PyAirbyte"
WORKERS = 8
# Rows per page that are not on the page before: pages overlap by a tenth.
STEP = 90
MINUTES_A_DAY = 1_440

TITLES = {
    "A": "{a:,} rows, no latency, first load",
    "B": "{b:,} rows, {ms:.0f} ms before each response, first load",
    "C": "{c:,} rows, no latency, first load",
    "D": "The {organisation} organisation, all tables, no changes since the last run",
    "E": "The same, 1 % of the rows changed",
    "F": "Start of the command",
    "G": "From an event to its row: four events per second, a listener for the {organisation} organisation",
    "H": "{nights} nights of a small organisation in one process, {nights_as_commands} as commands, some rows changed",
}


@dataclass(frozen=True)
class Target:
    """A ratio of medians, and its bound.

    Attributes:
        case: Its case.
        what: The quotient.
        value: The ratio.
        bound: The bound.
        at_least: Whether the bound is a minimum; otherwise it is a maximum.
        unit: Unit of ratio and bound.
        at_best: The ratio if only reading and loading took time; None if unknown.
    """

    case: str
    what: str
    value: float
    bound: float
    at_least: bool = False
    unit: str = "x"
    at_best: float | None = None

    @property
    def is_met(self) -> bool:
        """Return whether the ratio is within its bound."""
        return self.value >= self.bound if self.at_least else self.value <= self.bound


class Results:
    """The results."""

    def __init__(self, found: dict[str, Any]) -> None:
        self.found = found
        self.cases = {
            case: {name: Figures(**figures) for name, figures in measured.items()}
            for case, measured in found["cases"].items()
        }

    def seconds(self, case: str, name: str) -> float | None:
        """Return the median of a contender; None if it has none."""
        figures = self.cases.get(case, {}).get(name)
        return figures.median_seconds if figures and figures.seconds else None

    def ratio(self, case: str, name: str, other: str) -> float | None:
        """Return the time of one contender as a multiple of another's."""
        one, two = self.seconds(case, name), self.seconds(case, other)
        return one / two if one and two else None

    @property
    def _wire(self) -> float:
        """Return the seconds that the responses of B take on the wire, with all workers always waiting for one."""
        sizes = self.found["sizes"]
        return float(-(-sizes["b"] // STEP) * sizes["latency"] / WORKERS)

    def _at_best(self, case: str, name: str) -> float | None:
        """Return one contender's time as a multiple of reading like the floor, or the wire, and then loading."""
        reading = self.seconds("A", FLOOR) if case == "A" else self._wire
        loading, other = self.seconds(case, LOADING), self.seconds(case, name)
        return other / (reading + loading) if reading and loading and other else None

    def targets(self) -> list[Target]:
        """Return every target whose contenders were measured."""
        return list(self._targets())

    def _targets(self) -> Iterator[Target]:
        sizes = self.found["sizes"]
        for name, bound in ((DLT, 10.0), (PARQUET, 2.5), (PYAIRBYTE, 4.0), (SINGER, 1.6)):
            if ratio := self.ratio("A", name, OURS):
                yield Target("A", f"{name} / ours", ratio, bound, at_least=True, at_best=self._at_best("A", name))
        if ratio := self.ratio("A", OURS, FLOOR):
            best = self._at_best("A", FLOOR)
            yield Target("A", "ours / floor", ratio, 2.2, at_best=1 / best if best else None)
        mine, serial = self.seconds("B", OURS), self.seconds("B", f"{OURS}, {SERIAL}")
        if mine and serial:
            what = "ours / (requests x latency / workers + ours without latency)"
            yield Target("B", what, mine / (self._wire + serial), 1.25)
        for name in (DLT, PARQUET, SINGER, PYAIRBYTE):
            if ratio := self.ratio("B", name, OURS):
                yield Target("B", f"{name} / ours", ratio, 5.0, at_least=True, at_best=self._at_best("B", name))
        long, short = self.cases.get("C", {}).get(OURS), self.cases.get("A", {}).get(OURS)
        if long and short and long.seconds and short.seconds:
            grown = (long.median_seconds / sizes["c"]) / (short.median_seconds / sizes["a"])
            yield Target("C", "time per row / that of A", grown, 1.2)
            yield Target("C", "peak memory", long.median_peak_mb, 500, unit=" MB")
            yield Target("C", "peak memory / that of A", long.median_peak_mb / short.median_peak_mb, 1.3)
        if ratio := self.ratio("D", OURS, DLT):
            yield Target("D", f"ours / {DLT}", ratio, 1.1)
            asked = self.cases["D"][OURS].requests[-1] / self.cases["D"][DLT].requests[-1]
            yield Target("D", f"requests, ours / {DLT}", asked, 1 / 3)
        quiet, changed = self.seconds("D", OURS), self.seconds("E", OURS)
        if quiet and changed:
            yield Target("E", "ours / ours in D", changed / quiet, 1.3)
        if ratio := self.ratio("F", "orgx-sync --help", "python -c 'import click'"):
            yield Target("F", "--help / import click", ratio, 3.0)
        if (events := self.cases.get("G", {}).get(LISTENER)) and events.seconds:
            yield Target("G", "event to row, median", events.median_seconds, 3.0, unit=" s")
            yield Target("G", "event to row, 95 %", share(events, 0.95), 5.0, unit=" s")
        yield from self._growth()
        status, library = self.seconds("F", "orgx-sync status"), self.seconds("F", "python -c 'import duckdb'")
        if status and library:
            yield Target("F", "status / (1.2 x import duckdb + 0.3 s)", status / (1.2 * library + 0.3), 1.0)

    def _growth(self) -> Iterator[Target]:
        """Yield the values of the last nights divided by those of early nights."""
        for name, figures in self.cases.get("H", {}).items():
            values = {"seconds": figures.seconds, "memory": figures.peak_mb, **figures.sizes}
            for what, bound in (("seconds", 1.2), ("memory", 1.1), ("descriptors", 1.0), ("files", 1.1)):
                if (found := grown(values.get(what, []))) and found[0]:
                    yield Target("H", f"{what}, {name}: last 20 nights / nights 21 to 40", found[1] / found[0], bound)


def render(found: dict[str, Any]) -> str:
    """Return the page."""
    results, sizes, machine = Results(found), found["sizes"], found["machine"]
    lines = [
        "# Benchmarks",
        "",
        "Written by `make bench`, which runs every case again. Times are of whole processes, from start to exit:",
        "imports, reading, loading, closing the file. Contenders alternate. Every first load writes a new file, whose",
        "rows are counted afterwards, so a load that loses a row has no result here. On a shared machine, absolute",
        "seconds mean little; compare the ratios.",
        "",
        f"Measured {max(found['measured'].values())} on {machine['processors']} processors ({machine['processor']}), "
        f"{machine['memory_gb']} GB, {machine['system']}, Python {machine['python']}; "
        f"medians of {sizes['rounds']} runs unless stated otherwise.",
        "",
        "![First load of a list, by contender](benchmarks.svg)",
        "",
        "## Contenders",
        "",
        "| contender | description | versions |",
        "| --- | --- | --- |",
    ]
    about = {
        OURS: "this project: overlapping pages, certified, with history, `sync_log` and marts",
        FLOOR: "pages one after another, parsed, one insert; no state, merge or history (`benchmarks/floor.py`)",
        LOADING: "merges rows from Arrow tables with history, as orgx-sync does; no requests, JSON, "
        "comparison, log or marts (`benchmarks/loading.py`)",
        DLT: "dlt's REST source with its offset paginator and defaults (`benchmarks/peers/dlt_rest_api.py`)",
        PARQUET: "the same with `loader_file_format=\"parquet\"`",
        SINGER: "a tap built with the Singer SDK, piped into the target (`benchmarks/peers/singer_tap.py`)",
        PYAIRBYTE: "a low-code manifest, loaded into PyAirbyte's DuckDB cache (`benchmarks/peers/pyairbyte.py`)",
    }  # fmt: skip
    for name, versions in found["versions"].items():
        told = ", ".join(f"{package} {version}" for package, version in versions.items())
        lines.append(f"| {_escape(name)} | {about[name]} | {told} |")
    for name, why in found["missing"].items():
        lines.append(f"| {_escape(name)} | could not be installed: {_escape(why)} | |")
    lines += [
        "",
        "All contenders read the same list with 100 rows per page; all except the floor merge by `id`. The Singer pair",
        "is pinned to DuckDB 1.2.2: with newer versions, target-duckdb 0.8.0 silently loses one row of every batch.",
        "Case C omits dlt's default, which needs more memory than this machine has.",
        "",
        "## Targets",
        "",
        "| case | ratio | measured | at best | target | |",
        "| --- | --- | ---: | ---: | ---: | --- |",
    ]
    for target in results.targets():
        bound = f"{'at least' if target.at_least else 'at most'} {_number(target.bound, target.unit)}"
        verdict = "met" if target.is_met else "**not met**"
        best = "" if target.at_best is None else _number(target.at_best, target.unit)
        value = _number(target.value, target.unit)
        lines.append(f"| {target.case} | {_escape(target.what)} | {value} | {best} | {bound} | {verdict} |")
    lines += [
        "",
        "*At best* is the ratio of an ideal connector: it reads as fast as the floor (in B: as fast as the responses",
        "arrive), then loads as fast as *loading alone*, and needs no time for anything else, such as the overlap of",
        "pages, the comparison of rows, the log or the marts. If even this ratio misses the target, no omission in",
        "this project would meet it: the remaining time is spent in Python, httpx, dlt and DuckDB.",
    ]
    for case, measured in results.cases.items():
        lines += ["", f"## {case}. {TITLES[case].format(**sizes, ms=sizes['latency'] * 1000)}", ""]
        lines += [*_circumstances(found, case), ""]
        lines += [*_table(measured), *_events_beside_runs(measured), *_sizes_table(measured)]
    return "\n".join(lines) + "\n"


def _circumstances(found: dict[str, Any], case: str) -> Iterator[str]:
    """Yield the date of a case, its commit and its rows, if recorded in the results."""
    commit, rows = found["commits"].get(case), found["rows"].get(case)
    yield f"Measured {found['measured'][case]}{f' at commit `{commit}`' if commit else ''}."
    if rows:
        yield f"Rows: {rows}."


def _table(measured: dict[str, Figures]) -> list[str]:
    counted = any(figures.requests for figures in measured.values())
    base = next((figures.median_seconds for figures in measured.values() if figures.seconds), None)
    lines = [
        f"| contender | median s | range s | times the first | peak MB | runs |{' requests |' if counted else ''}",
        f"| --- | ---: | ---: | ---: | ---: | ---: |{' ---: |' if counted else ''}",
    ]
    for name, figures in measured.items():
        if figures.failed or base is None:
            lines.append(f"| {_escape(name)} | failed: {_escape(figures.failed)} | | | | |{' |' if counted else ''}")
            continue
        span = f"{min(figures.seconds):.2f} to {max(figures.seconds):.2f}"
        cells = [
            _escape(name), f"{figures.median_seconds:.2f}", span, f"{figures.median_seconds / base:.2f}",
            f"{figures.median_peak_mb:,.0f}", str(len(figures.seconds)),
        ]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |{f' {figures.requests[-1]} |' if counted else ''}")
    return lines


def _events_beside_runs(measured: dict[str, Figures]) -> Iterator[str]:
    """Yield the cost of events, and of a run every minute, if both were measured."""
    events, run = measured.get(LISTENER), measured.get(QUIET_RUN)
    if not (events and events.requests and run and run.requests):
        return
    count, requests = len(events.seconds), run.requests[-1]
    yield ""
    yield (
        f"From an event's creation to its row: median {events.median_seconds:.2f} s, 95 % within "
        f"{share(events, 0.95):.2f} s, worst {max(events.seconds):.2f} s."
    )
    yield (
        f"The listener sent {events.requests[-1]} requests for these {count} events; without events it sends none. A "
        f"run every minute sends {MINUTES_A_DAY:,} x {requests} = {MINUTES_A_DAY * requests:,} requests per day, with "
        "or without changes."
    )


def _sizes_table(measured: dict[str, Figures]) -> list[str]:
    """Return the sizes after early nights and after the last ones, if measured."""
    lines = []
    for name, figures in measured.items():
        for what, values in {"peak MB": figures.peak_mb, **figures.sizes}.items() if figures.sizes else ():
            if (found := grown(values)) and found[1]:
                lines.append(f"| {name} | {what.replace('_', ' ')} | {found[0]:,.0f} | {found[1]:,.0f} |")
    about = [
        "",
        "There are fewer nights as commands, because each starts a process. On a shared machine the seconds mean",
        "little here; the sizes are reliable. Each night changes rows; the benchmark checks that each adds versions.",
    ]
    head = [*about, "", "| | median | nights 21 to 40 | last 20 |", "| --- | --- | ---: | ---: |"]
    return [*head, *lines] if lines else []


def _number(value: float, unit: str) -> str:
    return f"{value:,.0f}{unit}" if unit.strip() == "MB" else f"{value:.2f}{unit}"


def _escape(text: str) -> str:
    return text.replace("|", "\\|")


def quotes(found: dict[str, Any]) -> list[str]:
    """Return the sentences that the README quotes."""
    results, sizes = Results(found), found["sizes"]
    ratios = [results.ratio("A", name, OURS) or 0.0 for name in (DLT, PARQUET, SINGER, PYAIRBYTE)]
    quiet, other = results.cases["D"][OURS], results.cases["D"][DLT]
    events = results.cases["G"][LISTENER]
    return [
        f"{sizes['a']:,} rows, first load: {ratios[0]:.1f} times as fast as dlt's `rest_api_source`, "
        f"{ratios[1]:.1f} times with Parquet, {ratios[2]:.1f} times a Singer tap and target, {ratios[3]:.1f} times "
        "PyAirbyte",
        f"A run without changes: {quiet.median_seconds:.1f} s and {quiet.requests[-1]} requests, where "
        f"`rest_api_source` takes {other.median_seconds:.1f} s and {other.requests[-1]}",
        f"At {sizes['latency'] * 1000:.0f} ms per response, {sizes['b']:,} rows take "
        f"{results.seconds('B', OURS) or 0.0:.1f} s, where `rest_api_source` takes "
        f"{results.seconds('B', DLT) or 0.0:.1f} s",
        f"From an event to its row: {events.median_seconds:.1f} s (median), {share(events, 0.95):.1f} s for 95 % of "
        "them",
    ]


def draw(found: dict[str, Any]) -> str:
    """Return the chart: first loads, one bar per contender, each case with its own scale."""
    import altair as alt
    import vl_convert

    results, sizes = Results(found), found["sizes"]
    panels = []
    for case in ("A", "B", "C"):
        rows = [
            {
                "contender": name,
                "seconds": figures.median_seconds,
                "who": name if name in (OURS, FLOOR, LOADING) else "others",
            }
            for name, figures in results.cases.get(case, {}).items()
            if figures.seconds and SERIAL not in name
        ]
        if not rows:
            continue
        base = alt.Chart(alt.Data(values=rows)).encode(
            y=alt.Y("contender:N", sort=[row["contender"] for row in rows], title=None),
            x=alt.X("seconds:Q", title="seconds (median)"),
        )
        colours = alt.Scale(domain=[OURS, FLOOR, LOADING, "others"], range=["#0072B2", "#999999", "#999999", "#E69F00"])
        bars = base.mark_bar().encode(color=alt.Color("who:N", scale=colours, legend=None))
        numbers = base.mark_text(align="left", dx=4).encode(text=alt.Text("seconds:Q", format=",.1f"))
        title = f"{case}. {TITLES[case].format(**sizes, ms=sizes['latency'] * 1000)}"
        panels.append((bars + numbers).properties(width=420, height=alt.Step(22), title=title))
    chart = alt.vconcat(*panels).resolve_scale(x="independent", y="independent").configure_title(anchor="start")
    return str(vl_convert.vegalite_to_svg(chart.configure(background="white").to_json()))


def write_page(found: dict[str, Any]) -> None:
    """Write the page and its chart."""
    PAGE.write_text(render(found))
    CHART.write_text(draw(found))


def main() -> None:
    """Write both from the existing results."""
    write_page(json.loads(RESULTS.read_text()))


if __name__ == "__main__":
    main()
