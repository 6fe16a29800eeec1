#!/bin/sh
# A SLURM of one node on a machine of one's own, from Debian's packages, to try things out with.
#
#     sudo sh tools/one_node_slurm.sh start|stop|status
#
# `start` installs what is missing, writes the configuration and starts munged, slurmctld and slurmd
# where they are not running; called again it changes nothing. It needs neither systemd nor control
# groups, and listens on the loopback address only. There is no accounting: `sacct` says so and fails.
# Not for a machine that is part of a cluster: a configuration that this script has not written is
# left alone, and it stops. docs/how-to/slurm.md says what to do with it.
set -eu

CONFIGURATION=/etc/slurm/slurm.conf
MARK='# Written by one_node_slurm.sh'
STATE=/var/lib/slurm
LOGS=/var/log/slurm
RUNNING=/run/slurm

fail() {
    echo "one_node_slurm.sh: $*" >&2
    exit 2
}

install_packages() {
    # slurm-client is sbatch, srun, squeue and so on; slurmdbd, the accounting, is left out.
    packages=
    for package in munge slurmctld slurmd slurm-client; do
        dpkg -s "$package" >/dev/null 2>&1 || packages="$packages $package"
    done
    [ -z "$packages" ] && return
    # shellcheck disable=SC2086  # several words
    DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends $packages
}

# The name must lead to this machine's own slurmd, whatever the network calls it.
node() { hostname -s; }

# What slurmd -C finds, without the processor's topology, on which virtual machines disagree with
# themselves. A tenth of the memory is left to the system.
write_configuration() {
    if [ -e "$CONFIGURATION" ] && ! head -n 1 "$CONFIGURATION" | grep -qF "$MARK"; then
        fail "$CONFIGURATION was not written by this script; it is left alone. Remove it to try."
    fi
    cpus=$(nproc)
    memory=$(awk '/MemTotal/ {print int($2 / 1024 * 0.9)}' /proc/meminfo)
    cat >"$CONFIGURATION" <<END
$MARK: a node of its own, for trying things out.
ClusterName=one-node
SlurmctldHost=$(node)(127.0.0.1)
# Nobody else is to reach it.
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
SlurmUser=slurm
AuthType=auth/munge
StateSaveLocation=$STATE/slurmctld
SlurmdSpoolDir=$STATE/slurmd
SlurmctldPidFile=$RUNNING/slurmctld.pid
SlurmdPidFile=$RUNNING/slurmd.pid
SlurmctldLogFile=$LOGS/slurmctld.log
SlurmdLogFile=$LOGS/slurmd.log
# Neither of these needs control groups: processes are found by their parents, and nothing is bound
# or limited. So cores and memory are counted when jobs are placed, and not enforced.
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
DefMemPerCPU=$((memory / cpus))
# A node that was not there for a while is taken back without being asked for.
ReturnToService=2
NodeName=$(node) NodeAddr=127.0.0.1 CPUs=$cpus RealMemory=$memory State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
END
}

# Whether the daemon of a pid file runs: of a restarted machine an old number may be left.
runs() {
    [ -s "$RUNNING/$1.pid" ] && grep -q "^$1" "/proc/$(cat "$RUNNING/$1.pid")/comm" 2>/dev/null
}

has_munge() { munge -n 2>/dev/null | unmunge >/dev/null 2>&1; }

start_munge() {
    has_munge && return
    # Debian's service would make this folder.
    install -d -o munge -g munge -m 755 /run/munge
    runuser -u munge -- munged
    touch "$RUNNING/munged-is-ours"
    has_munge || fail "munged does not answer; see /var/log/munge/munged.log"
}

start() {
    [ "$(id -u)" = 0 ] || fail "start needs root"
    install_packages
    if runs slurmctld && runs slurmd; then
        status
        return
    fi
    write_configuration
    install -d -o slurm -g slurm -m 755 "$RUNNING" "$STATE" "$STATE/slurmctld" "$LOGS"
    install -d -m 755 "$STATE/slurmd"
    start_munge
    runs slurmctld || slurmctld
    runs slurmd || slurmd
    for _ in 1 2 3 4 5 6 7 8 9 10; do
        sinfo -h -t idle -o %T 2>/dev/null | grep -q idle && break
        sleep 1
    done
    status
}

stop() {
    [ "$(id -u)" = 0 ] || fail "stop needs root"
    if runs slurmctld; then
        # Jobs outlive the daemons, and would be found again: end them first.
        squeue -h -o %A | sort -u | xargs -r scancel
        for _ in $(seq 40); do # SLURM itself kills after 30 seconds
            [ -z "$(squeue -h)" ] && break
            sleep 1
        done
    fi
    for daemon in slurmd slurmctld; do
        runs "$daemon" || continue
        kill "$(cat "$RUNNING/$daemon.pid")"
        for _ in $(seq 20); do # it writes down what it knows
            runs "$daemon" || break
            sleep 1
        done
    done
    # Only a munged of this script's; one that was there stays.
    if [ -e "$RUNNING/munged-is-ours" ]; then
        kill "$(cat /run/munge/munged.pid)" 2>/dev/null || true
        rm "$RUNNING/munged-is-ours"
    fi
}

status() {
    for daemon in slurmctld slurmd; do
        if runs "$daemon"; then echo "$daemon runs"; else echo "$daemon does not run"; fi
    done
    if runs slurmctld; then sinfo && squeue; fi
}

case ${1:-} in
start | stop | status) "$1" ;;
*) fail "say start, stop or status" ;;
esac
