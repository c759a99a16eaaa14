"""What the command's user is told: messages and exit statuses, in one place.

0 done · 1 failed otherwise · 2 usage · 10 mountpoint · 11 source missing or unreadable · 12 format not recognised ·
13 archive damaged · 14 password missing or wrong · 15 not permitted to mount · 16 a library or helper is missing.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable
from typing import NoReturn

import click

from rofuse_formats import errors
from rofuse_mount import showing

FAILED, USAGE, MOUNTPOINT, SOURCE, NOT_PERMITTED, INTERRUPTED = 1, 2, 10, 11, 15, 130
READER_GONE = 141
"""As a shell says it of a program that SIGPIPE ended."""

_STATUSES: tuple[tuple[type[Exception], int], ...] = (
    (errors.SourceError, SOURCE),
    (errors.UnknownFormatError, 12),
    (errors.DamagedError, 13),
    (errors.PasswordError, 14),
    (errors.MissingLibraryError, 16),
)


def _mount_statuses() -> tuple[tuple[type[Exception], int], ...]:
    """Of what mounting raises. Who only looks into an archive has never imported it, nor can have met one of these."""
    if "rofuse_mount.mounting.errors" not in sys.modules:
        return ()
    from rofuse_mount.mounting import errors as mount_errors

    return (
        (mount_errors.MountpointError, MOUNTPOINT),
        (mount_errors.NotPermittedError, NOT_PERMITTED),
        (mount_errors.MissingHelperError, 16),
        (mount_errors.MountError, FAILED),
    )


class Failure(Exception):
    """Ends the command: a message of one line, and an exit status."""

    def __init__(self, message: str, status: int = FAILED) -> None:
        super().__init__(message)
        self.status = status


def status_of(error: Exception) -> int:
    statuses = (*_STATUSES, *_mount_statuses())
    return next((status for kind, status in statuses if isinstance(error, kind)), FAILED)


def about(source: str, error: Exception) -> Failure:
    """``error`` as a failure of what was done with the file ``source``."""
    if isinstance(error, OSError) and error.filename and os.fsdecode(error.filename) == source:
        return Failure(f"{show(source)}: {error.strerror}", status_of(error))
    return Failure(f"{show(source)}: {describe(error)}", status_of(error))


def describe(error: Exception) -> str:
    if isinstance(error, OSError):
        return f"{error.strerror or error}" + (
            f": {show(os.fsdecode(error.filename))}" if error.filename else ""
        )
    return str(error)


def show(text: str) -> str:
    """A name as it can be printed: control characters, and what is no UTF-8, as escapes; '' where it is empty."""
    return showing.show(os.fsencode(text)) or "''"


def say(message: str) -> None:
    """One line on standard error. What of it an archive says is not what a terminal is told to do."""
    line = showing.printable(" ".join(message.split("\n")))
    try:
        print(f"rofuse-mount: {line}", file=sys.stderr, flush=True)
    except OSError:
        pass  # nobody listens; the exit status still tells


def put(text: str) -> None:
    """One line on standard output. Raises Failure; BrokenPipeError where nobody reads it."""
    try:
        print(text)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise cannot_write(error) from error


class ReaderGoneError(Exception):
    """Who read our standard output has gone. No OSError, for click makes something of its own of that."""


def open_standard_streams() -> None:
    """Whichever is closed is opened, as one that cannot be used: else the next file to be opened gets its number, and
    what is written there. To be called first of all; what is executed later does not inherit them."""
    for fd, name, flags in (0, "stdin", os.O_WRONLY), (1, "stdout", os.O_RDONLY), (2, "stderr", os.O_WRONLY):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, flags | os.O_CLOEXEC)  # which gets the lowest number that is free: this one
            if fd:
                setattr(sys, name, io.TextIOWrapper(io.BufferedWriter(io.FileIO(fd, "w", closefd=False))))


class InterruptedByUserError(Exception):
    """SIGINT. Of KeyboardInterrupt click makes an empty line on whatever standard error is."""


def run(command: Callable[[], object]) -> int:
    """Runs a command; says what went wrong, and returns the exit status."""
    status = _run(command)
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        leave_standard_output()
        return status or READER_GONE
    except OSError as error:
        failure = cannot_write(error)
        say(str(failure))
        return status or failure.status
    return status


def cannot_write(error: OSError) -> Failure:
    """For who could not write to standard output, which is not written to again."""
    leave_standard_output()
    return Failure(f"standard output cannot be written: {error.strerror}")


def leave(status: int) -> NoReturn:
    """Ends the process. To take the interpreter apart takes as long as all that ``ls`` does, after a mount that was
    just indexed three times that: it is left out where no thread is waited for. What was written has been flushed."""
    import atexit
    import threading  # which click has imported

    call_back: Callable[[], None] | None = getattr(atexit, "_run_exitfuncs", None)  # CPython's own name
    if threading.active_count() > 1 or call_back is None:
        sys.exit(status)
    call_back()
    if sys.stderr is not None:
        sys.stderr.flush()
    os._exit(status)


def _run(command: Callable[[], object]) -> int:
    try:
        status = command()
    except Failure as failure:
        say(str(failure))
        return failure.status
    except errors.FormatError as error:
        say(str(error))
        return status_of(error)
    except click.exceptions.NoArgsIsHelpError as error:
        print(error.format_message(), file=sys.stderr)
        return USAGE
    except click.UsageError as error:
        hint = f" (see '{error.ctx.command_path} --help')" if error.ctx else ""
        say(error.format_message().rstrip(".") + hint)
        return USAGE
    except click.ClickException as error:
        say(error.format_message())
        return FAILED
    except (InterruptedByUserError, KeyboardInterrupt, click.Abort) as error:
        if not isinstance(error, click.Abort) and sys.stderr.isatty():
            print(file=sys.stderr)  # it shows ^C, and where it was
        say("interrupted")
        return INTERRUPTED
    except (ReaderGoneError, BrokenPipeError):
        leave_standard_output()
        return READER_GONE
    except MemoryError:
        say("there is not enough memory, or this process may have no more (see ulimit -a)")
        return FAILED
    except OSError as error:
        say(describe(error))
        return FAILED
    except Exception as error:
        if not isinstance(error, tuple(kind for kind, _status in _mount_statuses())):
            raise
        say(str(error))
        return status_of(error)
    return status if isinstance(status, int) else 0


def leave_standard_output() -> None:
    """Nothing can be written there any more; the interpreter must not complain of it at exit."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.close(null)
