# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh disable=SC2154
# flags: sets STACKSPEC_FLAGS (JSON: key -> true or false) in every workspace that is in use.
begin
export STACKSPEC_FLAGS
is_initialised || verdict "$verdict_failed" 'there is no table core.workspace'
# The values reach SQL as a quoted psql variable, never as text of a statement.
changed=$(
  sql <<'SQL'
\set flags `printf %s "$STACKSPEC_FLAGS"`
with changed as (
  insert into core."featureFlag" (key, "workspaceId", value)
  select f.key, w.id, f.value::boolean
  from json_each_text(:'flags'::json) f cross join core.workspace w
  where w."activationStatus"::text in ('ACTIVE', 'SUSPENDED', 'CREATED')
  on conflict (key, "workspaceId") do update set value = excluded.value, "updatedAt" = now()
    where core."featureFlag".value is distinct from excluded.value
  returning 1)
select count(*) from changed;
SQL
)
# Also when nothing changed: an earlier attempt may have been killed before this.
flush_cache || verdict "$verdict_failed" "cache:flush failed twice, exit code $?"
register_crons || verdict "$verdict_failed" "cron:register:all failed twice, exit code $?"
result "{\"changed\":$changed}"
