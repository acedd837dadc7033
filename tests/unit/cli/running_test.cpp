// SPDX-License-Identifier: Apache-2.0
#include "cli/running.hpp"

#include <gtest/gtest.h>
#include <pthread.h>

#include <thread>

#include "fakes/eventually.hpp"

namespace stackspec {
namespace {

using namespace std::chrono_literals;

/// 0 when nobody answers.
int status_of(const Listener& listener, const std::string& path) {
  HttpRequest request;
  request.port = std::stoi(listener.address().substr(listener.address().rfind(':') + 1));
  request.path = path;
  const auto answer = make_http_client()->send(request, 10s, {});
  return answer ? answer->status : 0;
}

TEST(Listener, IsNotReadyFromTheSignalOnWhileTheWorkStillEnds) {
  sigset_t before;
  pthread_sigmask(SIG_SETMASK, nullptr, &before);
  const sigset_t signals = hold_signals();
  const auto listener = Listener::open("127.0.0.1:0", [] { return true; });
  ASSERT_TRUE(listener) << listener.error().message;
  EXPECT_EQ(status_of(**listener, "/readyz"), 503) << "it does not serve yet";
  bool was_ready = false;
  std::jthread sender([&, serving = pthread_self()] {
    was_ready = eventually([&] { return status_of(**listener, "/readyz") == 200; });
    pthread_kill(serving, SIGTERM);
  });
  int ready = 0;
  int healthy = 0;
  serve_until_signal(**listener, signals, [&] {
    ready = status_of(**listener, "/readyz");
    healthy = status_of(**listener, "/healthz");
  });
  sender.join();
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  EXPECT_TRUE(was_ready);
  EXPECT_EQ(ready, 503);
  EXPECT_EQ(healthy, 200) << "nobody shall kill it for that";
}

TEST(Listener, SaysWhatIsWrongWithAnAddress) {
  for (const char* address : {"", "localhost", "127.0.0.1:", "127.0.0.1:65536", ":80", "::"}) {
    SCOPED_TRACE(address);
    const auto listener = Listener::open(address, [] { return true; });
    ASSERT_FALSE(listener);
    EXPECT_EQ(listener.error().kind, ErrorKind::Invalid);
    EXPECT_NE(listener.error().message.find("ADDRESS:PORT"), std::string::npos)
        << listener.error().message;
  }
}

}  // namespace
}  // namespace stackspec
