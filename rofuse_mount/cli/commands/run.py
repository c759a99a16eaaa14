"""``rofuse-mount run SOURCE -- CMD...``: an archive mounted for one command, and for nobody else.

    this process                   waits for CMD and passes signals on; moves to private user and mount namespaces first
    ├── the supervisor             mounts there; ends the mount when told to, or when this process is gone
    │   └── the server
    └── the first process of a     reaps; the kernel kills it with this process, and all in the namespace with it
        process namespace
        └── CMD

The command cannot reach those that serve it. Nothing is left when it ends, whichever of them was killed.
"""

from __future__ import annotations

import os
import signal
import stat
import sys
from typing import Any, NoReturn

import click

from rofuse_mount import archive_server, background, mounting
from rofuse_mount.archive_fs import ArchiveFilesystem
from rofuse_mount.attaching import attach
from rofuse_mount.cli import fuse_options, outcome
from rofuse_mount.cli.commands.mount import Request, check_that_we_stay
from rofuse_mount.cli.declaring import Command, completes, option
from rofuse_mount.cli.opening import open_to_read
from rofuse_mount.cli.parameters import directory_options, source_options
from rofuse_mount.mounting import private
from rofuse_mount.mounting.ending import Ending
from rofuse_mount.outliving import die_with_parent
from rofuse_mount.supervisor import Board, Seat, StartError, Supervisor, forking

_PASSED_ON = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
_NOT_FOUND, _NOT_EXECUTABLE = 127, 126  # as shells have it
_NO_SERVING = {"debug_json": False, "debug": False, "foreground": False, "log_file": None, "workers": None}


@click.command(
    "run",
    cls=Command,
    short_help="Run a command with an archive mounted for it alone; needs no root.",
    context_settings={"ignore_unknown_options": False, "allow_interspersed_args": False},
)
@option(
    "--at",
    metavar="DIR",
    shell_complete=completes("directories"),
    help="Mount on DIR, and leave the working directory as it is.",
)
@option("-o", "texts", multiple=True, metavar="OPT,...", help="Mount options; see rofuse-mount(1).")
@option("-s", "--single-thread", is_flag=True, help="Serve with one thread.")
@option("--threads", type=click.IntRange(1, 64), metavar="N", help="Serving threads [4].")
@directory_options
@source_options
@click.argument("source", metavar="SOURCE", shell_complete=completes("sources"))
@click.argument(
    "words",
    nargs=-1,
    required=True,
    type=click.UNPROCESSED,
    metavar="[--] CMD...",
    shell_complete=completes("sources"),
)
@click.pass_context
def COMMAND(
    ctx: click.Context, /, source: str, words: tuple[str, ...], at: str | None, **options: Any
) -> int:
    """Run CMD with the archive SOURCE mounted where only CMD sees it: in a user and mount namespace of its own.

    Without --at on a temporary directory, which is CMD's working directory. Its path is in $ROFUSE_MOUNTPOINT. The exit
    status is CMD's; 128 and the signal's number when a signal ended it.
    """
    words = words[1:] if words[0] == "--" else words
    if at is None and words[:1] == ("--at",) and len(words) > 1:  # SOURCE --at DIR -- CMD
        at, words = words[1], words[2:]
        words = words[1:] if words[:1] == ("--",) else words
    if not words:
        raise click.UsageError("no command to run", ctx)
    fuse, own = fuse_options.parse(options["texts"], ctx.command)
    fuse_options.merge(options, own)
    options["mountpoint"] = mounting.canonical(at) if at is not None else None
    opened = open_to_read(source, options, serves=True)
    opened.tell(source, options)
    folder = mounting.canonical(at) if at is not None else _temporary()
    made = at is None or mounting.make_mountpoint(folder)
    try:
        kind = mounting.check_mountpoint(folder, nonempty="nonempty" in fuse)
        check_that_we_stay(folder)
        request = Request(source, os.fsdecode(folder), fuse, _NO_SERVING | options)
        request.on_file = stat.S_ISREG(kind)
        request.log_fd = os.dup(2)
        spec = request.spec(opened)
        filesystem = request.filesystem(spec, opened.archive)
        private.enter()
        process = background.start()
    except BaseException:
        if made:
            mounting.remove_mountpoint(folder)
        raise
    if isinstance(process, background.Child):
        os._exit(_supervise(process, spec, filesystem, folder, made))
    status, message = process.wait()
    if status:
        if made:
            mounting.remove_mountpoint(folder)
        raise outcome.Failure(message, status)
    try:
        return _run(list(words), folder, inside=at is None)
    finally:
        process.end()


def _temporary() -> bytes:
    from tempfile import mkdtemp

    return mounting.canonical(mkdtemp(prefix="rofuse-run-"))


# --- those that serve ---------------------------------------------------------------------------


def _supervise(
    process: background.Child,
    spec: archive_server.Spec,
    filesystem: ArchiveFilesystem,
    folder: bytes,
    made: bool,
) -> int:
    """Mounts, serves until this process is told to end or its parent has ended, and leaves nothing behind."""
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM, signal.SIGHUP))
    try:
        mounted, _ = attach(
            folder, spec.mount_options(), nonempty=True, auto_unmount=False, make_mountpoint=False
        )
        ending = Ending.of(mounted, made=made)
        spec.ending = ending.to_json()

        def serve(seat: Seat) -> int:
            spec.configure_log()
            return archive_server.serve(seat, spec, filesystem, on_ready=process.follow, alone=False)

        supervisor = Supervisor([mounted.fd], Board.create(), ending, forking(serve), outcome.say)
        supervisor.begin()
        parent = os.pidfd_open(os.getppid())
    except (StartError, mounting.MountError, OSError) as error:
        process.fail(outcome.status_of(error), outcome.describe(error))
        return outcome.status_of(error)
    supervisor.watch(parent, supervisor.end)
    try:
        process.ready()
    except BrokenPipeError:
        supervisor.end()
    supervisor.run_until_signal()
    return 0


# --- the command --------------------------------------------------------------------------------


def _run(words: list[str], folder: bytes, *, inside: bool) -> int:
    """Runs the command in a process namespace; returns its exit status."""
    private.contain_children()
    blocked = (*_PASSED_ON, signal.SIGCHLD)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, blocked)
    first = os.fork()
    if first:
        return _mind(first)
    status = outcome.FAILED
    try:
        die_with_parent()
        private.mount_proc()
        command = os.fork()
        if not command:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            _execute(words, folder, inside)
        status = _mind(command)
    finally:
        os._exit(status)


def _mind(child: int) -> int:
    """Waits for a child, and for every orphan on the way; passes on signals that a process has sent. What the terminal
    sends (its si_code is positive) reaches the child by itself."""
    while True:
        arrived = signal.sigwaitinfo((*_PASSED_ON, signal.SIGCHLD))
        if arrived.si_signo != signal.SIGCHLD:
            if arrived.si_code <= 0:
                os.kill(child, arrived.si_signo)
            continue
        while True:
            try:
                pid, status = os.waitpid(child if os.getpid() != 1 else -1, os.WNOHANG)
            except ChildProcessError:
                break
            if pid == child:
                code = os.waitstatus_to_exitcode(status)
                return code if code >= 0 else 128 - code
            if not pid:
                break


def _execute(words: list[str], folder: bytes, inside: bool) -> NoReturn:
    os.environb[b"ROFUSE_MOUNTPOINT"] = folder
    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # which Python ignores
        signal.signal(number, signal.SIG_DFL)
    status = _NOT_EXECUTABLE
    try:
        if inside:
            os.chdir(folder)
        os.execvp(words[0], words)
    except FileNotFoundError:
        status = _NOT_FOUND
        outcome.say(f"{outcome.show(words[0])}: command not found")
    except OSError as error:
        outcome.say(f"{outcome.show(words[0])}: {error.strerror}")
    finally:
        sys.stderr.flush()
        os._exit(status)
