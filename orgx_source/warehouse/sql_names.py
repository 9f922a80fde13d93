"""Finds names and their positions in SQL, so that some can be replaced and all other characters are kept.

Uses sqlglot's tokenizer, which knows the strings, comments and quoted names of each dialect. A syntax tree takes four
times as long, and is not available for statements that sqlglot cannot parse.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlglot import Token, TokenType

# DuckDB's function with a table name as a string argument.
NAME_IN_TEXT = "query_table"


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a name.

    Attributes:
        name: Without quotes.
        start: Its start in the SQL.
        end: Its end, exclusive.
        is_quoted: Whether it is quoted.
    """

    name: str
    start: int
    end: int
    is_quoted: bool


@dataclass(frozen=True, slots=True)
class SqlName:
    """A dotted name: of a column, ``tasks.id``, or a table, ``orgx.tasks``.

    Attributes:
        parts: Its parts, two or more.
        has_alias: Whether ``as`` follows.
    """

    parts: tuple[Part, ...]
    has_alias: bool = False

    def begins_with(self, word: str) -> bool:
        """Return whether its first part is this word, unquoted."""
        return self.parts[0].name == word and not self.parts[0].is_quoted


def names_in(sql: str, dialect: str) -> list[SqlName]:
    """Return every dotted name in SQL, in order, including those in ``query_table('file.schema.table')``.

    Args:
        sql: One or more statements.
        dialect: sqlglot's name of the dialect. SQL that cannot be tokenized has no names.
    """
    from sqlglot.errors import SqlglotError

    try:
        return list(_names(sql, dialect, 0))
    except SqlglotError:
        return []


def replace(sql: str, edits: Iterable[tuple[int, int, str]]) -> str:
    """Return SQL with some parts replaced.

    Args:
        sql: The SQL.
        edits: Start, end and new text of each part.
    """
    pieces, position = [], 0
    for start, end, text in sorted(edits):
        pieces += [sql[position:start], text]
        position = end
    return "".join([*pieces, sql[position:]])


def _names(sql: str, dialect: str, offset: int) -> Iterator[SqlName]:
    """Yield the names in a part of the SQL that starts at an offset."""
    from sqlglot import TokenType
    from sqlglot.dialects.dialect import Dialect

    # For a database unknown to sqlglot, its common rules apply.
    reader = (Dialect.get(dialect) or Dialect)()
    tokens = reader.tokenize(sql)
    commands = reader.tokenizer_class.COMMANDS
    kinds = [token.token_type for token in tokens] + [TokenType.SEMICOLON] * 2
    position = 0
    while position < len(tokens):
        count = 1
        if kinds[position] == TokenType.STRING:
            if inner := _inner_sql(tokens, position, commands):
                yield from _names(sql[slice(*inner)], dialect, offset + inner[0])
        elif kinds[position + 1] == TokenType.DOT and (position == 0 or kinds[position - 1] != TokenType.DOT):
            parts: list[Part] = []
            while part := _part(sql, tokens[position + 2 * len(parts)], offset):
                parts.append(part)
                count = 2 * len(parts) - 1
                if kinds[position + count] != TokenType.DOT or position + count + 1 == len(tokens):
                    break
            if len(parts) > 1:
                yield SqlName(tuple(parts), has_alias=kinds[position + count] == TokenType.ALIAS)
        position += count


def _inner_sql(tokens: Sequence[Token], position: int, commands: Collection[TokenType]) -> tuple[int, int] | None:
    """Return the position of SQL that the tokenizer returns as one string."""
    token, before = tokens[position], tokens[max(position - 2, 0) : position]
    if before and before[-1].token_type in commands:
        # EXPLAIN and similar: sqlglot does not tokenize the rest.
        return before[-1].end + 1, token.end + 1
    if [found.text.lower() for found in before] == [NAME_IN_TEXT, "("]:
        return token.start + 1, token.end
    return None


def _part(sql: str, token: Token, offset: int) -> Part | None:
    """Return a token as part of a name; None if it cannot be one."""
    text = sql[token.start : token.end + 1]
    is_quoted = token.token_type.name == "IDENTIFIER"
    if not is_quoted and not text.isidentifier():
        return None
    return Part(token.text, offset + token.start, offset + token.end + 1, is_quoted)
