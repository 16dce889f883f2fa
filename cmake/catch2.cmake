# Makes eigennorm_catch2: Catch2 2.13 or 3 with its main function, installed or fetched.

# For another machine only headers can be used of what is installed on this one. Those of Catch2 2 are enough, but they must
# come alone: beside them in /usr/include lies this machine's C library.
if(CMAKE_CROSSCOMPILING)
  find_path(eigennorm_catch2_folder catch2/catch.hpp)
  if(eigennorm_catch2_folder)
    file(MAKE_DIRECTORY ${CMAKE_BINARY_DIR}/catch2_alone)
    file(CREATE_LINK ${eigennorm_catch2_folder}/catch2 ${CMAKE_BINARY_DIR}/catch2_alone/catch2 SYMBOLIC)
    add_library(Catch2::Catch2 INTERFACE IMPORTED)
    target_include_directories(Catch2::Catch2 INTERFACE ${CMAKE_BINARY_DIR}/catch2_alone)
  endif()
else()
  find_package(Catch2 CONFIG QUIET)
endif()
if(NOT TARGET Catch2::Catch2)
  include(${CMAKE_CURRENT_LIST_DIR}/fetch.cmake)
  eigennorm_declare(Catch2 https://github.com/catchorg/Catch2.git v3.7.1
    "EigenNorm's tests need Catch2"
    "install catch2 (Debian, vcpkg, Homebrew, conan), or set EIGENNORM_BUILD_TESTS=OFF")
  FetchContent_MakeAvailable(Catch2)
  get_target_property(catch2_include Catch2 INTERFACE_INCLUDE_DIRECTORIES)
  set_target_properties(Catch2 PROPERTIES INTERFACE_SYSTEM_INCLUDE_DIRECTORIES "${catch2_include}")
endif()

add_library(eigennorm_catch2 INTERFACE)
if(TARGET Catch2::Catch2WithMain)
  target_link_libraries(eigennorm_catch2 INTERFACE Catch2::Catch2WithMain)
else()
  add_library(eigennorm_catch_main STATIC catch_main.cpp)
  target_link_libraries(eigennorm_catch_main PUBLIC Catch2::Catch2)
  target_link_libraries(eigennorm_catch2 INTERFACE eigennorm_catch_main)
endif()
