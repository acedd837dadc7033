# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh
# Common to all tasks; the text of one task follows it. POSIX sh: dash and busybox sh.
#
# In:  STACKSPEC_TASK (name), STACKSPEC_SCRATCH (a folder of this task alone, empty or left by a
#      killed run of the same task), STACKSPEC_RESULT (file for one JSON object, at most 2048 bytes),
#      PG* (owner of the database, no superuser), and what each task names at its top.
#      Of a database that somebody else runs STACKSPEC_DATABASE_URL in place of PG*, STACKSPEC_OWNER,
#      STACKSPEC_SCHEMAS_SQL, STACKSPEC_DEPENDENTS_SQL, STACKSPEC_SHARED (yes: others live in it too).
# Out: the exit code. 0: done. 10-19: a verdict, below. Anything else: interrupted, to be tried
#      again. On stdout now and then {"progress":"..."}; a verdict's result has "failure".
# A task may be killed at any instant and started again.
set -eu
umask 077
# Logs and file names may hold any bytes; in other locales grep calls them binary and finds nothing.
LC_ALL=C PGCLIENTENCODING=UTF8
export LC_ALL PGCLIENTENCODING

# shellcheck disable=SC2034 # each task uses some
{
  verdict_failed=10      # The work was done and did not succeed.
  verdict_stale=11       # Someone else migrated this database since the plan was made.
  verdict_disk_full=12   # No space; what was half written is gone again.
  verdict_damaged=13     # A backup is incomplete or is not what was written.
  verdict_unsupported=14 # Nothing was tried: the input cannot be worked with.
}
interrupted=75

work=$STACKSPEC_SCRATCH/work
session_pid='' guarded_pid=''
tab=$(printf '\t')

# ---- talking ----

# Printable ASCII only, at most $2 characters: always valid inside JSON once quotes are escaped.
plain() { printf '%s' "$1" | tr -c '\040-\176' '?' | cut -c "1-$2"; }

json_text() { printf '"%s"' "$(plain "$1" "${2:-200}" | sed 's/[\\"]/\\&/g')"; }

progress() { printf '{"progress":%s}\n' "$(json_text "$1")"; }

# Once per task. A platform may read while we write: one short write, no rename.
result() { printf '%s' "$1" >"$STACKSPEC_RESULT" || :; }

complain() { printf '%s: %s\n' "$STACKSPEC_TASK" "$1" >&2; }

# verdict CODE MESSAGE
verdict() {
  complain "$2"
  result "{\"failure\":$(json_text "$2" 400)}"
  exit "$1"
}

give_up() {
  complain "$1"
  exit "$interrupted"
}

# ---- ending ----

# A task may replace it; runs at every end but SIGKILL.
# shellcheck disable=SC2317 # called by finish
at_end() { :; }

finish() {
  code=$?
  trap '' TERM INT HUP
  trap - EXIT
  set +e
  stop_guarded
  session_close
  at_end
  rm -rf "$work"
  exit "$code"
}

begin() {
  rm -rf "$work"
  mkdir -p "$work"
  trap finish EXIT
  trap 'exit 75' TERM INT HUP
  # A limit on the size of files is to be an error that can be told, like a full disk.
  # shellcheck disable=SC2172 # 25 is SIGXFSZ on every Linux we know; not every sh has its name
  trap '' 25
  [ -z "${STACKSPEC_DATABASE_URL:-}" ] || connect_by_url
}

is_alive() {
  case $(cat "/proc/$1/stat" 2>/dev/null || :) in
    '' | *') Z '* | *') X '*) return 1 ;;
  esac
}

# has_no_space FOLDER [ERRORS]: is the disk of FOLDER what made us fail?
has_no_space() {
  if [ -n "${2:-}" ] && grep -qE 'No space left|File too large|quota exceeded' "$2"; then return 0; fi
  free=$(df -Pk "$1" 2>/dev/null | awk 'NR == 2 { print $4 }')
  [ -n "$free" ] && [ "$free" -lt 256 ]
}

# fsync of files and folders, as far as the tools of the image can.
make_durable() { sync "$@" 2>/dev/null || sync; }

# ---- a database that somebody else runs ----

is_external() { [ -n "${STACKSPEC_SCHEMAS_SQL:-}" ]; }
is_shared() { [ "${STACKSPEC_SHARED:-}" = yes ]; }

bad_url() { verdict "$verdict_unsupported" "the URL of the database $1"; }

# percent_decoded TEXT, into $decoded. Builtins only: nothing of a password is ever an argument.
percent_decoded() {
  rest_of_text=$1 decoded=''
  while :; do
    case $rest_of_text in *%*) ;; *) break ;; esac
    decoded=$decoded${rest_of_text%%\%*}
    rest_of_text=${rest_of_text#*%}
    hex=${rest_of_text%"${rest_of_text#??}"}
    case $hex in [0-9A-Fa-f][0-9A-Fa-f]) ;; *) bad_url 'has a % that must be %25' ;; esac
    # shellcheck disable=SC2059 # the format is the character
    decoded=$decoded$(printf "\\$(printf '%03o' "0x$hex")")
    rest_of_text=${rest_of_text#??}
  done
  decoded=$decoded$rest_of_text
}

# Takes the URL apart for programs that would otherwise want it as an argument, for all to see.
connect_by_url() {
  url=${STACKSPEC_DATABASE_URL#postgres://}
  url=${url#postgresql://}
  unset STACKSPEC_DATABASE_URL
  query=''
  case $url in *\?*) query=${url#*\?} url=${url%%\?*} ;; esac
  case $url in *@*/*) ;; *) bad_url 'names no user, host or database' ;; esac
  person=${url%%@*} url=${url#*@}
  place=${url%%/*}
  percent_decoded "${url#*/}"
  PGDATABASE=$decoded
  percent_decoded "${person%%:*}"
  PGUSER=$decoded PGPASSWORD=''
  case $person in *:*) percent_decoded "${person#*:}" && PGPASSWORD=$decoded ;; esac
  case $place in
    '['*) PGHOST=${place#'['} PGPORT=${place##*']'} PGHOST=${PGHOST%%']'*} ;;
    *:*) PGHOST=${place%%:*} PGPORT=${place##*:} ;;
    *) PGHOST=$place PGPORT='' ;;
  esac
  PGPORT=${PGPORT#:}
  PGPORT=${PGPORT:-5432}
  export PGHOST PGPORT PGUSER PGPASSWORD PGDATABASE
  case $query in
    *sslmode=*)
      PGSSLMODE=${query##*sslmode=}
      PGSSLMODE=${PGSSLMODE%%&*}
      export PGSSLMODE
      ;;
  esac
  case ${PGSSLMODE:-} in
    verify*) export PGSSLROOTCERT=/etc/ssl/certs/ca-certificates.crt ;;
  esac
}

# SQL for the names of Twenty's schemas.
schemas_sql() {
  if is_external; then
    printf '%s' "$STACKSPEC_SCHEMAS_SQL"
  else
    echo "select nspname::text from pg_namespace where nspname in ('core', 'metadata') or nspname ~ '^workspace_'"
  fi
}

# What Twenty's schemas use, as (classid, objid); of a database of our own also what all functions
# of public use.
used_sql() {
  cat <<SQL
with own as (select oid from pg_namespace where nspname::text in ($(schemas_sql))),
relations as (select oid from pg_class where relnamespace in (select oid from own)),
mine(classid, objid) as (
  select 'pg_class'::regclass, oid from relations
  union all select 'pg_attrdef'::regclass, oid from pg_attrdef where adrelid in (select oid from relations)
  union all select 'pg_rewrite'::regclass, oid from pg_rewrite where ev_class in (select oid from relations)
  union all select 'pg_constraint'::regclass, oid from pg_constraint where connamespace in (select oid from own)
  union all select 'pg_type'::regclass, oid from pg_type where typnamespace in (select oid from own)
  union all select 'pg_proc'::regclass, oid from pg_proc where pronamespace in (select oid from own)
  $(is_shared || echo "union all select 'pg_proc'::regclass, oid from pg_proc where pronamespace = 'public'::regnamespace")),
used(classid, objid) as (
  select distinct d.refclassid, d.refobjid from pg_depend d join mine on d.classid = mine.classid and d.objid = mine.objid)
SQL
}

# Conditions on pg_extension x and pg_proc p. A provider's extensions and the functions of other
# applications are no part of a stack: they are not in its backup, and its proof does without them.
own_extension_sql() {
  is_external || return 0
  cat <<SQL
and (x.extname in ('uuid-ossp', 'unaccent', 'citext') or x.oid in ($(used_sql)
  select e.refobjid from pg_depend e join used on e.classid = used.classid and e.objid = used.objid
  where e.deptype = 'e' and e.refclassid = 'pg_extension'::regclass))
SQL
}

own_function_sql() {
  is_shared || return 0
  cat <<SQL
and (p.proname = 'unaccent_immutable' or p.oid in ($(used_sql) select objid from used where classid = 'pg_proc'::regclass))
SQL
}

# ---- PostgreSQL ----

# psql, quiet, one value per column separated by |; fails at the first error.
sql() { psql -XqAt -v ON_ERROR_STOP=1 "$@"; }

is_initialised() { [ "$(sql -c "select to_regclass('core.workspace') is not null")" = t ]; }

# The query of the cursor, fit to be a part of another one.
cursor_query() { printf '%s' "$STACKSPEC_CURSOR_SQL" | sed 's/;[[:space:]]*$//'; }

# Rows of whichever migration record there is.
count_migrations() {
  if [ "$(sql -c "select to_regclass('core.\"_typeorm_migrations\"') is not null")" = t ]; then
    sql -c 'select count(*) from core."_typeorm_migrations"'
  else
    echo 0
  fi
}

# session_open: one psql that stays connected; it holds what only a session can hold.
session_open() {
  mkfifo "$work/questions"
  echo 'answer 0' >"$work/answers"
  psql -XqAt -v ON_ERROR_STOP=1 <"$work/questions" >>"$work/answers" 2>"$work/session.errors" &
  session_pid=$!
  exec 9>"$work/questions"
  session_asked=0
  session_ask "select set_config(name, '0', false) from pg_settings where name in
    ('statement_timeout', 'idle_session_timeout', 'idle_in_transaction_session_timeout');
    set tcp_keepalives_idle = 30; set tcp_keepalives_interval = 10; set tcp_keepalives_count = 3;" 20 ||
    give_up "no connection to the database: $(tail -n 1 "$work/session.errors")"
}

# session_ask SQL [SECONDS]: false when the session is gone or silent. psql does not notice by
# itself that its backend died; it has to be asked.
session_ask() {
  session_asked=$((session_asked + 1))
  # A reader that is gone must not end us.
  (trap '' PIPE && printf '%s\n' "$1" "select 'answer $session_asked';" >&9) 2>/dev/null || return 1
  tries=$((${2:-10} * 20))
  until grep -qx "answer $session_asked" "$work/answers"; do
    is_alive "$session_pid" || return 1
    tries=$((tries - 1))
    [ "$tries" -gt 0 ] || return 1
    sleep 0.05
  done
}

session_answer() {
  sed -n "/^answer $((session_asked - 1))\$/,/^answer $session_asked\$/p" "$work/answers" |
    sed '1d;$d'
}

session_close() {
  [ -n "$session_pid" ] || return 0
  exec 9>&-
  kill "$session_pid" 2>/dev/null
  wait "$session_pid" 2>/dev/null
  session_pid=''
}

# ---- the advisory lock ----

lock_holder() {
  sql -c "select coalesce(nullif(a.application_name, ''), 'a session') || ', process ' || l.pid
    from pg_locks l left join pg_stat_activity a using (pid) where l.locktype = 'advisory' and l.granted
    and l.database = (select oid from pg_database where datname = current_database())
    and (l.classid::bigint << 32) | l.objid::bigint = $STACKSPEC_LOCK and l.objsubid = 1 limit 1" || :
}

# Whoever migrates, installs, backs up or restores holds this lock of the database. A dead task's
# session goes within moments, so it is worth to wait a little.
lock_take() {
  case ${STACKSPEC_LOCK#-} in
    '' | *[!0-9]*) verdict "$verdict_unsupported" "STACKSPEC_LOCK is no number" ;;
  esac
  session_open
  wait_seconds=${STACKSPEC_LOCK_WAIT:-10}
  if ! session_ask "set lock_timeout = '${wait_seconds}s'; select pg_advisory_lock($STACKSPEC_LOCK);
      set lock_timeout = 0;" $((wait_seconds + 10)); then
    grep -q 'lock timeout' "$work/session.errors" || give_up "connection lost: $(tail -n 1 "$work/session.errors")"
    give_up "lock $STACKSPEC_LOCK is held by $(lock_holder)"
  fi
}

lock_is_held() {
  session_ask "select 'held' from pg_locks where locktype = 'advisory' and granted and pid = pg_backend_pid();" &&
    [ "$(session_answer | head -n 1)" = held ]
}

require_lock() { lock_is_held || give_up 'the lock was lost'; }

# Runs in a session of its own, so that the whole tree can be stopped. Standard input is a pipe
# that only the task holds open: when the task is killed, the tree is gone in the same moment and
# cannot go on migrating without the lock.
# shellcheck disable=SC2016 # expanded by the inner shell
guard='
code_file=$1 log=$2
shift 2
exec 8<&0 </dev/null
{ read -r _ <&8; kill -KILL 0; } >/dev/null 2>&1 &
{
  "$@" 8<&- 2>&1
  echo "$?" >"$code_file"
} | tee "$log" 8<&-
'

stop_guarded() {
  [ -n "$guarded_pid" ] || return 0
  kill -TERM "-$guarded_pid" 2>/dev/null || :
  tries=20
  while [ "$tries" -gt 0 ] && is_alive "$guarded_pid"; do
    tries=$((tries - 1))
    sleep 0.1
  done
  kill -KILL "-$guarded_pid" 2>/dev/null || :
  wait "$guarded_pid" 2>/dev/null || :
  exec 8>&-
  guarded_pid=''
}

# run_under_lock LOG COMMAND...: its output goes to LOG and on; returns its exit code. Ends the
# task as interrupted, with nothing of COMMAND left running, when the lock is lost.
run_under_lock() {
  log=$1
  shift
  rm -f "$work/code" "$work/life"
  mkfifo "$work/life"
  setsid sh -c "$guard" guard "$work/code" "$log" "$@" <"$work/life" 9>&- &
  guarded_pid=$!
  exec 8>"$work/life"
  while is_alive "$guarded_pid"; do
    if ! lock_is_held; then
      complain 'the lock was lost; stopping the command'
      stop_guarded
      exit "$interrupted"
    fi
    ticks=10
    while [ "$ticks" -gt 0 ] && is_alive "$guarded_pid"; do
      ticks=$((ticks - 1))
      sleep 0.1
    done
  done
  wait "$guarded_pid" || :
  exec 8>&-
  guarded_pid=''
  code=$(cat "$work/code" 2>/dev/null || :)
  [ -n "$code" ] || give_up 'the command was killed'
  return "$code"
}

# ---- Twenty ----

# Core migrations the image ships. Those for billing run on Twenty's own cloud only.
count_image_migrations() {
  find dist -type f -name '[0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9]-*.js' \
    -path '*/migrations/*' ! -path '*/billing/*' 2>/dev/null >"$work/migrations" || :
  if grep -q '/core/migrations/' "$work/migrations"; then
    grep '/core/migrations/' "$work/migrations" | sed 's|.*/||' | sort -u | wc -l | tr -d ' '
  else
    sed 's|.*/||' "$work/migrations" | sort -u | wc -l | tr -d ' '
  fi
}

has_yarn_script() { [ ! -f package.json ] || grep -q "\"$1\"" package.json; }

# run_twice COMMAND...: idempotent commands deserve a second try.
run_twice() {
  "$@" </dev/null && return 0
  sleep 1
  "$@" </dev/null
}

flush_cache() {
  progress 'flushing the cache'
  run_twice yarn command:prod cache:flush
}

register_crons() {
  progress 'registering cron jobs'
  run_twice yarn command:prod cron:register:all
}

# ---- backups ----

# A value of the manifest in $manifest_file, as text. Damaged JSON is a verdict.
manifest_value() {
  manifest_key=$1
  export manifest_file manifest_key
  sql <<'SQL' || verdict "$verdict_damaged" "$manifest_file is no manifest"
\set manifest `cat "$manifest_file"`
\set key `printf %s "$manifest_key"`
select (:'manifest'::json)->>:'key';
SQL
}

# check_parts FOLDER: is every part of the backup what the manifest says?
check_parts() {
  manifest_file=$1/manifest.json
  [ -f "$manifest_file" ] || verdict "$verdict_damaged" "backup $STACKSPEC_BACKUP_ID has no manifest.json"
  export manifest_file
  sql >"$work/parts" <<'SQL' || verdict "$verdict_damaged" "$manifest_file is no manifest"
\set manifest `cat "$manifest_file"`
select value || '  ' || key from json_each_text((:'manifest'::json)->'parts');
SQL
  [ "$(manifest_value id)" = "$STACKSPEC_BACKUP_ID" ] ||
    verdict "$verdict_damaged" "$manifest_file is of another backup"
  for part in database.dump inventory.tsv extensions.sql functions.sql files.tsv; do
    grep -q "  $part\$" "$work/parts" || verdict "$verdict_damaged" "$manifest_file does not list $part"
  done
  [ "$(sed -n 's/  database.dump$//p' "$work/parts")" = "$(manifest_value sha256)" ] ||
    verdict "$verdict_damaged" "$manifest_file contradicts itself"
  wrong=$(cd "$1" && sha256sum -c "$work/parts" 2>/dev/null | grep -v ': OK$' | head -n 1) || :
  [ -z "$wrong" ] || verdict "$verdict_damaged" "sha256 of a part of backup $STACKSPEC_BACKUP_ID differs: $wrong"
}

# check_stored_files LIST: names of the content files that are missing or are not what they say, one
# a line. No line: all are good.
check_stored_files() {
  cut -f 1 "$1" | sort -u | sed 's/.*/&  &/' >"$work/stored"
  [ -s "$work/stored" ] || return 0
  (cd "$STACKSPEC_BACKUPS/files" && sha256sum -c "$work/stored" 2>/dev/null) >"$work/stored.checked" || :
  sed -n 's/: OK$//p' "$work/stored.checked" | sort >"$work/stored.good"
  cut -f 1 "$1" | sort -u | comm -23 - "$work/stored.good"
}

# list_contents DUMP: what to restore of it, into $work/contents; extensions and functions in public
# are made from their own record.
list_contents() {
  pg_restore -l "$1" >"$work/contents.all" || return 1
  grep -vE '^[0-9]+; [0-9]+ [0-9]+ (EXTENSION|FUNCTION public) ' "$work/contents.all" >"$work/contents"
}

# inventory SNAPSHOT (may be empty): what the database holds, one fact a line, the same on an equal database:
# rows of every table, relations, columns, types, extensions, functions, the migration record.
# A transaction for each schema: all tables of many workspaces do not fit into one lock table.
inventory() {
  begin_read='begin isolation level repeatable read read only;'
  [ -z "$1" ] || begin_read="$begin_read set transaction snapshot '$1';"
  sql -c "$begin_read select quote_literal(name) from ($(schemas_sql)) as own(name) order by 1" >"$work/schemas" || return 1
  # psql reads the name back as a quoted word, in which a backslash would mean something.
  ! grep -q '[\]' "$work/schemas" || return 1
  {
    echo "$begin_read"
    ! is_shared || echo "select 'schema' || chr(9) || quote_literal(name) from ($(schemas_sql)) as own(name);"
    echo "select 'cursor' || chr(9) || coalesce(to_json(c::text)::text, 'null') from ($(cursor_query)) as x(c);"
    cat <<SQL
set local search_path = public;
select concat_ws(chr(9), 'extension', to_json(x.extname)) from pg_extension x where x.extname <> 'plpgsql' $(own_extension_sql);
select concat_ws(chr(9), 'function', to_json(p.oid::regprocedure::text), md5(pg_get_functiondef(p.oid)))
from pg_proc p where p.pronamespace = 'public'::regnamespace and p.prokind in ('f', 'p') $(own_function_sql)
  and not exists (select from pg_depend d where d.classid = 'pg_proc'::regclass and d.objid = p.oid and d.deptype = 'e');
commit;
SQL
    while IFS= read -r schema; do
      echo "$begin_read"
      echo "\\set schema $schema"
      cat <<'SQL'
set local search_path = public;
select concat_ws(chr(9), 'relation', to_json(:'schema' || '.' || c.relname), c.relkind, a.columns)
from pg_class c left join pg_index i on i.indexrelid = c.oid left join lateral (
  select md5(string_agg(concat_ws(' ', attname, format_type(atttypid, atttypmod), attnotnull, attgenerated), ',' order by attnum)) as columns
  from pg_attribute where attrelid = c.oid and attnum > 0 and not attisdropped and c.relkind in ('r', 'p', 'v', 'm')) a on true
where c.relnamespace = (select oid from pg_namespace where nspname = :'schema')
  and c.relkind in ('r', 'p', 'v', 'm', 'S', 'i') and (i.indexrelid is null or i.indisvalid);
select concat_ws(chr(9), 'constraint', to_json(:'schema' || '.' || r.relname || '.' || conname), contype, convalidated)
from pg_constraint join pg_class r on r.oid = conrelid where connamespace = (select oid from pg_namespace where nspname = :'schema');
select concat_ws(chr(9), 'enum', to_json(:'schema' || '.' || t.typname), md5(string_agg(e.enumlabel, ',' order by e.enumsortorder)))
from pg_type t join pg_enum e on e.enumtypid = t.oid
where t.typnamespace = (select oid from pg_namespace where nspname = :'schema') group by t.typname;
select format('select %L || chr(9) || count(*) from %I.%I', 'rows' || chr(9) || to_json(:'schema' || '.' || relname), :'schema', relname)
from pg_class where relnamespace = (select oid from pg_namespace where nspname = :'schema') and relkind in ('r', 'm') \gexec
commit;
SQL
    done <"$work/schemas"
  } >"$work/inventory.sql"
  sql -f "$work/inventory.sql" >"$work/inventory.out" || return 1
  sort "$work/inventory.out"
}

# difference FILE FILE: the first fact that two inventories do not share, for people; nothing when
# they are equal.
difference() {
  diff "$1" "$2" >"$work/difference" || :
  sed -n 's/^[<>] //p' "$work/difference" | cut -f 1,2 | head -n 1 | tr "$tab" ' '
}

# list_files: sha256, size, path of every stored file, sorted. Names that sha256sum would write in
# its own way go one by one; those the list cannot hold are the caller's business.
list_files() {
  cd "$STACKSPEC_FILES" || return 1
  newline='
'
  carriage=$(printf '\r')
  set -- . -type f ! -path './.stackspec-*' ! -path "*$tab*" ! -path "*$newline*"
  find "$@" ! -path '*\\*' ! -path "*$carriage*" -exec sha256sum {} + >"$work/hashes" || return 1
  find "$@" '(' -path '*\\*' -o -path "*$carriage*" ')' >"$work/odd" || return 1
  while IFS= read -r path; do
    printf '%s  %s\n' "$(sha256sum <"$path" | cut -c 1-64)" "$path" >>"$work/hashes" || return 1
  done <"$work/odd"
  find "$@" -exec stat -c '%s %n' {} + >"$work/sizes" || return 1
  # A file that came after the hashes were taken is not part of the list.
  awk '
    FILENAME == ARGV[1] { hash[substr($0, 67)] = substr($0, 1, 64); next }
    { space = index($0, " "); path = substr($0, space + 1) }
    path in hash { printf "%s\t%s\t%s\n", hash[path], substr($0, 1, space - 1), substr(path, 3) }
  ' "$work/hashes" "$work/sizes" | sort
}

unlistable_file() {
  newline='
'
  find "$STACKSPEC_FILES" -type f '(' -path "*$tab*" -o -path "*$newline*" ')' | head -n 1
}

sum_rows() { awk -F '\t' '$1 == "rows" { tables += 1; rows += $3 } END { printf "%d %d", tables, rows }' "$1"; }
