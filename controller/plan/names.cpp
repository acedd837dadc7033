// SPDX-License-Identifier: Apache-2.0
#include <cctype>

#include "plan/context.hpp"

namespace stackspec {

std::string_view to_string(Step step) {
  switch (step) {
    case Step::Plan: return "Plan";
    case Step::Preflight: return "Preflight";
    case Step::Fence: return "Fence";
    case Step::Backup: return "Backup";
    case Step::Prove: return "Prove";
    case Step::Migrate: return "Migrate";
    case Step::Verify: return "Verify";
    case Step::Open: return "Open";
    case Step::Settle: return "Settle";
    case Step::Install: return "Install";
    case Step::Unfence: return "Unfence";
    case Step::RollBack: return "RollBack";
  }
  return "Unknown";
}

std::optional<Step> parse_step(std::string_view name) {
  for (const Step step : kAllSteps) {
    if (to_string(step) == name) return step;
  }
  return std::nullopt;
}

std::string_view to_string(TaskKind kind) {
  switch (kind) {
    case TaskKind::Inspect: return "inspect";
    case TaskKind::Install: return "install";
    case TaskKind::Backup: return "backup";
    case TaskKind::Prove: return "prove";
    case TaskKind::Migrate: return "migrate";
    case TaskKind::Restore: return "restore";
    case TaskKind::Flush: return "flush";
    case TaskKind::Flags: return "flags";
  }
  return "unknown";
}

std::string pascal_case(std::string_view word) {
  std::string text(word);
  if (!text.empty()) text[0] = static_cast<char>(std::toupper(static_cast<unsigned char>(text[0])));
  return text;
}

std::string describe(const Action& action) {
  struct Describe {
    std::string operator()(const ApplyComponent& apply) const {
      const ComponentSpec& component = apply.component;
      return "apply " + std::string(to_string(component.component)) +
             (component.version.empty() ? "" : " " + component.version) + " x" +
             std::to_string(component.replicas);
    }
    std::string operator()(const SwitchGateway& gateway) const {
      return gateway.mode == GatewayMode::Open ? "open gateway" : "close gateway";
    }
    std::string operator()(const StartTask& start) const { return "start task " + start.task.name; }
    std::string operator()(const StopTask& stop) const { return "stop task " + stop.name; }
    std::string operator()(const FlushRedis&) const { return "flush redis"; }
    std::string operator()(const DeleteBackup& backup) const {
      return "delete backup " + backup.id;
    }
  };
  return std::visit(Describe{}, action);
}

}  // namespace stackspec
