// SPDX-License-Identifier: Apache-2.0
#include <utility>  // Boost 1.74 uses std::exchange without it.

#include <array>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http.hpp>
#include <cctype>
#include <optional>
#include <random>
#include <thread>

#include "base/log.hpp"
#include "http/http.hpp"

namespace stackspec {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace bhttp = boost::beast::http;
using Tcp = asio::ip::tcp;
using Clock = std::chrono::steady_clock;

constexpr std::string_view kRequestId = "x-request-id";
constexpr std::size_t kLongestRequestId = 128;

bool is_good_request_id(std::string_view id) {
  if (id.empty() || id.size() > kLongestRequestId) return false;
  for (const char letter : id) {
    const bool good = std::isalnum(static_cast<unsigned char>(letter)) != 0 || letter == '-' ||
                      letter == '_' || letter == '.';
    if (!good) return false;
  }
  return true;
}

HttpResponse plain(int status, std::string text) {
  return {status, {{"content-type", "text/plain; charset=utf-8"}}, std::move(text) + "\n"};
}

HttpRequest to_request(bhttp::request<bhttp::string_body>& wire) {
  HttpRequest request;
  request.method = std::string(wire.method_string());
  const std::string target(wire.target());
  const auto question = target.find('?');
  request.path = target.substr(0, question);
  if (question != std::string::npos) request.query = target.substr(question + 1);
  request.host = std::string(wire[bhttp::field::host]);
  for (const auto& field : wire) {
    std::string name(field.name_string());
    for (char& letter : name) {
      letter = static_cast<char>(std::tolower(static_cast<unsigned char>(letter)));
    }
    request.headers[name] = std::string(field.value());
  }
  request.body = std::move(wire.body());
  return request;
}

int status_of(beast::error_code code) {
  if (code == bhttp::error::header_limit) return 431;
  if (code == bhttp::error::body_limit) return 413;
  return 400;
}

/// Whether the client broke the rules of HTTP, which deserves an answer; or just went away or
/// silent.
bool is_violation(beast::error_code code) {
  return code.category() == make_error_code(bhttp::error::bad_value).category() &&
         code != bhttp::error::end_of_stream && code != bhttp::error::partial_message;
}

/// Counts a connection as long as it lives, whatever way its coroutine ends.
class Counted {
 public:
  explicit Counted(std::size_t& count) : count_(count) { ++count_; }
  ~Counted() { --count_; }
  Counted(const Counted&) = delete;
  Counted& operator=(const Counted&) = delete;

 private:
  std::size_t& count_;
};

class BeastServer final : public HttpServer {
 public:
  BeastServer(Tcp::endpoint endpoint, Routes routes, HttpLimits limits)
      : routes_(std::move(routes)),
        limits_(limits),
        io_(std::make_unique<asio::io_context>(1)),
        acceptor_(std::make_unique<Tcp::acceptor>(*io_, endpoint)),
        port_(acceptor_->local_endpoint().port()) {
    asio::co_spawn(*io_, accept(), asio::detached);
    thread_ = std::jthread([this] { io_->run(); });
  }
  ~BeastServer() override { stop(); }

  int port() const override { return port_; }

  void stop() override {
    if (!thread_.joinable()) return;
    io_->stop();
    thread_.join();
    acceptor_.reset();
    io_.reset();  // Destroys the coroutines, and with them their connections.
  }

 private:
  asio::awaitable<void> accept() {
    for (;;) {
      beast::error_code code;
      Tcp::socket socket(*io_);
      co_await acceptor_->async_accept(socket, asio::redirect_error(asio::use_awaitable, code));
      if (code) {
        // Out of descriptors, most likely; trying again at once would burn a core.
        asio::steady_timer pause(*io_, std::chrono::milliseconds(100));
        co_await pause.async_wait(asio::redirect_error(asio::use_awaitable, code));
        continue;
      }
      if (connections_ >= limits_.connections) continue;  // Closes it.
      asio::co_spawn(*io_, converse(beast::tcp_stream(std::move(socket))), asio::detached);
    }
  }

  /// Requests of one connection, one after the other, until either side has had enough.
  asio::awaitable<void> converse(beast::tcp_stream stream) {
    const Counted counted(connections_);
    beast::flat_buffer buffer(limits_.header_bytes + (64U << 10U));
    bool goes_on = true;
    while (goes_on) {
      beast::error_code code;
      bhttp::request_parser<bhttp::string_body> parser;
      parser.header_limit(static_cast<std::uint32_t>(limits_.header_bytes));
      parser.body_limit(limits_.body_bytes);
      stream.expires_after(limits_.read_timeout);
      co_await bhttp::async_read(stream, buffer, parser,
                                 asio::redirect_error(asio::use_awaitable, code));
      if (code && !is_violation(code)) break;
      const bool bad = static_cast<bool>(code);
      auto answer = bad ? refuse(code) : respond(parser.get());
      goes_on = !bad && parser.get().keep_alive();
      answer.keep_alive(goes_on);
      stream.expires_after(limits_.write_timeout);
      co_await bhttp::async_write(stream, answer, asio::redirect_error(asio::use_awaitable, code));
      if (code) break;
      if (bad) co_await drain(stream, buffer);
    }
    beast::error_code ignored;
    stream.socket().shutdown(Tcp::socket::shutdown_both, ignored);
  }

  /// Reads on for a moment after a refusal: closing with unread bytes would reset the connection
  /// and take our answer away from the client before it was read.
  static asio::awaitable<void> drain(beast::tcp_stream& stream, beast::flat_buffer& buffer) {
    beast::error_code code;
    stream.socket().shutdown(Tcp::socket::shutdown_send, code);
    stream.expires_after(std::chrono::seconds(1));
    buffer.clear();
    std::array<char, 8192> waste;
    while (!code) {
      co_await stream.async_read_some(asio::buffer(waste),
                                      asio::redirect_error(asio::use_awaitable, code));
    }
  }

  using Answer = bhttp::response<bhttp::string_body>;

  static Answer to_wire(HttpResponse&& response, bool with_body) {
    Answer wire(static_cast<bhttp::status>(response.status), 11);
    for (const auto& [name, value] : response.headers) wire.set(name, value);
    wire.content_length(response.body.size());
    if (with_body) wire.body() = std::move(response.body);
    return wire;
  }

  static Answer refuse(beast::error_code code) {
    return to_wire(plain(status_of(code), code.message()), true);
  }

  Answer respond(bhttp::request<bhttp::string_body>& wire) {
    const auto started = Clock::now();
    HttpRequest request = to_request(wire);
    const auto id = request.headers.find(std::string(kRequestId));
    const std::string request_id = id != request.headers.end() && is_good_request_id(id->second)
                                       ? id->second
                                       : mint_request_id();
    request.headers[std::string(kRequestId)] = request_id;
    HttpResponse response = dispatch(request);
    response.headers[std::string(kRequestId)] = request_id;
    const std::chrono::duration<double, std::milli> took = Clock::now() - started;
    log::debug("http request", {{"event", "http.request"},
                                {"requestId", request_id},
                                {"method", request.method},
                                {"path", request.path},
                                {"status", response.status},
                                {"durationMs", took.count()}});
    return to_wire(std::move(response), request.method != "HEAD");
  }

  HttpResponse dispatch(const HttpRequest& request) const {
    const std::string method = request.method == "HEAD" ? "GET" : request.method;
    std::string allowed;
    for (const auto& route : routes_) {
      if (route.path != request.path) continue;
      if (route.method == method) return call(route.handler, request);
      allowed += (allowed.empty() ? "" : ", ") + route.method;
    }
    if (allowed.empty()) return plain(404, "not found");
    auto response = plain(405, "use " + allowed);
    response.headers["allow"] = allowed;
    return response;
  }

  static HttpResponse call(const HttpHandler& handler, const HttpRequest& request) {
    try {
      return handler(request);
    } catch (const std::exception& broken) {
      log::error(
          "http handler failed",
          {{"event", "http.handler_failed"}, {"path", request.path}, {"error", broken.what()}});
      return plain(500, "internal error");
    }
  }

  std::string mint_request_id() {
    constexpr std::string_view kDigits = "0123456789abcdef";
    std::string id;
    for (int i = 0; i < 32; ++i) id += kDigits[random_() % kDigits.size()];
    return id;
  }

  Routes routes_;
  HttpLimits limits_;
  std::size_t connections_ = 0;  ///< Touched by the thread, and by stop() after it.
  std::random_device random_;
  std::unique_ptr<asio::io_context> io_;
  std::unique_ptr<Tcp::acceptor> acceptor_;
  int port_ = 0;
  std::jthread thread_;
};

ErrorKind kind_of(const boost::system::error_code& code) {
  if (code == boost::system::errc::address_in_use) return ErrorKind::Conflict;
  if (code == boost::system::errc::permission_denied) return ErrorKind::Forbidden;
  if (code == boost::system::errc::address_not_available) return ErrorKind::Invalid;
  return ErrorKind::Unavailable;
}

}  // namespace

Result<std::unique_ptr<HttpServer>> make_http_server(const std::string& address, int port,
                                                     Routes routes, HttpLimits limits) {
  const std::string where = "listen on " + address + ":" + std::to_string(port);
  boost::system::error_code code;
  const auto literal = asio::ip::make_address(address, code);
  if (code || port < 0 || port > 65535) {
    return Error{ErrorKind::Invalid, where + ": want a literal address and a port up to 65535"};
  }
  try {
    return std::unique_ptr<HttpServer>(std::make_unique<BeastServer>(
        Tcp::endpoint(literal, static_cast<std::uint16_t>(port)), std::move(routes), limits));
  } catch (const boost::system::system_error& broken) {
    return Error{kind_of(broken.code()), where + ": " + broken.code().message()};
  } catch (const std::exception& broken) {
    return Error{ErrorKind::Unavailable, where + ": " + broken.what()};
  }
}

}  // namespace stackspec
