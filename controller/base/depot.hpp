// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace stackspec {

/// Keeps many small texts that seldom change. They lie one behind the other in big pieces of
/// memory, so that a text costs its length and a few bytes; what was dropped is given back to the
/// system piece by piece. One thread at a time.
class Depot {
 public:
  using Id = std::uint32_t;
  static constexpr Id kNothing = 0;  ///< No text has it.

  Id put(std::string_view text);

  /// Until the next change. Of kNothing: empty.
  std::string_view get(Id id) const;

  /// Of kNothing: nothing happens.
  void drop(Id id);

  /// Bytes in use: texts and what lies between them.
  std::size_t held() const { return held_; }

 private:
  struct Place {
    std::uint32_t piece = 0;
    std::uint32_t offset = 0;
    std::uint32_t size = 0;
    bool used = false;
  };

  void store(Place& place, std::string_view text);
  void tidy();

  std::vector<std::string> pieces_;  ///< Each with the capacity it will ever have.
  std::vector<Place> places_ = {Place{}};
  std::vector<Id> free_;
  std::size_t held_ = 0;
  std::size_t dropped_ = 0;  ///< Of held_.
};

}  // namespace stackspec
