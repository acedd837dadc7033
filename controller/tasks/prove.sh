# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh disable=SC2154
# prove: restores a backup into a throw-away PostgreSQL and compares everything with what was
# recorded in the dump's own snapshot; on success proof.json lies beside the manifest (level L4).
# In: STACKSPEC_BACKUPS, STACKSPEC_BACKUP_ID, STACKSPEC_CURSOR_SQL; STACKSPEC_PROVE_HOST: a server to
# use (superuser postgres, PGPORT, PGPASSWORD), else one is started in the scratch folder.
begin
backup=$STACKSPEC_BACKUPS/$STACKSPEC_BACKUP_ID
cluster=$STACKSPEC_SCRATCH/cluster
server_pid=''

at_end() {
  if [ -n "$server_pid" ]; then
    kill -QUIT "$server_pid" 2>/dev/null
    wait "$server_pid" 2>/dev/null
  fi
  rm -rf "$cluster"
}

# Of a killed run: a server whose working folder is ours, and the shared memory segment it keeps as
# a mark of life.
remove_leftovers() {
  [ -e "$cluster" ] || return 0
  pid=$(head -n 1 "$cluster/postmaster.pid" 2>/dev/null || :)
  if [ -n "$pid" ] && [ "$(readlink "/proc/$pid/cwd" 2>/dev/null || :)" = "$(readlink -f "$cluster")" ]; then
    kill -QUIT "$pid" 2>/dev/null || :
    tries=100
    while [ "$tries" -gt 0 ] && is_alive "$pid"; do
      tries=$((tries - 1))
      sleep 0.1
    done
  fi
  segment=$(sed -n '7s/^ *[0-9]* *\([0-9][0-9]*\) *$/\1/p' "$cluster/postmaster.pid" 2>/dev/null || :)
  [ -z "$segment" ] || ipcrm -m "$segment" 2>/dev/null || :
  rm -rf "$cluster"
}

# The socket lies in the data folder, which nobody else can enter; clients reach it through their
# own working folder, because the path of a socket must be short.
start_server() {
  initdb -D "$cluster" -U postgres -A trust -E UTF8 --locale=C --no-sync >"$work/initdb" 2>&1 || {
    cat "$work/initdb" >&2
    ! has_no_space "$STACKSPEC_SCRATCH" "$work/initdb" || verdict "$verdict_disk_full" "no space for a proof in $STACKSPEC_SCRATCH"
    give_up "initdb: $(tail -n 1 "$work/initdb")"
  }
  cd "$cluster" || exit
  postgres -D "$cluster" -c listen_addresses= -c unix_socket_directories=. -c port=5432 -c fsync=off \
    -c full_page_writes=off -c synchronous_commit=off -c wal_level=minimal -c max_wal_senders=0 \
    -c max_connections=20 -c max_locks_per_transaction=4096 -c shared_buffers=64MB -c maintenance_work_mem=128MB \
    -c autovacuum=off -c shared_memory_type=mmap -c dynamic_shared_memory_type=mmap \
    -c logging_collector=off >"$work/server.log" 2>&1 </dev/null &
  server_pid=$!
  tries=600
  until sed -n 8p "$cluster/postmaster.pid" 2>/dev/null | grep -q '^ready'; do
    is_alive "$server_pid" || give_up "the throw-away PostgreSQL does not start: $(tail -n 1 "$work/server.log")"
    tries=$((tries - 1))
    [ "$tries" -gt 0 ] || give_up 'the throw-away PostgreSQL does not become ready'
    sleep 0.1
  done
  PGHOST=/proc/self/cwd PGPORT=5432
}

# failed WHAT ERRORS: who is to blame, the backup or the proving?
failed() {
  cat "$2" >&2
  ! has_no_space "$STACKSPEC_SCRATCH" "$2" || verdict "$verdict_disk_full" "$1: no space left in $STACKSPEC_SCRATCH"
  ! grep -qiE 'terminating connection|server closed the connection|could not connect' "$2" || give_up "$1: the throw-away PostgreSQL is gone"
  sql -c 'select 1' >/dev/null 2>&1 || give_up "$1: the throw-away PostgreSQL is gone"
  verdict "$verdict_damaged" "$1: $(grep -m 1 -i error "$2" || tail -n 1 "$2")"
}

# Of an own sequence, the next number must not be taken already.
sequences_behind() {
  sql <<'SQL'
select format('select %L where (select max(%I) from %I.%I) > (select last_value from %I.%I)',
  sn.nspname || '.' || s.relname, a.attname, tn.nspname, t.relname, sn.nspname, s.relname)
from pg_class s join pg_namespace sn on sn.oid = s.relnamespace
  join pg_depend d on d.classid = 'pg_class'::regclass and d.objid = s.oid and d.deptype in ('a', 'i')
  join pg_class t on t.oid = d.refobjid join pg_namespace tn on tn.oid = t.relnamespace
  join pg_attribute a on a.attrelid = t.oid and a.attnum = d.refobjsubid
where s.relkind = 'S' and d.refclassid = 'pg_class'::regclass and d.refobjsubid > 0 \gexec
SQL
}

# ---- the run ----

[ -d "$backup" ] || verdict "$verdict_damaged" "there is no backup $STACKSPEC_BACKUP_ID in $STACKSPEC_BACKUPS"
remove_leftovers
unset PGSSLMODE PGSSLROOTCERT PGOPTIONS || :
PGUSER=postgres PGDATABASE=postgres
export PGHOST PGPORT PGUSER PGDATABASE
progress 'starting a throw-away PostgreSQL'
if [ -n "${STACKSPEC_PROVE_HOST:-}" ]; then
  PGHOST=$STACKSPEC_PROVE_HOST
else
  unset PGPASSWORD || :
  start_server
fi
check_parts "$backup"
major=$(sql -c "select current_setting('server_version_num')::int / 10000")
[ "$major" = "$(manifest_value serverMajor)" ] ||
  verdict "$verdict_unsupported" "the backup is of PostgreSQL $(manifest_value serverMajor), the proof would be on $major"

sql -c 'drop database if exists stackspec_proof' -c 'create database stackspec_proof template template0'
PGDATABASE=stackspec_proof
progress 'restoring'
sql -c 'set client_min_messages = warning' -f "$backup/extensions.sql" -f "$backup/functions.sql" >/dev/null 2>"$work/errors" ||
  failed 'extensions and functions' "$work/errors"
list_contents "$backup/database.dump" 2>"$work/errors" || failed 'reading the dump' "$work/errors"
pg_restore --no-owner --no-comments --no-privileges --exit-on-error -j2 -L "$work/contents" -d stackspec_proof \
  "$backup/database.dump" >"$work/errors" 2>&1 || failed 'restoring the dump' "$work/errors"

progress 'comparing'
inventory '' >"$work/restored.tsv" 2>"$work/errors" || failed 'row counts' "$work/errors"
wrong=$(difference "$backup/inventory.tsv" "$work/restored.tsv")
[ -z "$wrong" ] || verdict "$verdict_damaged" "the restored database differs: $wrong"
behind=$(sequences_behind) || failed 'sequences' "$work/errors"
[ -z "$behind" ] || verdict "$verdict_damaged" "sequence is behind its table: $(printf '%s\n' "$behind" | head -n 1)"

progress 'reading stored files again'
check_stored_files "$backup/files.tsv" >"$work/bad"
if [ -s "$work/bad" ]; then
  # Moved aside, so that the next backup copies it anew instead of trusting its name.
  while IFS= read -r hash; do
    [ ! -e "$STACKSPEC_BACKUPS/files/$hash" ] || mv "$STACKSPEC_BACKUPS/files/$hash" "$STACKSPEC_BACKUPS/files/damaged-$hash"
  done <"$work/bad"
  hash=$(head -n 1 "$work/bad")
  verdict "$verdict_damaged" "stored file is missing or damaged: $(grep -m 1 "^$hash" "$backup/files.tsv" | cut -f 3) ($hash)"
fi

sums=$(sum_rows "$backup/inventory.tsv")
files=$(wc -l <"$backup/files.tsv" | tr -d ' ')
sha256=$(manifest_value sha256)
proof="\"sha256\":\"$sha256\",\"tables\":${sums% *},\"rows\":${sums#* },\"files\":$files"
printf '{"level":"L4",%s,"provenAt":"%s"}\n' "$proof" "$(date -u +%Y-%m-%dT%H:%M:%SZ)" >"$backup/.proof.tmp" ||
  verdict "$verdict_disk_full" "no space for the proof in $backup"
make_durable "$backup/.proof.tmp"
mv "$backup/.proof.tmp" "$backup/proof.json"
make_durable "$backup"
result "{$proof}"
