"""Where settings come from, and which are refused before a request is made."""

from __future__ import annotations

import codecs
from pathlib import Path

import pytest

from orgx_source.config import check_base_url, check_key, check_settings_files, load_config, login_file
from orgx_source.errors import ConfigError

KEY = "oxk_0123456789abcdef"


def test_what_the_caller_gives_wins_over_dlts_settings_and_those_over_plain_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ORGX_API_KEY", KEY + "plain")
    assert load_config().api_key == KEY + "plain"
    monkeypatch.setenv("SOURCES__ORGX__API_KEY", KEY + "dlt")
    assert load_config().api_key == KEY + "dlt"
    assert load_config(api_key=KEY).api_key == KEY
    assert load_config(api_key=f" {KEY}\n").api_key == KEY


def test_the_key_is_in_no_representation() -> None:
    assert KEY not in repr(load_config(api_key=KEY))


@pytest.mark.parametrize("key", [None, "", "  ", "abc", "oxk_", "oxk_short", "oxk-0123456789abcdef", f"{KEY} {KEY}", 7])
def test_a_key_that_cannot_be_one_is_refused_without_being_shown(key: object) -> None:
    with pytest.raises(ConfigError, match="SOURCES__ORGX__API_KEY") as refused:
        check_key(key)
    assert not isinstance(key, str) or len(key) < 5 or key not in str(refused.value)


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("https://useorgx.com", "https://useorgx.com"),
        ("https://useorgx.com/", "https://useorgx.com"),
        ("https://useorgx.com/?a=b#c", "https://useorgx.com"),
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("http://localhost", "http://localhost"),
        ("http://[::1]:80", "http://[::1]:80"),
    ],
)
def test_addresses_are_brought_to_one_form(given: str, used: str) -> None:
    assert check_base_url(given) == used


@pytest.mark.parametrize(
    "url",
    [
        "http://useorgx.com", "http://127.0.0.1.evil.test", "https://a:b@useorgx.com", "https://a@useorgx.com",
        "useorgx.com", "ftp://useorgx.com", "https://", "https://[", "http://0.0.0.0",
    ],
)  # fmt: skip
def test_addresses_where_the_key_must_not_go_are_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="ORGX_BASE_URL"):
        check_base_url(url)


@pytest.mark.parametrize("setting", [{"workers": 0}, {"max_requests": -1}, {"max_wait": -1.0}, {"page_size": 0}])
def test_numbers_that_make_no_sense_are_refused(setting: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="must be at least"):
        load_config(api_key=KEY, **setting)


def test_a_workspace_is_taken_without_blanks_and_a_uuid_in_small_letters() -> None:
    given = {" W-1\n": "W-1", "0B6F7D0A-1111-4222-8333-44445555ABCD": "0b6f7d0a-1111-4222-8333-44445555abcd"}
    for text, taken in given.items():
        assert load_config(api_key="oxk_12345678", workspace_id=text).workspace_id == taken
    with pytest.raises(ConfigError, match="workspace id is empty"):
        load_config(api_key="oxk_12345678", workspace_id=" ")


SETTINGS = b'[sources.orgx]\r\napi_key = "oxk_from_a_file_1234"\r\n'


def settings_file(name: str = "secrets.toml") -> Path:
    Path(".dlt").mkdir()
    return Path(".dlt", name)


@pytest.mark.parametrize("name", ["secrets.toml", "config.toml"])
@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (codecs.BOM_UTF8 + SETTINGS, ", line 1: it begins with a byte order mark; save it as UTF-8 without BOM"),
        (codecs.BOM_UTF16_LE + SETTINGS.decode().encode("utf-16-le"), ", line 1: it is UTF-16"),
        (SETTINGS + b"\xff", ", line 3: it is not UTF-8"),
        (SETTINGS + b"\r\nb = oxk_precious_1234\r\n", ", line 4: not valid TOML"),
        (b'a = "oxk_precious_1234', "not valid TOML"),
    ],
)
def test_a_settings_file_that_cannot_be_read_is_named_with_its_line(name: str, content: bytes, sentence: str) -> None:
    settings_file(name).write_bytes(content)
    with pytest.raises(ConfigError) as raised:
        check_settings_files()
    assert f".dlt/{name}" in str(raised.value) and sentence in str(raised.value)
    assert "oxk" not in str(raised.value)


def test_windows_line_ends_are_fine_and_what_is_no_file_is_named() -> None:
    file = settings_file()
    file.write_bytes(SETTINGS)
    check_settings_files()
    file.unlink()
    file.symlink_to("secrets.toml")
    with pytest.raises(ConfigError, match="Too many levels of symbolic links"):
        check_settings_files()
    file.unlink()
    file.mkdir()
    with pytest.raises(ConfigError, match="Is a directory"):
        check_settings_files()


@pytest.mark.parametrize("home", [RuntimeError("no home directory"), PermissionError("the home directory is closed")])
def test_a_key_needs_no_home_directory_and_a_login_says_that_there_is_none(
    home: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> Path:
        raise home

    monkeypatch.delenv("XDG_CONFIG_HOME")
    monkeypatch.setattr("orgx_source.config.Path.home", refuse)
    assert not load_config(api_key=KEY).has_login
    with pytest.raises(ConfigError, match="No OrgX API key"):
        load_config()
    if isinstance(home, RuntimeError):
        with pytest.raises(ConfigError, match=r"no home directory.*XDG_CONFIG_HOME"):
            login_file("https://mcp.useorgx.com/mcp")
