// SPDX-License-Identifier: Apache-2.0
#include "api/stack.hpp"

namespace stackspec {

Version StackSpec::target() const {
  std::string text = tag;
  if (text.empty()) {
    text = image.substr(0, image.find('@'));
    const std::size_t colon = text.rfind(':');
    text = colon == std::string::npos ? std::string() : text.substr(colon + 1);
  }
  const Result<Version> version = parse_version(text);
  return version ? *version : Version{};
}

}  // namespace stackspec
