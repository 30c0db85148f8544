# The first process of the engine's own namespaces: arguments are the directory, the cgroup, and options for dockerd.
# What is mounted here, every address and every process end with it; only empty cgroups are to be removed by hand.
set -u
directory=$1 group=$2
shift 2
forget_cgroups() {
    find /sys/fs/cgroup -depth -type d -path "*/$group*" -exec rmdir {} + 2>/dev/null
}
# Sockets of the machine's own engine are out of sight.
mount -t tmpfs tmpfs /run || exit 1
ip link set lo up || exit 1
# Left by a run that was killed, these name processes of namespaces that are gone.
rm -f "$directory/dockerd.pid" "$directory/engine.sock" "$directory/exec/containerd/containerd.pid"
forget_cgroups
dockerd --host "unix://$directory/engine.sock" --data-root "$directory/data" --exec-root "$directory/exec" \
    --pidfile "$directory/dockerd.pid" --cgroup-parent "/$group" --storage-driver overlay2 "$@" &
engine=$!
trap 'kill -TERM $engine' TERM INT
status=0
while kill -0 $engine 2>/dev/null; do
    wait $engine
    status=$?
done
forget_cgroups
exit $status
