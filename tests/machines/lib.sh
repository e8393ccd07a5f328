# Common to the scripts of this folder, which source it.
# shellcheck shell=bash

set -euo pipefail

# The folder of these scripts. `cd` may print where it went if CDPATH is set, hence the redirection.
# shellcheck disable=SC2034 # used by those who source this file
machines=$(cd "$(dirname "${BASH_SOURCE[0]}")" > /dev/null && pwd)

# Standard output is for results that another script reads, so everything said to a person goes to standard error.
note() { printf '%s\n' "$*" >&2; }

die() {
  printf '%s: %s\n' "${0##*/}" "$*" >&2
  exit 1
}

# Prints the comment that opens the calling script, as its help.
usage() { awk 'NR > 1 { if (!sub(/^# ?/, "")) exit; print }' "$0"; }

# need_option_value OPTION COUNT-OF-ARGUMENTS-LEFT
need_option_value() { (($2 >= 2)) || die "$1 needs a value (see --help)"; }

# The Debian suite that Linux, OP-TEE and what belongs to it come from.
# shellcheck disable=SC2034 # used by those who source this file
suite=${OPTEE_MEDIATOR_SUITE:-trixie}

# make_disk FOLDER IMAGE: a file system with a copy of the folder, and room: half as much again and 64 MiB, for the file
# system's own needs and for what is written in the machine.
make_disk() {
  local size
  size=$(($(du -sm "$1" | cut -f 1) * 3 / 2 + 64))
  rm -f -- "$2"
  /sbin/mke2fs -q -t ext4 -O '^has_journal' -E root_owner=0:0 -d "$1" "$2" "${size}M" > /dev/null
}
