#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Entrypoint 1.17 to 1.23: the cache is flushed before and after; whatever `upgrade` says, its exit code is 0 and the server starts.
set -e

if [ "${DISABLE_DB_MIGRATIONS}" = "true" ]; then
  echo "Database setup and migrations are disabled, skipping..."
else
  echo "Running database setup and migrations..."
  has_schema=$(/usr/bin/python3 -IB dist/standin has-schema | tail -n 1)
  if [ "$has_schema" = f ]; then
    echo "Database appears to be empty, running migrations."
    yarn database:init:prod
  elif [ "$has_schema" != t ]; then
    exit 1
  fi
  yarn command:prod cache:flush
  yarn command:prod upgrade
  yarn command:prod cache:flush
  echo "Successfully migrated DB!"
fi

if [ "${DISABLE_CRON_JOBS_REGISTRATION}" = "true" ]; then
  echo "Cron job registration is disabled, skipping..."
else
  echo "Registering background sync jobs..."
  yarn command:prod cron:register:all || echo "Warning: Failed to register background jobs, but continuing startup..."
fi

[ $# -gt 0 ] || set -- node dist/main
exec "$@"
