"""Usage errors: says what is expected where click only says what it did not understand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches

import click

from orgx_source.tables import TABLES


class Command(click.Command):
    """A command whose usage errors say what to type instead."""

    allow_extra_args = True

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the arguments.

        Raises:
            click.UsageError: An option is unknown, or there are more arguments than the command takes.
        """
        try:
            rest = super().parse_args(ctx, list(args))
        except click.NoSuchOption as error:
            if error.option_name.startswith("--"):
                raise misplaced(error, _siblings(ctx), ctx) from None
            raise _with_one_hyphen(error, args, _names(self), ctx) from None
        if rest and not ctx.resilient_parsing:
            raise click.UsageError(_unexpected(self, rest[0], ctx), ctx)
        return rest


def misplaced(
    error: click.NoSuchOption, commands: Mapping[str, click.Command], ctx: click.Context
) -> click.NoSuchOption:
    """Return the error for an unknown option: names the commands that have this option."""
    owners = [name for name, command in commands.items() if error.option_name in _names(command)]
    if not owners:
        return error
    if isinstance(ctx.command, click.Group):
        sentence = f"Options follow the command, as in 'orgx-sync {owners[0]} {error.option_name}'."
    else:
        listed = " and ".join(filter(None, (", ".join(owners[:-1]), owners[-1])))
        sentence = f"{ctx.info_name} has no option {error.option_name!r}; it is an option of {listed}."
    return click.NoSuchOption(error.option_name, sentence, ctx=ctx)


def _siblings(ctx: click.Context) -> Mapping[str, click.Command]:
    group = ctx.find_root().command
    return group.commands if isinstance(group, click.Group) else {}


def _with_one_hyphen(
    error: click.NoSuchOption, args: Sequence[str], names: Sequence[str], ctx: click.Context
) -> click.NoSuchOption:
    """Return the error for ``-quiet``, which click reads as several short options."""
    letter = error.option_name.lstrip("-")
    for argument in args:
        word = argument.partition("=")[0]
        if word[:1] == "-" and word[1:2] != "-" and letter in word and len(word) > 2:
            return click.NoSuchOption(word, possibilities=get_close_matches(f"-{word}", names, 1), ctx=ctx)
    return error


def _names(command: click.Command) -> list[str]:
    return [name for option in command.params if isinstance(option, click.Option) for name in option.opts]


def _unexpected(command: click.Command, argument: str, ctx: click.Context) -> str:
    """Return the message for an argument too many."""
    sentence = f"Unexpected argument {argument!r}: "
    taken = [each.make_metavar(ctx).strip("[]") for each in command.params if isinstance(each, click.Argument)]
    if "SQL" in taken:
        return f"{sentence}put the whole SQL statement in quotes."
    if taken:
        return f"{sentence}{command.name} takes one {taken[0]}."
    if argument in TABLES and "--table" in _names(command):
        return f"{sentence}{command.name} takes only options. Did you mean '--table {argument}'?"
    return f"{sentence}{command.name} takes only options."
