// SPDX-License-Identifier: Apache-2.0
#include <utility>  // Boost 1.74 uses std::exchange without it.

#include <boost/asio/connect.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http.hpp>
#include <cctype>
#include <optional>

#include "http/http.hpp"

namespace stackspec {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace bhttp = boost::beast::http;
using Tcp = asio::ip::tcp;

constexpr std::uint64_t kAnswerLimit = 1U << 20U;
constexpr std::uint32_t kHeaderLimit = 64U << 10U;

std::string lower_case(boost::string_view name) {
  std::string text(name.data(), name.size());
  for (char& letter : text) {
    letter = static_cast<char>(std::tolower(static_cast<unsigned char>(letter)));
  }
  return text;
}

/// One request from resolve to last byte. Each stage starts the next; run() drives them all.
class Exchange {
 public:
  Exchange(const HttpRequest& request, std::chrono::milliseconds timeout)
      : resolver_(io_), stream_(io_), where_(request.host + ":" + std::to_string(request.port)) {
    stream_.expires_after(timeout);
    parser_.body_limit(kAnswerLimit);
    parser_.header_limit(kHeaderLimit);
    parser_.skip(request.method == "HEAD");
    wire_.method_string(request.method);
    wire_.target(request.path.empty() ? "/" : request.path);
    wire_.set(bhttp::field::host, where_);
    wire_.set(bhttp::field::connection, "close");
    for (const auto& [name, value] : request.headers) wire_.set(name, value);
    wire_.body() = request.body;
    if (!request.body.empty()) wire_.prepare_payload();
  }

  Result<HttpResponse> run(const HttpRequest& request, std::chrono::milliseconds timeout,
                           const std::stop_token& stop) {
    start(request);
    const std::stop_callback on_stop(stop, [this] { io_.stop(); });
    // The stream's own deadline does not cover the look-up of the name.
    io_.run_for(timeout + std::chrono::milliseconds(100));
    if (stop.stop_requested() && (!done_ || error_))
      return Error{ErrorKind::Cancelled, "cancelled"};
    if (!done_) return failed("look up", "no answer in time");
    if (error_) return *error_;
    HttpResponse response;
    const auto& answer = parser_.get();
    response.status = static_cast<int>(answer.result_int());
    for (const auto& field : answer) {
      response.headers[lower_case(field.name_string())] = std::string(field.value());
    }
    response.body = std::move(parser_.get().body());
    return response;
  }

 private:
  void start(const HttpRequest& request) {
    boost::system::error_code not_literal;
    const auto address = asio::ip::make_address(request.host, not_literal);
    if (!not_literal) {
      stream_.async_connect(Tcp::endpoint(address, static_cast<std::uint16_t>(request.port)),
                            [this](beast::error_code code) { connected(code); });
      return;
    }
    resolver_.async_resolve(
        request.host, std::to_string(request.port),
        [this](beast::error_code code, Tcp::resolver::results_type found) {
          if (code) return finish("look up", code);
          stream_.async_connect(
              found, [this](beast::error_code error, const Tcp::endpoint&) { connected(error); });
        });
  }

  void connected(beast::error_code code) {
    if (code) return finish("connect", code);
    bhttp::async_write(stream_, wire_, [this](beast::error_code error, std::size_t) {
      if (error) return finish("send", error);
      bhttp::async_read(stream_, buffer_, parser_,
                        [this](beast::error_code ended, std::size_t) { finish("read", ended); });
    });
  }

  void finish(std::string_view stage, beast::error_code code) {
    done_ = true;
    if (!code) return;
    if (code == beast::error::timeout) {
      error_ = failed(stage, "no answer in time");
    } else if (code == bhttp::error::body_limit || code == bhttp::error::header_limit) {
      error_ = failed(stage, "the answer is over 1 MiB");
    } else {
      error_ = failed(stage, code.message());
    }
  }

  Error failed(std::string_view stage, std::string_view why) const {
    return {ErrorKind::Unavailable, std::string(stage) + " " + where_ + ": " + std::string(why)};
  }

  asio::io_context io_{1};
  Tcp::resolver resolver_;
  beast::tcp_stream stream_;
  std::string where_;
  bhttp::request<bhttp::string_body> wire_;
  beast::flat_buffer buffer_{kAnswerLimit + kHeaderLimit};
  bhttp::response_parser<bhttp::string_body> parser_;
  bool done_ = false;
  std::optional<Error> error_;
};

class BeastClient final : public HttpClient {
 public:
  Result<HttpResponse> send(const HttpRequest& request, std::chrono::milliseconds timeout,
                            std::stop_token stop) override {
    try {
      Exchange exchange(request, timeout);
      return exchange.run(request, timeout, stop);
    } catch (const std::exception& broken) {
      return Error{ErrorKind::Unavailable, "request " + request.host + ": " + broken.what()};
    }
  }
};

}  // namespace

std::unique_ptr<HttpClient> make_http_client() {
  return std::make_unique<BeastClient>();
}

}  // namespace stackspec
