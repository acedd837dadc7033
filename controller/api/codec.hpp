// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "api/stack.hpp"
#include "base/result.hpp"

namespace stackspec {

/// One thing wrong with an object, for a person.
struct Problem {
  int line = 0;       ///< In the YAML text; 0 when there is none.
  std::string field;  ///< `spec.storage.s3.bucket`; empty for the document as a whole.
  std::string what;   ///< `must not be empty`, and after a `; ` what to do.
  friend bool operator==(const Problem&, const Problem&) = default;
};

/// `field: what`, one a line.
std::string to_string(const std::vector<Problem>& problems);

/// One YAML document as JSON, with the line of every field for error messages.
struct Document {
  std::string json;                                ///< Text; the caller parses it once.
  std::vector<std::pair<std::string, int>> lines;  ///< field path -> line, in order of the text.
  int line_of(std::string_view field) const;       ///< Of the field or its nearest parent.
};

/// All documents of a YAML (or JSON) text, empty ones left out. Typing as kubectl does it
/// (libraries: yes/no are bools, 010 is octal, …). Errors are Invalid with `LINE: what; what to
/// do`: over 1 MiB, depth 64, 100,000 nodes, 10,000 alias nodes, duplicate keys, broken UTF-8,
/// recursive aliases.
Result<std::vector<Document>> parse_yaml(std::string_view text);

/// Everything wrong with one object (already JSON): unknown fields (with the nearest known name),
/// wrong types, the schema's patterns and limits, the rules of the CRD, and fields that are known
/// but not supported yet. `old` is the stored object for the transition rules, or null for a
/// create. Empty: the object is good.
std::vector<Problem> validate(const nlohmann::json& object, const nlohmann::json* old);

/// Values from objects that validate() has accepted; Error Invalid otherwise.
Result<StackSpec> stack_spec_from_json(const nlohmann::json& spec);
Result<StackStatus> stack_status_from_json(const nlohmann::json& status);
Result<StackBackupSpec> backup_spec_from_json(const nlohmann::json& spec);
Result<StackBackupStatus> backup_status_from_json(const nlohmann::json& status);
Result<StackRestoreSpec> restore_spec_from_json(const nlohmann::json& spec);
Result<StackRestoreStatus> restore_status_from_json(const nlohmann::json& status);

nlohmann::json to_json(const StackSpec& spec);
nlohmann::json to_json(const StackStatus& status);
nlohmann::json to_json(const StackBackupSpec& spec);
nlohmann::json to_json(const StackBackupStatus& status);
nlohmann::json to_json(const StackRestoreSpec& spec);
nlohmann::json to_json(const StackRestoreStatus& status);

}  // namespace stackspec
