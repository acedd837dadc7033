// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <bitset>
#include <cstddef>
#include <cstdint>
#include <shared_mutex>
#include <string>
#include <string_view>
#include <vector>

namespace stackspec {

/// Texts that must not get out, found in other texts in a time that hardly grows with their number:
/// a thousand stacks have ten thousand. Keeps hashes, not the texts. Any thread.
class SecretIndex {
 public:
  static constexpr std::size_t kShortest = 8;
  static constexpr std::string_view kRedacted = "[redacted]";

  /// Shorter ones than kShortest are left out: they would be found everywhere.
  void add(std::string_view form);

  /// `text` with every part that is covered by one or more of them replaced by kRedacted.
  std::string masked(std::string_view text) const;

 private:
  struct Form {
    std::uint64_t prefix = 0;  ///< The first bytes.
    std::size_t length = 0;
    std::size_t hash = 0;  ///< Of all of it.
    friend auto operator<=>(const Form&, const Form&) = default;
  };
  static constexpr int kBits = 16;

  static Form form_of(std::string_view text);
  static std::uint64_t prefix_of(std::string_view text);
  static std::size_t bit_of(std::uint64_t prefix);
  /// Length of the longest that `text` begins with; 0: none.
  std::size_t longest_locked(std::string_view text) const;

  mutable std::shared_mutex mutex_;
  std::vector<Form> forms_;                        // guarded by mutex_, sorted
  std::bitset<std::size_t{1} << kBits> prefixes_;  // guarded by mutex_; a quick no
};

}  // namespace stackspec
