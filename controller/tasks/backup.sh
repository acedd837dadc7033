# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh disable=SC2154
# backup: everything of the stack as of one snapshot, published at once by a rename.
#   STACKSPEC_BACKUPS/<id>/  database.dump extensions.sql functions.sql inventory.tsv files.tsv manifest.json
#   STACKSPEC_BACKUPS/files/<sha256>  the stored files' contents, shared by all backups
# In: STACKSPEC_BACKUP_ID, STACKSPEC_BACKUPS, STACKSPEC_FILES (empty: none local), STACKSPEC_FROM,
# STACKSPEC_STACK, STACKSPEC_CURSOR_SQL, STACKSPEC_KEY_FINGERPRINTS, STACKSPEC_SYSTEM_IDENTIFIER.
begin
final=$STACKSPEC_BACKUPS/$STACKSPEC_BACKUP_ID
draft=$STACKSPEC_BACKUPS/.tmp-$STACKSPEC_TASK
contents=$STACKSPEC_BACKUPS/files

remove_drafts() { rm -rf "$STACKSPEC_BACKUPS"/.tmp-* "$contents"/.tmp-*; }

at_end() {
  [ -z "${locked:-}" ] || remove_drafts
}

# failed WHAT: the end of a step that did not work.
failed() {
  cat "$work/errors" >&2 || :
  if has_no_space "$STACKSPEC_BACKUPS" "$work/errors"; then
    free=$(df -Pk "$STACKSPEC_BACKUPS" | awk 'NR == 2 { print $4 * 1024 }')
    verdict "$verdict_disk_full" "$1: no space left in $STACKSPEC_BACKUPS: $free bytes free, database $(database_size) bytes, stored files $(files_size) bytes"
  fi
  give_up "$1: $(tail -n 1 "$work/errors")"
}

database_size() { sql -c 'select pg_database_size(current_database())' || echo unknown; }

files_size() {
  [ -n "${STACKSPEC_FILES:-}" ] && du -sk "$STACKSPEC_FILES" | awk '{ printf "%d", $1 * 1024 }' || echo 0
}

# With it a controller that cannot read the storage knows the backup as its manifest tells it.
answer() {
  export manifest_file
  told=$(
    sql <<'SQL'
\set manifest `cat "$manifest_file"`
select jsonb_build_object('sha256', m->'sha256', 'sizeBytes', m->'sizeBytes', 'tables', m->'tables', 'rows', m->'rows',
  'files', m->'files', 'filesBytes', m->'filesBytes', 'cutoffTime', m->'cutoffTime', 'cutoffLsn', m->'cutoffLsn',
  'sourceVersion', m->'sourceVersion', 'cursorKey', m->'cursorKey', 'systemIdentifier', m->'systemIdentifier',
  'keyFingerprints', m->'keyFingerprints') from (select (:'manifest')::jsonb) as manifest(m);
SQL
  ) || give_up 'connection lost'
  result "$told"
}

# ---- stored files ----

copy_files() {
  mkdir -p "$contents" || return 1
  check_stored_files "$draft/files.tsv" >"$work/missing"
  # One path for each content that is not there yet.
  awk -F '\t' '
    FILENAME == ARGV[1] { wanted[$1] = 1; next }
    $1 in wanted { delete wanted[$1]; path = $0; sub(/^[^\t]*\t[^\t]*\t/, "", path); print $1 "\t" path }
  ' "$work/missing" "$draft/files.tsv" >"$work/wanted"
  : >"$work/copied"
  while IFS="$tab" read -r hash path; do
    copy=$contents/.tmp-$hash
    cp "$STACKSPEC_FILES/$path" "$copy" || return 1
    if [ "$(sha256sum <"$copy" | cut -c 1-64)" != "$hash" ]; then
      echo "$path changed while it was copied" >&2
      return 1
    fi
    echo "$hash" >>"$work/copied"
  done <"$work/wanted"
  [ -s "$work/copied" ] || return 0
  sed "s|^|$(printf '%s' "$contents" | sed 's/[&|\\]/\\&/g')/.tmp-|" "$work/copied" | tr '\n' '\000' |
    xargs -0 sync 2>/dev/null || sync
  while IFS= read -r hash; do
    mv "$contents/.tmp-$hash" "$contents/$hash" || return 1
  done <"$work/copied"
  make_durable "$contents"
}

# ---- database ----

dump_database() {
  set -- -n core -n metadata -n 'workspace_*'
  if is_shared; then
    sql -c "begin isolation level repeatable read read only; set transaction snapshot '$snapshot'; $(schemas_sql)" >"$work/own" || return 1
    set -- -n core
    while IFS= read -r name; do
      set -- "$@" -n "\"$(printf '%s' "$name" | sed 's/"/""/g')\""
    done <"$work/own"
  fi
  pg_dump -Fc --no-password --snapshot="$snapshot" --lock-wait-timeout=60s "$@" -f "$draft/database.dump"
}

write_surroundings() {
  sql -c "begin isolation level repeatable read read only; set transaction snapshot '$snapshot';
    select case when nspname <> 'public' and '$(is_external && echo yes)' = 'yes' then format('create schema if not exists %I; ', nspname) else '' end ||
      format('create extension if not exists %I with schema %I%s;', extname, nspname, '$(is_external && echo ' cascade')')
    from pg_extension x join pg_namespace n on n.oid = x.extnamespace
    where extname <> 'plpgsql' $(own_extension_sql) order by x.oid" >"$draft/extensions.sql" || return 1
  sql -c "begin isolation level repeatable read read only; set transaction snapshot '$snapshot';
    select pg_get_functiondef(p.oid) || ';' from pg_proc p
    where p.pronamespace = 'public'::regnamespace and p.prokind in ('f', 'p') $(own_function_sql) and not exists (
      select from pg_depend d where d.classid = 'pg_proc'::regclass and d.objid = p.oid and d.deptype = 'e')
    order by p.oid" >"$draft/functions.sql"
}

# Values reach SQL as quoted psql variables; psql writes the JSON.
write_manifest() {
  draft_folder=$draft
  system_identifier=$(sql -c 'select system_identifier from pg_control_system()' 2>/dev/null) ||
    system_identifier=${STACKSPEC_SYSTEM_IDENTIFIER:-}
  # One server of others may hold the databases of many.
  case $system_identifier in
    */*) ;;
    *) ! is_external || system_identifier=${system_identifier:-unknown}/$(sql -c 'select current_database()') ;;
  esac
  cursor_key=$(sed -n "s/^cursor$tab//p" "$draft/inventory.tsv")
  fingerprints=${STACKSPEC_KEY_FINGERPRINTS:-}
  [ -n "$fingerprints" ] || fingerprints='{}'
  size_bytes=$(wc -c <"$draft/database.dump" | tr -d ' ')
  sums=$(sum_rows "$draft/inventory.tsv")
  tables=${sums% *} rows=${sums#* }
  files=$(wc -l <"$draft/files.tsv" | tr -d ' ')
  files_bytes=$(awk -F '\t' '{ sum += $2 } END { printf "%d", sum }' "$draft/files.tsv")
  export draft_folder fingerprints cutoff_time cutoff_lsn system_identifier cursor_key size_bytes tables rows files files_bytes
  sql >"$draft/manifest.json" <<'SQL'
\set id `printf %s "$STACKSPEC_BACKUP_ID"`
\set stack `printf %s "$STACKSPEC_STACK"`
\set source `printf %s "$STACKSPEC_FROM"`
\set fingerprints `printf %s "$fingerprints"`
\set time `printf %s "$cutoff_time"`
\set lsn `printf %s "$cutoff_lsn"`
\set system `printf %s "$system_identifier"`
\set cursor `printf %s "$cursor_key"`
\set size `printf %s "$size_bytes"`
\set tables `printf %s "$tables"`
\set rows `printf %s "$rows"`
\set files `printf %s "$files"`
\set files_bytes `printf %s "$files_bytes"`
\set parts `cd "$draft_folder" && sha256sum database.dump extensions.sql files.tsv functions.sql inventory.tsv`
with parts as (
  select (regexp_match(line, '^([0-9a-f]{64})  (.*)$')) as part from regexp_split_to_table(:'parts', E'\n') line where line <> '')
select jsonb_pretty(jsonb_build_object(
  'format', 1, 'id', :'id', 'stack', :'stack', 'sourceVersion', :'source', 'cutoffTime', :'time', 'cutoffLsn', :'lsn',
  'systemIdentifier', :'system', 'serverVersion', current_setting('server_version'),
  'serverMajor', current_setting('server_version_num')::int / 10000,
  'cursorKey', coalesce((:'cursor'::jsonb) #>> '{}', ''), 'sizeBytes', :'size'::bigint, 'tables', :'tables'::int,
  'rows', :'rows'::bigint, 'files', :'files'::int, 'filesBytes', :'files_bytes'::bigint,
  'extensions', (select coalesce(jsonb_agg(extname order by extname), '[]') from pg_extension where extname <> 'plpgsql'),
  'keyFingerprints', :'fingerprints'::jsonb,
  'sha256', (select part[1] from parts where part[2] = 'database.dump'),
  'parts', (select jsonb_object_agg(part[2], part[1]) from parts)));
SQL
}

# ---- the run ----

case $STACKSPEC_BACKUP_ID in
  '' | .* | */* | files) verdict "$verdict_unsupported" "$STACKSPEC_BACKUP_ID is no name of a backup" ;;
esac
lock_take
locked=yes
: >"$work/errors"
mkdir -p "$STACKSPEC_BACKUPS" 2>"$work/errors" || failed 'no folder for backups'
remove_drafts
if [ -d "$final" ]; then
  check_parts "$final"
  answer
  exit 0
fi

session_ask 'begin isolation level repeatable read read only; select pg_export_snapshot();' 30 || give_up 'connection lost'
snapshot=$(session_answer | tail -n 1)
session_ask "select to_char(now() at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'), pg_current_wal_lsn();" || give_up 'connection lost'
cutoff=$(session_answer)
cutoff_time=${cutoff%|*} cutoff_lsn=${cutoff#*|}

mkdir "$draft" 2>"$work/errors" || failed 'no folder for this backup'
progress 'dumping the database'
dump_database 2>"$work/errors" || failed 'pg_dump'
write_surroundings 2>"$work/errors" || failed 'extensions and functions'
progress 'counting rows'
inventory "$snapshot" >"$draft/inventory.tsv" 2>"$work/errors" || failed 'row counts'
# Without it the snapshot of what follows pg_dump would not be the same.
session_ask 'commit;' || give_up 'the connection that held the snapshot was lost'

: >"$draft/files.tsv"
if [ -n "${STACKSPEC_FILES:-}" ]; then
  progress 'copying stored files'
  [ -d "$STACKSPEC_FILES" ] || verdict "$verdict_unsupported" "the folder of stored files $STACKSPEC_FILES is not there"
  strange=$(unlistable_file)
  [ -z "$strange" ] || verdict "$verdict_unsupported" "a stored file has a tab or a line break in its name: $strange"
  (list_files) >"$draft/files.tsv" 2>"$work/errors" || failed 'list of stored files'
  copy_files 2>"$work/errors" || failed 'copy of stored files'
fi

progress 'writing to disk'
write_manifest 2>"$work/errors" || failed 'manifest'
make_durable "$draft"/* "$draft"
require_lock
mv "$draft" "$final" 2>"$work/errors" || failed 'publish'
make_durable "$STACKSPEC_BACKUPS"
check_parts "$final"
answer
