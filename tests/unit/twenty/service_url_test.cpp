// SPDX-License-Identifier: Apache-2.0
#include "twenty/service_url.hpp"

#include <gtest/gtest.h>

namespace stackspec {
namespace {

TEST(ServiceUrl, SaysWherePostgresIs) {
  const struct {
    const char* url;
    ServiceUrl wanted;
  } rows[] = {
      {"postgres://u:p@h/d", {"h", 5432, "u", "p", "d", ""}},
      {"postgresql://u:p@db.example.org:6432/crm", {"db.example.org", 6432, "u", "p", "crm", ""}},
      {"postgres://u@h/d", {"h", 5432, "u", "", "d", ""}},
      {"postgres://u%40a:p%2F%40%25%3a@h/my%20db", {"h", 5432, "u@a", "p/@%:", "my db", ""}},
      {"postgres://u:p:q@h/d", {"h", 5432, "u", "p:q", "d", ""}},
      {"postgres://u:p@[2001:db8::1]:5433/d", {"2001:db8::1", 5433, "u", "p", "d", ""}},
      {"postgres://u:p@h/d?sslmode=verify-full", {"h", 5432, "u", "p", "d", "verify-full"}},
  };
  for (const auto& row : rows) {
    SCOPED_TRACE(row.url);
    const auto url = parse_postgres_url(row.url);
    ASSERT_TRUE(url) << url.error().message;
    EXPECT_EQ(*url, row.wanted);
  }
}

TEST(ServiceUrl, SaysWhereRedisIs) {
  const struct {
    const char* url;
    ServiceUrl wanted;
  } rows[] = {
      {"redis://h", {"h", 6379, "", "", "0", ""}},
      {"redis://h:6380/3", {"h", 6380, "", "", "3", ""}},
      {"redis://:p%40w@h/", {"h", 6379, "", "p@w", "0", ""}},
      {"redis://user:pw@10.0.0.1:6379/15", {"10.0.0.1", 6379, "user", "pw", "15", ""}},
      {"rediss://:pw@h:6380/1", {"h", 6380, "", "pw", "1", "", true}},
  };
  for (const auto& row : rows) {
    SCOPED_TRACE(row.url);
    const auto url = parse_redis_url(row.url);
    ASSERT_TRUE(url) << url.error().message;
    EXPECT_EQ(*url, row.wanted);
  }
}

TEST(ServiceUrl, RefusesWithTheReasonAndNothingOfTheSecret) {
  const struct {
    const char *url, *reason;
    bool redis = false;
  } rows[] = {
      {"", "is empty"},
      {"mysql://u:hunter2@h/d", "must start with postgres://"},
      {"postgres://u:hunter2@h/d\n", "line break"},
      {"postgres://u:hunter2 x@h/d", "percent-encoded"},
      {"postgres://u:hunter2#x@h/d", "%23"},
      {"postgres://u:hunter2@x@h/d", "%40"},
      {"postgres://u:hunter2/x@h/d", "port"},
      {"postgres://u:hunter2%4@h/d", "%25"},
      {"postgres://u:hunter2%zz@h/d", "%25"},
      {"postgres://u:hunter2%00@h/d", "%25"},
      {"postgres://:hunter2@h/d", "names no user"},
      {"postgres://u:hunter2@/d", "names no host"},
      {"postgres://u:hunter2@a,b/d", "several hosts"},
      {"postgres://u:hunter2@h:0/d", "port"},
      {"postgres://u:hunter2@h:65536/d", "port"},
      {"postgres://u:hunter2@h:x/d", "port"},
      {"postgres://u:hunter2@[::1/d", "closing ]"},
      {"postgres://u:hunter2@h", "no database"},
      {"postgres://u:hunter2@h/", "no database"},
      {"postgres://u:hunter2@h/d/e", "no database"},
      {"postgres://u:hunter2@h/d?schema=public", "?schema="},
      {"postgres://u:hunter2@h/d?application_name=x", "application_name"},
      {"postgres://u:hunter2@h/d?hunter2", "a parameter that is not sslmode"},
      {"postgres://u:hunter2@h/d?sslmode=hunter2", "an sslmode"},
      {"http://:hunter2@h/0", "must start with redis:// or rediss://", true},
      {"redis://:hunter2@h/hunter2", "a number", true},
      {"redis://:hunter2@h/0?db=1", "parameters", true},
  };
  for (const auto& row : rows) {
    SCOPED_TRACE(row.url);
    const auto url = row.redis ? parse_redis_url(row.url) : parse_postgres_url(row.url);
    ASSERT_FALSE(url);
    EXPECT_EQ(url.error().kind, ErrorKind::Invalid);
    EXPECT_NE(url.error().message.find(row.reason), std::string::npos) << url.error().message;
    EXPECT_EQ(url.error().message.find("hunter2"), std::string::npos) << url.error().message;
  }
}

TEST(ServiceUrl, IsFoundUnderAKeyOfASecret) {
  const NamedSecrets secrets = {{"db", {{"url", "postgres://u:p@h/d"}, {"bad", "postgres://"}}}};
  EXPECT_EQ(find_postgres_url(secrets, {"db", "url"})->host, "h");
  const struct {
    SecretKeyRef ref;
    ErrorKind kind;
    const char* message;
  } rows[] = {
      {{"other", "url"}, ErrorKind::NotFound, "Secret other"},
      {{"db", "uri"}, ErrorKind::NotFound, "key uri of Secret db"},
      {{"db", "bad"}, ErrorKind::Invalid, "Secret db, key bad: must start with postgres://"},
  };
  for (const auto& row : rows) {
    const auto url = find_postgres_url(secrets, row.ref);
    ASSERT_FALSE(url);
    EXPECT_EQ(url.error().kind, row.kind);
    EXPECT_EQ(url.error().message, row.message);
  }
}

}  // namespace
}  // namespace stackspec
