#!/bin/sh
# Second stage of a guest's boot, in the host's root folder (read-only): the file systems and modules that a machine has,
# then /run/command. WEFT_KERNEL = folder with lib/modules of this kernel.
set -e
mount -t proc proc /proc
mount -t sysfs sys /sys
root=${WEFT_BOOT%/tests/guest/boot.sh}
mkdir -p /run/clone
mount --bind "$root" /run/clone
mount -t tmpfs -o mode=1777 tmp /tmp
mount -t tmpfs -o mode=755 state /var/lib
if [ -e "$root/Makefile" ]; then umount /run/clone; else # the clone lies below one of these
	mkdir -p "$root"
	mount --move /run/clone "$root"
fi
mkdir -p /dev/pts /dev/shm /run/lock
mount -t devpts -o gid=5,mode=620,ptmxmode=666 devpts /dev/pts
mount -t tmpfs -o mode=1777 shm /dev/shm
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t bpf bpf /sys/fs/bpf
ln -sf /proc/self/fd /dev/fd

printf '#!/bin/sh\nexec /sbin/modprobe -d %s "$@"\n' "$WEFT_KERNEL" > /run/modprobe
chmod 755 /run/modprobe
echo /run/modprobe > /proc/sys/kernel/modprobe
/run/modprobe -a veth nf_tables nft_chain_nat nft_masq sch_ingress cls_bpf virtio_rng af_packet

ip link set lo up
hostname guest
ulimit -H -n 524288 # systemd's
mkdir -p /tmp/home
export HOME=/tmp/home TMPDIR=/tmp PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
export WEFT_TEST_SLOWNESS=12 WEFT_TEST_VOLUME=0.1 # see tests/lab/waiting.py
set +e
/bin/sh /run/command
exit $?
