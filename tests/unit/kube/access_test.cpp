// SPDX-License-Identifier: Apache-2.0
#include "kube/access.hpp"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>

#include "fakes/temp_folder.hpp"

namespace stackspec {
namespace {

/// Sets variables of the environment for one test.
class Environment {
 public:
  explicit Environment(const std::map<std::string, std::string>& wanted) {
    for (const auto& [name, value] : wanted) {
      const char* before = ::getenv(name.c_str());
      before_[name] = before != nullptr ? std::optional<std::string>(before) : std::nullopt;
      ::setenv(name.c_str(), value.c_str(), 1);
    }
  }
  ~Environment() {
    for (const auto& [name, value] : before_) {
      if (value) {
        ::setenv(name.c_str(), value->c_str(), 1);
      } else {
        ::unsetenv(name.c_str());
      }
    }
  }
  Environment(const Environment&) = delete;
  Environment& operator=(const Environment&) = delete;

 private:
  std::map<std::string, std::optional<std::string>> before_;
};

void write(const std::string& path, const std::string& text) {
  std::filesystem::create_directories(std::filesystem::path(path).parent_path());
  std::ofstream(path) << text;
}

/// A kubeconfig with one of everything around the given user and cluster.
std::string kubeconfig(const std::string& cluster, const std::string& user) {
  return "apiVersion: v1\nkind: Config\ncurrent-context: two\n"
         "contexts:\n- name: one\n  context: {cluster: other, user: nobody}\n"
         "- name: two\n  context: {cluster: here, user: me, namespace: crm-system}\n"
         "clusters:\n- name: other\n  cluster: {server: 'https://other.example.org'}\n"
         "- name: here\n  cluster: " +
         cluster + "\nusers:\n- name: nobody\n  user: {}\n- name: me\n  user: " + user + "\n";
}

struct Loaded {
  TempFolder folder;
  Result<ClusterAccess> access = Error{};
  Loaded(const std::string& cluster, const std::string& user, const std::string& context = "") {
    write(folder / "config", kubeconfig(cluster, user));
    access = access_from_kubeconfig(folder / "config", context);
  }
};

const std::string kCluster = "{server: 'https://10.0.0.1:6443', certificate-authority: ca.pem}";

TEST(Kubeconfig, ReadsServerAuthorityNamespaceAndToken) {
  const Loaded got(
      "{server: 'https://10.0.0.1:6443/k8s/clusters/x/', tls-server-name: api.internal, "
      "certificate-authority-data: aGVsbG8=}",
      "{token: t0ken}");
  ASSERT_TRUE(got.access) << got.access.error().message;
  const ClusterAccess& access = *got.access;
  EXPECT_EQ(access.server.host, "10.0.0.1");
  EXPECT_EQ(access.server.port, 6443);
  EXPECT_FALSE(access.server.plain);
  EXPECT_EQ(access.server.ca.text, "hello");
  EXPECT_EQ(access.server.verify_name, "api.internal");
  EXPECT_EQ(access.path_prefix, "/k8s/clusters/x");
  EXPECT_EQ(access.ns, "crm-system");
  EXPECT_EQ(access.token, "t0ken");
}

TEST(Kubeconfig, PathsAreRelativeToItself) {
  const Loaded got(kCluster,
                   "{client-certificate: pki/me.pem, client-key: /abs/me.key, tokenFile: token}");
  ASSERT_TRUE(got.access) << got.access.error().message;
  EXPECT_EQ(got.access->server.ca.file, got.folder / "ca.pem");
  EXPECT_EQ(got.access->server.certificate.file, got.folder / "pki/me.pem");
  EXPECT_EQ(got.access->server.key.file, "/abs/me.key");
  EXPECT_EQ(got.access->token_file, got.folder / "token");
}

TEST(Kubeconfig, DataWinsOverFiles) {
  const Loaded got(
      "{server: 'https://a', certificate-authority: ca.pem, "
      "certificate-authority-data: Y2E=}",
      "{client-certificate-data: Y2VydA==, client-certificate: x, client-key-data: a2V5}");
  ASSERT_TRUE(got.access) << got.access.error().message;
  EXPECT_EQ(got.access->server.port, 443);
  EXPECT_EQ(got.access->server.ca.text, "ca");
  EXPECT_EQ(got.access->server.ca.file, "");
  EXPECT_EQ(got.access->server.certificate.text, "cert");
  EXPECT_EQ(got.access->server.key.text, "key");
}

TEST(Kubeconfig, AContextCanBeChosen) {
  const Loaded got(kCluster, "{token: t}", "one");
  ASSERT_TRUE(got.access) << got.access.error().message;
  EXPECT_EQ(got.access->server.host, "other.example.org");
  EXPECT_EQ(got.access->token, "");
  EXPECT_FALSE(got.access->server.ca.empty()) << "then those of the system";
}

TEST(Kubeconfig, SaysWhatIsWrongOrNotSupported) {
  const struct {
    std::string cluster;
    std::string user;
    std::string context;
    const char* message;
  } rows[] = {
      {"{server: 'ftp://a'}", "{}", "", "must begin with https://"},
      {"{}", "{}", "", "must begin with https://"},
      {"{server: 'https://a:b'}", "{}", "", "port b"},
      {"{server: 'https://a', insecure-skip-tls-verify: true}", "{}", "",
       "insecure-skip-tls-verify is not supported"},
      {"{server: 'https://a', proxy-url: 'http://p'}", "{}", "", "proxy-url"},
      {"{server: 'https://a', certificate-authority-data: '#'}", "{}", "", "base64"},
      {kCluster, "{auth-provider: {name: gcp}}", "", "auth-provider is not supported"},
      {kCluster, "{username: a, password: b}", "", "username is not supported"},
      {kCluster, "{exec: {args: [x]}}", "", "command is missing"},
      {kCluster, "{token: 7}\n- name: [", "", "kubeconfig "},
      {kCluster, "{}", "three", "there is none named \"three\""},
  };
  for (const auto& row : rows) {
    SCOPED_TRACE(row.message);
    const Loaded got(row.cluster, row.user, row.context);
    ASSERT_FALSE(got.access);
    EXPECT_EQ(got.access.error().kind, ErrorKind::Invalid);
    EXPECT_NE(got.access.error().message.find(row.message), std::string::npos)
        << got.access.error().message;
    EXPECT_NE(got.access.error().message.find(got.folder / "config"), std::string::npos);
  }
  const auto gone = access_from_kubeconfig("/nowhere/config");
  ASSERT_FALSE(gone);
  EXPECT_EQ(gone.error().kind, ErrorKind::NotFound);
}

TEST(InPod, TakesTheFilesOfTheServiceAccount) {
  const TempFolder folder;
  write(folder / "ca.crt", "pem");
  write(folder / "token", "t");
  write(folder / "namespace", "stackspec-system");
  const Environment environment(
      {{"KUBERNETES_SERVICE_HOST", "10.96.0.1"}, {"KUBERNETES_SERVICE_PORT", "443"}});
  const auto access = access_in_pod(folder.path());
  ASSERT_TRUE(access) << access.error().message;
  EXPECT_EQ(access->server.host, "10.96.0.1");
  EXPECT_EQ(access->server.port, 443);
  EXPECT_EQ(access->server.ca.file, folder / "ca.crt");
  EXPECT_EQ(access->token_file, folder / "token");
  EXPECT_EQ(access->ns, "stackspec-system");
}

TEST(InPod, CallsAnIpv6ServiceByItsName) {
  const TempFolder folder;
  write(folder / "token", "t");
  const Environment environment(
      {{"KUBERNETES_SERVICE_HOST", "fd00::1"}, {"KUBERNETES_SERVICE_PORT", "443"}});
  EXPECT_EQ(access_in_pod(folder.path())->server.host, "kubernetes.default.svc");
}

TEST(InPod, OutsideOfAPodIsNotFound) {
  const Environment environment({{"KUBERNETES_SERVICE_HOST", ""}, {"KUBERNETES_SERVICE_PORT", ""}});
  EXPECT_EQ(access_in_pod().error().kind, ErrorKind::NotFound);
}

TEST(FindAccess, LooksWhereKubectlLooks) {
  const TempFolder home;
  write(home / "named", kubeconfig("{server: 'https://named'}", "{}"));
  const Environment nothing({{"KUBECONFIG", ""},
                             {"HOME", home.path()},
                             {"KUBERNETES_SERVICE_HOST", ""},
                             {"KUBERNETES_SERVICE_PORT", ""}});
  const auto none = find_access("");
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().kind, ErrorKind::NotFound);
  EXPECT_NE(none.error().message.find("--kubeconfig"), std::string::npos) << none.error().message;
  write(home / ".kube/config", kubeconfig("{server: 'https://of-home'}", "{}"));
  EXPECT_EQ(find_access("")->server.host, "of-home");
  const Environment variable({{"KUBECONFIG", home / "named"}});
  EXPECT_EQ(find_access("")->server.host, "named");
  const Environment list(
      std::map<std::string, std::string>{{"KUBECONFIG", "/nowhere:" + (home / "named")}});
  EXPECT_EQ(find_access("")->server.host, "named");
  EXPECT_EQ(find_access(home / ".kube/config")->server.host, "of-home");
}

TEST(FindAccess, MergesTheFilesOfTheListAsKubectlDoes) {
  const TempFolder one, two;
  write(one / "config",
        "current-context: mine\n"
        "contexts:\n- name: mine\n  context: {cluster: shared, user: me, namespace: first}\n"
        "users:\n- name: me\n  user: {tokenFile: token}\n");
  write(
      two / "config",
      "current-context: other\n"
      "contexts:\n- name: mine\n  context: {cluster: nowhere, user: nobody}\n"
      "clusters:\n- name: shared\n  cluster: {server: 'https://a', certificate-authority: ca.pem}\n"
      "users:\n- name: me\n  user: {token: not-this}\n");
  const Environment list(std::map<std::string, std::string>{
      {"KUBECONFIG", (one / "config") + ":/nowhere/config::" + (two / "config")}});
  const auto access = find_access("");
  ASSERT_TRUE(access) << access.error().message;
  EXPECT_EQ(access->ns, "first") << "the first that has it counts";
  EXPECT_EQ(access->server.host, "a");
  EXPECT_EQ(access->server.ca.file, two / "ca.pem") << "relative to the file that says it";
  EXPECT_EQ(access->token_file, one / "token");
  EXPECT_EQ(access->token, "");

  write(two / "config", "contexts: []\n");
  const auto half = find_access("");
  ASSERT_FALSE(half);
  for (const auto& named : {std::string("\"shared\""), one / "config", two / "config"}) {
    EXPECT_NE(half.error().message.find(named), std::string::npos) << half.error().message;
  }
}

std::string script(const TempFolder& folder, const std::string& text) {
  write(folder / "plugin", "#!/bin/sh\n" + text);
  std::filesystem::permissions(folder / "plugin", std::filesystem::perms::owner_all);
  return folder / "plugin";
}

TEST(ExecPlugin, GivesATokenAndItsEnd) {
  const TempFolder folder;
  ExecPlugin plugin;
  plugin.command = script(folder,
                          "printf '{\"status\":{\"token\":\"%s-%s\",\"expirationTimestamp\":"
                          "\"2026-11-21T09:00:00Z\"}}' \"$1\" \"$EXTRA\"\n"
                          "printf %s \"$KUBERNETES_EXEC_INFO$SSL_CERT_FILE\" >\"$0.seen\"\n");
  plugin.args = {"arg"};
  plugin.env = {{"EXTRA", "env"}};
  plugin.api_version = "client.authentication.k8s.io/v1";
  const Environment environment(std::map<std::string, std::string>{{"SSL_CERT_FILE", "/dev/null"}});
  const auto got = run_exec_plugin(plugin);
  ASSERT_TRUE(got) << got.error().message;
  EXPECT_EQ(got->token, "arg-env");
  EXPECT_EQ(got->expires, parse_rfc3339("2026-11-21T09:00:00Z"));
  std::string seen;
  std::getline(std::ifstream(plugin.command + ".seen"), seen);
  EXPECT_NE(seen.find("\"apiVersion\":\"client.authentication.k8s.io/v1\""), std::string::npos);
  EXPECT_EQ(seen.find("/dev/null"), std::string::npos) << "it may need the system's authorities";
}

TEST(ExecPlugin, SaysWhyItGaveNoToken) {
  const TempFolder folder;
  const struct {
    const char* text;
    const char* message;
  } rows[] = {{"exit 3\n", "failed"},
              {"echo hello\n", "ExecCredential"},
              {"echo '{\"status\":{}}'\n", "neither a token nor a client certificate"},
              {"echo '{\"status\":{\"clientCertificateData\":\"c\"}}'\n", "only one"}};
  for (const auto& row : rows) {
    SCOPED_TRACE(row.text);
    ExecPlugin plugin;
    plugin.command = script(folder, row.text);
    const auto got = run_exec_plugin(plugin);
    ASSERT_FALSE(got);
    EXPECT_EQ(got.error().kind, ErrorKind::Forbidden);
    EXPECT_NE(got.error().message.find(row.message), std::string::npos) << got.error().message;
  }
  ExecPlugin none;
  none.command = "/nowhere/plugin";
  EXPECT_NE(run_exec_plugin(none).error().message.find("cannot be started"), std::string::npos);
}

TEST(ExecPlugin, GivesACertificateInPlaceOfAToken) {
  const TempFolder folder;
  ClusterAccess access;
  access.exec = ExecPlugin{};
  access.exec->command = script(
      folder,
      "echo >>\"$0.count\"\n"
      "echo '{\"status\":{\"clientCertificateData\":\"cert-'$(wc -l <\"$0.count\" | tr -d ' ')"
      "'\",\"clientKeyData\":\"key\"}}'\n");
  access.server.identity = std::make_shared<ClientIdentity>();
  const auto credentials = make_credentials(access, system_clock());
  for (int i = 0; i < 2; ++i) EXPECT_EQ(*credentials->authorization(), "") << "asked once";
  EXPECT_EQ(access.server.identity->get(), (ClientIdentity::Pair{"cert-1", "key"}));
  const int before = access.server.identity->changes();
  credentials->refused();
  EXPECT_EQ(*credentials->authorization(), "");
  EXPECT_EQ(access.server.identity->get().certificate, "cert-2");
  EXPECT_EQ(access.server.identity->changes(), before + 1);
}

TEST(Credentials, AskAPluginAgainBeforeItsTokenEnds) {
  const TempFolder folder;
  class HandClock final : public Clock {
   public:
    WallTime wall_now() const override { return *parse_rfc3339("2026-11-21T08:00:00Z") + past; }
    SteadyTime steady_now() const override { return SteadyTime(std::chrono::hours(1)) + past; }
    std::chrono::seconds past{0};
  } clock;
  ClusterAccess access;
  access.exec = ExecPlugin{};
  access.exec->command =
      script(folder,
             "echo >>\"$0.count\"\n"
             "echo '{\"status\":{\"token\":\"token-'$(wc -l <\"$0.count\" | tr -d ' ')"
             "'\",\"expirationTimestamp\":\"2026-11-21T09:00:00Z\"}}'\n");
  const auto credentials = make_credentials(access, clock);
  EXPECT_EQ(*credentials->authorization(), "Bearer token-1");
  clock.past = std::chrono::minutes(58);
  EXPECT_EQ(*credentials->authorization(), "Bearer token-1");
  clock.past = std::chrono::minutes(59);
  EXPECT_EQ(*credentials->authorization(), "Bearer token-2");
  credentials->refused();
  EXPECT_EQ(*credentials->authorization(), "Bearer token-3");
}

}  // namespace
}  // namespace stackspec
