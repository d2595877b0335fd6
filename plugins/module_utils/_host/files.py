# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Small kernel files below a root directory: the live host's `/`, or a captured tree with sys/ and proc/ in it.

A file that is missing or unreadable is None. A file that decides where guests may run and holds something else than it
should is a FactsError that names the file, its content and the fix.

Note that this module util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import os
import re
import typing as t

from .._engine.cpuset import parse_cpulist
from .._engine.errors import FactsError, GrammarError

_FIX = "gather from the live host, or correct or remove that file in the captured tree"
_WORD_BITS = 32  # the kernel writes masks as 32-bit words in hexadecimal (lib/vsprintf.c, bitmap_string)


class Tree:
    """The files below one root. Paths are relative to it and written with slashes: `sys/devices/system/cpu/online`."""

    def __init__(self, root: str = "/") -> None:
        self.root = root
        self._prefix = root.rstrip("/") + "/"
        self._cpulists: t.Dict[str, int] = {}

    @property
    def live(self) -> bool:
        """Whether this is the running host and not a captured tree."""
        return os.path.realpath(self.root) == "/"

    def full(self, path: str) -> str:
        return self._prefix + path

    def head(self, path: str, size: int) -> t.Optional[str]:
        """At most the first `size` bytes of a file: for files that the kernel makes long, such as proc/cpuinfo."""
        return self._read(path, size)

    def text(self, path: str) -> t.Optional[str]:
        """A file's text without the white space and NUL bytes around it (some captures have NULs); None if missing or unreadable."""
        return self._read(path, None)

    def _read(self, path: str, size: t.Optional[int]) -> t.Optional[str]:
        try:
            fd = os.open(self._prefix + path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            data = os.read(fd, size or 65536)
            while size is None:
                chunk = os.read(fd, 65536)
                if not chunk:
                    break
                data += chunk
        except OSError:
            return None
        finally:
            os.close(fd)
        return data.decode("utf-8", "replace").strip("\0 \t\r\n")

    def write(self, path: str, text: str) -> None:
        """Write to a file that is there, in one call, as the kernel wants it. Raises OSError."""
        fd = os.open(self._prefix + path, os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC)
        try:
            os.write(fd, text.encode())
        finally:
            os.close(fd)

    def word(self, path: str) -> t.Optional[str]:
        """A file's text; None if missing, unreadable or empty."""
        return self._read(path, None) or None

    def words(self, path: str) -> t.Optional[t.List[str]]:
        """A file's words; None if missing or unreadable."""
        text = self.text(path)
        return None if text is None else text.split()

    def number(self, path: str) -> t.Optional[int]:
        """A whole number that placement depends on. Raises FactsError."""
        text = self.text(path)
        return None if not text else self.as_number(text, path)

    def as_number(self, text: str, path: str) -> int:
        """`text`, which stands in the file `path`, as a whole number. Raises FactsError."""
        try:
            return int(text)
        except ValueError:
            raise self.garbage(path, text, "a whole number") from None

    def loose_number(self, path: str) -> t.Optional[int]:
        """A whole number that only informs: None for anything else."""
        text = self.text(path)
        try:
            return None if text is None else int(text)
        except ValueError:
            return None

    def cpulist(self, path: str) -> t.Optional[int]:
        """A cpulist file as a mask. Raises FactsError."""
        text = self.text(path)
        return None if text is None else self.as_cpulist(text, path)

    def as_cpulist(self, text: str, path: str) -> int:
        """`text`, a cpulist which stands in the file `path`, as a mask. Raises FactsError."""
        if text not in self._cpulists:
            try:
                self._cpulists[text] = parse_cpulist(text)
            except GrammarError:
                raise self.garbage(path, text, "a cpulist such as 0-7,32-39") from None
        return self._cpulists[text]

    def cpumask(self, path: str) -> t.Optional[int]:
        """A file with a hexadecimal CPU mask (`00000000,0000ffff`) as a mask. Raises FactsError."""
        text = self.text(path)
        if not text:
            return None
        words = text.split(",")
        if not all(re.match(r"^[0-9a-fA-F]{1,16}$", word) for word in words):
            raise self.garbage(path, text, "a hexadecimal CPU mask such as 00000000,0000ffff")
        mask = 0
        for word in words:
            mask = mask << _WORD_BITS | int(word, 16)
        return mask

    def cpus(self, folder: str, list_names: t.Iterable[str], mask_names: t.Iterable[str], member: int = 0) -> t.Optional[int]:
        """A CPU set that the kernel shows under several names in `folder`, lists before masks, as a mask. Raises FactsError.

        The first file counts that is there and holds all of the mask `member`; one that does not is believed only
        where no other does. None where no file is there.
        """
        doubtful = None
        for name in list_names:
            mask = self.cpulist(f"{folder}/{name}")
            if mask is not None:
                if mask & member == member:
                    return mask
                doubtful = mask
        for name in mask_names:
            mask = self.cpumask(f"{folder}/{name}")
            if mask is not None:
                if mask & member == member:
                    return mask
                doubtful = mask
        return doubtful

    def names(self, path: str) -> t.Optional[t.List[str]]:
        """The sorted names in a directory; None if missing or unreadable."""
        try:
            return sorted(os.listdir(self._prefix + path))
        except OSError:
            return None

    def folders(self, path: str) -> t.List[str]:
        """The sorted names of the directories in a directory; [] if missing or unreadable."""
        try:
            with os.scandir(self._prefix + path) as entries:
                return sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
        except OSError:
            return []

    def numbered(self, path: str, prefix: str) -> t.Optional[t.List[int]]:
        """The N, ascending, of the entries `prefixN` in a directory; None if the directory is missing or unreadable."""
        names = self.names(path)
        if names is None:
            return None
        numbers = (name[len(prefix) :] for name in names if name.startswith(prefix))
        return sorted(int(number) for number in numbers if number.isdigit())

    def exists(self, path: str) -> bool:
        return os.path.exists(self._prefix + path)

    def link_name(self, path: str) -> t.Optional[str]:
        """The last part of where a symbolic link points: a driver's name, a device's address."""
        try:
            return os.path.basename(os.readlink(self._prefix + path)) or None
        except OSError:
            return None

    def link_target(self, path: str) -> t.Optional[str]:
        """Where a symbolic link points, as it is written; None if there is no link."""
        try:
            return os.readlink(self._prefix + path)
        except OSError:
            return None

    def real_path(self, path: str) -> str:
        """Where a path leads with all links followed."""
        return os.path.realpath(self._prefix + path)

    def garbage(self, path: str, text: str, expected: str) -> FactsError:
        """The error for a file whose content is not what the kernel writes there."""
        shown = repr(text if len(text) <= 60 else text[:57] + "...")
        return FactsError(f"{self.full(path)} holds {shown}, which is not {expected}; {_FIX}.")
