// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstring>
#include <nlohmann/json.hpp>

#include "kube/access.hpp"

namespace stackspec {
namespace {

using nlohmann::json;

constexpr std::chrono::seconds kLongest{60};
constexpr std::size_t kMostOutput = 1U << 20U;

Error forbidden(const ExecPlugin& plugin, const std::string& why) {
  return {ErrorKind::Forbidden, "credential plugin " + plugin.command + ": " + why};
}

/// Ours, what the kubeconfig adds, and what the protocol demands.
std::vector<std::string> environment_for(const ExecPlugin& plugin) {
  std::vector<std::string> all;
  for (char** one = environ; *one != nullptr; ++one) {
    // We set it for our own connections alone.
    if (std::strncmp(*one, "SSL_CERT_FILE=", 14) != 0) all.emplace_back(*one);
  }
  for (const auto& [name, value] : plugin.env) all.push_back(name + "=" + value);
  auto info = json::object();
  info["apiVersion"] = plugin.api_version;
  info["kind"] = "ExecCredential";
  info["spec"] = {{"interactive", false}};
  all.push_back("KUBERNETES_EXEC_INFO=" + info.dump());
  return all;
}

std::vector<char*> pointers(std::vector<std::string>& texts) {
  std::vector<char*> all;
  for (auto& text : texts) all.push_back(text.data());
  all.push_back(nullptr);
  return all;
}

/// A plugin that runs; killed and reaped when it was not waited for.
class Running {
 public:
  Running(pid_t pid, int output) : pid_(pid), output_(output) {}
  Running(const Running&) = delete;
  Running& operator=(const Running&) = delete;
  ~Running() {
    ::close(output_);
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    wait();
  }

  /// Until it closes its output; nothing when that takes too long.
  std::optional<std::string> output() const {
    std::string text;
    std::array<char, 4096> part{};
    const auto until = std::chrono::steady_clock::now() + kLongest;
    while (text.size() < kMostOutput) {
      const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
          until - std::chrono::steady_clock::now());
      pollfd wanted{output_, POLLIN, 0};
      if (left.count() <= 0 || ::poll(&wanted, 1, static_cast<int>(left.count())) == 0) {
        return std::nullopt;
      }
      const auto got = ::read(output_, part.data(), part.size());
      if (got < 0 && errno == EINTR) continue;
      if (got <= 0) return text;
      text.append(part.data(), static_cast<std::size_t>(got));
    }
    return std::nullopt;
  }

  int wait() {
    int status = -1;
    while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
    }
    pid_ = 0;
    return status;
  }

 private:
  pid_t pid_ = 0;
  int output_ = -1;
};

Result<ExecToken> token_of(const ExecPlugin& plugin, const std::string& output) {
  const json answer = json::parse(output, nullptr, false);
  const auto status = answer.is_object() ? answer.find("status") : answer.end();
  if (!answer.is_object() || status == answer.end() || !status->is_object()) {
    return forbidden(plugin, "it did not print an ExecCredential");
  }
  const auto text = [&](const char* name) {
    const auto found = status->find(name);
    return found != status->end() && found->is_string() ? found->get<std::string>() : "";
  };
  ExecToken made;
  made.token = text("token");
  made.identity = {text("clientCertificateData"), text("clientKeyData")};
  if (made.identity.certificate.empty() != made.identity.key.empty()) {
    return forbidden(plugin, "of a client certificate and its key it gave only one");
  }
  if (made.token.empty() && made.identity.key.empty()) {
    return forbidden(plugin, "it gave neither a token nor a client certificate");
  }
  made.expires = parse_rfc3339(text("expirationTimestamp"));
  return made;
}

}  // namespace

Result<ExecToken> run_exec_plugin(const ExecPlugin& plugin) {
  std::vector<std::string> argv = {plugin.command};
  argv.insert(argv.end(), plugin.args.begin(), plugin.args.end());
  std::vector<std::string> env = environment_for(plugin);
  std::array<int, 2> pipe_ends{};
  if (::pipe2(pipe_ends.data(), O_CLOEXEC) != 0) return forbidden(plugin, std::strerror(errno));
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, pipe_ends[1], STDOUT_FILENO);
  posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  pid_t pid = 0;
  const int failed = ::posix_spawnp(&pid, plugin.command.c_str(), &actions, nullptr,
                                    pointers(argv).data(), pointers(env).data());
  posix_spawn_file_actions_destroy(&actions);
  ::close(pipe_ends[1]);
  if (failed != 0) {
    ::close(pipe_ends[0]);
    return forbidden(plugin, std::string("cannot be started: ") + std::strerror(failed));
  }
  Running running(pid, pipe_ends[0]);
  const auto output = running.output();
  if (!output) return forbidden(plugin, "no answer within 60 s");
  const int status = running.wait();
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
    return forbidden(plugin, "it failed; its own words are above");
  }
  return token_of(plugin, *output);
}

}  // namespace stackspec
