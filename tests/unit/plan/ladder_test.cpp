// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>

#include "fakes/world.hpp"
#include "plan/plan.hpp"
#include "plan/report.hpp"

namespace stackspec {
namespace {

using namespace std::chrono_literals;

constexpr WallTime kNow{std::chrono::seconds(1795251600)};

/// A stack and its world, moved by passes without mishaps.
struct Play {
  World world{Catalog::builtin()};
  Stack stack;
  WallTime now = kNow;
  std::vector<Event> events;

  explicit Play(const char* tag) {
    stack.key = {"default", "crm"};
    stack.uid = "uid-1";
    stack.spec.tag = tag;
    stack.spec.upgrade.soak_seconds = 0;
  }

  Plan plan() const { return make_plan(stack, world.see(), Catalog::builtin(), now); }

  void step() {
    const Plan decided = plan();
    stack.status = decided.status;
    events.insert(events.end(), decided.events.begin(), decided.events.end());
    if (decided.action) world.act(*decided.action);
    world.tick();
  }

  void run(int steps = 200) {
    for (int i = 0; i < steps; ++i) step();
  }

  /// False, and a failed test, when it does not come to that in a reasonable time.
  template <class Wanted>
  bool until(const Wanted& wanted) {
    for (int i = 0; i < 300 && !wanted(); ++i) step();
    EXPECT_TRUE(wanted()) << "it never came to that; " << stack.status.message;
    return wanted();
  }

  bool is_at(const char* step) const {
    return stack.status.upgrade && stack.status.upgrade->step == step;
  }

  bool told(const std::string& reason) const {
    return std::any_of(events.begin(), events.end(),
                       [&](const Event& event) { return event.reason == reason; });
  }

  std::string gate() const {
    return stack.status.blocked_by.empty() ? "" : stack.status.blocked_by.front().gate;
  }

  std::string condition(const std::string& type) const {
    for (const Condition& each : stack.status.conditions) {
      if (each.type == type) return each.status + " " + each.reason;
    }
    return "absent";
  }
};

Play served(const char* tag) {
  Play play(tag);
  play.run();
  EXPECT_EQ(play.stack.status.version, tag);
  EXPECT_EQ(play.condition("Ready"), "True Settled") << play.stack.status.message;
  play.world.log.clear();
  play.events.clear();
  return play;
}

/// The log without journey ids, which are hashes: `crm-1a2b3c4d-0-backup-1` -> `0-backup-1`.
std::vector<std::string> transcript(const World& world) {
  std::vector<std::string> lines;
  for (std::string line : world.log) {
    const auto at = line.find("crm-");
    if (at != std::string::npos) line.erase(at, 13);
    lines.push_back(line);
  }
  return lines;
}

TEST(Ladder, InstallsThenServesThenDoesNothing) {
  Play play("v1.15.4");
  play.run();
  EXPECT_EQ(play.stack.status.phase, Phase::Ready);
  EXPECT_TRUE(play.told("Installed"));
  const int actions = play.world.actions;
  play.run(50);
  EXPECT_EQ(play.world.actions, actions);
  EXPECT_TRUE(play.world.violations.empty()) << play.world.violations.front();
}

TEST(Ladder, GoesThroughEveryReleaseAndProvesABackupBeforeEach) {
  Play play = served("v1.15.4");
  play.stack.spec.tag = "v1.17.4";
  play.run();
  const std::vector<std::string> wanted = {"start task 0-inspect-1",  "start task 1-inspect-1",
                                           "apply worker v1.15.4 x0", "close gateway",
                                           "apply server v1.15.4 x0", "start task 0-backup-1",
                                           "start task 0-prove-1",    "start task 0-migrate-1",
                                           "apply server v1.16.6 x1", "apply server v1.16.6 x0",
                                           "start task 1-backup-1",   "start task 1-prove-1",
                                           "start task 1-migrate-1",  "apply server v1.17.4 x1",
                                           "apply worker v1.17.4 x1", "open gateway",
                                           "start task 1-flush-1"};
  std::vector<std::string> lines = transcript(play.world);
  // Stopping a component that already is at 0 replicas of another release tells the platform again.
  EXPECT_EQ(lines, wanted);
  EXPECT_EQ(play.stack.status.version, "v1.17.4");
  EXPECT_EQ(play.condition("Ready"), "True Settled");
  EXPECT_TRUE(play.world.violations.empty()) << play.world.violations.front();
}

TEST(Ladder, PutsDatabaseAndImageBackWhenAReleaseIsBadThoughItsTaskEndedWell) {
  Play play = served("v1.15.4");
  const int rows = play.world.database.rows;
  play.world.faults.bad_release = "v1.16.6";
  play.stack.spec.tag = "v1.16.6";
  play.run();
  EXPECT_EQ(play.stack.status.version, "v1.15.4");
  EXPECT_EQ(play.condition("Stalled"), "True RolledBack");
  EXPECT_EQ(play.condition("Ready"), "False RolledBack");
  EXPECT_TRUE(play.told("RolledBack"));
  EXPECT_GE(play.world.database.rows, rows);
  EXPECT_TRUE(play.world.gateway_open);
  EXPECT_TRUE(play.world.violations.empty()) << play.world.violations.front();

  // Latched: the same target is not tried again by itself, another one or a retry is.
  const int actions = play.world.actions;
  play.run(50);
  EXPECT_EQ(play.world.actions, actions);
  play.world.faults.bad_release.clear();
  play.stack.annotations["stackspec.dev/retry"] = "1";
  play.run();
  EXPECT_EQ(play.stack.status.version, "v1.16.6");
  EXPECT_EQ(play.stack.status.last_handled_retry, "1");
}

TEST(Ladder, DoesNotMigrateOnABackupThatIsNotTheOneItNeeds) {
  const struct {
    const char* name;
    void (*spoil)(Seen& seen);
  } rows[] = {
      {"not proven", [](Seen& seen) { seen.backups.front().proven = false; }},
      {"of another release", [](Seen& seen) { seen.backups.front().source_version = "v1.14.0"; }},
      {"of another database", [](Seen& seen) { seen.backups.front().system_identifier = "1"; }},
      {"gone", [](Seen& seen) { seen.backups.clear(); }},
  };
  for (const auto& row : rows) {
    SCOPED_TRACE(row.name);
    Play play = served("v1.15.4");
    play.stack.spec.tag = "v1.16.6";
    const auto proven = [&] {
      return !play.world.backups.empty() && play.world.backups.begin()->second.proven;
    };
    ASSERT_TRUE(play.until(proven));
    Seen seen = play.world.see();
    row.spoil(seen);
    const Plan plan = make_plan(play.stack, seen, Catalog::builtin(), play.now);
    ASSERT_TRUE(plan.status.upgrade);
    EXPECT_EQ(plan.status.upgrade->step, "Unfence");
    EXPECT_EQ(plan.status.upgrade->reason, "BackupNotProven");
    EXPECT_FALSE(plan.status.upgrade->point_of_no_return);
  }
}

TEST(Ladder, AFenceLoweredByHandVoidsTheBackup) {
  for (const char* step : {"Backup", "Prove"}) {
    SCOPED_TRACE(step);
    Play play = served("v1.15.4");
    play.stack.spec.tag = "v1.16.6";
    ASSERT_TRUE(play.until([&] { return play.is_at(step) && !play.world.backups.empty(); }));
    const std::string id = play.stack.status.upgrade->id;
    const std::string backup = play.stack.status.upgrade->backup;
    play.world.gateway_open = true;
    play.step();
    ASSERT_TRUE(play.is_at("Fence"));
    EXPECT_NE(play.stack.status.upgrade->id, id) << "task names are never used twice";
    EXPECT_TRUE(play.told("FenceBroken"));
    EXPECT_FALSE(play.world.gateway_open);
    ASSERT_TRUE(play.until([&] { return play.is_at("Migrate"); }));
    EXPECT_NE(play.stack.status.upgrade->backup, backup);
    play.run();
    EXPECT_EQ(play.stack.status.version, "v1.16.6");
  }
}

TEST(Ladder, DoesNotPutBackABackupThatIsNotProven) {
  Play play = served("v1.15.4");
  play.world.faults.bad_release = "v1.16.6";
  play.stack.spec.tag = "v1.16.6";
  ASSERT_TRUE(play.until([&] { return play.is_at("Migrate"); }));
  play.world.backups.begin()->second.proven = false;
  play.run(30);
  for (const std::string& line : transcript(play.world)) EXPECT_EQ(line.find("restore"), line.npos);
  EXPECT_EQ(play.condition("Stalled"), "True RestoreFailed");
}

TEST(Ladder, DoesNotStartOnADirtyDatabase) {
  Play play = served("v1.15.4");
  // As an upgrade by hand leaves it that failed half way.
  play.world.database.core_version = "v1.16.6";
  play.stack.spec.tag = "v1.16.6";
  play.run(30);
  EXPECT_TRUE(play.is_at("Preflight"));
  EXPECT_FALSE(play.gate().empty());
  EXPECT_TRUE(play.world.gateway_open) << "users are served meanwhile";
  EXPECT_TRUE(play.world.backups.empty());
}

TEST(Ladder, FlagsThatCannotBeSetDoNotKeepUsersOutAndAreTriedAgain) {
  Play play = served("v1.15.4");
  play.stack.spec.flags = {{"IS_AI_ENABLED", true}};
  const auto fail_flags = [&] {
    for (auto& [name, task] : play.world.tasks) {
      if (task.kind == TaskKind::Flags) {
        task.outcome = Outcome::Failed;
        play.world.database.flags_set = false;
      }
    }
  };
  for (int i = 0; i < 20; ++i, fail_flags()) play.step();
  EXPECT_EQ(play.gate(), "FlagsDrift");
  EXPECT_NE(play.stack.status.blocked_by.front().next.find("log of task"), std::string::npos);
  play.stack.spec.tag = "v1.16.6";
  for (int i = 0; i < 200; ++i, fail_flags()) play.step();
  EXPECT_TRUE(play.world.gateway_open);
  EXPECT_EQ(play.stack.status.version, "v1.16.6");
  play.now += 11min;
  play.run(20);
  EXPECT_TRUE(play.world.database.flags_set);
  EXPECT_EQ(play.condition("Ready"), "True Settled");
}

TEST(Ladder, GoesBackOnlyToTheLastVerifiedRelease) {
  Play play = served("v1.15.4");
  play.world.faults.mute_release = "v1.17.4";
  play.stack.spec.tag = "v1.17.4";
  play.run(60);
  play.now += 2h;
  play.run();
  EXPECT_EQ(play.stack.status.version, "v1.16.6");
  EXPECT_EQ(play.condition("Stalled"), "True RolledBack");
  EXPECT_TRUE(play.world.violations.empty()) << play.world.violations.front();
}

TEST(Ladder, OpensTheOldReleaseWhenABackupFailsAndTriesAgainLater) {
  Play play = served("v1.15.4");
  play.world.faults.backup_fails = true;
  play.stack.spec.tag = "v1.16.6";
  play.run();
  EXPECT_EQ(play.stack.status.version, "v1.15.4");
  EXPECT_TRUE(play.world.gateway_open);
  EXPECT_TRUE(play.told("Unfenced"));
  EXPECT_EQ(play.gate(), "BackOff");
  EXPECT_EQ(play.condition("Reconciling"), "True ProgressingWithRetry");
  play.world.faults.backup_fails = false;
  play.now += 1h;
  play.run();
  EXPECT_EQ(play.stack.status.version, "v1.16.6");
}

TEST(Ladder, NamesTheForeignSessionThatBlocksTheFenceAndLetsUsersBackInTime) {
  Play play = served("v1.15.4");
  play.world.faults.foreign_session = true;
  play.stack.spec.tag = "v1.16.6";
  play.run(50);
  ASSERT_EQ(play.gate(), "ForeignSessions");
  EXPECT_NE(play.stack.status.blocked_by.front().seen.find("report of bi"), std::string::npos);
  EXPECT_TRUE(play.world.gateway_open);

  // It comes back behind the fence: after fenceTimeoutSeconds the old release serves again.
  play.world.faults.foreign_session = false;
  ASSERT_TRUE(play.until([&] { return play.is_at("Fence"); }));
  play.world.faults.foreign_session = true;
  play.run(20);
  EXPECT_EQ(play.gate(), "ForeignSessions");
  EXPECT_FALSE(play.world.gateway_open);
  play.now += 1h;
  play.run();
  EXPECT_TRUE(play.world.gateway_open);
  EXPECT_EQ(play.stack.status.version, "v1.15.4");
}

TEST(Ladder, SuspendBehindTheFenceMeansUnfence) {
  Play play = served("v1.15.4");
  play.stack.spec.tag = "v1.16.6";
  ASSERT_TRUE(play.until([&] { return play.is_at("Prove"); }));
  play.stack.spec.suspend = true;
  play.run();
  EXPECT_TRUE(play.world.gateway_open);
  EXPECT_EQ(play.stack.status.version, "v1.15.4");
  EXPECT_EQ(play.stack.status.phase, Phase::Suspended);
  play.stack.spec.suspend = false;
  play.run();
  EXPECT_EQ(play.stack.status.version, "v1.16.6");
}

TEST(Ladder, ALoweredTargetPastThePointOfNoReturnStopsAtTheHop) {
  Play play = served("v1.15.4");
  play.stack.spec.tag = "v1.17.4";
  ASSERT_TRUE(play.until([&] { return play.is_at("Migrate"); }));
  EXPECT_TRUE(play.stack.status.upgrade->point_of_no_return);
  play.stack.spec.tag = "v1.16.6";
  play.run();
  EXPECT_EQ(play.stack.status.version, "v1.16.6");
  EXPECT_EQ(play.condition("Ready"), "True Settled");
}

TEST(Ladder, AnInterruptedTaskIsTriedThreeTimesUnderNewNames) {
  Play play = served("v1.15.4");
  play.stack.spec.tag = "v1.16.6";
  int killed = 0;
  for (int i = 0; i < 200; ++i) {
    play.step();
    for (auto& [name, task] : play.world.tasks) {
      if (task.kind == TaskKind::Migrate && task.outcome != Outcome::Interrupted) {
        task.outcome = Outcome::Interrupted;
        ++killed;
      }
    }
  }
  EXPECT_EQ(killed, 3);
  EXPECT_EQ(play.stack.status.version, "v1.15.4");
  EXPECT_EQ(play.condition("Stalled"), "True RolledBack");
}

TEST(Ladder, ARestoreNeedsThePersonsWordForTheLoss) {
  Play play = served("v1.15.4");
  play.stack.spec.tag = "v1.16.6";
  play.run();
  ASSERT_EQ(play.world.backups.size(), 1U);
  const std::string backup = play.world.backups.begin()->first;
  play.world.restore_requests = {{"back", backup, ""}};
  play.run(20);
  EXPECT_EQ(play.stack.status.version, "v1.16.6");
  EXPECT_NE(why_not_restore(play.world.see(), play.world.restore_requests.front()).find("accept"),
            std::string::npos);

  // The refused one, first in line, holds up nobody.
  play.world.restore_requests = {{"hasty", backup, ""}, {"back", backup, "2026-11-21T08:00:00Z"}};
  ASSERT_TRUE(play.until([&] { return play.stack.status.upgrade.has_value(); }));
  EXPECT_EQ(play.stack.status.upgrade->requested_by, "back");
  ASSERT_TRUE(play.until([&] { return !play.stack.status.upgrade; }));
  play.world.restore_requests.clear();
  play.run(20);
  EXPECT_EQ(play.stack.status.version, "v1.15.4");
  EXPECT_EQ(play.condition("Stalled"), "True Restored") << "the upgrade must not start again";
}

TEST(Ladder, ARestoreGoesBeforeAnUpgradeThatCannotBegin) {
  Play play = served("v1.15.4");
  play.stack.spec.tag = "v1.16.6";
  play.run();
  ASSERT_EQ(play.stack.status.version, "v1.16.6");
  const std::string backup = play.world.backups.begin()->first;
  play.stack.spec.tag = "v1.17.4";
  ASSERT_TRUE(play.until([&] { return play.is_at("Preflight"); }));
  Seen seen = play.world.see();
  seen.missing_secrets = {"crm-mail"};
  seen.restore_requests = {{"back", backup, "2026-11-21T08:00:00Z"}};
  const Plan plan = make_plan(play.stack, seen, Catalog::builtin(), play.now);
  ASSERT_TRUE(plan.status.upgrade);
  EXPECT_EQ(plan.status.upgrade->requested_by, "back");
}

TEST(Ladder, SaysWhyATargetCannotBeReached) {
  const struct {
    const char* tag;
    const char* gate;
  } rows[] = {{"v1.14.0", "Downgrade"}, {"v9.0.0", "ReleaseUnknown"}, {"v1.16.2", "ReleaseDenied"}};
  for (const auto& row : rows) {
    SCOPED_TRACE(row.tag);
    Play play = served("v1.15.4");
    play.stack.spec.tag = row.tag;
    play.run(5);
    EXPECT_EQ(play.gate(), row.gate);
    EXPECT_EQ(play.condition("Stalled"), std::string("True ") + row.gate);
    EXPECT_TRUE(play.world.log.empty());
    EXPECT_TRUE(play.world.gateway_open);
  }
}

TEST(Ladder, RepairsFlagsAndRestartsWhatCachesThem) {
  Play play = served("v1.15.4");
  play.stack.spec.flags = {{"IS_AI_ENABLED", true}};
  play.run();
  EXPECT_TRUE(play.world.database.flags_set);
  EXPECT_EQ(play.condition("Ready"), "True Settled");
  const auto& log = play.world.log;
  const auto count = std::count(log.begin(), log.end(), "apply server v1.15.4 x1");
  EXPECT_EQ(count, 1) << "the server keeps flags in memory";
}

TEST(Ladder, FlagsWrittenByATaskStillAtWorkDoNotOpenTheGateway) {
  Play play("v1.15.4");
  play.stack.spec.flags = {{"IS_AI_ENABLED", true}};
  const auto is_flags = [](const std::optional<Action>& action) {
    const StartTask* start = action ? std::get_if<StartTask>(&*action) : nullptr;
    return start != nullptr && start->task.kind == TaskKind::Flags;
  };
  ASSERT_TRUE(play.until([&] { return is_flags(play.plan().action); }));
  const Plan starts = play.plan();
  play.stack.status = starts.status;
  play.world.act(*starts.action);
  play.world.database.flags_set = true;  // The rows are there; the task goes on.
  const Plan plan = play.plan();
  EXPECT_FALSE(plan.action) << describe(*plan.action);
  ASSERT_FALSE(plan.status.blocked_by.empty());
  EXPECT_EQ(plan.status.blocked_by.front().gate, "Task");
}

TEST(Ladder, StartsADeadComponentAgain) {
  Play play = served("v1.15.4");
  play.world.kill(Component::Worker);
  play.run(10);
  EXPECT_EQ(transcript(play.world), std::vector<std::string>{"apply worker v1.15.4 x1"});
  EXPECT_EQ(play.condition("Ready"), "True Settled");
}

TEST(Ladder, EveryEventHasAKnownReason) {
  Play play = served("v1.15.4");
  play.world.faults.bad_release = "v1.16.6";
  play.stack.spec.tag = "v1.16.6";
  play.run();
  const auto known = event_reasons();
  for (const Event& event : play.events) {
    EXPECT_NE(std::find(known.begin(), known.end(), event.reason), known.end()) << event.reason;
  }
}

TEST(Rest, NamesWhatServesButNotAsTheSpecSays) {
  Play play("v1.15");
  play.run();
  ASSERT_EQ(play.condition("Ready"), "True Settled");
  Seen seen = play.world.see();
  seen.components[Component::Redis].message = "claim crm-redis cannot grow from 1Gi to 2Gi";
  const Plan plan = make_plan(play.stack, seen, Catalog::builtin(), play.now);
  ASSERT_EQ(plan.status.blocked_by.size(), 1U);
  EXPECT_EQ(plan.status.blocked_by[0].gate, "RedisReady");
  EXPECT_EQ(plan.status.blocked_by[0].seen,
            "1 ready, but claim crm-redis cannot grow from 1Gi to 2Gi");
  EXPECT_FALSE(plan.status.blocked_by[0].next.empty());
  EXPECT_EQ(plan.status.phase, Phase::Degraded);
  EXPECT_FALSE(plan.action);
  EXPECT_GE(plan.look_again_in, 5s) << "only a person can help";
}

/// What the platform alone tells: nobody asked database, Redis or front door.
std::string edit_of(const Play& play) {
  Seen seen = play.world.see();
  seen.database = {};
  seen.redis = {};
  seen.probes = {};
  const auto action = plan_edit(play.stack, seen, Catalog::builtin(), play.now);
  return action ? describe(*action) : "nothing";
}

TEST(Edit, OfAReadyStackIsPlannedBeforeItsDatabaseIsAsked) {
  Play play = served("v1.15.4");
  ++play.stack.generation;
  EXPECT_EQ(edit_of(play), "nothing") << "everything is as the spec says";
  play.stack.spec.worker.replicas = 3;
  EXPECT_EQ(edit_of(play), "apply worker v1.15.4 x3");
  play.stack.spec.tag = "v1.16.6";
  EXPECT_EQ(edit_of(play), "apply worker v1.15.4 x3") << "the release that serves, not the next";
  play.stack.spec.worker.replicas = 1;
  EXPECT_EQ(edit_of(play), "nothing") << "an upgrade begins with all there is to see";
}

TEST(Edit, OfAStackThatIsNotReadyWaitsForTheWholeLook) {
  struct {
    const char* why;
    std::function<void(Stack&)> change;
  } const rows[] = {
      {"no edit", [](Stack& stack) { stack.generation = stack.status.observed_generation; }},
      {"not ready", [](Stack& stack) { stack.status.phase = Phase::Degraded; }},
      {"deleted", [](Stack& stack) { stack.deleting = true; }},
      {"suspended", [](Stack& stack) { stack.spec.suspend = true; }},
      {"in a journey", [](Stack& stack) { stack.status.upgrade.emplace().step = "Settle"; }},
      {"Redis of somebody else", [](Stack& stack) { stack.spec.redis.external_url.emplace(); }},
  };
  for (const auto& row : rows) {
    SCOPED_TRACE(row.why);
    Play play = served("v1.15.4");
    ++play.stack.generation;
    play.stack.spec.worker.replicas = 3;
    row.change(play.stack);
    EXPECT_EQ(edit_of(play), "nothing");
  }
}

TEST(Edit, DoesNotRestartFundraisingWhoseRunsWereNotCounted) {
  Play play("v1.15.4");
  play.stack.spec.fundraising.version = "1.0.0";
  play.run();
  ASSERT_EQ(play.condition("Ready"), "True Settled") << play.stack.status.message;
  play.stack.spec.fundraising.version = "1.1.0";
  ++play.stack.generation;
  ASSERT_EQ(describe(play.plan().action.value()).substr(0, 17), "apply fundraising");
  EXPECT_EQ(edit_of(play), "nothing");
}

TEST(Rest, ABackOffNamesWhatFailed) {
  Play play("v1.15");
  play.run();
  play.stack.spec.tag = "v1.16";
  play.stack.status.failures = 1;
  play.stack.status.retry_at = to_rfc3339(play.now + 60s);
  HistoryEntry entry;
  entry.result = "Unfenced";
  entry.message = "BackupFailed: no space left";
  play.stack.status.history.insert(play.stack.status.history.begin(), entry);
  const Plan plan = play.plan();
  ASSERT_EQ(plan.status.blocked_by.size(), 1U);
  EXPECT_EQ(plan.status.blocked_by[0].gate, "BackOff");
  EXPECT_EQ(plan.status.blocked_by[0].seen,
            "1 failed tries, the last: BackupFailed: no space left");
}

}  // namespace
}  // namespace stackspec
