"""Commands and options as click has them, declared without what takes long to start (``later``): their help texts are
taken as they are, in one line, and not unindented."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar

import click

from rofuse_mount.cli import outcome

# Generic from click 8.4 on, whose types are the ones that are checked.
if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    ParamType: TypeAlias = click.ParamType[Any]
else:
    ParamType = click.ParamType

Completing: TypeAlias = Callable[[click.Context, click.Parameter, str], "list[CompletionItem]"]
_Function = TypeVar("_Function", bound=Callable[..., Any])


def completes(
    kind: Literal["sources", "directories", "mountpoints", "members"],
) -> Completing:
    """What a shell is offered in the place of an argument or option; to be given as ``shell_complete``."""

    def complete(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
        from rofuse_mount.cli import completion  # where a shell asks

        asked: Completing = getattr(completion, kind)
        return asked(ctx, parameter, incomplete)

    return complete


class Option(click.Option):
    """``help``: one line."""

    def __init__(self, *arguments: Any, help: str | None = None, **attributes: Any) -> None:
        super().__init__(*arguments, **attributes)
        self.help = help


def option(*names: str, **attributes: Any) -> Callable[[_Function], _Function]:
    """``click.option``."""
    return click.option(*names, cls=Option, **attributes)


def _show_help(context: click.Context, parameter: click.Parameter, wanted: bool) -> None:
    if wanted and not context.resilient_parsing:
        outcome.put(context.get_help())
        context.exit()


class Command(click.Command):
    """To be given to ``click.command`` as ``cls``."""

    _help: Option | None = None

    def get_help_option(self, ctx: click.Context) -> click.Option | None:
        names = list(self.get_help_option_names(ctx))
        if self._help is None and names:
            self._help = Option(
                ["help_wanted", *names],
                is_flag=True,
                is_eager=True,
                expose_value=False,
                callback=_show_help,
                help="Show this message and exit.",
            )
        return self._help


class Group(Command, click.Group):
    """To be given to ``click.group`` as ``cls``."""
