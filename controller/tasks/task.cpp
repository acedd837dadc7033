// SPDX-License-Identifier: Apache-2.0
#include "tasks/task.hpp"

#include <nlohmann/json.hpp>
#include <span>

#include "base/embedded.hpp"

namespace stackspec {

std::span<const EmbeddedFile> embedded_tasks();

namespace {

constexpr std::size_t kResultLimit = 2048;

std::string_view text_of(const std::string& file) {
  for (const EmbeddedFile& embedded : embedded_tasks()) {
    if (embedded.name == file) return embedded.text;
  }
  return "exit 64\n";
}

}  // namespace

std::string task_script(TaskKind kind) {
  std::string text(text_of("lib.sh"));
  text += text_of(std::string(to_string(kind)) + ".sh");
  return text;
}

std::map<std::string, std::string> parse_task_result(std::string_view json) {
  std::map<std::string, std::string> values;
  if (json.size() > kResultLimit) return values;
  const auto object = nlohmann::json::parse(json, nullptr, false);
  if (!object.is_object()) return values;
  for (const auto& [key, value] : object.items()) {
    if (value.is_string()) {
      values[key] = value.get<std::string>();
    } else if (value.is_null()) {
      values[key] = "";
    } else {
      values[key] = value.dump();
    }
  }
  return values;
}

Outcome outcome_of(int exit_code) {
  if (exit_code == 0) return Outcome::Ok;
  return exit_code >= 10 && exit_code <= 19 ? Outcome::Failed : Outcome::Interrupted;
}

}  // namespace stackspec
