#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Every shell script (.sh, or #!…sh in its first line) passes shellcheck.
cd "$(dirname "$0")/../.." || exit 1
scripts=$(find dev .ci cmake controller manifests tests docs -type f ! -name '*.[ch]pp' ! -path '*/corpus/*' -exec \
  awk 'FNR == 1 && (/^#!.*\/(env )?(ba|da)?sh/ || FILENAME ~ /\.sh$/) {print FILENAME} FNR > 1 {nextfile}' {} +)
if [ -z "$scripts" ]; then
  echo "no script found; this check looks in the wrong place"
  exit 1
fi
# shellcheck disable=SC2086  # one word per file; our names hold no blanks
exec shellcheck $scripts
