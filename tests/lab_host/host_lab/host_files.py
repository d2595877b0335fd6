# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the image holds besides Debian's packages: path -> text, links, and units that are switched on or off."""

from __future__ import annotations

HOST_NAME = "pve1"
# The service writes this line to the console when the host has come up.
READY = "LAB-HOST-READY"

FILES = {
    "etc/hostname": f"{HOST_NAME}\n",
    "etc/hosts": f"127.0.0.1 localhost\n10.0.2.15 {HOST_NAME}.example.com {HOST_NAME}\n",
    "etc/fstab": "",
    "etc/machine-id": "c0de0000000000000000000000c07e41\n",
    "etc/ssh/sshd_config.d/lab.conf": "UseDNS no\nGSSAPIAuthentication no\n",
    # As on a PVE host, the address is the bridge's and the network card its port.
    "etc/systemd/network/10-vmbr0.netdev": "[NetDev]\nName=vmbr0\nKind=bridge\n\n[Bridge]\nForwardDelaySec=0\nSTP=no\n",
    "etc/systemd/network/20-port.network": "[Match]\nDriver=virtio_net\n\n[Network]\nBridge=vmbr0\n",
    "etc/systemd/network/30-vmbr0.network": (
        "[Match]\nName=vmbr0\n\n[Network]\nAddress=10.0.2.15/24\nGateway=10.0.2.2\nIPv6AcceptRA=no\nLinkLocalAddressing=no\n"
    ),
    "etc/systemd/system/qemu.slice": "[Unit]\nDescription=Guests\nBefore=slices.target\n",
    "etc/systemd/system/lab-host.service": f"""\
[Unit]
Description=Load the frequency driver and tell the console that the host is up
After=multi-user.target ssh.service

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=-/sbin/modprobe -q acpi-cpufreq
ExecStart=-/bin/udevadm settle --timeout=600
ExecStart=/usr/local/sbin/wait-for-network
ExecStart=/bin/sh -c 'echo {READY} >/dev/ttyS0'
TimeoutStartSec=900

[Install]
WantedBy=multi-user.target
""",
    # On a very busy machine networkd gives up on a link whose answer takes too long, and has to be told again.
    "usr/local/sbin/wait-for-network": """\
#!/bin/sh
for attempt in $(seq 15); do
    /lib/systemd/systemd-networkd-wait-online --interface=vmbr0 --timeout=60 && exit
    journalctl --boot --unit=systemd-networkd --no-pager >/dev/ttyS0
    systemctl restart systemd-networkd
done
exit 1
""",
    "etc/tmpfiles.d/qemu-server.conf": "d /run/qemu-server 0755 root root -\n",
}
PROGRAMS = ("usr/local/sbin/wait-for-network",)
FOLDERS = (f"etc/pve/nodes/{HOST_NAME}/qemu-server", f"etc/pve/nodes/{HOST_NAME}/lxc")
LINKS = {
    "etc/pve/local": f"nodes/{HOST_NAME}",
    "etc/pve/qemu-server": f"nodes/{HOST_NAME}/qemu-server",
    "etc/pve/lxc": f"nodes/{HOST_NAME}/lxc",
    # PVE starts QEMU by this name.
    "usr/bin/kvm": "qemu-system-x86_64",
}

ENABLED = ("systemd-networkd.service", "ssh.service", "lab-host.service")
MASKED = (
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "fstrim.timer",
    "getty@tty1.service",
    "irqbalance.service",
    "serial-getty@ttyS0.service",
    "systemd-networkd-wait-online.service",
    "systemd-timesyncd.service",
)
PACKAGES = (
    "dbus",
    "ethtool",
    "iproute2",
    "irqbalance",
    "kmod",
    "libpam-systemd",
    "numactl",
    "openssh-server",
    "pciutils",
    "procps",
    "python3",
    "qemu-system-x86",
    "strace",
    "systemd",
    "systemd-sysv",
    "udev",
    "util-linux",
)

# The initial RAM disk: it loads the modules that the disk needs and goes on with it.
INIT = """\
#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t devtmpfs dev /dev
for module in $(cat /modules); do insmod /lib/$module; done
until [ -b /dev/vda ]; do sleep 0.05; done
mount -t ext4 /dev/vda /root
mount --move /dev /root/dev
exec switch_root /root /sbin/init
"""
ROOT_MODULES = ("virtio_pci", "virtio_blk", "ext4")
# Folders of modules that no machine of the lab has a use for.
UNUSED_MODULES = (
    "drivers/gpu",
    "drivers/infiniband",
    "drivers/isdn",
    "drivers/media",
    "drivers/net/wireless",
    "drivers/scsi",
    "drivers/staging",
    "drivers/usb",
    "net/bluetooth",
    "net/wireless",
    "sound",
)
