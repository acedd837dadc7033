// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <openssl/ssl.h>

#include <array>
#include <memory>
#include <string>
#include <string_view>

#include "base/result.hpp"

namespace stackspec {

/// TLS over a socket that is connected and blocks, its time-outs set. It is not closed here.
class Tls {
 public:
  /// `host` must be a name, or the IP address, in the server's certificate, which one of the
  /// authorities in the PEM file `authorities` must have signed. Error: Unavailable, why.
  static Result<std::unique_ptr<Tls>> open(int socket, const std::string& host,
                                           const std::string& authorities);

  /// All of it. Errors: Unavailable.
  Result<void> send(std::string_view bytes);
  /// What there is, at least one byte, until the next call. Errors: Unavailable, when it is closed
  /// too.
  Result<std::string_view> receive();

 private:
  struct Deleter {
    void operator()(SSL* ssl) const { SSL_free(ssl); }
  };

  explicit Tls(SSL* ssl) : ssl_(ssl) {}

  std::unique_ptr<SSL, Deleter> ssl_;
  std::array<char, 16384> buffer_;  ///< A record of TLS is not larger.
};

}  // namespace stackspec
