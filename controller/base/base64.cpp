// SPDX-License-Identifier: Apache-2.0
#include "base/base64.hpp"

namespace stackspec {
namespace {

constexpr std::string_view kAlphabet =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

}  // namespace

std::string base64(std::string_view bytes) {
  std::string text;
  unsigned bits = 0;
  int count = 0;
  for (const char byte : bytes) {
    bits = (bits << 8U | static_cast<unsigned char>(byte)) & 0xFFFFU;
    for (count += 8; count >= 6; count -= 6) text += kAlphabet[bits >> (count - 6) & 63U];
  }
  if (count > 0) text += kAlphabet[bits << (6 - count) & 63U];
  while (text.size() % 4 != 0) text += '=';
  return text;
}

Result<std::string> base64_decoded(std::string_view text) {
  std::string bytes;
  unsigned bits = 0;
  int count = 0;
  for (const char letter : text) {
    if (std::string_view("=\r\n ").find(letter) != std::string_view::npos) continue;
    const auto value = kAlphabet.find(letter);
    if (value == std::string_view::npos) return Error{ErrorKind::Invalid, "it is not base64"};
    bits = (bits << 6U | static_cast<unsigned>(value)) & 0xFFFFU;
    count += 6;
    if (count < 8) continue;
    count -= 8;
    bytes += static_cast<char>(bits >> count & 0xFFU);
  }
  return bytes;
}

}  // namespace stackspec
