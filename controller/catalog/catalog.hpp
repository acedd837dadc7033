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
  Version minor;                       ///< Without a patch.
  Version recommended;                 ///< The patch a hop through this minor uses.
  bool skippable = false;              ///< 1.22: broken for several people; a path may leave it out.
  std::vector<std::string> denied;     ///< `1.16.0-1.16.5`, `2.5.3`; reasons in `denied_why`.
  std::string denied_why;
  int min_postgres = 13;
  std::vector<Sentinel> sentinels;
  bool flushes_queues = false;         ///< `cache:flush` empties the whole Redis at this minor.
  std::optional<int> migrations;       ///< Rows of core._typeorm_migrations after it, where measured.
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
  /// From YAML (see catalog/default.yaml for the form). Errors: Invalid with the line and the field.
  static Result<Catalog> parse(std::string_view yaml);
  /// The one compiled into the program.
  static const Catalog& builtin();

  const std::vector<Release>& releases() const { return releases_; }
  /// The minor of `version`; nullptr when the catalog does not have it.
  const Release* find(const Version& version) const;

  /// Whether a target can be placed: known, or next on the tail (next minor of the newest line).
  /// Errors: NotFound (gate ReleaseUnknown), Forbidden (gate ReleaseDenied), each saying what to do.
  Result<void> place(const Version& target) const;

  /// The hops from `from` (proven; with patch) to `target`, none when equal. A target without patch
  /// gets the recommended one. The last hop is the target itself, every hop before it the
  /// recommended patch of its minor. A patch inside one minor is one hop.
  /// Errors: as place(), and Invalid for a target older than `from`.
  Result<std::vector<Hop>> path(const Version& from, const Version& target) const;

  /// The exact release a tag means: itself, or the recommended patch when it names a minor.
  Version resolve(const Version& target) const;

 private:
  std::vector<Release> releases_;
  int tail_min_postgres_ = 15;
};

}  // namespace stackspec
