// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <nlohmann/json.hpp>

#include "api/codec.hpp"
#include "api/schema.hpp"
#include "api/unsupported.hpp"

namespace stackspec {
namespace {

using nlohmann::json;

bool lower_or_digit(char c) {
  return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

/// What the API asks of every name; a StackSpec's is narrower, by a rule.
bool good_object_name(const std::string& name) {
  if (name.empty() || name.size() > 253) return false;
  char before = '.';
  for (const char c : name) {
    if (!lower_or_digit(c) && (before == '.' || (c != '-' && c != '.'))) return false;
    if (c == '.' && before == '-') return false;
    before = c;
  }
  return lower_or_digit(before);
}

void check_string_map(const json& metadata, const char* field, std::vector<Problem>& problems) {
  const auto found = metadata.find(field);
  if (found == metadata.end()) return;
  const std::string path = std::string("metadata.") + field;
  if (!found->is_object()) {
    problems.push_back({0, path, "must be an object with fields; write name: value"});
    return;
  }
  for (const auto& [name, value] : found->items()) {
    if (value.is_string()) continue;
    problems.push_back({0, path + "." + name, "must be a string; put it in quotes"});
  }
}

void check_metadata(const json& object, std::vector<Problem>& problems) {
  const auto metadata = object.find("metadata");
  if (metadata == object.end() || !metadata->is_object()) {
    problems.push_back({0, "metadata", "is missing; add metadata with a name"});
    return;
  }
  static const std::vector<std::string> kKnown = {"annotations",
                                                  "creationTimestamp",
                                                  "deletionGracePeriodSeconds",
                                                  "deletionTimestamp",
                                                  "finalizers",
                                                  "generateName",
                                                  "generation",
                                                  "labels",
                                                  "managedFields",
                                                  "name",
                                                  "namespace",
                                                  "ownerReferences",
                                                  "resourceVersion",
                                                  "selfLink",
                                                  "uid"};
  for (const auto& [field, unused] : metadata->items()) {
    if (std::find(kKnown.begin(), kKnown.end(), field) != kKnown.end()) continue;
    const std::string near = did_you_mean(field, kKnown);
    problems.push_back(
        {0, "metadata." + field, "unknown field; " + (near.empty() ? "remove it" : near)});
  }
  const auto name = metadata->find("name");
  const bool text = name != metadata->end() && name->is_string();
  if (!text) {
    problems.push_back({0, "metadata.name", "must be a text; name the object"});
  } else if (object.value("kind", "") != "StackSpec" && !good_object_name(*name)) {
    problems.push_back({0, "metadata.name",
                        "must be lower-case letters, digits, dashes and dots, at most 253; "
                        "choose another name"});
  }
  const auto space = metadata->find("namespace");
  if (space != metadata->end() && !(space->is_string() && good_object_name(*space))) {
    problems.push_back({0, "metadata.namespace", "must be a name; choose another one"});
  }
  check_string_map(*metadata, "labels", problems);
  check_string_map(*metadata, "annotations", problems);
}

/// A name with `=` in it would set another variable than the one it looks like. CEL cannot bound
/// the cost of a pattern over keys, so this is not in the CRD; a cluster refuses it at the pod.
void check_env_names(const json& object, const char* pointer, const std::string& path,
                     std::vector<Problem>& problems) {
  const json::json_pointer at(pointer);
  if (!object.contains(at) || !object[at].is_object()) return;
  for (const auto& [name, value] : object[at].items()) {
    const bool letters = std::all_of(name.begin(), name.end(), [](char c) {
      return lower_or_digit(c) || (c >= 'A' && c <= 'Z') || c == '_';
    });
    if (letters && !name.empty() && !(name[0] >= '0' && name[0] <= '9')) continue;
    problems.push_back({0, path + "." + name.substr(0, 100),
                        "is no name of a variable; use letters, digits and underscores"});
  }
}

/// Whether it is one of our kinds at the version we know.
bool check_kind(const json& object, std::vector<Problem>& problems) {
  const auto kind = object.find("kind");
  if (kind == object.end() || !kind->is_string()) {
    problems.push_back({0, "kind", "is missing; add kind: StackSpec"});
    return false;
  }
  const auto& known = crd_kinds();
  if (std::find(known.begin(), known.end(), *kind) == known.end()) {
    const std::string near = did_you_mean(kind->get_ref<const std::string&>(), known);
    problems.push_back(
        {0, "kind",
         "unknown kind; " + (near.empty() ? "use StackSpec, StackBackup or StackRestore" : near)});
    return false;
  }
  const auto version = object.find("apiVersion");
  if (version == object.end() || *version != kApiVersion) {
    problems.push_back({0, "apiVersion", std::string("must be ") + kApiVersion + "; correct it"});
    return false;
  }
  return true;
}

}  // namespace

std::string to_string(const std::vector<Problem>& problems) {
  std::string text;
  for (const Problem& problem : problems) {
    if (!text.empty()) text += "\n";
    if (!problem.field.empty()) text += problem.field + ": ";
    text += problem.what;
  }
  return text;
}

std::vector<Problem> validate(const json& object, const json* old) {
  std::vector<Problem> problems;
  if (!object.is_object()) return {{0, "", "must be an object; start with apiVersion and kind"}};
  try {
    if (!check_kind(object, problems)) return problems;
    check_metadata(object, problems);
    const bool before = old != nullptr && old->is_object();
    const auto& kind = object["kind"].get_ref<const std::string&>();
    for (Problem& problem : check_schema(kind, object, before ? old : nullptr)) {
      problems.push_back(std::move(problem));
    }
    check_env_names(object, "/spec/env", "spec.env", problems);
    check_env_names(object, "/spec/fundraising/env", "spec.fundraising.env", problems);
    for (Problem& problem : not_supported_yet(object)) problems.push_back(std::move(problem));
  } catch (const std::exception& failure) {
    problems.push_back({0, "", std::string("cannot be judged: ") + failure.what()});
  }
  return problems;
}

}  // namespace stackspec
