"""tar in all its dialects: v7, ustar, GNU, pax, star and Solaris, mixed in one archive as they come.

Strategy
One loop over the headers (``scanner``) describes plain files and directories at once, with all fields of a header
taken by one ``struct`` call and everything that repeats (checksum texts, owners) answered from dictionaries. What
the loop does not know at a glance goes to ``members``, which has the words of every dialect: extended headers
(``pax``), access control lists (``acl``), sparse files (``sparse``). ``window`` is the way to the stream's bytes,
``header`` knows a single block of 512.

Rules
- A header counts only when its checksum is right, as unsigned or signed sum; its size only when it is a number in
  [0, 2**62). Everything else a header says may be wrong and costs that member, not the archive.
- What a block is, is decided by that block and the one behind it alone; nothing is read twice.
- After damage, the next block with a magic and a right checksum is where the archive goes on.
"""

from __future__ import annotations

from rofuse_formats.archives.tar import header
from rofuse_formats.archives.tar.scanner import Scanner
from rofuse_formats.entry import Builder, Reader, ScanOptions

_WHOLE_HEAD = 1 << 16  # as much of a stream as ``recognise`` is given


class TarFormat:
    name = "tar"

    def recognise(self, head: bytes, /) -> bool:
        """A first header that is right in every field; or zeros and nothing else, at least two blocks of them, and no
        more than a head has: an archive without members, and no image of a disk that begins so."""
        if head.startswith(header.ZEROS):
            return 2 * header.BLOCK <= len(head) < _WHOLE_HEAD and head.count(0) == len(head)
        return header.plausible(head[: header.BLOCK])

    def scan(self, reader: Reader, builder: Builder, options: ScanOptions, /) -> None:
        Scanner(reader, builder, options).run()


FORMAT = TarFormat()
