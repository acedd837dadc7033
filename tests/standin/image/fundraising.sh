#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
set -e
[ $# -gt 0 ] || set -- /usr/bin/python3 -IB "$(dirname "$0")/fundraising.py"
exec "$@"
