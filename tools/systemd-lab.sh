#!/usr/bin/env bash
# A machine of its own for tests: a real systemd as PID 1 of new namespaces, over a writable layer above a Debian tree.
#
#   systemd-lab.sh tree             make the Debian tree, once (mmdebstrap, about a minute)
#   systemd-lab.sh up NAME          boot the machine NAME, or boot it again with what it had on its disk
#   systemd-lab.sh in NAME CMD…     run a command in it as root; input, output and exit status are the command's
#   systemd-lab.sh cut NAME         take its power away: every process ends at once, its disk stays as it is
#   systemd-lab.sh off NAME         cut, and throw its disk away
#   systemd-lab.sh can              exit status 0 if this box permits all that; else a sentence that says why not
#
# LAB_HOME: where trees and disks are (/var/tmp/semi-pd-lab). LAB_SHOW: folders of this box that `up` shows read-only
# in the machine under /mnt, as `folder:name`, separated by spaces. The machine has a network of its own, loopback only.
# Its cgroups are unified; on a box with cgroups of version 1 memory and CPU limits are accepted and not enforced.
#
# On a box with a GPU `up` can take the box's own files, driver and all:
# LAB_TREE: what lies below the machine's disk instead of that tree; `/` for what this box has, its other file systems
# read-only, and then LAB_HOME must be on another one, in /dev/shm, say. LAB_PACKAGES: a folder of Debian packages, whose
# files the machine has where the tree has none of the name: systemd, dbus and what they need, say. LAB_DEVICES: device
# files of this box that it has too, such as `/dev/nvidia*`.
set -euo pipefail

LAB_HOME=${LAB_HOME:-/var/tmp/semi-pd-lab}
LAB_SHOW=${LAB_SHOW:-}
LAB_TREE=${LAB_TREE:-}
LAB_PACKAGES=${LAB_PACKAGES:-}
LAB_DEVICES=${LAB_DEVICES:-}
SELF=$(readlink -f -- "${BASH_SOURCE[0]}")
SUITE=bookworm
PACKAGES=systemd,systemd-sysv,dbus,polkitd,libnss-systemd,python3,python3-venv,passwd,mount,iproute2,procps,curl
TREE=${LAB_TREE:-$LAB_HOME/$SUITE}
UNPACKED=$LAB_HOME/unpacked
BOOT_SECONDS=60

die() {
    printf 'systemd-lab.sh: %s\n' "$1" >&2
    exit 1
}

can() {
    local tool tools=(unshare nsenter)
    [[ $EUID == 0 ]] || die 'namespaces and mounts need root.'
    [[ -n $LAB_TREE ]] || tools+=(mmdebstrap)
    for tool in "${tools[@]}"; do
        command -v "$tool" >/dev/null || die "$tool is not installed."
    done
    unshare --mount --pid --cgroup --net --fork true 2>/dev/null || die 'this box does not permit new namespaces.'
    mount_point_of_cgroup2 >/dev/null || die 'this box has no cgroup2 hierarchy.'
}

mount_point_of_cgroup2() {
    findmnt --noheadings --first-only --types cgroup2 --output TARGET
}

make_tree() {
    can
    [[ -z $LAB_TREE && ! -e $TREE/.complete ]] || return 0
    rm -rf --one-file-system "$TREE"
    mkdir -p "$LAB_HOME"
    mmdebstrap --quiet --mode=root --variant=apt --include="$PACKAGES" --aptopt='Acquire::Languages "none"' \
        --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
        --dpkgopt='path-exclude=/usr/share/locale/*' "$SUITE" "$TREE" /etc/apt/sources.list.d/debian.sources >&2
    touch "$TREE/.complete"
}

# What they would do when they are installed, making users, say, is left to the machine's start. A folder that Debian
# has as a link, /lib, is one here too.
unpack_packages() {
    local package folder
    [[ -n $LAB_PACKAGES && ! -e $UNPACKED/.complete ]] || return 0
    rm -rf "$UNPACKED"
    for folder in bin sbin lib lib64; do
        mkdir -p "$UNPACKED/usr/$folder"
        ln -s "usr/$folder" "$UNPACKED/$folder"
    done
    for package in "$LAB_PACKAGES"/*.deb; do
        dpkg-deb --fsys-tarfile "$package" | tar --extract --keep-directory-symlink --directory "$UNPACKED"
    done
    touch "$UNPACKED/.complete"
}

# ── outside ──────────────────────────────────────────────────────────────────────────────────────────────────────────

select_machine() {
    [[ ${1:-} =~ ^[a-z0-9-]+$ ]] || die 'name the machine in small letters.'
    NAME=$1
    DISK=$LAB_HOME/machines/$NAME
    GROUP=$(mount_point_of_cgroup2)/semi-pd-lab-$NAME
}

first_process() {
    local pid
    pid=$(cat "$DISK/pid" 2>/dev/null) && [[ $(cat "/proc/$pid/comm" 2>/dev/null) == systemd ]] && echo "$pid"
}

up() {
    ! first_process >/dev/null || die "$NAME is up already."
    make_tree
    unpack_packages
    mkdir -p "$DISK"/{root,upper,work} "$GROUP"
    [[ $TREE != / || $(stat --format %d "$DISK") != $(stat --format %d /) ]] ||
        die "a machine over / cannot have its disk in /: set LAB_HOME to a folder on another file system."
    rm -f "$DISK/pid"
    setsid unshare --mount --uts --ipc --pid --net --fork --kill-child=KILL --propagation private \
        bash "$SELF" _first "$NAME" </dev/null >"$DISK/console.log" 2>&1 &
    disown
    wait_for_boot
}

wait_for_boot() {
    local deadline=$((SECONDS + BOOT_SECONDS)) state=''
    while ((SECONDS < deadline)); do
        if first_process >/dev/null; then
            state=$(inside systemctl is-system-running 2>/dev/null) || true
            [[ $state != running && $state != degraded ]] || return 0
        fi
        read -r -t 0.1 <> <(:) || true
    done
    tail -n 20 "$DISK/console.log" >&2
    die "$NAME was not up after $BOOT_SECONDS s, but '$state'."
}

inside() {
    local pid
    pid=$(first_process) || die "$NAME is not up."
    nsenter --target "$pid" --mount --uts --ipc --pid --net --cgroup --root --wd -- env -i HOME=/root LANG=C.UTF-8 \
        TERM=dumb SYSTEMD_PAGER= SYSTEMD_COLORS=0 \
        PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$@"
}

# The end of a PID namespace's first process is the end of all: the kernel sees to it.
cut_power() {
    local pid
    if pid=$(first_process); then
        kill -KILL "$pid"
        tail --pid="$pid" -f /dev/null
    fi
    rm -f "$DISK/pid"
    [[ ! -d $GROUP ]] || find "$GROUP" -depth -type d -exec rmdir {} + 2>/dev/null || true
}

throw_away() {
    cut_power
    rm -rf --one-file-system "$DISK"
}

# ── the machine's first process, before it becomes systemd ───────────────────────────────────────────────────────────

become_first() {
    if [[ ${1:-} != in-cgroup ]]; then
        echo 0 >"$GROUP/cgroup.procs"
        exec unshare --cgroup bash "$SELF" _first "$NAME" in-cgroup
    fi
    hostname "$NAME"
    mount_disk
    mount_kernel_interfaces
    show_devices
    show_folders
    mask_units
    own_pid_outside >"$DISK/pid"
    cd "$DISK/root"
    mkdir -p .outside
    pivot_root . .outside
    exec chroot . /bin/sh -c 'umount -l /.outside && mount --make-rshared / &&
        exec env -i container=lab PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
            SYSTEMD_LOG_TARGET=journal /lib/systemd/systemd --system systemd.unified_cgroup_hierarchy=1'
}

# This /proc is still that of the box, and a redirection of the shell's own asks as the shell.
own_pid_outside() {
    local name pid _
    while read -r name pid _; do
        [[ $name != NSpid: ]] || echo "$pid"
    done </proc/self/status
}

mount_disk() {
    mount --make-rprivate /
    rm -rf "$DISK/work" && mkdir "$DISK/work"
    mount -t overlay -o "lowerdir=$TREE${LAB_PACKAGES:+:$UNPACKED},upperdir=$DISK/upper,workdir=$DISK/work" lab \
        "$DISK/root"
    [[ $TREE != / ]] || show_other_file_systems
}

# A driver's folder, say; neither the kernel's own nor what the box has in memory.
show_other_file_systems() {
    local target
    while read -r target; do
        [[ ! $target =~ ^/((proc|sys|dev|run|tmp)(/|$)|$) && $target != "$LAB_HOME"/* ]] || continue
        mount --bind "$target" "$DISK/root$target"
        mount -o remount,bind,ro "$DISK/root$target"
    done < <(findmnt --noheadings --raw --output TARGET)
}

mount_kernel_interfaces() {
    local root=$DISK/root device numbers
    mkdir -p "$root"/{proc,sys,dev,run,tmp}
    mount -t proc -o nosuid,nodev,noexec proc "$root/proc"
    mount --bind "$root/proc/sys" "$root/proc/sys" && mount -o remount,bind,ro "$root/proc/sys"
    mount -t sysfs -o nosuid,nodev,noexec,ro sysfs "$root/sys"
    mount -t cgroup2 -o nosuid,nodev,noexec cgroup2 "$root/sys/fs/cgroup"
    mount -t tmpfs -o mode=755,nosuid dev "$root/dev"
    while read -r device numbers; do
        # shellcheck disable=SC2086 # major and minor
        mknod -m 666 "$root/dev/$device" c $numbers
    done <<<$'null 1 3\nzero 1 5\nfull 1 7\nrandom 1 8\nurandom 1 9\ntty 5 0'
    mkdir "$root"/dev/{pts,shm}
    mount -t devpts -o newinstance,ptmxmode=666,mode=620 devpts "$root/dev/pts"
    ln -s pts/ptmx "$root/dev/ptmx"
    ln -s /proc/self/fd "$root/dev/fd"
    ln -s null "$root/dev/console"
    mount -t tmpfs -o mode=1777,nosuid,nodev shm "$root/dev/shm"
    mount -t tmpfs -o mode=755,nosuid,nodev run "$root/run"
    mount -t tmpfs -o mode=1777,nosuid,nodev tmp "$root/tmp"
    cat /proc/sys/kernel/random/uuid >"$root/run/boot-id" # one of its own, or `journalctl --boot` mixes boots
    mount --bind "$root/run/boot-id" "$root/proc/sys/kernel/random/boot_id"
}

show_devices() {
    # shellcheck disable=SC2086 # patterns
    [[ -z $LAB_DEVICES ]] || cp --archive --parents $LAB_DEVICES "$DISK/root"
}

show_folders() {
    local pair target
    for pair in $LAB_SHOW; do
        target=$DISK/root/mnt/${pair##*:}
        mkdir -p "$target"
        mount --bind "${pair%:*}" "$target"
        mount -o remount,bind,ro "$target"
    done
}

# What would reach for the box's own kernel and devices.
mask_units() {
    local unit units=$DISK/root/run/systemd/system
    mkdir -p "$units"
    for unit in dev-hugepages.mount dev-mqueue.mount sys-kernel-{config,debug,tracing}.mount \
        sys-fs-fuse-connections.mount proc-sys-fs-binfmt_misc.automount systemd-{udevd,udev-trigger}.service \
        systemd-udevd-{control,kernel}.socket systemd-journald-audit.socket systemd-modules-load.service \
        modprobe@.service systemd-remount-fs.service console-getty.service getty@.service getty-static.service \
        apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer fstrim.timer; do
        ln -sf /dev/null "$units/$unit"
    done
    [[ -s $DISK/root/etc/machine-id ]] || tr -d - </proc/sys/kernel/random/uuid >"$DISK/root/etc/machine-id"
    echo "$NAME" >"$DISK/root/etc/hostname"
    mkdir -p "$DISK/root/var/log/journal"
}

main() {
    local command=${1:-}
    case $command in
        can) can ;;
        tree) make_tree ;;
        up | cut | off) select_machine "${2:-}" ;;&
        up) up ;;
        cut) cut_power ;;
        off) throw_away ;;
        in)
            select_machine "${2:-}"
            inside "${@:3}"
            ;;
        _first)
            select_machine "$2"
            become_first "${3:-}"
            ;;
        *) sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$SELF" && exit 2 ;;
    esac
}

main "$@"
