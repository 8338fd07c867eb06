# shellcheck shell=bash disable=SC2034,SC2154,SC2164 # for the scripts that source it, under `set -e`
# Sourced by the scripts beside it, on the first node of a job: reads the site file, names files and nodes, and starts
# processes on the nodes.

# Slurm makes no folders, so the log begins where the job was submitted; the link collects the lines of later starts.
log=$SLURM_JOB_NAME-$SLURM_JOB_ID.out
if [[ $PWD -ef $repository && ! -L $log && $log -ef /dev/stdout && ! -e slurm/logs/$log ]]; then
  mkdir -p slurm/logs
  mv "$log" "slurm/logs/$log" && ln -s "slurm/logs/$log" "$log" || true
fi
cd "$repository"
trap 'case $? in 0 | 1 | 2) [[ ! -L $log ]] || rm -f "$log" && rm -f "slurm/logs/${id:-}".{excluded,crashes} ;; esac' EXIT # else it is queued again
if [[ -n ${SLURM_HET_SIZE:-} ]]; then
  echo "error: this is a heterogeneous job of $SLURM_HET_SIZE components, and only the first would train: request nodes" \
    "of one kind, without \`:\` and hetjob (sbatch --nodes=N --gpus-per-node=G ...)" >&2
  exit 2
fi
JOB_CONTAINER=() JOB_SRUN_OPTIONS=()
site=${JOB_SITE:-slurm/site.env}
if [[ -f $site ]]; then
  set +u # module files read variables that are not set
  # shellcheck source=/dev/null
  source "$site"
  set -u
fi

# An array's last task has the array's own number as its job id, so `scontrol requeue JOBID` would mean all of them.
id=$SLURM_JOB_ID
[[ -z ${SLURM_ARRAY_TASK_ID:-} ]] || id=${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID
JOB_HOSTS=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | paste -sd ' ')
head=${JOB_HOSTS%% *} all_hosts=$JOB_HOSTS good_hosts=$JOB_HOSTS nodes=$SLURM_NNODES
[[ -n $head ]] || { echo "error: Slurm does not say which nodes this job has" >&2; exit 2; }
export JOB_HOSTS SLURM_EXPORT_ENV=ALL # to the steps, also after `sbatch --export=NONE`
unset SLURM_NO_KILL # with --no-kill the allocation outlives the loss of a node; ranks on other nodes must not wait for it
# All CPUs that the job has on the node with the fewest, such as "8(x2),4": with --exclusive more than were requested.
fewest=${SLURM_CPUS_PER_TASK:-0} # srun does not inherit it
if [[ -z ${SLURM_HINT:-}${SLURM_THREADS_PER_CORE:-} ]]; then # with these srun counts cores
  fewest=$(tr ',' '\n' <<<"$SLURM_JOB_CPUS_PER_NODE" | sed 's/(.*//' | sort -n | head -n 1)
  fewest=$((fewest / ${SLURM_NTASKS_PER_NODE:-1}))
fi
((fewest < ${SLURM_CPUS_PER_TASK:-1})) && fewest=${SLURM_CPUS_PER_TASK:-1}
export SRUN_CPUS_PER_TASK=$fewest
[[ ${SLURM_NTASKS_PER_NODE:-1} -eq 1 ]] || JOB_RANKS=$SLURM_NTASKS_PER_NODE # one task for each rank
[[ -z ${JOB_RANKS:-} ]] || export JOB_RANKS

# The port is derived from the job id; it skips ports in use and is below those of outgoing connections.
port_is_used() { (: <"/dev/tcp/$head/$JOB_PORT") 2>/dev/null; }
if [[ -z ${JOB_PORT:-} ]]; then
  JOB_PORT=$((20000 + SLURM_JOB_ID % 12000))
  while port_is_used; do JOB_PORT=$((JOB_PORT + 1)); done
  export JOB_PORT JOB_PORT_FOUND=true
fi

# Processes of the ranks before may still hold their port: choose another one, or wait for the one that was requested.
another_port() {
  if [[ -n ${JOB_PORT_FOUND:-} ]]; then
    JOB_PORT=$((JOB_PORT + 1))
    while port_is_used; do JOB_PORT=$((JOB_PORT + 1)); done
  else
    for ((second = 0; second < 60; second++)); do port_is_used || break; sleep 1; done
  fi
}

on_head() {
  # SLURM_GPUS, of `sbatch --gpus`, counts those of all nodes
  env --unset=SLURM_GPUS srun --nodes=1 --ntasks=1 --nodelist="$head" "${JOB_SRUN_OPTIONS[@]}" "${JOB_CONTAINER[@]}" "$@"
}

# Once on every node, spare ones included.
once_on_every_node() {
  local count
  count=$(wc -w <<<"$good_hosts")
  env --unset=SLURM_GPUS srun --nodes="$count" --ntasks="$count" --ntasks-per-node=1 --nodelist="${good_hosts// /,}" \
    "${JOB_SRUN_OPTIONS[@]}" "$@"
}

# Start a command on every node and wait for it. If a node's step daemon has died, srun would wait forever, so it is
# ended JOB_END_WAIT seconds after the ranks have reported how they ended.
on_every_node() {
  local tasks=${SLURM_NTASKS_PER_NODE:-1}
  srun --nodes="$nodes" --ntasks=$((nodes * tasks)) --ntasks-per-node="$tasks" --nodelist="${JOB_HOSTS// /,}" \
    --kill-on-bad-exit=1 --wait=300 "${JOB_SRUN_OPTIONS[@]}" "${JOB_CONTAINER[@]}" "$@" &
  local step=$! watcher
  (
    trap '' USR1
    until [[ -s $JOB_STATUS_FILE ]]; do sleep 2; done
    sleep "${JOB_END_WAIT:-120}"
    echo "== the ranks have ended, but Slurm does not say so (has a step daemon died?): ending what is left" >&2
    kill -TERM "$step" # srun ends its step, and waits for that too
    sleep 5
    kill -KILL "$step"
  ) &
  watcher=$!
  while kill -0 "$step" 2>/dev/null; do wait "$step" 2>/dev/null || true; done # a trap runs only while bash waits
  { kill "$watcher" && wait "$watcher"; } 2>/dev/null || true
}
