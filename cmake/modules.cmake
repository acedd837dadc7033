# One static library per folder, lowest first. USES lists every folder a module may include;
# tests/lint/module_order.py holds the sources to it.
function(stackspec_module name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "SOURCES;USES;PRIVATE_LIBRARIES;PUBLIC_LIBRARIES")
  add_library(stackspec_${name} STATIC ${arg_SOURCES})
  add_library(stackspec::${name} ALIAS stackspec_${name})
  target_include_directories(stackspec_${name} PUBLIC ${PROJECT_SOURCE_DIR}/controller)
  list(TRANSFORM arg_USES PREPEND stackspec::)
  target_link_libraries(stackspec_${name}
    PUBLIC ${arg_USES} ${arg_PUBLIC_LIBRARIES}
    PRIVATE stackspec_warnings ${arg_PRIVATE_LIBRARIES})
endfunction()

# `tests_<lane>` builds what a lane of ./dev test runs.
foreach(lane lint unit model contract scenario integration kube bench tsan)
  add_custom_target(tests_${lane})
endforeach()

# A test program of one lane (its ctest label): unit, model, contract, scenario, integration, bench.
# In the tsan preset only the programs of STACKSPEC_THREADED_TESTS are there, in the lane tsan.
function(stackspec_test name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "LANE;TIMEOUT" "SOURCES;USES;LIBRARIES")
  if(STACKSPEC_TSAN)
    if(NOT name IN_LIST STACKSPEC_THREADED_TESTS)
      return()
    endif()
    set(arg_LANE tsan)
    set(prefix tsan.)
  endif()
  add_executable(${name} ${arg_SOURCES})
  add_dependencies(tests_${arg_LANE} ${name})
  list(TRANSFORM arg_USES PREPEND stackspec::)
  target_include_directories(${name} PRIVATE ${PROJECT_SOURCE_DIR}/tests)
  target_compile_definitions(${name} PRIVATE STACKSPEC_SOURCE_DIR="${PROJECT_SOURCE_DIR}"
    STACKSPEC_BINARY_DIR="${PROJECT_BINARY_DIR}")
  target_link_libraries(${name} PRIVATE ${arg_USES} ${arg_LIBRARIES} stackspec_warnings GTest::gtest_main)
  if(NOT arg_TIMEOUT)
    set(arg_TIMEOUT 60)
  endif()
  gtest_discover_tests(${name} DISCOVERY_MODE PRE_TEST TEST_PREFIX "${prefix}"
    PROPERTIES LABELS ${arg_LANE} TIMEOUT ${arg_TIMEOUT})
endfunction()
