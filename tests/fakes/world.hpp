// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "catalog/catalog.hpp"
#include "plan/plan.hpp"
#include "plan/seen.hpp"

// A whole stack as a value: processes, tasks, a database with rows, backups. Small, copyable,
// comparable by its text; the model walks over it, the scenarios run the real reconciler on it.
// It watches over itself: what must never happen is written down in `violations` the moment it
// does.

namespace stackspec {

struct FakeComponent {
  bool exists = false;
  int wanted = 0;
  int running = 0;
  bool ready = false;
  std::string version;
  std::string revision;
};

struct FakeTask {
  TaskKind kind = TaskKind::Inspect;
  std::string from = {}, to = {}, backup = {}, cursor = {}, flags = {};
  int ticks = 1;  ///< Looks until it ends by itself.
  Outcome outcome = Outcome::Running;
  int exit_code = -1;
};

/// The database, as much of it as decides anything.
struct FakeDatabase {
  bool initialised = false;
  std::string version;  ///< What the migration record says: `v1.15.4`.
  std::string core_version =
      {};        ///< Core migrations applied: ahead of `version` after a bad upgrade.
  int rows = 0;  ///< Written by users, one a tick while they are let in.
  bool flags_set = false;
  friend bool operator==(const FakeDatabase&, const FakeDatabase&) = default;
};

struct FakeBackup {
  FakeDatabase content;
  bool proven = false;
  int order = 0;
};

/// How the world differs from a good one; set by the test before or during a run.
struct FakeFaults {
  std::string bad_release = {};      ///< Its upgrade ends with 0 and migrates nothing but the core.
  std::string failing_release = {};  ///< Its upgrade ends with a verdict.
  std::string mute_release = {};     ///< Its server is healthy but answers no query.
  std::string missing_release = {};
  bool backup_fails = false;  ///< Disk full: a verdict.
  bool prove_fails = false;
  bool restore_fails = false;
  bool foreign_session = false;
  bool fundraising_run = false;
};

class World {
 public:
  explicit World(const Catalog& catalog) : catalog_(&catalog) {}

  Seen see() const;
  void act(const Action& action);
  /// Time passes a little: tasks end, processes become ready, users write.
  void tick();
  /// The newest running task is killed (eviction, out of memory). False: there was none.
  bool interrupt();
  void kill(Component which);

  /// Everything that decides the future, for a set of visited states.
  std::string key() const;

  FakeFaults faults;
  FakeDatabase database;
  std::map<Component, FakeComponent> components;
  std::map<std::string, FakeTask> tasks;
  std::map<std::string, FakeBackup> backups;
  std::vector<RestoreRequest> restore_requests;
  bool external = false;  ///< Somebody else runs database and Redis.
  bool gateway_open = false;
  bool redis_dirty = false;
  int actions = 0;  ///< Everything ever done to the world.
  std::vector<std::string> log;
  std::vector<std::string> violations;

 private:
  void forbid(bool bad, const std::string& what);
  void apply(const ApplyComponent& action);
  void start(const StartTask& action);
  void finish(FakeTask& task);
  void finish_migrate(FakeTask& task);
  bool users_are_let_in() const;
  bool task_is_running(TaskKind kind) const;
  std::string cursor() const;

  const Catalog* catalog_;
};

}  // namespace stackspec
