// SPDX-License-Identifier: Apache-2.0
#include "platform/local/folders.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pwd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>
#include <set>

#include "base/file.hpp"
#include "base/log.hpp"

namespace stackspec::local {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kLogLimit = 10U << 20U;
// Below the range Linux takes for outgoing connections, so that no client socket can sit on a
// remembered port while its owner restarts.
constexpr int kFirstPort = 15000;
constexpr int kLastPort = 32000;

constexpr std::array<const char*, 7> kPortNames = {
    "postgres", "redis", "server", "fundraising", "gateway", "gatewayClosed", "gatewayPrivate"};

Error system_error(const std::string& what, const std::string& path) {
  const int number = errno;
  const ErrorKind kind =
      number == EACCES || number == EPERM ? ErrorKind::Forbidden : ErrorKind::Unavailable;
  return {kind, what + " " + path + ": " + std::strerror(number)};
}

bool may_enter(const struct stat& info, const RunAs& user) {
  if (info.st_uid == *user.uid) return (info.st_mode & S_IXUSR) != 0;
  if (info.st_gid == *user.gid) return (info.st_mode & S_IXGRP) != 0;
  return (info.st_mode & S_IXOTH) != 0;
}

bool port_is_free(int port) {
  const int descriptor = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (descriptor < 0) return false;
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const bool free =
      ::bind(descriptor, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
  ::close(descriptor);
  return free;
}

std::set<int> remembered_ports(const std::string& data_folder) {
  std::set<int> ports;
  std::error_code failed;
  for (const auto& entry : fs::directory_iterator(data_folder + "/stacks", failed)) {
    const auto stored = read_json(entry.path().string() + "/ports.json");
    if (!stored || !stored->is_object()) continue;
    for (const auto& [name, port] : stored->items()) {
      if (port.is_number_integer()) ports.insert(port.get<int>());
    }
  }
  return ports;
}

Result<nlohmann::json> choose_ports(const std::string& data_folder) {
  std::set<int> taken = remembered_ports(data_folder);
  std::random_device seed;
  std::uniform_int_distribution<int> any(kFirstPort, kLastPort);
  nlohmann::json ports = nlohmann::json::object();
  for (const char* name : kPortNames) {
    int port = 0;
    for (int attempt = 0; attempt < 1000 && port == 0; ++attempt) {
      const int candidate = any(seed);
      if (taken.count(candidate) == 0 && port_is_free(candidate)) port = candidate;
    }
    if (port == 0) {
      return Error{ErrorKind::Unavailable, "no free loopback port between " +
                                               std::to_string(kFirstPort) + " and " +
                                               std::to_string(kLastPort)};
    }
    taken.insert(port);
    ports[name] = port;
  }
  return ports;
}

}  // namespace

Result<RunAs> find_run_as(const std::string& name) {
  const uid_t self = ::geteuid();
  if (name.empty() && self != 0) return RunAs{"the controller's user", {}, {}};
  const std::string wanted = name.empty() ? "nobody" : name;
  const passwd* entry = ::getpwnam(wanted.c_str());
  if (entry == nullptr) return Error{ErrorKind::Invalid, "there is no user " + wanted};
  if (entry->pw_uid == 0) {
    return Error{ErrorKind::Invalid, "run-as must not be root: PostgreSQL refuses to run as root"};
  }
  if (entry->pw_uid == self) return RunAs{wanted, {}, {}};
  if (self != 0) {
    return Error{ErrorKind::Invalid, "only root can run processes as " + wanted};
  }
  return RunAs{wanted, entry->pw_uid, entry->pw_gid};
}

Result<void> check_reachable(const std::string& folder, const RunAs& user) {
  if (!user.uid) return {};
  fs::path so_far;
  for (const auto& part : fs::absolute(folder).lexically_normal()) {
    so_far /= part;
    struct stat info {};
    if (::stat(so_far.c_str(), &info) != 0) return {};  // Not there yet: ours to make.
    if (S_ISDIR(info.st_mode) && !may_enter(info, user)) {
      return Error{ErrorKind::Invalid, "user " + user.name + " cannot enter " + so_far.string() +
                                           "; chmod o+x " + so_far.string() +
                                           ", choose another folder, or run as its owner"};
    }
  }
  return {};
}

Result<void> make_folder(const std::string& folder, mode_t mode) {
  const fs::path parent = fs::path(folder).parent_path();
  if (!parent.empty() && !path_exists(parent.string())) TRY(make_folder(parent.string(), 0711));
  if (::mkdir(folder.c_str(), 0700) == 0) {
    // Not by mkdir's mode: the umask would decide.
    if (::chmod(folder.c_str(), mode) != 0) return system_error("chmod", folder);
    return {};
  }
  if (errno != EEXIST) return system_error("create folder", folder);
  return {};
}

Result<void> make_folder_of(const std::string& folder, mode_t mode, const RunAs& user) {
  const bool existed = path_exists(folder);
  TRY(make_folder(folder, mode));
  if (!user.uid) return {};
  struct stat info {};
  if (::stat(folder.c_str(), &info) != 0) return system_error("look at", folder);
  if (info.st_uid == *user.uid) return {};
  if (existed && !fs::is_empty(folder)) {
    return Error{ErrorKind::Invalid, "folder " + folder + " does not belong to user " + user.name +
                                         "; run as the user it belongs to, or chown -R " +
                                         user.name + " " + folder};
  }
  if (::chown(folder.c_str(), *user.uid, *user.gid) != 0) return system_error("chown", folder);
  return {};
}

StackFolder::StackFolder(const std::string& data_folder, const StackKey& key)
    : root_(data_folder + "/stacks/" + key.ns + "." + key.name) {}

std::string StackFolder::told(Component component) const {
  return of("wanted/" + std::string(to_string(component)) + ".json");
}
std::string StackFolder::started(Component component) const {
  return of("run/" + std::string(to_string(component)) + ".json");
}
std::string StackFolder::stopping(Component component) const {
  return of("run/" + std::string(to_string(component)) + ".stopping");
}
std::string StackFolder::exit_note(Component component) const {
  return of("run/" + std::string(to_string(component)) + ".exit");
}
std::string StackFolder::record(Component component) const {
  return of("run/" + std::string(to_string(component)) + ".record");
}
std::string StackFolder::log(Component component) const {
  return of("log/" + std::string(to_string(component)) + ".log");
}

std::string StackFolder::backups(const StackSpec& spec) const {
  return spec.backup.path.empty() ? of("backups") : spec.backup.path;
}

bool StackFolder::exists() const {
  return path_exists(root_);
}

Result<void> StackFolder::make(const RunAs& user) const {
  TRY(make_folder(root_, 0711));
  for (const char* name : {"wanted", "run", "log"}) TRY(make_folder(of(name), 0700));
  TRY(make_folder(tasks(), 0711));
  for (const char* name : {"postgres", "redis", "gateway", "storage", "home", "backups"}) {
    TRY(make_folder_of(of(name), 0700, user));
  }
  return {};
}

Result<Endpoints> stack_endpoints(const std::string& data_folder, const StackFolder& folder,
                                  const StackSpec& spec) {
  auto stored = read_json(folder.ports());
  if (!stored) {
    stored = TRY(choose_ports(data_folder));
    TRY(write_json(folder.ports(), *stored));
  }
  const auto port = [&](const char* name) {
    return stored->is_object() ? stored->value(name, 0) : 0;
  };
  Endpoints endpoints;
  endpoints.postgres_host = endpoints.redis_host = endpoints.server_host = "127.0.0.1";
  endpoints.fundraising_host = endpoints.gateway_host = "127.0.0.1";
  endpoints.postgres_port = port("postgres");
  endpoints.redis_port = port("redis");
  endpoints.server_port = port("server");
  endpoints.fundraising_port = port("fundraising");
  endpoints.gateway_port = spec.gateway.port != 0 ? spec.gateway.port : port("gateway");
  endpoints.gateway_closed_port = port("gatewayClosed");
  endpoints.gateway_private_port = port("gatewayPrivate");
  endpoints.storage_path = folder.of("storage");
  endpoints.backups_path = folder.backups(spec);
  return endpoints;
}

std::optional<nlohmann::json> read_json(const std::string& path) {
  const auto text = read_file(path);
  if (!text) return {};
  auto value = nlohmann::json::parse(*text, nullptr, false);
  if (value.is_discarded()) return {};
  return value;
}

Result<void> write_json(const std::string& path, const nlohmann::json& value) {
  const std::string text =
      value.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
  return write_file_atomically(path, text, 0600);
}

bool path_exists(const std::string& path) {
  return ::access(path.c_str(), F_OK) == 0;
}

std::string tail_of(const std::string& path, std::size_t bytes) {
  std::ifstream file(path, std::ios::binary | std::ios::ate);
  if (!file) return {};
  const auto size = static_cast<std::size_t>(std::max<std::streamoff>(file.tellg(), 0));
  const std::size_t start = size > bytes ? size - bytes : 0;
  std::string text(size - start, '\0');
  file.seekg(static_cast<std::streamoff>(start));
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<std::size_t>(std::max<std::streamsize>(file.gcount(), 0)));
  const auto line_end = start == 0 ? std::string::npos : text.find('\n');
  return line_end == std::string::npos ? text : text.substr(line_end + 1);
}

std::string last_line_of(const std::string& path) {
  const std::string text = tail_of(path, 4096);
  const auto end = text.find_last_not_of(" \t\r\n");
  if (end == std::string::npos) return {};
  const auto before = text.find_last_of('\n', end);
  const auto start = before == std::string::npos ? 0 : before + 1;
  return log::masked(text.substr(start, end - start + 1)).substr(0, 300);
}

void rotate_log(const std::string& path) {
  std::error_code failed;
  const auto size = fs::file_size(path, failed);
  if (failed || size <= kLogLimit) return;
  fs::rename(path + ".1", path + ".2", failed);
  // Copied and cut, not renamed: the writer holds the file open for appending.
  fs::copy_file(path, path + ".1", fs::copy_options::overwrite_existing, failed);
  if (!failed) fs::resize_file(path, 0, failed);
}

}  // namespace stackspec::local
