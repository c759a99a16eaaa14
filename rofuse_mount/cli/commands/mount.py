"""``rofuse-mount SOURCE MOUNTPOINT``: the main job."""

from __future__ import annotations

import os
import signal
import stat
import sys
import time
from typing import Any, NoReturn

import click

from rofuse_formats import Archive
from rofuse_formats.source import JoinedSource
from rofuse_mount import archive_server, background, mounting, runtime, supervised
from rofuse_mount.archive_fs import ArchiveFilesystem
from rofuse_mount.attaching import attach
from rofuse_mount.backings import SharedSlots
from rofuse_mount.cli import fuse_options, hints, outcome
from rofuse_mount.cli.declaring import Command, completes, option
from rofuse_mount.cli.opening import STANDARD_INPUT, Opened, open_to_read
from rofuse_mount.cli.parameters import directory_options, source_options
from rofuse_mount.cli.parameters import settings as source_settings
from rofuse_mount.mounting.ending import Ending
from rofuse_mount.records import MountOptions
from rofuse_mount.supervisor import Board, Seat, StartError, Supervisor, forking, lean

_CACHED_FOR_EVER = float("inf")


class _MountCommand(Command):
    """Knows ``--debug=json``: an option of click has a value always or never."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        args = ["--debug-json" if arg == "--debug=json" else arg for arg in args]
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            hint = hints.of_option(error.option_name)
            if hint:
                raise click.UsageError(f"no such option '{error.option_name}'{hint}", ctx) from error
            raise
        except click.MissingParameter as error:
            if error.param is None or error.param.name != "mountpoint":
                raise
            hint = hints.of_word(ctx.params.get("source") or "", ctx) or (
                "where is it to be mounted? Give a MOUNTPOINT behind the archive, or look into it with 'ls'"
            )
            raise click.UsageError(hint, ctx) from error


@click.command("mount", cls=_MountCommand, short_help="Mount an archive (the word 'mount' can be left out).")
@click.argument("source", metavar="SOURCE", shell_complete=completes("sources"))
@click.argument("mountpoint", metavar="MOUNTPOINT", shell_complete=completes("directories"))
@option(
    "-o", "texts", multiple=True, metavar="OPT,...", help="Mount options, as in fstab; see rofuse-mount(1)."
)
@option("-f", "--foreground", is_flag=True, help="Serve in the foreground.")
@option("-d", "--debug", is_flag=True, help="Log each request in a line (--debug=json: as JSON); implies -f.")
@option("--debug-json", is_flag=True, hidden=True)
@option("-s", "--single-thread", is_flag=True, help="Serve with one thread.")
@option("--threads", type=click.IntRange(1, 64), metavar="N", help="Serving threads [4].")
@option("--workers", type=click.IntRange(1, 64), metavar="N", help="Serving processes [1].")
@option(
    "--log-file",
    metavar="FILE",
    shell_complete=completes("sources"),
    help="Append the log to FILE; else it goes to syslog, or with -f to stderr.",
)
@directory_options
@source_options
@click.pass_context
def COMMAND(ctx: click.Context, /, source: str, mountpoint: str, **options: Any) -> None:
    """Mount the archive SOURCE, or the directory as it is now, as a read-only directory on MOUNTPOINT.

    Returns when the mount is usable; it is served in the background until it is unmounted. A MOUNTPOINT that does not
    exist is made, and removed again when it is unmounted.
    """
    fuse, own = fuse_options.parse(options["texts"], ctx.command)
    fuse_options.merge(options, own)
    request = Request(source, mountpoint, fuse, options)
    request.check()
    request.carry_out()


class Request:
    """One mount, as it was asked for."""

    def __init__(self, source: str, mountpoint: str, fuse: dict[str, Any], options: dict[str, Any]) -> None:
        self.source, self.mountpoint, self.fuse, self.options = source, mountpoint, fuse, options
        self.debug: bool | str = "json" if options["debug_json"] else bool(options["debug"])
        self.foreground = bool(options["foreground"] or self.debug)
        self.log_fd: int | None = None
        self.on_file = False  # the mountpoint is a file
        # What the mount table shows as the source. Found out now: the mount may come to lie over it.
        try:
            self.name = source if source == STANDARD_INPUT else os.path.realpath(source)
        except OSError as error:  # the working directory is gone
            raise outcome.Failure(
                f"{outcome.show(source)}: cannot be opened: {error.strerror}", outcome.SOURCE
            ) from error

    def check(self) -> None:
        """What can be told before an archive is read, perhaps for minutes."""
        context = click.get_current_context(silent=True)
        if meant := hints.of_source(self.source, self.mountpoint, context):
            raise outcome.Failure(meant, outcome.SOURCE)
        if swapped := hints.of_order(self.source, self.mountpoint):
            raise click.UsageError(swapped, context)
        path = mounting.canonical(self.mountpoint)
        dead = mounting.clear_dead(path)
        if dead:
            was = outcome.show(os.fsdecode(dead))
            outcome.say(
                f"{outcome.show(self.mountpoint)} was a dead mount of {was}, whose server is gone; it is cleared"
            )
        if os.path.lexists(path) or not os.path.isdir(os.path.dirname(path)):
            kind = mounting.check_mountpoint(path, nonempty="nonempty" in self.fuse)
            self.on_file = stat.S_ISREG(kind)
        elif self.source == STANDARD_INPUT or os.access(self.source, os.R_OK, effective_ids=True):
            mounting.check_that_it_can_be_made(path)  # else the source is what there is to complain of
        check_that_we_stay(path)
        mounting.way(auto_unmount="auto_unmount" in self.fuse)
        if self.options["log_file"]:
            try:
                self.log_fd = _open_log(self.options["log_file"])
            except OSError as error:
                raise outcome.about(self.options["log_file"], error) from error

    def carry_out(self) -> None:
        self.options["mountpoint"] = mounting.canonical(self.mountpoint)  # which a directory may hold
        opened = open_to_read(self.source, self.options, serves=True)
        if "rw" in self.fuse and not self.options["quiet"]:
            outcome.say(f"{outcome.show(self.source)}: is mounted read-only, as everything is")
        opened.tell(self.source, self.options)
        spec = self.spec(opened)
        filesystem = self.filesystem(spec, opened.archive)
        process = None if self.foreground else background.start()
        if isinstance(process, background.Parent):
            status, message = process.wait()
            if status:
                raise outcome.Failure(message, status)
            return
        try:
            self._supervise(spec, filesystem, process)
        except Exception as error:
            if process is None:
                raise
            process.fail(outcome.status_of(error), outcome.describe(error))
            os._exit(outcome.status_of(error))

    def filesystem(self, spec: archive_server.Spec, archive: Archive) -> ArchiveFilesystem:
        try:
            return spec.filesystem(archive)
        except NotADirectoryError as error:
            status = outcome.MOUNTPOINT if self.on_file else outcome.FAILED
            raise outcome.Failure(f"{outcome.show(self.source)}: {error}", status) from error

    def _supervise(
        self, spec: archive_server.Spec, filesystem: ArchiveFilesystem, process: background.Child | None
    ) -> NoReturn:
        """Mounts, starts the servers, and becomes the supervisor that outlives them."""
        # A signal that came between the mount and the serving would leave a dead mount: it waits until then.
        signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM, signal.SIGHUP))
        mounted, made = attach(
            self.mountpoint,
            spec.mount_options(),
            nonempty="nonempty" in self.fuse,
            auto_unmount="auto_unmount" in self.fuse,
            make_mountpoint=True,
        )
        ending = Ending.of(mounted, made=made)
        facts = self._facts(mounted, spec)
        registration = runtime.Registration(mounted.minor, facts)
        ending.files = registration.files
        spec.ending = ending.to_json()

        def serve(seat: Seat) -> int:
            if registration.listener >= 0:
                os.close(registration.listener)
            if process is None:
                spec.configure_log()
                return archive_server.serve(seat, spec, filesystem)
            # Who waits for the mount need not wait for the log.
            return archive_server.serve(
                seat, spec, filesystem, on_ready=process.follow, on_told=spec.configure_log
            )

        devices = supervised.devices_of(mounted.fd, spec.workers)
        supervisor = Supervisor(devices, Board.create(), ending, forking(serve), outcome.say)
        try:
            supervisor.begin()
        except StartError as error:
            raise outcome.Failure(f"{outcome.show(self.mountpoint)}: {error}") from error
        if process is not None and supervisor.ended:
            supervisor.run()
            raise outcome.Failure(f"{outcome.show(self.mountpoint)}: it was unmounted before it was ready")
        if process is not None:
            try:
                process.ready()
            except BrokenPipeError:
                supervisor.end()  # nobody waits for it any more
        state = archive_server.lasting(spec, registration.fd, ending.guard[1])
        lean.supervise(
            supervisor,
            os.fsdecode(mounted.mountpoint),
            state
            | {
                "facts": facts,
                "listener": registration.listener,
                "log": spec.log["fd"] if spec.log["fd"] >= 0 or not self.foreground else 2,
            },
        )

    def _facts(self, mounted: mounting.Mount, spec: archive_server.Spec) -> dict[str, Any]:
        return {
            "source": self.name,
            "mountpoint": os.fsdecode(mounted.mountpoint),
            "fstype": os.fsdecode(mounted.fstype),
            "supervisor_pid": os.getpid(),
            "started": time.time(),
            "identity": archive_server.identity(fd for _path, fd in spec.files()),
        }

    def spec(self, opened: Opened) -> archive_server.Spec:
        """What its servers are started from, but for the mount itself."""
        options, source = self._mount_options(), opened.archive.source
        parts = [(file.path, file.fd) for file in source.files] if isinstance(source, JoinedSource) else []
        return archive_server.Spec(
            source=source.path,
            named=source.named,
            archive=source.files[0].fd if not parts else -1,
            backings=SharedSlots.create(opened.archive.image.inode_count) if opened.archive.files else -1,
            parts=parts,
            index=opened.index,
            spool=opened.archive.spool.fd if opened.archive.spool else -1,
            index_path=opened.archive.index_path,
            pids=archive_server.pid_namespace(),
            points=opened.archive.points_path,
            settings=archive_server.dump_settings(source_settings(self.options)),
            view=self._view(),
            owner_only=self._owner_only(),
            options={name: getattr(options, name) for name in MountOptions.__slots__},
            log={
                "background": not self.foreground,
                "fd": -1 if self.log_fd is None else self.log_fd,
                "debug": bool(self.debug),
                "verbose": bool(self.options["verbose"]),
            },
            workers=self.options["workers"] or 1,
        )

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
            noexec="noexec" in fuse,
            allow_other=self._everybody(),
            default_permissions=self._permissions(),
            fsname=fuse.get("fsname") or self.name,
            subtype=fuse.get("subtype"),
            threads=1 if self.options["single_thread"] else self.options["threads"],
        )

    def _owner_only(self) -> bool:
        return "allow_root" in self.fuse and "allow_other" not in self.fuse

    def _view(self) -> dict[str, Any]:
        fuse, umask = self.fuse, self.fuse.get("umask", 0)
        kept_for = 0.0 if self._owner_only() else _CACHED_FOR_EVER
        return {
            "uid": fuse.get("uid"),
            "gid": fuse.get("gid"),
            "fmask": fuse.get("fmask", umask),
            "dmask": fuse.get("dmask", umask),
            "entry_timeout": fuse.get("entry_timeout", kept_for),
            "attr_timeout": fuse.get("attr_timeout", kept_for),
            "subdir": fuse.get("subdir", ""),
            "file": self.on_file,
            "permissions": self._permissions(),
        }


def check_that_we_stay(mountpoint: bytes) -> None:
    """Refuses to mount over the program: what its servers import later, they would have to serve to themselves."""
    needed = {sys.executable, os.path.realpath(sys.executable), os.__file__, __file__}
    if any(os.fsencode(path).startswith(mountpoint.rstrip(b"/") + b"/") for path in needed):
        raise mounting.MountpointError(
            f"{outcome.show(os.fsdecode(mountpoint))} holds this very program; choose another directory"
        )


def _open_log(path: str) -> int:
    from rofuse_mount import logs

    return logs.open_log_file(path)
