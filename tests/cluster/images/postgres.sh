#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# What the official image promises: a first start makes the cluster from POSTGRES_USER, _PASSWORD
# and _DB (or _FILE of each) and runs /docker-entrypoint-initdb.d; then the arguments are run.
set -eu

of_file() { # VARIABLE   its value, or the content of the file that VARIABLE_FILE names
  eval "value=\${$1:-} file=\${$1_FILE:-}"
  # shellcheck disable=SC2154  # set by eval
  if [ -n "$file" ]; then value=$(cat "$file"); fi
  printf '%s' "$value"
}

first_start() {
  user=$(of_file POSTGRES_USER)
  user=${user:-postgres}
  password=$(of_file POSTGRES_PASSWORD)
  database=$(of_file POSTGRES_DB)
  database=${database:-$user}
  if [ -z "$password" ] && [ "${POSTGRES_HOST_AUTH_METHOD:-}" != trust ]; then
    echo "Error: Database is uninitialized and superuser password is not specified." >&2
    exit 1
  fi
  secret=$(mktemp)
  printf '%s\n' "$password" >"$secret"
  # shellcheck disable=SC2086  # several arguments
  initdb -D "$PGDATA" -U "$user" --pwfile="$secret" -E UTF8 --locale=C.UTF-8 --auth-local=trust \
    --auth-host="${POSTGRES_HOST_AUTH_METHOD:-scram-sha-256}" ${POSTGRES_INITDB_ARGS:-}
  rm -f "$secret"
  echo "host all all all ${POSTGRES_HOST_AUTH_METHOD:-scram-sha-256}" >>"$PGDATA/pg_hba.conf"
  pg_ctl -D "$PGDATA" -o "-c listen_addresses='' -c unix_socket_directories=/tmp" -w start
  export PGHOST=/tmp PGUSER="$user" PGDATABASE="$database"
  if [ "$database" != postgres ]; then
    printf 'CREATE DATABASE :"name";\n' | psql -v ON_ERROR_STOP=1 -v name="$database" -d postgres
  fi
  for script in /docker-entrypoint-initdb.d/*; do
    case $script in
      *.sh) sh "$script" ;;
      *.sql) psql -v ON_ERROR_STOP=1 -f "$script" ;;
    esac
  done
  pg_ctl -D "$PGDATA" -m fast -w stop
  unset PGHOST PGUSER PGDATABASE
}

case ${1:-} in -*) set -- postgres "$@" ;; esac
if [ "${1:-}" = postgres ]; then
  mkdir -p "$PGDATA"
  chmod 700 "$PGDATA" || true
  [ -s "$PGDATA/PG_VERSION" ] || first_start
  # Debian's own default for the socket is the official image's too.
  set -- "$@" -c listen_addresses='*'
fi
exec "$@"
