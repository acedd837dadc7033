// SPDX-License-Identifier: Apache-2.0
#include "base/process.hpp"

#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <string_view>
#include <system_error>
#include <utility>

#include "base/file.hpp"

namespace stackspec {

namespace {

/// Shells use the numbers below for themselves.
constexpr int kFirstHighDescriptor = 100;

class Descriptor {
 public:
  explicit Descriptor(int value = -1) : value_(value) {}
  Descriptor(Descriptor&& other) noexcept : value_(std::exchange(other.value_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(value_, other.value_);
    return *this;
  }
  ~Descriptor() { close(); }
  int get() const { return value_; }
  void close() {
    if (value_ >= 0) ::close(std::exchange(value_, -1));
  }

 private:
  int value_ = -1;
};

/// The two facts of /proc/<pid>/stat that matter here. Text, so that a child between fork and exec
/// can copy them without formatting numbers.
struct StatLine {
  char state = '\0';
  std::string_view pid;
  std::string_view start_time;
};

/// The command name, field 2, is in parentheses and may itself contain spaces and parentheses.
bool parse_stat(std::string_view text, StatLine& line) {
  const auto close = text.rfind(')');
  const auto space = text.find(' ');
  if (close == std::string_view::npos || close + 2 >= text.size()) return false;
  line.pid = text.substr(0, space);
  line.state = text[close + 2];
  text.remove_prefix(close + 2);
  for (int field = 3; field < 22; ++field) {
    const auto next = text.find(' ');
    if (next == std::string_view::npos) return false;
    text.remove_prefix(next + 1);
  }
  line.start_time = text.substr(0, text.find(' '));
  return !line.pid.empty() && !line.start_time.empty();
}

struct Life {
  char state = '\0';
  std::uint64_t start_time = 0;
  bool ended() const { return state == 'Z' || state == 'X'; }
};

/// Empty: no such process, not even as a zombie.
std::optional<Life> life_of(pid_t pid) {
  if (pid <= 0) return std::nullopt;
  const auto text = read_file("/proc/" + std::to_string(pid) + "/stat");
  StatLine line;
  if (!text || !parse_stat(*text, line)) return std::nullopt;
  return Life{line.state, std::strtoull(std::string(line.start_time).c_str(), nullptr, 10)};
}

std::optional<Life> life_of(const ProcessId& process) {
  auto life = life_of(process.pid);
  if (life && life->start_time != process.start_time) return std::nullopt;
  return life;
}

std::string words_for(int code) {
  return std::generic_category().message(code);
}

ErrorKind kind_of(int code) {
  switch (code) {
    case ENOENT:
    case ENOTDIR: return ErrorKind::NotFound;
    case EACCES:
    case EPERM: return ErrorKind::Forbidden;
    case ENOEXEC:
    case E2BIG: return ErrorKind::Invalid;
    default: return ErrorKind::Unavailable;
  }
}

Error failure(int code, const std::string& what) {
  return {kind_of(code), what + ": " + words_for(code)};
}

/// An open-file-description lock: like flock it is inherited through fork and exec and dies with
/// the last holder, and unlike flock it can be asked about without being taken.
struct flock whole_file() {
  struct flock range = {};
  range.l_type = F_WRLCK;
  range.l_whence = SEEK_SET;
  return range;
}

bool is_locked(int descriptor) {
  auto range = whole_file();
  return ::fcntl(descriptor, F_OFD_GETLK, &range) == 0 && range.l_type != F_UNLCK;
}

/// For the words of an error only.
std::string holder_named_in(const std::string& record_file) {
  const auto text = read_file(record_file, 64);
  const std::string pid = text ? text->substr(0, text->find(' ')) : std::string();
  return (pid.empty() ? "a process" : "process " + pid) + " or one it started still runs";
}

/// What execvp would find, with the PATH that the program itself will see.
Result<std::string> find_program(const ProcessSpec& spec) {
  const std::string& name = spec.argv.front();
  if (name.find('/') != std::string::npos) return name;
  std::string_view path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
  for (const auto& variable : spec.env) {
    if (variable.rfind("PATH=", 0) == 0) path = std::string_view(variable).substr(5);
  }
  while (!path.empty()) {
    const auto colon = path.find(':');
    const std::string candidate = std::string(path.substr(0, colon)) + "/" + name;
    if (::access(candidate.c_str(), X_OK) == 0) return candidate;
    path = colon == std::string_view::npos ? std::string_view() : path.substr(colon + 1);
  }
  return Error{ErrorKind::NotFound, "no program " + name + " in PATH"};
}

/// The user to become, looked up before the fork: name services are not safe after it.
struct Identity {
  bool change = false;
  uid_t uid = 0;
  gid_t gid = 0;
  std::vector<gid_t> groups;
};

Identity identity_of(const ProcessSpec& spec) {
  if (!spec.uid && !spec.gid) return {};
  Identity identity{true, spec.uid.value_or(::geteuid()), spec.gid.value_or(::getegid()), {}};
  identity.change = identity.uid != ::geteuid() || identity.gid != ::getegid();
  struct passwd entry = {};
  struct passwd* found = nullptr;
  std::array<char, 4096> buffer{};
  ::getpwuid_r(identity.uid, &entry, buffer.data(), buffer.size(), &found);
  if (found == nullptr) {
    identity.groups = {identity.gid};
    return identity;
  }
  if (!spec.gid && spec.uid) {
    identity.gid = found->pw_gid;
    identity.change = identity.change || identity.gid != ::getegid();
  }
  int count = 64;
  identity.groups.resize(64);
  if (::getgrouplist(found->pw_name, identity.gid, identity.groups.data(), &count) < 0) {
    identity.groups.resize(static_cast<std::size_t>(count));
    ::getgrouplist(found->pw_name, identity.gid, identity.groups.data(), &count);
  }
  identity.groups.resize(static_cast<std::size_t>(count));
  return identity;
}

std::vector<char*> pointers_to(const std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  pointers.reserve(texts.size() + 1);
  for (const auto& text : texts) pointers.push_back(const_cast<char*>(text.c_str()));
  pointers.push_back(nullptr);
  return pointers;
}

/// Everything the child needs, made before the fork: after it only system calls are allowed, since
/// another thread of ours may have held any lock at that instant.
struct Prepared {
  std::string program;
  std::vector<char*> argv;
  std::vector<char*> env;
  const char* directory = nullptr;
  Identity identity;
  const char* record_file = nullptr;
  Descriptor log;
  Descriptor null;
  Descriptor report;  ///< Write end of the pipe that says why the exec failed.
  pid_t starter = 0;
};

enum class Stage { Setup, OpenRecord, LockRecord, Folder, User, Exec };
struct Report {
  Stage stage = Stage::Setup;
  int code = 0;
};

[[noreturn]] void give_up(int pipe, Stage stage) {
  const Report report{stage, errno};
  // A parent that is gone hears nothing: there is nobody else to tell.
  [[maybe_unused]] const ssize_t written = ::write(pipe, &report, sizeof report);
  ::_exit(127);
}

void close_range_of(unsigned first, unsigned last) {
  if (first > last) return;
  if (::syscall(SYS_close_range, first, last, 0U) == 0) return;
  const auto limit = std::min<unsigned>(last, 65535);  // a kernel before 5.9
  for (unsigned number = first; number <= limit; ++number) ::close(static_cast<int>(number));
}

void close_all_but(int one, int other) {
  const auto low = static_cast<unsigned>(std::min(one, other));
  const auto high = static_cast<unsigned>(std::max(one, other));
  close_range_of(3, low - 1);
  close_range_of(low + 1, high - 1);
  close_range_of(high + 1, ~0U);
}

void reset_signals() {
  struct sigaction action = {};
  action.sa_handler = SIG_DFL;
  for (int number = 1; number < NSIG; ++number) ::sigaction(number, &action, nullptr);
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
}

/// "<pid> <start time>", in one write.
bool write_record(int record) {
  char buffer[1024];
  const int stat = ::open("/proc/self/stat", O_RDONLY | O_CLOEXEC);
  const ssize_t size = stat < 0 ? -1 : ::read(stat, buffer, sizeof buffer);
  if (stat >= 0) ::close(stat);
  StatLine line;
  if (size <= 0 || !parse_stat({buffer, static_cast<std::size_t>(size)}, line)) return false;
  char text[64];
  char* end = std::copy(line.pid.begin(), line.pid.end(), text);
  *end++ = ' ';
  end = std::copy(line.start_time.begin(), line.start_time.end(), end);
  *end++ = '\n';
  const auto length = static_cast<std::size_t>(end - text);
  return ::ftruncate(record, 0) == 0 &&
         ::pwrite(record, text, length, 0) == static_cast<ssize_t>(length);
}

/// Takes the lock here rather than in the parent: there a child of another thread could inherit it
/// and hold it for a moment too long. Returns the descriptor that the program will inherit.
int hold_record(const Prepared& prepared, int report) {
  const int opened = ::open(prepared.record_file, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  const int record = opened < 0 ? -1 : ::fcntl(opened, F_DUPFD, kFirstHighDescriptor);
  if (record < 0) give_up(report, Stage::OpenRecord);
  auto range = whole_file();
  if (::fcntl(record, F_OFD_SETLK, &range) != 0) give_up(report, Stage::LockRecord);
  // Without its starter nobody waits for it: by now another may have been started, and have ended.
  if (::getppid() != prepared.starter) give_up(report, Stage::Setup);
  if (!write_record(record)) give_up(report, Stage::Setup);
  return record;
}

/// Raw system calls: glibc's own versions speak to all threads, of which a forked child has one.
bool become(const Identity& identity) {
  if (!identity.change) return true;
  return ::syscall(SYS_setgroups, identity.groups.size(), identity.groups.data()) == 0 &&
         ::syscall(SYS_setresgid, identity.gid, identity.gid, identity.gid) == 0 &&
         ::syscall(SYS_setresuid, identity.uid, identity.uid, identity.uid) == 0;
}

/// Between fork and exec: async-signal-safe calls only.
[[noreturn]] void run_child(const Prepared& prepared) {
  // All of them out of the way first: ours may be numbered 0, 1 or 2.
  const int report = ::fcntl(prepared.report.get(), F_DUPFD_CLOEXEC, kFirstHighDescriptor);
  if (report < 0) give_up(prepared.report.get(), Stage::Setup);
  const int log = ::fcntl(prepared.log.get(), F_DUPFD, kFirstHighDescriptor);
  const int null = ::fcntl(prepared.null.get(), F_DUPFD, kFirstHighDescriptor);
  if (log < 0 || null < 0 || ::setsid() < 0) give_up(report, Stage::Setup);
  const int record = hold_record(prepared, report);
  if (::dup2(null, 0) < 0 || ::dup2(log, 1) < 0 || ::dup2(log, 2) < 0) {
    give_up(report, Stage::Setup);
  }
  close_all_but(record, report);
  if (!become(prepared.identity)) give_up(report, Stage::User);
  if (prepared.directory[0] != '\0' && ::chdir(prepared.directory) != 0) {
    give_up(report, Stage::Folder);
  }
  reset_signals();
  ::execve(prepared.program.c_str(), prepared.argv.data(), prepared.env.data());
  give_up(report, Stage::Exec);
}

/// No handler of ours may run in the child before it has reset them.
class SignalsHeld {
 public:
  SignalsHeld() {
    sigset_t all;
    sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  ~SignalsHeld() { ::pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  SignalsHeld(const SignalsHeld&) = delete;
  SignalsHeld& operator=(const SignalsHeld&) = delete;

 private:
  sigset_t before_ = {};
};

Result<Prepared> prepare(const ProcessSpec& spec) {
  if (spec.argv.empty()) return Error{ErrorKind::Invalid, "argv is empty"};
  Prepared prepared;
  prepared.program = TRY(find_program(spec));
  prepared.argv = pointers_to(spec.argv);
  prepared.env = pointers_to(spec.env);
  prepared.directory = spec.directory.c_str();
  prepared.identity = identity_of(spec);
  prepared.record_file = spec.record_file.c_str();
  prepared.starter = ::getpid();
  prepared.log =
      Descriptor(::open(spec.log_file.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640));
  if (prepared.log.get() < 0) return failure(errno, "open log file " + spec.log_file);
  prepared.null = Descriptor(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  if (prepared.null.get() < 0) return failure(errno, "open /dev/null");
  return prepared;
}

Error explain(const Report& report, const ProcessSpec& spec, const std::string& program) {
  switch (report.stage) {
    case Stage::OpenRecord: return failure(report.code, "open record file " + spec.record_file);
    case Stage::LockRecord:
      if (report.code != EAGAIN && report.code != EACCES) {
        return failure(report.code, "lock record file " + spec.record_file);
      }
      return {ErrorKind::Conflict,
              spec.record_file + " is locked: " + holder_named_in(spec.record_file)};
    case Stage::Folder: return failure(report.code, "enter " + spec.directory);
    case Stage::User:
      return failure(report.code, "become user " + std::to_string(spec.uid.value_or(::geteuid())));
    case Stage::Exec: return failure(report.code, "run " + program);
    case Stage::Setup: break;
  }
  return {ErrorKind::Unavailable, "prepare the process: " + words_for(report.code)};
}

/// Waits for the exec: the pipe closes by itself when it succeeds.
std::optional<Report> failed_exec(int pipe) {
  Report report;
  ssize_t size = 0;
  do {
    size = ::read(pipe, &report, sizeof report);
  } while (size < 0 && errno == EINTR);
  if (size != static_cast<ssize_t>(sizeof report)) return std::nullopt;
  return report;
}

void reap(pid_t pid, int options) {
  while (::waitpid(pid, nullptr, options) < 0 && errno == EINTR) {
  }
}

}  // namespace

Result<ProcessId> start_process(const ProcessSpec& spec) {
  auto prepared = TRY(prepare(spec));
  int ends[2] = {-1, -1};
  if (::pipe2(ends, O_CLOEXEC) != 0) return failure(errno, "start " + prepared.program);
  const Descriptor outcome(ends[0]);
  prepared.report = Descriptor(ends[1]);

  pid_t pid = -1;
  int code = 0;
  {
    const SignalsHeld held;
    pid = ::fork();
    code = errno;
    if (pid == 0) run_child(prepared);
  }
  if (pid < 0) return Error{ErrorKind::Unavailable, "fork: " + words_for(code)};
  prepared.report.close();
  if (const auto report = failed_exec(outcome.get())) {
    reap(pid, 0);
    return explain(*report, spec, prepared.program);
  }
  // Even if it ended already it is our zombie until reaped, so its line is there.
  const auto life = life_of(pid);
  if (!life) return Error{ErrorKind::Internal, "no /proc entry of " + prepared.program};
  return ProcessId{pid, life->start_time};
}

std::optional<ProcessId> recorded_process(const std::string& record_file) {
  const Descriptor record(::open(record_file.c_str(), O_RDONLY | O_CLOEXEC));
  if (record.get() < 0 || !is_locked(record.get())) return std::nullopt;
  char text[64] = {};
  if (::pread(record.get(), text, sizeof text - 1, 0) <= 0) return std::nullopt;
  long long pid = 0;
  unsigned long long start_time = 0;
  if (std::sscanf(text, "%lld %llu\n", &pid, &start_time) != 2) return std::nullopt;
  const ProcessId process{static_cast<pid_t>(pid), start_time};
  return is_alive(process) ? std::optional(process) : std::nullopt;
}

bool is_alive(const ProcessId& process) {
  const auto life = life_of(process);
  if (life && life->ended()) reap(process.pid, WNOHANG);
  return life && !life->ended();
}

bool signal_group(const ProcessId& process, int signal) {
  const auto life = life_of(process);
  if (!life) return false;
  // Its number cannot be another's while it is a zombie, so what it left behind is signalled too.
  return ::kill(-process.pid, signal) == 0 && !life->ended();
}

}  // namespace stackspec
