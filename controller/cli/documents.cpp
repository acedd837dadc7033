// SPDX-License-Identifier: Apache-2.0
#include "cli/documents.hpp"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <set>

namespace stackspec {

namespace {

using nlohmann::json;

/// What others refer to comes first.
constexpr std::array<std::string_view, 5> kKinds = {"Secret", "ConfigMap", "StackSpec",
                                                    "StackBackup", "StackRestore"};

bool is_ours(const std::string& kind) {
  return kind.starts_with("Stack");
}

std::string text_of(const json& object, const char* field) {
  const auto found = object.find(field);
  return found != object.end() && found->is_string() ? found->get<std::string>() : "";
}

/// All that is wrong with one file, in the form editors understand.
class Findings {
 public:
  explicit Findings(std::string path) : path_(std::move(path)) {}
  void add(int line, const std::string& field, const std::string& what) {
    const std::string where = line > 0 ? path_ + ":" + std::to_string(line) : path_;
    lines_.push_back(where + ": " + (field.empty() ? "" : field + ": ") + what);
  }
  void add(const Document& document, const Problem& problem) {
    const int line = problem.line > 0 ? problem.line : document.line_of(problem.field);
    add(line, problem.field, problem.what);
  }
  bool none() const { return lines_.empty(); }
  const std::vector<std::string>& lines() const { return lines_; }
  Error error() const {
    std::string text;
    for (const std::string& line : lines_) text += (text.empty() ? "" : "\n") + line;
    return {ErrorKind::Invalid, text};
  }

 private:
  std::string path_;
  std::vector<std::string> lines_;
};

/// Kinds that are Kubernetes' own: `data` of text, and for a Secret `stringData`.
std::vector<Problem> check_values(const json& object, bool secret) {
  std::vector<Problem> problems;
  const std::set<std::string> known = {"apiVersion",        "kind",
                                       "metadata",          "data",
                                       "immutable",         secret ? "stringData" : "binaryData",
                                       secret ? "type" : ""};
  for (const auto& [field, value] : object.items()) {
    if (!known.contains(field)) {
      problems.push_back({.line = 0, .field = field, .what = "unknown field; remove it"});
    }
  }
  if (text_of(object, "apiVersion") != "v1") {
    problems.push_back({.line = 0, .field = "apiVersion", .what = "must be v1"});
  }
  for (const char* field : {"data", "stringData"}) {
    const auto values = object.find(field);
    if (values == object.end()) continue;
    if (!values->is_object()) {
      problems.push_back({.line = 0, .field = field, .what = "must be a map of text"});
      continue;
    }
    for (const auto& [key, value] : values->items()) {
      if (value.is_string()) continue;
      problems.push_back({.line = 0,
                          .field = std::string(field) + "." + key,
                          .what = "must be text; put it in quotes"});
    }
  }
  return problems;
}

std::vector<Problem> check_name(const json& object) {
  const auto metadata = object.find("metadata");
  if (metadata == object.end() || !metadata->is_object() || text_of(*metadata, "name").empty()) {
    return {{.line = 0, .field = "metadata.name", .what = "must be given"}};
  }
  return {};
}

std::vector<Problem> check(const json& object) {
  const std::string kind = object.is_object() ? text_of(object, "kind") : "";
  if (std::find(kKinds.begin(), kKinds.end(), kind) == kKinds.end()) {
    return {{.line = 0,
             .field = "kind",
             .what = "must be StackSpec, StackBackup, StackRestore, Secret or ConfigMap"}};
  }
  if (is_ours(kind)) return validate(object, nullptr);
  auto problems = check_name(object);
  for (Problem& problem : check_values(object, kind == "Secret")) {
    problems.push_back(std::move(problem));
  }
  return problems;
}

std::map<std::string, std::string> text_map(const json& metadata, const char* field) {
  std::map<std::string, std::string> result;
  const auto found = metadata.find(field);
  if (found == metadata.end() || !found->is_object()) return result;
  for (const auto& [key, value] : found->items()) {
    if (value.is_string()) result[key] = value.get<std::string>();
  }
  return result;
}

Object object_of(json document) {
  const json metadata = document["metadata"];
  Object object;
  object.key.kind = text_of(document, "kind");
  object.key.ns = text_of(metadata, "namespace");
  if (object.key.ns.empty()) object.key.ns = "default";
  object.key.name = text_of(metadata, "name");
  object.labels = text_map(metadata, "labels");
  object.annotations = text_map(metadata, "annotations");
  for (const char* field : {"apiVersion", "kind", "metadata", "status"}) document.erase(field);
  object.content = std::move(document);
  return object;
}

std::size_t rank(const FileObject& one) {
  const auto found = std::find(kKinds.begin(), kKinds.end(), one.object.key.kind);
  return static_cast<std::size_t>(found - kKinds.begin());
}

json parsed(const std::string& text) {
  return json::parse(text, nullptr, /*allow_exceptions=*/false);
}

}  // namespace

Result<std::vector<FileObject>> read_documents(const std::string& path, std::string_view text,
                                               mode_t mode) {
  auto documents = parse_yaml(text);
  if (!documents) return Error{ErrorKind::Invalid, path + ":" + documents.error().message};
  Findings findings(path);
  std::vector<FileObject> objects;
  for (Document& document : *documents) {
    json object = parsed(document.json);
    const auto problems = check(object);
    for (const Problem& problem : problems) findings.add(document, problem);
    if (!problems.empty()) continue;
    FileObject one{.object = object_of(std::move(object)), .document = std::move(document)};
    if (one.object.key.kind == "Secret" && (mode & 077U) != 0) {
      findings.add(one.document.line_of("kind"), "",
                   "others can read this file, and it holds a Secret; chmod 600 " + path);
    }
    const auto same = std::find_if(objects.begin(), objects.end(), [&](const FileObject& other) {
      return other.object.key == one.object.key;
    });
    if (same != objects.end()) {
      findings.add(one.document.line_of("metadata.name"), "metadata.name",
                   "there are two documents " + one.object.key.kind + " " + one.object.key.name +
                       "; keep one");
    }
    objects.push_back(std::move(one));
  }
  if (!findings.none()) return findings.error();
  std::stable_sort(objects.begin(), objects.end(),
                   [](const FileObject& a, const FileObject& b) { return rank(a) < rank(b); });
  return objects;
}

std::vector<std::string> problems_of_change(const std::string& path, const FileObject& wanted,
                                            const Object& stored) {
  if (!is_ours(wanted.object.key.kind)) return {};
  json old = stored.content;
  old["apiVersion"] = kApiVersion;
  old["kind"] = stored.key.kind;
  old["metadata"] = {{"name", stored.key.name}, {"namespace", stored.key.ns}};
  old["status"] = stored.status;
  Findings findings(path);
  for (const Problem& problem : validate(parsed(wanted.document.json), &old)) {
    findings.add(wanted.document, problem);
  }
  return findings.lines();
}

std::vector<std::string> secret_values(const Object& secret) {
  std::vector<std::string> values;
  for (const char* field : {"data", "stringData"}) {
    const auto found = secret.content.find(field);
    if (found == secret.content.end() || !found->is_object()) continue;
    for (const auto& [key, value] : found->items()) {
      if (value.is_string()) values.push_back(value.get<std::string>());
    }
  }
  return values;
}

}  // namespace stackspec
