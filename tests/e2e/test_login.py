"""Logging in for the MCP door, as a person does it and as a script does; tokens that expire, files that are damaged."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
import pytest

from orgx_source.config import load_config, login_file
from orgx_source.errors import OrgxError
from orgx_source.login import flow
from orgx_source.login.tokens import Login, StoredTokens, describe_login, read_login, write_login
from orgx_source.sandbox import Fault, Sandbox, World
from tests import browser
from tests.e2e.test_mcp import assert_certified, client_of, sync_over_mcp

pytest.importorskip("mcp")

DAY = 86400.0


@pytest.fixture
def box(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    with Sandbox(World("small")) as box:
        monkeypatch.setenv("ORGX_MCP_URL", box.mcp_url)
        yield box


def consent(address: str, answer: str = "allow") -> None:
    """Press the button, or the other one, without a browser."""
    httpx.get(f"{address}&answer={answer}", follow_redirects=True, timeout=20)


def log_in(box: Sandbox, **options: Any) -> Login:
    return flow.log_in(box.mcp_url, lambda address: None, consent, **options)


def command(*arguments: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "orgx_source.cli", *arguments],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_person_logs_in_with_a_browser_and_the_next_run_reads(box: Sandbox) -> None:
    if browser.find_browser() is None:
        pytest.fail(browser.HOW_TO_HAVE_ONE)
    done = command("login", BROWSER=f"{sys.executable} {browser.__file__} %s")
    out, err = done.communicate(timeout=120)
    assert done.returncode == 0, err
    assert out.startswith(f"{box.url}/authorize?")
    assert out.count("\n") == 1
    assert "Logged in" in err
    assert login_file(box.mcp_url).stat().st_mode & 0o777 == 0o600
    assert_certified(sync_over_mcp(tables=["initiatives"]))
    said = command("logout").communicate(timeout=60)[1]
    assert said.startswith("Logged out")
    assert box.oauth.grants == {}
    assert not login_file(box.mcp_url).exists()


def test_without_a_browser_the_address_is_printed_before_anything_is_waited_for(box: Sandbox) -> None:
    running = command("login", "--no-browser", COLUMNS="20")
    assert running.stdout is not None
    address = running.stdout.readline().strip()
    assert parse_qs(urlsplit(address).query)["code_challenge_method"] == ["S256"]
    consent(address)
    assert running.communicate(timeout=60)[0] == ""
    assert running.returncode == 0
    assert read_login(box.mcp_url) is not None


def test_another_machine_does_not_end_the_login_of_the_first(
    box: Sandbox, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    log_in(box)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "elsewhere"))
    log_in(box)
    assert len(box.oauth.grants) == 2
    # Here once more: the older login of this machine is of no use any more.
    log_in(box)
    assert len(box.oauth.grants) == 2
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    assert_certified(sync_over_mcp(tables=["initiatives"]))


def test_a_token_that_expires_on_the_way_is_renewed_and_no_row_is_lost(box: Sandbox) -> None:
    moments = iter(range(10**9))
    start = box.oauth.clock()
    # Five seconds pass with every look at the clock: a token is good for some dozen requests.
    box.oauth.clock = lambda: start + 5 * next(moments)
    box.oauth.token_seconds = 60
    log_in(box)
    assert_certified(sync_over_mcp(tables=["tasks", "milestones", "artifacts"]))
    (grant,) = box.oauth.grants.values()
    assert grant.refreshed >= 1
    assert [seen.status for seen in box.requests if seen.path == "/mcp"].count(401) >= grant.refreshed


def test_two_runs_at_once_renew_once_each_and_both_go_on(box: Sandbox) -> None:
    log_in(box)
    box.oauth.expire_access()
    stored = read_login(box.mcp_url)
    assert stored is not None
    both = [StoredTokens(box.mcp_url), StoredTokens(box.mcp_url)]
    old = [tokens.access() for tokens in both]
    threads = [threading.Thread(target=tokens.renew, args=(old[0],)) for tokens in both]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(box.oauth.accept(tokens.access()) for tokens in both)
    (grant,) = box.oauth.grants.values()
    assert grant.refreshed <= 2


def test_a_run_that_was_killed_before_it_stored_a_new_token_is_no_harm(box: Sandbox) -> None:
    log_in(box)
    box.oauth.expire_access()
    code = (
        "import os, signal; from orgx_source.login import tokens\n"
        "tokens.write_login = lambda login: os.kill(os.getpid(), signal.SIGKILL)\n"
        f"stored = tokens.StoredTokens({box.mcp_url!r}); stored.renew(stored.access())\n"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == -signal.SIGKILL
    (grant,) = box.oauth.grants.values()
    assert grant.refreshed == 1
    assert_certified(sync_over_mcp(tables=["initiatives"]))


ENDINGS = {
    "nobody answers": (None, 4, "No response within"),
    "the user refuses": (Fault("deny"), 3, "The login was refused (The user denied the request)"),
    "another state": (Fault("wrong_state"), 3, "has a wrong state"),
    "another issuer": (Fault("wrong_iss"), 3, "from a server other than"),
    "no registration": (Fault("no_registration"), 3, "accepts no registrations"),
    "a client that is not known": (Fault("forget_client"), 3, "returned no tokens for the login (invalid_client"),
    "a server that fails": (Fault("status", 503, path="/token"), 4, "503 from"),
    "no documents": (Fault("status", 404, path="/.well-known"), 3, "has no authorization server"),
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_login_that_does_not_come_about_says_why_and_stores_nothing(ending: str, box: Sandbox) -> None:
    fault, code, said = ENDINGS[ending]
    if fault is not None:
        box.inject(fault)
    with pytest.raises(OrgxError) as told:
        flow.log_in(box.mcp_url, lambda address: None, consent if fault else None, patience=10 if fault else 0.1)
    assert told.value.exit_code == code
    assert said in str(told.value)
    assert not login_file(box.mcp_url).exists()


def test_a_port_that_is_taken_is_left_to_whoever_has_it(box: Sandbox) -> None:
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            taken.bind((flow.HOST, flow.PORT))
            taken.listen()
        except OSError:
            pass  # somebody else has it: that is what this is about
        addresses: list[str] = []
        flow.log_in(box.mcp_url, addresses.append, consent)
    redirect = parse_qs(urlsplit(addresses[0]).query)["redirect_uri"][0]
    assert urlsplit(redirect).port != flow.PORT


def test_a_login_that_was_ended_asks_to_log_in_again(box: Sandbox) -> None:
    log_in(box)
    box.oauth.expire_access()
    box.inject(Fault("refuse_refresh"))
    report = sync_over_mcp(tables=["initiatives"])
    assert report.exit_code == 3
    assert "log in again: orgx-sync login" in (report.error or "")


def test_a_file_that_others_may_read_is_refused_with_what_mends_it(box: Sandbox) -> None:
    log_in(box)
    path = login_file(box.mcp_url)
    path.chmod(0o644)
    report = sync_over_mcp(tables=["initiatives"])
    assert report.exit_code == 3
    assert f"chmod 600 '{path}'" in (report.error or "")


@pytest.mark.parametrize("content", ["", "{", "[]", '{"mcp_url": 1}', "\x00"])
def test_a_damaged_file_asks_to_log_in_again(content: str, box: Sandbox) -> None:
    log_in(box)
    login_file(box.mcp_url).write_text(content)
    report = sync_over_mcp(tables=["initiatives"])
    assert report.exit_code == 3
    assert "is damaged; log in again" in (report.error or "")


def test_the_last_week_of_a_login_is_told(box: Sandbox) -> None:
    login = log_in(box)
    assert describe_login(box.mcp_url, login.logged_in_at + 10 * DAY) == (
        f"The login to {urlsplit(box.url).netloc} expires in 20 days",
        False,
    )
    write_login(replace(login, logged_in_at=login.logged_in_at - 25 * DAY))
    report = sync_over_mcp(tables=["initiatives"])
    assert "expires in 5 days; log in again" in report.messages[0] + report.messages[-1]
    write_login(replace(login, logged_in_at=login.logged_in_at - 31 * DAY, expires_at=0))
    report = sync_over_mcp(tables=["initiatives"])
    assert report.exit_code == 3
    assert "expired after 30 days" in (report.error or "")


def test_no_token_is_in_a_representation_or_an_address(box: Sandbox) -> None:
    login = log_in(box)
    secrets = (login.access_token, login.refresh_token)
    assert not any(secret in repr(login) for secret in secrets)
    config = load_config(mcp_token="u1:g1:s3cret")
    assert "s3cret" not in repr(config)
    assert not any(secret in urlencode(seen.params) for secret in secrets for seen in box.requests)
    client_of(config).close()


def test_a_route_that_does_not_exist_is_wrong_usage_and_named(box: Sandbox) -> None:
    for given, said in (
        ("tasks", "TABLE=NAME"),
        ("decisions=nonsense", "/api/v1/decisions, mcp"),
        ("nothing=mcp", "known tables: workspaces"),
    ):
        running = command("run", "--route", given, COLUMNS="500")
        assert said in " ".join(running.communicate(timeout=60)[1].split())
        assert running.returncode == 2


def test_check_and_status_say_how_long_the_login_lasts(box: Sandbox) -> None:
    log_in(box)
    running = command("check", "--table", "initiatives")
    out, err = running.communicate(timeout=60)
    assert (running.returncode, "expires in 30 days" in err) == (0, True), out + err
    assert "mcp" in out
    assert_certified(sync_over_mcp(tables=["initiatives"]))
    login_file(box.mcp_url).write_text("{")
    running = command("status", "--database", "mcp.duckdb")
    assert "is damaged; log in again" in running.communicate(timeout=60)[1]


def test_a_scope_that_was_not_granted_is_named(box: Sandbox) -> None:
    box.inject(Fault("drop_scope", "decisions:read"))
    log_in(box)
    report = sync_over_mcp(tables=["decisions"])
    assert report.exit_code == 3, report.to_json()
    assert "decisions:read" in str(report.error or report.tables["decisions"].error)
