#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Every C++ source is as clang-format 14 writes it; `./dev format` does that.
cd "$(dirname "$0")/../.." || exit 1
find controller tests -name '*.[ch]pp' -print0 | xargs -0 -n 8 -P 2 clang-format-14 --dry-run -Werror
