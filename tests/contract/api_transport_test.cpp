// SPDX-License-Identifier: Apache-2.0
#include "http/api_transport.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <fstream>
#include <future>

#include "contract/certificates.hpp"
#include "contract/peer.hpp"
#include "fakes/eventually.hpp"
#include "fakes/temp_folder.hpp"

namespace stackspec {
namespace {

using namespace std::chrono_literals;
using std::chrono::milliseconds;
using testing::Conversation;
using testing::Peer;
using testing::PeerTls;
using testing::WithCertificates;
using Clock = std::chrono::steady_clock;
using Talk = Peer::Talk;

std::unique_ptr<ApiTransport> plain(int port) {
  ServerAddress address;
  address.host = "127.0.0.1";
  address.port = port;
  address.plain = true;
  auto made = make_api_transport(address);
  EXPECT_TRUE(made) << (made ? "" : made.error().message);
  return std::move(made).value();
}

HttpRequest request(std::string method, std::string path = "/x", std::string body = "") {
  HttpRequest made;
  made.method = std::move(method);
  made.path = std::move(path);
  made.body = std::move(body);
  return made;
}

/// Answers every request of every connection with its method and body.
Talk echo() {
  return [](Conversation& conversation, int, const std::stop_token&) {
    while (const auto heard = conversation.read()) {
      conversation.answer(200, heard->method + " " + heard->target + " " + heard->body);
    }
  };
}

/// Says `bytes` to the first request, then closes, or says nothing more until the client goes.
Talk says(std::string bytes, bool then_hang = false) {
  return [bytes, then_hang](Conversation& conversation, int, const std::stop_token& stop) {
    if (!conversation.read()) return;
    conversation.send(bytes);
    while (then_hang && !stop.stop_requested() && !conversation.closed_within(10ms)) {
    }
  };
}

TEST(ApiTransport, SendsWhatItIsTold) {
  Peer peer([&](Conversation& conversation, int, const std::stop_token&) {
    while (const auto heard = peer.hear(conversation)) conversation.answer(201, "made");
  });
  const auto transport = plain(peer.port());
  for (const char* method : {"POST", "PUT", "DELETE", "PATCH"}) {
    SCOPED_TRACE(method);
    HttpRequest wanted = request(method, "/apis/x?fieldManager=a%2Fb", "{\"a\":1}");
    wanted.headers = {{"authorization", "Bearer t0ken"}, {"content-type", "application/weird"}};
    const auto answer = transport->send(wanted, 5s, {});
    ASSERT_TRUE(answer) << answer.error().message;
    EXPECT_EQ(answer->status, 201);
    EXPECT_EQ(answer->body, "made");
    const auto heard = peer.requests().back();
    EXPECT_EQ(heard.method, method);
    EXPECT_EQ(heard.target, "/apis/x?fieldManager=a%2Fb");
    EXPECT_EQ(heard.headers.at("authorization"), "Bearer t0ken");
    EXPECT_EQ(heard.headers.at("content-type"), "application/weird");
    EXPECT_EQ(heard.body, "{\"a\":1}");
  }
  EXPECT_EQ(peer.connections(), 1) << "connections are kept";
}

TEST(ApiTransport, TakesEveryStatusAsAValueAndFollowsNoRedirect) {
  std::atomic<int> elsewhere_asked = 0;
  Peer elsewhere([&](Conversation& conversation, int, const std::stop_token&) {
    while (conversation.read()) {
      ++elsewhere_asked;
      conversation.answer(200, "");
    }
  });
  for (const int status : {200, 301, 302, 307, 308, 401, 404, 409, 410, 429, 500, 503}) {
    for (const char* method : {"GET", "POST"}) {
      SCOPED_TRACE(std::string(method) + " " + std::to_string(status));
      Peer peer([&](Conversation& conversation, int, const std::stop_token&) {
        while (conversation.read()) {
          conversation.answer(status, "why",
                              "Retry-After: 7\r\nLocation: http://127.0.0.1:" +
                                  std::to_string(elsewhere.port()) + "/\r\n");
        }
      });
      const auto answer = plain(peer.port())->send(request(method), 5s, {});
      ASSERT_TRUE(answer) << answer.error().message;
      EXPECT_EQ(answer->status, status);
      EXPECT_EQ(answer->body, "why");
      EXPECT_EQ(answer->headers.at("retry-after"), "7");
    }
  }
  EXPECT_EQ(elsewhere_asked, 0);
}

TEST(ApiTransport, CarriesABigBodyBothWays) {
  Peer peer(echo());
  const std::string big(std::size_t{3} << 20U, 'b');
  const auto answer = plain(peer.port())->send(request("POST", "/x", big), 20s, {});
  ASSERT_TRUE(answer) << answer.error().message;
  EXPECT_EQ(answer->body, "POST /x " + big);
}

TEST(ApiTransport, RefusesABodyThatIsTooBig) {
  Peer peer([](Conversation& conversation, int, const std::stop_token&) {
    if (!conversation.read()) return;
    conversation.begin_chunks();
    const std::string part(std::size_t{1} << 20U, 'x');
    while (conversation.chunk(part)) {
    }
  });
  const auto answer = plain(peer.port())->send(request("GET"), 20s, {});
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().kind, ErrorKind::Unavailable);
  EXPECT_NE(answer.error().message.find("over 32 MiB"), std::string::npos)
      << answer.error().message;
}

TEST(ApiTransport, SaysWhyThereIsNoAnswer) {
  const struct {
    const char* name;
    std::string answer;
    const char* message;
  } rows[] = {
      {"closed", "", "closed"},
      {"garbage", "SSH-2.0-OpenSSH\r\n\r\n", ""},
      {"cut in the head", "HTTP/1.1 200 OK\r\nConte", ""},
      {"cut in the body", "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhalf", ""},
      {"cut in a chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n40\r\nhalf", ""},
  };
  for (const auto& row : rows) {
    SCOPED_TRACE(row.name);
    Peer peer(says(row.answer));
    const auto answer = plain(peer.port())->send(request("GET", "/apis/y?token=hidden"), 5s, {});
    ASSERT_FALSE(answer);
    EXPECT_EQ(answer.error().kind, ErrorKind::Unavailable);
    const std::string& message = answer.error().message;
    EXPECT_NE(message.find(row.message), std::string::npos) << message;
    EXPECT_NE(message.find("GET http://127.0.0.1:" + std::to_string(peer.port()) + "/apis/y"),
              std::string::npos)
        << message;
    EXPECT_EQ(message.find("hidden"), std::string::npos) << message;
  }
  testing::Listener gone;
  const int port = gone.port();
  gone.close();
  const auto refused = plain(port)->send(request("GET"), 5s, {});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind, ErrorKind::Unavailable);
  EXPECT_NE(refused.error().message.find("cannot connect"), std::string::npos)
      << refused.error().message;
}

TEST(ApiTransport, GivesUpAtTheDeadlineHoweverThePeerStalls) {
  const struct {
    const char* name;
    const char* answer;
  } rows[] = {{"mute", ""},
              {"head only", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"},
              {"half a body", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab"}};
  for (const auto& row : rows) {
    SCOPED_TRACE(row.name);
    Peer peer(says(row.answer, true));
    const auto transport = plain(peer.port());
    const auto started = Clock::now();
    const auto answer = transport->send(request("POST", "/x", "{}"), 200ms, {});
    const auto took = Clock::now() - started;
    ASSERT_FALSE(answer);
    EXPECT_EQ(answer.error().kind, ErrorKind::Unavailable);
    EXPECT_NE(answer.error().message.find("no answer in time"), std::string::npos);
    EXPECT_GE(took, 190ms);
    EXPECT_LT(took, 20s);
  }
}

TEST(ApiTransport, CutsOffAPeerThatDripsForEver) {
  Peer peer([](Conversation& conversation, int, const std::stop_token&) {
    if (!conversation.read()) return;
    conversation.send("HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n");
    while (conversation.send("x") && !conversation.closed_within(10ms)) {
    }
  });
  const auto started = Clock::now();
  const auto answer = plain(peer.port())->send(request("GET"), 300ms, {});
  ASSERT_FALSE(answer);
  EXPECT_LT(Clock::now() - started, 20s);
}

/// What the server may have acted on is never sent twice; a GET is.
TEST(ApiTransport, SendsAgainOverADeadConnectionOnlyWhatReads) {
  const struct {
    const char* method;
    const char* body;
    bool again;
  } rows[] = {{"GET", "", true},           {"POST", "{\"n\":1}", false},
              {"PUT", "{\"n\":1}", false}, {"PATCH", "{\"n\":1}", false},
              {"DELETE", "{}", false},     {"DELETE", "", false},
              {"POST", "", false}};
  for (const auto& row : rows) {
    SCOPED_TRACE(std::string(row.method) + " " + row.body);
    Peer peer([&](Conversation& conversation, int number, const std::stop_token&) {
      while (const auto heard = peer.hear(conversation)) {
        // The connection is kept once, then closed on a request that was read.
        if (number == 1 && heard->target == "/second") return;
        conversation.answer(200, "ok");
      }
    });
    const auto transport = plain(peer.port());
    ASSERT_TRUE(transport->send(request("GET", "/first"), 5s, {}));
    const auto answer = transport->send(request(row.method, "/second", row.body), 5s, {});
    EXPECT_EQ(answer.has_value(), row.again);
    const auto kind = answer ? ErrorKind::Unavailable : answer.error().kind;
    EXPECT_EQ(kind, ErrorKind::Unavailable);
    EXPECT_EQ(peer.requests().size(), row.again ? 3U : 2U);
    // And the transport is none the worse for it.
    const auto third = transport->send(request(row.method, "/third", row.body), 5s, {});
    EXPECT_TRUE(third) << third.error().message;
  }
}

TEST(ApiTransport, CancelsAtOnceInEveryState) {
  const struct {
    const char* name;
    const char* answer;
  } rows[] = {{"mute", ""},
              {"head only", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"},
              {"half a body", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab"},
              {"quiet watch", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"}};
  for (const auto& row : rows) {
    for (const bool streaming : {false, true}) {
      SCOPED_TRACE(std::string(row.name) + (streaming ? " stream" : ""));
      std::atomic<bool> said = false;
      std::atomic<bool> closed = false;
      Peer peer([&](Conversation& conversation, int, const std::stop_token& stop) {
        if (!conversation.read()) return;
        conversation.send(row.answer);
        said = true;
        while (!stop.stop_requested() && !closed) closed = conversation.closed_within(10ms);
      });
      const auto transport = plain(peer.port());
      std::stop_source stop;
      auto asked = std::async(std::launch::async, [&] {
        return streaming ? transport->stream(
                               request("GET"), 30s, [](std::string_view) {}, stop.get_token())
                         : transport->send(request("GET"), 30s, stop.get_token());
      });
      ASSERT_TRUE(eventually([&] { return said.load(); }));
      const auto started = Clock::now();
      stop.request_stop();
      const auto answer = asked.get();
      const auto took = std::chrono::duration_cast<milliseconds>(Clock::now() - started);
      ASSERT_FALSE(answer);
      EXPECT_EQ(answer.error().kind, ErrorKind::Cancelled);
      EXPECT_LT(took, 10s) << "it would have taken 30";
      EXPECT_TRUE(eventually([&] { return closed.load(); })) << "the connection was left open";
    }
  }
}

TEST(ApiTransport, ACancelledCallAsksNobody) {
  Peer peer(echo());
  std::stop_source stop;
  stop.request_stop();
  const auto answer = plain(peer.port())->send(request("GET"), 5s, stop.get_token());
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().kind, ErrorKind::Cancelled);
  EXPECT_EQ(peer.connections(), 0);
}

// The library was still at work on it when the process ended: LeakSanitizer saw what was never
// freed.
TEST(ApiTransport, ARequestThatWasGivenUpEndsBeforeItsTransportIsGone) {
  Peer peer(says("", true));
  const auto answer = plain(peer.port())->send(request("GET"), 1ms, {});
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().kind, ErrorKind::Unavailable);
}

struct Streamed {
  std::vector<std::string> lines;
  Result<HttpResponse> end = HttpResponse();
};

Streamed stream_from(int port, milliseconds idle = 5s) {
  Streamed got;
  got.end = plain(port)->stream(request("GET"), idle,
                                [&](std::string_view line) { got.lines.emplace_back(line); }, {});
  return got;
}

TEST(ApiTransport, HandsOutLinesHoweverTheyWereCut) {
  Peer peer([](Conversation& conversation, int, const std::stop_token&) {
    if (!conversation.read()) return;
    conversation.begin_chunks();
    for (const char* part : {"one\ntw", "o\n", "\n", "thr", "e", "e\nfour\nfive\n"}) {
      conversation.chunk(part);
    }
    conversation.end_chunks();
  });
  const auto got = stream_from(peer.port());
  EXPECT_TRUE(got.end) << got.end.error().message;
  EXPECT_EQ(got.lines, (std::vector<std::string>{"one", "two", "", "three", "four", "five"}));
}

TEST(ApiTransport, TellsACutStreamFromAnEndedOne) {
  const struct {
    const char* name;
    const char* rest;
    bool whole;
    std::size_t lines;
  } rows[] = {{"ended", "4\r\none\n\r\n0\r\n\r\n", true, 1},
              {"ended mid-line", "6\r\none\ntw\r\n0\r\n\r\n", true, 1},
              {"closed between chunks", "4\r\none\n\r\n", false, 1},
              {"closed in a chunk", "40\r\none\ntw", false, 1},
              {"closed at once", "", false, 0}};
  for (const auto& row : rows) {
    SCOPED_TRACE(row.name);
    Peer peer(
        says(std::string("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n") + row.rest));
    const auto got = stream_from(peer.port());
    EXPECT_EQ(got.end.has_value(), row.whole);
    const auto kind = got.end ? ErrorKind::Unavailable : got.end.error().kind;
    EXPECT_EQ(kind, ErrorKind::Unavailable);
    // What came in a chunk that was cut may or may not have been handed out; never half a line.
    EXPECT_LE(got.lines.size(), row.lines);
    EXPECT_GE(got.lines.size(), row.whole ? row.lines : 0U);
    for (const auto& line : got.lines) EXPECT_EQ(line, "one");
  }
}

TEST(ApiTransport, ARefusedStreamComesWithItsBody) {
  // Also when more of it has come than a stream takes ahead.
  for (const auto& body : {std::string("too\nold\n"), std::string(std::size_t{2} << 20U, 'x')}) {
    SCOPED_TRACE(body.size());
    Peer peer([&](Conversation& conversation, int, const std::stop_token&) {
      while (conversation.read()) conversation.answer(410, body);
    });
    const auto got = stream_from(peer.port(), 20s);
    ASSERT_TRUE(got.end) << got.end.error().message;
    EXPECT_EQ(got.end->status, 410);
    EXPECT_EQ(got.end->body, body);
    EXPECT_TRUE(got.lines.empty());
  }
}

TEST(ApiTransport, ASilentStreamIsUnavailableABusyOneIsNot) {
  Peer peer([](Conversation& conversation, int, const std::stop_token& stop) {
    if (!conversation.read()) return;
    conversation.begin_chunks();
    for (int i = 0; i < 6; ++i) {
      conversation.chunk("x\n");
      if (conversation.closed_within(100ms)) return;
    }
    while (!stop.stop_requested() && !conversation.closed_within(10ms)) {
    }
  });
  const auto started = Clock::now();
  const auto got = stream_from(peer.port(), 2s);
  EXPECT_FALSE(got.end);
  EXPECT_EQ(got.lines.size(), 6U);
  EXPECT_GE(Clock::now() - started, 2400ms) << "the silence is counted from the last byte";
  EXPECT_LT(Clock::now() - started, 20s);
}

TEST(ApiTransport, ALineWithoutEndEndsTheStream) {
  Peer peer([](Conversation& conversation, int, const std::stop_token&) {
    if (!conversation.read()) return;
    conversation.begin_chunks();
    conversation.chunk("first\n");
    const std::string part(std::size_t{1} << 20U, 'x');
    while (conversation.chunk(part)) {
    }
  });
  const auto got = stream_from(peer.port(), 20s);
  ASSERT_FALSE(got.end);
  EXPECT_NE(got.end.error().message.find("over 10 MiB"), std::string::npos);
  EXPECT_EQ(got.lines, std::vector<std::string>{"first"});
}

TEST(ApiTransport, SlowsAStreamDownToItsReader) {
  std::atomic<std::size_t> sent = 0;
  Peer peer([&](Conversation& conversation, int, const std::stop_token& stop) {
    if (!conversation.read()) return;
    conversation.begin_chunks();
    const std::string part = std::string(std::size_t{64} << 10U, 'x') + "\n";
    while (!stop.stop_requested() && conversation.chunk(part)) sent += part.size();
  });
  std::stop_source stop;
  std::atomic<bool> reading = false;
  std::promise<void> go_on;
  const auto transport = plain(peer.port());
  std::jthread reader([&] {
    static_cast<void>(transport->stream(
        request("GET"), 20s,
        [&, waiting = true](std::string_view) mutable {
          if (std::exchange(waiting, false)) {
            reading = true;
            go_on.get_future().wait();
          }
        },
        stop.get_token()));
  });
  ASSERT_TRUE(eventually([&] { return reading.load(); }));
  std::size_t before = 1;
  ASSERT_TRUE(eventually([&] { return std::exchange(before, sent.load()) == sent; }))
      << "the server was never made to wait";
  EXPECT_LT(sent, std::size_t{64} << 20U);
  const auto stopped_at = sent.load();
  go_on.set_value();
  EXPECT_TRUE(eventually([&] { return sent > stopped_at + (1U << 20U); }));
  stop.request_stop();
}

TEST(ApiTransport, AReaderMaySendFromItsStream) {
  Peer peer([](Conversation& conversation, int, const std::stop_token&) {
    while (const auto heard = conversation.read()) {
      if (heard->method == "GET") {
        conversation.begin_chunks();
        conversation.chunk("one\n");
        conversation.end_chunks();
      } else {
        conversation.answer(200, "written");
      }
    }
  });
  const auto transport = plain(peer.port());
  std::string written;
  const auto end = transport->stream(request("GET"), 5s,
                                     [&](std::string_view) {
                                       const auto answer =
                                           transport->send(request("PUT", "/x", "{}"), 5s, {});
                                       written = answer ? answer->body : answer.error().message;
                                     },
                                     {});
  EXPECT_TRUE(end) << end.error().message;
  EXPECT_EQ(written, "written");
}

TEST(ApiTransport, ManyCallersAtOnceGetTheirOwnAnswers) {
  Peer peer(echo());
  const auto transport = plain(peer.port());
  std::vector<std::jthread> callers;
  std::atomic<int> right = 0;
  for (int i = 0; i < 8; ++i) {
    callers.emplace_back([&, i] {
      for (int j = 0; j < 25; ++j) {
        const std::string body = std::to_string(i) + "." + std::to_string(j);
        const auto answer = transport->send(request("PUT", "/x", body), 10s, {});
        if (answer && answer->body == "PUT /x " + body) ++right;
      }
    });
  }
  callers.clear();
  EXPECT_EQ(right, 200);
}

// ---- TLS ----

class ApiTransportTls : public WithCertificates {
 protected:
  static ServerAddress address(int port) {
    ServerAddress made;
    made.host = "127.0.0.1";
    made.port = port;
    made.ca.file = certificates_->file("ca.pem");
    return made;
  }
  static Result<HttpResponse> ask(const ServerAddress& where) {
    auto transport = make_api_transport(where);
    if (!transport) return std::move(transport).error();
    return transport.value()->send(request("GET", "/hello"), 5s, {});
  }

  static PeerTls server_tls(const std::string& name) {
    return {.certificate = certificates_->file(name + ".pem"),
            .key = certificates_->file(name + ".key")};
  }
};

TEST_F(ApiTransportTls, TrustsTheGivenAuthorityAlone) {
  const struct {
    const char* name;
    const char* server;
    const char* ca;
    const char* verify_name;
    bool good;
  } rows[] = {
      {"right", "server", "ca.pem", "", true},
      {"by its name", "server", "ca.pem", "localhost", true},
      {"other authority", "server", "other-ca.pem", "", false},
      {"another name", "elsewhere", "ca.pem", "", false},
      {"another name that was asked for", "elsewhere", "ca.pem", "kubernetes.default.svc", true},
      {"name in the subject alone", "only-called", "ca.pem", "", false},
  };
  for (const auto& row : rows) {
    SCOPED_TRACE(row.name);
    Peer peer(echo(), server_tls(row.server));
    ServerAddress where = address(peer.port());
    where.ca.file = certificates_->file(row.ca);
    where.verify_name = row.verify_name;
    const auto answer = ask(where);
    EXPECT_EQ(answer.has_value(), row.good) << (answer ? "" : answer.error().message);
    if (answer) continue;
    EXPECT_EQ(answer.error().kind, ErrorKind::Unavailable);
    EXPECT_NE(answer.error().message.find("certificate verify failed"), std::string::npos)
        << answer.error().message;
  }
}

TEST_F(ApiTransportTls, ShowsItsCertificate) {
  std::string seen;
  std::mutex mutex;
  PeerTls tls = server_tls("server");
  tls.client_ca = certificates_->file("ca.pem");
  Peer peer(
      [&](Conversation& conversation, int, const std::stop_token&) {
        while (conversation.read()) {
          const std::lock_guard lock(mutex);
          seen = conversation.client_name();
          conversation.answer(200, "");
        }
      },
      tls);
  ServerAddress where = address(peer.port());
  EXPECT_FALSE(ask(where)) << "without one the server refuses";
  where.certificate.file = certificates_->file("client.pem");
  where.key.file = certificates_->file("client.key");
  const auto answer = ask(where);
  ASSERT_TRUE(answer) << answer.error().message;
  const std::lock_guard lock(mutex);
  EXPECT_EQ(seen, "stackspec-client");
}

TEST_F(ApiTransportTls, ShowsAChangedCertificateWithTheNextCall) {
  std::vector<std::string> seen;
  std::mutex mutex;
  PeerTls tls = server_tls("server");
  tls.client_ca = certificates_->file("ca.pem");
  Peer peer(
      [&](Conversation& conversation, int, const std::stop_token&) {
        while (conversation.read()) {
          const std::lock_guard lock(mutex);
          seen.push_back(conversation.client_name());
          conversation.answer(200, "");
        }
      },
      tls);
  const auto text = [](const std::string& name) {
    std::ifstream file(certificates_->file(name));
    return std::string{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  };
  ServerAddress where = address(peer.port());
  where.identity = std::make_shared<ClientIdentity>();
  const auto transport = make_api_transport(where);
  ASSERT_TRUE(transport) << transport.error().message;
  for (const char* name : {"client", "client", "renewed"}) {
    where.identity->set({text(std::string(name) + ".pem"), text(std::string(name) + ".key")});
    const auto answer = transport.value()->send(request("GET", "/hello"), 5s, {});
    ASSERT_TRUE(answer) << answer.error().message;
  }
  const std::lock_guard lock(mutex);
  EXPECT_EQ(seen, (std::vector<std::string>{"stackspec-client", "stackspec-client", "renewed"}));
  EXPECT_EQ(peer.connections(), 2) << "the same certificate goes on with the same connection";
}

TEST_F(ApiTransportTls, ReadsARotatedAuthorityWithTheNextConnection) {
  TempFolder folder;
  const std::string ca = folder / "ca.pem";
  const auto put = [&](const char* name) {
    std::ofstream(ca) << std::ifstream(certificates_->file(name)).rdbuf();
  };
  put("other-ca.pem");
  Peer peer(echo(), server_tls("server"));
  ServerAddress where = address(peer.port());
  where.ca.file = ca;
  const auto transport = make_api_transport(where).value();
  EXPECT_FALSE(transport->send(request("GET"), 5s, {}));
  put("ca.pem");
  EXPECT_TRUE(transport->send(request("GET"), 5s, {}));
}

TEST_F(ApiTransportTls, CancelsAHandshakeThatHangs) {
  testing::Listener mute;
  std::stop_source stop;
  std::jthread peer([&] {
    const auto socket = mute.accept();
    static_cast<void>(socket.wait_readable(5s));
    stop.request_stop();
    socket.receive_all(2s);
  });
  const auto transport = make_api_transport(address(mute.port())).value();
  const auto answer = transport->send(request("GET"), 20s, stop.get_token());
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().kind, ErrorKind::Cancelled);
}

TEST_F(ApiTransportTls, RefusesAddressesThatCannotWork) {
  const auto file = [](const char* name) { return certificates_->file(name); };
  const struct {
    const char* name;
    std::function<void(ServerAddress&)> spoil;
    const char* message;
  } rows[] = {
      {"no host", [](ServerAddress& a) { a.host = ""; }, "host"},
      {"port", [](ServerAddress& a) { a.port = 0; }, "port"},
      {"IPv6", [](ServerAddress& a) { a.host = "fd00::1"; }, "DNS name"},
      {"no authority", [](ServerAddress& a) { a.ca = {}; }, "certificate authority"},
      {"authority not there", [](ServerAddress& a) { a.ca.file = "/nowhere/ca.pem"; }, "/nowhere"},
      {"authority is no PEM", [](ServerAddress& a) { a.ca = {.file = "", .text = "x"}; },
       "no certificate"},
      {"key alone", [&](ServerAddress& a) { a.key.file = file("client.key"); }, "go together"},
      {"key of another",
       [&](ServerAddress& a) {
         a.certificate.file = file("client.pem");
         a.key.file = file("server.key");
       },
       "client key"},
      {"certificate is no PEM",
       [&](ServerAddress& a) {
         a.certificate.text = "x";
         a.key.file = file("client.key");
       },
       "client certificate"},
  };
  for (const auto& row : rows) {
    SCOPED_TRACE(row.name);
    ServerAddress bad = address(6443);
    row.spoil(bad);
    const auto made = make_api_transport(bad);
    ASSERT_FALSE(made);
    EXPECT_NE(made.error().message.find(row.message), std::string::npos) << made.error().message;
  }
}

}  // namespace
}  // namespace stackspec
