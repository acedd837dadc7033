// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <stop_token>
#include <string>
#include <string_view>
#include <utility>

#include "base/result.hpp"
#include "http/http.hpp"

// HTTPS to one server with connections that are kept. cpprestsdk stays behind this header.

namespace stackspec {

/// Certificates or a key: a file, read for every new connection so that it may be rotated, or text.
struct Pem {
  std::string file;
  std::string text;
  bool empty() const { return file.empty() && text.empty(); }
};

/// A certificate and key that change while they are in use. Any thread.
class ClientIdentity {
 public:
  struct Pair {
    std::string certificate;
    std::string key;
    friend bool operator==(const Pair&, const Pair&) = default;
  };
  void set(Pair pair) {
    const std::lock_guard lock(mutex_);
    if (pair == pair_) return;
    pair_ = std::move(pair);
    ++changes_;
  }
  Pair get() const {
    const std::lock_guard lock(mutex_);
    return pair_;
  }
  int changes() const {
    const std::lock_guard lock(mutex_);
    return changes_;
  }

 private:
  mutable std::mutex mutex_;
  Pair pair_;        // guarded by mutex_
  int changes_ = 0;  // guarded by mutex_
};

struct ServerAddress {
  std::string host;  ///< A name or an IPv4 address.
  int port = 443;
  bool plain = false;  ///< HTTP without TLS.
  Pem ca;              ///< The only authorities that are trusted; needed unless plain.
  Pem certificate;     ///< Who we are, with `key`; may be empty.
  Pem key;
  /// In place of these two. Shared with who sets it; each change means new connections.
  std::shared_ptr<ClientIdentity> identity = {};
  std::string verify_name;  ///< What the certificate has to name; `host` when empty.
};

/// Any thread; calls do not wait for each other. Every status is a value, redirects too: they are
/// not followed. Only a GET is sent again when a kept connection turns out dead. `host` and `port`
/// of requests are not looked at. Errors: Unavailable, Cancelled as soon as `stop` says so.
class ApiTransport {
 public:
  virtual ~ApiTransport() = default;

  /// `timeout` covers all of it. A body over 32 MiB is Unavailable.
  virtual Result<HttpResponse> send(const HttpRequest& request, std::chrono::milliseconds timeout,
                                    std::stop_token stop) = 0;

  /// Hands each whole line of a 200 to `on_line`, on the calling thread, until the server ends the
  /// answer; the server is slowed down to what `on_line` takes. Any other status comes with its
  /// body. Unavailable: nothing came for `idle_timeout`, cut off, or a line over 10 MiB.
  virtual Result<HttpResponse> stream(const HttpRequest& request,
                                      std::chrono::milliseconds idle_timeout,
                                      const std::function<void(std::string_view)>& on_line,
                                      std::stop_token stop) = 0;
};

/// Connects to nothing yet. The first one made in a process starts a thread and sets SSL_CERT_FILE
/// (the library would load the system's authorities for every connection): make it before there
/// are other threads. Error: Invalid, when the address or a PEM cannot be used.
Result<std::unique_ptr<ApiTransport>> make_api_transport(const ServerAddress& address);

}  // namespace stackspec
