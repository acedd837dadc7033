// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

#include "base/result.hpp"

namespace stackspec {

/// The usual alphabet, with padding.
std::string base64(std::string_view bytes);

/// The reverse; line breaks, blanks and padding are passed over. Error: Invalid.
Result<std::string> base64_decoded(std::string_view text);

}  // namespace stackspec
