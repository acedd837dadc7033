// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "api/stack.hpp"

namespace stackspec::kubernetes {

/// One object: whose it is, and which of its states this is. There are many: kept small.
struct Known {
  std::size_t key = 0;  ///< key_hash()
  std::int64_t version = 0;
  const StackKey* stack = nullptr;
  std::uint32_t uid = 0;  ///< Hash of it.
  std::uint8_t kind = 0;  ///< Place in watched_kinds().
  bool listed = false;    ///< The list that is being read has it.
};

/// By key. A sorted row for each first byte of it: little more than the objects themselves, and
/// cheap to insert into.
class KnownObjects {
 public:
  /// Until the next change.
  Known* find(std::size_t key) {
    auto& row = rows_[row_of(key)];
    const auto place = place_of(row, key);
    return place != row.end() && place->key == key ? &*place : nullptr;
  }

  /// What a list has stays listed, whatever we write meanwhile.
  void put(Known known) {
    auto& row = rows_[row_of(known.key)];
    const auto place = place_of(row, known.key);
    if (place != row.end() && place->key == known.key) {
      known.listed = place->listed;
      *place = known;
      return;
    }
    const auto index = place - row.begin();
    if (row.size() == row.capacity()) row.reserve(row.size() + kGrowth);
    row.insert(row.begin() + index, known);
  }

  void erase(std::size_t key) {
    auto& row = rows_[row_of(key)];
    const auto place = place_of(row, key);
    if (place != row.end() && place->key == key) row.erase(place);
  }

  template <class Act>
  void for_each(const Act& act) {
    for (auto& row : rows_) {
      for (Known& known : row) act(known);
    }
  }

 private:
  static constexpr std::size_t kGrowth = 8;
  using Row = std::vector<Known>;

  static std::size_t row_of(std::size_t key) { return key >> 56U; }
  static Row::iterator place_of(Row& row, std::size_t key) {
    return std::lower_bound(
        row.begin(), row.end(), key,
        [](const Known& known, std::size_t wanted) { return known.key < wanted; });
  }

  std::array<Row, 256> rows_;
};

}  // namespace stackspec::kubernetes
