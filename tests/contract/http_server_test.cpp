// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <fstream>
#include <thread>

#include "contract/raw_peer.hpp"
#include "http/http.hpp"

namespace stackspec {
namespace {

using namespace std::chrono_literals;
using testing::connect_to;
using testing::Socket;
using Clock = std::chrono::steady_clock;

Routes echo_routes() {
  return {
      {"GET", "/hello",
       [](const HttpRequest& request) {
         return HttpResponse{200, {{"x-query", request.query}}, "hello " + request.host};
       }},
      {"POST", "/size",
       [](const HttpRequest& request) {
         return HttpResponse{200, {}, std::to_string(request.body.size())};
       }},
      {"GET", "/throws",
       [](const HttpRequest&) -> HttpResponse { throw std::runtime_error("the secret detail"); }},
  };
}

std::unique_ptr<HttpServer> start(HttpLimits limits = {}) {
  auto server = make_http_server("127.0.0.1", 0, echo_routes(), limits);
  EXPECT_TRUE(server) << server.error().message;
  return std::move(server).value();
}

std::string ask(int port, std::string_view bytes, std::chrono::milliseconds timeout = 5s) {
  const Socket socket = connect_to(port);
  socket.send(bytes);
  return socket.receive_all(timeout);
}

std::string status_line(const std::string& answer) {
  return answer.substr(0, answer.find("\r\n"));
}

bool contains(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

/// It still answers, whatever was done to it before.
void expect_alive(int port) {
  const auto answer = ask(port, "GET /hello HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
  EXPECT_EQ(status_line(answer), "HTTP/1.1 200 OK");
}

TEST(HttpServer, FindsTheRoute) {
  const auto server = start();
  const struct {
    const char* request;
    const char* status;
    const char* part;
  } rows[] = {
      {"GET /hello?a=b HTTP/1.1", "HTTP/1.1 200 OK", "x-query: a=b"},
      {"GET /hello HTTP/1.1", "HTTP/1.1 200 OK", "hello here"},
      {"HEAD /hello HTTP/1.1", "HTTP/1.1 200 OK", "Content-Length: 10"},
      {"GET /hell HTTP/1.1", "HTTP/1.1 404 Not Found", "not found"},
      {"GET /hello/ HTTP/1.1", "HTTP/1.1 404 Not Found", ""},
      {"DELETE /hello HTTP/1.1", "HTTP/1.1 405 Method Not Allowed", "allow: GET"},
      {"GET /throws HTTP/1.1", "HTTP/1.1 500 Internal Server Error", "internal error"},
  };
  for (const auto& row : rows) {
    SCOPED_TRACE(row.request);
    const auto answer = ask(
        server->port(), std::string(row.request) + "\r\nHost: here\r\nConnection: close\r\n\r\n");
    EXPECT_EQ(status_line(answer), row.status);
    EXPECT_TRUE(contains(answer, row.part)) << answer;
    EXPECT_FALSE(contains(answer, "secret detail"));
  }
}

TEST(HttpServer, SendsNoBodyForHead) {
  const auto server = start();
  const auto answer =
      ask(server->port(), "HEAD /hello HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n");
  EXPECT_TRUE(answer.ends_with("\r\n\r\n")) << answer;
}

TEST(HttpServer, KeepsAConnectionForSeveralRequests) {
  const auto server = start();
  const auto answer = ask(server->port(),
                          "GET /hello HTTP/1.1\r\nHost: 1\r\n\r\n"
                          "POST /size HTTP/1.1\r\nHost: 2\r\nContent-Length: 3\r\n\r\nabc"
                          "GET /hello HTTP/1.1\r\nHost: 3\r\nConnection: close\r\n\r\n");
  EXPECT_TRUE(contains(answer, "hello 1")) << answer;
  EXPECT_TRUE(contains(answer, "\r\n\r\n3HTTP/1.1 200")) << answer;
  EXPECT_TRUE(contains(answer, "hello 3")) << answer;
}

TEST(HttpServer, PassesAGoodRequestIdOnAndReplacesABadOne) {
  const auto server = start();
  const auto with_id = [&](const std::string& id) {
    return ask(server->port(), "GET /hello HTTP/1.1\r\nHost: a\r\nX-Request-Id: " + id +
                                   "\r\nConnection: close\r\n\r\n");
  };
  EXPECT_TRUE(contains(with_id("abc-123"), "x-request-id: abc-123\r\n"));
  for (const std::string& bad : {std::string("two words"), std::string(200, 'a'), std::string()}) {
    SCOPED_TRACE(bad);
    const auto answer = with_id(bad);
    const auto at = answer.find("x-request-id: ");
    ASSERT_NE(at, std::string::npos) << answer;
    EXPECT_EQ(answer.find("\r\n", at) - at, std::string("x-request-id: ").size() + 32) << answer;
  }
}

TEST(HttpServer, RefusesWhatIsBrokenOrTooBigAndGoesOn) {
  const auto server = start();
  const std::string head = "POST /size HTTP/1.1\r\nHost: a\r\n";
  const struct {
    const char* name;
    std::string request;
    const char* status;
  } rows[] = {
      {"not http", "\x16\x03\x01\x02\r\n\r\n", "HTTP/1.1 400 Bad Request"},
      {"chunk size -1", head + "Transfer-Encoding: chunked\r\n\r\n-1\r\nab",
       "HTTP/1.1 400 Bad Request"},
      {"chunk size zz", head + "Transfer-Encoding: chunked\r\n\r\nzz\r\nab",
       "HTTP/1.1 400 Bad Request"},
      {"chunk size that overflows",
       head + "Transfer-Encoding: chunked\r\n\r\nffffffffffffffffffff\r\nab",
       "HTTP/1.1 400 Bad Request"},
      {"length not a number", head + "Content-Length: many\r\n\r\n", "HTTP/1.1 400 Bad Request"},
      {"length twice", head + "Content-Length: 1\r\nContent-Length: 2\r\n\r\na",
       "HTTP/1.1 400 Bad Request"},
      {"body too big", head + "Content-Length: 100000000\r\n\r\n",
       "HTTP/1.1 413 Payload Too Large"},
      {"chunks too big",
       head + "Transfer-Encoding: chunked\r\n\r\n400000\r\n" + std::string(4U << 20U, 'x'),
       "HTTP/1.1 413 Payload Too Large"},
      {"header too big", "GET /hello HTTP/1.1\r\nX: " + std::string(1U << 20U, 'x'),
       "HTTP/1.1 431 Request Header Fields Too Large"},
      {"many headers",
       "GET /hello HTTP/1.1\r\n" +
           [] {
             std::string lines;
             for (int i = 0; i < 5000; ++i) lines += "X-" + std::to_string(i) + ": y\r\n";
             return lines;
           }(),
       "HTTP/1.1 431 Request Header Fields Too Large"},
  };
  for (const auto& row : rows) {
    SCOPED_TRACE(row.name);
    EXPECT_EQ(status_line(ask(server->port(), row.request)), row.status);
    expect_alive(server->port());
  }
}

long resident_kib() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("VmRSS:")) return std::stol(line.substr(6));
  }
  return -1;
}

TEST(HttpServer, KeepsNoMemoryForAnEndlessHeader) {
  const auto server = start();
  expect_alive(server->port());
  const long before = resident_kib();
  ASSERT_GT(before, 0);
  const Socket socket = connect_to(server->port());
  ASSERT_TRUE(socket.send("GET /hello HTTP/1.1\r\nX: "));
  const std::string block(1U << 20U, 'x');
  for (int i = 0; i < 100 && socket.send(block); ++i) {
  }
  EXPECT_LT(resident_kib() - before, 30 * 1024);
  expect_alive(server->port());
}

TEST(HttpServer, ClosesHalfSentAndIdleConnectionsInTime) {
  HttpLimits limits;
  limits.read_timeout = 300ms;
  const auto server = start(limits);
  std::vector<Socket> sockets;
  for (const char* half : {"", "G", "GET /hello HTTP/1.1\r\nHost:",
                           "POST /size HTTP/1.1\r\nHost: a"
                           "\r\nContent-Length: 9\r\n\r\nab",
                           "GET /hello HTTP/1.1\r\nHost: a\r\n\r\n"}) {
    sockets.push_back(connect_to(server->port()));
    ASSERT_TRUE(sockets.back().send(half));
  }
  const auto started = Clock::now();
  for (const auto& socket : sockets) socket.receive_all(5s);
  for (const auto& socket : sockets) EXPECT_TRUE(socket.closed_within(5s));
  EXPECT_LT(Clock::now() - started, 4s);
}

TEST(HttpServer, ClosesConnectionsOverTheCapAndTakesNewOnesWhenOthersLeave) {
  HttpLimits limits;
  limits.connections = 20;
  const auto server = start(limits);
  std::vector<Socket> sockets;
  for (int i = 0; i < 60; ++i) sockets.push_back(connect_to(server->port()));
  int closed = 0;
  for (std::size_t i = 20; i < sockets.size(); ++i) closed += sockets[i].closed_within(5s) ? 1 : 0;
  EXPECT_EQ(closed, 40);
  sockets.clear();
  const auto deadline = Clock::now() + 5s;
  std::string answer;
  while (answer.empty() && Clock::now() < deadline) {
    answer = ask(server->port(), "GET /hello HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
  }
  EXPECT_EQ(status_line(answer), "HTTP/1.1 200 OK");
}

TEST(HttpServer, SurvivesClientsThatGoAway) {
  const auto server = start();
  for (int i = 0; i < 200; ++i) {
    const Socket socket = connect_to(server->port());
    socket.send("GET /hello HTTP/1.1\r\nHost: a\r\n\r\nGET /hello HTTP/1.1\r\nHost: a\r\n\r\n");
    const linger reset{1, 0};
    ::setsockopt(socket.get(), SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
  }
  expect_alive(server->port());
}

TEST(HttpServer, StopsPromptlyWithOpenConnections) {
  const auto server = start();
  std::vector<Socket> sockets;
  for (int i = 0; i < 50; ++i) {
    sockets.push_back(connect_to(server->port()));
    sockets.back().send("GET /hel");
  }
  const auto started = Clock::now();
  server->stop();
  EXPECT_LT(Clock::now() - started, 1s);
  for (const auto& socket : sockets) EXPECT_TRUE(socket.closed_within(1s));
  EXPECT_LT(connect_to(server->port()).get(), 0);
  server->stop();
}

TEST(HttpServer, AnswersManyClientsAtOnce) {
  const auto server = start();
  const auto client = make_http_client();
  std::vector<std::jthread> threads;
  std::atomic<int> good = 0;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&] {
      HttpRequest request;
      request.port = server->port();
      request.path = "/hello";
      for (int n = 0; n < 50; ++n) {
        const auto answer = client->send(request, 10s, {});
        good += answer && answer->status == 200 ? 1 : 0;
      }
    });
  }
  threads.clear();
  EXPECT_EQ(good, 400);
}

TEST(HttpServer, SaysWhyItCannotListen) {
  const auto first = start();
  const auto taken = make_http_server("127.0.0.1", first->port(), {});
  ASSERT_FALSE(taken);
  EXPECT_EQ(taken.error().kind, ErrorKind::Conflict) << taken.error().message;
  EXPECT_TRUE(contains(taken.error().message, std::to_string(first->port())));

  const auto name = make_http_server("localhost", 0, {});
  ASSERT_FALSE(name);
  EXPECT_EQ(name.error().kind, ErrorKind::Invalid);
  const auto elsewhere = make_http_server("192.0.2.1", 0, {});
  ASSERT_FALSE(elsewhere);
  EXPECT_EQ(elsewhere.error().kind, ErrorKind::Invalid);
}

}  // namespace
}  // namespace stackspec
