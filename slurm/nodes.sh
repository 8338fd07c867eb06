# shellcheck shell=bash disable=SC2034,SC2154 # of the scripts that source it, under `set -e`
# Sourced by train.sbatch, after setup.sh and requeue.sh: check the nodes before the ranks start on them, leave out bad
# ones if there are spare nodes, or else exclude them and queue the job again.

declare -A fault # node -> what is wrong with it, "check: result"
exclude=''       # nodes that requeue.sh excludes when the job is queued again

# Run the pre-flight on some nodes at once. Its lines are in the file $1.
check_nodes() {
  local lines=$1 step
  shift
  timeout --kill-after=10 $((seconds + 30)) env --unset=SLURM_GPUS srun --nodes=$# --ntasks=$# --ntasks-per-node=1 \
    --nodelist="$(IFS=, && echo "$*")" "${JOB_SRUN_OPTIONS[@]}" slurm/preflight.sh "$seconds" "${JOB_CONTAINER[@]}" \
    python -m job doctor --preflight --config "$config" "${words[@]}" >"$lines" 2>"$lines.errors" &
  step=$!
  while kill -0 "$step" 2>/dev/null; do wait "$step" || true; done # a trap runs only while bash waits
}

# After a crash: the nodes that the job has lost, which it survives with --no-kill. A step that names one would wait.
find_lost_nodes() {
  local left node
  left=$(scontrol --oneliner show job "$id" | grep -o ' NodeList=[^ ]*') || return 0
  left=$(scontrol show hostnames "${left#*=}" | paste -sd ' ') && [[ -n $left ]] || return 0
  for node in $all_hosts; do [[ " $left " == *" $node "* ]] || fault[$node]="lost: Slurm has taken it out of the job"; done
}

# Sets fault. A node without an answer is asked once more, alone: srun fails on all nodes if one cannot be reached.
preflight() {
  fault=()
  ((${in_place:-0} == 0)) || find_lost_nodes
  [[ ${JOB_PREFLIGHT:-true} == true ]] || return 0
  local seconds=${JOB_PREFLIGHT_SECONDS:-120} folder=slurm/logs/$id.$restarts.preflight node began ended rest
  local -a hosts=() silent=() checks=()
  for node in $all_hosts; do [[ -n ${fault[$node]:-} ]] || hosts+=("$node"); done
  ((${#hosts[@]} > 0)) || return 0
  mkdir -p "$folder"
  printf -v began '%(%s)T'
  check_nodes "$folder/all" "${hosts[@]}"
  for node in "${hosts[@]}"; do grep -q "^preflight"$'\t'"$node"$'\t' "$folder/all" || silent+=("$node"); done
  for node in "${silent[@]}"; do
    check_nodes "$folder/$node" "$node" &
    checks+=($!)
  done
  for check in "${checks[@]}"; do
    while kill -0 "$check" 2>/dev/null; do wait "$check" || true; done
  done
  printf -v ended '%(%s)T'
  local ahead=0
  while IFS=$'\t' read -r _ node check rest; do
    if [[ $check == ok ]]; then
      if ((rest < began - 60 || rest > ended + 60)); then
        fault[$node]="clock: $((rest - ended)) s from the first node" ahead=$((ahead + 1))
      fi
    else
      fault[$node]=${fault[$node]:-$check: $rest}
    fi
  done < <(cat "$folder"/* | grep ^preflight)
  if ((ahead > 1 && ahead == ${#hosts[@]} - 1)); then # the first node differs from all others
    for node in "${hosts[@]}"; do unset "fault[$node]"; done
    fault[${hosts[0]}]="clock: differs from that of all other nodes"
  fi
  for node in "${silent[@]}"; do
    grep -q "^preflight"$'\t'"$node"$'\t' "$folder/$node" ||
      fault[$node]="no answer: $(grep -v '^ *$' "$folder/$node.errors" | tail -n 1 | head -c 200)"
  done
  rm -rf "$folder"
}

# All faults in a line, nodes with the same together: "node1 and 2 more: shards: ...; node4: ...".
faults() {
  local node
  for node in $all_hosts; do [[ -z ${fault[$node]:-} ]] || printf '%s\t%s\n' "$node" "${fault[$node]}"; done |
    awk -F '\t' '!($2 in first) { first[$2] = $1; order[++n] = $2 } { count[$2]++ }
      END { for (i = 1; i <= n; i++) {
        more = count[order[i]] > 1 ? " and " count[order[i]] - 1 " more" : ""
        printf "%s%s%s: %s", (i > 1 ? "; " : ""), first[order[i]], more, order[i]
      } }'
}

# Whether the fault is one of the request, not of the nodes: all nodes have it. Of a single node only the kind can tell,
# or that the node before it had the same.
shared_fault() {
  local node kind='' known
  ((${#fault[@]} == $(wc -w <<<"$all_hosts"))) || return 1
  for node in "${!fault[@]}"; do
    [[ -z $kind || ${fault[$node]%%: *} == "$kind" ]] || return 1
    kind=${fault[$node]%%: *}
  done
  ((${#fault[@]} == 1)) || return 0
  [[ ! $kind =~ ^(run folder|shards|software)$ ]] || return 0
  known=$(tail -n 1 "slurm/logs/$id.excluded" 2>/dev/null) || true
  [[ ${known#*$'\t'} == "$kind: "* && ${known%%$'\t'*} != "$node" ]]
}

# Before each start of the ranks.
choose_nodes() {
  preflight
  if ((${#fault[@]} > 0)) && shared_fault; then
    echo "error: the pre-flight fails on every node: $(faults)" >&2
    exit 2
  fi
  take_good_nodes
}

# After the check of the request has failed on the first node: whether that node is at fault and another takes its place.
another_head() {
  ((SLURM_NNODES > 1)) || return 1
  preflight
  [[ -n ${fault[$head]:-} ]] && ! shared_fault || return 1
  take_good_nodes
}

# Sets JOB_HOSTS, head and good_hosts. Ends the script if too few nodes are good.
take_good_nodes() {
  local node good=()
  for node in $all_hosts; do [[ -n ${fault[$node]:-} ]] || good+=("$node"); done
  ((${#good[@]} >= nodes)) || exclude_and_queue_again
  ((${#fault[@]} == 0)) || echo "== left out: $(faults)"
  good_hosts=${good[*]} JOB_HOSTS=${good[*]:0:nodes}
  if [[ $head != "${good[0]}" ]]; then
    head=${good[0]}
    while [[ -n ${JOB_PORT_FOUND:-} ]] && port_is_used; do JOB_PORT=$((JOB_PORT + 1)); done
  fi
}

exclude_and_queue_again() {
  local listed=slurm/logs/$id.excluded most=${JOB_MAX_EXCLUDED:-8} node known others refused=''
  for node in "${!fault[@]}"; do
    ! grep -qs "^$node"$'\t' "$listed" || refused="Slurm has allocated $node again, which this job excluded"
    printf '%s\t%s\n' "$node" "${fault[$node]}" >>"$listed"
  done
  known=$(cut -f 1 "$listed" | sort -u)
  (($(wc -l <<<"$known") <= most)) || refused="that is more than $most nodes that this job has excluded (JOB_MAX_EXCLUDED)"
  others=$(sinfo --noheader --Node --partition="$SLURM_JOB_PARTITION" --format=%N 2>/dev/null | sort -u) || true
  if [[ -n $others ]] && (($(grep -vxFc "$known" <<<"$others") < SLURM_NNODES)); then
    refused="without it the partition $SLURM_JOB_PARTITION has too few nodes"
  fi
  remove_stage
  if [[ -n $refused ]]; then
    echo "error: the pre-flight fails on $(faults); $refused" >&2
    exit 1
  fi
  exclude=$(paste -sd , <<<"$known")
  queue_again "excluded after the pre-flight: $(faults)"
}

# After `scontrol requeue`: a job can be given excluded nodes only while it waits. Slurm ends this script meanwhile.
exclude_nodes() {
  local given answer attempt
  given=$(scontrol --oneliner show job "$id" | grep -o ' ExcNodeList=[^ ]*') || true
  given=${given#*=}
  [[ -z $given || $given == "(null)" ]] || exclude=$given,$exclude
  for attempt in 1 2 3 4 5; do
    answer=$(trap '' TERM && scontrol update "JobId=$id" "ExcNodeList=$exclude" 2>&1) && return 0
    sleep "$attempt"
  done
  echo "== cannot exclude $exclude: ${answer##*$'\n'}" >&2
}
