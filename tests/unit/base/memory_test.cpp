// SPDX-License-Identifier: Apache-2.0
#include "base/memory.hpp"

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

namespace stackspec {
namespace {

/// Resident pages of programs and libraries.
long file_kib() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("RssFile:")) return std::atol(line.c_str() + 8);
  }
  return -1;
}

TEST(Memory, WhatIsInUseStaysAsItWas) {
  const std::vector<std::string> texts(1000, std::string(500, 'x'));
  std::jthread other([](const std::stop_token& stop) {
    while (!stop.stop_requested()) EXPECT_EQ(std::to_string(std::rand()).empty(), false);
  });
  for (int i = 0; i < 20; ++i) {
    give_memory_back();
    EXPECT_EQ(texts.back(), texts.front());
  }
}

TEST(Memory, PagesThatOnlyTheStartNeededAreGivenBack) {
  const long before = file_kib();
  give_memory_back();
  EXPECT_LT(file_kib(), before);
}

}  // namespace
}  // namespace stackspec
