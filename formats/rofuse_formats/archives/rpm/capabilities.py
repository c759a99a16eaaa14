"""Capabilities of a file, from the text that a package has to the extended attribute that Linux has.

Layout (linux/capability.h, revision 2; little-endian): revision, and the lowest bit for "effective"; then twice, for
capabilities 0 to 31 and from 32 on, a word of those permitted and one of those inheritable.
The text is libcap's (cap_from_text(3)): clauses between blanks, each a list of names, ``all`` or nothing (all), and
then what to do with them: ``=``, ``+`` or ``-``, each with letters of ``e``, ``i`` and ``p``.
"""

from __future__ import annotations

import re
from functools import lru_cache
from struct import Struct

ATTRIBUTE = b"security.capability"
_NAMES = (
    b"chown dac_override dac_read_search fowner fsetid kill setgid setuid setpcap linux_immutable net_bind_service"
    b" net_broadcast net_admin net_raw ipc_lock ipc_owner sys_module sys_rawio sys_chroot sys_ptrace sys_pacct"
    b" sys_admin sys_boot sys_nice sys_resource sys_time sys_tty_config mknod lease audit_write audit_control setfcap"
    b" mac_override mac_admin syslog wake_alarm block_suspend audit_read perfmon bpf checkpoint_restore"
).split()  # linux/capability.h, in its order
_NUMBERS = {b"cap_" + name: number for number, name in enumerate(_NAMES)}
_ALL = (1 << len(_NAMES)) - 1
_MOST = 63  # the highest number that there is room for
_CLAUSE = re.compile(rb"([a-z0-9_,]*)((?:[=+-][eip]*)+)")
_ACTION = re.compile(rb"([=+-])([eip]*)")
_NUMBER = re.compile(rb"(?:cap_)?([0-9]{1,2})")
_LONGEST = 4096  # bytes of a text; all that there are, one by one, take less than 1,000
_KEPT = 256  # texts that are remembered: of a package, most files have the same
_ATTRIBUTE = Struct("<IIIII")
_REVISION, _EFFECTIVE = 0x02000000, 1


def attribute(text: bytes) -> bytes | None:
    """The value of ``ATTRIBUTE``: nothing where the text gives no capability, None where it cannot be one, or is longer
    than any."""
    return _attribute(text) if len(text) <= _LONGEST else None


@lru_cache(_KEPT)
def _attribute(text: bytes) -> bytes | None:
    sets = dict.fromkeys(b"eip", 0)
    for clause in text.split():
        found = _CLAUSE.fullmatch(clause)
        wanted = _numbers(found[1]) if found is not None else None
        if found is None or wanted is None:
            return None
        for sign, letters in _ACTION.findall(found[2]):
            for letter in sets:
                if sign == b"=" or (sign == b"-" and letter in letters):
                    sets[letter] &= ~wanted
                if sign != b"-" and letter in letters:
                    sets[letter] |= wanted
    effective, inheritable, permitted = sets.values()
    if not permitted and not inheritable:
        return b"" if not effective else None
    if effective not in (0, permitted | inheritable):  # the kernel has one bit for all of them
        return None
    words = (value >> shift & 0xFFFFFFFF for shift in (0, 32) for value in (permitted, inheritable))
    return _ATTRIBUTE.pack(_REVISION | (_EFFECTIVE if effective else 0), *words)


def _numbers(names: bytes) -> int | None:
    """Of a list of names, a bit for each; None where there is one that is unknown."""
    if names in (b"", b"all"):
        return _ALL
    bits = 0
    for name in names.split(b","):
        number = _NUMBERS.get(name, -1)
        if number < 0 and (digits := _NUMBER.fullmatch(name)):
            number = int(digits[1])
        if not 0 <= number <= _MOST:
            return None
        bits |= 1 << number
    return bits
