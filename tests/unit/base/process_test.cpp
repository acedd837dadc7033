// SPDX-License-Identifier: Apache-2.0
#include "base/process.hpp"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <random>
#include <sstream>
#include <thread>

#include "base/file.hpp"
#include "fakes/eventually.hpp"
#include "fakes/temp_folder.hpp"

namespace stackspec {

/// What this program does when it is started as `process_test --start <folder> <token>`: the
/// controller that a test kills.
int start_and_wait(const std::string& folder, const std::string& token);

namespace {

/// A shell that runs `script`; `token` makes it recognisable in /proc.
ProcessSpec shell(const std::string& folder, const std::string& script,
                  const std::string& token = "token") {
  return {.argv = {"/bin/sh", "-c", script, token},
          .env = {"PATH=/usr/bin:/bin"},
          .directory = folder,
          .log_file = folder + "/log",
          .record_file = folder + "/record"};
}

std::string log_of(const TempFolder& folder) {
  const auto text = read_file(folder / "log");
  return text ? *text : std::string();
}

bool ends(const ProcessId& process) {
  return eventually([&] { return !is_alive(process); });
}

void end(const ProcessId& process) {
  signal_group(process, SIGKILL);
  EXPECT_TRUE(ends(process));
}

/// Of a file that may vanish while it is read, as those of /proc do: an iterator would throw then.
std::string text_of(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

/// The identity of a process that some script told us the number of.
ProcessId identify(pid_t pid) {
  const std::string text = text_of("/proc/" + std::to_string(pid) + "/stat");
  if (text.empty()) return {};
  std::istringstream fields(text.substr(text.rfind(')') + 1));
  std::string skipped;
  for (int i = 0; i < 19; ++i) fields >> skipped;
  ProcessId id{pid, 0};
  fields >> id.start_time;
  return id;
}

/// Waits until the log has a line that is only a number, and returns it.
pid_t number_in_log(const TempFolder& folder) {
  pid_t number = 0;
  EXPECT_TRUE(eventually([&] {
    const std::string text = log_of(folder);
    if (text.find('\n') == std::string::npos) return false;
    number = static_cast<pid_t>(std::stol(text));
    return true;
  }));
  return number;
}

int living_with(const std::string& token) {
  int count = 0;
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    const std::string line = text_of(entry.path() / "cmdline");
    if (line.find(token) != std::string::npos && line.rfind("/bin/sh", 0) == 0) ++count;
  }
  return count;
}

pid_t run_starter(const TempFolder& folder, const std::string& token) {
  const pid_t pid = ::fork();
  if (pid == 0) {
    ::execl("/proc/self/exe", "process_test", "--start", folder.path().c_str(), token.c_str(),
            nullptr);
    ::_exit(127);
  }
  return pid;
}

void kill_child(pid_t pid) {
  ::kill(pid, SIGKILL);
  ::waitpid(pid, nullptr, 0);
}

TEST(Process, GivesTheProgramItsEnvironmentFolderAndLogAndNothingElse) {
  const TempFolder folder;
  ::signal(SIGPIPE, SIG_IGN);
  sigset_t some;
  sigset_t before;
  sigemptyset(&some);
  sigaddset(&some, SIGTERM);
  ::pthread_sigmask(SIG_BLOCK, &some, &before);
  auto spec = shell(
      folder.path(),
      "pwd; echo COLOUR=$COLOUR HOME=$HOME; wc -c; echo wrong >&2; "
      "grep -E 'Sig(Blk|Ign)' /proc/self/status; for fd in /proc/$$/fd/*; do readlink $fd; done");
  spec.env.push_back("COLOUR=green");
  const auto process = start_process(spec);
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  ASSERT_TRUE(process) << process.error().message;
  ASSERT_TRUE(ends(*process));

  const std::string log = log_of(folder);
  EXPECT_NE(log.find(folder.path() + "\n"), std::string::npos) << log;
  EXPECT_NE(log.find("COLOUR=green HOME=\n"), std::string::npos) << log;
  EXPECT_NE(log.find("\n0\nwrong\n"), std::string::npos) << "stdin is not empty: " << log;
  EXPECT_NE(log.find("SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000"), std::string::npos)
      << log;
  const std::string open =
      "/dev/null\n" + (folder / "log\n") + (folder / "record\n") + (folder / "log\n");
  EXPECT_NE(log.find("\n" + open), std::string::npos)
      << "only stdin, stdout, stderr and the lock: " << log;
  EXPECT_EQ(log.substr(log.size() - open.size()), open) << log;
  EXPECT_EQ(std::filesystem::status(folder / "log").permissions() & std::filesystem::perms::all,
            std::filesystem::perms(0640));
}

TEST(Process, SecondStartIsRefusedWhileTheFirstLives) {
  const TempFolder folder;
  const auto first = start_process(shell(folder.path(), "exec sleep 1000"));
  ASSERT_TRUE(first) << first.error().message;
  EXPECT_EQ(recorded_process(folder / "record"), *first);
  const auto second = start_process(shell(folder.path(), "echo second"));
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().kind, ErrorKind::Conflict);
  EXPECT_NE(second.error().message.find(std::to_string(first->pid)), std::string::npos);
  end(*first);
  EXPECT_EQ(recorded_process(folder / "record"), std::nullopt);

  const auto third = start_process(shell(folder.path(), "exec sleep 1000"));
  ASSERT_TRUE(third) << third.error().message;
  EXPECT_EQ(recorded_process(folder / "record"), *third);
  end(*third);
  EXPECT_EQ(log_of(folder), "");
}

TEST(Process, OfTwoStartsAtOnceOneWins) {
  for (int round = 0; round < 10; ++round) {
    const TempFolder folder;
    std::atomic<int> won = 0;
    std::atomic<int> refused = 0;
    {
      std::vector<std::jthread> starters;
      for (int i = 0; i < 4; ++i) {
        starters.emplace_back([&] {
          const auto process = start_process(shell(folder.path(), "exec sleep 1000"));
          if (process) ++won;
          if (!process && process.error().kind == ErrorKind::Conflict) ++refused;
        });
      }
    }
    EXPECT_EQ(won, 1);
    EXPECT_EQ(refused, 3);
    const auto process = recorded_process(folder / "record");
    ASSERT_TRUE(process);
    end(*process);
  }
}

TEST(Process, WhatCannotRunIsNamedAndLeavesNothingBehind) {
  const TempFolder folder;
  std::ofstream(folder / "not-executable") << "#!/bin/sh\n";
  std::ofstream(folder / "no-interpreter") << "#!/no/such/interpreter\n";
  std::filesystem::permissions(folder / "no-interpreter", std::filesystem::perms(0755));
  const struct {
    const char* name;
    std::string program;
    std::string directory;
    ErrorKind kind;
    std::string named;
  } rows[] = {
      {"absolute", "/no/such/program", "", ErrorKind::NotFound, "/no/such/program"},
      {"in PATH", "no-such-program", "", ErrorKind::NotFound, "no-such-program"},
      {"interpreter", folder / "no-interpreter", "", ErrorKind::NotFound, "no-interpreter"},
      {"mode", folder / "not-executable", "", ErrorKind::Forbidden, "not-executable"},
      {"folder", "sh", "/no/such/folder", ErrorKind::NotFound, "/no/such/folder"},
  };
  for (const auto& row : rows) {
    SCOPED_TRACE(row.name);
    auto spec = shell(folder.path(), "");
    spec.argv = {row.program};
    spec.directory = row.directory;
    const auto process = start_process(spec);
    ASSERT_FALSE(process);
    EXPECT_EQ(process.error().kind, row.kind) << process.error().message;
    EXPECT_NE(process.error().message.find(row.named), std::string::npos)
        << process.error().message;
    EXPECT_EQ(recorded_process(folder / "record"), std::nullopt);
    EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG), -1) << "a child was left unreaped";
  }
  auto spec = shell(folder.path(), "");
  spec.argv.clear();
  EXPECT_EQ(start_process(spec).error().kind, ErrorKind::Invalid);
  spec = shell(folder.path(), "");
  spec.log_file = "/no/such/folder/log";
  EXPECT_EQ(start_process(spec).error().kind, ErrorKind::NotFound);
  spec = shell(folder.path(), "");
  spec.record_file = "/no/such/folder/record";
  EXPECT_EQ(start_process(spec).error().kind, ErrorKind::NotFound);
  const auto process = start_process(shell(folder.path(), "exec sleep 1000"));
  ASSERT_TRUE(process) << "a failed start kept the lock";
  end(*process);
}

TEST(Process, SignalReachesGrandchildren) {
  const TempFolder folder;
  const auto process = start_process(shell(folder.path(), "sleep 1000 & echo $!; wait"));
  ASSERT_TRUE(process);
  const ProcessId grandchild = identify(number_in_log(folder));
  ASSERT_TRUE(is_alive(grandchild));
  EXPECT_TRUE(signal_group(*process, SIGTERM));
  EXPECT_TRUE(ends(*process));
  EXPECT_TRUE(ends(grandchild));
  EXPECT_FALSE(signal_group(*process, SIGTERM));
}

TEST(Process, ZombieIsNotAliveAndIsReaped) {
  const TempFolder folder;
  const auto process = start_process(shell(folder.path(), "exit 3"));
  ASSERT_TRUE(process);
  ASSERT_TRUE(ends(*process));
  EXPECT_EQ(::kill(process->pid, 0), -1) << "still a zombie";
  EXPECT_EQ(recorded_process(folder / "record"), std::nullopt);
}

TEST(Process, WhatAZombieLeftInItsGroupIsSignalled) {
  const TempFolder folder;
  const auto process = start_process(shell(folder.path(), "sleep 1000 & echo $!"));
  ASSERT_TRUE(process);
  const ProcessId left = identify(number_in_log(folder));
  ASSERT_TRUE(eventually([&] {
    siginfo_t info = {};
    return ::waitid(P_PID, static_cast<id_t>(process->pid), &info, WEXITED | WNOWAIT | WNOHANG) ==
               0 &&
           info.si_pid == process->pid;
  }));
  EXPECT_FALSE(signal_group(*process, SIGKILL)) << "it had ended";
  EXPECT_TRUE(ends(left));
  EXPECT_TRUE(ends(*process));
}

TEST(Process, LaterProcessWithTheSameNumberIsNotConfused) {
  const TempFolder folder;
  const auto process = start_process(shell(folder.path(), "exec sleep 1000"));
  ASSERT_TRUE(process);
  const ProcessId earlier{process->pid, process->start_time - 1};
  EXPECT_FALSE(is_alive(earlier));
  EXPECT_FALSE(signal_group(earlier, SIGKILL));
  EXPECT_TRUE(is_alive(*process));

  // The lock is held by it, but the record is of the earlier one.
  std::ofstream(folder / "record") << earlier.pid << ' ' << earlier.start_time << '\n';
  EXPECT_EQ(recorded_process(folder / "record"), std::nullopt);
  end(*process);
}

TEST(Process, RecordWithoutItsLockIsNotBelieved) {
  const TempFolder folder;
  const ProcessId self = identify(::getpid());
  ASSERT_TRUE(is_alive(self));
  for (const auto& text : {std::to_string(self.pid) + " " + std::to_string(self.start_time) + "\n",
                           std::string(), std::string("nonsense"), std::string("-1 5\n")}) {
    std::ofstream(folder / "record", std::ios::trunc) << text;
    EXPECT_EQ(recorded_process(folder / "record"), std::nullopt) << text;
  }
  EXPECT_EQ(recorded_process(folder / "nothing"), std::nullopt);
}

TEST(Process, DescendantKeepsTheLockAfterItsParentEnded) {
  const TempFolder folder;
  const auto process = start_process(shell(folder.path(), "setsid sleep 1000 & echo $!"));
  ASSERT_TRUE(process);
  const ProcessId descendant = identify(number_in_log(folder));
  ASSERT_TRUE(ends(*process));
  EXPECT_EQ(recorded_process(folder / "record"), std::nullopt);
  EXPECT_EQ(start_process(shell(folder.path(), "true")).error().kind, ErrorKind::Conflict);
  ASSERT_EQ(::kill(descendant.pid, SIGKILL), 0);
  ASSERT_TRUE(ends(descendant));
  const auto next = start_process(shell(folder.path(), "true"));
  ASSERT_TRUE(next) << next.error().message;
  EXPECT_TRUE(ends(*next));
}

TEST(Process, IsAdoptedAfterItsStarterWasKilled) {
  const TempFolder folder;
  const pid_t starter = run_starter(folder, "adopted");
  ASSERT_TRUE(eventually([&] { return recorded_process(folder / "record").has_value(); }));
  const auto process = recorded_process(folder / "record");
  kill_child(starter);
  ASSERT_TRUE(process);
  EXPECT_EQ(recorded_process(folder / "record"), *process);
  EXPECT_EQ(start_process(shell(folder.path(), "true")).error().kind, ErrorKind::Conflict);
  EXPECT_TRUE(signal_group(*process, SIGTERM));
  // Whether PID 1 reaps it or not.
  EXPECT_TRUE(ends(*process));
  EXPECT_EQ(recorded_process(folder / "record"), std::nullopt);
}

TEST(Process, StarterKilledAtAnyInstantNeverLeadsToTwo) {
  std::mt19937 random(7);
  for (int round = 0; round < 25; ++round) {
    const TempFolder folder;
    const std::string token = "once-" + std::to_string(::getpid()) + "-" + std::to_string(round);
    const pid_t starter = run_starter(folder, token);
    const auto delay = std::chrono::microseconds(random() % 30000);
    const auto until = std::chrono::steady_clock::now() + delay;
    while (std::chrono::steady_clock::now() < until) std::this_thread::yield();
    kill_child(starter);
    // What the next controller does: adopt, or start; a child still on its way to exec holds the
    // lock, and then it shows up.
    std::optional<ProcessId> process;
    ASSERT_TRUE(eventually([&] {
      process = recorded_process(folder / "record");
      if (process) return true;
      const auto started = start_process(shell(folder.path(), "sleep 1000; true", token));
      if (started) process = *started;
      return started.has_value();
    }));
    // For an instant the shell itself is two: when it forks to run its command.
    EXPECT_TRUE(eventually([&] { return living_with(token) == 1; })) << living_with(token);
    end(*process);
    EXPECT_TRUE(eventually([&] { return living_with(token) == 0; })) << living_with(token);
  }
}

TEST(Process, BecomesTheUserAsked) {
  const TempFolder folder;
  const bool root = ::geteuid() == 0;
  auto spec = shell(folder.path(), "id -u; id -g; id -G");
  spec.uid = root ? 65534 : ::geteuid();
  spec.gid = root ? 65534 : ::getegid();
  spec.directory = "/";
  const auto process = start_process(spec);
  ASSERT_TRUE(process) << process.error().message;
  ASSERT_TRUE(ends(*process));
  std::istringstream log(log_of(folder));
  std::string uid, gid, groups;
  std::getline(log, uid);
  std::getline(log, gid);
  std::getline(log, groups);
  EXPECT_EQ(uid, std::to_string(*spec.uid));
  EXPECT_EQ(gid, std::to_string(*spec.gid));
  if (root) {
    EXPECT_EQ(groups, "65534") << "root's own groups must not stay";
  }
}

TEST(Process, ManyThreadsMayStartAtOnce) {
  const TempFolder folder;
  std::atomic<int> started = 0;
  std::atomic<bool> done = false;
  {
    std::jthread allocating([&] {
      while (!done) std::vector<std::string>(100, std::string(100, 'x')).clear();
    });
    std::vector<std::jthread> starters;
    for (int i = 0; i < 4; ++i) {
      starters.emplace_back([&, i] {
        for (int n = 0; n < 10; ++n) {
          auto spec = shell(folder.path(), "true");
          spec.record_file += std::to_string(i);
          const auto process = start_process(spec);
          if (process && ends(*process)) ++started;
        }
      });
    }
    starters.clear();
    done = true;
  }
  EXPECT_EQ(started, 40);
}

}  // namespace

int start_and_wait(const std::string& folder, const std::string& token) {
  if (!start_process(shell(folder, "sleep 1000; true", token))) return 1;
  ::pause();
  return 0;
}

}  // namespace stackspec

int main(int argc, char** argv) {
  if (argc == 4 && std::string(argv[1]) == "--start") {
    return stackspec::start_and_wait(argv[2], argv[3]);
  }
  testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
