// SPDX-License-Identifier: Apache-2.0
#include "platform/local/leftovers.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <charconv>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "base/file.hpp"

namespace stackspec::local {
namespace {

namespace fs = std::filesystem;

constexpr int kJustLooking = WEXITED | WNOHANG | WNOWAIT;

template <class Visit>
void each_process(const Visit& visit) {
  std::error_code failed;
  for (fs::directory_iterator entry("/proc", failed), end; entry != end; entry.increment(failed)) {
    if (failed) return;
    const std::string name = entry->path().filename().string();
    pid_t pid = 0;
    const auto [stop, error] = std::from_chars(name.data(), name.data() + name.size(), pid);
    if (error == std::errc() && stop == name.data() + name.size()) visit(pid);
  }
}

bool holds(pid_t pid, const struct stat& wanted) {
  std::error_code failed;
  const std::string folder = "/proc/" + std::to_string(pid) + "/fd";
  for (fs::directory_iterator entry(folder, failed), end; !failed && entry != end;
       entry.increment(failed)) {
    struct stat info {};
    if (::stat(entry->path().c_str(), &info) == 0 && info.st_dev == wanted.st_dev &&
        info.st_ino == wanted.st_ino) {
      return true;
    }
  }
  return false;
}

struct Stat {
  char state = 'X';
  pid_t parent = 0;
  std::uint64_t start_time = 0;
  bool lives() const { return state != 'Z' && state != 'X'; }
};

Stat stat_of(pid_t pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
  std::string line;
  std::getline(file, line);
  const auto name_end = line.rfind(')');  // The name may hold anything, brackets too.
  if (name_end == std::string::npos) return {};
  std::istringstream fields(line.substr(name_end + 1));
  Stat stat;
  fields >> stat.state >> stat.parent;
  std::string skipped;
  for (int field = 5; field < 22; ++field) fields >> skipped;
  fields >> stat.start_time;
  return stat;
}

std::string command_line_of(pid_t pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/cmdline");
  std::string line;
  std::getline(file, line);
  return line;
}

}  // namespace

ProcessId named_in_record(const std::string& record_file) {
  const auto text = read_file(record_file);
  if (!text) return {};
  std::istringstream fields(*text);
  ProcessId process;
  fields >> process.pid >> process.start_time;
  return fields.fail() ? ProcessId{} : process;
}

std::optional<ProcessId> live_process(const std::string& record_file) {
  const ProcessId named = named_in_record(record_file);
  if (named.pid == 0) return {};
  const Stat stat = stat_of(named.pid);
  if (stat.start_time != named.start_time) return {};
  // A zombie that cannot be reaped yet has threads which are still ending.
  siginfo_t info{};
  const bool ends = !stat.lives() &&
                    ::waitid(P_PID, static_cast<id_t>(named.pid), &info, kJustLooking) == 0 &&
                    info.si_pid == 0;
  return stat.lives() || ends ? std::optional(named) : std::nullopt;
}

bool record_is_held(const std::string& record_file) {
  const int descriptor = ::open(record_file.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) return false;
  struct flock range {};
  range.l_type = F_WRLCK;
  range.l_whence = SEEK_SET;
  const bool held = ::fcntl(descriptor, F_OFD_GETLK, &range) == 0 && range.l_type != F_UNLCK;
  ::close(descriptor);
  return held;
}

int signal_holders(const std::string& record_file, int signal) {
  struct stat wanted {};
  if (::stat(record_file.c_str(), &wanted) != 0) return 0;
  int found = 0;
  each_process([&](pid_t pid) {
    if (pid == ::getpid() || !holds(pid, wanted)) return;
    ++found;
    ::kill(pid, signal);
  });
  return found;
}

std::string exit_of(const ProcessId& process) {
  if (process.pid <= 0) return {};
  siginfo_t info{};
  const auto id = static_cast<id_t>(process.pid);
  if (::waitid(P_PID, id, &info, kJustLooking) != 0 || info.si_pid == 0) return {};
  const bool exited = info.si_code == CLD_EXITED;
  return (exited ? "exit code " : "killed by signal ") + std::to_string(info.si_status);
}

std::vector<pid_t> working_children(pid_t parent) {
  std::vector<pid_t> children;
  each_process([&](pid_t pid) {
    const Stat stat = stat_of(pid);
    if (stat.parent != parent || !stat.lives()) return;
    if (command_line_of(pid).find("shutting down") == std::string::npos) children.push_back(pid);
  });
  return children;
}

}  // namespace stackspec::local
