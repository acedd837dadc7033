// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <initializer_list>
#include <nlohmann/json.hpp>

#include "api/codec.hpp"
#include "catalog/catalog.hpp"

namespace stackspec {
namespace {

using nlohmann::json;

/// Longer tails are typing errors, and every minor of one is a hop.
constexpr int kLongestTail = 200;

/// A mapping of the text, its place in it, and the first thing wrong with it.
class Reader {
 public:
  Reader(const Document& document, const json& value, std::string path)
      : document_(document), value_(value), path_(std::move(path)) {}

  Error wrong(const std::string& field, const std::string& what) const {
    const std::string at = field.empty() ? path_ : path_.empty() ? field : path_ + "." + field;
    return {ErrorKind::Invalid,
            "line " + std::to_string(document_.line_of(at)) + ": " + at + ": " + what};
  }

  Result<void> only(std::initializer_list<std::string_view> known) const {
    if (!value_.is_object()) return wrong("", "must be a mapping");
    for (const auto& [name, ignored] : value_.items()) {
      if (std::find(known.begin(), known.end(), name) != known.end()) continue;
      std::string names;
      for (const auto one : known) names += (names.empty() ? "" : ", ") + std::string(one);
      return wrong(name, "is not known; the fields here are " + names);
    }
    return {};
  }

  bool has(const char* field) const { return value_.contains(field); }

  Result<std::string> text(const char* field) const {
    if (!has(field)) return wrong(field, "is required");
    const json& value = value_.at(field);
    if (!value.is_string() || value.get<std::string>().empty()) {
      return wrong(field, "must be a text");
    }
    return value.get<std::string>();
  }

  Result<int> number(const char* field, int least, int most, int absent) const {
    if (!has(field)) return absent;
    const json& value = value_.at(field);
    if (value.is_number_integer() && value >= least && value <= most) return value.get<int>();
    return wrong(field, "must be a whole number from " + std::to_string(least) + " to " +
                            std::to_string(most));
  }

  Result<bool> flag(const char* field) const {
    if (!has(field)) return false;
    if (!value_.at(field).is_boolean()) return wrong(field, "must be true or false");
    return value_.at(field).get<bool>();
  }

  Result<Version> version(const char* field, bool with_patch) const {
    const std::string written = TRY(text(field));
    auto parsed = parse_version(written);
    if (!parsed) return wrong(field, parsed.error().message);
    if (parsed->has_patch() != with_patch) {
      return wrong(field, with_patch ? "must name a patch, such as v1.16.6"
                                     : "must be a minor without a patch, such as v1.16");
    }
    return *parsed;
  }

  /// The mappings of a list; an absent list is empty.
  Result<std::vector<Reader>> list(const char* field) const {
    std::vector<Reader> items;
    if (!has(field)) return items;
    const json& values = value_.at(field);
    if (!values.is_array()) return wrong(field, "must be a list");
    const std::string at = path_.empty() ? field : path_ + "." + field;
    for (std::size_t i = 0; i < values.size(); ++i) {
      items.emplace_back(document_, values[i], at + "[" + std::to_string(i) + "]");
    }
    return items;
  }

  Reader child(const char* field) const {
    return {document_, value_.at(field), path_.empty() ? field : path_ + "." + field};
  }

 private:
  const Document& document_;
  const json& value_;
  std::string path_;
};

Result<Release> read_release(const Reader& reader) {
  TRY(reader.only({"minor", "recommended", "skippable", "skipWhy", "minPostgres", "flushesQueues",
                   "migrations", "sentinels"}));
  Release release;
  release.minor = TRY(reader.version("minor", false));
  release.recommended = TRY(reader.version("recommended", true));
  if (!release.recommended.same_minor(release.minor)) {
    return reader.wrong("recommended", "must be a patch of " + to_string(release.minor));
  }
  release.skippable = TRY(reader.flag("skippable"));
  if (release.skippable) release.skip_why = TRY(reader.text("skipWhy"));
  release.min_postgres = TRY(reader.number("minPostgres", 9, 99, release.min_postgres));
  release.flushes_queues = TRY(reader.flag("flushesQueues"));
  if (reader.has("migrations")) release.migrations = TRY(reader.number("migrations", 1, 99999, 0));
  for (const Reader& item : TRY(reader.list("sentinels"))) {
    TRY(item.only({"name", "sql"}));
    release.sentinels.push_back({TRY(item.text("name")), TRY(item.text("sql"))});
  }
  return release;
}

Result<std::vector<Release>> read_releases(const Reader& root) {
  std::vector<Release> releases;
  for (const Reader& item : TRY(root.list("releases"))) {
    Release release = TRY(read_release(item));
    if (!releases.empty() && release.minor <= releases.back().minor) {
      return item.wrong("minor", "must be newer than " + to_string(releases.back().minor) +
                                     " above it; list the releases oldest first");
    }
    releases.push_back(std::move(release));
  }
  if (releases.empty()) return root.wrong("releases", "must have at least one release");
  return releases;
}

Result<std::vector<DeniedRange>> read_denied(const Reader& root,
                                             const std::vector<Release>& releases) {
  std::vector<DeniedRange> denied;
  for (const Reader& item : TRY(root.list("denied"))) {
    TRY(item.only({"first", "last", "why"}));
    DeniedRange range;
    range.first = TRY(item.version("first", true));
    range.last = TRY(item.version("last", true));
    range.why = TRY(item.text("why"));
    if (range.last < range.first || !range.last.same_minor(range.first)) {
      return item.wrong("last", "must be a later patch of the minor of `first`");
    }
    for (const Release& release : releases) {
      if (release.recommended < range.first || release.recommended > range.last) continue;
      return item.wrong("first", "denies " + to_string(release.recommended) +
                                     ", which is recommended; recommend another patch");
    }
    denied.push_back(std::move(range));
  }
  return denied;
}

Result<void> add_tail(const Reader& root, std::vector<Release>& releases) {
  if (!root.has("tail")) return {};
  const Reader tail = root.child("tail");
  TRY(tail.only({"minors", "minPostgres"}));
  const int minors = TRY(tail.number("minors", 0, kLongestTail, 0));
  const int postgres = TRY(tail.number("minPostgres", 9, 99, releases.back().min_postgres));
  for (int i = 0; i < minors; ++i) {
    Release next;
    next.minor = releases.back().minor;
    ++next.minor.minor;
    next.recommended = next.minor;
    next.recommended.patch = 0;
    next.tail = true;
    next.min_postgres = postgres;
    next.flushes_queues = releases.back().flushes_queues;
    releases.push_back(std::move(next));
  }
  return {};
}

}  // namespace

Result<Catalog> Catalog::parse(std::string_view yaml) {
  const auto documents = TRY(parse_yaml(yaml));
  if (documents.size() != 1) {
    return Error{ErrorKind::Invalid,
                 "line 1: a catalog is one YAML document, not " + std::to_string(documents.size())};
  }
  const json value = json::parse(documents.front().json, nullptr, false);
  const Reader root(documents.front(), value, "");
  if (!value.is_object()) {
    return Error{ErrorKind::Invalid, "line 1: a catalog must be a mapping with `releases`"};
  }
  TRY(root.only({"releases", "denied", "tail"}));
  Catalog catalog;
  catalog.releases_ = TRY(read_releases(root));
  TRY(add_tail(root, catalog.releases_));
  catalog.denied_ = TRY(read_denied(root, catalog.releases_));
  return catalog;
}

}  // namespace stackspec
