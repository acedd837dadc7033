// SPDX-License-Identifier: Apache-2.0
#include "base/memory.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "fakes/temp_folder.hpp"

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

/// Whether this process has the page, whatever the system has of the file.
bool is_mapped(const volatile char* address) {
  const int pagemap = ::open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
  std::uint64_t entry = 0;
  const auto place = reinterpret_cast<std::uintptr_t>(address) / 4096 * sizeof entry;
  EXPECT_EQ(::pread(pagemap, &entry, sizeof entry, static_cast<off_t>(place)), sizeof entry);
  ::close(pagemap);
  return (entry >> 63U) != 0;
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

TEST(Memory, AMissedPageOfAFileBringsFewOthers) {
  constexpr std::size_t kSize = 1U << 20U;
  constexpr std::size_t kStep = 64U << 10U;  // a page of each such part is read
  const TempFolder folder;
  const std::string path = folder / "library";
  std::ofstream(path) << std::string(kSize, 'x');
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  void* const mapped = ::mmap(nullptr, kSize, PROT_READ, MAP_PRIVATE, file, 0);
  ASSERT_NE(mapped, MAP_FAILED);
  give_memory_back();
  const auto* const bytes = static_cast<const volatile char*>(mapped);
  for (std::size_t at = 0; at < kSize; at += kStep) ASSERT_EQ(bytes[at], 'x');
  long pages = 0;
  for (std::size_t page = 0; page < kSize / 4096; ++page) pages += is_mapped(bytes + page * 4096);
  EXPECT_GE(pages, 16);
  EXPECT_LE(pages, 16 * 4) << "in place of all 256";
  ::munmap(mapped, kSize);
  ::close(file);
}

}  // namespace
}  // namespace stackspec
