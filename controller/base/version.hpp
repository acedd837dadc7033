// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <compare>
#include <string>
#include <string_view>

#include "base/result.hpp"

namespace stackspec {

/// A release: `v1.16.6`, or a whole minor `v1.16` whose patch is chosen by the catalog.
struct Version {
  int major = 0;
  int minor = 0;
  int patch = -1;  ///< -1: not given.

  bool has_patch() const { return patch >= 0; }
  bool same_minor(const Version& other) const {
    return major == other.major && minor == other.minor;
  }
  friend auto operator<=>(const Version&, const Version&) = default;
};

/// Accepts `v1.16.6`, `1.16.6`, `v1.16`; nothing else. Error: Invalid, naming the text.
Result<Version> parse_version(std::string_view text);

/// With the `v`: `v1.16.6`, `v1.16`.
std::string to_string(const Version& version);

/// The minor alone, without `v`, as Twenty's own table has it: `1.16`.
std::string minor_of(const Version& version);

}  // namespace stackspec
