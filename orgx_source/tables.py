"""The declared tables: their columns, the meaning of each, and the OrgX keys each is read from.

Data only. A column reads its own name in snake_case and camelCase, then its aliases; the first value that is not null
wins. Undeclared fields become columns of their own.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

Row = dict[str, Any]
"""Column or key to value: a JSON object of OrgX, or a row of a table or view."""

ColumnType = Literal["text", "bigint", "double", "bool", "timestamp", "date", "json"]

MISFIT_SUFFIX = "__v_text"
# PostgreSQL's 63 characters, less the suffix.
MAX_NAME = 63 - len(MISFIT_SUFFIX)
SYNC_LOG = "sync_log"
MEMORY_HITS = "memory_hits"
WEBHOOK_EVENTS = "webhook_events"


@dataclass(frozen=True, slots=True)
class Column:
    """One declared column.

    Attributes:
        name: Name in the warehouse.
        type: dlt's name of the type.
        description: Its meaning, with the unit if there is one.
        aliases: Other keys that OrgX uses for it, in order of preference, in snake_case.
        volatile: Whether it changes with every read; such a column is excluded from change detection.
    """

    name: str
    type: ColumnType
    description: str
    aliases: tuple[str, ...] = ()
    volatile: bool = False
    own_key: bool = True

    @property
    def keys(self) -> tuple[str, ...]:
        """Return every key it is read from, both casings, in order of preference."""
        return spellings(*((self.name, *self.aliases) if self.own_key else self.aliases))


@dataclass(frozen=True, slots=True)
class Table:
    """One table.

    Attributes:
        name: Name in the warehouse, and of the dlt resource.
        description: Its grain in one sentence.
        columns: The declared columns; the first is the key.
        append_only: Whether rows never change once they exist (`activity`).
        keeps_history: Whether every version goes into the table's history as well.
        parent: Parent table, for the documentation.
        entity_type: OrgX's type of a row, if artifacts can be attached to it; else None.
        created: Column with the creation time, declared or not.
        updated: Column with the time of the last change, declared or not.
        workspace: Columns with the workspace, in order of preference, declared or not.
        local_ids: Whether OrgX's ids are unique within one workspace only.
        optional: Whether a key without access is only a note, never a failure.
    """

    name: str
    description: str
    columns: tuple[Column, ...]
    append_only: bool = False
    keeps_history: bool = True
    parent: str | None = None
    entity_type: str | None = None
    created: str = "created_at"
    updated: str = "updated_at"
    workspace: tuple[str, ...] = ("workspace_id", "command_center_id")
    local_ids: bool = False
    optional: bool = False

    @property
    def key(self) -> str:
        """Return the name of the key column."""
        return self.columns[0].name

    @property
    def singular(self) -> str:
        """Return OrgX's name of one row: ``task`` for ``tasks``."""
        return self.name.removesuffix("s")

    @property
    def history(self) -> str:
        """Return the name of the table that holds every version; for tables that keep one."""
        return f"{self.name}_history"

    @property
    def versions(self) -> str:
        """Return the name of the view with the end of each version."""
        return f"{self.name}_versions"

    @property
    def stored_columns(self) -> tuple[Column, ...]:
        """Return the declared columns, and those that the connector adds."""
        return (*self.columns, *(TRACKING_COLUMNS[:1] if self.append_only else TRACKING_COLUMNS))

    def column(self, name: str) -> Column | None:
        """Return the declared column with that name, if any."""
        return next((column for column in self.columns if column.name == name), None)


def spellings(*names: str) -> tuple[str, ...]:
    """Return the keys under which OrgX may send columns of these names: both casings, in order."""
    return tuple(dict.fromkeys(key for name in names for key in (name, camel_case(name))))


def camel_case(name: str) -> str:
    """Return ``updated_at`` as ``updatedAt``."""
    head, *tail = name.split("_")
    return head + "".join(part.capitalize() for part in tail)


def snake_case(key: str) -> str:
    """Return the column name for an undeclared key; dlt's naming does not change it."""
    name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", key)
    name = re.sub(r"[^A-Za-z0-9]+", "_", name).strip("_").lower() or "unnamed"
    return f"_{name}" if name[0].isdigit() else name


def is_id(value: Any) -> bool:
    """Return whether a value can be the id of a row."""
    return value is not None and value != "" and not isinstance(value, (dict, list, bool))


def column_name(key: str) -> str:
    """Return the column name for an undeclared key: unused, and valid in every database."""
    # Normalised, so that composed and decomposed accents are the same key.
    key = unicodedata.normalize("NFC", key)
    name = snake_case(key)
    if name in RESERVED or name.endswith(MISFIT_SUFFIX):
        name = f"orgx_{name}"
    if not key.isascii() or not any(map(str.isalnum, key)):
        # The characters that a name cannot have distinguish this key from others.
        return f"{name[: MAX_NAME - 9].rstrip('_')}_{_digest(_spelled_alike(key))}"
    if len(name) > MAX_NAME:
        # Here and not by dlt, because the type of a column is stored by its name.
        name = f"{name[: MAX_NAME - 9].rstrip('_')}_{_digest(name)}"
    return name


def table_of(name: str) -> str:
    """Return the table of a warehouse table: itself, or the table whose history it is."""
    return next((table.name for table in TABLES.values() if table.keeps_history and table.history == name), name)


def _spelled_alike(key: str) -> str:
    """Return one text for both casings of a key, whatever separates its words."""
    name = re.sub(r"(?<=[^\W\d_A-Z])(?=[A-Z])", "_", key)
    return re.sub(r"[\x00-/:-@[-`{-\x7f]+", "_", name).strip("_").lower() or key


def _digest(name: str) -> str:
    # Imported late: OpenSSL takes 3 % of `orgx-sync --help`, and few names need a digest.
    import hashlib

    return hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=4).hexdigest()


TRACKING_COLUMNS = (
    Column("last_changed_at", "timestamp", "When this version was first seen (UTC, clock of the run)."),
    Column("deleted_at", "timestamp", "First read without the row (UTC); null while OrgX lists it."),
    Column("last_seen_at", "timestamp", "Last read with the row (UTC), once it is deleted; null while OrgX lists it."),
    Column("_row_hash", "text", "Hash of all non-volatile values, used to detect changes."),
)
VALID_FROM = Column("valid_from", "timestamp", "When this version was first seen (UTC, clock of the run).")
HISTORY_COLUMNS = (VALID_FROM, *TRACKING_COLUMNS[1:])
RESERVED = frozenset(column.name for column in (*TRACKING_COLUMNS, VALID_FROM)) | {
    "valid_to", "is_current", "_dlt_load_id", "_dlt_id",
    # Table aliases in dlt's merge, which a column with the same name would shadow.
    "d", "s",
    # Columns that PostgreSQL has in every table.
    "ctid", "xmin", "xmax", "cmin", "cmax", "tableoid",
}  # fmt: skip


MEMORY_COLUMNS = (
    Column("result_id", "text", "Id of the result; a digest of its content if OrgX gives none."),
    Column("search_name", "text", "The saved search; with result_id and seen_at the key of this table."),
    Column("query", "text", "Text of the search."),
    Column("scope", "text", "Scope of the search: all, artifacts, decisions or initiatives."),
    Column("seen_at", "timestamp", "When the search was run (UTC, clock of the run)."),
    Column("type", "text", "Kind of result: decision, artifact, initiative, interpretation, ..."),
    Column("title", "text", "Title."),
    Column("summary", "text", "Short text."),
    Column("score", "double", "Relevance according to OrgX; comparable within one search only."),
    Column("created_at", "timestamp", "When it was created (UTC)."),
    Column("details", "json", "All other fields from OrgX."),
)
SYNC_LOG_COLUMNS = (
    Column("run_id", "text", "Id of the run."),
    Column("table_name", "text", "The table; with run_id the key of this one."),
    Column("started_at", "timestamp", "Start of the run (UTC)."),
    Column("finished_at", "timestamp", "End of the run (UTC)."),
    Column("status", "text", "Status of the run: ok, incomplete (try again later) or failed."),
    Column("exit_code", "bigint", "Exit code of the run."),
    Column("verdict", "text", "Verdict of this table's read: certified, repaired or uncertified; null if it failed."),
    Column("reasons", "json", "Why the read is not certified."),
    Column("proof", "text", "The evidence for the verdict, in words."),
    Column("error", "text", "Why the table, or the whole run, failed; null if it did not."),
    Column("note", "text", "Why it was skipped although nothing is wrong: not open to this key or login."),
    Column("route", "text", "Path of the route that was read."),
    Column("closed_routes", "json", "Routes that refused access, with their status."),
    Column("whole", "bool", "Whether every row was read, not only the changes."),
    Column("resumed", "bool", "Whether it continued where an earlier run had stopped."),
    Column("requests", "bigint", "Requests sent for this table, retries included."),
    Column("retries", "bigint", "Requests sent again."),
    Column("waited_seconds", "double", "Total seconds its requests waited on rate limits and backoff."),
    Column("seconds", "double", "Seconds from the first request to the last row."),
    Column("pages", "bigint", "Pages received."),
    Column("passes", "bigint", "How often the list was read."),
    Column("rows_read", "bigint", "Distinct rows received."),
    Column("rows_new", "bigint", "Rows that are new."),
    Column("rows_changed", "bigint", "Rows with a new version."),
    Column("rows_deleted", "bigint", "Rows that were marked as deleted."),
    Column("rows_in_warehouse", "bigint", "Rows not marked as deleted after the load."),
    Column("rows_out_of_sight", "bigint", "Of these, rows not visible to this run."),
    Column("rows_without_id", "bigint", "Rows skipped because they have no id."),
    Column("total_reported", "bigint", "Last total reported by OrgX."),
    Column("total_lowest", "bigint", "Smallest total during the read."),
    Column("total_highest", "bigint", "Largest total during the read."),
    Column("seams_repaired", "bigint", "Gaps between two pages that were closed."),
    Column("duplicates", "bigint", "Rows received again, apart from the requested overlap."),
    Column("cursor_before", "timestamp", "Changes up to here were known before (UTC, OrgX's clock)."),
    Column("cursor_after", "timestamp", "Changes up to here are known now (UTC, OrgX's clock)."),
    Column("run_requests", "bigint", "Requests of the whole run, retries included."),
    Column("run_retries", "bigint", "Requests of the whole run that were sent again."),
    Column("run_waited_seconds", "double", "Seconds the whole run waited."),
    Column("package_version", "text", "Version of orgx-source."),
)


WEBHOOK_EVENTS_COLUMNS = (
    Column("id", "text", "Id of the event; the key. A repeated event is kept once."),
    Column("type", "text", "Type of the event, such as decision.created; including undocumented types."),
    Column("created_at", "timestamp", "OrgX's time of the event (UTC)."),
    Column("workspace_id", "text", "Workspace that the event names."),
    Column("received_at", "timestamp", "When the listener received it (UTC, clock of the listener)."),
    Column("signature_key", "bigint", "Number of the configured secret that signed it: 1 for the first."),
    Column("body", "json", "The event as received."),
    Column("table_name", "text", "Table whose rows were read because of it; null if it names none."),
    Column(
        "outcome", "text", "Outcome: loaded, not loaded (with the reason), not returned, not read, or an unknown type."
    ),
    Column("loaded_at", "timestamp", "When its rows were in the warehouse (UTC, clock of the listener)."),
)


# The tables that hold no list of OrgX: name to what one row is, and the columns.
OTHER_TABLES: dict[str, tuple[str, tuple[Column, ...]]] = {
    MEMORY_HITS: ("One row per hit of a saved search and run; rows are only added.", MEMORY_COLUMNS),
    SYNC_LOG: ("One row per table and run of `orgx-sync run`.", SYNC_LOG_COLUMNS),
    WEBHOOK_EVENTS: ("One row per event that `orgx-sync listen` received; key `id`.", WEBHOOK_EVENTS_COLUMNS),
}


def _text(names: str, description: str, *aliases: str) -> Iterator[Column]:
    yield from (Column(name, "text", description, aliases) for name in names.split())


_CREATED = Column("created_at", "timestamp", "Creation time according to OrgX (UTC).")
_UPDATED = Column("updated_at", "timestamp", "Time of the last change according to OrgX (UTC); null on some rows.")
_TIMES = (_CREATED, _UPDATED)
_SCOPE = (
    Column("workspace_id", "text", "Workspace of the row, if OrgX gives it."),
    Column("command_center_id", "text", "Older name of the workspace; some rows carry only this one."),
)
_METADATA = Column("metadata", "json", "Free-form object.")
_LIVE_URL = Column("live_url", "text", "URL of its page in OrgX, if OrgX gives one.")
_DEPENDS_ON = Column("depends_on", "json", "Ids of the items this depends on.", ("dependency_ids", "dependencies"))
_EXPECTED = (
    Column("expected_duration_hours", "double", "Planned duration in hours."),
    Column("expected_tokens", "bigint", "Planned tokens."),
    Column("expected_budget_usd", "double", "Planned cost in US dollars."),
)
_ASSIGNED = (
    Column("assigned_agent_ids", "json", "Ids of the assigned agents (slugs or UUIDs)."),
    Column("assigned_agent_names", "json", "Names of the assigned agents."),
)
_PROGRESS = Column(
    "progress_pct",
    "double",
    "Progress as OrgX sent it: 0 to 100, on some rows 0 to 1.",
    ("progress",),
)
_PRIORITY = Column("priority", "text", "low, medium, high or urgent.")
_SEQUENCE = Column("sequence", "bigint", "Position among its siblings.")
_INITIATIVE = Column("initiative_id", "text", "Initiative it belongs to.")
_WORKSTREAM = Column("workstream_id", "text", "Workstream it belongs to.")
_DOMAIN = Column("domain", "text", "Domain, such as engineering or marketing.")
_COST_UNSTATED = Column(
    "cost_unstated",
    "double",
    "Cost as sent; OrgX does not state its unit. Must not be summed.",
    ("cost",),
    own_key=False,
)
_DUE_DATE = Column("due_date", "date", "Planned date; usually missing.")


TABLES: dict[str, Table] = {
    table.name: table
    for table in (
        Table(
            "workspaces",
            "One row per workspace that the key can see.",
            (
                Column("id", "text", "Workspace id (UUID)."),
                Column("name", "text", "Display name."),
                Column("source_client", "text", "Name of the calling client, as echoed by OrgX."),
                Column("capabilities", "json", "Capabilities of the workspace."),
                Column("setup", "json", "Whether the set-up is complete (`ready`)."),
            ),
            keeps_history=False,
        ),
        Table(
            "initiatives",
            "One row per initiative.",
            (
                Column("id", "text", "Initiative id (UUID)."),
                Column("title", "text", "Title.", ("name",)),
                Column("summary", "text", "Short text."),
                Column("description", "text", "Long text."),
                Column("status", "text", "As sent: draft, planned, active, paused, blocked, completed, archived, ..."),
                _PRIORITY,
                _PROGRESS,
                Column("start_date", "date", "Planned start."),
                Column("target_date", "date", "Planned end."),
                _DUE_DATE,
                Column("eta_end_at", "timestamp", "Estimated end (UTC)."),
                *_SCOPE,
                Column("objective_id", "text", "Objective it serves."),
                Column("objective", "text", "Objective as text; an object as JSON text."),
                Column("impact", "text", "Expected impact."),
                Column("health_score", "double", "Health, 0 to 100."),
                Column("workstream_count", "bigint", "Number of workstreams, if OrgX counts them."),
                Column("workstreams", "json", "Workstreams, if OrgX includes them."),
                Column("context", "json", "Context entries."),
                _DOMAIN,
                _DEPENDS_ON,
                _SEQUENCE,
                *_EXPECTED,
                *_ASSIGNED,
                Column("assignment_source", "text", "Who assigned the agents."),
                Column("visibility", "text", "private, workspace or public."),
                Column("auto_plan", "bool", "Whether OrgX plans it automatically."),
                _LIVE_URL,
                _METADATA,
                *_TIMES,
            ),
            parent="workspaces",
            entity_type="initiative",
        ),
        Table(
            "agents",
            "One row per agent: what it is doing now, a snapshot at the time of the run.",
            (
                Column(
                    "id",
                    "text",
                    "Agent id, a slug such as engineering-agent; prefixed with the workspace and a slash in any "
                    "workspace except the first one read.",
                    ("agent_id",),
                ),
                Column("name", "text", "Display name; two records can have the same.", ("agent_name",)),
                Column("domain", "text", "Domain.", ("role",)),
                Column("status", "text", "running, queued, blocked or idle."),
                Column("current_task", "text", "What it is working on; null when idle."),
                _PROGRESS,
                Column("run_id", "text", "Current run; null when idle."),
                Column("initiative_id", "text", "Initiative of the current run; null when idle."),
                Column("started_at", "timestamp", "Start of the current run (UTC); null when idle."),
                Column("blockers", "json", "What blocks it."),
                Column("instance_count", "bigint", "Parallel instances; changes with every read.", volatile=True),
            ),
            parent="workspaces",
            local_ids=True,
        ),
        Table(
            "artifacts",
            "One row per artifact: a result of work.",
            (
                Column("id", "text", "Artifact id (UUID)."),
                Column("name", "text", "Name.", ("title",)),
                Column("description", "text", "Description."),
                Column("artifact_type", "text", "Dotted code from an open vocabulary."),
                Column("artifact_url", "text", "Where it is."),
                Column("external_url", "text", "Location outside OrgX."),
                Column("status", "text", "draft, in_review, approved, changes_requested, superseded, archived, ..."),
                Column("version", "bigint", "Increases with each revision."),
                Column("entity_type", "text", "Kind of thing it is attached to."),
                Column("entity_id", "text", "Id of the thing it is attached to."),
                _INITIATIVE,
                Column("task_id", "text", "Task that produced it."),
                *_SCOPE,
                Column("created_by_type", "text", "human or agent."),
                Column("created_by_id", "text", "UUID, user id or agent slug."),
                Column("created_by_name", "text", "Name of the creator."),
                Column("catalog", "json", "Label, domain and stage of the type."),
                Column("cached_metadata", "json", "OrgX's data about the link."),
                Column("verification", "json", "How it was verified."),
                Column("eval_score", "double", "Score of the evaluation."),
                Column("quality_score", "double", "Quality score."),
                _METADATA,
                *_TIMES,
            ),
            parent="initiatives",
        ),
        Table(
            "decisions",
            "One row per decision for a human.",
            (
                Column("id", "text", "Decision id; not always a UUID.", ("decision_id", "uuid", "entity_id")),
                Column("title", "text", "Title.", ("name",)),
                Column("summary", "text", "Short text."),
                Column("description", "text", "Long text."),
                Column("details", "text", "More text."),
                Column("prompt", "text", "The question."),
                Column("context", "json", "Context, text or object."),
                Column("recommended_action", "text", "Recommendation."),
                Column("status", "text", "As sent: pending, approved, declined, rejected, ...", ("decision_status",)),
                Column("decision_type", "text", "Kind of decision.", ("type",)),
                Column("shape", "text", "Form of the question: generic, option_select, budget_approval, ..."),
                Column("shape_context", "json", "Data for the form."),
                Column("urgency", "text", "As sent; two vocabularies exist."),
                Column("urgency_level", "text", "Urgency in the other vocabulary."),
                _PRIORITY,
                Column("blocks_task", "bool", "Whether it blocks a task."),
                _INITIATIVE,
                _WORKSTREAM,
                Column("task_id", "text", "Task it is about."),
                *_text("source_run_id source_session_id source_stream_id", "Where it was raised."),
                *_SCOPE,
                Column("agent_id", "text", "Agent that raised it."),
                Column("agent_name", "text", "Name of the agent that raised it."),
                *_text("requested_by owner_name owner_agent assigned_agent assignee", "Who raised or owns it."),
                Column("created_by", "text", "Who created the record."),
                Column("created_by_type", "text", "human, agent or system."),
                _DOMAIN,
                Column("options", "json", "Possible answers.", ("decision_options", "actions")),
                Column("option_id", "text", "The chosen answer."),
                Column("evidence_refs", "json", "Evidence."),
                Column("expected_cost_usd", "double", "Expected cost in US dollars."),
                Column("required_trust_level", "text", "Required trust level."),
                Column("recommendation", "text", "Recommendation with reasons."),
                Column("impact", "text", "What depends on it."),
                Column("tradeoffs", "json", "Cost of each option."),
                Column("resolution", "text", "How it was resolved; an object as JSON text."),
                Column("resolution_summary", "text", "How it was resolved, in words."),
                Column("note", "text", "Note of the person who resolved it."),
                Column("decided_by", "text", "Who resolved it."),
                *_text("source source_system conflict_source dedupe_key", "Origin of the record."),
                Column("occurrence_count", "bigint", "How often it was raised."),
                Column(
                    "occurrence_first_at",
                    "timestamp",
                    "When it was first raised (UTC); OrgX calls it first_seen_at.",
                    ("first_seen_at",),
                    own_key=False,
                ),
                Column(
                    "occurrence_last_at",
                    "timestamp",
                    "When it was last raised (UTC); OrgX calls it last_seen_at.",
                    ("last_seen_at",),
                    own_key=False,
                ),
                Column("waiting_minutes", "double", "Waiting time in minutes at the time of the read.", volatile=True),
                Column("age_minutes", "double", "Age in minutes at the time of the read.", volatile=True),
                _LIVE_URL,
                _METADATA,
                Column("requested_at", "timestamp", "When it was asked (UTC), if different from created_at."),
                Column("due_at", "timestamp", "When an answer is needed (UTC)."),
                Column("decided_at", "timestamp", "When it was resolved (UTC)."),
                Column("resolved_at", "timestamp", "When it was resolved (UTC), on other routes."),
                *_TIMES,
            ),
            parent="initiatives",
            entity_type="decision",
        ),
        Table(
            "workstreams",
            "One row per workstream of an initiative.",
            (
                Column("id", "text", "Workstream id (UUID)."),
                Column("name", "text", "Name.", ("title",)),
                Column("summary", "text", "Short text."),
                Column("status", "text", "As sent: planned, ready, active, blocked, paused, completed, ..."),
                _PROGRESS,
                _INITIATIVE,
                *_SCOPE,
                Column("persona", "text", "Persona that leads it."),
                _DOMAIN,
                _PRIORITY,
                _SEQUENCE,
                _DEPENDS_ON,
                *_ASSIGNED,
                *_EXPECTED,
                Column("confidence", "double", "Confidence in the plan."),
                Column("blockers", "json", "What blocks it."),
                _LIVE_URL,
                _METADATA,
                *_TIMES,
            ),
            parent="initiatives",
            entity_type="workstream",
        ),
        Table(
            "milestones",
            "One row per milestone of a workstream.",
            (
                Column("id", "text", "Milestone id (UUID)."),
                Column("title", "text", "Title.", ("name", "label")),
                Column("summary", "text", "Short text."),
                Column("description", "text", "Long text."),
                Column("status", "text", "As sent: planned, in_progress, completed, at_risk, cancelled, ..."),
                _PROGRESS,
                _DUE_DATE,
                _INITIATIVE,
                _WORKSTREAM,
                *_SCOPE,
                _PRIORITY,
                _SEQUENCE,
                _DEPENDS_ON,
                *_EXPECTED,
                _LIVE_URL,
                _METADATA,
                *_TIMES,
            ),
            parent="workstreams",
            entity_type="milestone",
        ),
        Table(
            "tasks",
            "One row per task of a milestone or workstream.",
            (
                Column("id", "text", "Task id (UUID)."),
                Column("title", "text", "Title.", ("name",)),
                Column("description", "text", "Long text."),
                Column("status", "text", "As sent: todo, in_progress, done, blocked, ..."),
                _PRIORITY,
                Column("priority_num", "double", "Priority as a number."),
                _DUE_DATE,
                _INITIATIVE,
                _WORKSTREAM,
                Column("milestone_id", "text", "Milestone it belongs to."),
                *_SCOPE,
                _SEQUENCE,
                Column("type", "text", "research, create, review or implement."),
                Column("assigned_agent", "text", "Agent it is assigned to."),
                Column("agent_domain", "text", "Domain of that agent."),
                *_ASSIGNED,
                _DEPENDS_ON,
                Column("context", "json", "Context entries."),
                *_EXPECTED,
                _LIVE_URL,
                _METADATA,
                *_TIMES,
            ),
            parent="milestones",
            entity_type="task",
        ),
        Table(
            "activity",
            "One row per event in the activity feed; events never change.",
            (
                Column("id", "text", "Event id; OrgX may derive it from several tables."),
                Column("type", "text", "run_started, artifact_created, decision_resolved, ..."),
                Column("title", "text", "What happened."),
                Column("description", "text", "What happened, in detail."),
                Column("summary", "text", "What happened, in short."),
                Column("timestamp", "timestamp", "When it happened (UTC)."),
                Column("agent_id", "text", "Agent that acted."),
                Column("agent_name", "text", "Its name."),
                *_text("requester_agent_id requester_agent_name", "Agent that requested it."),
                *_text("executor_agent_id executor_agent_name", "Agent that carried it out."),
                Column("run_id", "text", "Run it belongs to."),
                _INITIATIVE,
                Column("phase", "text", "intent, execution, blocked, review, handoff or completed."),
                Column("state", "text", "State of the run."),
                Column("kind", "text", "Kind of event."),
                Column("decision_required", "bool", "Whether a human has to decide."),
                Column("cost_delta", "double", "Cost it added, in US dollars."),
                *_text("runtime_client runtime_label runtime_provider instance_id", "Where the agent ran."),
                Column("last_heartbeat_at", "timestamp", "Last heartbeat of the run (UTC).", volatile=True),
                _METADATA,
            ),
            append_only=True,
            keeps_history=False,
            parent="initiatives",
            created="timestamp",
        ),
        Table(
            "runs",
            "One row per run: an agent's attempt at a task.",
            (
                Column("id", "text", "Run id."),
                Column("title", "text", "Title.", ("name",)),
                Column("summary", "text", "Short text."),
                Column("status", "text", "As sent: planned, queued, running, completed, failed, blocked, ..."),
                Column("outcome_kind", "text", "shipped, blocked, abandoned or awaiting_review."),
                Column("source_driver", "text", "claude_code, codex, opencode or server_api."),
                Column("quality_score", "double", "OrgX's quality score; the scale is not stated."),
                _PROGRESS,
                Column("agent_id", "text", "Agent that ran."),
                Column("agent_name", "text", "Its name."),
                _INITIATIVE,
                _WORKSTREAM,
                Column("milestone_id", "text", "Milestone it belongs to."),
                Column("task_id", "text", "Task of the run; missing on some runs."),
                *_SCOPE,
                Column("started_at", "timestamp", "When it started (UTC)."),
                Column("completed_at", "timestamp", "When it ended (UTC)."),
                _COST_UNSTATED,
                _METADATA,
                *_TIMES,
            ),
            parent="tasks",
            optional=True,
        ),
        Table(
            "execution_receipts",
            "One row per execution receipt: what a run used and is estimated to have cost.",
            (
                Column("id", "text", "Receipt id."),
                Column("run_id", "text", "Run of the receipt; missing on some receipts."),
                *_SCOPE,
                Column("provider", "text", "anthropic, openai or other."),
                Column("source_sub_type", "text", "Who pays: subscription, api_key or enterprise_key."),
                Column("source_driver", "text", "claude_code, codex, opencode or server_api."),
                Column("model", "text", "Model, if OrgX names it."),
                Column("api_key_id", "text", "Id of the key used; not the key itself."),
                Column("gateway_connection_id", "text", "Connection of the gateway."),
                Column("outcome_kind", "text", "shipped, blocked, abandoned or awaiting_review."),
                Column("tokens_used", "bigint", "Tokens."),
                Column("cost_estimate_cents", "double", "Estimated cost in US cents."),
                Column("saved_estimate_cents", "double", "Estimated saving in US cents."),
                _COST_UNSTATED,
                Column("started_at", "timestamp", "Start of the run (UTC)."),
                Column("first_response_at", "timestamp", "When the model first answered (UTC)."),
                Column("completed_at", "timestamp", "When it ended (UTC)."),
                _METADATA,
            ),
            parent="runs",
            created="started_at",
            updated="completed_at",
            optional=True,
        ),
        Table(
            "sessions",
            "One row per live session of an agent, as last listed by OrgX.",
            (
                Column("id", "text", "Session id."),
                Column("parent_id", "text", "Session that started it."),
                Column("run_id", "text", "Its run; not documented to be an id in runs."),
                Column("title", "text", "Title."),
                Column("status", "text", "As sent: queued, running, blocked, paused, completed, failed, ..."),
                Column("phase", "text", "intent, execution, blocked, review, handoff or completed."),
                Column("state", "text", "State."),
                Column("agent_id", "text", "Agent."),
                Column("agent_name", "text", "Its name."),
                _PROGRESS,
                _INITIATIVE,
                _WORKSTREAM,
                Column("group_id", "text", "Group it is shown in; some are derived by OrgX."),
                Column("group_label", "text", "Name of that group."),
                Column("checkpoint_count", "bigint", "Checkpoints."),
                Column("blockers", "json", "What blocks it."),
                Column("blocker_reason", "text", "Why it is blocked."),
                Column("blocker_diagnostics", "json", "OrgX's diagnosis of that."),
                Column("last_event_summary", "text", "Last event."),
                Column("eta", "text", "Expected end, as sent."),
                _COST_UNSTATED,
                *_text("runtime_client runtime_label runtime_provider instance_id", "Where the agent runs."),
                Column("started_at", "timestamp", "When it started (UTC)."),
                Column("last_event_at", "timestamp", "When the last event happened (UTC)."),
                Column("last_heartbeat_at", "timestamp", "Last heartbeat (UTC).", volatile=True),
                _UPDATED,
            ),
            parent="initiatives",
            created="started_at",
            optional=True,
        ),
        Table(
            "handoffs",
            "One row per handoff: work waiting for another agent or person.",
            (
                Column("id", "text", "Handoff id."),
                Column("handoff_key", "text", "Key given by the proposer."),
                Column("title", "text", "Title."),
                Column("summary", "text", "Short text."),
                Column("status", "text", "As sent: created or proposed, claimed, returned, fulfilled, escalated, ..."),
                _PRIORITY,
                *_SCOPE,
                *_text("from_stage_key to_stage_key source_process_ref source_revision_ref", "Its origin."),
                Column("schema_version", "text", "Version of its schema."),
                Column("sla_minutes", "double", "Minutes within which it should be fulfilled."),
                Column("due_at", "timestamp", "When it should be fulfilled (UTC)."),
                Column("current_actor", "json", "Current holder, as an object."),
                Column("current_actor_type", "text", "human, agent or system."),
                Column("current_actor_id", "text", "Current holder."),
                Column("proof_requirements", "json", "Required evidence."),
                Column("result", "json", "Outcome."),
                Column("aggregate_version", "bigint", "Version of the record."),
                _METADATA,
                *_TIMES,
            ),
            optional=True,
        ),
        Table(
            "handoff_events",
            "One row per event of a handoff.",
            (
                Column("id", "text", "Event id."),
                Column("handoff_id", "text", "Handoff it belongs to."),
                Column("event_type", "text", "As sent: created, claimed, fulfilled, ..."),
                Column("actor_type", "text", "human, agent or system."),
                Column("actor_id", "text", "Who acted."),
                Column("payload", "json", "Text of the event."),
                _CREATED,
            ),
            keeps_history=False,
            parent="handoffs",
            optional=True,
        ),
        Table(
            "work_receipts",
            "One row per work receipt: what was done, its evidence, and whether it was accepted.",
            (
                Column("id", "text", "Receipt id; OrgX calls it receipt_id.", ("receipt_id",)),
                Column("external_receipt_id", "text", "Id given by the issuer."),
                Column("summary", "text", "What was done."),
                Column("receipt_review_revision", "text", "Revision of its review."),
                Column("schema_version", "text", "Version of its schema."),
                Column("outcome_status", "text", "Outcome as OrgX assesses it."),
                Column("verification_status", "text", "Verification as OrgX assesses it."),
                Column("acceptance_status", "text", "human_reviewed or awaiting_human_review."),
                Column("evidence_status", "text", "Evidence as OrgX assesses it."),
                Column("claimed_outcome_status", "text", "Outcome as the producer claims it."),
                Column("claimed_verification_status", "text", "Verification as the producer claims it."),
                Column("claimed_acceptance_status", "text", "Acceptance as the producer claims it."),
                Column("judged_outcome_status", "text", "Outcome as judged by a human; null if not judged."),
                Column("judged_by", "text", "Who judged it."),
                Column("judged_at", "timestamp", "When it was judged (UTC)."),
                Column("criteria_met", "bigint", "Number of criteria that are met."),
                Column("criteria_unmet", "bigint", "Number of criteria that are not met."),
                Column("criteria_unknown", "bigint", "Number of criteria with unknown result."),
                Column("criteria", "json", "The criteria as sent."),
                Column("human_judgment", "json", "The judgment as sent."),
                Column("run_id", "text", "Run, if OrgX names it."),
                _INITIATIVE,
                *_SCOPE,
                Column("cost_usd", "double", "Cost in US dollars, if OrgX gives it."),
                Column("cost", "json", "Cost as the producer states it, with its currency."),
                Column("completed_at", "timestamp", "When the work ended (UTC)."),
                *_TIMES,
            ),
            optional=True,
        ),
        Table(
            "usage",
            "One row per period, breakdown and key: usage that OrgX counts against the plan.",
            (
                Column("id", "text", "Start of the period, breakdown and key, joined by slashes."),
                Column("period_start", "timestamp", "Start of the period (UTC)."),
                Column("period_end", "timestamp", "End of the period (UTC)."),
                Column("breakdown", "text", "total, provider, execution_target, source_client or model."),
                Column("key", "text", "Key within the breakdown."),
                Column("label", "text", "Its name."),
                Column("runs", "bigint", "Runs."),
                Column("tokens", "bigint", "Tokens."),
                Column("minutes", "double", "Agent minutes."),
                Column("cost_cents", "double", "Cost in US cents."),
                Column("plan_id", "text", "Plan; on the total row."),
                Column("plan_name", "text", "Its name."),
                Column("allows_overage", "bool", "Whether usage beyond the plan is allowed."),
                Column("included_budget_cents", "double", "Budget of the plan in US cents."),
                Column("overage_budget_cents", "double", "Budget beyond the plan in US cents."),
                Column("risk", "text", "safe, watch, at_risk or over_limit."),
                Column("actual", "json", "The total as sent."),
                Column("predicted", "json", "OrgX's forecast.", volatile=True),
                Column("generated_at", "timestamp", "When OrgX counted the usage (UTC).", volatile=True),
            ),
            created="period_start",
            updated="generated_at",
            optional=True,
        ),
    )
}

OPTIONAL_TABLES = tuple(table.name for table in TABLES.values() if table.optional)

REFERENCES: dict[str, str] = {
    "workspace_id": "workspaces",
    "command_center_id": "workspaces",
    "initiative_id": "initiatives",
    "workstream_id": "workstreams",
    "milestone_id": "milestones",
    "task_id": "tasks",
    "agent_id": "agents",
    "requester_agent_id": "agents",
    "executor_agent_id": "agents",
    "run_id": "runs",
    "handoff_id": "handoffs",
}
"""Column to the table that it references, in any table. OrgX does not guarantee this: ids may dangle."""


def references(table: Table) -> dict[str, Table]:
    """Return the foreign key columns of a table, with the referenced table."""
    return {column.name: TABLES[REFERENCES[column.name]] for column in table.columns if column.name in REFERENCES}
