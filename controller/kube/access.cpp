// SPDX-License-Identifier: Apache-2.0
#include "kube/access.hpp"

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "api/codec.hpp"
#include "base/authorities.hpp"
#include "base/base64.hpp"
#include "base/file.hpp"
#include "base/log.hpp"
#include "kube/wire.hpp"

namespace stackspec {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

Error invalid(const std::string& what) {
  return {ErrorKind::Invalid, what};
}

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr ? value : "";
}

Result<int> port_of(const std::string& text) {
  int port = 0;
  const auto read = std::from_chars(text.data(), text.data() + text.size(), port);
  if (read.ec != std::errc() || read.ptr != text.data() + text.size() || port < 1 || port > 65535) {
    return invalid("port " + text + " is no port");
  }
  return port;
}

/// `https://host:port/prefix` into its parts.
Result<void> read_server(const std::string& url, ClusterAccess& access) {
  std::string rest = url;
  for (const bool plain : {false, true}) {
    const std::string scheme = plain ? "http://" : "https://";
    if (rest.rfind(scheme, 0) != 0) continue;
    rest.erase(0, scheme.size());
    access.server.plain = plain;
    access.server.port = plain ? 80 : 443;
    const auto slash = rest.find('/');
    if (slash != std::string::npos) {
      access.path_prefix = rest.substr(slash);
      rest.erase(slash);
    }
    while (!access.path_prefix.empty() && access.path_prefix.back() == '/') {
      access.path_prefix.pop_back();
    }
    const auto colon = rest.rfind(':');
    if (colon != std::string::npos && rest.back() != ']') {
      access.server.port = TRY(port_of(rest.substr(colon + 1)));
      rest.erase(colon);
    }
    if (rest.size() > 2 && rest.front() == '[') rest = rest.substr(1, rest.size() - 2);
    access.server.host = rest;
    return {};
  }
  return invalid("server \"" + url + "\" must begin with https://");
}

/// `name-data` (base64 in the file) or `name` (a path, relative to the kubeconfig).
Result<Pem> read_pem(const json& entry, const std::string& name, const fs::path& folder) {
  Pem pem;
  const std::string data = text_at(entry, (name + "-data").c_str());
  if (!data.empty()) {
    auto text = base64_decoded(data);
    if (!text) return std::move(text).error().in(name + "-data");
    pem.text = std::move(text).value();
    return pem;
  }
  const std::string file = text_at(entry, name.c_str());
  if (!file.empty()) pem.file = folder / file;
  return pem;
}

/// One kubeconfig; paths in it are relative to its folder.
struct ConfigFile {
  fs::path folder;
  json config;
};

struct Named {
  fs::path folder;
  json entry;
};

/// Of several files the first that has it counts, as in kubectl.
Result<Named> named(const std::vector<ConfigFile>& files, const char* list, const char* inner,
                    const std::string& name) {
  for (const auto& [folder, config] : files) {
    const auto entries = config.find(list);
    if (entries == config.end() || !entries->is_array()) continue;
    for (const json& entry : *entries) {
      if (!entry.is_object() || text_at(entry, "name") != name) continue;
      const auto found = entry.find(inner);
      if (found != entry.end() && found->is_object()) return Named{folder, *found};
    }
  }
  return invalid(std::string(list) + ": there is none named \"" + name + "\"");
}

Result<void> read_cluster(const json& cluster, const fs::path& folder, ClusterAccess& access) {
  TRY(read_server(text_at(cluster, "server"), access));
  if (cluster.value("insecure-skip-tls-verify", false)) {
    return invalid("insecure-skip-tls-verify is not supported; give certificate-authority-data");
  }
  if (!text_at(cluster, "proxy-url").empty()) {
    return invalid("proxy-url is not supported: the API server must be reached directly");
  }
  access.server.ca = TRY(read_pem(cluster, "certificate-authority", folder));
  if (access.server.ca.empty() && !access.server.plain) access.server.ca.file = kSystemAuthorities;
  access.server.verify_name = text_at(cluster, "tls-server-name");
  return {};
}

ExecPlugin plugin_of(const json& exec, const fs::path& folder) {
  ExecPlugin plugin;
  plugin.command = text_at(exec, "command");
  // As kubectl: a bare name is looked up in PATH, anything else lies beside the kubeconfig.
  if (plugin.command.find('/') != std::string::npos) plugin.command = folder / plugin.command;
  plugin.api_version = text_at(exec, "apiVersion");
  const auto args = exec.find("args");
  if (args != exec.end() && args->is_array()) args->get_to(plugin.args);
  const auto env = exec.find("env");
  if (env == exec.end() || !env->is_array()) return plugin;
  for (const json& one : *env) plugin.env[text_at(one, "name")] = text_at(one, "value");
  return plugin;
}

Result<void> read_user(const json& user, const fs::path& folder, ClusterAccess& access) {
  for (const char* unsupported : {"auth-provider", "username", "as"}) {
    if (user.contains(unsupported)) {
      return invalid(std::string(unsupported) +
                     " is not supported; use a token, a client certificate or an exec plugin");
    }
  }
  access.server.certificate = TRY(read_pem(user, "client-certificate", folder));
  access.server.key = TRY(read_pem(user, "client-key", folder));
  const std::string file = text_at(user, "tokenFile");
  if (!file.empty()) {
    access.token_file = folder / file;
  } else {
    access.token = text_at(user, "token");
  }
  const auto exec = user.find("exec");
  if (exec == user.end() || !exec->is_object()) return {};
  access.exec = plugin_of(*exec, folder);
  access.server.identity = std::make_shared<ClientIdentity>();
  if (access.exec->command.empty()) return invalid("exec: command is missing");
  return {};
}

Result<ClusterAccess> access_of(const std::vector<ConfigFile>& files, std::string context) {
  for (const auto& file : files) {
    if (context.empty()) context = text_at(file.config, "current-context");
  }
  if (context.empty()) return invalid("there is no current-context");
  const Named named_context = TRY(named(files, "contexts", "context", context));
  const json& chosen = named_context.entry;
  ClusterAccess access;
  const Named cluster = TRY(named(files, "clusters", "cluster", text_at(chosen, "cluster")));
  TRY(read_cluster(cluster.entry, cluster.folder, access));
  access.ns = text_at(chosen, "namespace");
  if (!text_at(chosen, "user").empty()) {
    const Named user = TRY(named(files, "users", "user", text_at(chosen, "user")));
    TRY(read_user(user.entry, user.folder, access));
  }
  return access;
}

Result<ConfigFile> read_config(const std::string& path) {
  const std::string text = TRY(read_file(path, 1U << 20U));
  const auto documents = TRY(parse_yaml(text));
  if (documents.size() != 1) return invalid("it must be one YAML document");
  ConfigFile file{fs::absolute(path).parent_path(), json::parse(documents.front().json)};
  if (!file.config.is_object()) return invalid("it must be a YAML mapping");
  return file;
}

Result<ClusterAccess> access_from_files(const std::vector<std::string>& paths,
                                        const std::string& context) {
  std::string where = "kubeconfig";
  try {
    std::vector<ConfigFile> files;
    for (const auto& path : paths) {
      auto file = read_config(path);
      if (!file) return std::move(file).error().in("kubeconfig " + path);
      files.push_back(std::move(file).value());
      where += " " + path;
    }
    auto access = access_of(files, context);
    if (!access) return std::move(access).error().in(where);
    return access;
  } catch (const json::exception& failure) {
    return invalid(where + ": " + failure.what());
  }
}

/// Those of a list like PATH that exist; the list itself when none does, for the message.
std::vector<std::string> existing(const std::string& list) {
  std::vector<std::string> found;
  std::error_code ignored;
  for (std::size_t from = 0; from <= list.size();) {
    const auto end = std::min(list.find(':', from), list.size());
    const std::string one = list.substr(from, end - from);
    if (!one.empty() && fs::exists(one, ignored)) found.push_back(one);
    from = end + 1;
  }
  if (found.empty()) found.push_back(list);
  return found;
}

}  // namespace

Result<ClusterAccess> access_from_kubeconfig(const std::string& path, const std::string& context) {
  return access_from_files({path}, context);
}

Result<ClusterAccess> access_in_pod(const std::string& folder) {
  ClusterAccess access;
  access.server.host = environment("KUBERNETES_SERVICE_HOST");
  const std::string port = environment("KUBERNETES_SERVICE_PORT");
  if (access.server.host.empty() || port.empty()) {
    return Error{ErrorKind::NotFound, "this is no pod: KUBERNETES_SERVICE_HOST is not set"};
  }
  access.server.port = TRY(port_of(port));
  // The HTTP library cannot connect to an IPv6 literal.
  if (access.server.host.find(':') != std::string::npos) {
    access.server.host = "kubernetes.default.svc";
  }
  access.server.ca.file = folder + "/ca.crt";
  access.token_file = folder + "/token";
  const auto ns = read_file(folder + "/namespace", 1024);
  if (ns) access.ns = *ns;
  const auto token = read_file(access.token_file, 1U << 20U);
  if (!token) return Error(token.error()).in("service account token");
  return access;
}

namespace {

/// Other clients would go through it; whoever set it has to know that this one does not.
void tell_of_proxy() {
  for (const char* name : {"HTTPS_PROXY", "https_proxy"}) {
    if (environment(name).empty()) continue;
    log::info("no proxy is used",
              {{"detail", std::string(name) + " is set; the API server is called without it"}});
    return;
  }
}

}  // namespace

Result<ClusterAccess> find_access(const std::string& kubeconfig) {
  tell_of_proxy();
  if (!kubeconfig.empty()) return access_from_kubeconfig(kubeconfig);
  const std::string named = environment("KUBECONFIG");
  if (!named.empty()) return access_from_files(existing(named), "");
  auto pod = access_in_pod();
  if (pod || pod.error().kind != ErrorKind::NotFound) return pod;
  const std::string of_home = environment("HOME") + "/.kube/config";
  std::error_code ignored;
  if (fs::exists(of_home, ignored)) return access_from_kubeconfig(of_home);
  return Error{ErrorKind::NotFound,
               "no way to an API server: this is no pod, KUBECONFIG is not set and " + of_home +
                   " does not exist; give --kubeconfig FILE"};
}

}  // namespace stackspec
