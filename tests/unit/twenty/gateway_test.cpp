// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <cstdio>
#include <fstream>

#include "fakes/temp_folder.hpp"
#include "twenty/component.hpp"

namespace stackspec {
namespace {

Endpoints endpoints(const char* host) {
  Endpoints at;
  at.server_host = at.fundraising_host = "127.0.0.1";
  at.gateway_host = host;
  return at;
}

/// The part of one listener.
std::string listener(const std::string& text, int port) {
  const auto start = text.find("listen 127.0.0.1:" + std::to_string(port) + ";");
  if (start == std::string::npos) return "";
  return text.substr(start, text.find("  server {", start) - start);
}

bool has(const std::string& text, const char* part) {
  return text.find(part) != std::string::npos;
}

TEST(Gateway, LetsUsersInOnlyWhenItIsOpen) {
  for (const bool open : {true, false}) {
    const std::string text = gateway_configuration(endpoints("127.0.0.1"), true, open);
    const std::string normal = listener(text, 4000);
    EXPECT_EQ(has(normal, "proxy_pass"), open);
    EXPECT_EQ(has(normal, "return 503"), !open);
    EXPECT_TRUE(has(normal, "location = /health"));
    const std::string closed = listener(text, 4001);
    EXPECT_FALSE(has(closed, "proxy_pass") || has(closed, "/health"));
    EXPECT_TRUE(has(closed, "return 503") && has(closed, "Retry-After"));
    const std::string gates = listener(text, 4002);
    EXPECT_TRUE(has(gates, "proxy_pass http://127.0.0.1:3000;"));
    EXPECT_FALSE(has(gates, "return 503"));
  }
}

TEST(Gateway, RoutesToFundraisingOnlyWhenThereIsOne) {
  const std::string with = gateway_configuration(endpoints("127.0.0.1"), true, true);
  EXPECT_TRUE(has(with, "location /fundraising/ {\n      proxy_pass http://127.0.0.1:4500/;"));
  EXPECT_TRUE(has(with, "location /api/fundraising/ {\n      proxy_pass http://127.0.0.1:4500;"));
  EXPECT_FALSE(has(gateway_configuration(endpoints("127.0.0.1"), false, true), "fundraising"));
}

TEST(Gateway, IsAcceptedByNginx) {
  const TempFolder folder;
  std::ofstream(folder / "maintenance.html") << maintenance_page();
  for (const char* host : {"127.0.0.1", "crm-gateway"}) {
    for (const bool fundraising : {true, false}) {
      for (const bool open : {true, false}) {
        std::ofstream(folder / "nginx.conf")
            << gateway_configuration(endpoints(host), fundraising, open);
        const std::string command = "/usr/sbin/nginx -t -q -e stderr -g 'daemon off;' -p '" +
                                    folder.path() + "/' -c '" + (folder / "nginx.conf") + "' 2>&1";
        FILE* pipe = ::popen(command.c_str(), "r");
        ASSERT_NE(pipe, nullptr);
        std::string output;
        for (int c = std::fgetc(pipe); c != EOF; c = std::fgetc(pipe)) {
          output += static_cast<char>(c);
        }
        EXPECT_EQ(::pclose(pipe), 0) << output;
        EXPECT_FALSE(has(output, "emerg") || has(output, "warn")) << output;
      }
    }
  }
}

TEST(Gateway, TellsPeopleThatItIsMaintenance) {
  const std::string page = maintenance_page();
  EXPECT_TRUE(has(page, "<title>Maintenance</title>"));
  EXPECT_FALSE(has(page, "http://") || has(page, "https://")) << "the page must need nothing else";
}

}  // namespace
}  // namespace stackspec
