// SPDX-License-Identifier: Apache-2.0
#include <sys/resource.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>

#include "telemetry/stack_gauges.hpp"

namespace stackspec {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;

MetricFamily family(const char* name, const char* help, MetricType type, double value) {
  ClientMetric metric;
  if (type == MetricType::Counter) {
    metric.counter.value = value;
  } else {
    metric.gauge.value = value;
  }
  return {name, help, type, {metric}};
}

/// Fields of /proc/self/stat by their number in proc(5); the name before them may hold blanks.
std::vector<double> stat_fields() {
  std::ifstream file("/proc/self/stat");
  std::string line;
  std::getline(file, line);
  std::vector<double> fields(3, 0.0);  // Numbers start at 1; 2 and 3 are no numbers.
  const auto end_of_name = line.rfind(')');
  if (end_of_name == std::string::npos) return {};
  std::istringstream rest(line.substr(std::min(line.size(), end_of_name + 3)));
  fields.push_back(0);
  rest.ignore(1);
  for (double number = 0; rest >> number;) fields.push_back(number);
  return fields;
}

double boot_time() {
  std::ifstream file("/proc/stat");
  for (std::string word; file >> word;) {
    double time = 0;
    if (word == "btime" && file >> time) return time;
  }
  return 0;
}

double open_descriptors() {
  std::error_code failed;
  const std::filesystem::directory_iterator all("/proc/self/fd", failed);
  if (failed) return 0;
  return static_cast<double>(std::distance(begin(all), end(all))) - 1;  // One is the iterator's.
}

}  // namespace

std::vector<MetricFamily> process_metrics() {
  const auto stat = stat_fields();
  const auto field = [&stat](std::size_t number) {
    return number < stat.size() ? stat[number] : 0.0;
  };
  const auto ticks = static_cast<double>(::sysconf(_SC_CLK_TCK));
  rlimit descriptors{};
  ::getrlimit(RLIMIT_NOFILE, &descriptors);
  return {
      family("process_cpu_seconds_total", "Processor time used, user and system.",
             MetricType::Counter, (field(14) + field(15)) / ticks),
      family("process_open_fds", "Open file descriptors.", MetricType::Gauge, open_descriptors()),
      family("process_max_fds", "Most file descriptors the process may open.", MetricType::Gauge,
             static_cast<double>(descriptors.rlim_cur)),
      family("process_resident_memory_bytes", "Memory in RAM.", MetricType::Gauge,
             field(24) * static_cast<double>(::sysconf(_SC_PAGESIZE))),
      family("process_virtual_memory_bytes", "Address space.", MetricType::Gauge, field(23)),
      family("process_start_time_seconds", "Start of the process since 1970.", MetricType::Gauge,
             boot_time() + field(22) / ticks),
  };
}

}  // namespace stackspec
