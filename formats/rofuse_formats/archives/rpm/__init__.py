"""RPM packages (format versions 3 to 6): a lead, a header of signatures, a header, and a cpio archive, the payload.

Strategy
The payload's tree is the package's. The header, which lies before it, is read first (``header``, ``files``): it knows
the names of owners, and of packages with files beyond 4 GiB everything, for their cpio archive says of each member only
which file of the header it is (``payload``). Capabilities of files stand nowhere else either (``capabilities``).

Rules
- It is a package only if a lead is followed by a header's magic.
- What the payload says itself counts; the header is asked for what it lacks. A header whose list of files is damaged
  costs just that.
- Files that the header lists and the payload does not hold (%ghost) are not shown.
- What the header has digests of, they are checked by (``digests``): where all is verified, not where it is mounted.
- As they are (``--raw``), the parts are ``lead``, ``signature``, ``header`` and ``payload.cpio`` with the ending of its
  compression, as the header names it.
"""

from __future__ import annotations

from collections.abc import Callable

from rofuse_formats.entry import Builder, Insides, ScanOptions
from rofuse_formats.seals import Seals
from rofuse_formats.source import Source

_LEAD = b"\xed\xab\xee\xdb"
_LEAD_SIZE = 96
_HEADER = b"\x8e\xad\xe8\x01"


class RpmFormat:
    name = "rpm"

    def recognise(self, head: bytes, /) -> bool:
        return head.startswith(_LEAD) and head.startswith(_HEADER, _LEAD_SIZE)

    def recognise_end(self, tail: bytes, /) -> bool:
        return False

    def scan_at_random(self, source: Source, builder: Builder, options: ScanOptions, /) -> None:
        from rofuse_formats.archives.rpm.package import Package

        Package(source, builder).describe_parts()

    def scan_nested(
        self, source: Source, builder: Builder, options: ScanOptions, insides: Insides, /
    ) -> None:
        # a mount with a ready index starts without it
        from rofuse_formats.archives.rpm.package import Package

        Package(source, builder).describe_payload(insides)

    def seals(self, source: Source, read: Callable[[bytes], bytes | None], /) -> Seals:
        from rofuse_formats.archives.rpm import digests
        from rofuse_formats.archives.rpm.package import headers

        return digests.seals(*headers(source), source.size)


FORMAT = RpmFormat()
