// SPDX-License-Identifier: Apache-2.0
// Everything that a person's file goes through: YAML, validation, values. With STACKSPEC_FUZZ it is
// a libFuzzer target; without, it replays the files and folders it is given.
#include <cstdio>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "api/codec.hpp"
#include "fuzz/replay.hpp"

namespace {

using nlohmann::json;
namespace spec = stackspec;

void require(bool true_, const char* what, const std::string& text) {
  if (true_) return;
  std::fprintf(stderr, "codec_fuzz: %s\n%s\n", what, text.c_str());
  std::abort();
}

/// A value that was read is written so that it is read as the same value.
template <class Read>
void read_and_write(Read read, const json& part) {
  const auto value = read(part);
  if (!value) return;
  const json written = spec::to_json(*value);
  const auto again = read(written);
  require(static_cast<bool>(again), "what was written is not read", written.dump());
  require(spec::to_json(*again) == written, "writing is not stable", written.dump());
}

/// Nothing here was validated: every reader must say Invalid, not fall.
void read_as_everything(const json& part) {
  read_and_write(spec::stack_spec_from_json, part);
  read_and_write(spec::stack_status_from_json, part);
  read_and_write(spec::backup_spec_from_json, part);
  read_and_write(spec::backup_status_from_json, part);
  read_and_write(spec::restore_spec_from_json, part);
  read_and_write(spec::restore_status_from_json, part);
}

bool is_readable(const json& object) {
  const std::string kind = object.at("kind");
  const json& part = object.at("spec");
  if (kind == "StackSpec") return static_cast<bool>(spec::stack_spec_from_json(part));
  if (kind == "StackBackup") return static_cast<bool>(spec::backup_spec_from_json(part));
  if (kind == "StackRestore") return static_cast<bool>(spec::restore_spec_from_json(part));
  return true;
}

void try_object(const json& object, const json* old) {
  const auto problems = spec::validate(object, nullptr);
  if (old != nullptr) (void)spec::to_string(spec::validate(object, old));
  for (const spec::Problem& problem : problems)
    require(!problem.what.empty(), "a problem without words", object.dump());
  if (problems.empty() && object.is_object() && object.contains("kind") && object.contains("spec"))
    require(is_readable(object), "validate() accepts what is not read", object.dump());
  read_as_everything(object);
  if (!object.is_object()) return;
  for (const char* part : {"spec", "status"})
    if (object.contains(part)) read_as_everything(object.at(part));
}

void try_text(std::string_view text) {
  const auto documents = spec::parse_yaml(text);
  if (!documents) {
    require(!documents.error().message.empty(), "an error without words", std::string(text));
    return;
  }
  json old;
  for (const spec::Document& document : *documents) {
    const json object = json::parse(document.json, nullptr, false);
    require(!object.is_discarded(), "parse_yaml() gave what is not JSON", document.json);
    (void)document.line_of("spec.storage.s3.bucket");
    try_object(object, old.is_null() ? nullptr : &old);
    old = object;
  }
}

}  // namespace

STACKSPEC_FUZZ_TARGET(try_text)
