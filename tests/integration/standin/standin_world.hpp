// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "fakes/temp_folder.hpp"
#include "integration/postgres_fixture.hpp"
#include "integration/redis_fixture.hpp"

namespace stackspec {

using Environment = std::map<std::string, std::string>;

/// A program in the background, as plain_user(); ended with this object, or with the test program.
class Running {
 public:
  Running(const std::vector<std::string>& argv, const Environment& env, const std::string& folder,
          std::string log);
  Running(const Running&) = delete;
  Running& operator=(const Running&) = delete;
  ~Running();

  std::string log() const;
  bool logs(const std::string& phrase) const;  ///< Waits until it does.
  /// Sends the signal (0: none) and waits; exit code, or 128 + signal. -1: still there after 20 s.
  int end(int signal);

 private:
  pid_t pid_ = -1;
  int code_ = -1;
  std::string log_;
};

struct Answer {
  int status = 0;  ///< 0: the connection failed or was closed without an answer.
  std::string body;
};
Answer http(const std::string& method, int port, const std::string& path,
            const std::string& body = "", const std::string& header = "");

/// Release folders, PostgreSQL and Redis for all tests of the program.
class StandinWorld {
 public:
  StandinWorld();
  static StandinWorld& get();

  PostgresFixture& postgres() { return postgres_; }
  testing::RedisServer& redis() { return redis_; }
  std::string release(const std::string& tag) const { return releases_ / tag; }
  std::string work(const std::string& tag) const {
    return release(tag) + "/app/packages/twenty-server";
  }
  /// What the controller gives: image.env, then the component's, migrations off; `extra` wins.
  Environment environment(const std::string& tag, const std::string& database,
                          const Environment& extra = {}) const;
  /// Runs the entrypoint to its end.
  Finished run(const std::string& tag, const std::string& database,
               const std::vector<std::string>& args, const Environment& extra = {}) const;
  /// Starts the entrypoint in the background.
  std::unique_ptr<Running> start(const std::string& tag, const std::string& database,
                                 const std::vector<std::string>& args = {},
                                 const Environment& extra = {});
  /// A faults file for the variable STANDIN_FAULTS.
  Environment faults(const std::string& json);

  /// A new database: empty, or a copy of a start state (`1.15`, `2.19`, …). Returns its name.
  std::string database(const std::string& state = "");
  std::string add_workspaces(const std::string& tag, const std::string& database,
                             const std::string& count);
  static int free_port();

 private:
  void make_states();
  void keep(const std::string& from, const std::string& state);

  PostgresFixture postgres_;
  testing::RedisServer redis_;
  TempFolder releases_, files_;
  int number_ = 0;
};

/// Migrations and cron registration on: variables that are not the literal `true`.
inline const Environment kMigrationsOn = {{"DISABLE_DB_MIGRATIONS", "false"},
                                          {"DISABLE_CRON_JOBS_REGISTRATION", "false"}};
/// Versions of all workspaces in order of their names, joined by a space; `-` for NULL.
std::string versions(const std::string& database);
int migrations(const std::string& database);
bool identifiers_not_null(const std::string& database);

}  // namespace stackspec
