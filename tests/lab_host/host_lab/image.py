# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The image that every machine boots: Debian with systemd, sshd, Python and QEMU, and its kernel, built once into a cache."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import hashlib
import lzma
import os
import shutil
import subprocess
import tempfile
import typing as t
from pathlib import Path

from . import debian, host_files

BUILD_FILES = ("host_files.py", "image.py")
DISK_SIZE = "6G"


def cache_folder() -> Path:
    """COREPIN_LAB_HOST_CACHE, or .cache/lab_host of the checkout."""
    named = os.environ.get("COREPIN_LAB_HOST_CACHE")
    return Path(named).absolute() if named else Path(__file__).resolve().parents[3] / ".cache" / "lab_host"


@dataclasses.dataclass(frozen=True)
class Image:
    folder: Path

    @property
    def disk(self) -> Path:
        return self.folder / "disk.qcow2"

    @property
    def kernel(self) -> Path:
        return self.folder / "vmlinuz"

    @property
    def initrd(self) -> Path:
        return self.folder / "initrd"

    @property
    def ssh_key(self) -> Path:
        """The private key that opens root's account."""
        return self.folder / "id_ed25519"

    @property
    def complete(self) -> bool:
        return all(path.exists() for path in (self.disk, self.kernel, self.initrd, self.ssh_key))


def image() -> Image:
    """Where the image of this checkout and this Debian lies, built or not."""
    content = b"".join((Path(__file__).parent / name).read_bytes() for name in BUILD_FILES)
    key = hashlib.sha256(content + debian.codename().encode()).hexdigest()[:16]
    return Image(cache_folder() / "images" / key)


def build(say: t.Callable[[str], None] = print) -> Image:
    """The image, built if it is not there; whoever asks meanwhile waits. Then others that no machine needs are removed."""
    wanted = image()
    wanted.folder.parent.mkdir(parents=True, exist_ok=True)
    with _lock(wanted.folder.parent / "lock"):
        if wanted.complete:
            return wanted
        say("Building the image of the lab host ...")
        with tempfile.TemporaryDirectory(dir=wanted.folder.parent, prefix="building-") as name:
            work = Path(name)
            (work / "result").mkdir()
            _build(work, Image(work / "result"))
            _remove_others(wanted.folder.parent, work)
            (work / "result").rename(wanted.folder)
    return wanted


def _remove_others(folder: Path, kept: Path) -> None:
    """Images that no machine was booted from; a machine notes its own in its state."""
    states = "".join(path.read_text() for path in cache_folder().glob("run/*/state.json"))
    for path in folder.iterdir():
        if path.is_dir() and path != kept and str(path) not in states:
            shutil.rmtree(path, ignore_errors=True)


def _build(work: Path, target: Image) -> None:
    root = work / "root"
    packages = ",".join(host_files.PACKAGES)
    _run("debootstrap", "--variant=minbase", f"--include={packages}", debian.codename(), str(root), debian.archive())
    version = _add_kernel(work, root, target.kernel)
    _make_initrd(work / "initrd", root, version, target.initrd)
    _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "lab host", "-f", str(target.ssh_key))
    _configure(root, target.ssh_key.with_suffix(".pub").read_text())
    raw = work / "disk.raw"
    _run("mke2fs", "-q", "-t", "ext4", "-O", "^has_journal", "-E", "root_owner=0:0", "-d", str(root), str(raw), DISK_SIZE)
    _run("qemu-img", "convert", "-O", "qcow2", str(raw), str(target.disk))


def _add_kernel(work: Path, root: Path, target: Path) -> str:
    """Unpack the kernel's package: its modules into the root, itself to `target`. The kernel's version."""
    _run("apt-get", "download", "-qq", debian.kernel_package(), cwd=work)
    package = next(work.glob("linux-image-*.deb"))
    unpacked = work / "kernel"
    unpacked.mkdir()
    excluded = [f"--exclude=./*/modules/*/kernel/{folder}" for folder in host_files.UNUSED_MODULES]
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", package], stdout=subprocess.PIPE) as tar:
        subprocess.run(["tar", "-x", "-C", unpacked, *excluded], stdin=tar.stdout, check=True)
    modules = next(unpacked.glob("**/lib/modules/*"))
    shutil.move(modules, root / "usr/lib/modules" / modules.name)
    shutil.move(next(unpacked.glob("boot/vmlinuz-*")), target)
    _run("depmod", "-b", str(root), modules.name)
    return modules.name


def _make_initrd(folder: Path, root: Path, version: str, target: Path) -> None:
    for name in ("bin", "dev", "lib", "root"):
        (folder / name).mkdir(parents=True)
    shutil.copy("/bin/busybox", folder / "bin")
    modules = [_plain_module(path, folder / "lib") for path in _needed_modules(root, version)]
    (folder / "modules").write_text("\n".join(modules))
    (folder / "init").write_text(host_files.INIT)
    (folder / "init").chmod(0o755)
    names = "\n".join(str(path.relative_to(folder)) for path in sorted(folder.rglob("*")))
    with target.open("wb") as file:
        subprocess.run(["cpio", "-o", "-H", "newc", "--quiet"], cwd=folder, input=names.encode(), stdout=file, check=True)


def _needed_modules(root: Path, version: str) -> t.List[Path]:
    """The modules of host_files.ROOT_MODULES and those that they need, in the order of loading."""
    lines = []
    for module in host_files.ROOT_MODULES:
        lines += _run("modprobe", "-d", str(root), "-S", version, "--show-depends", module).splitlines()
    return [Path(line.split()[1]) for line in dict.fromkeys(lines) if line.startswith("insmod ")]


def _plain_module(path: Path, folder: Path) -> str:
    """Copy a module, unpacked, for busybox; its new name."""
    packed = path.suffix == ".xz"
    target = folder / (path.stem if packed else path.name)
    target.write_bytes(lzma.decompress(path.read_bytes()) if packed else path.read_bytes())
    return target.name


def _configure(root: Path, public_key: str) -> None:
    for name in host_files.FOLDERS:
        (root / name).mkdir(parents=True)
    for name, text in host_files.FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    for name in host_files.PROGRAMS:
        (root / name).chmod(0o755)
    for name, destination in host_files.LINKS.items():
        (root / name).unlink(missing_ok=True)
        (root / name).symlink_to(destination)
    (root / "root/.ssh").mkdir(mode=0o700, exist_ok=True)
    (root / "root/.ssh/authorized_keys").write_text(public_key)
    _run("systemctl", f"--root={root}", "enable", *host_files.ENABLED)
    _run("systemctl", f"--root={root}", "mask", *host_files.MASKED)
    shutil.rmtree(root / "var/cache/apt/archives", ignore_errors=True)


def _run(*command: str, cwd: t.Optional[Path] = None) -> str:
    """What the program printed; an error with its last words where it failed."""
    done = subprocess.run(command, cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed: {(done.stdout + done.stderr)[-2000:]}")
    return done.stdout


@contextlib.contextmanager
def _lock(path: Path) -> t.Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
