// SPDX-License-Identifier: Apache-2.0
#include "base/depot.hpp"

#include <algorithm>
#include <utility>

namespace stackspec {
namespace {

/// So big that the allocator asks the system for it alone, and gives it back alone.
constexpr std::size_t kPiece = 256U << 10U;
/// So much of what is dropped may lie around; above, a quarter of all.
constexpr std::size_t kDropped = 64U << 10U;

}  // namespace

Depot::Id Depot::put(std::string_view text) {
  if (free_.empty()) {
    free_.push_back(static_cast<Id>(places_.size()));
    places_.emplace_back();
  }
  const Id id = free_.back();
  free_.pop_back();
  store(places_[id], text);
  return id;
}

std::string_view Depot::get(Id id) const {
  const Place& place = places_[id];
  if (!place.used) return {};
  return std::string_view(pieces_[place.piece]).substr(place.offset, place.size);
}

void Depot::drop(Id id) {
  Place& place = places_[id];
  if (!place.used) return;
  place.used = false;
  dropped_ += place.size;
  free_.push_back(id);
  if (dropped_ > std::max(kDropped, held_ / 4)) tidy();
}

void Depot::store(Place& place, std::string_view text) {
  if (pieces_.empty() || pieces_.back().capacity() - pieces_.back().size() < text.size()) {
    pieces_.emplace_back().reserve(std::max(kPiece, text.size()));
  }
  std::string& piece = pieces_.back();
  place = {static_cast<std::uint32_t>(pieces_.size() - 1), static_cast<std::uint32_t>(piece.size()),
           static_cast<std::uint32_t>(text.size()), true};
  piece += text;
  held_ += text.size();
}

/// Everything into new pieces.
void Depot::tidy() {
  const auto old = std::exchange(pieces_, {});
  held_ = 0;
  dropped_ = 0;
  for (Place& place : places_) {
    if (!place.used) continue;
    store(place, std::string_view(old[place.piece]).substr(place.offset, place.size));
  }
}

}  // namespace stackspec
