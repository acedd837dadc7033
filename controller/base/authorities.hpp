// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace stackspec {

/// PEM file of the authorities that this system trusts: where Debian, and so our image, has it.
inline constexpr const char* kSystemAuthorities = "/etc/ssl/certs/ca-certificates.crt";

}  // namespace stackspec
