// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace stackspec {

/// Keeps many small texts that seldom change and are much alike. They lie compressed, one behind
/// the other in big pieces of memory; one of them serves as the dictionary of those that come after
/// it. What was dropped is given back to the system piece by piece. One thread at a time.
class Depot {
 public:
  using Id = std::uint32_t;
  static constexpr Id kNothing = 0;  ///< No text has it.

  Id put(std::string_view text);

  /// Of kNothing: empty.
  std::string get(Id id) const;

  /// Of kNothing: nothing happens.
  void drop(Id id);

  /// Bytes in use: texts as they lie there, and what was dropped between them.
  std::size_t held() const { return held_; }

 private:
  struct Place {
    std::uint32_t piece = 0;
    std::uint32_t offset = 0;
    std::uint32_t size = 0;  ///< As it lies there.
    std::uint32_t text_size = 0;
    std::uint8_t dictionary = 0;  ///< Place in dictionaries_.
    bool packed = false;
    bool used = false;
  };

  std::string pack(std::string_view text) const;
  void store(Place& place, std::string_view bytes);
  void tidy();

  std::vector<std::string> dictionaries_;
  std::vector<std::string> pieces_;  ///< Each with the capacity it will ever have.
  std::vector<Place> places_ = {Place{}};
  std::vector<Id> free_;
  std::size_t held_ = 0;
  std::size_t dropped_ = 0;  ///< Of held_.
};

}  // namespace stackspec
