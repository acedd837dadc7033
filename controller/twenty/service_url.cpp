// SPDX-License-Identifier: Apache-2.0
#include "twenty/service_url.hpp"

#include <algorithm>
#include <charconv>
#include <optional>

namespace stackspec {
namespace {

Error invalid(const std::string& what) {
  return {ErrorKind::Invalid, what};
}

std::optional<std::string> percent_decoded(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      out += text[i];
      continue;
    }
    unsigned value = 0;
    if (i + 2 >= text.size()) return std::nullopt;
    const char* const digits = text.data() + i + 1;
    const auto [end, failed] = std::from_chars(digits, digits + 2, value, 16);
    if (failed != std::errc{} || end != digits + 2 || value < 0x20 || value == 0x7f) {
      return std::nullopt;
    }
    out += static_cast<char>(value);
    i += 2;
  }
  return out;
}

std::optional<int> port_of(std::string_view text) {
  int port = 0;
  const auto [end, failed] = std::from_chars(text.data(), text.data() + text.size(), port);
  const bool whole = failed == std::errc{} && end == text.data() + text.size();
  if (!whole || port < 1 || port > 65535) return std::nullopt;
  return port;
}

bool is_host(std::string_view host) {
  return !host.empty() && std::all_of(host.begin(), host.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '-' || c == '_' || c == ':';
  });
}

/// What every URL has, decoded.
struct Parts {
  ServiceUrl url;
  std::string_view query;
};

Result<void> check_text(std::string_view url) {
  if (url.empty()) return invalid("is empty");
  if (url.back() == '\n' || url.back() == '\r') {
    return invalid("ends with a line break; write the Secret without it (printf, not echo)");
  }
  const bool plain =
      std::all_of(url.begin(), url.end(), [](char c) { return c > ' ' && c != 0x7f; });
  if (!plain) return invalid("holds a blank or a character that must be percent-encoded");
  if (url.find('#') != std::string_view::npos) {
    return invalid("holds a #; in a password write it as %23");
  }
  return {};
}

Result<void> read_host(std::string_view text, int standard_port, ServiceUrl& url) {
  url.port = standard_port;
  std::string_view port;
  if (text.starts_with('[')) {
    const auto end = text.find(']');
    if (end == std::string_view::npos) return invalid("has an address without its closing ]");
    url.host = std::string(text.substr(1, end - 1));
    port = text.substr(end + 1);
  } else {
    if (text.find(',') != std::string_view::npos) {
      return invalid("names several hosts; name the one that takes writes");
    }
    const auto colon = text.find(':');
    url.host = std::string(text.substr(0, colon));
    if (colon != std::string_view::npos) port = text.substr(colon);
  }
  if (!is_host(url.host)) return invalid("names no host");
  if (port.empty()) return {};
  const auto number = port.front() == ':' ? port_of(port.substr(1)) : std::nullopt;
  if (!number) return invalid("has a port that is none; use 1 to 65535");
  url.port = *number;
  return {};
}

/// `rest` is what follows the scheme.
Result<Parts> split(std::string_view rest, int standard_port) {
  Parts parts;
  if (const auto query = rest.find('?'); query != std::string_view::npos) {
    parts.query = rest.substr(query + 1);
    rest = rest.substr(0, query);
  }
  const auto slash = rest.find('/');
  const std::string_view authority = rest.substr(0, slash);
  const std::string_view path = slash == std::string_view::npos ? "" : rest.substr(slash + 1);
  const auto at = authority.find('@');
  if (at != authority.rfind('@')) {
    return invalid("has more than one @; in a password write it as %40");
  }
  if (at != std::string_view::npos) {
    const std::string_view person = authority.substr(0, at);
    const auto colon = person.find(':');
    const auto user = percent_decoded(person.substr(0, colon));
    const auto password = percent_decoded(
        colon == std::string_view::npos ? std::string_view() : person.substr(colon + 1));
    if (!user || !password) return invalid("has a % in user or password that must be %25");
    parts.url.user = *user;
    parts.url.password = *password;
  }
  TRY(read_host(authority.substr(at == std::string_view::npos ? 0 : at + 1), standard_port,
                parts.url));
  const auto database = percent_decoded(path);
  if (!database || path.find('/') != std::string_view::npos) {
    return invalid("has no database in its path, such as /crm");
  }
  parts.url.database = *database;
  return parts;
}

Result<void> read_parameter(std::string_view parameter, ServiceUrl& url) {
  const auto equals = parameter.find('=');
  const std::string_view name = parameter.substr(0, equals);
  const std::string_view value =
      equals == std::string_view::npos ? "" : parameter.substr(equals + 1);
  if (name == "schema") {
    return invalid("says ?schema=; Twenty's schemas have names of their own, remove it");
  }
  if (name == "application_name") {
    return invalid("says application_name; sessions are known by it, remove it");
  }
  if (name != "sslmode") return invalid("has a parameter that is not sslmode; remove it");
  for (const char* known : {"disable", "allow", "prefer", "require", "verify-ca", "verify-full"}) {
    if (value == known) url.ssl_mode = known;
  }
  if (url.ssl_mode.empty()) {
    return invalid("has an sslmode that PostgreSQL does not know; use require or verify-full");
  }
  return {};
}

Result<std::string> value_in(const NamedSecrets& secrets, const SecretKeyRef& ref) {
  const auto secret = secrets.find(ref.name);
  if (secret == secrets.end()) return Error{ErrorKind::NotFound, "Secret " + ref.name};
  const auto value = secret->second.find(ref.key);
  if (value == secret->second.end()) {
    return Error{ErrorKind::NotFound, "key " + ref.key + " of Secret " + ref.name};
  }
  return value->second;
}

Result<ServiceUrl> found(const NamedSecrets& secrets, const SecretKeyRef& ref,
                         Result<ServiceUrl> (*parse)(std::string_view)) {
  const std::string text = TRY(value_in(secrets, ref));
  auto url = parse(text);
  if (!url) {
    return Error{url.error().kind,
                 "Secret " + ref.name + ", key " + ref.key + ": " + url.error().message};
  }
  return url;
}

/// Whether a table is there and ours to read. to_regclass() would fail in a schema of others.
std::string is_readable(const std::string& schema, const std::string& table) {
  return "EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE "
         "n.nspname = '" +
         schema + "' AND c.relname = '" + table +
         "' AND has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT'))";
}

// What is not there in this release of Twenty stays a text: query_to_xml() runs only what is
// chosen.
std::string named_schemas_sql() {
  const std::string nothing = " ELSE 'SELECT 1 WHERE false' END)";
  return "SELECT unnest(xpath('//s/text()', query_to_xml(q, false, false, '')))::text FROM (VALUES "
         "(CASE WHEN " +
         is_readable("core", "dataSource") + " THEN 'SELECT schema AS s FROM core.\"dataSource\"'" +
         nothing + ", (CASE WHEN " + is_readable("metadata", "dataSource") +
         " THEN 'SELECT schema AS s FROM metadata.\"dataSource\"'" + nothing + ", (CASE WHEN " +
         is_readable("core", "workspace") +
         " THEN 'SELECT to_jsonb(w)->>''databaseSchema'' AS s FROM core.workspace w'" + nothing +
         ") AS records(q)";
}

}  // namespace

Result<ServiceUrl> parse_postgres_url(std::string_view url) {
  TRY(check_text(url));
  std::string_view rest;
  for (const std::string_view scheme : {"postgres://", "postgresql://"}) {
    if (url.starts_with(scheme)) rest = url.substr(scheme.size());
  }
  if (rest.empty()) return invalid("must start with postgres://");
  Parts parts = TRY(split(rest, 5432));
  if (parts.url.user.empty()) return invalid("names no user");
  if (parts.url.database.empty()) return invalid("has no database in its path, such as /crm");
  while (!parts.query.empty()) {
    const auto end = parts.query.find('&');
    TRY(read_parameter(parts.query.substr(0, end), parts.url));
    parts.query = end == std::string_view::npos ? std::string_view() : parts.query.substr(end + 1);
  }
  return std::move(parts.url);
}

Result<ServiceUrl> parse_redis_url(std::string_view url) {
  TRY(check_text(url));
  constexpr std::string_view kScheme = "redis://", kTlsScheme = "rediss://";
  const bool tls = url.starts_with(kTlsScheme);
  if (!tls && !url.starts_with(kScheme)) return invalid("must start with redis:// or rediss://");
  Parts parts = TRY(split(url.substr((tls ? kTlsScheme : kScheme).size()), 6379));
  parts.url.tls = tls;
  if (!parts.query.empty()) return invalid("has parameters; remove what follows the ?");
  const std::string& number = parts.url.database;
  const bool digits =
      number.size() <= 4 && number.find_first_not_of("0123456789") == std::string::npos;
  if (!digits) return invalid("names no database of Redis; use a number such as /0");
  if (number.empty()) parts.url.database = "0";
  return std::move(parts.url);
}

Result<ServiceUrl> find_postgres_url(const NamedSecrets& secrets, const SecretKeyRef& ref) {
  return found(secrets, ref, parse_postgres_url);
}

Result<ServiceUrl> find_redis_url(const NamedSecrets& secrets, const SecretKeyRef& ref) {
  return found(secrets, ref, parse_redis_url);
}

const SecretKeyRef& maintenance_ref(const ExternalDatabase& database) {
  return database.maintenance_url ? *database.maintenance_url : database.url;
}

std::string own_schemas_sql(bool shared) {
  if (!shared) {
    return "SELECT nspname::text FROM pg_namespace WHERE nspname IN ('core', 'metadata') OR "
           "nspname "
           "~ '^workspace_'";
  }
  return "SELECT nspname::text FROM pg_namespace WHERE (nspname = 'core' AND " +
         is_readable("core", "workspace") + ") OR (nspname = 'metadata' AND " +
         is_readable("metadata", "dataSource") +
         ") OR (nspname ~ '^workspace_' AND nspname::text IN (" + named_schemas_sql() + "))";
}

std::string foreign_dependents_sql(bool shared) {
  const std::string in_ours = " IN (SELECT oid FROM ours)";
  std::string mine = "SELECT 'pg_namespace'::regclass, oid FROM ours";
  const struct {
    const char *catalog, *column;
  } kinds[] = {{"pg_class", "relnamespace"},         {"pg_type", "typnamespace"},
               {"pg_proc", "pronamespace"},          {"pg_constraint", "connamespace"},
               {"pg_statistic_ext", "stxnamespace"}, {"pg_operator", "oprnamespace"},
               {"pg_opclass", "opcnamespace"},       {"pg_opfamily", "opfnamespace"},
               {"pg_collation", "collnamespace"},    {"pg_ts_config", "cfgnamespace"},
               {"pg_ts_dict", "dictnamespace"}};
  for (const auto& [catalog, column] : kinds) {
    mine += std::string(" UNION ALL SELECT '") + catalog + "'::regclass, oid FROM " + catalog +
            " WHERE " + column + in_ours;
  }
  const struct {
    const char *catalog, *column;
  } parts[] = {{"pg_attrdef", "adrelid"},
               {"pg_rewrite", "ev_class"},
               {"pg_trigger", "tgrelid"},
               {"pg_policy", "polrelid"}};
  for (const auto& [catalog, column] : parts) {
    mine += std::string(" UNION ALL SELECT '") + catalog + "'::regclass, oid FROM " + catalog +
            " WHERE " + column + " IN (SELECT oid FROM pg_class WHERE relnamespace" + in_ours + ")";
  }
  return "WITH ours AS (SELECT oid FROM pg_namespace WHERE nspname::text IN (" +
         own_schemas_sql(shared) + ")), mine(classid, objid) AS MATERIALIZED (" + mine +
         ") SELECT DISTINCT pg_describe_object(d.classid, d.objid, 0) FROM pg_depend d JOIN mine "
         "ON "
         "d.refclassid = mine.classid AND d.refobjid = mine.objid WHERE d.deptype IN ('n', 'a') "
         "AND "
         "d.classid <> 'pg_default_acl'::regclass AND NOT EXISTS (SELECT FROM mine other WHERE "
         "other.classid = d.classid AND other.objid = d.objid) ORDER BY 1 LIMIT 10";
}

}  // namespace stackspec
