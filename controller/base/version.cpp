// SPDX-License-Identifier: Apache-2.0
#include "base/version.hpp"

#include <charconv>

namespace stackspec {

namespace {

/// One number of a version: 1 to 4 digits, no leading zero. -1 when the text is anything else.
int number(std::string_view text) {
  if (text.empty() || text.size() > 4 || (text.size() > 1 && text[0] == '0')) return -1;
  int value = -1;
  const auto [end, failed] = std::from_chars(text.data(), text.data() + text.size(), value);
  return failed == std::errc{} && end == text.data() + text.size() && text[0] != '-' ? value : -1;
}

}  // namespace

Result<Version> parse_version(std::string_view text) {
  const Error wrong{ErrorKind::Invalid,
                    "\"" + std::string(text) + "\" is not a release such as v1.16.6 or v1.16"};
  std::string_view rest = text;
  if (rest.starts_with('v')) rest.remove_prefix(1);
  const auto dot = rest.find('.');
  if (dot == std::string_view::npos) return wrong;
  const auto second = rest.find('.', dot + 1);
  Version version;
  version.major = number(rest.substr(0, dot));
  version.minor = number(rest.substr(
      dot + 1, second == std::string_view::npos ? std::string_view::npos : second - dot - 1));
  if (version.major < 0 || version.minor < 0) return wrong;
  if (second == std::string_view::npos) return version;
  version.patch = number(rest.substr(second + 1));
  if (version.patch < 0) return wrong;
  return version;
}

std::string minor_of(const Version& version) {
  return std::to_string(version.major) + "." + std::to_string(version.minor);
}

std::string to_string(const Version& version) {
  const std::string minor = "v" + minor_of(version);
  return version.has_patch() ? minor + "." + std::to_string(version.patch) : minor;
}

}  // namespace stackspec
