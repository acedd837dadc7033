// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <string>

namespace stackspec::testing {

/// A throw-away redis-server on a loopback port of its own, with a temp folder; both are gone when
/// this is destroyed, and the server also when the test program dies.
class RedisServer {
 public:
  RedisServer() : RedisServer("", "") {}
  /// With TLS too, on tls_port(); files in PEM.
  RedisServer(std::string certificate, std::string key);
  ~RedisServer();
  RedisServer(const RedisServer&) = delete;
  RedisServer& operator=(const RedisServer&) = delete;

  /// False: redis-server could not be started; the reason is on stderr.
  bool running() const { return pid_ > 0; }
  int port() const { return port_; }
  int tls_port() const { return tls_port_; }
  void stop();
  /// Again on the same port, after stop().
  bool start();
  /// One command given as words; the reply as text, one element a line.
  std::string command(const std::string& words) const;

 private:
  pid_t spawn() const;

  const std::string certificate_, key_;
  std::string folder_;
  int port_ = 0, tls_port_ = 0;
  pid_t pid_ = 0;
};

}  // namespace stackspec::testing
