"""``rofuse-mount SOURCE MOUNTPOINT``: the main job."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

import click

from rofuse_mount import background, mounting, runtime
from rofuse_mount.archive_fs import ArchiveFilesystem, OwnerOnlyFilesystem, View
from rofuse_mount.cli import fuse_options, outcome
from rofuse_mount.cli.opening import open_source
from rofuse_mount.cli.parameters import source_options
from rofuse_mount.memory import bound_heaps
from rofuse_mount.records import MountOptions
from rofuse_mount.server import ServeError, Server, mount

_CACHED_FOR_EVER = float("inf")


class _MountCommand(click.Command):
    """Knows ``--debug=json``: an option of click has a value always or never."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, ["--debug-json" if arg == "--debug=json" else arg for arg in args])


@click.command("mount", cls=_MountCommand, short_help="Mount an archive (the word 'mount' can be left out).")
@click.argument("source", metavar="SOURCE")
@click.argument("mountpoint", metavar="MOUNTPOINT")
@click.option(
    "-o", "texts", multiple=True, metavar="OPT,...", help="Mount options, as in fstab; see rofuse-mount(1)."
)
@click.option("-f", "--foreground", is_flag=True, help="Serve in the foreground.")
@click.option(
    "-d", "--debug", is_flag=True, help="Log each request in a line (--debug=json: as JSON); implies -f."
)
@click.option("--debug-json", is_flag=True, hidden=True)
@click.option("-s", "--single-thread", is_flag=True, help="Serve with one thread.")
@click.option("--threads", type=click.IntRange(1, 64), metavar="N", help="Serving threads [4].")
@click.option(
    "--log-file", metavar="FILE", help="Append the log to FILE; else it goes to syslog, or with -f to stderr."
)
@source_options
@click.pass_context
def COMMAND(ctx: click.Context, /, source: str, mountpoint: str, **options: Any) -> None:
    """Mount the archive SOURCE as a read-only directory on MOUNTPOINT.

    Returns when the mount is usable; it is served in the background until it is unmounted. A MOUNTPOINT that does not
    exist is made, and removed again when it is unmounted.
    """
    fuse, own = fuse_options.parse(options["texts"], ctx.command)
    options |= own
    request = _Request(source, mountpoint, fuse, options)
    request.check()
    request.carry_out()


class _Request:
    """One mount, as it was asked for."""

    def __init__(self, source: str, mountpoint: str, fuse: dict[str, Any], options: dict[str, Any]) -> None:
        self.source, self.mountpoint, self.fuse, self.options = source, mountpoint, fuse, options
        self.debug: bool | str = "json" if options["debug_json"] else bool(options["debug"])
        self.foreground = bool(options["foreground"] or self.debug)
        self.log_fd: int | None = None

    def check(self) -> None:
        """What can be told before an archive is read, perhaps for minutes."""
        path = mounting.canonical(self.mountpoint)
        if os.path.lexists(path) or not os.path.isdir(os.path.dirname(path)):
            mounting.check_mountpoint(path, nonempty="nonempty" in self.fuse)
        mounting.way(auto_unmount="auto_unmount" in self.fuse)
        if self.options["log_file"]:
            try:
                self.log_fd = _open_log(self.options["log_file"])
            except OSError as error:
                raise outcome.about(self.options["log_file"], error) from error

    def carry_out(self) -> None:
        opened = open_source(self.source, self.options)
        opened.tell(self.source, self.options)
        try:
            filesystem = self._filesystem(opened.archive)
        except NotADirectoryError as error:
            raise outcome.Failure(f"{outcome.show(self.source)}: {error}") from error
        if self.foreground:
            self._configure_log()
            self._serve(filesystem, lambda: None)
            return
        process = background.start()
        if isinstance(process, background.Parent):
            status, message = process.wait()
            if status:
                raise outcome.Failure(message, status)
            return
        os._exit(self._serve_in_background(process, filesystem))

    def _serve_in_background(self, process: background.Child, filesystem: ArchiveFilesystem) -> int:
        ready = False

        def leave() -> None:
            nonlocal ready
            process.ready()
            ready = True
            self._configure_log()

        try:
            self._serve(filesystem, leave)
        except Exception as error:
            if not ready:
                process.fail(outcome.status_of(error), outcome.describe(error))
                return outcome.status_of(error)
            _logger().exception("the server ended")
            return outcome.FAILED
        return 0

    def _serve(self, filesystem: ArchiveFilesystem, on_ready: Any) -> None:
        registration: runtime.Registration | None = None

        def ready() -> None:
            nonlocal registration
            if server.mounted is not None and server.mounted.minor is not None:
                registration = runtime.Registration(server.mounted.minor, self._facts(server))
            on_ready()

        bound_heaps()
        # A signal that came between the mount and the serving would leave a dead mount: it waits until then.
        signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM, signal.SIGHUP))
        server = mount(
            self.mountpoint,
            filesystem,
            self._mount_options(),
            nonempty="nonempty" in self.fuse,
            auto_unmount="auto_unmount" in self.fuse,
            make_mountpoint=True,
            on_ready=ready,
        )
        try:
            server.serve_until_signal()
        except ServeError as error:
            raise outcome.Failure(f"{outcome.show(self.mountpoint)}: {error}") from error
        finally:
            if registration is not None:
                registration.close()

    def _facts(self, server: Server) -> dict[str, Any]:
        return {
            "source": os.path.realpath(self.source),
            "mountpoint": os.fsdecode(server.mounted.mountpoint) if server.mounted else "",
            "server_pid": os.getpid(),
            "started": time.time(),
        }

    def _everybody(self) -> bool:
        return "allow_other" in self.fuse or "allow_root" in self.fuse

    def _permissions(self) -> bool:
        """Whether the kernel checks them."""
        return self._everybody() or "default_permissions" in self.fuse

    def _mount_options(self) -> MountOptions:
        fuse = self.fuse
        return MountOptions(
            debug=self.debug,
            max_readahead=fuse.get("max_readahead"),
            max_background=fuse.get("max_background", 12),
            max_read=fuse.get("max_read"),
            allow_other=self._everybody(),
            default_permissions=self._permissions(),
            fsname=fuse.get("fsname") or os.path.realpath(self.source),
            subtype=fuse.get("subtype"),
            threads=1 if self.options["single_thread"] else self.options["threads"],
        )

    def _filesystem(self, archive: Any) -> ArchiveFilesystem:
        fuse, owner_only = self.fuse, "allow_root" in self.fuse and "allow_other" not in self.fuse
        umask = fuse.get("umask", 0)
        kept_for = 0.0 if owner_only else _CACHED_FOR_EVER
        view = View(
            uid=fuse.get("uid"),
            gid=fuse.get("gid"),
            fmask=fuse.get("fmask", umask),
            dmask=fuse.get("dmask", umask),
            entry_timeout=fuse.get("entry_timeout", kept_for),
            attr_timeout=fuse.get("attr_timeout", kept_for),
            subdir=os.fsencode(fuse.get("subdir", "")),
            permissions=self._permissions(),
        )
        kind = OwnerOnlyFilesystem if owner_only else ArchiveFilesystem
        return kind(archive, view, log=lambda line: _logger().warning("%s", line))

    def _configure_log(self) -> None:
        from rofuse_mount import logs

        verbose = bool(self.options["verbose"])
        logs.configure(
            background=not self.foreground, fd=self.log_fd, debug=bool(self.debug), verbose=verbose
        )


def _open_log(path: str) -> int:
    from rofuse_mount import logs

    return logs.open_log_file(path)


def _logger() -> Any:
    import logging

    return logging.getLogger("rofuse_mount")
