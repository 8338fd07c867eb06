#!/usr/bin/env bash
# Run the job on one node. srun starts it as one task for each node or for each rank; launch/local.sh starts it once.
#
#   launch/node.sh train --config configs/X.yaml [key.sub=value ...]
#   launch/node.sh evaluate --checkpoint runs/X/checkpoints/best
#
# Exit code: 0 done, 2 bad input, 75 stopped after a checkpoint (0 if the caller set JOB_STATUS_FILE, which has the 75),
# any other: crashed. SIGTERM, SIGUSR1 and Ctrl-C request a stop. Variables, each with a default:
#   JOB_RANKS  ranks on each node           JOB_HOSTS  names of the nodes, the head first
#   JOB_GPUS   GPUs on each node; 0: CPU    JOB_PORT   port on the head
#   JOB_RUN_FOLDER   where to put the stop file         JOB_STATUS_FILE  where ranks write how it ended
#   JOB_NODE_LOG     log of nodes but the first: this, the number of the node, and .out
#   JOB_START_SECONDS  seconds for all ranks to connect: 300, and 5 per node
#   OMP_NUM_THREADS, GLOO_SOCKET_IFNAME, NCCL_SOCKET_IFNAME
set -euo pipefail

if [[ $# -eq 0 || $1 == -h || $1 == --help ]]; then
  sed -n '2,15s/^# \{0,1\}//p' "$0"
  exit $(($# ? 0 : 2))
fi
own=
if [[ -z ${JOB_STATUS_FILE:-} ]]; then
  own=$(mktemp)
  export JOB_STATUS_FILE=$own
  rm -f "${JOB_RUN_FOLDER:-/nowhere}/hang/reason.txt" # of an earlier start
fi
fail() {
  if $stopping; then # the failed command got the signal too, maybe from srun because another node failed and wrote why
    [[ -s $JOB_STATUS_FILE ]] || printf '75\nbefore it could save\n' >"$JOB_STATUS_FILE"
    exit 75
  fi
  echo "error: $1" >&2
  printf '2\n%s\n' "$1" >"$JOB_STATUS_FILE"
  [[ -z $own ]] || rm -f "$own"
  exit 2
}
launcher='' stopping=false forced=false
# shellcheck disable=SC2329 # the trap calls it
request_stop() {
  if $stopping && [[ -n $own && -n $launcher ]]; then # a second Ctrl-C
    forced=true
    pkill -KILL -P "$launcher" || true
    { kill -KILL "$launcher" && wait "$launcher"; } 2>/dev/null || true # wait here: elsewhere bash would print "Killed"
  fi
  $stopping || [[ ${SLURM_LOCALID:-0} -gt 0 ]] || echo "stopping after a checkpoint" >&2 # once for each node
  stopping=true
  [[ -z ${JOB_RUN_FOLDER:-} || -e $JOB_RUN_FOLDER/stop ]] || { mkdir -p "$JOB_RUN_FOLDER" && echo "$1" >"$JOB_RUN_FOLDER/stop"; }
}
for signal in INT TERM USR1 HUP; do
  # shellcheck disable=SC2064 # expand the signal now
  trap "request_stop SIG$signal" "$signal"
done

if [[ -z ${JOB_HOSTS:-} ]]; then
  [[ -n ${SLURM_STEP_NODELIST:-} ]] || fail "no nodes: start it with srun or with launch/local.sh"
  JOB_HOSTS=$(scontrol show hostnames "$SLURM_STEP_NODELIST") || fail "cannot list $SLURM_STEP_NODELIST: set JOB_HOSTS"
fi
read -ra hosts <<<"${JOB_HOSTS//$'\n'/ }"
nodes=${#hosts[@]}
head=${hosts[0]}
tasks=1 node=0
if [[ -n ${SLURM_STEP_NODELIST:-} && $nodes -eq ${SLURM_STEP_NUM_NODES:-0} ]]; then
  tasks=$((SLURM_STEP_NUM_TASKS / nodes))
  node=$SLURM_NODEID
fi
if [[ $node -gt 0 && -n ${JOB_NODE_LOG:-} ]] && : >>"$JOB_NODE_LOG$node.out"; then
  exec >>"$JOB_NODE_LOG$node.out" 2>&1 # the job's own log contains the output of the first node, and why a start ended
fi
[[ ${JOB_RANKS:-1} =~ ^[1-9][0-9]*$ ]] || fail "JOB_RANKS=$JOB_RANKS is not a number of ranks"
gpus=${JOB_GPUS:-${SLURM_GPUS_ON_NODE:-0}}
ranks=${JOB_RANKS:-$((tasks > 1 ? tasks : gpus > 0 ? gpus : 1))}
port=${JOB_PORT:-$((20000 + ${SLURM_JOB_ID:-0} % 12000))}
[[ $tasks -eq 1 || $tasks -eq $ranks ]] ||
  fail "$tasks tasks and JOB_RANKS=$ranks on each node: start one task for each node, or one for each rank"

export JOB_EXPECTED_RANKS=$((nodes * ranks))
export JOB_START_SECONDS=${JOB_START_SECONDS:-$((300 + 5 * nodes))} # importing takes longer the more ranks read the same files
[[ $JOB_START_SECONDS =~ ^[1-9][0-9]*$ ]] || fail "JOB_START_SECONDS=$JOB_START_SECONDS is not a number of seconds"
cpus=${SLURM_CPUS_ON_NODE:-$(nproc)}
share=$((cpus / ranks - 1)) # one CPU of each rank is for the threads that decode images
OMP_NUM_THREADS=${OMP_NUM_THREADS:-$((share > 1 ? share : 1))}
[[ $OMP_NUM_THREADS =~ ^[1-9][0-9]*(,[1-9][0-9]*)*$ ]] || fail "OMP_NUM_THREADS=$OMP_NUM_THREADS is not a number of threads"
export OMP_NUM_THREADS=${OMP_NUM_THREADS%%,*} # the rest is for nested threads, and Accelerate cannot parse it
export TORCH_CPP_LOG_LEVEL=${TORCH_CPP_LOG_LEVEL:-ERROR} # each rank warns about hosts without a reverse entry
# Unset what another program's launcher left.
unset RANK WORLD_SIZE LOCAL_RANK LOCAL_WORLD_SIZE GROUP_RANK MASTER_ADDR MASTER_PORT "${!PET_@}" "${!TORCHELASTIC_@}"
if [[ $gpus -eq 0 ]]; then
  export ACCELERATE_USE_CPU=true
fi
if [[ $nodes -gt 1 ]]; then
  if [[ $node -eq 0 && ${SLURM_LOCALID:-0} -eq 0 ]]; then
    if ! python -c 'import socket, sys; socket.create_server(("", int(sys.argv[1])))' "$port" 2>/dev/null; then
      [[ -z ${JOB_PORT_FOUND:-} ]] || { echo "port $port on $head, free a moment ago, is taken" >&2; exit 1; } # start again
      fail "port $port is taken on $head: set JOB_PORT to a free one, or unset it"
    fi
  fi
  if [[ -z ${GLOO_SOCKET_IFNAME:-} ]]; then
    GLOO_SOCKET_IFNAME=$(python -m job.system.network_interface "${hosts[$((node == 0 ? 1 : 0))]}" 2>&1) ||
      fail "${GLOO_SOCKET_IFNAME#error: }"
  fi
  export GLOO_SOCKET_IFNAME NCCL_SOCKET_IFNAME=${NCCL_SOCKET_IFNAME:-$GLOO_SOCKET_IFNAME}
fi

if [[ $JOB_EXPECTED_RANKS -gt 1 ]]; then
  export WORLD_SIZE=$JOB_EXPECTED_RANKS LOCAL_WORLD_SIZE=$ranks GROUP_RANK=$node MASTER_ADDR=$head MASTER_PORT=$port
fi
if [[ $tasks -gt 1 ]]; then # srun has started every rank
  export RANK=$SLURM_PROCID LOCAL_RANK=$SLURM_LOCALID
  [[ ${CUDA_VISIBLE_DEVICES:-,} == *,* ]] || LOCAL_RANK=0 # with --gpus-per-task each rank sees only its own GPU
  launch=(python -m job)
else
  [[ $nodes -gt 1 ]] || export MASTER_ADDR=127.0.0.1 MASTER_PORT=0 # any free one
  launch=(python -u -m job.system.launch --preload job.commands.preload -m job)
fi

# In its own session, so that only this script receives Ctrl-C; USR1 would kill a rank that has no handler yet.
(trap '' USR1; exec setsid "${launch[@]}" "$@") &
launcher=$!

# Slurm's step daemon forwards the output and the exit code. If it dies, Slurm waits forever: save and stop.
parent() {
  local key value
  while read -r key value; do [[ $key != PPid: ]] || echo "$value"; done <"/proc/$$/status"
}
watcher=''
if [[ -n ${SLURM_STEP_ID:-} && -n ${JOB_RUN_FOLDER:-} ]]; then
  (
    first=$(parent)
    while [[ $(parent) == "$first" ]]; do sleep 2; done
    [[ -e $JOB_RUN_FOLDER/stop ]] || echo "Slurm's step daemon on ${hosts[$node]} has died" >"$JOB_RUN_FOLDER/stop"
  ) >/dev/null 2>&1 &
  watcher=$!
fi
while kill -0 "$launcher" 2>/dev/null; do wait "$launcher" 2>/dev/null || true; done
[[ -z $watcher ]] || { kill "$watcher" && wait "$watcher"; } 2>/dev/null || true

# The ranks write how they ended. If none could, either a request to stop came too early, or the run crashed.
reported='' message='' served=true
{ read -r reported && read -r message; } 2>/dev/null <"$JOB_STATUS_FILE" || true
if [[ -z $reported ]]; then
  reported=1 message="the launcher on ${hosts[$node]} was killed before it could say why" served=false
  if $stopping; then reported=75 message='before it could save'; fi
  if $forced; then reported=130; fi
  printf '%s\n%s\n' "$reported" "$message" >"$JOB_STATUS_FILE" || true
fi
if [[ -n $own ]]; then
  rm -f "$own"
  hang=${JOB_RUN_FOLDER:-/nowhere}/hang/reason.txt
  [[ $reported != 1 || ! -s $hang ]] || message=$(head -n 1 "$hang")
  if [[ $reported == 1 ]]; then
    [[ ! -d ${JOB_RUN_FOLDER:-} ]] || echo "$(date '+%F %T') crashed: ${message:-see the output}" >>"$JOB_RUN_FOLDER/restarts.log" || true
    echo "error: crashed: ${message:-see above}; the same command resumes from the last checkpoint" >&2
  fi
  [[ $reported != 130 ]] || echo "ended at once: the same command resumes from the last checkpoint" >&2
  [[ $reported != 2 || $JOB_EXPECTED_RANKS -eq 1 ]] || echo "error: $message" >&2
elif [[ $reported == 75 ]] && $served; then
  exit 0 # all ranks have saved; on an exit code other than 0 srun would kill the other tasks
fi
exit "$reported" # on an exit code other than 0 srun ends the other nodes, which may be waiting for this one
