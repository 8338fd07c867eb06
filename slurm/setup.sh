# shellcheck shell=bash disable=SC2034,SC2164 # for the scripts that source it, under `set -e`
# Sourced by the scripts beside it, on the first node of a job: the site file, the names of things, and how to start
# something on the nodes.

cd "${SLURM_SUBMIT_DIR:?submit this script with sbatch}"
if [[ ! -x launch/node.sh ]]; then
  echo "error: $PWD is not the repository: run sbatch in the folder that holds launch/ and slurm/" >&2
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
head=${JOB_HOSTS%% *}
[[ -n $head ]] || { echo "error: Slurm does not say which nodes this job has" >&2; exit 2; }
export JOB_HOSTS SLURM_EXPORT_ENV=ALL # to the steps, also after `sbatch --export=NONE`
[[ -z ${SLURM_CPUS_PER_TASK:-} ]] || export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK # srun does not inherit it
[[ ${SLURM_NTASKS_PER_NODE:-1} -eq 1 ]] || JOB_RANKS=$SLURM_NTASKS_PER_NODE # one task for each rank
[[ -z ${JOB_RANKS:-} ]] || export JOB_RANKS

# The port follows from the job's number, past those that somebody listens on; below those of outgoing connections.
if [[ -z ${JOB_PORT:-} ]]; then
  JOB_PORT=$((20000 + SLURM_JOB_ID % 12000))
  while (: <"/dev/tcp/$head/$JOB_PORT") 2>/dev/null; do JOB_PORT=$((JOB_PORT + 1)); done
  export JOB_PORT JOB_PORT_FOUND=true
fi

on_head() {
  # SLURM_GPUS, of `sbatch --gpus`, counts those of all nodes
  env --unset=SLURM_GPUS srun --nodes=1 --ntasks=1 --nodelist="$head" "${JOB_SRUN_OPTIONS[@]}" "${JOB_CONTAINER[@]}" "$@"
}

on_every_node() {
  exec srun --nodes="$SLURM_NNODES" --ntasks-per-node="${SLURM_NTASKS_PER_NODE:-1}" --kill-on-bad-exit=1 --wait=300 \
    "${JOB_SRUN_OPTIONS[@]}" "${JOB_CONTAINER[@]}" "$@"
}
