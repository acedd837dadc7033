// SPDX-License-Identifier: Apache-2.0
#include "integration/standin/standin_world.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <grp.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <sstream>
#include <stdexcept>

#include "fakes/eventually.hpp"

namespace stackspec {
namespace {

using Args = std::vector<std::string>;

std::vector<char*> pointers(std::vector<std::string>& texts) {
  std::vector<char*> result;
  for (auto& text : texts) result.push_back(text.data());
  result.push_back(nullptr);
  return result;
}

/// Becomes plain_user() and dies with the parent; does not return on success.
void execute(char* const* argv, char* const* env, const std::string& folder, int output,
             pid_t parent, PlainUser user) {
  ::dup2(::open("/dev/null", O_RDONLY), 0);
  ::dup2(output, 1);
  ::dup2(output, 2);
  ::closefrom(3);
  const bool root = ::geteuid() == 0;
  if (root &&
      (::setgroups(0, nullptr) != 0 || ::setgid(user.gid) != 0 || ::setuid(user.uid) != 0)) {
    return;
  }
  // After the change of user, which clears it.
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent || ::chdir(folder.c_str()) != 0) return;
  ::execvpe(argv[0], argv, env);
}

void expect_done(const Finished& done, const std::string& what) {
  if (done.code != 0) throw std::runtime_error(what + ": " + done.output);
}

/// Fifty databases are made and removed: on a busy disk that takes longer than all else.
void prefer_memory() {
  std::error_code failed;
  const auto space = std::filesystem::space("/dev/shm", failed);
  if (!failed && space.available > (std::uintmax_t{4} << 30)) ::setenv("TMPDIR", "/dev/shm", 0);
}

}  // namespace

Running::Running(const Args& argv, const Environment& env, const std::string& folder,
                 std::string log)
    : log_(std::move(log)) {
  Args words = argv, variables;
  for (const auto& [name, value] : env) variables.push_back(name + "=" + value);
  const auto arguments = pointers(words);
  const auto environment = pointers(variables);
  const PlainUser user = plain_user();
  const pid_t parent = ::getpid();
  const int output = ::open(log_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  pid_ = ::fork();
  if (pid_ == 0) {
    execute(arguments.data(), environment.data(), folder, output, parent, user);
    ::_exit(127);
  }
  ::close(output);
}

Running::~Running() {
  if (code_ < 0) end(SIGKILL);
}

std::string Running::log() const {
  std::ifstream file(log_);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

bool Running::logs(const std::string& phrase) const {
  return eventually([&] { return log().find(phrase) != std::string::npos; });
}

int Running::end(int signal) {
  if (code_ >= 0) return code_;
  if (signal != 0) ::kill(pid_, signal);
  int status = 0;
  if (!eventually([&] { return ::waitpid(pid_, &status, WNOHANG) == pid_; })) return -1;
  code_ = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return code_;
}

Answer http(const std::string& method, int port, const std::string& path, const std::string& body,
            const std::string& header) {
  Args argv = {"curl", "-s", "--noproxy", "*", "-m", "10", "-X", method, "-w", "\n%{http_code}"};
  if (!body.empty()) argv.insert(argv.end(), {"--data-binary", body});
  if (!header.empty()) argv.insert(argv.end(), {"-i", "-H", header});
  argv.push_back("http://127.0.0.1:" + std::to_string(port) + path);
  const Finished done = run_program(argv, {{"PATH", "/usr/bin:/bin"}}, "/");
  const auto line = done.output.rfind('\n');
  if (line == std::string::npos) return {};
  return {std::atoi(done.output.c_str() + line + 1), done.output.substr(0, line)};
}

StandinWorld& StandinWorld::get() {
  prefer_memory();
  static StandinWorld world;
  return world;
}

StandinWorld::StandinWorld() {
  const std::string script = STACKSPEC_SOURCE_DIR "/tests/standin/make-releases";
  const PlainUser user = plain_user();
  for (const auto* folder : {&releases_, &files_}) ::chmod(folder->path().c_str(), 0755);
  if (::chown(files_.path().c_str(), user.uid, user.gid) != 0) throw std::runtime_error("chown");
  // As ourselves: the point is that another user can run what we made.
  if (std::system((script + " " + releases_.path()).c_str()) != 0) {
    throw std::runtime_error("make-releases failed");
  }
  make_states();
}

void StandinWorld::keep(const std::string& from, const std::string& state) {
  postgres_.sql("postgres",
                "create database \"state-" + state + "\" template \"" + from + "\" owner twenty",
                "postgres");
}

void StandinWorld::make_states() {
  const std::string one = database();
  expect_done(run("v1.14.0", one, {"true"}, kMigrationsOn), "install 1.14");
  keep(one, "1.14-fresh");
  postgres_.sql(one, R"(insert into core.workspace ("displayName", "activationStatus")
                        values ('Acme', 'PENDING_CREATION'))");
  keep(one, "1.14-onboarding");
  postgres_.sql(one, "delete from core.workspace");
  add_workspaces("v1.14.0", one, "1");
  keep(one, "1.14");
  for (const char* tag : {"v1.15.4", "v1.16.6", "v1.17.4"}) {
    expect_done(run(tag, one, {"yarn", "command:prod", "upgrade"}), tag);
    keep(one, std::string(tag).substr(1, 4));
  }
  const std::string two = database("1.14");
  add_workspaces("v1.14.0", two, "1");
  expect_done(run("v1.15.4", two, {"yarn", "command:prod", "upgrade"}), "1.15");
  keep(two, "1.15-two");
  postgres_.sql(two, R"(update core.workspace set version = '1.14.0' where id =
                        (select max(id::text)::uuid from core.workspace))");
  keep(two, "1.15-one-old");
  postgres_.sql(two, R"(update core.workspace set version = null where version = '1.14.0')");
  keep(two, "1.15-one-null");
  const std::string cursor = database();
  expect_done(run("v2.19.0", cursor, {"true"}, kMigrationsOn), "install 2.19");
  add_workspaces("v2.19.0", cursor, "1");
  keep(cursor, "2.19");
}

std::string StandinWorld::add_workspaces(const std::string& tag, const std::string& database,
                                         const std::string& count) {
  const Finished done =
      run_program({STACKSPEC_SOURCE_DIR "/tests/standin/seed", release(tag), count, "2"},
                  environment(tag, database), "/");
  expect_done(done, "seed");
  return done.output;
}

Environment StandinWorld::environment(const std::string& tag, const std::string& database,
                                      const Environment& extra) const {
  Environment env = extra;
  std::ifstream image(release(tag) + "/image.env");
  for (std::string line; std::getline(image, line);) {
    env.emplace(line.substr(0, line.find('=')), line.substr(line.find('=') + 1));
  }
  const Environment component = {
      {"PATH", release(tag) + "/bin:/usr/bin:/bin"},
      {"PG_DATABASE_URL", postgres_.url(database)},
      {"REDIS_URL", "redis://127.0.0.1:" + std::to_string(redis_.port())},
      {"APP_SECRET", "not-a-secret"},
      {"STORAGE_LOCAL_PATH", files_ / ("storage-" + database)},
      {"STANDIN_DATABASE_SECONDS", "0.2"},
      {"DISABLE_DB_MIGRATIONS", "true"},
      {"DISABLE_CRON_JOBS_REGISTRATION", "true"}};
  env.insert(component.begin(), component.end());
  return env;
}

Finished StandinWorld::run(const std::string& tag, const std::string& database, const Args& args,
                           const Environment& extra) const {
  Args argv = {release(tag) + "/entrypoint.sh"};
  argv.insert(argv.end(), args.begin(), args.end());
  return run_program(argv, environment(tag, database, extra), work(tag));
}

std::unique_ptr<Running> StandinWorld::start(const std::string& tag, const std::string& database,
                                             const Args& args, const Environment& extra) {
  Args argv = {release(tag) + "/entrypoint.sh"};
  argv.insert(argv.end(), args.begin(), args.end());
  return std::make_unique<Running>(argv, environment(tag, database, extra), work(tag),
                                   files_ / ("log-" + std::to_string(++number_)));
}

Environment StandinWorld::faults(const std::string& json) {
  const std::string path = files_ / ("faults-" + std::to_string(++number_));
  std::ofstream(path) << json;
  return {{"STANDIN_FAULTS", path}};
}

std::string StandinWorld::database(const std::string& state) {
  const std::string name = "d" + std::to_string(++number_);
  const std::string from = state.empty() ? "" : " template \"state-" + state + "\"";
  postgres_.sql("postgres", "create database " + name + from + " owner twenty", "postgres");
  return name;
}

int StandinWorld::free_port() {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  auto* general = static_cast<sockaddr*>(static_cast<void*>(&address));
  const bool ok = ::bind(fd, general, size) == 0 && ::getsockname(fd, general, &size) == 0;
  ::close(fd);
  if (!ok) throw std::runtime_error("no free port");
  return ntohs(address.sin_port);
}

std::string versions(const std::string& database) {
  return StandinWorld::get().postgres().sql(
      database, "select string_agg(coalesce(version, '-'), ' ' order by id) from core.workspace");
}

int migrations(const std::string& database) {
  return std::stoi(StandinWorld::get().postgres().sql(
      database, "select count(*) from core._typeorm_migrations"));
}

bool identifiers_not_null(const std::string& database) {
  return StandinWorld::get().postgres().sql(
             database,
             "select attnotnull from pg_attribute where attrelid = 'core.\"fieldMetadata\"'"
             "::regclass and attname = 'universalIdentifier'") == "t";
}

}  // namespace stackspec
