// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

namespace stackspec {

/// Lower-case hexadecimal SHA-256, 64 characters.
std::string sha256_hex(std::string_view bytes);

/// The first 8 hexadecimal digits of it: ids of upgrades, revisions of components.
std::string short_hash(std::string_view bytes);

}  // namespace stackspec
