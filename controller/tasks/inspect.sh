# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh disable=SC2154
# inspect: what the image of STACKSPEC_TO really is. Changes nothing.
begin
target=${STACKSPEC_TO#v}
app=${APP_VERSION:-}
app=${app#v}

first_line() { "$@" 2>/dev/null </dev/null | head -n 1 || :; }

minor_of() { printf '%s\n' "$1" | sed -n 's/^\([0-9][0-9]*\.[0-9][0-9]*\)\([.+-].*\)\{0,1\}$/\1/p'; }

case $app in
  '') verdict "$verdict_failed" "the image of $STACKSPEC_TO has no APP_VERSION: workspaces would lose their version" ;;
esac
if [ -z "$(minor_of "$app")" ] || [ "$(minor_of "$app")" != "$(minor_of "$target")" ]; then
  verdict "$verdict_failed" "the image of $STACKSPEC_TO says APP_VERSION $app"
fi
psql_major=$(first_line psql --version | sed 's/[^0-9]*\([0-9]*\).*/\1/')
result "{\"appVersion\":$(json_text "$app" 40),\"arch\":$(json_text "$(uname -m)" 40),\"psql\":$(json_text "$psql_major" 10),\
\"imageMigrations\":$(count_image_migrations),\"node\":$(json_text "$(first_line node --version)" 40)}"
