// SPDX-License-Identifier: Apache-2.0
#include "api/rules.hpp"

#include <algorithm>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/version.hpp"

namespace stackspec {
namespace {

using nlohmann::json;

/// The value at a path of names, or null.
const json* at(const json& root, std::initializer_list<const char*> path) {
  const json* here = &root;
  for (const char* name : path) {
    if (!here->is_object()) return nullptr;
    const auto found = here->find(name);
    if (found == here->end()) return nullptr;
    here = &*found;
  }
  return here;
}

std::string text_at(const json& root, std::initializer_list<const char*> path) {
  const json* value = at(root, path);
  return value != nullptr && value->is_string() ? value->get<std::string>() : std::string();
}

bool true_at(const json& root, std::initializer_list<const char*> path) {
  const json* value = at(root, path);
  return value != nullptr && value->is_boolean() && value->get<bool>();
}

/// The release of spec.tag or spec.image, as text.
std::string target_of(const json& object) {
  std::string text = text_at(object, {"spec", "tag"});
  if (!text.empty()) return text;
  text = text_at(object, {"spec", "image"});
  text = text.substr(0, text.find('@'));
  const std::size_t colon = text.rfind(':');
  return colon == std::string::npos ? std::string() : text.substr(colon + 1);
}

/// Whether the target is unchanged or not older than `floor`; a two-part tag is its newest patch.
bool target_not_below(const json& self, const json& old, const std::string& floor) {
  const std::string target = target_of(self);
  if (floor.empty() || target == target_of(old)) return true;
  auto wanted = parse_version(target);
  const auto limit = parse_version(floor);
  if (!wanted || !limit) return true;  // Somebody else's error.
  if (!wanted->has_patch()) wanted->patch = 99999;
  return *wanted >= *limit;
}

bool good_name(const json& self, const json*) {
  const std::string name = text_at(self, {"metadata", "name"});
  const auto lower = [](char c) { return c >= 'a' && c <= 'z'; };
  const auto inner = [&](char c) { return lower(c) || (c >= '0' && c <= '9') || c == '-'; };
  return !name.empty() && name.size() <= 30 && lower(name.front()) && name.back() != '-' &&
         std::all_of(name.begin(), name.end(), inner);
}

bool not_below_version(const json& self, const json* old) {
  return target_not_below(self, *old, text_at(*old, {"status", "version"}));
}

std::string explain_version(const json&, const json* old) {
  return "spec.tag: the data is at " + text_at(*old, {"status", "version"}) +
         "; an older image cannot read it. To go back create a StackRestore from a backup of the "
         "older version";
}

bool not_below_hop(const json& self, const json* old) {
  return !true_at(*old, {"status", "upgrade", "pointOfNoReturn"}) ||
         target_not_below(self, *old, text_at(*old, {"status", "upgrade", "hopTo"}));
}

std::string explain_hop(const json&, const json* old) {
  return "spec.tag: the database is being migrated to " +
         text_at(*old, {"status", "upgrade", "hopTo"}) +
         " (point of no return); the target may be raised, not lowered below it";
}

bool database_stays(const json& self, const json* old) {
  return (at(self, {"spec", "database", "external"}) != nullptr) ==
         (at(*old, {"spec", "database", "external"}) != nullptr);
}

bool redis_stays(const json& self, const json* old) {
  return (at(self, {"spec", "redis", "external"}) != nullptr) ==
         (at(*old, {"spec", "redis", "external"}) != nullptr);
}

bool shared_stays(const json& self, const json* old) {
  if (at(self, {"spec", "database", "external"}) == nullptr ||
      at(*old, {"spec", "database", "external"}) == nullptr) {
    return true;
  }
  return true_at(self, {"spec", "database", "external", "shared"}) ==
         true_at(*old, {"spec", "database", "external", "shared"});
}

bool database_size_stays(const json& self, const json* old) {
  return at(*old, {"spec", "database", "managed", "size"}) == nullptr ||
         at(self, {"spec", "database", "managed", "size"}) != nullptr;
}

bool storage_size_stays(const json& self, const json* old) {
  return at(*old, {"spec", "storage", "local", "size"}) == nullptr ||
         at(self, {"spec", "storage", "local", "size"}) != nullptr ||
         at(self, {"spec", "storage", "s3"}) != nullptr;
}

bool tag_or_image(const json& self, const json*) {
  return self.contains("tag") != self.contains("image");
}

bool not_twentyhq(const json& self, const json*) {
  return self.get<std::string>().find("twentyhq/twenty") == std::string::npos;
}

bool one_env_source(const json& self, const json*) {
  return self.contains("secretRef") != self.contains("configMapRef");
}

bool managed_or_external(const json& self, const json*) {
  return !(self.contains("managed") && self.contains("external"));
}

bool s3_when_s3(const json& self, const json*) {
  return (text_at(self, {"type"}) == "s3") == self.contains("s3");
}

bool http_or_image(const json& self, const json*) {
  return self.contains("http") != self.contains("image");
}

bool paced(const json& self, const json*) {
  for (const char* name :
       {"FUNDRAISING_DONOR_MATCH_LOOKUP_BATCH_SIZE", "FUNDRAISING_DONOR_MATCH_CREATE_CHUNK_SIZE"}) {
    if (!self.contains(name)) continue;
    const std::string text = text_at(self, {name});
    const bool digits = !text.empty() && text.size() <= 2 && text[0] != '0' &&
                        text.find_first_not_of("0123456789") == std::string::npos;
    if (!digits || std::stoi(text) > 60) return false;
  }
  return true;
}

bool backup_or_location(const json& self, const json*) {
  return self.contains("backupRef") != self.contains("location");
}

bool unchanged(const json& self, const json* old) {
  return self == *old;
}

/// Bytes of a quantity such as 10Gi, 1.5G, 1024.
std::optional<long double> bytes_of(const json& value) {
  if (value.is_number_integer()) return static_cast<long double>(value.get<std::int64_t>());
  if (!value.is_string()) return std::nullopt;
  const std::string text = value.get<std::string>();
  const std::size_t end = text.find_first_not_of("0123456789.");
  const std::string number = text.substr(0, end);
  if (number.empty() || number[0] == '.') return std::nullopt;
  const std::string unit = end == std::string::npos ? "" : text.substr(end);
  long double amount = std::strtold(number.c_str(), nullptr);
  if (unit.empty()) return amount;
  const std::string_view prefixes = "kMGTP";
  const std::size_t power = prefixes.find(unit[0] == 'K' ? 'k' : unit[0]);
  if (power == std::string_view::npos) return std::nullopt;
  const long double base = unit.size() == 2 ? 1024 : 1000;
  for (std::size_t i = 0; i <= power; ++i) amount *= base;
  return amount;
}

bool not_smaller(const json& self, const json* old) {
  const auto wanted = bytes_of(self);
  const auto stored = bytes_of(*old);
  return !wanted || !stored || *wanted >= *stored;
}

constexpr std::string_view kShrinks = "storage never shrinks";
constexpr std::string_view kEnvSource = "exactly one of secretRef and configMapRef must be set";
constexpr std::string_view kOneHome = "at most one of managed and external";

constexpr RuleTwin kTwins[] = {
    {"StackSpec",
     "metadata.name must be a DNS label that starts with a letter, at most 30 characters, no dots: "
     "names of Services and Jobs are made from it",
     good_name},
    {"StackSpec",
     "spec.tag: older than the proven version; to go back create a StackRestore from a backup of "
     "the older version",
     not_below_version, explain_version},
    {"StackSpec",
     "spec.tag: past the point of no return of a hop; the target may be raised, not lowered",
     not_below_hop, explain_hop},
    {"StackSpec",
     "spec.database: cannot change between managed and external; move the data with a "
     "StackRestore into a new stack",
     database_stays},
    {"StackSpec",
     "spec.redis: cannot change between managed and external, its queues would be lost; delete the "
     "StackSpec, its data stays, and create it with the other Redis",
     redis_stays},
    {"StackSpec", "spec.database.external.shared: immutable", shared_stays},
    {"StackSpec", "spec.database.managed.size: cannot be removed once set", database_size_stays},
    {"StackSpec", "spec.storage.local.size: cannot be removed once set", storage_size_stays},
    {"StackSpec.spec", "exactly one of tag and image must be set", tag_or_image},
    {"StackSpec.spec.image",
     "twentyhq/twenty does not exist; the official image is docker.io/twentycrm/twenty",
     not_twentyhq},
    {"StackSpec.spec.envFrom[]", kEnvSource, one_env_source},
    {"StackSpec.spec.fundraising.envFrom[]", kEnvSource, one_env_source},
    {"StackSpec.spec.extensions[].envFrom[]", kEnvSource, one_env_source},
    {"StackSpec.spec.smoke[].envFrom[]", kEnvSource, one_env_source},
    {"StackSpec.spec.database", kOneHome, managed_or_external},
    {"StackSpec.spec.redis", kOneHome, managed_or_external},
    {"StackSpec.spec.database.managed.size", kShrinks, not_smaller},
    {"StackSpec.spec.redis.managed.size", kShrinks, not_smaller},
    {"StackSpec.spec.storage.local.size", kShrinks, not_smaller},
    {"StackSpec.spec.backup.destination.pvc.size", kShrinks, not_smaller},
    {"StackSpec.spec.storage", "s3 must be set exactly when type is s3", s3_when_s3},
    {"StackSpec.spec.smoke[]", "exactly one of http and image must be set", http_or_image},
    {"StackSpec.spec.fundraising.env",
     "FUNDRAISING_DONOR_MATCH_LOOKUP_BATCH_SIZE and …_CREATE_CHUNK_SIZE must be 1..60", paced},
    {"StackRestore.spec", "a StackRestore cannot be changed; create another one", unchanged},
    {"StackRestore.spec.from", "exactly one of backupRef and location must be set",
     backup_or_location},
};

}  // namespace

std::span<const RuleTwin> rule_twins() {
  return kTwins;
}

const RuleTwin* find_rule_twin(std::string_view where, std::string_view message) {
  for (const RuleTwin& twin : kTwins) {
    if (twin.where == where && twin.message == message) return &twin;
  }
  return nullptr;
}

}  // namespace stackspec
