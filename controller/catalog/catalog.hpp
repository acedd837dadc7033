// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "base/version.hpp"

namespace stackspec {

/// A fact about the database that is true only after a good upgrade to a minor, as one SQL boolean
/// expression: `fieldMetadata."universalIdentifier" is NOT NULL` at 1.16.
struct Sentinel {
  std::string name;
  std::string sql;  ///< A SELECT that returns one boolean.
  friend bool operator==(const Sentinel&, const Sentinel&) = default;
};

/// One minor of the ladder.
struct Release {
  Version minor;           ///< Without a patch.
  Version recommended;     ///< The patch a hop through this minor uses.
  bool skippable = false;  ///< A path leaves it out unless it is the target: 1.22.
  std::string skip_why;
  bool tail = false;  ///< Newer than the catalog's text; placed by its tail rule.
  int min_postgres = 13;
  std::vector<Sentinel> sentinels;
  bool flushes_queues = false;    ///< `cache:flush` empties the whole Redis at this minor.
  std::optional<int> migrations;  ///< Rows of core._typeorm_migrations after it, where measured.
};

/// Releases that are never gone to, both ends included.
struct DeniedRange {
  Version first;
  Version last;
  std::string why;
};

/// A step of a path and why it is there.
struct Hop {
  Version to;
  std::string why;
  friend bool operator==(const Hop&, const Hop&) = default;
};

/// The release graph: data, pure. Newest last.
class Catalog {
 public:
  /// From YAML (see catalog/default.yaml for the form). Errors: Invalid with the line and the
  /// field.
  static Result<Catalog> parse(std::string_view yaml);
  /// The one compiled into the program.
  static const Catalog& builtin();

  /// Those of the text, then those of the tail rule.
  const std::vector<Release>& releases() const { return releases_; }
  /// The range that forbids `version`; nullptr when nothing does.
  const DeniedRange* denied(const Version& version) const;
  /// The minor of `version`; nullptr when the catalog does not have it.
  const Release* find(const Version& version) const;

  /// Whether a target can be placed: known, or on the tail (the next minors of the newest line).
  /// Errors: NotFound (gate ReleaseUnknown), Forbidden (gate ReleaseDenied), each saying what to
  /// do.
  Result<void> place(const Version& target) const;

  /// The hops from `from` (proven; with patch) to `target`, none when equal. A target without patch
  /// gets the recommended one. The last hop is the target itself, every hop before it the
  /// recommended patch of its minor. A patch inside one minor is one hop.
  /// Errors: as place(), and Invalid for a target older than `from`.
  Result<std::vector<Hop>> path(const Version& from, const Version& target) const;

  /// The exact release a tag means: itself, or the recommended patch when it names a minor.
  Version resolve(const Version& target) const;

 private:
  std::string why(std::size_t previous, std::size_t here, const Version& to) const;

  std::vector<Release> releases_;
  std::vector<DeniedRange> denied_;
};

}  // namespace stackspec
