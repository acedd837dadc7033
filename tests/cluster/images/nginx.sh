#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Runs the arguments; the configuration is mounted.
set -eu
# Debian's build opens its compiled-in error log before it reads the configuration.
case ${1:-} in nginx) shift && set -- nginx -e stderr "$@" ;; esac
exec "$@"
