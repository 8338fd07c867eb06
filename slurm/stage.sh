#!/usr/bin/env bash
# Copy the virtual environment and the code to a disk of each node, as two files: every rank opens thousands of small
# files when it starts, and with many nodes a shared file system is slow at that. train.sbatch does so if JOB_STAGE names
# a folder on such a disk (docs/slurm.md). By hand, in the repository:
#
#   slurm/stage.sh pack FOLDER        on one node: FOLDER/venv.tar and code.tar, on the shared file system
#   slurm/stage.sh unpack FOLDER TO   on every node: TO/venv and TO/code
#   slurm/stage.sh remove TO          on every node
#   source slurm/stage.sh use TO      sets PATH, PYTHONPATH and so on
#
# JOB_STAGE_VENV is the virtual environment; default: the active one, or .venv. Its file is made again only after
# packages were installed. JOB_STAGE_FORMAT=squashfs makes compressed files, venv.squashfs and code.squashfs, which takes
# squashfs-tools on every node. With Python 3.10 the code is read from the repository nevertheless.
set -euo pipefail

if [[ $# -eq 0 || $1 == -h || $1 == --help ]]; then
  sed -n '2,14s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
  exit $(($# ? 0 : 2))
fi
stage_fail() {
  echo "error: $1" >&2
  exit 2
}
stage_format=${JOB_STAGE_FORMAT:-tar}
case $stage_format in
  tar) ;;
  squashfs)
    for stage_tool in mksquashfs unsquashfs; do
      command -v $stage_tool >/dev/null ||
        stage_fail "no $stage_tool on $HOSTNAME: install squashfs-tools, or unset JOB_STAGE_FORMAT for a tar file"
    done
    ;;
  *) stage_fail "JOB_STAGE_FORMAT=$stage_format: tar or squashfs" ;;
esac
# Pack files into one: stage_pack ARCHIVE FOLDER NAME...
stage_pack() {
  if [[ $stage_format == tar ]]; then
    tar -cf "$1" -C "${@:2}"
  else
    (cd "$2" && mksquashfs "${@:3}" "$1" -comp zstd -noappend -no-xattrs -no-progress >/dev/null)
  fi
}
stage_unpack() { # ARCHIVE FOLDER
  if [[ $stage_format == tar ]]; then tar -xf "$1" -C "$2"; else unsquashfs -no-progress -f -d "$2" "$1" >/dev/null; fi
}
case $1:$# in
  pack:2)
    [[ -f job/__main__.py ]] || stage_fail "$PWD is not the repository"
    venv=$(realpath -m "${JOB_STAGE_VENV:-${VIRTUAL_ENV:-.venv}}")
    [[ -f $venv/pyvenv.cfg ]] || stage_fail "no virtual environment at $venv: set JOB_STAGE_VENV"
    mkdir -p "$2"
    packed=$(realpath "$2")
    archive=$packed/venv.$stage_format
    if [[ ! -f $archive || -n $(find "$venv" -maxdepth 5 \( -name site-packages -o -name pyvenv.cfg \) -newer "$archive") ]]; then
      part=$archive.$HOSTNAME.$$
      stage_pack "$part" "$venv" .
      mv "$part" "$archive" # at once: another job may be reading the old one
    fi
    part=$packed/code.$stage_format.$HOSTNAME.$$
    stage_pack "$part" . job launch
    mv "$part" "$packed/code.$stage_format"
    ;;
  unpack:3)
    for name in venv code; do
      mkdir -p "$3/$name" || stage_fail "cannot make $3/$name on $HOSTNAME: set JOB_STAGE to a folder on a disk of each node"
      stage_unpack "$2/$name.$stage_format" "$3/$name" ||
        stage_fail "cannot unpack $2/$name.$stage_format to $3 on $HOSTNAME: is there room?"
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
