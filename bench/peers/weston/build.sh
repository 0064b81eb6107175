#!/bin/sh
# Builds the peer that `cargo xtask bench` puts beside HyperOS: Debian 12 with systemd, and weston
# (software rendering by pixman) as the shell.
#
#     bench/peers/weston/build.sh [--key]
#
# Makes a folder in the cache ($HYPEROS_CACHE, or ~/.cache/hyperos) and prints its path. The folder
# is named by the hash of this script and of root/, so it is built again only when these change:
#
#     root.ext4    the whole root file system, started as one virtio-blk disk without partitions
#     root.erofs   the same files as EROFS with lz4hc, for comparing sizes; never started
#     vmlinuz      Debian's kernel
#     initrd.img   its initramfs with only the modules that reach the root
#     packages     every package with its version
#
# With --key it prints the hash and builds nothing.
#
# The peer is given every advantage that its own means allow, so that the comparison is honest:
# a minbase system, an initramfs with three modules, no login prompt on the serial line, nothing that
# waits for the network, and weston started by udev the moment that a display exists, without the
# fade-in that it otherwise begins with. Nothing of Debian's or weston's own code is changed.
#
# Beside Debian's kernel, the bench starts the same root with ours, to which kernel.config adds the
# virtual terminal that this weston cannot do without.
#
# Runs as an ordinary user (mmdebstrap then needs `uidmap`) or as root; never touches the host's
# file system outside the cache.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
cache=${HYPEROS_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/hyperos}
# The folder's own files only, in a fixed order: the key must not depend on the machine.
key=$(cd "$here" && find build.sh root -type f | LC_ALL=C sort | xargs sha256sum | sha256sum | cut -c1-16)
[ "${1:-}" = --key ] && { echo "$key"; exit; }

target=$cache/peers/weston-$key
if [ -e "$target/packages" ]; then
    echo "$target"
    exit
fi

missing=
for pair in mmdebstrap:mmdebstrap fakeroot:fakeroot mkfs.erofs:erofs-utils mke2fs:e2fsprogs; do
    command -v "${pair%%:*}" >/dev/null || [ -x "/usr/sbin/${pair%%:*}" ] || missing="$missing ${pair##*:}"
done
if [ -n "$missing" ]; then
    echo "the peer cannot be built: please install$missing (sudo apt install$missing)" >&2
    exit 1
fi
PATH=$PATH:/usr/sbin:/sbin

# Time stamps inside the image and the file system's own identifiers are fixed, so that two builds
# from the same packages give the same files.
export SOURCE_DATE_EPOCH=1700000000
identifier=6f1d3a52-0d0c-4c53-9a39-77e570a11e5d

mkdir -p "$cache/peers"
work=$(mktemp -d "$cache/peers/.weston-XXXXXX")
trap 'rm -rf "$work"' EXIT INT TERM
# mmdebstrap's hooks read these files as a mapped user when it runs without root.
chmod 755 "$work"

echo "making the peer's root from Debian packages (once; about 3 minutes)" >&2
mmdebstrap --quiet --variant=minbase \
    --include=systemd,systemd-sysv,udev,dbus,weston,fonts-dejavu-core,linux-image-amd64,initramfs-tools,zstd \
    --aptopt='APT::Install-Recommends "false"' \
    --dpkgopt='path-exclude=/usr/share/doc/*' \
    --dpkgopt='path-exclude=/usr/share/man/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' \
    --dpkgopt='path-exclude=/usr/share/info/*' \
    --customize-hook="sync-in '$here/root' /" \
    --customize-hook="cd '$here/root' && find . -type f | (cd \"\$1\" && xargs chown 0:0)" \
    --customize-hook='chroot "$1" systemctl --quiet mask serial-getty@.service getty@.service console-getty.service' \
    --customize-hook='chroot "$1" systemctl --quiet set-default multi-user.target' \
    --customize-hook='chroot "$1" systemctl --quiet enable peer-figures.service' \
    --customize-hook=': > "$1/etc/fstab"; echo peer > "$1/etc/hostname"' \
    --customize-hook='chroot "$1" update-initramfs -u' \
    --customize-hook="chroot \"\$1\" dpkg-query -W > '$work/packages.new'" \
    --format=tar bookworm "$work/root.tar" >&2

echo "making its file systems" >&2
# Under fakeroot the files keep their owners although an ordinary user packs them.
fakeroot sh -eu -c '
    mkdir "$1/root"
    tar --extract --numeric-owner --same-permissions --file "$1/root.tar" --directory "$1/root" --exclude="./dev/*"
    mke2fs -q -t ext4 -b 4096 -U "$2" -E "hash_seed=$2,lazy_itable_init=0,lazy_journal_init=0" -d "$1/root" "$1/root.ext4" 2G
    mkfs.erofs -zlz4hc -T "$3" -U "$2" "$1/root.erofs" "$1/root" >/dev/null
' sh "$work" "$identifier" "$SOURCE_DATE_EPOCH"
cp "$work"/root/boot/vmlinuz-* "$work/vmlinuz"
cp "$work"/root/boot/initrd.img-* "$work/initrd.img"
mv "$work/packages.new" "$work/packages"
chmod -R u+w "$work/root"
rm -rf "$work/root" "$work/root.tar"

trap - EXIT INT TERM
rm -rf "$target"
mv "$work" "$target"
echo "$target"
