#!/bin/sh
# Runs a program as a container would be: a file system of its own, with the machine's programs and libraries, and what
# is mounted into it.   pod.sh ROOT MOUNTS COMMAND...   MOUNTS has a line for each mount: source, a tab, target.
set -eu
root=$1 mounts=$2
shift 2
mount -t tmpfs tmpfs "$root"
for name in bin sbin lib lib64 usr proc sys dev; do
    if [ -L "/$name" ]; then
        cp -P "/$name" "$root/$name"
    elif [ -d "/$name" ]; then
        mkdir "$root/$name"
        mount --rbind "/$name" "$root/$name"
    fi
done
mkdir -p "$root/etc" "$root/tmp" "$root/var/lib/eg/wasm"
mount -t tmpfs tmpfs "$root/dev/shm"
while IFS='	' read -r source target; do
    mkdir -p "$root$(dirname "$target")"
    if [ -d "$source" ]; then mkdir -p "$root$target"; else touch "$root$target"; fi
    mount --bind "$source" "$root$target"
done < "$mounts"
exec chroot "$root" "$@"
