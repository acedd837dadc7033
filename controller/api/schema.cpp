// SPDX-License-Identifier: Apache-2.0
#include "api/schema.hpp"

#include <algorithm>
#include <cstdint>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <regex>
#include <set>

#include "api/rules.hpp"
#include "api/utf8.hpp"
#include "base/clock.hpp"

namespace stackspec {
namespace {

using nlohmann::json;

struct Schemas {
  std::map<std::string, json, std::less<>> by_kind;
  std::map<std::string, std::regex> patterns;
  std::vector<std::string> kinds;
};

void compile_patterns(const json& schema, std::map<std::string, std::regex>& patterns) {
  if (schema.is_object() && schema.contains("pattern") && schema["pattern"].is_string()) {
    const auto text = schema["pattern"].get<std::string>();
    if (!patterns.contains(text)) {
      patterns.emplace(text, std::regex(text, std::regex::ECMAScript | std::regex::optimize));
    }
  }
  if (!schema.is_structured()) return;
  for (const json& child : schema) compile_patterns(child, patterns);
}

Schemas parse_schemas() {
  Schemas all;
  for (const EmbeddedFile& file : embedded_crds()) {
    const auto documents = parse_yaml(file.text);
    if (!documents) continue;  // A unit test demands that every one can be read.
    for (const Document& document : *documents) {
      const json crd = json::parse(document.json);
      const auto kind = crd["spec"]["names"]["kind"].get<std::string>();
      const json& schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
      compile_patterns(schema, all.patterns);
      all.by_kind[kind] = schema;
      all.kinds.push_back(kind);
    }
  }
  return all;
}

const Schemas& schemas() {
  static const Schemas kAll = parse_schemas();
  return kAll;
}

std::string quoted(const json& value) {
  std::string text = value.is_string() ? value.get<std::string>() : value.dump();
  if (text.size() > 60) text = text.substr(0, text.find_last_not_of("\x80\xBF", 57)) + "…";
  return "`" + text + "`";
}

/// What a pattern means, for a person. The place is the end of the schema's path.
std::string explain_pattern(std::string_view where, const json& value, const std::string& pattern) {
  if (where == "StackSpec.spec.tag") {
    if (value == "latest") {
      return "must be a pinned release such as v1.16.6; `latest` cannot be upgraded step by step";
    }
    return "must be a pinned release such as v1.16.6; " + quoted(value) + " is not one";
  }
  if (where == "StackSpec.spec.image") {
    return "must end with a pinned release, such as docker.io/twentycrm/twenty:v1.16.6; " +
           quoted(value) + " does not";
  }
  const struct {
    std::string_view end;
    const char* what;
  } rows[] = {
      {".size", "must be a size such as 10Gi"},
      {".requests.*", "must be an amount such as 500m or 1Gi"},
      {".limits.*", "must be an amount such as 500m or 1Gi"},
      {".serverUrl", "must be a URL such as https://crm.example.org"},
      {".managed.version", "must be a PostgreSQL major such as \"16\""},
      {".http.path", "must be a path that starts with / and has no spaces"},
      {".destination.path", "must be an absolute path"},
      {".approvedPlan", "must be a plan hash, sha256: and 64 hexadecimal digits"},
      {"[].name", "must be lower-case letters, digits and dashes"},
  };
  for (const auto& row : rows) {
    if (where.ends_with(row.end)) return std::string(row.what) + "; " + quoted(value) + " is not";
  }
  return "does not match " + pattern + "; correct " + quoted(value);
}

/// One walk over one object.
class Walk {
 public:
  std::vector<Problem> problems;

  // The order of a reader: first what is inside, then what the rules say of the whole.
  void value(const json& schema, const json& self, const json* old, const std::string& path,
             const std::string& where) {
    if (!right_type(schema, self, path)) return;
    if (self.is_object()) {
      object(schema, self, old, path, where);
    } else if (self.is_array()) {
      list(schema, self, path, where);
    } else if (self.is_string()) {
      text(schema, self, path, where);
    } else if (self.is_number()) {
      number(schema, self, path);
    }
    one_of(schema, self, path);
    if (schema.contains("x-kubernetes-validations")) rules(schema, self, old, path, where);
  }

 private:
  void add(const std::string& path, std::string what) {
    problems.push_back({0, path, std::move(what)});
  }

  bool right_type(const json& schema, const json& self, const std::string& path) {
    if (schema.value("x-kubernetes-int-or-string", false)) {
      if (self.is_number_integer() || self.is_string()) return true;
      add(path, "must be an integer or a quoted string, not " + name_of(self));
      return false;
    }
    const std::string type = schema.value("type", "");
    const bool right =
        (type == "object" && self.is_object()) || (type == "array" && self.is_array()) ||
        (type == "string" && self.is_string()) || (type == "boolean" && self.is_boolean()) ||
        (type == "integer" && self.is_number_integer()) || (type == "number" && self.is_number());
    if (right) return true;
    std::string hint;
    if (type == "string" && self.is_primitive() && !self.is_null()) hint = "; put it in quotes";
    if (self.is_null()) hint = "; give it a value or remove the field";
    add(path, "must be " + words_for(type) + ", not " + name_of(self) + hint);
    return false;
  }

  static std::string words_for(const std::string& type) {
    if (type == "boolean") return "true or false";
    if (type == "array") return "a list";
    if (type == "object") return "an object with fields";
    if (type == "integer") return "an integer";
    return "a " + type;
  }

  static std::string name_of(const json& self) {
    if (self.is_null()) return "empty";
    if (self.is_object()) return "an object with fields";
    if (self.is_array()) return "a list";
    if (self.is_string()) return "the text " + quoted(self);
    return quoted(self);
  }

  void object(const json& schema, const json& self, const json* old, const std::string& path,
              const std::string& where) {
    const json none = json::object();
    const json& properties = schema.contains("properties") ? schema["properties"] : none;
    for (const auto& [name, child] : self.items()) {
      const std::string child_path = path.empty() ? name : path + "." + name;
      const json* child_old = nullptr;
      if (old != nullptr && old->is_object() && old->contains(name)) child_old = &(*old)[name];
      if (properties.contains(name)) {
        // Metadata is the API's own; validate() looks at it.
        if (path.empty() && name == "metadata") continue;
        value(properties[name], child, child_old, child_path, where + "." + name);
      } else if (schema.contains("additionalProperties")) {
        value(schema["additionalProperties"], child, child_old, child_path, where + ".*");
      } else {
        unknown(properties, name, child_path);
      }
    }
    if (schema.contains("required")) {
      for (const json& name : schema["required"]) {
        if (self.contains(name)) continue;
        const auto field = name.get<std::string>();
        add(path.empty() ? field : path + "." + field, "is missing; add it");
      }
    }
    limit(schema, "maxProperties", self.size(), path, "fields");
  }

  void unknown(const json& properties, const std::string& name, const std::string& path) {
    std::vector<std::string> known;
    for (const auto& [field, unused] : properties.items()) known.push_back(field);
    const std::string near = did_you_mean(name, known);
    add(path, "unknown field; " + (near.empty() ? "remove it" : near));
  }

  // Items of a list have no old value: rules that read oldSelf do not run below one, as in the API.
  void list(const json& schema, const json& self, const std::string& path,
            const std::string& where) {
    limit(schema, "maxItems", self.size(), path, "items");
    std::set<std::string> keys;
    for (std::size_t i = 0; i < self.size(); ++i) {
      const std::string item = path + "[" + std::to_string(i) + "]";
      value(schema["items"], self[i], nullptr, item, where + "[]");
      if (schema.value("x-kubernetes-list-type", "") != "map" || !self[i].is_object()) continue;
      std::string key;
      for (const json& name : schema["x-kubernetes-list-map-keys"]) {
        key += self[i].value(name, json()).dump() + " ";
      }
      if (!keys.insert(key).second) add(item, "is there twice; remove one of the two");
    }
  }

  void limit(const json& schema, const char* name, std::size_t size, const std::string& path,
             const char* unit) {
    if (!schema.contains(name) || size <= schema[name].get<std::size_t>()) return;
    add(path, "has " + std::to_string(size) + " " + unit + "; at most " + schema[name].dump() +
                  " are allowed");
  }

  void text(const json& schema, const json& self, const std::string& path,
            const std::string& where) {
    const auto& string = self.get_ref<const std::string&>();
    const std::size_t length = utf8_length(string);
    if (length < schema.value("minLength", std::size_t{0})) {
      add(path, "must not be empty; give it a value or remove the field");
      return;
    }
    limit(schema, "maxLength", length, path, "characters");
    // A pattern only ever sees a text of bounded length.
    if (length > schema.value("maxLength", std::size_t{4096})) return;
    if (schema.contains("pattern")) {
      const auto pattern = schema["pattern"].get<std::string>();
      if (!std::regex_search(string, schemas().patterns.at(pattern))) {
        add(path, explain_pattern(where, self, pattern));
      }
    }
    if (schema.value("format", "") == "date-time" && !parse_rfc3339(string)) {
      add(path, "must be a time such as 2026-01-31T12:00:00Z; " + quoted(self) + " is not");
    }
  }

  void number(const json& schema, const json& self, const std::string& path) {
    const auto number = self.get<double>();
    if (schema.contains("minimum") && number < schema["minimum"].get<double>()) {
      add(path, "must be at least " + schema["minimum"].dump() + "; " + self.dump() + " is less");
    }
    if (schema.contains("maximum") && number > schema["maximum"].get<double>()) {
      add(path, "must be at most " + schema["maximum"].dump() + "; " + self.dump() + " is more");
      return;
    }
    if (schema.value("format", "") == "int32" &&
        (number > std::numeric_limits<std::int32_t>::max() ||
         number < std::numeric_limits<std::int32_t>::min())) {
      add(path, "must be a 32-bit integer; " + self.dump() + " does not fit");
    }
    if (self.is_number_unsigned() && self.get<std::uint64_t>() > INT64_MAX) {
      add(path, "must be a 64-bit integer; " + self.dump() + " does not fit");
    }
  }

  void one_of(const json& schema, const json& self, const std::string& path) {
    if (!schema.contains("enum")) return;
    std::vector<std::string> known;
    std::string list;
    for (const json& value : schema["enum"]) {
      if (value == self) return;
      known.push_back(value.get<std::string>());
      list += (list.empty() ? "" : ", ") + known.back();
    }
    add(path, "must be one of " + list + "; " + quoted(self) + " is not");
  }

  void rules(const json& schema, const json& self, const json* old, const std::string& path,
             const std::string& where) {
    for (const json& rule : schema["x-kubernetes-validations"]) {
      const bool transition =
          rule["rule"].get_ref<const std::string&>().find("oldSelf") != std::string::npos;
      if (transition && old == nullptr) continue;
      const auto& message = rule["message"].get_ref<const std::string&>();
      const RuleTwin* twin = find_rule_twin(where, message);
      if (twin == nullptr || holds(*twin, self, old)) continue;
      broken(rule, twin->explain != nullptr ? twin->explain(self, old) : message, path);
    }
  }

  static bool holds(const RuleTwin& twin, const json& self, const json* old) {
    try {
      return twin.holds(self, old);
    } catch (const json::exception&) {
      return true;  // A wrong type, which is reported already.
    }
  }

  /// `spec: spec.tag: too old` is said as `spec.tag: too old`.
  void broken(const json& rule, std::string message, const std::string& path) {
    std::string field = path;
    if (rule.contains("fieldPath")) field = rule["fieldPath"].get<std::string>().substr(1);
    const std::size_t end = message.find_first_of(": ");
    const std::string first = message.substr(0, end);
    if (end != std::string::npos && (first == field || first.starts_with(field + "."))) {
      field = first;
      message = message.substr(message.find_first_not_of(": ", end));
    }
    add(field, std::move(message));
  }
};

std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c; };
      const std::size_t change = diagonal + (lower(a[i - 1]) == lower(b[j - 1]) ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({change, row[j] + 1, row[j - 1] + 1});
    }
  }
  return row[b.size()];
}

}  // namespace

const json* crd_schema(std::string_view kind) {
  const auto found = schemas().by_kind.find(kind);
  return found == schemas().by_kind.end() ? nullptr : &found->second;
}

const std::vector<std::string>& crd_kinds() {
  return schemas().kinds;
}

std::vector<Problem> check_schema(std::string_view kind, const json& object, const json* old) {
  Walk walk;
  if (const json* schema = crd_schema(kind)) {
    walk.value(*schema, object, old, "", std::string(kind));
  }
  return std::move(walk.problems);
}

std::string did_you_mean(std::string_view name, const std::vector<std::string>& known) {
  if (name.size() > 64) return "";
  std::string best;
  std::size_t nearest = std::max<std::size_t>(2, name.size() / 3) + 1;
  for (const std::string& candidate : known) {
    const std::size_t distance = edit_distance(name, candidate);
    if (distance >= nearest || distance >= candidate.size()) continue;
    nearest = distance;
    best = candidate;
  }
  return best.empty() ? "" : "did you mean \"" + best + "\"?";
}

}  // namespace stackspec
