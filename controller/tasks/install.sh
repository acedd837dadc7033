# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh disable=SC2154
# install: makes Twenty's schema in an empty database with the image's own entrypoint. The only task
# besides migrate in which anything migrates; on a database that has the schema it does nothing.
# In: STACKSPEC_ENTRYPOINT, STACKSPEC_LOCK, the server's environment.
begin
lock_take

answer() {
  result "{\"imageMigrations\":$(count_image_migrations),\"migrations\":$(count_migrations)}"
}

# A database of others is one stack's for ever, so that no other stack takes it by a wrong URL.
claim() {
  sql <<'SQL'
\set owner `printf %s "$STACKSPEC_OWNER"`
set client_min_messages = warning;
create schema if not exists stackspec_meta;
create table if not exists stackspec_meta.owner (stack text not null, since timestamptz not null default now());
insert into stackspec_meta.owner (stack) select :'owner' where not exists (select from stackspec_meta.owner);
select stack from stackspec_meta.owner limit 1;
SQL
}

if [ -n "${STACKSPEC_OWNER:-}" ]; then
  owner=$(claim) || give_up 'the database could not be taken'
  [ "$owner" = "$STACKSPEC_OWNER" ] ||
    verdict "$verdict_unsupported" "this database is that of the stack $owner; use another one"
fi

if is_initialised; then
  answer
  exit 0
fi

# The entrypoint asks whether the schema exists, not whether it holds anything: after an
# interrupted first start it would skip the creation of the tables for ever.
if [ "$(sql -c "select count(*) from pg_namespace where nspname = 'core'")" = 1 ]; then
  progress 'creating tables in the empty schema'
  init=database:init:prod
  has_yarn_script "$init" || init=database:migrate:prod
  run_under_lock "$work/init.log" yarn "$init" || verdict "$verdict_failed" "yarn $init ended with exit code $?"
fi

progress 'first start: creating the schema'
unset DISABLE_DB_MIGRATIONS DISABLE_CRON_JOBS_REGISTRATION
run_under_lock "$work/install.log" "$STACKSPEC_ENTRYPOINT" yarn command:prod cache:flush ||
  verdict "$verdict_failed" "the entrypoint ended with exit code $?"
is_initialised || verdict "$verdict_failed" 'the entrypoint ended well, but there is no table core.workspace'
answer
