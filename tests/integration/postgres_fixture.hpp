// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <map>
#include <string>
#include <vector>

#include "fakes/temp_folder.hpp"

namespace stackspec {

/// The user that programs refusing root (PostgreSQL) run as in tests: `postgres` or `nobody` when
/// we are root, else ourselves.
struct PlainUser {
  uid_t uid = 0;
  gid_t gid = 0;
};
PlainUser plain_user();

struct Finished {
  int code = -1;  ///< Exit code, or 128 + the signal that ended it.
  std::string output;
};

/// Runs a program to its end as `plain_user()`, in `folder`, with the environment `env` only.
Finished run_program(const std::vector<std::string>& argv,
                     const std::map<std::string, std::string>& env, const std::string& folder);

/// A throw-away PostgreSQL of the system: superuser `postgres` (trust on the socket), a role
/// `twenty` without superuser that owns the database `default`. Loopback connections need the
/// password. Stops in the destructor, and with the test program if that is killed.
class PostgresFixture {
 public:
  explicit PostgresFixture(const std::vector<std::string>& settings = {});
  PostgresFixture(const PostgresFixture&) = delete;
  PostgresFixture& operator=(const PostgresFixture&) = delete;
  ~PostgresFixture();

  const std::string& host() const { return host_; }  ///< 127.0.0.1
  int port() const { return port_; }
  const std::string& socket_folder() const { return socket_folder_; }
  const std::string& password() const { return password_; }  ///< Of `twenty` and `postgres`.
  const std::string& programs() const { return programs_; }  ///< Folder of psql, pg_dump, initdb.
  std::string url(const std::string& database = "default") const;  ///< As `twenty`.
  /// PG* variables for `twenty` over loopback, and a PATH with PostgreSQL's programs in front.
  std::map<std::string, std::string> environment(const std::string& database = "default") const;

  /// A fresh database owned by `twenty`; its name is `name`.
  void create_database(const std::string& name);
  /// Runs SQL as `user`; rows are lines, columns separated by `|`. Throws std::runtime_error with
  /// psql's message when it fails.
  std::string sql(const std::string& database, const std::string& statements,
                  const std::string& user = "twenty") const;
  /// A full disk: no file of the server may grow over so many bytes; -1: as large as they like.
  void limit_files(long bytes) const;

 private:
  void start(const std::vector<std::string>& settings);

  TempFolder folder_;
  std::string host_ = "127.0.0.1";
  std::string password_ = "not-a-secret";
  std::string programs_, socket_folder_;
  int port_ = 0;
  pid_t pid_ = -1;
};

}  // namespace stackspec
