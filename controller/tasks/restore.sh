# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh disable=SC2154
# restore: puts a proven backup in the place of what is there; nothing of the user's is dropped or
# overwritten. The schemas are set aside by a rename, the files by a move.
# In: STACKSPEC_BACKUPS, STACKSPEC_BACKUP_ID, STACKSPEC_RESTORE_ID (one restore: the same again goes on
# or is a no-op), STACKSPEC_LOCK, STACKSPEC_CURSOR_SQL, STACKSPEC_FILES.
#
# stackspec_meta.restore tells how far a restore is, so that a killed one is recognised:
#   started   what is called core, metadata, workspace_* is our own unfinished copy
#   loaded    the copy is complete and was compared; the files are next
#   done
begin
backup=$STACKSPEC_BACKUPS/$STACKSPEC_BACKUP_ID
# Which schemas a restore moves aside, and which are its own copy then. In a shared database the
# names alone tell nothing: Twenty's records do, and after they are set aside the backup's list.
ours="(nspname in ('core', 'metadata') or nspname ~ '^workspace_')"
copied=$ours
find_shared_schemas() {
  names=$(sed -n "s/^schema$tab//p" "$backup/inventory.tsv" | tr '\n' ',')
  copied="nspname::text in (${names%,})"
  ours="(nspname::text in ($(schemas_sql)) or $copied)"
}

state_is() { sql -v id="$STACKSPEC_RESTORE_ID" -v state="$1" <<'SQL' | grep -qx t
select state = :'state' from stackspec_meta.restore where id = :'id';
SQL
}

set_state() { sql -v id="$STACKSPEC_RESTORE_ID" -v state="$1" <<'SQL'
update stackspec_meta.restore set state = :'state', at = now() where id = :'id';
SQL
}

# ---- database ----

prepare_record() {
  sql <<'SQL'
set client_min_messages = warning;
create schema if not exists stackspec_meta;
create table if not exists stackspec_meta.restore (
  id text primary key, state text not null, backup text not null, at timestamptz not null default now());
create table if not exists stackspec_meta.set_aside (id text, name text, aside text not null, primary key (id, name));
SQL
}

# In one transaction: either everything is set aside and the record says so, or nothing happened.
# A name that PostgreSQL would cut gets a digest instead of its end.
set_aside() {
  sql -v id="$STACKSPEC_RESTORE_ID" -v backup="$STACKSPEC_BACKUP_ID" <<SQL
begin;
set local lock_timeout = '30s';
insert into stackspec_meta.restore (id, state, backup) values (:'id', 'started', :'backup');
insert into stackspec_meta.set_aside (id, name, aside)
select :'id', nspname, case when length(long) <= 63 then long else left(long, 54) || '_' || left(md5(nspname), 8) end
from pg_namespace, lateral (select 'stackspec_old_' || :'id' || '_' || nspname as long) l where $ours;
select format('alter schema %I rename to %I', name, aside) from stackspec_meta.set_aside where id = :'id' \\gexec
commit;
SQL
}

# Only ever in the state `started`: then these schemas are made by this restore. A transaction for
# each, because the locks of all together may not fit.
drop_own_copy() {
  sql <<SQL
set client_min_messages = warning;
select format('drop schema %I cascade', nspname) from pg_namespace where $copied order by nspname = 'core', nspname \\gexec
SQL
}

# Back to what was before: for a backup that turns out not to be restorable here.
put_back() {
  drop_own_copy
  sql -v id="$STACKSPEC_RESTORE_ID" <<'SQL'
begin;
select format('alter schema %I rename to %I', aside, name) from stackspec_meta.set_aside where id = :'id' \gexec
delete from stackspec_meta.set_aside where id = :'id';
delete from stackspec_meta.restore where id = :'id';
commit;
SQL
}

# failed WHAT ERRORS: the backup cannot be restored here (a verdict), or we were interrupted.
failed() {
  cat "$2" >&2
  require_lock
  sql -c 'select 1' >/dev/null 2>&1 || give_up "$1: the database is gone"
  ! grep -qiE 'terminating connection|server closed the connection|could not connect' "$2" || give_up "$1: connection lost"
  message="$1: $(grep -m 1 -i error "$2" || tail -n 1 "$2")"
  put_back >/dev/null 2>"$work/put_back" || give_up "$message; and what was set aside could not be put back: $(tail -n 1 "$work/put_back")"
  code=$verdict_failed
  ! has_no_space "$STACKSPEC_SCRATCH" "$2" || code=$verdict_disk_full
  verdict "$code" "$message; what was there before is in its place again"
}

has_same_functions() {
  # All of public: with the schemas set aside nothing uses them.
  (export STACKSPEC_SHARED='' && inventory '') >"$work/now.tsv" 2>/dev/null || return 1
  grep '^function' "$backup/inventory.tsv" >"$work/functions" || return 0
  comm -23 "$work/functions" "$work/now.tsv" >"$work/missing"
  [ ! -s "$work/missing" ]
}

load() {
  progress 'creating extensions and functions'
  {
    sql -c 'set client_min_messages = warning' -f "$backup/extensions.sql" >/dev/null &&
      { has_same_functions || sql -f "$backup/functions.sql" >/dev/null; }
  } 2>"$work/errors" || failed 'extensions and functions' "$work/errors"
  progress 'loading the dump'
  run_under_lock "$work/restore.log" pg_restore --no-owner --no-comments --no-privileges --exit-on-error -j2 \
    -L "$work/contents" -d "$PGDATABASE" "$backup/database.dump" || failed 'restoring the dump' "$work/restore.log"
  progress 'comparing'
  inventory '' >"$work/restored.tsv" 2>"$work/errors" || failed 'row counts' "$work/errors"
  # Other extensions and functions of this database are not our business.
  grep -vE '^(extension|function)' "$backup/inventory.tsv" >"$work/expected.tsv"
  grep -vE '^(extension|function)' "$work/restored.tsv" >"$work/loaded.tsv"
  wrong=$(difference "$work/expected.tsv" "$work/loaded.tsv")
  echo "the restored database differs: $wrong" >"$work/errors"
  [ -z "$wrong" ] || failed 'comparing' "$work/errors"
  require_lock
  set_state loaded
}

# ---- stored files ----

aside_folder() {
  aside=$(dirname "$STACKSPEC_FILES")/files-set-aside-$STACKSPEC_RESTORE_ID
  if ! mkdir -p "$aside" 2>/dev/null; then
    aside=$STACKSPEC_BACKUPS/.files-set-aside-$STACKSPEC_RESTORE_ID
    mkdir -p "$aside"
    # It lists no contents that the backups share.
    : >"$aside/files.tsv"
  fi
}

move_aside() {
  mkdir -p "$aside/$(dirname "$1")" || return 1
  target=$aside/$1
  # An interrupted attempt, or an earlier one, may have moved a file of this name.
  while [ -e "$target" ]; do target=$target.more; done
  mv "$STACKSPEC_FILES/$1" "$target"
}

# Called where `set -e` is off: every step that may fail says so.
restore_files() {
  umask 022
  cd "$STACKSPEC_FILES" && aside_folder && rm -rf ./.stackspec-restore-* || return 1
  list_files >"$work/present" || return 1
  sort "$backup/files.tsv" >"$work/wanted" || return 1
  # Same path, same contents: stays. Everything else goes aside first.
  comm -13 "$work/wanted" "$work/present" >"$work/extra" || return 1
  comm -23 "$work/wanted" "$work/present" >"$work/missing" || return 1
  while IFS="$tab" read -r hash _ path; do
    move_aside "$path" || return 1
  done <"$work/extra"
  draft=./.stackspec-restore-$STACKSPEC_RESTORE_ID
  while IFS="$tab" read -r hash _ path; do
    mkdir -p "$(dirname "./$path")" && cp "$STACKSPEC_BACKUPS/files/$hash" "$draft" && mv "$draft" "./$path" || return 1
  done <"$work/missing"
  [ ! -s "$work/missing" ] || sync -f . 2>/dev/null || sync
  rmdir "$aside" 2>/dev/null || :
}

# ---- answer ----

# Rows that are only in what was set aside: what the restore lost, table by table.
extra_rows() {
  sql -v id="$STACKSPEC_RESTORE_ID" >"$work/old_rows" <<'SQL' || return 1
select format('select %L || chr(9) || count(*) from %I.%I', 'rows' || chr(9) || to_json(s.name || '.' || relname), aside, relname)
from pg_class c join pg_namespace n on n.oid = c.relnamespace join stackspec_meta.set_aside s on s.aside = n.nspname
where s.id = :'id' and relkind in ('r', 'm') \gexec
SQL
  awk -F '\t' '
    FILENAME == ARGV[1] { if ($1 == "rows") kept[$2] = $3; next }
    $3 > kept[$2] { extra += $3 - kept[$2] }
    END { printf "%d", extra }
  ' "$backup/inventory.tsv" "$work/old_rows"
}

answer() {
  sums=$(sum_rows "$backup/inventory.tsv")
  aside_count=$(
    sql -v id="$STACKSPEC_RESTORE_ID" <<'SQL'
select count(*) from stackspec_meta.set_aside join pg_namespace on nspname = aside where id = :'id';
SQL
  )
  extra=$(extra_rows)
  result "{\"tables\":${sums% *},\"rows\":${sums#* },\"setAside\":$aside_count,\"extraRows\":$extra}"
}

# ---- the run ----

case $STACKSPEC_RESTORE_ID in
  '' | *[!A-Za-z0-9_-]*) verdict "$verdict_unsupported" "STACKSPEC_RESTORE_ID $STACKSPEC_RESTORE_ID cannot name a schema" ;;
esac
[ -d "$backup" ] || verdict "$verdict_damaged" "there is no backup $STACKSPEC_BACKUP_ID in $STACKSPEC_BACKUPS"
lock_take
progress 'checking the backup'
check_parts "$backup"
grep -q "\"level\":\"L4\",\"sha256\":\"$(manifest_value sha256)\"" "$backup/proof.json" 2>/dev/null ||
  verdict "$verdict_damaged" "backup $STACKSPEC_BACKUP_ID was never proven by a restore"
check_stored_files "$backup/files.tsv" >"$work/bad"
[ ! -s "$work/bad" ] || verdict "$verdict_damaged" "stored file is missing or damaged: $(head -n 1 "$work/bad")"
list_contents "$backup/database.dump" 2>"$work/errors" ||
  verdict "$verdict_damaged" "the dump cannot be read: $(tail -n 1 "$work/errors")"

# What is not in the schemas and depends on them would stay with what is set aside.
refuse_dependents() {
  [ -n "${STACKSPEC_DEPENDENTS_SQL:-}" ] || return 0
  dependents=$(sql -c "$STACKSPEC_DEPENDENTS_SQL") || give_up 'connection lost'
  [ -z "$dependents" ] || verdict "$verdict_unsupported" \
    "nothing was changed: others depend on the data: $(printf '%s' "$dependents" | tr '\n' ';')"
}

! is_shared || find_shared_schemas
prepare_record >/dev/null
if state_is 'done'; then
  answer
  exit 0
fi
require_lock
if ! state_is loaded; then
  if state_is started; then
    progress 'removing the copy of an interrupted attempt'
    drop_own_copy >/dev/null
  else
    refuse_dependents
    progress 'setting the present schemas aside'
    set_aside >/dev/null
  fi
  load
fi
if [ -n "${STACKSPEC_FILES:-}" ]; then
  progress 'restoring stored files'
  mkdir -p "$STACKSPEC_FILES"
  (restore_files) 2>"$work/errors" || {
    cat "$work/errors" >&2
    ! has_no_space "$STACKSPEC_FILES" "$work/errors" || verdict "$verdict_disk_full" "no space left in $STACKSPEC_FILES"
    give_up 'stored files could not be restored'
  }
fi
require_lock
set_state 'done'
answer
