// SPDX-License-Identifier: Apache-2.0
#include "telemetry/telemetry.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <ctime>
#include <fstream>
#include <sstream>
#include <thread>

#include "plan/report.hpp"

namespace stackspec {
namespace {

struct Family {
  std::string help, type;
  std::map<std::string, double> series;  ///< `name{labels}` -> value
};
using Page = std::map<std::string, Family>;

/// The family a sample belongs to: histograms have three kinds of samples.
std::string family_of(const Page& page, const std::string& sample) {
  for (const char* suffix : {"_bucket", "_sum", "_count"}) {
    if (!sample.ends_with(suffix)) continue;
    const auto base = sample.substr(0, sample.size() - std::string(suffix).size());
    if (page.contains(base) && page.at(base).type == "histogram") return base;
  }
  return sample;
}

bool is_name(const std::string& text) {
  return !text.empty() && std::isdigit(static_cast<unsigned char>(text[0])) == 0 &&
         text.find_first_not_of(
             "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") ==
             std::string::npos;
}

/// `name="value",…` to the end; a value may hold escaped quotes.
bool are_labels(std::string_view text) {
  while (!text.empty()) {
    const auto equals = text.find("=\"");
    if (equals == std::string_view::npos || !is_name(std::string(text.substr(0, equals))))
      return false;
    auto end = equals + 2;
    while (end < text.size() && text[end] != '"') end += text[end] == '\\' ? 2 : 1;
    if (end >= text.size()) return false;
    text.remove_prefix(end + 1);
    if (!text.empty() && text[0] == ',') text.remove_prefix(1);
  }
  return true;
}

/// One line of samples; false when a scraper would not take it.
bool add_sample(Page& page, const std::string& line) {
  const auto blank = line.rfind(' ');
  if (blank == std::string::npos) return false;
  const std::string series = line.substr(0, blank);
  const auto brace = series.find('{');
  const std::string name = series.substr(0, brace);
  if (!is_name(name)) return false;
  if (brace != std::string::npos) {
    if (series.back() != '}') return false;
    const auto labels = std::string_view(series).substr(brace + 1, series.size() - brace - 2);
    if (!are_labels(labels)) return false;
  }
  char* end = nullptr;
  const double value = std::strtod(line.c_str() + blank + 1, &end);
  const bool is_new = page[family_of(page, name)].series.emplace(series, value).second;
  return *end == '\0' && is_new;
}

/// Reads the page as strictly as a scraper does; every line that does not parse is a failure.
Page parse(const std::string& text) {
  Page page;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    const bool is_help = line.starts_with("# HELP ");
    if (!is_help && !line.starts_with("# TYPE ")) {
      EXPECT_TRUE(add_sample(page, line)) << "not a line of the exposition: " << line;
      continue;
    }
    const auto blank = line.find(' ', 7);
    auto& family = page[line.substr(7, blank - 7)];
    (is_help ? family.help : family.type) = line.substr(blank + 1);
  }
  return page;
}

Stack settled(const std::string& name = "crm") {
  Stack stack;
  stack.key = {"default", name};
  stack.status.phase = Phase::Ready;
  stack.status.version = "v1.16.6";
  stack.status.target_version = "v1.16.6";
  stack.status.conditions = {{"Ready", "True", "Settled", "", 1, ""}};
  stack.status.history = {{"1", "Upgrade", "a", "b", "Succeeded", "2026-11-21T09:00:00Z", ""}};
  stack.status.last_backup = LastBackup{"b", "2026-11-21T08:00:00Z", "v1.15.4", "L4", 4096};
  stack.status.workspaces_up_to_date = 2;
  return stack;
}

double value_of(const std::string& text, const std::string& series) {
  const auto at = text.find("\n" + series + " ");
  EXPECT_NE(at, std::string::npos) << series;
  if (at == std::string::npos) return -1;
  return std::strtod(text.c_str() + at + series.size() + 2, nullptr);
}

TEST(Telemetry, PageFollowsTheRulesOfNaming) {
  Telemetry telemetry("1.2.3", "abc");
  telemetry.observe(settled());
  const Page page = parse(telemetry.page());
  EXPECT_GT(page.size(), 40U);
  for (const auto& [name, family] : page) {
    SCOPED_TRACE(name);
    EXPECT_TRUE(name.starts_with("stackspec_") || name.starts_with("controller_runtime_") ||
                name.starts_with("workqueue_") || name.starts_with("process_"));
    for (const char* unit : {"_milliseconds", "_ms", "_minutes", "_hours", "_days", "_kilobytes"}) {
      EXPECT_EQ(name.find(unit), std::string::npos);
    }
    EXPECT_TRUE(is_name(name));
    EXPECT_GE(family.help.size(), 10U);
    EXPECT_EQ(family.help.back(), '.');
    EXPECT_TRUE(family.type == "counter" || family.type == "gauge" || family.type == "histogram");
    EXPECT_EQ(name.ends_with("_total"), family.type == "counter");
    EXPECT_FALSE(name.ends_with("_count") || name.ends_with("_sum") || name.ends_with("_bucket"));
    EXPECT_TRUE(family.type != "histogram" || name.ends_with("_seconds"));
    EXPECT_FALSE(family.series.empty());
  }
}

TEST(Telemetry, EverySeriesIsThereBeforeItsFirstEvent) {
  const Telemetry telemetry("1", "c");
  const std::string text = telemetry.page();
  for (const auto gate : gate_names()) {
    for (const char* result : {"Passed", "Blocked"}) {
      EXPECT_EQ(value_of(text, "stackspec_gate_evaluations_total{gate=\"" + std::string(gate) +
                                   "\",result=\"" + result + "\"}"),
                0);
    }
  }
  for (const Step step : kAllSteps) {
    EXPECT_EQ(value_of(text, "stackspec_upgrade_step_duration_seconds_count{step=\"" +
                                 std::string(to_string(step)) + "\"}"),
              0);
  }
  for (const char* series :
       {"stackspec_upgrades_total{kind=\"Upgrade\",result=\"RolledBack\"}",
        "stackspec_rollbacks_total", "stackspec_backups_total{result=\"Failed\"}",
        "stackspec_actions_total{action=\"DeleteBackup\",result=\"Failed\"}",
        "controller_runtime_reconcile_total{controller=\"stackspec\",result=\"requeue_after\"}",
        "controller_runtime_reconcile_panics_total{controller=\"stackspec\"}",
        "workqueue_adds_total{controller=\"stackspec\",name=\"stackspec\"}"}) {
    EXPECT_EQ(value_of(text, series), 0);
  }
}

TEST(Telemetry, CountsWhatItIsTold) {
  Telemetry telemetry("1", "c");
  telemetry.reconcile_started();
  telemetry.reconcile_started();
  telemetry.reconcile_finished(ReconcileResult::Error, 0.2);
  telemetry.gate_evaluated("QueuedJobs", GateResult::Blocked);
  telemetry.action_finished(FlushRedis{}, ActionResult::Done);
  telemetry.action_finished(DeleteBackup{}, ActionResult::Failed);
  telemetry.journey_finished("Upgrade", JourneyResult::RolledBack, 100);
  telemetry.step_finished(Step::Prove, 20);
  telemetry.queue_seen({3, 1.5, 1.25});
  const std::string text = telemetry.page();
  const struct {
    const char* series;
    double value;
  } rows[] = {
      {"controller_runtime_active_workers{controller=\"stackspec\"}", 1},
      {"controller_runtime_reconcile_errors_total{controller=\"stackspec\"}", 1},
      {"controller_runtime_reconcile_total{controller=\"stackspec\",result=\"error\"}", 1},
      {"stackspec_gate_evaluations_total{gate=\"QueuedJobs\",result=\"Blocked\"}", 1},
      {"stackspec_actions_total{action=\"FlushRedis\",result=\"Done\"}", 1},
      {"stackspec_actions_total{action=\"DeleteBackup\",result=\"Failed\"}", 1},
      {"stackspec_upgrades_total{kind=\"Upgrade\",result=\"RolledBack\"}", 1},
      {"stackspec_rollbacks_total", 1},
      {"stackspec_upgrade_step_duration_seconds_sum{step=\"Prove\"}", 20},
      {"workqueue_unfinished_work_seconds{controller=\"stackspec\",name=\"stackspec\"}", 1.5},
  };
  for (const auto& row : rows) EXPECT_EQ(value_of(text, row.series), row.value) << row.series;
}

TEST(Telemetry, ShowsAStackFromItsStatusAlone) {
  Telemetry telemetry("1", "c");
  telemetry.observe(settled());
  const std::string crm = "{namespace=\"default\",name=\"crm\"";
  std::string text = telemetry.page();
  EXPECT_EQ(
      value_of(text, "stackspec_info" + crm + ",version=\"v1.16.6\",target_version=\"v1.16.6\"}"),
      1);
  EXPECT_EQ(value_of(text, "stackspec_phase" + crm + ",phase=\"Ready\"}"), 1);
  EXPECT_EQ(value_of(text, "stackspec_phase" + crm + ",phase=\"Upgrading\"}"), 0);
  EXPECT_EQ(value_of(text, "stackspec_condition" + crm + ",type=\"Ready\",status=\"True\"}"), 1);
  EXPECT_EQ(value_of(text, "stackspec_workspaces" + crm + ",state=\"up_to_date\"}"), 2);
  EXPECT_EQ(value_of(text, "stackspec_backup_last_size_bytes" + crm + "}"), 4096);
  EXPECT_EQ(value_of(text, "stackspec_backup_last_success_timestamp_seconds" + crm + "}"),
            1795248000);
  EXPECT_EQ(value_of(text, "stackspec_upgrade_finished_timestamp_seconds" + crm + "}"), 1795251600);
  EXPECT_EQ(value_of(text, "stackspec_upgrade_active" + crm + "}"), 0);

  Stack upgrading = settled();
  upgrading.status.phase = Phase::Upgrading;
  auto& journey = upgrading.status.upgrade.emplace();
  journey.path = {"v1.17.4", "v1.18.1"};
  journey.hop = 1;
  journey.step = "Prove";
  journey.started_at = "2026-11-21T09:00:00Z";
  journey.fenced_at = "2026-11-21T09:00:05Z";
  telemetry.observe(upgrading);
  text = telemetry.page();
  EXPECT_EQ(value_of(text, "stackspec_phase" + crm + ",phase=\"Ready\"}"), 0);
  EXPECT_EQ(value_of(text, "stackspec_upgrade_active" + crm + "}"), 1);
  EXPECT_EQ(value_of(text, "stackspec_fenced" + crm + "}"), 1);
  EXPECT_EQ(value_of(text, "stackspec_upgrade_hops_left" + crm + "}"), 1);
  EXPECT_EQ(value_of(text, "stackspec_upgrade_step" + crm + ",step=\"Prove\"}"), 1);
  EXPECT_EQ(value_of(text, "stackspec_upgrade_started_timestamp_seconds" + crm + "}"), 1795251600);
}

TEST(Telemetry, ForgetsADeletedStackAndNoOther) {
  Telemetry telemetry("1", "c");
  telemetry.observe(settled("one"));
  telemetry.observe(settled("two"));
  telemetry.forget({"default", "one"});
  const std::string text = telemetry.page();
  EXPECT_EQ(text.find("name=\"one\""), std::string::npos);
  EXPECT_NE(text.find("name=\"two\""), std::string::npos);
}

TEST(Telemetry, GrowsOnlyByAFewDozenSeriesAStack) {
  Telemetry telemetry("1", "c");
  const auto lines = [&] {
    const auto text = telemetry.page();
    return std::count(text.begin(), text.end(), '\n');
  };
  const auto before = lines();
  for (int i = 0; i < 10; ++i) telemetry.observe(settled("stack-" + std::to_string(i)));
  EXPECT_LE(lines() - before, 600);
}

TEST(Telemetry, TellsAboutItsOwnProcess) {
  const Telemetry telemetry("1", "c");
  const std::string text = telemetry.page();
  EXPECT_GT(value_of(text, "process_resident_memory_bytes"), 1e6);
  EXPECT_GE(value_of(text, "process_open_fds"), 3);
  EXPECT_GT(value_of(text, "process_start_time_seconds"), 1e9);
  EXPECT_LE(value_of(text, "process_start_time_seconds"),
            static_cast<double>(std::time(nullptr)) + 1);
  EXPECT_GE(value_of(text, "process_cpu_seconds_total"), 0);
}

TEST(Telemetry, MayBeUsedFromEveryThread) {
  Telemetry telemetry("1", "c");
  std::vector<std::jthread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&telemetry, t] {
      for (int i = 0; i < 20; ++i) {
        telemetry.observe(settled("s" + std::to_string(t)));
        telemetry.gate_evaluated("Soak", GateResult::Passed);
        telemetry.step_finished(Step::Open, 1);
        EXPECT_FALSE(telemetry.page().empty());
      }
    });
  }
  threads.clear();
  EXPECT_EQ(value_of(telemetry.page(),
                     "stackspec_gate_evaluations_total{gate=\"Soak\",result=\"Passed\"}"),
            80);
}

HttpResponse ask(const Routes& routes, const std::string& path) {
  for (const auto& route : routes) {
    if (route.path == path) return route.handler({});
  }
  return {404, {}, ""};
}

TEST(TelemetryRoutes, ServeThePageHealthAndVersion) {
  const Telemetry telemetry("1.2.3", "abc");
  bool healthy = true;
  bool ready = false;
  const auto routes = telemetry_routes(
      telemetry, [&healthy] { return healthy; }, [&ready] { return ready; });
  const auto metrics = ask(routes, "/metrics");
  EXPECT_EQ(metrics.status, 200);
  EXPECT_EQ(metrics.headers.at("content-type"), "text/plain; version=0.0.4; charset=utf-8");
  EXPECT_NE(metrics.body.find("stackspec_build_info{"), std::string::npos);
  EXPECT_EQ(ask(routes, "/healthz").status, 200);
  EXPECT_EQ(ask(routes, "/readyz").status, 503);
  healthy = false;
  ready = true;
  EXPECT_EQ(ask(routes, "/healthz").status, 503);
  EXPECT_EQ(ask(routes, "/readyz").status, 200);
  EXPECT_EQ(ask(routes, "/version").body, "{\"commit\":\"abc\",\"version\":\"1.2.3\"}\n");
}

constexpr const char* kPreface =
    "# Metrics\n\n"
    "`stackspec standalone` serves them at `/metrics` (text format 0.0.4). This page is written "
    "by\n"
    "`UPDATE_DOCS=1` and the test `TelemetryDocs`; the texts are those of the HELP lines.\n"
    "Series with `namespace` and `name` are rebuilt from the stack's status and go with the "
    "stack.\n"
    "\n";

TEST(TelemetryDocs, AreWhatTheProgramServes) {
  const std::string path = std::string(STACKSPEC_SOURCE_DIR) + "/docs/metrics.md";
  const std::string wanted = kPreface + Telemetry("1", "c").documentation();
  if (std::getenv("UPDATE_DOCS") != nullptr) std::ofstream(path) << wanted;
  std::ifstream file(path);
  const std::string written((std::istreambuf_iterator<char>(file)), {});
  EXPECT_EQ(written, wanted) << "run this test with UPDATE_DOCS=1 and commit docs/metrics.md";
}

}  // namespace
}  // namespace stackspec
