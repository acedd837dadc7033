// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "api/stack.hpp"
#include "base/result.hpp"

namespace stackspec {

/// Where a PostgreSQL or Redis is that somebody else runs, as the URL in a Secret says.
struct ServiceUrl {
  std::string host;
  int port = 0;
  std::string user, password;
  std::string database;  ///< PostgreSQL: its name. Redis: its number.
  std::string ssl_mode;  ///< PostgreSQL's sslmode; empty: not given.
  bool tls = false;      ///< Redis: the URL begins with `rediss://`.
  friend bool operator==(const ServiceUrl&, const ServiceUrl&) = default;
};

/// `postgres://user:password@host:port/database?sslmode=require`. Error: Invalid, what is wrong,
/// with nothing of the URL in it.
Result<ServiceUrl> parse_postgres_url(std::string_view url);
/// `redis://user:password@host:port/number`, or `rediss://` for TLS. Errors as above.
Result<ServiceUrl> parse_redis_url(std::string_view url);

/// The URL under a key of a Secret, by values as the controller has them: name -> key -> value.
/// Errors: NotFound (the Secret, or the key in it), Invalid (the URL); both name the Secret.
using NamedSecrets = std::map<std::string, std::map<std::string, std::string>>;
Result<ServiceUrl> find_postgres_url(const NamedSecrets& secrets, const SecretKeyRef& ref);
Result<ServiceUrl> find_redis_url(const NamedSecrets& secrets, const SecretKeyRef& ref);

/// Where tasks and the controller find an external database: round a pooler where there is one.
const SecretKeyRef& maintenance_ref(const ExternalDatabase& database);

/// SQL whose rows are the names of Twenty's schemas. `shared`: only those that Twenty's own records
/// name, because other applications may have schemas of such names too.
std::string own_schemas_sql(bool shared);
/// SQL whose rows say what depends on Twenty's schemas and is not in them. A restore would leave it
/// with what is set aside.
std::string foreign_dependents_sql(bool shared);

}  // namespace stackspec
