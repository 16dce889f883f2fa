# Makes the target CLI11::CLI11, installed or fetched.

find_package(CLI11 CONFIG QUIET)
if(NOT TARGET CLI11::CLI11)
  include(${CMAKE_CURRENT_LIST_DIR}/fetch.cmake)
  eigennorm_fetch_headers(CLI11::CLI11 include CLI11 https://github.com/CLIUtils/CLI11.git v2.4.2
    "The example digits and the benchmarks need CLI11"
    "install libcli11-dev (Debian) or cli11 (vcpkg, Homebrew, conan), or set EIGENNORM_BUILD_EXAMPLES=OFF")
endif()
