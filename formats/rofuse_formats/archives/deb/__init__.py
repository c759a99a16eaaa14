"""Debian packages (deb(5), format 2): an ar archive of a version, a control archive and a data archive.

Strategy
The headers of the ar archive are read where they lie; ``control.tar`` and ``data.tar``, compressed or not, are
described by the format that they are of, below ``control`` and ``data``. The directories are called as the members are;
not ``DEBIAN`` and the root, as dpkg-deb --raw-extract has it, for a package may well hold a directory of that name, and
so neither of the two can hide anything of the other. Every other member (``debian-binary``, a signature) is a file.

Rules
- It is a package only if its first member is ``debian-binary`` and begins with the version 2. Any other ar archive is
  none.
- Names end at a slash or with spaces, as dpkg takes them; ar's ways for long names are none of a package's.
- The MD5 sums that the control archive has of the files of the data archive are checked where all is verified.
- A member that goes on behind the end of the file is shown as far as it is there.
"""

from __future__ import annotations

from collections.abc import Callable

from rofuse_formats.archives.deb import members, sums
from rofuse_formats.entry import Builder, Insides, ScanOptions
from rofuse_formats.seals import Seals
from rofuse_formats.source import Source


class DebFormat:
    name = "deb"

    def recognise(self, head: bytes, /) -> bool:
        return members.is_package(head)

    def recognise_end(self, tail: bytes, /) -> bool:
        return False

    def scan_at_random(self, source: Source, builder: Builder, options: ScanOptions, /) -> None:
        """The members as they are."""
        owners = members.Owners(builder)
        for member in members.members(source, builder):
            members.add(member, builder, owners)

    def scan_nested(
        self, source: Source, builder: Builder, options: ScanOptions, insides: Insides, /
    ) -> None:
        owners = members.Owners(builder)
        missing = [b"control", b"data"]
        for member in members.members(source, builder):
            below = members.directory(member.name)
            if below in missing:  # dpkg takes the first, too
                missing.remove(below)
                members.add_directory(member, below, builder, owners)
                if insides.describe(member.part(), below + b"/"):
                    continue
                builder.damaged(f"{below.decode()}.tar holds no tar archive", member.start)
            members.add(member, builder, owners)
        for below in missing:
            builder.damaged(f"the package has no {below.decode()}.tar", source.size)

    def seals(self, source: Source, read: Callable[[bytes], bytes | None], /) -> Seals:
        return Seals([], sums.of_files(read(sums.LIST) or b""), "md5sums")


FORMAT = DebFormat()
