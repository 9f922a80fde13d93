"""Finds the names in SQL and where they stand, so that some can be replaced and every other character stays.

Reads with the tokenizer of sqlglot, which knows the texts, comments and quoted names of each dialect. A syntax tree
takes four times as long, and there is none of a statement that sqlglot cannot parse.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlglot import Token, TokenType

# DuckDB's function whose argument is a text that names a table.
NAME_IN_TEXT = "query_table"


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a name.

    Attributes:
        name: Without quotes.
        start: Where it begins in the SQL.
        end: Where it ends; the character there is no longer in it.
        is_quoted: Whether it stands in quotes.
    """

    name: str
    start: int
    end: int
    is_quoted: bool


@dataclass(frozen=True, slots=True)
class SqlName:
    """A name with dots in it: of a column, ``tasks.id``, or a table, ``orgx.tasks``.

    Attributes:
        parts: What stands between the dots, two or more.
        has_alias: Whether ``as`` follows.
    """

    parts: tuple[Part, ...]
    has_alias: bool = False

    def begins_with(self, word: str) -> bool:
        """Return whether its first part is this word, and not in quotes."""
        return self.parts[0].name == word and not self.parts[0].is_quoted


def names_in(sql: str, dialect: str) -> list[SqlName]:
    """Return every name with dots in SQL, in order; also those in the text of ``query_table('file.schema.table')``.

    Args:
        sql: One or more statements.
        dialect: sqlglot's name of the dialect. SQL that it cannot read at all has no names.
    """
    from sqlglot.errors import SqlglotError

    try:
        return list(_names(sql, dialect, 0))
    except SqlglotError:
        return []


def replace(sql: str, edits: Iterable[tuple[int, int, str]]) -> str:
    """Return SQL with other text in some places.

    Args:
        sql: The SQL.
        edits: Start, end and the new text of each place.
    """
    pieces, position = [], 0
    for start, end, text in sorted(edits):
        pieces += [sql[position:start], text]
        position = end
    return "".join([*pieces, sql[position:]])


def _names(sql: str, dialect: str, offset: int) -> Iterator[SqlName]:
    """Yield the names in SQL that begins at an offset of the whole."""
    from sqlglot import TokenType
    from sqlglot.dialects.dialect import Dialect

    # Of a database that sqlglot has never heard of, its common rules are true.
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
    """Return where SQL stands that the tokenizer takes for one text."""
    token, before = tokens[position], tokens[max(position - 2, 0) : position]
    if before and before[-1].token_type in commands:
        # EXPLAIN and its like: sqlglot leaves alone what follows.
        return before[-1].end + 1, token.end + 1
    if [found.text.lower() for found in before] == [NAME_IN_TEXT, "("]:
        return token.start + 1, token.end
    return None


def _part(sql: str, token: Token, offset: int) -> Part | None:
    """Return a token as part of a name; None where it cannot be one."""
    text = sql[token.start : token.end + 1]
    is_quoted = token.token_type.name == "IDENTIFIER"
    if not is_quoted and not text.isidentifier():
        return None
    return Part(token.text, offset + token.start, offset + token.end + 1, is_quoted)
