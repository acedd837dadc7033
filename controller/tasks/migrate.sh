# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh disable=SC2154
# migrate: one hop, under the lock. The exit code of `upgrade` proves nothing in either direction;
# what is written here is for the gates, which look at the database again.
# In: STACKSPEC_LOCK, STACKSPEC_CURSOR and STACKSPEC_CURSOR_SQL, STACKSPEC_FAILURE_REGEX, the server's
# environment.
begin
lock_take

# Statements of a killed attempt may still be running after its client is gone.
others_in_transaction() {
  sql -c "select count(*) from pg_stat_activity where datname = current_database() and usename = current_user
    and pid <> pg_backend_pid() and xact_start is not null and backend_type = 'client backend'"
}
tries=60
while [ "$(others_in_transaction)" != 0 ]; do
  tries=$((tries - 1))
  [ "$tries" -gt 0 ] || give_up 'another session of this database is inside a transaction'
  sleep 1
done

cursor=$(sql -c "$STACKSPEC_CURSOR_SQL")
if [ "$cursor" != "$STACKSPEC_CURSOR" ]; then
  verdict "$verdict_stale" "the migration record is not what the plan saw: $cursor instead of $STACKSPEC_CURSOR"
fi

export NO_COLOR=1 FORCE_COLOR=0
export PG_DATABASE_PRIMARY_TIMEOUT_MS=600000 DATABASE_STATEMENT_TIMEOUT_MS=600000

flush_under_lock() {
  progress 'flushing the cache'
  run_under_lock "$work/flush.log" yarn command:prod cache:flush ||
    run_under_lock "$work/flush.log" yarn command:prod cache:flush
}

# Nobody signed up yet: `upgrade` of 1.x then skips the core migrations and says so with exit code 0.
is_unused_1x() {
  [ "$(sql -c "select to_regclass('core.\"upgradeMigration\"') is null and to_regclass('core.workspace') is not null")" = t ] &&
    [ "$(sql -c "select count(*) from core.workspace where \"activationStatus\"::text in ('ACTIVE', 'SUSPENDED')")" = 0 ]
}

failure_in() {
  escape=$(printf '\033')
  tr -d '\000' <"$1" | sed "s/$escape\[[0-9;]*m//g" | grep -E -m 1 -e "$STACKSPEC_FAILURE_REGEX" || :
}

exit_code=0 failure=''
flush_under_lock || failure="cache:flush ended with exit code $?"
if [ -z "$failure" ]; then
  progress "upgrading to $STACKSPEC_TO"
  run_under_lock "$work/upgrade.log" yarn command:prod upgrade || exit_code=$?
  [ -z "${STACKSPEC_FAILURE_REGEX:-}" ] || failure=$(failure_in "$work/upgrade.log")
  if [ "$exit_code" != 0 ] && [ -z "$failure" ]; then failure="upgrade ended with exit code $exit_code"; fi
fi
if [ -z "$failure" ] && is_unused_1x && has_yarn_script database:migrate:prod; then
  progress 'no workspace yet: running the core migrations alone'
  run_under_lock "$work/core.log" yarn database:migrate:prod || failure="database:migrate:prod ended with exit code $?"
fi
if [ -z "$failure" ]; then
  flush_under_lock || failure="cache:flush ended with exit code $?"
fi
require_lock

workspaces=0
if is_initialised; then workspaces=$(sql -c 'select count(*) from core.workspace'); fi
result "{\"exitCode\":$exit_code,\"imageMigrations\":$(count_image_migrations),\"migrations\":$(count_migrations),\
\"failure\":$(json_text "$failure"),\"workspaces\":$workspaces}"
if [ -n "$failure" ]; then
  complain "$failure"
  exit "$verdict_failed"
fi
