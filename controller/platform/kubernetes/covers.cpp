// SPDX-License-Identifier: Apache-2.0
#include "platform/kubernetes/covers.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <string>

namespace stackspec::kubernetes {
namespace {

using nlohmann::json;

/// Never set by a default of the API server, and never harmless when somebody else sets them.
constexpr std::array kMustNotAppear = {
    "affinity", "args",        "command",        "env",       "envFrom",  "hostIPC",
    "hostPID",  "hostNetwork", "initContainers", "lifecycle", "nodeName", "nodeSelector",
    "paused",   "tolerations", "volumeMounts",   "volumes"};

constexpr std::array kHoldQuantities = {"requests", "limits"};

template <class List>
bool contains(const List& list, std::string_view name) {
  return std::find(list.begin(), list.end(), name) != list.end();
}

bool says_nothing(const json& value) {
  if (value.is_null()) return true;
  if (value.is_string()) return value.get_ref<const std::string&>().empty();
  if (value.is_boolean()) return !value.get<bool>();
  return value.is_structured() && value.empty();
}

std::optional<long double> quantity_of(const json& value) {
  if (value.is_string()) return quantity(value.get_ref<const std::string&>());
  if (value.is_number()) return value.get<long double>();
  return std::nullopt;
}

bool same_quantities(const json& live, const json& wanted) {
  if (!live.is_object() || !wanted.is_object()) return live == wanted;
  for (const auto& [name, value] : wanted.items()) {
    const auto found = live.find(name);
    if (found == live.end()) return false;
    const auto a = quantity_of(*found);
    const auto b = quantity_of(value);
    if (a && b ? *a != *b : *found != value) return false;
  }
  return live.size() == wanted.size();
}

bool covers_object(const json& live, const json& wanted) {
  for (const auto& [name, value] : wanted.items()) {
    const auto found = live.find(name);
    if (found == live.end()) {
      if (!says_nothing(value)) return false;
      continue;
    }
    const bool same =
        contains(kHoldQuantities, name) ? same_quantities(*found, value) : covers(*found, value);
    if (!same) return false;
  }
  return std::none_of(kMustNotAppear.begin(), kMustNotAppear.end(), [&](const char* name) {
    const auto found = live.find(name);
    return !wanted.contains(name) && found != live.end() && !says_nothing(*found);
  });
}

}  // namespace

bool covers(const json& live, const json& wanted) {
  if (says_nothing(wanted) && says_nothing(live)) return true;
  if (wanted.is_object()) return live.is_object() && covers_object(live, wanted);
  if (wanted.is_array()) {
    return live.is_array() && live.size() == wanted.size() &&
           std::equal(live.begin(), live.end(), wanted.begin(), covers);
  }
  return live == wanted;
}

std::optional<long double> quantity(std::string_view text) {
  struct Suffix {
    std::string_view name;
    long double factor;
  };
  static constexpr Suffix kSuffixes[] = {
      {"", 1.0L},
      {"n", 1e-9L},
      {"u", 1e-6L},
      {"m", 1e-3L},
      {"k", 1e3L},
      {"M", 1e6L},
      {"G", 1e9L},
      {"T", 1e12L},
      {"P", 1e15L},
      {"E", 1e18L},
      {"Ki", 1024.0L},
      {"Mi", 1048576.0L},
      {"Gi", 1073741824.0L},
      {"Ti", 1099511627776.0L},
      {"Pi", 1125899906842624.0L},
      {"Ei", 1152921504606846976.0L},
  };
  const auto digits = std::min(text.find_first_not_of("0123456789.+-"), text.size());
  const std::string number(text.substr(0, digits));
  std::string_view rest = text.substr(digits);
  int exponent = 0;
  const bool scientific = rest.size() > 1 && (rest[0] == 'e' || rest[0] == 'E') &&
                          rest.find_first_not_of("0123456789+-", 1) == std::string_view::npos;
  if (scientific) {
    exponent = std::atoi(std::string(rest.substr(1)).c_str());
    rest = {};
  }
  if (number.empty() || number.find_first_of("0123456789") == std::string::npos) return {};
  for (const Suffix& suffix : kSuffixes) {
    if (suffix.name != rest) continue;
    // Rounded, so that 0.1 and 100m are one number.
    const long double value = std::strtold(number.c_str(), nullptr) * suffix.factor *
                              std::pow(10.0L, static_cast<long double>(exponent));
    return std::round(value * 1e9L) / 1e9L;
  }
  return {};
}

}  // namespace stackspec::kubernetes
