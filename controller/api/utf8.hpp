// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <optional>
#include <string_view>

namespace stackspec {

/// Where the text stops being UTF-8 (overlong forms, surrogates and a NUL count as bad), if it
/// does.
std::optional<std::size_t> first_bad_utf8(std::string_view text);

/// Characters (code points) of a text that is UTF-8; limits of the schema count these.
std::size_t utf8_length(std::string_view text);

}  // namespace stackspec
