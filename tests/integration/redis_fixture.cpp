// SPDX-License-Identifier: Apache-2.0
#include "integration/redis_fixture.hpp"

#include <fcntl.h>
#include <hiredis/hiredis.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <thread>
#include <utility>
#include <vector>

#include "contract/raw_peer.hpp"

namespace stackspec::testing {
namespace {

using namespace std::chrono_literals;

/// Free a moment ago; the start is tried again when somebody was quicker.
int free_port() {
  return Listener().port();
}

std::string text_of(const redisReply& reply) {
  if (reply.type == REDIS_REPLY_INTEGER) return std::to_string(reply.integer);
  if (reply.type != REDIS_REPLY_ARRAY) return reply.str != nullptr ? reply.str : "";
  std::string lines;
  for (std::size_t i = 0; i < reply.elements; ++i) lines += text_of(*reply.element[i]) + "\n";
  return lines;
}

}  // namespace

pid_t RedisServer::spawn() const {
  const std::string port = std::to_string(port_), tls_port = std::to_string(tls_port_);
  std::vector<const char*> words = {
      "redis-server",  "--port", port.c_str(), "--bind",       "127.0.0.1", "--dir",
      folder_.c_str(), "--save", "",           "--appendonly", "no",        "--maxmemory-policy",
      "noeviction"};
  if (!certificate_.empty()) {
    words.insert(words.end(),
                 {"--tls-port", tls_port.c_str(), "--tls-cert-file", certificate_.c_str(),
                  "--tls-key-file", key_.c_str(), "--tls-auth-clients", "no"});
  }
  words.push_back(nullptr);
  const pid_t parent = ::getpid();
  const pid_t pid = ::fork();
  if (pid != 0) return pid;
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(1);
  const int log = ::open((folder_ + "/log").c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
  ::dup2(log, STDOUT_FILENO);
  ::dup2(log, STDERR_FILENO);
  ::execvp(words[0], const_cast<char* const*>(words.data()));
  ::_exit(127);
}

RedisServer::RedisServer(std::string certificate, std::string key)
    : certificate_(std::move(certificate)), key_(std::move(key)) {
  std::string pattern = (std::filesystem::temp_directory_path() / "redis-test-XXXXXX").string();
  if (::mkdtemp(pattern.data()) == nullptr) return;
  folder_ = pattern;
  for (int attempt = 0; attempt < 5 && !running(); ++attempt) {
    port_ = free_port();
    tls_port_ = free_port();
    start();
  }
}

RedisServer::~RedisServer() {
  stop();
  std::error_code ignored;
  if (!folder_.empty()) std::filesystem::remove_all(folder_, ignored);
}

bool RedisServer::start() {
  pid_ = spawn();
  const auto deadline = std::chrono::steady_clock::now() + 15s;
  while (std::chrono::steady_clock::now() < deadline) {
    if (command("PING") == "PONG") return true;
    if (::waitpid(pid_, nullptr, WNOHANG) == pid_) break;
    std::this_thread::sleep_for(10ms);
  }
  std::fprintf(stderr, "redis-server did not start on port %d, see %s/log\n", port_,
               folder_.c_str());
  ::kill(pid_, SIGKILL);
  ::waitpid(pid_, nullptr, 0);
  pid_ = 0;
  return false;
}

void RedisServer::stop() {
  if (pid_ <= 0) return;
  ::kill(pid_, SIGKILL);
  ::waitpid(pid_, nullptr, 0);
  pid_ = 0;
}

std::string RedisServer::command(const std::string& words) const {
  redisContext* context = redisConnectWithTimeout("127.0.0.1", port_, timeval{5, 0});
  std::string text;
  if (context != nullptr && context->err == 0) {
    auto* reply = static_cast<redisReply*>(redisCommand(context, words.c_str()));
    if (reply != nullptr) text = text_of(*reply);
    freeReplyObject(reply);
  }
  redisFree(context);
  return text;
}

}  // namespace stackspec::testing
