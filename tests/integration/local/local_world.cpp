// SPDX-License-Identifier: Apache-2.0
#include "integration/local/local_world.hpp"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "platform/local/leftovers.hpp"

namespace stackspec {
namespace {

namespace fs = std::filesystem;

constexpr const char* kEntrypoint = R"(#!/bin/sh
if [ "${1:-}" = sh ]; then exec sh -c "$TEST_DO"; fi
if [ $# -gt 0 ]; then exec sleep 1000; fi
exec /usr/bin/python3 -c '
import http.server, os, signal, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(os.environ.get("APP_VERSION", "").encode())
    def log_message(self, *args): pass
if os.environ.get("STUBBORN"): signal.signal(signal.SIGTERM, signal.SIG_IGN)
else: signal.signal(signal.SIGTERM, lambda *a: os._exit(0))
if os.environ.get("BROKEN"): sys.exit("cannot start: it is broken")
port = int(os.environ.get("NODE_PORT") or os.environ.get("PORT"))
http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
'
)";

void make_release(const std::string& folder, const std::string& version) {
  fs::create_directories(folder + "/app/packages/twenty-server");
  fs::create_directories(folder + "/bin");
  std::ofstream(folder + "/entrypoint.sh") << kEntrypoint;
  std::ofstream(folder + "/image.env") << "APP_VERSION=" << version << "\nNODE_ENV=production\n";
  ::chmod((folder + "/entrypoint.sh").c_str(), 0755);
}

}  // namespace

LocalWorld::LocalWorld() : data(temp / "data"), releases(temp / "releases") {
  ::chmod(temp.path().c_str(), 0711);
  make_release(releases + "/v1.15.4", "1.15.4");
  make_release(releases + "/v1.16.6", "1.16.6");
  make_release(releases + "/fundraising/v0.1.0", "0.1.0");
  stack.key.name = "crm";
  stack.spec.tag = "v1.15.4";
  stack.spec.server_url = "http://localhost";
  stack.spec.fundraising.version = "v0.1.0";
  auto& keys = secrets[secrets_name(stack.key, stack.spec)];
  for (const auto& key : generated_keys()) keys[std::string(key.key)] = "it's a \"secret\" $(X)";
  restart_controller();
}

LocalWorld::~LocalWorld() {
  const auto stopped = platform->stop_stack(stack.key, {});
  EXPECT_TRUE(stopped) << stopped.error().message;
  EXPECT_EQ(processes_left(), 0);
}

void LocalWorld::restart_controller() {
  platform.reset();
  auto made = make_local_platform({data, releases, ""}, *redis, clock);
  if (!made) throw std::runtime_error(made.error().message);
  platform = std::move(*made);
}

PlatformSeen LocalWorld::look() {
  auto seen = platform->observe(stack, {});
  EXPECT_TRUE(seen) << (seen ? "" : seen.error().message);
  return seen ? *seen : PlatformSeen{};
}

ComponentSpec LocalWorld::wanted(Component component, const std::string& release) {
  const auto endpoints = look().endpoints;
  for (auto& candidate :
       wanted_components(stack.key, stack.spec, *parse_version(release), endpoints, "")) {
    if (candidate.component == component) return candidate;
  }
  return {};
}

Result<void> LocalWorld::act(const Action& action) {
  return platform->act(stack, action, secrets, {});
}

bool LocalWorld::eventually_ready(Component component) {
  return eventually([&] { return look(component).ready == 1; }, kPatience);
}

std::string LocalWorld::bring_up(Component component) {
  if (const auto applied = apply(component); !applied) return applied.error().message;
  if (eventually_ready(component)) return "ready";
  return look(component).message;
}

pid_t LocalWorld::pid_of(Component component) const {
  const auto process =
      recorded_process(folder() + "/run/" + std::string(to_string(component)) + ".record");
  return process ? process->pid : 0;
}

int LocalWorld::processes_left() const {
  int left = 0;
  std::error_code failed;
  for (const auto& entry : fs::directory_iterator("/proc")) {
    const auto folder_of_process = fs::read_symlink(entry.path() / "cwd", failed);
    if (failed) continue;
    const std::string path = folder_of_process.string();
    if (path.rfind(data, 0) == 0 || path.rfind(releases, 0) == 0) ++left;
  }
  return left;
}

int http_status(int port, const std::string& path) {
  const auto answer = shell("curl -s -m 5 -o /dev/null -w '%{http_code}' 'http://127.0.0.1:" +
                            std::to_string(port) + path + "'");
  return std::atoi(answer.output.c_str());
}

Shell shell(const std::string& command) {
  Shell result;
  FILE* pipe = ::popen((command + " 2>&1").c_str(), "r");
  if (pipe == nullptr) return result;
  char buffer[4096];
  for (std::size_t got = 0; (got = std::fread(buffer, 1, sizeof buffer, pipe)) > 0;) {
    result.output.append(buffer, got);
  }
  const int status = ::pclose(pipe);
  result.code = WIFEXITED(status) ? WEXITSTATUS(status) : 128;
  while (!result.output.empty() && result.output.back() == '\n') result.output.pop_back();
  return result;
}

}  // namespace stackspec
