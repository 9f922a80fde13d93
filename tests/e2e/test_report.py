"""The report: a page that a browser draws, that holds no network and no foreign script, on any warehouse."""

from __future__ import annotations

import json
import re
import shutil
import sys
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import vl_convert
from filelock import FileLock

import orgx_source.html_report
from orgx_source import charts
from orgx_source.cli.demo import run_demo
from orgx_source.errors import ConfigError, DestinationError, OrgxError
from orgx_source.html_report import content, page, write_report
from orgx_source.html_report import facts as facts_room
from orgx_source.marts import load_marts
from orgx_source.marts.reading import read_marts
from orgx_source.sandbox import Sandbox, World
from orgx_source.sync import run_sync
from tests.browser import HOW_TO_HAVE_ONE, Opened, find_browser, open_page
from tests.e2e.test_command import orgx_sync
from tests.running import DATABASE, execute, fast_client, on_postgres, pipeline, query, sync

pytestmark = pytest.mark.marts

REPORT = Path("report.html")
TAKEN = 'document.title="taken"'
MARKUP = f"</script><script>{TAKEN}</script><!-- <img src=x onerror='{TAKEN}'>"
HOSTILE = f"""{MARKUP} & "quoted" {{{{ report }}}} {{% raw %}}"""


@pytest.fixture(scope="session")
def browser() -> str:
    found = find_browser()
    if found is None:
        pytest.skip(HOW_TO_HAVE_ONE)
    return found


@pytest.fixture
def weeks(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fill a warehouse with seven weeks of reads, and with titles that try to break out of a page; once for all."""
    monkeypatch.delenv("ORGX_OPTIONAL_TABLES")
    kept = shared / "weeks.duckdb"
    with FileLock(shared / "weeks.lock"):
        if not kept.exists():
            fill_weeks()
            shutil.copy(DATABASE, kept)
    shutil.copy(kept, DATABASE)


def fill_weeks() -> None:
    world = World("small", start=datetime(2026, 3, 2, 6, tzinfo=UTC))
    with Sandbox(world) as box:
        for step in range(4):
            if step:
                world.advance(days=16)
            if step == 3:
                spoil(world)
            client = fast_client(box)
            report = run_sync(client.config, pipeline(), client=client, clock=lambda: world.now)
            assert report.exit_code == 0, report


def spoil(world: World) -> None:
    """Give everything that is shown a hostile name."""
    shown = {"initiative": "title", "decision": "title", "task": "title", "agent": "name", "workspace": "name"}
    for kind, name in shown.items():
        for row in world.rows(kind):
            world.edit(kind, row["id"], **{name: f"{HOSTILE} {row[name]}"})


class Page(HTMLParser):
    """What stands on a page, as a browser takes it apart.

    Attributes:
        scripts: Type of each script, and its text.
        charts: Id of each place for a chart, and the names of the tags in it.
        texts: Text outside of scripts and styles.
        tags: Names of all tags, with their attributes.
    """

    def __init__(self, html: str) -> None:
        super().__init__()
        self.scripts: list[tuple[str, str]] = []
        self.charts: dict[str, list[str]] = {}
        self.texts: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self._open: list[str] = []
        self._chart: tuple[str, int] | None = None
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.tags.append((tag, found))
        if self._chart:
            self.charts[self._chart[0]].append(tag)
        if tag not in ("meta", "link", "br", "img", "path", "line", "rect"):
            self._open.append(tag)
        if tag == "script":
            self.scripts.append((found.get("type") or "", ""))
        if found.get("class") and "chart" in str(found["class"]).split() and found.get("id"):
            self._chart = (str(found["id"]), len(self._open))
            self.charts[str(found["id"])] = []

    def handle_endtag(self, tag: str) -> None:
        while tag in self._open and self._open.pop() != tag:
            pass
        if self._chart and len(self._open) < self._chart[1]:
            self._chart = None

    def handle_data(self, data: str) -> None:
        if self._open[-1:] == ["script"]:
            kind, text = self.scripts[-1]
            self.scripts[-1] = (kind, text + data)
        elif self._open[-1:] != ["style"]:
            self.texts.append(data)


def attribute(opened: Opened, name: str) -> str | None:
    found = re.search(rf'<html[^>]*? {name}="([^"]*)"', opened.dom)
    return found[1] if found else None


# -- in a browser --------------------------------------------------------------------------------------------------


def test_a_browser_draws_every_chart_and_complains_of_nothing(browser: str, weeks: None) -> None:
    write_report(pipeline(), REPORT)
    specs = json.loads(next(text for kind, text in Page(REPORT.read_text()).scripts if kind == "application/json"))
    # With so many reads, only what nobody was seen doing may be without a picture.
    assert set(charts.__all__) - {"blockages"} <= specs.keys()
    opened = open_page(browser, REPORT)
    assert (attribute(opened, "data-charts"), attribute(opened, "data-errors")) == ("drawn", None)
    assert opened.console == []
    drawn = Page(opened.dom).charts
    assert drawn.keys() == {f"chart-{name}" for name in specs}
    for name, tags in drawn.items():
        assert tags.count("svg") == 1, name
        assert sum(tag in ("path", "text", "rect", "line") for tag in tags) > 10, name


def test_a_legend_that_wraps_on_a_narrow_screen_stays_below_the_title(browser: str, weeks: None) -> None:
    write_report(pipeline(), REPORT)
    # No window is narrower than 500 pixels; at this scale, they are 454 of the page.
    opened = open_page(browser, REPORT, "--window-size=500,900", "--force-device-scale-factor=1.1")
    heights = []
    for chart in opened.dom.split('class="marks"')[1:]:
        top = re.search(r'<g fill="none"[^>]*translate\([^,]*,([^)]*)\)', chart)
        legend = re.search(r'role-legend".{,400}?translate\([^,]*,([^)]*)\)', chart, re.DOTALL)
        if top and legend:
            assert float(top[1]) + float(legend[1]) >= 0
            heights.append(-float(legend[1]))
    # One of them has wrapped.
    assert max(heights) > 3 * min(heights)


def test_no_title_of_a_row_breaks_out_of_the_page(browser: str, weeks: None) -> None:
    write_report(pipeline(), REPORT)
    written = Page(REPORT.read_text())
    assert [kind for kind, _ in written.scripts] == ["application/json", "", ""]
    assert "img" not in {tag for tag, _ in written.tags}
    assert HOSTILE in json.loads(written.scripts[0][1])["stalls"].__repr__().replace("\\'", "'")
    assert any(HOSTILE in text for text in written.texts)
    opened = open_page(browser, REPORT)
    found = Page(opened.dom)
    assert (attribute(opened, "data-charts"), opened.console) == ("drawn", [])
    assert "<title>taken" not in opened.dom
    assert [kind for kind, _ in found.scripts] == ["application/json", "", ""]
    assert "img" not in {tag for tag, _ in found.tags}


def test_a_script_that_the_page_did_not_bring_is_not_run(browser: str, weeks: None) -> None:
    write_report(pipeline(), REPORT)
    foreign = '<script>document.title = "taken"</script><img src="https://127.0.0.1:1/x.png">'
    REPORT.write_text(REPORT.read_text().replace("<main>", f"<main>{foreign}"))
    opened = open_page(browser, REPORT)
    assert "<title>taken" not in opened.dom
    assert attribute(opened, "data-charts") == "drawn"
    assert len([line for line in opened.console if "Content Security Policy" in line]) == 2


def test_a_chart_that_cannot_be_drawn_is_told_and_the_others_are_drawn(
    browser: str, weeks: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = page.themed

    def broken(spec: Any) -> dict[str, Any]:
        return {"layer": [{"mark": "no such mark"}]} if "tasks done" in json.dumps(spec) else original(spec)

    monkeypatch.setattr(page, "themed", broken)
    write_report(pipeline(), REPORT)
    opened = open_page(browser, REPORT)
    assert attribute(opened, "data-charts") == "failed"
    assert "portfolio" in (attribute(opened, "data-errors") or "")
    assert "This chart could not be drawn." in opened.dom
    assert Page(opened.dom).charts["chart-decisions_open"].count("svg") == 1


# -- the file ------------------------------------------------------------------------------------------------------


def test_the_report_holds_the_figures_of_the_marts_on_any_warehouse(each_warehouse: str) -> None:
    world = World("small")
    with Sandbox(world) as box:
        for _ in range(2):
            client = fast_client(box)
            run_sync(client.config, pipeline(), client=client, clock=lambda: world.now)
            world.advance(days=1)
    write_report(pipeline(), REPORT)
    text = " ".join(Page(REPORT.read_text()).texts)
    assert "Northwind Labs" in text
    [(as_of,)] = query("select as_of from orgx_marts.stg_orgx__as_of")
    assert f"As of {as_of.day} {as_of:%B %Y, %H:%M} UTC" in " ".join(text.split()).replace("As of  ", "As of ")
    [(waiting,)] = query("select count(*) from orgx_marts.decision_latency where is_open")
    assert re.search(rf"Decisions waiting\s+{waiting}\s", text)
    [(count,)] = query(
        "select count(*) from orgx_marts.initiatives_current where status_group not in ('completed', 'closed')"
    )
    assert re.search(rf"Open initiatives\s+{count}\s", text)
    for (table,) in query("select table_name from orgx_marts.sync_health"):
        assert table in text
    first = REPORT.read_bytes()
    write_report(pipeline(), REPORT)
    assert REPORT.read_bytes() == first


def test_rows_of_every_mart_are_plain_values_and_the_same_from_any_warehouse(
    each_warehouse: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    monkeypatch.setenv("PGTZ", "Asia/Tokyo")
    with Sandbox(World("small")) as box:
        sync(box)
    counts = {name: query(f"select count(*) from orgx_marts.{name}")[0][0] for name in load_marts()}
    with read_marts(pipeline()) as marts:
        assert marts.workspaces == ["Northwind Labs"]
        for name, mart in load_marts().items():
            rows = marts.rows(name)
            assert len(rows) == counts[name]
            kinds = {type(value) for row in rows for value in row.values()}
            assert kinds <= {str, int, float, bool, datetime, type(None)} | {type(datetime.now(UTC).date())}, name
            assert all(set(mart.columns) <= row.keys() for row in rows), name
            moments = [value for row in rows for value in row.values() if isinstance(value, datetime)]
            assert {moment.utcoffset() for moment in moments} <= {timedelta(0)}, name
        [as_of] = marts.rows("stg_orgx__as_of")
        chosen = marts.rows(
            "decision_latency",
            columns=["decision_id", "asked_at"],
            where="asked_at < %s",
            values=[as_of["as_of"]],
            order_by="asked_at desc, decision_id",
            most=3,
        )
        assert len(chosen) == 3 and list(chosen[0]) == ["decision_id", "asked_at"]
        assert [row["asked_at"] for row in chosen] == sorted((row["asked_at"] for row in chosen), reverse=True)


def test_what_is_loaded_while_the_report_reads_is_in_none_of_its_answers(postgres_server: Any) -> None:
    with on_postgres(postgres_server), Sandbox(World("small")) as box:
        sync(box)
        with read_marts(pipeline()) as marts:
            before = len(marts.rows("initiatives_current"))
            execute("delete from orgx.initiatives", "delete from orgx.decisions")
            assert len(marts.rows("initiatives_current")) == before > 0
            assert marts.rows("decision_latency")
        with read_marts(pipeline()) as marts:
            assert marts.rows("initiatives_current") == []


def test_the_page_names_no_address_of_the_network_and_asks_for_none(weeks: None) -> None:
    write_report(pipeline(), REPORT)
    tags = Page(REPORT.read_text()).tags
    policy = next(found["content"] for tag, found in tags if tag == "meta" and "http-equiv" in found)
    assert policy is not None and policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe-eval" not in policy and "script-src 'unsafe-inline'" not in policy
    for tag, found in tags:
        if tag == "a" and found.get("rel") == "noopener noreferrer":
            # A link is followed by whoever clicks on it, and tells nobody where it stood.
            assert (found["href"] or "").startswith("https://")
            continue
        for name in ("src", "href", "action", "data", "poster", "srcset"):
            assert (found.get(name) or "#").startswith(("#", "data:")), (tag, found)


def test_every_picture_has_a_heading_a_sentence_and_a_name_for_those_who_do_not_see_it(weeks: None) -> None:
    write_report(pipeline(), REPORT)
    tags = Page(REPORT.read_text()).tags
    ids = [found["id"] for _, found in tags if "id" in found]
    assert len(ids) == len(set(ids))
    assert {f"{name}-finding" for name in charts.__all__} <= set(ids)
    for _, found in tags:
        for name in ("aria-labelledby", "aria-describedby"):
            assert found.get(name, ids[0]) in ids
        if found.get("class") == "chart":
            assert found["role"] == "img" and {"aria-labelledby", "aria-describedby"} <= found.keys()


def test_a_warehouse_that_was_never_filled_gives_a_page_that_says_so() -> None:
    with Sandbox(World("small")) as box:
        sync(box, ["workspaces"])
    execute("delete from orgx.sync_log")
    write_report(pipeline(), REPORT)
    assert "Nothing has been read yet" in REPORT.read_text()


@pytest.mark.parametrize("tables", [["tasks"], ["initiatives"], ["agents", "activity"], ["decisions"]])
def test_a_warehouse_with_some_of_the_tables_gives_a_page(tables: list[str]) -> None:
    with Sandbox(World("small")) as box:
        sync(box, tables)
    write_report(pipeline(), REPORT)
    assert "<h1>OrgX</h1>" in REPORT.read_text()


def test_of_many_decisions_those_asked_last_are_shown_and_all_that_wait(
    weeks: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    newest = query("select decision_id from orgx_marts.decision_latency order by asked_at desc, decision_id limit 5")
    waiting = query("select decision_id from orgx_marts.decision_latency where is_open")
    for room in (facts_room, content):
        monkeypatch.setattr(room, "MAX_DECISIONS", 5)
    with read_marts(pipeline()) as marts:
        facts = facts_room.read_facts(marts)
    # Were the open ones kept before others, waits would look longer than they are.
    assert [row["decision_id"] for row in facts.decisions] == [row[0] for row in newest]
    assert {row["decision_id"] for row in facts.waiting} == {row[0] for row in waiting} != set()
    assert any("the 5 most recently asked decisions" in note for note in content.compose(facts).notes)


def test_what_a_library_brings_cannot_end_its_script() -> None:
    assert "</script" not in page.inline_script('x = "</script><!-- y"').lower()
    assert "<!--" not in page.inline_script('x = "</script><!-- y"')
    text = page.embedded_json({"title": HOSTILE})
    assert "<" not in text and ">" not in text and json.loads(text) == {"title": HOSTILE}


# -- the command ---------------------------------------------------------------------------------------------------


def test_the_command_writes_the_page_and_says_where(each_warehouse: str) -> None:
    with Sandbox(World("small")) as box:
        sync(box)
    place = ["--database", "x.duckdb"] if each_warehouse == "duckdb" else ["--destination", "postgres"]
    done = orgx_sync("report", *place)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Report written to orgx_report.html" in done.stdout
    done = orgx_sync("report", "--output", "some/where.html", "--quiet", *place)
    assert (done.returncode, done.stdout) == (0, "")
    assert Path("some/where.html").read_bytes() == Path("orgx_report.html").read_bytes()
    assert [path.name for path in Path("some").iterdir()] == ["where.html"]


def test_a_missing_database_is_exit_4_and_stays_missing() -> None:
    done = orgx_sync("report", "--database", "nowhere.duckdb")
    assert done.returncode == 4
    assert "nowhere.duckdb does not exist yet; orgx-sync run creates it" in done.stderr
    assert list(Path().glob("*.duckdb")) == [] and list(Path().glob("*.html")) == []


def test_missing_marts_are_one_sentence_that_says_what_makes_them(each_warehouse: str) -> None:
    with Sandbox(World("small")) as box:
        sync(box, ["tasks"])
    execute("drop schema orgx_marts cascade")
    with pytest.raises(DestinationError, match=r"no orgx_marts\.stg_orgx__as_of yet.*orgx-sync marts"):
        write_report(pipeline(), REPORT)
    assert not REPORT.exists()


def test_a_missing_package_is_one_sentence_that_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with Sandbox(World("small")) as box:
        sync(box, ["tasks"])
    for name in [name for name in sys.modules if name.startswith(("orgx_source.charts", "orgx_source.html_report."))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr(orgx_source.html_report, "content", raising=False)
    monkeypatch.delattr(orgx_source.html_report, "page", raising=False)
    monkeypatch.delattr(orgx_source, "charts", raising=False)
    monkeypatch.setitem(sys.modules, "altair", None)
    with pytest.raises(ConfigError, match=r"needs the package 'altair': pip install 'orgx-source\[report\]'"):
        write_report(pipeline(), REPORT)


def test_a_report_that_cannot_be_finished_leaves_the_older_one(monkeypatch: pytest.MonkeyPatch) -> None:
    with Sandbox(World("small")) as box:
        sync(box, ["tasks"])
    REPORT.write_text("older")
    original = Path.write_text

    def full(path: Path, text: str, **settings: Any) -> int:
        original(path, text[:100], **settings)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OrgxError, match=r"report\.html could not be written: No space left on device"):
        write_report(pipeline(), REPORT)
    assert REPORT.read_text() == "older"
    assert list(Path().glob(".report*")) == []


def test_a_demonstration_without_the_packages_of_the_report_says_what_it_needs(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing() -> None:
        raise ConfigError("The report needs the package 'altair': pip install 'orgx-source[report]'")

    monkeypatch.setattr(orgx_source.html_report, "_import_pictures", missing)
    assert run_demo(Path("demo.duckdb"), "small", days=1) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("The report needs the package 'altair'")


def test_the_drawing_library_stands_on_the_page_as_it_was_bundled() -> None:
    library = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    assert page.inline_script(library) == library
