// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <string>
#include <string_view>
#include <utility>

// Plain sockets for tests, to say to a program of ours what no library would say.

namespace stackspec::testing {

class Socket {
 public:
  Socket() = default;
  explicit Socket(int descriptor) : descriptor_(descriptor) {}
  Socket(Socket&& other) noexcept : descriptor_(std::exchange(other.descriptor_, -1)) {}
  Socket& operator=(Socket&& other) noexcept {
    std::swap(descriptor_, other.descriptor_);
    return *this;
  }
  ~Socket() { close(); }
  void close() {
    if (descriptor_ >= 0) ::close(std::exchange(descriptor_, -1));
  }
  int get() const { return descriptor_; }

  /// False when the other side has closed.
  bool send(std::string_view bytes) const {
    while (!bytes.empty()) {
      const auto sent = ::send(descriptor_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (sent <= 0) return false;
      bytes.remove_prefix(static_cast<std::size_t>(sent));
    }
    return true;
  }

  /// Everything until the other side closes, or `timeout` passes without a byte.
  std::string receive_all(std::chrono::milliseconds timeout) const {
    std::string all;
    char part[4096];
    while (wait_readable(timeout)) {
      const auto got = ::recv(descriptor_, part, sizeof part, 0);
      if (got <= 0) break;
      all.append(part, static_cast<std::size_t>(got));
    }
    return all;
  }

  bool closed_within(std::chrono::milliseconds timeout) const {
    char byte = 0;
    return wait_readable(timeout) && ::recv(descriptor_, &byte, 1, 0) <= 0;
  }

  bool wait_readable(std::chrono::milliseconds timeout) const {
    pollfd wanted{descriptor_, POLLIN, 0};
    return ::poll(&wanted, 1, static_cast<int>(timeout.count())) == 1;
  }

 private:
  int descriptor_ = -1;
};

inline sockaddr_in loopback(int port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

inline Socket connect_to(int port) {
  Socket socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const auto address = loopback(port);
  if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    return Socket();
  }
  return socket;
}

/// Listens on a port of the kernel's choice and says nothing by itself.
class Listener {
 public:
  Listener() : socket_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    auto address = loopback(0);
    socklen_t size = sizeof address;
    if (::bind(socket_.get(), reinterpret_cast<const sockaddr*>(&address), size) != 0 ||
        ::listen(socket_.get(), 64) != 0 ||
        ::getsockname(socket_.get(), reinterpret_cast<sockaddr*>(&address), &size) != 0) {
      return;
    }
    port_ = ntohs(address.sin_port);
  }
  int port() const { return port_; }
  bool wait_readable(std::chrono::milliseconds timeout) const {
    return socket_.wait_readable(timeout);
  }
  Socket accept() const { return Socket(::accept4(socket_.get(), nullptr, nullptr, SOCK_CLOEXEC)); }
  void close() { socket_.close(); }

 private:
  Socket socket_;
  int port_ = 0;
};

}  // namespace stackspec::testing
