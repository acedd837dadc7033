// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <stop_token>
#include <string>
#include <vector>

#include "base/result.hpp"

// One small client and one small server. Boost.Beast stays behind this header.

namespace stackspec {

struct HttpRequest {
  std::string method = "GET";
  std::string host = "127.0.0.1";  ///< Client: where to connect. Server: the Host header.
  int port = 80;                   ///< Client only.
  std::string path = "/";          ///< Client: with its query. Server: without it.
  std::string query;               ///< Server only: what follows `?`.
  std::map<std::string, std::string> headers;  ///< Names in lower case.
  std::string body;
};

struct HttpResponse {
  int status = 200;
  std::map<std::string, std::string> headers;  ///< Names in lower case; content-type among them.
  std::string body;
};

/// Plain HTTP to endpoints of a stack. An interface so that tests can answer for the world.
class HttpClient {
 public:
  virtual ~HttpClient() = default;

  /// One request on a connection of its own. Every status is a value, 503 and 302 too: redirects
  /// are not followed. `timeout` covers all of it, connect to last byte (the look-up of a host name
  /// cannot be interrupted). Errors: Unavailable (refused, timed out, broken or over 1 MiB),
  /// Cancelled.
  virtual Result<HttpResponse> send(const HttpRequest& request, std::chrono::milliseconds timeout,
                                    std::stop_token stop) = 0;
};
std::unique_ptr<HttpClient> make_http_client();

/// Runs on the server's only thread: must not block.
using HttpHandler = std::function<HttpResponse(const HttpRequest&)>;

struct Route {
  std::string method;  ///< `GET` answers HEAD as well.
  std::string path;    ///< Exact.
  HttpHandler handler;
};
using Routes = std::vector<Route>;

struct HttpLimits {
  std::size_t header_bytes = 16U << 10U;           ///< More: 431.
  std::size_t body_bytes = 3U << 20U;              ///< More: 413.
  std::size_t connections = 512;                   ///< More are closed at once.
  std::chrono::milliseconds read_timeout{10000};   ///< For a whole request, and between two.
  std::chrono::milliseconds write_timeout{10000};  ///< For a whole answer.
};

/// Serves until stopped or destroyed. An `x-request-id` that came is given back, otherwise one is
/// made; the handler sees it in its request.
class HttpServer {
 public:
  virtual ~HttpServer() = default;
  virtual int port() const = 0;  ///< The one it listens on, also when 0 was asked for.
  /// Closes every connection and ends the thread; within milliseconds unless a handler blocks.
  virtual void stop() = 0;
};

/// Listens on `address` (a literal, such as 127.0.0.1 or ::1) and starts the thread. Errors:
/// Invalid (address), Conflict (port taken), Forbidden, Unavailable.
Result<std::unique_ptr<HttpServer>> make_http_server(const std::string& address, int port,
                                                     Routes routes, HttpLimits limits = {});

}  // namespace stackspec
