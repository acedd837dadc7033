// SPDX-License-Identifier: Apache-2.0
#include "api/yaml_scalar.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <limits>
#include <optional>
#include <string_view>

namespace stackspec {
namespace {

using nlohmann::json;

/// `yes`, `Yes` and `YES`, but not `yEs`.
bool is_word(std::string_view text, std::string_view word) {
  if (text.size() != word.size()) return false;
  const auto upper = [](char c) { return static_cast<char>(c - 'a' + 'A'); };
  if (text == word) return true;
  if (text[0] != upper(word[0])) return false;
  if (text.substr(1) == word.substr(1)) return true;
  return std::equal(text.begin(), text.end(), word.begin(),
                    [&](char a, char b) { return a == upper(b); });
}

std::optional<bool> as_bool(std::string_view text) {
  for (const std::string_view word : {"true", "yes", "on", "y"}) {
    if (is_word(text, word)) return true;
  }
  for (const std::string_view word : {"false", "no", "off", "n"}) {
    if (is_word(text, word)) return false;
  }
  return std::nullopt;
}

std::optional<std::uint64_t> digits(std::string_view text, int base) {
  std::uint64_t value = 0;
  const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (failure != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::optional<std::uint64_t> magnitude(std::string_view text) {
  if (text.empty()) return std::nullopt;
  if (text.size() > 2 && text[0] == '0') {
    const char kind = text[1];
    if (kind == 'x' || kind == 'X') return digits(text.substr(2), 16);
    if (kind == 'o' || kind == 'O') return digits(text.substr(2), 8);
    if (kind == 'b' || kind == 'B') return digits(text.substr(2), 2);
  }
  if (text.size() > 1 && text[0] == '0') {
    // 08 is no octal number; kubectl falls back to decimal.
    const auto octal = digits(text.substr(1), 8);
    return octal ? octal : digits(text, 10);
  }
  return digits(text, 10);
}

std::optional<json> as_integer(std::string_view text) {
  const bool negative = text[0] == '-';
  if (negative || text[0] == '+') text.remove_prefix(1);
  const auto value = magnitude(text);
  if (!value) return std::nullopt;
  if (!negative) return json(*value);
  constexpr auto kLowest = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()) + 1;
  if (*value > kLowest) return std::nullopt;
  return json(static_cast<std::int64_t>(0 - *value));
}

/// `[-+]?(digits[.digits]|.digits)([eE][-+]?digits)?` and nothing else (no `inf`, no hexadecimal).
bool looks_like_float(std::string_view text) {
  const auto is_digit = [](char c) { return c >= '0' && c <= '9'; };
  std::size_t at = text[0] == '-' || text[0] == '+' ? 1 : 0;
  const auto skip = [&] {
    const std::size_t start = at;
    while (at < text.size() && is_digit(text[at])) ++at;
    return at - start;
  };
  std::size_t mantissa = skip();
  if (at < text.size() && text[at] == '.') {
    ++at;
    mantissa += skip();
  }
  if (mantissa == 0) return false;
  if (at < text.size() && (text[at] == 'e' || text[at] == 'E')) {
    ++at;
    if (at < text.size() && (text[at] == '-' || text[at] == '+')) ++at;
    if (skip() == 0) return false;
  }
  return at == text.size();
}

Result<json> float_value(std::string text) {
  if (text[0] == '+') text.erase(0, 1);
  double value = 0;
  const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (failure != std::errc() || !std::isfinite(value)) {
    return Error{ErrorKind::Invalid,
                 "`" + text + "` is no number that fits; quote it if it is text"};
  }
  // An API's integer fields refuse 1000.0.
  if (value == std::floor(value) && std::fabs(value) < 9e15) {
    return json(static_cast<std::int64_t>(value));
  }
  return json(value);
}

bool is_null(std::string_view text) {
  return text.empty() || text == "~" || is_word(text, "null");
}

bool is_infinite(std::string_view text) {
  if (text[0] == '-' || text[0] == '+') text.remove_prefix(1);
  if (text.empty() || text[0] != '.') return false;
  return is_word(text.substr(1), "inf") || text == ".nan" || text == ".NaN" || text == ".NAN";
}

Result<json> plain(const std::string& text) {
  if (is_null(text)) return json();
  if (const auto boolean = as_bool(text)) return json(*boolean);
  if (is_infinite(text)) {
    return Error{ErrorKind::Invalid, "`" + text + "` is not a number JSON knows; quote it"};
  }
  const char first = text[0];
  const bool numeric =
      (first >= '0' && first <= '9') || first == '-' || first == '+' || first == '.';
  if (!numeric) return json(text);
  std::string number = text;
  std::erase(number, '_');
  if (number.empty()) return json(text);
  if (const auto integer = as_integer(number)) return *integer;
  if (looks_like_float(number)) return float_value(number);
  return json(text);
}

}  // namespace

Result<json> yaml_scalar(const std::string& tag, const std::string& text) {
  constexpr std::string_view kCore = "tag:yaml.org,2002:";
  if (tag == "!" || tag == std::string(kCore) + "str" || tag == std::string(kCore) + "binary") {
    return json(text);
  }
  return plain(text);
}

std::string yaml_key(const json& value, const std::string& text) {
  if (value.is_string()) return value.get<std::string>();
  if (value.is_boolean() || value.is_number()) return value.dump();
  return text.empty() ? "null" : text;
}

}  // namespace stackspec
