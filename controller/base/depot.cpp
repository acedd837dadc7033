// SPDX-License-Identifier: Apache-2.0
#include "base/depot.hpp"

#include <zlib.h>

#include <algorithm>
#include <new>
#include <utility>

namespace stackspec {
namespace {

/// So big that the allocator asks the system for it alone, and gives it back alone.
constexpr std::size_t kPiece = 256U << 10U;
/// So much of what is dropped may lie around; above, a quarter of all.
constexpr std::size_t kDropped = 64U << 10U;

// Raw deflate. The window reaches over a dictionary and a text of the usual size; what is longer is
// only packed less well.
constexpr int kWindow = -13;
constexpr int kMemory = 5;
constexpr int kLevel = 3;
constexpr std::size_t kShortest = 64;     ///< What is shorter is not worth packing.
constexpr std::size_t kDictionaries = 8;  ///< Each half as long again as the one before.
constexpr std::size_t kLongestDictionary = 4096;

Bytef* bytes_of(std::string_view text) {
  return reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));  // zlib does not write to it
}

}  // namespace

Depot::Id Depot::put(std::string_view text) {
  if (free_.empty()) {
    free_.push_back(static_cast<Id>(places_.size()));
    places_.emplace_back();
  }
  const Id id = free_.back();
  free_.pop_back();
  const std::string_view as_dictionary = text.substr(0, kLongestDictionary);
  const bool is_longer =
      dictionaries_.empty() || 2 * as_dictionary.size() > 3 * dictionaries_.back().size();
  if (text.size() >= kShortest && is_longer && dictionaries_.size() < kDictionaries) {
    dictionaries_.emplace_back(as_dictionary);
  }
  const std::string packed = text.size() < kShortest ? std::string() : pack(text);
  Place& place = places_[id];
  place.packed = !packed.empty();
  place.text_size = static_cast<std::uint32_t>(text.size());
  place.dictionary = static_cast<std::uint8_t>(std::max<std::size_t>(dictionaries_.size(), 1) - 1);
  store(place, place.packed ? packed : text);
  return id;
}

std::string Depot::get(Id id) const {
  const Place& place = places_[id];
  if (!place.used) return {};
  const auto bytes = std::string_view(pieces_[place.piece]).substr(place.offset, place.size);
  if (!place.packed) return std::string(bytes);
  std::string text(place.text_size, '\0');
  const std::string& dictionary = dictionaries_[place.dictionary];
  z_stream stream = {};
  if (inflateInit2(&stream, kWindow) != Z_OK) throw std::bad_alloc();
  inflateSetDictionary(&stream, bytes_of(dictionary), static_cast<uInt>(dictionary.size()));
  stream.next_in = bytes_of(bytes);
  stream.avail_in = static_cast<uInt>(bytes.size());
  stream.next_out = bytes_of(text);
  stream.avail_out = static_cast<uInt>(text.size());
  inflate(&stream, Z_FINISH);
  inflateEnd(&stream);
  return text;
}

void Depot::drop(Id id) {
  Place& place = places_[id];
  if (!place.used) return;
  place.used = false;
  dropped_ += place.size;
  free_.push_back(id);
  if (dropped_ > std::max(kDropped, held_ / 4)) tidy();
}

/// Empty: it would not become shorter, or there is no memory for it.
std::string Depot::pack(std::string_view text) const {
  const std::string& dictionary = dictionaries_.back();
  z_stream stream = {};
  if (deflateInit2(&stream, kLevel, Z_DEFLATED, kWindow, kMemory, Z_DEFAULT_STRATEGY) != Z_OK) {
    return {};
  }
  deflateSetDictionary(&stream, bytes_of(dictionary), static_cast<uInt>(dictionary.size()));
  std::string packed(text.size(), '\0');
  stream.next_in = bytes_of(text);
  stream.avail_in = static_cast<uInt>(text.size());
  stream.next_out = bytes_of(packed);
  stream.avail_out = static_cast<uInt>(packed.size());
  const bool fits = deflate(&stream, Z_FINISH) == Z_STREAM_END;
  packed.resize(fits ? stream.total_out : 0);
  deflateEnd(&stream);
  return packed;
}

void Depot::store(Place& place, std::string_view bytes) {
  if (pieces_.empty() || pieces_.back().capacity() - pieces_.back().size() < bytes.size()) {
    pieces_.emplace_back().reserve(std::max(kPiece, bytes.size()));
  }
  std::string& piece = pieces_.back();
  place.piece = static_cast<std::uint32_t>(pieces_.size() - 1);
  place.offset = static_cast<std::uint32_t>(piece.size());
  place.size = static_cast<std::uint32_t>(bytes.size());
  place.used = true;
  piece += bytes;
  held_ += bytes.size();
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
