#!/bin/sh
# node.sh NODE STATE ADDRESS UPSTREAM_DNS: makes the mount and UTS namespaces that it was started in into a machine's own
# (its /run, /etc, /var, /opt, sysfs and bpffs), says "ready", and stays: the namespaces last as long as this process.
# Nothing of the host is changed: what it mounts is seen here only, and writes go to a tmpfs.
set -eu
node=$1 state=$2 address=$3 dns=$4

hostname "$node"

# sysfs shows the network namespace of its mounter. The cgroup hierarchies below it are kept.
mount -t tmpfs -o mode=755 run /run
own=/run/.node
mkdir -p $own/cgroup $own/state /run/lock /run/netns
mount --move /sys/fs/cgroup $own/cgroup
mount -t sysfs sysfs /sys
mount --move $own/cgroup /sys/fs/cgroup
mount -t bpf -o mode=700 bpf /sys/fs/bpf

# The host's folders with the node's own changes over them. The cluster's state stays what it is: containerd's images
# need a real disk below them, and the configurations are written from outside.
mount --bind "$state" $own/state
for folder in etc opt var; do
	mkdir -p $own/$folder/upper $own/$folder/work
	mount -t overlay -o "lowerdir=/$folder,upperdir=$own/$folder/upper,workdir=$own/$folder/work" overlay /$folder
done
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
