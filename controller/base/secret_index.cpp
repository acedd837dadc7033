// SPDX-License-Identifier: Apache-2.0
#include "base/secret_index.hpp"

#include <algorithm>
#include <cstring>
#include <functional>
#include <mutex>

namespace stackspec {

std::uint64_t SecretIndex::prefix_of(std::string_view text) {
  static_assert(sizeof(std::uint64_t) == kShortest);
  std::uint64_t prefix = 0;
  std::memcpy(&prefix, text.data(), sizeof prefix);
  return prefix;
}

std::size_t SecretIndex::bit_of(std::uint64_t prefix) {
  constexpr std::uint64_t kGoldenRatio = 0x9E3779B97F4A7C15U;
  return static_cast<std::size_t>((prefix * kGoldenRatio) >> (64 - kBits));
}

SecretIndex::Form SecretIndex::form_of(std::string_view text) {
  return {prefix_of(text), text.size(), std::hash<std::string_view>{}(text)};
}

void SecretIndex::add(std::string_view text) {
  if (text.size() < kShortest) return;
  const Form form = form_of(text);
  {
    const std::shared_lock lock(mutex_);
    if (std::binary_search(forms_.begin(), forms_.end(), form)) return;
  }
  const std::unique_lock lock(mutex_);
  const auto place = std::lower_bound(forms_.begin(), forms_.end(), form);
  if (place != forms_.end() && *place == form) return;
  forms_.insert(place, form);
  prefixes_.set(bit_of(form.prefix));
}

std::size_t SecretIndex::longest_locked(std::string_view text) const {
  const std::uint64_t prefix = prefix_of(text);
  if (!prefixes_.test(bit_of(prefix))) return 0;
  std::size_t longest = 0;
  for (auto form = std::lower_bound(forms_.begin(), forms_.end(), Form{prefix, 0, 0});
       form != forms_.end() && form->prefix == prefix && form->length <= text.size(); ++form) {
    if (*form == form_of(text.substr(0, form->length))) longest = form->length;
  }
  return longest;
}

std::string SecretIndex::masked(std::string_view text) const {
  const std::shared_lock lock(mutex_);
  std::string clean;
  clean.reserve(text.size());
  std::size_t covered = 0;  // up to here
  for (std::size_t at = 0; at < text.size(); ++at) {
    const std::size_t length = at + kShortest <= text.size() ? longest_locked(text.substr(at)) : 0;
    if (length > 0) {
      if (at >= covered) clean += kRedacted;
      covered = std::max(covered, at + length);
    }
    if (at >= covered) clean += text[at];
  }
  return clean;
}

}  // namespace stackspec
