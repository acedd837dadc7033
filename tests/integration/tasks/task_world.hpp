// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <nlohmann/json.hpp>
#include <string>

#include "base/process.hpp"
#include "fakes/temp_folder.hpp"
#include "integration/postgres_fixture.hpp"
#include "tasks/task.hpp"

namespace stackspec {

/// How one run of a task ended.
struct TaskEnd {
  int code = -1;  ///< -1: killed before it could tell.
  std::string log;
  std::string raw_result;
  std::map<std::string, std::string> result;
};

/// A stack as the tasks see it: a database, stored files, a folder of backups, a fake yarn.
class TaskWorld {
 public:
  /// `shell`: "dash" or "busybox"; the latter with its own tools in front of the system's.
  explicit TaskWorld(const std::string& shell = "dash",
                     const std::vector<std::string>& settings = {});

  PostgresFixture pg;
  std::map<std::string, std::string> env;  ///< Of the next tasks.

  void use_shell(const std::string& shell);
  std::string path(const std::string& name) const { return folder_ / name; }
  std::string backup(const std::string& file) const { return path("backups/b1/" + file); }
  void write(const std::string& name, const std::string& text, int mode = 0644) const;
  /// Makes a folder and all in it belong to the user of the tasks.
  void give_all(const std::string& name) const;
  /// The fake `yarn`, whose arguments are noted in `calls` first.
  void yarn(const std::string& body) const;
  std::string calls() const;

  /// A full disk for the next tasks: no file of theirs may grow over so many bytes.
  void limit_files(int bytes) { file_limit_ = bytes; }

  ProcessId start(TaskKind kind, const std::string& name = "");
  TaskEnd wait(const ProcessId& process);
  TaskEnd run(TaskKind kind, const std::string& name = "");
  void kill(const ProcessId& process);  ///< SIGKILL to the group; returns when it is gone.

  /// Twenty's schema in small, with `workspaces` workspaces, and three stored files.
  void make_data(int workspaces = 2);
  /// Everything a restore must bring back, as one text.
  std::string contents();
  std::string sql(const std::string& statements) const { return pg.sql("default", statements); }

 private:
  std::string shell_, name_;
  int file_limit_ = 0;
  TempFolder folder_;
};

std::string read_text(const std::string& path);

}  // namespace stackspec
