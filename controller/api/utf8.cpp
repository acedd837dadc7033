// SPDX-License-Identifier: Apache-2.0
#include "api/utf8.hpp"

#include <algorithm>
#include <cstdint>

namespace stackspec {
namespace {

/// Length of the sequence that a first byte announces; 0 when no sequence starts with it.
std::size_t sequence_length(unsigned char first) {
  if (first == 0) return 0;
  if (first < 0x80) return 1;
  if (first >= 0xC2 && first < 0xE0) return 2;
  if (first >= 0xE0 && first < 0xF0) return 3;
  if (first >= 0xF0 && first < 0xF5) return 4;
  return 0;
}

bool good_sequence(std::string_view sequence) {
  const std::size_t length = sequence.size();
  const auto first = static_cast<unsigned char>(sequence[0]);
  std::uint32_t code = length == 1 ? first : first & (0xFFU >> (length + 1));
  for (const char byte : sequence.substr(1)) {
    const auto value = static_cast<unsigned char>(byte);
    if ((value & 0xC0U) != 0x80U) return false;
    code = (code << 6U) | (value & 0x3FU);
  }
  if (length == 3) return code >= 0x800 && (code < 0xD800 || code > 0xDFFF);
  if (length == 4) return code >= 0x10000 && code <= 0x10FFFF;
  return true;
}

}  // namespace

std::optional<std::size_t> first_bad_utf8(std::string_view text) {
  std::size_t at = 0;
  while (at < text.size()) {
    const std::size_t length = sequence_length(static_cast<unsigned char>(text[at]));
    if (length == 0 || at + length > text.size() || !good_sequence(text.substr(at, length))) {
      return at;
    }
    at += length;
  }
  return std::nullopt;
}

std::size_t utf8_length(std::string_view text) {
  return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), [](char byte) {
    return (static_cast<unsigned char>(byte) & 0xC0U) != 0x80U;
  }));
}

}  // namespace stackspec
