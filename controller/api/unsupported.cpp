// SPDX-License-Identifier: Apache-2.0
#include "api/unsupported.hpp"

#include <nlohmann/json.hpp>

namespace stackspec {
namespace {

using nlohmann::json;

/// A field that is refused when it is there with any value but `harmless`.
struct Unsupported {
  const char* pointer;
  const char* field;
  const char* instead;
  const char* harmless = nullptr;  ///< JSON text of the value that asks for nothing.
};

constexpr Unsupported kStack[] = {
    {"/upgrade/window", "spec.upgrade.window", "remove it and suspend outside of the window", "[]"},
    {"/upgrade/mode", "spec.upgrade.mode", "use Auto", "\"Auto\""},
    {"/upgrade/rehearse", "spec.upgrade.rehearse", "remove it"},
    {"/backup/schedule", "spec.backup.schedule", "create a StackBackup from cron"},
    {"/backup/drill", "spec.backup.drill", "remove it"},
    {"/backup/recipient", "spec.backup.recipient", "remove it and keep the Secret of keys safe"},
    {"/backup/destination/s3", "spec.backup.destination.s3", "use path or pvc"},
    {"/n8n/enabled", "spec.n8n.enabled", "use false", "false"},
    {"/extensions", "spec.extensions", "remove it", "[]"},
    {"/admin", "spec.admin", "sign up through the gateway"},
};

constexpr Unsupported kRestore[] = {
    {"/into", "spec.into", "use Stack", "\"Stack\""},
    {"/checks", "spec.checks", "remove it", "[]"},
};

void add(std::vector<Problem>& problems, const std::string& field, const std::string& instead) {
  problems.push_back({0, field, "not supported yet; " + instead});
}

template <std::size_t N>
void look(const json& spec, const Unsupported (&rows)[N], std::vector<Problem>& problems) {
  for (const Unsupported& row : rows) {
    const json::json_pointer pointer(row.pointer);
    if (!spec.contains(pointer)) continue;
    if (row.harmless != nullptr && spec[pointer] == json::parse(row.harmless)) continue;
    add(problems, row.field, row.instead);
  }
}

void look_at_smoke(const json& spec, std::vector<Problem>& problems) {
  const auto smoke = spec.find("smoke");
  if (smoke == spec.end() || !smoke->is_array()) return;
  for (std::size_t i = 0; i < smoke->size(); ++i) {
    for (const char* field : {"image", "args", "envFrom"}) {
      if (!(*smoke)[i].is_object() || !(*smoke)[i].contains(field)) continue;
      add(problems, "spec.smoke[" + std::to_string(i) + "]." + field, "use http");
    }
  }
}

}  // namespace

std::vector<Problem> not_supported_yet(const json& object) {
  std::vector<Problem> problems;
  const auto spec = object.find("spec");
  if (spec == object.end() || !spec->is_object()) return problems;
  const std::string kind = object.value("kind", "");
  if (kind == "StackSpec") {
    look(*spec, kStack, problems);
    look_at_smoke(*spec, problems);
  } else if (kind == "StackRestore") {
    look(*spec, kRestore, problems);
  }
  return problems;
}

}  // namespace stackspec
