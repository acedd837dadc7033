// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <thread>

#include "contract/raw_peer.hpp"
#include "http/http.hpp"

namespace stackspec {
namespace {

using namespace std::chrono_literals;
using testing::Listener;
using testing::Socket;
using Clock = std::chrono::steady_clock;

/// Answers one connection with `answer`, after having read the request's head.
class OneAnswer {
 public:
  explicit OneAnswer(std::string answer, bool then_hang = false)
      : thread_([this, answer = std::move(answer), then_hang](const std::stop_token& stop) {
          const Socket peer = listener_.accept();
          while (request_.find("\r\n\r\n") == std::string::npos && peer.wait_readable(5s)) {
            char part[4096];
            const auto got = ::recv(peer.get(), part, sizeof part, 0);
            if (got <= 0) return;
            request_.append(part, static_cast<std::size_t>(got));
          }
          peer.send(answer);
          while (then_hang && !stop.stop_requested() && !peer.closed_within(20ms)) {
          }
        }) {}
  int port() const { return listener_.port(); }
  const std::string& request() {
    thread_.join();
    return request_;
  }

 private:
  Listener listener_;
  std::string request_;
  std::jthread thread_;
};

HttpRequest get(int port, std::string path = "/") {
  HttpRequest request;
  request.port = port;
  request.path = std::move(path);
  return request;
}

TEST(HttpClient, TakesEveryStatusAsAValue) {
  for (const int status : {200, 302, 404, 500, 503}) {
    SCOPED_TRACE(status);
    OneAnswer peer("HTTP/1.1 " + std::to_string(status) +
                   " X\r\nLocation: http://elsewhere/\r\nContent-Length: 2\r\n\r\nhi");
    const auto answer = make_http_client()->send(get(peer.port()), 5s, {});
    ASSERT_TRUE(answer) << answer.error().message;
    EXPECT_EQ(answer->status, status);
    EXPECT_EQ(answer->body, "hi");
    EXPECT_EQ(answer->headers.at("location"), "http://elsewhere/");
  }
}

TEST(HttpClient, SendsMethodPathHeadersAndBody) {
  OneAnswer peer("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
  HttpRequest request = get(peer.port(), "/graphql?x=1");
  request.method = "POST";
  request.headers = {{"content-type", "application/json"}};
  request.body = "{}";
  ASSERT_TRUE(make_http_client()->send(request, 5s, {}));
  const std::string& sent = peer.request();
  EXPECT_EQ(sent.find("POST /graphql?x=1 HTTP/1.1\r\n"), 0U) << sent;
  for (const char* part : {"\r\nConnection: close\r\n", "content-type: application/json\r\n",
                           "Content-Length: 2\r\n"}) {
    EXPECT_NE(sent.find(part), std::string::npos) << part << " in " << sent;
  }
}

TEST(HttpClient, ReadsABodyThatEndsWithTheConnection) {
  OneAnswer peer("HTTP/1.1 200 OK\r\n\r\nuntil the end");
  const auto answer = make_http_client()->send(get(peer.port()), 5s, {});
  ASSERT_TRUE(answer) << answer.error().message;
  EXPECT_EQ(answer->body, "until the end");
}

TEST(HttpClient, SaysWhyThereIsNoAnswer) {
  const struct {
    const char* name;
    std::string answer;
    const char* message;
  } rows[] = {
      {"garbage", "SSH-2.0-OpenSSH\r\n\r\n", "read"},
      {"cut in the body", "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhalf", "read"},
      {"cut in the head", "HTTP/1.1 200 OK\r\nConte", "read"},
      {"chunk size -1", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\nxx", "read"},
      {"too big", "HTTP/1.1 200 OK\r\nContent-Length: 9000000\r\n\r\n", "over 1 MiB"},
      {"too big without a length",
       "HTTP/1.1 200 OK\r\n\r\n" + std::string(std::size_t{2} << 20U, 'x'), "over 1 MiB"},
  };
  for (const auto& row : rows) {
    SCOPED_TRACE(row.name);
    OneAnswer peer(row.answer);
    const auto answer = make_http_client()->send(get(peer.port()), 5s, {});
    ASSERT_FALSE(answer);
    EXPECT_EQ(answer.error().kind, ErrorKind::Unavailable);
    EXPECT_NE(answer.error().message.find(row.message), std::string::npos)
        << answer.error().message;
  }
}

TEST(HttpClient, NamesTheAddressThatRefuses) {
  Listener gone;
  const int port = gone.port();
  gone.close();
  const auto answer = make_http_client()->send(get(port), 5s, {});
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().kind, ErrorKind::Unavailable);
  EXPECT_NE(answer.error().message.find("127.0.0.1:" + std::to_string(port)), std::string::npos);
}

TEST(HttpClient, GivesUpAtTheDeadlineHoweverThePeerStalls) {
  const struct {
    const char* name;
    const char* answer;
  } rows[] = {{"mute", ""},
              {"head only", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"},
              {"half a body", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab"}};
  for (const auto& row : rows) {
    SCOPED_TRACE(row.name);
    OneAnswer peer(row.answer, true);
    const auto started = Clock::now();
    const auto answer = make_http_client()->send(get(peer.port()), 200ms, {});
    const auto took = Clock::now() - started;
    ASSERT_FALSE(answer);
    EXPECT_NE(answer.error().message.find("no answer in time"), std::string::npos);
    EXPECT_GE(took, 190ms);
    EXPECT_LT(took, 2s);
  }
}

TEST(HttpClient, CutsOffAPeerThatDripsForEver) {
  Listener listener;
  std::jthread dripping([&listener] {
    const Socket peer = listener.accept();
    peer.send("HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n");
    peer.receive_all(50ms);
    while (peer.send("x") && !peer.closed_within(10ms)) {
    }
  });
  HttpRequest request = get(listener.port());
  const auto started = Clock::now();
  const auto answer = make_http_client()->send(request, 300ms, {});
  ASSERT_FALSE(answer);
  EXPECT_NE(answer.error().message.find("no answer in time"), std::string::npos)
      << answer.error().message;
  EXPECT_LT(Clock::now() - started, 2s);
}

TEST(HttpClient, StopsWhenAsked) {
  Listener mute;
  std::stop_source stop;
  std::jthread asking([&stop, &mute] {
    const Socket peer = mute.accept();
    stop.request_stop();
    peer.receive_all(5s);
  });
  const auto answer = make_http_client()->send(get(mute.port()), 20s, stop.get_token());
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().kind, ErrorKind::Cancelled);

  const auto at_once = make_http_client()->send(get(mute.port()), 20s, stop.get_token());
  ASSERT_FALSE(at_once);
  EXPECT_EQ(at_once.error().kind, ErrorKind::Cancelled);
}

TEST(HttpClient, ResolvesANameAndReportsOneThatIsNone) {
  OneAnswer peer("HTTP/1.1 204 No Content\r\n\r\n");
  HttpRequest request = get(peer.port());
  request.host = "localhost";
  const auto answer = make_http_client()->send(request, 5s, {});
  ASSERT_TRUE(answer) << answer.error().message;
  EXPECT_EQ(answer->status, 204);

  request.host = "not a name";
  const auto lost = make_http_client()->send(request, 5s, {});
  ASSERT_FALSE(lost);
  EXPECT_EQ(lost.error().kind, ErrorKind::Unavailable);
}

}  // namespace
}  // namespace stackspec
