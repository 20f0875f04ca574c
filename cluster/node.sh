#!/bin/sh
# node.sh NODE STATE GROUP ADDRESS UPSTREAM_DNS: makes the mount, UTS and cgroup namespaces that it was started in into a
# machine's own (its /run, /etc, /var, /opt, sysfs, cgroups and bpffs), says "ready", and stays: the namespaces last as
# long as this process.
# Nothing of the host is changed: what it mounts is seen here only, and writes go to a tmpfs.
set -eu
node=$1 state=$2 group=$3 address=$4 dns=$5

echo 0 >"$group/cgroup.procs" # from the node's own group, which is now the root, to one below it
hostname "$node"

# What the host has mounted there stays alive as long as a copy of it: other network namespaces, other pins.
hierarchies=$(awk '$3 == "tmpfs" && $2 == "/sys/fs/cgroup" || $3 ~ /^cgroup2?$/ {
	gsub(/(^|,)(rw|ro|nosuid|nodev|noexec|[a-z]*atime|mode=[0-9]*|size=[0-9k]*)/, "", $4); sub(/^,/, "", $4)
	print $3, $2, $4
}' /proc/mounts)
awk '$2 ~ "^/(run|sys)(/|$)" || $3 ~ "^(nsfs|bpf)$" { print $2 }' /proc/mounts | tac | while read -r where; do
	umount -l "$where" 2>/dev/null || ! grep -qF " $where " /proc/mounts # others' come and go meanwhile
done

# sysfs shows the network namespace of its mounter, a cgroup file system the cgroup namespace: /NODE is this one's root,
# so what a program of the node attaches to "the root cgroup" concerns this node only.
mount -t tmpfs -o mode=755 run /run
own=/run/.node
mkdir -p $own/state /run/lock /run/netns
mount -t sysfs sysfs /sys
echo "$hierarchies" | while read -r type where options; do
	mkdir -p "$where"
	case $options in name=*) options=none,$options ;; esac
	mount -t "$type" ${options:+-o "$options"} "$type" "$where"
done
mount -t bpf -o mode=700 bpf /sys/fs/bpf

# The host's folders with the node's own changes over them. The cluster's state stays what it is: containerd's images
# need a real disk below them, and the configurations are written from outside.
mount --bind "$state" $own/state
for folder in etc opt var; do
	mkdir -p $own/$folder/upper $own/$folder/work
	mount -t overlay -o "lowerdir=/$folder,upperdir=$own/$folder/upper,workdir=$own/$folder/work" overlay /$folder
done
mkdir -p "$state" # missing where it lies on a file system of its own
mount --move $own/state "$state"
for folder in /etc/cni /etc/kubernetes /opt/cni /var/lib/cni /var/lib/kubelet /var/lib/weft /var/log/pods /var/log/containers; do
	mkdir -p "$folder" "$own/empty$folder" # whatever a kubelet of the machine itself may have there
	mount --bind "$own/empty$folder" "$folder"
done
mkdir -p /etc/cni/net.d /opt/cni/bin /var/lib/containerd
mount --bind "$state/$node/containerd" /var/lib/containerd

rm -f /etc/resolv.conf /etc/hosts /etc/hostname /etc/machine-id
echo "nameserver $dns" >/etc/resolv.conf
printf '127.0.0.1 localhost\n::1 localhost\n%s %s\n' "$address" "$node" >/etc/hosts
echo "$node" >/etc/hostname
echo "$node" | md5sum | cut -c1-32 >/etc/machine-id

# The kubelet sets these for the whole machine, unless it finds them as it likes them.
sysctl() {
	echo "$2" >"$own/sysctl-${1##*/}"
	mount --bind "$own/sysctl-${1##*/}" "/proc/sys/$1"
}
sysctl vm/overcommit_memory 1
sysctl vm/panic_on_oom 0
sysctl kernel/panic 10
sysctl kernel/panic_on_oops 1
sysctl kernel/keys/root_maxkeys 1000000
sysctl kernel/keys/root_maxbytes 25000000

mount --make-rshared / # volumes with mountPropagation need a shared root

echo ready
exec >/dev/null
exec sleep infinity
