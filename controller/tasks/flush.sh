# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh disable=SC2154
# flush: empties Twenty's cache and registers its cron jobs (which the flush of some releases removes).
begin
flush_cache || verdict "$verdict_failed" "cache:flush failed twice, exit code $?"
register_crons || verdict "$verdict_failed" "cron:register:all failed twice, exit code $?"
result '{}'
