// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <nlohmann/json.hpp>

#include "api/codec.hpp"
#include "fakes/world.hpp"
#include "plan/plan.hpp"

// StackSpecs as the controller leaves them at the moments other tools judge them by. What each tool
// makes of them is in tests/kube/kstatus/expected.json, tested with those tools.

namespace stackspec {
namespace {

using nlohmann::json;

struct Moment {
  World world{Catalog::builtin()};
  Stack stack;
  WallTime now{std::chrono::seconds(1795251600)};

  explicit Moment(const char* tag) {
    stack.key = {"default", "crm"};
    stack.uid = "uid-1";
    stack.generation = 1;
    stack.spec.tag = tag;
    stack.spec.upgrade.soak_seconds = 0;
  }

  void step() {
    const Plan decided = make_plan(stack, world.see(), Catalog::builtin(), now);
    stack.status = decided.status;
    if (decided.action) world.act(*decided.action);
    world.tick();
  }
  void run(int steps = 200) {
    for (int i = 0; i < steps; ++i) step();
  }
  /// Stops at the first pass whose journey is at this step.
  void run_until(const std::string& wanted) {
    for (int i = 0; i < 200; ++i) {
      step();
      if (stack.status.upgrade && stack.status.upgrade->step == wanted) return;
    }
    FAIL() << "never at " << wanted << ": " << stack.status.message;
  }
  void edit(const char* tag) {
    stack.spec.tag = tag;
    ++stack.generation;
  }
  void suspend() {
    stack.spec.suspend = true;
    ++stack.generation;
  }
};

Moment served() {
  Moment moment("v1.15.4");
  moment.run();
  EXPECT_EQ(moment.stack.status.phase, Phase::Ready) << moment.stack.status.message;
  return moment;
}

json document(const Moment& moment) {
  json object = json::object();
  object["apiVersion"] = "stackspec.dev/v1alpha1";
  object["kind"] = "StackSpec";
  object["metadata"] = {{"name", moment.stack.key.name},
                        {"namespace", moment.stack.key.ns},
                        {"generation", moment.stack.generation}};
  object["spec"] = to_json(moment.stack.spec);
  object["status"] = to_json(moment.stack.status);
  return object;
}

struct Row {
  const char* name;
  std::function<Moment()> reach;
};

const Row kRows[] = {
    {"first-pass",
     [] {
       Moment moment("v1.15.4");
       moment.step();
       return moment;
     }},
    {"installing",
     [] {
       Moment moment("v1.15.4");
       moment.run_until("Install");
       return moment;
     }},
    {"ready", served},
    {"edited-not-seen",
     [] {
       Moment moment = served();
       moment.edit("v1.16.6");
       return moment;
     }},
    {"upgrading",
     [] {
       Moment moment = served();
       moment.edit("v1.16.6");
       moment.run_until("Backup");
       return moment;
     }},
    {"unknown-release",
     [] {
       Moment moment = served();
       moment.edit("v1.99.0");
       moment.run(5);
       return moment;
     }},
    {"rolled-back",
     [] {
       Moment moment = served();
       moment.world.faults.bad_release = "v1.16.6";
       moment.edit("v1.16.6");
       moment.run();
       return moment;
     }},
    {"turned-back",
     [] {
       Moment moment = served();
       moment.world.faults.prove_fails = true;
       moment.edit("v1.16.6");
       moment.run(60);
       return moment;
     }},
    {"component-down",
     [] {
       Moment moment = served();
       moment.world.kill(Component::Worker);
       moment.step();
       return moment;
     }},
    {"suspended-serving",
     [] {
       Moment moment = served();
       moment.suspend();
       moment.run(5);
       return moment;
     }},
    {"suspended-before-upgrade",
     [] {
       Moment moment = served();
       moment.stack.spec.suspend = true;
       moment.edit("v1.16.6");
       moment.run(5);
       return moment;
     }},
    {"suspended-before-install",
     [] {
       Moment moment("v1.15.4");
       moment.suspend();
       moment.run(5);
       return moment;
     }},
};

TEST(StatusDocuments, AreWhatTheControllerWrites) {
  const std::filesystem::path folder = STACKSPEC_SOURCE_DIR "/tests/kube/kstatus";
  for (const Row& row : kRows) {
    SCOPED_TRACE(row.name);
    const std::string wanted = document(row.reach()).dump(2) + "\n";
    const auto path = folder / (std::string(row.name) + ".json");
    if (std::getenv("UPDATE_DOCS") != nullptr) std::ofstream(path) << wanted;
    std::ifstream file(path);
    const std::string written((std::istreambuf_iterator<char>(file)), {});
    EXPECT_EQ(written, wanted) << "run this test with UPDATE_DOCS=1 and commit tests/kube/kstatus";
  }
}

}  // namespace
}  // namespace stackspec
