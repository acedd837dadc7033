// SPDX-License-Identifier: Apache-2.0
#include "platform/local/gateway.hpp"

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/file.hpp"
#include "platform/local/leftovers.hpp"

namespace stackspec::local {
namespace {

struct State {
  bool open = false;
  bool has_fundraising = false;
  bool in_force = false;  ///< nginx serves by it; otherwise a switch was begun.
};

std::optional<State> read_state(const std::string& path) {
  const auto stored = read_json(path);
  if (!stored || !stored->is_object()) return {};
  State state;
  state.open = stored->value("open", false);
  state.has_fundraising = stored->value("fundraising", false);
  state.in_force = stored->value("inForce", false);
  return state;
}

Result<void> write_state(const std::string& path, const State& state) {
  nlohmann::json stored = nlohmann::json::object();
  stored["open"] = state.open;
  stored["fundraising"] = state.has_fundraising;
  stored["inForce"] = state.in_force;
  return write_json(path, stored);
}

/// Runs a program to its end and gives its exit; it must be a matter of moments.
Result<std::string> run_briefly(const ProcessSpec& process) {
  const ProcessId started = TRY(start_process(process));
  std::string ending;
  const bool ended = wait_until(std::chrono::seconds(10), {}, [&] {
    ending = exit_of(started);
    return !ending.empty();
  });
  if (!ended) signal_group(started, SIGKILL);
  wait_until(std::chrono::seconds(1), {}, [&] { return !is_alive(started); });
  if (!ended) return Error{ErrorKind::Unavailable, process.argv[0] + " did not end in 10 s"};
  return ending;
}

}  // namespace

bool Gateway::is_open() const {
  const auto state = read_state(folder_.of("run/gateway.state"));
  return state && state->in_force && state->open;
}

Result<void> Gateway::write_configuration(const std::string& text) const {
  const std::string path = folder_.of("gateway/nginx.conf");
  const auto existing = read_file(path);
  if (existing && *existing == text) return {};
  TRY(write_file_atomically(folder_.of("gateway/maintenance.html"), maintenance_page(), 0644));
  const std::string trial = folder_.of("gateway/trial.conf");
  const std::string trial_log = folder_.of("log/gateway-trial.log");
  TRY(write_file_atomically(trial, text, 0644));
  ::unlink(trial_log.c_str());
  ProcessSpec check;
  check.argv = {"/usr/sbin/nginx",           "-t", "-q", "-e", "stderr", "-p",
                folder_.of("gateway") + "/", "-c", trial};
  check.env = {"PATH=/usr/sbin:/usr/bin:/bin"};
  check.directory = folder_.of("gateway");
  check.log_file = trial_log;
  check.record_file = folder_.of("run/gateway-trial.record");
  check.uid = host_.user.uid;
  check.gid = host_.user.gid;
  if (TRY(run_briefly(check)) != "exit code 0") {
    return Error{ErrorKind::Invalid,
                 "nginx refuses the gateway's configuration: " + last_line_of(trial_log)};
  }
  return write_file_atomically(path, text, 0644);
}

Result<void> Gateway::prepare(const Endpoints& endpoints, bool has_fundraising) const {
  const std::string path = folder_.of("run/gateway.state");
  auto state = read_state(path);
  if (!state) {
    state = State{false, has_fundraising, true};
    TRY(write_state(path, *state));
  }
  return write_configuration(gateway_configuration(endpoints, state->has_fundraising, state->open));
}

Result<void> Gateway::switch_to(bool open, const Endpoints& endpoints, bool has_fundraising,
                                std::stop_token stop) const {
  const std::string path = folder_.of("run/gateway.state");
  const std::string text = gateway_configuration(endpoints, has_fundraising, open);
  const auto before = read_state(path);
  const auto loaded = read_file(folder_.of("gateway/nginx.conf"));
  if (before && before->in_force && before->open == open && loaded && *loaded == text) return {};
  State state{open, has_fundraising, false};
  TRY(write_state(path, state));
  if (auto written = write_configuration(text); !written) {
    if (before) TRY(write_state(path, *before));
    return written;
  }
  return settle(stop);
}

Result<void> Gateway::settle(std::stop_token stop) const {
  const std::string path = folder_.of("run/gateway.state");
  auto state = read_state(path);
  if (!state || state->in_force) return {};
  TRY(reload(stop));
  state->in_force = true;
  return write_state(path, *state);
}

Result<void> Gateway::reload(std::stop_token stop) const {
  const auto master = supervisor_.process(Component::Gateway);
  if (!master) return {};  // The next start reads the file.
  const auto old = working_children(master->pid);
  ::kill(master->pid, SIGHUP);
  const bool taken = wait_until(std::chrono::seconds(5), stop, [&] {
    const auto children = working_children(master->pid);
    return !children.empty() && std::none_of(children.begin(), children.end(), [&](pid_t child) {
      return std::find(old.begin(), old.end(), child) != old.end();
    });
  });
  if (!taken && stop.stop_requested()) return Error{ErrorKind::Cancelled, "stopped"};
  if (!taken && supervisor_.process(Component::Gateway)) {
    return Error{ErrorKind::Unavailable, "nginx has not taken the gateway's configuration: " +
                                             last_line_of(folder_.log(Component::Gateway))};
  }
  return {};
}

}  // namespace stackspec::local
