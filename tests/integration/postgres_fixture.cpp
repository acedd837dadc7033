// SPDX-License-Identifier: Apache-2.0
#include "integration/postgres_fixture.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <grp.h>
#include <netinet/in.h>
#include <pwd.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <stdexcept>

#include "fakes/eventually.hpp"

namespace stackspec {
namespace {

namespace fs = std::filesystem;

[[noreturn]] void fail(const std::string& what) {
  throw std::runtime_error("PostgreSQL of the tests: " + what);
}

std::vector<char*> pointers(std::vector<std::string>& texts) {
  std::vector<char*> result;
  for (auto& text : texts) result.push_back(text.data());
  result.push_back(nullptr);
  return result;
}

/// Forks and executes as plain_user(); both outputs go to `output`. It dies with this program.
pid_t spawn(std::vector<std::string> argv, const std::map<std::string, std::string>& env,
            const std::string& folder, int output, int death_signal) {
  std::vector<std::string> variables;
  for (const auto& [name, value] : env) variables.push_back(name + "=" + value);
  const auto arguments = pointers(argv);
  const auto environment = pointers(variables);
  const PlainUser user = plain_user();
  const pid_t parent = ::getpid();
  const pid_t pid = ::fork();
  if (pid < 0) fail("fork");
  if (pid > 0) return pid;
  const int none = ::open("/dev/null", O_RDONLY);
  ::dup2(none, 0);
  ::dup2(output, 1);
  ::dup2(output, 2);
  ::closefrom(3);
  if (::geteuid() == 0 &&
      (::setgroups(0, nullptr) != 0 || ::setgid(user.gid) != 0 || ::setuid(user.uid) != 0)) {
    ::_exit(126);
  }
  // After the change of user, which clears it.
  ::prctl(PR_SET_PDEATHSIG, death_signal);
  if (::getppid() != parent || ::chdir(folder.c_str()) != 0) ::_exit(126);
  ::execvpe(arguments[0], arguments.data(), environment.data());
  ::_exit(127);
}

/// Highest major first; PATH's own programs when Debian's folder is not there.
std::string find_programs() {
  std::vector<std::pair<int, std::string>> found;
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator("/usr/lib/postgresql", ignored)) {
    const std::string path = entry.path() / "bin";
    if (!fs::exists(path + "/initdb")) continue;
    found.emplace_back(std::stoi(entry.path().filename().string()), path);
  }
  return found.empty() ? "/usr/bin" : std::max_element(found.begin(), found.end())->second;
}

int free_port() {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  auto* general = static_cast<sockaddr*>(static_cast<void*>(&address));
  const bool ok =
      fd >= 0 && ::bind(fd, general, size) == 0 && ::getsockname(fd, general, &size) == 0;
  ::close(fd);
  if (!ok) fail("no free port");
  return ntohs(address.sin_port);
}

/// The eighth line of postmaster.pid says when clients are let in.
bool is_ready(const std::string& data) {
  std::ifstream file(data + "/postmaster.pid");
  std::string line;
  for (int i = 0; i < 8; ++i) {
    if (!std::getline(file, line)) return false;
  }
  return line.rfind("ready", 0) == 0;
}

std::string text_of(const std::string& path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

}  // namespace

PlainUser plain_user() {
  if (::geteuid() != 0) return {::geteuid(), ::getegid()};
  for (const char* name : {"postgres", "nobody"}) {
    if (const passwd* entry = ::getpwnam(name)) return {entry->pw_uid, entry->pw_gid};
  }
  fail("neither the user postgres nor nobody exists");
}

Finished run_program(const std::vector<std::string>& argv,
                     const std::map<std::string, std::string>& env, const std::string& folder) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) fail("pipe");
  const pid_t pid = spawn(argv, env, folder, ends[1], SIGKILL);
  ::close(ends[1]);
  Finished finished;
  char buffer[4096];
  for (ssize_t got = 0; (got = ::read(ends[0], buffer, sizeof buffer)) > 0;) {
    finished.output.append(buffer, static_cast<std::size_t>(got));
  }
  ::close(ends[0]);
  int status = 0;
  ::waitpid(pid, &status, 0);
  finished.code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return finished;
}

PostgresFixture::PostgresFixture(const std::vector<std::string>& settings)
    : programs_(find_programs()) {
  const PlainUser user = plain_user();
  if (::chown(folder_.path().c_str(), user.uid, user.gid) != 0) fail("chown");
  socket_folder_ = folder_.path();
  const auto made = run_program(
      {programs_ + "/initdb", "-D", folder_ / "data", "-U", "postgres", "--auth-local=trust",
       "--auth-host=scram-sha-256", "-E", "UTF8", "--locale=C", "--no-sync", "--no-instructions"},
      {{"PATH", "/usr/bin:/bin"}}, folder_.path());
  if (made.code != 0) fail("initdb: " + made.output);
  // Another program may take the port between our look and the start.
  for (int attempt = 0; pid_ < 0; ++attempt) {
    if (attempt == 5) fail("does not start: " + text_of(folder_ / "log"));
    start(settings);
  }
  sql("postgres",
      "alter role postgres password '" + password_ + "'; create role twenty login password '" +
          password_ + "'",
      "postgres");
  create_database("default");
}

void PostgresFixture::start(const std::vector<std::string>& settings) {
  port_ = free_port();
  std::vector<std::string> argv = {programs_ + "/postgres", "-D", folder_ / "data"};
  std::vector<std::string> wanted = {"port=" + std::to_string(port_),
                                     "listen_addresses=" + host_,
                                     "unix_socket_directories=" + socket_folder_,
                                     "fsync=off",
                                     "full_page_writes=off",
                                     "shared_buffers=32MB",
                                     "max_connections=60",
                                     "shared_memory_type=mmap",
                                     "dynamic_shared_memory_type=mmap",
                                     "autovacuum=off"};
  wanted.insert(wanted.end(), settings.begin(), settings.end());
  for (const auto& setting : wanted) {
    argv.push_back("-c");
    argv.push_back(setting);
  }
  const int log =
      ::open((folder_ / "log").c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  const pid_t pid = spawn(argv, {{"PATH", "/usr/bin:/bin"}}, folder_.path(), log, SIGQUIT);
  ::close(log);
  bool ended = false;
  const bool ready = eventually([&] {
    ended = ::waitpid(pid, nullptr, WNOHANG) != 0;
    return ended || is_ready(folder_ / "data");
  });
  if (ready && !ended) {
    pid_ = pid;
  } else if (!ended) {
    ::kill(pid, SIGQUIT);
    ::waitpid(pid, nullptr, 0);
  }
}

void PostgresFixture::limit_files(long bytes) const {
  // New backends inherit it; the postmaster's own files are small. Root in a container may not
  // change the limits of other users' processes, so the server's own user does.
  const std::string limit = bytes < 0 ? "unlimited" : std::to_string(bytes);
  const Finished done =
      run_program({"prlimit", "--pid", std::to_string(pid_), "--fsize=" + limit + ":"},
                  {{"PATH", "/usr/bin:/bin"}}, "/");
  if (done.code != 0) throw std::runtime_error("prlimit: " + done.output);
}

PostgresFixture::~PostgresFixture() {
  if (pid_ <= 0) return;
  ::kill(pid_, SIGQUIT);
  ::waitpid(pid_, nullptr, 0);
}

std::string PostgresFixture::url(const std::string& database) const {
  return "postgres://twenty:" + password_ + "@" + host_ + ":" + std::to_string(port_) + "/" +
         database;
}

std::map<std::string, std::string> PostgresFixture::environment(const std::string& database) const {
  return {{"PGHOST", host_},        {"PGPORT", std::to_string(port_)},
          {"PGUSER", "twenty"},     {"PGPASSWORD", password_},
          {"PGDATABASE", database}, {"PATH", programs_ + ":/usr/local/bin:/usr/bin:/bin"}};
}

void PostgresFixture::create_database(const std::string& name) {
  sql("postgres", "create database \"" + name + "\" owner twenty", "postgres");
}

std::string PostgresFixture::sql(const std::string& database, const std::string& statements,
                                 const std::string& user) const {
  auto env = environment(database);
  env["PGUSER"] = user;
  env["PGHOST"] = socket_folder_;
  const auto done = run_program(
      {programs_ + "/psql", "-XqAt", "-v", "ON_ERROR_STOP=1", "-c", statements}, env, "/");
  if (done.code != 0) throw std::runtime_error("SQL failed: " + done.output);
  std::string text = done.output;
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

}  // namespace stackspec
