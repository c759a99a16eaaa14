"""zip (PKWARE APPNOTE 6.3.10), as all tools write it.

Strategy
The central directory at the end of the file describes all members (``directory`` finds it, ``scanner`` reads it);
nothing else is read when an archive is indexed, but for the targets of symlinks. What the scanner's loop does not know
at a glance goes to ``describing``, which has the words of every tool: ``attributes`` (permissions), ``extra`` fields,
``times``, ``names``. Without a directory, ``rebuilding`` goes by the local headers. Members are read by ``reading``:
where their data begins says their ``local`` header, ``methods`` decode it, ``member`` checks it.

Rules
- A member belongs to who its extra fields say, else to the archive file's owner.
- Its permissions are Unix's where the archive has them, else what DOS attributes say: 644, or 444 for a read-only file.
- Its time is, best first: Windows' (100 ns), Unix's, DOS's, which is taken for the machine's zone.
- The targets of encrypted symlinks are read with the password, when an archive is indexed; such an index stays in
  memory, for in a file anybody could read them who can read that, today or in an old copy, and without the password.
- Without a central directory the archive is damaged, and shown as far as it goes.
- The disks of a split archive are read as one source, which knows where each of them begins.
"""

from __future__ import annotations

from typing import ClassVar

from rofuse_formats.archives.zip import directory, records
from rofuse_formats.archives.zip.reading import ZipMembers
from rofuse_formats.entry import Builder, Members, ScanOptions
from rofuse_formats.points_file import PointsFile
from rofuse_formats.settings import Settings
from rofuse_formats.source import Source
from rofuse_formats.streams import BlockCache, Stream


class ZipFormat:
    name = "zip"
    uses: ClassVar = {
        "cryptography": "members encrypted by AES",
        "inflate64": "deflate64 members",
        "pyppmd": "ppmd members",
        "zstandard": "zstd members",
    }

    def recognise(self, head: bytes, /) -> bool:
        """A local header first, perhaps behind the mark of a split archive; or the end record of an archive without
        members."""
        if head.startswith(records.END):
            return any(at == 0 for at in directory.ends(head)) and head[4:12] == bytes(8)
        return head.startswith((records.LOCAL, *records.SPANNED)) and len(head) > records.LOCAL_HEADER.size

    def recognise_end(self, tail: bytes, /) -> bool:
        """An end record whose comment ends the file, or just behind the directory of which it says how large it is:
        what follows then is a signature, say."""
        return any(directory.is_end(tail, at) for at in directory.ends(tail))

    def parts_before(self, source: Source, /) -> int:
        return directory.disks_before(source)

    def scan_at_random(self, source: Source, builder: Builder, options: ScanOptions, /) -> None:
        # a mount with a ready index starts without it
        from rofuse_formats.archives.zip.scanner import Scanner

        Scanner(source, builder, options).run()

    def members(
        self, stream: Stream, cache: BlockCache, settings: Settings, kept: PointsFile | None = None, /
    ) -> Members:
        return ZipMembers(stream, cache, settings, kept)


FORMAT = ZipFormat()
