// SPDX-License-Identifier: Apache-2.0
#include "platform/local/probe.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string_view>

namespace stackspec::local {
namespace {

using Deadline = std::chrono::steady_clock::time_point;

class Socket {
 public:
  explicit Socket(int descriptor) : descriptor_(descriptor) {}
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;
  ~Socket() {
    if (descriptor_ >= 0) ::close(descriptor_);
  }
  int get() const { return descriptor_; }

 private:
  int descriptor_;
};

Error unavailable(const std::string& what) {
  return {ErrorKind::Unavailable, what};
}

bool wait_for(int descriptor, short events, Deadline deadline) {
  for (;;) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
        deadline - std::chrono::steady_clock::now());
    if (left.count() <= 0) return false;
    pollfd waiting{descriptor, events, 0};
    const int ready = ::poll(&waiting, 1, static_cast<int>(left.count()));
    if (ready > 0) return true;
    if (ready < 0 && errno != EINTR) return false;
  }
}

Result<void> connect_to(int descriptor, int port, Deadline deadline) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (::connect(descriptor, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) {
    return {};
  }
  if (errno != EINPROGRESS) return unavailable(std::strerror(errno));
  if (!wait_for(descriptor, POLLOUT, deadline)) return unavailable("no answer in time");
  int failure = 0;
  socklen_t size = sizeof failure;
  ::getsockopt(descriptor, SOL_SOCKET, SO_ERROR, &failure, &size);
  if (failure != 0) return unavailable(std::strerror(failure));
  return {};
}

/// Connects, sends `request`, and reads until `enough(answer)` or the end of the stream.
template <class Enough>
Result<std::string> ask(int port, std::string_view request, std::chrono::milliseconds timeout,
                        const Enough& enough) {
  const Deadline deadline = std::chrono::steady_clock::now() + timeout;
  const Socket socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (socket.get() < 0) return unavailable(std::strerror(errno));
  TRY(connect_to(socket.get(), port, deadline));
  // A request is a few hundred bytes: it fits any socket buffer.
  if (::send(socket.get(), request.data(), request.size(), MSG_NOSIGNAL) !=
      static_cast<ssize_t>(request.size())) {
    return unavailable("the connection broke");
  }
  std::string answer;
  char buffer[1024];
  while (!enough(answer)) {
    if (!wait_for(socket.get(), POLLIN, deadline)) return unavailable("no answer in time");
    const ssize_t got = ::recv(socket.get(), buffer, sizeof buffer, 0);
    if (got < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (got <= 0) break;
    answer.append(buffer, static_cast<std::size_t>(got));
  }
  return answer;
}

bool has_line(const std::string& answer) {
  return answer.find('\n') != std::string::npos;
}

}  // namespace

Result<void> probe_http(int port, const std::string& path) {
  const std::string request =
      "GET " + path + " HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n";
  const std::string answer = TRY(ask(port, request, kProbeTimeout, has_line));
  if (answer.rfind("HTTP/1.", 0) != 0 || answer.size() < 12) {
    return unavailable("no HTTP answer to " + path);
  }
  if (answer[9] != '2') return unavailable(path + " answers " + answer.substr(9, 3));
  return {};
}

Result<void> probe_postgres(int port) {
  // Startup packet, protocol 3.0: length, version, user, database, end.
  std::string body("\0\3\0\0user\0stackspec\0database\0postgres\0\0", 38);
  const std::size_t length = body.size() + 4;
  std::string packet(4, '\0');
  packet[2] = static_cast<char>(length >> 8U);
  packet[3] = static_cast<char>(length & 0xffU);
  packet += body;
  const std::string answer = TRY(ask(port, packet, kProbeTimeout, [](const std::string& text) {
    if (text.empty() || text[0] != 'E') return !text.empty();
    return text.size() > 4 && text.find(std::string("\0\0", 2), 5) != std::string::npos;
  }));
  if (answer.empty()) return unavailable("closed the connection");
  // 57P03 cannot_connect_now: starting up, shutting down, recovering.
  if (answer.starts_with('E') && answer.find("57P03") != std::string::npos) {
    return unavailable("is starting up or shutting down");
  }
  return {};
}

Result<void> probe_redis(int port) {
  const std::string answer = TRY(ask(port, "PING\r\n", kProbeTimeout, has_line));
  if (answer.rfind("+PONG", 0) == 0) return {};
  return unavailable("answers " + answer.substr(0, answer.find('\r')));
}

Result<void> probe_connect(int port) {
  TRY(ask(port, "", kProbeTimeout, [](const std::string&) { return true; }));
  return {};
}

}  // namespace stackspec::local
