# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fetch Debian source packages for the captures in their test suites, without touching the system's apt configuration.

`python debian_sources.py` fetches hwloc and util-linux into the cache and prints where they lie. apt-get gets a state
directory and a list of sources of its own: the machine's configured Debian mirrors, as deb-src. What is in the cache
already is not fetched again. No root is needed.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import typing as t
from pathlib import Path

PACKAGES = ("hwloc", "util-linux")
SECONDS = 300
APT_CONFIGURATION = Path("/etc/apt")
OS_RELEASE = Path("/etc/os-release")

Source = t.Dict[str, str]  # the fields of a deb822 stanza


class Unavailable(Exception):
    """Why there are no source packages here."""


def cache_directory() -> Path:
    """$XDG_CACHE_HOME/corepin/debian-sources, by default below ~/.cache: never inside the repository."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "corepin" / "debian-sources"


def fetch(package: str) -> Path:
    """The upstream tar archive of a source package in the cache, fetched if need be. Raises Unavailable."""
    if not _cached(package):
        _download(package)
    archives = _cached(package)
    if not archives:
        raise Unavailable(f"apt-get source brought no upstream archive of {package}")
    return archives[-1]


def _cached(package: str) -> t.List[Path]:
    return sorted(path for path in cache_directory().glob(f"{package}_*.orig.tar.*") if path.suffix != ".asc")


def _download(package: str) -> None:
    if not shutil.which("apt-get"):
        raise Unavailable("apt-get is not installed: this is no Debian")
    sources = debian_sources(APT_CONFIGURATION, _codename(OS_RELEASE))
    if not sources:
        raise Unavailable(f"{APT_CONFIGURATION} names no mirror of this Debian release with the component main")
    cache = cache_directory()
    options = _private_apt(cache / "apt", sources)
    _apt_get(options, ["update"], cache)
    _apt_get(options, ["source", "--download-only", "--tar-only", package], cache)


def _private_apt(folder: Path, sources: t.Sequence[Source]) -> t.List[str]:
    """Options that keep apt-get to `folder`, with `sources` as its only sources."""
    for name in ("lists/partial", "archives/partial", "sources"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "sources" / "corepin.sources").write_text("\n".join(map(_stanza, sources)), encoding="utf-8")
    settings = {
        "Dir::State": folder,
        "Dir::State::lists": folder / "lists",
        "Dir::State::status": os.devnull,
        "Dir::Cache": folder,
        "Dir::Etc::sourcelist": os.devnull,
        "Dir::Etc::sourceparts": folder / "sources",
        "APT::Sandbox::User": "root" if os.geteuid() == 0 else "",
    }
    return [word for key, value in settings.items() for word in ("-o", f"{key}={value}")]


def _stanza(source: Source) -> str:
    return "".join(f"{key}: {value}\n" for key, value in source.items())


def _apt_get(options: t.Sequence[str], command: t.Sequence[str], folder: Path) -> None:
    try:
        done = subprocess.run(
            ["apt-get", "-q", *options, *command], cwd=folder, capture_output=True, text=True, timeout=SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise Unavailable(f"apt-get {command[0]} did not end within {SECONDS} s") from None
    if done.returncode != 0:
        last = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()[-1]
        raise Unavailable(f"apt-get {command[0]} failed: {last}")


def _codename(os_release: Path) -> str:
    text = os_release.read_text(encoding="utf-8") if os_release.exists() else ""
    match = re.search(r'^VERSION_CODENAME="?([^"\n]+)', text, re.MULTILINE)
    return match.group(1) if match else ""


def debian_sources(configuration: Path, codename: str) -> t.List[Source]:
    """The configured mirrors whose suite is `codename` itself (no updates, no third parties), as deb-src of main."""
    stanzas = [
        *(stanza for path in sorted(configuration.glob("sources.list.d/*.sources")) for stanza in _deb822(path.read_text("utf-8"))),
        *(stanza for path in _list_files(configuration) for stanza in _one_line(path.read_text("utf-8"))),
    ]
    chosen = []
    for stanza in stanzas:
        if codename in stanza.get("suites", "").split() and "main" in stanza.get("components", "").split():
            source = {"Types": "deb-src", "URIs": stanza["uris"], "Suites": codename, "Components": "main"}
            if stanza.get("signed-by"):
                source["Signed-By"] = stanza["signed-by"]
            chosen.append(source)
    return chosen


def _list_files(configuration: Path) -> t.List[Path]:
    return [path for path in (configuration / "sources.list", *sorted(configuration.glob("sources.list.d/*.list"))) if path.exists()]


def _deb822(text: str) -> t.Iterator[t.Dict[str, str]]:
    """Stanzas parted by empty lines, keys in lower case; a line that begins with a blank goes on with the one before."""
    for block in re.split(r"\n\s*\n", re.sub(r"^#.*\n?", "", text, flags=re.MULTILINE)):
        fields = re.findall(r"^(\S+):[ \t]*(.*(?:\n[ \t].*)*)", block, re.MULTILINE)
        if fields:
            yield {key.lower(): value for key, value in fields}


def _one_line(text: str) -> t.Iterator[t.Dict[str, str]]:
    """`deb [signed-by=KEY] URI SUITE COMPONENT...`"""
    for options, uri, suite, components in re.findall(r"^deb(?:-src)?\s+(?:\[([^\]]*)\]\s+)?(\S+)\s+(\S+)\s+(.+)$", text, re.MULTILINE):
        signed = re.search(r"signed-by=(\S+)", options)
        yield {"uris": uri, "suites": suite, "components": components, "signed-by": signed.group(1) if signed else ""}


if __name__ == "__main__":
    try:
        for name in PACKAGES:
            print(fetch(name))
    except Unavailable as e:
        sys.exit(str(e))
