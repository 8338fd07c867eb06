#!/usr/bin/env bash
# Copy the virtual environment and the code to a disk of each node, as two tar files: every rank opens thousands of small
# files when it starts, and with many nodes a shared file system is slow at that. train.sbatch does so if JOB_STAGE names
# a folder on such a disk (docs/slurm.md). By hand, in the repository:
#
#   slurm/stage.sh pack FOLDER        on one node: FOLDER/venv.tar and code.tar, on the shared file system
#   slurm/stage.sh unpack FOLDER TO   on every node: TO/venv and TO/code
#   slurm/stage.sh remove TO          on every node
#   source slurm/stage.sh use TO      sets PATH, PYTHONPATH and so on
#
# JOB_STAGE_VENV is the virtual environment; default: the active one, or .venv. Its tar file is made again only after
# packages were installed. With Python 3.10 the code is read from the repository nevertheless.
set -euo pipefail

if [[ $# -eq 0 || $1 == -h || $1 == --help ]]; then
  sed -n '2,13s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
  exit $(($# ? 0 : 2))
fi
stage_fail() {
  echo "error: $1" >&2
  exit 2
}
case $1:$# in
  pack:2)
    [[ -f job/__main__.py ]] || stage_fail "$PWD is not the repository"
    venv=$(realpath -m "${JOB_STAGE_VENV:-${VIRTUAL_ENV:-.venv}}")
    [[ -f $venv/pyvenv.cfg ]] || stage_fail "no virtual environment at $venv: set JOB_STAGE_VENV"
    mkdir -p "$2"
    if [[ ! -f $2/venv.tar || -n $(find "$venv" -maxdepth 5 \( -name site-packages -o -name pyvenv.cfg \) -newer "$2/venv.tar") ]]; then
      part=$2/venv.tar.$HOSTNAME.$$
      tar -cf "$part" -C "$venv" .
      mv "$part" "$2/venv.tar" # at once: another job may be reading the old one
    fi
    part=$2/code.tar.$HOSTNAME.$$
    tar -cf "$part" job launch
    mv "$part" "$2/code.tar"
    ;;
  unpack:3)
    for name in venv code; do
      mkdir -p "$3/$name" || stage_fail "cannot make $3/$name on $HOSTNAME: set JOB_STAGE to a folder on a disk of each node"
      tar -xf "$2/$name.tar" -C "$3/$name" || stage_fail "cannot unpack $2/$name.tar to $3 on $HOSTNAME: is there room?"
    done
    ;;
  remove:2)
    [[ ! -d $2/venv || ! -d $2/code ]] || rm -rf "$2"
    ;;
  use:2)
    export JOB_REPOSITORY=$PWD VIRTUAL_ENV=$2/venv
    export PATH=$VIRTUAL_ENV/bin:$PATH PYTHONPATH=$2/code${PYTHONPATH:+:$PYTHONPATH} PYTHONSAFEPATH=1
    ;;
  *) stage_fail "slurm/stage.sh $*: see slurm/stage.sh --help" ;;
esac
