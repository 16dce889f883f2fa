# Makes the target CLI11::CLI11, installed or fetched.

find_package(CLI11 CONFIG QUIET)
if(NOT TARGET CLI11::CLI11)
  message(STATUS "EigenNorm: CLI11 is not installed, fetching it")
  include(${CMAKE_CURRENT_LIST_DIR}/fetch_headers.cmake)
  eigennorm_fetch_headers(CLI11 https://github.com/CLIUtils/CLI11.git v2.4.2 CLI11::CLI11 include)
endif()
