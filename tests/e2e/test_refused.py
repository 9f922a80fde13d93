"""What a database refuses of one table: that table is named and given up, and the others load the same night."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import psycopg2
import pytest

from orgx_source.sandbox import Sandbox, World
from orgx_source.warehouse.postgres_copy import PatientClient
from tests import running
from tests.running import differences, execute, on_postgres, pipeline, query, sync

TABLES = ["agents", "tasks"]


@pytest.fixture
def postgres(postgres_server: Any) -> Iterator[None]:
    """Run on PostgreSQL."""
    with on_postgres(postgres_server):
        yield


def refuse_agents(box: Sandbox) -> str:
    agent, noise = box.world.rows("agent")[0], random.Random(3)
    execute("create index too_long on orgx.agents (name)")
    box.world.edit(
        "agent", agent["id"], name="".join(noise.choice("abcdefghijklmnop0123456789") for _ in range(12_000))
    )
    return "index row"


def overflow_agents(box: Sandbox) -> str:
    agent = box.world.rows("agent")[0]
    box.world.edit("agent", agent["id"], **{f"field_{number}": "x" for number in range(1_700)})
    return "1600 columns"


def check_agents(box: Sandbox) -> str:
    execute("alter table orgx.agents add constraint short check (length(name) < 60)")
    box.world.edit("agent", box.world.rows("agent")[0]["id"], name="x" * 80)
    return "short"


def columns_of_agents(**changed: str) -> str:
    """Return the columns of the table in DuckDB as SQL, some of them changed."""
    found = query("select column_name, data_type from duckdb_columns() where schema_name = 'orgx' and table_name = 'a'")
    return ", ".join(f'"{name}" {kind} {changed.get(name, "")}' for name, kind in found)


# A change by an analyst, the statements that undo it, and the advice to the owner of the table.
KEEP = "create table orgx.a as select * from orgx.agents"
SHORT = "alter table orgx.agents add constraint short check (length(name) < 25) not valid"
TRIGGER = "create trigger no before insert or update on orgx.agents for each row execute function orgx.no()"
RENAMED_KEY = (
    ["alter table orgx.agents rename id to key"],
    ["alter table orgx.agents rename key to id"],
    "restore the name of a renamed column",
)
TO_VIEW = ["alter table orgx.agents rename to a", "create view orgx.agents as select * from orgx.a"]
FROM_VIEW = ["drop view orgx.agents", "alter table orgx.a rename to agents"]
REFUSALS: dict[str, tuple[str, list[str], list[str], str]] = {
    "check": ("postgres", [SHORT], ["alter table orgx.agents drop constraint short"], "drop the constraint"),
    "not null": (
        "postgres",
        ["alter table orgx.agents_history add team text not null default 'x'",
         "alter table orgx.agents_history alter team drop default"],
        ["alter table orgx.agents_history drop column team cascade"],
        "drop the constraint",
    ),
    "foreign key": (
        "postgres",
        ["create table orgx.names as select distinct name from orgx.agents", "alter table orgx.names add unique (name)",
         "alter table orgx.agents add constraint fk foreign key (name) references orgx.names (name)"],
        ["alter table orgx.agents drop constraint fk"],
        "drop the constraint",
    ),
    "unique": (
        "postgres", ["create unique index u on orgx.agents_history (id)"], ["drop index orgx.u"], "the unique index"
    ),
    "trigger": (
        "postgres",
        ["create function orgx.no() returns trigger language plpgsql as $$ begin raise 'no'; end $$", TRIGGER],
        ["drop trigger no on orgx.agents"],
        "drop the trigger",
    ),
    "enum": (
        "postgres",
        ["create type orgx.mood as enum ('idle', 'working')",
         "alter table orgx.agents alter status type orgx.mood using 'idle'"],
        ["alter table orgx.agents alter status type varchar"],
        "their types",
    ),
    "domain": (
        "postgres",
        ["create domain orgx.short as varchar check (length(value) < 25)",
         "alter table orgx.agents alter name type orgx.short"],
        ["alter table orgx.agents alter name type varchar"],
        "drop the constraint",
    ),
    "generated": (
        "postgres",
        ["alter table orgx.agents drop column name",
         "alter table orgx.agents add name varchar generated always as (upper(id)) stored"],
        ["drop table orgx.agents"],
        "drop it: the next run then reads it in full",
    ),
    "view": ("postgres", TO_VIEW, FROM_VIEW, "restore the table"),
    "renamed key": ("postgres", *RENAMED_KEY),
    "check in DuckDB": (
        "duckdb", [KEEP, "drop table orgx.agents", "create table orgx.agents ({name: check (length(name) < 25)})",
                   "insert into orgx.agents from orgx.a"],
        ["drop table orgx.agents", "alter table orgx.a rename to agents"],
        "drop the constraint",
    ),
    "enum in DuckDB": (
        "duckdb",
        ["create type orgx.mood as enum ('idle', 'working')",
         "alter table orgx.agents alter status type orgx.mood using 'idle'"],
        ["alter table orgx.agents alter status type varchar"],
        "the type that the column was loaded with",
    ),
    "view in DuckDB": ("duckdb", TO_VIEW, FROM_VIEW, "restore the table"),
    "renamed key in DuckDB": ("duckdb", *RENAMED_KEY),
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSALS)
def test_what_an_analyst_did_is_named_with_its_cure_and_no_row_is_lost(
    kind: str, request: pytest.FixtureRequest
) -> None:
    database, spoil, cure, advice = REFUSALS[kind]
    if database == "postgres":
        request.getfixturevalue("postgres")
    with Sandbox(World("small")) as box:
        assert sync(box, TABLES).exit_code == 0
        count = query("select count(*) from orgx.agents")
        for sql in spoil:
            name, _, check = sql.partition("{name: ")
            execute(f"{name}{columns_of_agents(name=check[:-2])})" if check else sql)
        agent = box.world.rows("agent")[0]["id"]
        for night in range(2):
            box.world.edit("agent", agent, name=f"a very long private name {night}", status="strange")
            box.world.edit("task", box.world.rows("task")[night]["id"], title=f"night {night}")
            report = sync(box, TABLES)
            assert (report.exit_code, report.error) == (1, None), report.to_json()
            error = str(report.tables["agents"].error)
            assert "The owner of agents" in error and advice in error
            assert "private" not in error or database == "duckdb"
            assert query("select count(*) from orgx.agents") == count
            assert report.tables["tasks"].verdict == "certified", report.to_json()
        execute(*cure)
        assert sync(box, TABLES, full=True).exit_code == 0
        assert differences(box.world, tables=TABLES) == []


@pytest.mark.usefixtures("postgres")
def test_a_trigger_that_changes_rows_is_named_by_each_run() -> None:
    with Sandbox(World("small")) as box:
        assert sync(box, ["agents"]).messages == []
        execute(
            "create function orgx.no() returns trigger language plpgsql as $$ begin return null; end $$",
            TRIGGER,
            "create trigger later after insert on orgx.agents for each row execute function orgx.no()",
            "create rule nothing as on update to orgx.agents_history do instead nothing",
        )
        assert [message.partition(", which")[0] for message in sync(box, ["agents"]).messages] == [
            "agents has the trigger no",
            "agents_history has the rule nothing",
        ]


@pytest.mark.usefixtures("postgres")
@pytest.mark.parametrize("spoil", [refuse_agents, overflow_agents, check_agents])
def test_a_table_that_postgres_refuses_is_named_each_night_and_the_others_load(spoil: Any) -> None:
    with Sandbox(World("small")) as box:
        assert sync(box, TABLES).exit_code == 0
        said = spoil(box)
        for night in range(2):
            task = box.world.rows("task")[night]
            box.world.edit("task", task["id"], title=f"night {night}")
            report = sync(box, TABLES)
            assert report.exit_code == 1, report.to_json()
            assert said in str(report.tables["agents"].error) and "agents" in str(report.tables["agents"].error)
            assert (report.error, report.tables["tasks"].verdict) == (None, "certified")
            assert differences(box.world, tables=["tasks"]) == []
            assert not pipeline().has_pending_data
    assert query("select status, count(*) from orgx.sync_log where table_name = 'agents' group by 1 order by 1") == [
        ("failed", 2),
        ("ok", 1),
    ]


def connect() -> Any:
    return closing(psycopg2.connect(running._postgres))


@pytest.mark.usefixtures("postgres")
def test_a_lock_that_somebody_keeps_ends_the_run_and_says_who_keeps_it() -> None:
    with Sandbox(World("small")) as box, connect() as analyst:
        assert sync(box, ["agents"]).exit_code == 0
        analyst.cursor().execute("set application_name = 'spreadsheet'; select * from orgx.agents")
        box.world.edit("agent", box.world.rows("agent")[0]["id"], mood="fine")
        report = sync(box, ["agents"], lock_timeout=0.3)
        assert report.exit_code == 4, report.to_json()
        for told in (f"session {analyst.info.backend_pid}", "spreadsheet", "idle in transaction", "--lock-timeout"):
            assert told in str(report.error)
        analyst.rollback()
        assert sync(box, ["agents"]).exit_code == 0
        assert differences(box.world, tables=["agents"]) == []


@pytest.mark.usefixtures("postgres")
def test_a_connection_that_is_cut_is_mended_by_the_next_run(monkeypatch: pytest.MonkeyPatch) -> None:
    copy = PatientClient.copy

    def cut(self: PatientClient, statement: str, file: Any) -> None:
        with connect() as other:
            other.cursor().execute("select pg_terminate_backend(%s)", [self.native_connection.info.backend_pid])
        copy(self, statement, file)

    with Sandbox(World("small")) as box:
        with monkeypatch.context() as patched:
            patched.setattr(PatientClient, "copy", cut)
            report = sync(box, ["agents"])
        assert report.exit_code == 4, report.to_json()
        report = sync(box, ["agents"])
        assert report.exit_code == 0, report.to_json()
        assert differences(box.world, tables=["agents"]) == []


@pytest.mark.usefixtures("postgres")
def test_rows_to_which_somebody_else_refers_are_changed_in_place() -> None:
    with Sandbox(World("small")) as box:
        sync(box, ["tasks"])
        task, other = box.world.rows("task")[:2]
        execute(
            "alter table orgx.tasks add unique (id)",
            "create table notes (task varchar references orgx.tasks (id))",
            f"insert into notes values ('{task['id']}'), ('{other['id']}')",
        )
        box.world.edit("task", task["id"], title="another")
        box.world.delete("task", other["id"])
        report = sync(box, ["tasks"], full=True)
        assert report.exit_code == 0, report.to_json()
        assert differences(box.world, tables=["tasks"]) == []
        execute("drop table notes", "alter table orgx.tasks drop constraint tasks_id_key")
        execute("insert into orgx.tasks select * from orgx.tasks limit 5")
        assert sync(box, ["tasks"]).exit_code == 0
        assert differences(box.world, tables=["tasks"]) == []


@pytest.mark.usefixtures("each_warehouse")
@pytest.mark.parametrize(
    ("column_type", "in_history", "value", "typed"),
    [
        ("integer", False, "five", False),
        ("numeric(10, 2)", True, 7, False),
        ("boolean", True, "yes", False),
        ("varchar", False, "five", True),
    ],
)
def test_a_column_that_an_analyst_added_is_left_alone_and_what_orgx_sends_is_kept_beside(
    column_type: str, in_history: bool, value: Any, typed: bool
) -> None:
    with Sandbox(World("small")) as box:
        sync(box, ["agents"])
        # DuckDB changes no table that a view of its own reads in a transaction of another.
        execute(f"alter table orgx.agents{'_history' if in_history else ''} add column note {column_type}")
        agent = box.world.rows("agent")[0]["id"]
        box.world.edit("agent", agent, note=value)
        report = sync(box, ["agents"])
        assert report.exit_code == 0, report.to_json()
        said = [reason for reason in report.tables["agents"].reasons if "added by someone else" in reason]
        assert bool(said) != typed or column_type == "boolean"
        for table in ("agents", "agents_history"):
            name = "note" if typed else "note__v_text"
            found = query(f"select {name} from orgx.{table} where id = '{agent}' and {name} is not null")
            assert found == [(str(value),)], table
        box.world.edit("agent", agent, name="another")
        report = sync(box, ["agents"])
        assert report.exit_code == 0, report.to_json()
        assert not [reason for reason in report.tables["agents"].reasons if "added by someone else" in reason]


@pytest.fixture
def guest() -> Iterator[str]:
    """Let runs log in as a role that may read and write rows and do nothing else, once they were done as the owner."""
    role = "guest"
    execute(f"create role {role} login password 'none'")
    yield role
    execute(f"drop owned by {role}", f"drop role {role}")


@pytest.mark.usefixtures("postgres")
@pytest.mark.marts
def test_a_role_without_a_right_is_told_what_to_grant(guest: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with Sandbox(World("small")) as box:
        as_guest = str(running._postgres).replace("//postgres:", f"//{guest}:")
        monkeypatch.setenv("DESTINATION__POSTGRES__CREDENTIALS", as_guest)
        report = sync(box, ["agents"])
        assert report.exit_code == 3, report.to_json()
        assert f'TO "{guest}"' in str(report.error) and "GRANT CREATE ON DATABASE" in str(report.error)
        monkeypatch.setenv("DESTINATION__POSTGRES__CREDENTIALS", str(running._postgres))
        assert sync(box, ["agents"]).exit_code == 0
        for schema in ("orgx", "orgx_staging", "orgx_marts"):
            execute(
                f"grant usage on schema {schema} to {guest}",
                f"grant select, insert, update, delete on all tables in schema {schema} to {guest}",
            )
        box.world.edit("agent", box.world.rows("agent")[0]["id"], mood="fine")
        monkeypatch.setenv("DESTINATION__POSTGRES__CREDENTIALS", as_guest)
        report = sync(box, ["agents"])
        assert report.exit_code == 3, report.to_json()
        assert "agents" in str(report.error) and f'"{guest}"' in str(report.error)
        execute(
            "alter table orgx.agents enable row level security", "create policy few on orgx.agents using (id < '5')"
        )
        report = sync(box, ["agents"])
        assert report.exit_code == 3 and "does not see all rows of agents" in str(report.error), report.to_json()
        execute("drop policy few on orgx.agents", "create policy everything on orgx.agents using (true)")
        assert "does not see" not in str(sync(box, ["agents"]).error)


@pytest.mark.usefixtures("postgres")
def test_a_view_of_versions_that_cannot_be_replaced_is_named_with_its_cure(
    guest: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    execute(f"grant create on database {query('select current_database()')[0][0]} to {guest}")
    monkeypatch.setenv(
        "DESTINATION__POSTGRES__CREDENTIALS", str(running._postgres).replace("//postgres:", f"//{guest}:")
    )
    with Sandbox(World("small")) as box:
        assert sync(box, ["agents"]).exit_code == 0
        box.world.edit("agent", box.world.rows("agent")[0]["id"], new_field="x")
        execute("alter view orgx.agents_versions owner to postgres")
        report = sync(box, ["agents"])
        assert report.exit_code == 3, report.to_json()
        assert "must be owner of view agents_versions" in str(report.error) and "GRANT OWNER TO" in str(report.error)
        execute(
            "drop view orgx.agents_versions", f"set role {guest}; create view orgx.agents_versions as select 1 as one"
        )
        report = sync(box, ["agents"])
        assert report.exit_code == 1 and "The owner of agents_versions must drop it" in str(report.error)
        execute("drop view orgx.agents_versions")
        assert sync(box, ["agents"]).exit_code == 0
        assert query("select count(*) from orgx.agents_versions where new_field = 'x'") == [(1,)]
