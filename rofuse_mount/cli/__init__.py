"""The command ``rofuse-mount``.

Strategy
Each command is a module of ``commands`` that defines ``COMMAND``; the folder is the registry, and only the command that
is asked for is imported. The first word is a command if it is one of their names, else the source of a mount.

Rules
- A failure is one line on standard error and an exit status (``outcome``). A traceback is a bug.
- Nothing below this package prints, draws or exits.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NoReturn

from rofuse_mount.cli import later  # noqa: F401 - to be imported before click: it puts off what click imports

# isort: split
import click

from rofuse_mount import __version__
from rofuse_mount.cli import outcome
from rofuse_mount.cli.declaring import Group, option

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

_FOLDER = os.path.join(os.path.dirname(__file__), "commands")
_GROUP_OPTIONS = ("-h", "--help", "-V", "--version")
_ALIASES = {"-u": "umount"}


class _Commands(Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        modules = (os.path.splitext(name)[0] for name in os.listdir(_FOLDER) if name.endswith(".py"))
        return sorted(module.rstrip("_") for module in modules if module != "__init__")

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        from importlib import import_module

        if cmd_name not in self.list_commands(ctx):
            return None
        command: click.Command = import_module(f"rofuse_mount.cli.commands.{cmd_name}").COMMAND
        return command

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        found = super().shell_complete(ctx, incomplete)
        if found and incomplete and incomplete[0] != "-":
            from rofuse_mount.cli.completion import files_beginning

            return found + files_beginning(incomplete)  # the source of a mount may begin like a command
        if found:
            return found
        from click.shell_completion import CompletionItem

        return [CompletionItem(incomplete, type="file")]  # the source of a mount

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            raise outcome.ReaderGoneError from error
        except KeyboardInterrupt as error:
            raise outcome.InterruptedByUserError from error

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and args[0] in _ALIASES:
            args = [_ALIASES[args[0]], *args[1:]]
        elif args and args[0] not in _GROUP_OPTIONS and args[0] not in self.list_commands(ctx):
            args = ["mount", *args]
        return super().parse_args(ctx, args)


def _show_version(context: click.Context, parameter: click.Parameter, wanted: bool) -> None:
    if wanted and not context.resilient_parsing:
        outcome.put(f"rofuse-mount {__version__}")
        context.exit()


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    options_metavar="[OPTIONS]",
    subcommand_metavar="SOURCE MOUNTPOINT | COMMAND ...",
    no_args_is_help=True,
)
@option(
    "-V",
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_show_version,
    help="Show the version and exit.",
)
def _root() -> None:
    """Mount an archive as a read-only directory, at once: no unpacking, no disk filled.

    \b
    rofuse-mount backup.tar.zst /mnt/b     mount; returns when the mount is ready
    rofuse-mount /home/me /mnt/b           the same with a directory, as it is now
    rofuse-mount umount /mnt/b             take it off again
    rofuse-mount ls backup.tar.zst         look into it without a mount
    rofuse-mount mount --help              the options of a mount
    """


def main(args: list[str] | None = None) -> NoReturn:
    """Runs the command and exits with its status."""
    outcome.open_standard_streams()
    outcome.leave(outcome.run(lambda: _root.main(args, prog_name="rofuse-mount", standalone_mode=False)))
