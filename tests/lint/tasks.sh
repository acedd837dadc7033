#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Every task script, together with its library as it is run, must pass shellcheck and be read by
# both shells. Usage: tasks.sh FOLDER
set -eu
folder=$1
whole=$(mktemp)
trap 'rm -f "$whole"' EXIT
failed=0
for script in "$folder"/*.sh; do
  case $script in */lib.sh) continue ;; esac
  cat "$folder/lib.sh" "$script" >"$whole"
  if ! { shellcheck -s sh "$whole" && dash -n "$whole" && busybox sh -n "$whole"; }; then
    echo "in $script (with lib.sh before it)"
    failed=1
  fi
done
exit "$failed"
