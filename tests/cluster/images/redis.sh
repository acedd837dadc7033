#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Arguments that begin with - are redis-server's. Like the official image: no protected mode, as
# other pods are no loopback.
set -eu
case ${1:-} in -*) set -- redis-server "$@" ;; esac
if [ "${1:-}" = redis-server ]; then set -- "$@" --protected-mode no; fi
exec "$@"
