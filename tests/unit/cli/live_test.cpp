// SPDX-License-Identifier: Apache-2.0
#include "cli/live.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace stackspec {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

WallTime at(const char* time) {
  return *parse_rfc3339("2026-11-21T" + std::string(time) + "Z");
}
std::string on(const char* time) {
  return "2026-11-21T" + std::string(time) + "Z";
}

StepRecord done(const char* name, const char* hop, const char* from, const char* to) {
  return {.name = name,
          .hop = hop,
          .state = "Done",
          .started_at = on(from),
          .finished_at = on(to),
          .message = {}};
}
StepRecord running(const char* name, const char* hop, const char* from) {
  return {.name = name,
          .hop = hop,
          .state = "Running",
          .started_at = on(from),
          .finished_at = {},
          .message = {}};
}

/// Behind the fence, migrating the first of two hops.
Stack migrating() {
  Stack stack;
  stack.key.name = "crm";
  stack.generation = 2;
  stack.spec.flags = {{"IS_AI_ENABLED", true}};
  stack.spec.smoke = {{.name = "home"}};
  stack.spec.upgrade.soak_seconds = 3;
  StackStatus& status = stack.status;
  status.observed_generation = 2;
  status.phase = Phase::Upgrading;
  status.version = "v1.15.4";
  status.target_version = "v1.17.4";
  status.url = "http://127.0.0.1:4000";
  UpgradeStatus journey;
  journey.id = "u7c01aaa";
  journey.kind = "Upgrade";
  journey.from = "v1.15.4";
  journey.to = "v1.17.4";
  journey.path = {"v1.16.6", "v1.17.4"};
  journey.hop_to = "v1.16.6";
  journey.step = "Migrate";
  journey.point_of_no_return = true;
  journey.backup = "crm-u7c01aaa-0";
  journey.started_at = on("22:00:20");
  journey.fenced_at = on("22:00:31");
  journey.steps = {done("Plan", "", "22:00:20", "22:00:20"),
                   done("Preflight", "", "22:00:20", "22:00:28"),
                   done("Fence", "", "22:00:28", "22:00:31"),
                   done("Backup", "v1.16.6", "22:00:31", "22:00:33"),
                   done("Prove", "v1.16.6", "22:00:33", "22:00:37"),
                   running("Migrate", "v1.16.6", "22:00:37")};
  status.upgrade = journey;
  status.last_backup = LastBackup{.name = "crm-u7c01aaa-0",
                                  .finished_at = on("22:00:31"),
                                  .source_version = "v1.15.4",
                                  .proof = "L4",
                                  .size_bytes = 14'200'000};
  status.blocked_by = {{.gate = "Task",
                        .seen = "crm-u7c01aaa-0-migrate-1: workspace 3/12",
                        .wanted = "ended",
                        .next = {}}};
  return stack;
}

/// The bad release was refused: v1.17.4 serves again.
Stack rolled_back() {
  Stack stack;
  stack.key.name = "crm";
  stack.generation = 3;
  StackStatus& status = stack.status;
  status.observed_generation = 3;
  status.phase = Phase::Degraded;
  status.version = "v1.17.4";
  status.target_version = "v1.18.0";
  status.url = "http://127.0.0.1:4000";
  status.latch = Latch{.target = "v1.18.0",
                       .reason = "RolledBack",
                       .message =
                           "v1.18.0 refused: the task ended well, but WorkspacesBehind: 1 "
                           "(wanted 0); v1.17.4 serves with the data of "
                           "2026-11-21T22:05:00Z",
                       .backup = "crm-aa-0"};
  status.history = {{.id = "aa",
                     .kind = "Upgrade",
                     .from = "v1.17.4",
                     .to = "v1.18.0",
                     .result = "RolledBack",
                     .finished_at = on("22:05:40"),
                     .message = "one workspace is behind"},
                    {.id = "u7c01aaa",
                     .kind = "Upgrade",
                     .from = "v1.15.4",
                     .to = "v1.17.4",
                     .result = "Upgraded",
                     .finished_at = on("22:01:50"),
                     .message = {}}};
  status.conditions = {{.type = "Stalled",
                        .status = "True",
                        .reason = "RolledBack",
                        .message = "…",
                        .last_transition_time = {}}};
  return stack;
}

constexpr const char* kMigrating =
    R"(  crm     v1.15.4 → v1.17.4     Upgrading     hop 1/2 → v1.16.6     outage 24 s

  ✔ Plan        v1.15.4 → v1.16.6 → v1.17.4
  ✔ Preflight                                                                      8 s
  ✔ Fence       worker and server stopped, users see the maintenance page          3 s
  ✔ Backup      crm-u7c01aaa-0                                                     2 s
  ✔ Prove       restored elsewhere and compared · L4 · 14.2 MB                     4 s
  ● Migrate     v1.16.6 · crm-u7c01aaa-0-migrate-1: workspace 3/12                18 s
  ○ Verify
  ○ … then      v1.17.4: Backup, Prove, Migrate, Verify
  ○ Open
  ○ Settle      flags IS_AI_ENABLED · crons · smoke home · 3 s green

  users see     503 maintenance since 22:00:31
  if it fails   the stack opens on v1.15.4 with the data of 22:00:31; nothing can be
                lost while the gateway is closed
)";

TEST(LiveView, ShowsWhatIsDoneWhatRunsAndWhatComes) {
  EXPECT_EQ(render(migrating(), at("22:00:55"), {.width = 86}), kMigrating);
}

TEST(LiveView, SumsUpTheHopThatIsBehind) {
  Stack stack = migrating();
  UpgradeStatus& journey = *stack.status.upgrade;
  journey.steps.back() = done("Migrate", "v1.16.6", "22:00:37", "22:01:00");
  journey.steps.push_back(done("Verify", "v1.16.6", "22:01:00", "22:01:04"));
  journey.steps.push_back(running("Backup", "v1.17.4", "22:01:04"));
  journey.hop = 1;
  journey.hop_to = "v1.17.4";
  journey.step = "Backup";
  journey.point_of_no_return = false;
  stack.status.blocked_by.clear();
  const std::string page = render(stack, at("22:01:05"), {.width = 88});
  EXPECT_THAT(page, HasSubstr("hop 2/2 → v1.17.4"));
  EXPECT_THAT(page, HasSubstr("✔ v1.16.6     Backup 2 s · Prove 4 s · Migrate 23 s · Verify 4 s"));
  EXPECT_THAT(page, HasSubstr("33 s\n  ● Backup      v1.17.4"));
  EXPECT_THAT(page, HasSubstr("the stack opens on v1.16.6 with the data of 22:00:31"));
  EXPECT_THAT(page, Not(HasSubstr("then")));
}

constexpr const char* kRolledBack =
    R"(  crm     v1.17.4     Stalled: RolledBack     target v1.18.0 refused, v1.17.4 serves

  x RolledBack  v1.17.4 -> v1.18.0 - 22:05:40
  + Upgraded    v1.15.4 -> v1.17.4 - 22:01:50

  users see     v1.17.4 at http://127.0.0.1:4000
  why           v1.18.0 refused: the task ended well, but WorkspacesBehind: 1 (wanted
                0); v1.17.4 serves with the data of 2026-11-21T22:05:00Z
  next          set another tag, or try the same again: stackspec retry crm
)";

TEST(LiveView, SaysWhyItStalledAndWhatAPersonCanDoInAsciiToo) {
  EXPECT_EQ(render(rolled_back(), at("22:06:00"), {.width = 86, .unicode = false}), kRolledBack);
}

TEST(LiveView, StaysInsideItsWidthAndKeepsTheTerminalStill) {
  Stack stack = migrating();
  stack.status.blocked_by.front().seen = "bell \a escape \033[2J " + std::string(300, 'x');
  for (const int width : {40, 60, 88, 200}) {
    SCOPED_TRACE(width);
    const std::string page = render(stack, at("22:00:55"), {.width = width, .unicode = false});
    std::size_t start = 0;
    for (std::size_t end = page.find('\n'); end != std::string::npos;
         end = page.find('\n', start)) {
      EXPECT_LE(end - start, static_cast<std::size_t>(width)) << page.substr(start, end - start);
      start = end + 1;
    }
    EXPECT_EQ(page.find_first_of("\a\033"), std::string::npos);
  }
}

TEST(LiveView, UsesColourOnlyWhenAsked) {
  EXPECT_EQ(render(migrating(), at("22:00:55"), {.colour = false}).find('\033'), std::string::npos);
  EXPECT_NE(render(migrating(), at("22:00:55"), {.colour = true}).find('\033'), std::string::npos);
}

TEST(LiveView, NamesAWaitWithWhatIsSeenWantedAndNext) {
  Stack stack;
  stack.key.name = "crm";
  stack.status.phase = Phase::Degraded;
  stack.status.version = "v1.16.6";
  stack.status.target_version = "v9.9.9";
  stack.status.blocked_by = {{.gate = "ReleaseUnknown",
                              .seen = "v9.9.9",
                              .wanted = "a release the catalog can place",
                              .next = "wait for it"}};
  const std::string page = render(stack, at("10:00:00"), {});
  EXPECT_THAT(page,
              HasSubstr("waits for     ReleaseUnknown: v9.9.9 (wanted a release the catalog"));
  EXPECT_THAT(page, HasSubstr("next          wait for it"));
  EXPECT_THAT(page, HasSubstr("target v9.9.9"));
}

TEST(LiveLines, AreWrittenOnlyWhenSomethingChanged) {
  const Stack stack = migrating();
  EXPECT_THAT(changes(stack, stack, at("22:00:55")), ElementsAre());
}

TEST(LiveLines, TellEachStepOnceAndTheOutageWithItsLength) {
  const Stack before = migrating();
  Stack after = before;
  UpgradeStatus& journey = *after.status.upgrade;
  journey.steps.back() = done("Migrate", "v1.16.6", "22:00:37", "22:01:00");
  journey.steps.push_back(running("Open", "", "22:01:00"));
  journey.opened_at = on("22:01:12");
  after.status.blocked_by.clear();
  EXPECT_THAT(changes(before, after, at("22:01:13")),
              ElementsAre("22:01:00  crm  Migrate v1.16.6 done · 23 s", "22:01:00  crm  Open …",
                          "22:01:12  crm  v1.16.6 serves · outage 41 s"));
}

TEST(LiveLines, TellHowAJourneyEnded) {
  Stack before = rolled_back();
  before.status.conditions.clear();
  before.status.history.erase(before.status.history.begin());
  const auto lines = changes(before, rolled_back(), at("22:05:41"));
  ASSERT_EQ(lines.size(), 2U);
  EXPECT_EQ(lines[0], "22:05:40  crm  RolledBack v1.17.4 → v1.18.0 · one workspace is behind");
  EXPECT_THAT(lines[1], HasSubstr("22:05:41  crm  Stalled: RolledBack"));
}

TEST(LiveLines, TellOnAFirstLookOnlyWhatIsInFlight) {
  EXPECT_THAT(changes({}, rolled_back(), at("22:05:41")),
              ElementsAre(HasSubstr("Stalled: RolledBack")));
  EXPECT_EQ(changes({}, migrating(), at("22:05:41")).front(),
            "22:00:20  crm  Upgrade v1.15.4 → v1.16.6 → v1.17.4");
}

TEST(LiveView, KnowsWhenNothingIsInFlight) {
  Stack stack = rolled_back();
  EXPECT_TRUE(at_rest(stack));
  stack.generation = 4;  // The file has changed, the controller has not looked yet.
  EXPECT_FALSE(at_rest(stack));
  EXPECT_FALSE(at_rest(migrating()));
}

TEST(LiveView, WritesDurationsNoLongerThanTheyMustBe) {
  const struct {
    int seconds;
    const char* text;
  } rows[] = {{0, "0 s"},    {59, "59 s"},     {60, "1:00"},
              {248, "4:08"}, {3600, "1 h 00"}, {7500, "2 h 05"}};
  for (const auto& row : rows) {
    EXPECT_EQ(duration_text(std::chrono::seconds(row.seconds)), row.text);
  }
}

}  // namespace
}  // namespace stackspec
